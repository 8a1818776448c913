"""Credit input by input: maps of pictures, bars of features, the words of a text in its sentence.

What people see of a feature is what they handed in: a category's name and not its code, a text's
own words. Levels (the mean score of masked inputs) have no zero, and are drawn from their lowest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.answers.attribution import Attribution, Kind
from assay.comparison.comparison import Comparison
from assay.inputs.tables import TableLayout
from assay.inputs.texts import TextLayout
from assay.pages.explained import explained
from assay.pictures import images as pictures
from assay.pictures.drawing.labels import Z
from assay.pictures.images import Picture
from assay.pictures.numbers import Form, clause, content, form_of, number
from assay.question.question import Question

Floats: TypeAlias = NDArray[np.float64]

BARS = 10  # features shown of an input that is no picture


@final
@dataclass(frozen=True)
class Heading:
    """What stands above an input.

    Settings:
        index: its number in the question.
        name: what to call it.
        label: what it is called beside its picture.
        why: why it is shown, empty where all are.
        target: which number was explained, with its class.
        prediction: that number.
        base: the same number with everything removed.
    """

    index: int
    name: str
    label: str
    why: str
    target: str
    prediction: float
    base: float


@final
@dataclass(frozen=True)
class GalleryRow:
    """One input that is a picture.

    Settings:
        heading: what stands beside it.
        photo: the input as people see it, None where nothing can be seen.
        heats: the map of each method, by label.
    """

    heading: Heading
    photo: Picture | None
    heats: Mapping[str, Heat]


@final
@dataclass(frozen=True)
class Heat:
    """A map of credit, and what its colours stand for.

    Settings:
        picture: the map.
        ends: the numbers of its full colours, in the unit of the method.
        beyond: how many of its places are beyond them, in words; empty for none.
    """

    picture: Picture
    ends: str
    beyond: str


@final
@dataclass(frozen=True)
class Bar:
    """One feature's credit as a bar in its cell, in percent of the cell's width.

    Settings:
        value: the credit.
        error: its standard error, None where the method does not sample.
        left: where the bar starts.
        width: of the bar.
        low: where the whisker of its 95 % interval starts.
        span: of the whisker, 0 where there is none.
        unsure: whether that interval holds zero.
    """

    value: float
    error: float | None
    left: float
    width: float
    low: float = 0.0
    span: float = 0.0
    unsure: bool = False


@final
@dataclass(frozen=True)
class ChartRow:
    """One feature of an input.

    Settings:
        name: of the feature.
        value: what the input has there, "" where a feature is several numbers.
        bars: one for each method.
    """

    name: str
    value: str
    bars: tuple[Bar, ...]


@final
@dataclass(frozen=True)
class Word:
    """A word of a text as one method sees it.

    Settings:
        text: the word, or what stands before the first.
        after: the spaces and marks behind it.
        shade: its credit as a share of the text's strongest, from -1 to 1; 0 where it is no feature.
        credit: in words.
    """

    text: str
    after: str
    shade: float
    credit: str


@final
@dataclass(frozen=True)
class Chart:
    """One input that is no picture.

    Settings:
        heading: what stands above it.
        methods: their labels, in the order of the bars.
        forms: how the numbers of each method are written.
        rows: the features that matter most to any method.
        left: how many features are not shown.
        others: what these have together, by method; None for numbers that are not added up.
        gaps: what is missing of the change, by method; None where completeness is not promised.
        sentences: the whole text, once for every method; none where the input is no text.
    """

    heading: Heading
    methods: tuple[str, ...]
    forms: tuple[Form, ...]
    rows: tuple[ChartRow, ...]
    left: int
    others: tuple[float | None, ...]
    gaps: tuple[float | None, ...]
    sentences: Mapping[str, tuple[Word, ...]]


def candidates(comparison: Comparison) -> dict[str, Attribution]:
    """The answers of methods: those of references would only be these, shuffled, and nothing."""
    return {
        name: answer
        for name, answer in comparison.attributions.items()
        if name not in comparison.references
    }


def is_level(answer: Attribution) -> bool:
    """Whether its numbers are mean scores, of which none is a neutral zero."""
    return "level" in answer.facts


def headings(
    comparison: Comparison, labels: Sequence[str] | None, kept: Mapping[int, str]
) -> tuple[Heading, ...]:
    """What stands above each of the inputs that are shown."""
    answer = next(iter(comparison.attributions.values()))
    targets = explained(comparison.question)
    return tuple(
        Heading(
            index=i,
            name=_named(i, labels),
            label=_labelled(i, labels),
            why=why,
            target=targets[i],
            prediction=float(answer.prediction[i]),
            base=float(answer.base[i]),
        )
        for i, why in kept.items()
    )


def _labelled(i: int, labels: Sequence[str] | None) -> str:
    if labels is None:
        return f"input {i + 1}"
    return str(labels[i])


def _named(i: int, labels: Sequence[str] | None) -> str:
    if labels is None:
        return f"input {i + 1}"
    return f"input {i + 1}, {labels[i]}"


# --- pictures


def gallery(
    comparison: Comparison, images: ArrayLike | None, above: Sequence[Heading]
) -> list[GalleryRow]:
    """One row per input: its photo, its facts, and a map for every method."""
    question = comparison.question
    photos = pictures.photos(question, images)
    answers = candidates(comparison)
    maps = {name: pictures.credit_maps(question, answer) for name, answer in answers.items()}
    rows = []
    for heading in above:
        i = heading.index
        photo = None if photos is None else pictures.photo(photos[i], heading.name)
        # The words are for those who cannot see the map, and its title for those who point at it.
        heats = {
            method: _heat(answer, maps[method], i, f"{method} on {heading.name}")
            for method, answer in answers.items()
        }
        rows.append(GalleryRow(heading, photo, heats))
    return rows


def _heat(answer: Attribution, maps: Floats, i: int, heading: str) -> Heat:
    level = is_level(answer)
    words = pictures.in_words(answer.values[i].cpu().numpy(), answer.names, level=level)
    picture = pictures.heat(maps[i], f"{heading}: {words}", level=level)
    lowest = float(maps[i].min()) if level else 0.0
    full = pictures.reach(maps[i] - lowest)
    beyond = int((np.abs(maps[i] - lowest) > full).sum())
    return Heat(
        picture=picture,
        ends=f"{number(lowest)} to {number(lowest + full)}" if level else f"±{number(full)}",
        beyond=f"{beyond} place{clause('s', beyond != 1)} beyond" if beyond else "",
    )


def stretched(question: Question, images: ArrayLike | None) -> str:
    """What black and white stand for where the pictures' numbers are on no known scale, in words."""
    shape = question.layout.shapes[0]
    if images is None and len(shape) == 3 and shape[0] not in (1, 3):
        return ""
    seen = question.x if images is None else images
    low = float(np.asarray(seen).min())
    high = float(np.asarray(seen).max())
    # Shares and bytes have black and white of their own.
    if low >= 0 and high <= 255:
        return ""
    return (
        f"The numbers of the pictures lie outside 0 to 1 and 0 to 255: black stands for {number(low)}, "
        f"white for {number(high)}, the ends of all {question.n} inputs together."
    )


