"""Internal influence against its definition, the methods that it contains, and known values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import assay
from assay.errors import AbilityError, AssayError, InputError, SettingError, SettingKindError
from assay.methods.influence import Distribution, WeightedPoints
from assay.numerics import rng
from toys import randn, randomised

DOUBLE = torch.float64
TIGHT = {"rtol": 0, "atol": 1e-10}


class Skipping(nn.Module):
    """A layer with a shortcut around it, which a trace can follow or not."""

    def __init__(self, traced: bool = True) -> None:
        super().__init__()
        self.inner = nn.Linear(5, 6)
        self.act = nn.Tanh()
        self.side = nn.Linear(5, 6)
        self.head = nn.Linear(6, 3)
        self.traced = traced

    def forward(self, x: Tensor) -> Tensor:
        if not self.traced and bool(x.sum() > 1e9):
            return x
        return self.rest(self.act(self.inner(x)), x)

    def rest(self, h: Tensor, x: Tensor) -> Tensor:
        result: Tensor = torch.tanh(self.head(h * 1.5 + self.side(x)))
        return result


X = randn(4, 5, seed=2, dtype=DOUBLE)
ABSENT = randn(4, 5, seed=8, dtype=DOUBLE) / 2
ROWS = randn(7, 5, seed=9, dtype=DOUBLE)
CONTRAST = assay.Contrast(2, 0)
NODES = [((1 - 0.6**0.5) / 2, 5 / 18), (0.5, 8 / 18), ((1 + 0.6**0.5) / 2, 5 / 18)]
"""Gauss-Legendre with three nodes, by hand."""


def network(traced: bool = True) -> Skipping:
    made: Skipping = randomised(Skipping(traced), 4).double()
    return made


def ask(net: nn.Module, **more: Any) -> assay.Question:
    return assay.Question(net, X, **{"target": CONTRAST, "removal": assay.Baseline(ABSENT), **more})


def slope_at(net: Skipping, h: Tensor, x: Tensor) -> Tensor:
    """The slope of the contrast at one activation, what skips past it being that of x."""
    leaf = h.detach().clone().requires_grad_()
    out = net.rest(leaf, x)
    (slope,) = torch.autograd.grad(out[2] - out[0], leaf)
    return slope


def distributions(i: int, seed: int) -> dict[str, tuple[Distribution, list[tuple[Tensor, float]]]]:
    """Every distribution at the inputs, and its points with their weights for input i."""
    keys = ask(network()).keys
    noise = rng.streams(seed, keys, "influence").normal((0, 6), 5, DOUBLE)[i]
    line = [(ABSENT[i] + a * (X[i] - ABSENT[i]), w) for a, w in NODES]
    return {
        "point": (assay.PointDistribution(), [(X[i], 1.0)]),
        "line": (assay.LineDistribution(steps=3), line),
        "gaussian": (
            assay.GaussianDistribution(0.3, draws=6),
            [(X[i] + 0.3 * e, 1 / 6) for e in noise],
        ),
        "data": (assay.DataDistribution(ROWS), [(row, 1 / 7) for row in ROWS]),
    }


NAMES = ("point", "line", "gaussian", "data")


@pytest.mark.parametrize("traced", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_behind_a_layer_it_is_the_mean_slope_over_inputs_that_lead_there(
    name: str, traced: bool
) -> None:
    """Point by point: what skips past the layer is that of the point, too."""
    net = network(traced)
    behind = ask(net).after("act")
    for i in range(len(X)):
        distribution, points = distributions(i, seed=3)[name]
        made = assay.InternalInfluence(distribution)(behind, seed=3).values[i]
        expected = torch.zeros(6, dtype=DOUBLE)
        for point, weight in points:
            expected += weight * slope_at(net, net.act(net.inner(point)), point)
        torch.testing.assert_close(made, expected, **TIGHT)


@pytest.mark.parametrize("name", NAMES)
def test_at_the_inputs_it_is_the_mean_slope_of_the_network(name: str) -> None:
    net = network()
    question = ask(net)
    for i in range(len(X)):
        distribution, points = distributions(i, seed=3)[name]
        made = assay.InternalInfluence(distribution)(question, seed=3).values[i]
        expected = torch.zeros(5, dtype=DOUBLE)
        for point, weight in points:
            leaf = point.clone().requires_grad_()
            out = net(leaf)
            expected += weight * torch.autograd.grad(out[2] - out[0], leaf)[0]
        torch.testing.assert_close(made, expected, **TIGHT)


@pytest.mark.parametrize("traced", [True, False])
def test_a_distribution_at_the_layer_moves_activations_alone(traced: bool) -> None:
    """What skips past the layer stays that of the input."""
    net = network(traced)
    behind = ask(net).after("act")
    h, absent = net.act(net.inner(X)), net.act(net.inner(ABSENT))
    noise = rng.streams(1, ask(net).keys, "influence").normal((0, 4), 6, DOUBLE)
    data = randn(3, 6, seed=5, dtype=DOUBLE)
    cases: list[tuple[Distribution, Any]] = [
        (
            assay.LineDistribution(steps=3, at="layer"),
            lambda i: [(absent[i] + a * (h[i] - absent[i]), w) for a, w in NODES],
        ),
        (
            assay.GaussianDistribution(0.2, draws=4, at="layer"),
            lambda i: [(h[i] + 0.2 * e, 1 / 4) for e in noise[i]],
        ),
        (assay.DataDistribution(data, at="layer"), lambda i: [(row, 1 / 3) for row in data]),
        (assay.PointDistribution(at="layer"), lambda i: [(h[i], 1.0)]),
    ]
    for distribution, points in cases:
        made = assay.InternalInfluence(distribution)(behind, seed=1).values
        for i in range(len(X)):
            expected = sum(weight * slope_at(net, point, X[i]) for point, weight in points(i))
            torch.testing.assert_close(made[i], expected, **TIGHT)


class Deep(nn.Module):
    """Two layers, one behind the other, with a shortcut around each; a trace can follow it or not."""

    def __init__(self, traced: bool) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(5, 6), nn.Tanh())
        self.second = nn.Sequential(nn.Linear(6, 4), nn.Tanh())
        self.side = nn.Linear(5, 4)
        self.around = nn.Linear(6, 3)
        self.head = nn.Linear(4, 3)
        self.traced = traced

    def forward(self, x: Tensor, scale: Tensor | None = None) -> Tensor:
        if not self.traced and bool(x.sum() > 1e9):
            return x
        h = self.first(x)
        out = self.rest(self.second(h), h, x)
        return out if scale is None else out * scale

    def rest(self, u: Tensor, h: Tensor, x: Tensor) -> Tensor:
        result: Tensor = torch.tanh(self.head(u * self.side(x)) + self.around(h))
        return result


@pytest.mark.parametrize("traced", [True, False])
@pytest.mark.parametrize("at", ["first", "first.1"])  # the latter a leaf of a trace
def test_a_distribution_at_an_earlier_layer_moves_its_activations_alone(
    at: str, traced: bool
) -> None:
    """Units of the second layer, points at the first: what skips past the first is the input's, what
    skips past the second the point's.
    """
    net = randomised(Deep(traced), 6).double()
    behind = ask(net).after("second")
    h, absent = net.first(X).detach(), net.first(ABSENT).detach()
    noise = rng.streams(1, ask(net).keys, "influence").normal((0, 4), 6, DOUBLE)
    data = randn(3, 6, seed=5, dtype=DOUBLE)
    cases: list[tuple[Distribution, Any]] = [
        (
            assay.LineDistribution(steps=3, at=at),
            lambda i: [(absent[i] + a * (h[i] - absent[i]), w) for a, w in NODES],
        ),
        (
            assay.GaussianDistribution(0.2, draws=4, at=at),
            lambda i: [(h[i] + 0.2 * e, 1 / 4) for e in noise[i]],
        ),
        (assay.DataDistribution(data, at=at), lambda i: [(row, 1 / 3) for row in data]),
        (assay.PointDistribution(at=at), lambda i: [(h[i], 1.0)]),
    ]
    for distribution, points in cases:
        answer = assay.InternalInfluence(distribution)(behind, seed=1)
        for i in range(len(X)):
            slopes, weights = zip(*((_slope(net, z, X[i]), weight) for z, weight in points(i)))
            expected = sum(weight * slope for slope, weight in zip(slopes, weights))
            torch.testing.assert_close(answer.values[i], expected, **TIGHT)
            if answer.standard_error is not None:
                error = torch.stack(slopes).std(0) / len(slopes) ** 0.5
                torch.testing.assert_close(answer.standard_error[i], error, **TIGHT)


def _slope(net: Deep, h: Tensor, x: Tensor) -> Tensor:
    """The slope of the contrast at the second layer, the first giving h."""
    leaf = net.second(h).detach().requires_grad_()
    out = net.rest(leaf, h, x)
    (slope,) = torch.autograd.grad(out[2] - out[0], leaf)
    return slope


def test_an_earlier_layer_with_features_outputs_and_context() -> None:
    net = randomised(Deep(True), 6).double()
    scales = torch.tensor([1.0, 2.0, -1.0, 0.5], dtype=DOUBLE)[:, None]
    question = ask(net, context={"scale": assay.Aligned(scales)})
    line = assay.InternalInfluence(assay.LineDistribution(steps=3, at="first"))
    units = line(ask(net).after("second")).values
    torch.testing.assert_close(line(question.after("second")).values, units * scales, **TIGHT)
    pairs = question.after("second", assay.Labels(torch.tensor([0, 0, 1, 1])))
    pooled = (units * scales).view(4, 2, 2).sum(2)
    torch.testing.assert_close(line(pairs).values, pooled, **TIGHT)
    for output, answer in enumerate(line.for_outputs(question.after("second"))):
        alone = line(ask(net, target=output).after("second")).values * scales
        torch.testing.assert_close(answer.values, alone, **TIGHT)
    found = assay.expert(ask(net), "second", assay.LineDistribution(steps=3, at="first"))
    torch.testing.assert_close(found.influences, units.mean(0), **TIGHT)
    # No hook is left, and the network answers as before.
    assert not any(part._forward_hooks for part in net.modules())


def test_it_contains_the_methods_of_slopes() -> None:
    question = ask(network())
    line = assay.InternalInfluence(assay.LineDistribution(steps=6))
    point = assay.InternalInfluence(assay.PointDistribution())
    pairs = [
        (point, assay.Gradient()),
        (line, assay.IntegratedGradients(steps=6, multiply=False)),
        (assay.TimesInput(line), assay.IntegratedGradients(steps=6)),
    ]
    for made, known in pairs:
        torch.testing.assert_close(made(question).values, known(question).values, **TIGHT)
    behind = question.after("act")
    conductance = assay.Conductance(steps=6, multiply=False)(behind).values
    torch.testing.assert_close(line(behind).values, conductance, **TIGHT)


@pytest.mark.parametrize(
    ("layer", "x", "start", "values"),
    [
        ("linear0", 100.0, 0.0, [3.9, 3.9, 3.9]),
        ("linear1", 100.0, 0.0, [0.9, 1, 1, 1]),
        ("linear1", 80.0, -20.0, [0.7, 0.81, 0.81, 0.81]),
    ],
)
def test_known_layers(layer: str, x: float, start: float, values: list[float]) -> None:
    """Captum's own test has .8 for the last three of the last, within a tolerance of .01."""
    net = nn.Sequential()
    net.add_module("linear0", nn.Linear(3, 3, bias=False))
    net.add_module("linear1", nn.Linear(3, 4))
    net.add_module("relu", nn.ReLU())
    net.add_module("linear2", nn.Linear(4, 2))
    with torch.no_grad():
        net.linear0.weight.copy_(torch.eye(3))
        net.linear1.weight.fill_(1)
        net.linear1.bias.copy_(torch.tensor([-10.0, 1, 1, 1]))
        net.linear2.weight.fill_(1)
        net.linear2.bias.copy_(torch.tensor([-1.0, 1]))
    rows = torch.tensor([[0, x, 0]], dtype=DOUBLE)
    removal = assay.Baseline(torch.tensor([[0, start, 0]], dtype=DOUBLE))
    question = assay.Question(net.double(), rows, target=0, removal=removal)
    # The rectifier opens between two nodes of the rule: nothing is lost.
    line = assay.LineDistribution(steps=100, rule="middle")
    made = assay.InternalInfluence(line)(question.after(layer)).values
    torch.testing.assert_close(made, torch.tensor([values], dtype=DOUBLE), **TIGHT)


