"""A chart of rows, computed once and drawn anywhere: as matplotlib, as SVG, as a table, in words.

Ladders, bars, importances and rankings are all rows with a name on the left, a mark on a common
axis, and a number on the right. A `RowChart` holds these marks as plain numbers; `draw` and `svg`
put the same numbers on paper. Every mark carries a name of its own (`gid` in matplotlib, `id` in
SVG): its role and its place.
"""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, final

from assay.errors import SettingError
from assay.pictures.labels import lines
from assay.pictures.themes import Theme, ThemeName, theme_of

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Role: TypeAlias = Literal[
    "credit", "size", "others", "gap", "base", "prediction", "place", "reference"
]

ROW = 0.42  # inches a row
FRAME = 1.3  # inches above and below the rows
UNSURE = 0.35  # opacity of a bar that cannot be told from zero
_HATCH = "////"
_CAPTION = 72  # letters of a line of it
_SUFFIXES = (".png", ".svg", ".pdf", ".html", ".csv")

# Of an SVG, in its own units: a row, and the columns of names, of the axis and of numbers.
_HEIGHT, _NAMES, _AXIS, _NUMBERS = 30, 210, 380, 150


@final
@dataclass(frozen=True)
class Row:
    """One row of a chart.

    Settings:
        role: what it is; with `index` the name of its marks.
        index: its number among the rows of this role.
        name: the whole name.
        value: the number that the row is about.
        text: that number as it is written.
        start: where the bar starts.
        end: where it ends; where it starts too, a dot is drawn.
        low: the lower end of its whisker, NaN for none.
        high: the upper end.
        unsure: whether the interval of the value holds zero.
        joined: whether the order of this row and the next is within their errors.
    """

    role: Role
    index: int
    name: str
    value: float
    text: str
    start: float
    end: float
    low: float = math.nan
    high: float = math.nan
    unsure: bool = False
    joined: bool = False

    @property
    def gid(self) -> str:
        """The name of its mark."""
        return f"{self.role}-{self.index}"

    @property
    def is_dot(self) -> bool:
        """Whether it is a dot, and no bar."""
        return self.role in ("place", "reference")


