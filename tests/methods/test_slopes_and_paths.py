"""Every method of slopes and paths against its definition, written slowly: one input, one node, one
draw at a time.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor

import assay
from assay.answers.attribution import Kind
from assay.methods import wrappers
from assay.numerics import rng
from assay.numerics.integration import Rule, quadrature
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
    torch.testing.assert_close(assay.IntegratedGradients(32)(ask()).values, fine, rtol=0, atol=1e-8)


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
    monkeypatch.setattr("assay.question.derivations._SHARD", 1)
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
    # Elements of a patch share their draw: each draw is pooled before errors are taken.
    elements = question.by_elements()
    noise = rng.streams(1, question.keys, "smoothing").normal((0, 4), question.x.shape[1], DOUBLE)
    pooled = []
    for draw in range(4):
        moved = elements.at(question.x + 0.1 * noise[:, draw])
        pooled.append(question.pool(question.x * assay.Gradient().estimate(moved, 0).values))
    by_hand = torch.stack(pooled).std(0) / 2
    torch.testing.assert_close(made.standard_error, by_hand, **TIGHT)


# --- local forms: the mean slope before it is multiplied by the way


def test_the_local_form_of_integrated_gradients_is_the_mean_slope() -> None:
    made = assay.IntegratedGradients(7, "middle", multiply=False)(ask())
    by_hand = each(
        lambda i: sum(w * slope(B[i] + a * (X[i] - B[i])) for a, w in nodes("middle", 7))
    )
    torch.testing.assert_close(made.values, by_hand, **TIGHT)
    assert (made.kind, made.gap) == ("slope", None)
    product = assay.TimesInput(assay.IntegratedGradients(7, "middle", multiply=False))(ask())
    whole = assay.IntegratedGradients(7, "middle")(ask())
    torch.testing.assert_close(product.values, whole.values, **TIGHT)


def test_the_local_form_doubles_its_steps_like_the_whole() -> None:
    local = assay.IntegratedGradients(2, "left", tolerance=0.01, multiply=False)(ask())
    whole = assay.IntegratedGradients(2, "left", tolerance=0.01)(ask())
    assert local.facts["steps"] == whole.facts["steps"] > 2
    torch.testing.assert_close(local.values * (X - B), whole.values, **TIGHT)


def test_local_forms_of_a_path_and_of_expected_gradients() -> None:
    path = assay.Path(bent, steps=9, multiply=False)(ask())
    by_hand = each(
        lambda i: sum(
            w * slope(bent(torch.tensor(a, dtype=DOUBLE), B[i], X[i]))
            for a, w in nodes("gauss_legendre", 9)
        )
    )
    torch.testing.assert_close(path.values, by_hand, **TIGHT)
    assert path.kind == "slope"
    linear = torch.nn.Linear(3, 1).double()
    asked = assay.Question(
        linear,
        torch.randn(2, 3, dtype=DOUBLE),
        removal=assay.Background(torch.randn(4, 3).double()),
    )
    expected = assay.ExpectedGradients(draws=8, multiply=False)(asked)
    torch.testing.assert_close(expected.values, linear.weight.detach().expand(2, -1), **TIGHT)
    assert expected.kind == "slope"


# --- paths that do not lead where they say


@pytest.mark.parametrize(
    "path",
    [
        lambda a, b, x: (b + a * (x - b)).detach(),
        lambda a, b, x: b + a.round() * (x - b),
        lambda a, b, x: torch.where(a < 0.5, b, x),
    ],
    ids=["detached", "rounded", "a jump"],
)
def test_a_path_that_cannot_be_differentiated_is_refused(path: Any) -> None:
    with pytest.raises(assay.errors.InputError, match="velocities add up to x - b"):
        assay.Path(path)(ask())


@pytest.mark.parametrize(
    "path",
    [
        lambda a, b: b,
        lambda a, b, x: None,
        lambda a, b, x: (b + a * (x - b)).numpy(),
        lambda a, b, x: b + float(a[0]) * (x - b),
    ],
    ids=["two arguments", "nothing", "an array", "a number taken out"],
)
def test_a_path_of_a_wrong_form_is_refused(path: Any) -> None:
    with pytest.raises(assay.errors.AssayError, match="path"):
        assay.Path(path)(ask())


def test_a_path_with_kinks_and_a_coarse_rule_answer() -> None:
    def by_axes(a: Tensor, b: Tensor, x: Tensor) -> Tensor:
        share = (a * FEATURES - torch.arange(FEATURES, dtype=x.dtype)).clamp(0, 1)
        return b + share * (x - b)

    made = assay.Path(by_axes, steps=400, rule="middle")(ask())
    assert made.gap is not None
    assert float(made.gap.abs().max()) < 1e-4
    coarse = assay.Path(lambda a, b, x: b + a**2 * (x - b), steps=3, rule="left")(ask())
    assert torch.isfinite(coarse.values).all()


# --- statistics over noisy copies


class Copies(assay.Method):
    """Remembers what it was asked: values are x^3, a function with noise of its own shape."""

    kind = Kind.SLOPE

    def values(self, question: assay.Question, seed: int) -> Tensor:
        return question.x**3


@pytest.mark.parametrize("statistic", ["mean", "square", "variance"])
def test_statistics_over_noisy_copies_by_hand(statistic: Any, monkeypatch: Any) -> None:
    # Three draws a piece: what is accumulated goes over the borders of pieces.
    monkeypatch.setattr(wrappers, "_NOISY_ELEMENTS", 3 * X.numel())
    smoothed = assay.Smoothed(Copies(), noise=0.3, draws=11, statistic=statistic)
    question = assay.Question(lambda x: x.sum(1), X)
    made = smoothed(question, seed=5)
    streams = rng.streams(5, question.keys, "smoothing")
    cubes = (X.unsqueeze(1) + streams.normal((0, 11), FEATURES, DOUBLE) * 0.3) ** 3
    squares = cubes**2
    statistics = {
        "mean": (cubes.mean(1), cubes.std(1) / 11**0.5),
        "square": (squares.mean(1), squares.std(1) / 11**0.5),
    }
    if statistic == "variance":
        variance = cubes.var(1)
        fourth = ((cubes - cubes.mean(1, keepdim=True)) ** 4).mean(1)
        error = ((fourth - variance**2 * 8 / 10) / 11).clamp_min(0).sqrt()
        statistics["variance"] = (variance, error)
    values, errors = statistics[statistic]
    torch.testing.assert_close(made.values, values, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(made.standard_error, errors, rtol=1e-8, atol=1e-10)
    assert made.kind == ("slope" if statistic == "mean" else "weight")


def test_a_variance_is_never_negative_beside_a_large_mean() -> None:
    x = torch.full((4, 5), 10.0)
    question = assay.Question(lambda x: 1000 * x.sum(1) + (x**2).sum(1), x)
    made = assay.Smoothed(assay.Gradient(), noise=0.001, draws=50, statistic="variance")(question)
    # The slope is 1000 + 2 x: its variance is (2 * 0.001)^2.
    assert float(made.values.min()) > 0
    assert float(made.values.mean()) == pytest.approx(4e-6, rel=0.2)


# --- standard errors of features that own several elements


@pytest.mark.parametrize(
    "method",
    [
        assay.ExpectedGradients(10),
        assay.TimesInput(assay.Smoothed(assay.Gradient(), noise=0.3, draws=20)),
    ],
    ids=["expected gradients", "smoothed"],
)
def test_elements_of_one_feature_share_their_draws(method: assay.Method) -> None:
    weights = torch.linspace(0.5, 1.5, 16, dtype=DOUBLE)

    def model(x: Tensor) -> Tensor:
        return torch.exp(0.2 * (x @ weights))

    rows = torch.rand(30, 1, generator=torch.Generator().manual_seed(1), dtype=DOUBLE)
    question = assay.Question(
        model,
        torch.ones(1, 16, dtype=DOUBLE),
        features=assay.Labels(torch.zeros(16, dtype=torch.int64)),
        removal=assay.Background(rows.expand(-1, 16))
        if isinstance(method, assay.ExpectedGradients)
        else None,
    )
    answers = [method(question, seed=seed) for seed in range(60)]
    spread = float(torch.stack([answer.values for answer in answers]).std())
    stated = float(torch.stack([answer.standard_error for answer in answers]).mean())
    # Stratified draws are a little better than stated; a quarter of the spread was said before.
    assert 0.7 * spread < stated < 2.5 * spread


def test_a_path_asks_nothing_of_forward_differentiation() -> None:
    """The rules of forward differentiation take a process seconds to load, before the first path."""
    code = (
        "import sys, torch, assay;"
        "q = assay.Question(lambda x: x[:, 0] * x[:, 1], torch.tensor([[3.0, 4.0]]));"
        "print(assay.Path(lambda a, b, x: b + a**2 * (x - b), steps=8)(q).values.tolist());"
        "print('torch._decomp.decompositions_for_jvp' in sys.modules)"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    values, loaded = made.stdout.splitlines()
    np.testing.assert_allclose(ast.literal_eval(values), [[6.0, 6.0]], rtol=1e-6)
    assert loaded == "False"


@pytest.mark.parametrize(
    "path",
    [
        lambda a, b, x: b + a * (x - b),
        lambda a, b, x: b + a ** (1 + (x - b).abs()) * (x - b),
        lambda a, b, x: torch.cat(
            [b[:, :1] + a * (x - b)[:, :1], b[:, 1:] + (x - b)[:, 1:] * a.sin()], 1
        ),
        # Positions that are written upon, and a path that does not move at all.
        lambda a, b, x: b + a.mul_(2) * (x - b),
        lambda a, b, x: x.clone(),
    ],
)
def test_velocities_are_those_of_forward_differentiation(path: Any) -> None:
    positions = torch.rand(3, dtype=DOUBLE)
    points, velocities = assay.Path(path)._walk(positions, B, X)
    at = positions[:, None]
    near, slopes = torch.func.jvp(lambda a: path(a * 1, B, X), (at,), (torch.ones_like(at),))  # type: ignore[misc]
    torch.testing.assert_close(points, near, **TIGHT)
    torch.testing.assert_close(velocities, slopes, **TIGHT)
    assert not points.requires_grad
    assert not velocities.requires_grad
