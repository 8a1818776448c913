"""How simple an explanation is: closed forms, twins, maps in pieces, the way between explanations."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import assay
from assay.errors import InputError, KindError, SettingError
from assay.metrics.complexity import path_barrier
from metrics.by_hand import DOUBLE, answer, net_question, rows
from toys import randn

EXACT = 1e-10
MASS = [assay.Compactness, assay.Gini, assay.Entropy, assay.EffectiveNumber]


def near(ours: Tensor, theirs: Any, tolerance: float = EXACT) -> None:
    expected = torch.as_tensor(theirs, dtype=ours.dtype)
    torch.testing.assert_close(
        ours, expected.expand_as(ours), rtol=0, atol=tolerance, equal_nan=True
    )


def about(values: Tensor) -> assay.Question:
    return assay.Question(lambda x: x.flatten(1).sum(1), torch.ones_like(values))


def scored(metric: Any, values: Tensor) -> Tensor:
    question = about(values)
    found: Tensor = metric(question, answer(values, question)).values
    return found


def test_case_17_gini_and_entropy() -> None:
    d = 64
    one_hot = torch.eye(d, dtype=DOUBLE)[:1]
    uniform = torch.full((1, d), -0.3, dtype=DOUBLE)
    near(scored(assay.Gini(), one_hot), 1 - 1 / d)
    near(scored(assay.Entropy(), one_hot), 0.0)
    near(scored(assay.Gini(), uniform), 0.0)
    near(scored(assay.Entropy(), uniform), math.log(d))
    near(scored(assay.Gini(), rows([1, 2, 3, 4])), 0.25)
    for k in (2, 3, 10):
        some = torch.cat([torch.ones(1, k), torch.zeros(1, d - k)], dim=1).to(DOUBLE)
        near(scored(assay.Entropy(), some), math.log(k))
        near(scored(assay.EffectiveNumber(), some), float(k))
        question = about(some)
        entropy = assay.Entropy()(question, answer(some, question))
        near(entropy.details["relative"], math.log(k) / math.log(d))


def test_compactness_is_the_number_of_features_that_hold_the_mass() -> None:
    near(
        scored(assay.Compactness(), rows([8, 1, 0.5, -0.5], [1, 0, 0, 0], [1, 1, 1, 1])), [2, 1, 4]
    )
    # Nine of ten equal parts hold nine tenths, whatever 0.1 is in binary.
    tenths = torch.full((1, 10), 0.1, dtype=DOUBLE)
    near(scored(assay.Compactness(), tenths), 9.0)
    near(scored(assay.Compactness(0.5), tenths), 5.0)
    near(scored(assay.Compactness(0.95), tenths), 10.0)


def test_measures_are_their_definitions() -> None:
    values = randn(6, 9, seed=3, dtype=DOUBLE)
    found = {kind: scored(kind(), values) for kind in MASS}
    for i, row in enumerate(values.tolist()):
        sizes = sorted(map(abs, row))
        total = sum(sizes)
        gini = sum((2 * k - 9 - 1) * size for k, size in enumerate(sizes, 1)) / (9 * total)
        entropy = -sum(size / total * math.log(size / total) for size in sizes)
        held, needed = 0.0, 0
        while held < 0.9 * total:
            held += sizes[-1 - needed]
            needed += 1
        expected = {
            assay.Compactness: needed,
            assay.Gini: gini,
            assay.Entropy: entropy,
            assay.EffectiveNumber: math.exp(entropy),
        }
        for kind, value in expected.items():
            assert float(found[kind][i]) == pytest.approx(value, abs=EXACT)


@pytest.mark.parametrize("kind", MASS)
def test_sign_scale_and_order_have_no_part(kind: Any) -> None:
    values = randn(6, 9, seed=3, dtype=DOUBLE)
    plain = scored(kind(), values)
    for same in (-values, 1e-9 * values, 1e9 * values, values.abs(), values.flip(1)):
        near(scored(kind(), same), plain, 1e-9)
    assert kind.order_blind


@pytest.mark.parametrize("kind", MASS)
def test_no_credit_has_no_score_and_sparser_is_better(kind: Any) -> None:
    question = about(torch.ones(2, 5, dtype=DOUBLE))
    nothing = kind()(question, answer(rows([0, 0, 0, 0, 0], [1, 0, 0, 0, 0]), question))
    assert nothing.missing == 1
    assert "no credit" in repr(nothing)
    sparse, spread = scored(kind(), rows([5, 1, 0, 0, 0], [5, 4, 4, 3, 3]))
    assert (sparse > spread) == (kind.direction == "higher")


def test_features_that_a_text_does_not_have_do_not_count() -> None:
    def length(texts: list[str]) -> Any:
        import numpy as np

        return np.array([float(len(text)) for text in texts])

    question = assay.Question(length, ["a b", "a b c d"])
    values = rows([1, 1, 0, 0], [1, 1, 1, 1])
    given = answer(values, question)
    near(assay.Gini()(question, given).values, 0.0, 1e-6)
    near(assay.Entropy()(question, given).details["relative"], 1.0, 1e-6)
    near(assay.Compactness()(question, given).details["share"], 1.0, 1e-6)


def test_a_mass_outside_of_0_and_1_is_refused() -> None:
    for mass in (0.0, 1.0, -0.5):
        with pytest.raises(SettingError, match="mass between 0 and 1"):
            assay.Compactness(mass)


# --- connectedness


def picture(*pixels: tuple[int, int], side: int = 10) -> Tensor:
    image = torch.zeros(1, side, side, dtype=DOUBLE)
    for number, (i, j) in enumerate(pixels):
        image[0, i, j] = 2.0 + number
    return image


def pieces(image: Tensor, **settings: Any) -> Any:
    question = about(image)
    metric = assay.Connectedness(share=4 / image[0].numel(), **settings)
    return metric(question, answer(image, question))


def test_components_are_counted_with_either_neighbourhood() -> None:
    square = pieces(picture((1, 1), (1, 2), (2, 1), (2, 2)))
    diagonal = picture((1, 1), (2, 2), (3, 3), (7, 7))
    by_side, by_corner = pieces(diagonal), pieces(diagonal, neighbours="corners")
    near(square.details["components"], 1.0)
    near(by_side.details["components"], 4.0)
    near(by_corner.details["components"], 2.0)
    near(square.details["largest"], 1.0)
    near(by_corner.details["largest"], 0.75)
    near(by_corner.details["effective"], 1 / (0.75**2 + 0.25**2))
    assert square.mean < by_corner.mean
    assert by_side.mean > 1


def flood(mask: Tensor) -> int:
    """The components of a mask, pixel by pixel."""
    left = {(int(i), int(j)) for i, j in mask.nonzero()}
    count = 0
    while left:
        count += 1
        grow = [left.pop()]
        while grow:
            i, j = grow.pop()
            for place in ((i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)):
                if place in left:
                    left.remove(place)
                    grow.append(place)
    return count


def test_components_are_those_of_a_flood_fill() -> None:
    maps = randn(5, 8, 8, seed=5, dtype=DOUBLE)
    question = about(maps)
    score = assay.Connectedness(share=0.2)(question, answer(maps, question))
    for values, components in zip(maps, score.details["components"], strict=True):
        size = round(0.2 * 64)
        mask = values >= values.flatten().sort(descending=True).values[size - 1]
        assert flood(mask) == int(components)


def test_random_and_constant_maps_are_as_connected_as_chance() -> None:
    maps = randn(60, 9, 9, seed=5, dtype=DOUBLE)
    # Draws are each input's own, and inputs differ.
    question = assay.Question(lambda x: x.flatten(1).sum(1), maps)
    metric = assay.Connectedness(share=0.15)
    constant = torch.ones_like(maps)
    score = metric(question, answer(maps, question))
    assert abs(score.mean - 1) < 4.5 * float(score.values.std()) / 60**0.5
    assert score.error is not None
    assert 0 < float(score.error.mean()) < 0.2
    # Of a mean of draws: four times as many halve it.
    more = assay.Connectedness(share=0.15, draws=80)(question, answer(maps, question)).error
    assert more is not None
    assert float(more.mean() / score.error.mean()) == pytest.approx(0.5, rel=0.2)
    near(metric(question, answer(constant, question)).values, 1.0)
    smooth = torch.nn.functional.avg_pool2d(maps[:, None], 5, 1, 2)[:, 0]
    assert metric(question, answer(smooth, question)).mean < 0.6
    # What is left is the first features by their number, in one row: constant maps would be connected.
    tied = metric(question, answer(constant, question)).details["components"]
    assert float(tied.mean()) > 3


def test_maps_without_places_and_large_masks_are_refused() -> None:
    for share in (0.0, 0.3):
        with pytest.raises(SettingError, match="Larger masks hang together"):
            assay.Connectedness(share)
    with pytest.raises(SettingError, match="at least 2 random masks"):
        assay.Connectedness(draws=1)
    colour = assay.Question(
        lambda x: x.flatten(1).sum(1), torch.ones(2, 3, 6, 6), features=assay.Elements()
    )
    with pytest.raises(InputError, match="channels are no places"):
        assay.Connectedness()(colour, answer(torch.ones(2, 108), colour))
    pixels = assay.Question(
        lambda x: x.flatten(1).sum(1), torch.ones(2, 3, 6, 6), features=assay.Pixels()
    )
    assert len(assay.Connectedness()(pixels, answer(torch.ones(2, 36), pixels))) == 2


# --- the way between two explanations


def test_case_28_infidelity_between_two_explanations() -> None:
    _, question = net_question()
    law = assay.SubsetToBaseline()
    first = answer(randn(5, 6, seed=1, dtype=DOUBLE), question)
    second = answer(randn(5, 6, seed=2, dtype=DOUBLE), question)
    way = path_barrier(question, first, second, assay.Infidelity(law, draws=64), steps=4, seed=3)
    curve = way.details["curve"]
    for end, given in ((0, first), (4, second)):
        near(curve[:, end], assay.Infidelity(law, draws=64)(question, given, seed=3).values)
    removed = law.removed(question, 3, (0, 64)).to(DOUBLE)
    apart = (removed * (first.values - second.values).unsqueeze(1)).sum(2).square().mean(1)
    for k, t in enumerate((0.0, 0.25, 0.5, 0.75, 1.0)):
        expected = (1 - t) * curve[:, 0] + t * curve[:, 4] - t * (1 - t) * apart
        near(curve[:, k], expected)
    # A convex function has no barrier between its points.
    near(way.values.clamp_min(0), 0.0)
    assert way.direction == "lower"
    assert way.units == "target^2"


def test_a_metric_that_is_better_when_higher_has_its_barrier_below() -> None:
    values = rows([1, 0, 0, 0], [1, 1, 1, 1])
    question = about(values)
    first = answer(values, question)
    second = answer(-values, question)
    way = path_barrier(question, first, second, assay.AOPC(), steps=2)
    middle = assay.AOPC()(question, answer(torch.zeros(2, 4), question)).values
    ends = way.details["curve"]
    near(ends[:, 1], middle)
    near(way.values, -ends.amin(1) + torch.minimum(ends[:, 0], ends[:, -1]))
    # Orders that are worse between two others than at either end, and orders that are better.
    several = assay.Question(lambda x: x.flatten(1).sum(1), randn(50, 4, seed=1, dtype=DOUBLE))
    pair = [answer(randn(50, 4, seed=seed, dtype=DOUBLE), several) for seed in (2, 3)]
    many = path_barrier(several, *pair, assay.AOPC(), steps=4)
    curve = many.details["curve"]
    near(many.values, torch.minimum(curve[:, 0], curve[:, -1]) - curve.amin(1))
    assert bool((many.values > 0).any())
    # A barrier is never wanted, whichever way its metric counts.
    assert many.direction == "lower"
    assert bool((curve.amax(1) > torch.maximum(curve[:, 0], curve[:, -1])).any())
    with pytest.raises(InputError, match="at least 2 steps"):
        path_barrier(question, first, second, assay.AOPC(), steps=1)
    with pytest.raises(InputError, match="of one kind"):
        path_barrier(question, first, answer(values, question, "slope"), assay.AOPC())
    with pytest.raises(KindError, match="a metric for the way"):
        path_barrier(question, first, second, "AOPC")  # type: ignore[arg-type]
