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
from numpy.typing import NDArray

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
@dataclass(frozen=True, eq=False)
class _Credit:
    """What is told of a text by one answer.

    Settings:
        names: of the features.
        values: their credit.
        errors: of the credit; NaN where it is not known.
        unsure: which cannot be told from zero.
    """

    names: tuple[str, ...]
    values: Floats
    errors: Floats
    unsure: NDArray[np.bool_]


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


def words(
    answers: Answers,
    i: int = 0,
    *,
    question: Question | None = None,
    top: int = 5,
    join: bool = False,
) -> Chart:
    """Which words of text i speak for and against: the text once for each answer.

    Settings:
        answers: one, several, or by name, all about texts.
        i: which text.
        question: what was asked, for the marks and spaces between words; without it words are joined
            by blanks.
        top: words with their number below, those with the most credit.
        join: whether pieces of words become words, with the sum of their credit: what a tokenizer marks
            as such ("##" before the rest of a word; "Ġ" or "▁" before a word; "</w>" behind one), and
            with a question about texts what has nothing in between. A sum of several has no error, since
            errors of credit do not add up.

    All answers in one unit have one scale. A word that cannot be told from zero has no ground, and a
    grey line below. A text of more than 60 lines shows those with the strongest words.

    >>> import numpy as np, assay
    >>> length = lambda texts: np.array([float(len(text)) for text in texts])
    >>> question = assay.Question(length, ["a good film"])
    >>> words(assay.ExactShapley()(question), question=question).data["word"].tolist()
    ['a', 'good', 'film']
    """
    named = answers_by_name(answers)
    told: dict[str, tuple[list[_Piece], _Credit]] = {}
    for name, answer in named.items():
        i = row_number(answer, i)
        told[name] = _told(answer, i, question, join)
    panels = []
    rows: list[dict[str, Any]] = []
    strong = []
    folded = 0
    for k, (name, (pieces, credit)) in enumerate(told.items()):
        kind = named[name].kind
        scale = _scale_of([told[other][1] for other in told if named[other].kind == kind])
        scale = Scale(scale.low, scale.high, unit_of(named[name], i))
        lines, left = _shortened(_set(pieces), credit.values)
        folded = max(folded, left)
        marks = tuple(_marks(f"{k}", lines, credit, scale, top))
        count = max((each.line for each in lines), default=0) + 1
        panels.append(_panel(marks, count, name, scale))
        labels = names(credit.names)
        strong.append(f"{name}: {strongest(credit.values.tolist(), labels)}")
        rows += _rows(name, credit, labels)
    method = "; ".join(strong)
    unit = unit_of(next(iter(named.values())), i)
    more = clause(f"; {folded} lines without strong words are left out", folded)
    more += clause("; pieces of words joined, by sums whose errors are not known", join)
    dotted = "; dotted line: against; grey line without ground: not told from zero"
    return Chart(
        drawn=tuple(panels),
        table={key: [row[key] for row in rows] for key in rows[0]},
        caption=f"{unit}{dotted}{more}",
        alt=f"Words of text {i}, strongest by {method}.",
    )


def _told(
    answer: Attribution, i: int, question: Question | None, join: bool
) -> tuple[list[_Piece], _Credit]:
    """The text in pieces, and their credit by one answer."""
    pieces, credit = _pieces(answer, i, question), _credit_of(answer, i)
    if join:
        return _joined(pieces, credit)
    return pieces, credit


