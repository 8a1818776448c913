"""A predictor made of trees, as methods see it: arrays, rows for them, and what its answers are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from assay.errors import InputError
from assay.models.forests.forest import Floats, Forest, Integers
from assay.models.forests.probes import probe_rows
from assay.models.forests.verification import check_margins

_PROBES = 256  # rows of the forest's own thresholds that are compared when it is read
_COMPARED = 256  # rows of a table that are compared before they are explained


@final
@dataclass(frozen=True, eq=False)
class TreeModel:
    """A forest that was read from a predictor, with the way there and the way back.

    Settings:
        forest: the trees as arrays.
        encode: from a table as the predictor takes it to (rows, forest.features).
        margin: the library's own margin (rows, outputs) of such a table.
        margin_of_codes: the same of rows as the forest takes them.
        source: (forest.features,) the raw column that each is made of; encoding works column by
            column.
        raw: the number of raw columns.
        missing: whether NaN may be asked.
        unknown: whether codes that the model has never seen may be asked.
        single_sums: whether the library adds leaves in float32.
        who: the predictor's name, for refusals.
    """

    forest: Forest
    encode: Callable[[Any], Floats]
    margin: Callable[[Any], Floats]
    margin_of_codes: Callable[[Floats], Floats]
    source: Integers
    raw: int
    missing: bool
    unknown: bool
    single_sums: bool
    who: str

    def verify(self) -> TreeModel:
        """The same, after its margin was compared at and beside its own thresholds."""
        rows = probe_rows(self.forest, _PROBES, missing=self.missing, unknown=self.unknown)
        self._check(rows, self.margin_of_codes(rows))
        return self

    def encoded(self, table: Any) -> Floats:
        """(rows, forest.features) of a table as the predictor takes it, the first of them compared
        with the library's own margin.
        """
        rows = self.encode(table)
        _check_finite(rows, self.who)
        first = table.iloc[:_COMPARED] if hasattr(table, "iloc") else table[:_COMPARED]
        if len(rows):
            self._check(rows[:_COMPARED], self.margin(first))
        return rows

    def _check(self, rows: Floats, native: Floats) -> None:
        check_margins(self.forest, rows, native, single_sums=self.single_sums, who=self.who)


def _check_finite(rows: Floats, who: str) -> None:
    infinite = np.isinf(rows)
    if infinite.any():
        row, column = np.argwhere(infinite)[0]
        raise InputError(
            expected=f"finite numbers, or NaN for what is missing, for {who}",
            got=f"{rows[row, column]} in row {row}, column {column}",
            advice="Replace infinities by the largest number that means something, or by NaN.",
        )
