"""Sensitivities between a lower and an upper bound, and the theorems about smoothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import assay
from assay.errors import AssayError, InputError
from assay.metrics.sensitivity import smoothed_infidelity, smoothed_sensitivity
from assay.metrics.sensitivity.smoothing import Inequality
from assay.models.networks.guarantees.slope_bounds import slope_bounds
from metrics.by_hand import rows
from toys import randn, randomised, seeded

DOUBLE = torch.float64
GRADIENT = assay.Gradient()


def near(ours: Tensor, theirs: Any, tolerance: float = 1e-9) -> None:
    expected = torch.as_tensor(theirs, dtype=ours.dtype)
    torch.testing.assert_close(ours, expected.expand_as(ours), rtol=0, atol=tolerance)


class Shortcut(nn.Module):
    """A sum of two ways, a method and a function."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 6)
        self.second = nn.Linear(6, 6)
        self.last = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.first(x))
        return self.last(torch.relu(self.second(h) + h).reshape(-1, 6))


def pooled() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(3, 2, 2),
        nn.Softplus(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(2, 2),
    )


def overlapping() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 2, 2), nn.LeakyReLU(0.1), nn.MaxPool2d(3, 1), nn.Flatten(), nn.Linear(18, 2)
    )


def smooth(activation: type[nn.Module]) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(
        nn.Linear(4, 7), activation(), nn.Linear(7, 5), activation(), nn.Linear(5, 2)
    )


NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "tanh": (smooth(nn.Tanh), (4,)),
    "sigmoid": (smooth(nn.Sigmoid), (4,)),
    "softplus": (smooth(nn.Softplus), (4,)),
    "relu": (smooth(nn.ReLU), (4,)),
    "shortcut": (Shortcut, (4,)),
    "pooled": (pooled, (1, 6, 6)),
    "overlapping": (overlapping, (1, 6, 6)),
}


def named(name: str) -> tuple[nn.Module, Tensor]:
    make, shape = NETS[name]
    net = randomised(make(), 3).double()
    return net, randn(3, *shape, seed=5, dtype=DOUBLE)


def first_output(outputs: Tensor) -> Tensor:
    slope = torch.zeros_like(outputs)
    slope[:, 0] = 1
    return slope


def slopes_of(net: nn.Module, x: Tensor) -> Tensor:
    leaf = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(net(leaf)[:, 0].sum(), leaf)
    return slope.flatten(1)


@pytest.mark.parametrize("name", NETS)
def test_without_a_radius_the_range_of_a_slope_is_the_slope(name: str) -> None:
    net, x = named(name)
    made = slope_bounds(net, x, torch.zeros(3), "linf", first_output)
    assert made is not None
    near(made.low, slopes_of(net, x))
    near(made.high, slopes_of(net, x))


@pytest.mark.parametrize("ball", ["linf", "l2"])
@pytest.mark.parametrize("radius", [0.02, 0.3])
@pytest.mark.parametrize("name", NETS)
def test_every_slope_in_the_ball_lies_in_the_range(name: str, radius: float, ball: Any) -> None:
    net, x = named(name)
    made = slope_bounds(net, x, torch.full((3,), radius), ball, first_output)
    assert made is not None
    steps = torch.rand(200, *x.shape, generator=seeded(0), dtype=DOUBLE) * 2 - 1
    # Corners of the box, too.
    steps[::2] = steps[::2].sign()
    if ball == "l2":
        steps = torch.nn.functional.normalize(steps.flatten(2), dim=2).view_as(steps)
    there = slopes_of(net, (x + radius * steps).flatten(0, 1)).view(200, len(x), -1)
    assert bool((there >= made.low - 1e-12).all())
    assert bool((there <= made.high + 1e-12).all())
    # A range that held every number would prove nothing.
    assert float((made.high - made.low).max()) < 100


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "softplus"])
def test_no_hessian_in_the_ball_is_larger_than_the_curvature(name: str) -> None:
    net, x = named(name)
    made = slope_bounds(net, x, torch.full((3,), 0.5), "linf", first_output)
    assert made is not None
    largest = torch.zeros(3, dtype=DOUBLE)
    for seed in range(40):
        points = x + 0.5 * (torch.rand(3, 4, generator=seeded(seed), dtype=DOUBLE) * 2 - 1)
        for row in range(3):
            hessian = torch.autograd.functional.hessian(lambda z: net(z[None])[0, 0], points[row])
            largest[row] = max(largest[row], torch.linalg.matrix_norm(hessian, 2))
    assert bool((largest <= made.curvature).all())
    assert bool((made.curvature < 50 * largest).all())


