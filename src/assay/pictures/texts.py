"""Credit of words: a text as it runs, each word on the colour of its credit.

Letters have one width, so that the ground of a word lies under the word on any paper. The sign is said
without colour as well: what speaks against has a dotted line below.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from assay.answers.attribution import Attribution
from assay.errors import InputError
from assay.numerics.statistics import Floats
from assay.pictures.described import (
    Answers,
    answers_by_name,
    errors_of,
    row_number,
    sampled,
    strongest,
    unit_of,
    values_of,
    z_of,
)
from assay.pictures.drawing.drawing import Chart
from assay.pictures.drawing.labels import names, signed
from assay.pictures.drawing.marks import Box, Key, Line, Mark, Words
from assay.pictures.drawing.panel import Panel
from assay.pictures.drawing.scales import Axis, Scale, around_zero
from assay.pictures.drawing.themes import ink_on
from assay.pictures.numbers import clause
from assay.question.question import Question

_LETTERS = 72  # on a line
_WIDE = 8.4  # a letter, in hundredths of an inch
_LINE = 38.0  # a line with the numbers below its words
_HEIGHT = 0.37  # a letter, as a share of its line
_MOST = 60  # lines; of a longer text those with the strongest words


@final
@dataclass(frozen=True)
class _Piece:
    """A piece of a text: its letters, whose feature they are, and what follows them.

    Settings:
        text: a word.
        after: the spaces and marks behind it.
        feature: whose credit it shows; -1 for nobody's.
    """

    text: str
    after: str
    feature: int


@final
@dataclass(frozen=True)
class _Set:
    """A piece where it stands: on which line, from which letter on."""

    piece: _Piece
    line: int
    start: int

    @property
    def breadth(self) -> int:
        return letters_wide(self.piece.text)


def words(answers: Answers, i: int = 0, *, question: Question | None = None, top: int = 5) -> Chart:
    """Which words of text i speak for and against: the text once for each answer.

    Settings:
        answers: one, several, or by name, all about texts.
        i: which text.
        question: what was asked, for the marks and spaces between words; without it words are joined
            by blanks.
        top: words with their number below, those with the most credit.

    All answers in one unit have one scale. A word that cannot be told from zero has no ground, and a
    grey line below. A text of more than 60 lines shows those with the strongest words.

    >>> import numpy as np, assay
    >>> length = lambda texts: np.array([float(len(text)) for text in texts])
    >>> question = assay.Question(length, ["a good film"])
    >>> words(assay.ExactShapley()(question), question=question).data["word"].tolist()
    ['a', 'good', 'film']
    """
    named = answers_by_name(answers)
    panels = []
    rows: list[dict[str, Any]] = []
    told = []
    folded = 0
    for k, (name, answer) in enumerate(named.items()):
        i = row_number(answer, i)
        credit = _credit_of(answer, i)
        scale = _scale_of([other for other in named.values() if other.kind == answer.kind], i)
        scale = Scale(scale.low, scale.high, unit_of(answer, i))
        lines, left = _shortened(_set(_pieces(answer, i, question)), credit)
        folded = max(folded, left)
        marks = tuple(_marks(f"{k}", lines, answer, i, scale, top))
        count = max((each.line for each in lines), default=0) + 1
        panels.append(_panel(marks, count, name, scale))
        labels = names(answer.names_of(i))
        told.append(f"{name}: {strongest(credit.tolist(), labels)}")
        rows += _rows(name, answer, i, labels)
    method = "; ".join(told)
    unit = unit_of(next(iter(named.values())), i)
    more = clause(f"; {folded} lines without strong words are left out", folded)
    dotted = "; dotted line: against; grey line without ground: not told from zero"
    return Chart(
        drawn=tuple(panels),
        table={key: [row[key] for row in rows] for key in rows[0]},
        caption=f"{unit}{dotted}{more}",
        alt=f"Words of text {i}, strongest by {method}.",
    )


def letters_wide(text: str) -> int:
    """How many places of one letter a text takes: letters of East Asia take two, marks none."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    marks = sum(unicodedata.combining(letter) > 0 for letter in text)
    return len(text) + wide - marks


# --- parts


def _credit_of(answer: Attribution, i: int) -> Floats:
    return values_of(answer)[i, : len(answer.names_of(i))]


def _scale_of(answers: Sequence[Attribution], i: int) -> Scale:
    limits = [float(np.abs(_credit_of(answer, i)).max(initial=0)) for answer in answers]
    return around_zero(max(limits), "")


def _pieces(answer: Attribution, i: int, question: Question | None) -> list[_Piece]:
    """The text in pieces, with what stands between words where the question is known."""
    known = getattr(question.layout, "pieces", None) if question is not None else None
    if question is None or known is None:
        return [_Piece(name, " ", k) for k, name in enumerate(answer.names_of(i))]
    if question.n != len(answer.values):
        raise InputError(
            expected=f"the question of the answer, about {len(answer.values)} texts",
            got=f"one about {question.n}",
            advice="Hand over the question that was asked: words(answer, i, question=question).",
        )
    labels = question.partition.labels
    own = labels[min(i, len(labels) - 1)].tolist()
    texts = [known[code] for code in question.x[i].tolist()]
    return [_Piece(text, after, label) for (text, after), label in zip(texts, own) if text or after]


def _set(pieces: Sequence[_Piece]) -> list[_Set]:
    """Each piece where it stands; lines break before words, and inside those longer than a line."""
    placed: list[_Set] = []
    line = at = 0
    for piece in _cut(pieces):
        wide = letters_wide(piece.text)
        # Marks that follow stay on the line of their word.
        following = letters_wide(piece.after.rstrip())
        if at and at + wide + following > _LETTERS:
            line, at = line + 1, 0
        placed.append(_Set(piece, line, at))
        at += wide + letters_wide(_visible(piece.after))
        if "\n" in piece.after:
            line, at = line + piece.after.count("\n"), 0
    return placed


