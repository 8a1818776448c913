"""Intervals and verdicts of a comparison: do 95 % intervals hold what they are about in 95 % of
samples, and how often are methods told apart that are alike?

`python studies/intervals.py` writes docs/studies/intervals.csv, intervals_kinds.csv and the tables of
the .md page; it needs no data and no model. `--kinds skills` asks for a part of the second table.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch

from assay.answers.score import Score
from assay.comparison.evidence import skills
from assay.comparison.ranking import shuffled
from assay.metrics.calibration.figures import loss_intervals
from assay.metrics.calibration.reliability import reliability
from assay.numerics import rng
from assay.numerics.concordance import concordances, mean_intervals
from assay.numerics.statistics import Floats, differences, holm, intervals, wilson
from page import Page, conditions, merged

PAGE = Page("intervals")
KINDS_FILE = PAGE.file("csv").with_name("intervals_kinds.csv")

INPUTS = (8, 10, 20, 50)
SAMPLES = 4000  # of one column each, for the coverage
RESAMPLES = 1999
COMPARISONS = 1000  # of methods that are alike
METHODS = (2, 6)
VERDICTS = (10, 50)  # inputs of those comparisons
KINDS = 2000  # samples of the other kinds of intervals
BLOCK = 500  # samples whose intervals are computed together

Law: TypeAlias = Callable[[np.random.Generator, tuple[int, ...]], Floats]

# Each law of scores with its mean.
LAWS: dict[str, tuple[Law, float]] = {
    "normal": (lambda draw, shape: draw.normal(size=shape), 0.0),
    "exponential": (lambda draw, shape: draw.exponential(size=shape), 1.0),
    "lognormal": (lambda draw, shape: draw.lognormal(size=shape), math.exp(0.5)),
    # No tails at all, and most values at the ends.
    "uniform": (lambda draw, shape: draw.uniform(size=shape), 0.5),
    "two ends": (lambda draw, shape: draw.beta(0.5, 0.5, size=shape), 0.5),
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


def error(share: float, samples: int) -> float:
    """The standard error of a share of samples."""
    return math.sqrt(share * (1 - share) / samples)


def held(values: Floats, truth: float) -> tuple[Any, Floats]:
    """Which columns have an interval that holds the truth, and all intervals (k, 2)."""
    blocks = [
        intervals(values[:, start : start + BLOCK], seed=start, resamples=RESAMPLES)
        for start in range(0, values.shape[1], BLOCK)
    ]
    bounds = np.concatenate(blocks)
    return (bounds[:, 0] <= truth + 1e-12) & (truth - 1e-12 <= bounds[:, 1]), bounds


def coverage(name: str, n: int) -> tuple[float, float]:
    """The share of samples whose interval holds the mean, and the median width."""
    law, mean = LAWS[name]
    hits, bounds = held(law(rng.shared(0, f"coverage {name} {n}"), (n, SAMPLES)), mean)
    return float(hits.mean()), float(np.median(bounds[:, 1] - bounds[:, 0]))


def false_differences(name: str, n: int, methods: int) -> float:
    """The share of comparisons of methods that are alike in which two are told apart."""
    law, _ = LAWS[name]
    draw = rng.shared(0, f"alike {name} {n} {methods}")
    first, second = np.triu_indices(methods, 1)
    wrong = 0
    for start in range(0, COMPARISONS, BLOCK):
        shape = (n, BLOCK, methods)
        # Hard inputs are hard for everybody: a common part, and one of each method's own.
        tables = law(draw, shape[:2])[:, :, None] + law(draw, shape)
        pairs = (tables[:, :, first] - tables[:, :, second]).reshape(n, -1)
        found = differences(pairs, seed=start, resamples=RESAMPLES)
        # The verdict of `ranking`: Holm's p value, and an interval that leaves zero out.
        p = np.array([one.p for one in found]).reshape(BLOCK, -1)
        apart = np.array([one.low > 0 or one.high < 0 for one in found]).reshape(BLOCK, -1)
        adjusted = np.stack([holm(row) for row in p])
        wrong += int(((adjusted <= 0.05 + 1e-12) & apart).any(axis=1).sum())
    return wrong / COMPARISONS


def measure(name: str, n: int) -> dict[str, Any]:
    """One law and one number of inputs."""
    covered, width = coverage(name, n)
    return {
        "law": name,
        "inputs": n,
        "coverage": covered,
        "simulations": SAMPLES,
        "error": error(covered, SAMPLES),
        "width": width,
    }


def measure_verdicts(name: str, n: int) -> dict[str, Any]:
    """How often methods that are alike are told apart."""
    return {f"false, {methods} methods": false_differences(name, n, methods) for methods in METHODS}


# --- the other kinds of intervals


Result: TypeAlias = tuple[float, int]
"""The share that holds, and of how many samples; 0 where it is exact."""


def of_rates(rate: float, n: int) -> Result:
    """Wilson's interval: exact, over every number of successes."""
    return _over_counts(rate, n, np.array([wilson(hits, n) for hits in range(n + 1)])), 0


