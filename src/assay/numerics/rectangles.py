"""Rectangles of feature maps: where a patch lies, which outputs of a sliding window it affects, and
how a patch and the map around it are put together.

The arithmetic is that of receptive fields (Dumoulin and Visin 2016, "A guide to convolution
arithmetic for deep learning"), read backwards: not what an output sees, but which outputs see a
patch. `docs/incremental.md` derives it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

_MOST = 0.6  # the share of a map from which recomputing all of it costs less

_INDEX_LIMIT = 1 << 31  # places below which an index fits four bytes


@final
@dataclass(frozen=True)
class Side:
    """A sliding window along one axis.

    Settings:
        kernel: taps of the window.
        stride: places between two windows.
        padding: places added at both ends.
        dilation: places between two taps.
        more: places added at the far end alone.
    """

    kernel: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    more: int = 0

    @property
    def reach(self) -> int:
        """Places between the first and the last that it sees."""
        return self.dilation * (self.kernel - 1)

    def length(self, size: int) -> int:
        """How many windows there are over `size` places."""
        return (self.padded(size) - self.reach - 1) // self.stride + 1

    def padded(self, size: int) -> int:
        """How many places there are with those at the ends."""
        return size + 2 * self.padding + self.more

    def rounded_up(self, size: int) -> Side:
        """The same, with as many places at the far end as the last window needs that begins inside
        (`ceil_mode`).
        """
        count = -(-(size + 2 * self.padding - self.reach - 1) // self.stride) + 1
        # Torch drops a last window that would begin in the padding.
        count -= (count - 1) * self.stride >= size + self.padding
        more = (count - 1) * self.stride + self.reach + 1 - size - 2 * self.padding
        return replace(self, more=max(more, 0))

    def affected(self, start: Tensor, extent: int, size: int) -> tuple[Tensor, int]:
        """The first window that sees each stretch start..start + extent - 1, and how many do.

        The number is that of the stretch that the most windows see, so that all rows share it;
        where that is too many for a row, its windows begin earlier and stay inside.
        """
        windows = self.length(size)
        count = min((extent - 1 + self.reach) // self.stride + 1, windows)
        # The smallest o with o * stride - padding + reach >= start, by a ceiling division.
        first = -((self.reach - start - self.padding) // self.stride)
        return first.clamp(0, windows - count), count

    def needed(self, first: Tensor, count: int) -> tuple[Tensor, int]:
        """Where in the padded map these windows begin to look, and how far they do."""
        return first * self.stride, (count - 1) * self.stride + self.reach + 1


@final
@dataclass(frozen=True, eq=False)
class PasteIndex:
    """Places (r, height, width) to take from patches, or from the maps of the rows' owners where
    there is no patch.

    `at` counts the patches' places first, and then those of the maps.
    """

    at: Tensor
    shape: tuple[int, int, int]

    def take(self, values: Tensor, maps: Tensor) -> Tensor:
        """The map of every row, (r, c, height, width), from patches (r, c, ...) and owners' maps
        (k, c, h, w).
        """
        channels = maps.shape[1]
        table = torch.cat(
            [part.permute(0, 2, 3, 1).reshape(-1, channels) for part in (values, maps)]
        )
        return table.index_select(0, self.at).view(*self.shape, channels).permute(0, 3, 1, 2)


@final
@dataclass(frozen=True, eq=False)
class Rectangles:
    """Rectangles of a common size, one for each row: tops (r,), lefts (r,), and whose maps they are
    on (r,).
    """

    top: Tensor
    left: Tensor
    height: int
    width: int
    owner: Tensor

    def of(self, rows: slice | Tensor, owner: Tensor) -> Rectangles:
        """Some of the rectangles, on the maps of these owners."""
        return Rectangles(self.top[rows], self.left[rows], self.height, self.width, owner)

    def with_bounds(self, top: Tensor, left: Tensor, height: int, width: int) -> Rectangles:
        """Other rectangles of the same rows."""
        return Rectangles(top, left, height, width, self.owner)

    def moved(self, down: int, across: int) -> Rectangles:
        """The same rectangles further down and across."""
        top, left = self.top + down, self.left + across
        return self.with_bounds(top, left, self.height, self.width)

    def holds(self, other: Rectangles) -> bool:
        """Whether each of its rectangles holds that of the other."""
        above = other.top < self.top
        below = other.top + other.height > self.top + self.height
        before = other.left < self.left
        behind = other.left + other.width > self.left + self.width
        return not any(bool(outside.any()) for outside in (above, below, before, behind))

    def affected_outputs(
        self, sides: tuple[Side, Side], shape: tuple[int, int]
    ) -> tuple[PasteIndex, Rectangles] | None:
        """What a window has to see of a map (h, w) to know all outputs that these rectangles
        affect, and where those outputs lie.

        None where they are most of the map.
        """
        down, across = sides
        top, height = down.affected(self.top, self.height, shape[0])
        left, width = across.affected(self.left, self.width, shape[1])
        if height * width > _MOST * down.length(shape[0]) * across.length(shape[1]):
            return None
        affected = self.with_bounds(top, left, height, width)
        # What those windows see, counted in the padded map, where the patch itself has moved.
        seen_top, seen_height = down.needed(top, height)
        seen_left, seen_width = across.needed(left, width)
        seen = self.with_bounds(seen_top, seen_left, seen_height, seen_width)
        in_padded = self.moved(down.padding, across.padding)
        padded_shape = (down.padded(shape[0]), across.padded(shape[1]))
        return in_padded.paste_index(seen, padded_shape), affected

    def paste_index(self, other: Rectangles, shape: tuple[int, int]) -> PasteIndex:
        """How a patch here and a map (h, w) around it make the map over other rectangles.

        Row r of the table that the index reads is place (y, x) of a patch, counted patch by patch;
        behind all patches come the places of the maps, counted owner by owner.
        """
        device, count = self.top.device, len(self.top)
        y = other.top[:, None] + torch.arange(other.height, device=device)
        x = other.left[:, None] + torch.arange(other.width, device=device)
        # The same places, counted from the patch's own corner.
        patch_y, patch_x = y - self.top[:, None], x - self.left[:, None]
        inside_y = (patch_y >= 0) & (patch_y < self.height)
        inside_x = (patch_x >= 0) & (patch_x < self.width)
        inside = inside_y[:, :, None] & inside_x[:, None, :]
        row = torch.arange(count, device=device)[:, None]
        patch_lines = (row * self.height + patch_y) * self.width
        in_patch = patch_lines[:, :, None] + patch_x[:, None, :]
        map_lines = ((self.owner * shape[0])[:, None] + y) * shape[1]
        in_map = count * self.height * self.width + map_lines[:, :, None] + x[:, None, :]
        at = torch.where(inside, in_patch, in_map).flatten()
        # Half the bytes where they suffice: reading the index is much of the work.
        if int(at.max()) < _INDEX_LIMIT:
            at = at.to(torch.int32)
        return PasteIndex(at, (count, other.height, other.width))

    def paste_index_of_whole(self, shape: tuple[int, int]) -> PasteIndex:
        """The same over the whole map."""
        corner = torch.zeros_like(self.top)
        return self.paste_index(self.with_bounds(corner, corner, *shape), shape)

    def crop_index(self, shape: tuple[int, int]) -> Tensor:
        """Where the rectangle of each row lies in images (r, c, h, w), counted without channels."""
        device = self.top.device
        y = self.top[:, None] + torch.arange(self.height, device=device)
        x = self.left[:, None] + torch.arange(self.width, device=device)
        row = torch.arange(len(self.top), device=device)[:, None]
        lines = (row * shape[0] + y) * shape[1]
        return (lines[:, :, None] + x[:, None, :]).flatten()

    def crop(self, rows: Tensor, index: Tensor | None = None) -> Tensor:
        """The rectangle of each row of images (r, c, h, w); `index` is its `crop_index`, if known."""
        if index is None:
            index = self.crop_index((rows.shape[2], rows.shape[3]))
        table = rows.permute(0, 2, 3, 1).reshape(-1, rows.shape[1])
        cropped = table.index_select(0, index)
        return cropped.view(len(rows), self.height, self.width, -1).permute(0, 3, 1, 2)


def boxes(down: Tensor, across: Tensor) -> Rectangles:
    """The smallest rectangles of a common size, inside of the map, that hold the places whose rows
    (m, height) and columns (m, width) are named.
    """
    top, height = _stretch(down)
    left, width = _stretch(across)
    return Rectangles(top, left, height, width, torch.zeros_like(top))


def _stretch(named: Tensor) -> tuple[Tensor, int]:
    """The first place of each row (m, length), moved inside, and the longest way to its last."""
    length = named.shape[1]
    flags = named.to(torch.uint8)
    first = flags.argmax(dim=1)
    last = length - flags.flip(1).argmax(dim=1)
    size = int(torch.where(named.any(dim=1), last - first, 1).max())
    return first.clamp_max(length - size), size
