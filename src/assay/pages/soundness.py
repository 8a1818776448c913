"""How sound each answer is and what it cost, and what was refused: numbers and words of a page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from assay.answers.attribution import Attribution
from assay.comparison.comparison import Comparison
from assay.errors import AssayError
from assay.pictures.numbers import clause, number
from assay.settings import scalar

_LISTED = 4  # numbers of a fact that are written out; more are told by their mean and range


@final
@dataclass(frozen=True)
class Gap:
    """The mean size of the completeness gap, and its share of the change it should add up to."""

    size: float
    share: float


@final
@dataclass(frozen=True)
class Cost:
    """How sound one answer is, and what it cost.

    Settings:
        name: the method's label.
        kind: the unit of its numbers.
        gap: where completeness is promised.
        noise: the sampling error as a share of the mean size of the credit.
        seconds: of the whole answer.
        forwards: rows put through the model.
        backwards: rows put through it with their slopes.
        notes: all other facts, in words.
    """

    name: str
    kind: str
    gap: Gap | None
    noise: float | None
    seconds: float | None
    forwards: int | None
    backwards: int | None
    notes: str


@final
@dataclass(frozen=True)
class Refusal:
    """One reason with the methods that it refuses by the same metrics."""

    methods: tuple[str, ...]
    metrics: tuple[str, ...]
    reason: str


def cost(name: str, answer: Attribution) -> Cost:
    """What one answer cost."""
    # A copy, from which what has a column is taken out.
    facts = dict(answer.facts)
    # Chunks and memory formats are for whoever repeats the run, not for readers.
    facts.pop("plan", None)
    # What was asked has a column: what was forecast says no more.
    facts.pop("forecast", None)
    return Cost(
        name=name,
        kind=answer.kind,
        gap=_gap(answer),
        noise=_noise(answer),
        seconds=_number_in(facts, "seconds"),
        forwards=_number_in(facts, "forwards"),
        backwards=_number_in(facts, "backwards"),
        # Last, when only what has no column of its own is left.
        notes="; ".join(f"{key}: {_noted(value)}" for key, value in facts.items()),
    )


def _noted(value: Any) -> str:
    """A fact in words; many numbers by their mean and range, input by input they are in the answer."""
    try:
        numbers = np.asarray(value, dtype=np.float64).ravel()
    # Names, mappings, lists of lists of different lengths.
    except (TypeError, ValueError):
        return str(value)
    finite = numbers[np.isfinite(numbers)]
    if len(numbers) <= _LISTED or not len(finite):
        return str(value)
    low, mean, high = (number(float(each)) for each in (finite.min(), finite.mean(), finite.max()))
    return f"{mean} on average, {low} to {high}"


def _number_in(facts: dict[str, Any], name: str) -> Any:
    """A number that is taken out of the facts; of answers made by hand they may be anything."""
    value = scalar(facts.get(name))
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number:
        return facts.pop(name)
    return None


def _gap(answer: Attribution) -> Gap | None:
    if answer.gap is None:
        return None
    # A share of means, and not a mean of shares: one input with hardly a change would decide it.
    size = answer.gap.abs().double().mean()
    change = (answer.prediction - answer.base).abs().double().mean()
    share = float(size / change) if change else math.nan
    return Gap(float(size), share)


def _noise(answer: Attribution) -> float | None:
    if answer.standard_error is None:
        return None
    size = float(answer.values.abs().double().mean())
    if size:
        return float(answer.standard_error.double().mean()) / size
    return math.nan


def refusals(comparison: Comparison) -> list[Refusal]:
    """Each reason once, for the methods that it refuses by the same metrics."""
    # Twice: metrics that refuse a method with one reason, then methods refused alike.
    metrics: dict[tuple[str, str], list[str]] = {}
    for (method, metric), reason in comparison.refusals.items():
        metrics.setdefault((method, reason), []).append(metric)
    methods: dict[tuple[tuple[str, ...], str], list[str]] = {}
    for (method, reason), refusing in metrics.items():
        methods.setdefault((tuple(refusing), reason), []).append(method)
    return [
        Refusal(tuple(refused), refusing, reason) for (refusing, reason), refused in methods.items()
    ]


# --- how far the comparison itself can be trusted


@final
@dataclass(frozen=True)
class Trust:
    """What more inputs, more draws and other metrics would say.

    Settings:
        agreement: whether the metrics agree, in a sentence; empty where there is one alone.
        needs: the pairs that were not told apart, those that need the fewest inputs first.
        draws: the means whose metric should draw more.
        skills: where each method stands between its shuffled credit and the best possible.
        unknown: why there are no skills; empty where there are, or none was asked for.
        persistence: whether winners stay winners, one sentence each.
    """

    agreement: str
    needs: tuple[Any, ...]
    draws: tuple[Any, ...]
    skills: tuple[Any, ...]
    unknown: str
    persistence: tuple[str, ...]

    def __bool__(self) -> bool:
        return any((self.agreement, self.needs, self.draws, self.skills, self.persistence))


def trust(comparison: Comparison, persistence: Sequence[Any], skills: bool) -> Trust:
    """The evidence about a comparison. `skills` ask each metric for its optimum."""
    needed = [row for row in _rows(comparison.inputs_needed()) if not row.real]
    placed, unknown = _skills(comparison) if skills else ((), "")
    # Infinite where the means are equal: no number of inputs shows what is not there.
    needed = [row for row in needed if math.isfinite(row.needed)]
    return Trust(
        agreement=_agreement(comparison),
        needs=tuple(sorted(needed, key=lambda row: row.needed)),
        # Where the error is unknown (NaN) nothing can be said of the draws.
        draws=tuple(row for row in _rows(comparison.sampling()) if row.factor > 1),
        skills=placed,
        unknown=unknown,
        persistence=tuple(map(persists, persistence)),
    )


def _skills(comparison: Comparison) -> tuple[tuple[Any, ...], str]:
    """Skills, or why a metric's optimum is not known here."""
    try:
        return tuple(_rows(comparison.skills())), ""
    except AssayError as refusal:
        return (), str(refusal)


