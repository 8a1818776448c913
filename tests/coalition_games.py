"""Random games by their full tables, and what estimators see of them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from torch import Tensor

from assay.methods.shapley.games import coalition_numbers, subsets
from assay.methods.shapley.mask_method import MaskMethod
from assay.question.question import Question

TOLERANCE = 1e-10
SEEDS = 200


def looked_up(table: Tensor, masks: np.ndarray) -> Tensor:
    """The columns of a full table for these coalitions."""
    return table[..., torch.from_numpy(coalition_numbers(masks))]


def dividends(features: int, order: int, seed: int, decay: float = 0.5) -> Tensor:
    """A random game's full table, with interactions of up to `order` features.

    They get weaker with their size.
    """
    draw = np.random.default_rng(seed)
    masks = subsets(features)
    table = np.zeros(2**features)
    for size in range(1, order + 1):
        for members in itertools.combinations(range(features), size):
            table += draw.normal() * decay**size * masks[:, members].all(axis=1)
    return torch.from_numpy(table)


def game(table: Tensor, n: int = 1) -> Question:
    """A question whose model looks the coalition up: present is one, absent is zero."""
    features = int(math.log2(len(table)))
    code = 2 ** torch.arange(features)
    return Question(
        lambda x: table[((x > 0.5) * code).sum(1)], torch.ones(n, features, dtype=torch.float64)
    )


def repeated(
    method: MaskMethod, table: Tensor, features: int, seeds: int = SEEDS
) -> tuple[Tensor, Tensor]:
    """Estimates and standard errors (seeds, features) of one game."""
    solved = [
        method.solve(looked_up(table, method.masks(features, s)), features, s) for s in range(seeds)
    ]
    return torch.stack([v for v, _ in solved]), torch.stack([e for _, e in solved])
