"""Intervals and verdicts of a comparison: do 95 % intervals hold what they are about in 95 % of
samples, and how often are methods told apart that are alike?

`python studies/intervals.py` writes docs/studies/intervals.csv, intervals_kinds.csv and the tables of
the .md page; it needs no data and no model. `--kinds skills` asks for a part of the second table.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch

from assay.answers.score import Score
from assay.comparison.evidence import skills
from assay.comparison.ranking import ranking, shuffled
from assay.metrics.calibration.figures import calibration
from assay.numerics import rng
from assay.numerics.concordance import kendall_w
from assay.numerics.statistics import Floats, differences, intervals, resampled, wilson
from page import Page, conditions, merged

PAGE = Page("intervals")
KINDS_FILE = PAGE.file("csv").with_name("intervals_kinds.csv")

INPUTS = (8, 10, 20, 50)
SAMPLES = 4000  # of one column each, for the coverage
RESAMPLES = 1999
COMPARISONS = 200  # of methods that are alike
METHODS = (2, 6)
VERDICTS = (10, 50)  # inputs of those comparisons
KINDS = 1000  # samples of the other kinds of intervals
FEWER = 100  # of those that take longer
BLOCK = 500  # samples whose intervals are computed together

Law: TypeAlias = Callable[[np.random.Generator, tuple[int, ...]], Floats]

# Each law of scores with its mean.
LAWS: dict[str, tuple[Law, float]] = {
    "normal": (lambda draw, shape: draw.normal(size=shape), 0.0),
    "exponential": (lambda draw, shape: draw.exponential(size=shape), 1.0),
    "lognormal": (lambda draw, shape: draw.lognormal(size=shape), math.exp(0.5)),
    # Two values alone, few whole numbers, and zero for half of the inputs.
    "coin": (lambda draw, shape: (draw.uniform(size=shape) < 0.3).astype(np.float64), 0.3),
    "rounded": (
        lambda draw, shape: np.round(draw.exponential(size=shape)),
        1 / (math.exp(0.5) - math.exp(-0.5)),
    ),
    "half zero": (
        lambda draw, shape: draw.exponential(size=shape) * (draw.uniform(size=shape) < 0.5),
        0.5,
    ),
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
    held = (bounds[:, 0] <= mean + 1e-12) & (mean - 1e-12 <= bounds[:, 1])
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
    return {"law": name, "inputs": n, "coverage": covered, "width": width}


def measure_verdicts(name: str, n: int) -> dict[str, Any]:
    """How often methods that are alike are told apart."""
    return {f"false, {methods} methods": false_differences(name, n, methods) for methods in METHODS}


# --- the other kinds of intervals


def of_rates(rate: float, n: int) -> float:
    """Wilson's interval: exact, over every number of successes."""
    held = 0.0
    for successes in range(n + 1):
        low, high = wilson(successes, n)
        chance = math.comb(n, successes) * rate**successes * (1 - rate) ** (n - successes)
        held += chance * (low <= rate <= high)
    return held


def of_differences(name: str, n: int) -> float:
    """Paired differences of scores with a common part; the second is worse by half of the mean."""
    law, _ = LAWS[name]
    draw = rng.shared(0, f"paired {name} {n}")
    shape = (n, KINDS)
    common, first, second = law(draw, shape), law(draw, shape), law(draw, shape) + 0.5
    found = differences(common + first - (common + second), resamples=RESAMPLES)
    return float(np.mean([each.low <= -0.5 <= each.high for each in found]))


def of_skills(name: str, n: int) -> float:
    """Scores 0.4 and shuffled ones 1 above an optimum of 0, in units of a mean: a skill of 0.6."""
    law, mean = LAWS[name]
    # A normal law has no scale of its own: scores lie two standard deviations above 0.
    shift = 2.0 if mean == 0 else 0.0
    draw = rng.shared(0, f"skill {name} {n}")
    held = []
    for _ in range(KINDS):
        hard = law(draw, (n,)) + shift
        own = 0.4 * hard * draw.uniform(0.5, 1.5, n)
        chance = hard * draw.uniform(0.5, 1.5, n)
        scores = {
            ("method", "Gap"): Score("Gap", torch.from_numpy(own), "lower"),
            (shuffled("method"), "Gap"): Score("Gap", torch.from_numpy(chance), "lower"),
        }
        (found,) = skills(scores, ["method"], {"Gap": np.zeros(n)}, 0.95)
        # None is given where the room above the optimum cannot be told from none.
        if not math.isnan(found.low):
            held.append(found.low <= 0.6 <= found.high)
    return float(np.mean(held))


def of_concordance(name: str, n: int) -> float:
    """Kendall's W of three metrics, one of which has the second pair of four methods turned round."""
    law, _ = LAWS[name]
    draw = rng.shared(0, f"concordance {name} {n}")
    means = np.array([[0.0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 3, 2]])
    truth = kendall_w(means)
    held = 0
    for seed in range(FEWER):
        scores = [row + law(draw, (n, 1)) + 0.5 * law(draw, (n, 4)) for row in means]
        draws = np.stack([resampled(score, seed, 999) for score in scores], axis=1)
        low, high = np.quantile([kendall_w(each) for each in draws], [0.025, 0.975])
        held += bool(low - 1e-12 <= truth <= high + 1e-12)
    return held / FEWER


