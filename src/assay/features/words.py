"""Credit per word of a text: the features of LIME for texts (Ribeiro et al. 2016, section 3.1).

What an absent word becomes is the removal's business (`MaskToken`); here it is decided only which
places of a text are one feature. Where words begin and end, `inputs.segmentation` knows.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from assay.errors import InputError
from assay.features.partition import Features, Partition
from assay.inputs.layout import Layout
from assay.inputs.segmentation import Split, check_split
from assay.inputs.tables import TableLayout
from assay.inputs.tensors import TensorLayout
from assay.inputs.texts import TextLayout


@final
@dataclass(frozen=True)
class Words(Features):
    """The words of texts, place by place or as a bag (Ribeiro et al. 2016, section 3).

    Words are Unicode's (UAX 29), in any script: marks stay with their letters, symbols and emoji
    are words of their own, punctuation follows the word before it. Chinese and Japanese characters,
    and clusters of Thai, Lao, Khmer and Burmese letters, are words each: hand over a segmenter as
    `split` where whole words are meant.

    Texts of several lengths share one table of features, as wide as the longest; words that a text
    does not have receive 0, and take nothing from its own. The words of each text stand in
    `answer.names_of(i)`. Texts without a word get zeros beside others, and are refused alone.

    Settings:
        bag: whether all occurrences of a word in a text, in whatever case, are one feature.
        split: "words"; "characters", each with its marks; a regular expression that a word matches;
            or a callable from a text to its words or their offsets, as tokenizers give them, such
            as `lambda text: tokenizer(text, return_offsets_mapping=True)["offset_mapping"]`. What
            lies between words follows the one before, and is never lost.

    Shapes: (words of the longest text,). Errors: InputError for inputs that are no texts, texts without a
    word, and words of `split` that a text does not hold; KindError or SettingError for a `split` that says
    nothing.

    >>> import numpy as np, torch, assay
    >>> praise = lambda texts: np.array([float("good" in text) for text in texts])
    >>> question = assay.Question(praise, ["a good film"])
    >>> question.partition.names, question.value(torch.eye(3).bool()).tolist()
    (('a', 'good', 'film'), [[0.0, 1.0, 0.0]])
    >>> question = assay.Question(praise, ["a good film"], features=Words(split=r"good|film"))
    >>> question.partition.names
    ('good', 'film')
    """

    bag: bool = False
    split: Split = "words"

    def __post_init__(self) -> None:
        check_split(self.split)

    def __repr__(self) -> str:
        split = repr(self.split)
        # A callable is told by its name: where it lies in memory is another in every run.
        if callable(self.split):
            split = getattr(self.split, "__qualname__", type(self.split).__qualname__)
        return f"Words(bag={self.bag}, split={split})"

    @staticmethod
    def required_texts(layout: Layout) -> TextLayout:
        """The layout, if it is one of texts."""
        if isinstance(layout, TextLayout):
            return layout
        raise InputError(
            expected="texts for Words()",
            got=f"inputs of shape {layout.describe()}",
            advice=_advice(layout),
        )

    def bind(self, layout: Layout, x: Tensor) -> Partition:
        text_layout = self.required_texts(layout)
        # Nobody owns a place until a word is found there: padding, masks and opening marks are no
        # words, and keep the label -1.
        labels = torch.full_like(x, -1)
        names = [self._label(row, text_layout.words(codes)) for row, codes in zip(labels, x)]
        count = max(map(len, names))
        if count == 0:
            raise InputError(
                expected="texts with at least one word",
                got="none",
                advice=(
                    "Leave empty texts out, and texts of punctuation alone, or make marks words: "
                    r"Words(split=r'\w+|[^\w\s]')."
                ),
            )
        return Partition(labels, count, _shared_names(names), (count,), own_names=_own(names))

    def _label(self, row: Tensor, words: Sequence[str]) -> tuple[str, ...]:
        """Writes the labels of one text into its row (places,), numbered as words first appear."""
        numbers: dict[str | int, int] = {}
        names = []
        labels = [-1] * len(words)
        for place, word in enumerate(words):
            if word == "":
                continue
            key = _folded(word) if self.bag else place
            # Under a bag a word is shown as it is written in the first of its places.
            if key not in numbers:
                numbers[key] = len(numbers)
                names.append(word)
            labels[place] = numbers[key]
        row[: len(labels)] = torch.tensor(labels, dtype=torch.int64)
        return tuple(names)


def _advice(layout: Layout) -> str:
    """What was probably meant by inputs that are no texts."""
    if isinstance(layout, TableLayout):
        return f"Hand over the column of texts: frame[{layout.columns[0]!r}].tolist()."
    numbers = layout.dtype if isinstance(layout, TensorLayout) else torch.float64
    if numbers.is_floating_point or numbers.is_complex:
        return "Hand over a list of texts, or use Elements() for numbers."
    return "Use Tokens(padding=0) for the numbers of a tokenizer, or hand over a list of texts."


def _folded(word: str) -> str:
    """What a word has in common with itself in another case, and however its marks are coded."""
    return unicodedata.normalize("NFC", word).casefold()


def _shared_names(names: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The words themselves for a single text, places for several."""
    # The n-th feature is another word in each text, and these names are the same for all.
    if len(names) == 1:
        return names[0]
    return tuple(f"word {index}" for index in range(max(map(len, names))))


def _own(names: Sequence[tuple[str, ...]]) -> tuple[tuple[str, ...], ...] | None:
    return tuple(names) if len(names) > 1 else None
