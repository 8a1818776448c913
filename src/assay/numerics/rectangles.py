"""Rectangles of maps: where a patch lies, what sees it, and how a patch and the map around it are
put together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, final

import torch
from torch import Tensor

_MOST = 0.6  # the share of a map from which recomputing all of it costs less


@final
@dataclass(frozen=True)
class Side:
    """A sliding window along one axis, with `padding` places at both ends and `more` at the far
    one.
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
        """How many places it makes of `size`."""
        return (self.padded(size) - self.reach - 1) // self.stride + 1

    def padded(self, size: int) -> int:
        """How many places there are with those at the ends."""
        return size + 2 * self.padding + self.more

    def rounded_up(self, size: int) -> Side:
        """The same, with as many places at the far end as the last window needs that begins inside
        (`ceil_mode`).
        """
        count = -(-(size + 2 * self.padding - self.reach - 1) // self.stride) + 1
        count -= (count - 1) * self.stride >= size + self.padding
        more = (count - 1) * self.stride + self.reach + 1 - size - 2 * self.padding
        return replace(self, more=max(more, 0))


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

    It remembers what follows from it.
    """

    top: Tensor
    left: Tensor
    height: int
    width: int
    owner: Tensor
    known: dict[Any, Any] = field(default_factory=dict)

    def along(self, axis: int) -> tuple[Tensor, int]:
        """Where it begins on one axis, and how long it is there."""
        return ((self.top, self.height), (self.left, self.width))[axis]

    def of(self, rows: slice | Tensor, owner: Tensor) -> Rectangles:
        """Some of the rectangles, on the maps of these owners."""
        return Rectangles(self.top[rows], self.left[rows], self.height, self.width, owner)

    def at(self, top: Tensor, left: Tensor, height: int, width: int) -> Rectangles:
        """Other rectangles of the same rows."""
        return Rectangles(top, left, height, width, self.owner)

    def moved(self, down: int, across: int) -> Rectangles:
        """The same rectangles further down and across."""
        found: Rectangles = self._once(
            ("moved", down, across),
            lambda: self.at(self.top + down, self.left + across, self.height, self.width),
        )
        return found

    def holds(self, other: Rectangles) -> bool:
        """Whether its rectangles hold those of another."""

        def look() -> bool:
            sides = [(*self.along(axis), *other.along(axis)) for axis in (0, 1)]
            return not any(
                bool(((start < first) | (start + size > first + most)).any())
                for first, most, start, size in sides
            )

        return bool(self._once((other, "held"), look))

    def seen(
        self, sides: tuple[Side, Side], shape: tuple[int, int]
    ) -> tuple[PasteIndex, Rectangles] | None:
        """What a window has to see of a map (h, w) to know all places that see these rectangles,
        and those places.

        None where they are most of the map.
        """

        def look() -> tuple[PasteIndex, Rectangles] | None:
            made, need = [], []
            for axis, (side, size) in enumerate(zip(sides, shape)):
                start, own = self.along(axis)
                length = side.length(size)
                count = min((own - 1 + side.reach) // side.stride + 1, length)
                first = (-((side.reach - start - side.padding) // side.stride)).clamp(
                    0, length - count
                )
                made.append((first, count))
                need.append((first * side.stride, (count - 1) * side.stride + side.reach + 1))
            if made[0][1] * made[1][1] > _MOST * sides[0].length(shape[0]) * sides[1].length(
                shape[1]
            ):
                return None
            moved = self.moved(sides[0].padding, sides[1].padding)
            padded = sides[0].padded(shape[0]), sides[1].padded(shape[1])
            (top, height), (left, width) = need
            seen = self.at(made[0][0], made[1][0], made[0][1], made[1][1])
            return moved.gather(self.at(top, left, height, width), padded), seen

        found: tuple[PasteIndex, Rectangles] | None = self._once((sides, shape), look)
        return found

    def over(self, other: Rectangles, shape: tuple[int, int]) -> PasteIndex:
        """How a patch here and a map (h, w) around it make the map over another place."""
        found: PasteIndex = self._once((other, shape), lambda: self.gather(other, shape))
        return found

    def over_all(self, shape: tuple[int, int]) -> PasteIndex:
        """The same over the whole map."""
        corner = torch.zeros_like(self.top)
        found: PasteIndex = self._once(
            shape, lambda: self.gather(self.at(corner, corner, *shape), shape)
        )
        return found

    def gather(self, other: Rectangles, shape: tuple[int, int]) -> PasteIndex:
        """`over`, worked out."""
        device, count = self.top.device, len(self.top)
        y = other.top[:, None] + torch.arange(other.height, device=device)
        x = other.left[:, None] + torch.arange(other.width, device=device)
        down, across = y - self.top[:, None], x - self.left[:, None]
        inside = ((down >= 0) & (down < self.height))[:, :, None] & (
            (across >= 0) & (across < self.width)
        )[:, None, :]
        number = torch.arange(count, device=device)[:, None]
        own = ((number * self.height + down) * self.width)[:, :, None] + across[:, None, :]
        down_map = (self.owner * shape[0])[:, None] + y
        beside = (
            count * self.height * self.width + (down_map * shape[1])[:, :, None] + x[:, None, :]
        )
        at = torch.where(inside, own, beside).flatten()
        return PasteIndex(
            at.to(torch.int32) if int(at.max()) < 1 << 31 else at,
            (count, other.height, other.width),
        )

    def crop(self, rows: Tensor) -> Tensor:
        """The rectangle of each row of images (r, c, h, w)."""

        def look() -> Tensor:
            y = self.top[:, None] + torch.arange(self.height, device=rows.device)
            x = self.left[:, None] + torch.arange(self.width, device=rows.device)
            number = torch.arange(len(rows), device=rows.device)[:, None]
            return (
                ((number * rows.shape[2] + y) * rows.shape[3])[:, :, None] + x[:, None, :]
            ).flatten()

        table = rows.permute(0, 2, 3, 1).reshape(-1, rows.shape[1])
        found = table.index_select(0, self._once((tuple(rows.shape), "crop"), look))
        return found.view(len(rows), self.height, self.width, -1).permute(0, 3, 1, 2)

    def _once(self, what: Any, look: Callable[[], Any]) -> Any:
        if what not in self.known:
            self.known[what] = look()
        return self.known[what]


def boxes(down: Tensor, across: Tensor) -> Rectangles:
    """The smallest rectangles of a common size, inside of the map, that hold the places whose rows
    (m, height) and columns (m, width) are named.
    """
    ends = []
    for some in (down, across):
        length, seen = some.shape[1], some.to(torch.uint8)
        first, last = seen.argmax(dim=1), length - seen.flip(1).argmax(dim=1)
        size = int(torch.where(some.any(dim=1), last - first, 1).max())
        ends.append((first.clamp_max(length - size), size))
    (top, height), (left, width) = ends
    return Rectangles(top, left, height, width, torch.zeros_like(top))
