"""The removal of a table of which nothing was said, where 0 stands for nothing.

A number has a zero, a category has none: the first level of a list, or of the alphabet, is no
answer to "what is it like where it is absent?". Whoever needs a removal is asked for one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn, final

from torch import Tensor

from assay.errors import InputError
from assay.inputs.layout import Layout
from assay.removals.base import Absent, Removal


@final
@dataclass(frozen=True)
class UnstatedAbsent(Absent):
    """Nothing stands in for what is absent: refused where it is first needed."""

    columns: tuple[str, ...]
    draws = 1
    shared = True

    def remove(self, x: Tensor, present: Tensor, rows: Tensor, draw: Tensor) -> Tensor:
        self.refuse()

    def take(self, rows: Tensor) -> Absent:
        return self

    def everything_removed(self, rows: Tensor, draw: Tensor) -> Tensor:
        self.refuse()

    def refuse(self) -> NoReturn:
        """Asks for a removal."""
        names = ", ".join(map(repr, self.columns[:3]))
        more = ", ..." if len(self.columns) > 3 else ""
        raise InputError(
            expected="a removal, which says what an absent feature is like",
            got=f"none, and 0 means nothing in the columns {names}{more}",
            advice=(
                "Average over rows of data: Question(model, inputs, removal=Background(rows)), or "
                "say it once: wrap(model, background=rows). One typical row is a baseline: "
                "Baseline(frame.iloc[[0]])."
            ),
        )


@final
@dataclass(frozen=True)
class Unstated(Removal):
    """No removal was said, and none can be meant."""

    def bind(self, layout: Layout, x: Tensor, keys: Callable[[], Tensor]) -> Absent:
        return UnstatedAbsent(layout.without_zero)
