"""Squares on every kind of feature map: images with channels anywhere, series and volumes."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

import assay
from assay.errors import InputError
from assay.perturbations import Squares
from toys import randn


def question(x: Tensor, features: Any = None) -> assay.Question:
    return assay.Question(lambda x: x.flatten(1).sum(1), x, features=features)


def by_hand(letters: str, shape: tuple[int, ...], side: int) -> set[tuple[int, ...]]:
    """The elements inside of every square, corner by corner."""
    places = [axis for axis, letter in enumerate(letters) if letter != "C"]
    elements = torch.arange(torch.Size(shape).numel()).reshape(shape)
    squares = set()
    for corner in product(*(range(shape[axis] - side + 1) for axis in places)):
        inside = [slice(None)] * len(shape)
        for axis, start in zip(places, corner):
            inside[axis] = slice(start, start + side)
        squares.add(tuple(elements[tuple(inside)].flatten().tolist()))
    return squares


@pytest.mark.parametrize(
    ("axes", "letters", "shape"),
    [
        (None, "HW", (4, 5)),
        (None, "CHW", (3, 4, 5)),
        (None, "CDHW", (2, 3, 4, 5)),
        ("HWC", "HWC", (4, 5, 3)),
        ("CT", "CT", (2, 6)),
        ("TC", "TC", (6, 2)),
        ("DHW", "DHW", (3, 4, 5)),
        ("T", "T", (6,)),
    ],
)
@pytest.mark.parametrize("side", [1, 2])
def test_every_square_is_removed_once_through_all_channels(
    axes: str | None, letters: str, shape: tuple[int, ...], side: int
) -> None:
    law = Squares((side,), axes=axes)
    # Element by element, and by places that own their channels.
    features = [assay.Elements()]
    if axes != "T":
        features.append(assay.Pixels(axes=letters))
    for each in features:
        asked = question(randn(1, *shape) + 3, each)
        count = law.size(asked, 0)
        step = law.draw(asked, 0, (0, count)).step[0]
        squares = [tuple(row.nonzero().flatten().tolist()) for row in step]
        assert set(squares) == by_hand(letters, shape, side)
        assert len(squares) == len(set(squares)) == count


def test_sampled_squares_of_a_series_are_stretches() -> None:
    asked = question(randn(2, 3, 8) + 3, assay.Pixels(axes="CT"))
    removed = Squares((3,), sampled=True).draw(asked, 0, (0, 9)).removed
    assert removed is not None
    assert removed.sum(2).eq(3).all()
    assert (removed.int().diff(dim=2).abs().sum(2) <= 2).all()


def test_sampled_squares_are_drawn_alike_often() -> None:
    asked = question(randn(2, 1, 3, 4) + 3, assay.Pixels())
    law = Squares((1, 2), sampled=True)
    draws = 4000
    removed = law.draw(asked, 0, (0, draws)).removed
    assert removed is not None
    found, counts = removed.flatten(0, 1).unique(dim=0, return_counts=True)
    expected = by_hand("HW", (3, 4), 1) | by_hand("HW", (3, 4), 2)
    assert {tuple(row.nonzero().flatten().tolist()) for row in found} == expected
    share = 1 / len(expected)
    # Of 8,000 squares: four and a half standard deviations.
    within = 4.5 * (share * (1 - share) / (2 * draws)) ** 0.5
    assert float((counts / (2 * draws) - share).abs().max()) < within


def test_squares_ask_what_the_axes_are() -> None:
    with pytest.raises(InputError, match="axes='HWC'"):
        Squares((2,)).size(question(randn(1, 5, 7, 3)), 0)
    with pytest.raises(InputError, match="features on an image"):
        Squares((2,)).size(question(randn(1, 5)), 0)
    with pytest.raises(InputError, match="features on an image"):
        Squares((2,)).size(question(randn(1, 5), assay.Columns()), 0)
    with pytest.raises(InputError, match="sides from 1 to 4"):
        Squares((5,)).size(question(randn(1, 4, 6)), 0)


def test_of_more_than_ten_thousand_squares_some_are_drawn_and_it_is_said() -> None:
    x = randn(2, 1, 110, 110).double()
    asked = question(x, assay.Pixels())
    answer = assay.InputXGradient()(asked)
    law = Squares((1, 2))
    assert 110**2 + 109**2 > 10_000
    # A sum is accounted for by its terms, whichever squares are drawn; a part of it is not.
    score = assay.Infidelity(law, draws=8)(asked, answer)
    assert score.provenance["squares"] == "drawn from 23,981"
    assert score.error is not None
    assert float(score.values.max()) < 1e-20
    half = replace(answer, values=answer.values / 2)
    wrong = assay.Infidelity(law, draws=8)(asked, half)
    assert wrong.error is not None
    assert bool((wrong.error > 0).all())
    # The same as when it is asked for.
    told = assay.Infidelity(replace(law, sampled=True), draws=8)(asked, half)
    assert torch.equal(wrong.values, told.values)


@pytest.mark.parametrize("sampled", [None, False])
def test_fewer_squares_are_gone_through_one_by_one(sampled: bool | None) -> None:
    asked = question(randn(2, 1, 6, 6).double(), assay.Pixels())
    score = assay.Infidelity(Squares((1, 2), sampled), draws=8)(asked, assay.Gradient()(asked))
    assert score.error is None
    assert "squares" not in score.provenance
    assert Squares((1, 2), sampled).size(asked, 8) == 36 + 25


def test_many_squares_can_all_be_asked_for() -> None:
    asked = question(randn(1, 1, 110, 110), assay.Pixels())
    assert Squares((1,), sampled=False).size(asked, 8) == 12_100
    assert Squares((1,)).size(asked, 8) == 8
    # At the bound itself all are asked.
    assert Squares((11,)).size(asked, 8) == 10_000