def test_the_curvature_of_one_unit_is_the_largest_second_derivative() -> None:
    net = nn.Sequential(nn.Linear(2, 1), nn.Tanh()).double()
    made = slope_bounds(net, randn(1, 2, dtype=DOUBLE), torch.ones(1), "l2", first_output)
    assert made is not None
    # The largest of tanh'' is 4 / (3 sqrt 3), times |w|^2.
    expected = 4 / (3 * math.sqrt(3)) * float(net[0].weight.detach().norm()) ** 2
    near(made.curvature, expected)


@pytest.mark.parametrize(("activation", "top"), [(nn.Tanh(), 1.0), (nn.Sigmoid(), 0.25)])
@pytest.mark.parametrize("at", [0.2, -0.2, 0.9])
def test_the_slope_of_one_unit_ranges_from_the_farther_end_to_its_top(
    activation: nn.Module, top: float, at: float
) -> None:
    net = nn.Sequential(nn.Linear(1, 1), activation).double()
    nn.init.ones_(net[0].weight)
    nn.init.zeros_(net[0].bias)
    made = slope_bounds(net, rows([at]), torch.full((1,), 0.5), "linf", first_output)
    assert made is not None
    ends = slopes_of(net, rows([at - 0.5], [at + 0.5]))
    near(made.low, ends.min())
    # The top lies at 0, where the range holds it.
    near(made.high, top if abs(at) < 0.5 else ends.max())


def test_a_pool_whose_winner_may_change_has_no_curvature_and_others_that_of_their_copies() -> None:
    """Nine windows have one winner z: f = tanh(9 z / 10), whose second derivative is 0.81 tanh''."""
    net = nn.Sequential(nn.MaxPool2d(3, 1), nn.Flatten(), nn.Linear(9, 1), nn.Tanh()).double()
    nn.init.constant_(net[2].weight, 0.1)
    x = torch.zeros(1, 1, 5, 5, dtype=DOUBLE)
    x[0, 0, 2, 2] = 5.0
    sure = slope_bounds(net, x, torch.full((1,), 2.0), "linf", first_output)
    open_ = slope_bounds(net, x, torch.full((1,), 3.0), "linf", first_output)
    assert sure is not None
    assert open_ is not None
    near(sure.curvature, 0.81 * 4 / (3 * math.sqrt(3)))
    assert bool(open_.curvature.isinf().all())


def test_rectifiers_that_keep_their_side_have_no_curvature_and_others_no_bound() -> None:
    net, x = named("relu")
    close = slope_bounds(net, x, torch.full((3,), 1e-6), "linf", first_output)
    wide = slope_bounds(net, x, torch.full((3,), 3.0), "linf", first_output)
    assert close is not None
    assert wide is not None
    near(close.curvature, 0.0)
    assert bool(wide.curvature.isinf().all())


@pytest.mark.parametrize("other", [nn.GELU(), nn.MaxPool2d(2, padding=1), nn.Softmax(1)])
def test_of_other_operations_nothing_is_proved(other: nn.Module) -> None:
    net = nn.Sequential(nn.Conv2d(1, 1, 1), other, nn.Flatten()).double()
    x = randn(1, 1, 4, 4, dtype=DOUBLE)
    assert slope_bounds(net, x, torch.ones(1), "linf", first_output) is None


def test_the_network_is_left_as_it_was() -> None:
    net, x = named("pooled")
    net = net.float()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    question = assay.Question(net, x.float(), target=0)
    assay.MaxSensitivity(GRADIENT, draws=2)(question, GRADIENT(question))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert next(net.parameters()).dtype == torch.float32


# --- the metrics


def square(d: int) -> assay.Question:
    return assay.Question(lambda x: (x**2).sum(1), randn(2, d, seed=1, dtype=DOUBLE))


