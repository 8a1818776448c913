"""Sensitivities of one comparison ask for neighbours once, and say what they say alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import assay
from toys import randn, tanh_net

METHODS = {"slope": assay.Gradient(), "path": assay.IntegratedGradients(4)}
SENSITIVITY = assay.MaxSensitivity(radius=0.2, draws=6, ascent=2)
RATE = assay.LipschitzSensitivity(radius=0.2, draws=6, ascent=2)


ROWS: list[int] = []
"""How many rows the network below was asked each time: what a module holds is put back."""


class Counted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = tanh_net()

    def forward(self, x: Tensor) -> Tensor:
        ROWS.append(len(x))
        out: Tensor = self.net(x)
        return out


def asked(metrics: list[Any]) -> tuple[int, Any]:
    """How many rows a comparison asks, and the comparison."""
    question = assay.Question(Counted(), randn(4, 4), target=1)
    ROWS.clear()
    found = assay.compare(question, METHODS, metrics, references=False)
    return sum(ROWS), found


def check_alone(found: Any, metric: Any) -> None:
    """The scores of a comparison are those of the metric by itself."""
    question = assay.Question(Counted(), randn(4, 4), target=1)
    for label, method in METHODS.items():
        told = found.score(label, metric)
        alone = replace(metric, method=method)(question, method(question))
        assert torch.equal(told.values, alone.values)
        # What is not proved is NaN on both sides.
        torch.testing.assert_close(told.details, alone.details, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("ascent", [0, 2])
def test_two_sensitivities_ask_as_much_as_one(ascent: int) -> None:
    one, other = replace(SENSITIVITY, ascent=ascent), replace(RATE, ascent=ascent)
    nothing = asked([assay.Gini()])[0]
    alone = asked([one])[0]
    both, found = asked([one, other])
    # What is proved of slopes is proved for each metric, and asks no row.
    assert both == alone > nothing
    check_alone(found, one)
    check_alone(found, other)


@pytest.mark.parametrize(
    "other",
    [
        replace(RATE, radius=0.1),
        replace(RATE, draws=7),
        replace(RATE, ball="l2"),
        replace(RATE, ascent=3),
        replace(RATE, scale=randn(9, 4)),
        replace(RATE, neighbours=lambda x, draw: x + 0.01 * (draw + 1)),
    ],
    ids=["radius", "draws", "ball", "ascent", "scale", "neighbours"],
)
def test_other_neighbours_are_asked_for(other: Any) -> None:
    check_alone(asked([SENSITIVITY, other])[1], other)


def test_nothing_is_remembered_beyond_a_comparison() -> None:
    question = assay.Question(Counted(), randn(4, 4), target=1)
    rows = []
    for _ in range(2):
        ROWS.clear()
        assay.compare(question, METHODS, [SENSITIVITY], references=False)
        rows.append(sum(ROWS))
    # The first comparison asks what the question keeps, too: its predictions.
    assert rows[1] > 0.8 * rows[0] > 0
