"""Every method of slopes and paths against its definition, written slowly: one input, one node, one
draw at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor

import assay
from assay.numerics import rng
from assay.numerics.integration import Rule, quadrature
from assay.question import question as question_module
from toys import FEATURES, Residual, randn, randomised, tanh_net

DOUBLE = torch.float64
NET = tanh_net().double()
X = randn(3, FEATURES, seed=2, dtype=DOUBLE)
B = randn(3, FEATURES, seed=3, dtype=DOUBLE)
TIGHT = {"rtol": 0, "atol": 1e-10}


def f(point: Tensor) -> Tensor:
    out: Tensor = NET(point.unsqueeze(0))[0, 1]
    return out


def slope(point: Tensor) -> Tensor:
    leaf = point.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(f(leaf), leaf)
    return gradient


def ask(**more: Any) -> assay.Question:
    return assay.Question(NET, X, **{"target": 1, "removal": assay.Baseline(B), **more})


def each(of: Callable[[int], Tensor]) -> Tensor:
    return torch.stack([of(i) for i in range(len(X))])


def nodes(rule: Rule, steps: int) -> list[tuple[float, float]]:
    """Positions and weights, written out rule by rule."""
    if rule == "left":
        return [(k / steps, 1 / steps) for k in range(steps)]
    if rule == "right":
        return [(k / steps, 1 / steps) for k in range(1, steps + 1)]
    if rule == "middle":
        return [((k - 0.5) / steps, 1 / steps) for k in range(1, steps + 1)]
    if rule == "trapezoid":
        ends = (0, steps - 1)
        return [(k / (steps - 1), (0.5 if k in ends else 1.0) / (steps - 1)) for k in range(steps)]
    points, weights = np.polynomial.legendre.leggauss(steps)
    return [((p + 1) / 2, w / 2) for p, w in zip(points, weights)]


RULES: tuple[Rule, ...] = get_args(Rule)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("steps", [2, 3, 7, 64])
def test_quadrature_is_the_rule_and_its_weights_sum_to_one(rule: Rule, steps: int) -> None:
    positions, weights = quadrature(rule, steps)
    np.testing.assert_allclose(
        list(zip(positions.tolist(), weights.tolist())), nodes(rule, steps), rtol=0, atol=1e-14
    )
    assert abs(float(weights.sum()) - 1) < 1e-14
    assert 0 <= float(positions.min()) <= float(positions.max()) <= 1


@pytest.mark.parametrize("steps", [2, 3, 5])
def test_gauss_legendre_is_exact_for_polynomials(steps: int) -> None:
    positions, weights = quadrature("gauss_legendre", steps)
    for degree in range(2 * steps):
        assert float(weights @ positions**degree) == pytest.approx(1 / (degree + 1), abs=1e-14)


def test_a_gradient_is_the_limit_of_differences() -> None:
    made, h = assay.Gradient()(ask()).values, 1e-5
    differences = each(
        lambda i: torch.stack(
            [
                (f(X[i] + h * e) - f(X[i] - h * e)) / (2 * h)
                for e in torch.eye(FEATURES, dtype=DOUBLE)
            ]
        )
    )
    torch.testing.assert_close(made, differences.detach(), rtol=0, atol=1e-8)
    torch.testing.assert_close(made, each(lambda i: slope(X[i])), **TIGHT)


def test_input_times_gradient_and_magnitudes() -> None:
    torch.testing.assert_close(
        assay.InputXGradient()(ask()).values, each(lambda i: X[i] * slope(X[i])), **TIGHT
    )
    torch.testing.assert_close(
        assay.Absolute(assay.Gradient())(ask()).values, each(lambda i: slope(X[i]).abs()), **TIGHT
    )
    made = assay.TimesInput(assay.Gradient())(ask()).values
    torch.testing.assert_close(made, each(lambda i: (X[i] - B[i]) * slope(X[i])), **TIGHT)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("steps", [2, 7])
def test_integrated_gradients_are_a_weighted_sum_of_slopes(rule: Rule, steps: int) -> None:
    made = assay.IntegratedGradients(steps, rule)(ask()).values
    by_hand = each(
        lambda i: (
            (X[i] - B[i]) * sum(w * slope(B[i] + a * (X[i] - B[i])) for a, w in nodes(rule, steps))
        )
    )
    torch.testing.assert_close(made, by_hand, **TIGHT)


def test_integrated_gradients_come_near_the_integral() -> None:
    fine = each(
        lambda i: (
            (X[i] - B[i])
            * sum(slope(B[i] + a * (X[i] - B[i])) for a, _ in nodes("middle", 4000))
            / 4000
        )
    )
    torch.testing.assert_close(assay.IntegratedGradients(32)(ask()).values, fine, rtol=0, atol=1e-6)


def test_doubling_steps_is_asking_with_that_many() -> None:
    made = assay.IntegratedGradients(2, "left", tolerance=0.01)(ask())
    assert made.gap is not None
    assert float(made.gap.abs().max()) < 0.01
    for i in range(len(X)):
        steps = 2
        while True:
            alone = assay.IntegratedGradients(steps, "left")(ask().part(i, i + 1))
            assert alone.gap is not None
            if float(alone.gap.abs()) < 0.01:
                break
            steps *= 2
        torch.testing.assert_close(made.values[i : i + 1], alone.values, **TIGHT)
    crowd = assay.IntegratedGradients(2, "left", tolerance=0.01)
    parts = torch.cat([crowd(ask().part(i, i + 1)).values for i in range(len(X))])
    torch.testing.assert_close(made.values, parts, **TIGHT)


@pytest.mark.parametrize("hard", [0, 69])
def test_one_hard_input_among_many_shards_is_told(
    hard: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(question_module, "_SHARD", 1)
    x = torch.full((70, 1), -1.0, dtype=DOUBLE)
    x[hard] = 1.0  # the only way that crosses the step
    asked = assay.Question(lambda x: torch.sigmoid(1e6 * (x[:, 0] - 0.7071)), x)
    made = assay.IntegratedGradients(2, "left", tolerance=1e-9)(asked)
    assert (made.facts["converged"], made.facts["steps"]) == (False, 4096)


def bent(a: Tensor, b: Tensor, x: Tensor) -> Tensor:
    return (
        b
        + a**2 * (x - b)
        + torch.sin(torch.pi * a) * torch.tensor([0.3, -0.2, 0.1, 0.0], dtype=x.dtype)
    )


def test_a_path_is_the_slope_along_it_times_its_velocity() -> None:
    steps, h = 9, 1e-6

    def by_hand(i: int) -> Tensor:
        total = torch.zeros(FEATURES, dtype=DOUBLE)
        for a, w in nodes("gauss_legendre", steps):
            here = [
                bent(torch.tensor([[a + d]], dtype=DOUBLE), B[i : i + 1], X[i : i + 1])[0]
                for d in (-h, 0.0, h)
            ]
            total += w * slope(here[1]) * (here[2] - here[0]) / (2 * h)
        return total

    made = assay.Path(bent, steps)(ask())
    torch.testing.assert_close(made.values, each(by_hand), rtol=0, atol=1e-8)
    straight = assay.Path(lambda a, b, x: b + a * (x - b), 16)(ask()).values
    torch.testing.assert_close(straight, assay.IntegratedGradients(16)(ask()).values, **TIGHT)


ROWS = randn(5, FEATURES, seed=7, dtype=DOUBLE)


def test_expected_gradients_are_their_draws_averaged() -> None:
    question, draws, seed = ask(removal=assay.Background(ROWS)), 13, 3
    streams = rng.streams(seed, question.keys, "expected gradients")
    jitter = streams.uniform((0, 1), draws, DOUBLE)[:, 0]

    def by_hand(i: int) -> tuple[Tensor, Tensor]:
        order: list[int] = []
        for turn in range(3):
            order += streams.uniform((1 + turn, 2 + turn), 5, DOUBLE)[i, 0].argsort().tolist()
        terms = []
        for k in range(draws):
            a, b = (k + float(jitter[i, k])) / draws, ROWS[order[k]]
            terms.append((X[i] - b) * slope(b + a * (X[i] - b)))
        table = torch.stack(terms)
        return table.mean(0), table.std(0) / draws**0.5

    made = assay.ExpectedGradients(draws)(question, seed=seed)
    torch.testing.assert_close(made.values, each(lambda i: by_hand(i)[0]), **TIGHT)
    assert made.standard_error is not None
    torch.testing.assert_close(
        made.standard_error, each(lambda i: by_hand(i)[1]), rtol=0, atol=1e-9
    )


def test_expected_gradients_come_near_integrated_gradients_averaged() -> None:
    made = assay.ExpectedGradients(4000)(ask(removal=assay.Background(ROWS)))
    means = [assay.IntegratedGradients(64)(ask(removal=assay.Baseline(row))).values for row in ROWS]
    assert made.standard_error is not None
    assert bool(
        ((made.values - torch.stack(means).mean(0)).abs() <= 4 * made.standard_error + 1e-9).all()
    )


@pytest.mark.parametrize("shape", ["gaussian", "uniform"])
@pytest.mark.parametrize("inner", [assay.Gradient(), assay.IntegratedGradients(4)])
def test_smoothing_is_the_mean_over_noisy_copies(shape: Any, inner: assay.Method) -> None:
    question, draws, noise, seed = ask(), 6, 0.4, 5
    streams = rng.streams(seed, question.keys, "smoothing")
    unit = streams.normal if shape == "gaussian" else streams.uniform
    drawn = unit((0, draws), FEATURES, DOUBLE)
    moves = noise * (drawn if shape == "gaussian" else 2 * drawn - 1)

    def one(i: int, k: int) -> Tensor:
        near = assay.Question(
            NET, (X[i] + moves[i, k])[None], target=1, removal=assay.Baseline(B[i])
        )
        return inner(near).values[0]

    made = assay.Smoothed(inner, noise, draws, shape)(question, seed=seed)
    tables = [torch.stack([one(i, k) for k in range(draws)]) for i in range(len(X))]
    torch.testing.assert_close(made.values, torch.stack([t.mean(0) for t in tables]), **TIGHT)
    assert made.standard_error is not None
    spread = torch.stack([t.std(0) / draws**0.5 for t in tables])
    torch.testing.assert_close(made.standard_error, spread, rtol=0, atol=1e-9)


def test_smoothing_keeps_its_spread_where_values_are_large() -> None:
    steep = assay.Question(lambda x: 1000 * x.sum(1) + 0.01 * x.square().sum(1), X.float())
    made = assay.Smoothed(assay.Gradient(), noise=0.5, draws=50)(steep)
    assert made.standard_error is not None
    assert bool((made.standard_error >= 0).all())
    fine = assay.Question(lambda x: 1000 * x.sum(1) + 0.01 * x.square().sum(1), X)
    close = assay.Smoothed(assay.Gradient(), noise=0.5, draws=50)(fine).standard_error
    torch.testing.assert_close(
        close, torch.full_like(close, 0.02 * 0.5 / 50**0.5), rtol=0.5, atol=0
    )


IMAGES = randn(2, 1, 6, 6, seed=4, dtype=DOUBLE)


@pytest.mark.parametrize(
    ("features", "label"),
    [
        (assay.Pixels(), lambda i, j: i * 6 + j),
        (assay.Patches(3), lambda i, j: i // 3 * 2 + j // 3),
    ],
)
@pytest.mark.parametrize(
    "method", [assay.Gradient(), assay.InputXGradient(), assay.IntegratedGradients(5)]
)
def test_credit_of_elements_is_added_over_what_a_feature_owns(
    features: Any, label: Any, method: assay.Method
) -> None:
    net = randomised(Residual()).double()
    question = assay.Question(net, IMAGES, target=2, features=features)
    elements = method(question.by_elements()).values.view(2, 6, 6)
    by_hand = torch.zeros(2, question.partition.count, dtype=DOUBLE)
    for n in range(2):
        for i in range(6):
            for j in range(6):
                by_hand[n, label(i, j)] += elements[n, i, j]
    torch.testing.assert_close(method(question).values, by_hand, **TIGHT)


def test_the_product_with_the_way_comes_before_pooling() -> None:
    net = randomised(Residual()).double()
    question = assay.Question(net, IMAGES, target=2, features=assay.Patches(3))
    made = assay.TimesInput(assay.Smoothed(assay.Gradient(), draws=4))(question, seed=1)
    inner = assay.Smoothed(assay.Gradient(), draws=4)(question.by_elements(), seed=1)
    torch.testing.assert_close(made.values, question.pool(question.x * inner.values), **TIGHT)
    assert made.standard_error is not None
    assert inner.standard_error is not None
    squared = question.pool((question.x * inner.standard_error) ** 2).sqrt()
    torch.testing.assert_close(made.standard_error, squared, **TIGHT)
