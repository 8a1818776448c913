"""Long work says what is planned, what is done and what is left, to whoever listens to the log."""

from __future__ import annotations

import logging

import pytest

from assay import engine
from assay.engine import ChunkSearch


def lines(caplog: pytest.LogCaptureFixture, seconds_each: float, monkeypatch: object) -> list[str]:
    clock = [0.0]

    def work(start: int, stop: int, layout: int) -> None:
        clock[0] += seconds_each * (stop - start)

    monkeypatch.setattr(engine.time, "perf_counter", lambda: clock[0])  # type: ignore[attr-defined]
    with caplog.at_level(logging.INFO, logger="assay"):
        engine.run(1000, work, ChunkSearch(fixed=10), "model f")
    return [record.getMessage() for record in caplog.records if record.name == "assay"]


def test_long_work_is_forecast_and_shows_that_it_lives(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = lines(caplog, 0.1, monkeypatch)
    assert said[0] == "model f: 1000 rows to ask, about 0:01:40"
    assert said[1] == "model f: 120 of 1000 rows asked, 0:01:28 left"
    assert said[-1] == "model f: 1000 of 1000 rows asked, 0:00:00 left"
    # One second a chunk: a line every ten of them or so, not one for each.
    assert 8 <= len(said) <= 12


def test_short_work_says_nothing(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lines(caplog, 0.001, monkeypatch) == []