# --- features


def charts(comparison: Comparison, above: Sequence[Heading]) -> list[Chart]:
    """The features of each input that matter most to any method, a bar for every method."""
    answers = candidates(comparison)
    return [_chart(comparison, answers, heading, heading.index) for heading in above]


def _chart(
    comparison: Comparison, answers: Mapping[str, Attribution], heading: Heading, i: int
) -> Chart:
    question = comparison.question
    credit = {name: _credit(answer, i) for name, answer in answers.items()}
    names = names_of(next(iter(answers.values())), i)
    # Methods have units of their own: each is measured by its largest credit of this input.
    weight = sum(np.abs(values) / _reach(values) for values in credit.values())
    # Stable: features of equal weight stand in their own order on every machine. A text has fewer
    # words than the longest.
    top = np.argsort(-np.asarray(weight)[: len(names)], kind="stable")[:BARS]
    seen = contents(question, i)
    rows = []
    for k in top.tolist():
        bars = [_bar(answer, credit[name], i, k) for name, answer in answers.items()]
        rows.append(ChartRow(names[k], content(seen[k]) if seen else "", tuple(bars)))
    return Chart(
        heading=heading,
        methods=tuple(answers),
        forms=tuple(form_of(credit[name][top]) for name in answers),
        rows=tuple(rows),
        left=len(names) - len(top),
        others=tuple(_others(answer, i, top, len(names)) for answer in answers.values()),
        gaps=tuple(
            None if answer.gap is None else float(answer.gap[i]) for answer in answers.values()
        ),
        sentences={name: _sentence(question, credit[name], i) for name in answers}
        if isinstance(question.layout, TextLayout)
        else {},
    )


