"""fp32 products on AMX: as near to the true ones as torch's, for every layout, size and number of threads."""

from uuid import uuid4

import pytest
import torch
from torch import nn

from appliance.models import amx
from appliance.models.graphs import Graph


@pytest.fixture
def product(compiler):
    if not amx.load():
        pytest.skip("this CPU, or its compiler, has no AMX")
    return torch.ops.appliance.product


def random(rows, columns, *, turned=False):
    return torch.randn(columns, rows).t() if turned else torch.randn(rows, columns)


def error(found, a, b):
    """Of a product: its largest, as a share of the sum of the absolute products."""
    return ((found.double() - a.double() @ b.double()).abs() / (a.double().abs() @ b.double().abs())).max().item()


@pytest.mark.parametrize("turned", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize(
    "sizes", [(1, 1, 1), (33, 47, 65), (64, 512, 128), (300, 513, 96), (40, 1100, 31), (5, 40, 4200)]
)
def test_products_are_as_exact_as_torchs(product, sizes, turned):
    torch.manual_seed(0)
    m, k, n = sizes
    a, b = random(m, k, turned=turned[0]), random(k, n, turned=turned[1])
    assert error(product(a, b), a, b) <= 2 * max(error(a @ b, a, b), 2**-24)  # without one of six: 4e-7 to 3e-6


def test_factors_of_very_different_size_keep_their_digits(product):
    torch.manual_seed(0)
    a, b = (random(64, 64) * torch.logspace(-12, 12, 64)[:, None] for _ in range(2))
    assert error(product(a, b.t()), a, b.t()) < 2**-22


def test_factors_may_be_slices_and_need_not_lie_in_lines(product):
    torch.manual_seed(0)
    wide = torch.randn(90, 200)
    for a in (wide[3:70, 5:120], wide[::2, :115], wide[:60, ::3]):
        b = torch.randn(a.shape[1], 50)
        torch.testing.assert_close(product(a, b), a @ b)


def test_a_row_does_not_depend_on_the_others_nor_on_the_threads(product):
    torch.manual_seed(0)
    a, b = random(200, 700), random(700, 130)
    whole, before = product(a, b), torch.get_num_threads()
    assert torch.equal(product(a[37:80], b), whole[37:80])
    assert torch.equal(product(a[:, :], b[:, 11:40]), whole[:, 11:40])
    try:
        torch.set_num_threads(3)
        assert torch.equal(product(a, b), whole)
    finally:
        torch.set_num_threads(before)


def test_what_is_not_finite_is_not_hidden(product):
    a = torch.zeros(32, 32)
    a[0, 0], a[1, 0] = float("inf"), float("nan")
    found = product(a, torch.ones(32, 32))
    assert not found[:2].isfinite().any()
    assert not found[2:].any()


def test_the_inner_size_may_be_nothing(product):
    assert not product(torch.ones(3, 0), torch.ones(0, 4)).any()


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (torch.ones(2, 3), torch.ones(2, 3)),
        (torch.ones(3), torch.ones(3, 2)),
        (torch.ones(2, 3).bfloat16(), torch.ones(3, 2)),
    ],
    ids=["sizes", "vector", "bf16"],
)
def test_other_factors_are_refused(product, a, b):
    with pytest.raises(RuntimeError, match="product"):
        product(a, b)


def test_torchs_own_products_on_tiles_go_on_beside_it(product):
    torch.manual_seed(0)
    a, b = random(64, 256), random(256, 64)
    expected = a.bfloat16() @ b.bfloat16()
    for _ in range(3):
        product(a, b)
        assert torch.equal(a.bfloat16() @ b.bfloat16(), expected)


def test_a_graph_has_it_where_factors_are_wide_and_fp32(product, monkeypatch):
    taken = []
    monkeypatch.setattr("appliance.models.fusing.Rewriting.uuid", lambda self: str(uuid4()))  # torch has not met it
    monkeypatch.setattr(
        "appliance.models.amx._is_wide", lambda node, told=amx._is_wide: taken.append(told(node)) or taken[-1]
    )
    torch.manual_seed(0)
    run, x = nn.Sequential(nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 8)), 10 * torch.randn(70, 256)
    graph = Graph(run.forward, amx=True)
    close = {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(graph(x), run(x), **close)
    assert taken[:2] == [True, False]  # then come those of the backward pass
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(graph(x).sum(), x)
    (expected,) = torch.autograd.grad(run(x).sum(), x)
    torch.testing.assert_close(gradient, expected, **close)


def test_a_graph_is_torchs_own_where_there_is_no_amx(compiler, monkeypatch):
    monkeypatch.setattr(amx, "load", lambda: False)
    monkeypatch.setattr("appliance.models.fusing.Rewriting.uuid", lambda self: str(uuid4()))  # torch has not met it
    monkeypatch.setattr("appliance.models.fusing.take_products", lambda graph: pytest.fail("there is no AMX"))
    x, w = torch.randn(8, 256), torch.randn(256, 256)
    torch.testing.assert_close(Graph(lambda x: x @ w, amx=True)(x), x @ w)
