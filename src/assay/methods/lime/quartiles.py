"""The neighbourhood of a row of a table as in the original LIME: columns cut at their quartiles.

`LimeTabularExplainer` of Ribeiro, Singh and Guestrin's implementation discretises every column,
draws bins by their frequency in the data and values within a bin from a truncated normal law, and
explains by the indicators z_j that a draw falls into the same bin as the input.

Both steps are inversions of a distribution function (Devroye 1986, section II.2), so that one
uniform number per column makes a draw. Balanced or Sobol' uniforms are then balanced draws, and the
uniforms are all that a proxy needs to integrate over the neighbourhood (`bayesian_quadrature.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias, final

import numpy as np
import torch
from numpy.typing import NDArray

from assay.answers.attribution import Kind
from assay.methods.lime.neighbourhood import (
    Cells,
    Neighbourhood,
    Sample,
    check_settings,
    kernel,
    require_points,
    score_shared,
    shape_of,
    strata_like,
)
from assay.numerics import rng
from assay.numerics.designs import Draw, Floats, uniforms
from assay.question.question import Question

Integers: TypeAlias = NDArray[np.int64]

_SD_FLOOR = 1e-11  # added to a bin's standard deviation, as the original does: no division by zero
_SHARE_FLOOR = 1e-300  # of a bin without rows, which is never drawn


@final
@dataclass(frozen=True, eq=False)
class Bins:
    """One column cut at its quartiles: b bins, and in each a normal law truncated at its borders.

    Settings:
        cuts: the borders between bins, (b - 1,).
        cumulative: the share of the data below each bin, and 1: (b + 1,).
        mean: of the data in each bin, (b,).
        sd: standard deviation of the data in each bin, (b,).
        lower: the least value of each bin, (b,).
        upper: the largest value, (b,).
        constant: whether the bin holds one value only, (b,).
    """

    cuts: Floats
    cumulative: Floats
    mean: Floats
    sd: Floats
    lower: Floats
    upper: Floats
    constant: NDArray[np.bool_]

    @classmethod
    def of(cls, column: Floats) -> Bins:
        """The bins of a column of data."""
        # Quartiles coincide where a value is
        # frequent: such a column has fewer bins.
        cuts = np.unique(np.percentile(column, (25, 50, 75)))
        members = np.searchsorted(cuts, column)
        number = len(cuts) + 1
        counts = np.bincount(members, minlength=number)
        divisor = np.maximum(counts, 1)
        sums = np.bincount(members, column, minlength=number)
        mean = sums / divisor
        squares = (column - mean[members]) ** 2
        sums = np.bincount(members, squares, minlength=number)
        variance = sums / divisor
        shares_up_to = np.cumsum(counts) / len(column)
        distinct = [np.unique(column[members == b]) for b in range(number)]
        return cls(
            cuts=cuts,
            cumulative=np.concatenate([[0.0], shares_up_to]),
            mean=mean,
            sd=np.sqrt(variance) + _SD_FLOOR,
            lower=np.concatenate([[column.min()], cuts]),
            upper=np.concatenate([cuts, [column.max()]]),
            constant=np.array([len(values) < 2 for values in distinct]),
        )

    def index(self, values: Floats) -> Integers:
        """The bins that values fall into."""
        return np.searchsorted(self.cuts, values)

    def draw(self, u: Floats) -> tuple[Integers, Floats]:
        """Uniforms u in (0, 1) to bins, by their shares, and to values in them."""
        from scipy.special import ndtr, ndtri

        bins = np.searchsorted(self.cumulative, u, side="right") - 1
        bins = np.clip(bins, 0, len(self.cuts))
        # Given its bin, the position of a uniform
        # inside the bin's share is uniform again ...
        share = self.cumulative[bins + 1] - self.cumulative[bins]
        share = np.maximum(share, _SHARE_FLOOR)
        position = (u - self.cumulative[bins]) / share
        # ... and is inverted by the truncated normal
        # law: between its probabilities at the borders.
        start = ndtr((self.lower - self.mean) / self.sd)[bins]
        stop = ndtr((self.upper - self.mean) / self.sd)[bins]
        probability = start + position * (stop - start)
        values = self.mean[bins] + self.sd[bins] * ndtri(probability)
        # Rounding in the tails could leave
        # the bin, and far tails are infinite.
        return bins, np.clip(values, self.lower[bins], self.upper[bins])

    def equal_uniforms(self, bins: Integers, u: Floats) -> tuple[Floats, Floats]:
        """From which to which uniform the values are the same as those of uniforms u.

        All of a bin's where it holds one value, the one alone elsewhere.
        """
        constant = self.constant[bins]
        start = np.where(constant, self.cumulative[bins], u)
        stop = np.where(constant, self.cumulative[bins + 1], u)
        return start, stop


@final
@dataclass(frozen=True, eq=False)
class Quartiles(Neighbourhood):
    """Tables as in the original: columns cut at their quartiles, each drawn on its own, and z_j = 1
    in the bin of the input.

    A column's bin is drawn by its frequency in `rows`, and a value in it from the normal law of the
    bin, cut off at its ends. Weight exp(-D^2 / (2 width^2)), D^2 the number of columns in another
    bin. All inputs share the points, which are asked once for each target. A column with one value
    cannot be told apart: 0.

    Settings:
        rows: the data whose quartiles cut the columns, in the form of the inputs.
        samples: points, and so evaluations for all inputs with the same target; 5,000 as in the
            original.
        width: of the kernel, in units of D; 0.75 sqrt(columns) by default, as in the original.
        design: "orthogonal" by default, whose error the draws themselves can tell. "sobol" has
            about half of it, and standard errors that are too large, unless a proxy states them;
            it is a proxy's default. "independent" is plain chance.
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
        require_points(question, "Quartiles")
        x = question.x
        rows = question.layout.flatten(self.rows)
        table = rows.to(torch.float64).cpu().numpy()
        inputs = x.to(torch.float64).cpu().numpy()
        columns = [Bins.of(column) for column in table.T]

        # Points: one uniform per column,
        # inverted to a bin and to a value in it.
        generator = rng.shared(seed, "lime")
        u, strata = uniforms(
            self.samples,
            len(columns),
            generator,
            self.design or "orthogonal",
        )
        bins = np.empty(u.shape, dtype=np.int64)
        values = np.empty(u.shape)
        input_bins = np.empty(inputs.shape, dtype=np.int64)
        for j, column in enumerate(columns):
            bins[:, j], values[:, j] = column.draw(u[:, j])
            input_bins[:, j] = column.index(inputs[:, j])
        points = torch.from_numpy(values).to(x)

        # z_j = 1 where a draw is in the bin of
        # the input; the input itself comes first.
        same_bin = torch.from_numpy(bins[None] == input_bins[:, None])
        z = same_bin.to(x.device, torch.float64)
        design = torch.cat([torch.ones_like(z[:, :1]), z], dim=1)
        prediction = question.prediction[:, None].to(torch.float64)
        scores = score_shared(question, points)
        answers = torch.cat([prediction, scores], dim=1)

        width = self._kernel_width(len(columns))
        # The kernel is a product over columns: each
        # one in another bin costs the same factor.
        tilt = float(np.exp(-1 / (2 * width**2)))
        return Sample(
            design=design,
            weights=kernel((1 - design).sum(dim=2), width),
            answers=answers,
            unit=torch.ones_like(design[0, 0]),
            strata=strata_like(strata, x),
            cells=_cells(columns, u, bins, input_bins, tilt),
        )

    def _kernel_width(self, columns: int) -> float:
        if self.width is None:
            return float(0.75 * columns**0.5)
        return self.width

    def __repr__(self) -> str:
        settings = (
            shape_of(self.rows),
            f"samples={self.samples!r}",
            f"width={self.width!r}",
            f"design={self.design!r}",
        )
        return f"Quartiles({', '.join(settings)})"


def _cells(
    columns: Sequence[Bins], u: Floats, bins: Integers, input_bins: Integers, tilt: float
) -> Cells:
    """The uniforms u (m, d) behind the draws, and the cells of the inputs (n, d), for a proxy."""
    start = np.empty(u.shape)
    stop = np.empty(u.shape)
    low = np.empty(input_bins.shape)
    high = np.empty(input_bins.shape)
    for j, column in enumerate(columns):
        ends = column.equal_uniforms(bins[:, j], u[:, j])
        start[:, j], stop[:, j] = ends
        input_bin = input_bins[:, j]
        low[:, j] = column.cumulative[input_bin]
        high[:, j] = column.cumulative[input_bin + 1]
    return Cells(start, stop, low, high, tilt)
