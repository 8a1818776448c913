"""Masking curves: closed forms, slow twins, ties, substrates, memory, a real network, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import assay
import zoo
from assay.errors import InputError, KindError, SettingError
from assay.metrics.curves import masked_curves as engine
from assay.metrics.curves.curve import MaskingCurve
from metrics.by_hand import DOUBLE, additive, answer, linear, net_question, rows
from toys import randn, randomised

EXACT = 1e-10
AREAS = [
    assay.Deletion,
    assay.Insertion,
    assay.LeastRelevantFirst,
    assay.SymmetricRelevanceGain,
    assay.AOPC,
]
POSITIVE = [
    assay.NecessityOrdering,
    assay.SufficiencyOrdering,
    assay.NecessityProportionality,
    assay.SufficiencyProportionality,
]


def near(ours: Tensor, theirs: Any, tolerance: float = EXACT) -> None:
    expected = torch.as_tensor(theirs, dtype=ours.dtype)
    torch.testing.assert_close(ours, expected.expand_as(ours), rtol=0, atol=tolerance)


# --- closed forms: metrics.md section 5, cases 14, 18, 22, 24, 26


def test_case_14_contributions_4_3_2_1() -> None:
    question = additive(rows([4, 3, 2, 1]))
    exact = answer(question.x, question)
    known = {
        assay.Deletion: 3.75,
        assay.Insertion: 6.25,
        assay.LeastRelevantFirst: 6.25,
        assay.SymmetricRelevanceGain: 2.5,
        assay.AOPC: 6.0,
    }
    for kind, value in known.items():
        near(kind()(question, exact).values, value)
    negated = answer(-question.x, question)
    near(assay.Deletion()(question, negated).values, 6.25)
    # AOPC least relevant first.
    near(assay.AOPC()(question, negated).values, 4.0)
    near(assay.SymmetricRelevanceGain()(question, negated).values, -2.5)


def test_case_14_random_and_constant_orders_have_half_the_target() -> None:
    question = additive(rows([4, 3, 2, 1]).expand(4000, 4) + 1e-9 * randn(4000, 4, dtype=DOUBLE))
    at_random = answer(randn(4000, 4, seed=1, dtype=DOUBLE), question)
    score = assay.Deletion()(question, at_random)
    spread = float(score.values.std()) / 4000**0.5
    assert abs(score.mean - 5.0) < 4 * spread
    # Pairs of opposite orders: exact where effects add up, and it says so.
    constant = assay.Deletion()(question, answer(torch.ones(4000, 4), question))
    near(constant.values, 5.0, 1e-6)
    assert constant.error is not None
    near(constant.error, 0.0, 1e-6)


def test_insertion_and_deletion_of_a_linear_model_add_up_to_both_ends() -> None:
    w = rows(2, -3, 0.5, 1)
    question = assay.Question(
        linear(w, 0.7), randn(6, 4, dtype=DOUBLE), removal=assay.Baseline(0.3)
    )
    given = answer(randn(6, 4, seed=3, dtype=DOUBLE), question)
    total = assay.Deletion()(question, given).values + assay.Insertion()(question, given).values
    near(total, question.prediction + question.base)


def test_case_18_drop_increase_and_gain() -> None:
    # Y = 0.8; shown alone, the first feature gives 0.6 and the second one 0.9.
    def model(x: Tensor) -> Tensor:
        both = 0.8 * x[:, 0] * x[:, 1]
        return both + 0.6 * x[:, 0] * (1 - x[:, 1]) + 0.9 * x[:, 1] * (1 - x[:, 0])

    question = assay.Question(model, rows([1, 1], [1, 1]))
    shown = answer(rows([1, 0], [0, 1]), question)
    drop, increase, gain = (
        kind("positive")(question, shown)
        for kind in (assay.AverageDrop, assay.AverageIncrease, assay.AverageGain)
    )
    near(drop.values, [25.0, 0.0])
    near(increase.values, [0.0, 1.0])
    near(gain.values, [0.0, 50.0])
    for score in (drop, increase, gain):
        near(score.details["kept"], 0.5)


def test_case_22_positive_contributions_of_a_linear_model() -> None:
    c = rows([4, 3, 2, 1])
    question = additive(c)
    exact = answer(c, question)
    necessary = assay.NecessityOrdering()(question, exact)
    near(necessary.details["relative curve"], [[1.0, 0.6, 0.3, 0.1, 0.0]])
    near(necessary.values, 0.375)
    sufficient = assay.SufficiencyOrdering()(question, exact)
    near(sufficient.details["relative curve"], [[0.0, 0.4, 0.7, 0.9, 1.0]])
    near(sufficient.values, 0.625)
    for kind in (assay.NecessityProportionality, assay.SufficiencyProportionality):
        score = kind()(question, exact)
        near(score.values, 0.0)
        near(score.details["credit share"], [[0.0, 0.4, 0.7, 0.9, 1.0]])
        near(score.details["least credit share"], [[0.0, 0.1, 0.3, 0.6, 1.0]])


def test_case_24_log_odds_of_linear_logits() -> None:
    weights = randn(20, 2, seed=5, dtype=DOUBLE)
    x = randn(7, 20, seed=6, dtype=DOUBLE).abs()
    question = assay.Question(lambda x: x @ weights, x, target=assay.Contrast(0, 1))
    effects = (weights[:, 0] - weights[:, 1]) * x
    score = assay.LogOddsChange()(question, answer(effects, question))
    best = effects.clamp_min(0).sort(dim=1, descending=True).values[:, :4].sum(1)
    near(score.values, best)
    near(score.details["before"] - score.details["after"], best)
    for seed in range(20):
        other = answer(randn(7, 20, seed=100 + seed, dtype=DOUBLE), question)
        assert bool((assay.LogOddsChange()(question, other).values <= best + EXACT).all())
    near(assay.LogOddsChange()(question, answer(torch.zeros(7, 20), question)).values, 0.0)


def test_log_odds_erase_what_is_positive_and_no_tie_at_the_threshold() -> None:
    question = additive(rows([5, 2, 2, 1, -1], [1, -1, -2, -3, -4], [1, 1, 1, 1, 1]))
    score = assay.LogOddsChange(share=0.4)(question, answer(question.x, question))
    # Two of five at most: of the tie 2, 2 none; one that is positive; all tied: none.
    near(score.details["erased"], [0.2, 0.2, 0.0])
    near(score.values, [5.0, 1.0, 0.0])
    near(score.details["flipped"], [0.0, 0.0, 0.0])
    everything = assay.LogOddsChange(share=1.0)(question, answer(question.x, question))
    near(everything.details["erased"], [0.8, 0.2, 1.0])


def test_log_odds_erase_a_share_that_is_rounded_and_tell_what_flipped() -> None:
    question = additive(rows([4, 3, 2, 1], [3, -1, -1, -0.5], [3, 1, -1, -1]))
    given = answer(question.x, question)
    # 1.8 of four features are two, and 1.2 are one.
    near(assay.LogOddsChange(share=0.45)(question, given).values, [7.0, 3.0, 4.0])
    score = assay.LogOddsChange(share=0.3)(question, given)
    near(score.values, [4.0, 3.0, 3.0])
    near(score.details["flipped"], [0.0, 1.0, 1.0])


def test_log_odds_of_a_text_know_its_own_words_alone() -> None:
    def length(texts: list[str]) -> np.ndarray[Any, Any]:
        return np.array([float(len(text.replace(" ", ""))) for text in texts])

    question = assay.Question(length, ["a good film", "so bad"])
    # The third number is of no word of the second text, and sets no threshold for the others.
    given = answer(rows([1, 2, 3], [2, 1, 9]), question)
    score = assay.LogOddsChange(share=0.5)(question, given)
    near(score.values, [8.0, 2.0])
    near(score.details["erased"], [2 / 3, 1 / 2])


def test_case_26_imputing_a_constant_image_changes_nothing() -> None:
    from assay.removals.imputed import imputed

    image = torch.full((3, 9, 7), 0.3, dtype=DOUBLE)
    for seed in range(3):
        present = randn(3, 9, 7, seed=seed) > 0.5
        near(imputed(image, present), 0.3, 1e-12)
    near(imputed(image, torch.zeros_like(present)), 0.3, 1e-12)


# --- imputation against a dense solver


def dense_imputation(image: Tensor, present: Tensor) -> Tensor:
    """The linear system of Rong et al. 2022, equation by equation."""
    height, width = image.shape
    places = [(i, j) for i in range(height) for j in range(width) if not present[i, j]]
    number = {place: k for k, place in enumerate(places)}
    matrix = np.zeros((len(places), len(places)))
    right = np.zeros(len(places))
    for (i, j), k in number.items():
        for di in (-1, 0, 1):
            for dj in (-1, 0, 1):
                a, b = i + di, j + dj
                if (di, dj) == (0, 0) or not (0 <= a < height and 0 <= b < width):
                    continue
                weight = 1 / 6 if 0 in (di, dj) else 1 / 12
                matrix[k, k] += weight
                if (a, b) in number:
                    matrix[k, number[a, b]] -= weight
                else:
                    right[k] += weight * float(image[a, b])
    made = image.clone()
    for (i, j), value in zip(places, np.linalg.solve(matrix, right), strict=True):
        made[i, j] = value
    return made


@pytest.mark.parametrize("share", [-1.0, 0.0, 1.0, 2.0])
def test_imputation_solves_the_papers_system(share: float) -> None:
    from assay.removals.imputed import imputed

    images = randn(4, 8, 11, seed=2, dtype=DOUBLE)
    present = randn(4, 8, 11, seed=3) > share
    present[:, 0, 0] = True
    made = imputed(images, present)
    for image, there, ours in zip(images, present, made, strict=True):
        near(ours, dense_imputation(image, there), 1e-9)


def test_imputed_pixels_carry_noise_of_their_input_and_channels_stay_apart() -> None:
    x = randn(2, 3, 6, 6, seed=8, dtype=DOUBLE)
    masks = torch.rand(5, 36, generator=torch.Generator().manual_seed(0)) > 0.4

    def seen(noise: float) -> Tensor:
        question = assay.Question(
            lambda x: x.flatten(1).sum(1),
            x,
            features=assay.Pixels(),
            removal=assay.LinearImputation(noise),
        )
        return torch.stack(
            [question.masked(torch.tensor([0]), mask[None], torch.tensor([0]))[0] for mask in masks]
        ).view(5, 3, 36)

    smooth, noisy = seen(0.0), seen(0.1)
    for k, mask in enumerate(masks):
        for channel in range(3):
            expected = dense_imputation(x[0, channel], mask.view(6, 6))
            near(smooth[k, channel], expected.flatten(), 1e-9)
        added = noisy[k] - smooth[k]
        near(added[:, mask], 0.0, 0.0)
        hidden = added[:, ~mask]
        assert 0.05 < float(hidden.std()) < 0.2
    # The same noise under every mask.
    both = ~masks[0] & ~masks[1]
    near((noisy - smooth)[0, :, both], (noisy - smooth)[1, :, both], 1e-12)


# --- slow twins, from the definitions: one input, one step, one feature at a time


def target(question: assay.Question, i: int, hidden: set[int]) -> float:
    mask = torch.tensor([[f not in hidden for f in range(question.partition.count)]])
    return float(question.part(i, i + 1).value(mask))


def counts_of(length: int, steps: int) -> list[int]:
    steps = min(steps, length)
    return [int(torch.tensor(length * k / steps, dtype=DOUBLE).round()) for k in range(steps + 1)]


def slow_curve(
    question: assay.Question, i: int, order: list[int], counts: list[int], insert: bool
) -> list[float]:
    everything = set(range(question.partition.count))
    return [
        target(question, i, everything - set(order[:k]) if insert else set(order[:k]))
        for k in counts
    ]


def trapezoid(y: list[float], x: list[float]) -> float:
    return sum((y[k] + y[k - 1]) / 2 * (x[k] - x[k - 1]) for k in range(1, len(x)))


@pytest.mark.parametrize("steps", [2, 4, 50])
@pytest.mark.parametrize("by", ["value", "magnitude"])
def test_areas_are_their_definitions(steps: int, by: Any) -> None:
    _, question = net_question()
    values = randn(5, 6, seed=7, dtype=DOUBLE)
    given = answer(values, question)
    ranked = values.abs() if by == "magnitude" else values
    counts = counts_of(6, steps)
    shares = [count / 6 for count in counts]
    found = {kind: kind(steps=steps, by=by)(question, given).values for kind in AREAS}
    for i in range(5):
        order = sorted(range(6), key=lambda f: -float(ranked[i, f]))
        most = slow_curve(question, i, order, counts, insert=False)
        least = slow_curve(question, i, order[::-1], counts, insert=False)
        back = slow_curve(question, i, order, counts, insert=True)
        clean = float(question.prediction[i])
        expected = {
            assay.Deletion: trapezoid(most, shares),
            assay.Insertion: trapezoid(back, shares),
            assay.LeastRelevantFirst: trapezoid(least, shares),
            assay.SymmetricRelevanceGain: trapezoid(least, shares) - trapezoid(most, shares),
            assay.AOPC: sum(clean - y for y in most) / len(most),
        }
        for kind, value in expected.items():
            assert float(found[kind][i]) == pytest.approx(value, abs=EXACT), kind


def slow_relative(question: assay.Question, i: int, curve: list[float]) -> list[float]:
    base, clean = float(question.base[i]), float(question.prediction[i])
    return [max(0.0, y - base) / (clean - base) for y in curve]


def slow_between(
    x: list[float], y: list[float], other_x: list[float], other_y: list[float]
) -> float:
    """The area between two curves, as a fine sum."""
    grid = np.linspace(0, 1, 200_001)
    difference = np.abs(np.interp(grid, x, y) - np.interp(grid, other_x, other_y))
    return float((difference[1:] + difference[:-1]).sum() / 2 / 200_000)


@pytest.mark.parametrize("steps", [3, 50])
def test_necessity_and_sufficiency_are_their_definitions(steps: int) -> None:
    _, question = net_question(9)
    values = randn(9, 6, seed=11, dtype=DOUBLE)
    given = answer(values, question)
    found = {kind: kind(steps=steps)(question, given).values for kind in POSITIVE}
    compared = 0
    for i in range(9):
        order = sorted(range(6), key=lambda f: -float(values[i, f]))
        order = [f for f in order if float(values[i, f]) > 0]
        undefined = float(question.prediction[i]) <= float(question.base[i]) or not order
        if undefined:
            assert all(bool(torch.isnan(values[i])) for values in found.values())
            continue
        compared += 1
        k_all = min(steps, 6)
        counts = [
            int(torch.tensor(len(order) * k / k_all, dtype=DOUBLE).round())
            for k in range(k_all + 1)
        ]
        share = [count / len(order) for count in counts]
        credit = [float(values[i, f]) for f in order]
        total = sum(credit)
        down = [sum(credit[:count]) / total for count in counts]
        up = [sum(credit[::-1][:count]) / total for count in counts]
        expected: dict[Any, float] = {}
        for insert, ordering, proportionality in (
            (False, assay.NecessityOrdering, assay.NecessityProportionality),
            (True, assay.SufficiencyOrdering, assay.SufficiencyProportionality),
        ):
            first = slow_relative(question, i, slow_curve(question, i, order, counts, insert))
            last = slow_relative(question, i, slow_curve(question, i, order[::-1], counts, insert))
            expected[ordering] = trapezoid(first, share)
            expected[proportionality] = slow_between(down, first, up, last)
        for kind, value in expected.items():
            exact = kind in (assay.NecessityOrdering, assay.SufficiencyOrdering)
            tolerance = EXACT if exact else 1e-5  # of the fine sum
            assert float(found[kind][i]) == pytest.approx(value, abs=tolerance), kind
    assert compared >= 3


@pytest.mark.parametrize("kind", POSITIVE)
def test_credit_that_is_not_positive_has_no_place_in_the_order(kind: Any) -> None:
    question = additive(rows([4, 3, 2, 1], [4, 3, 2, 1], [4, 3, 2, 1]))
    score = kind()(question, answer(rows([4, 3, 0, 0], [4, 3, -1, -1], [0, 0, -2, -1]), question))
    near(score.details["positive"], [0.5, 0.5, 0.0])
    near(score.values[0], float(score.values[1]))
    # With nothing to take there is no order, though the target rises.
    assert torch.isnan(score.values).tolist() == [False, False, True]
    assert score.error is not None
    near(score.error, 0.0)


@pytest.mark.parametrize("kind", POSITIVE)
def test_ties_of_positive_credit_have_an_error(kind: Any) -> None:
    _, question = net_question(9)
    score = kind()(question, answer(torch.ones(9, 6), question))
    defined = ~torch.isnan(score.values)
    assert bool(defined.any())
    assert score.error is not None
    assert bool((score.error[defined] > 0).all())
    near(score.error[~defined], 0.0)


@pytest.mark.parametrize("shares", [(0.2,), (0.01, 0.1, 0.5, 0.9)])
def test_comprehensiveness_and_sufficiency_are_their_definitions(shares: Any) -> None:
    _, question = net_question()
    values = randn(5, 6, seed=7, dtype=DOUBLE)
    given = answer(values, question)
    without = assay.Comprehensiveness(shares)(question, given).values
    alone = assay.Sufficiency(shares)(question, given).values
    counts = [-int(-round(share * 6, 9) // 1) for share in shares]
    for i in range(5):
        order = sorted(range(6), key=lambda f: -float(values[i, f]))
        clean = float(question.prediction[i])
        for insert, found in ((False, without), (True, alone)):
            curve = slow_curve(question, i, order, counts, insert)
            expected = sum(clean - y for y in curve) / len(curve)
            assert float(found[i]) == pytest.approx(expected, abs=EXACT)


def test_a_share_is_rounded_up_but_not_for_its_rest_in_binary() -> None:
    """0.07 * 100 is 7.000000000000001."""
    question = additive(torch.arange(1, 101, dtype=DOUBLE)[None])
    score = assay.Comprehensiveness((0.07, 0.071))(question, answer(question.x, question))
    near(score.details["share"], [[0.07, 0.08]])


@pytest.mark.parametrize("mask", ["soft", "positive"])
def test_drop_increase_and_gain_are_their_definitions(mask: Any) -> None:
    net, _ = net_question()
    probabilities = nn.Sequential(net, nn.Softmax(1))
    x = randn(5, 6, seed=4, dtype=DOUBLE)
    question = assay.Question(probabilities, x, target=1, removal=assay.Baseline(0.2))
    values = randn(5, 6, seed=7, dtype=DOUBLE)
    given = answer(values, question)
    drop, increase, gain = (
        kind(mask)(question, given).values
        for kind in (assay.AverageDrop, assay.AverageIncrease, assay.AverageGain)
    )
    for i in range(5):
        largest = max(float(v) for v in values[i])
        weights = [max(float(v), 0.0) / largest for v in values[i]]
        if mask == "positive":
            weights = [float(weight > 0) for weight in weights]
        shown = rows(*(m * float(v) + (1 - m) * 0.2 for m, v in zip(weights, x[i], strict=True)))
        y, o = (float(probabilities(row.to(DOUBLE)[None])[0, 1].detach()) for row in (x[i], shown))
        assert float(drop[i]) == pytest.approx(100 * max(0.0, y - o) / y, abs=EXACT)
        assert float(increase[i]) == float(o > y)
        assert float(gain[i]) == pytest.approx(100 * max(0.0, o - y) / (1 - y), abs=EXACT)


def test_road_is_the_share_of_removals_that_keep_the_class() -> None:
    net, question = net_question(9)
    values = randn(9, 6, seed=7, dtype=DOUBLE)
    # The last one rounds up to all features.
    shares = (0.2, 0.5, 0.8, 0.9)
    found = assay.Road(shares, removal=None)(question, answer(values, question))
    assert len(net(question.x).argmax(1).unique()) > 1
    for i in range(9):
        order = sorted(range(6), key=lambda f: -float(values[i, f]))
        kept = []
        for share in shares:
            row = question.x[i].clone()
            row[order[: -int(-round(share * 6, 9) // 1)]] = 0.2
            classes = [int(net(each[None]).argmax()) for each in (row, question.x[i])]
            kept.append(float(classes[0] == classes[1]))
        assert found.details["curve"][i].tolist() == kept
        assert float(found.values[i]) == pytest.approx(sum(kept) / 4)
    # Some inputs lose their class with all features, and some keep it.
    assert len(found.details["curve"][:, 3].unique()) == 2


# --- ties


def test_ties_are_averaged_over_orders_by_chance_with_an_error() -> None:
    """All orders of a tie, one by one, against what a few of them say."""
    from itertools import permutations

    _, question = net_question()
    values = rows([1, 1, 1, 1, 5, 5]).expand(5, 6)
    score = assay.Deletion(pairs=200)(question, answer(values, question), seed=3)
    assert score.error is not None
    near(score.details["ties"], 4 / 7)
    for i in range(5):
        every = []
        for low in permutations(range(4)):
            for high in ((4, 5), (5, 4)):
                order = [*high, *low]
                curve = slow_curve(question, i, order, list(range(7)), insert=False)
                every.append(trapezoid(curve, [k / 6 for k in range(7)]))
        expected = sum(every) / len(every)
        assert abs(float(score.values[i]) - expected) < 4.5 * float(score.error[i]) + 1e-12


@pytest.mark.long
def test_the_stated_error_of_ties_is_their_spread() -> None:
    _, question = net_question()
    given = answer(torch.ones(5, 6), question)
    many = [assay.Insertion(pairs=6)(question, given, seed=seed) for seed in range(80)]
    spread = torch.stack([score.values for score in many]).std(0)
    stated = torch.stack([score.error for score in many if score.error is not None])
    torch.testing.assert_close(stated.square().mean(0).sqrt(), spread, rtol=0.25, atol=0)


def test_ties_that_no_step_cuts_cost_nothing_and_are_no_error() -> None:
    asked = 0

    def model(x: Tensor) -> Tensor:
        nonlocal asked
        asked += len(x)
        return x.sin().sum(1)

    question = assay.Question(model, randn(3, 6, dtype=DOUBLE))
    values = rows([3, 3, 2, 2, 1, 1]).expand(3, 6)
    assert bool(torch.isfinite(question.base).all())
    asked = 0
    score = assay.Deletion(steps=3)(question, answer(values, question))
    assert asked == 3 * 2
    assert score.error is not None
    near(score.error, 0.0)
    near(score.details["ties"], 0.0)


def test_features_are_not_ordered_by_their_number() -> None:
    """A constant map is no order: the deletion of RISE's code goes through it from the last pixel."""
    c = rows([0, 0, 0, 0, 0, 8])
    question = additive(c.expand(2, 6))
    constant = answer(torch.zeros(2, 6), question)
    near(assay.Deletion()(question, constant).values, 4.0)
    near(assay.SymmetricRelevanceGain()(question, constant).values, 0.0)


