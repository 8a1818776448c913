"""Strips: intervals and points of a metric as plain numbers, for a page to draw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from assay.comparison.ranking import Place, Ranking

SQUEEZED = (
    30  # a range of positive means with ends this many times apart is drawn on a logarithmic strip
)


@final
@dataclass(frozen=True)
class Mark:
    """A dot and its whisker on a strip, in percent of the strip's width; `beyond` where the dot
    lies off the scale.
    """

    place: Place
    dot: float
    left: float
    width: float
    beyond: str
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
        rough = ((high - low) or abs(high) or 1.0) / 4
        size = 10.0 ** math.floor(math.log10(rough))
        step = next(
            size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= rough * (1 - 1e-9)
        )
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        last = max(last, first + 1)
        return cls(first * step, last * step, tuple(i * step for i in range(first, last + 1)))

    @classmethod
    def logarithmic(cls, low: float, high: float) -> Scale:
        """Whole powers of ten around the range, at most six of them named."""
        first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
        every = math.ceil((last - first) / 6) or 1
        return cls(
            10.0**first, 10.0**last, tuple(10.0**i for i in range(first, last + 1, every)), log=True
        )

    def at(self, value: float) -> float:
        """Where a value lies, in percent of the strip; the nearer end for one beyond it."""
        low, high, value = self.low, self.high, min(max(value, self.low), self.high)
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return 100 * (value - low) / (high - low)


def _scale(found: Ranking) -> Scale:
    """A strip that holds the methods' intervals, and those references that do not squeeze them."""
    ends = _ends(found.places) or _ends(found.references) or [0.0, 1.0]
    low, high = min(ends), max(ends)
    if low > 0 and high > SQUEEZED * low:
        extra = [end for place in found.references for end in _ends([place]) if end > 0]
        return Scale.logarithmic(min([*ends, *extra]), max([*ends, *extra]))
    room = 2 * ((high - low) or abs(high) or 1.0)
    near = [place for place in found.references if low - room <= place.mean <= high + room]
    extra = _ends(near)
    return Scale.linear(min([*ends, *extra]), max([*ends, *extra]))


def _ends(places: Sequence[Place]) -> list[float]:
    return [
        end for place in places for end in (place.mean, place.low, place.high) if math.isfinite(end)
    ]


def _mark(place: Place, scale: Scale, *, reference: bool) -> Mark:
    if math.isnan(place.mean):
        return Mark(place, 0, 0, 0, "missing", reference)
    beyond = "left" if place.mean < scale.low else "right" if place.mean > scale.high else ""
    left, right = [
        scale.at(end if math.isfinite(end) else place.mean) for end in (place.low, place.high)
    ]
    return Mark(place, scale.at(place.mean), left, right - left, beyond, reference)
