"""Confidences in bins: how sure a model was, and how often it was right.

The mean of |accuracy - confidence| over bins is larger than the truth, since chance alone moves
accuracies: E|N(g, s^2)| > |g|, the mean of a folded normal (Leone, Nelson and Nottingham 1961). How
large gaps are is told by their squares, from which chance is taken off without bias (Kumar, Liang and
Ma 2019, section 4.1); what it adds to gaps of that size is then known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
import torch
from numpy.typing import NDArray

from assay.numerics import statistics

Floats = NDArray[np.float64]

_Z = 1.959963984540054  # of a 95 % interval
_CLEAR = 2.5  # standard errors of a gap that chance does not make
_FALSE = 0.05  # the chance of a lower end above the largest gap
_HALVINGS = 24  # of a gap between 0 and 1


@final
@dataclass(frozen=True, eq=False)
class Reliability:
    """Confidences and accuracies of some bins; empty ones are left out.

    Fields:
        low, high: the bins' ends, low excluded and high included; the first holds 0 as well.
        count: answers in each.
        confidence, accuracy: their means.
    """

    low: Floats
    high: Floats
    count: Floats
    confidence: Floats
    accuracy: Floats

    @property
    def gap(self) -> Floats:
        """Confidence less accuracy: positive where the model is too sure."""
        gap: Floats = self.confidence - self.accuracy
        return gap

    @property
    def intervals(self) -> Floats:
        """Wilson's 95 % interval of each accuracy, (bins, 2)."""
        # Wilson's interval is about whole hits, which the mean gives back.
        pairs = zip(self.accuracy * self.count, self.count)
        return np.array([statistics.wilson(float(hits), int(n)) for hits, n in pairs])

    @property
    def share(self) -> Floats:
        """The share of all answers in each bin."""
        share: Floats = self.count / self.count.sum()
        return share

    @property
    def error(self) -> float:
        """The mean gap without its sign: the expected calibration error."""
        return float(self.share @ np.abs(self.gap))

    @property
    def root_mean_square(self) -> float:
        """The root of the mean squared gap."""
        return float(np.sqrt(self.share @ self.gap**2))

    @property
    def of_bins(self) -> float:
        """The mean of the gaps without their signs, every bin alike."""
        return float(np.abs(self.gap).mean())

    @property
    def largest(self) -> float:
        """The largest gap without its sign."""
        return float(np.abs(self.gap).max())

    @property
    def spread(self) -> Floats:
        """The standard error of each accuracy."""
        # With one of each more than seen: a bin of one answer has a spread, too.
        smooth = (self.accuracy * self.count + 1) / (self.count + 2)
        spread: Floats = np.sqrt(smooth * (1 - smooth) / self.count)
        return spread

    @property
    def corrected(self) -> float:
        """The expected calibration error less what chance adds to it."""
        spread = self.spread
        # Without bias, so that it may be negative where gaps are smaller than chance makes them.
        square = float(self.share @ (self.gap**2 - spread**2))
        # One typical gap for all bins: the square of a single bin's gap is mostly noise.
        typical = np.full_like(spread, math.sqrt(max(0.0, square)))
        added = _folded_mean(typical, spread) - typical
        low, high = self.error_interval
        return min(max(low, self.error - float(self.share @ added)), high)

    @property
    def error_interval(self) -> tuple[float, float]:
        """A 95 % interval of the calibration error of the model, whatever its gaps are.

        Chance adds most where a few bins have all of the gap, 0.8 standard errors, and least where
        all bins have the same: the lower end is that of the first case, the upper that of the second.
        An error that is smaller than chance alone makes has a spread that was overestimated, as of
        answers that are all right: the upper end is then not below that of the gap of all answers
        together (Wilson 1927), which no error is less than.
        """
        share, spread = self.share, self.spread
        # Gaps that are larger than chance makes them have nothing added.
        clear = np.where(np.abs(self.gap) > _CLEAR * spread, np.abs(self.gap), 0.0)
        by_chance = float(share @ (_folded_mean(clear, spread) - clear))
        low = self.error - by_chance - _Z * self._deviation(clear)
        flat = np.zeros_like(spread)
        # The largest equal gap under which an error as small as this one is no surprise.
        high = 1.0
        least = 0.0
        for _ in range(60):
            middle = (least + high) / 2
            expected = float(share @ _folded_mean(flat + middle, spread))
            if expected - _Z * self._deviation(flat + middle) < self.error:
                least = middle
            else:
                high = middle
        floor = self._whole_gap if self.error < float(share @ _folded_mean(flat, spread)) else 0.0
        return max(0.0, low), max(high, low, floor)

    @property
    def _whole_gap(self) -> float:
        """The largest gap of all answers together, by the interval of their accuracy."""
        hits = float(self.accuracy @ self.count)
        low, high = statistics.wilson(hits, int(self.count.sum()))
        confidence = float(self.share @ self.confidence)
        return max(confidence - low, high - confidence)

    def _deviation(self, gap: Floats) -> float:
        """The standard deviation of the error, were these the gaps."""
        mean = _folded_mean(gap, self.spread)
        variance = gap**2 + self.spread**2 - mean**2
        # And of the shares of the bins, which are counted, too.
        sizes = np.abs(self.gap)
        shares = float(self.share @ sizes**2 - (self.share @ sizes) ** 2) / self.count.sum()
        return math.sqrt(float(self.share**2 @ variance) + max(0.0, shares))

    @property
    def largest_interval(self) -> tuple[float, float]:
        """A 95 % interval of the largest gap.

        The lower end is the largest gap that all bins together have outdone, by exact tests: Wilson's
        interval is too short for the accuracy of a few sure answers. The upper end is that of the bin
        that may have the largest gap, by Wilson's (1927) interval of each: it is too low only where
        that of its own bin is, so that these hold one by one.
        """
        high = float(np.abs(self.confidence[:, None] - self.intervals).max())
        if not self._outdone(0.0):
            return 0.0, high
        low = 0.0
        above = 1.0
        for _ in range(_HALVINGS):
            middle = (low + above) / 2
            if self._outdone(middle):
                low = middle
            else:
                above = middle
        return low, high

    def _outdone(self, gap: float) -> bool:
        """Whether some bin's gap is found to be larger than this one, at 5 % for all bins together.

        The smallest tail of the bins' binomial laws (min p) is judged by how often any bin has one as
        small. Few answers have few tails: each bin adds the largest one that it can have there, and not
        the tail itself (Tarone 1990), so that bins of one answer cost the others little.
        """
        from scipy.stats import binom

        hits = np.rint(self.accuracy * self.count)
        # More hits than confidence + gap allows, or more misses.
        seen = np.concatenate([hits, self.count - hits])
        rate = np.concatenate([self.confidence, 1 - self.confidence]) + gap
        rate = np.clip(rate, 0, 1)
        answers = np.concatenate([self.count, self.count])
        tails = np.asarray(binom.sf(seen - 1, answers, rate))
        # With room for rounding: the bin with the smallest tail attains it.
        smallest = min(1.0, float(tails.min()) * (1 + 1e-9))
        attained = np.asarray(binom.sf(binom.isf(smallest, answers, rate), answers, rate))
        return float(attained.sum()) <= _FALSE


