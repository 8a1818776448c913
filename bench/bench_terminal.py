"""What a person waits for: `assay --help`, and the page about the demo's comparison.

Both have a limit of their own and no peer: the second column is that limit.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import harness

HELP = 0.3  # seconds of processor time
PAGE = 2.0  # seconds


def help_seconds() -> float:
    """Processor time of one call: what other programs do meanwhile is not counted."""
    before = os.times()
    subprocess.run([sys.executable, "-m", "assay", "--help"], capture_output=True, check=True)
    after = os.times()
    user = after.children_user - before.children_user
    return user + after.children_system - before.children_system


def page_seconds(repeats: int) -> list[float]:
    """The page about sixteen digits, by every method and metric of the demo."""
    from assay.cli import demo

    comparison = demo.run()
    # The rankings belong to the comparison, and are computed once.
    assert comparison.rankings
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(repeats):
            start = time.perf_counter()
            demo.write(comparison, Path(folder) / "page.html")
            seconds.append(time.perf_counter() - start)
    return seconds


def main() -> None:
    bench = harness.Bench("terminal", harness.arguments(__doc__))
    harness.conditions()
    repeats = 1 if bench.options.quick else 5
    if bench.options.peers:
        return
    measured = {
        "assay --help, processor time": (
            statistics.median(help_seconds() for _ in range(repeats)),
            HELP,
        ),
        "the page about the demo": (statistics.median(page_seconds(repeats)), PAGE),
    }
    for name, (ours, limit) in measured.items():
        settings = f"median of {repeats}"
        bench.keep(harness.Result(name, "its limit", ours, limit, ours / limit, 1.0, "s", settings))
    bench.save()


if __name__ == "__main__":
    main()
