"""One self-contained page about a comparison.

The page shows maps or bars of credit, scores with their intervals, the differences that are real,
what was refused and why, what each answer cost, and how to do it again. Here the numbers are put
into small frozen classes and sentences; `templates/report.html.j2` only lays them out. The page is
static HTML with inline style: no script, nothing loaded from elsewhere, every text escaped.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, final

from numpy.typing import ArrayLike

from assay.answers.attribution import Attribution
from assay.answers.files import write_file
from assay.answers.provenance import versions
from assay.answers.score import Score
from assay.comparison.candidates import short
from assay.comparison.comparing import from_scores
from assay.comparison.comparison import Comparison
from assay.comparison.evidence import Sampling, sampling
from assay.comparison.ranking import ZERO, Pair, Ranking
from assay.errors import InputError, KindError
from assay.pages import credit, soundness, strips
from assay.pages.soundness import Proofs, Trust
from assay.pages.strips import Mark
from assay.pages.telling import telling
from assay.pictures import images as pictures
from assay.pictures.numbers import Form, chance, clause, form_of, number, p_value
from assay.question.question import Question
from assay.settings import argument, has_length
from assay.settings import shown as describe

if TYPE_CHECKING:
    from assay.certificates.certificate import Certificate
    from assay.comparison.persistence import Persistence

Scored: TypeAlias = tuple[
    Question, Sequence[Attribution] | Mapping[str, Attribution], Mapping[str, Sequence[Score]]
]

WIDTH = 1100  # pixels of the page that maps can share

SMALLEST_MAP = 104

LARGEST_MAP = 260


# --- what the template is given


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
        form: how its means are written.
        steps: how its differences are written.
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
    form: Form
    steps: Form
    verdict: str


# --- the page


def report(
    comparison: Comparison | Scored,
    path: str | PathLike[str],
    *,
    images: ArrayLike | None = None,
    labels: Sequence[str] | None = None,
    title: str = "Explanations, compared",
    inputs: int = 16,
    certificates: Mapping[str, Sequence[Certificate]] | None = None,
    persistence: Sequence[Persistence] = (),
    skills: bool = False,
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
        inputs: so many inputs are drawn, of more the most telling ones, with the reason; scores are
            of all.
        certificates: what is proven, by the name of the selection: one certificate per input.
        persistence: whether winners stay winners, as `comparison.persistence` found it.
        skills: whether methods are placed between their shuffled credit and the best possible one,
            which asks every metric for its optimum.

    The page loads nothing from elsewhere and runs no script; every text that comes from data is
    escaped. Cost: no model evaluations beyond the clean outputs, but for `skills`. Errors: KindError
    for what is no comparison, InputError for images or labels that do not fit the inputs.
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
    evidence = soundness.trust(comparison, persistence, skills)
    proven = [soundness.proofs(name, found) for name, found in (certificates or {}).items()]
    page = _rendered(comparison, images, labels, title, inputs, evidence, proven)
    # Nothing is written before the page is whole: a refusal leaves no file behind.
    write_file(target, page.encode("utf-8"))
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
    evidence: Trust,
    proven: Sequence[Proofs],
) -> str:
    question = comparison.question
    kept = telling(comparison, inputs)
    gallery: list[credit.GalleryRow] | None = None
    charts: list[credit.Chart] | None = None
    above = credit.headings(comparison, labels, kept)
    # An input is either a picture with maps, or a table of its features with bars.
    if pictures.is_image(question):
        gallery = credit.gallery(comparison, images, above)
    else:
        charts = credit.charts(comparison, above)
    candidates = credit.candidates(comparison)
    answers = comparison.attributions
    page = _template().render(
        title=title,
        comparison=comparison,
        question=question,
        gallery=gallery,
        charts=charts,
        shown=len(kept),
        stretched="" if gallery is None else credit.stretched(question, images),
        trust=evidence,
        proven=proven,
        percent=f"{100 * comparison.level:g} %",
        metrics=[_metric_section(comparison, name) for name in comparison.metrics],
        costs=[soundness.cost(name, answer) for name, answer in answers.items() if answer.facts],
        refusals=soundness.refusals(comparison),
        versions=versions(),
        number=number,
        chance=chance,
        p_value=p_value,
        levels=[name for name, answer in candidates.items() if credit.is_level(answer)],
        side=_side(len(candidates)),
        named=_named(comparison),
        short=short,
        breakable=_breakable,
        bracket=_bracket,
    )
    return str(page)


def _side(methods: int) -> int:
    """How wide a map is drawn, in pixels: few methods leave room for larger ones."""
    return min(max(WIDTH // (methods + 2), SMALLEST_MAP), LARGEST_MAP)


def _named(comparison: Comparison) -> bool:
    """Whether methods were given names, and are no code by themselves."""
    return any("(" not in label for label in comparison.methods)


def _template() -> Any:
    from jinja2 import Environment, StrictUndefined

    source = (files("assay.pages") / "templates" / "report.html.j2").read_text(encoding="utf-8")
    # Strict: a field that the template misspells is an error, and not an empty cell.
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(source)


# --- names in words


def _breakable(label: str) -> Any:
    """A label without what adds nothing for a reader, with places where a line may break."""
    from markupsafe import Markup, escape

    # Before a capital inside a name, after a bracket, and after a comma.
    parts = re.split(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[(])|(?<=, )", short(label))
    return Markup("<wbr>").join(escape(part) for part in parts)


def _bracket(form: Callable[[float], str], low: float, high: float) -> str:
    """An interval, or a dash where too few inputs allow none."""
    if math.isnan(low) or math.isnan(high):
        return number(math.nan)
    return f"[{form(low)}, {form(high)}]"


def _enumeration(names: Sequence[str]) -> str:
    *others, last = [short(name) for name in names]
    if not others:
        return last
    return f"{', '.join(others)} and {last}"


# --- scores


def _metric_section(comparison: Comparison, name: str) -> MetricSection:
    """Marks on a common scale, ticks, and the differences in words."""
    ranking = comparison.rankings[name]
    scores = comparison.by(name)
    scale = strips.scale_of(ranking)
    marks = [strips.mark(place, scale, reference=False) for place in ranking.places]
    marks += [strips.mark(place, scale, reference=True) for place in ranking.references]
    drawn = _sampling(comparison, name)
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
        missing=_missing(scores),
        # An unknown share, as of one input, is no small one.
        sampled=any(score.error is not None for score in scores.values())
        and not any(math.isnan(row.share) for row in drawn),
        noisy={row.method: row.noise for row in drawn if row.factor > 1},
        form=form_of(mark.place.mean for mark in marks),
        steps=form_of(pair.facts.difference for pair in pairs),
        verdict=_verdict(ranking),
    )


def _sampling(comparison: Comparison, name: str) -> tuple[Sampling, ...]:
    """What the draws of one metric add to the errors of the candidates' means."""
    listed = {place.method for place in comparison.rankings[name].places}
    scores = comparison.by(name)
    return sampling({(method, name): scores[method] for method in scores if method in listed})