# --- what is asked, and how much is held


def test_orders_that_are_the_same_are_asked_once() -> None:
    asked = 0

    def model(x: Tensor) -> Tensor:
        nonlocal asked
        asked += len(x)
        return x.sin().sum(1)

    question = assay.Question(model, randn(4, 10, dtype=DOUBLE))
    assert bool(torch.isfinite(question.base).all())
    values = randn(4, 10, seed=2, dtype=DOUBLE)
    same = [answer(values, question), answer(3 * values, question), answer(values + 1, question)]
    asked = 0
    scores = assay.Deletion().each(question, same)
    # None and all are known.
    assert asked == 4 * 9
    assert torch.equal(scores[0].values, scores[2].values)
    # The turned order of an explanation is the order of its negation.
    asked = 0
    assay.SymmetricRelevanceGain().each(
        question, [answer(values, question), answer(-values, question)]
    )
    assert asked == 2 * 4 * 9


def counted(features: int, n: int = 4) -> tuple[list[int], assay.Question]:
    """How many rows a model is asked each time, and a question about it whose ends are known."""
    asked: list[int] = []

    def model(x: Tensor) -> Tensor:
        asked.append(len(x))
        return (x.sin() * x.roll(1, 1)).sum(1)

    question = assay.Question(model, randn(n, features, dtype=DOUBLE))
    assert bool(torch.isfinite(question.base).all())
    return asked, question


