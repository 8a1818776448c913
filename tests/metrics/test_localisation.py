"""Whether credit lies where it should: closed forms, twins, masks and boxes, ties, empty truths."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

import assay
from assay.errors import InputError, SettingError
from assay.metrics.localisation.truths import true_masks
from metrics.by_hand import DOUBLE, answer, rows
from toys import randn

EXACT = 1e-10
LOCATED = [
    assay.PointingGame,
    assay.MassAccuracy,
    assay.RankAccuracy,
    assay.InsideOutsideRatio,
    assay.IntersectionOverUnion,
    assay.RocArea,
]


def near(ours: Tensor, theirs: Any, tolerance: float = EXACT) -> None:
    expected = torch.as_tensor(theirs, dtype=ours.dtype)
    torch.testing.assert_close(
        ours, expected.expand_as(ours), rtol=0, atol=tolerance, equal_nan=True
    )


def about(values: Tensor, truth: Any, **more: Any) -> assay.Question:
    x = torch.ones_like(values)
    return assay.Question(lambda x: x.flatten(1).sum(1), x, truth=truth, **more)


def scored(metric: Any, values: Tensor, truth: Any) -> Tensor:
    question = about(values, truth)
    found: Tensor = metric(question, answer(values, question)).values
    return found


def test_case_23_a_uniform_map() -> None:
    truth = torch.zeros(3, 20)
    truth[0, :5] = 1
    truth[1, 7] = 1
    truth[2, 2:] = 1
    area = rows(0.25, 0.05, 0.9)
    uniform = torch.full((3, 20), 0.4, dtype=DOUBLE)
    near(scored(assay.MassAccuracy(), uniform, truth), area)
    near(scored(assay.RocArea(), uniform, truth), 0.5)
    near(scored(assay.InsideOutsideRatio(), uniform, truth), 1.0)
    near(scored(assay.InsideOutsideRatio(log=True), uniform, truth), 0.0)
    near(scored(assay.PointingGame(), uniform, truth), area)
    near(scored(assay.RankAccuracy(), uniform, truth), area)
    near(scored(assay.IntersectionOverUnion(), uniform, truth), area / (2 - area))
    question = about(uniform, truth)
    for kind in LOCATED:
        near(kind()(question, answer(uniform, question)).details["area"], area)


def test_a_map_that_is_the_truth_has_the_optimum() -> None:
    truth = torch.zeros(2, 20, dtype=DOUBLE)
    truth[0, :5] = 1
    truth[1, 3:13] = 1
    optimum = dict.fromkeys(LOCATED, 1.0)
    for kind in LOCATED:
        expected = 1 / (truth.mean(1) * 1e-3) if kind is assay.InsideOutsideRatio else optimum[kind]
        near(scored(kind(), truth, truth), expected, 1e-6)


def test_measures_are_their_definitions() -> None:
    values = randn(8, 12, seed=1, dtype=DOUBLE).round(decimals=1)
    truth = randn(8, 12, seed=2) > 0.4
    truth[:, 0], truth[:, 1] = True, False
    found = {kind: scored(kind(), values, truth) for kind in LOCATED}
    by_size = {kind: scored(kind(by="magnitude"), values, truth) for kind in LOCATED}
    for i in range(8):
        for credit, made in ((values[i], found), (values[i].abs(), by_size)):
            inside = [float(v) for v, t in zip(credit, truth[i], strict=True) if t]
            outside = [float(v) for v, t in zip(credit, truth[i], strict=True) if not t]
            both = inside + outside
            best = max(both)
            mass = sum(max(v, 0) for v in inside) / sum(max(v, 0) for v in both)
            means = [sum(max(v, 0) for v in side) / len(side) for side in (inside, outside, both)]
            ratio = max(means[0], 1e-3 * means[2]) / max(means[1], 1e-3 * means[2])
            pairs = [(a > b) + 0.5 * (a == b) for a in inside for b in outside]
            border = sorted(both)[-len(inside)]
            room = len(inside) - sum(v > border for v in both)
            share = room / sum(v == border for v in both)
            hit = sum(v > border for v in inside) + share * sum(v == border for v in inside)
            expected = {
                assay.PointingGame: sum(v == best for v in inside) / sum(v == best for v in both),
                assay.MassAccuracy: mass,
                assay.RankAccuracy: hit / len(inside),
                assay.InsideOutsideRatio: ratio,
                assay.IntersectionOverUnion: hit / (2 * len(inside) - hit),
                assay.RocArea: sum(pairs) / len(pairs),
            }
            for kind, value in expected.items():
                assert float(made[kind][i]) == pytest.approx(value, abs=EXACT), kind


def test_roc_area_is_scikit_learns() -> None:
    from sklearn.metrics import roc_auc_score

    values, truth = randn(5, 40, seed=1, dtype=DOUBLE).round(decimals=1), randn(5, 40, seed=2) > 0.4
    expected = [roc_auc_score(t, v) for t, v in zip(truth, values, strict=True)]
    near(scored(assay.RocArea(), values, truth), expected)


@pytest.mark.parametrize("kind", LOCATED)
def test_better_maps_score_higher_and_scale_says_nothing(kind: Any) -> None:
    truth = (randn(200, 30, seed=1) > 0.6).to(DOUBLE)
    noise = randn(200, 30, seed=2, dtype=DOUBLE).abs()
    centred = truth - 0.5
    means = [
        float(scored(kind(), values, truth).nanmean())
        for values in (truth, centred + 0.4 * noise, noise, -centred + 0.2)
    ]
    assert means == sorted(means, reverse=True)
    assert len(set(means)) == 4
    near(scored(kind(), 3.0 * noise, truth), scored(kind(), noise, truth), 1e-9)


@pytest.mark.parametrize("kind", LOCATED)
def test_an_empty_truth_is_not_defined_and_never_a_hit(kind: Any) -> None:
    truth = torch.tensor([[0, 0, 0, 0], [0, 1, 0, 0]])
    values = rows([1, 0, 0, 0], [0, 1, 0, 0])
    question = about(values, truth)
    for metric in (kind(), *([kind(tolerance=9.0)] if kind is assay.PointingGame else [])):
        score = metric(question, answer(values, question))
        assert torch.isnan(score.values).tolist() == [True, False]
        assert score.missing == 1
        assert "truth is empty" in repr(score)


def test_a_share_says_how_many_features_overlap_the_truth() -> None:
    truth = torch.tensor([[1, 0, 0, 0], [1, 1, 1, 0]])
    values = rows([4, 3, 2, 1], [1, 2, 3, 4])
    near(scored(assay.IntersectionOverUnion(), values, truth), [1.0, 2 / 4])
    near(scored(assay.IntersectionOverUnion(share=0.5), values, truth), [1 / 2, 1 / 4])
    # A tenth of four features is still one.
    near(scored(assay.IntersectionOverUnion(share=0.1), values, truth), [1.0, 0.0])


def test_a_truth_that_is_everything_leaves_nothing_to_compare_with() -> None:
    truth = torch.ones(1, 4)
    values = rows([1, 2, 3, 4])
    assert bool(torch.isnan(scored(assay.RocArea(), values, truth)))
    assert bool(torch.isnan(scored(assay.InsideOutsideRatio(), values, truth)))
    near(scored(assay.MassAccuracy(), values, truth), 1.0)
    assert bool(torch.isnan(scored(assay.MassAccuracy(), -values, truth)))


# --- the pointing game


def test_a_tolerance_counts_steps_of_the_map() -> None:
    truth = torch.zeros(1, 9, 9)
    truth[0, 4, 4] = 1
    places = {(4, 4): 0.0, (4, 6): 2.0, (6, 6): math.sqrt(8), (0, 0): math.sqrt(32)}
    for place, distance in places.items():
        values = torch.zeros(1, 9, 9, dtype=DOUBLE)
        values[0][place] = 1.0
        for tolerance in (0.0, 2.0, 2.1, 2.9, 6.0):
            # Less than the tolerance: 15 pixels away is no hit at 15.
            hit = float(distance < tolerance or distance == 0)
            near(scored(assay.PointingGame(tolerance), values, truth), hit)


def test_ties_of_the_maximum_are_shared() -> None:
    truth = torch.tensor([[1, 1, 0, 0, 0]])
    near(scored(assay.PointingGame(), rows([2, 0, 2, 2, 2]), truth), 0.25)
    near(scored(assay.PointingGame(), rows([0, 0, 0, 0, 0]), truth), 0.4)
    question = about(rows([2, 0, 2, 2, 2]), truth)
    score = assay.PointingGame()(question, answer(rows([2, 0, 2, 2, 2]), question))
    near(score.details["ties"], 4.0)
    assert score.units == "rate"


# --- truths of every kind


def test_boxes_are_masks_of_their_pixels() -> None:
    image = torch.zeros(3, 6, 8, dtype=DOUBLE)
    boxes: list[Any] = [[(1, 2, 4, 5)], [(0, 0, 1, 1), (6.4, 4, 9, 9)], []]
    expected = torch.zeros(3, 6, 8, dtype=torch.bool)
    expected[0, 2:5, 1:4] = True
    expected[1, 0, 0] = True
    expected[1, 4:, 6:] = True
    question = about(image, boxes)
    assert torch.equal(true_masks(question, "test").view(3, 6, 8), expected)
    one_each = about(image, torch.tensor([[1, 2, 4, 5]] * 3))
    assert torch.equal(true_masks(one_each, "test").view(3, 6, 8), expected[:1].expand(3, -1, -1))
    colour = assay.Question(
        lambda x: x.flatten(1).sum(1), torch.zeros(3, 3, 6, 8), features=assay.Pixels(), truth=boxes
    )
    assert torch.equal(true_masks(colour, "test").view(3, 6, 8), expected)
    last = assay.Question(
        lambda x: x.flatten(1).sum(1),
        torch.zeros(3, 6, 8, 3),
        features=assay.Pixels(axes="HWC"),
        truth=boxes,
    )
    assert torch.equal(true_masks(last, "test").view(3, 6, 8), expected)


def test_masks_in_pixels_are_pooled_over_patches_and_channels() -> None:
    pixels = torch.zeros(1, 4, 4)
    pixels[0, :2, :2] = 1
    pixels[0, :2, 2] = 1  # half a patch is inside
    pixels[0, 2, 0] = 1  # a quarter is not
    patches = assay.Question(
        lambda x: x.flatten(1).sum(1),
        torch.zeros(1, 3, 4, 4),
        features=assay.Patches(2),
        truth=pixels,
    )
    assert true_masks(patches, "test").tolist() == [[True, True, False, False]]
    elements = assay.Question(
        lambda x: x.flatten(1).sum(1),
        torch.zeros(1, 3, 4, 4),
        features=assay.Elements(),
        truth=pixels.bool(),
    )
    assert torch.equal(true_masks(elements, "test").view(1, 3, 4, 4)[0, 2], pixels[0].bool())


@pytest.mark.parametrize("wrap", [list, np.asarray, torch.as_tensor, pd.DataFrame])
def test_masks_come_as_whatever_holds_numbers(wrap: Any) -> None:
    question = about(torch.ones(2, 3, dtype=DOUBLE), wrap([[0, 1, 1], [2, 0, 0]]))
    assert true_masks(question, "test").tolist() == [[False, True, True], [True, False, False]]


def test_a_truth_follows_its_inputs_through_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    values = randn(70, 6, seed=1, dtype=DOUBLE)
    truth = randn(70, 6, seed=2) > 0
    whole = scored(assay.RocArea(), values, truth)
    monkeypatch.setattr("assay.question.derivations._SHARD", 1)
    near(scored(assay.RocArea(), values, truth), whole)
    boxes = [[(i % 5, 0, i % 5 + 2, 4)] * (1 + i % 3) for i in range(70)]
    maps = randn(70, 6, 7, seed=3, dtype=DOUBLE)
    alone = [
        float(scored(assay.MassAccuracy(), maps[i : i + 1], boxes[i : i + 1])) for i in range(70)
    ]
    near(scored(assay.MassAccuracy(), maps, boxes), alone)


@pytest.mark.parametrize("kind", LOCATED)
def test_a_truth_that_is_missing_or_none_is_refused_with_the_line_to_write(kind: Any) -> None:
    values = rows([1, 2, 3])
    question = about(values, None)
    with pytest.raises(
        InputError, match=r"a truth to compare with .* Question\(model, inputs, truth"
    ):
        kind()(question, answer(values, question))
    for truth in (torch.ones(1, 5), ["somewhere"], torch.tensor([[1.0, torch.nan, 0.0]])):
        question = about(values, truth)
        with pytest.raises(InputError, match="masks over a feature map of shape"):
            kind()(question, answer(values, question))


def test_settings_out_of_range_are_refused() -> None:
    for tolerance in (-1.0, float("inf")):
        with pytest.raises(SettingError, match="tolerance of PointingGame"):
            assay.PointingGame(tolerance)
    for share in (0.0, 1.0):
        with pytest.raises(SettingError, match="between 0 and 1 for IntersectionOverUnion"):
            assay.IntersectionOverUnion(share)
        with pytest.raises(SettingError, match="a floor between 0 and 1"):
            assay.InsideOutsideRatio(floor=share)
    colour = assay.Question(
        lambda x: x.flatten(1).sum(1),
        torch.ones(1, 3, 4, 4),
        features=assay.Elements(),
        truth=torch.ones(1, 4, 4),
    )
    with pytest.raises(InputError, match="channels are no places"):
        assay.PointingGame(2.0)(colour, answer(torch.ones(1, 48), colour))
