"""One self-contained page about a comparison.

The page shows maps or bars of credit, scores with their intervals, the differences that are real,
what was refused and why, what each answer cost, and how to do it again. Here the numbers are put
into small frozen classes and sentences; `templates/report.html.j2` only lays them out. The page is
static HTML with inline style: no script, nothing loaded from elsewhere, every text escaped.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias, final

import numpy as np
from numpy.typing import ArrayLike

from assay.answers.attribution import Attribution
from assay.answers.provenance import versions
from assay.answers.score import Score
from assay.comparison.comparison import Comparison, from_scores, short
from assay.comparison.ranking import ZERO, Pair, Place, Ranking
from assay.errors import InputError, KindError
from assay.numerics.statistics import Floats
from assay.pages import strips
from assay.pages.strips import Mark
from assay.pictures import images as pictures
from assay.pictures.images import Picture
from assay.question.question import Question
from assay.settings import argument, has_length
from assay.settings import shown as describe

Scored: TypeAlias = tuple[
    Question, Sequence[Attribution] | Mapping[str, Attribution], Mapping[str, Sequence[Score]]
]

BARS = 10  # features shown of an input that is no picture


# --- what the template is given


@final
@dataclass(frozen=True)
class GalleryRow:
    """One input that is a picture.

    Settings:
        name: what to call it.
        photo: the input as people see it, None where nothing can be seen.
        heats: the map of each method, by label.
        prediction: the target's value.
    """

    name: str
    photo: Picture | None
    heats: Mapping[str, Picture]
    prediction: float


@final
@dataclass(frozen=True)
class Bar:
    """One feature's credit as a bar from the middle of its cell, in percent of the cell's width."""

    value: float
    left: float
    width: float


@final
@dataclass(frozen=True)
class ChartRow:
    """One feature of an input.

    Settings:
        name: of the feature.
        value: its value, None where a feature is several numbers.
        bars: one for each method.
    """

    name: str
    value: float | None
    bars: tuple[Bar, ...]


@final
@dataclass(frozen=True)
class Chart:
    """One input that is no picture.

    Settings:
        name: what to call it.
        prediction: the target's value.
        methods: their labels, in the order of the bars.
        rows: the features that matter most to any method.
        left: how many features are not shown.
    """

    name: str
    prediction: float
    methods: tuple[str, ...]
    rows: tuple[ChartRow, ...]
    left: int


@final
@dataclass(frozen=True)
class Tick:
    """A round number on a strip and where it lies, in percent of the strip's width."""

    text: str
    at: float


@final
@dataclass(frozen=True)
class Missing:
    """Inputs without a score: how many, and why, in words."""

    count: int
    why: str


@final
@dataclass(frozen=True)
class MetricSection:
    """What the page says of one metric.

    Settings:
        name: its label.
        ranking: where the methods stand.
        marks: dots and whiskers, candidates first.
        ticks: of the strip.
        zero: where zero lies on it, None where it does not.
        log: whether the strip is logarithmic.
        pairs: every two methods, the clearest difference first.
        real: how many of these differences are more than chance.
        missing: inputs without a score, by method.
        sampled: whether the metric draws.
        noisy: the metric's own standard error, for methods where it counts.
        verdict: the result in words.
    """

    name: str
    ranking: Ranking
    marks: tuple[Mark, ...]
    ticks: tuple[Tick, ...]
    zero: float | None
    log: bool
    pairs: tuple[Pair, ...]
    real: int
    missing: Mapping[str, Missing]
    sampled: bool
    noisy: Mapping[str, float]
    verdict: str


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


# --- the page