FAMILY = [
    assay.Deletion(),
    assay.Insertion(),
    assay.LeastRelevantFirst(),
    assay.SymmetricRelevanceGain(),
    assay.AOPC(),
    assay.Monotonicity(),
]


def test_a_comparison_asks_two_curves_for_six_metrics() -> None:
    """Removing the first of an order shows what adding the last of it shows."""
    asked, question = counted(10)
    given = answer(randn(4, 10, seed=2, dtype=DOUBLE), question)
    asked.clear()
    together = assay.compare(question, {"given": given}, FAMILY, references=False)
    # None and all are known; nine steps of each of two curves are not.
    assert sum(asked) == 2 * 4 * 9
    for metric in FAMILY:
        alone = metric(question, given)
        near(together.score("given", metric).values, alone.values)
    asked.clear()
    assay.compare(question, {"given": given}, FAMILY, references=False)
    assert sum(asked) == 2 * 4 * 9, "nothing is remembered beyond a comparison"


def test_ties_are_shared_too_and_other_removals_are_not() -> None:
    asked, question = counted(9)
    tied = answer(randn(4, 9, seed=2, dtype=DOUBLE).sign(), question)
    metrics = [assay.Deletion(), assay.Monotonicity()]
    apart = {}
    for metric in metrics:
        asked.clear()
        score = metric(question, tied)
        apart[metric] = score, sum(asked)
    asked.clear()
    together = assay.compare(question, {"given": tied}, metrics, references=False)
    # Least first and turned round, the ways to break ties are the same, the pairs of them swapped.
    assert sum(asked) == apart[metrics[0]][1] == apart[metrics[1]][1]
    for metric in metrics:
        near(together.score("given", metric).values, apart[metric][0].values)
    moved = [assay.Deletion(), assay.Deletion(removal=assay.Baseline(0.3))]
    asked.clear()
    together = assay.compare(question, {"given": tied}, moved, references=False)
    assert sum(asked) >= 2 * apart[metrics[0]][1]
    near(together.score("given", moved[1]).values, moved[1](question, tied).values)


