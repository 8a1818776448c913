"""Frames of random columns: rows to ask about, rows that stand in, and rows to fit on."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fuzz_tables.columns import ALL, Kind

ROWS = 40  # rows of a table, of which inputs and backgrounds are taken


@dataclass
class Table:
    """A table, and of what kind each of its columns is.

    Settings:
        whole: all rows; the first ones are asked about, those from the middle on stand in.
        kinds: one for each column.
        names: what sort of names columns have.
        ordinary: whether nothing about it is odd, so that an answer is due.
    """

    whole: Any
    kinds: tuple[Kind, ...]
    names: str
    ordinary: bool

    @property
    def numbers(self) -> bool:
        """Whether there is nothing but numbers."""
        return all(kind.number for kind in self.kinds)

    @property
    def holes(self) -> bool:
        """Whether anything is missing."""
        return bool(self.whole.isna().to_numpy().any())

    def rows(self, first: int, count: int) -> Any:
        return self.whole.iloc[first : first + count]


def _width(draw: random.Random) -> int:
    size = draw.choices(("few", "some", "many", "very many"), (91, 6, 2, 1))[0]
    if size == "few":
        return draw.choice((1, 2, 2, 3, 3, 3, 4, 4, 5))
    if size == "some":
        return draw.randrange(6, 13)
    return draw.randrange(50, 300) if size == "many" else draw.choice((1000, 2000))


def _column(draw: random.Random, kind: Kind, holes: float, values: list[Any]) -> Any:
    cells = [draw.choice(values) for _ in range(ROWS)]
    if kind.holed and holes:
        cells = [None if draw.random() < holes else cell for cell in cells]
    return kind.make(cells)


_NAMES = ("words", "numbers", "unicode", "tuples", "mixed", "spaces", "repeated", "alike as text")


def _names(draw: random.Random, count: int, sort: str) -> list[Any]:
    words = [f"c{j}" for j in range(count)]
    draw.shuffle(words)
    if sort == "numbers":
        return [10 * j + 1 for j in range(count)]
    if sort == "unicode":
        return [f"стовпець {j} 列" for j in range(count)]
    if sort == "tuples":
        return [("top", j) for j in range(count)]
    if sort == "mixed":
        return [j if j % 2 else f"c{j}" for j in range(count)]
    if sort == "spaces":
        return [" " * j for j in range(count)]
    if sort == "repeated" and count > 1:
        return [words[0], *words[:-1]]
    if sort == "alike as text" and count > 1:
        return [1, "1", *words[2:]]
    return words


def table(draw: random.Random) -> Table:
    """A table of any columns."""
    count = _width(draw)
    manner = draw.choices(("any", "numbers", "ordinary", "fitting"), (2, 3, 4, 5))[0]
    holes = draw.choices((0.0, 0.2, 0.9), (10, 1, 0.2))[0]
    return _table(draw, count, manner, holes)


def _chosen(draw: random.Random, count: int, manner: str) -> list[Kind]:
    choices = {
        "any": ALL,
        "numbers": tuple(kind for kind in ALL if kind.number and kind.ordinary),
        "ordinary": tuple(kind for kind in ALL if kind.ordinary),
        "fitting": tuple(kind for kind in ALL if kind.fits),
    }[manner]
    if count > 40:
        choices = tuple(kind for kind in choices if kind.ordinary and (kind.number or kind.fits))
    return [draw.choice(choices) for _ in range(count)]


def _table(draw: random.Random, count: int, manner: str, holes: float) -> Table:
    kinds = _chosen(draw, count, manner)
    columns = [_column(draw, kind, holes, kind.values(draw)) for kind in kinds]
    frame = pd.concat(columns, axis=1)
    sort = draw.choices(_NAMES, (60, 3, 3, 1, 1, 1, 1, 1))[0]
    frame.columns = _names(draw, count, sort)
    if draw.random() < 0.1:  # rows that are there several times
        frame = frame.iloc[[j // 2 * 2 for j in range(ROWS)]].reset_index(drop=True)
    ordinary = all(kind.ordinary for kind in kinds) and sort in ("words", "unicode")
    return Table(frame, tuple(kinds), sort, ordinary and not frame.isna().to_numpy().any())


_INDEXES = ("counted", "words", "repeated", "moments", "two levels", "floats")


def with_index(draw: random.Random, frame: Any) -> Any:
    """The frame with any index."""
    sort = draw.choices(_INDEXES, (20, 2, 2, 1, 1, 1))[0]
    count = len(frame)
    indexes = {
        "counted": lambda: frame.index,
        "words": lambda: [f"row {j}" for j in range(count)],
        "repeated": lambda: [7] * count,
        "moments": lambda: pd.date_range("2024-01-01", periods=count, tz="UTC"),
        "two levels": lambda: pd.MultiIndex.from_tuples([(j % 2, j) for j in range(count)]),
        "floats": lambda: np.linspace(0, 1, count),
    }
    copy = frame.copy()
    if count == 0:
        return copy
    copy.index = indexes[sort]()
    return copy