def test_the_ascent_finds_the_corner_that_samples_miss() -> None:
    """phi = 2 x in 784 dimensions: 50 samples of a box of 0.2 say 6.58, the supremum is 11.2."""
    question = square(784)
    norm = 2 * question.x.norm(dim=1)
    made = assay.MaxSensitivity(GRADIENT, radius=0.2)(question, GRADIENT(question))
    near(made.details["found"], 2 * 0.2 * 784**0.5 / norm)
    assert bool((made.values * norm < 7.0).all())
    made = assay.MaxSensitivity(GRADIENT, radius=0.2, ball="l2")(question, GRADIENT(question))
    near(made.details["found"], 2 * 0.2 / norm)
    # Nothing is proved of a function that is no network.
    assert bool(made.details["upper"].isnan().all())


def test_rates_of_twice_the_input_are_two() -> None:
    question = square(5)
    lipschitz = assay.LipschitzSensitivity(GRADIENT)(question, GRADIENT(question))
    near(lipschitz.values, 2.0)
    near(lipschitz.details["found"], 2.0)
    near(assay.GradientSensitivity(GRADIENT)(question, GRADIENT(question)).values, 2.0, 1e-6)


@pytest.mark.parametrize("ball", ["linf", "l2"])
def test_contributions_of_a_linear_network_are_met_from_both_sides(ball: Any) -> None:
    """phi = w x: the supremum is r |w|_2 in a box and r max |w| in a ball, and is proved."""
    net = nn.Linear(5, 1).double()
    w = net.weight[0].detach()
    question = assay.Question(net, randn(3, 5, seed=2, dtype=DOUBLE))
    for method in (
        assay.InputXGradient(),
        assay.TimesInput(GRADIENT),
        assay.IntegratedGradients(4),
    ):
        norm = (w * question.x).norm(dim=1)
        size = float(w.norm() if ball == "linf" else w.abs().max())
        made = assay.MaxSensitivity(method, radius=0.3, ball=ball, ascent=40)(
            question, method(question)
        )
        # The power method nears the largest weight step by step; a corner it meets at once.
        reached = made.details["found"] * norm / (0.3 * size)
        near(reached, 1.0, 1e-9 if ball == "linf" else 0.02)
        assert bool((reached <= 1 + 1e-9).all())
        near(made.details["upper"], 0.3 * size / norm, 1e-9)
        rates = assay.GradientSensitivity(method)(question, method(question))
        near(rates.values, float(w.abs().max()), 1e-6)
        near(rates.details["upper"], float(w.abs().max()), 1e-9)


def test_a_constant_explanation_is_proved_not_to_move() -> None:
    question = assay.Question(nn.Linear(4, 1).double(), randn(3, 4, dtype=DOUBLE))
    answer = GRADIENT(question)
    for metric in (assay.MaxSensitivity(GRADIENT), assay.LipschitzSensitivity(GRADIENT)):
        score = metric(question, answer)
        for values in (score.values, score.details["found"], score.details["upper"]):
            near(values, 0.0)
    rates = assay.GradientSensitivity(GRADIENT)(question, answer)
    near(rates.details["upper"], 0.0)
    near(rates.values, 0.0, 1e-9)


METHODS = [
    GRADIENT,
    assay.Absolute(GRADIENT),
    assay.InputXGradient(),
    assay.TimesInput(GRADIENT),
    assay.IntegratedGradients(4),
    assay.IntegratedGradients(4, multiply=False),
]


@pytest.mark.parametrize("ball", ["linf", "l2"])
@pytest.mark.parametrize("method", METHODS, ids=repr)
@pytest.mark.parametrize("name", NETS)
def test_what_was_found_lies_below_what_was_proved(
    name: str, method: assay.Method, ball: Any
) -> None:
    net, x = named(name)
    question = assay.Question(net, x, target=assay.Contrast(0, 1), removal=assay.Baseline(0.2))
    if x.dim() == 4 and method.kind.value == "contribution":
        question = assay.Question(net, x, target=0, features=assay.Patches(2))
    answer = method(question)
    score = assay.MaxSensitivity(method, radius=0.2, ball=ball, draws=20)(question, answer)
    details = score.details
    assert bool((details["max"] <= details["found"]).all())
    assert bool((details["found"] <= details["upper"] * (1 + 1e-9)).all())
    rates = assay.LipschitzSensitivity(method, radius=0.2, ball=ball, draws=20)(question, answer)
    proved = rates.details["upper"]
    assert bool(((rates.details["found"] <= proved * (1 + 1e-9)) | proved.isnan()).all())
    if name in ("tanh", "sigmoid", "softplus"):
        assert bool(proved.isfinite().all())