def test_targets_and_classes_along_one_order_are_not_taken_for_each_other() -> None:
    _, question = net_question()
    given = answer(randn(5, 6, seed=7, dtype=DOUBLE), question)
    metrics = [assay.Deletion(), assay.Road((0.5,), removal=None), assay.Comprehensiveness((0.5,))]
    for order in (metrics, metrics[::-1]):
        together = assay.compare(question, {"given": given}, order, references=False)
        for metric in metrics:
            near(together.score("given", metric).values, metric(question, given).values)


def test_masks_are_made_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    _, question = net_question(20, 12)
    given = answer(randn(20, 12, seed=2, dtype=DOUBLE), question)
    whole = assay.Deletion()(question, given)
    held: list[int] = []
    value = assay.Question.value

    def spy(self: assay.Question, masks: Tensor) -> Tensor:
        held.append(masks.numel())
        return value(self, masks)

    monkeypatch.setattr(assay.Question, "value", spy)
    monkeypatch.setattr(engine, "_CELLS", 2 * 20 * 12)
    pieces = assay.Deletion()(question, given)
    assert max(held) <= 2 * 20 * 12
    assert len(held) == 6
    near(pieces.values, whole.values)


def test_inputs_that_the_removal_leaves_as_they_are_keep_their_target() -> None:
    x = randn(3, 4, dtype=DOUBLE)
    x[1] = 0.0
    question = assay.Question(lambda x: x.sum(1) + 2.0, x)
    given = answer(torch.ones(3, 4), question)
    near(assay.Deletion()(question, given).values[1], 2.0)
    near(assay.LogOddsChange()(question, given).values[1], 0.0)
    near(assay.AverageDrop(outputs="scores")(question, given).values[1], 0.0)


