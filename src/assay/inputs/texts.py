"""Texts as flat rows of word codes, and back to the same strings, letter by letter.

Splitting is lossless, as in byte-level tokenisers: a word (letters, digits, inner apostrophes) keeps
the space and punctuation behind it, so that the text without a word reads on as a text. Words as
features stand in `features.words`, what an absent word becomes in `removals.mask_token`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import numpy as np
import torch
from torch import Tensor

from assay.errors import InputError, KindError
from assay.inputs.layout import Layout, Rows
from assay.numerics import rng

Piece: TypeAlias = tuple[str, str]
"""A word and what follows it; an opening quote or bracket is what follows an empty word."""

_MASK = 1  # code of an absent word; 0 is the place behind a text's end, words follow from 2 on

_PIECE = re.compile(r"(\w+(?:['’]\w+)*)(\W*)|(\W+)")


def is_text(raw: Any) -> bool:
    """Whether inputs are texts: a sequence or an array of strings."""
    if isinstance(raw, str):
        raise KindError(
            expected="a list of texts",
            got="one string",
            advice="Put it in a list: [text].",
        )
    if isinstance(raw, np.ndarray):
        # U holds strings of a common length, O may hold anything.
        is_sequence = raw.dtype.kind in "UO" and raw.ndim == 1
    else:
        is_sequence = isinstance(raw, list | tuple)
    return is_sequence and len(raw) > 0 and all(isinstance(text, str) for text in raw)


@final
@dataclass(frozen=True)
class TextLayout(Layout):
    """Texts as rows of codes, one per word; a word carries the space and punctuation behind it.

    Settings:
        pieces: (word, what follows it) of every code; an opening quote or bracket is what follows
            an empty word.
        length: words of the longest text, the columns of the rows.
        device: where the rows live.
        mask: what an absent word becomes; the empty text drops it.
    """

    pieces: tuple[Piece, ...]
    length: int
    device: torch.device
    mask: str = ""

    @classmethod
    def of(cls, texts: Sequence[str], device: torch.device) -> TextLayout:
        """The layout of some texts."""
        split_texts = [_split(text) for text in texts]
        # Codes in the order of first appearance; two empty pieces hold the places
        # of 0 and _MASK.
        vocabulary = dict.fromkeys(piece for pieces in split_texts for piece in pieces)
        return cls((("", ""), ("", ""), *vocabulary), max(map(len, split_texts)), device)

    @property
    def elements(self) -> int:
        return self.length

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return ((self.length,),)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"word {position}" for position in range(self.length))

    def words(self, row: Tensor) -> list[str]:
        """The words of one row, in order; an empty one stands for an opening mark."""
        return [self.pieces[code][0] for code in row.tolist() if code > _MASK]

    def flatten(self, raw: Any) -> Tensor:
        if not is_text(raw):
            raise KindError(
                expected="a list of texts like the inputs",
                got=type(raw).__name__,
                advice="Put the texts in a list: [text, text].",
            )
        codes = {piece: code for code, piece in enumerate(self.pieces) if code > _MASK}
        rows = torch.zeros(len(raw), self.length, dtype=torch.int64)
        for row, text in zip(rows, raw):
            pieces = _split(text)
            self._check(pieces, codes)
            # The places behind a text's end stay 0.
            numbers = [codes[piece] for piece in pieces]
            row[: len(pieces)] = torch.tensor(numbers, dtype=torch.int64)
        return rows.to(self.device)

    def filled(self, value: float) -> Tensor:
        # A number stands for a word by its code.
        if not 0 <= value < len(self.pieces):
            raise InputError(
                expected=f"the code of a word, from 0 to {len(self.pieces) - 1}",
                got=value,
                advice='Write MaskToken("") to drop words, or MaskToken("[MASK]").',
            )
        return torch.full((1, self.length), int(value), dtype=torch.int64, device=self.device)

    def _check(self, pieces: Sequence[Piece], codes: dict[Piece, int]) -> None:
        advice = "Ask a new question of the other texts: Question(model, texts)."
        if len(pieces) > self.length:
            raise InputError(
                expected=f"texts of at most {self.length} words, as the inputs",
                got=f"one of {len(pieces)}",
                advice=advice,
            )
        for piece in pieces:
            if piece not in codes:
                raise InputError(
                    expected="texts made of the inputs' words",
                    got=repr("".join(piece)),
                    advice=advice,
                )

    def fold(self, rows: Tensor) -> Rows:
        return ([self._text(codes) for codes in rows.tolist()],)

    def _text(self, codes: list[int]) -> str:
        # An absent word takes what followed it along; a mask token brings one
        # space of its own.
        token = f"{self.mask} " if self.mask else ""
        pieces = ["".join(self.pieces[code]) for code in codes]
        text = "".join(token if code == _MASK else piece for code, piece in zip(codes, pieces))
        # A text from which nothing is absent comes back as it was, with the
        # spaces at its end.
        return text.rstrip() if _MASK in codes else text

    def identities(self, rows: Tensor) -> Tensor:
        keys = rng.identities([text.encode() for text in self.fold(rows)[0]])
        return keys.to(rows.device)

    def describe(self) -> str:
        return f"at most {self.length} words"


def _split(text: str) -> list[Piece]:
    """Every letter of a text once: words with what follows them, marks before any word alone."""
    return [(word or "", after or mark or "") for word, after, mark in _PIECE.findall(text)]
