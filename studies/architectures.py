"""Real architectures, asked at the input and at layers: right, refused, wrong or foreign.

`python studies/architectures.py` builds every architecture of tests/architectures/catalogue.py with
random weights and writes docs/studies/architectures.csv, one line a question, and the table of
docs/studies/architectures.md. It needs the extra `architectures` (torchvision, transformers).
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections import Counter
from dataclasses import asdict
from typing import Any

from page import REPOSITORY, Page, conditions

PAGE = Page("architectures")
OUTCOMES = ("right", "refused", "unchecked", "wrong", "foreign", "not built")


def table(cases: list[Any]) -> str:
    """Counts of each architecture, and what was refused by which sentence."""
    counts: dict[str, Counter[str]] = {}
    for case in cases:
        counts.setdefault(case.architecture, Counter())[case.outcome] += 1
    lines = [f"| architecture | {' | '.join(OUTCOMES)} |", "|---" * (len(OUTCOMES) + 1) + "|"]
    for name, outcomes in [*counts.items(), ("all", Counter(case.outcome for case in cases))]:
        numbers = " | ".join(str(outcomes[outcome] or "") for outcome in OUTCOMES)
        lines.append(f"| {name} | {numbers} |")
    said: Counter[str] = Counter(
        f"{case.outcome}: {case.detail.split(', got')[0].splitlines()[0][:110]}"
        for case in cases
        if case.outcome not in ("right", "not built")
    )
    lines += ["", "| not right | times |", "|---|---|"]
    lines += [
        f"| {sentence.replace('|', '/')} | {times} |" for sentence, times in said.most_common()
    ]
    return "\n".join(lines)


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
    cases = []
    for name in options.names or ALL:
        cases += ask(name, options.layers)
        ended = Counter(case.outcome for case in cases if case.architecture == name)
        print(name, dict(ended), f"{time.process_time():.0f} s", flush=True)
    print(table(cases))
    if options.names:
        return
    with PAGE.file("csv").open("w", newline="", encoding="utf-8") as opened:
        writer = csv.DictWriter(opened, list(asdict(cases[0])), lineterminator="\n")
        writer.writeheader()
        writer.writerows({**asdict(case), "detail": case.detail[:200]} for case in cases)
    PAGE.fill(table(cases))


if __name__ == "__main__":
    main()
