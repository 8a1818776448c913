"""Credit per word where a model reads pieces of words: tokens that lie in one word are one feature.

Tokenizers cut words into pieces (WordPiece, byte pairs, SentencePiece) and say where each piece
stands in its text, by offsets. Words are those of `inputs.segmentation`, so that two tokenizers, or
a model of tokens and a function of texts, give credit to the same words. A piece of two words has no
share in either that anybody could know: it is refused by its name, and not cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, final

import torch
from torch import Tensor

from assay.errors import InputError, SettingKindError
from assay.features.partition import Features, Partition
from assay.features.tokens import check_token_numbers
from assay.inputs.arrays import as_tensor
from assay.inputs.layout import Layout
from assay.inputs.segmentation import Span, Split, check_split, pieces_of
from assay.settings import has_length, shown

_NOBODY = -1


@final
@dataclass(frozen=True, eq=False)
class TokenWords(Features):
    """The words of texts that are asked about as numbers of tokens (n, length), one feature each.

    A token belongs to the word that it lies in, and punctuation to the word before it, as in `Words`.
    Tokens of no place (`[CLS]`, `[SEP]`, padding: offsets (0, 0)), and marks before the first word,
    own no feature: they are always present and receive no credit. Behind an embedding ask with
    `Inherited()`.

    Settings:
        texts: the texts, one for each input.
        offsets: where each token stands in its text, (n, length, 2), as
            `tokenizer(texts, return_offsets_mapping=True)["offset_mapping"]` has it.
        split: what words are, as in `Words(split=...)`.

    Shapes: (words of the longest text,); those that a text does not have get 0. Words that no token
    stands for (a text that was cut short) are none. Errors: InputError for a token that lies in two words,
    offsets outside the text or of another shape than the inputs; KindError for inputs that are no integers.

    >>> import torch, assay
    >>> offsets = [[(0, 0), (0, 3), (3, 7), (8, 11), (0, 0)]]      # [CLS] rai ##sins dry [SEP]
    >>> features = TokenWords(["raisins dry"], offsets)
    >>> question = assay.Question(
    ...     lambda ids: ids.sum(1) * 1.0, torch.tensor([[9, 1, 2, 4, 9]]), features=features,
    ...     removal=assay.MaskToken(0))
    >>> dict(zip(question.partition.names, assay.ExactShapley()(question).values[0].tolist()))
    {'raisins': 3.0, 'dry': 4.0}
    """

    texts: Any
    offsets: Any
    split: Split = "words"

    def __post_init__(self) -> None:
        check_split(self.split)
        several = has_length(self.texts) and not isinstance(self.texts, str | bytes)
        texts = tuple(self.texts) if several else ()
        if not texts or not all(isinstance(text, str) for text in texts):
            raise SettingKindError(
                expected="a list of texts, one for each input",
                got=shown(self.texts),
                advice='Write TokenWords(texts, tokenizer(texts, ...)["offset_mapping"]).',
            )
        object.__setattr__(self, "texts", texts)
        object.__setattr__(self, "offsets", _plain_offsets(self.offsets))

    def __repr__(self) -> str:
        # A callable is told by its name: where it lies in memory is another in every run.
        split = self.split if isinstance(self.split, str) else getattr(self.split, "__name__", "")
        return f"TokenWords(<{len(self.texts)} texts>, split={split!r})"

    def bind(self, layout: Layout, x: Tensor) -> Partition:
        check_token_numbers(layout, x, "TokenWords")
        self._check_shape(x)
        labels = torch.full(x.shape, _NOBODY, dtype=torch.int64)
        names = []
        for number, row in enumerate(labels):
            owners, words = self._owners(number)
            row[:] = torch.tensor(owners)
            names.append(words)
        count = max(map(len, names))
        if count == 0:
            raise InputError(
                expected="at least one token that lies in a word",
                got=f"{len(self.texts)} texts whose tokens lie in none",
                advice="Hand over the offsets of these texts, or leave texts without a word out.",
            )
        labels = labels.to(x.device)
        if len(names) == 1:
            return Partition(labels, count, names[0], (count,))
        places = tuple(f"word {index}" for index in range(count))
        return Partition(labels, count, places, (count,), own_names=tuple(names))

    def _check_shape(self, x: Tensor) -> None:
        fits = len(self.offsets) == len(self.texts) == len(x)
        if not fits or any(len(row) != x.shape[1] for row in self.offsets):
            lengths = sorted({len(row) for row in self.offsets})
            raise InputError(
                expected=f"{len(x)} texts, with {x.shape[1]} offsets for each",
                got=f"{len(self.texts)} texts and {len(self.offsets)} rows of {lengths} offsets",
                advice="Hand over the offsets of the padded inputs: return_offsets_mapping=True.",
            )

    def _owners(self, number: int) -> tuple[list[int], tuple[str, ...]]:
        """The feature of each token of a text, numbered as words first appear, and their names."""
        text = self.texts[number]
        words, word_at = _words_by_place(text, self.split)
        feature_of: dict[int, int] = {}
        owners = []
        for span in self.offsets[number]:
            word = self._word(number, span, words, word_at)
            if word != _NOBODY:
                feature_of.setdefault(word, len(feature_of))
            owners.append(feature_of.get(word, _NOBODY))
        return owners, tuple(words[word] for word in feature_of)

    def _word(self, number: int, span: Any, words: list[str], word_at: list[int]) -> int:
        """The number of the word that a token lies in."""
        text = self.texts[number]
        start, stop = _checked_span(span, text, number)
        token = text[start:stop]
        # Byte pairs take the space before a word along, which follows the word before.
        stripped = token.strip()
        if stripped:
            start += len(token) - len(token.lstrip())
            stop = start + len(stripped)
        # Marks before the first word are nobody's, and so no second word.
        held = sorted({word_at[place] for place in range(start, stop)} - {_NOBODY})
        if len(held) > 1:
            raise InputError(
                expected="tokens that lie in one word each",
                got=(
                    f"the token {token!r} ({start} to {stop} of text {number}), which lies in "
                    f"{' and '.join(repr(words[word]) for word in held)}"
                ),
                advice=(
                    "Say what words are, such as split=r'\\S+' for what spaces part, or ask token "
                    "by token: Tokens(padding=tokenizer.pad_token_id)."
                ),
            )
        return held[0] if held else _NOBODY


def _words_by_place(text: str, split: Split) -> tuple[list[str], list[int]]:
    """The words of a text, and for each of its characters the number of the word it goes with."""
    words: list[str] = []
    word_at: list[int] = []
    for word, behind in pieces_of(text, split):
        # What stands before the first word follows none.
        owner = _NOBODY if word == "" else len(words)
        if word != "":
            words.append(word)
        word_at += [owner] * (len(word) + len(behind))
    return words, word_at


def _plain_offsets(offsets: Any) -> tuple[tuple[Any, ...], ...]:
    """Rows of pairs, whatever holds them."""
    if hasattr(offsets, "shape"):
        offsets = as_tensor(offsets).tolist()
    listed = isinstance(offsets, Sequence) and not isinstance(offsets, str | bytes)
    rows = list(offsets) if listed else []
    if not rows or not all(isinstance(row, Sequence) and not isinstance(row, str) for row in rows):
        raise SettingKindError(
            expected="offsets (n, length, 2), a pair for each token",
            got=shown(offsets),
            advice='Write tokenizer(texts, return_offsets_mapping=True)["offset_mapping"].',
        )
    return tuple(map(tuple, rows))


def _checked_span(span: Any, text: str, number: int) -> Span:
    pair = isinstance(span, Sequence) and len(span) == 2
    if pair and all(isinstance(end, Integral) for end in span):
        start, stop = map(int, span)
        if 0 <= start <= stop <= len(text):
            return start, stop
    raise InputError(
        expected=f"a token's place in text {number}, from 0 to {len(text)} at most",
        got=shown(span),
        advice="Hand over the offsets that the tokenizer gave for this very text.",
    )
