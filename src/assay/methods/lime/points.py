"""Neighbourhoods of points for LIME: normal noise around the input, or real rows near it.

Here z is the step from the input itself, so that the surrogate's coefficients are slopes: a local
linear regression (Cleveland 1979; `Instances` with a kernel is the same with real rows for points).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
import torch
from torch import Tensor

from assay.answers.attribution import Kind
from assay.errors import InputError, SettingError, SettingKindError
from assay.methods.lime.neighbourhood import (
    Neighbourhood,
    Sample,
    check_settings,
    columns_named,
    kernel,
    read_rows,
    require_numbers,
    require_points,
    require_values,
    score_shared,
    shape_of,
    strata_like,
    unknown_columns,
)
from assay.numerics import rng
from assay.numerics.designs import Draw, uniforms
from assay.numerics.pieces import pieces
from assay.numerics.precision import varies
from assay.question.question import Question
from assay.settings import has_length, shown


@final
@dataclass(frozen=True)
class Gaussian(Neighbourhood):
    """Normal noise around the input, of standard deviation `scale`, on some columns or all.

    x' = x + scale * e, e ~ N(0, 1). The surrogate is linear in e, and its values are slopes per
    unit of input.

    Settings:
        scale: standard deviation in units of the input, one for all columns or one for each.
        samples: points, and so evaluations per input.
        columns: which columns move, by number or name; all by default. The others get 0.
        width: of the kernel exp(-|e|^2 / (2 width^2)), in scales; without one, draws count alike.
        design: "orthogonal" has at most the error it states while columns are few, "sobol" less
            than it can state, "independent" is plain chance.
    """

    scale: float | tuple[float, ...] = 1.0
    samples: int = 1000
    columns: tuple[int | str, ...] | None = None
    width: float | None = None
    design: Draw = "orthogonal"

    kind: ClassVar[Kind] = Kind.SLOPE

    def __post_init__(self) -> None:
        check_settings(self.samples, self.width, self.design)
        scales = self.scale if isinstance(self.scale, tuple) else (self.scale,)
        if not all(scale > 0 for scale in scales):
            raise SettingError(
                expected="a scale above 0",
                got=self.scale,
                advice="Name the columns that move (columns=...) to leave others as they are.",
            )

    def size(self) -> int:
        return self.samples

    def sample(self, question: Question, seed: int) -> Sample:
        from scipy.special import ndtri

        require_points(question, "Gaussian neighbourhoods")
        x = question.x
        moving = self._moving_columns(question)
        require_numbers(question, moving, "Gaussian neighbourhoods")
        require_values(question, x[:, moving], "Gaussian neighbourhoods")
        scale = self._scale_of_columns(x)
        # Balanced uniforms become balanced normals
        # by the inverse distribution function.
        generator = rng.shared(seed, "lime")
        draws, strata = uniforms(self.samples, len(moving), generator, self.design)
        noise = torch.zeros(self.samples, x.shape[1], dtype=torch.float64, device=x.device)
        noise[:, moving] = torch.from_numpy(ndtri(draws)).to(x.device)
        answers = [question.prediction[:, None]]
        for piece in pieces(self.samples, x.numel()):
            steps = (scale * noise[piece]).to(x.dtype)
            answers.append(question.score(x[:, None] + steps))
        # The input itself comes first: no step.
        design = torch.cat([torch.zeros_like(noise[:1]), noise])
        squared_distance = design.square().sum(dim=1)
        if self.width is None:
            weights = torch.ones_like(squared_distance)
        else:
            weights = kernel(squared_distance, self.width)
        return Sample(
            design=design[None],
            weights=weights[None],
            answers=torch.cat(answers, dim=1).to(torch.float64),
            unit=1 / scale,
            strata=strata_like(strata, x),
        )

    def _moving_columns(self, question: Question) -> list[int]:
        count = question.partition.count
        if self.columns is None:
            return list(range(count))
        moving = columns_named(question, self.columns)
        if not moving:
            raise unknown_columns(self.columns, count)
        return moving

    def _scale_of_columns(self, x: Tensor) -> Tensor:
        columns = x.shape[1]
        if isinstance(self.scale, tuple) and len(self.scale) != columns:
            raise InputError(
                expected=f"one scale, or {columns}, one for each column",
                got=len(self.scale),
                advice="Standard deviations of the training rows are a usual choice.",
            )
        scale = torch.as_tensor(np.asarray(self.scale), dtype=torch.float64, device=x.device)
        return scale.expand(columns)


@final
@dataclass(frozen=True, eq=False)
class Instances(Neighbourhood):
    """Real rows, weighted by exp(-|x - x'|^2 / d): perturbed points that are in the data because
    they are the data.

    The surrogate is linear in x' - x, and its values are slopes per unit of input. Each row is
    asked once for all inputs that share a target.

    Settings:
        rows: the data, in the form of the inputs.
        d: width of the kernel, in squared units of the input; columns count as they are scaled.
    """

    rows: Any
    d: float = 1.0

    kind: ClassVar[Kind] = Kind.SLOPE

    def __post_init__(self) -> None:
        check_settings(2, self.d)
        if not has_length(self.rows):
            raise SettingKindError(
                expected="rows of data for Instances, in the form of the inputs",
                got=shown(self.rows),
                advice="Hand over a tensor, an array or a DataFrame: Instances(rows).",
            )

    def size(self) -> int:
        return len(self.rows)

    def sample(self, question: Question, seed: int) -> Sample:
        require_points(question, "Instances")
        x = question.x
        require_numbers(question, range(x.shape[1]), "Instances")
        rows = read_rows(question, self.rows, "Instances")
        require_values(question, rows, "Instances")
        require_values(question, x, "Instances")
        design = rows.to(torch.float64)[None] - x.to(torch.float64)[:, None]
        squared_distance = design.square().sum(dim=2)
        # Measured from the nearest row, so that far
        # inputs keep weights that can be told from zero.
        nearest = squared_distance.amin(dim=1, keepdim=True)
        # A column of one value is 0 for every row, also where it is
        # one value up to rounding: its distance is no slope's base.
        moving = varies(rows.to(torch.float64), dim=0)
        return Sample(
            design=torch.where(moving, design, 0.0),
            weights=torch.exp(-(squared_distance - nearest) / self.d),
            answers=score_shared(question, rows.to(x.dtype)),
            unit=torch.ones_like(design[0, 0]),
            # Rows are data, not draws around a fixed first one.
            fixed=0,
        )

    def __repr__(self) -> str:
        return f"Instances({shape_of(self.rows)}, d={self.d!r})"