def _missing(scores: Mapping[str, Score]) -> dict[str, Missing]:
    """How many inputs have no score, and why, by method."""
    return {
        method: Missing(score.missing, score.why)
        for method, score in scores.items()
        if score.missing
    }


def _tick_text(tick: float) -> str:
    return f"{tick:.6g}".replace("-", "−")


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
    if ranking.no_interval:
        sentences.append(f"{ranking.no_interval[0].upper()}{ranking.no_interval[1:]}.")
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
            f"on {most} input{clause('s', most != 1)}: it takes {fewest}."
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
            f"{number(zero.mean)} against {number(best.mean)}."
        ]
    names = _unproven(ranking, ranking.not_better_than_zero, ranking.versus_zero)
    if names:
        return [f"Not shown to be better than saying nothing: {names}."]
    return []


def _against_shuffles(ranking: Ranking) -> list[str]:
    """Whether it matters which feature has the credit."""
    names = _unproven(ranking, ranking.not_better_than_shuffled, ranking.versus_shuffled)
    if names:
        return [f"Not shown to be better than their own credit shuffled: {names}."]
    return []


def _unproven(ranking: Ranking, methods: Sequence[str], tests: Sequence[Pair]) -> str:
    """The methods of a family of tests that could have shown something, and did not."""
    # Where inputs are too few for any of them, silence says less wrong than a list of everybody.
    if not methods or _most_inputs(tests) < ranking.fewest_inputs(len(tests)):
        return ""
    return _enumeration(methods)
