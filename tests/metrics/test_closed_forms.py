"""Answers known from a derivation, against methods and metrics: float64, 1e-10 or a sampling error."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

import assay
from assay.answers.attribution import Attribution
from assay.metrics.faithfulness.completeness import Completeness
from assay.metrics.faithfulness.infidelity import Infidelity
from assay.metrics.sensitivity.max_sensitivity import MaxSensitivity
from assay.numerics.integration import Rule
from assay.perturbations import (
    DifferenceToBaseline,
    GaussianNoise,
    NoisyBaseline,
    Squares,
    SubsetToBaseline,
)
from toys import randn

RULES: tuple[Rule, ...] = get_args(Rule)
EXACT = 1e-10


def relu(x: Tensor) -> Tensor:
    return torch.relu(x)


def row(*numbers: float) -> Tensor:
    return torch.tensor([numbers], dtype=torch.float64)


def near(ours: Tensor, theirs: Any, tolerance: float = EXACT) -> None:
    expected = torch.as_tensor(theirs, dtype=ours.dtype)
    torch.testing.assert_close(ours, expected.expand_as(ours), rtol=0, atol=tolerance)


def linear(w: Tensor, b: float = 0.0) -> Callable[[Tensor], Tensor]:
    return lambda x: x @ w + b


def answer(values: Tensor, question: assay.Question, kind: str = "slope") -> Attribution:
    partition = question.partition
    return Attribution(
        values, question.base, question.prediction, partition.names, partition.shape, kind
    )


# --- a linear model: the slope is W, and every path leads to W (x - b)

W = torch.tensor([2.0, -3.0, 0.5, 0.0], dtype=torch.float64)
X = randn(5, 4, seed=1, dtype=torch.float64)
B = randn(4, seed=2, dtype=torch.float64)


def about_linear(**more: Any) -> assay.Question:
    return assay.Question(linear(W, 0.7), X, **{"removal": assay.Baseline(B), **more})


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("steps", [2, 3, 4, 5, 10, 50])
def test_integrated_gradients_of_a_linear_model_are_exact_for_every_rule_and_step_count(
    rule: Rule, steps: int
) -> None:
    made = assay.IntegratedGradients(steps, rule)(about_linear())
    near(made.values, W * (X - B))
    assert made.gap is not None
    near(made.gap, 0.0)


def test_local_methods_of_a_linear_model_are_its_weights() -> None:
    question = about_linear()
    near(assay.Gradient()(question).values, W)
    near(assay.Absolute(assay.Gradient())(question).values, W.abs())
    near(assay.Smoothed(assay.Gradient(), noise=3.0, draws=7)(question).values, W)
    near(assay.Smoothed(assay.Gradient(), noise=3.0, draws=7, shape="uniform")(question).values, W)


def test_global_methods_of_a_linear_model_are_weights_times_the_way() -> None:
    question = about_linear()
    near(assay.InputXGradient()(question).values, W * X)
    near(assay.TimesInput(assay.Gradient())(question).values, W * (X - B))
    near(assay.Path(lambda a, b, x: b + a**3 * (x - b), steps=4)(question).values, W * (X - B))


def test_expected_gradients_of_a_linear_model_are_weights_times_the_way_from_the_mean() -> None:
    rows = randn(6, 4, seed=9, dtype=torch.float64)
    question = about_linear(removal=assay.Background(rows))
    made = assay.ExpectedGradients(draws=18)(
        question
    )  # three whole rounds of the background: every row counts alike
    near(made.values, W * (X - rows.mean(0)))
    near(made.base, float((rows @ W).mean() + 0.7))


# --- kinks on the way


def m2(x: Tensor) -> Tensor:
    return relu(relu(x[:, 0]) - 1 - relu(x[:, 1]))


def m3(x: Tensor) -> Tensor:
    return relu(relu(x[:, 0] - 1) - relu(x[:, 1]))


@pytest.mark.parametrize("model", [m2, m3])
@pytest.mark.parametrize("rule", ["gauss_legendre", "right", "middle", "trapezoid"])
@pytest.mark.parametrize("steps", [2, 10, 64])
def test_two_implementations_of_one_function_get_the_same_answer(
    model: Any, rule: Rule, steps: int
) -> None:
    # On the way a (3, 1) both are relu(2 a - 1): slope (1, -1) on the upper half, which an even number
    # of symmetric nodes (or of right ends, the kink itself having slope 0) weighs with exactly 1/2.
    made = assay.IntegratedGradients(steps, rule)(assay.Question(model, row(3.0, 1.0)))
    near(made.values, [[1.5, -0.5]])
    near(made.prediction - made.base, 1.0)


@pytest.mark.parametrize("model", [m2, m3])
def test_left_ends_miss_a_kink_by_one_step(model: Any) -> None:
    made = assay.IntegratedGradients(10, "left")(assay.Question(model, row(3.0, 1.0)))
    near(made.values, [[3.0 * 0.4, -0.4]])


def test_the_minimum_of_a_sum_and_one() -> None:
    # y = min(2 x1 + 3 x2, 1) along a (2, 1) is min(7 a, 1): slope (2, 3) for a < 1/7, 0 beyond.
    # So phi = (2 * 2, 1 * 3) / 7.
    question = assay.Question(lambda x: (2 * x[:, 0] + 3 * x[:, 1]).clamp(max=1.0), row(2.0, 1.0))
    expected = [[4 / 7, 3 / 7]]
    near(
        assay.IntegratedGradients(14, "middle")(question).values, expected
    )  # the kink lies between two of 14 cells
    loose = assay.IntegratedGradients(8, tolerance=0.01)(question)
    assert loose.gap is not None
    assert float(loose.gap.abs().max()) < 0.01
    assert loose.facts["converged"] is True
    half = assay.IntegratedGradients(loose.facts["steps"] // 2)(question)
    assert half.gap is not None
    assert float(half.gap.abs().max()) >= 0.01  # no more steps than it takes
    near(loose.values, expected, 0.01)


def test_tolerance_says_when_steps_did_not_suffice() -> None:
    steep = assay.Question(lambda x: torch.sigmoid(1e6 * (x[:, 0] - math.sqrt(0.5))), row(1.0))
    made = assay.IntegratedGradients(2, "left", tolerance=1e-9)(steep)
    assert made.facts["converged"] is False
    assert made.facts["steps"] == 4096


def test_saliency_of_a_saturated_unit() -> None:
    x = torch.tensor([[1.0], [2.0], [3.0], [0.0], [-1.0], [7.0]], dtype=torch.float64)
    made = assay.Gradient()(assay.Question(lambda x: 1 - relu(1 - x[:, 0]), x))
    near(made.values[:, 0], [0.0, 0.0, 0.0, 1.0, 1.0, 0.0])


# --- a product


def product(a: float = 3.0, b: float = 4.0, **more: Any) -> assay.Question:
    return assay.Question(lambda x: x[:, 0] * x[:, 1], row(a, b), **more)


@pytest.mark.parametrize("rule", ["gauss_legendre", "middle", "trapezoid"])
def test_a_product_is_shared_alike(rule: Rule) -> None:
    made = assay.IntegratedGradients(10, rule)(product())
    near(made.values, [[6.0, 6.0]])


def test_left_ends_fall_short_of_a_product_by_one_over_the_steps() -> None:
    made = assay.IntegratedGradients(10, "left")(product())
    near(made.values.sum(1), 12.0 * 0.9)
    near(Completeness()(product(), made).values, 1.2)
    right = assay.IntegratedGradients(10, "right")(product())
    near(right.values.sum(1), 12.0 * 1.1)


def test_a_path_along_the_axes_gives_a_product_to_the_last_feature() -> None:
    def axes(a: Tensor, b: Tensor, x: Tensor) -> Tensor:
        first, second = (2 * a).clamp(max=1.0), (2 * a - 1).clamp(min=0.0)
        return b + torch.cat([first, second], dim=1) * (x - b)

    near(assay.Path(axes, steps=10, rule="middle")(product()).values, [[0.0, 12.0]])


# --- layers and neurons of a network with four layers


class MultiLayer(nn.Module):
    """f0 = relu(s - 10) + 3 relu(s + 1) - 1 and f1 = f0 + 2, s the sum of the inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.linear0 = nn.Linear(3, 3, bias=False)
        self.linear1, self.relu, self.linear2 = nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)
        with torch.no_grad():
            self.linear0.weight.copy_(torch.eye(3))
            self.linear1.weight.fill_(1.0)
            self.linear1.bias.copy_(torch.tensor([-10.0, 1.0, 1.0, 1.0]))
            self.linear2.weight.fill_(1.0)
            self.linear2.bias.copy_(torch.tensor([-1.0, 1.0]))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear2(self.relu(self.linear1(self.linear0(x))))
        return out