def report(
    comparison: Comparison | Scored,
    path: str | PathLike[str],
    *,
    images: ArrayLike | None = None,
    labels: Sequence[str] | None = None,
    title: str = "Explanations, compared",
    inputs: int = 16,
) -> Path:
    """Writes a page about a comparison, and gives back where it is.

    Settings:
        comparison: what `compare` gave, or (question, attributions, {metric: one score per
            attribution}).
        path: where the page goes; folders are made.
        images: what people should see beside the maps, (n, height, width), (n, 3, height, width)
            or (n, height, width, 3); without them the inputs themselves are shown where they are
            pictures.
        labels: what each input is.
        title: of the page.
        inputs: so many first inputs are drawn; scores are of all.

    The page loads nothing from elsewhere and runs no script; every text that comes from data is
    escaped. Cost: no model evaluations beyond the clean outputs. Errors: KindError for what is no
    comparison, InputError for images or labels that do not fit the inputs.
    """
    target = Path(argument("report", "path", path, str | PathLike))
    title = argument("report", "title", title, str)
    inputs = argument("report", "inputs", inputs, int)
    if inputs < 1:
        raise InputError(
            expected="at least one input to be drawn",
            got=inputs,
            advice="Leave it out for 16.",
        )
    if not isinstance(comparison, Comparison):
        if not isinstance(comparison, tuple) or len(comparison) != 3:
            raise KindError(
                expected="a Comparison or (question, attributions, scores)",
                got=type(comparison).__name__,
                advice="Make one: assay.compare(question, methods, metrics).",
            )
        comparison = from_scores(*comparison)
    _check_labels(labels, comparison.question)
    page = _rendered(comparison, images, labels, title, inputs)
    # Nothing is written before the page is whole: a refusal leaves no file behind.
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(page, encoding="utf-8")
    return target


def _check_labels(labels: Sequence[str] | None, question: Question) -> None:
    if labels is None:
        return
    if not has_length(labels):
        raise KindError(
            expected=f"a list of {question.n} labels",
            got=describe(labels),
            advice="Give a text for every input of the question, in its order.",
        )
    if len(labels) != question.n:
        raise InputError(
            expected=f"one label for each of {question.n} inputs",
            got=len(labels),
            advice="Give a text for every input of the question, in its order.",
        )


def _rendered(
    comparison: Comparison,
    images: ArrayLike | None,
    labels: Sequence[str] | None,
    title: str,
    inputs: int,
) -> str:
    question = comparison.question
    shown = min(inputs, question.n)
    gallery: list[GalleryRow] | None = None
    charts: list[Chart] | None = None
    # An input is either a picture with maps, or a table of its features with bars.
    if pictures.is_image(question):
        gallery = _gallery(comparison, images, labels, shown)
    else:
        charts = [_chart(comparison, labels, i) for i in range(shown)]
    answers = comparison.attributions
    page = _template().render(
        title=title,
        comparison=comparison,
        question=question,
        labels=None if labels is None else [str(label) for label in labels],
        gallery=gallery,
        charts=charts,
        shown=shown,
        percent=f"{100 * comparison.level:g} %",
        metrics=[_metric_section(comparison, name) for name in comparison.metrics],
        costs=[_cost(name, answer) for name, answer in answers.items() if answer.facts],
        refusals=_refusals(comparison),
        versions=versions(),
        number=_number,
        chance=_chance,
        short=short,
        breakable=_breakable,
    )
    return str(page)


def _template() -> Any:
    from jinja2 import Environment, StrictUndefined

    source = (files("assay.pages") / "templates" / "report.html.j2").read_text(encoding="utf-8")
    # Strict: a field that the template misspells is an error, and not an empty cell.
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(source)


# --- numbers and names in words


def _number(value: float) -> str:
    """Three significant digits, a real minus sign, and a dash for what is missing."""
    if math.isnan(value):
        return "–"
    if value == 0:
        return "0"
    size = abs(value)
    if 1000 <= size < 1e6:
        text = f"{value:.0f}"
    elif 1e-3 <= size < 1000:
        # "#" keeps zeros at the end, and also a bare point behind three digits.
        text = f"{value:#.3g}".rstrip(".")
    else:
        text = f"{value:.2e}"
    return text.replace("-", "−")


