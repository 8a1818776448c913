"""The neighbourhood of a row of a table as in the original LIME: columns cut at their quartiles."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
import torch
from numpy.typing import NDArray

from assay.answers.attribution import Kind
from assay.methods.lime.neighbourhood import (
    Cells,
    Neighbourhood,
    Sample,
    as_levels,
    check_settings,
    kernel,
    points_wanted,
    score_shared,
    shape_of,
)
from assay.numerics import rng
from assay.numerics.designs import Draw, Floats, uniforms
from assay.question.question import Question


@final
@dataclass(frozen=True, eq=False)
class Bins:
    """One column cut at its quartiles: `ends` of the bins' shares (bins + 1,), and a normal law cut
    off at each bin's borders.
    """

    cuts: Floats
    ends: Floats
    mean: Floats
    spread: Floats
    low: Floats
    high: Floats
    single: NDArray[np.bool_]
    """Bins that hold one value."""

    @classmethod
    def of(cls, column: Floats) -> Bins:
        """The bins of a column of data."""
        cuts = np.unique(np.percentile(column, (25, 50, 75)))
        bins = np.searchsorted(cuts, column)
        counts = np.bincount(bins, minlength=len(cuts) + 1)
        ends = np.concatenate([[0.0], np.cumsum(counts) / len(column)])
        held = np.maximum(counts, 1)
        mean = np.bincount(bins, column, minlength=len(counts)) / held
        spread = (
            np.sqrt(np.bincount(bins, (column - mean[bins]) ** 2, minlength=len(counts)) / held)
            + 1e-11
        )
        low, high = np.concatenate([[column.min()], cuts]), np.concatenate([cuts, [column.max()]])
        single = np.array([np.unique(column[bins == one]).size < 2 for one in range(len(counts))])
        return cls(cuts, ends, mean, spread, low, high, single)

    def own(self, values: Floats) -> NDArray[np.int64]:
        """The bins that values fall into."""
        return np.searchsorted(self.cuts, values)

    def stretch(self, bins: NDArray[np.int64], draws: Floats) -> tuple[Floats, Floats]:
        """The uniforms, from and to, that give the same values as these draws."""
        alike = self.single[bins]
        return np.where(alike, self.ends[bins], draws), np.where(alike, self.ends[bins + 1], draws)

    def drawn(self, draws: Floats) -> tuple[NDArray[np.int64], Floats]:
        """Uniform draws to bins, by their shares, and to values in them, by the truncated normal
        law.
        """
        from scipy.special import ndtr, ndtri

        bins = np.clip(np.searchsorted(self.ends, draws, side="right") - 1, 0, len(self.cuts))
        inside = (draws - self.ends[bins]) / np.maximum(
            self.ends[bins + 1] - self.ends[bins], 1e-300
        )
        start, stop = (ndtr((at - self.mean) / self.spread)[bins] for at in (self.low, self.high))
        values = self.mean[bins] + self.spread[bins] * ndtri(start + inside * (stop - start))
        return bins, np.clip(values, self.low[bins], self.high[bins])


@final
@dataclass(frozen=True, eq=False)
class Quartiles(Neighbourhood):
    """Tables as in the original: columns cut at their quartiles, each drawn on its own, and z_j = 1
    in the bin of the input.

    A column's bin is drawn by its frequency in `rows`, and a value in it from the normal law of the
    bin, cut off at its ends. Weight exp(-D^2 / (2 width^2)), D^2 the number of columns in another
    bin, width 0.75 sqrt(columns) by default. All inputs share the points, which are asked once for
    each target. A column with one value cannot be told apart: 0. Without a `design` the draws are
    "orthogonal", whose error the draws themselves can tell; "sobol" has about half of it, and
    standard errors that are too large, unless a proxy states them (and takes it without being
    asked).
    """

    rows: Any
    samples: int = 5000
    width: float | None = None
    design: Draw | None = None

    kind: ClassVar[Kind] = Kind.CONTRIBUTION

    def __post_init__(self) -> None:
        check_settings(self.samples, self.width, self.design)

    def size(self) -> int:
        return self.samples

    def sample(self, question: Question, seed: int) -> Sample:
        points_wanted(question, "Quartiles")
        x, rows = question.x, question.layout.flatten(self.rows).to(torch.float64).cpu().numpy()
        draws, strata = uniforms(
            self.samples, rows.shape[1], rng.shared(seed, "lime"), self.design or "orthogonal"
        )
        columns = [Bins.of(column) for column in rows.T]
        own = _stacked(
            bins.own(column) for bins, column in zip(columns, x.to(torch.float64).cpu().numpy().T)
        )
        drawn, values = map(
            _stacked, zip(*[bins.drawn(column) for bins, column in zip(columns, draws.T)])
        )
        same = torch.from_numpy(drawn[None] == own[:, None]).to(x.device, torch.float64)
        design = torch.cat([torch.ones_like(same[:, :1]), same], dim=1)
        points = torch.from_numpy(values).to(x)
        answers = torch.cat(
            [question.prediction[:, None].to(torch.float64), score_shared(question, points)], dim=1
        )
        width = 0.75 * x.shape[1] ** 0.5 if self.width is None else self.width
        weights = kernel((1 - design).sum(dim=2), width)
        start, stop = map(
            _stacked, zip(*[one.stretch(*pair) for one, *pair in zip(columns, drawn.T, draws.T)])
        )
        low, high = map(
            _stacked, zip(*[(one.ends[at], one.ends[at + 1]) for one, at in zip(columns, own.T)])
        )
        cells = Cells(start, stop, low, high, float(np.exp(-1 / (2 * width**2))))
        unit = torch.ones_like(design[0, 0])
        return Sample(design, weights, answers, unit, levels=as_levels(strata, x), cells=cells)

    def __repr__(self) -> str:
        more = f"samples={self.samples!r}, width={self.width!r}, design={self.design!r}"
        return f"Quartiles({shape_of(self.rows)}, {more})"


def _stacked(columns: Iterable[NDArray[Any]]) -> NDArray[Any]:
    return np.stack(list(columns), axis=1)