def _others(answer: Attribution, i: int, top: NDArray[Any], features: int) -> float | None:
    """What the features that are not shown have together; only contributions are added up."""
    if answer.kind != Kind.CONTRIBUTION.value:
        return None
    values = answer.values[i].double()
    return float(values[:features].sum() - values[top].sum())


def _credit(answer: Attribution, i: int) -> Floats:
    """The credit of one input, of a level what it is above its lowest."""
    values: Floats = np.asarray(answer.values[i].detach().cpu().double().numpy())
    if is_level(answer):
        values = values - values.min()
    return values


def _reach(values: Floats) -> float:
    return float(np.abs(values).max()) or 1.0


def names_of(answer: Attribution, i: int) -> Sequence[str]:
    """The names of one input's features: of several texts each has words of its own."""
    own = getattr(answer, "names_of", None)
    names: Sequence[str] = answer.names if own is None else own(i)
    return names


def contents(question: Question, i: int) -> tuple[Any, ...]:
    """What one input has at each feature, none where a feature is more than one number."""
    if not question.partition.identity or isinstance(question.layout, TextLayout):
        return ()
    row = question.x[i : i + 1]
    # Folded back, a category has its name again, and a date is a date.
    if isinstance(question.layout, TableLayout):
        frame: Any = question.layout.fold(row)[0]
        return tuple(frame[column].to_list()[0] for column in frame.columns)
    return tuple(row[0].tolist())


def _bar(answer: Attribution, credit: Floats, i: int, k: int) -> Bar:
    value = float(credit[k])
    error = None if answer.standard_error is None else float(answer.standard_error[i, k])
    reach = _reach(credit)
    # Levels start at the edge, where their lowest lies, and are written as they are.
    if is_level(answer):
        return Bar(float(answer.values[i, k]), error, 0.0, 100 * value / reach)
    # From the middle: to the left against the target, to the right for it.
    width = 50 * abs(value) / reach
    left = 50.0
    if value < 0:
        left -= width
    if not error:
        return Bar(value, error, left, width)
    # As far as the cell reaches: the number beside it tells the whole error.
    ends = np.clip([50 + 50 * (value + side * Z * error) / reach for side in (-1, 1)], 0, 100)
    return Bar(
        value,
        error,
        left,
        width,
        low=float(ends[0]),
        span=float(ends[1] - ends[0]),
        unsure=abs(value) <= Z * error,
    )


# --- texts


def _sentence(question: Question, credit: Floats, i: int) -> tuple[Word, ...]:
    """The words of a text, in their order, with what stands between them."""
    layout = question.layout
    if not isinstance(layout, TextLayout):
        return ()
    labels = question.partition.labels
    own = labels[min(i, len(labels) - 1)].tolist()
    reach = _reach(credit)
    form = form_of(credit)
    words = []
    for code, label in zip(question.x[i].tolist(), own):
        text, after = layout.pieces[code]
        if not text and not after:
            continue
        # A place that nobody owns is part of the sentence all the same.
        value = float(credit[label]) if label >= 0 else 0.0
        words.append(Word(text, after, value / reach, form(value) if label >= 0 else ""))
    return tuple(words)