def test_the_ascent_goes_where_the_change_grows() -> None:
    """phi = e^x: a step up moves it by more than the same step down."""
    question = assay.Question(lambda x: x.exp()[:, 0], rows([0.3], [-1.0]))
    made = assay.MaxSensitivity(GRADIENT, radius=0.5, ascent=1)(question, GRADIENT(question))
    near(made.details["found"], math.exp(0.5) - 1)


def test_bounds_of_one_unit_are_those_written_out() -> None:
    """A sigmoid of the input: its slope s at 3 lies between those at 4 and 2, and at 0 is largest."""
    net = nn.Sequential(nn.Linear(1, 1), nn.Sigmoid()).double()
    nn.init.ones_(net[0].weight)
    nn.init.zeros_(net[0].bias)

    def s(z: float) -> float:
        return 1 / (2 + math.exp(z) + math.exp(-z))

    for method, x, farthest in (
        (GRADIENT, 0.0, s(0) - s(1)),
        (GRADIENT, 3.0, s(2) - s(3)),
        (assay.InputXGradient(), 3.0, 3 * (s(2) - s(3)) + s(2)),
        # The way to the baseline, 1, is shorter than that to 0.
        (assay.TimesInput(GRADIENT), 3.0, 2 * (s(2) - s(3)) + s(2)),
    ):
        question = assay.Question(net, rows([x]), target=0, removal=assay.Baseline(1.0))
        answer = method(question)
        made = assay.MaxSensitivity(method, radius=1.0)(question, answer)
        near(made.details["upper"], farthest / float(answer.values.abs()))


def test_a_feature_of_two_elements_moves_by_the_root_of_two_as_fast() -> None:
    net = nn.Linear(3, 1).double()
    with torch.no_grad():
        net.weight.copy_(rows([1.0, 1.0, 0.5]))
    groups = assay.Columns(groups={"both": [0, 1], "last": [2]})
    question = assay.Question(net, randn(2, 3, seed=2, dtype=DOUBLE), features=groups)
    method = assay.InputXGradient()
    made = assay.LipschitzSensitivity(method, radius=0.3)(question, method(question))
    # The step (1, 1, 0) goes that fast: no smaller bound holds.
    near(made.details["upper"], math.sqrt(2))
    assert bool((made.details["found"] > 1.0).all())
    assert bool((made.details["found"] <= math.sqrt(2) + 1e-9).all())


def test_of_slopes_that_may_jump_no_rate_is_proved() -> None:
    net, x = named("relu")
    question = assay.Question(net, x, target=0)
    rate = assay.LipschitzSensitivity(GRADIENT, radius=3.0)(question, GRADIENT(question))
    assert bool(rate.details["upper"].isnan().all())
    move = assay.MaxSensitivity(GRADIENT, radius=3.0)(question, GRADIENT(question))
    assert bool(move.details["upper"].isfinite().all())


def test_a_baseline_that_moves_with_the_input_proves_nothing() -> None:
    net, x = named("tanh")
    picture = nn.Sequential(nn.Flatten(), net)
    question = assay.Question(picture, x.view(3, 1, 2, 2), target=0, removal=assay.Blur(1.0))
    method = assay.TimesInput(GRADIENT)
    score = assay.MaxSensitivity(method, draws=2)(question, method(question))
    assert bool(score.details["upper"].isnan().all())


def test_the_largest_singular_value_of_the_derivative() -> None:
    net, x = named("tanh")
    question = assay.Question(net, x, target=0, removal=assay.Baseline(0.2))

    def products(row: Tensor) -> Tensor:
        (slope,) = torch.autograd.grad(net(row[None])[0, 0], row, create_graph=True)
        return (row - 0.2) * slope

    for method, function in ((GRADIENT, None), (assay.TimesInput(GRADIENT), products)):
        expected = []
        for row in x:
            leaf = row.clone().requires_grad_()
            if function is None:
                matrix = torch.autograd.functional.hessian(lambda z: net(z[None])[0, 0], leaf)
            else:
                matrix = torch.autograd.functional.jacobian(function, leaf)
            expected.append(float(torch.linalg.matrix_norm(matrix, 2)))
        score = assay.GradientSensitivity(method)(question, method(question))
        near(score.values, expected, 1e-7)
    power = assay.GradientSensitivity(GRADIENT, largest=1, iterations=200)
    score = power(question, GRADIENT(question))
    plain = assay.GradientSensitivity(GRADIENT)(question, GRADIENT(question))
    near(score.values, plain.values, 1e-4)
    assert bool((score.details["converged"] == 1).all())
    assert bool((score.values <= plain.values + 1e-9).all())