def _breakable(label: str) -> Any:
    """A label without what adds nothing for a reader, with places where a line may break."""
    from markupsafe import Markup, escape

    # Before a capital inside a name, after a bracket, and after a comma.
    parts = re.split(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[(])|(?<=, )", short(label))
    return Markup("<wbr>").join(escape(part) for part in parts)


def _chance(value: float) -> str:
    if math.isnan(value):
        return "–"
    # Whole percents must not claim a certainty that resampling cannot give.
    if 0 < value < 0.005:
        return "< 1 %"
    if 0.995 < value < 1:
        return "> 99 %"
    return f"{100 * value:.0f} %"


def _enumeration(names: Sequence[str]) -> str:
    *others, last = [short(name) for name in names]
    if not others:
        return last
    return f"{', '.join(others)} and {last}"


# --- credit, input by input


def _gallery(
    comparison: Comparison, images: ArrayLike | None, labels: Sequence[str] | None, shown: int
) -> list[GalleryRow]:
    """One row per input: its photo, its facts, and a map for every method."""
    question = comparison.question
    photos = pictures.photos(question, images)
    # Maps of references would only be the methods', shuffled, and nothing.
    answers = _candidates(comparison)
    maps = {name: pictures.credit_maps(question, answer) for name, answer in answers.items()}
    rows = []
    for i in range(shown):
        name = _input_name(i, labels)
        photo = None if photos is None else pictures.photo(photos[i], name)
        # The words are for those who cannot see the map, and its title for those who point at it.
        heats = {
            method: _heat(answer, maps[method], i, f"{method} on {name}")
            for method, answer in answers.items()
        }
        rows.append(GalleryRow(name, photo, heats, _prediction(comparison, i)))
    return rows


def _heat(answer: Attribution, maps: Floats, i: int, heading: str) -> Picture:
    words = pictures.in_words(answer.values[i].cpu().numpy(), answer.names)
    return pictures.heat(maps[i], f"{heading}: {words}")


def _chart(comparison: Comparison, labels: Sequence[str] | None, i: int) -> Chart:
    """The features of one input that matter most to any method, a signed bar for every method."""
    answers = _candidates(comparison)
    credit = {
        name: answer.values[i].detach().cpu().double().numpy() for name, answer in answers.items()
    }
    # Methods have units of their own: each is measured by its largest credit of this input.
    reach = {name: float(np.abs(values).max()) or 1.0 for name, values in credit.items()}
    weight = sum(np.abs(values) / reach[name] for name, values in credit.items())
    # Stable: features of equal weight stand in their own order on every machine.
    top = np.argsort(-np.asarray(weight), kind="stable")[:BARS]
    names = next(iter(answers.values())).names
    rows = tuple(
        ChartRow(
            name=names[k],
            value=_feature_value(comparison.question, i, k),
            bars=tuple(_bar(float(credit[method][k]), reach[method]) for method in answers),
        )
        for k in top
    )
    return Chart(
        name=_input_name(i, labels),
        prediction=_prediction(comparison, i),
        methods=tuple(answers),
        rows=rows,
        left=len(names) - len(top),
    )


def _feature_value(question: Question, i: int, k: int) -> float | None:
    # Only a feature of one element has a value that one number tells.
    if not question.partition.identity:
        return None
    return float(question.x[i, k])


def _bar(value: float, reach: float) -> Bar:
    # From the middle: to the left against the target, to the right for it.
    width = 50 * abs(value) / reach
    left = 50.0
    if value < 0:
        left -= width
    return Bar(value, left, width)


def _candidates(comparison: Comparison) -> dict[str, Attribution]:
    return {
        name: answer
        for name, answer in comparison.attributions.items()
        if name not in comparison.references
    }


def _prediction(comparison: Comparison, i: int) -> float:
    return float(next(iter(comparison.attributions.values())).prediction[i])


def _input_name(i: int, labels: Sequence[str] | None) -> str:
    return f"input {i + 1}" if labels is None else f"input {i + 1}, {labels[i]}"


# --- scores


def _metric_section(comparison: Comparison, name: str) -> MetricSection:
    """Marks on a common scale, ticks, and the differences in words."""
    ranking = comparison.rankings[name]
    scores = comparison.by(name)
    scale = strips.scale_of(ranking)
    marks = [strips.mark(place, scale, reference=False) for place in ranking.places]
    marks += [strips.mark(place, scale, reference=True) for place in ranking.references]
    # By p value, and among equals (small samples have few different ones) the largest first.
    pairs = sorted(ranking.pairs, key=lambda pair: (pair.adjusted, -abs(pair.facts.difference)))
    return MetricSection(
        name=name,
        ranking=ranking,
        marks=tuple(marks),
        ticks=tuple(Tick(_tick_text(tick), scale.at(tick)) for tick in scale.ticks),
        zero=scale.at(0.0) if scale.low < 0 < scale.high else None,
        log=scale.log,
        pairs=tuple(pairs),
        real=sum(pair.real for pair in ranking.pairs),
        missing={
            method: Missing(score.missing, score.why)
            for method, score in scores.items()
            if score.missing
        },
        sampled=any(score.error is not None for score in scores.values()),
        noisy={
            place.method: scores[place.method].noise
            for place in ranking.places
            if _noisy(place, scores)
        },
        verdict=_verdict(ranking),
    )


def _tick_text(tick: float) -> str:
    return f"{tick:.6g}".replace("-", "−")


def _noisy(place: Place, scores: Mapping[str, Score]) -> bool:
    """Whether sampling inside the metric causes more than a tenth of the standard error over
    inputs.
    """
    # A 95 % interval is 2 * 1.96 standard errors wide.
    return scores[place.method].noise > 0.1 * (place.high - place.low) / 3.92


def _verdict(ranking: Ranking) -> str:
    """The result of one metric in a few sentences."""
    scored = [place for place in ranking.places if not math.isnan(place.mean)]
    if not scored:
        return "No method has a score."
    sentences = [_best(ranking, len(scored))]
    if ranking.beaten_by:
        names = _enumeration(ranking.beaten_by)
        sentences.append(f"But {names} did better where both have a score, by more than chance.")
    if 0 < ranking.common < ranking.n:
        sentences.append(
            f"Means are ordered on the {ranking.common} of {ranking.n} inputs that every method "
            "has a score for."
        )
    sentences += _against_zero(ranking)
    sentences += _against_shuffles(ranking)
    return " ".join(sentences)


def _best(ranking: Ranking, scored: int) -> str:
    """Who is the best, and whether that is more than chance."""
    winner = short(ranking.winner)
    if scored == 1:
        return f"{winner} is the only method with a score."
    if ranking.common == 0:
        return "No input has a score by every method: means of different inputs rank nothing."
    fewest = ranking.fewest_inputs(len(ranking.pairs))
    most = _most_inputs(ranking.pairs)
    if most < fewest:
        return (
            f"{winner} has the best mean. Between {scored} methods no difference can be shown "
            f"on {most} input{'s' if most != 1 else ''}: it takes {fewest}."
        )
    # "Cannot be told apart" and not "equal": few inputs show few differences.
    equals = [name for name in ranking.leaders if name != ranking.winner]
    if not equals:
        risk = 100 * (1 - ranking.level)
        return (
            f"{winner} is the best: it differs from every other method by more than chance "
            f"(significant at {risk:.2g} %, adjusted for all pairs)."
        )
    if len(equals) == scored - 1:
        return f"{winner} has the best mean, but cannot be told apart from any other method here."
    return f"{winner} has the best mean; it cannot be told apart from {_enumeration(equals)}."


def _most_inputs(pairs: Sequence[Pair]) -> int:
    """The most inputs that any two of them have in common."""
    return max((pair.facts.n for pair in pairs), default=0)


def _against_zero(ranking: Ranking) -> list[str]:
    """Whether methods say more than nothing."""
    zero = next((place for place in ranking.references if place.method == ZERO), None)
    if zero is None or math.isnan(zero.mean):
        return []
    sign = 1 if ranking.direction == "lower" else -1
    best = ranking.places[0]
    # On the inputs that both have a score for.
    pair = next(pair for pair in ranking.versus_zero if pair.first == best.method)
    if sign * pair.facts.difference > 0:
        return [
            f"Saying nothing (all zeros) scores better than the best of them: "
            f"{_number(zero.mean)} against {_number(best.mean)}."
        ]
    names = _unproven(ranking, ranking.not_better_than_zero, ranking.versus_zero)
    return [f"Not shown to be better than saying nothing: {names}."] if names else []


def _against_shuffles(ranking: Ranking) -> list[str]:
    """Whether it matters which feature has the credit."""
    names = _unproven(ranking, ranking.not_better_than_shuffled, ranking.versus_shuffled)
    return [f"Not shown to be better than their own credit shuffled: {names}."] if names else []


def _unproven(ranking: Ranking, methods: Sequence[str], tests: Sequence[Pair]) -> str:
    """The methods of a family of tests that could have shown something, and did not."""
    # Where inputs are too few for any of them, silence says less wrong than a list of everybody.
    if not methods or _most_inputs(tests) < ranking.fewest_inputs(len(tests)):
        return ""
    return _enumeration(methods)


# --- diagnostics and refusals


def _cost(name: str, answer: Attribution) -> Cost:
    # A copy, from which what has a column is taken out.
    facts = dict(answer.facts)
    # Chunks and memory formats are for whoever repeats the run, not for readers.
    facts.pop("plan", None)
    return Cost(
        name=name,
        kind=answer.kind,
        gap=_gap(answer),
        noise=_noise(answer),
        seconds=facts.pop("seconds", None),
        forwards=facts.pop("forwards", None),
        backwards=facts.pop("backwards", None),
        # Last, when only what has no column of its own is left.
        notes="; ".join(f"{key}: {value}" for key, value in facts.items()),
    )


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
    return float(answer.standard_error.double().mean()) / size if size else math.nan


def _refusals(comparison: Comparison) -> list[Refusal]:
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
