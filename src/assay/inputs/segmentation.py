"""Where the words of a text begin and end, in any script.

Words are those of Unicode's text segmentation (UAX 29, section 4): marks stay with their letters,
an emoji is one word however many characters it is made of. Scripts without spaces have no words
without a dictionary there: Chinese and Japanese fall apart into characters, Thai, Lao, Khmer and
Burmese into clusters of a letter and its marks. A segmenter of one's own may stand in its place.
Symbols are words of their own; punctuation follows the word before it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from numbers import Integral
from typing import Any, TypeAlias

from assay.errors import InputError, KindError, SettingError

Piece: TypeAlias = tuple[str, str]
"""A word and what follows it; an opening quote or bracket is what follows an empty word."""

Span: TypeAlias = tuple[int, int]
"""Where a word begins in a text, and where it has ended."""

Split: TypeAlias = Any
""""words", "characters", a regular expression, or a callable from a text to pieces or spans."""

# The same words where there is nothing but ASCII, ten times faster: letters and digits with inner
# apostrophes, or a symbol.
_ASCII_WORD = re.compile(r"[A-Za-z0-9_]+(?:'[A-Za-z0-9_]+)*|[$+<=>|~#%&@*^]")

_NAMED = ("words", "characters")

# A boundary of UAX 29, but none that would cut an English word with an apostrophe beside a digit,
# a raised or broken number, or a consonant from the one above it (Khmer, Burmese).
_BOUNDARY = r"""
    (?! (?<=[A-Za-z0-9_\p{No}]) ['’] [A-Za-z0-9_\p{No}] )
    (?! (?<=[A-Za-z0-9_\p{No}]['’]) [A-Za-z0-9_\p{No}] )
    (?! (?<=[A-Za-z0-9_\p{No}]) [A-Za-z0-9_\p{No}] )
    (?! (?<=[\u17d2\u1039]) \p{L} )
    \b
"""

# Where UAX 29 would keep "3.5" and "U.S.A" whole, these end a word here.
_STOP = r"(?<=[.,:;]) | (?=[.,:;])"

# What makes a segment a word: a letter, a digit, a symbol, an emoji. Of the marks of ASCII those
# that are read out ("percent", "at") are symbols; a backtick is a quote.
_CONTENT = r"[\p{L}\p{N}_\p{Sc}\p{Sm}\p{So}\p{Emoji_Presentation}\p{Extended_Pictographic}#%&@*^§‰]"


def check_split(split: Split) -> None:
    """Refuses what says nothing about where words begin and end."""
    if isinstance(split, str):
        _check_expression(split)
    elif not (callable(split) or hasattr(split, "finditer")):
        raise KindError(
            expected="a way to split texts: 'words', 'characters', an expression or a callable",
            got=type(split).__name__,
            advice=(
                r"Write Words(split='characters'), Words(split=r'\S+') for what spaces part, or "
                "Words(split=tokenizer.encode) where that gives offsets."
            ),
        )


def _check_expression(split: str) -> None:
    if split in _NAMED:
        return
    # A plain word is a name misspelt rather than a pattern that matches itself alone.
    if split == "" or split.replace("_", "").replace(" ", "").isalnum():
        raise SettingError(
            expected="'words', 'characters' or a regular expression that a word matches",
            got=repr(split),
            advice=r"Write Words(split='characters'), or Words(split=r'\S+') for what spaces part.",
        )
    import regex

    try:
        regex.compile(split)
    except regex.error as error:
        raise SettingError(
            expected="a regular expression that a word matches",
            got=f"{split!r}: {error}",
            advice=r"Write Words(split=r'\S+') for what spaces part.",
        ) from error


def pieces_of(text: str, split: Split = "words") -> list[Piece]:
    """Every letter of a text once: words with what follows them, marks before any word alone.

    >>> pieces_of('"One, two 😡')
    [('', '"'), ('One', ', '), ('two', ' '), ('😡', '')]
    """
    spans = _spans(text, split)
    ends = [start for start, _ in spans[1:]] + [len(text)]
    opening = text[: spans[0][0]] if spans else text
    pieces = [("", opening)] if opening else []
    pieces += [(text[start:stop], text[stop:end]) for (start, stop), end in zip(spans, ends)]
    return pieces


def _spans(text: str, split: Split) -> list[Span]:
    if split == "words":
        return _word_spans(text)
    if split == "characters":
        return _trimmed(text, _matches(_patterns()["character"], text))
    if isinstance(split, str):
        import regex

        return _trimmed(text, _matches(regex.compile(split), text))
    if hasattr(split, "finditer"):
        return _trimmed(text, _matches(split, text))
    return _apart(_trimmed(text, _called(text, split)))


@cache
def _patterns() -> Mapping[str, Any]:
    # The library's regular expressions know UAX 29, Python's own do not.
    import regex

    flags = regex.WORD | regex.VERSION1 | regex.VERBOSE
    return {
        "cut": regex.compile(f"{_BOUNDARY} | {_STOP}", flags),
        "content": regex.compile(_CONTENT),
        "character": regex.compile(r"\X"),
    }


def _word_spans(text: str) -> list[Span]:
    if text.isascii():
        return _matches(_ASCII_WORD, text)
    return segmented(text)


def segmented(text: str) -> list[Span]:
    """The words of UAX 29, of any text."""
    patterns = _patterns()
    spans: list[Span] = []
    start = 0
    for segment in patterns["cut"].split(text):
        stop = start + len(segment)
        if patterns["content"].search(segment):
            spans.append((start, stop))
        start = stop
    return spans


def _matches(pattern: Any, text: str) -> list[Span]:
    return [match.span() for match in pattern.finditer(text)]


def _trimmed(text: str, spans: Iterable[Span]) -> list[Span]:
    """Spans without the spaces around their words, and without those that hold nothing else."""
    trimmed = []
    for start, stop in spans:
        word = text[start:stop]
        stop -= len(word) - len(word.rstrip())
        start += len(word) - len(word.lstrip())
        if start < stop:
            trimmed.append((start, stop))
    return trimmed


def _apart(spans: Sequence[Span]) -> list[Span]:
    """Spans in order; those that share a character, as tokens of bytes do, are one."""
    apart: list[Span] = []
    for start, stop in sorted(spans):
        if apart and start < apart[-1][1]:
            first, last = apart.pop()
            apart.append((first, max(last, stop)))
        else:
            apart.append((start, stop))
    return apart


def _called(text: str, split: Callable[[str], Any]) -> list[Span]:
    """What a callable says of a text: pieces of it, or places as tokenizers call them, offsets."""
    try:
        given = split(text)
        # What tokenizers give may hold their offsets by name.
        if isinstance(given, Mapping):
            given = given["offset_mapping"]
        parts = list(getattr(given, "offsets", given))
    except Exception as error:
        raise InputError(
            expected=f"pieces or offsets of {_shown(text)} from the split",
            got=f"{type(error).__name__}: {error}",
            advice=(
                "Let it give words, or (start, stop) of each, such as "
                "lambda text: tokenizer(text, return_offsets_mapping=True)['offset_mapping']."
            ),
        ) from error
    spans: list[Span] = []
    cursor = 0
    for part in parts:
        span = _located(text, part, cursor)
        cursor = span[1]
        spans.append(span)
    return spans


def _located(text: str, part: Any, cursor: int) -> Span:
    """Where a piece stands in a text, from a place on; a pair of places says it itself."""
    if isinstance(part, str):
        start = text.find(part, cursor)
        if start >= 0:
            return start, start + len(part)
    elif (
        isinstance(part, Sequence) and len(part) == 2 and all(isinstance(p, Integral) for p in part)
    ):
        start, stop = int(part[0]), int(part[1])
        if 0 <= start <= stop <= len(text):
            return start, stop
    raise InputError(
        expected=f"pieces or offsets of {_shown(text)} from the split, in order",
        got=f"{part!r}, which is not there",
        advice=(
            "A tokenizer that rewrites words (case, marks, accents) can give offsets: "
            "lambda text: tokenizer(text, return_offsets_mapping=True)['offset_mapping']."
        ),
    )


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}...")