def reliability(
    confidence: Floats, correct: Floats, bins: int, kind: Literal["width", "mass"]
) -> Reliability:
    """Confidences (n,) and whether they were right, in bins of equal width or of equal mass."""
    if kind == "width":
        # Of the whole range, also where no confidence is low: bins of two models are the same.
        edges = np.linspace(0, 1, bins + 1)
    else:
        # Equal confidences cannot be parted: quantiles that coincide make fewer bins.
        edges = np.unique(np.quantile(confidence, np.linspace(0, 1, bins + 1)))
        # The first bin reaches down to 0, so that it holds the smallest confidence, too.
        edges = np.concatenate([[min(0.0, edges[0])], edges[1:]])
        # All confidences alike leave one edge: one bin then holds everything.
        if len(edges) < 2:
            edges = np.array([0.0, 1.0])
    # (low, high]: a confidence of 1 is in the last bin, and 0 in the first.
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, len(edges) - 2)
    count = np.bincount(place, minlength=len(edges) - 1).astype(float)
    # An empty bin has no accuracy; with 0 it would look like the worst of all.
    kept = count > 0
    sums = [np.bincount(place, part, minlength=len(edges) - 1) for part in (confidence, correct)]
    means = [part[kept] / count[kept] for part in sums]
    return Reliability(edges[:-1][kept], edges[1:][kept], count[kept], means[0], means[1])


def _folded_mean(centre: Floats, spread: Floats) -> Floats:
    # Without a spread the tail is 1, and the mean the centre itself.
    z = centre / np.maximum(spread, np.finfo(float).tiny)
    # NumPy has no error function.
    tail = torch.erf(torch.from_numpy(z / math.sqrt(2))).numpy()
    mean: Floats = spread * math.sqrt(2 / math.pi) * np.exp(-0.5 * z**2) + centre * tail
    return mean