def test_the_line_is_an_integral_and_no_mean_over_its_ends() -> None:
    """f = x^3 from 0 to 1: the plain mean over eleven nodes with both ends gives 1.05."""
    question = assay.Question(lambda x: (x**3).sum(1), torch.ones(1, 1, dtype=DOUBLE))
    made = assay.InternalInfluence(assay.LineDistribution(steps=2))(question).values
    torch.testing.assert_close(made, torch.ones(1, 1, dtype=DOUBLE), **TIGHT)


def test_the_class_is_that_of_the_input_at_every_point() -> None:
    """On the way another class is predicted: the mean slope is that of the input's own class."""
    net = nn.Linear(2, 2, bias=False).double()
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[1.0, 0.0], [-3.0, 1.0]]))
    x = torch.tensor([[2.0, 1.0]], dtype=DOUBLE)
    start = assay.Baseline(torch.tensor([[-2.0, 1.0]], dtype=DOUBLE))
    question = assay.Question(net, x, removal=start)
    made = assay.InternalInfluence(assay.LineDistribution(steps=4))(question).values
    torch.testing.assert_close(made, torch.tensor([[1.0, 0.0]], dtype=DOUBLE), **TIGHT)


def test_the_standard_error_is_that_of_the_mean_over_draws() -> None:
    net = network()
    for at, size in (("inputs", 5), ("layer", 6)):
        behind = ask(net).after("act")
        method = assay.InternalInfluence(assay.GaussianDistribution(0.4, draws=9, at=at))
        answer = method(behind, seed=2)
        noise = rng.streams(2, behind.keys, "influence").normal((0, 9), size, DOUBLE)
        for i in range(len(X)):
            slopes = []
            for e in noise[i]:
                point = X[i] + 0.4 * e if at == "inputs" else X[i]
                h = net.act(net.inner(point))
                slopes.append(slope_at(net, h if at == "inputs" else h + 0.4 * e, point))
            expected = torch.stack(slopes).std(0) / 3
            assert answer.standard_error is not None
            torch.testing.assert_close(answer.standard_error[i], expected, **TIGHT)


