"""The one place that runs batches: it picks the chunk by measuring, halves it on out-of-memory,
counts, and shows progress.

The chunk is found by a line search on real work: the memory formats are compared at a first size,
then the size doubles while that pays (`ChunkSearch`). It reads a clock, so two runs may choose
differently, and sums of another shape round differently. Whoever needs the same bytes twice has
three ways, none of which reads a clock: a fixed batch size, `reproducible()`, where the size follows
from the number of elements, and `Replay`, which repeats the plans that an answer says it used.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import math
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias, final

import torch

_FIRST = 32  # rows of a first chunk of which nothing is known

_CACHE = 1 << 17  # elements of a first chunk, a guess of what the cache holds with its activations

_MOST = 1 << 19  # elements of the largest chunk: a busy moment must not buy hundreds of megabytes

_UNMEASURED = 1 << 22  # elements of a chunk before its memory is known: 32 MB in double precision

_UNTIMED = (
    3 << 17
)  # elements of a chunk chosen without a clock: 128 rows of 3 x 32 x 32, 256 of 28 x 28
_REPRODUCIBLE_ROWS = (8, 1 << 12)  # fewest and most rows of a chunk that is chosen without a clock

_SEARCH_FROM = 1024  # rows of one kind of work from which looking for the best chunk pays

_TINY = 0.005  # seconds below which a chunk is mostly bookkeeping: it grows whatever was measured

_SLOW = 1.0  # seconds from which one run of a chunk is enough to judge it

_WORTH = 1.05  # a chunk of twice the size must give this much more

_SHOW_AFTER = 2.0  # seconds of forecast work

_SAY_AFTER = 10.0  # seconds of forecast work from which the log says what is planned

_SAY_EVERY = 10.0  # seconds between two lines of the log

_LOG = logging.getLogger("assay")


@final
class Plan(NamedTuple):
    """How one chunk is run: its rows, and their memory format (0 plain, 1 channels-last)."""

    rows: int
    memory_format: int = 0


PlanRuns: TypeAlias = Sequence[Sequence[int]]
"""Plans in the order of their use, run-length coded: (rows, memory format, chunks) each."""


@final
@dataclass
class Tally:
    """What was spent: forward-only rows, rows that also went backward, and by which plans."""

    forwards: int = 0
    backwards: int = 0
    plans: dict[str, list[list[int]]] = field(default_factory=dict)
    """For each kind of work its plans in the order of their use, as `PlanRuns`."""
    clipped: int = 0
    """Rows whose probability was held off 0 or 1, where its logarithm would be infinite."""

    def add_plan(self, purpose: str, plan: Plan) -> None:
        """Notes the plan of one more chunk."""
        runs = self.plans.setdefault(purpose, [])
        if runs and tuple(runs[-1][:2]) == plan:
            runs[-1][2] += 1
        else:
            runs.append([*plan, 1])

    def chunks(self, purpose: str) -> int:
        """Chunks of one kind of work so far."""
        return sum(run[2] for run in self.plans.get(purpose, ()))


_tallies: ContextVar[tuple[Tally, ...]] = ContextVar("tallies", default=())

_quiet: ContextVar[bool] = ContextVar("quiet", default=False)

_reproducible: ContextVar[bool] = ContextVar("reproducible", default=False)


@contextlib.contextmanager
def tally() -> Iterator[Tally]:
    """Counts the model rows spent inside the block, and notes the plans they were run by."""
    mine = Tally()
    token = _tallies.set((*_tallies.get(), mine))
    try:
        yield mine
    finally:
        _tallies.reset(token)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No progress bars inside the block."""
    token = _quiet.set(True)
    try:
        yield
    finally:
        _quiet.reset(token)


@contextlib.contextmanager
def reproducible() -> Iterator[None]:
    """The same bytes every time inside the block, on the same machine with the same threads.

    Chunks and memory formats follow from the number of elements of a row instead of a clock; what
    was found by the clock before is not used. Costs what a less fitting chunk costs. One model
    alone: `wrap(model, reproducible=True)`.
    """
    token = _reproducible.set(True)
    try:
        yield
    finally:
        _reproducible.reset(token)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """One thread for all arithmetic inside the block.

    Small work is done before a second thread has started, and threads that wait for each other on a
    busy machine take tenfold the time.
    """
    import scipy.linalg  # noqa: F401  a library of arithmetic can be held only once it is loaded
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # of scikit-learn

    with torch_in_one_thread(), threadpool_limits(1):
        yield