def test_another_removal_is_another_curve_and_is_said() -> None:
    net = randomised(nn.Sequential(nn.Flatten(), nn.Linear(36, 3)).double())
    x = randn(4, 1, 6, 6, dtype=DOUBLE)
    about = {"target": 0, "features": assay.Pixels()}
    plain = assay.Question(net, x, **about)  # type: ignore[arg-type]
    blurred = assay.Question(net, x, removal=assay.Blur(2.0), **about)  # type: ignore[arg-type]
    values = randn(4, 36, seed=2, dtype=DOUBLE)
    for kind in (*AREAS, *POSITIVE, assay.Comprehensiveness, assay.Sufficiency, assay.Road):
        here = kind(removal=assay.Blur(2.0))(plain, answer(values, plain))
        there = kind(removal=None)(blurred, answer(values, blurred))
        torch.testing.assert_close(here.values, there.values, rtol=0, atol=1e-12, equal_nan=True)
        assert here.provenance["removal"] == there.provenance["removal"] == repr(assay.Blur(2.0))
        assert bool(
            (here.values != kind(removal=None)(plain, answer(values, plain)).values).any()
        ), kind


@pytest.mark.parametrize(
    "removal",
    [
        assay.Baseline(0.5),
        assay.Blur(1.0),
        assay.Noise(0.3, draws=3),
        assay.Mean(randn(5, 1, 6, 6, seed=3, dtype=DOUBLE)),
        assay.Background(randn(5, 1, 6, 6, seed=3, dtype=DOUBLE)),
        assay.LinearImputation(),
    ],
)
def test_any_removal_is_a_substrate(removal: Any) -> None:
    net = randomised(nn.Sequential(nn.Flatten(), nn.Linear(36, 3)).double())
    x = randn(2, 1, 6, 6, dtype=DOUBLE)
    question = assay.Question(net, x, target=0, features=assay.Patches(2), removal=removal)
    values = randn(2, 9, seed=2, dtype=DOUBLE)
    score = assay.Deletion()(question, answer(values, question))
    for i in range(2):
        order = sorted(range(9), key=lambda f: -float(values[i, f]))
        curve = slow_curve(question, i, order, list(range(10)), insert=False)
        assert float(score.values[i]) == pytest.approx(
            trapezoid(curve, [k / 9 for k in range(10)]), abs=1e-9
        )


