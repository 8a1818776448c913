"""Signed credit over an outline: against its definition, place by place."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

import assay
from assay.errors import InputError
from assay.pictures.overlay import signed_overlay
from toys import randn, randomised

DOUBLE = torch.float64


def ask(side: int, channels: int = 3) -> assay.Question:
    net = nn.Sequential(nn.Flatten(), nn.Linear(channels * side * side, 2))
    images = randn(2, channels, side, side, dtype=DOUBLE).sigmoid()
    return assay.Question(randomised(net, 1).double(), images, target=0)


def test_the_outline_is_the_size_of_the_grey_slope() -> None:
    side = 5
    question = ask(side)
    images = question.x.view(2, 3, side, side).tolist()
    overlay = signed_overlay(question, assay.Gradient()(question))
    for i in range(2):
        red, green, blue = images[i]
        grey = [
            [0.299 * red[y][x] + 0.587 * green[y][x] + 0.114 * blue[y][x] for x in range(side)]
            for y in range(side)
        ]

        def slope(values: list[float], at: int) -> float:
            low, high = max(at - 1, 0), min(at + 1, side - 1)
            return (values[high] - values[low]) / (high - low)

        sizes = [
            [math.hypot(slope(grey[y], x), slope([row[x] for row in grey], y)) for x in range(side)]
            for y in range(side)
        ]
        largest = max(map(max, sizes))
        expected = np.array(sizes) / largest
        np.testing.assert_allclose(overlay.outline[i], expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("side", "share"), [(5, 1.0), (20, 0.99)])
def test_credit_is_scaled_about_zero_by_its_reach(side: int, share: float) -> None:
    """Zero stays zero, and both signs have the same scale; the strongest percent of a large map
    shares the full colour.
    """
    question = ask(side)
    answer = assay.InputXGradient()(question)
    overlay = signed_overlay(question, answer)
    # The credit of a pixel is that of its colours together.
    slope = question.slope().view(2, 3, side, side)
    maps = (question.x.view(slope.shape) * slope).sum(1).numpy()
    for i in range(2):
        reach = np.quantile(np.abs(maps[i]), share)
        assert overlay.reach[i] == pytest.approx(reach, abs=1e-12)
        expected = [[min(1.0, max(-1.0, c / reach)) for c in row] for row in maps[i]]
        np.testing.assert_allclose(overlay.credit[i], expected, rtol=0, atol=1e-10)


def test_a_picture_of_one_colour_has_no_outline_and_no_credit_no_colour() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 1)).double()
    nn.init.zeros_(net[1].weight)
    question = assay.Question(net, torch.full((1, 1, 4, 4), 0.5, dtype=DOUBLE))
    overlay = signed_overlay(question, assay.Gradient()(question))
    assert not overlay.outline.any()
    assert not overlay.credit.any()


def test_images_may_be_handed_over() -> None:
    question = ask(4, channels=5)
    answer = assay.Gradient()(question)
    with pytest.raises(InputError, match="pictures that people can see"):
        signed_overlay(question, answer)
    seen = np.zeros((2, 4, 4))
    seen[:, :, 2:] = 1.0
    outline = signed_overlay(question, answer, seen).outline
    np.testing.assert_array_equal(outline[0, 0], [0, 1, 1, 0])
    with pytest.raises(InputError, match="images of 4 x 4"):
        signed_overlay(question, answer, np.zeros((2, 3, 3)))
    table = assay.Question(nn.Linear(3, 1), torch.rand(2, 3))
    with pytest.raises(InputError, match="pictures that people can see"):
        signed_overlay(table, assay.Gradient()(table))
