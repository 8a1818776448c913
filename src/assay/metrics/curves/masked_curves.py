"""The target along an order of features: what every masking curve is read from.

Features are removed (deletion) or brought back to an input without any of them (insertion), the
first few of an order at a time. Masks are made some steps at a time, so that memory does not grow
with their number; what several attributions or metrics ask alike is asked once (`shared_curves`); of
none and all of the features the question knows the target already.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from assay.metrics.curves.orderings import Order, tie_breaker
from assay.metrics.curves.shared_curves import shared_curves
from assay.numerics import rng
from assay.numerics.pieces import pieces
from assay.question.question import Question

_CELLS = 1 << 24  # entries of the masks held at once, a byte each


@final
@dataclass(frozen=True, eq=False)
class Curves:
    """The target of n inputs along an order, for each way to break its ties.

    Settings:
        counts: (n, m), how many features have been removed, or brought back.
        values: (n, ways, m), float64; the ways of an input without cut ties are all the same.
        drawn: (n,), bool: whether ways differ at all.
        ties: (n,), the share of the counts that end inside a tie.
        lengths: (n,), how many features the order has.
    """

    counts: Tensor
    values: Tensor
    drawn: Tensor
    ties: Tensor
    lengths: Tensor

    @property
    def shares(self) -> Tensor:
        """How much of the order has been taken: (n, m), from 0 to 1."""
        # Whole numbers are divided in single precision, unless they are told.
        lengths = self.lengths.clamp_min(1).to(torch.float64)
        return self.counts / lengths.unsqueeze(1)

    @property
    def mean(self) -> Tensor:
        """The curve averaged over ways to break ties: (n, m)."""
        return self.values.mean(1)

    def average(self, each: Tensor) -> tuple[Tensor, Tensor]:
        """The mean over ways of what was read off each (n, ways), and its standard error (n,)."""
        return each.mean(1), self.error(each)

    def error(self, each: Tensor) -> Tensor:
        """The standard error of a mean over ways (n,): 0 where nothing was drawn."""
        # The two of a pair belong together; pairs are drawn independently.
        pairs = each.unflatten(1, (-1, 2)).mean(2)
        error = pairs.std(1) / pairs.shape[1] ** 0.5
        return torch.where(self.drawn, error, 0.0)


def area(values: Tensor, shares: Tensor) -> Tensor:
    """The area under curves (..., m) over shares (..., m), by the trapezoidal rule: (...)."""
    return torch.trapezoid(values, shares.expand_as(values), dim=-1)


@final
@dataclass(frozen=True, eq=False)
class Readout:
    """What is read along a curve.

    Settings:
        value: under masks (n, m, features) of a question about n inputs: (n, m).
        clean: of the inputs themselves, (n,).
        absent: with everything removed, (n,).
    """

    value: Callable[[Question, Tensor], Tensor]
    clean: Callable[[Question], Tensor]
    absent: Callable[[Question], Tensor]


TARGET = Readout(
    value=lambda question, masks: question.value(masks),
    clean=lambda question: question.prediction,
    absent=lambda question: question.base,
)
"""The target itself, of whose ends the question knows already."""


def masked_curves(
    question: Question,
    orders: Sequence[Order],
    counts: Sequence[Tensor],
    *,
    insert: bool,
    pairs: int,
    seed: int,
    readout: Readout = TARGET,
) -> list[Curves]:
    """The target with the first `counts` (n, m) features of each order removed, or alone there.

    Settings:
        question: about n inputs; its removal says what stands in for what is removed.
        orders: one for each attribution.
        counts: for each of them, from 0 to all features, the same m for all.
        insert: whether the first features of the order are all that is there, in the place of all
            that is removed.
        pairs: of ways to break ties, for inputs where a count ends inside one.
        seed: of the streams that break them.
        readout: what is read, in the place of the target.
    """
    ways = 2 * pairs
    streams = rng.streams(seed, question.keys, "ties")
    table: list[Curves] = []
    # Attributions, and metrics of a comparison, may agree in an order, though not in credit.
    known, name = shared_curves(question)
    everyone = torch.arange(question.n, device=question.x.device)
    for order, count in zip(orders, counts):
        cut = order.cut_ties(count)
        drawn = cut.any(1)
        values = question.prediction.new_zeros(
            question.n, ways, count.shape[1], dtype=torch.float64
        )
        for way in range(ways):
            # The first way serves every input without a tie to break.
            rows = everyone if way == 0 else drawn.nonzero()[:, 0]
            if not len(rows):
                break
            # The inputs' own streams, so that methods with the same ties break them alike.
            breaker = tie_breaker(streams.take(rows), way, question.partition.count)
            places = Order(order.credit[rows], order.eligible[rows]).places(breaker)
            about = question if way == 0 else question.take(rows)

            def ask(counts: Tensor, about: Question = about, places: Tensor = places) -> Tensor:
                return _along(about, places, counts, insert, readout)

            answer = known.along(
                name, rows, places, count[rows], ask, insert=insert, read=readout.value
            )
            if way == 0:
                # It stands for all ways, until those of inputs with cut ties take their place.
                values[:] = answer.unsqueeze(1)
            values[rows, way] = answer
        ties = cut.to(torch.float64).mean(1)
        table.append(Curves(count, values, drawn, ties, order.lengths))
    return table


def _along(
    question: Question, places: Tensor, counts: Tensor, insert: bool, readout: Readout
) -> Tensor:
    """The target along orders whose places (n, features) are known: (n, m)."""
    n = question.n
    clean = readout.clean(question).to(torch.float64).unsqueeze(1)
    values = clean.repeat(1, counts.shape[1])
    # What every replacement leaves as it is has nothing to be asked.
    rows = question.changeable_features().any(dim=1).nonzero()[:, 0]
    if len(rows) == n:
        return _asked(question, places, counts, insert, readout)
    if len(rows):
        values[rows] = _asked(question.take(rows), places[rows], counts[rows], insert, readout)
    return values


def _asked(
    question: Question, places: Tensor, counts: Tensor, insert: bool, readout: Readout
) -> Tensor:
    """The same of inputs that every removal changes."""
    n, features = places.shape
    # Everything removed, or nothing: the question knows.
    everything = counts >= question.existing_features().sum(1).unsqueeze(1)
    nothing = counts == 0
    # Shown everything is the input itself; with everything removed it is the absent one.
    is_clean, is_absent = (everything, nothing) if insert else (nothing, everything)
    values = torch.zeros(counts.shape, dtype=torch.float64, device=places.device)
    # A step is asked for all inputs as soon as one needs it: masks are one block (n, m, features).
    unknown = (~(is_clean | is_absent)).any(0).nonzero()[:, 0]
    for piece in pieces(len(unknown), n * features, _CELLS):
        steps = unknown[piece]
        taken = places.unsqueeze(1) < counts[:, steps].unsqueeze(2)
        masks = taken if insert else ~taken
        values[:, steps] = readout.value(question, masks).to(torch.float64)
    # Exact at both ends, so that curves of all methods start and end at the same numbers.
    clean = readout.clean(question).to(torch.float64).unsqueeze(1)
    values = torch.where(is_clean, clean, values)
    if bool(is_absent.any()):
        absent = readout.absent(question).to(torch.float64).unsqueeze(1)
        values = torch.where(is_absent, absent, values)
    return values
