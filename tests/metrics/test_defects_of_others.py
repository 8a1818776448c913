"""Defects of other libraries' metrics, each as the case that shows it and what is right there.

The numbers of the others were read off their code or seen when it ran, at the version that is named
(where a test names none, at the state of its repository in autumn 2026); none of it is imported here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import assay
from metrics.by_hand import DOUBLE, additive, answer, linear, net_question, rows
from toys import randn


def near(ours: Tensor, theirs: Any, tolerance: float = 1e-10) -> None:
    expected = torch.as_tensor(theirs, dtype=ours.dtype)
    torch.testing.assert_close(
        ours, expected.expand_as(ours), rtol=0, atol=tolerance, equal_nan=True
    )


def test_quantus_0_6_0_monotonicity_is_true_for_every_explanation() -> None:
    """It masks an input that is masked already, and so finds no fall."""
    c = rows([4, 3, -2, 1])
    question = additive(c)
    exact, negated = assay.Monotonicity().each(
        question, [answer(c, question), answer(-c, question)]
    )
    near(exact.values, 1.0)
    near(negated.values, -1.0)
    # Its own question, whether the target never falls: no for both.
    assert float(exact.details["rising"]) < 1
    assert float(negated.details["rising"]) < 1


@pytest.mark.parametrize("batch", [1, 4, 64])
def test_quantus_0_6_0_sensitivity_n_is_0_29_for_an_exact_account_and_moves_with_the_batch(
    batch: int,
) -> None:
    """It correlates over inputs, of the first batch alone (issue 354; 0.96 at another size)."""
    w = randn(16, seed=1, dtype=DOUBLE)
    net = assay.wrap(linear(w), batch_size=batch)
    x = randn(9, 16, dtype=DOUBLE)
    metric = assay.SensitivityN(draws=20)
    question = assay.Question(net, x)
    near(metric(question, answer(w * x, question)).values, 1.0)
    # Of an account that is not exact each input has its own number: the one that it has alone.
    guessed = randn(9, 16, seed=2, dtype=DOUBLE)
    together = metric(question, answer(guessed, question)).values
    for row in range(9):
        alone = assay.Question(net, x[row : row + 1])
        near(metric(alone, answer(guessed[row], alone)).values, together[row : row + 1])
    assert len(together.unique()) == 9


def test_quantus_0_6_0_pixel_flipping_leaves_out_the_whole_input_and_counts_in_steps() -> None:
    """Its area of f = 1 for every mask is the number of steps less one, and crashes on NumPy 2.4."""
    question = assay.Question(lambda x: 0 * x.sum(1) + 1.0, randn(3, 12, dtype=DOUBLE))
    score = assay.Deletion()(question, answer(randn(3, 12, seed=1, dtype=DOUBLE), question))
    near(score.values, 1.0)
    near(score.details["share"][:, 0], 0.0)
    near(score.details["curve"][:, 0], question.prediction)


def test_quantus_0_6_0_region_perturbation_calls_lower_better() -> None:
    """Most relevant first, the loss of an exact account is the largest there is."""
    question = additive(rows([4, 3, 2, 1]))
    exact, negated = assay.AOPC().each(
        question, [answer(question.x, question), answer(-question.x, question)]
    )
    assert assay.AOPC.direction == "higher"
    assert exact.mean > negated.mean


def test_quantus_0_6_0_road_scores_the_first_batch_alone() -> None:
    """Every input has its score, whatever the batch (issue 333: 0 everywhere)."""
    net, _ = net_question()
    x = randn(9, 6, seed=4, dtype=DOUBLE)
    given = randn(9, 6, seed=5, dtype=DOUBLE)
    metric = assay.Road(removal=None)
    found = []
    for batch in (2, 64):
        question = assay.Question(assay.wrap(net, batch_size=batch), x, target=0)
        found.append(metric(question, answer(given, question)).values)
    near(found[0], found[1])
    for row in range(9):
        alone = assay.Question(net, x[row : row + 1], target=0)
        near(metric(alone, answer(given[row], alone)).values, found[0][row : row + 1])
    assert bool((found[0] > 0).all())


def test_quantus_0_6_0_normalises_by_the_largest_of_the_batch() -> None:
    """An input's mask has no part of its neighbour's credit (its LocalLipschitz: 0.62, 0.99, 1.53)."""
    x = rows([0.5, 0.25, 0.1])
    question = assay.Question(lambda x: x.sum(1), x)
    both = assay.Question(lambda x: x.sum(1), torch.cat([x, 0 * x + 1e-3]))
    alone = assay.AverageDrop()(question, answer(x, question)).values
    large = answer(torch.cat([x, 1e6 * x]), both)
    near(assay.AverageDrop()(both, large).values[:1], alone)


def test_quantus_0_6_0_pointing_game_hits_an_empty_mask_and_every_tie() -> None:
    """NaN becomes True; any of several maxima counts; constant maps raise AssertionError."""
    truth = torch.tensor([[0, 0, 0, 0], [1, 0, 0, 0]])
    question = assay.Question(lambda x: x.sum(1), torch.ones(2, 4), truth=truth)
    score = assay.PointingGame()(question, answer(torch.ones(2, 4), question))
    near(score.values, [torch.nan, 0.25])


@pytest.mark.parametrize("n", [2, 3, 4])
def test_quantus_0_6_0_attribution_localisation_depends_on_the_number_of_inputs(n: int) -> None:
    """Its weight divides by the size of all inputs but two: infinite for two, halved for four."""
    truth = torch.tensor([[1, 1, 0, 0]]).expand(n, 4)
    question = assay.Question(lambda x: x.sum(1), torch.ones(n, 4), truth=truth)
    near(
        assay.MassAccuracy()(question, answer(rows([3, 0, 1, 0]).expand(n, 4), question)).values,
        0.75,
    )


def test_quantus_0_6_0_relevance_mass_of_signed_credit_is_any_number() -> None:
    """(3 - 2) / (3 - 2 - 1.1 + 0.2) = 10 there; a share of the positive credit here."""
    truth = torch.tensor([[1, 1, 0, 0]])
    question = assay.Question(lambda x: x.sum(1), torch.ones(1, 4, dtype=DOUBLE), truth=truth)
    values = rows([3, -2, -1.1, 0.2])
    near(assay.MassAccuracy()(question, answer(values, question)).values, 3 / 3.2)


def test_quantus_0_6_0_relevance_ranks_break_ties_by_position() -> None:
    """A constant map scores by where the mask lies."""
    found = []
    for truth in ([[1, 1, 0, 0]], [[0, 0, 1, 1]]):
        question = assay.Question(lambda x: x.sum(1), torch.ones(1, 4), truth=torch.tensor(truth))
        found.append(assay.RankAccuracy()(question, answer(torch.ones(1, 4), question)).mean)
    assert found == [0.5, 0.5]


@pytest.mark.parametrize(
    "kind", [assay.Gini, assay.Entropy, assay.EffectiveNumber, assay.Compactness]
)
def test_quantus_0_6_0_sparseness_and_complexity_write_on_the_callers_array(kind: Any) -> None:
    """And give NaN for signed credit."""
    question = additive(rows([4, -3, 2, -1]))
    given = answer(question.x, question)
    before = given.values.clone()
    score = kind()(question, given)
    assert torch.equal(given.values, before)
    assert score.missing == 0
    near(kind()(question, answer(question.x.abs(), question)).values, score.values)


def test_quantus_0_6_0_refuses_constant_maps() -> None:
    """They are a reference point: all that orders or locates gives them what chance would."""
    truth = torch.tensor([[1, 0, 0, 0]])
    # All of the target is the first feature's: whoever takes it first or last has 0.5 or 3.5.
    question = assay.Question(lambda x: 4 * x[:, 0], torch.ones(1, 4), truth=truth)
    constant = answer(torch.ones(1, 4), question)
    near(assay.Deletion()(question, constant).values, 2.0)
    assert assay.RocArea()(question, constant).mean == 0.5


def test_rise_evaluation_py_orders_ties_by_their_pixels() -> None:
    """`np.flip(np.argsort)` of a constant map goes from the last pixel to the first."""
    c = torch.zeros(1, 8, dtype=DOUBLE)
    c[0, -1] = 6.0
    flipped = np.flip(np.argsort(np.zeros(8)))
    assert flipped[0] == 7
    question = additive(c)
    near(assay.Deletion()(question, answer(torch.zeros(1, 8), question)).values, 3.0)


def test_pytorch_grad_cam_1_5_7_drop_in_confidence_is_not_relative() -> None:
    """max(0, Y - O) there; of 0.8 to 0.6 a quarter, 25 %."""
    question = assay.Question(lambda x: x.sum(1), rows([0.6, 0.2]))
    score = assay.AverageDrop("positive")(question, answer(rows([1, 0]), question))
    near(score.values, 25.0)


def test_xplique_has_correlation_0_where_there_is_none() -> None:
    """Without variance a correlation is not defined, and no score is."""
    _, question = net_question()
    constant = answer(torch.full((5, 6), 0.1), question)
    assert assay.FaithfulnessCorrelation()(question, constant).missing == 5


def test_interpretation_evaluation_py_does_not_subtract_the_baseline_in_s_ord() -> None:
    """f(z) / f(x) starts at f(b) / f(x) there: an account of a constant would be sufficient."""
    question = assay.Question(lambda x: x.sum(1) + 100.0, rows([4, 3, 2, 1]))
    score = assay.SufficiencyOrdering()(question, answer(question.x, question))
    near(score.details["relative curve"], [[0.0, 0.4, 0.7, 0.9, 1.0]])
    near(score.values, 0.625)


def test_interpretation_evaluation_py_ends_before_all_positive_features_are_gone() -> None:
    """Its steps are 500 pixels apart and below their number: the last point is not all of them."""
    c = torch.cat([torch.ones(1, 7), -torch.ones(1, 4)], dim=1).to(DOUBLE) * rows(range(1, 12))
    question = additive(c, removal=assay.Baseline(0.0))
    positive = additive(c.clamp_min(0.0) + 0.001)
    score = assay.NecessityOrdering(steps=3)(positive, answer(c, positive))
    near(score.details["share"], [[0.0, 2 / 7, 5 / 7, 1.0]])
    near(score.details["relative curve"][:, -1], [0.004 / float(positive.prediction)], 1e-9)
    assert question.n == 1


def test_openxai_perturbs_the_others() -> None:
    """PGI computes PGU (issue 28: the mask is inverted): removing the top costs most."""
    question = additive(rows([4, 3, 2, 1]))
    given = answer(question.x, question)
    without = assay.Comprehensiveness((0.25,))(question, given).mean
    alone = assay.Sufficiency((0.25,))(question, given).mean
    assert (without, alone) == (4.0, 6.0)


# --- infidelity and sensitivity


def test_quantus_0_6_0_infidelity_piles_its_blocks_up_and_repeats_one_pass() -> None:
    """Of f = sum x^2 it reports 171 to 261 where squares one at a time give 24 to 34."""
    x = randn(3, 1, 6, 6, seed=1, dtype=DOUBLE)
    question = assay.Question(lambda x: x.square().flatten(1).sum(1), x, features=assay.Pixels())
    score = assay.Infidelity(assay.Squares((2,)))(question, assay.InputXGradient()(question))
    # A square is credited with 2 sum x^2 and costs sum x^2, each square by itself.
    squares = torch.nn.functional.avg_pool2d(x.square(), 2, stride=1, divisor_override=1)
    near(score.values, squares.square().flatten(1).mean(1))
    # Nothing is drawn, so that there is nothing to repeat.
    assert score.error is None


@pytest.mark.parametrize("batch", [1, 2, 64])
def test_quantus_0_6_0_a_constant_explanation_has_a_local_lipschitz_estimate(batch: int) -> None:
    """0.02 at a batch of two, whose maximum it divides by; and MaxSensitivity has 0 / 0 = NaN."""
    w = randn(5, seed=2, dtype=DOUBLE)
    gradient = assay.Gradient()
    for model in (linear(w), linear(0 * w)):
        question = assay.Question(assay.wrap(model, batch_size=batch), randn(4, 5, dtype=DOUBLE))
        for metric in (assay.LipschitzSensitivity(gradient), assay.MaxSensitivity(gradient)):
            near(metric(question, gradient(question)).values, 0.0)


def test_quantus_0_6_0_relative_stability_is_nan_if_one_neighbour_changes_its_class() -> None:
    """The target is chosen on the clean input, and so every neighbour has its explanation."""
    net = torch.nn.Sequential(
        torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2)
    ).double()
    with torch.no_grad():
        for number, parameter in enumerate(net.parameters()):
            parameter.copy_(randn(*parameter.shape, seed=number))
    x = randn(40, 2, seed=7, dtype=DOUBLE)
    neighbours = x.unsqueeze(1) + 0.3 * (2 * torch.rand(40, 20, 2, dtype=DOUBLE) - 1)
    clean = net(x).argmax(1, keepdim=True)
    assert bool((net(neighbours).argmax(2) != clean).any()), "some neighbours change their class"
    question = assay.Question(net, x, target=assay.Predicted())
    gradient = assay.Gradient()
    given = gradient(question)
    score = assay.MaxSensitivity(gradient, draws=20, neighbours=lambda _, draw: neighbours[:, draw])
    moved = score(question, given).values
    # Each neighbour has the slope of the class of its input, whichever it is of itself.
    points = neighbours.clone().requires_grad_(True)
    (slopes,) = torch.autograd.grad(
        net(points).gather(2, clean.expand(40, 20)[..., None]).sum(), points
    )
    change = (slopes - given.values[:, None]).norm(dim=2).amax(1)
    near(moved, change / given.values.norm(dim=1))


def test_captum_0_9_0_infidelity_of_a_linear_model_is_negative() -> None:
    """Its expanded square, a^2 - 2ab + b^2 in single precision, has -6e-5 there."""
    w = randn(50, seed=1)
    question = assay.Question(lambda x: 100 * (x @ w), randn(20, 50, seed=2))
    score = assay.Infidelity(assay.GaussianNoise(0.1), draws=50)(
        question, assay.Gradient()(question)
    )
    assert bool((score.values >= 0).all())
    near(score.details["skill"], 1.0, 1e-9)


def test_saliency_evaluation_divides_the_running_maximum_at_every_step() -> None:
    """`max_diff = max(max_diff, d) / norm` until February 2022: steps of 3, 2 and 1 against a norm
    of 10 have max(max(0.3, 2) / 10, 1) / 10 = 0.1 there (commit 8eb0955 has 0.3).
    """
    question = assay.Question(lambda x: x.square().sum(1), rows([5, 0]))
    gradient = assay.Gradient()
    lengths = [1.5, 1.0, 0.5]
    metric = assay.MaxSensitivity(
        gradient,
        draws=3,
        neighbours=lambda x, draw: x + torch.tensor([0.0, lengths[draw]]).double(),
    )
    near(metric(question, gradient(question)).values, 0.3)


def test_saliency_evaluation_guides_no_functional_rectifier() -> None:
    """It replaces modules alone, so that its MNIST rows of "GBP" are plain gradients (table 1)."""

    class Functional(torch.nn.Module):
        def __init__(self, net: torch.nn.Sequential) -> None:
            super().__init__()
            self.first, self.last = net[0], net[2]

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.last(torch.nn.functional.relu(self.first(x)))
            return out

    net = torch.nn.Sequential(torch.nn.Linear(6, 12), torch.nn.ReLU(), torch.nn.Linear(12, 1))
    net = net.double()
    x = randn(5, 6, seed=1, dtype=DOUBLE)
    guided = assay.GuidedBackprop()(assay.Question(Functional(net), x)).values
    near(guided, assay.GuidedBackprop()(assay.Question(net, x)).values)
    slope = assay.Gradient()(assay.Question(net, x)).values
    assert float((guided - slope).abs().amax()) > 0.01


def test_saliency_evaluation_scores_an_explanation_and_its_negative_alike() -> None:
    """A factor of any sign forgives an explanation that says the opposite; here it is >= 0."""
    w = rows(2, -3, 0.5)[:]
    question = assay.Question(linear(w), randn(4, 3, seed=1, dtype=DOUBLE))
    opposite = answer((-w).expand(4, -1), question, "slope")
    law = assay.GaussianNoise(0.3)
    near(assay.Infidelity(law, scaled=True, negative=True)(question, opposite).values, 0.0)
    strict = assay.Infidelity(law, scaled=True)(question, opposite)
    nothing = answer(0 * w.expand(4, -1), question, "slope")
    near(strict.values, assay.Infidelity(law, scaled=True)(question, nothing).values)
    assert bool((strict.values > 0.1).all())


@pytest.mark.parametrize("draws", [10, 50, 200])
def test_captum_0_9_0_and_quantus_0_6_0_call_the_largest_of_some_samples_the_maximum(
    draws: int,
) -> None:
    """Of phi = 2 x in 784 dimensions and a box of 0.2, 50 samples have 6.6, and the maximum is 11.2."""
    question = assay.Question(lambda x: x.square().sum(1), randn(2, 784, seed=1, dtype=DOUBLE))
    gradient = assay.Gradient()
    score = assay.MaxSensitivity(gradient, radius=0.2, draws=draws)(question, gradient(question))
    norm = 2 * question.x.norm(dim=1)
    assert bool((score.values * norm < 7).all())
    near(score.details["found"] * norm, 0.4 * 28)


# --- completeness, randomisation, the regions of an image


def test_quantus_0_6_0_completeness_asks_for_equal_floats() -> None:
    """0, 0, 1, 1, 0, 0 for an exact account; here the gap is 0 within rounding."""
    w = randn(40, seed=1)
    question = assay.Question(linear(w), randn(6, 40, seed=2))
    exact = answer(w * question.x, question)
    assert bool((exact.values.sum(1) != question.prediction - question.base).any())
    near(assay.Completeness()(question, exact).values, 0.0)


def test_quantus_0_6_0_random_logit_expects_1000_classes_and_seeds_the_callers_generator() -> None:
    """IndexError of ten classes; `np.random.seed(42)` for everything that follows."""
    net = torch.nn.Linear(8, 10).double()
    question = assay.Question(net, randn(5, 8, dtype=DOUBLE), target=3)
    gradient = assay.Gradient()
    np.random.seed(7)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    score = assay.ClassSensitivity(gradient)(question, gradient(question))
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    # Of ten classes the other one is the smallest of each input.
    weights = net.weight.detach()
    others = net(question.x).detach().scatter(1, torch.full((5, 1), 3), torch.inf).argmin(1)
    ranks = [row.argsort().argsort().double() for row in weights]
    expected = [float(torch.corrcoef(torch.stack([ranks[3], ranks[int(o)]]))[0, 1]) for o in others]
    near(score.values, expected)


def test_quantus_0_6_0_mprt_counts_the_network_itself_among_the_randomised() -> None:
    """The key it leaves out is called otherwise: a correlation of 1 is averaged in (0.660, not 0.591)."""
    question = assay.Question(torch.nn.Linear(8, 2).double(), randn(5, 8, dtype=DOUBLE), target=0)
    gradient = assay.Gradient()
    score = assay.ModelRandomisation(gradient)(question, gradient(question))
    # Of one layer there is one randomised network, and so nothing to take a mean with.
    near(score.values, score.details["all"])
    assert bool((score.values < 0.99).all())


def test_quantus_0_6_0_irof_pads_regions_to_the_longest_of_the_batch() -> None:
    """4.23 in a crowd and 1.00 alone, of one image: an input's curve is its own."""
    x = torch.stack([randn(1, 8, 8, seed=1), torch.zeros(1, 8, 8)]).double()
    x[1, :, :, 4:] = 1.0
    labels = torch.arange(64).view(8, 8) // 4
    halves = (torch.arange(8) // 4).expand(8, 8)

    def question(rows: slice, regions: Tensor) -> assay.Question:
        return assay.Question(
            lambda x: x.square().flatten(1).sum(1), x[rows], features=assay.Labels(regions)
        )

    both = question(slice(0, 2), torch.stack([labels, halves]).unsqueeze(1))
    given = assay.Occlusion()(both)
    together = assay.AOPC()(both, given).values
    for row, regions in ((0, labels), (1, halves)):
        alone = question(slice(row, row + 1), regions.view(1, 1, 8, 8))
        near(assay.AOPC()(alone, assay.Occlusion()(alone)).values, together[row : row + 1])


# --- calibration


def test_gpleiss_temperature_scaling_stops_before_the_minimum() -> None:
    """LBFGS with a rate of 0.01 has 2.353 after its 200 steps, and 4.04 for ten times the logits;
    the minimum of logits (4, 0), 80 % of them right, is 4 / ln 4 = 2.885.
    """
    labels = np.array([0] * 80 + [1] * 20)
    for factor in (1.0, 10.0):
        found = assay.temperature(np.tile([4.0 * factor, 0.0], (100, 1)), labels)
        assert found.value == pytest.approx(factor * 4 / np.log(4), rel=1e-9)


def test_torchmetrics_puts_a_confidence_of_one_into_a_bin_of_its_own() -> None:
    """Issue 3510: 0.525 for p = (0.95, 1), y = (1, 0) and ten bins; both are in the last one: 0.475."""
    made = assay.calibration(
        np.array([0.95, 1.0]), [1, 0], kind="probabilities", of="positive", bins=10
    )
    assert made.ece.value == pytest.approx(0.475, abs=1e-12)


def test_torchmetrics_takes_logits_between_0_and_1_for_probabilities() -> None:
    """It looks at their range; here it is said what they are."""
    outputs = np.array([0.2, 0.9])
    as_said = {
        kind: assay.calibration(outputs, [0, 1], kind=kind, of="positive", bins=1).brier.value  # type: ignore[arg-type]
        for kind in ("probabilities", "logits")
    }
    odds = 1 / (1 + np.exp(-outputs))
    assert as_said["probabilities"] == pytest.approx((0.2**2 + 0.1**2) / 2, abs=1e-12)
    assert as_said["logits"] == pytest.approx((odds[0] ** 2 + (1 - odds[1]) ** 2) / 2, abs=1e-12)