def multi_layer(*x: float) -> assay.Question:
    return assay.Question(MultiLayer().double().eval(), row(*x), target=0)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        ("linear0", [0.0, 390.0, 0.0]),
        ("linear1", [90.0, 100.0, 100.0, 100.0]),
        ("relu", [90.0, 100.0, 100.0, 100.0]),
        ("linear2", [390.0, 0.0]),
    ],
)
def test_integrated_gradients_after_every_layer(layer: str, expected: list[float]) -> None:
    # The kink of relu(s - 10) on s = 100 a lies at a = 0.1, between two of ten cells.
    made = assay.IntegratedGradients(10, "middle")(multi_layer(0.0, 100.0, 0.0).after(layer))
    near(made.values, [expected])
    near(made.prediction - made.base, 390.0)


def test_integrated_gradients_of_a_neuron() -> None:
    asked = multi_layer(0.0, 100.0, 0.0)
    near(
        assay.IntegratedGradients(10, "middle")(asked.upto("linear2", 0)).values,
        [[0.0, 390.0, 0.0]],
    )
    near(assay.IntegratedGradients(2)(asked.upto("linear1", 3)).values, [[0.0, 100.0, 0.0]])
    near(assay.Gradient()(asked.upto("linear1", 0)).values, [[1.0, 1.0, 1.0]])


