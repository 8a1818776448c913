"""Side-by-side measurement: alternating pairs, medians, JSON, and the table of `bench/README.md`.

`python bench/harness.py` runs every family in a fresh process and renders the table;
`python bench/bench_x.py` runs one family, `--quick` with a single pair. This file imports neither
torch nor assay at its top, so that a parent of processes whose memory or import time is measured
stays small. Nothing is set by an import: every family calls `conditions()` first in its `main()`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
THREADS = 2
CLOCKS = ("wall", "processor")
PEERS = (
    "assay", "torch", "captum", "quantus", "shap", "shapiq", "lime", "xgboost", "lightgbm",
    "woodelf_explainer",
)  # fmt: skip
START = "<!-- results -->"
END = "<!-- end of results -->"


@dataclass(frozen=True)
class Result:
    """One row of the table: what was measured, both medians, and the ratio that is promised."""

    name: str
    peer: str
    ours: float
    theirs: float
    ratio: float
    target: float | None
    unit: str = "s"
    settings: str = ""
    spread: tuple[float, float] = (float("nan"), float("nan"))
    facts: dict[str, Any] = field(default_factory=dict)


def arguments(description: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="one pair instead of several")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--peers", action="store_true", help="the peers' side alone")
    options = parser.parse_args()
    if options.quick:
        options.pairs = 1
    return options


def conditions() -> None:
    """The same threads, warnings and seed for both sides; called first in `main()`."""
    import torch
    from threadpoolctl import threadpool_limits

    warnings.filterwarnings("ignore")
    torch.set_num_threads(THREADS)
    # Holds the thread pools of every library loaded so far (OpenMP, BLAS), whoever loaded it.
    threadpool_limits(THREADS)
    torch.manual_seed(0)


def seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def clocks(work: Callable[[], Any]) -> tuple[float, float]:
    """Wall and processor seconds; the latter count where other programs keep the machine busy."""
    wall = time.perf_counter()
    processor = time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - processor


@dataclass(frozen=True)
class Bench:
    """One family: measures its cases and keeps the results."""

    family: str
    options: argparse.Namespace
    results: list[Result] = field(default_factory=list)

    def wanted(self, name: str) -> bool:
        return self.options.only in name

    def pair(
        self,
        name: str,
        peer: str,
        ours: Callable[[], Any],
        theirs: Callable[[], Any],
        target: float | None = None,
        *,
        settings: str = "",
        pairs: int | None = None,
        warm: bool = True,
        times: int = 1,
        clock: Literal["wall", "processor"] = "wall",
        **facts: Any,
    ) -> None:
        """Times both in turn; the ratio is the median over pairs: a slow moment hits both.

        Processor seconds (of all threads) count also where other programs keep the machine busy; the
        ratio by the other clock is among the facts. A peer whose time grows with its rows alone may
        be asked about 1 / `times` of them.
        """
        if not self.wanted(name):
            return
        nan = float("nan")
        if self.options.peers:
            spent = times * clocks(theirs)[CLOCKS.index(clock)]
            self.keep(Result(name, peer, nan, spent, nan, target, "s", settings))
            return
        if warm:
            ours()
            theirs()
        count = min(pairs or self.options.pairs, self.options.pairs)
        both = [(clocks(ours), clocks(theirs)) for _ in range(count)]
        ratios = {
            kind: [mine[index] / (times * other[index]) for mine, other in both]
            for index, kind in enumerate(CLOCKS)
        }
        index = CLOCKS.index(clock)
        mine = statistics.median(pair[0][index] for pair in both)
        other = times * statistics.median(pair[1][index] for pair in both)
        beside = "processor" if clock == "wall" else "wall"
        facts |= {"pairs": count, f"{beside}_ratio": statistics.median(ratios[beside])}
        if clock == "processor":
            settings += "; processor seconds"
        if times > 1:
            settings += f"; the peer timed at 1/{times} of the rows"
        spread = (min(ratios[clock]), max(ratios[clock]))
        ratio = statistics.median(ratios[clock])
        self.keep(Result(name, peer, mine, other, ratio, target, "s", settings, spread, facts))

    def keep(self, result: Result) -> None:
        self.results.append(result)
        print(line(result), flush=True)
        # Row by row: a run that is ended early has not been for nothing.
        self.save()

    def best(self, choices: Sequence[Any], work: Callable[[Any], Any], repeats: int = 3) -> Any:
        """The fastest of several settings of a peer, by the median of a few runs each."""
        repeats = 1 if self.options.quick else repeats
        times = {
            choice: statistics.median(seconds(lambda c=choice: work(c)) for _ in range(repeats))
            for choice in choices
        }
        print(
            "  " + ", ".join(f"{choice}: {spent:.3f} s" for choice, spent in times.items()),
            flush=True,
        )
        return min(times, key=lambda choice: times[choice])

    def save(self) -> None:
        """Keeps the rows measured now beside earlier rows of the family, and renders the table.

        A run of the peers alone, or a quick one, prints and keeps nothing.
        """
        if self.options.peers or self.options.quick:
            return
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{self.family}.json"
        old = json.loads(path.read_text())["rows"] if path.exists() else []
        new = [asdict(result) for result in self.results]
        fresh = {(row["name"], row["peer"]) for row in new}
        rows = [row for row in old if (row["name"], row["peer"]) not in fresh] + new
        path.write_text(
            json.dumps({"family": self.family, "machine": machine(), "rows": rows}, indent=1) + "\n"
        )
        render()


def machine() -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "threads": THREADS,
        "processor": platform.machine(),
        "python": platform.python_version(),
        "versions": {name: installed(name) for name in PEERS},
    }


def installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def number(value: float, unit: str) -> str:
    if value != value:
        return "-"
    return f"{value:.3g} {unit}"


def line(result: Result) -> str:
    """One row of the table, as markdown."""
    ratio = "-" if result.ratio != result.ratio else f"{result.ratio:.3g}"
    target = "" if result.target is None else f"{result.target:g}"
    met = ""
    if result.target is not None and result.ratio == result.ratio:
        met = "yes" if result.ratio <= result.target else "no"
    ours = number(result.ours, result.unit)
    theirs = number(result.theirs, result.unit)
    cells = (result.name, result.peer, ours, theirs, ratio, target, met, result.settings)
    return f"| {' | '.join(cells)} |"


def render() -> None:
    """Writes every kept result into the table of the README, between its markers."""
    text = [
        "",
        "| what | beside | assay | peer | ratio | at most | met | settings |",
        "|---|---|---|---|---|---|---|---|",
    ]
    versions: dict[str, str] = {}
    for path in sorted(RESULTS.glob("*.json")):
        kept = json.loads(path.read_text())
        found = kept["machine"]["versions"]
        # Families are measured in several environments, which lack one another's peers.
        versions |= {name: number_ for name, number_ in found.items() if number_ != "absent"}
        text += [line(Result(**{**row, "spread": tuple(row["spread"])})) for row in kept["rows"]]
    named = ", ".join(
        f"{name} {number_}" for name, number_ in versions.items() if number_ != "absent"
    )
    text += ["", f"Versions: {named}; {THREADS} threads.", ""]
    readme = HERE / "README.md"
    page = readme.read_text()
    head, rest = page.split(START)
    readme.write_text(head + START + "\n".join(text) + END + rest.split(END)[1])


def child(code: str, *arguments: str) -> str:
    """What a fresh Python prints last; its errors are shown."""
    environment = {
        **os.environ,
        # Read by the libraries as they load: in a fresh process that is the earliest moment.
        "OMP_NUM_THREADS": str(THREADS),
        "PYTHONWARNINGS": "ignore",
    }
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=HERE,  # where `import harness` finds this file
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(
            f"the measured process ended with {done.returncode}:\n{done.stderr[-2000:]}"
        )
    return done.stdout.strip().splitlines()[-1]


def peak_megabytes() -> float:
    """The most memory this process ever held (Linux counts kilobytes, macOS bytes)."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def main() -> None:
    failed = []
    for path in sorted(HERE.glob("bench_*.py")):
        print(f"\n{path.stem}", flush=True)
        if subprocess.run([sys.executable, str(path), *sys.argv[1:]], check=False).returncode:
            failed.append(path.stem)
    if failed:
        raise SystemExit(f"did not finish: {', '.join(failed)}")


if __name__ == "__main__":
    main()
