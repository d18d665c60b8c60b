"""How the graphs of `compiled` are rewritten before torch writes code for them."""

from typing import Any

import torch
from torch._inductor.custom_graph_pass import CustomGraphPass
from torch.fx import Graph, Node

aten = torch.ops.aten


class BiasesApart(CustomGraphPass):
    """A product with a bias becomes a product and a sum, which then is fused with whatever reads it.

    A CPU's product with a bias copies the bias to every row of its result first.
    """

    def __call__(self, graph: Graph) -> None:
        """Rewrite every `addmm` of this graph whose first argument is a vector."""
        for node in graph.find_nodes(op="call_function", target=aten.addmm.default):
            bias, *factors = node.args
            kept = any(user.op == "output" for user in node.users)  # for the backward pass: it is written anyway
            if not kept and not node.kwargs and isinstance(bias, Node) and bias.meta["val"].dim() == 1:
                with graph.inserting_before(node):
                    product = graph.call_function(aten.mm.default, tuple(factors))
                    total = graph.call_function(aten.add.Tensor, (product, bias))
                product.meta.update(node.meta)
                total.meta.update(node.meta)
                node.replace_all_uses_with(total)
                graph.erase_node(node)

    def uuid(self) -> Any:
        """Names what the pass does: torch keeps compiled code under it."""
        return "biases apart, 2"
