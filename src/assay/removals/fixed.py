"""Removals whose replacement is known beforehand: a value, a mean, a blur, noise, or rows of a
background.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor
from torch.nn import functional

from assay.errors import InputError
from assay.inputs.layout import Layout
from assay.inputs.tensors import TensorLayout, as_tensor
from assay.numerics import rng
from assay.removals.base import Absent, FixedAbsent, Removal, shown


def _rows(layout: Layout, raw: Any, who: str) -> Tensor:
    """Rows of the inputs' kind, checked."""
    rows = layout.flatten(raw)
    if len(rows) == 0:
        raise InputError(
            expected=f"at least one row in {who}",
            got="none",
            advice="",
        )
    return rows


def _finite(rows: Tensor, who: str) -> Tensor:
    if rows.is_floating_point() and not bool(torch.isfinite(rows).all()):
        raise InputError(
            expected=f"finite numbers in {who}",
            got="NaN or infinity",
            advice="",
        )
    return rows


@final
@dataclass(frozen=True, eq=False)
class Baseline(Removal):
    """A fixed value: one number, one input's worth of them, or one such for each input (a tuple for
    several tensors).
    """

    value: Any = 0.0

    def bind(self, layout: Layout, x: Tensor, keys: Callable[[], Tensor]) -> Absent:
        value = self.value
        if isinstance(value, int | float) and not isinstance(value, bool):
            if not x.is_floating_point() and value != int(value):
                raise InputError(
                    expected=f"a whole number as baseline of inputs of {x.dtype}",
                    got=value,
                    advice="",
                )
            return FixedAbsent(_finite(torch.full_like(x[:1], value), "the baseline").unsqueeze(1))
        if isinstance(layout, TensorLayout):
            value = self._parts(layout)
        rows = _finite(_rows(layout, value, "the baseline"), "the baseline")
        if len(rows) not in (1, len(x)):
            raise InputError(
                expected=f"a baseline of one row or of {len(x)}, one for each input",
                got=len(rows),
                advice="Use Background(rows) to average over several baselines.",
            )
        return FixedAbsent(rows.unsqueeze(1))

    def _parts(self, layout: TensorLayout) -> tuple[Tensor, ...]:
        """One baseline for each tensor of the inputs, all with the same number of rows."""
        several = isinstance(self.value, tuple) or (
            isinstance(self.value, list) and len(layout.shapes) > 1
        )
        given = self.value if several else (self.value,)
        if len(given) != len(layout.shapes):
            raise InputError(
                expected=f"{len(layout.shapes)} baselines, one for each tensor",
                got=len(given),
                advice="",
            )
        parts = tuple(self._leading(part, shape) for part, shape in zip(given, layout.shapes))
        most = max(len(part) for part in parts)
        return tuple(
            part.expand(most, *part.shape[1:]) if len(part) == 1 else part for part in parts
        )

    @staticmethod
    def _leading(part: Any, shape: tuple[int, ...]) -> Tensor:
        tensor = as_tensor(part)
        if tensor.dim() == 0:
            return tensor.expand(1, *shape)
        return tensor.unsqueeze(0) if tuple(tensor.shape) == shape else tensor

    def __repr__(self) -> str:
        return f"Baseline({shown(self.value)})"


@final
@dataclass(frozen=True, eq=False)
class Mean(Removal):
    """The mean of some rows: one baseline, not an average over predictions (that is `Background`)."""

    rows: Any

    def bind(self, layout: Layout, x: Tensor, keys: Callable[[], Tensor]) -> Absent:
        rows = _finite(_rows(layout, self.rows, "the rows to average"), "the rows to average")
        if not x.is_floating_point():
            raise InputError(
                expected="floating inputs for Mean",
                got=f"{x.dtype}, which holds no mean",
                advice="Use Background(rows).",
            )
        return FixedAbsent(rows.to(torch.float64).mean(0).to(x.dtype)[None, None])

    def __repr__(self) -> str:
        return f"Mean({shown(self.rows)})"


@final
@dataclass(frozen=True)
class Blur(Removal):
    """The image itself, blurred by a Gaussian of standard deviation `sigma` pixels (reflected at
    the border).
    """

    sigma: float
    follows = True

    def bind(self, layout: Layout, x: Tensor, keys: Callable[[], Tensor]) -> Absent:
        if not self.sigma > 0:
            raise InputError(
                expected="a blur of positive sigma in pixels",
                got=self.sigma,
                advice="",
            )
        shape = layout.shapes[0]
        if len(layout.shapes) != 1 or len(shape) not in (2, 3) or not x.is_floating_point():
            raise InputError(
                expected="floating images (channels, height, width) to blur",
                got=layout.describe(),
                advice="",
            )
        images = x.reshape(-1, 1, *shape[-2:])
        for dim in (2, 3):
            images = self._along(images, dim)
        return FixedAbsent(images.reshape(len(x), 1, -1))

    def _along(self, images: Tensor, dim: int) -> Tensor:
        size = images.shape[dim]
        reach = max(1, round(4 * self.sigma))
        offsets = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
        kernel = torch.exp(-0.5 * (offsets / self.sigma) ** 2)
        kernel = (kernel / kernel.sum()).view((1, 1, -1, 1) if dim == 2 else (1, 1, 1, -1))
        # Mirror indices instead of padding, since a blur may reach further than the image is wide.
        index = torch.arange(-reach, size + reach, device=images.device) % (2 * size)
        index = torch.where(index >= size, 2 * size - 1 - index, index)
        return functional.conv2d(images.index_select(dim, index), kernel)


@final
@dataclass(frozen=True)
class Noise(Removal):
    """Gaussian noise of standard deviation `sigma` around `mean`, drawn from the seed and each
    input's own bytes.
    """

    sigma: float
    mean: float = 0.0
    draws: int = 1
    seed: int = 0
    follows = True

    def bind(self, layout: Layout, x: Tensor, keys: Callable[[], Tensor]) -> Absent:
        if not self.sigma > 0 or self.draws < 1 or not x.is_floating_point():
            raise InputError(
                "Expected floating inputs, a positive sigma and at least one draw for Noise."
            )
        drawn = rng.streams(self.seed, keys(), "removal noise").normal(
            (0, self.draws), x.shape[1], x.dtype
        )
        return FixedAbsent(self.mean + self.sigma * drawn)


@final
@dataclass(frozen=True, eq=False)
class Background(Removal):
    """Rows of data: a value is the average over all of them (marginal, or interventional,
    expectation).
    """

    rows: Any

    def bind(self, layout: Layout, x: Tensor, keys: Callable[[], Tensor]) -> Absent:
        return FixedAbsent(_rows(layout, self.rows, "the background").unsqueeze(0))

    def __repr__(self) -> str:
        return f"Background({shown(self.rows)})"
