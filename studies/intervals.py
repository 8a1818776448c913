"""Intervals and verdicts of a comparison: do 95 % intervals hold the mean in 95 % of samples, and how
often are methods told apart that are alike?

`python studies/intervals.py` writes docs/studies/intervals.csv and the table of the .md page; it
needs no data and no model.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import torch

from assay.answers.score import Score
from assay.comparison.ranking import ranking
from assay.numerics import rng
from assay.numerics.statistics import Floats, intervals
from page import Page, conditions, merged

PAGE = Page("intervals")

INPUTS = (4, 8, 16, 50)
SAMPLES = 4000  # of one column each, for the coverage
RESAMPLES = 1999
COMPARISONS = 400  # of methods that are alike
METHODS = (2, 6)
BLOCK = 500  # samples whose intervals are computed together

Law: TypeAlias = Callable[[np.random.Generator, tuple[int, ...]], Floats]

# Each law of scores with its mean.
LAWS: dict[str, tuple[Law, float]] = {
    "normal": (lambda draw, shape: draw.normal(size=shape), 0.0),
    "exponential": (lambda draw, shape: draw.exponential(size=shape), 1.0),
    "lognormal": (lambda draw, shape: draw.lognormal(size=shape), math.exp(0.5)),
}


def coverage(name: str, n: int) -> tuple[float, float]:
    """The share of samples whose interval holds the mean, and the median width."""
    law, mean = LAWS[name]
    values = law(rng.shared(0, f"coverage {name} {n}"), (n, SAMPLES))
    blocks = [
        intervals(values[:, start : start + BLOCK], seed=start, resamples=RESAMPLES)
        for start in range(0, SAMPLES, BLOCK)
    ]
    bounds = np.concatenate(blocks)
    held = (bounds[:, 0] <= mean) & (mean <= bounds[:, 1])
    return float(held.mean()), float(np.median(bounds[:, 1] - bounds[:, 0]))


def false_differences(name: str, n: int, methods: int) -> float:
    """The share of comparisons of methods that are alike in which two are told apart."""
    law, _ = LAWS[name]
    draw = rng.shared(0, f"alike {name} {n} {methods}")
    wrong = 0
    for seed in range(COMPARISONS):
        # Hard inputs are hard for everybody: a common part, and one of each method's own.
        table = law(draw, (n, 1)) + law(draw, (n, methods))
        scores = {
            f"method {k}": Score("Gap", torch.from_numpy(column.copy()), "lower")
            for k, column in enumerate(table.T)
        }
        found = ranking("Gap", scores, seed=seed)
        wrong += any(pair.real for pair in found.pairs)
    return wrong / COMPARISONS


def measure(name: str, n: int) -> dict[str, Any]:
    """One law and one number of inputs."""
    covered, width = coverage(name, n)
    record: dict[str, Any] = {"law": name, "inputs": n, "coverage": covered, "width": width}
    for methods in METHODS:
        record[f"false, {methods} methods"] = false_differences(name, n, methods)
    return record


def table(records: list[dict[str, Any]]) -> str:
    """The page's table."""
    lines = [
        "| scores | inputs | intervals that hold the mean | median width | 2 alike methods told apart "
        "| 6 alike methods told apart |",
        "|---|---|---|---|---|---|",
    ]
    for one in records:
        told_apart = " | ".join(f"{100 * one[f'false, {k} methods']:.1f} %" for k in METHODS)
        lines.append(
            f"| {one['law']} | {one['inputs']} | {100 * one['coverage']:.1f} % "
            f"| {one['width']:.2f} | {told_apart} |"
        )
    return "\n".join(lines)


def kept() -> list[dict[str, Any]]:
    """The figures of earlier runs."""
    with PAGE.file("csv").open(encoding="utf-8", newline="") as file:
        return [
            {key: value if key == "law" else float(value) for key, value in row.items()}
            | {"inputs": int(row["inputs"])}
            for row in csv.DictReader(file)
        ]


def keep(records: list[dict[str, Any]]) -> None:
    """The figures beside the page, and its table."""
    with PAGE.file("csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, records[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
    PAGE.fill(table(records))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only", choices=tuple(LAWS), help="one law; what is kept of the others stays"
    )
    parser.add_argument("--render", action="store_true", help="the table, from the kept figures")
    options = parser.parse_args()
    if options.render:
        return keep(kept())
    conditions()
    measured = []
    for name in [options.only] if options.only else LAWS:
        for n in INPUTS:
            measured.append(measure(name, n))
            print(measured[-1], flush=True)
    records = merged(kept(), measured, "law", "inputs") if options.only else measured
    return keep(records)


if __name__ == "__main__":
    main()
