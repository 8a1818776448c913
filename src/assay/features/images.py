"""Credit per pixel or per square patch of an image, or of a series or a volume likewise.

Both are grids over the places, (height, width) of an image, that all channels share: a pixel is
removed in all its colours at once. For credit of each channel by itself there is `Elements`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from assay.errors import InputError, SettingError
from assay.features.partition import Features, Partition, Pooling, as_labels
from assay.inputs.layout import Layout
from assay.inputs.names import ElementNames
from assay.inputs.places import check_axes, places_of


def grid_names(shape: tuple[int, ...]) -> ElementNames:
    """Names of places, such as [2,3]."""
    return ElementNames((("", shape),))


@final
@dataclass(frozen=True)
class Pixels(Features):
    """The pixels of an image, each over all its channels.

    A pixel is removed in all its colours at once; its credit is the sum of theirs, or their mean. The
    default of colour pictures (3, height, width).

    Settings:
        pooling: "sum" adds the credit of a pixel's channels, so that totals stay what they are;
            "mean" averages it.
        axes: what the axes of one input are, in letters: C for channels, T, D, H and W for time,
            depth, height and width. Where nothing is said images are "CHW" or "HW", volumes
            "CDHW". Channels last are "HWC", series "CT" or "TC".

    Shapes: (height, width) features, or the places of a series or a volume. Errors: SettingError for
    another pooling or other letters, InputError for what is no image, and for what looks as if its
    channels came last.

    >>> import torch, assay
    >>> mean = lambda x: x.flatten(1).mean(1)
    >>> question = assay.Question(mean, torch.ones(1, 3, 4, 6), features=Pixels())
    >>> question.partition.count, question.partition.shape
    (24, (4, 6))
    >>> last = assay.Question(mean, torch.ones(1, 4, 6, 3), features=Pixels(axes="HWC"))
    >>> last.partition.shape
    (4, 6)
    """

    pooling: Pooling = "sum"
    axes: str | None = None

    def __post_init__(self) -> None:
        check_axes(self.axes, "Pixels")
        if self.pooling not in ("sum", "mean"):
            raise SettingError(
                expected="pooling 'sum' or 'mean'",
                got=repr(self.pooling),
                advice='Write Pixels("sum") to add the channels, Pixels("mean") to average them.',
            )

    def bind(self, layout: Layout, x: Tensor) -> Partition:
        places = places_of(layout, self.axes, "Pixels")
        # Every channel bears the labels of the grid.
        labels = places.spread(torch.arange(places.count))
        return Partition(
            labels=as_labels(labels, x),
            count=places.count,
            names=grid_names(places.shape),
            shape=places.shape,
            pooling=self.pooling,
            identity=places.channels == 1,  # a pixel is then an element
        )


@final
@dataclass(frozen=True)
class Patches(Features):
    """Squares of an image, all channels together; stretches of a series, cubes of a volume.

    A grid of ceil(height / size) by ceil(width / size) squares: features few enough for Shapley values.

    Settings:
        size: the side in pixels. Squares at the far borders are cut where it does not divide the
            image.
        axes: what the axes of one input are, as in `Pixels`: "HWC" for channels last, "CT" for
            series.

    Shapes: the grid of squares, (rows, columns) of an image. Errors: SettingError for a side below 1,
    InputError for what is no image or smaller than a side, and for what looks as if its channels came
    last.

    >>> import torch, assay
    >>> mean = lambda x: x.flatten(1).mean(1)
    >>> assay.Question(mean, torch.ones(1, 3, 4, 6), features=Patches(4)).partition.shape
    (1, 2)
    """

    size: int
    axes: str | None = None

    def __post_init__(self) -> None:
        check_axes(self.axes, "Patches")
        if self.size < 1:
            raise SettingError(
                expected="a patch side of at least 1 pixel",
                got=self.size,
                advice="Write Patches(4) for squares of 4 by 4, or Pixels() for single pixels.",
            )

    def bind(self, layout: Layout, x: Tensor) -> Partition:
        places = places_of(layout, self.axes, "Patches")
        longest = max(places.shape)
        if self.size > longest:
            raise InputError(
                expected=f"a patch side from 1 to {longest}",
                got=self.size,
                advice="Choose a side that fits the image.",
            )
        # Rounded up: what is left at the far borders makes patches too.
        patches = tuple(-(-length // self.size) for length in places.shape)
        grid = torch.zeros((), dtype=torch.int64)
        for length, count in zip(places.shape, patches):
            along = torch.arange(length) // self.size
            grid = grid.unsqueeze(-1) * count + along
        # As for pixels: every channel repeats the grid.
        labels = as_labels(places.spread(grid.reshape(-1)), x)
        return Partition(labels, math.prod(patches), grid_names(patches), patches)
