"""Texts for predictors that take strings: how they are read, their words as features, and what an
absent word becomes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from assay.errors import InputError, KindError
from assay.inputs.layout import Layout, Rows
from assay.numerics import rng

_NOTHING, _MASK = 0, 1  # codes of the place behind a text's end, and of an absent word

_PIECE = re.compile(r"(\w+(?:['’]\w+)*)(\W*)|(\W+)")


def is_text(raw: Any) -> bool:
    """Whether inputs are texts: a sequence or an array of strings."""
    if isinstance(raw, str):
        raise KindError(
            expected="a list of texts",
            got="one string",
            advice="Put it in a list: [text].",
        )
    if isinstance(raw, np.ndarray) and raw.dtype.kind in "UO":
        return raw.ndim == 1 and len(raw) > 0 and all(isinstance(text, str) for text in raw)
    return (
        isinstance(raw, list | tuple)
        and len(raw) > 0
        and all(isinstance(text, str) for text in raw)
    )


@final
@dataclass(frozen=True)
class TextLayout(Layout):
    """Texts as rows of codes, one per word; a word carries the space and punctuation behind it."""

    pieces: tuple[tuple[str, str], ...]
    """(word, what follows it) of every code; an opening quote or bracket is what follows an empty
    word.
    """
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
            raise KindError(
                expected="a list of texts like the inputs",
                got=type(raw).__name__,
                advice="",
            )
        codes = {piece: code for code, piece in enumerate(self.pieces) if code > _MASK}
        rows = torch.zeros(len(raw), self.length, dtype=torch.int64)
        for row, text in zip(rows, raw):
            split = _split(text)
            if len(split) > self.length or any(piece not in codes for piece in split):
                raise InputError(
                    "Expected texts made of the inputs' words, no longer than they are."
                )
            row[: len(split)] = torch.tensor([codes[piece] for piece in split], dtype=torch.int64)
        return rows.to(self.device)

    def fold(self, rows: Tensor) -> Rows:
        return ([self._text(codes) for codes in rows.tolist()],)

    def _text(self, codes: list[int]) -> str:
        parts = [
            self.mask + " " * bool(self.mask) if code == _MASK else "".join(self.pieces[code])
            for code in codes
        ]
        return "".join(parts).rstrip() if codes and _MASK in codes else "".join(parts)

    def identities(self, rows: Tensor) -> Tensor:
        return rng.identities([text.encode() for text in self.fold(rows)[0]]).to(rows.device)

    def describe(self) -> str:
        return f"at most {self.length} words"


def _split(text: str) -> list[tuple[str, str]]:
    return [(word or "", after or mark or "") for word, after, mark in _PIECE.findall(text)]