def of_coins(rate: float, n: int) -> Result:
    """The interval of a mean of zeros and ones, exact but for its resamples, over every count."""
    counts = np.arange(n)[:, None] < np.arange(n + 1)
    return _over_counts(rate, n, intervals(counts.astype(np.float64), resamples=RESAMPLES)), 0


def _over_counts(rate: float, n: int, bounds: Floats) -> float:
    """The chance of the numbers of successes whose interval holds the rate."""
    return sum(
        math.comb(n, hits) * rate**hits * (1 - rate) ** (n - hits)
        for hits, (low, high) in enumerate(bounds)
        if low - 1e-12 <= rate <= high + 1e-12
    )


def of_differences(name: str, n: int) -> Result:
    """Paired differences of scores with a common part; the second is worse by half of the mean."""
    law, _ = LAWS[name]
    draw = rng.shared(0, f"paired {name} {n}")
    shape = (n, KINDS)
    common, first, second = law(draw, shape), law(draw, shape), law(draw, shape) + 0.5
    hits, _ = held(common + first - (common + second), -0.5)
    return float(hits.mean()), KINDS


def of_skills(name: str, n: int) -> Result:
    """Scores 0.4 and shuffled ones 1 above an optimum of 0, in units of a mean: a skill of 0.6."""
    law, mean = LAWS[name]
    # A normal law has no scale of its own: scores lie two standard deviations above 0.
    shift = 2.0 if mean == 0 else 0.0
    draw = rng.shared(0, f"skill {name} {n}")
    hits = []
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
            hits.append(found.low <= 0.6 <= found.high)
    return float(np.mean(hits)), len(hits)


MANY = 100_000  # inputs whose mean W is the true one
JUDGES = 3  # metrics that order the methods
GAPS = (0.3, 1.0, 2.0, 4.0)
W_LAWS = ("normal", "exponential", "lognormal", "coin")


def of_concordance(
    name: str, gap: float, n: int, methods: int = 4, turned: bool = True
) -> tuple[Result, float, float]:
    """W of one input, of three metrics of which one may have two methods turned round; how often an
    input has the most frequent W, and how often the W of the means is that of the true means.
    """
    law, _ = LAWS[name]
    means = gap * np.tile(np.arange(float(methods)), (JUDGES, 1))
    if turned:
        means[-1, [-1, -2]] = means[-1, [-2, -1]]
    draw = rng.shared(0, f"concordance {name} {gap} {n} {methods} {turned}")

    def of_inputs(count: int) -> tuple[Floats, Floats]:
        scores = means + law(draw, (count, JUDGES, methods))
        return concordances(scores), scores

    many, _ = of_inputs(MANY)
    many = many[~np.isnan(many)]
    truth = float(many.mean())
    w, scores = of_inputs(n * KINDS)
    columns = w.reshape(n, KINDS)
    bounds = np.concatenate(
        [
            mean_intervals(
                columns[:, start : start + BLOCK], JUDGES, seed=start, resamples=RESAMPLES
            )
            for start in range(0, KINDS, BLOCK)
        ]
    )
    hits = (bounds[:, 0] <= truth) & (truth <= bounds[:, 1])
    _, repeats = np.unique(np.round(many, 9), return_counts=True)
    of_means = concordances(scores.reshape(n, KINDS, JUDGES, methods).mean(axis=0))
    right = np.abs(of_means - concordances(means[None])) < 1e-9
    return (float(hits.mean()), KINDS), float(repeats.max() / len(many)), float(right.mean())


Answers: TypeAlias = tuple[Callable[[np.random.Generator, int], Floats], Callable[[Floats], Floats]]

# Confidences, and how often they come true.
MODELS: dict[str, Answers] = {
    "calibrated": (lambda draw, n: draw.uniform(0.02, 0.98, n), lambda p: p),
    "p^1.5 comes true": (lambda draw, n: draw.uniform(0.02, 0.98, n), lambda p: p**1.5),
    "0.4 off above 0.9": (lambda draw, n: draw.uniform(0.6, 1.0, n), lambda p: p - 0.4 * (p > 0.9)),
    "mostly sure": (
        lambda draw, n: 1 - 0.5 * draw.uniform(1e-3, 1, size=n) ** 3,
        lambda p: 0.5 + 0.9 * (p - 0.5),
    ),
}


def of_errors(name: str, n: int) -> dict[str, Result]:
    """The calibration errors of 10 bins; truths by a large sample of confidences."""
    confidences, comes_true = MODELS[name]
    draw = rng.shared(0, f"calibration {name} {n}")
    many = confidences(draw, 1_000_000)
    curves = {kind: reliability(many, comes_true(many), 10, kind) for kind in ("width", "mass")}  # type: ignore[arg-type]
    hits = {"ece": 0, "mce": 0, "ace": 0}
    for _ in range(KINDS):
        p = confidences(draw, n)
        right = (draw.uniform(size=n) < comes_true(p)).astype(np.float64)
        width, mass = reliability(p, right, 10, "width"), reliability(p, right, 10, "mass")
        for what, ends, truth in (
            ("ece", width.error_interval, curves["width"].error),
            ("mce", width.largest_interval, curves["width"].largest),
            ("ace", mass.error_interval, curves["mass"].error),
        ):
            hits[what] += ends[0] - 1e-9 <= truth <= ends[1] + 1e-9
    return {what: (count / KINDS, KINDS) for what, count in hits.items()}


