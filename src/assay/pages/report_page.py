"""One self-contained page about a comparison: maps, scores with intervals, real differences, how to
do it again.
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
from assay.comparison.ranking import Place, Ranking
from assay.errors import InputError, KindError
from assay.pages.strips import _mark, _scale
from assay.pictures import images as pictures
from assay.question.question import Question

Gathered: TypeAlias = tuple[
    Question, Sequence[Attribution] | Mapping[str, Attribution], Mapping[str, Sequence[Score]]
]

BARS = 10  # features shown of an input that is no picture


@final
@dataclass(frozen=True)
class Bar:
    """One feature's credit as a bar from the middle of its cell, in percent of the cell's width."""

    value: float
    left: float
    width: float


def report(
    comparison: Comparison | Gathered,
    path: str | PathLike[str],
    *,
    images: ArrayLike | None = None,
    labels: Sequence[str] | None = None,
    title: str = "Explanations, compared",
    inputs: int = 16,
) -> Path:
    """Writes a page about a comparison, or about (question, attributions, {metric: one score per
    attribution}).

    `images` are what people should see beside the maps, (n, height, width), (n, 3, height, width)
    or (n, height, width, 3); without them the inputs themselves are shown where they are pictures.
    `labels` say what each input is. The first `inputs` inputs are drawn; scores are of all. The
    page loads nothing from elsewhere and runs no script; every text that comes from data is
    escaped. Cost: no model evaluations beyond the clean outputs.
    """
    if not isinstance(comparison, Comparison):
        if not isinstance(comparison, tuple) or len(comparison) != 3:
            raise KindError(
                expected="a Comparison or (question, attributions, scores)",
                got=type(comparison).__name__,
                advice="",
            )
        comparison = from_scores(*comparison)
    question = comparison.question
    if labels is not None and len(labels) != question.n:
        raise InputError(
            expected=f"one label for each of {question.n} inputs",
            got=len(labels),
            advice="",
        )
    shown = min(inputs, question.n)
    drawn = pictures.is_image(question)
    page = _template().render(
        title=title,
        comparison=comparison,
        question=question,
        labels=[str(label) for label in labels] if labels is not None else None,
        gallery=_gallery(comparison, images, labels, shown) if drawn else None,
        charts=None if drawn else _charts(comparison, labels, shown),
        shown=shown,
        metrics=[_metric(comparison, name) for name in comparison.metrics],
        costs=[
            _cost(name, answer) for name, answer in comparison.attributions.items() if answer.facts
        ],
        refusals=_refusals(comparison),
        versions=versions(),
        number=_number,
        chance=_chance,
        short=short,
        breakable=_breakable,
    )
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(page, encoding="utf-8")
    return target


def _template() -> Any:
    from jinja2 import Environment, StrictUndefined

    source = (files("assay.pages") / "templates" / "report.html.j2").read_text(encoding="utf-8")
    return Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).from_string(source)


def _number(value: float) -> str:
    """Three significant digits, a real minus sign, and a dash for what is missing."""
    if math.isnan(value):
        return "–"
    size = abs(value)
    text = (
        f"{value:.0f}"
        if 1000 <= size < 1e6
        else f"{value:#.3g}"
        if 1e-3 <= size < 1000
        else f"{value:.2e}"
    )
    return ("0" if value == 0 else text.rstrip(".")).replace("-", "−")


def _breakable(label: str) -> Any:
    """A label without what adds nothing for a reader, with places where a line may break."""
    from markupsafe import Markup, escape

    pieces = re.split(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[(])|(?<=, )", short(label))
    return Markup("<wbr>").join(escape(piece) for piece in pieces)


def _chance(value: float) -> str:
    if math.isnan(value):
        return "–"
    return (
        "< 1 %" if 0 < value < 0.005 else "> 99 %" if 0.995 < value < 1 else f"{100 * value:.0f} %"
    )


def _gallery(
    comparison: Comparison, images: ArrayLike | None, labels: Sequence[str] | None, shown: int
) -> list[dict[str, Any]]:
    """One row per input: its photo, its facts, and a map for every method."""
    question = comparison.question
    seen = pictures.photos(question, images)
    maps = {
        name: pictures.credit_maps(question, answer)
        for name, answer in _candidates(comparison).items()
    }
    rows = []
    for i in range(shown):
        name = _input_name(i, labels)
        heats = {}
        for method, grids in maps.items():
            answer = comparison.attributions[method]
            said = pictures.in_words(answer.values[i].cpu().numpy(), answer.names)
            heats[method] = pictures.heat(grids[i], f"{method} on {name}: {said}")
        photo = None if seen is None else pictures.photo(seen[i], name)
        rows.append(
            {"name": name, "photo": photo, "heats": heats, "prediction": _prediction(comparison, i)}
        )
    return rows


def _charts(
    comparison: Comparison, labels: Sequence[str] | None, shown: int
) -> list[dict[str, Any]]:
    """One table per input: the features that matter most to any method, a signed bar for every
    method.
    """
    charts = []
    answers = _candidates(comparison)
    elements = (
        comparison.question.x.cpu().numpy() if comparison.question.partition.identity else None
    )
    for i in range(shown):
        credit = {
            name: answer.values[i].detach().cpu().double().numpy()
            for name, answer in answers.items()
        }
        reach = {name: float(np.abs(values).max()) or 1.0 for name, values in credit.items()}
        weight = sum(np.abs(values) / reach[name] for name, values in credit.items())
        top = np.argsort(-np.asarray(weight), kind="stable")[:BARS]
        names = next(iter(answers.values())).names
        rows = [
            {
                "name": names[k],
                "value": None if elements is None else float(elements[i, k]),
                "bars": [_bar(float(credit[method][k]), reach[method]) for method in answers],
            }
            for k in top
        ]
        facts = {
            "name": _input_name(i, labels),
            "prediction": _prediction(comparison, i),
            "left": len(names) - len(top),
        }
        charts.append(facts | {"methods": list(answers), "rows": rows})
    return charts


def _bar(value: float, reach: float) -> Bar:
    width = 50 * abs(value) / reach
    return Bar(value, 50 - width if value < 0 else 50.0, width)


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


def _metric(comparison: Comparison, name: str) -> dict[str, Any]:
    """What the page says of one metric: marks on a common scale, ticks, and the differences in
    words.
    """
    found = comparison.rankings[name]
    scores = comparison.by(name)
    scale = _scale(found)
    marks = [_mark(place, scale, reference=False) for place in found.places]
    marks += [_mark(place, scale, reference=True) for place in found.references]
    real = [pair for pair in found.pairs if pair.real]
    return {
        "name": name,
        "ranking": found,
        "marks": marks,
        "ticks": [(f"{tick:.6g}".replace("-", "−"), scale.at(tick)) for tick in scale.ticks],
        "zero": scale.at(0.0) if scale.low < 0 < scale.high else None,
        "log": scale.log,
        "pairs": sorted(found.pairs, key=lambda pair: (pair.adjusted, -abs(pair.facts.difference))),
        "real": len(real),
        "missing": {
            method: (score.missing, score.why) for method, score in scores.items() if score.missing
        },
        "sampled": any(score.error is not None for score in scores.values()),
        "noisy": {
            place.method: scores[place.method].noise
            for place in found.places
            if _noisy(place, scores)
        },
        "verdict": _verdict(found),
    }


def _noisy(place: Place, scores: Mapping[str, Score]) -> bool:
    """Whether sampling inside the metric causes more than a tenth of the standard error over
    inputs.
    """
    return scores[place.method].noise > 0.1 * (place.high - place.low) / 3.92


def _verdict(found: Ranking) -> str:
    """The result of one metric in a sentence or two."""
    if not found.places or math.isnan(found.places[0].mean):
        return "No method has a score."
    if len(found.places) == 1:
        return f"{short(found.winner)} is the only method with a score."
    ties = [name for name in found.leaders if name != found.winner]
    if not ties:
        said = (
            f"{short(found.winner)} is the best, and the differences to all other methods are real."
        )
    elif len(ties) == len(found.places) - 1:
        said = f"{short(found.winner)} has the best mean, but it cannot be told apart from any other method here."
    else:
        said = f"{short(found.winner)} has the best mean; it cannot be told apart from {_listed(ties)}."
    if found.not_better_than_random:
        said += f" Not shown to be better than a random explanation: {_listed(found.not_better_than_random)}."
    return said


def _listed(names: Sequence[str]) -> str:
    said = [short(name) for name in names]
    return said[0] if len(said) == 1 else f"{', '.join(said[:-1])} and {said[-1]}"


def _cost(name: str, answer: Attribution) -> dict[str, Any]:
    """What an answer cost and how sound it is, for one row of the table of diagnostics."""
    facts = dict(answer.facts)
    gap = None
    if answer.gap is not None:
        change = (answer.prediction - answer.base).abs().double().mean()
        gap = (
            float(answer.gap.abs().double().mean()),
            float(answer.gap.abs().double().mean() / change) if change else math.nan,
        )
    noise = None
    if answer.standard_error is not None:
        size = float(answer.values.abs().double().mean())
        noise = float(answer.standard_error.double().mean()) / size if size else math.nan
    return {
        "name": name,
        "kind": answer.kind,
        "gap": gap,
        "noise": noise,
        "seconds": facts.pop("seconds", None),
        "forwards": facts.pop("forwards", None),
        "backwards": facts.pop("backwards", None),
        "notes": "; ".join(f"{key}: {value}" for key, value in facts.items()),
    }


def _refusals(comparison: Comparison) -> list[tuple[list[str], list[str], str]]:
    """(methods, metrics, reason), each reason said once for the methods that it refuses by the same
    metrics.
    """
    refused: dict[tuple[str, str], list[str]] = {}
    for (method, metric), reason in comparison.refusals.items():
        refused.setdefault((method, reason), []).append(metric)
    grouped: dict[tuple[tuple[str, ...], str], list[str]] = {}
    for (method, reason), metrics in refused.items():
        grouped.setdefault((tuple(metrics), reason), []).append(method)
    return [(methods, list(metrics), reason) for (metrics, reason), methods in grouped.items()]