def test_many_elements_of_an_explanation_without_symmetry_are_refused() -> None:
    net, x = named("tanh")
    question = assay.Question(net, x, target=0)
    method = assay.InputXGradient()
    with pytest.raises(InputError, match="symmetric") as caught:
        assay.GradientSensitivity(method, largest=2)(question, method(question))
    assert "largest" in str(caught.value.advice)


# --- smoothing


@pytest.mark.parametrize("method", [GRADIENT, assay.IntegratedGradients(8)], ids=repr)
@pytest.mark.parametrize("name", ["tanh", "relu", "pooled"])
def test_a_smoothed_explanation_is_no_more_sensitive(name: str, method: assay.Method) -> None:
    net, x = named(name)
    made = smoothed_sensitivity(method, assay.Question(net, x, target=0), noise=0.3)
    assert bool(made.holds.all())
    assert bool((made.left < made.right).all())
    assert bool((made.left > 0).all())


def test_an_inequality_holds_up_to_rounding_and_no_further() -> None:
    made = Inequality(rows(1, 1, 1, 1), rows(2, 1 - 1e-12, 1 - 1e-6, math.inf))
    assert made.holds.tolist() == [True, True, False, True]
    assert made.applies.tolist() == [True, True, True, False]


def test_where_every_copy_moves_alike_smoothing_changes_nothing() -> None:
    made = smoothed_sensitivity(GRADIENT, square(3), noise=0.3)
    near(made.left, made.right)


def test_both_sides_of_the_infidelity_theorem_are_as_written() -> None:
    net, x = named("tanh")
    question = assay.Question(net, x, target=0)
    law = assay.GaussianNoise(1.0)
    made = smoothed_infidelity(GRADIENT, question, law, noise=0.05, copies=4, draws=6, seed=3)
    from assay.numerics import rng

    kernel = rng.streams(3, question.keys, "kernel").normal((0, 4), 4, DOUBLE)
    steps = law.draw(question, 3, (0, 6)).step

    def f(z: Tensor) -> float:
        return net(z[None])[0, 0].item()

    for row in range(3):
        copies = [x[row] + 0.05 * e for e in kernel[row]]
        slopes = [slopes_of(net, z[None])[0] for z in copies]
        a, b, own = [], [], []
        for step in steps[row]:
            here = f(x[row]) - f(x[row] - step)
            there = [f(z) - f(z - step) for z in copies]
            a.append([float(step @ slope) - here for slope in slopes])
            b.append([loss - here for loss in there])
            own.append([float(step @ slope) - loss for slope, loss in zip(slopes, there)])
        A, B, own_ = (torch.tensor(part, dtype=DOUBLE) for part in (a, b, own))
        c1 = (B**2).mean() / (A**2).mean()
        c2 = (A.mean(1) ** 2).mean() / (A**2).mean()
        near(made.constants["C1"][row], c1)
        near(made.constants["C2"][row], c2)
        near(made.left[row], (A.mean(1) ** 2).mean())
        near(made.right[row], c2 / (1 - 2 * c1.sqrt()) * (own_**2).mean())
    assert bool(made.holds.all())


@pytest.mark.parametrize("name", ["tanh", "relu", "pooled"])
def test_the_infidelity_theorem_holds_and_says_where_it_says_nothing(name: str) -> None:
    net, x = named(name)
    question = assay.Question(net, x, target=0)
    near_by = smoothed_infidelity(GRADIENT, question, assay.GaussianNoise(1.0), noise=0.05)
    assert bool(near_by.applies.any())
    assert bool(near_by.holds.all())
    far = smoothed_infidelity(GRADIENT, question, assay.GaussianNoise(0.05), noise=3.0)
    assert not bool(far.applies.all())
    assert bool((far.constants["C1"][~far.applies] >= 0.25).all())
    with pytest.raises(AssayError, match="slopes"):
        smoothed_infidelity(assay.InputXGradient(), question, assay.GaussianNoise(1.0))


# --- presets


