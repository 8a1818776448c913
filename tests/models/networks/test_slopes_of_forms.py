"""Where a trace stands in for a network it has the network's slopes, or does not stand in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import pytest
import torch
from torch import Tensor, nn

import assay
import zoo
from assay.models.networks import fused as fused_file
from assay.models.networks import graph
from assay.models.networks.fused import fused, may_be_asked
from toys import randn, randomised

DOUBLE = torch.float64
X = randn(1, 1, 8, 8, seed=3, dtype=DOUBLE)


class StraightThrough(torch.autograd.Function):
    """The sign forwards, the identity backwards."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.sign()

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:  # type: ignore[override]
        return slope


class Reversed(torch.autograd.Function):
    """The identity forwards, its negative backwards."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:  # type: ignore[override]
        return -slope


def without_slopes(h: Tensor) -> Tensor:
    with torch.no_grad():
        scale = 2 * h
    return h * scale


def switched_off(h: Tensor) -> Tensor:
    before = torch.is_grad_enabled()
    torch.set_grad_enabled(False)
    fixed = h.tanh()
    torch.set_grad_enabled(before)
    return h + fixed


@torch.no_grad()
def decorated(h: Tensor) -> Tensor:
    return h.exp()


LOST: dict[str, Callable[[Tensor], Tensor]] = {
    "straight through": StraightThrough.apply,
    "reversal": Reversed.apply,
    "no_grad": without_slopes,
    "set_grad_enabled": switched_off,
    "decorator": lambda h: h + decorated(h),
    "asks whether slopes are on": lambda h: (
        2 * h.detach() + h if torch.is_grad_enabled() else 3 * h
    ),
}
KEPT: dict[str, Callable[[Tensor], Tensor]] = {
    "detach": lambda h: h * h.detach(),
    "data": lambda h: h + h.data.tanh(),
    "plain": torch.tanh,
}


class Net(nn.Module):
    def __init__(self, step: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.norm, self.out = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(72, 2)
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        return self.behind(self.norm(self.conv(x)))

    def behind(self, h: Tensor) -> Tensor:
        out: Tensor = self.out(self.step(h).flatten(1))
        return out


def slope(forward: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    leaf = x.detach().clone().requires_grad_()
    (made,) = torch.autograd.grad(forward(leaf)[:, 0].sum(), leaf)
    return made.flatten(1)


@pytest.mark.parametrize("kind", LOST | KEPT)
def test_equal_rows_have_the_slopes_of_the_network_in_every_chunk(kind: str) -> None:
    net = randomised(Net((LOST | KEPT)[kind])).double()
    # Chunks of both memory formats: the second is the one that the fused form takes.
    plan = {"slopes of ((1, 8, 8),)": [[64, 0, 2], [64, 1, 3]]}
    rows = X.expand(320, 1, 8, 8)
    values = assay.Gradient()(assay.Question(assay.wrap(net, plan=plan), rows, target=0)).values
    expected = slope(net, X).expand(320, -1)
    torch.testing.assert_close(values, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", LOST | KEPT)
def test_behind_a_layer_slopes_are_those_of_the_network(kind: str) -> None:
    net = randomised(Net((LOST | KEPT)[kind])).double()
    values = assay.Gradient()(assay.Question(net, X, target=0).after("norm")).values
    expected = slope(net.behind, net.norm(net.conv(X)))
    torch.testing.assert_close(values, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KEPT)
def test_what_a_trace_keeps_is_still_captured(kind: str) -> None:
    net = randomised(Net(KEPT[kind])).double()
    assert graph.split(net, "norm", (X,), lambda out: out) is not None
    form = fused(net, (X,), lambda out: out)
    assert form is not None
    assert may_be_asked(form)


def test_a_form_with_other_slopes_still_serves_who_asks_for_outputs() -> None:
    net = randomised(Net(StraightThrough.apply)).double()
    model = assay.wrap(net)
    method = assay.IntegratedGradients(256)
    method(assay.Question(model, X, target=0))
    made = model._forms._fused  # type: ignore[attr-defined]
    assert made is not None
    assert not may_be_asked(made)
    assert model._forms._fused is made  # type: ignore[attr-defined]
    with torch.no_grad():
        assert may_be_asked(made)
        assert made(X).equal(made(X))
        torch.testing.assert_close(made(X), net(X), rtol=0, atol=1e-12)


def test_slopes_are_compared_where_the_trace_tells_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second net under the first: without the notes of the trace, the numbers tell."""
    monkeypatch.setattr(graph, "keeps_slopes", lambda nodes: True)
    monkeypatch.setattr(fused_file, "keeps_slopes", lambda nodes: True)
    net = randomised(Net(Reversed.apply)).double()
    form = fused(net, (X,), lambda out: out)
    assert form is not None
    assert not may_be_asked(form)
    assert graph.split(net, "norm", (X,), lambda out: out) is None


def test_slopes_of_single_precision_agree_where_units_flip() -> None:
    torch.manual_seed(0)
    net = randomised(
        nn.Sequential(nn.Conv2d(3, 32, 3), nn.BatchNorm2d(32), nn.ReLU(), nn.Flatten())
    )
    form = fused(net, (randn(4, 3, 40, 40, seed=1),), lambda out: out)
    assert form is not None
    assert may_be_asked(form)


@final
class Noted(nn.Module):
    """Convolves, and notes in which order of memory the images came."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.orders: list[Any] = []

    def forward(self, x: Tensor) -> Tensor:
        self.orders.append(x.stride())
        return self.conv(x).relu().flatten(1)


def test_forms_are_compared_in_the_order_in_which_they_are_asked() -> None:
    """Rounding differs between the orders, and pooling takes another of two pixels that tie."""
    net = Noted()
    assert fused(net, (randn(4, 1, 8, 8, seed=1),), lambda out: out) is not None
    orders = [order for order in net.orders if isinstance(order, tuple)]
    assert orders
    assert all(order[1] == 1 for order in orders)


@zoo.needs_data
def test_a_form_with_pooling_keeps_its_slopes_on_a_plain_background() -> None:
    """Near the black baseline pixels tie but for rounding."""
    net = zoo.DigitNet().eval().requires_grad_(False)
    images = zoo.mnist(count=50)[0]
    # The rows that integrated gradients of 50 steps are compared on.
    steps = torch.tensor([0.01, 0.33, 0.67, 0.99])[:, None, None, None]
    form = fused(net, (images[[0, 16, 33, 49]] * steps,), lambda out: out)
    assert form is not None
    assert may_be_asked(form)
