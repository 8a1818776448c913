"""Neighbourhoods of an input: the perturbations, and their weights, that a local surrogate fits.

LIME (Ribeiro, Singh and Guestrin 2016, section 3.3) draws perturbed inputs, describes each by an
interpretable vector z, and weights it by its proximity pi(z). A `Neighbourhood` is these three
decisions together; what it hands to the fit is a `Sample`.

Masks of features ask `question.value` (`masks.py`); points around an input ask `question.score`
(`points.py`, `quartiles.py`). A design is drawn from the seed alone and shared by all inputs, so
that one table of draws, and often one Gram matrix, serves all of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, final, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from assay.answers.attribution import Kind
from assay.errors import InputError, KindError, SettingError
from assay.inputs.layout import Layout
from assay.inputs.tables import TableLayout
from assay.numerics.designs import Draw, Floats
from assay.numerics.precision import varies
from assay.question.question import Question
from assay.settings import Settings
from assay.targets import Output

_SHOWN_NAMES = 3  # of columns, in a refusal


@final
@dataclass(frozen=True, eq=False)
class Cells:
    """The uniforms behind m draws of a table, and the cell of each of n inputs, column by column.

    Columns are drawn independently, by inverting their distribution functions; z_j = 1 where the
    uniform of column j falls into the input's own cell. A draw's weight is a product over columns,
    so that columns are independent under the weighted law too.

    Settings:
        start: the least uniform that gives the same value as the draw, (m, d).
        stop: the largest one, (m, d); equal to `start` where every uniform has a value of its own.
        low: where the input's own cell begins, (n, d).
        high: where it ends, (n, d).
        tilt: the factor of a draw's weight for each column outside of the input's cell.
    """

    start: Floats
    stop: Floats
    low: Floats
    high: Floats
    tilt: float

    @cached_property
    def mass(self) -> Floats:
        """The integral of each column's weight over its uniforms: (n, d)."""
        return self.high - self.low + (1 - self.high + self.low) * self.tilt

    @cached_property
    def inside(self) -> Floats:
        """E z_j under the weighted law: the share of the mass inside the own cell, (n, d)."""
        return np.asarray((self.high - self.low) / self.mass, dtype=np.float64)

    def take(self, rows: NDArray[np.int64]) -> Cells:
        """The same draws, with the cells of some of the inputs."""
        return Cells(self.start, self.stop, self.low[rows], self.high[rows], self.tilt)


@final
@dataclass(frozen=True)
class Sample:
    """What a neighbourhood hands to the fit; r is 1 where all inputs share a design, or n.

    Settings:
        design: interpretable vectors z, (r, m, d).
        weights: proximities pi(z), (r, m).
        answers: the target at every draw, (n, m).
        unit: factors that turn coefficients into values, (d,).
        fixed: how many of the first draws are not random (the input itself).
        strata: the quarter of each column that a balanced design drew from, (m - fixed, d).
        cells: the uniforms behind the draws, where a proxy can integrate over them.
    """

    design: Tensor
    weights: Tensor
    answers: Tensor
    unit: Tensor
    fixed: int = 1
    strata: Tensor | None = None
    cells: Cells | None = None

    @cached_property
    def shares(self) -> Tensor:
        """The weights, as shares of their sum: (r, m)."""
        return self.weights / self.weights.sum(dim=1, keepdim=True)

    def without_constants(self) -> Sample:
        """With columns that do not vary at 0: what rounding leaves of them explains nothing."""
        moving = varies(self.design, dim=1)
        if bool(moving.all()):
            return self
        return replace(self, design=torch.where(moving[:, None], self.design, 0.0))

    def without_fixed(self) -> Sample:
        """The random draws alone."""
        return replace(
            self,
            design=self.design[:, self.fixed :],
            weights=self.weights[:, self.fixed :],
            answers=self.answers[:, self.fixed :],
            fixed=0,
        )


class Neighbourhood(Settings, ABC):
    """A way to draw around an input, with a weight for each draw."""

    kind: ClassVar[Kind]

    @abstractmethod
    def sample(self, question: Question, seed: int) -> Sample:
        """The designs, weights and answers for all inputs of a question."""

    @abstractmethod
    def size(self) -> int:
        """How many draws there are."""


def score_shared(question: Question, points: Tensor) -> Tensor:
    """The target at points (m, elements) that all inputs share: (n, m).

    Inputs with the same target get the same answers, so the points are asked once for each target.
    """
    target = question.fixed_target
    if question.has_aligned_context or not isinstance(target, Output):
        # An input's own context, or a target
        # made for it, is part of what is asked.
        outputs = torch.arange(question.n)
    elif isinstance(target.index, Tensor):
        outputs = target.index.cpu()
    else:
        outputs = torch.zeros(question.n, dtype=torch.int64)
    groups, group_of_input = torch.unique(outputs, return_inverse=True)
    answers = []
    for group in range(len(groups)):
        # Any of its inputs can ask for the group.
        member = int((group_of_input == group).nonzero()[0])
        asker = question.part(member, member + 1)
        answers.append(asker.score(points[None])[0])
    table = torch.stack(answers)
    return table[group_of_input.to(table.device)].to(torch.float64)


def kernel(squared_distance: Tensor, width: float) -> Tensor:
    """The weight sqrt(exp(-distance^2 / width^2)) of the original implementation."""
    return torch.exp(-squared_distance / (2 * width**2))


