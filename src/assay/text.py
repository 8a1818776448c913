"""Texts for predictors that take strings: how they are read, their words as features, and what an absent word becomes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from assay import rng
from assay.errors import InputError, KindError
from assay.features import Features, Partition
from assay.layout import Layout, Rows
from assay.removal import Absent, FixedAbsent, Removal

_NOTHING, _MASK = 0, 1  # codes of the place behind a text's end, and of an absent word
_PIECE = re.compile(r"(\w+(?:['’]\w+)*)(\W*)|(\W+)")


def is_text(raw: Any) -> bool:
    """Whether inputs are texts: a sequence or an array of strings."""
    if isinstance(raw, str):
        raise KindError("Expected a list of texts, got one string. Put it in a list: [text].")
    if isinstance(raw, np.ndarray) and raw.dtype.kind in "UO":
        return raw.ndim == 1 and len(raw) > 0 and all(isinstance(text, str) for text in raw)
    return isinstance(raw, list | tuple) and len(raw) > 0 and all(isinstance(text, str) for text in raw)


@final
@dataclass(frozen=True)
class TextLayout(Layout):
    """Texts as rows of codes, one per word; a word carries the space and punctuation behind it."""

    pieces: tuple[tuple[str, str], ...]
    """(word, what follows it) of every code; an opening quote or bracket is what follows an empty word."""
    length: int
    device: torch.device
    mask: str = ""

    @classmethod
    def of(cls, texts: Sequence[str], device: torch.device) -> TextLayout:
        """The layout of some texts."""
        split = [_split(text) for text in texts]
        known = dict.fromkeys(piece for text in split for piece in text)
        return cls((("", ""), ("", ""), *known), max(map(len, split)), device)

    @property
    def elements(self) -> int:
        return self.length

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return ((self.length,),)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"word {place}" for place in range(self.length))

    def words(self, row: Tensor) -> list[str]:
        """The words of one row, in order; an empty one stands for an opening mark."""
        return [self.pieces[code][0] for code in row.tolist() if code > _MASK]

    def flatten(self, raw: Any) -> Tensor:
        if not is_text(raw):
            raise KindError(f"Expected a list of texts like the inputs, got {type(raw).__name__}.")
        codes = {piece: code for code, piece in enumerate(self.pieces) if code > _MASK}
        rows = torch.zeros(len(raw), self.length, dtype=torch.int64)
        for row, text in zip(rows, raw):
            split = _split(text)
            if len(split) > self.length or any(piece not in codes for piece in split):
                raise InputError("Expected texts made of the inputs' words, no longer than they are.")
            row[: len(split)] = torch.tensor([codes[piece] for piece in split], dtype=torch.int64)
        return rows.to(self.device)

    def fold(self, rows: Tensor) -> Rows:
        return ([self._text(codes) for codes in rows.tolist()],)

    def _text(self, codes: list[int]) -> str:
        parts = [self.mask + " " * bool(self.mask) if code == _MASK else "".join(self.pieces[code]) for code in codes]
        return "".join(parts).rstrip() if codes and _MASK in codes else "".join(parts)

    def identities(self, rows: Tensor) -> Tensor:
        return rng.identities([text.encode() for text in self.fold(rows)[0]]).to(rows.device)

    def describe(self) -> str:
        return f"at most {self.length} words"


def _split(text: str) -> list[tuple[str, str]]:
    return [(word or "", after or mark or "") for word, after, mark in _PIECE.findall(text)]


@final
@dataclass(frozen=True)
class Words(Features):
    """The words of texts. With `bag=True` all occurrences of a word in a text are one feature (Ribeiro et al. 2016, section 3).

    Texts of several lengths share one table of features, as wide as the longest; words that a text does not have receive 0.
    Designs depend on that width: explain a text alone where the answer must not depend on its neighbours' lengths.

    >>> import numpy as np, torch, assay
    >>> praise = lambda texts: np.array([float("good" in text) for text in texts])
    >>> question = assay.Question(praise, ["a good film"])
    >>> question.partition.names, question.value(torch.eye(3).bool()).tolist()
    (('a', 'good', 'film'), [[0.0, 1.0, 0.0]])
    """

    bag: bool = False

    def bind(self, layout: Layout, x: Tensor) -> Partition:
        if not isinstance(layout, TextLayout):
            raise InputError(
                f"Expected texts for Words(), got inputs of shape {layout.describe()}. Use Elements() for tokens."
            )
        labels = torch.full_like(x, -1)
        for row, codes in zip(labels, x.tolist()):
            named = [(layout.pieces[code][0].lower() if self.bag else place) for place, code in enumerate(codes)]
            real = [code > _MASK and layout.pieces[code][0] != "" for code in codes]
            order = {name: index for index, name in enumerate(dict.fromkeys(n for n, r in zip(named, real) if r))}
            for place, (name, there) in enumerate(zip(named, real)):
                if there:
                    row[place] = order[name]
        count = int(labels.max()) + 1
        if count == 0:
            raise InputError("Expected texts with at least one word, got none.")
        return Partition(labels, count, _names(layout, x, labels, count), (count,))


def _names(layout: TextLayout, x: Tensor, labels: Tensor, count: int) -> tuple[str, ...]:
    """The words themselves for a single text, places for several."""
    if len(x) > 1:
        return tuple(f"word {index}" for index in range(count))
    places = [int((labels[0] == index).nonzero()[0]) for index in range(count)]
    return tuple(layout.pieces[int(x[0, place])][0] for place in places)


@final
@dataclass(frozen=True)
class MaskToken(Removal):
    """An absent token is replaced by a mask: a string for texts ("" drops the word), a token's number for integer inputs.

    >>> MaskToken("[MASK]")
    MaskToken(token='[MASK]')
    """

    token: str | int = ""

    def masked(self, layout: TextLayout) -> TextLayout:
        """The layout that writes this mask."""
        if not isinstance(self.token, str):
            raise KindError(f"Expected a string as mask for texts, got {self.token!r}.")
        return replace(layout, mask=self.token)

    def bind(self, layout: Layout, x: Tensor, keys: Callable[[], Tensor]) -> Absent:
        if isinstance(layout, TextLayout):
            return FixedAbsent(torch.full_like(x[:1], _MASK).unsqueeze(1))
        if isinstance(self.token, str) or x.is_floating_point():
            raise KindError(
                f"Expected integer tokens and a token's number for {self!r}, got inputs of type {x.dtype}. "
                "Use Baseline(value) for real numbers."
            )
        return FixedAbsent(torch.full_like(x[:1], self.token).unsqueeze(1))
