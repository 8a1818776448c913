"""The spread of each column, as a unit: a radius of 0.1 means the same of an age and of an income."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from assay.errors import InputError
from assay.inputs.layout import Layout
from assay.numerics.precision import varies
from assay.settings import has_length, shown


@final
@dataclass(frozen=True, eq=False)
class Spread:
    """Rows of data whose columns' standard deviations are units."""

    rows: Any

    def __post_init__(self) -> None:
        if not has_length(self.rows) or isinstance(self.rows, str | dict):
            raise InputError(
                expected="rows of data as scale, in the form of the inputs",
                got=shown(self.rows),
                advice="Hand over a table like the inputs: scale=rows.",
            )

    def of(self, layout: Layout) -> Tensor:
        """The standard deviation of each column (elements,), float64; 0 of a constant one."""
        rows = layout.flatten(self.rows).to(torch.float64)
        if len(rows) < 2:
            raise InputError(
                expected="at least two rows as scale",
                got=len(rows),
                advice="Hand over the training rows: scale=rows.",
            )
        # A gap is no number to spread from.
        gaps = rows.isnan()
        counts = (~gaps).sum(0).clamp_min(1)
        mean = rows.nan_to_num().sum(0) / counts
        offset = torch.where(gaps, 0.0, rows - mean)
        # A column of which one number alone is known has the spread 0, and not NaN.
        deviation = (offset.square().sum(0) / (counts - 1).clamp_min(1)).sqrt()
        # What rounding leaves of a constant column is no spread.
        moving = varies(torch.where(gaps, mean, rows), dim=0)
        return torch.where(moving, deviation, 0.0)

    def __repr__(self) -> str:
        shape = tuple(getattr(self.rows, "shape", (len(self.rows),)))
        return f"<spread of {type(self.rows).__name__} of shape {shape}>"


def as_spread(scale: Any) -> Spread | None:
    """The setting `scale`: rows of data, or None for the inputs' own units."""
    if scale is None or isinstance(scale, Spread):
        return scale
    return Spread(scale)


def in_units(steps: Tensor, scale: Spread | None, layout: Layout) -> Tensor:
    """Steps (..., elements), each in its column's spread where there is a scale; categories get none."""
    if scale is not None:
        steps = steps * scale.of(layout).to(steps.device, steps.dtype)
    categorical = layout.categorical.to(steps.device)
    return steps.masked_fill(categorical, 0.0) if bool(categorical.any()) else steps


def check_moves(layout: Layout, who: str) -> None:
    """Refuses inputs of categories alone, of which nothing can be moved a little."""
    if bool(layout.categorical.all()):
        raise InputError(
            expected=f"a column of numbers for {who}",
            got="categories alone, which cannot be moved a little",
            advice="Leave it out: a category is switched, as Background(rows) does.",
        )


def left_alone(layout: Layout) -> dict[str, str]:
    """A note of the categories that were left as they are, where there are any."""
    names = [layout.names[index] for index in layout.categorical.nonzero()[:, 0].tolist()]
    return {"left alone": f"categories: {', '.join(names)}"} if names else {}