def test_texts_count_their_own_words() -> None:
    def length(texts: list[str]) -> np.ndarray[Any, Any]:
        return np.array([float(len(text.replace(" ", ""))) for text in texts])

    question = assay.Question(length, ["a good film", "so bad", "one"])
    given = assay.ExactShapley()(question)
    score = assay.Deletion()(question, given)
    # Of 4, 4, 1 letters: 9, 5, 1, 0; of 2, 3 letters: 5, 2, 0; one word has no order.
    near(score.values[0], (7 + 3 + 0.5) / 3)
    near(score.values[1], (3.5 + 1) / 2)
    assert bool(torch.isnan(score.values[2]))
    assert score.missing == 1
    assert "two features" in repr(score)
    loss = assay.Comprehensiveness((0.5,))(question, given)
    near(loss.values[:2], [8.0, 3.0])
    # Of the shorter text no count is added twice, though it has as many steps.
    over = assay.AOPC()(question, given)
    near(over.values[:2], [(0 + 4 + 8 + 9) / 4, (0 + 3 + 5) / 3])
    assert over.details["curve"].shape == (3, 4)


def test_a_curve_is_in_the_details_and_survives_a_file(tmp_path: Any) -> None:
    _, question = net_question()
    score = assay.Deletion()(question, answer(randn(5, 6, dtype=DOUBLE), question))
    curve, share = score.details["curve"], score.details["share"]
    assert curve.shape == share.shape == (5, 7)
    near(curve[:, 0], question.prediction)
    near(curve[:, -1], question.base)
    near(score.values, torch.trapezoid(curve, share))
    score.save(tmp_path / "score.safetensors")
    loaded = assay.load(tmp_path / "score.safetensors")
    assert torch.equal(loaded.details["curve"], curve)
    assert [f"curve {k}" for k in range(7)] == [
        name for name in loaded.to_pandas().columns if name.startswith("curve")
    ]


def test_a_gain_has_both_its_areas_and_curves_in_its_details() -> None:
    _, question = net_question()
    given = answer(randn(5, 6, seed=7, dtype=DOUBLE), question)
    gain = assay.SymmetricRelevanceGain()(question, given)
    most, least = (kind()(question, given) for kind in (assay.Deletion, assay.LeastRelevantFirst))
    near(gain.details["most"], most.values)
    near(gain.details["least"], least.values)
    near(gain.details["curve"], most.details["curve"])
    near(gain.details["least curve"], least.details["curve"])
    near(gain.details["share"], most.details["share"])


# --- a real network, end to end