@pytest.mark.parametrize("at", ["inputs", "layer"])
def test_draws_are_an_input_s_own(at: str) -> None:
    """Neither the inputs beside it nor their number, nor how draws are cut into chunks."""
    method = assay.InternalInfluence(assay.GaussianDistribution(0.4, draws=5, at=at))
    together = method(ask(network()).after("act"), seed=2).values
    for i in (0, 3):
        alone = ask(network()).part(i, i + 1).after("act")
        torch.testing.assert_close(method(alone, seed=2).values[0], together[i], **TIGHT)


def test_features_of_several_units_pool_slopes() -> None:
    groups = assay.Labels(torch.tensor([0, 0, 1, 1, 1, 2]))
    behind = ask(network()).after("act", groups)
    line = assay.InternalInfluence(assay.LineDistribution(steps=3))
    units = line(ask(network()).after("act")).values
    expected = torch.stack([units[:, :2].sum(1), units[:, 2:5].sum(1), units[:, 5]], 1)
    torch.testing.assert_close(line(behind).values, expected, **TIGHT)
    noisy = assay.InternalInfluence(assay.GaussianDistribution(0.3, draws=5))
    errors = noisy(behind).standard_error
    assert errors is not None
    assert errors.shape == (4, 3)


def test_all_outputs_at_once() -> None:
    for distribution, _ in distributions(0, 0).values():
        method = assay.InternalInfluence(distribution)
        together = method.for_outputs(ask(network()).after("act"))
        for output, answer in enumerate(together):
            alone = method(ask(network(), target=output).after("act"))
            torch.testing.assert_close(answer.values, alone.values, **TIGHT)


