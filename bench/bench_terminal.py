"""What a person waits for: help, a word offered at the TAB, and the page about the demo's comparison.

Each has a limit of its own and no peer: the second column is that limit. All are seconds of the
processor, so that what other programs do meanwhile is not counted.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import harness

HELP = 0.3  # seconds
TAB = 0.2
PAGE = 2.0

ASSAY = [sys.executable, "-m", "assay"]
# As the script that typer installs in bash asks it.
TYPED = {
    "_ASSAY_COMPLETE": "complete_bash",
    "COMP_WORDS": "assay explain model.py:net d.csv --method Ker",
    "COMP_CWORD": "5",
}


def call_seconds(call: list[str], **environment: str) -> float:
    """Processor time of one call."""
    before = os.times()
    subprocess.run(call, capture_output=True, check=False, env={**os.environ, **environment})
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
            written: Callable[[], object] = lambda: demo.write(comparison, Path(folder) / "a.html")  # noqa: E731
            _, processor = harness.clocks(written)
            seconds.append(processor)
    return seconds


def main() -> None:
    bench = harness.Bench("terminal", harness.arguments(__doc__))
    harness.conditions()
    repeats = 1 if bench.options.quick else 5
    if bench.options.peers:
        return
    typed = [sys.executable, "-c", "from assay.cli.app import app; app(prog_name='assay')"]
    cases: dict[str, tuple[Callable[[], list[float]], float]] = {
        "assay --help": (lambda: [call_seconds([*ASSAY, "--help"]) for _ in range(repeats)], HELP),
        "assay explain --help": (
            lambda: [call_seconds([*ASSAY, "explain", "--help"]) for _ in range(repeats)],
            HELP,
        ),
        "a method offered at the TAB": (
            lambda: [call_seconds(typed, **TYPED) for _ in range(repeats)],
            TAB,
        ),
        "the page about the demo": (lambda: page_seconds(repeats), PAGE),
    }
    for name, (measured, limit) in cases.items():
        if not bench.wanted(name):
            continue
        seconds = measured()
        ours = statistics.median(seconds)
        settings = f"processor time, median of {repeats}"
        spread = (min(seconds) / limit, max(seconds) / limit)
        bench.keep(
            harness.Result(name, "its limit", ours, limit, ours / limit, 1.0, "s", settings, spread)
        )
    bench.save()


if __name__ == "__main__":
    main()
