"""How the graphs of `compiled` are rewritten before torch writes code for them."""

from typing import Any

import torch
from torch._inductor.custom_graph_pass import CustomGraphPass
from torch.fx import Graph, Node

from appliance.models.amx import take_products

aten = torch.ops.aten


class Rewriting(CustomGraphPass):
    """What is done to a graph: biases apart and, where it is asked for, fp32 products on AMX."""

    def __init__(self, *, amx: bool) -> None:
        """With `amx`, which `amx.load` must have allowed, fp32 products are made of bf16 parts on AMX."""
        self.amx = amx

    def __call__(self, graph: Graph) -> None:
        """Rewrite this graph in place."""
        _set_biases_apart(graph, all_of_them=self.amx)
        if self.amx:
            take_products(graph)

    def uuid(self) -> Any:
        """Names what the pass does: torch keeps compiled code under it."""
        return f"biases apart, 3, amx {self.amx}, 2"


def _set_biases_apart(graph: Graph, *, all_of_them: bool) -> None:
    """A product with a bias, `addmm`, becomes a product and a sum, which then is fused with whatever reads it.

    A CPU's product with a bias copies the bias to every row of its result first. Where the result is kept for the backward
    pass, and so is written anyway, that is as fast: it stays unless `all_of_them` is asked for.
    """
    for node in graph.find_nodes(op="call_function", target=aten.addmm.default):
        bias, *factors = node.args
        kept = any(user.op == "output" for user in node.users) and not all_of_them
        if not kept and not node.kwargs and isinstance(bias, Node) and bias.meta["val"].dim() == 1:
            with graph.inserting_before(node):
                product = graph.call_function(aten.mm.default, tuple(factors))
                total = graph.call_function(aten.add.Tensor, (product, bias))
            product.meta.update(node.meta)
            total.meta.update(node.meta)
            node.replace_all_uses_with(total)
            graph.erase_node(node)
