"""Marks on an axes of matplotlib: no pyplot, no settings of the process.

A letter that the font lacks is drawn as a square, and said below: matplotlib would warn and draw a box.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, final

import numpy as np
from matplotlib.collections import PathCollection, PolyCollection
from matplotlib.colors import Colormap, ListedColormap, Normalize, to_rgba
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.lines import Line2D
from matplotlib.markers import MarkerStyle
from matplotlib.patches import Patch, PathPatch, Polygon, Rectangle
from matplotlib.path import Path
from matplotlib.textpath import text_to_path
from matplotlib.ticker import NullLocator
from matplotlib.transforms import (
    Affine2D,
    IdentityTransform,
    ScaledTranslation,
    blended_transform_factory,
)

from assay.pictures.drawing.labels import lines
from assay.pictures.drawing.marks import (
    TILE_EDGE,
    UNSURE,
    Band,
    Box,
    Dots,
    Floats,
    Key,
    Line,
    Mark,
    Photo,
    Raster,
    Tiles,
    Words,
)
from assay.pictures.drawing.panel import Panel
from assay.pictures.drawing.scales import LEVELS, Scale, hexes
from assay.pictures.drawing.themes import Theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

_SIZE = 9.0  # of letters, in points
_BESIDE = 0.06  # of the way to numbers on the right, in inches
_PAD = 6.0  # around a panel and its words, in hundredths of an inch
_NOTE = 16.0  # a line of the caption
_SQUARE = "□"  # stands for a letter that a font lacks
_LACKING = f"{_SQUARE}: a letter that this font lacks"
_HATCHES = {"unsure": "////", "open": "....", "against": "....", "": None}
_MONO = "DejaVu Sans Mono"  # ships with matplotlib
_FONT = 100.0  # size at which outlines of letters are taken


def grid(
    rows: Sequence[Sequence[Panel]],
    widths: Sequence[float],
    heights: Sequence[float],
    notes: Sequence[str],
    figure: Figure | SubFigure,
    theme: Theme,
) -> Axes:
    """Draws panels on a figure, and returns the first of their axes."""
    figure.set_facecolor(theme.ground)
    places = figure.add_gridspec(
        len(rows), len(widths), width_ratios=list(widths), height_ratios=list(heights)
    )
    drawn = []
    for down, row in enumerate(rows):
        for across, panel in enumerate(row):
            ax = figure.add_subplot(places[down, across])
            paint(panel, ax, theme)
            drawn.append(ax)
    _noted(notes, figure, theme, 0.01)
    return drawn[0]


def sheet(
    rows: Sequence[Sequence[Panel]], notes: Sequence[str], figure: Figure, theme: Theme
) -> None:
    """Draws panels on a figure of their own, each as large as it says, and makes the figure as large as
    they and their words are: every word is measured once, and no panel has to shrink for it.
    """
    unit = 100 / figure.dpi
    across, down = figure.get_size_inches() * 100
    figure.set_facecolor(theme.ground)
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    drawn: list[list[Axes]] = []
    around: list[list[Floats]] = []
    for row in rows:
        places = [(0.0, 0.0, panel.size[0] / across, panel.size[1] / down) for panel in row]
        axes = [figure.add_axes(place) for place in places]
        for panel, ax in zip(row, axes):
            paint(panel, ax, theme)
        drawn.append(axes)
        around.append([unit * _room(ax, renderer) + _PAD for ax in axes])
    lefts, wide = _columns(rows, around)
    above, high = _rows(rows, around)
    across, down = sum(wide), sum(high) + _NOTE * len(notes) + _PAD
    figure.set_size_inches(across / 100, down / 100)
    top = down
    for axes, row, over, tall in zip(drawn, rows, above, high):
        left = 0.0
        for ax, panel, edge, broad in zip(axes, row, lefts, wide):
            low = top - over - panel.size[1]
            place = (left + edge, low, *panel.size)
            ax.set_position(tuple(np.array(place) / [across, down, across, down]))
            left += broad
        top -= tall
    _noted(notes, figure, theme, _PAD / 2 / down)


def _room(ax: Axes, renderer: Any) -> Floats:
    """How far words reach beyond a panel: to the left, to the right, above and below it."""
    inner, outer = ax.get_window_extent(), ax.get_tightbbox(renderer, for_layout_only=True)
    if outer is None:
        return np.zeros(4)
    ends = (inner.x0 - outer.x0, outer.x1 - inner.x1, outer.y1 - inner.y1, inner.y0 - outer.y0)
    room: Floats = np.maximum(0.0, np.array(ends))
    return room


def _columns(
    rows: Sequence[Sequence[Panel]], around: Sequence[Sequence[Floats]]
) -> tuple[list[float], list[float]]:
    """Of each column the room at its left, and its width with all room."""
    columns = [
        [(row[k], own[k]) for row, own in zip(rows, around) if k < len(row)]
        for k in range(max(map(len, rows)))
    ]
    lefts = [float(max(own[0] for _, own in column)) for column in columns]
    widths = [max(panel.size[0] + float(own[1]) for panel, own in column) for column in columns]
    return lefts, [left + width for left, width in zip(lefts, widths)]


def _rows(
    rows: Sequence[Sequence[Panel]], around: Sequence[Sequence[Floats]]
) -> tuple[list[float], list[float]]:
    """Of each row the room above it, and its height with all room."""
    above = [float(max(own[2] for own in row)) for row in around]
    heights = [
        max(panel.size[1] + float(own[3]) for panel, own in zip(row, own_rooms))
        for row, own_rooms in zip(rows, around)
    ]
    return above, [over + height for over, height in zip(above, heights)]


def _noted(notes: Sequence[str], figure: Figure | SubFigure, theme: Theme, y: float) -> None:
    """The caption, below everything."""
    if notes:
        text = "\n".join(map(_known, notes))
        label = figure.supxlabel(text, color=theme.text, fontsize=_SIZE, y=y)
        label.set_parse_math(False)


def paint(panel: Panel, ax: Axes, theme: Theme, notes: Sequence[str] = ()) -> None:
    """Draws a panel on an axes, with some lines below."""
    painter = _Painter(panel, ax, theme)
    painter.axes(notes)
    for place, mark in enumerate(panel.marks):
        painter.mark(place, mark)
    painter.surroundings()


@final
class _Painter:
    """Puts one panel on an axes."""

    def __init__(self, panel: Panel, ax: Axes, theme: Theme) -> None:
        self.panel = panel
        self.ax = ax
        self.theme = theme
        # Names are data, and no formulas: a dollar sign stays one.
        self.plain: dict[str, Any] = {
            "parse_math": False,
            "color": theme.text,
            "fontsize": _SIZE,
        }

    # --- axes

    def axes(self, notes: Sequence[str]) -> None:
        ax, panel = self.ax, self.panel
        ax.set_facecolor(self.theme.ground)
        if panel.x.log:
            ax.set_xscale("log")
        if panel.y.log:
            ax.set_yscale("log")
        ax.set_xlim(panel.x.low, panel.x.high)
        ax.set_ylim(panel.y.low, panel.y.high)
        if panel.equal:
            ax.set_aspect("equal")
        self._ticks()
        self._frame()
        label = [*panel.x_label, *notes]
        if any(_lacks(text) for text in self._texts()):
            label.append(_LACKING)
        ax.set_xlabel("\n".join(map(_known, label)), **self.plain)
        ax.set_ylabel(_known("\n".join(panel.y_label)), **self.plain)
        # The title stands above the legend.
        ax.set_title(
            _known(panel.title), pad=6.0 + 0.78 * panel.key_height * panel.key_rows, **self.plain
        )

    def _texts(self) -> list[str]:
        panel = self.panel
        texts = [panel.title, panel.x.label, panel.y.label]
        texts += [
            text for ticks in (panel.x.ticks, panel.y.ticks, panel.right) for _, text in ticks
        ]
        return texts + [mark.text for mark in panel.marks if isinstance(mark, Words)]

    def _ticks(self) -> None:
        ax, panel = self.ax, self.panel
        bare = panel.frame == "none"
        for axis, ticks, setter in (
            (panel.x, ax.xaxis, ax.set_xticks),
            (panel.y, ax.yaxis, ax.set_yticks),
        ):
            marked = () if bare else axis.ticks
            setter([at for at, _ in marked], [_lines(text) for _, text in marked], **self.plain)
            ticks.set_minor_locator(NullLocator())
        if panel.upwards:
            ax.tick_params(axis="x", rotation=90)
        ax.tick_params(axis="both", color=self.theme.muted)
        if panel.frame == "rows":
            ax.tick_params(axis="y", length=0)
        if panel.right:
            self._right()

    def _right(self) -> None:
        # Words beside the axes, for which the layout makes room.
        across = blended_transform_factory(self.ax.transAxes, self.ax.transData)
        figure: Any = self.ax.get_figure(root=True)
        beside = across + ScaledTranslation(_BESIDE, 0.0, figure.dpi_scale_trans)
        for at, text in self.panel.right:
            self.ax.text(
                1.0, at, _known(text), ha="left", va="center", transform=beside, **self.plain
            )

    def _frame(self) -> None:
        hidden = {"axes": ("top", "right"), "rows": ("top", "right", "left")}
        everywhere = ("top", "right", "left", "bottom")
        for side in everywhere:
            spine = self.ax.spines[side]
            spine.set_visible(side not in hidden.get(self.panel.frame, everywhere))
            spine.set_color(self.theme.muted)

    # --- what stands around

    def surroundings(self) -> None:
        if self.panel.bar is not None:
            self._bar(self.panel.bar)
        if self.panel.keys:
            self._legend()

    def _bar(self, scale: Scale) -> None:
        # Behind the numbers on the right, of which a tenth more is room enough.
        start = 1.02 + 1.1 * self.panel.beside / self.panel.size[0]
        cax = self.ax.inset_axes((start, 0.0, 14.0 / self.panel.size[0], 1.0))
        # An image and ticks: a colour bar of matplotlib takes longer than a thousand dots.
        column = np.linspace(scale.low, scale.high, LEVELS)[:, None]
        cax.imshow(
            column,
            cmap=_colour_map(scale.colours),
            norm=_norm(scale),
            extent=(0.0, 1.0, scale.low, scale.high),
            origin="lower",
            aspect="auto",
            interpolation="nearest",
        )
        for spine in cax.spines.values():
            spine.set_color(self.theme.muted)
        cax.set_gid("scale")
        cax.set_xticks([])
        cax.yaxis.tick_right()
        cax.yaxis.set_label_position("right")
        cax.set_yticks(
            [at for at, _ in scale.ticks], [_known(text) for _, text in scale.ticks], **self.plain
        )
        cax.yaxis.set_minor_locator(NullLocator())
        cax.tick_params(color=self.theme.muted)
        cax.set_ylabel(_known("\n".join(self.panel.bar_label)), **self.plain)
        if scale.beyond:
            self._arrows(cax, scale)

    def _arrows(self, cax: Axes, scale: Scale) -> None:
        """Points at both ends of the colours: numbers lie beyond them."""
        for end, value in ((1.0, scale.high), (0.0, scale.low)):
            tip = end + (2 * end - 1) * 9.0 / self.panel.size[1]
            corners = np.array([(0.0, end), (1.0, end), (0.5, tip)])
            arrow = Polygon(corners, facecolor=scale.colour(value), edgecolor=self.theme.muted)
            arrow.set(transform=cax.transAxes, clip_on=False)
            cax.add_patch(arrow)

    def _legend(self) -> None:
        keys = self.panel.keys
        handles = [_handle(key, self.theme) for key in keys]
        # Large samples have room of their own, in letters.
        largest = max(key.size for key in keys) / _SIZE
        legend = self.ax.legend(
            handles,
            # Texts follow below: a label that begins with "_" would be left out.
            [" "] * len(keys),
            loc="lower left",
            bbox_to_anchor=(0.0, 1.0),
            borderaxespad=0.0,
            ncols=max(map(len, self.panel.keys_by_row)),
            frameon=False,
            fontsize=_SIZE,
            labelcolor=self.theme.text,
            handlelength=max(1.4, largest),
            handleheight=max(0.7, largest),
            columnspacing=1.2,
        )
        for text, key in zip(legend.get_texts(), keys):
            text.set_parse_math(False)
            text.set_text(_known(key.text))

    # --- marks

    def mark(self, place: int, mark: Mark) -> None:
        draw: dict[type, Callable[[Any], Any]] = {
            Box: self._box,
            Line: self._line,
            Band: self._band,
            Dots: self._dots,
            Words: self._words,
            Raster: self._raster,
            Photo: self._photo,
            Tiles: self._tiles,
        }
        artist = draw[type(mark)](mark)
        if artist.axes is None:
            # As any artist: a patch or line of an axes is measured for limits, which are set here.
            self.ax.add_artist(artist)
        artist.set_gid(mark.gid)
        # Marks lie within their axes: only words need to be measured for the layout.
        artist.set_in_layout(False)
        behind = isinstance(mark, Line) and mark.behind
        # In the order of the marks, above the grid and below the words of the axes.
        artist.set_zorder(0.5 if behind else 1 + place / (len(self.panel.marks) + 1))

    def _box(self, box: Box) -> Any:
        colour = self.theme.colour(box.fill)
        hatch = box.hatch
        if hatch == "against" and not self.theme.hatched:
            hatch = ""
        return Rectangle(
            (box.left, box.low),
            box.right - box.left,
            box.high - box.low,
            facecolor=colour,
            edgecolor=self.theme.text if hatch else colour,
            alpha=UNSURE if hatch in ("unsure", "open") else 1.0,
            hatch=_HATCHES[hatch],
            linewidth=0.0,
        )

    def _line(self, line: Line) -> Any:
        styles: dict[Any, Any] = {False: "-", True: "--", "dots": ":"}
        return Line2D(
            line.x,
            line.y,
            color=self.theme.colour(line.colour),
            linewidth=line.width,
            linestyle=styles[line.dashed],
            solid_capstyle="butt",
        )

    def _band(self, band: Band) -> Any:
        colour = self.theme.colour(band.colour)
        return self.ax.fill_between(
            band.x, band.low, band.high, facecolor=colour, alpha=0.2, linewidth=0
        )

    def _dots(self, dots: Dots) -> Any:
        drawn = Scatter(dots, self.theme)
        drawn.set_offset_transform(self.ax.transData)
        return self.ax.add_collection(drawn, autolim=False)

    def _tiles(self, tiles: Tiles) -> Any:
        colours = [self.theme.colour(colour) for colour in tiles.colours]
        # An edge, or tiles of few points would not be seen on their ground.
        drawn = PolyCollection(
            list(tiles.outlines),
            facecolors=colours,
            edgecolors=self.theme.muted,
            linewidths=TILE_EDGE,
        )
        return self.ax.add_collection(drawn, autolim=False)

    def _words(self, words: Words) -> Any:
        if words.cell is not None:
            return self._fitted(words, *words.cell)
        sides = {"start": "left", "middle": "center", "end": "right"}
        return self.ax.text(
            words.x,
            words.y,
            _known(words.text),
            ha=sides[words.anchor],
            va="center",
            rotation=90 if words.turned else 0,
            **self.plain | {"color": self.theme.colour(words.colour), "fontsize": words.size},
        )

    def _fitted(self, words: Words, breadth: float, height: float) -> Any:
        font = FontProperties(family=_MONO, size=_FONT)
        found = _letters(_MONO)
        text = "".join(letter if ord(letter) in found else _SQUARE for letter in words.text)
        points, codes = text_to_path.get_text_path(font, text, ismath=False)
        wide = text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]
        start = {"start": 0.0, "middle": 0.5, "end": 1.0}[words.anchor]
        # Upwards is where the axis goes, which may be where numbers get smaller.
        up = math.copysign(height / _FONT, self.panel.y.high - self.panel.y.low)
        shape = np.asarray(points, dtype=np.float64).reshape(-1, 2) * [
            breadth / max(wide, 1e-9),
            up,
        ]
        # The middle of small letters lies a quarter of their height above their foot.
        shape += [words.x - start * breadth, words.y - 0.27 * _FONT * up]
        return PathPatch(
            Path(shape, codes if len(shape) else None),
            facecolor=self.theme.colour(words.colour),
            linewidth=0,
            label=f" {words.text}",
        )

    def _raster(self, raster: Raster) -> Any:
        image = self.ax.imshow(
            raster.values,
            cmap=_colour_map(raster.scale.colours),
            norm=_norm(raster.scale),
            extent=raster.extent,
            interpolation="nearest",
            aspect="equal" if self.panel.equal else "auto",
        )
        # A picture brings limits of its own.
        self.ax.set_xlim(self.panel.x.low, self.panel.x.high)
        self.ax.set_ylim(self.panel.y.low, self.panel.y.high)
        return image

    def _photo(self, photo: Photo) -> Any:
        image = self.ax.imshow(
            photo.pixels,
            cmap="gray",
            vmin=0,
            vmax=1,
            extent=photo.extent,
            interpolation="nearest",
            aspect="equal" if self.panel.equal else "auto",
        )
        self.ax.set_xlim(self.panel.x.low, self.panel.x.high)
        self.ax.set_ylim(self.panel.y.low, self.panel.y.high)
        return image


@final
class Scatter(PathCollection):
    """Dots as one artist, of which all of one look are put on paper at once.

    A collection draws each outline by itself; a thousand dots in a hundred colours are a hundred stamps.
    """

    def __init__(self, dots: Dots, theme: Theme) -> None:
        count = len(dots.x)
        sizes = np.broadcast_to(np.asarray(dots.size, dtype=np.float64), (count,))
        hollow = np.broadcast_to(dots.hollow, (count,))
        given = (dots.colours,) * count if isinstance(dots.colours, str) else dots.colours
        # Few colours are read, and many looked up.
        known = {colour: to_rgba(theme.colour(colour)) for colour in {*given}}
        edges = np.array([known[colour] for colour in given]).reshape(count, 4)
        faces = np.where(hollow[:, None], to_rgba(theme.ground), edges)
        cross = dots.shape == "x"
        marker = MarkerStyle(dots.shape)
        self._stamp = marker.get_path().transformed(marker.get_transform())
        super().__init__(
            (self._stamp,),
            sizes=np.square(sizes),
            offsets=np.stack([dots.x, dots.y], axis=1),
            facecolors="none" if cross else faces,
            edgecolors=edges,
            linewidths=1.5 if cross else 0.8,
        )
        self.set_transform(IdentityTransform())
        looks: dict[tuple[str, float, bool], list[int]] = defaultdict(list)
        for place, look in enumerate(zip(given, sizes.tolist(), hollow.tolist())):
            looks[look].append(place)
        self._groups = [np.array(own) for own in looks.values()]
        self._edges, self._faces = edges, None if cross else faces
        self._diameters = sizes
        self._stroke = 1.5 if cross else 0.8

    def draw(self, renderer: Any) -> None:
        if not self.get_visible():
            return
        figure: Any = self.get_figure(root=True)
        ahead: Any = self.get_offset_transform()
        offsets = np.ma.filled(np.ma.asarray(self.get_offsets(), dtype=np.float64), np.nan)
        # A log axis is no affine map, which stamps cannot have.
        places = np.asarray(ahead.transform_path_non_affine(Path(offsets)).vertices)
        where = ahead.get_affine().frozen()
        renderer.open_group("PathCollection", self.get_gid())
        context = renderer.new_gc()
        if self.get_clip_on():
            context.set_clip_rectangle(self.get_clip_box())
            context.set_clip_path(self.get_clip_path())
        context.set_linewidth(renderer.points_to_pixels(self._stroke))
        for own in self._groups:
            first = own[0]
            context.set_foreground(tuple(self._edges[first]), isRGBA=True)
            face = None if self._faces is None else tuple(self._faces[first])
            stamp = Affine2D().scale(self._diameters[first] * figure.dpi / 72)
            renderer.draw_markers(context, self._stamp, stamp, Path(places[own]), where, face)
        context.restore()
        renderer.close_group("PathCollection")
        self.stale = False


def _handle(key: Key, theme: Theme) -> Any:
    colour = theme.colour(key.colour)
    if key.shape == "box":
        return Patch(facecolor=colour, edgecolor=theme.muted, linewidth=0.5)
    if key.shape in ("line", "dashed"):
        return Line2D([], [], color=colour, linestyle="-" if key.shape == "line" else "--")
    return Line2D(
        [],
        [],
        linestyle="",
        marker="o",
        markersize=key.size,
        markerfacecolor=theme.ground if key.shape == "ring" else colour,
        markeredgecolor=colour,
    )


def _norm(scale: Scale) -> Normalize:
    return Normalize(scale.low, scale.high)


def _colour_map(name: str) -> Colormap:
    """The colours of a scale; what has no value is not to be seen."""
    return ListedColormap(_levels(name)).with_extremes(bad=(0, 0, 0, 0))


@cache
def _levels(name: str) -> Floats:
    return np.array([to_rgba(colour) for colour in hexes(name)])


def _lines(text: str) -> str:
    return _known("\n".join(lines(text)))


def _known(text: str) -> str:
    """A text with a square for each letter that the font lacks."""
    if not _lacks(text):
        return text
    found = _letters(None)
    return "".join(letter if letter == "\n" or ord(letter) in found else _SQUARE for letter in text)


def _lacks(text: str) -> bool:
    # Nearly all names are of letters that every font has.
    if text.isascii() and (text.isprintable() or text.replace("\n", "").isprintable()):
        return False
    found = _letters(None)
    return any(letter != "\n" and ord(letter) not in found for letter in text)


def _letters(family: str | None) -> frozenset[int]:
    """The letters of the font that texts have: the one that the user has set, if any."""
    font = FontProperties(family=family) if family else FontProperties()
    return _letters_in(findfont(font))


@cache
def _letters_in(file: str) -> frozenset[int]:
    return frozenset(get_font(file).get_charmap())