@contextlib.contextmanager
def torch_in_one_thread() -> Iterator[None]:
    """One thread for torch's own arithmetic, which is built in and no library that could be held."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def count(rows: int, *, backward: bool = False) -> None:
    """Adds rows to every tally that is open."""
    for open_tally in _tallies.get():
        if backward:
            open_tally.backwards += rows
        else:
            open_tally.forwards += rows


def answered() -> int:
    """Rows that were answered so far, for whoever began to count first."""
    open_tallies = _tallies.get()
    return open_tallies[0].forwards + open_tallies[0].backwards if open_tallies else 0


def count_clipped(rows: int) -> None:
    """Notes rows whose probability was held off 0 or 1 in every tally that is open."""
    for open_tally in _tallies.get():
        open_tally.clipped += rows


class Chunks(ABC):
    """How the rows of one kind of work are cut into chunks: what `run` asks before each of them."""

    purpose: str = ""
    """The kind of work under which plans are noted; without one they are not."""

    def sized(  # may be overridden
        self, elements: int, share: float = 1.0, total: int | None = None
    ) -> Chunks:
        """The same, told what comes: rows of so many elements, of which only a share is worked on,
        and how many rows.
        """
        return self

    @abstractmethod
    def next_plan(self) -> Plan:
        """The plan of the next chunk."""

    def observe(self, plan: Plan, rows: int, seconds: float) -> None:  # may be overridden
        """Learns from a finished chunk."""

    @abstractmethod
    def halve(self) -> None:
        """Halves the chunk after the memory ran out."""


@final
@dataclass(frozen=True)
class Trial:
    """The runs of one plan so far: how many, and the rows a second of the fastest."""

    runs: int = 0
    rate: float = 0.0

    def then(self, rate: float) -> Trial:
        """With one run more."""
        return Trial(self.runs + 1, max(self.rate, rate))


@final
@dataclass
class ChunkSearch(Chunks):
    """The plan that gives the most rows a second, found on the first chunks of real work.

    The memory formats are compared at the first size; then the size doubles while that pays. Chunks
    that fit the cache beat chunks that fit the memory, often by three to one, and so the first size
    that does not pay ends the search. Trying what turns out slower costs some hundred rows, which
    short work does not earn back: the first rows of a model are cut by size, without a clock.

    Settings:
        memory_formats: how many may be tried.
        first: rows of the first chunk.
        limit: rows of the largest chunk.
        fixed: rows of every chunk, in the plain format: nothing is searched.
        best: the plan to run from now on, once it is known.
        runs_per_plan: runs after which a plan is judged.
        purpose: the kind of work, under which plans are noted.
        by_size: whether the plan follows from the number of elements instead of a clock.
    """

    memory_formats: int = 1
    first: int = _FIRST
    limit: int = 1 << 16
    fixed: int | None = None
    best: Plan | None = None
    runs_per_plan: int = 2
    purpose: str = ""
    by_size: bool = False
    _cells: float = 0.0
    _affordable_rows: int = 1 << 16
    _announced: float = math.inf
    _rates: dict[Plan, float] = field(default_factory=dict)
    _trial: Trial = field(default_factory=Trial)
    _tried: Plan | None = None

    def __post_init__(self) -> None:
        if self.fixed is not None:
            self.best = Plan(self.fixed)

    def sized(self, elements: int, share: float = 1.0, total: int | None = None) -> ChunkSearch:
        """The same search, told what comes; see `Chunks.sized`."""
        self._cells = max(1, elements * share)
        self._affordable_rows = _affordable(elements)
        if total is not None:
            before = 0.0 if math.isinf(self._announced) else self._announced
            self._announced = before + total
        if self._rates or self._trial.runs:
            return self
        # Patches also build their index tables in the first runs: four tell, where two do else.
        self.runs_per_plan = 2 if share == 1.0 else 4
        # A power of two between 8 and 64 rows whose elements fit the cache.
        fitting = (_CACHE // max(1, elements)).bit_length() - 1
        self.first = min(1 << max(3, min(6, fitting)), _affordable(elements))
        self.limit = min(self.limit, max(self.first, int(_MOST / self._cells)))
        return self

    @property
    def _clock_stands(self) -> bool:
        if self.fixed is not None:
            return False
        short = self.best is None and self._announced < _SEARCH_FROM
        return short or self.by_size or _reproducible.get()

    def next_plan(self) -> Plan:
        """The plan of the next chunk."""
        # What the clock found before does not count where it must not be read.
        if self._clock_stands:
            return self._plan_by_size()
        if self.best is not None:
            return self.best
        # A plan is run several times before it is judged.
        if self._tried is not None and self._trial.runs:
            return self._tried
        # The memory formats are compared first, at the first size.
        for memory_format in range(self.memory_formats):
            plan = Plan(self.first, memory_format)
            if plan not in self._rates:
                return plan
        # Then the size doubles, in the format that was fastest.
        largest = max(plan.rows for plan in self._rates)
        fastest = max(self._rates, key=self._rates.__getitem__)
        return Plan(largest * 2, fastest.memory_format)

    def _plan_by_size(self) -> Plan:
        """The largest power of two whose elements fit the cache, in the last memory format: for
        convolutions that is channels-last, in which they are fastest nearly everywhere.
        """
        fewest, most = _REPRODUCIBLE_ROWS
        fitting = int(_UNTIMED / max(1.0, self._cells))
        rows = 1 << max(fitting.bit_length() - 1, 0)
        rows = min(max(rows, fewest), most, self.limit, self._affordable_rows)
        return Plan(rows, self.memory_formats - 1)

    def observe(self, plan: Plan, rows: int, seconds: float) -> None:
        """Learns from a finished chunk; one that was cut short teaches nothing."""
        cut_short = rows != plan.rows
        if self.best is not None or self._clock_stands or cut_short:
            return
        self._tried = plan
        self._trial = self._trial.then(rows / max(seconds, 1e-9))
        # The first run of a shape also builds its kernels, so the fastest of several runs counts.
        if self._trial.runs < self.runs_per_plan and seconds < _SLOW:
            return
        rate = self._trial.rate
        best_before = max(self._rates.values(), default=0.0)
        self._rates[plan] = rate
        self._trial = Trial()
        # Doubling has stopped paying once the chunk falls out of the cache; a tiny chunk is mostly
        # bookkeeping and proves nothing.
        doubled = plan.rows > self.first
        stopped_paying = doubled and rate < _WORTH * best_before and plan.rows / rate >= _TINY
        at_the_limit = plan.rows * 2 > self.limit
        if (stopped_paying or at_the_limit) and len(self._rates) >= self.memory_formats:
            self.best = max(self._rates, key=self._rates.__getitem__)

    def halve(self) -> None:
        """Halves the chunk after the memory ran out."""
        plan = self.next_plan()
        self.limit = max(1, plan.rows // 2)
        self.best = Plan(self.limit, plan.memory_format)


def _affordable(elements: int) -> int:
    """The most rows, a power of two, that a first chunk may have: what a network makes of a row of
    many elements is many times as large, and memory that runs out late is halved late.
    """
    rows = max(1, _UNMEASURED // max(1, elements))
    return 1 << (rows.bit_length() - 1)


@final
class Replay(Chunks):
    """The chunks of an earlier answer, one by one and without a clock.

    The first chunk that an answer runs of this kind of work gets the first plan, and so on; when
    the plans are used up, or outside of an answer, the last one goes on.
    """

    def __init__(self, purpose: str, runs: PlanRuns) -> None:
        self.purpose = purpose
        self._runs = runs
        self._limit: int | None = None

    def next_plan(self) -> Plan:
        """The plan of the next chunk."""
        plan = self._planned()
        rows = plan.rows if self._limit is None else min(plan.rows, self._limit)
        return Plan(rows, plan.memory_format)

    def _planned(self) -> Plan:
        open_tallies = _tallies.get()
        last = Plan(*self._runs[-1][:2])
        if not open_tallies:
            return last
        # The innermost tally is that of the answer: it knows how many chunks there have been.
        chunk = open_tallies[-1].chunks(self.purpose)
        # Which of the runs holds that number.
        for rows, memory_format, chunks in self._runs:
            if chunk < chunks:
                return Plan(rows, memory_format)
            chunk -= chunks
        return last

    def halve(self) -> None:
        """Halves the chunk after the memory ran out, here if not in the earlier answer."""
        self._limit = max(1, self.next_plan().rows // 2)


@final
@dataclass(frozen=True)
class Chunking:
    """What a model's owner says about chunks; nothing, by default: the clock finds them.

    Settings:
        batch_size: rows of every chunk, in the plain memory format.
        plan: plans of an earlier answer by purpose (`Tally.plans`), which are repeated.
        reproducible: whether chunks follow from the number of elements instead of a clock.
    """

    batch_size: int | None = None
    plan: Mapping[str, PlanRuns] | None = None
    reproducible: bool = False


@final
class ChunkSearches:
    """The chunks of one model, kind of work by kind of work; its wrapper owns them."""

    def __init__(self, chunking: Chunking, memory_formats: int, limit: int) -> None:
        self._chunking = chunking
        self._memory_formats = memory_formats
        self._limit = limit
        self._searches: dict[str, Chunks] = {}

    def of(self, purpose: str) -> Chunks:
        """The chunks of one kind of work, with all that has been learnt of it."""
        if purpose not in self._searches:
            self._searches[purpose] = self._new(purpose)
        return self._searches[purpose]

    def _new(self, purpose: str) -> Chunks:
        chunking = self._chunking
        if chunking.plan is not None and purpose in chunking.plan:
            return Replay(purpose, chunking.plan[purpose])
        return ChunkSearch(
            memory_formats=self._memory_formats,
            limit=self._limit,
            fixed=chunking.batch_size,
            purpose=purpose,
            # Work that a plan does not know is not left to the clock either.
            by_size=chunking.reproducible or chunking.plan is not None,
        )


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that a chunk was too large."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def run(
    total: int,
    work: Callable[[int, int, int], None],
    chunks: Chunks,
    what: str = "",
    unit: int = 1,
) -> None:
    """Calls `work(start, stop, memory_format)` over 0..total, chunk by chunk.

    `unit` rows that belong together share a chunk if one holds them; `what` names the bar.
    """
    start = 0
    with contextlib.ExitStack() as stack:
        progress = _Progress(total, what, stack)
        while start < total:
            plan = chunks.next_plan()
            rows = _whole_units(plan.rows, unit)
            stop = min(start + rows, total)
            began = time.perf_counter()
            try:
                work(start, stop, plan.memory_format)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error) or plan.rows <= 1:
                    raise
                chunks.halve()
                continue
            seconds = time.perf_counter() - began
            # A chunk of whole units is judged as if it held all rows of its plan.
            full = stop - start == rows
            chunks.observe(plan, plan.rows if full else 0, seconds * plan.rows / rows)
            _note(chunks.purpose, plan)
            start = stop
            progress.show(start)


def _whole_units(rows: int, unit: int) -> int:
    """The most rows up to `rows` that are whole units, where there is room for one."""
    return rows // unit * unit if rows >= unit else rows


def _note(purpose: str, plan: Plan) -> None:
    """Notes the plan of a finished chunk in every tally that is open."""
    if purpose:
        for open_tally in _tallies.get():
            open_tally.add_plan(purpose, plan)


def visible() -> bool:
    """Whether anyone watches: a terminal or a notebook, and nobody asked for quiet."""
    return not _quiet.get() and (sys.stderr.isatty() or _in_notebook())


def _in_notebook() -> bool:
    """Whether a notebook can show a bar: without ipywidgets it would show a warning for each."""
    return "ipykernel" in sys.modules and importlib.util.find_spec("ipywidgets") is not None


@final
class _Progress:
    """A bar that appears once the work is forecast to be long, if anyone watches, and lines of the
    log "assay": the rows that are planned, then those that are done and the time that is left.
    """

    def __init__(self, total: int, what: str, stack: contextlib.ExitStack) -> None:
        self._total = total
        self._what = what
        self._stack = stack
        self._began = time.perf_counter()
        self._update: Callable[[int], None] | None = None
        self._said: float | None = None

    def show(self, done: int) -> None:
        """Tells how many rows are done."""
        now = time.perf_counter()
        forecast = (now - self._began) * self._total / done
        self._say(done, now, forecast)
        long = done < self._total and forecast > _SHOW_AFTER
        if self._update is None and long and visible():
            self._update = self._stack.enter_context(_bar(self._total, self._what))
        if self._update is not None:
            self._update(done)

    def _say(self, done: int, now: float, forecast: float) -> None:
        """One line of the log when long work has been forecast, then one every some seconds."""
        if done < self._total and self._said is None and forecast > _SAY_AFTER:
            self._said = now
            _LOG.info(
                "%s: %d rows to ask, about %s",
                self._what or "model",
                self._total,
                _spoken(forecast),
            )
        elif self._said is not None and (now - self._said > _SAY_EVERY or done == self._total):
            self._said = now
            left = _spoken(forecast - (now - self._began))
            _LOG.info(
                "%s: %d of %d rows asked, %s left", self._what or "model", done, self._total, left
            )


def _spoken(seconds: float) -> str:
    """A time as hours, minutes and seconds.

    >>> _spoken(3725.4), _spoken(0.2)
    ('1:02:05', '0:00:00')
    """
    minutes, rest = divmod(round(max(seconds, 0.0)), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


@contextlib.contextmanager
def _bar(total: int, what: str) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns: list[Any] = [
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    ]
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what or "model rows", total=total)
        yield lambda done: progress.update(task, completed=done)
