"""The slow twin: frames that pandas puts together, whole values switched, rows asked one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from math import factorial
from typing import Any

import numpy as np
import pandas as pd

from fuzz_tables.predictors import Predictor

MOST = 5  # features of which all subsets are asked


class Unknown(Exception):
    """What no definition says."""


@dataclass
class Plain:
    """A question about a table, evaluated by its definition.

    Settings:
        predictor: who is asked.
        inputs: the rows asked about, (n, columns).
        absent: the rows that stand in, or a frame for each input.
        owners: the columns of each feature, by number.
        score: outputs (k,) of a row, those of the clean row, to the number that is explained.
    """

    predictor: Predictor
    inputs: Any
    absent: Any
    owners: tuple[tuple[int, ...], ...]
    score: Callable[[Any, Any], float]
    each: bool = False
    _known: dict[tuple[int, ...], Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        pool = [self.inputs] if self.absent is None else [self.inputs, self.absent]
        self._columns = [_pooled([frame.iloc[:, j] for frame in pool]) for j in range(self.width)]

    @property
    def width(self) -> int:
        return int(self.inputs.shape[1])

    @property
    def n(self) -> int:
        return len(self.inputs)

    def _frame(self, rows: Sequence[tuple[int, ...]]) -> Any:
        """Rows, each the number of the row in the pool that every column is taken from."""
        columns = [
            column.iloc[[row[j] for row in rows]].reset_index(drop=True)
            for j, column in enumerate(self._columns)
        ]
        frame = pd.concat(columns, axis=1)
        frame.columns = self.inputs.columns
        order = self.predictor.order
        return frame if order is None else frame[list(order)]

    def ask(self, rows: Sequence[tuple[int, ...]]) -> None:
        """Asks what is not known yet."""
        new = [row for row in dict.fromkeys(rows) if row not in self._known]
        if not new:
            return
        if self.predictor.row_by_row:
            for row in new:
                self._known[row] = _outputs(self.predictor.call(self._frame([row])))[0]
            return
        found = _outputs(self.predictor.call(self._frame(new)))
        alone = _outputs(self.predictor.call(self._frame(new[:1])))
        if not np.allclose(alone[0], found[0], rtol=1e-9, atol=1e-9):
            raise Unknown("rows that influence each other")
        self._known.update(zip(new, found))

    def _clean(self, i: int) -> tuple[int, ...]:
        return (i,) * self.width

    def _draws(self, i: int) -> list[int]:
        if self.absent is None:
            raise Unknown("a removal without rows")
        if self.each:
            return [self.n + i]
        return [self.n + k for k in range(len(self.absent))]

    def _row(self, i: int, draw: int, present: frozenset[int]) -> tuple[int, ...]:
        row = list(self._clean(i))
        for feature, columns in enumerate(self.owners):
            if feature not in present:
                for column in columns:
                    row[column] = draw
        return tuple(row)

    def worths(self, i: int, coalitions: Sequence[frozenset[int]]) -> list[float]:
        """The value of each coalition: the mean over the rows that stand in."""
        rows = [[self._row(i, draw, members) for draw in self._draws(i)] for members in coalitions]
        self.ask([self._clean(i), *(row for some in rows for row in some)])
        clean = self._known[self._clean(i)]
        return [
            float(np.mean([self.score(self._known[row], clean) for row in some])) for some in rows
        ]

    # --- by definition

    def prediction(self, i: int) -> float:
        self.ask([self._clean(i)])
        clean = self._known[self._clean(i)]
        return self.score(clean, clean)

    def base(self, i: int) -> float:
        return self.worths(i, [frozenset()])[0]

    @property
    def everyone(self) -> frozenset[int]:
        return frozenset(range(len(self.owners)))

    def occlusion(self, i: int) -> Any:
        """f(x) - f(x without j) for every feature."""
        if len(self.owners) > 12:
            raise Unknown("too many features")
        lost = self.worths(i, [self.everyone - {j} for j in range(len(self.owners))])
        return self.prediction(i) - np.array(lost)

    def _game(self, i: int) -> dict[frozenset[int], float]:
        count = len(self.owners)
        if count > MOST:
            raise Unknown("too many features")
        sets = [frozenset(c) for k in range(count + 1) for c in combinations(range(count), k)]
        return dict(zip(sets, self.worths(i, sets)))

    def shapley(self, i: int) -> Any:
        return self._weighted(i, lambda s, n: factorial(s) * factorial(n - s - 1) / factorial(n))

    def banzhaf(self, i: int) -> Any:
        return self._weighted(i, lambda s, n: 0.5 ** (n - 1))

    def _weighted(self, i: int, weight: Callable[[int, int], float]) -> Any:
        game = self._game(i)
        count = len(self.owners)
        credit = np.zeros(count)
        for members, value in game.items():
            for j in self.everyone - members:
                credit[j] += weight(len(members), count) * (game[members | {j}] - value)
        return credit

    def rise(self, i: int) -> Any:
        """The mean value of all coalitions that hold j."""
        game = self._game(i)
        holding = [[v for s, v in game.items() if j in s] for j in range(len(self.owners))]
        return np.array([np.mean(values) for values in holding])


def _pooled(columns: list[Any]) -> Any:
    """Inputs' and replacements' values of a column one below the other, in the inputs' type."""
    first = columns[0]
    if all(column.dtype == first.dtype for column in columns):
        return pd.concat(columns, ignore_index=True)
    if isinstance(first.dtype, pd.CategoricalDtype):
        both = [column.astype(object) for column in columns]
        return pd.concat(both, ignore_index=True)
    return pd.concat(columns, ignore_index=True)


def _outputs(found: Any) -> Any:
    array = np.asarray(found, dtype=np.float64)
    return array.reshape(len(array), -1)
