"""A chart of rows: the kind of picture that ladders, bars, importances and rankings are.

Each row has a name on the left, a mark on a common axis, and a number on the right. A `RowChart` holds
them as plain numbers and puts them on a panel; how a panel is drawn is none of its business.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, final

import numpy as np

from assay.pictures.drawing.drawing import Drawing
from assay.pictures.drawing.marks import Box, Dots, Floats, Hatch, Line, Mark
from assay.pictures.drawing.panel import Panel
from assay.pictures.drawing.scales import Axis, axis_of
from assay.pictures.numbers import number

if TYPE_CHECKING:
    import pandas

Role: TypeAlias = Literal[
    "credit", "size", "rest", "others", "gap", "base", "prediction", "place", "reference"
]

ROW = 30.0  # height of a row, in hundredths of an inch
WIDTH = 380.0  # of the axis
_HALF = 0.3  # of a bar's height, as a share of its row
_SPLIT = 0.14  # as much of its lower part as shows what it consists of
_FACTOR = 1.3  # of room at the ends of a log axis
_ASIDE = ("toward", "against", "floor")  # columns of a table that most charts have nothing for


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
        toward: the part of its bar, from the start, that speaks for the target; NaN for no parts.
        against: the part behind it that speaks against the target.
        floor: what noise alone would reach, NaN where that is not known.
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
    toward: float = math.nan
    against: float = math.nan
    floor: float = math.nan

    @property
    def gid(self) -> str:
        """The name of its mark."""
        return f"{self.role}-{self.index}"

    @property
    def is_dot(self) -> bool:
        """Whether it is a dot, and no bar."""
        return self.role in ("place", "reference")

    @property
    def colour(self) -> str:
        """The role of its colour: by its sign where it is credit, else that of totals."""
        if self.role not in ("credit", "others"):
            if self.role == "place":
                return "text"
            return "muted"
        if self.value == 0:
            return "muted"
        if self.value > 0:
            return "positive"
        return "negative"


@final
@dataclass(frozen=True, repr=False)
class RowChart(Drawing):
    """A chart of rows, top to bottom.

    Settings:
        rows: what is drawn.
        axis: the label of the axis, with its unit.
        marked: positions of vertical lines, by name.
        caption: how it was got, in small letters; empty for none.
        alt: the picture in one sentence, for those who do not see it.
        connected: whether each row goes on where the one above it ends, as in a ladder.
        whole: whether the axis counts.
        log: whether equal steps of the axis are equal factors; of numbers above 0 alone.
    """

    rows: tuple[Row, ...]
    axis: str
    marked: tuple[tuple[str, float], ...]
    caption: str
    alt: str
    connected: bool = False
    whole: bool = False
    log: bool = False

    @property
    def data(self) -> pandas.DataFrame:
        import pandas

        frame = pandas.DataFrame([asdict(row) for row in self.rows])
        return frame.drop(columns=[name for name in _ASIDE if frame[name].isna().all()])

    @property
    def limits(self) -> tuple[float, float]:
        """The ends of the axis: all marks and whiskers, and a little room."""
        axis = self._across
        return axis.low, axis.high

    @property
    def _across(self) -> Axis:
        ends = [end for row in self.rows for end in (row.start, row.end, row.low, row.high)]
        # Marked lines are to be seen even where no bar reaches them.
        ends += [position for _, position in self.marked]
        ends += [row.floor for row in self.rows]
        if self.log:
            known = [end for end in ends if not math.isnan(end)]
            return Axis(min(known) / _FACTOR, max(known) * _FACTOR, self.axis, log=True)
        return axis_of(ends, self.axis, whole=self.whole)

    @property
    def panels(self) -> tuple[Panel, ...]:
        places = range(len(self.rows))
        names = tuple((float(place), self.rows[place].name) for place in places)
        texts = tuple((float(place), self.rows[place].text) for place in places)
        return (
            Panel(
                marks=tuple(self._marks()),
                x=self._across,
                # Row 0 is on top.
                y=Axis(len(self.rows) - 0.5, -0.5, marked=names),
                size=(WIDTH, ROW * len(self.rows)),
                frame="rows",
                right=texts,
            ),
        )

    def _marks(self) -> Iterator[Mark]:
        ends = np.array([-0.5, len(self.rows) - 0.5])
        for name, position in self.marked:
            yield Line(name, _both(position), ends, "grid", behind=True)
        for place, row in enumerate(self.rows):
            yield from self._row(place, row)

    def _row(self, place: int, row: Row) -> Iterator[Mark]:
        title = f"{row.name}: {row.text}"
        if row.is_dot or row.role in ("base", "prediction"):
            # Totals have diamonds: they are no credit of anybody's.
            shape: Literal["o", "d"] = "o" if row.is_dot else "d"
            dot = np.array([row.end]), np.array([float(place)])
            yield Dots(row.gid, *dot, row.colour, 7.0, shape=shape, titles=(title,))
        else:
            hatch: Hatch = ""
            if row.value < 0:
                hatch = "against"
            if row.unsure:
                hatch = "unsure"
            yield Box(
                gid=row.gid,
                left=row.start,
                right=row.end,
                low=place - _HALF,
                high=place + _HALF,
                fill=row.colour,
                hatch=hatch,
                title=title,
            )
            yield from self._inside(place, row)
        if not math.isnan(row.low):
            whisker = np.array([row.low, row.high])
            yield Line(f"error-{row.gid}", whisker, _both(place), "text")
        if row.joined:
            low, high = self.limits
            # In the room between the names and the first mark.
            edge = _both(low + 0.006 * (high - low))
            yield Line(f"order-{row.gid}", edge, np.array([place - 0.2, place + 1.2]), "muted", 2.5)
        if self.connected and place + 1 < len(self.rows):
            # From where this bar ends to the row below, which starts there.
            steps = np.array([place + _HALF, place + 1 - _HALF])
            yield Line(f"step-{row.gid}", _both(row.end), steps, "muted", 0.8)

    def _inside(self, place: int, row: Row) -> Iterator[Mark]:
        """What a bar consists of, along its lower edge, and what noise alone would reach."""
        if not math.isnan(row.toward + row.against):
            middle = row.start + row.toward
            below = place + _HALF - _SPLIT, place + _HALF
            parts = f"{row.name}: {number(row.toward)} for, {number(row.against)} against"
            for role, left, right in (
                ("toward", row.start, middle),
                ("against", middle, middle + row.against),
            ):
                fill = "positive" if role == "toward" else "negative"
                hatch: Hatch = "against" if role == "against" else ""
                yield Box(f"{role}-{row.gid}", left, right, *below, fill, hatch, parts)
        if not math.isnan(row.floor):
            tick = np.array([place - _HALF - 0.08, place + _HALF + 0.08])
            told = f"noise alone: {number(row.floor)}"
            yield Line(f"floor-{row.gid}", _both(row.floor), tick, "text", 1.0, "dots", title=told)


def _both(value: float) -> Floats:
    return np.array([value, value], dtype=np.float64)


def joined_rows(sizes: Sequence[float], errors: Sequence[float], z: float) -> list[bool]:
    """Which neighbours in a ranking by size could have come the other way round.

    | |v_i| - |v_{i+1}| | <= z sqrt(s_i^2 + s_{i+1}^2), of independent errors
    """
    pairs = zip(sizes, sizes[1:], errors, errors[1:])
    # Without any error there is no doubt, even of equal sizes.
    within = [abs(a - b) <= z * math.hypot(s, t) and s + t > 0 for a, b, s, t in pairs]
    # The last row has no neighbour below it.
    return [*within, False][: len(sizes)]
