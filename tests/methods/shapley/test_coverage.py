"""Where stated intervals do not hold what they promise, by the figures that docs/shapley.md gives.

Shares over all features, inputs and seeds; each is of the fixed seeds below, so that a figure on the
page that is no longer true is found. Of cases that are alike within an input the share itself is
known to some 0.03.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch

import assay

FEATURES = 10
STATED = 0.02  # two decimals stand on the page


@cache
def threshold() -> tuple[assay.Question, torch.Tensor]:
    """`x @ w > c` on 20 inputs, and its values."""
    x = np.random.default_rng(0).normal(size=(20, FEATURES))
    question = assay.Question(lambda rows: (rows.sum(axis=1) > 0.3) * 1.0, x)
    return question, assay.ExactShapley()(question).values


def inside(
    method: assay.Method, question: assay.Question, exact: torch.Tensor, seeds: int
) -> float:
    """How often 1.96 standard errors hold the value."""
    held = []
    for seed in range(seeds):
        answer = method(question, seed=seed)
        assert answer.standard_error is not None
        held.append((answer.values - exact).abs() <= 1.96 * answer.standard_error + 1e-12)
    return float(torch.stack(held).double().mean())


@pytest.mark.parametrize(
    ("method", "seeds", "share"),
    [
        (assay.PermutationShapley(), 6, 0.88),
        (assay.PermutationShapley(orderings=8), 6, 0.64),
        (assay.ProxyShap(budget=10 * FEATURES), 2, 0.74),
        (assay.KernelShap(budget=128), 6, 0.95),
    ],
    ids=repr,
)
def test_of_a_threshold_rule_intervals_hold_less(
    method: assay.Method, seeds: int, share: float
) -> None:
    question, exact = threshold()
    assert inside(method, question, exact, seeds) == pytest.approx(share, abs=STATED)


def test_a_feature_that_no_draw_has_met_has_an_error_of_zero() -> None:
    question, exact = threshold()
    answer = assay.PermutationShapley(orderings=8)(question)
    assert answer.standard_error is not None
    silent = (answer.standard_error == 0) & ((answer.values - exact).abs() > 1e-9)
    assert float(silent.double().mean()) > 0.3


def sampled(
    game: Callable[[np.ndarray], np.ndarray], x: np.ndarray, rows: np.ndarray
) -> tuple[assay.Question, torch.Tensor]:
    question = assay.Question(game, x, removal=assay.Background(rows))
    return question, assay.ExactShapley()(question).values


def test_sampling_states_too_much_where_every_row_is_used_equally_often() -> None:
    draw = np.random.default_rng(0)
    x, rows = draw.normal(size=(6, 8)), draw.normal(size=(50, 8))
    question, exact = sampled(lambda points: np.exp(points.sum(axis=1) / 3), x, rows)
    answers = [assay.SamplingShapley(100)(question, seed=seed) for seed in range(20)]
    off = torch.stack([answer.values - exact for answer in answers])
    stated = torch.stack([answer.standard_error for answer in answers])  # type: ignore[misc]
    ratio = stated.mean(0) / off.square().mean(0).sqrt()
    assert 3 < float(ratio.median()) < 6


def test_sampling_states_too_little_where_rows_have_heavy_tails() -> None:
    draw = np.random.default_rng(0)
    rows, x = draw.lognormal(sigma=1.5, size=(400, 8)), draw.lognormal(sigma=1.5, size=(6, 8))
    question, exact = sampled(
        lambda z: z[:, :3].prod(axis=1) + z[:, 3] * z[:, 4] + z[:, 5:].prod(axis=1), x, rows
    )
    few = inside(assay.SamplingShapley(10), question, exact, 20)
    assert few == pytest.approx(0.59, abs=STATED)
    many = inside(assay.SamplingShapley(100), question, exact, 20)
    assert many == pytest.approx(0.78, abs=STATED)
