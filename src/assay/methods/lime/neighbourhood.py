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
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, final, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from assay.answers.attribution import Kind
from assay.errors import InputError, KindError, SettingError
from assay.numerics.designs import Draw, Floats
from assay.numerics.precision import varies
from assay.question.question import Question
from assay.settings import Settings
from assay.targets import Output


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
    if question.partition.count != question.x.shape[1]:
        raise InputError(
            expected=f"every column to be a feature of its own for {who}",
            got=f"{question.partition.count} features for {question.x.shape[1]} columns",
            advice="Use CoinMasks for groups, patches and superpixels.",
        )


def strata_like(strata: NDArray[np.int64] | None, like: Tensor) -> Tensor | None:
    """Strata, where there are any, as a tensor on the device of another one."""
    if strata is None:
        return None
    return torch.from_numpy(strata).to(like.device)


def shape_of(rows: Any) -> str:
    """Rows of data by kind and shape, as settings show them."""
    return f"<{type(rows).__name__} of shape {tuple(getattr(rows, 'shape', ()))}>"