@zoo.needs_data
def test_compare_ranks_explanations_of_digits_by_their_curves() -> None:
    images, labels = zoo.mnist("test", 12)
    question = assay.Question(
        zoo.digit_net(images=3000), images, target=labels.tolist(), features=assay.Pixels()
    )
    metrics = [assay.Deletion(steps=20), assay.Insertion(steps=20), assay.AOPC(steps=20)]
    methods = [assay.IntegratedGradients(16), assay.Absolute(assay.Gradient())]
    found = assay.compare(question, methods, metrics)
    assert not found.refusals
    for metric in found.metrics:
        assert found.winner(metric) == "IntegratedGradients(steps=16)"
        scores = found.by(metric)
        own = scores["IntegratedGradients(steps=16)"]
        by_chance = next(score for name, score in scores.items() if "Shuffled" in name)
        better = (
            own.mean < by_chance.mean if own.direction == "lower" else own.mean > by_chance.mean
        )
        assert better
        assert own.details["curve"].shape == (12, 21)


# --- worse explanations score worse, and scale says nothing


EVERY = [
    *AREAS,
    *POSITIVE,
    assay.Comprehensiveness,
    assay.Sufficiency,
    assay.Monotonicity,
    assay.LogOddsChange,
]


def mixtures() -> tuple[assay.Question, dict[str, Any]]:
    c = randn(400, 10, seed=1, dtype=DOUBLE) + 0.7
    question = additive(c)
    noise = randn(400, 10, seed=2, dtype=DOUBLE)
    made = {
        "exact": c,
        "noisy": c + noise,
        "random": noise,
        "negated": -c,
        "scaled": 7.5 * c,
        "constant": torch.ones_like(c),
    }
    return question, {name: answer(values, question) for name, values in made.items()}


@pytest.mark.parametrize("kind", EVERY)
def test_exact_noisy_random_negated_score_in_that_order(kind: Any) -> None:
    question, given = mixtures()
    metric = kind()
    names = ["exact", "noisy", "random", "negated"]
    scores = metric.each(question, [given[name] for name in names])
    sign = 1 if metric.direction == "higher" else -1
    means = [sign * score.mean for score in scores]
    if kind in (assay.NecessityProportionality, assay.SufficiencyProportionality):
        # Proportion is of the credit's own order: only the exact one is known to be in it.
        assert all(means[0] > 0.1 + mean or means[0] > 10 * mean for mean in means[1:3])
        return
    assert means == sorted(means, reverse=True), dict(zip(names, means, strict=False))
    assert len(set(means)) == len(means)


@pytest.mark.parametrize("kind", EVERY)
def test_the_unit_of_credit_has_no_part(kind: Any) -> None:
    question, given = mixtures()
    exact, scaled = kind().each(question, [given["exact"], given["scaled"]])
    torch.testing.assert_close(exact.values, scaled.values, rtol=0, atol=1e-12, equal_nan=True)


@pytest.mark.parametrize("kind", AREAS)
def test_a_constant_explanation_scores_as_random_ones_do(kind: Any) -> None:
    question, given = mixtures()
    constant, by_chance = kind().each(question, [given["constant"], given["random"]])
    spread = float((constant.values - by_chance.values).std()) / 20
    assert abs(constant.mean - by_chance.mean) < 4 * spread


# --- the homework by hand: pre-softmax scores, pixels by the mean of their channels


def homework() -> tuple[assay.Question, Tensor]:
    """Two pixels by one, three channels, and one logit that is worked out below."""
    weights = rows([1, 2, 0, -3], [0, 1, 2, 0], [2, 0, 1, 0])  # (channels, pixels)

    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            score = (x.flatten(2) * weights).sum((1, 2))
            return torch.stack([score, -score], dim=1)

    x = torch.ones(1, 3, 2, 2, dtype=DOUBLE)
    question = assay.Question(Net(), x, target=0, features=assay.Pixels())
    return question, weights


def test_the_homeworks_average_drop_by_hand() -> None:
    """Saliency x input is the weights; the means of their channels are (1, 1, 1, -1).

    f(x) = 3 + 3 + 3 - 3 = 6. The binary mask keeps pixels 0, 1, 2: f = 9, no drop. With pixel 0 alone
    positive f = 3: a drop of half.
    """
    question, weights = homework()
    assert float(question.prediction) == 6.0
    saliency = assay.InputXGradient()(question)
    near(saliency.values, (3 * weights.mean(0))[None])
    metric = assay.AverageDrop("positive", outputs="scores")
    near(metric(question, saliency).values, 0.0)
    near(metric(question, saliency).details["kept"], 0.75)
    one = metric(question, answer(rows([1, 0, -1, -2]), question))
    near(one.values, 100 * (6 - 3) / 6)
    near(one.details["kept"], 0.25)


def test_the_homeworks_necessity_ordering_by_hand() -> None:
    """Scores (4, 2, 1, -1): pixels 0, 1, 2 are positive and go in that order.

    f: 6, 3, 0, -3, and not below f(0) = 0: of 6, the curve 1, 1/2, 0, 0 at 0, 1/3, 2/3, 1. Its area
    is (3/4 + 1/4 + 0) / 3 = 1/3.
    """
    question, _ = homework()
    given = answer(rows([4, 2, 1, -1]), question)
    score = assay.NecessityOrdering(steps=4)(question, given)
    near(score.values, 1 / 3)
    near(score.details["positive"], 0.75)


# --- what cannot be measured


