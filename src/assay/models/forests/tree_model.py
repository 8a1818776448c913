"""A predictor made of trees, as methods see it: arrays, rows for them, and what its answers are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from assay.errors import AssayError, InputError, ModelError
from assay.models.forests.answers import Answers
from assay.models.forests.encoding import is_frame
from assay.models.forests.forest import Booleans, Floats, Forest, Integers
from assay.models.forests.probes import probe_rows
from assay.models.forests.verification import check_margins

_PROBES = 256  # rows of the forest's own thresholds that are compared when it is read
_COMPARED = 256  # rows of a table that are compared before they are explained


def _as_they_are(rows: Any) -> Any:
    """What there is nothing to change about."""
    return rows


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
        askable: makes rows of codes such that the library can be asked about them.
        raw_factor: what the library's raw score is of the margin: trees of a random forest of
            LightGBM are averaged in its predictions, and summed in its raw score.
        mixes: whether steps before the trees are to be tried for mixing raw columns.
        arrange: from rows as a model is called with to a table as the predictor takes it.
        answers: the model's outputs out of the margin; None where they are labels.
        answered: the model's own outputs for rows.
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
    askable: Callable[[Floats], Floats] = _as_they_are
    raw_factor: float = 1.0
    mixes: bool = False
    arrange: Callable[[Any], Any] = _as_they_are
    answers: Answers | None = None
    answered: Callable[[Any], Floats] | None = None

    def verify(self) -> TreeModel:
        """The same, after its margin was compared at and beside its own thresholds."""
        # At the thresholds themselves: random numbers would hardly ever tell `<` from `<=`.
        drawn = probe_rows(self.forest, _PROBES, missing=self.missing, unknown=self.unknown)
        rows = self.askable(drawn)
        self._check(rows, self.margin_of_codes(rows))
        return self

    def encoded(self, rows: Any) -> Floats:
        """(rows, forest.features) of rows as the model is called with, a tensor or a frame.

        The first of them are compared: the margin with the library's own, the outputs with those of
        the model, and mixtures of them with mixtures of what they are encoded as.

        Errors: InputError for infinite numbers, or categories that the model has never seen; ModelError
        where something differs.
        """
        table = self.arrange(rows)
        self._check_width(table)
        try:
            return self._encoded(table, rows)
        except AssayError:
            raise
        except Exception as error:  # each library raises its own
            raise InputError(
                expected=f"rows that {self.who} can be asked about",
                got=f"{type(error).__name__}: {str(error)[:200]}",
                advice="Hand over rows like those of the fit: the same columns, of the same dtypes.",
            ) from error

    def _encoded(self, table: Any, rows: Any) -> Floats:
        codes = self.encode(table)
        _check_finite(codes, self.who)
        if len(codes):
            first = _first(table, _COMPARED)
            self._check(codes[:_COMPARED], self.margin(first))
            self._check_answers(codes[:_COMPARED], _first(rows, _COMPARED))
            self._check_mixtures(first, codes[:_COMPARED])
        return codes

    def source_in(self, rows: Any) -> Integers:
        """(forest.features,) the column of `rows`, in their own order, that each feature is of."""
        # A table without rows tells where its columns stand, and costs no copy of the others.
        given = _first(rows, 0)
        table = self.arrange(given)
        return np.asarray(_columns_in(table, given), dtype=np.int64)[self.source]

    def _check(self, rows: Floats, native: Floats) -> None:
        check_margins(self.forest, rows, native, single_sums=self.single_sums, who=self.who)

    def _check_width(self, table: Any) -> None:
        width = np.shape(table)[1] if len(np.shape(table)) > 1 else 0
        # Steps that pick their columns by name leave others where they are.
        spares = self.mixes and is_frame(table) and width > self.raw
        if width != self.raw and not spares:
            raise InputError(
                expected=f"rows of {self.raw} columns for {self.who}",
                got=f"a table of shape {np.shape(table)}",
                advice="Hand over the columns of the fit, in their order.",
            )

    def _check_answers(self, codes: Floats, rows: Any) -> None:
        if self.answers is None or self.answered is None:
            return
        # Link and columns are a reading, too, and not what the margin has vouched for.
        expected = self.answered(rows)
        made = self.answers(self.forest.margin(codes))
        unit = _SINGLE_ANSWERS if self.single_sums else _DOUBLE_ANSWERS
        scale = np.maximum(1.0, np.abs(expected)) * np.maximum(1.0, _scale(self, codes))
        fits = made.shape == expected.shape
        if not fits or not (np.abs(made - expected) <= unit * scale).all():
            raise ModelError(
                expected=f"outputs of {self.who} that follow from its margin by {self.answers}",
                got="others" if fits else f"{expected.shape} numbers instead of {made.shape}",
                advice="Explain the margin, wrap(model, output='margin'), or use a black box.",
            )

    def _check_mixtures(self, table: Any, codes: Floats) -> None:
        """Refuses steps that make an encoded column of several raw ones."""
        if not self.mixes or len(codes) < 2:
            return
        # A generator of its own: NumPy's global one may be the caller's, and is left where it is.
        generator = np.random.Generator(np.random.Philox(_SEED))
        # Each row keeps some columns and takes the others from the row before it.
        partner = np.roll(np.arange(len(codes)), 1)
        stays = generator.random(np.shape(table)) < 0.5
        mixed = self.encode(_mixture(table, partner, stays))
        # Of steps that work column by column, mixing first and encoding first give the same.
        expected = np.where(stays[:, self.source], codes, codes[partner])
        if not np.array_equal(mixed, expected, equal_nan=True):
            raise ModelError(
                expected=f"steps before {self.who} that make each column of one raw column",
                got="columns that change with another one",
                advice="Explain the pipeline as a black box: wrap(pipeline.predict).",
            )


_SEED = 20_170_522  # any: the same mixtures each time
# Relative to the sizes of outputs and margins: far above the rounding of either number type, which
# a link may enlarge, and far below what another link would give.
_SINGLE_ANSWERS, _DOUBLE_ANSWERS = 1e-5, 1e-9


def _scale(trees: TreeModel, codes: Floats) -> Floats:
    """(rows, 1) how large the numbers are that a margin is the sum of."""
    return np.asarray(trees.forest.sizes(codes).max(axis=1, keepdims=True))


def _first(table: Any, count: int) -> Any:
    if is_frame(table):
        return table.iloc[:count]
    return table[:count]


def _mixture(table: Any, partner: Integers, stays: Booleans) -> Any:
    """Rows of which some cells are those of other rows."""
    if not is_frame(table):
        array = np.asarray(table)
        return np.where(stays, array, array[partner])
    mixed = table.copy()
    for place in range(len(table.columns)):
        row = np.where(stays[:, place], np.arange(len(table)), partner)
        # Taken column by column, so that every one keeps its type.
        mixed.isetitem(place, table.iloc[row, place].set_axis(table.index))
    return mixed


def _columns_in(table: Any, given: Any) -> list[int]:
    """Where the columns of a table stand in another that it was arranged from."""
    if not is_frame(given) or not is_frame(table):
        return list(range(np.shape(table)[1]))
    places = {name: place for place, name in enumerate(given.columns)}
    return [places[name] for name in table.columns]


def _check_finite(rows: Floats, who: str) -> None:
    infinite = np.isinf(rows)
    if infinite.any():
        row, column = np.argwhere(infinite)[0]
        raise InputError(
            expected=f"finite numbers, or NaN for what is missing, for {who}",
            got=f"{rows[row, column]} in row {row}, column {column}",
            advice="Replace infinities by the largest number that means something, or by NaN.",
        )