def _cut(pieces: Sequence[_Piece]) -> Iterator[_Piece]:
    for piece in pieces:
        text = _visible(piece.text)
        # A word of more than a line is several, all on its colour.
        while letters_wide(text) > _LETTERS:
            # Of letters that take two places half as many fit.
            fit = _LETTERS // 2
            yield _Piece(text[:fit], "", piece.feature)
            text = text[fit:]
        yield _Piece(text, piece.after, piece.feature)


def _visible(text: str) -> str:
    """Line breaks as a sign, tabs as blanks."""
    return text.replace("\n", "↵").replace("\t", " ").replace("\r", "")


def _shortened(placed: list[_Set], credit: Floats) -> tuple[list[_Set], int]:
    """The lines with the strongest words, in their order, and how many are left out."""
    lines = max((each.line for each in placed), default=0) + 1
    if lines <= _MOST:
        return placed, 0
    strength = np.zeros(lines)
    for each in placed:
        if each.piece.feature >= 0:
            size = abs(float(credit[each.piece.feature]))
            strength[each.line] = max(strength[each.line], size)
    kept = sorted(np.argsort(-strength, kind="stable")[:_MOST].tolist())
    place = {line: k for k, line in enumerate(kept)}
    shown = [
        _Set(each.piece, place[each.line], each.start) for each in placed if each.line in place
    ]
    return shown, lines - _MOST


def _marks(
    gid: str, placed: Sequence[_Set], answer: Attribution, i: int, scale: Scale, top: int
) -> Iterator[Mark]:
    credit = _credit_of(answer, i)
    errors = errors_of(answer, values_of(answer)[i], i)
    unsure = sampled(answer) & (np.abs(credit) <= z_of(False, 1) * errors[: len(credit)])
    numbered = _numbered(placed, credit, top)
    for n, each in enumerate(placed):
        k = each.piece.feature
        ink = "text"
        if k >= 0 and not unsure[k] and each.breadth:
            fill = scale.colour(float(credit[k]))
            ink = ink_on(fill)
            yield _ground(f"word-{gid}-{n}", each, fill, f"{each.piece.text}: {signed(credit[k])}")
        yield from _letters(f"{gid}-{n}", each, ink)
        if k >= 0 and each.breadth:
            yield from _below(f"{gid}-{n}", each, float(credit[k]), bool(unsure[k]))
            if n in numbered:
                middle = each.start + each.breadth / 2
                text = signed(float(credit[k]))
                yield Words(f"number-{gid}-{n}", middle, each.line + 0.8, text, size=6.5)


def _numbered(placed: Sequence[_Set], credit: Floats, top: int) -> set[int]:
    """The pieces with a number below: the first of each strongest feature, where there is room."""
    order = np.argsort(-np.abs(credit), kind="stable")[:top].tolist()
    taken: list[tuple[int, float, float]] = []
    found = set()
    for k in (k for k in order if credit[k] != 0):
        n = next((n for n, each in enumerate(placed) if each.piece.feature == k), None)
        if n is None:
            continue
        each = placed[n]
        # Small letters take two thirds of a place.
        half = 0.36 * len(signed(float(credit[k])))
        middle = each.start + each.breadth / 2
        low, high = middle - half, middle + half
        if any(line == each.line and low < right and left < high for line, left, right in taken):
            continue
        taken.append((each.line, low, high))
        found.add(n)
    return found


def _ground(gid: str, each: _Set, fill: str, title: str) -> Box:
    return Box(
        gid=gid,
        left=float(each.start),
        right=float(each.start + each.breadth),
        low=each.line + 0.57,
        high=each.line + 0.03,
        fill=fill,
        title=title,
    )


def _letters(gid: str, each: _Set, ink: str) -> Iterator[Words]:
    y = each.line + 0.3
    if each.breadth:
        cell = (float(each.breadth), _HEIGHT)
        yield Words(f"text-{gid}", float(each.start), y, each.piece.text, ink, "start", cell=cell)
    after = _visible(each.piece.after)
    # Blanks at both ends are room alone.
    marks = after.strip()
    if marks:
        at = float(each.start + each.breadth + len(after) - len(after.lstrip()))
        cell = (float(letters_wide(marks)), _HEIGHT)
        yield Words(f"after-{gid}", at, y, marks, "text", "start", cell=cell)


def _below(gid: str, each: _Set, value: float, unsure: bool) -> Iterator[Line]:
    ends = np.array([each.start, each.start + each.breadth], dtype=np.float64)
    down = np.full(2, each.line + 0.62)
    if unsure:
        yield Line(f"unsure-{gid}", ends, down, "muted", 1.0)
    elif value < 0:
        yield Line(f"against-{gid}", ends, down, "negative", 1.6, "dots")


def _panel(marks: tuple[Mark, ...], lines: int, name: str, scale: Scale) -> Panel:
    keys = tuple(Key(text, scale.colour(at), "box") for at, text in scale.ticks)
    return Panel(
        marks=marks,
        x=Axis(0.0, float(_LETTERS)),
        y=Axis(float(lines), 0.0),
        size=(_WIDE * _LETTERS, _LINE * lines),
        title=name,
        frame="none",
        keys=keys,
    )


def _rows(name: str, answer: Attribution, i: int, labels: Sequence[str]) -> list[dict[str, Any]]:
    credit = _credit_of(answer, i)
    errors = errors_of(answer, values_of(answer)[i], i)
    return [
        {
            "method": name,
            "word": label,
            "credit": float(credit[k]),
            "error": float(errors[k]) if sampled(answer) else float("nan"),
        }
        for k, label in enumerate(labels)
    ]
