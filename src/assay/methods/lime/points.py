"""Neighbourhoods of points for LIME: Gaussian steps around the input, or rows that were handed in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
import torch
from torch import Tensor

from assay.answers.attribution import Kind
from assay.errors import InputError, SettingError
from assay.methods.lime.neighbourhood import (
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
from assay.numerics.designs import Draw, uniforms
from assay.question.question import Question

_POINT_CELLS = 1 << 22  # elements of one piece of points


def _tensor(values: Any, like: Tensor) -> Tensor:
    return torch.as_tensor(np.asarray(values), dtype=torch.float64, device=like.device)


@final
@dataclass(frozen=True)
class Gaussian(Neighbourhood):
    """Normal noise around the input, of standard deviation `scale` (one number, or one per column),
    on some columns or all.

    x' = x + scale * e, e ~ N(0, 1); columns that are not named stay fixed and get 0. Draws count
    alike, or by exp(-|e|^2 / (2 width^2)) with a width. The surrogate is linear in e, and its
    values are slopes per unit of input.
    """

    scale: float | tuple[float, ...] = 1.0
    samples: int = 1000
    columns: tuple[int | str, ...] | None = None
    width: float | None = None
    design: Draw = "orthogonal"

    kind: ClassVar[Kind] = Kind.SLOPE

    def __post_init__(self) -> None:
        check_settings(self.samples, self.width, self.design)
        if not all(
            one > 0 for one in (self.scale if isinstance(self.scale, tuple) else (self.scale,))
        ):
            raise SettingError(
                expected="a scale above 0",
                got=self.scale,
                advice="",
            )

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
        found = [
            names.index(one) if isinstance(one, str) and one in names else one
            for one in self.columns
        ]
        wrong = [one for one in found if not isinstance(one, int) or not 0 <= one < count]
        if wrong or not found:
            raise InputError(
                expected=f"columns out of {count}, by number or by name",
                got=self.columns,
                advice="",
            )
        return sorted({one for one in found if isinstance(one, int)})

    def _scale(self, x: Tensor) -> Tensor:
        if isinstance(self.scale, tuple) and len(self.scale) != x.shape[1]:
            raise InputError(
                expected=f"one scale, or {x.shape[1]}, one for each column",
                got=len(self.scale),
                advice="",
            )
        return _tensor(self.scale, x).expand(x.shape[1])


@final
@dataclass(frozen=True, eq=False)
class Instances(Neighbourhood):
    """Real rows, weighted by exp(-|x - x'|^2 / d): perturbed points that are in the data because
    they are the data.

    The surrogate is linear in x' - x, and its values are slopes per unit of input. Each row is
    asked once for all inputs that share a target.
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
        return Sample(
            design,
            weights,
            score_shared(question, rows.to(x.dtype)),
            torch.ones_like(design[0, 0]),
            fixed=0,
        )

    def __repr__(self) -> str:
        return f"Instances({shape_of(self.rows)}, d={self.d!r})"
