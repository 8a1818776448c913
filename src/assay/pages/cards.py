"""How nouns show themselves in a notebook: what it is in a few words, then pictures.

A card needs no script and nothing from outside, so that it is seen wherever notebooks are shown.
Pictures are of the answer alone, which keeps no inputs: photographs and sentences stand beside credit
in `pictures.image_map(answer, question=question)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import TYPE_CHECKING, Any, final

import numpy as np

from assay.answers.attribution import Attribution, Kind
from assay.answers.score import Score
from assay.comparison.comparison import Comparison
from assay.pictures.credits import bars, importance, ladder
from assay.pictures.described import unit_of
from assay.pictures.drawing.drawing import Chart, Drawing
from assay.pictures.drawing.kinds import raster_panel
from assay.pictures.drawing.row_chart import Row, RowChart
from assay.pictures.drawing.scales import around_zero
from assay.pictures.maps import reduced
from assay.pictures.numbers import clause, form_of, number
from assay.pictures.proofs import radius
from assay.pictures.standings import standing
from assay.question.question import Question

if TYPE_CHECKING:
    from assay.certificates.certificate import Certificate

FIRST = 3  # inputs with a picture of their own
SIDE = 64  # places of a map along its longer side
METRICS = 6  # metrics with a picture of their own
_CHANNELS = 4  # colours of a place
_NONE = (float("nan"), float("nan"))  # no whisker


@final
@dataclass(frozen=True)
class Card:
    """What a notebook shows of a noun.

    Settings:
        heading: what it is.
        entries: what there is to know, by name.
        pictures: what there is to see.
        more: the heading of what is folded away, and its sentences.
    """

    heading: str
    entries: tuple[tuple[str, str], ...]
    pictures: tuple[Drawing, ...] = ()
    more: tuple[str, tuple[str, ...]] = ("", ())


def html(noun: Any) -> str:
    """The card of a noun, as HTML that needs nothing else.

    >>> import torch, assay
    >>> question = assay.Question(lambda x: x[:, 0] * x[:, 1], torch.tensor([[2.0, 3.0]]))
    >>> html(question)[:14], "<svg" in html(assay.ExactShapley()(question))
    ('<section class', True)
    """
    from jinja2 import Environment, StrictUndefined

    source = (files("assay.pages") / "templates" / "card.html.j2").read_text(encoding="utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(source).render(card=card_of(noun))


def card_of(noun: Any, pictures: bool = True) -> Card:
    """What there is to show of a noun; a terminal has no room for pictures."""
    card = _MADE[type(noun).__name__](noun)
    if not pictures:
        return card
    return replace(card, pictures=tuple(_DRAWN[type(noun).__name__](noun)))


# --- the nouns


def _question(question: Question) -> Card:
    abilities = sorted(ability.value for ability in question.model.abilities)
    entries = (
        ("model", question.model.name),
        ("can", ", ".join(abilities) or "answer"),
        ("inputs", f"{question.n} of shape {question.layout.describe()}"),
        ("target", repr(question.target)),
        ("features", f"{question.features!r}: {question.partition.count}"),
        ("removal", repr(question.removal)),
        ("digest", question.digest),
    )
    return Card("Question", entries)


def _attribution(answer: Attribution) -> Card:
    target = answer.target or "the target"
    entries = (
        ("method", answer.method or "made by hand"),
        ("of", target),
        ("inputs", str(len(answer))),
        ("features", str(answer.values.shape[1])),
        ("unit", unit_of(answer, 0) if len(answer) else answer.kind),
        ("model rows", _asked(answer)),
    )
    return Card("Attribution", entries)


def _asked(answer: Attribution) -> str:
    """How many rows the model was asked, and of how many of them slopes were taken."""
    forwards, backwards = (int(answer.facts.get(way, 0)) for way in ("forwards", "backwards"))
    return f"{forwards:,}" + clause(f" and {backwards:,} with slopes", backwards)


def _credit(answer: Attribution) -> Iterator[Drawing]:
    inputs = range(min(FIRST, len(answer)))
    if not inputs:
        return
    if _is_map(answer):
        yield _maps(answer, inputs)
        return
    # Words differ from input to input, and have no mean size.
    if len(answer) > 1 and answer.own_names is None:
        yield importance(answer)
    for i in inputs:
        if answer.kind == Kind.CONTRIBUTION.value:
            yield ladder(answer, i)
        else:
            yield bars(answer, i)


def _is_map(answer: Attribution) -> bool:
    """Whether features lie in a plane: (height, width), or that for each of a few channels."""
    shape = answer.shape
    planes = len(shape) == 2 or (len(shape) == 3 and shape[0] <= _CHANNELS)
    return planes and min(shape[-2:]) > 1


def _maps(answer: Attribution, inputs: range) -> Chart:
    """The first maps, each on a scale of its own around zero."""
    whole = answer.maps[: len(inputs)].detach().cpu().double()
    # Channels of a place are added up.
    planes = whole.reshape(len(whole), -1, *whole.shape[-2:]).sum(1).numpy()
    factor = max(1, -(-max(planes.shape[1:]) // SIDE))
    maps = [reduced(plane, factor) for plane in planes]
    panels = []
    for i in inputs:
        scale = around_zero(float(np.abs(maps[i]).max()), unit_of(answer, i))
        panels.append(raster_panel(f"map-{i}", maps[i], scale, title=f"input {i}"))
    table: dict[str, list[float]] = {
        "input": [*inputs],
        "least": [float(planes[i].min()) for i in inputs],
        "greatest": [float(planes[i].max()) for i in inputs],
        "sum": [float(planes[i].sum()) for i in inputs],
    }
    shown = f"{len(inputs)} of {len(answer)} inputs"
    return Chart(
        drawn=tuple(panels),
        table=table,
        caption=f"{shown}, each on a scale of its own around zero"
        + clause(f"; means of {factor} x {factor} places", factor > 1),
        alt=f"Maps of the credit of {answer.method}: {shown}.",
        columns=len(inputs),
    )


def _score(score: Score) -> Card:
    entries = [
        ("mean", number(score.mean)),
        ("better", score.direction),
        ("inputs", f"{len(score) - score.missing} of {len(score)}"),
    ]
    if score.missing and score.why:
        entries.append(("without a score", score.why))
    if score.missing == len(score):
        return Card(score.name, tuple(entries))
    low, high = score.interval
    # Of too few inputs there is none.
    if low < high:
        entries.insert(1, ("95 % interval", f"{number(low)} to {number(high)}"))
    return Card(score.name, tuple(entries))


def _spread(score: Score) -> Iterator[Drawing]:
    """The mean with its interval between the least and the greatest score."""
    if score.missing == len(score):
        return
    low, high = score.interval
    values = score.values[score.values.isfinite()].numpy()
    numbers = {"mean": score.mean, "least": float(values.min()), "greatest": float(values.max())}
    # The interval is that of the mean alone.
    whiskers = {"mean": (low, high)}
    form = form_of([*numbers.values()])
    rows = tuple(
        Row(
            role="place",
            index=k,
            name=name,
            value=value,
            text=form(value),
            start=value,
            end=value,
            low=whiskers.get(name, _NONE)[0],
            high=whiskers.get(name, _NONE)[1],
        )
        for k, (name, value) in enumerate(numbers.items())
    )
    yield RowChart(
        rows=rows,
        axis=f"{score.name} ({score.direction} is better)",
        marked=(),
        caption=f"over {len(values)} inputs, with the 95 % interval of the mean",
        alt=repr(score),
    )


def _certificate(certificate: Certificate) -> Card:
    sure = "certainty" if certificate.exact else f"confidence {certificate.confidence:g}"
    entries = (
        ("selection", f"{len(certificate.selection)} of {certificate.features} features"),
        ("class", str(certificate.predicted)),
        ("may be added", str(certificate.incremental)),
        ("may be removed", str(certificate.decremental)),
        ("with", sure),
    )
    more = ("What this rests on", certificate.assumptions)
    return Card("Certificate", entries, more=more)


def _comparison(comparison: Comparison) -> Card:
    entries = (
        ("methods", ", ".join(map(str, comparison.methods))),
        ("metrics", ", ".join(map(str, comparison.metrics))),
        ("inputs", str(comparison.question.n)),
        ("refused", str(len(comparison.refusals))),
    )
    return Card("Comparison", entries)


def _standings(comparison: Comparison) -> Iterator[Drawing]:
    ranked = [ranking for ranking in comparison.rankings.values() if ranking.places]
    yield from map(standing, ranked[:METRICS])


# By name: certificates are drawn by `pictures`, and nothing else of them is known here.
_MADE: dict[str, Callable[[Any], Card]] = {
    "Question": _question,
    "Attribution": _attribution,
    "Score": _score,
    "Certificate": _certificate,
    "Comparison": _comparison,
}

_DRAWN: dict[str, Callable[[Any], Iterable[Drawing]]] = {
    "Question": lambda question: (),
    "Attribution": _credit,
    "Score": _spread,
    "Certificate": lambda certificate: (radius(certificate),),
    "Comparison": _standings,
}