def letters_wide(text: str) -> int:
    """How many places of one letter a text takes: letters of East Asia take two, marks none."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    marks = sum(unicodedata.combining(letter) > 0 for letter in text)
    return len(text) + wide - marks


# --- parts


def _credit_of(answer: Attribution, i: int) -> _Credit:
    labels = tuple(map(str, answer.names_of(i)))
    values = values_of(answer)[i, : len(labels)]
    errors = errors_of(answer, values_of(answer)[i], i)[: len(labels)]
    if not sampled(answer):
        return _Credit(labels, values, np.full(len(labels), np.nan), np.zeros(len(labels), bool))
    return _Credit(labels, values, errors, np.abs(values) <= z_of(False, 1) * errors)


def _scale_of(credits: Sequence[_Credit]) -> Scale:
    limits = [float(np.abs(credit.values).max(initial=0)) for credit in credits]
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


def _joined(pieces: Sequence[_Piece], credit: _Credit) -> tuple[list[_Piece], _Credit]:
    """Words in the place of their pieces, each with the sum of their credit."""
    _check_one_place(pieces)
    marked = _tokenizer_marks(pieces)
    joined: list[_Piece] = []
    members: list[list[int]] = []
    for group in _words_of(pieces, marked):
        text = "".join(_unmarked(piece.text, marked) for piece in group)
        feature = -1
        if group[0].feature >= 0:
            feature = len(members)
            members.append([piece.feature for piece in group])
        joined.append(_Piece(text, group[-1].after, feature))
    alone = np.array([len(parts) == 1 for parts in members], dtype=bool)
    # Of one piece alone the error is known.
    first = [parts[0] for parts in members]
    return joined, _Credit(
        names=tuple(piece.text for piece in joined if piece.feature >= 0),
        values=np.array([credit.values[parts].sum() for parts in members]),
        errors=np.where(alone, credit.errors[first], np.nan),
        unsure=alone & credit.unsure[first],
    )


_STARTS = ("Ġ", "▁")  # byte pairs and SentencePiece, before each word
_REST = "##"  # WordPiece, before what continues a word
_END = "</w>"  # pairs of characters, behind each word


def _check_one_place(pieces: Sequence[_Piece]) -> None:
    """Refuses features that stand in several places: their credit would be counted in each."""
    owned = [piece.feature for piece in pieces if piece.feature >= 0]
    if len(set(owned)) < len(owned):
        raise InputError(
            expected="features of one place each, to join pieces of words",
            got="one that stands in several",
            advice="Leave join out: such a feature is a whole word already.",
        )


def _tokenizer_marks(pieces: Sequence[_Piece]) -> str:
    """By which marks a tokenizer tells words from pieces of them; empty where there are none."""
    texts = [piece.text for piece in pieces]
    for mark in _STARTS:
        if any(text.startswith(mark) for text in texts):
            return mark
    if any(text.endswith(_END) for text in texts):
        return _END
    if any(text.startswith(_REST) for text in texts):
        return _REST
    return ""


def _words_of(pieces: Sequence[_Piece], marked: str) -> list[list[_Piece]]:
    """The pieces of each word; what is no part of a word stands alone."""
    groups: list[list[_Piece]] = []
    for piece in pieces:
        if groups and _continues(groups[-1][-1], piece, marked):
            groups[-1].append(piece)
        else:
            groups.append([piece])
    return groups


def _continues(before: _Piece, piece: _Piece, marked: str) -> bool:
    """Whether a piece belongs to the word of the one before it."""
    # Marks before the first word, and tokens of no text, belong to none.
    if min(before.feature, piece.feature) < 0 or _is_special(before) or _is_special(piece):
        return False
    if marked == _REST:
        return piece.text.startswith(_REST)
    if marked == _END:
        return not before.text.endswith(_END)
    if marked:
        return not piece.text.startswith(marked)
    return before.after == ""


def _is_special(piece: _Piece) -> bool:
    """Whether a token stands for no text, such as [CLS] and </s>."""
    ends = (piece.text[:1], piece.text[-1:])
    return len(piece.text) > 2 and ends in (("[", "]"), ("<", ">"))


def _unmarked(text: str, marked: str) -> str:
    if marked == _END:
        return text.removesuffix(_END)
    if marked:
        return text.removeprefix(marked)
    return text


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
    gid: str, placed: Sequence[_Set], told: _Credit, scale: Scale, top: int
) -> Iterator[Mark]:
    credit, unsure = told.values, told.unsure
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


def _rows(name: str, credit: _Credit, labels: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            "method": name,
            "word": label,
            "credit": float(credit.values[k]),
            "error": float(credit.errors[k]),
        }
        for k, label in enumerate(labels)
    ]
