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
    question = assay.Question(net, randn(9, 16, dtype=DOUBLE))
    near(assay.SensitivityN(draws=20)(question, answer(w * question.x, question)).values, 1.0)


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
    assert len(found[0]) == 9
    assert bool((found[0] > 0).any())
    near(found[0], found[1])


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
    question = assay.Question(lambda x: x.sum(1), torch.ones(1, 4), truth=truth)
    values = rows([3, -2, -1.1, 0.2])
    near(assay.MassAccuracy()(question, answer(values, question)).values, 3 / 3.2, 1e-6)


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
    question = assay.Question(lambda x: x.sum(1), torch.ones(1, 4), truth=truth)
    constant = answer(torch.ones(1, 4), question)
    assert assay.Deletion()(question, constant).mean == pytest.approx(2.0)
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
    near(score.values, 25.0, 1e-6)


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