@final
@dataclass(frozen=True)
class RowChart:
    """A chart of rows, top to bottom.

    Settings:
        rows: what is drawn.
        axis: the label of the axis, with its unit.
        marked: positions of vertical lines, by name.
        caption: how it was got, in small letters; empty for none.
        alt: the picture in one sentence, for those who do not see it.
        connected: whether each row goes on where the one above it ends, as in a ladder.
    """

    rows: tuple[Row, ...]
    axis: str
    marked: tuple[tuple[str, float], ...]
    caption: str
    alt: str
    connected: bool = False

    @property
    def data(self) -> pandas.DataFrame:
        """One row per mark: all that is drawn, in numbers."""
        import pandas

        return pandas.DataFrame([asdict(row) for row in self.rows])

    @property
    def notes(self) -> list[str]:
        """What stands below the axis, line by line."""
        return [self.axis, *textwrap.wrap(self.caption, _CAPTION)]

    @property
    def limits(self) -> tuple[float, float]:
        """The ends of the axis: all marks and whiskers, and a little room."""
        ends = [end for row in self.rows for end in (row.start, row.end, row.low, row.high)]
        # Marked lines are to be seen even where no bar reaches them.
        ends += [position for _, position in self.marked]
        finite = [end for end in ends if math.isfinite(end)]
        low, high = min(finite), max(finite)
        # A chart of one value has no extent: half of the value is room then, or 1 around zero.
        room = 0.04 * (high - low) or 0.5 * abs(high) or 1.0
        return low - room, high + room

    def figure(self, width: float = 7.2, theme: ThemeName = "light") -> Figure:
        """A figure of its own, as high as its rows, `width` inches wide."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        height = FRAME + ROW * len(self.rows)
        figure = Figure(figsize=(width, height), layout="constrained")
        # A canvas that can measure words: without one the layout makes no room for them.
        FigureCanvasAgg(figure)
        figure.set_facecolor(theme_of(theme).ground)
        self.draw(figure.add_subplot(), theme=theme)
        return figure

    def draw(self, ax: Axes | None = None, *, theme: ThemeName = "light") -> Axes:
        """Draws on an axes, or on one of a figure of its own, and returns it.

        With `ax` nothing outside of it is touched: no size, no layout, no title, no settings.
        """
        if ax is None:
            axes: Axes = self.figure(theme=theme).axes[0]
            return axes
        _Painter(self, ax, theme_of(theme)).paint()
        return ax

    def svg(self, theme: ThemeName = "light") -> str:
        """The same marks as an SVG that needs nothing else: for pages and notebooks."""
        return _Svg(self, theme_of(theme)).text()

    def save(
        self, path: str | PathLike[str], *, theme: ThemeName = "light", width: float = 7.2
    ) -> None:
        """Writes a picture (.png, .svg, .pdf), a page with its table (.html), or the data (.csv)."""
        file = Path(path)
        if file.suffix not in _SUFFIXES:
            raise SettingError(
                expected=f"a file that ends in one of {', '.join(_SUFFIXES)}",
                got=str(path),
                advice="The ending says what is written.",
            )
        if file.suffix == ".csv":
            self.data.to_csv(file, index=False)
        elif file.suffix == ".svg":
            file.write_text(self.svg(theme), encoding="utf-8")
        elif file.suffix == ".html":
            file.write_text(self._repr_html_(), encoding="utf-8")
        else:
            # A PDF has a subject and a PNG a description: either holds the picture in words.
            described = {"Title": "assay", "Subject": self.alt}
            if file.suffix == ".png":
                described = {"Description": self.alt}
            self.figure(width, theme).savefig(file, dpi=200, metadata=described)

    def _repr_html_(self) -> str:
        table = self.data[["name", "text"]].to_html(index=False, header=False, border=0)
        return f"<figure>{self.svg()}<details><summary>Table</summary>{table}</details></figure>"

    def __repr__(self) -> str:
        return self.alt


def sign_colour(row: Row, theme: Theme) -> str:
    """The colour of a row's mark: by its sign where it is credit, else that of totals."""
    if row.role not in ("credit", "others"):
        return theme.text if row.role == "place" else theme.muted
    if row.value == 0:
        return theme.muted
    return theme.positive if row.value > 0 else theme.negative


# --- matplotlib


