"""Strips: intervals and points of a metric as plain numbers, for a page to draw.

A strip is a dot plot with whiskers (Cleveland 1984) on one scale for all methods. Positions are in
percent of its width, so that a page needs no arithmetic. Ticks lie at round numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, final

from assay.comparison.ranking import Place, Ranking

# A range of positive means whose ends are this many times apart is drawn on a logarithmic strip.
SQUEEZED = 30

STEPS = 4  # about so many steps between the ends of a linear strip

DECADES = 6  # at most so many steps on a logarithmic one

Beyond: TypeAlias = Literal["", "left", "right", "missing"]


@final
@dataclass(frozen=True)
class Mark:
    """A dot and its whisker on a strip, in percent of the strip's width.

    Settings:
        place: what is drawn.
        dot: where the mean lies.
        left: where the whisker starts.
        width: of the whisker.
        beyond: the side on which the dot lies off the scale, or "missing" for one without a mean.
        reference: whether it is no candidate.
    """

    place: Place
    dot: float
    left: float
    width: float
    beyond: Beyond
    reference: bool


@final
@dataclass(frozen=True)
class Scale:
    """The ends of a strip and its ticks, linear or logarithmic."""

    low: float
    high: float
    ticks: tuple[float, ...]
    log: bool = False

    @classmethod
    def linear(cls, low: float, high: float) -> Scale:
        """Round ends around the range, with about four steps between them."""
        # A range without width gets the width of its value, and zero gets one.
        width = (high - low) or abs(high) or 1.0
        rough = width / STEPS
        size = 10.0 ** math.floor(math.log10(rough))
        # 1e-9: a range that is a whole number of steps up to rounding needs no further one.
        steps = [size * factor for factor in (1, 2, 2.5, 5, 10)]
        step = next(step for step in steps if step >= rough * (1 - 1e-9))
        first = math.floor(low / step + 1e-9)
        last = max(math.ceil(high / step - 1e-9), first + 1)
        ticks = tuple(i * step for i in range(first, last + 1))
        return cls(first * step, last * step, ticks)

    @classmethod
    def logarithmic(cls, low: float, high: float) -> Scale:
        """Whole powers of ten around the range, at most six steps of them named."""
        first = math.floor(math.log10(low) + 1e-9)
        last = math.ceil(math.log10(high) - 1e-9)
        stride = math.ceil((last - first) / DECADES) or 1
        ticks = tuple(10.0**i for i in range(first, last + 1, stride))
        return cls(10.0**first, 10.0**last, ticks, log=True)

    def at(self, value: float) -> float:
        """Where a value lies, in percent of the strip; the nearer end for one beyond it."""
        low = self.low
        high = self.high
        value = min(max(value, low), high)
        if self.log:
            low = math.log(low)
            high = math.log(high)
            value = math.log(value)
        return 100 * (value - low) / (high - low)


def scale_of(ranking: Ranking) -> Scale:
    """A scale that holds the methods' intervals, and those references that do not squeeze them."""
    ends = _ends(ranking.places) or _ends(ranking.references) or [0.0, 1.0]
    low = min(ends)
    high = max(ends)
    if low > 0 and high > SQUEEZED * low:
        # A logarithmic strip has room for all, but no place for what is not positive.
        ends += [end for end in _ends(ranking.references) if end > 0]
        return Scale.logarithmic(min(ends), max(ends))
    # References further away than twice the range would press the methods into a corner.
    room = 2 * ((high - low) or abs(high) or 1.0)
    near = [place for place in ranking.references if low - room <= place.mean <= high + room]
    ends += _ends(near)
    return Scale.linear(min(ends), max(ends))


def _ends(places: Sequence[Place]) -> list[float]:
    return [
        end for place in places for end in (place.mean, place.low, place.high) if math.isfinite(end)
    ]


def mark(place: Place, scale: Scale, *, reference: bool) -> Mark:
    """The place of a method on a scale."""
    if math.isnan(place.mean):
        return Mark(place, 0, 0, 0, "missing", reference)
    left = _at_end(place.low, place.mean, scale)
    right = _at_end(place.high, place.mean, scale)
    beyond = _beyond(place.mean, scale)
    return Mark(place, scale.at(place.mean), left, right - left, beyond, reference)


def _at_end(end: float, mean: float, scale: Scale) -> float:
    """Where a whisker ends; at the dot where few inputs allow no interval."""
    return scale.at(end if math.isfinite(end) else mean)


def _beyond(mean: float, scale: Scale) -> Beyond:
    if mean < scale.low:
        return "left"
    if mean > scale.high:
        return "right"
    return ""