def _rows(frame: Any) -> list[Any]:
    return list(frame.itertuples(index=False))


def _agreement(comparison: Comparison) -> str:
    if len(comparison.metrics) < 2:
        return ""
    found = comparison.agreement
    methods, metrics = len(found.methods), len(found.metrics)
    if math.isnan(found.w):
        return (
            f"Whether the metrics agree has no figure: {metrics} of them put {methods} methods in order, "
            "and it takes two of each."
        )
    # Why there is none is told beside each metric.
    interval = clause(f" [{found.low:.2f}, {found.high:.2f}]", not found.no_interval)
    one = clause(f", of one input {found.per_input:.2f}{interval}", found.inputs > 0)
    return (
        f"Kendall's W of {metrics} metrics about {methods} methods is {found.w:.2f} of their means{one}: "
        "1 where all of them rank the methods alike, 0 where their ranks cancel out."
    )


def persists(found: Any) -> str:
    """Whether a winner stays the winner, in words."""
    held = round(found.share * len(found.answered))
    beaten = round((1 - found.share_not_beaten) * len(found.answered))
    return (
        f"{found.winner} has the best mean under {held} of {len(found.answered)} other settings of its "
        f"metric, and is shown to be worse than another under {beaten}. Were the inputs drawn anew, it would "
        f"have it with a chance of {found.chance:.2f}, on average over these settings."
    )


# --- what is proven


@final
@dataclass(frozen=True)
class Proof:
    """One certificate as a row: numbers of features, and in words what they hold with."""

    input: int
    selected: int
    features: int
    added: int
    removed: int
    kept: str
    sure: str


@final
@dataclass(frozen=True)
class Proofs:
    """The certificates of one selection, and what all of them rest on."""

    name: str
    rows: tuple[Proof, ...]
    assumptions: tuple[str, ...]


def proofs(name: str, certificates: Sequence[Any]) -> Proofs:
    """Certificates as a table."""
    rows = tuple(_proof(i, certificate) for i, certificate in enumerate(certificates))
    # In their order, each once: the sentences of all inputs are alike but for a class.
    assumed = dict.fromkeys(
        sentence for certificate in certificates for sentence in certificate.assumptions
    )
    return Proofs(name, rows, tuple(assumed))


def _proof(i: int, found: Any) -> Proof:
    kept = f"class {found.predicted}"
    if not found.consistent:
        kept = (
            f"nothing: the selection alone has class {found.selected}, the whole {found.predicted}"
        )
    elif found.agrees is False:
        kept += f", though the model itself says {found.bare}"
    sure = "certainty" if found.exact else f"probability {found.confidence:g}"
    return Proof(
        i + 1,
        len(found.selection),
        found.features,
        found.incremental,
        found.decremental,
        kept,
        sure,
    )