@final
class _Painter:
    """Puts the marks of a chart on an axes; no pyplot, no settings of the process."""

    def __init__(self, chart: RowChart, ax: Axes, theme: Theme) -> None:
        self.chart = chart
        self.ax = ax
        self.theme = theme

    def paint(self) -> None:
        ax = self.ax
        ax.set_facecolor(self.theme.ground)
        ax.set_xlim(*self.chart.limits)
        # Row 0 is on top.
        ax.set_ylim(len(self.chart.rows) - 0.5, -0.5)
        for name, position in self.chart.marked:
            line = ax.axvline(position, color=self.theme.grid, linewidth=1, zorder=0)
            line.set_gid(name)
        for place, row in enumerate(self.chart.rows):
            self._mark(place, row)
            self._whisker(place, row)
            if self.chart.connected and place + 1 < len(self.chart.rows):
                ends = [place + 0.3, place + 0.7]
                ax.plot([row.end, row.end], ends, color=self.theme.muted, linewidth=0.8, zorder=1)
        self._words()

    def _mark(self, place: int, row: Row) -> None:
        colour = sign_colour(row, self.theme)
        if row.is_dot:
            [dot] = self.ax.plot([row.value], [place], "o", color=colour, markersize=6)
            dot.set_gid(row.gid)
            return
        width = row.end - row.start
        if row.role in ("base", "prediction"):
            [tick] = self.ax.plot([row.end], [place], "d", color=colour, markersize=7)
            tick.set_gid(row.gid)
            return
        against = self.theme.hatched and row.value < 0
        [bar] = self.ax.barh(
            [place],
            [width],
            left=[row.start],
            height=0.6,
            color=colour,
            alpha=UNSURE if row.unsure else 1.0,
            hatch=_HATCH if row.unsure else ("...." if against else None),
            edgecolor=self.theme.text if row.unsure or against else colour,
            linewidth=0.0,
        )
        bar.set_gid(row.gid)

    def _whisker(self, place: int, row: Row) -> None:
        if math.isnan(row.low):
            return
        [line] = self.ax.plot(
            [row.low, row.high], [place, place], color=self.theme.text, linewidth=1.2, zorder=3
        )
        line.set_gid(f"error-{row.gid}")

    def _words(self) -> None:
        ax = self.ax
        rows = self.chart.rows
        # A dollar sign in a name stays one: names are data, and no formulas.
        plain: dict[str, Any] = {"parse_math": False, "color": self.theme.text}
        ax.set_yticks(range(len(rows)), ["\n".join(lines(row.name)) for row in rows], **plain)
        # As ticks of an axis of their own, for which the layout makes room.
        numbers = ax.secondary_yaxis("right")
        numbers.set_yticks(range(len(rows)), [row.text for row in rows], **plain)
        numbers.tick_params(length=0)
        numbers.spines["right"].set_visible(False)
        ax.tick_params(axis="y", length=0)
        ax.tick_params(axis="x", colors=self.theme.muted, labelcolor=self.theme.text)
        ax.set_xlabel("\n".join(self.chart.notes), parse_math=False, color=self.theme.text)
        for side in ("top", "right", "left"):
            ax.spines[side].set_visible(False)
        ax.spines["bottom"].set_color(self.theme.muted)
        self._brackets()

    def _brackets(self) -> None:
        # In the room between the names and the axis, which moves with neither.
        across = self.ax.get_yaxis_transform()
        for place, row in enumerate(self.chart.rows):
            if row.joined:
                [line] = self.ax.plot(
                    [0.006, 0.006],
                    [place - 0.2, place + 1.2],
                    transform=across,
                    color=self.theme.muted,
                    linewidth=2.5,
                    solid_capstyle="butt",
                )
                line.set_gid(f"order-{row.gid}")


# --- SVG


