"""Which inputs a page shows of many: those that tell the most about the methods.

In turn: where the methods differ most, where the best of them scores worst, and where they agree
most. Each is shown with its reason, so that nobody takes them for a sample.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from assay.answers.attribution import Attribution
from assay.comparison.candidates import short
from assay.comparison.comparison import Comparison

Floats: TypeAlias = NDArray[np.float64]

_FEATURES = 4096  # of large maps so many, evenly spread, tell how alike two answers are


def telling(comparison: Comparison, shown: int) -> dict[int, str]:
    """The inputs to show, in their order, each with the reason; all of them, where they are few."""
    n = comparison.question.n
    if shown >= n:
        return dict.fromkeys(range(n), "")
    chosen: dict[int, str] = {}
    orders = list(_orders(comparison))
    # Taken in turn: the next of each order that is not there yet.
    for rank in range(n):
        for why, order in orders:
            if len(chosen) < shown:
                chosen.setdefault(order[rank], why)
    # One method without a score has no orders: the first inputs then.
    for i in range(n):
        if len(chosen) < shown:
            chosen.setdefault(i, "")
    return {i: chosen[i] for i in sorted(chosen)}


def _orders(comparison: Comparison) -> Iterator[tuple[str, list[int]]]:
    answers = [
        answer
        for name, answer in comparison.attributions.items()
        if name not in comparison.references
    ]
    difference = _difference(answers)
    if difference is not None:
        yield "the methods differ most", _first_largest(difference)
    for metric in comparison.metrics[:1]:
        ranking = comparison.rankings[metric]
        if ranking.places:
            scores = comparison.scores[ranking.winner, metric].values.numpy()
            worst = scores if ranking.direction == "lower" else -scores
            # An input without a score is the last to tell how it was scored.
            worst = np.where(np.isnan(worst), -np.inf, worst)
            yield f"{short(ranking.winner)} scores worst", _first_largest(worst)
    if difference is not None:
        yield "the methods agree most", _first_largest(-difference)


def _first_largest(values: Floats) -> list[int]:
    """The inputs from the largest value on, equal ones in their own order."""
    order: list[int] = np.argsort(-values, kind="stable").tolist()
    return order


def _difference(answers: Sequence[Attribution]) -> Floats | None:
    """How different the answers to each input are: one less the mean cosine of two of them."""
    if len(answers) < 2:
        return None
    directions = [_directions(answer) for answer in answers]
    total = sum((one * other).sum(1) for one, other in combinations(directions, 2))
    pairs = len(answers) * (len(answers) - 1) / 2
    return np.asarray(1 - total / pairs)


def _directions(answer: Attribution) -> Floats:
    values = answer.values.detach().cpu()
    step = max(values.shape[1] // _FEATURES, 1)
    credit = values[:, ::step].double().numpy()
    lengths = np.linalg.norm(credit, axis=1, keepdims=True)
    # No credit at all has no direction, and is like nothing.
    return np.asarray(credit / np.where(lengths > 0, lengths, 1.0))
