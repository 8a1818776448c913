"""Where values lie along an axis, and which colour they have.

Both renderers take their ticks from here, so that an axis reads the same on any paper. A scale of
credit is symmetric around zero and has numbers in the unit; nothing is clipped unless it is said.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from assay.pictures.drawing.marks import Floats
from assay.pictures.numbers import LARGEST, SMALLEST, Form, number

Ticks: TypeAlias = tuple[tuple[float, str], ...]

LEVELS = 255  # of a scale; odd, so that zero has a level of its own
MISSING = "#8c8c8c"  # what has no value
_TICKS = 5  # at most about so many along an axis


@final
@dataclass(frozen=True)
class Axis:
    """One direction of a panel.

    Settings:
        low, high: its ends; `low` is left or below, and may be the larger number.
        label: what is measured, with its unit.
        marked: its ticks; None for round numbers, () for none.
        log: whether equal steps are equal factors.
        whole: whether ticks are whole numbers only.
    """

    low: float
    high: float
    label: str = ""
    marked: Ticks | None = None
    log: bool = False
    whole: bool = False

    def share(self, value: float | Floats) -> Floats:
        """How far a value is along the axis, from 0 to 1."""
        values = np.asarray(value, dtype=np.float64)
        if self.log:
            start, end = math.log(self.low), math.log(self.high)
            return np.asarray((np.log(values) - start) / (end - start))
        return np.asarray((values - self.low) / (self.high - self.low))

    @property
    def ticks(self) -> Ticks:
        """Positions with their texts."""
        if self.marked is not None:
            return self.marked
        low, high = sorted((self.low, self.high))
        if self.log:
            return _decades(low, high)
        found = _round_numbers(low, high, self.whole)
        return tuple(zip(found, _alike(found)))


def written(tick: float) -> str:
    """A round number as an axis has it.

    >>> written(-0.25), written(2e7), written(0.0)
    ('−0.25', '2e+07', '0')
    """
    return f"{tick:.6g}".replace("-", "−")


def axis_of(
    values: Iterable[float], label: str = "", *, room: float = 0.04, whole: bool = False
) -> Axis:
    """An axis that holds all finite values, and a little room on both sides.

    >>> axis_of([1.0, 3.0], room=0.5).low
    0.0
    """
    finite = [float(value) for value in values if math.isfinite(value)] or [0.0]
    low, high = min(finite), max(finite)
    # A single value has no extent: half of it is room then, or 1 around zero.
    margin = room * (high - low) or 0.5 * abs(high) or 1.0
    return Axis(low - margin, high + margin, label, whole=whole)


def _round_numbers(low: float, high: float, whole: bool) -> list[float]:
    from matplotlib.ticker import MaxNLocator

    # It gives some beyond the ends, too.
    found = MaxNLocator(_TICKS, integer=whole).tick_values(low, high)
    slack = 1e-9 * (high - low)
    return [float(tick) + 0.0 for tick in found if low - slack <= tick <= high + slack]


def _alike(ticks: Sequence[float]) -> list[str]:
    """Round numbers with equally many decimals, so that 0.15 stands beside 0.30."""
    plain = [written(tick) for tick in ticks]
    if any("e" in text for text in plain):
        return plain
    decimals = max((len(text.partition(".")[2]) for text in plain), default=0)
    return [f"{tick:.{decimals}f}".replace("-", "−") if tick else "0" for tick in ticks]


def _decades(low: float, high: float) -> Ticks:
    """Powers of ten, or ends alone where there are fewer than two."""
    first, last = math.ceil(math.log10(low)), math.floor(math.log10(high))
    step = max(1, (last - first) // _TICKS + 1)
    powers = [10.0**power for power in range(first, last + 1, step)]
    if len(powers) < 2:
        powers = [low, high]
    return tuple((power, number(power) if len(powers) == 2 else written(power)) for power in powers)


@final
@dataclass(frozen=True)
class Scale:
    """Which colour a number has.

    Settings:
        low, high: the numbers of the two end colours.
        label: what is measured, with its unit.
        colours: a colour map of matplotlib, in 255 levels.
        marked: the numbers beside the bar; None for the ends and the middle.
        beyond: whether numbers lie beyond the ends, which have the end colours.
    """

    low: float
    high: float
    label: str = ""
    colours: Literal["RdBu_r", "cividis", "Greys", "viridis"] = "RdBu_r"
    marked: Ticks | None = None
    beyond: bool = False

    @property
    def ticks(self) -> Ticks:
        """Numbers beside the bar of colours."""
        if self.marked is not None:
            return self.marked
        values = (self.low, (self.low + self.high) / 2, self.high)
        reach = self.high - self.low
        if not SMALLEST <= reach < LARGEST:
            return tuple((value, number(value)) for value in values)
        # As many decimals as the reach has in three digits, so that they stand below each other.
        form = Form(max(0, 2 - math.floor(math.log10(reach))))
        return tuple((value, form(value)) for value in values)

    def levels(self, values: Floats) -> NDArray[np.intp]:
        """The level of each number, from 0 to 254; -1 for what has no value."""
        shares = (np.asarray(values, dtype=np.float64) - self.low) / (self.high - self.low)
        known = np.isfinite(shares)
        # The middle level holds the middle exactly, with as many levels on either side.
        steps = np.round((LEVELS - 1) * np.clip(np.where(known, shares, 0.0), 0, 1))
        return np.where(known, steps, -1).astype(np.intp)

    def colour(self, value: float) -> str:
        """The colour of one number."""
        return self.colours_of(np.array([value]))[0]

    def colours_of(self, values: Floats) -> tuple[str, ...]:
        """The colour of each number, as `#rrggbb`."""
        # Counted from the end, -1 is the grey of what has no value.
        table = [*hexes(self.colours), MISSING]
        return tuple(table[level] for level in self.levels(values).ravel().tolist())

    def pixels(self, values: Floats) -> NDArray[np.uint8]:
        """The colours of a raster, (height, width, 4); what has no value is not to be seen."""
        bytes_of = [(*_bytes(colour), 255) for colour in hexes(self.colours)]
        table = np.array([*bytes_of, (0, 0, 0, 0)], dtype=np.uint8)
        return np.asarray(table[self.levels(values)])


def around_zero(limit: float, label: str, *, beyond: bool = False) -> Scale:
    """A scale of credit: zero is its centre, and its two ends are equally far from it."""
    # Nothing but zeros still has a scale, at whose centre they lie.
    reach = limit or 1.0
    marked = ((0.0, "0"),) if limit == 0 else None
    return Scale(-reach, reach, label, marked=marked, beyond=beyond)


@cache
def hexes(name: str) -> tuple[str, ...]:
    """The colours of a scale, from its lowest number to its highest."""
    from matplotlib import colormaps

    # The ends of these are hardly seen on a dark or a white ground.
    ends = (0.25, 0.9) if name in ("cividis", "viridis") else (0.0, 1.0)
    shares = np.linspace(*ends, LEVELS)
    colours = np.round(255 * np.asarray(colormaps[name](shares))[:, :3])
    return tuple(f"#{int(r):02x}{int(g):02x}{int(b):02x}" for r, g, b in colours)


def _bytes(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
