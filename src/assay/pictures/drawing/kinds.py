"""Panels of one kind: a raster with its colours, a matrix with names, lines with their bands, and what
lies on them: borders of regions, hexagons in which points are counted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from assay.pictures.drawing.marks import (
    Band,
    Dots,
    Floats,
    Key,
    Line,
    Mark,
    Photo,
    Raster,
    Tiles,
    Words,
    extent_of,
)
from assay.pictures.drawing.panel import Panel
from assay.pictures.drawing.scales import Axis, Scale
from assay.pictures.drawing.themes import ink_on

CELL = 26.0  # side of a cell of a matrix, in hundredths of an inch
_SIDE = 520.0  # of a matrix with many cells
_WRITTEN = 12  # cells a side up to which numbers stand in them
_BREADTH = 9.0  # of a hexagon, in hundredths of an inch


def raster_panel(
    gid: str,
    values: Floats,
    scale: Scale,
    *,
    title: str = "",
    side: float = 260.0,
    over: Sequence[Mark] = (),
    bar: bool = True,
) -> Panel:
    """A map, place by place, with the numbers of its colours beside it."""
    marks = (Raster(gid, values, scale, extent_of(values)), *over)
    return _bare(marks, values, title, side, scale if bar else None)


def photo_panel(
    gid: str,
    pixels: Floats,
    *,
    title: str = "",
    side: float = 260.0,
    over: Sequence[Mark] = (),
) -> Panel:
    """A picture as people see it."""
    return _bare((Photo(gid, pixels, extent_of(pixels)), *over), pixels, title, side, None)


def _bare(
    marks: tuple[Mark, ...], values: Floats, title: str, side: float, bar: Scale | None
) -> Panel:
    height, width = values.shape[:2]
    left, right, bottom, top = extent_of(values)
    longest = max(height, width)
    return Panel(
        marks=marks,
        x=Axis(left, right),
        y=Axis(bottom, top),
        size=(side * width / longest, side * height / longest),
        title=title,
        frame="none",
        bar=bar,
        equal=True,
    )


def matrix_panel(
    gid: str,
    values: Floats,
    scale: Scale,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    written: Sequence[Sequence[str]] = (),
    below: Sequence[Sequence[str]] = (),
    unsure: NDArray[np.bool_] | None = None,
    title: str = "",
    over: Sequence[Mark] = (),
) -> Panel:
    """Cells with names on two sides; numbers stand in them where there are few, with further ones below
    in small letters; a dot says not sure.
    """
    marks: list[Mark] = [Raster(gid, values, scale, extent_of(values)), *over]
    height, width = values.shape
    numbered = bool(written) and max(height, width) <= _WRITTEN
    if numbered:
        marks += _numbers(f"number-{gid}", values, scale, written, -0.12 if below else 0.0, 7.0)
        marks += _numbers(f"below-{gid}", values, scale, below, 0.22, 5.0)
    if unsure is not None and unsure.any():
        down, across = np.nonzero(unsure)
        inks = tuple(ink_on(colour) for colour in scale.colours_of(values[unsure]))
        # Beside a number the dot stands in a corner.
        corner = 0.36 if numbered else 0.0
        x, y = across + corner, down - corner
        marks.append(Dots(f"unsure-{gid}", x.astype(float), y.astype(float), inks, 3.0))
    left, right, bottom, top = extent_of(values)
    cell = CELL
    if numbered:
        # Room for a number, or for the two of an interval.
        cell *= 2.1 if below else 1.8
    cell = min(cell, _SIDE / max(height, width))
    return Panel(
        marks=tuple(marks),
        x=Axis(left, right, marked=tuple((float(k), name) for k, name in enumerate(columns))),
        y=Axis(bottom, top, marked=tuple((float(k), name) for k, name in enumerate(rows))),
        size=(cell * width, cell * height),
        title=title,
        frame="rows",
        bar=scale,
        turned=True,
    )


def _numbers(
    role: str,
    values: Floats,
    scale: Scale,
    written: Sequence[Sequence[str]],
    lower: float,
    size: float,
) -> list[Mark]:
    marks: list[Mark] = []
    for down, texts in enumerate(written):
        for across, text in enumerate(texts):
            if not text:
                continue
            ink = ink_on(scale.colour(float(values[down, across])))
            name = f"{role}-{down}-{across}"
            marks.append(Words(name, float(across), down + lower, text, ink, size=size))
    return marks


@final
@dataclass(frozen=True, eq=False)
class Curve:
    """A line with what is known of it.

    Settings:
        name: in the legend.
        x, y: its points.
        low, high: the ends of its band; None for none.
        colour: of both.
        dashed: whether it is a reference.
    """

    name: str
    x: Floats
    y: Floats
    low: Floats | None = None
    high: Floats | None = None
    colour: str = "series-0"
    dashed: bool = False


def curve_marks(curves: Sequence[Curve]) -> tuple[Mark, ...]:
    """Bands, and the lines above them."""
    bands: list[Mark] = []
    drawn: list[Mark] = []
    for k, curve in enumerate(curves):
        if curve.low is not None and curve.high is not None:
            bands.append(Band(f"band-{k}", curve.x, curve.low, curve.high, curve.colour))
        drawn.append(
            Line(f"line-{k}", curve.x, curve.y, curve.colour, 1.8, curve.dashed, title=curve.name)
        )
    return (*bands, *drawn)


def curve_keys(curves: Sequence[Curve]) -> tuple[Key, ...]:
    """The legend of some lines."""
    return tuple(
        Key(curve.name, curve.colour, "dashed" if curve.dashed else "line") for curve in curves
    )


def border(regions: NDArray[np.bool_] | NDArray[np.int64]) -> tuple[Floats, Floats]:
    """The border of a region as one broken line along the edges of its places, or the borders between
    all regions by their numbers.
    """
    # A region ends where the picture ends; between regions there is nothing.
    padded = np.pad(regions, 1, mode="constant" if regions.dtype == bool else "edge")
    upright = padded[1:-1, :-1] != padded[1:-1, 1:]
    level = padded[:-1, 1:-1] != padded[1:, 1:-1]
    down, across = np.nonzero(upright)
    # Two ends and a break for every edge.
    gap = np.full(len(down), np.nan)
    x = [np.stack([across - 0.5, across - 0.5, gap], axis=1).ravel()]
    y = [np.stack([down - 0.5, down + 0.5, gap], axis=1).ravel()]
    down, across = np.nonzero(level)
    gap = np.full(len(down), np.nan)
    x.append(np.stack([across - 0.5, across + 0.5, gap], axis=1).ravel())
    y.append(np.stack([down - 0.5, down - 0.5, gap], axis=1).ravel())
    return np.concatenate(x), np.concatenate(y)


def hexagons(
    gid: str, x: Floats, y: Floats, axes: tuple[Axis, Axis], size: tuple[float, float], what: str
) -> tuple[Tiles, Scale]:
    """How many points lie where: counts in hexagons, regular on a panel of this size (Carr et al. 1987).

    Their centres are the nearer of two rectangular grids, one half a step away from the other.
    """
    across, up = axes
    wide, high = size[0] / _BREADTH, size[1] / (_BREADTH * math.sqrt(3))
    u, v = across.share(x) * wide, up.share(y) * high
    first = np.stack([np.round(u), np.round(v)], axis=1)
    second = np.stack([np.floor(u) + 0.5, np.floor(v) + 0.5], axis=1)
    # A step upwards is sqrt(3) times as long as one across.
    far = [(u - each[:, 0]) ** 2 + 3 * (v - each[:, 1]) ** 2 for each in (first, second)]
    nearest = np.where((far[0] <= far[1])[:, None], first, second)
    centres, counts = np.unique(nearest, axis=0, return_counts=True)
    unit = (across.high - across.low) / wide, (up.high - up.low) / high
    # A corner above and below, two on either side.
    sides = np.array([[0, 2], [3, 1], [3, -1], [0, -2], [-3, -1], [-3, 1]]) / 6
    # Seen on a white ground and on a dark one.
    scale = Scale(0.0, float(counts.max(initial=1)), f"{what} in a place", "cividis")
    tiles = Tiles(
        gid,
        across.low + centres[:, 0] * unit[0],
        up.low + centres[:, 1] * unit[1],
        sides * unit,
        scale.colours_of(counts.astype(np.float64)),
        tuple(f"{count} {what}" for count in counts.tolist()),
    )
    return tiles, scale
