"""Random situations, thousands of them: how many are answered, refused, foreign or wrong.

`python studies/fuzz.py --situations 10000 --seed 0` runs them (tests/fuzz says what they are) in two
processes and writes docs/studies/fuzz.csv, one line a situation that is foreign, wrong or slow, and
the tables of docs/studies/fuzz.md. One is looked at with
`PYTHONPATH=tests python -m fuzz.run SEED --verbose`.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

from page import REPOSITORY, Page

PAGE = Page("fuzz")
OUTCOMES = ("answered", "refused", "foreign", "wrong", "slow", "crashed")
PATIENCE = 120  # seconds without a line before a process is ended

Record = dict[str, Any]


def _environment() -> dict[str, str]:
    paths = [str(REPOSITORY / part) for part in ("src", "tests")]
    before = os.environ.get("PYTHONPATH")
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths + ([before] if before else [])),
        "OMP_NUM_THREADS": "1",
    }


def _crash(seed: int) -> Record:
    """What is known of a situation that ended its process, or never came back."""
    return {
        "seed": seed, "family": "unknown", "kind": "unknown", "action": "unknown",
        "outcome": "crashed", "detail": "the process ended or hung", "situation": "",
        "checked": False, "seconds": 0.0,
    }  # fmt: skip


def _process(first: int, stop: int) -> list[Record]:
    """The outcomes of seeds, of one process after another where one dies."""
    records: list[Record] = []
    while first < stop:
        command = [sys.executable, "-W", "ignore", "-m", "fuzz.run", str(first), str(stop)]
        running = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=_environment(),
        )
        assert running.stdout is not None
        current = first
        done = first
        watch = threading.Timer(PATIENCE, running.kill)
        watch.start()
        for line in running.stdout:
            watch.cancel()
            watch = threading.Timer(PATIENCE, running.kill)
            watch.start()
            said = json.loads(line)
            if "starts" in said:
                current = said["starts"]
                continue
            records.append(said)
            done = current + 1
        watch.cancel()
        running.wait()
        if done < stop:
            records.append(_crash(current))
            done = current + 1
        first = done
    return records


def run(first: int, count: int, processes: int) -> list[Record]:
    """The outcomes of `count` seeds from `first` on."""
    borders = [first + count * part // processes for part in range(processes + 1)]
    found: list[list[Record]] = [[] for _ in range(processes)]

    def work(part: int) -> None:
        found[part] = _process(borders[part], borders[part + 1])

    threads = [threading.Thread(target=work, args=(part,)) for part in range(processes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [record for part in found for record in part]


def _kinds(record: Record) -> str:
    """A predictor's row in the table: networks of several parts count as one kind."""
    kind = str(record["kind"])
    if record["family"] == "network":
        return "network: rows" if kind[0].isupper() or "+" in kind else f"network: {kind}"
    return f"{record['family']}: {kind}"


def _table(records: list[Record], key: Any, head: str) -> list[str]:
    counts: dict[str, Counter[str]] = {}
    for record in records:
        counts.setdefault(key(record), Counter())[record["outcome"]] += 1
    lines = [f"| {head} | all | {' | '.join(OUTCOMES)} |", "|---" * (len(OUTCOMES) + 2) + "|"]
    for name, outcomes in sorted(counts.items()):
        numbers = " | ".join(str(outcomes[outcome] or "") for outcome in OUTCOMES)
        lines.append(f"| {name} | {sum(outcomes.values())} | {numbers} |")
    return lines


def shape(record: Record) -> str:
    """A fault without its numbers and names: what makes it one of a kind."""
    detail = re.sub(r"\[[^\]]*\]|-?\d+(\.\d+)?(e-?\d+)?", "#", record["detail"])
    return f"{record['outcome']}: {detail[:110]}"


def text(records: list[Record]) -> str:
    """The page's part that is written from the outcomes."""
    bad = [record for record in records if record["outcome"] not in ("answered", "refused")]
    checked = sum(record["checked"] for record in records)
    seconds = sum(record["seconds"] for record in records)
    lines = [
        f"{len(records)} situations, {seconds:.0f} processor seconds; of those answered, {checked} "
        "were checked against the plain evaluation.",
        "",
        *_table(records, lambda record: "all", "situations"),
        "",
        *_table(records, _kinds, "predictor"),
        "",
        *_table(records, lambda record: record["action"], "action"),
        "",
    ]
    kinds: dict[str, list[Record]] = {}
    for record in bad:
        kinds.setdefault(shape(record), []).append(record)
    if kinds:
        lines += ["| kind | times | first seeds |", "|---|---|---|"]
    for kind, group in sorted(kinds.items(), key=lambda pair: -len(pair[1])):
        seeds = ", ".join(str(record["seed"]) for record in group[:4])
        shown = kind.replace("|", "/").replace("\n", " ")
        lines.append(f"| {shown} | {len(group)} | {seeds} |")
    return "\n".join(lines)


def _write(records: list[Record], path: Path) -> None:
    columns = ("seed", "outcome", "family", "kind", "action", "detail", "situation")
    with path.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.DictWriter(opened, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(r for r in records if r["outcome"] not in ("answered", "refused"))


def _read(paths: list[Path]) -> list[Record]:
    """Outcomes that `fuzz.run` has printed; of a seed that was run again, the last."""
    found: dict[int, Record] = {}
    for path in paths:
        for line in path.read_text(encoding="utf-8").splitlines():
            said = json.loads(line)
            if "outcome" in said:
                found[said["seed"]] = said
    return [found[seed] for seed in sorted(found)]


def main() -> None:
    """Runs, or reads what was run, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--situations", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--processes", type=int, default=2)
    lines = "files with what fuzz.run has printed, instead of a run"
    parser.add_argument("--lines", type=Path, nargs="*", default=[], help=lines)
    options = parser.parse_args()
    records = _read(options.lines) or run(options.seed, options.situations, options.processes)
    _write(records, PAGE.file("csv"))
    PAGE.fill(text(records))
    print(text(records))


if __name__ == "__main__":
    main()
