"""Integrated gradients without error, for networks that are linear piece by piece.

On the straight way from the absent input such a network bends at finitely many places, and its slope
is constant between two of them: the integral is a finite sum. The places are found by the network's
own operations (`models/networks/guarantees/breakpoints.py`), in rounds: every round asks the ends of
intervals that are not known to be straight, and cuts those that are not, at every place where units
of the first operation that bends in between change sides. An interval that is cut nowhere is a piece.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from assay.answers.attribution import Kind
from assay.errors import AbilityError
from assay.methods.base import Axiom, Estimate, Method
from assay.models.base import Ability
from assay.models.networks.guarantees.breakpoints import ROUNDING, Seen, Watch
from assay.numerics.pieces import pieces
from assay.question.question import Question

_POINTS = 1 << 21  # numbers of midpoints held at once: 16 MiB in double precision
_RETRIES = 3  # rounds in which a forward may run through other operations than before
_MISSED = 0.375  # power of the rounding unit that credit may miss: 1e-6 in double, 3e-3 in single


@final
@dataclass(frozen=True)
class ExactIntegratedGradients(Method):
    """Integrated gradients of a network that is linear piece by piece, as a finite sum.

    phi_i = (x_i - b_i) sum_k l_k d f(b + m_k (x - b)) / d x_i, piece k of length l_k around m_k
    (Sundararajan et al. 2017, equation 1; Sotoudeh and Thakur 2019, section 4.1: exact integrated
    gradients)

    Convolutions, linear layers, rectifiers (leaky, clipped, PReLU, absolute values, comparisons that
    switch), maximum and average pooling, batch norms in evaluation mode, sums, reshapes and products
    with constants are followed in every spelling.

    Settings:
        multiply: whether the mean slope is multiplied by the way x - b; without it the answer is
            local, in target per unit of input, and no longer complete.

    Cost: `facts["pieces"]` gradients for each input, which may be thousands, and up to four rows
    forward for each to find them. Values: (n, features), in units of the target, exact up to
    rounding. Errors: AbilityError for what is not linear piece by piece, by its name and the line
    that called it, be it in the network or in the target; InputError for a removal with several
    replacements.

    >>> import torch, assay
    >>> question = assay.Question(
    ...     lambda x: torch.relu(x[:, 0] - 1) + x[:, 1], torch.tensor([[4.0, 2.0]])
    ... )
    >>> answer = ExactIntegratedGradients()(question)
    >>> answer.values, answer.facts["pieces"]
    (tensor([[3., 2.]]), [2])
    """

    multiply: bool = True
    needs = frozenset({Ability.GRADIENT})
    cost: ClassVar[str] = "a gradient for each linear piece of the way"

    @property
    def kind(self) -> Kind:
        return Kind.CONTRIBUTION if self.multiply else Kind.SLOPE

    @property
    def axioms(self) -> frozenset[Axiom]:
        kept = frozenset(
            {Axiom.DUMMY, Axiom.SYMMETRY, Axiom.LINEARITY, Axiom.IMPLEMENTATION_INVARIANCE}
        )
        return kept | {Axiom.COMPLETENESS} if self.multiply else kept

    def check(self, question: Question) -> None:
        super().check(question)
        question.require_one_replacement()

    def values(self, question: Question, seed: int) -> Estimate:
        return self.per_output((question,), seed)[0]

    def per_output(self, questions: Sequence[Question], seed: int) -> list[Estimate]:
        question = questions[0]
        straight = _Search(questions).pieces()
        slopes = _mean_slopes(questions, straight)
        way = (question.x - question.absent).to(torch.float64)
        counts = straight.owners.bincount(minlength=question.n).tolist()
        estimates = []
        for asked, slope in zip(questions, slopes):
            _check_complete(asked, way * slope)
            elements = way * slope if self.multiply else slope
            estimates.append(Estimate(asked.pool(elements), notes={"pieces": counts}))
        return estimates


@final
@dataclass(frozen=True, eq=False)
class _Intervals:
    """Parts of the ways of inputs: owners (k,), and where they start and end in [0, 1], float64."""

    owners: Tensor
    starts: Tensor
    ends: Tensor

    @classmethod
    def whole(cls, n: int) -> _Intervals:
        """The whole way of each of n inputs."""
        starts = torch.zeros(n, dtype=torch.float64)
        return cls(torch.arange(n), starts, torch.ones_like(starts))

    def take(self, chosen: Tensor) -> _Intervals:
        return _Intervals(self.owners[chosen], self.starts[chosen], self.ends[chosen])

    def joined(self, other: _Intervals) -> _Intervals:
        return _Intervals(
            torch.cat([self.owners, other.owners]),
            torch.cat([self.starts, other.starts]),
            torch.cat([self.ends, other.ends]),
        )

    def cut(self, which: Tensor, places: Tensor, least: float) -> _Intervals:
        """The intervals cut at `places` (c,), each in the interval `which` (c,); closer places than
        `least` are one.
        """
        count = len(self.owners)
        # Starts and places in order, interval by interval: each begins a part.
        intervals = torch.cat([torch.arange(count), which])
        begins = torch.cat([self.starts, places])
        order = begins.argsort(stable=True)
        order = order[intervals[order].argsort(stable=True)]
        intervals = intervals[order]
        begins = begins[order]
        same = torch.zeros(len(begins), dtype=torch.bool)
        same[1:] = (intervals[1:] == intervals[:-1]) & (begins[1:] - begins[:-1] < least)
        intervals = intervals[~same]
        begins = begins[~same]
        stops = self.ends[intervals]
        inner = intervals[1:] == intervals[:-1]
        stops[:-1][inner] = begins[1:][inner]
        return _Intervals(self.owners[intervals], begins, stops)


@final
class _Points:
    """The ends of intervals, each once: neighbours that are an interval belong together."""

    def __init__(self, intervals: _Intervals) -> None:
        order = intervals.starts.argsort(stable=True)
        order = order[intervals.owners[order].argsort(stable=True)]
        self.intervals = intervals.take(order)
        owners = self.intervals.owners
        apart = torch.ones(len(owners), dtype=torch.bool)
        apart[1:] = owners[1:] != owners[:-1]
        apart[1:] |= self.intervals.starts[1:] != self.intervals.ends[:-1]
        ends = torch.arange(len(owners)) + apart.cumsum(0)
        total = int(ends[-1]) + 1
        self.owners = torch.zeros(total, dtype=torch.int64)
        self.positions = torch.zeros(total, dtype=torch.float64)
        for numbers, positions in (
            (ends - 1, self.intervals.starts),
            (ends, self.intervals.ends),
        ):
            self.owners[numbers] = owners
            self.positions[numbers] = positions
        # The interval between a point and the next one; -1 where there is none.
        self.interval = torch.full((total,), -1, dtype=torch.int64)
        self.interval[ends - 1] = torch.arange(len(owners))
        self.lengths = torch.zeros(total, dtype=torch.float64)
        self.lengths[ends - 1] = self.intervals.ends - self.intervals.starts


@final
class _Search:
    """The search for the pieces of the straight ways of a question's inputs."""

    def __init__(self, questions: Sequence[Question]) -> None:
        self.question = questions[0]
        self.targets = [asked.fixed_target for asked in questions]
        self.start = self.question.absent
        self.way = self.question.x - self.start
        # Of two places that are closer than rounding one is none.
        self.least = ROUNDING * torch.finfo(self.question.x.dtype).eps
        self.watch = Watch(self.question.model.name)
        self.checked = False

    def pieces(self) -> _Intervals:
        """Intervals between which the slope is constant."""
        done = _Intervals.whole(0)
        waiting = _Intervals.whole(self.question.n)
        retries = 0
        with _uncompiled():
            # The first input alone tells what the forward looks like for one row.
            self._ask(_Points(waiting.take(torch.zeros(1, dtype=torch.int64))), only=1)
            while len(waiting.owners):
                points = _Points(waiting)
                which, places, answered = self._ask(points)
                straight = answered.clone()
                straight[which] = False
                done = done.joined(points.intervals.take(straight))
                # The parts of what was cut, and what has to be asked again.
                waiting = points.intervals.take(~straight)
                kept = (~straight).cumsum(0) - 1
                waiting = waiting.cut(kept[which], places, self.least)
                retries = 0 if bool(answered.any()) else retries + 1
                self._check_retries(retries)
        return done

    def _ask(self, points: _Points, only: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Where intervals bend: their numbers (c,) and the places (c,), and which of them were
        answered (k,).
        """
        total = only or len(points.owners)
        watch = self.watch
        found: list[tuple[Tensor, Tensor]] = []
        answered = torch.zeros(len(points.intervals.owners), dtype=torch.bool)
        # The last point that the watch has seen, and the first of the chunk that it sees now.
        reached = [-1, 0]
        company: list[tuple[int, Sequence[Seen]]] = []
        watch.forget_last()

        def make(numbers: Tensor) -> tuple[Tensor, Tensor]:
            chosen = numbers.cpu()
            rows, owners = self._rows(points, chosen, numbers.device)
            first = int(chosen[0])
            joined = first > 0 and reached[0] == first - 1
            reached[1] = first - joined
            margins = self.least / points.lengths[reached[1] : int(chosen[-1])]
            watch.begin(rows, margins, joined=joined)
            return rows, owners

        def use(numbers: Tensor, owners: Tensor, outputs: Tensor) -> None:
            scores = [target.score(outputs, owners) for target in self.targets]
            crossings = watch.finish(scores, self._what())
            if crossings is None:
                return
            last = int(numbers[-1])
            inside = points.interval[reached[1] : last]
            answered[inside[inside >= 0]] = True
            which = inside[crossings.pairs]
            starts = points.intervals.starts[which]
            found.append(
                (which, starts + crossings.shares * (points.intervals.ends[which] - starts))
            )
            reached[0] = last
            if len(numbers) > 1:
                company[:] = [(last, list(watch.last))]

        with watch:
            self.question.ask(total, make, use, "on the way")
        self._check_company(points, company)
        none = torch.zeros(0, dtype=torch.float64)
        which = torch.cat([numbers for numbers, _ in found] or [none.to(torch.int64)])
        places = torch.cat([positions for _, positions in found] or [none])
        return which, places, answered

    def _rows(
        self, points: _Points, numbers: Tensor, device: torch.device
    ) -> tuple[Tensor, Tensor]:
        """Points by their numbers (r,): rows (r, elements) and the inputs they belong to (r,)."""
        owners = points.owners[numbers].to(device)
        positions = points.positions[numbers].to(device, self.way.dtype)
        return torch.addcmul(self.start[owners], positions[:, None], self.way[owners]), owners

    def _check_company(
        self, points: _Points, company: Sequence[tuple[int, Sequence[Seen]]]
    ) -> None:
        """Compares, once, a row in company with the same row alone."""
        if self.checked or not company:
            return
        self.checked = True
        ((number, together),) = company
        alone = _Intervals(
            points.owners[number : number + 1],
            points.positions[number : number + 1],
            points.positions[number : number + 1] + 1,
        )
        self._ask(_Points(alone), only=1)
        self.watch.check_layout(together)

    def _check_retries(self, retries: int) -> None:
        if retries > _RETRIES:
            raise AbilityError(
                expected=f"a forward of {self.question.model.name} through the same operations each time",
                got="one that runs through others from chunk to chunk",
                advice="Use IntegratedGradients(steps=...), or ask row by row: wrap(model, batch_size=1).",
            )

    def _what(self) -> str:
        targets = ", ".join(map(repr, self.targets[:3]))
        return f"{self.question.model.name} and the target {targets}"


def straight_parts(questions: Sequence[Question]) -> tuple[Tensor, Tensor, Tensor]:
    """The parts of the ways of inputs on which the network and all targets are linear: whose they
    are (k,), their middles (k,) in [0, 1] and their lengths (k,), float64, input by input.
    """
    straight = _Search(questions).pieces()
    straight = straight.take(straight.owners.argsort(stable=True))
    middles = (straight.starts + straight.ends) / 2
    return straight.owners, middles, straight.ends - straight.starts


def _mean_slopes(questions: Sequence[Question], straight: _Intervals) -> list[Tensor]:
    """The mean slope of every element on the way (n, elements), float64, for each question."""
    question = questions[0]
    x = question.x
    start = question.absent
    way = x - start
    totals = [torch.zeros_like(x, dtype=torch.float64) for _ in questions]
    targets = [asked.fixed_target for asked in questions]
    order = straight.owners.argsort(stable=True)
    straight = straight.take(order)
    for piece in pieces(len(straight.owners), x.shape[1], _POINTS):
        owners = straight.owners[piece].to(x.device)
        middles = (straight.starts[piece] + straight.ends[piece]) / 2
        lengths = (straight.ends[piece] - straight.starts[piece]).to(x.device)
        points = torch.addcmul(start[owners], middles.to(x.device, x.dtype)[:, None], way[owners])
        moved = question.at(points, owners)
        own = [target.take(owners) for target in targets]
        for total, slopes in zip(totals, moved.slopes(own)):
            total.index_add_(0, owners, slopes.to(torch.float64) * lengths[:, None])
    return totals


def _check_complete(question: Question, credit: Tensor) -> None:
    """Refuses slopes that are not those of the outputs: credit (n, elements) would add up."""
    difference = question.prediction.to(torch.float64) - question.base.to(torch.float64)
    gaps = (difference - credit.sum(1)).abs()
    unit = torch.finfo(question.x.dtype).eps ** _MISSED
    size = torch.maximum(credit.abs().sum(1), question.prediction.abs().to(torch.float64))
    off = gaps > unit * torch.maximum(size, question.base.abs().to(torch.float64))
    if bool(off.any()):
        raise AbilityError(
            expected=f"slopes of {question.model.name} that account for its outputs",
            got=f"a gap of {float(gaps[off].max()):.3g} on the way of {int(off.sum())} inputs",
            advice=(
                "It jumps, or a part of it is detached or has slopes of its own: use "
                "IntegratedGradients(steps=...), whose gap says what is missing."
            ),
        )


def _uncompiled() -> AbstractContextManager[object]:
    """Compiled forwards as they were written, where torch's compiler is at work."""
    if "torch._dynamo" in sys.modules:
        stance: AbstractContextManager[object] = torch.compiler.set_stance("force_eager")
        return stance
    return nullcontext()
