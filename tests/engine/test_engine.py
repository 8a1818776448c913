"""The one place that runs batches: chunks, memory that runs out, counting, and progress."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import assay
from assay import engine
from assay.engine import ChunkSearch, Plan, Replay
from toys import FEATURES, randn, tanh_net


def covered(
    total: int, pace: ChunkSearch, work: Callable[[int, int], None] = lambda a, b: None
) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []

    def note(start: int, stop: int, layout: int) -> None:
        work(start, stop)
        spans.append((start, stop))

    engine.run(total, note, pace)
    return spans


@given(st.integers(1, 3000), st.one_of(st.none(), st.integers(1, 500)), st.integers(1, 2))
def test_every_row_is_run_once_and_in_order(total: int, fixed: int | None, layouts: int) -> None:
    spans = covered(total, ChunkSearch(memory_formats=layouts, fixed=fixed))
    assert [a for a, _ in spans] == [0, *(b for _, b in spans[:-1])]
    assert spans[-1][1] == total
    if fixed is not None:
        assert all(b - a == fixed for a, b in spans[:-1])


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("no"), MemoryError(), RuntimeError("can't allocate memory")]
)
@pytest.mark.parametrize("fixed", [None, 64])
def test_a_chunk_is_halved_until_it_fits(error: BaseException, fixed: int | None) -> None:
    def work(start: int, stop: int) -> None:
        if stop - start > 5:
            raise error

    pace = ChunkSearch(fixed=fixed)
    spans = covered(100, pace, work)
    assert max(b - a for a, b in spans) <= 5
    assert sum(b - a for a, b in spans) == 100
    assert pace.next_plan()[0] <= 5  # the next run starts where it fits


def test_one_row_that_does_not_fit_is_an_error() -> None:
    def work(start: int, stop: int) -> None:
        raise MemoryError

    with pytest.raises(MemoryError):
        covered(10, ChunkSearch(), work)


def test_other_errors_are_not_swallowed() -> None:
    def work(start: int, stop: int) -> None:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        covered(10, ChunkSearch(), work)


@pytest.mark.parametrize("best", [64, 256])
def test_the_pace_finds_the_fastest_chunk(best: int) -> None:
    pace = ChunkSearch(memory_formats=2)
    for _ in range(60):
        plan = pace.next_plan()
        size, layout = plan
        rate = 1000.0 / (1 + abs(size - best) / best) * (1.5 if layout == 1 else 1.0)
        pace.observe(plan, size, size / rate)
    assert pace.best == (best, 1)


def test_layouts_are_compared_where_rows_are_too_large_for_a_larger_chunk() -> None:
    pace = ChunkSearch(memory_formats=2).sized(3 * 224 * 224)
    for _ in range(20):
        plan = pace.next_plan()
        size, layout = plan
        pace.observe(plan, size, size / (150.0 if layout == 1 else 100.0))
    assert pace.best == (pace.first, 1)


def test_a_pace_of_patches_is_judged_when_the_places_are_known() -> None:
    """The first runs of a layout also find out where its patches lie: the fourth one tells."""
    pace = ChunkSearch(memory_formats=2).sized(3 * 224 * 224, share=1 / 16)
    runs = {0: 0, 1: 0}
    for _ in range(60):
        plan = pace.next_plan()
        size, layout = plan
        runs[layout] += 1
        rate = 100.0 if layout == 0 else (400.0 if runs[1] > 3 else 50.0)
        pace.observe(plan, size, size / rate)
    assert pace.best is not None
    assert pace.best[1] == 1
    assert pace.limit > ChunkSearch().sized(3 * 224 * 224).limit


def test_a_chunk_cut_short_teaches_nothing() -> None:
    pace = ChunkSearch()
    before = pace.next_plan()
    for _ in range(10):
        pace.observe(before, before[0] - 1, 0.001)
    assert pace.next_plan() == before


def test_a_chunk_never_grows_past_the_memory_that_was_there() -> None:
    pace = ChunkSearch()
    for _ in range(4):
        pace.observe(pace.next_plan(), pace.next_plan()[0], 1e-3)
    pace.halve()
    limit = pace.next_plan()[0]
    for _ in range(20):
        pace.observe(pace.next_plan(), pace.next_plan()[0], 1e-3)
    assert pace.next_plan()[0] <= limit


# --- the same bytes twice


@given(st.integers(1, 3000), st.integers(1, 300), st.integers(0, 10**6))
def test_a_fixed_chunk_fixes_the_memory_format(total: int, fixed: int, seed: int) -> None:
    formats: list[int] = []
    search = ChunkSearch(memory_formats=2, fixed=fixed)
    engine.run(total, lambda start, stop, memory_format: formats.append(memory_format), search)
    assert set(formats) == {0}


def test_without_a_clock_the_plan_follows_from_the_number_of_elements() -> None:
    expected = {4: 4096, 784: 256, 3 * 32 * 32: 128, 3 * 224 * 224: 8}
    for elements, rows in expected.items():
        search = ChunkSearch(memory_formats=2, by_size=True).sized(elements)
        for seconds in (1.0, 1e-3, 10.0, 1e-6):
            assert search.next_plan() == (rows, 1)
            search.observe(search.next_plan(), rows, seconds)
    assert ChunkSearch(by_size=True, limit=16).sized(784).next_plan() == (16, 0)


def test_inside_the_block_what_a_clock_found_is_not_used() -> None:
    search = ChunkSearch(memory_formats=2, best=Plan(512)).sized(784)
    assert search.next_plan() == (512, 0)
    with engine.reproducible():
        assert search.next_plan() == (256, 1)
        assert ChunkSearch(fixed=7).sized(784).next_plan() == (7, 0)
    assert search.next_plan() == (512, 0)


def test_short_work_is_not_searched() -> None:
    """Trying what turns out slower costs hundreds of rows: the first thousand are cut by size."""
    search = ChunkSearch(memory_formats=2)
    for _ in range(2):
        search = search.sized(784, total=500)
        assert search.next_plan() == (256, 1)
        search.observe(search.next_plan(), 256, 1e-3)
    # What follows is long enough for a search from its first plan on.
    search = search.sized(784, total=500)
    assert search.next_plan() == (64, 0)


def test_without_a_clock_memory_that_runs_out_still_halves() -> None:
    def work(start: int, stop: int) -> None:
        if stop - start > 5:
            raise MemoryError

    search = ChunkSearch(by_size=True).sized(784)
    assert max(b - a for a, b in covered(100, search, work)) <= 5
    replay = Replay("work", [[64, 0, 1]])
    assert max(b - a for a, b in covered(100, replay, work)) <= 5


@given(st.lists(st.integers(1, 400), min_size=1, max_size=6), st.integers(0, 10**6))
def test_a_replay_runs_the_chunks_of_a_search_whatever_the_shards(
    totals: list[int], seed: int
) -> None:
    """Several runs of different sizes inside one answer, searched with times from a die."""

    def spans(chunks: engine.Chunks) -> tuple[list[tuple[int, int, int]], Any]:
        noted: list[tuple[int, int, int]] = []
        with engine.tally() as spent:
            for total in totals:
                engine.run(total, lambda *span: noted.append(span), chunks)
        return noted, spent.plans

    search = ChunkSearch(memory_formats=2, first=4, purpose="work")
    draws = torch.rand(1000, generator=torch.Generator().manual_seed(seed)).tolist()
    clock = itertools.accumulate(itertools.cycle(draws))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
        first, plans = spans(search)
    # Through a file and back, and twice: a replay starts anew with every answer.
    plans = json.loads(json.dumps(plans))
    replay = Replay("work", plans["work"])
    for _ in range(2):
        again, noted = spans(replay)
        assert again == first
        assert noted == plans


def test_tallies_count_inside_each_other() -> None:
    with engine.tally() as outer:
        engine.count(3)
        with engine.tally() as inner:
            engine.count(4, backward=True)
        engine.count(1)
    engine.count(100)
    assert (outer.forwards, outer.backwards, inner.forwards, inner.backwards) == (4, 4, 0, 4)


# --- progress


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """What bars were shown, with the rows done at each update."""
    shown: list[list[int]] = []

    @contextmanager
    def bar(total: int, what: str) -> Iterator[Callable[[int], None]]:
        shown.append([])
        yield shown[-1].append

    monkeypatch.setattr(engine, "_bar", bar)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    return shown


def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_SHOW_AFTER", 0.0)


def ask() -> Any:
    return assay.Question(
        assay.wrap(tanh_net(), batch_size=4), randn(20, FEATURES), target=0
    ).prediction


def test_work_with_a_long_forecast_shows_a_bar(
    monkeypatch: pytest.MonkeyPatch, bars: list[list[int]]
) -> None:
    slow(monkeypatch)
    ask()
    assert bars[0] == [4, 8, 12, 16, 20]


def test_short_work_shows_none(bars: list[list[int]]) -> None:
    ask()
    assert bars == []


def test_none_where_nobody_watches_or_quiet_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, bars: list[list[int]]
) -> None:
    slow(monkeypatch)
    with assay.quiet():
        ask()
    monkeypatch.setattr("sys.stderr.isatty", lambda: False, raising=False)
    ask()
    assert bars == []


def test_a_bar_writes_to_the_error_stream_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    slow(monkeypatch)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    ask()
    assert capsys.readouterr().out == ""


def test_memory_does_not_grow_with_the_number_of_masks_or_inputs() -> None:
    """The largest chunk a model sees, and the largest tensor a shard holds, stay where they are."""
    seen: list[int] = []

    class Net(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(x.numel())
            return x.sum(1)

    net = Net().eval()
    most = []
    for masks in (100, 10_000):
        seen.clear()
        question = assay.Question(assay.wrap(net, batch_size=64), randn(3, FEATURES))
        question.value(torch.ones(masks, FEATURES, dtype=torch.bool))
        most.append(max(seen))
    assert most == [64 * FEATURES] * 2
    sizes = {
        n: [p.x.numel() for p in assay.Question(net, torch.zeros(n, 1024)).shards()]
        for n in (100, 10_000)
    }
    assert max(sizes[10_000]) <= 1 << 20
    assert sum(sizes[10_000]) == 10_000 * 1024


@pytest.mark.parametrize("held", [engine.torch_in_one_thread, engine.one_thread])
def test_torch_keeps_to_one_thread_and_gets_its_threads_back(held: Any) -> None:
    before = torch.get_num_threads()
    inside: list[int] = []

    def broken() -> None:
        with held():
            inside.append(torch.get_num_threads())
            raise KeyError

    try:
        torch.set_num_threads(2)
        with pytest.raises(KeyError):
            broken()
        assert (inside, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(before)
