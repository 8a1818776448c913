"""What inputs have at each feature: for colours and for axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from assay.answers.attribution import Attribution
from assay.errors import InputError
from assay.pictures.drawing.marks import Floats, Key
from assay.pictures.drawing.scales import MISSING, Scale
from assay.pictures.numbers import content
from assay.question.question import Question

_CATEGORIES = 8  # told apart by colour
_SHADES = 20  # steps from the lowest rank to the highest


@final
@dataclass(frozen=True, eq=False)
class Contents:
    """What inputs have at each feature, for colours and axes.

    Settings:
        columns: of each feature: numbers, texts, or None where it is no single value.
    """

    columns: tuple[Any, ...]

    @classmethod
    def of(cls, answer: Attribution, question: Question | None) -> Contents:
        """The values of a question whose features are single numbers or categories."""
        count = answer.values.shape[1]
        single = question is not None and question.partition.identity
        if question is None or not single or question.x.shape[1] != count:
            return cls((None,) * count)
        if question.n != len(answer.values):
            raise InputError(
                expected=f"the question of the answer, about {len(answer.values)} inputs",
                got=f"one about {question.n}",
                advice="Hand over the question that was asked.",
            )
        folded: Any = question.layout.fold(question.x)[0]
        if hasattr(folded, "columns"):
            return cls(tuple(_column(folded[column]) for column in folded.columns))
        x = question.x.detach().cpu().numpy().astype(np.float64)
        return cls(tuple(x.T))

    def is_number(self, k: int) -> bool:
        """Whether a feature is measured, and no category."""
        return isinstance(self.columns[k], np.ndarray)

    def categories(self, k: int) -> list[str]:
        """The categories of a feature, in their order."""
        return sorted({text for text in self.columns[k] if text != "missing"})

    def colours(self, k: int) -> tuple[str, ...]:
        """The colour of each input's value."""
        column = self.columns[k]
        if column is None:
            return ()
        if self.is_number(k):
            # As many as can be told apart, so that dots of one colour are drawn at once.
            return _rank_scale().colours_of(np.round(_SHADES * _shares(column)) / _SHADES)
        levels = self.categories(k)
        if len(levels) > _CATEGORIES:
            return ("muted",) * len(column)
        place = {text: f"series-{number}" for number, text in enumerate(levels)}
        return tuple(place.get(text, MISSING) for text in column)

    def ends(self, k: int) -> str:
        """The smallest and the largest value in words, or how many categories there are."""
        column = self.columns[k]
        if column is None:
            return ""
        if not self.is_number(k):
            return f"{len(self.categories(k))} categories"
        known = column[np.isfinite(column)]
        if not len(known):
            return "missing"
        return f"{content(float(known.min()))} to {content(float(known.max()))}"

    def scale(self, kept: Sequence[int]) -> Scale | None:
        """The colours of ranks, where any of these features is measured."""
        if any(self.is_number(k) for k in kept):
            return _rank_scale()
        return None

    def keys(self, kept: Sequence[int]) -> tuple[Key, ...]:
        """What the colours of categories mean, and the grey of missing values."""
        keys: dict[str, Key] = {}
        for k in kept:
            if self.columns[k] is None or self.is_number(k):
                continue
            levels = self.categories(k)
            if len(levels) <= _CATEGORIES:
                for number_of, text in enumerate(levels):
                    # Colours are dealt anew in every row: a legend is one of a row alone.
                    keys.setdefault(text, Key(text, f"series-{number_of}", "dot"))
        shared = tuple(keys.values())
        alone = len([k for k in kept if self.columns[k] is not None and not self.is_number(k)]) == 1
        missing = sum(self.missing(k) for k in kept)
        grey = (Key(f"missing ({missing})", MISSING, "dot"),) if missing else ()
        return (*(shared if alone else ()), *grey)

    def missing(self, k: int) -> int:
        """How many inputs have no value there."""
        column = self.columns[k]
        if column is None:
            return 0
        if self.is_number(k):
            return int((~np.isfinite(column)).sum())
        return sum(text == "missing" for text in column)

    def said(self, kept: Sequence[int]) -> str:
        """What colours are, for a caption."""
        told = ""
        if self.scale(kept) is not None:
            told = "; colour: rank of the value within its feature, whose ends stand on the right"
        named = [k for k in kept if self.columns[k] is not None and not self.is_number(k)]
        if len(named) > 1:
            told += f"; categories, up to {_CATEGORIES}, have colours of their own in each row"
        return told


def _column(series: Any) -> Any:
    """A column as numbers, or as texts where it holds categories."""
    listed = series.to_list()
    numeric = all(
        value is None or (isinstance(value, int | float) and not isinstance(value, bool))
        for value in listed
    )
    # A category whose names are numbers is one all the same.
    if numeric and "categor" not in str(getattr(series, "dtype", "")).lower():
        return np.array([np.nan if value is None else value for value in listed], dtype=np.float64)
    return tuple(content(value) for value in listed)


def _rank_scale() -> Scale:
    ticks = ((0.0, "lowest"), (1.0, "highest"))
    return Scale(0.0, 1.0, "value, by rank", "cividis", marked=ticks)


def _shares(column: Floats) -> Floats:
    """Ranks from 0 to 1, equal values alike; NaN where there is none."""
    known = np.isfinite(column)
    shares = np.full(len(column), np.nan)
    different, place = np.unique(column[known], return_inverse=True)
    counts = np.bincount(place, minlength=len(different))
    # The middle of the places that equal values share.
    middle = np.cumsum(counts) - (counts + 1) / 2
    shares[known] = middle[place] / max(1, known.sum() - 1) if len(different) > 1 else 0.5
    return shares
