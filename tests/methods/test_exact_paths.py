"""Exact integrated gradients against their definition, and what is no piecewise linear network by its
name.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import assay
from assay.errors import AbilityError, AssayError, InputError, ModelError
from assay.methods.gradients import exact_paths
from assay.numerics.integration import quadrature
from toys import randn, randomised

DOUBLE = torch.float64
TIGHT = {"rtol": 0, "atol": 1e-10}
EXACT = assay.ExactIntegratedGradients()


def mlp(*sizes: int, seed: int = 0, activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inside, outside in itertools.pairwise(sizes):
        layers += [nn.Linear(inside, outside), activation()]
    net: nn.Sequential = randomised(nn.Sequential(*layers[:-1]), seed).double()
    return net


# --- the definition, written out


def slowly(net: nn.Sequential, x: Tensor, start: Tensor, output: int) -> tuple[Tensor, int]:
    """One input of a network of linear layers and rectifiers: the way is cut layer by layer, unit by
    unit, and the slope of each piece is a product of matrices.
    """
    linears = [layer for layer in net if isinstance(layer, nn.Linear)]

    def before(number: int, position: float) -> Tensor:
        """What goes into the rectifiers behind a linear layer."""
        h = start + position * (x - start)
        for layer in linears[:number]:
            h = layer(h).clamp(min=0)
        return linears[number](h)

    ends = [0.0, 1.0]
    for number in range(len(linears) - 1):
        cuts = []
        for a, b in itertools.pairwise(ends):
            left, right = before(number, a).tolist(), before(number, b).tolist()
            for one, other in zip(left, right):
                if min(one, other) < -1e-13 and max(one, other) > 1e-13:
                    cuts.append(a + (b - a) * one / (one - other))
        ends = sorted({*ends, *cuts})
    total = torch.zeros_like(x)
    for a, b in itertools.pairwise(ends):
        slope = torch.eye(len(x), dtype=DOUBLE)
        for number, layer in enumerate(linears):
            slope = layer.weight @ slope
            if number < len(linears) - 1:
                slope = (before(number, (a + b) / 2) > 0).to(DOUBLE)[:, None] * slope
        total += (b - a) * slope[output]
    return (x - start) * total, len(ends) - 1


@pytest.mark.parametrize("seed", range(4))
@torch.no_grad()
def test_it_is_the_sum_over_pieces(seed: int) -> None:
    net = mlp(5, 12, 9, 7, 3, seed=seed)
    x, start = randn(4, 5, seed=seed + 1, dtype=DOUBLE), randn(4, 5, seed=seed + 9, dtype=DOUBLE)
    answer = EXACT(assay.Question(net, x, target=2, removal=assay.Baseline(start)))
    for i in range(len(x)):
        values, pieces = slowly(net, x[i], start[i], 2)
        torch.testing.assert_close(answer.values[i], values, **TIGHT)
        assert answer.facts["pieces"][i] == pieces
    assert max(answer.facts["pieces"]) > 5
    assert answer.gap is not None
    assert float(answer.gap.abs().max()) < 1e-12


def test_without_the_way_it_is_the_mean_slope() -> None:
    net, x = mlp(5, 12, 3), randn(4, 5, dtype=DOUBLE)
    question = assay.Question(net, x, target=1, removal=assay.Baseline(0.3))
    local = assay.ExactIntegratedGradients(multiply=False)(question)
    torch.testing.assert_close(local.values * (x - 0.3), EXACT(question).values, **TIGHT)
    assert local.kind == "slope"


# --- networks of every kind


def joined(layer: nn.Module, h: Tensor, join: str) -> Tensor:
    """What a layer gives, beside what went in where their shapes allow it."""
    kept = h.clone()
    out: Tensor = layer(h)
    if join == "sum" and out.shape == kept.shape:
        return out + kept
    if join == "cat" and out.shape[2:] == kept.shape[2:]:
        return torch.cat([kept, out], 1)
    return out


class Random(nn.Module):
    """Layers that may be joined with what goes into them, and a linear head."""

    def __init__(self, layers: list[nn.Module], joins: list[str], units: int) -> None:
        super().__init__()
        self.layers, self.joins = nn.ModuleList(layers), joins
        self.head = nn.Linear(units, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = x
        for layer, join in zip(self.layers, self.joins):
            h = joined(layer, h, join)
        result: Tensor = self.head(h.flatten(1))
        return result


def convolution(draw: Any, channels: int) -> nn.Module:
    groups = draw(st.sampled_from([group for group in (1, 2) if channels % group == 0]))
    outside = groups * draw(st.integers(1, 2))
    size, stride = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    dilation = draw(st.integers(1, 2))
    if draw(st.booleans()):
        return nn.ConvTranspose2d(channels, outside, size, stride, groups=groups, dilation=dilation)
    return nn.Conv2d(channels, outside, size, stride, 2, dilation, groups)


def pooling(draw: Any) -> nn.Module:
    size = draw(st.integers(2, 3))
    at = {
        "stride": draw(st.integers(1, 3)),
        "padding": draw(st.integers(0, size // 2)),
        "ceil_mode": draw(st.booleans()),
    }
    kind = draw(st.sampled_from(["max", "average", "adaptive average", "adaptive maximum"]))
    if kind == "max":
        return nn.MaxPool2d(size, **at)
    if kind == "average":
        return nn.AvgPool2d(size, **at, count_include_pad=draw(st.booleans()))
    whole = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    return nn.AdaptiveAvgPool2d(whole) if kind[9:] == "average" else nn.AdaptiveMaxPool2d(whole)


RECTIFIERS: list[Callable[[], nn.Module]] = [
    nn.ReLU,
    lambda: nn.ReLU(inplace=True),
    lambda: nn.LeakyReLU(0.2),
    nn.ReLU6,
    lambda: nn.Hardtanh(-0.3, 0.5),
    nn.PReLU,
    lambda: nn.Threshold(0.1, 0.1),
    lambda: nn.Softshrink(0.1),
    nn.RReLU,
]


@st.composite
def networks(draw: Any) -> tuple[nn.Module, Tensor, Tensor]:
    """A network, inputs, and what is absent."""
    seed = draw(st.integers(0, 1000))
    h = randn(2, 2, 5, 6, seed=seed)
    layers: list[nn.Module] = []
    joins = []
    for _ in range(draw(st.integers(1, 3))):
        block = [convolution(draw, h.shape[1])]
        inside = block[0](h)
        if min(inside.shape[2:]) < 3 or inside.numel() > 2000:
            break
        if draw(st.booleans()):
            block.append(nn.BatchNorm2d(inside.shape[1]))
        block.append(draw(st.sampled_from(RECTIFIERS))())
        if draw(st.booleans()):
            block.append(pooling(draw))
        layers.append(nn.Sequential(*block).eval())
        joins.append(draw(st.sampled_from(["none", "sum", "cat"])))
        with torch.no_grad():
            h = joined(layers[-1], h, joins[-1])
    net = randomised(Random(layers, joins, h[0].numel()), seed).double()
    x, start = (randn(2, 2, 5, 6, seed=seed + k, dtype=DOUBLE) for k in (0, 1))
    return net, x, start


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(networks(), st.sampled_from([256, 256, 256, 4096]))
def test_random_networks_are_complete_and_agree_with_quadrature(
    made: tuple[nn.Module, Tensor, Tensor], steps: int
) -> None:
    net, x, start = made
    question = assay.Question(net, x, target=1, removal=assay.Baseline(start))
    answer = EXACT(question)
    assert answer.gap is not None
    # Where nothing changes there is no credit, and the gap is the rounding of the outputs.
    rounding = 16 * torch.finfo(DOUBLE).eps * float(answer.prediction.abs().max())
    credit = float(answer.values.abs().sum(1).max())
    assert float(answer.gap.abs().max()) <= 1e-9 * credit + rounding
    quadratured = assay.IntegratedGradients(steps=steps)(question).values
    off = (answer.values - quadratured).abs()
    assert bool((off <= quadrature_error(question, steps) + 1e-10).all())


def quadrature_error(question: assay.Question, steps: int) -> Tensor:
    """How far a rule of Gauss and Legendre may be off (n, elements): it misplaces each jump of the
    slope by no more than its largest weight (the separation theorem of Chebyshev, Markov and Stieltjes).
    """
    straight = exact_paths._Search((question,)).pieces()
    way = question.x - question.absent
    bound = torch.zeros_like(way)
    for i in range(question.n):
        own = straight.take(straight.owners == i)
        middles = ((own.starts + own.ends) / 2).sort().values
        points = question.absent[i] + middles[:, None] * way[i]
        slopes = question.take(torch.tensor([i])).slope(points[None])[0]
        bound[i] = (slopes.diff(dim=0).abs() * way[i].abs()).sum(0)
    return bound * float(quadrature("gauss_legendre", steps)[1].max())


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(networks())
def test_the_slope_is_constant_between_breakpoints(made: tuple[nn.Module, Tensor, Tensor]) -> None:
    net, x, start = made
    question = assay.Question(net, x, target=0, removal=assay.Baseline(start))
    straight = exact_paths._Search((question,)).pieces()
    # They cover the way of every input.
    lengths = torch.zeros(2, dtype=DOUBLE).index_add_(
        0, straight.owners, straight.ends - straight.starts
    )
    torch.testing.assert_close(lengths, torch.ones(2, dtype=DOUBLE), **TIGHT)
    long = straight.take(straight.ends - straight.starts > 1e-9)
    slopes = []
    for share in (0.02, 0.5, 0.98):
        positions = long.starts + share * (long.ends - long.starts)
        points = (
            question.absent[long.owners] + positions[:, None] * (x - start).flatten(1)[long.owners]
        )
        slopes.append(question.at(points, long.owners).slope())
    for other in slopes[1:]:
        torch.testing.assert_close(other, slopes[0], **TIGHT)


# --- one network in every spelling

W = randn(6, 7, seed=1, dtype=DOUBLE)
V = randn(7, 3, seed=2, dtype=DOUBLE)
C = randn(7, seed=4, dtype=DOUBLE)
X = randn(3, 6, seed=3, dtype=DOUBLE)
AWAY = assay.Baseline(randn(3, 6, seed=5, dtype=DOUBLE))


def hidden(x: Tensor) -> Tensor:
    return x @ W + C


def in_a_buffer(x: Tensor) -> Tensor:
    held = torch.zeros(len(x), 7, dtype=DOUBLE)
    held[:, :3] = hidden(x)[:, :3]
    held[:, 3:].copy_(hidden(x)[:, 3:])
    return held.relu_() @ V


RELU: dict[str, Callable[[Tensor], Tensor]] = {
    "in place": lambda x: F.relu(hidden(x), inplace=True) @ V,
    "clamp": lambda x: hidden(x).clamp(min=0) @ V,
    "clamp_": lambda x: hidden(x).clamp_(min=0.0) @ V,
    "maximum": lambda x: torch.maximum(hidden(x), torch.zeros((), dtype=DOUBLE)) @ V,
    "abs": lambda x: (hidden(x) + hidden(x).abs()) / 2 @ V,
    "gate": lambda x: (hidden(x) * (hidden(x) > 0)) @ V,
    "where": lambda x: torch.where(hidden(x) > 0, hidden(x), 0 * hidden(x)) @ V,
    "sign": lambda x: (hidden(x) * (hidden(x).sign() + 1) / 2) @ V,
    "maximum of two": lambda x: torch.stack([hidden(x), 0 * hidden(x)]).amax(0) @ V,
    "max": lambda x: torch.stack([hidden(x), 0 * hidden(x)], 2).max(2).values @ V,
    "min": lambda x: -torch.stack([-hidden(x), 0 * hidden(x)], 2).min(dim=-1)[0] @ V,
    "threshold": lambda x: F.threshold(hidden(x), 0.0, 0.0) @ V,
    "transposed": lambda x: F.relu(hidden(x).t()).t() @ V,
    "three dimensions": lambda x: F.relu(x[:, None].expand(-1, 2, -1) @ W + C).mean(1) @ V,
    "in a buffer": in_a_buffer,
    "pooled": lambda x: F.max_pool1d(torch.stack([hidden(x), 0 * hidden(x)], 2), 2).squeeze(2) @ V,
}


@pytest.mark.parametrize("spelling", RELU)
def test_every_spelling_is_the_same_network(spelling: str) -> None:
    plain = EXACT(assay.Question(lambda x: F.relu(hidden(x)) @ V, X, target=1, removal=AWAY))
    other = EXACT(assay.Question(RELU[spelling], X, target=1, removal=AWAY))
    torch.testing.assert_close(other.values, plain.values, **TIGHT)
    assert other.facts["pieces"] == plain.facts["pieces"]
    assert max(plain.facts["pieces"]) > 2


# --- the same answer, however it is asked


@pytest.mark.parametrize("rows", [1, 2, 3, 7])
def test_chunks_change_no_piece(rows: int) -> None:
    net, x = mlp(6, 20, 20, 3), randn(5, 6, dtype=DOUBLE)
    usual = EXACT(assay.Question(net, x, target=0, removal=assay.Baseline(1.0)))
    other = EXACT(
        assay.Question(assay.wrap(net, batch_size=rows), x, target=0, removal=assay.Baseline(1.0))
    )
    assert other.facts["pieces"] == usual.facts["pieces"]
    torch.testing.assert_close(other.values, usual.values, **TIGHT)


def interleaved(x: Tensor) -> Tensor:
    return F.relu(hidden(x).t().reshape(-1, 1)).view(7, -1).t() @ V


def test_rows_that_take_turns_are_refused_or_asked_one_by_one() -> None:
    with pytest.raises(ModelError, match=r"rows that take turns.*batch_size=1"):
        EXACT(assay.Question(interleaved, X, target=1, removal=AWAY))
    alone = EXACT(assay.Question(assay.wrap(interleaved, batch_size=1), X, target=1, removal=AWAY))
    plain = EXACT(assay.Question(RELU["clamp"], X, target=1, removal=AWAY))
    torch.testing.assert_close(alone.values, plain.values, **TIGHT)


def test_single_precision_comes_near() -> None:
    net, x = mlp(6, 30, 30, 3), randn(5, 6, dtype=DOUBLE)
    fine = EXACT(assay.Question(net, x, target=0, removal=assay.Baseline(1.0))).values
    plain = EXACT(assay.Question(net.float(), x.float(), target=0, removal=assay.Baseline(1.0)))
    torch.testing.assert_close(plain.values.double(), fine, rtol=0, atol=2e-5)


def test_behind_a_layer_up_to_one_and_with_several_inputs() -> None:
    net, x = mlp(5, 9, 8, 3), randn(3, 5, dtype=DOUBLE)
    question = assay.Question(net, x, target=1, removal=assay.Baseline(0.5))
    for asked in (question.after("1"), question.after("2"), question.upto("2", 4)):
        answer = EXACT(asked)
        assert answer.gap is not None
        assert float(answer.gap.abs().max()) < 1e-12
        near = assay.IntegratedGradients(steps=4096)(asked).values
        torch.testing.assert_close(answer.values, near, rtol=0, atol=1e-4)

    def both(a: Tensor, b: Tensor) -> Tensor:
        return F.relu(a @ W + 2 * (b @ W[:4])) @ V

    pair = (X, randn(3, 4, seed=8, dtype=DOUBLE))
    answer = EXACT(assay.Question(both, pair, target=0, removal=assay.Baseline(0.2)))
    whole = torch.cat([W, 2 * W[:4]])
    one = EXACT(
        assay.Question(
            lambda x: F.relu(x @ whole) @ V,
            torch.cat(pair, 1),
            target=0,
            removal=assay.Baseline(0.2),
        )
    )
    torch.testing.assert_close(answer.values, one.values, **TIGHT)


def test_context_follows_its_input() -> None:
    shifts = randn(3, 7, seed=6, dtype=DOUBLE)

    def shifted(x: Tensor, shift: Tensor) -> Tensor:
        return F.relu(x @ W + shift) @ V

    answer = EXACT(
        assay.Question(shifted, X, target=2, removal=AWAY, context={"shift": assay.Aligned(shifts)})
    )
    for i in range(len(X)):
        alone = assay.Question(
            lambda x, i=i: F.relu(x @ W + shifts[i]) @ V,
            X[i : i + 1],
            target=2,
            removal=assay.Baseline(AWAY.value[i : i + 1]),
        )
        torch.testing.assert_close(answer.values[i : i + 1], EXACT(alone).values, **TIGHT)


@pytest.mark.parametrize(
    "target", [assay.Contrast(0, 2), assay.Negated(1), lambda outputs: outputs.amax(1)]
)
def test_targets_that_bend_or_do_not(target: Any) -> None:
    question = assay.Question(RELU["clamp"], X, target=target, removal=AWAY)
    answer = EXACT(question)
    assert answer.gap is not None
    assert float(answer.gap.abs().max()) < 1e-12
    # What 4,096 steps miss at kinks, 1.2e-3 at most.
    near = assay.IntegratedGradients(steps=4096)(question).values
    torch.testing.assert_close(answer.values, near, rtol=0, atol=2e-3)


def test_ties_are_no_breakpoints() -> None:
    """Units that are 0 all along the way, equal units, windows of equal numbers."""
    twice = torch.cat([W, W], 1)

    def tied(x: Tensor) -> Tensor:
        h = F.relu(x @ twice)
        return F.max_pool1d(h[:, None], 2, 1)[:, 0] @ torch.ones(13, 1, dtype=DOUBLE)

    x = X.clone()
    x[0] = 0
    answer = EXACT(assay.Question(tied, x, removal=assay.Baseline(0.0)))
    assert answer.facts["pieces"] == [1, 1, 1]
    assert answer.gap is not None
    assert float(answer.gap.abs().max()) < 1e-12


def test_all_outputs_share_the_search() -> None:
    net, x = mlp(6, 20, 3), randn(4, 6, dtype=DOUBLE)
    question = assay.Question(net, x, removal=assay.Baseline(1.0))
    together = EXACT.for_outputs(question)
    for output, answer in enumerate(together):
        alone = EXACT(assay.Question(net, x, target=output, removal=assay.Baseline(1.0)))
        torch.testing.assert_close(answer.values, alone.values, rtol=0, atol=1e-12)
    assert together[0].facts["forwards"] == alone.facts["forwards"]


# --- adaptive quadrature against it


@pytest.mark.parametrize("tolerance", [1e-2, 1e-3])
def test_adaptive_quadrature_comes_as_near_as_its_steps_allow(tolerance: float) -> None:
    net, x = mlp(6, 12, 3), randn(4, 6, dtype=DOUBLE)
    question = assay.Question(net, x, target=0, removal=assay.Baseline(1.0))
    near = assay.IntegratedGradients(steps=8, tolerance=tolerance)(question)
    exact = EXACT(question)
    assert near.facts["converged"]
    assert near.gap is not None
    assert float(near.gap.abs().max()) < tolerance
    # A small sum of errors does not make each of them small: the bound is that of the first steps.
    assert bool(((near.values - exact.values).abs() <= quadrature_error(question, 8)).all())


# --- what is refused, by its name


def line(x: Tensor) -> Tensor:
    return torch.tanh(hidden(x)) @ V


def straight_through(x: Tensor) -> Tensor:
    h = hidden(x)
    return (h + (h.sign() - h).detach()) @ V


REFUSED: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "tanh": (line, r"the operation tanh in line \d+ of test_exact_paths.py: return torch.tanh"),
    "softmax": (lambda x: F.softmax(hidden(x), 1) @ V, "the operation softmax in line"),
    "layer norm": (lambda x: F.layer_norm(hidden(x), (7,)) @ V, "native_layer_norm in line"),
    "product": (lambda x: (hidden(x) * hidden(x)) @ V, r"a product of two signals \(mul\)"),
    "attention": (
        lambda x: (hidden(x)[:, None] @ hidden(x)[:, :, None])[:, 0],
        "product of two signals",
    ),
    "quotient": (lambda x: hidden(x) / hidden(x).abs().sum(1, True), "quotient by a signal"),
    "square": (lambda x: (hidden(x) ** 2) @ V, "the operation pow"),
    "gelu": (lambda x: F.gelu(hidden(x)) @ V, "the operation gelu"),
    "order": (lambda x: hidden(x).topk(2, 1).values, "the operation topk"),
    "place": (lambda x: hidden(x).gather(1, hidden(x).argmax(1, True)), "the operation argmax"),
    "whole": (lambda x: (hidden(x) + hidden(x).long()) @ V, "a signal made whole numbers"),
    "jump": (lambda x: F.threshold(hidden(x), 0.1, 3.0) @ V, "a jump"),
    "hidden jump": (lambda x: torch.where(hidden(x) > 0, hidden(x) + 1, hidden(x)) @ V, "jumps"),
    "straight through": (straight_through, "has slopes of its own"),
    "norm of its own": (
        lambda x: F.instance_norm(hidden(x)[:, None])[:, 0] @ V,
        "statistics of the inputs",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_linear_piece_by_piece_is_refused_by_its_name(name: str) -> None:
    forward, match = REFUSED[name]
    with pytest.raises(AssayError, match=match) as caught:
        EXACT(assay.Question(forward, X, target=0, removal=AWAY))
    assert isinstance(caught.value, AbilityError)
    assert "IntegratedGradients" in caught.value.advice


@pytest.mark.parametrize("target", [assay.LogProb(1), assay.LogOdds(1)])
def test_targets_that_are_not_linear_are_refused_by_their_name(target: Any) -> None:
    with pytest.raises(AbilityError, match=rf"target {type(target).__name__}.*the operation"):
        EXACT(assay.Question(RELU["clamp"], X, target=target, removal=AWAY))


def test_what_no_score_depends_on_is_not_refused() -> None:
    def aside(x: Tensor) -> Tensor:
        torch.tanh(x)
        return F.relu(hidden(x)) @ V

    answer = EXACT(assay.Question(aside, X, target=1, removal=AWAY))
    plain = EXACT(assay.Question(RELU["clamp"], X, target=1, removal=AWAY))
    assert torch.equal(answer.values, plain.values)


def test_several_replacements_are_refused() -> None:
    with pytest.raises(InputError, match="one replacement"):
        EXACT(assay.Question(RELU["clamp"], X, target=0, removal=assay.Background(X)))


def test_scripted_and_parallel_networks_give_the_same() -> None:
    net, x = mlp(6, 12, 3), randn(4, 6, dtype=DOUBLE)
    usual = EXACT(assay.Question(net, x, target=0, removal=assay.Baseline(1.0)))
    for other in (torch.jit.trace(net, x[:2]), nn.DataParallel(net)):
        answer = EXACT(assay.Question(other, x, target=0, removal=assay.Baseline(1.0)))
        torch.testing.assert_close(answer.values, usual.values, **TIGHT)
        assert answer.facts["pieces"] == usual.facts["pieces"]
