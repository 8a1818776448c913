"""Neighbourhoods of an input: what a local surrogate is fitted to.

Masks of features ask `question.value`; points around an input ask `question.score`. A design is
drawn from the seed alone and shared by all inputs, so that one table of draws, and often one Gram
matrix, serves all of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, final, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from assay.answers.attribution import Kind
from assay.errors import InputError, KindError
from assay.numerics.designs import Draw, Floats
from assay.question.question import Question
from assay.targets import Output


@final
@dataclass(frozen=True, eq=False)
class Cells:
    """Where the draws of a table come from: uniforms (m, d), and every input's own cell of every
    column, `low` to `high` (n, d).

    A draw counts `tilt` times for each column in which it is outside of the input's cell, so that
    columns are independent under the weighted law too. Uniforms from `start` to `stop` (m, d) give
    the same value as the draw.
    """

    start: Floats
    stop: Floats
    low: Floats
    high: Floats
    tilt: float

    @cached_property
    def total(self) -> Floats:
        """The weight of each column: (n, d)."""
        return self.high - self.low + (1 - self.high + self.low) * self.tilt

    @cached_property
    def centre(self) -> Floats:
        """The share of that weight inside the cell: (n, d)."""
        return np.asarray((self.high - self.low) / self.total, dtype=np.float64)

    def take(self, rows: NDArray[np.int64]) -> Cells:
        """The cells of some of the inputs."""
        return Cells(self.start, self.stop, self.low[rows], self.high[rows], self.tilt)


@final
@dataclass(frozen=True)
class Sample:
    """Interpretable designs (r, m, d), weights (r, m) and answers (n, m), with r = 1 where all
    inputs share them, or n.

    The first `fixed` rows are not random. `unit` (d,) turns coefficients into values. `levels` (m -
    fixed, d) are the strata of a balanced design, where there are any; `cells` say where the draws
    come from, where that is known.
    """

    design: Tensor
    weights: Tensor
    answers: Tensor
    unit: Tensor
    fixed: int = 1
    levels: Tensor | None = None
    cells: Cells | None = None


class Neighbourhood(ABC):
    """A way to draw around an input, with a weight for each draw."""

    kind: ClassVar[Kind]

    @abstractmethod
    def sample(self, question: Question, seed: int) -> Sample:
        """The designs, weights and answers for all inputs of a question."""

    @abstractmethod
    def size(self) -> int:
        """How many draws there are."""


def score_shared(question: Question, points: Tensor) -> Tensor:
    """The target at points (m, elements) that all inputs share: (n, m), asked once for each output."""
    target = question.fixed_target
    if question.has_aligned_context or not isinstance(target, Output):
        meant = torch.arange(question.n)
    elif isinstance(target.index, Tensor):
        meant = target.index.cpu()
    else:
        meant = torch.zeros(question.n, dtype=torch.int64)
    groups, member = torch.unique(meant, return_inverse=True)
    first = [int((member == group).nonzero()[0]) for group in range(len(groups))]
    answers = torch.stack([question.part(row, row + 1).score(points[None])[0] for row in first])
    return answers[member.to(answers.device)].to(torch.float64)


def kernel(squared: Tensor, width: float) -> Tensor:
    """The weight sqrt(exp(-distance^2 / width^2)) of the original implementation."""
    return torch.exp(-squared / (2 * width**2))


def check_settings(
    samples: int, width: float | None, design: str | None = None, designs: Any = Draw
) -> None:
    """Refuses too few samples, widths that are none, and designs that are not among `designs`."""
    if design is not None and design not in get_args(designs):
        raise InputError(
            expected=f"a design among {', '.join(map(repr, get_args(designs)))}",
            got=repr(design),
            advice="",
        )
    if samples < 2:
        raise InputError(
            expected="at least two samples",
            got=samples,
            advice="",
        )
    if width is not None and not width > 0:
        raise InputError(
            expected="a kernel width above 0",
            got=width,
            advice="",
        )


def points_wanted(question: Question, who: str) -> None:
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


def as_levels(strata: NDArray[np.int64] | None, like: Tensor) -> Tensor | None:
    """Strata as a tensor where another one lives."""
    return None if strata is None else torch.from_numpy(strata).to(like.device)


def shape_of(rows: Any) -> str:
    """Rows of data by kind and shape, as settings show them."""
    return f"<{type(rows).__name__} of shape {tuple(getattr(rows, 'shape', ()))}>"
