"""The one place that runs batches: it picks the chunk by measuring, halves it on out-of-memory, counts, and shows progress."""

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


def count(rows: int, *, backward: bool = False) -> None:
    """Adds rows to every tally that is open."""
    for each in _tallies.get():
        if backward:
            each.backwards += rows
        else:
            each.forwards += rows


@final
@dataclass
class Pace:
    """The chunk and memory layout that give the most rows a second, found on the first chunks of real work.

    The size doubles while the throughput grows; then the other layouts are tried once at the best size. Chunks that fit the
    cache beat chunks that fit the memory, often by three to one.
    """

    layouts: int = 1
    limit: int = 1 << 16
    fixed: int | None = None
    best: tuple[int, int] | None = None
    _rates: dict[tuple[int, int], float] = field(default_factory=dict)
    _pending: tuple[int, int] = (_FIRST, 0)
    _seen: int = 0
    _patience: int = 1

    def propose(self) -> tuple[int, int]:
        """The next (chunk, layout) to run."""
        if self.fixed is not None:
            return self.fixed, 0
        return self.best or self._pending

    def record(self, plan: tuple[int, int], rows: int, seconds: float) -> None:
        """Learns from a finished chunk; a chunk that was cut short teaches nothing."""
        if self.fixed is not None or self.best is not None or plan != self._pending or rows != plan[0]:
            return
        self._rates[plan] = max(self._rates.get(plan, 0.0), rows / max(seconds, 1e-9))
        self._seen += 1
        if self._seen >= (1 if seconds > 0.2 else 2):  # the first run of a shape also builds its kernels
            self._seen = 0
            self._advance(plan)

    def _advance(self, plan: tuple[int, int]) -> None:
        size, layout = plan
        top = max(self._rates, key=self._rates.__getitem__)
        if layout == 0:
            improving = top == plan and self._rates[plan] >= 1.02 * max(
                (rate for other, rate in self._rates.items() if other != plan), default=0.0
            )
            self._patience = 1 if improving else self._patience - 1
            if self._patience >= 0 and size * 2 <= self.limit:
                self._pending = (size * 2, 0)
                return
        if layout + 1 < self.layouts:
            self._pending = (top[0], layout + 1)
            return
        self.best = top

    def shrink(self) -> None:
        """Halves the chunk after the memory ran out."""
        size, layout = self.propose()
        self.limit = max(1, size // 2)
        self.fixed = None if self.fixed is None else max(1, self.fixed // 2)
        self.best = (self.limit, layout)


def _out_of_memory(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def run(total: int, work: Callable[[int, int, int], None], pace: Pace, what: str = "") -> None:
    """Calls `work(start, stop, layout)` over 0..total in chunks of the model's best pace."""
    start, began = 0, time.perf_counter()
    with contextlib.ExitStack() as stack:
        bar: Callable[[int], None] | None = None
        while start < total:
            plan = pace.propose()
            stop = min(start + plan[0], total)
            tick = time.perf_counter()
            try:
                work(start, stop, plan[1])
            except (RuntimeError, MemoryError) as error:
                if not _out_of_memory(error) or plan[0] <= 1:
                    raise
                pace.shrink()
                continue
            now = time.perf_counter()
            pace.record(plan, stop - start, now - tick)
            start = stop
            if bar is None and start < total and (now - began) * total / start > _SHOW_AFTER and visible():
                bar = stack.enter_context(_bar(total, what))
            if bar is not None:
                bar(start)


def visible() -> bool:
    """Whether anyone watches: a terminal or a notebook, and nobody asked for quiet."""
    return not _quiet.get() and (sys.stderr.isatty() or "ipykernel" in sys.modules)


@contextlib.contextmanager
def _bar(total: int, what: str) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns: list[Any] = [TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %")]
    columns += [TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn()]
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what or "model rows", total=total)
        yield lambda done: progress.update(task, completed=done)