def test_presets_are_the_settings_behind_published_figures() -> None:
    local = assay.Infidelity.preset("yeh2019-local")
    assert (local.draws, local.scaled, local.negative) == (10_000, True, True)
    assert local.perturbation == assay.NoisyBaseline(0.2, limits=(0.0, 1.0))
    assert assay.Infidelity.preset("yeh2019-global").perturbation == assay.Squares(
        tuple(range(1, 11))
    )
    assert assay.Infidelity.preset("captum") == assay.Infidelity(
        assay.GaussianNoise(0.003), draws=10
    )
    assert assay.Infidelity.preset("quantus", draws=7).draws == 7
    for name, radius, draws in (
        ("yeh2019-local", 0.2, 50),
        ("yeh2019-global", 0.1, 50),
        ("captum", 0.02, 10),
        ("quantus", 0.2, 200),
    ):
        made = assay.MaxSensitivity.preset(name, GRADIENT)  # type: ignore[arg-type]
        assert (made.radius, made.draws, made.ball, made.method) == (
            radius,
            draws,
            "linf",
            GRADIENT,
        )
    for preset in (assay.Infidelity.preset, assay.MaxSensitivity.preset):
        with pytest.raises(AssayError, match="yeh2019-local"):
            preset("yeh")  # type: ignore[arg-type]


def test_the_noisy_baseline_of_the_paper_replaces_by_half_normal_noise() -> None:
    """Of a pixel 0: E[I] = -0.2 / sqrt(2 pi), E[I^2] = 0.02; of a pixel 1: E[I] = 0.9202."""
    question = assay.Question(lambda x: x.sum(1), torch.tensor([[0.0, 1.0]], dtype=DOUBLE))
    law = assay.Infidelity.preset("yeh2019-local").perturbation
    step = law.draw(question, 0, (0, 40_000)).step[0]
    mean = 0.2 / math.sqrt(2 * math.pi)
    # 4.5 standard errors of 40,000 draws; E[I^4] = 3 / 2 * 0.2^4 of half-normal noise.
    near(step.mean(0), [-mean, 1 - mean], 4.5 * math.sqrt(0.02 - mean**2) / 200)
    near(step[:, 0].square().mean(), 0.02, 4.5 * math.sqrt(1.5 * 0.2**4 - 0.02**2) / 200)
    replaced = question.x - step
    assert float(replaced.min()) >= 0
    assert float(replaced.max()) <= 1


def test_a_factor_of_any_sign_cannot_tell_an_explanation_from_its_negative() -> None:
    w = torch.tensor([2.0, -3.0, 0.5], dtype=DOUBLE)
    question = assay.Question(lambda x: x @ w, randn(2, 3, dtype=DOUBLE))
    answer = assay.Negated  # the target turned round gives the negative explanation
    opposite = GRADIENT(question.of(answer(0)))
    from dataclasses import replace

    opposite = replace(opposite, base=question.base, prediction=question.prediction, provenance={})
    law = assay.GaussianNoise(0.3)
    near(assay.Infidelity(law, scaled=True, negative=True)(question, opposite).values, 0.0)
    strict = assay.Infidelity(law, scaled=True, draws=4000)(question, opposite)
    near(strict.values, 0.09 * float(w @ w), 0.1)


def test_patches_pile_up_in_raster_order() -> None:
    x = randn(2, 1, 5, 4, seed=1, dtype=DOUBLE)
    question = assay.Question(lambda z: (z**2).sum((1, 2, 3)), x)
    law = assay.StackedPatches(2)
    assert law.size(question, 3) == 6
    removed = law.draw(question, 0, (0, 6)).step != 0
    expected = torch.zeros(6, 5, 4, dtype=torch.bool)
    number = 0
    for top in (0, 2, 4):
        for left in (0, 2):
            for later in range(number, 6):
                expected[later, top : top + 2, left : left + 2] = True
            number += 1
    assert torch.equal(removed[0], expected.flatten(1))
    # By hand: slopes 2 x against what is lost when the patches so far are 0.
    answer = GRADIENT(question)
    made = assay.Infidelity.preset("quantus")
    score = assay.Infidelity(assay.StackedPatches(2), draws=100)(question, answer)
    slow = torch.stack([(x[:, 0] ** 2 * mask).sum((1, 2)) ** 2 for mask in expected]).mean(0)
    near(score.values, slow)
    assert isinstance(made.perturbation, assay.StackedPatches)
