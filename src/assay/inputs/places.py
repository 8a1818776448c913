"""Which axes of an input are places, and which one holds its channels.

A place is a pixel, a voxel or a moment, whatever is seen there: its channels are removed together.
Torch keeps channels first (c, h, w), Keras, JAX and scikit-image last (h, w, c); a series may be
either. Where a shape does not tell, it is said in letters, as in the names of memory formats.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, final

from torch import Tensor

from assay.errors import InputError, SettingError
from assay.inputs.layout import Layout

_LETTERS = "TDHW"  # time, depth, height, width; C is for channels

# What a shape of so many axes is read as where nothing is said.
_USUAL = {2: "HW", 3: "CHW", 4: "CDHW"}

_CHANNELS = (1, 3, 4)  # grey, colour, colour with transparency


@final
@dataclass(frozen=True)
class Places:
    """The places of an input, and where among them its channels lie.

    Settings:
        shape: of the places alone: (height, width) of an image, (time,) of a series.
        channels: how many numbers a place has.
        axis: which axis of the input holds the channels, None where there is no such axis.
    """

    shape: tuple[int, ...]
    channels: int
    axis: int | None

    @property
    def count(self) -> int:
        """How many places there are."""
        return math.prod(self.shape)

    @property
    def _full(self) -> tuple[int, ...]:
        """The shape of an input."""
        if self.axis is None:
            return self.shape
        return (*self.shape[: self.axis], self.channels, *self.shape[self.axis :])

    def spread(self, values: Tensor) -> Tensor:
        """What holds of places (..., count), for all channels of each: (..., elements)."""
        front = values.shape[:-1]
        grid = values.reshape(*front, *self.shape)
        if self.axis is not None:
            grid = grid.unsqueeze(len(front) + self.axis)
        return grid.expand(*front, *self._full).reshape(*front, -1)

    def channels_first(self, x: Tensor) -> Tensor:
        """Flat rows (n, elements) as (n, channels, *places)."""
        if self.axis is None:
            return x.reshape(len(x), 1, *self.shape)
        return x.reshape(len(x), *self._full).movedim(1 + self.axis, 1)

    def flat(self, images: Tensor) -> Tensor:
        """The other way round: (n, channels, *places) as flat rows (n, elements)."""
        if self.axis is None:
            return images.reshape(len(images), -1)
        return images.movedim(1, 1 + self.axis).reshape(len(images), -1)


def check_axes(axes: Any, asker: str) -> None:
    """Refuses letters that no input could have."""
    if axes is None:
        return
    known = isinstance(axes, str) and set(axes) <= {"C", *_LETTERS}
    if not known or len(set(axes)) < len(axes) or not set(axes) - {"C"}:
        raise SettingError(
            expected=f"axes in letters for {asker}, each at most once",
            got=repr(axes),
            advice=(
                "C is the channels, T time, D depth, H height and W width: axes='CHW' for images "
                "with channels first, 'HWC' with channels last, 'CT' for series, 'CDHW' for "
                "volumes."
            ),
        )


def places_of(layout: Layout, axes: str | None, asker: str) -> Places:
    """The places of inputs that are one tensor of images, series or volumes."""
    if len(layout.shapes) != 1:
        raise _no_places(layout.describe(), asker)
    return places_in(layout.shapes[0], axes, asker)


def places_in(shape: tuple[int, ...], axes: str | None, asker: str) -> Places:
    """The places of a shape whose axes are named, or are what is usual."""
    if axes is None:
        if len(shape) not in _USUAL:
            raise _no_places(str(shape), asker)
        _check_channels_first(shape, asker)
        axes = _USUAL[len(shape)]
    if len(axes) != len(shape):
        raise InputError(
            expected=f"inputs of {len(axes)} axes for {asker} with axes={axes!r}",
            got=f"shape {shape}",
            advice="Name every axis of one input: C for channels, the others are places.",
        )
    # Without channels every axis counts places.
    if "C" not in axes:
        return Places(shape, 1, None)
    axis = axes.index("C")
    return Places(shape[:axis] + shape[axis + 1 :], shape[axis], axis)


def _check_channels_first(shape: tuple[int, ...], asker: str) -> None:
    """Refuses images that look as if their channels came last: places would be mixed up."""
    if len(shape) < 3:
        return
    first, *_, before_last, last = shape
    looks_last = last in _CHANNELS and first not in _CHANNELS
    # Maps as wide as high are small ones with channels first, as behind a layer.
    if not looks_last or before_last == last:
        return
    usual = _USUAL[len(shape)]
    turned = usual[1:] + "C"
    raise InputError(
        expected=f"images with channels first for {asker}",
        got=f"shape {shape}, whose last axis of {last} looks like channels",
        advice=(
            f"Say it in {asker}: axes={turned!r} for channels last, axes={usual!r} for channels "
            "first."
        ),
    )


def _no_places(described: str, asker: str) -> InputError:
    return InputError(
        expected=f"images of shape (channels, height, width) or (height, width) for {asker}",
        got=described,
        advice=(
            f"Say in {asker} what the axes are, axes='CT' for series, or use Elements(), "
            "Columns() or Labels(map) for inputs without places."
        ),
    )
