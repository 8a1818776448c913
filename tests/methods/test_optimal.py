"""Optimal explanations against least squares written from the definition, and their special cases."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import assay
from assay.errors import AssayError, InputError
from assay.numerics import rng
from assay.numerics.statistics import widening
from assay.perturbations import Perturbation
from toys import FEATURES, Pooled, randn, randomised, tanh_net

DOUBLE = torch.float64
LAWS: list[Perturbation] = [
    assay.SubsetToBaseline(0.3),
    assay.ShapleyKernel(),
    assay.Coordinates(),
    assay.DifferenceToBaseline(),
]
B = 0.1


def near(ours: Tensor, theirs: Any, tolerance: float = 1e-9) -> None:
    expected = torch.as_tensor(theirs, dtype=ours.dtype)
    torch.testing.assert_close(ours, expected.expand_as(ours), rtol=0, atol=tolerance)


def ask(n: int = 3, features: int = FEATURES, **more: Any) -> assay.Question:
    net = tanh_net(inputs=features).double()
    x = randn(n, features, seed=3, dtype=DOUBLE)
    return assay.Question(net, x, **{"target": 0, "removal": assay.Baseline(B), **more})


def subsets_and_weights(law: Perturbation, d: int) -> list[tuple[tuple[int, ...], float]]:
    """Every set that a law removes, with its probability, from the definitions."""
    everything = tuple(range(d))
    if isinstance(law, assay.Coordinates):
        return [((i,), 1 / d) for i in everything]
    if isinstance(law, assay.DifferenceToBaseline):
        return [(everything, 1.0)]
    members = [s for k in range(d + 1) for s in itertools.combinations(everything, k)]
    if isinstance(law, assay.SubsetToBaseline):
        p = law.share
        return [(s, p ** len(s) * (1 - p) ** (d - len(s))) for s in members]
    inner = [s for s in members if 0 < len(s) < d]
    kernel = [(d - 1) / (math.comb(d, len(s)) * len(s) * (d - len(s))) for s in inner]
    return [(s, k / sum(kernel)) for s, k in zip(inner, kernel)]


def slowly(f: Callable[[Tensor], Tensor], x: Tensor, law: Perturbation, ridge: float) -> Tensor:
    """The definition, one input and one set at a time; the Shapley kernel by a weight of 1e9."""
    rows = []
    for row in x:
        d = len(row)
        matrix, right = np.zeros((d, d)), np.zeros(d)
        listed = subsets_and_weights(law, d)
        if isinstance(law, assay.ShapleyKernel):
            listed.append((tuple(range(d)), 1e7))
        for removed, weight in listed:
            indicator = np.zeros(d)
            indicator[list(removed)] = 1
            there = row.clone()
            there[list(removed)] = B
            loss = (f(row[None])[0] - f(there[None])[0]).item()
            matrix += weight * np.outer(indicator, indicator)
            right += weight * indicator * loss
        rows.append(np.linalg.pinv(matrix + ridge * np.eye(d)) @ right)
    return torch.tensor(np.stack(rows))


@pytest.mark.parametrize("ridge", [0.0, 0.2])
@pytest.mark.parametrize("solver", ["dense", "iterative"])
@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_it_is_the_regression_of_the_definition(
    law: Perturbation, solver: Any, ridge: float
) -> None:
    question = ask()
    made = assay.Optimal(law, ridge, solver=solver)(question)
    net = tanh_net().double()
    tolerance = 1e-6 if law.complete else 1e-9
    near(made.values, slowly(lambda x: net(x)[:, 0], question.x, law, ridge), tolerance)
    assert made.standard_error is None
    assert made.kind == "contribution"


@pytest.mark.parametrize("solver", ["dense", "iterative"])
def test_squares_of_a_picture_are_all_gone_through(solver: Any) -> None:
    net = randomised(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(18, 2)))
    x = randn(2, 1, 5, 5, seed=4, dtype=DOUBLE)
    question = assay.Question(net.double(), x, target=1, features=assay.Pixels())
    law = assay.Squares(sides=(1, 2, 4))
    made = assay.Optimal(law, solver=solver)(question)
    expected = []
    for picture in x:
        rows, losses = [], []
        for side in (1, 2, 4):
            for top, left in itertools.product(range(6 - side), repeat=2):
                hidden = picture.clone()
                hidden[:, top : top + side, left : left + side] = 0
                inside = torch.zeros(5, 5, dtype=DOUBLE)
                inside[top : top + side, left : left + side] = 1
                rows.append(inside.flatten().numpy())
                losses.append(float((net(picture[None]) - net(hidden[None]))[0, 1]))
        expected.append(np.linalg.lstsq(np.stack(rows), np.array(losses), rcond=None)[0])
    near(made.values, np.stack(expected))
    # In its own sample it is the floor: the best scale of the optimum is 1.
    score = assay.Infidelity(law)(question, made)
    near(score.details["beta"], 1.0)
    other = assay.Infidelity(law)(question, assay.KernelShap()(question))
    assert bool((score.values < other.values).all())


@pytest.mark.parametrize("solver", ["dense", "iterative"])
def test_steps_of_noise_are_regressed_on(solver: Any) -> None:
    question = ask()
    law = assay.NoisyBaseline(0.3)
    made = assay.Optimal(law, draws=300, solver=solver)(question, seed=5)
    batch = law.draw(question, 5, (0, 300))
    net = tanh_net().double()
    for row, step, values in zip(question.x, batch.step, made.values):
        losses = [float((net(row[None]) - net((row - each)[None]))[0, 0]) for each in step]
        near(values, np.linalg.lstsq(step.numpy(), np.array(losses), rcond=None)[0], 1e-8)
    assert made.kind == "slope"


# --- special cases (Yeh et al. 2019, section 2.2)


def test_the_shapley_value() -> None:
    question = ask()
    made = assay.Optimal(assay.ShapleyKernel())(question)
    near(made.values, assay.ExactShapley()(question).values)
    assert made.gap is not None
    near(made.gap, 0.0)


def test_the_shapley_value_of_one_feature_is_all_there_is() -> None:
    question = ask(features=1)
    near(
        assay.Optimal(assay.ShapleyKernel())(question).values[:, 0],
        question.prediction - question.base,
    )


@pytest.mark.parametrize("solver", ["dense", "iterative"])
def test_sampled_shapley_values_are_complete_and_within_their_error(solver: Any) -> None:
    question = ask(n=4, features=12)
    method = assay.Optimal(assay.ShapleyKernel(), draws=1500, solver=solver)
    made = method(question)
    assert made.standard_error is not None
    assert made.gap is not None
    near(made.gap, 0.0)
    away = (made.values - assay.ExactShapley()(question).values).abs()
    assert bool((away <= 5 * made.standard_error).all())
    assert float(away.max()) > 0
    # Not so wide that anything would be within it.
    assert float(made.standard_error.max()) < 0.1 * float(made.values.abs().max())


@pytest.mark.parametrize("solver", ["dense", "iterative"])
def test_sampled_shapley_values_are_the_regression_that_adds_up(solver: Any) -> None:
    """The least squares of the same draws under the constraint on the sum, with its multiplier."""
    question = ask(n=2, features=12)
    law = assay.ShapleyKernel()
    made = assay.Optimal(law, draws=60, solver=solver)(question, seed=4)
    removed = law.removed(question, 4, (0, 60))
    losses = (question.prediction.unsqueeze(1) - question.value(~removed)).numpy()
    whole = (question.prediction - question.base).numpy()
    uniform = rng.streams(4, question.keys, "wild bootstrap").uniform((0, 60), 32, DOUBLE)
    signs = np.where(uniform.numpy() < 0.5, -1.0, 1.0)
    assert made.standard_error is not None
    for row, values in enumerate(made.values):
        rows = removed[row].double().numpy()
        system = np.ones((13, 13))
        system[:12, :12] = rows.T @ rows
        system[12, 12] = 0
        inverse = np.linalg.inv(system)
        solved = (inverse @ np.append(rows.T @ losses[row], whole[row]))[:12]
        near(values, solved, 1e-7)
        # White's error, or that of draws with signs of their own, under the same constraint.
        moves = rows @ inverse[:12, :12] * (losses[row] - rows @ solved)[:, None]
        if solver == "dense":
            error = np.sqrt((moves**2).sum(0))
        else:
            error = np.sqrt(((signs[row].T @ moves) ** 2).mean(0))
        near(made.standard_error[row], error * math.sqrt(60 / 48) * widening(48), 1e-7)


def test_occlusion_of_one_feature() -> None:
    question = ask()
    made = assay.Optimal(assay.Coordinates())(question)
    near(made.values, assay.Occlusion()(question).values)
    near(assay.Infidelity(assay.Coordinates())(question, made).values, 0.0)


def test_everything_at_once_is_shared_evenly() -> None:
    question = ask()
    made = assay.Optimal(assay.DifferenceToBaseline())(question)
    change = question.prediction - question.base
    near(made.values, (change / FEATURES).unsqueeze(1))
    near(assay.Infidelity(assay.DifferenceToBaseline())(question, made).values, 0.0)


def test_the_gradient_as_noise_vanishes() -> None:
    question = ask()
    gradient = assay.Gradient()(question).values
    away = []
    for sigma in (1e-2, 1e-3, 1e-4):
        made = assay.Optimal(assay.GaussianNoise(sigma))(question)
        away.append(float((made.values - gradient).abs().max()))
    # The curvature's share goes with sigma.
    assert away[0] < 0.01
    assert away[1] < 0.2 * away[0]
    assert away[2] < 0.2 * away[1]


def test_a_product_has_two_thirds_of_itself_on_each_side() -> None:
    """f = x1 x2 at (a, b): all four masks alike give 2ab/3 each, infidelity (ab)^2 / 12; the Shapley
    values ab/2 have (ab)^2 / 8.
    """
    a, b = 2.0, 3.0
    question = assay.Question(lambda x: x[:, 0] * x[:, 1], torch.tensor([[a, b]], dtype=DOUBLE))
    made = assay.Optimal(assay.SubsetToBaseline())(question)
    near(made.values, 2 * a * b / 3)
    losses = torch.tensor([0.0, a * b, a * b, a * b], dtype=DOUBLE)
    masks = torch.tensor([[0, 0], [1, 0], [0, 1], [1, 1]], dtype=DOUBLE)
    shapley = assay.Optimal(assay.ShapleyKernel())(question)
    for values, expected in ((made.values, (a * b) ** 2 / 12), (shapley.values, (a * b) ** 2 / 8)):
        near(((masks @ values[0] - losses) ** 2).mean(), expected)


def test_a_linear_model_is_met_exactly_by_any_law() -> None:
    w = torch.tensor([2.0, -3.0, 0.5, 0.0], dtype=DOUBLE)
    x = randn(2, 4, seed=1, dtype=DOUBLE)
    question = assay.Question(lambda x: x @ w + 0.7, x, removal=assay.Baseline(B))
    for law in (*LAWS[:3], assay.GaussianNoise(0.5), assay.NoisyBaseline(0.5)):
        made = assay.Optimal(law)(question)
        near(made.values, w * (x - B) if law.removes else w)
        if made.standard_error is not None:
            near(made.standard_error, 0.0, 1e-9)


# --- errors, removals, outputs


def test_the_standard_error_is_the_spread_over_seeds() -> None:
    question = assay.Question(
        lambda x: (x**3).sum(1) + x[:, 0] * x[:, 1], randn(2, 3, dtype=DOUBLE)
    )
    for solver in ("dense", "iterative"):
        made = [
            assay.Optimal(assay.GaussianNoise(0.5), draws=200, solver=solver)(question, seed=seed)
            for seed in range(60)
        ]
        spread = torch.stack([answer.values for answer in made]).std(0)
        errors = [answer.standard_error for answer in made if answer.standard_error is not None]
        ratio = (spread / torch.stack(errors).mean(0)).mean()
        assert 0.85 < float(ratio) < 1.15


def test_the_standard_error_of_few_draws_counts_what_the_features_explain() -> None:
    question = assay.Question(lambda x: (x**3).sum(1), randn(6, 3, dtype=DOUBLE))
    method = assay.Optimal(assay.GaussianNoise(0.5), draws=12)
    made = [method(question, seed=seed) for seed in range(150)]
    spread = torch.stack([answer.values for answer in made]).var(0).mean().sqrt()
    errors = (
        torch.stack([torch.as_tensor(answer.standard_error) for answer in made])
        .square()
        .mean()
        .sqrt()
    )
    # Student's quantile of 9 degrees of freedom is in it; the sandwich is a little small of so few.
    assert 0.75 < float(errors / widening(9) / spread) < 1.1


def test_a_background_is_averaged_over() -> None:
    rows = randn(5, FEATURES, seed=8, dtype=DOUBLE)
    question = ask(removal=assay.Background(rows))
    made = assay.Optimal(assay.ShapleyKernel())(question)
    near(made.values, assay.ExactShapley()(question).values)
    # Drawn, too: 12 features have more subsets than draws.
    wide = ask(features=12, removal=assay.Background(randn(2, 12, seed=8, dtype=DOUBLE)))
    sampled = assay.Optimal(assay.SubsetToBaseline(), draws=400)(wide)
    exact = assay.Optimal(assay.SubsetToBaseline(), draws=4096)(wide)
    assert sampled.standard_error is not None
    assert exact.standard_error is None
    assert bool(((sampled.values - exact.values).abs() <= 5 * sampled.standard_error).all())


@pytest.mark.parametrize("law", [assay.ShapleyKernel(), assay.GaussianNoise(0.2)], ids=repr)
def test_every_output_gets_what_it_gets_alone(law: Perturbation) -> None:
    question = ask()
    method = assay.Optimal(law, draws=100)
    for output, made in enumerate(method.for_outputs(question)):
        alone = method(question.of(output))
        near(made.values, alone.values)


def test_values_averaged_over_a_kernel() -> None:
    w = torch.tensor([2.0, -3.0, 0.5], dtype=DOUBLE)
    question = assay.Question(lambda x: x @ w, randn(2, 3, dtype=DOUBLE))
    smoothed = assay.kernel_smoothed(assay.GaussianNoise(0.1), noise=0.3, draws=3)
    assert isinstance(smoothed, assay.Smoothed)
    near(smoothed(question).values, w)
    # f = sum x^2: the optimum at z is 2 z for odd noise, and its mean over the kernel 2 x.
    square = assay.Question(lambda x: (x**2).sum(1), randn(1, 3, dtype=DOUBLE))
    made = assay.kernel_smoothed(assay.GaussianNoise(0.01), noise=0.1, draws=400)(square)
    assert made.standard_error is not None
    away = (made.values - 2 * square.x).abs()
    assert bool((away <= 5 * made.standard_error).all())
    assert float(made.standard_error.max()) < 0.02


def test_a_kernel_has_the_noise_and_the_ridge_that_were_given() -> None:
    law = assay.GaussianNoise(0.1)
    made = assay.kernel_smoothed(law, ridge=0.2, noise=0.3, draws=7, shape="uniform")
    assert made == assay.Smoothed(assay.Optimal(law, 0.2), noise=0.3, draws=7, shape="uniform")


def test_a_ridge_takes_the_place_of_draws() -> None:
    question = ask(features=30)
    few = assay.Optimal(assay.SubsetToBaseline(), draws=20)
    with pytest.raises(InputError, match="more draws than the 30 features"):
        few(question)
    ridged = assay.Optimal(assay.SubsetToBaseline(), ridge=0.1, draws=20)(question)
    assert bool(ridged.values.isfinite().all())


def test_what_cannot_be_fitted_is_refused() -> None:
    for make in (
        lambda: assay.Optimal(0.1),  # type: ignore[arg-type]
        lambda: assay.Optimal(assay.Coordinates(), ridge=-1.0),
        lambda: assay.Optimal(assay.Coordinates(), draws=1),
        lambda: assay.Optimal(assay.Coordinates(), solver="cg"),  # type: ignore[arg-type]
        lambda: assay.Optimal(assay.Squares())(ask()),
        lambda: assay.Optimal(assay.GaussianNoise(0.1))(
            assay.Question(
                lambda x: x.sum(1),
                randn(2, 4, dtype=DOUBLE),
                features=assay.Columns(groups={"a": [0, 1], "b": [2, 3]}),
            )
        ),
    ):
        with pytest.raises(AssayError, match=r"Optimal|as largest|Squares") as caught:
            make()
        assert caught.value.advice


# --- the laws


def test_the_shapley_kernel_draws_sizes_by_its_weights() -> None:
    question = ask(n=2, features=6)
    removed = assay.ShapleyKernel().removed(question, 0, (0, 20_000))
    sizes = removed.sum(2)
    weights = np.array([1 / (z * (6 - z)) for z in range(1, 6)])
    for size, expected in enumerate(weights / weights.sum(), start=1):
        share = float((sizes == size).double().mean())
        assert abs(share - expected) < 4 * (expected / 40_000) ** 0.5
    # Within a size every feature is removed as often as any other.
    assert float(removed.double().mean((0, 1)).std()) < 0.01
    assert bool(((sizes > 0) & (sizes < 6)).all())


def test_a_large_picture_is_asked_without_a_matrix() -> None:
    net = randomised(Pooled())
    picture = nn.Sequential(nn.Upsample(2), nn.AdaptiveAvgPool2d(2), net).double().eval()
    x = randn(1, 1, 20, 20, seed=2, dtype=DOUBLE)
    question = assay.Question(picture, x, target=0, features=assay.Pixels())
    law = assay.Squares(sides=(4, 6))
    made = assay.Optimal(law, largest=399)(question)
    assert made.facts["converged"]
    # Of as many features as the largest there is a matrix, and no steps.
    dense = assay.Optimal(law, largest=400)(question)
    assert "steps" not in dense.facts
    near(made.values, dense.values, 1e-7)
