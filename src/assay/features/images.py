"""Credit per pixel or per square patch of an image.

Both are grids over (height, width) that all channels share: a pixel is removed in all its colours
at once. For credit of each channel by itself there is `Elements`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import final

import torch
from torch import Tensor

from assay.errors import InputError, SettingError
from assay.features.partition import Features, Partition, Pooling, as_labels
from assay.inputs.layout import Layout


def image_shape(layout: Layout, asker: str) -> tuple[int, int, int]:
    """(channels, height, width) of inputs that are images; one channel where none is named."""
    shape = layout.shapes[0]
    if len(layout.shapes) != 1 or len(shape) not in (2, 3):
        raise InputError(
            expected=f"images of shape (channels, height, width) or (height, width) for {asker}",
            got=layout.describe(),
            advice="Use Elements(), Columns() or Labels(map) for inputs that are no images.",
        )
    height, width = shape[-2:]
    channels = shape[0] if len(shape) == 3 else 1
    return channels, height, width


def _grid_names(height: int, width: int) -> tuple[str, ...]:
    return tuple(f"[{row},{column}]" for row, column in product(range(height), range(width)))


@final
@dataclass(frozen=True)
class Pixels(Features):
    """The pixels of an image, each over all its channels.

    Settings:
        pooling: "sum" adds the credit of a pixel's channels, so that totals stay what they are;
            "mean" averages it.

    Errors: SettingError for another pooling, InputError for what is no image.

    >>> import torch, assay
    >>> mean = lambda x: x.flatten(1).mean(1)
    >>> question = assay.Question(mean, torch.ones(1, 3, 4, 6), features=Pixels())
    >>> question.partition.count, question.partition.shape
    (24, (4, 6))
    """

    pooling: Pooling = "sum"

    def __post_init__(self) -> None:
        if self.pooling not in ("sum", "mean"):
            raise SettingError(
                expected="pooling 'sum' or 'mean'",
                got=repr(self.pooling),
                advice='Write Pixels("sum") to add the channels, Pixels("mean") to average them.',
            )

    def bind(self, layout: Layout, x: Tensor) -> Partition:
        channels, height, width = image_shape(layout, "Pixels")
        count = height * width
        # Elements lie channel by channel: each repeats the labels of the grid.
        labels = torch.arange(count).repeat(channels)
        return Partition(
            labels=as_labels(labels, x),
            count=count,
            names=_grid_names(height, width),
            shape=(height, width),
            pooling=self.pooling,
            identity=channels == 1,  # a pixel is then an element
        )


@final
@dataclass(frozen=True)
class Patches(Features):
    """Squares of an image, all channels together.

    Settings:
        size: the side in pixels. Squares at the far borders are cut where it does not divide the
            image.

    Errors: SettingError for a side below 1, InputError for what is no image or smaller than a side.

    >>> import torch, assay
    >>> mean = lambda x: x.flatten(1).mean(1)
    >>> assay.Question(mean, torch.ones(1, 3, 4, 6), features=Patches(4)).partition.shape
    (1, 2)
    """

    size: int

    def __post_init__(self) -> None:
        if self.size < 1:
            raise SettingError(
                expected="a patch side of at least 1 pixel",
                got=self.size,
                advice="Write Patches(4) for squares of 4 by 4, or Pixels() for single pixels.",
            )

    def bind(self, layout: Layout, x: Tensor) -> Partition:
        channels, height, width = image_shape(layout, "Patches")
        if self.size > max(height, width):
            raise InputError(
                expected=f"a patch side from 1 to {max(height, width)}",
                got=self.size,
                advice="Choose a side that fits the image.",
            )
        # Rounded up: what is left at the far borders makes patches too.
        rows = -(-height // self.size)
        columns = -(-width // self.size)
        row = torch.arange(height) // self.size
        column = torch.arange(width) // self.size
        grid = row[:, None] * columns + column[None, :]
        # As for pixels: every channel repeats the grid.
        labels = grid.reshape(-1).repeat(channels)
        names = _grid_names(rows, columns)
        return Partition(as_labels(labels, x), rows * columns, names, (rows, columns))
