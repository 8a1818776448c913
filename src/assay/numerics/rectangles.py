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

    Settings:
        at: for each place of the result, its place in the table of patches and maps.
        shape: rows, height and width of the result.
        patch: height and width of a patch.
        map: height and width of a map.
    """

    at: Tensor
    shape: tuple[int, int, int]
    patch: tuple[int, int]
    map: tuple[int, int]

    def take(self, values: Tensor, maps: Tensor) -> Tensor:
        """The map of every row, (r, c, height, width), from patches (r, c, ...) and owners' maps
        (k, c, h, w).
        """
        # Another size would be read at the places of this one: other numbers, and no exception.
        if tuple(values.shape[2:]) != self.patch or tuple(maps.shape[2:]) != self.map:
            raise ValueError(
                f"patches {tuple(values.shape)} over maps {tuple(maps.shape)} are not "
                f"{self.patch} over {self.map}"
            )
        # One row of the table for each place, with all its channels: one gather for all of them.
        table = torch.cat([_by_place(values), _by_place(maps)])
        taken = table.index_select(0, self.at)
        return taken.view(*self.shape, -1).permute(0, 3, 1, 2)


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
        top = self.top + down
        left = self.left + across
        return self.with_bounds(top, left, self.height, self.width)

    def holds(self, other: Rectangles) -> bool:
        """Whether each of its rectangles holds that of the other."""
        down = other.top - self.top
        across = other.left - self.left
        # Neither before the first place, nor behind the last.
        fits_down = (down >= 0) & (down <= self.height - other.height)
        fits_across = (across >= 0) & (across <= self.width - other.width)
        return bool((fits_down & fits_across).all())

    def lies_within(self, shape: tuple[int, int]) -> bool:
        """Whether all rectangles lie on a map (h, w)."""
        fits_down = (self.top >= 0) & (self.top <= shape[0] - self.height)
        fits_across = (self.left >= 0) & (self.left <= shape[1] - self.width)
        return bool((fits_down & fits_across).all())

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
        outputs = down.length(shape[0]) * across.length(shape[1])
        if height * width > _MOST * outputs:
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
        count = len(self.top)
        if not other.lies_within(shape):
            raise ValueError(f"rectangles reach beyond a map of {shape}")
        y, x = other.places()
        # The same places, counted from the patch's own corner.
        patch_y = y - self.top[:, None]
        patch_x = x - self.left[:, None]
        inside_y = (patch_y >= 0) & (patch_y < self.height)
        inside_x = (patch_x >= 0) & (patch_x < self.width)
        # Where each place would stand among the patches: line by line, patch by patch.
        row = torch.arange(count, device=y.device)
        patch_lines = (row[:, None] * self.height + patch_y) * self.width
        in_patch = _crossed(patch_lines, patch_x)
        # And among the owners' maps, which come behind all patches.
        map_lines = (self.owner[:, None] * shape[0] + y) * shape[1]
        behind_patches = count * self.height * self.width
        in_map = behind_patches + _crossed(map_lines, x)
        inside = inside_y[:, :, None] & inside_x[:, None, :]
        at = torch.where(inside, in_patch, in_map).flatten()
        # Half the bytes where they suffice: reading the index is much of the work.
        if int(at.max()) < _INDEX_LIMIT:
            at = at.to(torch.int32)
        to = (count, other.height, other.width)
        return PasteIndex(at, to, (self.height, self.width), shape)

    def places(self) -> tuple[Tensor, Tensor]:
        """The rows (r, height) and columns (r, width) of the map that each rectangle covers."""
        device = self.top.device
        down = torch.arange(self.height, device=device)
        across = torch.arange(self.width, device=device)
        return self.top[:, None] + down, self.left[:, None] + across

    def paste_index_of_whole(self, shape: tuple[int, int]) -> PasteIndex:
        """The same over the whole map."""
        corner = torch.zeros_like(self.top)
        return self.paste_index(self.with_bounds(corner, corner, *shape), shape)

    def crop_index(self, shape: tuple[int, int]) -> Tensor:
        """Where the rectangle of each row lies in images (r, c, h, w), counted without channels."""
        y, x = self.places()
        row = torch.arange(len(y), device=y.device)
        lines = (row[:, None] * shape[0] + y) * shape[1]
        return _crossed(lines, x).flatten()

    def crop(self, rows: Tensor, index: Tensor | None = None) -> Tensor:
        """The rectangle of each row of images (r, c, h, w); `index` is its `crop_index`, if known."""
        if index is None:
            index = self.crop_index((rows.shape[2], rows.shape[3]))
        cropped = _by_place(rows).index_select(0, index)
        images = cropped.view(len(rows), self.height, self.width, -1)
        return images.permute(0, 3, 1, 2)


def _by_place(maps: Tensor) -> Tensor:
    """Maps (r, c, h, w) as places (r * h * w, c); no copy where they lie in channels-last order."""
    return maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])


def _crossed(lines: Tensor, columns: Tensor) -> Tensor:
    """Where lines (r, height) begin, plus columns (r, width): every place (r, height, width)."""
    return lines[:, :, None] + columns[:, None, :]


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
