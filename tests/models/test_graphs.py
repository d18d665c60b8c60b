"""How functions are compiled: biases apart from their products, and a look at what may change and at nothing else."""

import pytest
import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx

from appliance.models.fusing import Rewriting, aten
from appliance.models.graphs import Graph


def rewritten(function, *given):
    """The traced function after the pass, and the names of its products and sums."""
    traced = make_fx(function, tracing_mode="fake")(*given)
    Rewriting(amx=False)(traced.graph)
    traced.graph.lint()
    traced.recompile()
    return traced, [node.target for node in traced.graph.nodes if node.op == "call_function"]


def products():
    torch.manual_seed(0)
    return torch.randn(4), torch.randn(3, 5), torch.randn(5, 4)


def test_a_bias_is_added_after_its_product():
    given = products()
    traced, targets = rewritten(lambda b, x, w: aten.addmm(b, x, w).relu(), *given)
    assert targets[:2] == [aten.mm.default, aten.add.Tensor]
    torch.testing.assert_close(traced(*given), torch.addmm(*given).relu())


@pytest.mark.parametrize(
    "function",
    [
        aten.addmm,  # what leaves the graph is written anyway
        lambda b, x, w: aten.addmm(b.expand(3, 4), x, w).relu(),  # no vector
        lambda b, x, w: aten.addmm(b, x, w, beta=2.0).relu(),
    ],
    ids=["kept", "table", "scaled"],
)
def test_other_products_stay_as_they_are(function):
    given = products()
    traced, targets = rewritten(function, *given)
    assert aten.addmm.default in targets
    torch.testing.assert_close(traced(*given), function(*given))


class Scaled(nn.Module):
    """Its factor is a number of Python's: written into a graph."""

    factor = 2.0

    def forward(self, x):
        return x * self.factor


def test_modules_are_looked_at_once_unless_they_are_adapted(compiler, monkeypatch):
    x = torch.ones(8)
    for adapted, expected in ((False, 2.0), (True, 3.0)):
        model = Scaled()
        monkeypatch.setattr("appliance.models.graphs.has_adapters", lambda lm, told=adapted: told)
        graph = Graph(lambda x, run=model: run(x), model)
        assert torch.equal(graph(x), 2.0 * x)
        model.factor = 3.0
        assert torch.equal(graph(x), expected * x)


class Runs:
    """One method, and so one code, whatever its model."""

    def __init__(self, model):
        self.model, self.graph = model, Graph(self.run, model)

    def run(self, x):
        return self.model(x)


def test_what_is_compiled_for_one_model_serves_no_other(compiler, monkeypatch):
    same = Rewriting(amx=False)
    monkeypatch.setattr("appliance.models.fusing.Rewriting", lambda amx: same)
    torch.manual_seed(0)
    models = nn.Linear(8, 3), nn.Linear(8, 3), nn.Sequential(nn.Linear(8, 5), nn.ReLU())
    x = torch.randn(6, 8)
    for one in [Runs(model) for model in models]:
        torch.testing.assert_close(one.graph(x), one.model(x))


def test_other_numbers_and_kinds_of_arguments_are_seen(compiler):
    graph = Graph(lambda x, factor: x * factor)
    x = torch.arange(8.0)
    assert torch.equal(graph(x, 2.0), 2.0 * x)
    assert torch.equal(graph(x, 3.0), 3.0 * x)
    assert torch.equal(graph(x.double(), 3.0), 3.0 * x.double())
    assert graph(x.clone().requires_grad_(), 3.0).requires_grad
    with torch.no_grad():
        assert not graph(x.clone().requires_grad_(), 3.0).requires_grad
