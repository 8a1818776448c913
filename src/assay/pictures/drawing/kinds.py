"""Panels of one kind: a raster with its colours, a matrix with names, lines with their bands."""

from __future__ import annotations

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
    Words,
    extent_of,
)
from assay.pictures.drawing.panel import Panel
from assay.pictures.drawing.scales import Axis, Scale
from assay.pictures.drawing.themes import ink_on

CELL = 26.0  # side of a cell of a matrix, in hundredths of an inch
_SIDE = 520.0  # of a matrix with many cells
_WRITTEN = 12  # cells a side up to which numbers stand in them


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
    unsure: NDArray[np.bool_] | None = None,
    title: str = "",
    over: Sequence[Mark] = (),
) -> Panel:
    """Cells with names on two sides; numbers stand in them where there are few, a dot says not sure."""
    marks: list[Mark] = [Raster(gid, values, scale, extent_of(values)), *over]
    height, width = values.shape
    if written and max(height, width) <= _WRITTEN:
        marks += _numbers(gid, values, scale, written)
    if unsure is not None and unsure.any():
        down, across = np.nonzero(unsure)
        inks = tuple(ink_on(colour) for colour in scale.colours_of(values[unsure]))
        # Beside a number the dot stands in a corner.
        corner = 0.36 if written and max(height, width) <= _WRITTEN else 0.0
        x, y = across + corner, down - corner
        marks.append(Dots(f"unsure-{gid}", x.astype(float), y.astype(float), inks, 3.0))
    left, right, bottom, top = extent_of(values)
    cell = CELL * (1.8 if written and max(height, width) <= _WRITTEN else 1.0)
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
    gid: str, values: Floats, scale: Scale, written: Sequence[Sequence[str]]
) -> list[Mark]:
    marks: list[Mark] = []
    for down, texts in enumerate(written):
        for across, text in enumerate(texts):
            if not text:
                continue
            ink = ink_on(scale.colour(float(values[down, across])))
            name = f"number-{gid}-{down}-{across}"
            marks.append(Words(name, float(across), float(down), text, ink, size=7.0))
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


def border(mask: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """The border of a region as one broken line along the edges of its places."""
    padded = np.pad(mask, 1)
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
