"""Texts as flat rows of word codes, and back to the same strings, letter by letter.

Splitting is lossless, as in byte-level tokenisers: a word keeps the space and punctuation behind
it, so that the text without a word reads on as a text. Where words begin and end is the business of
`inputs.segmentation`; words as features stand in `features.words`, what an absent word becomes in
`removals.mask_token`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from assay.errors import InputError, KindError
from assay.inputs.layout import Layout, Rows
from assay.inputs.segmentation import Piece, Split, pieces_of
from assay.numerics import rng

_MASK = 1  # code of an absent word; 0 is the place behind a text's end
_MASK_WITHOUT_SPACE = 2  # of an absent word that the next one follows at once; words are 3, 4, ...


def texts_of(raw: Any) -> list[str] | None:
    """The texts, where inputs are strings in a list, a tuple, an array or a column; else None."""
    if isinstance(raw, str):
        raise KindError(
            expected="a list of texts",
            got="one string",
            advice="Put it in a list: [text].",
        )
    entries = _entries(raw)
    # A list of numbers is told by its first one, but for those that are missing.
    if not entries or not any(isinstance(entry, str | bytes) for entry in entries):
        return None
    for place, entry in enumerate(entries):
        if not isinstance(entry, str):
            raise InputError(
                expected="a text as every input",
                got=f"{_shown(entry)} as input {place}",
                advice=(
                    "Leave missing texts out or write '' for them; bytes become a text by "
                    "text.decode('utf-8'). One row of a table stays a table: frame.iloc[[i]]."
                ),
            )
    return [str(entry) for entry in entries]


def _entries(raw: Any) -> list[Any] | None:
    """What may be texts, one by one; None where numbers or a table were handed in."""
    if isinstance(raw, list | tuple):
        return list(raw)
    if isinstance(raw, np.ndarray):
        return _array_entries(raw)
    # Columns of pandas, Polars and Arrow know how to become a list, and so do tensors, which have
    # no texts. A frame has columns.
    if isinstance(raw, Tensor) or hasattr(raw, "columns"):
        return None
    for name in ("to_pylist", "to_list"):
        if hasattr(raw, name):
            entries = getattr(raw, name)()
            return entries if isinstance(entries, list) else None
    return None


def _array_entries(array: np.ndarray[Any, Any]) -> list[Any] | None:
    # U, S and T hold strings alone, O may hold anything.
    if array.dtype.kind not in "USTO":
        return None
    if array.ndim == 1:
        return list(array.tolist())
    # A table of words is none of our business; one column of texts was meant as a list.
    if all(size == 1 for size in array.shape[1:]):
        entries = array.ravel().tolist()
        if entries and all(isinstance(entry, str) for entry in entries):
            raise KindError(
                expected="texts in one dimension",
                got=f"an array of shape {array.shape}",
                advice="Flatten it: texts.ravel().tolist().",
            )
    return None


def refuse_column_of_texts(raw: Any) -> None:
    """Refuses a frame with one column of texts, which may be meant as texts or as a category."""
    columns = getattr(raw, "columns", None)
    if columns is None or len(columns) != 1 or "categor" in str(getattr(raw, "dtypes", "")).lower():
        return
    name = columns[0]
    column = raw[name]
    entries = _entries(column)
    if not entries or not all(isinstance(entry, str) for entry in entries):
        return
    # Categories are mostly single words.
    if not any(len(entry.split()) > 1 for entry in entries):
        return
    method = "tolist" if hasattr(column, "tolist") else "to_list"
    raise KindError(
        expected="a list of texts, or a table with features and a removal of tables",
        got=f"a frame with the one column {name!r} of texts",
        advice=(
            f"Hand over the texts: frame[{name!r}].{method}(). Where the column is one category, "
            "say what stands in for it: removal=Background(rows)."
        ),
    )


def _shown(entry: Any) -> str:
    shown = repr(entry)
    return shown if len(shown) <= 40 else f"{shown[:40]}..."


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
        split: where words begin and end, as in `Words`.
    """

    pieces: tuple[Piece, ...]
    length: int
    device: torch.device
    mask: str = ""
    split: Split = "words"

    @classmethod
    def of(cls, texts: Sequence[str], device: torch.device, split: Split = "words") -> TextLayout:
        """The layout of some texts."""
        split_texts = [pieces_of(text, split) for text in texts]
        # Codes in the order of first appearance; empty pieces hold the places of 0 and of masks.
        vocabulary = dict.fromkeys(piece for pieces in split_texts for piece in pieces)
        reserved = [("", "")] * (_MASK_WITHOUT_SPACE + 1)
        # Where all texts are empty, rows have one place behind the end.
        length = max(1, *map(len, split_texts))
        return cls((*reserved, *vocabulary), length, device, split=split)

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
        return [self.pieces[code][0] for code in row.tolist() if code > _MASK_WITHOUT_SPACE]

    def masked(self, x: Tensor) -> Tensor:
        """The codes of rows x (n, places) with every word absent; other places stay as they are."""
        words = x > _MASK_WITHOUT_SPACE
        # A mask brings a space of its own, except between words that stand without one.
        alone = torch.tensor([not after for _, after in self.pieces], device=x.device)
        followed = torch.zeros_like(words)
        followed[:, :-1] = words[:, 1:]
        joined = words & followed & alone[x] & bool(self.mask)
        codes = torch.where(words, _MASK, x)
        return torch.where(joined, _MASK_WITHOUT_SPACE, codes)

    def flatten(self, raw: Any) -> Tensor:
        texts = texts_of(raw)
        if texts is None:
            raise KindError(
                expected="a list of texts like the inputs",
                got=type(raw).__name__,
                advice="Put the texts in a list: [text, text].",
            )
        first = _MASK_WITHOUT_SPACE + 1
        codes = {piece: code for code, piece in enumerate(self.pieces) if code >= first}
        rows = torch.zeros(len(texts), self.length, dtype=torch.int64)
        for row, text in zip(rows, texts):
            pieces = pieces_of(text, self.split)
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
        if bool(((rows < 0) | (rows >= len(self.pieces))).any()):
            raise InputError(
                expected=f"codes of words, from 0 to {len(self.pieces) - 1}",
                got=f"codes from {int(rows.min())} to {int(rows.max())}",
                advice="Start from question.x, and switch words off by masks: question.value.",
            )
        strings = ["".join(piece) for piece in self.pieces]
        # An absent word takes what followed it along; a mask token brings one
        # space of its own.
        strings[_MASK] = f"{self.mask} " if self.mask else ""
        strings[_MASK_WITHOUT_SPACE] = self.mask
        return ([_text(codes, strings) for codes in rows.tolist()],)

    def identities(self, rows: Tensor) -> Tensor:
        keys = rng.identities(
            [text.encode("utf-8", "surrogatepass") for text in self.fold(rows)[0]]
        )
        return keys.to(rows.device)

    def describe(self) -> str:
        words = f"at most {self.length} words"
        if not callable(self.split):
            return words
        # A callable's name does not tell how it splits: what came of it does.
        parts = "\0".join(part for piece in self.pieces for part in piece)
        return f"{words} ({hashlib.sha256(_bytes(parts)).hexdigest()[:8]})"


def _bytes(text: str) -> bytes:
    # Half of a pair of surrogates is no letter, and yet may stand in a text.
    return text.encode("utf-8", "surrogatepass")


def _text(codes: list[int], strings: list[str]) -> str:
    text = "".join([strings[code] for code in codes])
    # A text from which nothing is absent comes back as it was, with the
    # spaces at its end.
    is_whole = _MASK not in codes and _MASK_WITHOUT_SPACE not in codes
    return text if is_whole else text.rstrip()
