"""Marks: what a picture is made of, in the units of its data.

Every mark has a name of its own (`gid`), its role and its place, by which it is found on an axes of
matplotlib and in SVG. A colour is `#rrggbb`, or a role that a theme gives a colour to: `positive`,
`negative`, `muted`, `text`, `grid`, `series-0`, ...
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from assay.pictures.drawing.scales import Scale

Floats: TypeAlias = NDArray[np.float64]

Hatch: TypeAlias = Literal["", "unsure", "against", "open"]

Extent: TypeAlias = tuple[float, float, float, float]  # left, right, bottom, top

UNSURE = 0.35  # opacity of what cannot be told from zero

TILE_EDGE = 0.3  # of a tile, in points: those of few points are nearly as light as their ground


@final
@dataclass(frozen=True)
class Box:
    """A rectangle: a bar, a cell, the ground of a word.

    Settings:
        gid: its name.
        left, right: its ends across; a bar may go either way.
        low, high: its ends upwards.
        fill: its colour.
        hatch: "unsure" where its sign is not known, "open" for what is not known at all; "against"
            is hatched where ink has no colour.
        title: what it says when it is pointed at.
    """

    gid: str
    left: float
    right: float
    low: float
    high: float
    fill: str
    hatch: Hatch = ""
    title: str = ""


@final
@dataclass(frozen=True, eq=False)
class Line:
    """A line through points.

    Settings:
        gid: its name.
        x, y: its points; NaN breaks it.
        colour: of the line.
        width: in points.
        dashed: whether it is broken; "dots" are finer.
        behind: whether it lies behind all other marks.
        title: what it says when it is pointed at.
    """

    gid: str
    x: Floats
    y: Floats
    colour: str
    width: float = 1.2
    dashed: bool | Literal["dots"] = False
    behind: bool = False
    title: str = ""


@final
@dataclass(frozen=True, eq=False)
class Band:
    """What lies between two lines.

    Settings:
        gid: its name.
        x: its points.
        low, high: the two lines.
        colour: its colour, at a fifth of its strength.
    """

    gid: str
    x: Floats
    low: Floats
    high: Floats
    colour: str


@final
@dataclass(frozen=True, eq=False)
class Dots:
    """Dots at points.

    Settings:
        gid: their name together.
        x, y: where they are.
        colours: one for all, or one for each.
        size: their diameter in points, one for all or one for each.
        hollow: which are rings, all or none where it is one value.
        shape: "o" is round, "d" a diamond, "x" a cross.
        titles: what each says when it is pointed at.
    """

    gid: str
    x: Floats
    y: Floats
    colours: str | tuple[str, ...] = "text"
    size: float | Floats = 6.0
    hollow: bool | NDArray[np.bool_] = False
    shape: Literal["o", "d", "x"] = "o"
    titles: tuple[str, ...] = ()


@final
@dataclass(frozen=True)
class Words:
    """A few words.

    Settings:
        gid: their name.
        x, y: where they stand.
        text: the words: data, and never markup.
        colour: of the letters.
        anchor: which end stands at x.
        size: of the letters in points.
        turned: whether they are read from below.
        cell: their width and the height of a letter in units of the panel, where letters have to fill
            just that (of one width each); None for letters of `size`.
    """

    gid: str
    x: float
    y: float
    text: str
    colour: str = "text"
    anchor: Literal["start", "middle", "end"] = "middle"
    size: float = 9.0
    turned: bool = False
    cell: tuple[float, float] | None = None


@final
@dataclass(frozen=True, eq=False)
class Raster:
    """Numbers as colours, place by place and never smoothed.

    Settings:
        gid: its name.
        values: (height, width), the first row on top; NaN is not drawn.
        scale: which colour a number has.
        extent: the outer ends of its places.
    """

    gid: str
    values: Floats
    scale: Scale
    extent: Extent


@final
@dataclass(frozen=True, eq=False)
class Photo:
    """A picture as people see it.

    Settings:
        gid: its name.
        pixels: (height, width) or (height, width, 3), in [0, 1].
        extent: the outer ends of its places.
    """

    gid: str
    pixels: Floats
    extent: Extent


@final
@dataclass(frozen=True, eq=False)
class Tiles:
    """Places of one shape, such as the hexagons in which many points are counted.

    Settings:
        gid: their name together.
        x, y: their centres.
        corners: of each, (corners, 2), from its centre.
        colours: one for each.
        titles: what each says when it is pointed at.
    """

    gid: str
    x: Floats
    y: Floats
    corners: Floats
    colours: tuple[str, ...]
    titles: tuple[str, ...] = ()

    @property
    def outlines(self) -> Floats:
        """The corners where they lie, (tiles, corners, 2)."""
        centres: Floats = np.stack([self.x, self.y], axis=1)
        return centres[:, None] + self.corners


Mark: TypeAlias = Box | Line | Band | Dots | Words | Raster | Photo | Tiles


@final
@dataclass(frozen=True)
class Key:
    """An entry of a legend: what a colour means.

    Settings:
        text: in words.
        colour: a colour or a role.
        shape: of the sample: a "box", a "line", a "dot" or a "ring".
        size: of a dot or a ring, its diameter in points.
    """

    text: str
    colour: str
    shape: Literal["box", "line", "dashed", "dot", "ring"] = "box"
    size: float = 5.76

    @property
    def room(self) -> float:
        """The width of the sample, in hundredths of an inch."""
        return max(14.0, self.size * 100 / 72)


def extent_of(values: Floats) -> Extent:
    """The ends of a raster whose places have their centres at 0, 1, 2, ..., the first row on top."""
    height, width = values.shape[:2]
    return -0.5, width - 0.5, height - 0.5, -0.5