def test_the_mean_slope_at_a_layer_along_the_inputs_way() -> None:
    # Internal influence from (0, -20, 0) to (0, 80, 0): s = 100 a - 20, relu(s - 10) has slope 1 for
    # a > 0.3 and relu(s + 1) for a > 0.19: 0.7 and 0.81, from slopes behind the layer at 100 midpoints.
    points = torch.zeros(100, 3, dtype=torch.float64)
    points[:, 1] = (torch.arange(100, dtype=torch.float64) + 0.5) - 20
    behind = assay.Question(MultiLayer().double().eval(), points, target=0).after("linear1")
    near(assay.Gradient()(behind).values.mean(0), [0.7, 0.81, 0.81, 0.81])


# --- infidelity

SIGMA = 0.3
NOISE = GaussianNoise(SIGMA)
DRAWS = 4000


def infidelity(question: assay.Question, values: Tensor, kind: str = "slope", **more: Any) -> Any:
    return Infidelity(**{"perturbation": NOISE, "draws": DRAWS, **more})(
        question, answer(values, question, kind)
    )


def steps_of(question: assay.Question, draws: int = DRAWS) -> Tensor:
    return NOISE.draw(question, 0, (0, draws)).step


def within(score: Any, expected: Tensor, deviations: float = 4.5) -> None:
    assert bool(((score.values - expected).abs() <= deviations * score.error).all()), (
        score.values,
        expected,
        score.error,
    )


def test_infidelity_of_a_linear_models_slope_is_zero() -> None:
    score = infidelity(about_linear(), W.expand(5, -1))
    near(score.values, 0.0)
    near(score.details["beta"], 1.0)
    near(score.details["skill"], 1.0)


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize(
    "law", [NOISE, NoisyBaseline(0.3), SubsetToBaseline(), DifferenceToBaseline()]
)
def test_a_linear_models_slope_has_no_infidelity_under_any_law(law: Any, scaled: bool) -> None:
    score = infidelity(about_linear(), W.expand(5, -1), perturbation=law, scaled=scaled, draws=50)
    near(score.values, 0.0)
    near(score.details["beta"], 1.0)