def of_losses(name: str, n: int) -> dict[str, Result]:
    """The Brier score and the log loss of the positive class."""
    confidences, comes_true = MODELS[name]
    draw = rng.shared(0, f"losses {name} {n}")
    many = confidences(draw, 1_000_000)
    true = comes_true(many)
    truths = {
        "brier": float((true * (1 - many) ** 2 + (1 - true) * many**2).mean()),
        "log loss": float(-(true * np.log(many) + (1 - true) * np.log1p(-many)).mean()),
    }
    p = confidences(draw, n * KINDS).reshape(n, KINDS)
    right = draw.uniform(size=p.shape) < comes_true(p)
    squares, _ = held((p - right) ** 2, truths["brier"])
    losses = -np.log(np.where(right, p, 1 - p))
    bounds = loss_intervals(losses, -np.log(np.minimum(p, 1 - p)), RESAMPLES)
    hits = (bounds[:, 0] <= truths["log loss"]) & (truths["log loss"] <= bounds[:, 1])
    return {
        "brier": (float(squares.mean()), KINDS),
        "log loss": (float(hits.mean()), KINDS),
    }


def measure_kinds(wanted: Sequence[str]) -> list[dict[str, Any]]:
    """The kinds of intervals that are wanted."""
    records: list[dict[str, Any]] = []

    def keep_one(kind: str, scores: str, n: int, found: Result) -> None:
        share, samples = found
        records.append(
            {
                "kind": kind,
                "scores": scores,
                "inputs": str(n),
                "coverage": share,
                "simulations": samples,
                "error": error(share, samples) if samples else 0.0,
            }
        )
        print(records[-1], flush=True)

    for kind in wanted:
        for found in EVERY[kind]():
            keep_one(*found)
    return records


Found: TypeAlias = Iterator[tuple[str, str, int, Result]]


def rates() -> Found:
    for n in (10, 20, 50):
        for rate in (0.1, 0.3, 0.5):
            yield "rate (Wilson)", f"{rate:g}", n, of_rates(rate, n)


def coins() -> Found:
    for n in (10, 20, 50):
        for rate in (0.1, 0.3, 0.5):
            yield "mean of zeros and ones", f"{rate:g}", n, of_coins(rate, n)


def paired() -> Found:
    for n in (10, 50):
        for law in LAWS:
            yield "paired difference", law, n, of_differences(law, n)


def of_optima() -> Found:
    for n in (10, 50):
        for law in LAWS:
            yield "skill", law, n, of_skills(law, n)


def concordance() -> Found:
    # Four methods, six of them, and four by metrics that agree, whose W is nearly 1.
    for methods, turned, inputs, laws, gaps in (
        (4, True, (10, 25, 50), W_LAWS, GAPS),
        (6, True, (10,), W_LAWS, GAPS),
        (4, False, (10, 25), W_LAWS[:3], (1.0, 3.0)),
    ):
        for n in inputs:
            for law in laws:
                for gap in gaps:
                    found, mode, right = of_concordance(law, gap, n, methods, turned)
                    which = f"{law}, {methods} methods" + ("" if turned else ", metrics agree")
                    shares = f"one W of {100 * mode:.0f} % of inputs, W of means right in {100 * right:.0f} %"
                    scores = f"{which}, means {gap:g} apart ({shares})"
                    yield "Kendall's W of one input", scores, n, found


def figures() -> Found:
    for n in (10, 50, 400):
        for model in MODELS:
            for what, found in of_errors(model, n).items():
                yield f"calibration, {what}", model, n, found


def losses() -> Found:
    for n in (10, 50, 400):
        for model in MODELS:
            for what, found in of_losses(model, n).items():
                yield f"calibration, {what}", model, n, found


EVERY: dict[str, Callable[[], Found]] = {
    "rates": rates,
    "coins": coins,
    "differences": paired,
    "skills": of_optima,
    "concordance": concordance,
    "calibration": figures,
    "losses": losses,
}


def table_of_kinds(records: list[dict[str, Any]]) -> str:
    """The page's second table."""
    lines = [
        "| interval of | scores, or the rate | inputs | holds the truth | samples |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {one['kind']} | {one['scores']} | {one['inputs']} | {_with_error(one)} "
        f"| {int(one['simulations']) or 'exact'} |"
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
            f"| {one['law']} | {one['inputs']} | {_with_error(one)} "
            f"| {one['width']:.2f} | {told_apart} |"
        )
    return "\n".join(lines)


def _with_error(one: dict[str, Any]) -> str:
    share = f"{100 * float(one['coverage']):.1f}"
    if not int(one["simulations"]):
        return f"{share} %"
    return f"{share} ± {100 * float(one['error']):.1f} %"


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
        "--kinds", nargs="*", choices=tuple(EVERY), help="other kinds of intervals; the rest stays"
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