def of_calibration(what: str, n: int) -> float:
    """Figures of a model whose probability p comes true with p^1.5: truths by a large sample."""
    draw = rng.shared(0, f"calibration {n}")

    def answers(size: int) -> tuple[Floats, Any]:
        p = draw.uniform(0.02, 0.98, size)
        return p, (draw.uniform(size=size) < p**1.5).astype(int)

    many = calibration(*answers(400_000), kind="probabilities", of="positive", bins=5)
    truth = getattr(many, what).value
    held = 0
    for _ in range(FEWER):
        found = getattr(calibration(*answers(n), kind="probabilities", of="positive", bins=5), what)
        held += found.interval[0] <= truth <= found.interval[1]
    return held / FEWER


BY_LAW: dict[str, tuple[str, Callable[[str, int], float]]] = {
    "differences": ("paired difference", of_differences),
    "skills": ("skill", of_skills),
    "concordance": ("Kendall's W", of_concordance),
}
KIND_NAMES = ("rates", *BY_LAW, "calibration")


def measure_kinds(wanted: Sequence[str]) -> list[dict[str, Any]]:
    """The kinds of intervals that are wanted."""
    records: list[dict[str, Any]] = []

    def keep_one(kind: str, scores: str, n: int, held: float) -> None:
        records.append({"kind": kind, "scores": scores, "inputs": str(n), "coverage": held})
        print(records[-1], flush=True)

    for n in (10, 50):
        if "rates" in wanted:
            for rate in (0.1, 0.3, 0.5, 0.9):
                keep_one("rate (Wilson)", f"{rate:g}", n, of_rates(rate, n))
        for name in (name for name in BY_LAW if name in wanted):
            kind, coverage_of = BY_LAW[name]
            for law in LAWS:
                keep_one(kind, law, n, coverage_of(law, n))
    calibrations = [(n, what) for n in (50, 400) for what in ("ece", "mce", "brier", "log_loss")]
    for n, what in calibrations if "calibration" in wanted else []:
        keep_one(f"calibration, {what}", "overconfident", n, of_calibration(what, n))
    return records


def table_of_kinds(records: list[dict[str, Any]]) -> str:
    """The page's second table."""
    lines = [
        "| interval of | scores, or the rate | inputs | holds the truth |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {one['kind']} | {one['scores']} | {one['inputs']} "
        f"| {100 * float(one['coverage']):.1f} % |"
        for one in records
    ]
    return "\n".join(lines)


def table(records: list[dict[str, Any]]) -> str:
    """The page's table."""
    lines = [
        "| scores | inputs | intervals that hold the mean | median width | 2 alike methods told apart "
        "| 6 alike methods told apart |",
        "|---|---|---|---|---|---|",
    ]
    for one in records:
        told_apart = " | ".join(_share(one.get(f"false, {k} methods", "")) for k in METHODS)
        lines.append(
            f"| {one['law']} | {one['inputs']} | {100 * one['coverage']:.1f} % "
            f"| {one['width']:.2f} | {told_apart} |"
        )
    return "\n".join(lines)


def _share(value: Any) -> str:
    if value == "":
        return "–"
    return f"{100 * value:.1f} %"


def kept() -> list[dict[str, Any]]:
    """The figures of earlier runs; empty where a cell was not asked."""
    with PAGE.file("csv").open(encoding="utf-8", newline="") as file:
        return [
            {
                key: value if key == "law" or not value else float(value)
                for key, value in row.items()
            }
            | {"inputs": int(row["inputs"])}
            for row in csv.DictReader(file)
        ]


def kept_kinds() -> list[dict[str, Any]]:
    """The second table's figures of earlier runs."""
    if not KINDS_FILE.exists():
        return []
    with KINDS_FILE.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write(path: Path, records: list[dict[str, Any]]) -> None:
    """Records as a table with commas."""
    with path.open("w", encoding="utf-8", newline="") as file:
        columns = dict.fromkeys(key for record in records for key in record)
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)


def keep(records: list[dict[str, Any]], kinds: list[dict[str, Any]]) -> None:
    """The figures beside the page, and its tables."""
    write(PAGE.file("csv"), records)
    text = table(records)
    if kinds:
        write(KINDS_FILE, kinds)
        text += "\n\n" + table_of_kinds(kinds)
    PAGE.fill(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only", choices=tuple(LAWS), help="one law; what is kept of the others stays"
    )
    parser.add_argument("--inputs", type=int, nargs="*", default=list(INPUTS))
    parser.add_argument(
        "--kinds", nargs="*", choices=KIND_NAMES, help="other kinds of intervals; the rest stays"
    )
    parser.add_argument("--verdicts", action="store_true", help="the last columns; the rest stays")
    parser.add_argument("--render", action="store_true", help="the tables, from the kept figures")
    options = parser.parse_args()
    if options.render:
        return keep(kept(), kept_kinds())
    conditions()
    if options.kinds:
        kinds = merged(kept_kinds(), measure_kinds(options.kinds), "kind", "scores", "inputs")
        return keep(kept(), kinds)
    laws = [options.only] if options.only else list(LAWS)
    if options.verdicts:
        records = kept()
        for one in records:
            if one["law"] in laws and one["inputs"] in VERDICTS:
                one |= measure_verdicts(one["law"], one["inputs"])
                print(one, flush=True)
        return keep(records, kept_kinds())
    measured = []
    for name in laws:
        for n in options.inputs:
            measured.append(measure(name, n))
            print(measured[-1], flush=True)
    every = options.only is None and tuple(options.inputs) == INPUTS
    records = measured if every else merged(kept(), measured, "law", "inputs")
    order = {key: place for place, key in enumerate((law, n) for law in LAWS for n in INPUTS)}
    records.sort(key=lambda one: order[one["law"], one["inputs"]])
    return keep(records, kept_kinds())


if __name__ == "__main__":
    main()