def test_infidelity_of_a_wrong_slope_is_its_squared_error() -> None:
    question, delta = about_linear(), randn(4, seed=5, dtype=torch.float64)
    score = infidelity(question, (W + delta).expand(5, -1))
    near(score.values, (steps_of(question) @ delta).square().mean(1))  # the same draws by hand
    within(score, SIGMA**2 * delta.square().sum())


@pytest.mark.parametrize("factor", [0.5, 2.0, 100.0])
def test_scaled_infidelity_forgives_a_factor(factor: float) -> None:
    question = about_linear()
    score = infidelity(question, factor * W.expand(5, -1))
    power = (steps_of(question) @ W).square().mean(1)
    near(score.details["raw"] / power, (factor - 1) ** 2, 1e-9)
    near(score.details["scaled"] / power, 0.0)
    near(score.details["beta"], 1 / factor)


def test_scaled_infidelity_sees_the_angle_alone() -> None:
    question, phi = about_linear(), randn(4, seed=6, dtype=torch.float64) + W
    score = infidelity(question, phi.expand(5, -1), scaled=True)
    cosine = torch.nn.functional.cosine_similarity(phi, W, dim=0)
    within(score, SIGMA**2 * W.square().sum() * (1 - cosine**2))


@pytest.mark.parametrize("scaled", [False, True])
def test_the_stated_error_of_infidelity_is_its_spread_over_seeds(scaled: bool) -> None:
    question = about_linear()
    given = answer((W + randn(4, seed=6, dtype=torch.float64)).expand(5, -1), question)
    metric = Infidelity(NOISE, draws=100, scaled=scaled)
    many = [metric(question, given, seed=seed) for seed in range(100)]
    spread = torch.stack([score.values for score in many]).var(0).mean().sqrt()
    stated = torch.stack([score.error for score in many]).square().mean().sqrt()
    assert 0.8 < float(stated / spread) < 1.25


@pytest.mark.parametrize("sign", [-1.0, 0.0])
def test_no_scale_below_zero(sign: float) -> None:
    question = about_linear()
    score = infidelity(question, sign * W.expand(5, -1), scaled=True)
    near(score.values, (steps_of(question) @ W).square().mean(1))
    near(score.details["beta"], 0.0)
    within(infidelity(question, 0 * W.expand(5, -1)), SIGMA**2 * W.square().sum())