def check_settings(
    samples: int, width: float | None, design: str | None = None, designs: Any = Draw
) -> None:
    """Refuses too few samples, widths that are none, and designs that are not among `designs`."""
    if design is not None and design not in get_args(designs):
        raise SettingError(
            expected=f"a design among {', '.join(map(repr, get_args(designs)))}",
            got=repr(design),
            advice="Leave it out: the default suits this neighbourhood.",
        )
    if samples < 2:
        raise SettingError(
            expected="at least two samples",
            got=samples,
            advice="A thousand is usual; the surrogate needs two more than it has columns.",
        )
    if width is not None and not width > 0:
        raise SettingError(
            expected="a kernel width above 0",
            got=width,
            advice="The larger it is, the further the surrogate looks; 0.25 is usual for masks.",
        )


def require_points(question: Question, who: str) -> None:
    """Refuses inputs that points cannot be drawn around, for `who` needs them."""
    if not question.x.is_floating_point():
        raise KindError(
            expected=f"floating inputs for {who}",
            got=question.x.dtype,
            advice="Use CoinMasks, or convert the inputs.",
        )
    count = question.partition.count
    columns = question.x.shape[1]
    if count != columns:
        raise InputError(
            expected=f"every column to be a feature of its own for {who}",
            got=f"{count} features for {columns} columns",
            advice="Use CoinMasks for groups, patches and superpixels.",
        )
    # Draws are of columns, and so are the coefficients: they stand in the columns' order.
    labels = question.partition.labels
    if not bool((labels == torch.arange(columns, device=labels.device)).all()):
        raise InputError(
            expected=f"features in the order of the columns for {who}",
            got="labels in another one",
            advice="Use CoinMasks, or leave the labels out.",
        )


def categories_of(layout: Layout) -> frozenset[int]:
    """The columns that hold categories by the layout's own knowledge."""
    return frozenset(layout.categorical.nonzero().flatten().tolist())


def require_numbers(question: Question, columns: Sequence[int], who: str) -> None:
    """Refuses columns of categories, whose codes have no sum, no distance and no slope."""
    found = sorted(categories_of(question.layout).intersection(columns))
    if found:
        names = [question.layout.names[column] for column in found]
        raise InputError(
            expected=f"numbers in every column that moves, for {who}",
            got=f"categories in {_listed(names)}",
            advice=(
                "Use Lime(Quartiles(rows)), which draws categories by their frequency, or name "
                "the columns of numbers: Gaussian(columns=[...])."
            ),
        )


def read_rows(question: Question, rows: Any, who: str) -> Tensor:
    """The rows of a neighbourhood as the inputs' layout has them, (rows, columns)."""
    flat = question.layout.flatten(rows).to(question.x.device)
    if len(flat) == 0:
        raise InputError(
            expected=f"at least one row of data for {who}",
            got="none",
            advice="Hand over the training rows, or some hundreds of them.",
        )
    infinite = flat.isinf()
    if bool(infinite.any()):
        raise InputError(
            expected=f"finite rows for {who}",
            got=f"infinity in {_where(question, infinite)}",
            advice="Leave these rows out: rows[np.isfinite(rows).all(axis=1)].",
        )
    return flat


def require_values(question: Question, rows: Tensor, who: str) -> None:
    """Refuses rows, of inputs or of data, that miss a value which is to be computed with."""
    missing = rows.isnan()
    if bool(missing.any()):
        raise InputError(
            expected=f"rows without missing values for {who}",
            got=f"NaN in {_where(question, missing)}",
            advice=(
                "Drop these rows or fill the gaps: rows.dropna(). A model that declares that it "
                "takes missing values is asked with them by Lime(Quartiles(rows))."
            ),
        )


def _where(question: Question, marked: Tensor) -> str:
    """Which rows and columns are marked, in words."""
    count = int(marked.any(dim=1).sum())
    columns = marked.any(dim=0).nonzero().flatten().tolist()
    names = [question.layout.names[column] for column in columns]
    return f"{count} of {len(marked)} rows, in {_listed(names)}"


def _listed(names: Sequence[str]) -> str:
    """Names of columns as refusals show them: the first few."""
    shown_names = ", ".join(map(repr, names[:_SHOWN_NAMES]))
    more = len(names) - _SHOWN_NAMES
    if more > 0:
        shown_names = f"{shown_names} and {more} more"
    return f"column {shown_names}" if len(names) == 1 else f"columns {shown_names}"


def value_of(question: Question, row: int, column: int) -> str:
    """A value of an input as its user knows it: the category, not its code."""
    layout = question.layout
    flat = question.x[row : row + 1]
    if isinstance(layout, TableLayout):
        (frame,) = layout.fold(flat)
        return repr(frame.iloc[0, column])
    return repr(flat[0, column].item())


def columns_named(question: Question, columns: Sequence[int | str]) -> list[int]:
    """Columns by number or by name, as numbers in ascending order."""
    count = question.partition.count
    names = question.partition.names
    numbers: set[int] = set()
    for column in columns:
        number = column
        if isinstance(column, str) and column in names:
            number = names.index(column)
        if not isinstance(number, int) or not 0 <= number < count:
            raise unknown_columns(columns, count)
        numbers.add(number)
    return sorted(numbers)


def unknown_columns(columns: Sequence[int | str] | None, count: int) -> InputError:
    """The refusal of columns that a question does not have."""
    return InputError(
        expected=f"columns out of {count}, by number or by name",
        got=columns,
        advice="Count from 0, or write names as question.partition.names has them.",
    )


def strata_like(strata: NDArray[np.int64] | None, like: Tensor) -> Tensor | None:
    """Strata, where there are any, as a tensor on the device of another one."""
    if strata is None:
        return None
    return torch.from_numpy(strata).to(like.device)


def shape_of(rows: Any) -> str:
    """Rows of data by kind and shape, as settings show them."""
    return f"<{type(rows).__name__} of shape {tuple(getattr(rows, 'shape', ()))}>"
