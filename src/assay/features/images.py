"""Credit per pixel or per square patch of an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from assay.errors import InputError
from assay.features.partition import Features, Partition, Pooling, _plain
from assay.inputs.layout import Layout


def _grid_names(shape: tuple[int, ...]) -> tuple[str, ...]:
    return tuple(
        str(list(map(int, np.unravel_index(i, shape)))).replace(" ", "")
        for i in range(int(np.prod(shape)))
    )


def _image(layout: Layout, who: str) -> tuple[int, int, int]:
    shape = layout.shapes[0]
    if len(layout.shapes) != 1 or len(shape) not in (2, 3):
        raise InputError(
            expected=f"images of shape (channels, height, width) or (height, width) for {who}",
            got=layout.describe(),
            advice="",
        )
    return (1, *shape) if len(shape) == 2 else shape  # type: ignore[return-value]


@final
@dataclass(frozen=True)
class Pixels(Features):
    """The pixels of an image; the credit of a pixel's channels is added, or averaged with
    `pooling="mean"`.
    """

    pooling: Pooling = "sum"

    def bind(self, layout: Layout, x: Tensor) -> Partition:
        if self.pooling not in ("sum", "mean"):
            raise InputError(
                expected="pooling 'sum' or 'mean'",
                got=repr(self.pooling),
                advice="",
            )
        channels, height, width = _image(layout, "Pixels")
        labels = torch.arange(height * width).repeat(channels)
        names = _grid_names((height, width))
        return Partition(
            _plain(labels, x),
            height * width,
            names,
            (height, width),
            self.pooling,
            identity=channels == 1,
        )


@final
@dataclass(frozen=True)
class Patches(Features):
    """Squares of side `size` of an image, all channels together; squares at the far border may be
    cut.
    """

    size: int

    def bind(self, layout: Layout, x: Tensor) -> Partition:
        channels, height, width = _image(layout, "Patches")
        if not 1 <= self.size <= max(height, width):
            raise InputError(
                expected=f"a patch side from 1 to {max(height, width)}",
                got=self.size,
                advice="",
            )
        rows, columns = -(-height // self.size), -(-width // self.size)
        grid = (torch.arange(height) // self.size)[:, None] * columns + (
            torch.arange(width) // self.size
        )[None, :]
        labels = grid.reshape(-1).repeat(channels)
        return Partition(
            _plain(labels, x), rows * columns, _grid_names((rows, columns)), (rows, columns)
        )