def quadratic(symmetric: Tensor, b: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda x: 0.5 * torch.einsum("ri,ij,rj->r", x, symmetric, x) + x @ b


HALF = randn(4, 4, seed=8, dtype=torch.float64)
CURVE = HALF + HALF.T


def test_infidelity_of_a_quadratics_gradient_is_its_curvature() -> None:
    question = assay.Question(quadratic(CURVE, W), X)
    score = Infidelity(NOISE, 20_000)(question, assay.Gradient()(question))
    trace = torch.trace(CURVE)
    within(score, SIGMA**4 / 4 * (2 * torch.trace(CURVE @ CURVE) + trace**2))
    near(score.details["beta"], 1.0, 0.2)


def test_a_single_step_tells_the_gradient_from_the_midpoint_gradient() -> None:
    question = assay.Question(quadratic(CURVE, W), X, removal=assay.Baseline(B))
    way = X - B
    one = Infidelity(DifferenceToBaseline())(question, assay.Gradient()(question))
    near(one.values, torch.einsum("ni,ij,nj->n", way, CURVE, way).square() / 4)
    middle = (X + B) / 2 @ CURVE + W
    near(Infidelity(DifferenceToBaseline())(question, answer(middle, question)).values, 0.0)
    near(
        Infidelity(DifferenceToBaseline())(
            question, answer(middle * way, question, "contribution")
        ).values,
        0.0,
    )


def test_infidelity_of_a_product_over_all_four_masks() -> None:
    # Equal weights on the masks: Shapley's (ab/2, ab/2) has (ab)^2 / 8, least squares' (2ab/3, 2ab/3)
    # has (ab)^2 / 12.
    # Drawn masks come in unequal numbers; their counts make the sampled score exact by hand.
    question, whole = product(), 12.0
    removed = SubsetToBaseline().draw(question, 0, (0, DRAWS)).removed
    assert removed is not None
    sizes = torch.bincount(removed[0].sum(1), minlength=3).double() / DRAWS
    near(sizes, [0.25, 0.5, 0.25], 0.03)
    for share, residuals, equal in (
        (1 / 2, (0, 1 / 2, 0), 1 / 8),
        (2 / 3, (0, 1 / 3, 1 / 3), 1 / 12),
    ):
        values = torch.full((1, 2), share * whole, dtype=torch.float64)
        score = infidelity(question, values, "contribution", perturbation=SubsetToBaseline())
        near(
            score.values,
            whole**2 * float(sizes @ torch.tensor(residuals, dtype=torch.float64).square()),
        )
        within(score, torch.tensor(equal * whole**2))


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_a_gap_within_rounding_is_none_and_a_larger_one_is_as_it_is(size: float) -> None:
    """Sums of 40 numbers: 16 units in the last place of what is added up is 0, no more is."""
    x = size * randn(50, 40, seed=2, dtype=torch.float64)
    w = randn(40, seed=3, dtype=torch.float64)
    question = assay.Question(linear(w, size), x)
    # Differences of running sums: each is a little off.
    credit = (x * w).flip(0).cumsum(1).diff(dim=1, prepend=torch.zeros(50, 1)).flip(0)
    change = question.prediction - question.base
    assert bool(((credit.sum(1) - change).abs() > 0).any()), "rounding is at work"
    exact = answer(credit.double(), question, "contribution")
    assert Completeness()(question, exact).values.tolist() == [0.0] * 50
    off = 1e-11 * size * torch.ones(50, 40, dtype=torch.float64)
    missed = answer(credit + off, question, "contribution")
    score = Completeness()(question, missed).values
    torch.testing.assert_close(score, off.sum(1), rtol=1e-4, atol=0.0)
    # Half of what is excused is nothing, and twice as much is there.
    added = question.prediction.abs() + question.base.abs() + credit.abs().sum(1)
    for units, counts in ((8, False), (32, True)):
        moved = credit.clone()
        moved[:, 0] += units * torch.finfo(torch.float64).eps * added
        score = Completeness()(question, answer(moved, question, "contribution")).values
        assert (score > 0).tolist() == [counts] * 50


@pytest.mark.parametrize("count", [3, 6, 7, 11])
def test_what_moves_within_rounding_has_nothing_to_be_relative_to(count: int) -> None:
    """The mean of some copies of one number differs from it by a last place, to either side."""
    removal = assay.Background(randn(count, 4, seed=3, dtype=torch.float64))
    question = assay.Question(lambda x: 0 * x.sum(1) + 0.7, X, removal=removal)
    values = randn(5, 4, seed=12, dtype=torch.float64)
    score = Completeness()(question, answer(values, question, "contribution"))
    near(score.values, values.sum(1).abs())
    assert bool(score.details["relative"].isnan().all())
    law = SubsetToBaseline()
    score = Infidelity(law, draws=20)(question, answer(values, question, "contribution"))
    assert bool(score.details["skill"].isnan().all())
    nothing = answer(torch.zeros_like(values), question, "contribution")
    near(Infidelity(law, draws=20)(question, nothing).details["skill"], 1.0)
    near(Completeness()(question, nothing).details["relative"], 0.0)


@pytest.mark.parametrize("law", [SubsetToBaseline(), SubsetToBaseline(0.1), DifferenceToBaseline()])
def test_contributions_of_a_linear_model_account_for_every_mask(law: Any) -> None:
    question = about_linear(removal=assay.Baseline(0.0))
    near(infidelity(question, W * X, "contribution", perturbation=law).values, 0.0)
    wrong = infidelity(question, W.expand(5, -1), "contribution", perturbation=law)
    removed = (
        law.draw(question, 0, (0, law.size(question, DRAWS))).removed.double().expand(5, -1, -1)
    )
    near(wrong.values, torch.einsum("nkd,nd->nk", removed, W * (X - 1)).square().mean(1))


def test_infidelity_of_a_mixture_is_quadratic_in_its_share() -> None:
    question = assay.Question(quadratic(CURVE, W), X)
    one, two = randn(5, 4, seed=10, dtype=torch.float64), randn(5, 4, seed=11, dtype=torch.float64)
    ends = [infidelity(question, values).values for values in (one, two)]
    apart = torch.einsum("nkd,nd->nk", steps_of(question), one - two).square().mean(1)
    for t in (0.25, 0.5):
        mixed = infidelity(question, (1 - t) * one + t * two).values
        near(mixed, (1 - t) * ends[0] + t * ends[1] - t * (1 - t) * apart, 1e-9)


def test_complete_values_have_no_infidelity_when_everything_goes_at_once() -> None:
    question = assay.Question(lambda x: torch.sin(x).sum(1) * x[:, 0], X)
    values = randn(5, 4, seed=12, dtype=torch.float64)
    missing = values.sum(1) - (question.prediction - question.base)
    score = Infidelity(DifferenceToBaseline())(question, answer(values, question, "contribution"))
    near(score.values, missing**2)
    near(Completeness()(question, answer(values, question, "contribution")).values, missing.abs())


def test_ablation_accounts_for_single_features() -> None:
    net = MultiLayer().double().eval()
    image = assay.Question(
        lambda x: net(x.flatten(1)), row(1.0, 2.5, 3.3).view(1, 1, 1, 3), target=0
    )
    without = image.prediction.unsqueeze(1) - image.value(~torch.eye(3, dtype=torch.bool))
    near(Infidelity(Squares((1,)))(image, answer(without, image, "contribution")).values, 0.0)


def test_squares_and_noise_follow_their_laws() -> None:
    digits = assay.Question(
        lambda x: x.flatten(1).sum(1), torch.zeros(1, 28, 28), features=assay.Pixels()
    )
    assert Squares().size(digits, 0) == 5605
    pair = assay.Question(lambda x: x.sum(1), row(0.0, 1.0))
    noisy = NoisyBaseline(0.2).draw(pair, 0, (0, 40_000)).step[0]
    near(noisy.mean(0), [0.0, 1.0], 5 * 0.2 / 200)
    near(noisy.var(0), [0.04, 0.04], 5 * 0.04 * math.sqrt(2) / 200)


# --- sensitivity


def sensitivity(question: assay.Question, method: assay.Method, **more: Any) -> Any:
    return MaxSensitivity(method, **more)(question, method(question))


@pytest.mark.parametrize("rows", [1, 3, "auto"])
def test_a_constant_explanation_does_not_move(rows: Any) -> None:
    question = assay.Question(assay.wrap(linear(W), batch_size=rows), X)
    score = sensitivity(question, assay.Gradient(), radius=0.5, draws=20)
    for values in (score.values, score.details["mean"], score.details["lipschitz"]):
        near(values, 0.0)
    silent = assay.Question(lambda x: 0 * x.sum(1), X)
    near(sensitivity(silent, assay.Gradient(), draws=5).values, 0.0)  # 0 / 0 counts as 0


def test_an_explanation_that_moves_within_rounding_does_not_move() -> None:
    """The slope of log exp(x w) is w e^z / e^z: w, but for a last place that differs by the point."""
    question = assay.Question(lambda x: (x @ W).exp().log(), X)
    slopes = assay.Gradient()(question.at(X + 0.1, torch.arange(5))).values
    assert bool((slopes != assay.Gradient()(question).values).any()), "rounding is at work"
    score = sensitivity(question, assay.Gradient(), radius=0.5, draws=20)
    for values in (score.values, score.details["found"], score.details["lipschitz"]):
        near(values, 0.0, 0.0)


@pytest.mark.parametrize("ball", ["linf", "l2"])
def test_the_slope_of_a_squared_norm_moves_twice_as_far_as_its_input(ball: Any) -> None:
    question = assay.Question(lambda x: x.square().sum(1), X)
    score = sensitivity(question, assay.Gradient(), radius=0.2, ball=ball, draws=200)
    near(score.details["lipschitz"], 2.0, 1e-8)
    most = 2 * 0.2 * (math.sqrt(4) if ball == "linf" else 1.0) / (2 * X.norm(dim=1))
    assert bool((score.values <= most + 1e-12).all())
    assert bool((score.values >= 0.7 * most).all())


def test_the_mean_move_of_a_squared_norms_slope_in_a_box() -> None:
    """phi = 2 x in 784 dimensions, uniform in a box of 0.2: some 2 r sqrt(d / 3), 6.466."""
    d, radius, draws = 784, 0.2, 400
    question = assay.Question(lambda x: x.square().sum(1), randn(3, d, seed=3, dtype=torch.float64))
    score = sensitivity(question, assay.Gradient(), radius=radius, draws=draws, ascent=0)
    mean = score.details["mean"] * 2 * question.x.norm(dim=1)
    # |d|^2 has the mean d r^2 / 3 and the variance d 4 r^4 / 45: the mean length is less by an
    # eighth of the relative variance, and spreads by half of its root.
    relative = 4 / 5 / d
    expected = 2 * radius * math.sqrt(d / 3) * (1 - relative / 8)
    assert expected == pytest.approx(6.466, abs=1e-3)
    spread = expected * math.sqrt(relative) / 2
    near(mean, expected, 4.5 * spread / math.sqrt(draws))


@pytest.mark.parametrize("ball", ["linf", "l2"])
@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_neighbours_lie_on_both_sides(side: float, ball: Any) -> None:
    """f = x + relu(+-x)^2 at 0: its slope is 1, and moves by 2 |d| on one side alone."""
    question = assay.Question(lambda x: (x + relu(side * x) ** 2)[:, 0], torch.zeros(1, 1).double())
    score = sensitivity(question, assay.Gradient(), radius=0.5, ball=ball, draws=2000, ascent=0)
    near(score.values, 1.0, 0.02)
    # Half of the steps are on the other side; the mean length of the others is half a radius.
    near(score.details["mean"], 0.25, 4.5 * math.sqrt((1 / 6 - 1 / 16) / 2000))


def test_the_mean_move_of_a_squared_norms_slope_in_a_ball() -> None:
    """phi = 2 x, uniform in a ball of d dimensions: a step has the mean length r d / (d + 1)."""
    d, radius, draws = 3, 0.2, 2000
    question = assay.Question(lambda x: x.square().sum(1), randn(4, d, seed=3, dtype=torch.float64))
    score = sensitivity(question, assay.Gradient(), radius=radius, ball="l2", draws=draws, ascent=0)
    mean = score.details["mean"] * question.x.norm(dim=1)
    # The mean square is r^2 d / (d + 2).
    variance = radius**2 * (d / (d + 2) - (d / (d + 1)) ** 2)
    near(mean, radius * d / (d + 1), 4.5 * math.sqrt(variance / draws))


def test_the_largest_of_n_uniform_moves() -> None:
    n, draws, radius = 3000, 20, 0.5
    x = (1 + torch.arange(n, dtype=torch.float64) / n).unsqueeze(1)
    question = assay.Question(lambda x: 0.5 * x.square().sum(1), x)
    found = sensitivity(question, assay.Gradient(), radius=radius, draws=draws).values * x[:, 0]
    expected, variance = (
        radius * draws / (draws + 1),
        radius**2 * draws / ((draws + 1) ** 2 * (draws + 2)),
    )
    assert abs(float(found.mean()) - expected) < 4.5 * math.sqrt(variance / n)


def test_sensitivity_grows_with_its_draws() -> None:
    x = torch.rand(5, 1, generator=torch.Generator().manual_seed(0)) + 1
    question = assay.Question(lambda rows: rows[:, 0] ** 2, x)
    few, more = (
        sensitivity(question, assay.Gradient(), radius=0.5, draws=draws).values for draws in (4, 40)
    )
    assert bool((more >= few).all())
    assert bool((more > few).any())


def test_skill_is_one_for_a_perfect_account_and_zero_for_none() -> None:
    question = assay.Question(lambda x: x @ torch.tensor([1.0, 2.0, -3.0]), torch.ones(2, 3))
    answer = assay.ExactShapley()(question)
    nothing = replace(answer, values=torch.zeros_like(answer.values))
    law = assay.SubsetToBaseline()
    near(Infidelity(law, draws=50)(question, answer).details["skill"], 1.0)
    near(Infidelity(law, draws=50)(question, nothing).details["skill"], 0.0)


def test_sensitivity_asks_the_method_once_for_each_draw() -> None:
    rows = []

    def counted(x: Tensor) -> Tensor:
        rows.append(len(x))
        return x.prod(dim=1)

    question = assay.Question(counted, torch.rand(2, 5))
    method = assay.ExactShapley()
    answer = method(question)
    rows.clear()
    sensitivity(question, method, radius=0.1, draws=7, ascent=0)
    # 32 coalitions for each input and draw; the checks of a new question are beside it.
    assert 2 * 7 * 32 <= sum(rows) <= 2 * 7 * 32 + 2 * 7 * 4 + answer.facts["forwards"]


def test_contributions_of_a_linear_model_move_with_its_weights() -> None:
    question = about_linear()
    score = sensitivity(question, assay.InputXGradient(), radius=0.2, draws=400)
    most = 0.2 * W.norm() / (W * X).norm(dim=1)
    assert bool((score.values <= most + 1e-12).all())
    assert bool((score.values >= 0.8 * most).all())


def test_an_explanation_inside_one_linear_region_does_not_move() -> None:
    near(
        sensitivity(multi_layer(1.0, 2.5, 3.0), assay.Gradient(), radius=0.02, draws=20).values, 0.0
    )


def test_sensitivity_to_neighbours_of_ones_own() -> None:
    """f = |x|^2 has the slope 2 x: a step d moves it by 2 |d|, relative to 2 |x|."""
    x = torch.tensor([[3.0, 4.0], [6.0, 8.0]], dtype=torch.float64)
    asked = assay.Question(lambda x: (x**2).sum(1), x)
    gradient = assay.Gradient()
    steps = assay.MaxSensitivity(gradient, draws=3, neighbours=lambda x, draw: x + draw)
    score = steps(asked, gradient(asked))
    torch.testing.assert_close(score.values, 8**0.5 / torch.tensor([5.0, 10.0]).double())
    torch.testing.assert_close(score.details["lipschitz"], torch.full((2,), 2.0).double())
    # A finite list has as many neighbours as it has: here the absent input, at distance |x|.
    absent = assay.MaxSensitivity(gradient, neighbours=DifferenceToBaseline())
    torch.testing.assert_close(absent(asked, gradient(asked)).values, torch.ones(2).double())
    # Perturbations are taken off: from 0.5 to 0, and not to 1.
    rising = assay.Question(lambda x: x.exp()[:, 0], row(0.5))
    near(absent(rising, gradient(rising)).values, 1 - math.exp(-0.5))
    # And gone through whole, whatever the draws say.
    each = assay.MaxSensitivity(gradient, draws=1, neighbours=assay.Coordinates())
    near(each(asked, gradient(asked)).values, 0.8)


@pytest.mark.parametrize(
    "neighbours",
    [3, "noise", lambda x: x, lambda x, draw: x[:1], lambda x, draw: None, lambda x, draw: x / 0],
)
def test_neighbours_of_a_wrong_form_are_refused(neighbours: Any) -> None:
    asked = assay.Question(lambda x: (x**2).sum(1), torch.ones(2, 2))
    gradient = assay.Gradient()
    with pytest.raises(
        assay.errors.AssayError, match=r"as neighbours|neighbours of shape \(2, 2\)"
    ):
        assay.MaxSensitivity(gradient, neighbours=neighbours)(asked, gradient(asked))


@pytest.mark.parametrize("share", [0.1, 0.8])
def test_so_large_a_share_is_removed(share: float) -> None:
    question = assay.Question(lambda x: x.sum(1), torch.ones(1, 1000))
    removed = assay.SubsetToBaseline(share).removed(question, 0, (0, 20))
    # Of 20,000 features: five standard deviations.
    within = 5 * (share * (1 - share) / 20_000) ** 0.5
    assert abs(float(removed.double().mean()) - share) < within
