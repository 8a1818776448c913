"""Neighbourhoods of an input: what a local surrogate is fitted to.

Masks of features ask `question.value`; points around an input ask `question.score`. A design is drawn from the seed
alone and shared by all inputs, so that one table of draws, and often one Gram matrix, serves all of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, final, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from assay import rng
from assay.errors import InputError, KindError
from assay.method import Kind
from assay.methods.designs import Balanced, Draw, Floats, uniforms
from assay.question import Question
from assay.target import Output

_POINT_CELLS = 1 << 22  # elements of one piece of points


@final
@dataclass(frozen=True, eq=False)
class Cells:
    """Where the draws of a table come from: uniforms (m, d), and every input's own cell of every column, `low` to `high` (n, d).

    A draw counts `tilt` times for each column in which it is outside of the input's cell, so that columns are independent
    under the weighted law too. Uniforms from `start` to `stop` (m, d) give the same value as the draw.
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
    """Interpretable designs (r, m, d), weights (r, m) and answers (n, m), with r = 1 where all inputs share them, or n.

    The first `fixed` rows are not random. `unit` (d,) turns coefficients into values. `levels` (m - fixed, d) are the
    strata of a balanced design, where there are any; `cells` say where the draws come from, where that is known.
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
    target = question.chosen
    if question.bound.aligned or not isinstance(target, Output):
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


def check_settings(samples: int, width: float | None, design: str | None = None, designs: Any = Draw) -> None:
    """Refuses too few samples, widths that are none, and designs that are not among `designs`."""
    if design is not None and design not in get_args(designs):
        raise InputError(f"Expected a design among {', '.join(map(repr, get_args(designs)))}, got {design!r}.")
    if samples < 2:
        raise InputError(f"Expected at least two samples, got {samples}.")
    if width is not None and not width > 0:
        raise InputError(f"Expected a kernel width above 0, got {width}.")


def points_wanted(question: Question, who: str) -> None:
    """Refuses inputs that points cannot be drawn around, for `who` needs them."""
    if not question.x.is_floating_point():
        raise KindError(
            f"Expected floating inputs for {who}, got {question.x.dtype}. Use CoinMasks, or convert the inputs."
        )
    if question.partition.count != question.x.shape[1]:
        raise InputError(
            f"Expected every column to be a feature of its own for {who}, got {question.partition.count} features for "
            f"{question.x.shape[1]} columns. Use CoinMasks for groups, patches and superpixels."
        )


def as_levels(strata: NDArray[np.int64] | None, like: Tensor) -> Tensor | None:
    """Strata as a tensor where another one lives."""
    return None if strata is None else torch.from_numpy(strata).to(like.device)


def _tensor(values: Any, like: Tensor) -> Tensor:
    return torch.as_tensor(np.asarray(values), dtype=torch.float64, device=like.device)


class Masks(Neighbourhood):
    """Features shown or hidden, under the kernel exp(-D^2 / (2 width^2)) on the distance D = 1 - sqrt(share shown)."""

    samples: int
    width: float
    kind: ClassVar[Kind] = Kind.CONTRIBUTION

    @abstractmethod
    def draw(self, features: int, seed: int) -> tuple[NDArray[np.bool_], NDArray[np.int64] | None]:
        """Masks (m, features), and the strata of a balanced design, where there are any."""

    def size(self) -> int:
        return self.samples

    @final
    def sample(self, question: Question, seed: int) -> Sample:
        def ask(masks: Tensor) -> Tensor:
            return torch.cat([question.prediction[:, None], question.value(masks)], dim=1)

        return self._asked(question, seed, ask)

    @final
    def sample_outputs(self, question: Question, seed: int) -> Sample:
        """The same for every output: answers (n * outputs, m), from the same evaluations."""

        def ask(masks: Tensor) -> Tensor:
            return question.outputs(torch.cat([torch.ones_like(masks[:1]), masks])).transpose(1, 2).flatten(0, 1)

        return self._asked(question, seed, ask)

    def _asked(self, question: Question, seed: int, ask: Callable[[Tensor], Tensor]) -> Sample:
        drawn, strata = self.draw(question.partition.count, seed)
        masks = torch.from_numpy(drawn).to(question.x.device)
        design = torch.cat([torch.ones_like(masks[:1]), masks]).to(torch.float64)
        apart = 1 - design.mean(dim=1).sqrt()
        weights, unit = kernel(apart.square(), self.width), torch.ones_like(design[0])
        return Sample(design[None], weights[None], ask(masks).to(torch.float64), unit, levels=as_levels(strata, masks))


@final
@dataclass(frozen=True)
class CoinMasks(Masks):
    """Each feature is shown or hidden by a fair coin: superpixels and patches as in the original.

    Weight exp(-D^2 / (2 width^2)), D = 1 - sqrt(share of features shown), the cosine distance to the whole input.
    """

    samples: int = 1000
    width: float = 0.25
    design: Balanced = "orthogonal"

    def __post_init__(self) -> None:
        check_settings(self.samples, self.width, self.design, Balanced)

    def draw(self, features: int, seed: int) -> tuple[NDArray[np.bool_], NDArray[np.int64] | None]:
        draws, strata = uniforms(self.samples, features, rng.shared(seed, "lime"), self.design)
        return draws < 0.5, strata


@final
@dataclass(frozen=True)
class SizeMasks(Masks):
    """A uniform number of features, from 1 to all, is hidden, chosen at random: words of a text as in the original.

    Weight exp(-D^2 / (2 width^2)), D = 1 - sqrt(share of features shown), the cosine distance to the whole input.
    """

    samples: int = 5000
    width: float = 0.25

    def __post_init__(self) -> None:
        check_settings(self.samples, self.width)

    def draw(self, features: int, seed: int) -> tuple[NDArray[np.bool_], NDArray[np.int64] | None]:
        draw = rng.shared(seed, "lime")
        rank = np.argsort(np.argsort(draw.random((self.samples, features)), axis=1), axis=1)
        return rank >= draw.integers(1, features + 1, size=(self.samples, 1)), None


@final
@dataclass(frozen=True)
class Gaussian(Neighbourhood):
    """Normal noise around the input, of standard deviation `scale` (one number, or one per column), on some columns or
    all.

    x' = x + scale * e, e ~ N(0, 1); columns that are not named stay fixed and get 0. Draws count alike, or by
    exp(-|e|^2 / (2 width^2)) with a width. The surrogate is linear in e, and its values are slopes per unit of input.
    """

    scale: float | tuple[float, ...] = 1.0
    samples: int = 1000
    columns: tuple[int | str, ...] | None = None
    width: float | None = None
    design: Draw = "orthogonal"

    kind: ClassVar[Kind] = Kind.SLOPE

    def __post_init__(self) -> None:
        check_settings(self.samples, self.width, self.design)
        if not all(one > 0 for one in (self.scale if isinstance(self.scale, tuple) else (self.scale,))):
            raise InputError(f"Expected a scale above 0, got {self.scale}.")

    def size(self) -> int:
        return self.samples

    def sample(self, question: Question, seed: int) -> Sample:
        from scipy.special import ndtri

        points_wanted(question, "Gaussian neighbourhoods")
        x = question.x
        moving, scale = self._moving(question), self._scale(x)
        draws, strata = uniforms(self.samples, len(moving), rng.shared(seed, "lime"), self.design)
        noise = torch.zeros(self.samples, x.shape[1], dtype=torch.float64, device=x.device)
        noise[:, moving] = torch.from_numpy(ndtri(draws)).to(x.device)
        step = max(1, _POINT_CELLS // x.numel())
        asked = [
            question.score(x[:, None] + (scale * noise[at : at + step]).to(x.dtype))
            for at in range(0, len(noise), step)
        ]
        answers = torch.cat([question.prediction[:, None], *asked], dim=1).to(torch.float64)
        design = torch.cat([torch.zeros_like(noise[:1]), noise])
        squared = design.square().sum(dim=1)
        weights = torch.ones_like(squared) if self.width is None else kernel(squared, self.width)
        return Sample(design[None], weights[None], answers, 1 / scale, levels=as_levels(strata, x))

    def _moving(self, question: Question) -> list[int]:
        names, count = question.partition.names, question.partition.count
        if self.columns is None:
            return list(range(count))
        found = [names.index(one) if isinstance(one, str) and one in names else one for one in self.columns]
        wrong = [one for one in found if not isinstance(one, int) or not 0 <= one < count]
        if wrong or not found:
            raise InputError(f"Expected columns out of {count}, by number or by name, got {self.columns}.")
        return sorted({one for one in found if isinstance(one, int)})

    def _scale(self, x: Tensor) -> Tensor:
        if isinstance(self.scale, tuple) and len(self.scale) != x.shape[1]:
            raise InputError(f"Expected one scale, or {x.shape[1]}, one for each column, got {len(self.scale)}.")
        return _tensor(self.scale, x).expand(x.shape[1])


def shape_of(rows: Any) -> str:
    """Rows of data by kind and shape, as settings show them."""
    return f"<{type(rows).__name__} of shape {tuple(getattr(rows, 'shape', ()))}>"


@final
@dataclass(frozen=True, eq=False)
class Instances(Neighbourhood):
    """Real rows, weighted by exp(-|x - x'|^2 / d): perturbed points that are in the data because they are the data.

    The surrogate is linear in x' - x, and its values are slopes per unit of input. Each row is asked once for all
    inputs that share a target.
    """

    rows: Any
    d: float = 1.0

    kind: ClassVar[Kind] = Kind.SLOPE

    def __post_init__(self) -> None:
        check_settings(2, self.d)

    def size(self) -> int:
        return len(self.rows)

    def sample(self, question: Question, seed: int) -> Sample:
        points_wanted(question, "Instances")
        x, rows = question.x, question.layout.flatten(self.rows).to(question.x.device)
        design = rows.to(torch.float64)[None] - x.to(torch.float64)[:, None]
        squared = design.square().sum(dim=2)
        # Measured from the nearest row, so that far inputs keep weights that can be told from zero.
        weights = torch.exp(-(squared - squared.amin(dim=1, keepdim=True)) / self.d)
        return Sample(design, weights, score_shared(question, rows.to(x.dtype)), torch.ones_like(design[0, 0]), fixed=0)

    def __repr__(self) -> str:
        return f"Instances({shape_of(self.rows)}, d={self.d!r})"