@final
class _Svg:
    """Writes the marks of a chart as SVG."""

    def __init__(self, chart: RowChart, theme: Theme) -> None:
        self.chart = chart
        self.theme = theme
        self.low, self.high = chart.limits
        self.below = _HEIGHT * len(chart.rows)

    def at(self, value: float) -> str:
        """Where a value lies across the picture."""
        share = (value - self.low) / (self.high - self.low)
        return f"{_NAMES + _AXIS * share:.2f}"

    def text(self) -> str:
        notes = self.chart.notes
        width = _NAMES + _AXIS + _NUMBERS
        height = self.below + 30 + 16 * len(notes)
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
            f'width="{width}" aria-label="{_escaped(self.chart.alt)}" '
            f'font-family="sans-serif" font-size="12" style="background:{self.theme.ground};'
            f'max-width:100%;height:auto">',
            f"<desc>{_escaped(self.chart.alt)}</desc>",
        ]
        parts += [self._line(name, at) for name, at in self.chart.marked]
        for place, row in enumerate(self.chart.rows):
            parts += self._row(place, row)
        parts += self._ticks()
        for number, note in enumerate(notes):
            down = self.below + 42 + 16 * number
            parts.append(self._words(_NAMES + _AXIS / 2, down, note, "middle"))
        return "".join([*parts, "</svg>"])

    def _line(self, name: str, position: float) -> str:
        x = self.at(position)
        return (
            f'<line id="{_escaped(name)}" x1="{x}" x2="{x}" y1="0" y2="{self.below}" '
            f'stroke="{self.theme.grid}"/>'
        )

    def _row(self, place: int, row: Row) -> list[str]:
        middle = _HEIGHT * (place + 0.5)
        parts = [f"<g><title>{_escaped(f'{row.name}: {row.text}')}</title>"]
        written = lines(row.name)
        for number, line in enumerate(written):
            # Letters of 12 units are centred where their line lies 4 units below the middle.
            down = middle + 4 + 12 * (number - (len(written) - 1) / 2)
            parts.append(self._words(_NAMES - 10, down, line, "end"))
        parts.append(self._mark(row, middle))
        if not math.isnan(row.low):
            parts.append(
                f'<line id="error-{row.gid}" x1="{self.at(row.low)}" x2="{self.at(row.high)}" '
                f'y1="{middle}" y2="{middle}" stroke="{self.theme.text}" stroke-width="1.5"/>'
            )
        if row.joined:
            parts.append(
                f'<line id="order-{row.gid}" x1="{_NAMES - 4}" x2="{_NAMES - 4}" '
                f'y1="{middle - 6}" y2="{middle + _HEIGHT + 6}" stroke="{self.theme.muted}" '
                'stroke-width="3"/>'
            )
        if self.chart.connected and place + 1 < len(self.chart.rows):
            # From where this bar ends to the row below, which starts there.
            x = self.at(row.end)
            parts.append(
                f'<line x1="{x}" x2="{x}" y1="{middle + 9}" y2="{middle + _HEIGHT - 9}" '
                f'stroke="{self.theme.muted}"/>'
            )
        parts.append(self._words(_NAMES + _AXIS + 10, middle + 4, row.text, "start"))
        return [*parts, "</g>"]

    def _mark(self, row: Row, middle: float) -> str:
        colour = sign_colour(row, self.theme)
        if row.is_dot or row.role in ("base", "prediction"):
            return f'<circle id="{row.gid}" cx="{self.at(row.end)}" cy="{middle}" r="5" fill="{colour}"/>'
        # SVG knows no negative width: bars to the left start at their end.
        left = min(row.start, row.end)
        width = float(self.at(max(row.start, row.end))) - float(self.at(left))
        opacity = f' fill-opacity="{UNSURE}" stroke="{colour}" stroke-dasharray="3 2"'
        return (
            f'<rect id="{row.gid}" x="{self.at(left)}" y="{middle - 9}" width="{width:.2f}" '
            f'height="18" fill="{colour}"{opacity if row.unsure else ""}/>'
        )

    def _ticks(self) -> list[str]:
        from matplotlib.ticker import MaxNLocator

        # Round numbers, as Matplotlib chooses them; it also gives some beyond the ends.
        inside = [
            float(tick)
            for tick in MaxNLocator(5).tick_values(self.low, self.high)
            if self.low <= tick <= self.high
        ]
        parts = [
            f'<line x1="{_NAMES}" x2="{_NAMES + _AXIS}" y1="{self.below}" y2="{self.below}" '
            f'stroke="{self.theme.muted}"/>'
        ]
        for tick in inside:
            parts.append(
                self._words(
                    float(self.at(tick)), self.below + 18, f"{tick:g}".replace("-", "−"), "middle"
                )
            )
        return parts

    def _words(self, x: float, y: float, text: str, anchor: str) -> str:
        return (
            f'<text x="{x:.2f}" y="{y:.2f}" text-anchor="{anchor}" fill="{self.theme.text}">'
            f"{_escaped(text)}</text>"
        )


def _escaped(text: str) -> str:
    """Text for XML: markup is shown and never read, and letters that XML forbids are left out."""
    allowed = (letter for letter in text if letter in "\t\n" or _allowed(ord(letter)))
    return html.escape("".join(allowed))


def _allowed(code: int) -> bool:
    """Whether XML 1.0 allows a letter."""
    return 0x20 <= code <= 0xD7FF or 0xE000 <= code <= 0xFFFD or code >= 0x10000


def joined_rows(sizes: Sequence[float], errors: Sequence[float], z: float) -> list[bool]:
    """Which neighbours in a ranking by size could have come the other way round.

    | |v_i| - |v_{i+1}| | <= z sqrt(s_i^2 + s_{i+1}^2), of independent errors
    """
    pairs = zip(sizes, sizes[1:], errors, errors[1:])
    # Without any error there is no doubt, even of equal sizes.
    within = [abs(a - b) <= z * math.hypot(s, t) and s + t > 0 for a, b, s, t in pairs]
    # The last row has no neighbour below it.
    return [*within, False][: len(sizes)]
