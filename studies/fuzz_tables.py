"""Random tables and texts, thousands of them: how many are answered, refused, foreign or wrong.

`python studies/fuzz_tables.py --situations 10000 --seed 0` runs them (tests/fuzz_tables says what
they are) in two processes and writes docs/studies/fuzz_tables.csv, one line a situation that is
foreign, wrong or slow, with the command that runs it again, and the tables of
docs/studies/fuzz_tables.md. `--records file` keeps every outcome, and goes on where a file ends.
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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from page import REPOSITORY, Page

PAGE = Page("fuzz_tables")
OUTCOMES = ("answered", "refused", "foreign", "wrong", "slow", "crashed")
PATIENCE = 300  # seconds without a line before a process is ended
AGAIN = "PYTHONPATH=src:tests python -m fuzz_tables.run {seed} --verbose"

Record = dict[str, Any]


def _environment() -> dict[str, str]:
    paths = [str(REPOSITORY / part) for part in ("src", "tests")]
    before = os.environ.get("PYTHONPATH")
    path = os.pathsep.join(paths + ([before] if before else []))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def _crash(seed: int) -> Record:
    """What is known of a situation that ended its process, or never came back."""
    return {
        "seed": seed, "family": "unknown", "kind": "unknown", "action": "unknown",
        "removal": "unknown", "outcome": "crashed", "detail": "the process ended or hung",
        "situation": "", "due": False, "checked": False, "seconds": 0.0,
    }  # fmt: skip


def _lines(running: subprocess.Popen[str]) -> Iterator[Record]:
    """What a process says, until it is silent for too long."""
    assert running.stdout is not None
    watch = threading.Timer(PATIENCE, running.kill)
    watch.start()
    for line in running.stdout:
        watch.cancel()
        watch = threading.Timer(PATIENCE, running.kill)
        watch.start()
        yield json.loads(line)
    watch.cancel()
    running.wait()


def _process(first: int, stop: int, keep: Callable[[Record], None]) -> None:
    """The outcomes of seeds, of one process after another where one dies."""
    while first < stop:
        command = [sys.executable, "-W", "ignore", "-m", "fuzz_tables.run", str(first), str(stop)]
        running = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=_environment(),
        )
        current = first
        done = first
        for said in _lines(running):
            if "starts" in said:
                current = said["starts"]
                continue
            keep(said)
            done = current + 1
        if done < stop:
            keep(_crash(current))
            done = current + 1
        first = done


def run(first: int, count: int, processes: int, path: Path | None = None) -> list[Record]:
    """The outcomes of `count` seeds from `first` on."""
    borders = [first + count * part // processes for part in range(processes + 1)]
    found = _kept(path)
    lock = threading.Lock()

    def keep(record: Record) -> None:
        with lock:
            found[record["seed"]] = record
            if path is not None:
                with path.open("a", encoding="utf-8") as opened:
                    opened.write(json.dumps(record) + "\n")

    def work(part: int) -> None:
        begin = borders[part]
        while begin in found:
            begin += 1
        _process(begin, borders[part + 1], keep)

    threads = [threading.Thread(target=work, args=(part,)) for part in range(processes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [found[seed] for seed in range(first, first + count)]


def _kept(path: Path | None) -> dict[int, Record]:
    if path is None or not path.exists():
        return {}
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {record["seed"]: record for record in records}


def _table(records: list[Record], key: Callable[[Record], str], head: str) -> list[str]:
    counts: dict[str, Counter[str]] = {}
    for record in records:
        counts.setdefault(key(record), Counter())[record["outcome"]] += 1
    lines = [f"| {head} | all | {' | '.join(OUTCOMES)} |", "|---" * (len(OUTCOMES) + 2) + "|"]
    for name, outcomes in sorted(counts.items()):
        numbers = " | ".join(str(outcomes[outcome] or "") for outcome in OUTCOMES)
        lines.append(f"| {name} | {sum(outcomes.values())} | {numbers} |")
    return [*lines, ""]


def shape(record: Record) -> str:
    """A sentence without its numbers and names: what makes it one of a kind."""
    detail = re.sub(r"\[.*?\]|'[^']*'|\([^)]*\)|-?\d+(\.\d+)?(e-?\d+)?", "#", record["detail"])
    return f"{record['outcome']}: {detail[:110]}"


def _kinds(records: list[Record], head: str) -> list[str]:
    kinds: dict[str, list[Record]] = {}
    for record in records:
        kinds.setdefault(shape(record), []).append(record)
    if not kinds:
        return []
    lines = [f"| {head} | times | first seeds |", "|---|---|---|"]
    for kind, group in sorted(kinds.items(), key=lambda pair: -len(pair[1])):
        seeds = ", ".join(str(record["seed"]) for record in group[:4])
        shown = kind.replace("|", "/").replace("\n", " ")
        lines.append(f"| {shown} | {len(group)} | {seeds} |")
    return [*lines, ""]


def text(records: list[Record]) -> str:
    """The page's part that is written from the outcomes."""
    bad = [record for record in records if record["outcome"] not in ("answered", "refused")]
    reasons = [record for record in records if record["due"] and record["outcome"] == "refused"]
    checked = sum(record["checked"] for record in records)
    due = sum(record["due"] for record in records)
    seconds = sum(record["seconds"] for record in records)
    tables = [record for record in records if record["family"] == "table"]
    texts = [record for record in records if record["family"] == "text"]
    lines = [
        f"{len(records)} situations, {seconds:.0f} processor seconds. {checked} answers were "
        f"checked against the slow evaluation. In {due} situations nothing is odd, so that an "
        f"answer is due; {len(reasons)} of these were refused.",
        "",
        *_table(records, lambda record: record["family"], "situations"),
        *_table(tables, lambda record: record["kind"], "predictor of a table"),
        *_table(tables, lambda record: record["removal"], "removal"),
        *_table(tables, lambda record: record["action"], "action on a table"),
        *_table(texts, lambda record: record["kind"], "first script of the texts"),
        *_table(texts, lambda record: record["action"], "action on texts"),
        *_kinds(bad, "foreign, wrong or slow"),
        *_kinds(reasons, "refused, though nothing is odd"),
    ]
    return "\n".join(lines)


def _write(records: list[Record], path: Path) -> None:
    columns = (
        "seed",
        "outcome",
        "family",
        "kind",
        "action",
        "removal",
        "detail",
        "situation",
        "again",
    )
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as opened:
        writer = csv.DictWriter(opened, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for record in records:
            if record["outcome"] not in ("answered", "refused"):
                writer.writerow({**record, "again": AGAIN.format(**record)})


def main() -> None:
    """Runs, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--situations", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--records", type=Path, help="a file of all outcomes, to go on with")
    options = parser.parse_args()
    records = run(options.seed, options.situations, options.processes, options.records)
    _write(records, PAGE.file("csv"))
    PAGE.fill(text(records))
    print(text(records))


if __name__ == "__main__":
    main()
