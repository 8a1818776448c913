"""The neighbourhood of a row of a table as in the original LIME: columns cut at their quartiles.

`LimeTabularExplainer` of Ribeiro, Singh and Guestrin's implementation discretises every column,
draws bins by their frequency in the data and values within a bin from a truncated normal law, and
explains by the indicators z_j that a draw falls into the same bin as the input. Of categories each
level is a bin (`bins.py`).

One uniform number per column makes a draw. Balanced or Sobol' uniforms are then balanced draws, and
the uniforms are all that a proxy needs to integrate over the neighbourhood
(`bayesian_quadrature.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
import torch

from assay.answers.attribution import Kind
from assay.errors import InputError, SettingError
from assay.inputs.tables import TableLayout
from assay.methods.lime.bins import UNSEEN, Integers, Law, law_of
from assay.methods.lime.neighbourhood import (
    Cells,
    Neighbourhood,
    Sample,
    categories_of,
    check_settings,
    columns_named,
    kernel,
    read_rows,
    require_points,
    require_values,
    score_shared,
    shape_of,
    strata_like,
    value_of,
)
from assay.numerics import rng
from assay.numerics.designs import Draw, Floats, uniforms
from assay.question.question import Question


@final
@dataclass(frozen=True, eq=False)
class Quartiles(Neighbourhood):
    """Tables as in the original: columns cut at their quartiles, each drawn on its own, and z_j = 1
    in the bin of the input.

    A column's bin is drawn by its frequency in `rows`, and a value in it from the normal law of the
    bin, cut off at its ends. Of a category, and of a column of two values, each value is a bin of
    its own and drawn as it is; so is what is missing, for models that take missing values. Weight
    exp(-D^2 / (2 width^2)), D^2 the number of columns in another bin. All inputs share the points,
    which are asked once for each target. A column with one value cannot be told apart: 0.

    Settings:
        rows: the data whose quartiles cut the columns, in the form of the inputs.
        samples: points, and so evaluations for all inputs with the same target; 5,000 as in the
            original.
        width: of the kernel, in units of D; 0.75 sqrt(columns) by default, as in the original.
        design: "orthogonal" by default, with no more error than the draws themselves tell, on
            average over seeds while columns are few. "sobol" has about half of it, and standard
            errors that are too large, unless a proxy states them; it is a proxy's default.
            "independent" is plain chance.
        categorical: which columns hold categories, by number or name, besides those that a frame
            has as such (text, `category`, bool, object): numbers that only name something.
        parts: into how many bins of equal frequency numbers are cut; 10 cuts them at their deciles.

    Errors: InputError for rows that miss values which the model cannot take, and for an input with
    a category, or a value beyond all rows, that `rows` do not have.
    """

    rows: Any
    samples: int = 5000
    width: float | None = None
    design: Draw | None = None
    categorical: tuple[int | str, ...] = ()
    parts: int = 4

    kind: ClassVar[Kind] = Kind.CONTRIBUTION

    def __post_init__(self) -> None:
        check_settings(self.samples, self.width, self.design)
        if self.parts < 2:
            raise SettingError(
                expected="at least two parts of each column",
                got=self.parts,
                advice="Leave it out: 4, as in the original, or 10 for deciles.",
            )

    def size(self) -> int:
        return self.samples

    def sample(self, question: Question, seed: int) -> Sample:
        require_points(question, "Quartiles")
        x = question.x
        columns = self._columns(question)
        inputs = x.to(torch.float64).cpu().numpy()

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
        _check_seen(question, input_bins)
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

    def _columns(self, question: Question) -> list[Law]:
        """The law of every column, read off the rows."""
        rows = read_rows(question, self.rows, "Quartiles")
        if not question.model.takes_missing:
            require_values(question, rows, "Quartiles")
        declared = columns_named(question, self.categorical)
        categories = categories_of(question.layout) | set(declared)
        table = rows.to(torch.float64).cpu().numpy()
        return [
            law_of(column, number in categories, self.parts)
            for number, column in enumerate(table.T)
        ]

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
            f"categorical={self.categorical!r}",
            f"parts={self.parts!r}",
        )
        return f"Quartiles({', '.join(settings)})"


def _check_seen(question: Question, input_bins: Integers) -> None:
    """Refuses inputs of which no draw can be: their coefficient would rest on the input alone."""
    unseen = np.argwhere(input_bins == UNSEEN)
    if not len(unseen):
        return
    row, column = unseen[0].tolist()
    name = question.layout.names[column]
    value = value_of(question, row, column)
    both = "np.concatenate([rows, inputs])"
    if isinstance(question.layout, TableLayout):
        both = "pd.concat([rows, inputs])"
    raise InputError(
        expected=f"rows for Quartiles that hold what input {row} has in column {name!r}",
        got=f"{value}, which none of them does",
        advice=f"Add rows like the input, as in Quartiles({both}), or leave the input out.",
    )


def _cells(
    columns: Sequence[Law], u: Floats, bins: Integers, input_bins: Integers, tilt: float
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