@pytest.mark.parametrize("kind", [*AREAS, *POSITIVE, assay.Monotonicity])
def test_a_curve_of_fewer_than_two_steps_is_refused(kind: type[MaskingCurve]) -> None:
    with pytest.raises(SettingError, match=r"a curve of at least 2 steps .* got 1"):
        kind(steps=1)  # type: ignore[call-arg]
    with pytest.raises(SettingError, match="at least 2 pairs"):
        kind(pairs=1)  # type: ignore[call-arg]
    question = assay.Question(lambda x: x.sum(1), torch.ones(2, 1))
    with pytest.raises(InputError, match=r"two features or more .* got 1 of Elements"):
        kind()(question, answer(torch.ones(2, 1), question))


@pytest.mark.parametrize("kind", [assay.Comprehensiveness, assay.Sufficiency, assay.Road])
@pytest.mark.parametrize("shares", [(), (0.0,), (0.5, 1.0)])
def test_shares_outside_of_the_features_are_refused(kind: Any, shares: Any) -> None:
    with pytest.raises(SettingError, match="shares of the features between 0 and 1"):
        kind(shares)


@pytest.mark.parametrize("kind", [assay.AverageDrop, assay.AverageIncrease, assay.AverageGain])
def test_probabilities_asked_of_a_model_that_gives_scores_are_refused(kind: Any) -> None:
    question = additive(rows([4, 3]))
    with pytest.raises(
        InputError, match=r"(?s)probabilities .* got 7, of a model that gives scores"
    ):
        kind()(question, answer(question.x, question))
    question = additive(rows([-4, 3.75]))
    with pytest.raises(InputError, match=r"got -0.25, of a model that gives scores"):
        kind()(question, answer(question.x, question))
    # Also where only the masked input tells.
    question = additive(rows([2, -1.5]))
    with pytest.raises(InputError, match=r"got 2, of a model that gives scores"):
        kind()(question, answer(question.x, question))


@pytest.mark.parametrize("count", [3, 6, 7, 11])
def test_a_change_within_rounding_is_no_change(count: int) -> None:
    """Means over replacements of one number differ from it by a last place, to either side."""
    x = torch.linspace(0.1, 0.9, 40, dtype=DOUBLE).unsqueeze(1).repeat(1, 4)
    background = assay.Background(randn(count, 4, seed=3, dtype=DOUBLE))
    constant = assay.Question(lambda x: 0 * x.sum(1) + 0.7, x, removal=background)
    given = answer(randn(40, 4, seed=2, dtype=DOUBLE), constant)
    for kind in (*POSITIVE, assay.Monotonicity):
        assert kind()(constant, given).missing == 40, kind
    near(assay.Monotonicity()(constant, given).details["rising"], 1.0)
    # Everything is shown of these, under the mean of as many copies.
    first = assay.Question(lambda x: x[:, 0].sigmoid(), x, removal=background)
    for mask in ("soft", "positive"):
        increase = assay.AverageIncrease(mask)(first, answer(torch.ones(40, 4), first))
        near(increase.details["kept"], 1.0)
        near(increase.values, 0.0, 0.0)


def test_erasing_all_evidence_up_to_rounding_flips_nothing() -> None:
    """0.1 + 0.2 - 0.3 is no zero in binary: 5.6e-17 of evidence is left, to either side."""
    sign = rows([1.0], [-1.0])
    question = assay.Question(
        lambda x: x[:, 0] + x[:, 2] * ((0.1 + 0.2) - 0.3) * 4,
        torch.cat([sign * 0 + 1, sign, sign], 1),
    )
    score = assay.LogOddsChange(share=0.4)(question, answer(rows([1, 0, 0], [1, 0, 0]), question))
    assert (score.details["after"] < 0).tolist() == [False, True]
    near(score.details["flipped"], 0.0, 0.0)


def test_scores_that_are_not_positive_have_no_drop_in_per_cent() -> None:
    question = additive(rows([-4, 3], [0, 0.5]))
    score = assay.AverageDrop(outputs="scores")(question, answer(question.x, question))
    assert torch.isnan(score.values).tolist() == [True, False]
    assert "not positive" in repr(score)


def test_a_prediction_of_one_has_nothing_to_gain() -> None:
    question = additive(rows([0.5, 0.5], [0.75, -0.25]))
    score = assay.AverageGain("positive")(question, answer(question.x, question))
    assert torch.isnan(score.values).tolist() == [True, False]
    near(score.values[1], 50.0)
    assert "nothing to gain" in repr(score)


def test_road_refuses_one_output_and_inputs_that_are_no_images() -> None:
    question = assay.Question(lambda x: x.flatten(1).sum(1), torch.ones(1, 1, 4, 4) * 0.5)
    given = answer(randn(1, 16), question)
    with pytest.raises(InputError, match=r"two outputs or more for Road"):
        assay.Road(removal=None)(question, given)
    _, flat = net_question()
    with pytest.raises(InputError, match="images"):
        assay.Road()(flat, answer(torch.ones(5, 6), flat))
    with pytest.raises(SettingError, match="not negative"):
        assay.LinearImputation(noise=-0.1)
    with pytest.raises(SettingError, match="between 0 and 1 for LogOddsChange"):
        assay.LogOddsChange(share=0.0)
    image = assay.Question(
        lambda x: x.flatten(1).sum(1), torch.rand(1, 1, 4, 4), removal=assay.LinearImputation()
    )
    with pytest.raises(KindError, match="masks that switch"):
        image.value(torch.full((1, 16), 0.5))
    volume = torch.rand(1, 1, 4, 4, 4)
    with pytest.raises(InputError, match="a height and a width"):
        assay.Question(
            lambda x: x.flatten(1).sum(1), volume, removal=assay.LinearImputation()
        ).value(torch.ones(1, 64, dtype=torch.bool))
