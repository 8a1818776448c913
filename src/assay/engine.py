"""The one place that runs batches: it picks the chunk by measuring, halves it on out-of-memory,
counts, and shows progress.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, final

import torch

_FIRST = 32

_CACHE = 1 << 17  # elements of a first chunk, a guess of what the cache holds with its activations

_MOST = (
    1 << 19
)  # elements of the largest chunk: a busy moment must not talk the search into hundreds of megabytes

_TINY = 0.005  # seconds below which a chunk costs more in bookkeeping than in work: it grows whatever was measured

_SLOW = 1.0  # seconds from which one run of a chunk is enough to judge it

_WORTH = 1.05  # a chunk of twice the size must give this much more

_SHOW_AFTER = 2.0  # seconds of forecast work


@final
@dataclass
class Tally:
    """Model rows spent: forward-only rows, and rows that also went backward."""

    forwards: int = 0
    backwards: int = 0


_tallies: ContextVar[tuple[Tally, ...]] = ContextVar("tallies", default=())

_quiet: ContextVar[bool] = ContextVar("quiet", default=False)


@contextlib.contextmanager
def tally() -> Iterator[Tally]:
    """Counts the model rows spent inside the block."""
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
def one_thread() -> Iterator[None]:
    """One thread for all arithmetic inside the block.

    Small work is done before a second thread has started, and threads that wait for each other on a
    busy machine take tenfold the time.
    """
    import scipy.linalg  # noqa: F401  a library of arithmetic can be held only once it is loaded
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # comes with scikit-learn

    with threadpool_limits(1):
        yield


def count(rows: int, *, backward: bool = False) -> None:
    """Adds rows to every tally that is open."""
    for each in _tallies.get():
        if backward:
            each.backwards += rows
        else:
            each.forwards += rows


@final
@dataclass
class ChunkSearch:
    """The chunk and the memory layout that give the most rows a second, found on the first chunks
    of real work.

    The layouts are compared at the first size; then the size doubles while that pays. Chunks that
    fit the cache beat chunks that fit the memory, often by three to one, and so the first size that
    does not pay ends the search.
    """

    layouts: int = 1
    first: int = _FIRST
    limit: int = 1 << 16
    fixed: int | None = None
    best: tuple[int, int] | None = None
    tries: int = 2
    _rates: dict[tuple[int, int], float] = field(default_factory=dict)
    _runs: int = 0
    _fastest: float = 0.0
    _current: tuple[int, int] = (0, 0)

    def sized(self, elements: int, share: float = 1.0) -> ChunkSearch:
        """The same pace, whose search suits rows of so many elements, of which only a share is
        worked on.
        """
        if not self._rates and not self._runs:
            # Where a part is worked on, the first runs also find out where the parts lie.
            self.tries = 2 if share == 1.0 else 4
            self.first = 1 << max(3, min(6, (_CACHE // max(1, elements)).bit_length() - 1))
            self.limit = min(self.limit, max(self.first, int(_MOST / max(1, elements * share))))
        return self

    def next_plan(self) -> tuple[int, int]:
        """The next (chunk, layout) to run."""
        if self.best is not None:
            return self.best
        if self._runs:
            return self._current
        first = self.fixed or self.first
        untried = next(
            (layout for layout in range(self.layouts) if (first, layout) not in self._rates), None
        )
        if untried is not None:
            return first, untried
        size, layout = max(self._rates)[0], max(self._rates, key=self._rates.__getitem__)[1]
        return size * 2, layout

    def observe(self, plan: tuple[int, int], rows: int, seconds: float) -> None:
        """Learns from a finished chunk; a chunk that was cut short teaches nothing."""
        if self.best is not None or rows != plan[0]:
            return
        self._current, self._runs = plan, self._runs + 1
        self._fastest = max(self._fastest, rows / max(seconds, 1e-9))
        # The first run of a shape also builds its kernels, and so every plan is run twice or more.
        if self._runs < self.tries and seconds < _SLOW:
            return
        before, rate = max(self._rates.values(), default=0.0), self._fastest
        self._rates[plan], self._runs, self._fastest = rate, 0, 0.0
        slower = plan[0] > self.first and rate < _WORTH * before and plan[0] / rate >= _TINY
        found = self.fixed is not None or plan[0] * 2 > self.limit or slower
        if found and len(self._rates) >= self.layouts:
            self.best = max(self._rates, key=self._rates.__getitem__)

    def halve(self) -> None:
        """Halves the chunk after the memory ran out."""
        size, layout = self.next_plan()
        self.limit = max(1, size // 2)
        self.best = (self.limit, layout)


def _out_of_memory(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def run(
    total: int,
    work: Callable[[int, int, int], None],
    pace: ChunkSearch,
    what: str = "",
    unit: int = 1,
) -> None:
    """Calls `work(start, stop, layout)` over 0..total in chunks of the model's best pace, whole
    units where they hold one.
    """
    start, began = 0, time.perf_counter()
    with contextlib.ExitStack() as stack:
        bar: Callable[[int], None] | None = None
        while start < total:
            plan = pace.next_plan()
            step = max(plan[0] // unit, 1) * unit if plan[0] >= unit else plan[0]
            stop = min(start + step, total)
            tick = time.perf_counter()
            try:
                work(start, stop, plan[1])
            except (RuntimeError, MemoryError) as error:
                if not _out_of_memory(error) or plan[0] <= 1:
                    raise
                pace.halve()
                continue
            now = time.perf_counter()
            pace.observe(
                plan, plan[0] if stop - start == step else 0, (now - tick) * plan[0] / step
            )
            start = stop
            if (
                bar is None
                and start < total
                and (now - began) * total / start > _SHOW_AFTER
                and visible()
            ):
                bar = stack.enter_context(_bar(total, what))
            if bar is not None:
                bar(start)


def visible() -> bool:
    """Whether anyone watches: a terminal or a notebook, and nobody asked for quiet."""
    return not _quiet.get() and (sys.stderr.isatty() or "ipykernel" in sys.modules)


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
    ]
    columns += [TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn()]
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what or "model rows", total=total)
        yield lambda done: progress.update(task, completed=done)
