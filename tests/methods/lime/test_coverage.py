"""Where the stated intervals of LIME hold less than they promise, as docs/lime.md says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import assay
from assay.methods.shapley.games import subsets

FEATURES = 10


def product(rows: np.ndarray) -> np.ndarray:
    """What of the draws matters most is what few of them have: all features together."""
    return np.prod(1 + rows, axis=1)


def surrogate() -> torch.Tensor:
    """The surrogate in the limit of many draws: every mask by the kernel, and no draw at all."""
    masks = subsets(FEATURES).astype(float)
    distance = 1 - np.sqrt(masks.mean(axis=1))
    weights = np.exp(-(distance**2) / (2 * 0.25**2))
    table = np.column_stack([np.ones(len(masks)), masks])
    root = np.sqrt(weights)[:, None]
    fit = np.linalg.lstsq(root * table, root[:, 0] * product(masks), rcond=None)[0]
    return torch.from_numpy(fit[1:])


@pytest.mark.parametrize(("masks", "share"), [(30, 0.71), (100, 0.50), (1000, 0.92)])
def test_of_a_product_of_ten_features_intervals_hold_less(masks: int, share: float) -> None:
    question = assay.Question(product, np.ones((1, FEATURES)))
    limit = surrogate()
    held = []
    for seed in range(100):
        answer = assay.Lime(assay.CoinMasks(samples=masks), ridge=0.0)(question, seed=seed)
        assert answer.standard_error is not None
        held.append((answer.values - limit).abs() <= 1.96 * answer.standard_error)
    assert float(torch.stack(held).double().mean()) == pytest.approx(share, abs=0.02)


def test_a_rare_array_takes_two_columns_for_a_third() -> None:
    """A known limit of arrays of strength 2: of this seed, among 4,096 rows for six columns."""
    rows = np.random.default_rng(0).normal(size=(500, 6))

    def game(z: np.ndarray) -> np.ndarray:
        return np.tanh(3 * z[:, 0]) + z[:, 1] * z[:, 2] + np.sin(z[:, 3]) * z[:, 4]

    question = assay.Question(game, rows[1:2])
    around = assay.Quartiles(rows, samples=1 << 15, design="sobol")
    limit = assay.Lime(around)(question).values
    off = []
    for design in ("orthogonal", "sobol"):
        answer = assay.Lime(assay.Quartiles(rows, samples=8000, design=design))(question, seed=2)
        assert answer.standard_error is not None
        off.append(float(((answer.values - limit).abs() / answer.standard_error).max()))
    assert off[0] > 8
    assert off[1] < 1