def test_a_distribution_of_one_s_own() -> None:
    class Ends(Distribution):
        at = "inputs"

        def points(self, question: assay.Question, seed: int) -> WeightedPoints:
            ends = torch.stack([question.absent, question.x])
            return WeightedPoints(
                torch.tensor([0.25, 0.75], dtype=DOUBLE), lambda rows, numbers: ends[numbers, rows]
            )

    question = ask(network())
    made = assay.InternalInfluence(Ends())(question).values
    slopes = [question.at(points).slope() for points in (ABSENT, X)]
    torch.testing.assert_close(made, slopes[0] / 4 + slopes[1] * 3 / 4, **TIGHT)


def refused() -> Iterator[tuple[str, type[AssayError], Any]]:
    behind = ask(network()).after("act")
    many = ask(network(), removal=assay.Background(ROWS))
    influence = assay.InternalInfluence
    at_layer = assay.LineDistribution(at="layer")
    gap = torch.full((1, 5), torch.nan, dtype=DOUBLE)
    yield "one at the network's inputs", InputError, lambda: influence(at_layer)(ask(network()))
    yield "one replacement", InputError, lambda: influence()(many)
    yield "one replacement", InputError, lambda: influence()(many.after("act"))
    yield "one replacement", InputError, lambda: influence(at_layer)(many.after("act"))
    yield "finite", InputError, lambda: influence(assay.DataDistribution(gap))(behind)
    yield "none", InputError, lambda: influence(assay.DataDistribution(ROWS[:0]))(behind)
    yield "shape", AssayError, lambda: influence(assay.DataDistribution(X[:, :3]))(behind)
    yield "'layer'", SettingError, lambda: assay.PointDistribution(at="")
    named = influence(assay.LineDistribution(at="fist"))
    deep = ask(randomised(Deep(True), 6).double())
    yield "near it: first", AbilityError, lambda: named(deep.after("second"))
    yield "at the network's inputs", InputError, lambda: named(deep)
    later = influence(assay.LineDistribution(at="second"))
    yield "does not depend", InputError, lambda: later(deep.after("first"))
    yield "does not depend", InputError, lambda: later(deep.after("second"))
    both = deep.after(["second", "side"])
    yield "one layer", InputError, lambda: influence(assay.LineDistribution(at="first"))(both)
    yield "above 0", SettingError, lambda: assay.GaussianDistribution(0.0)
    yield "2 draws", SettingError, lambda: assay.GaussianDistribution(1.0, draws=1)
    yield "steps", InputError, lambda: assay.LineDistribution(steps=0)
    yield "distribution", SettingKindError, lambda: influence("line")
    smoothed = assay.Smoothed(influence(assay.LineDistribution(steps=2)), draws=2)
    yield "inputs lead to", InputError, lambda: smoothed(behind)


@pytest.mark.parametrize("number", range(18))
def test_refusals(number: int) -> None:
    words, kind, work = list(refused())[number]
    with pytest.raises(kind, match=words):
        work()
