"""Real architectures, asked at the input and at layers: right, refused, wrong or foreign.

`python studies/architectures.py` builds every architecture of tests/architectures/catalogue.py with
random weights and writes docs/studies/architectures.csv, one line a question, and the table of
docs/studies/architectures.md, after each of them; those that are not named keep their lines. It
needs the extra `architectures` (torchvision, transformers).
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
import time
from collections import Counter
from dataclasses import asdict

from page import REPOSITORY, Page, conditions

PAGE = Page("architectures")
COLUMNS = ("architecture", "layer", "method", "outcome", "detail")
OUTCOMES = ("right", "refused", "unchecked", "wrong", "foreign", "not built")


def _sentence(detail: str) -> str:
    """What was expected and what was there instead, without numbers of bytes or addresses."""
    return detail.splitlines()[0][:200] if detail else ""


def _kind(detail: str) -> str:
    """A sentence without numbers and names in quotes: what makes it one of a kind."""
    return re.sub(r"'[^']*'|\d+(\.\d+)*", "#", detail.split(", got")[0])[:110]


def table(cases: list[dict[str, str]]) -> str:
    """Counts of each architecture, and what was refused by which sentence."""
    counts: dict[str, Counter[str]] = {}
    for case in cases:
        counts.setdefault(case["architecture"], Counter())[case["outcome"]] += 1
    every: Counter[str] = sum(counts.values(), Counter())
    lines = [f"| architecture | {' | '.join(OUTCOMES)} |", "|---" * (len(OUTCOMES) + 1) + "|"]
    for name, outcomes in [*counts.items(), ("all", every)]:
        numbers = " | ".join(str(outcomes[outcome] or "") for outcome in OUTCOMES)
        lines.append(f"| {name} | {numbers} |")
    said: Counter[str] = Counter(
        f"{case['outcome']}: {_kind(case['detail'])}"
        for case in cases
        if case["outcome"] not in ("right", "not built")
    )
    lines += ["", "| not right | times |", "|---|---|"]
    lines += [
        f"| {sentence.replace('|', '/')} | {times} |" for sentence, times in said.most_common()
    ]
    return "\n".join(lines)


def _kept() -> list[dict[str, str]]:
    """The lines of earlier runs."""
    if not PAGE.file("csv").exists():
        return []
    with PAGE.file("csv").open(newline="", encoding="utf-8") as opened:
        return list(csv.DictReader(opened))


def _keep(lines: list[dict[str, str]]) -> None:
    """Writes the lines, and the tables of the page from them."""
    with PAGE.file("csv").open("w", newline="", encoding="utf-8") as opened:
        writer = csv.DictWriter(opened, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    PAGE.fill(table(lines))


def main() -> None:
    """Runs, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="some of them; all where nothing is said")
    parser.add_argument("--layers", type=int, default=10)
    options = parser.parse_args()
    sys.path[:0] = [str(REPOSITORY / part) for part in ("tests", "bench")]
    import torchvision_names  # noqa: F401

    from architectures.asked import ask
    from architectures.catalogue import ALL

    conditions()
    order = list(ALL)
    for name in options.names or order:
        cases = ask(name, options.layers)
        ended = Counter(case.outcome for case in cases)
        print(name, dict(ended), f"{time.process_time():.0f} s", flush=True)
        lines = [line for line in _kept() if line["architecture"] != name]
        lines += [{**asdict(case), "detail": _sentence(case.detail)} for case in cases]
        _keep(sorted(lines, key=lambda line: order.index(line["architecture"])))
    print(table(_kept()))


if __name__ == "__main__":
    main()
