"""Credit per word of a text: the features of LIME for texts (Ribeiro et al. 2016, section 3.1).

What an absent word becomes is the removal's business (`MaskToken`); here it is decided only which
places of a text are one feature.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from assay.errors import InputError
from assay.features.partition import Features, Partition
from assay.inputs.layout import Layout
from assay.inputs.texts import _MASK, TextLayout


@final
@dataclass(frozen=True)
class Words(Features):
    """The words of texts, place by place or as a bag (Ribeiro et al. 2016, section 3).

    Texts of several lengths share one table of features, as wide as the longest; words that a text
    does not have receive 0. Designs depend on that width: explain a text alone where the answer
    must not depend on its neighbours' lengths.

    Settings:
        bag: whether all occurrences of a word in a text, in whatever case, are one feature.

    Errors: InputError for inputs that are no texts, or texts without a word.

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
                expected="texts for Words()",
                got=f"inputs of shape {layout.describe()}",
                advice="Use Elements() for tokens.",
            )
        # Nobody owns a place until a word is found there.
        labels = torch.full_like(x, -1)
        for row, codes in zip(labels, x.tolist()):
            self._label(row, codes, layout)
        count = int(labels.max()) + 1
        if count == 0:
            raise InputError(
                expected="texts with at least one word",
                got="none",
                advice="Leave empty texts out, and texts of punctuation alone.",
            )
        return Partition(labels, count, _names(layout, x, labels, count), (count,))

    def _label(self, row: Tensor, codes: list[int], layout: TextLayout) -> None:
        """Writes the labels of one text into its row (length,), numbered as words first appear."""
        numbers: dict[str | int, int] = {}
        for place, code in enumerate(codes):
            word = layout.pieces[code][0]
            # Padding, masks and opening marks are no words, and keep the label -1.
            if code <= _MASK or word == "":
                continue
            key = word.lower() if self.bag else place
            row[place] = numbers.setdefault(key, len(numbers))


def _names(layout: TextLayout, x: Tensor, labels: Tensor, count: int) -> tuple[str, ...]:
    """The words themselves for a single text, places for several."""
    # The n-th feature is another word in each text, and the names are the same for all.
    if len(x) > 1:
        return tuple(f"word {index}" for index in range(count))
    # Under a bag a word stands in several places: it is shown as it is written in the first.
    places = [int((labels[0] == index).nonzero()[0]) for index in range(count)]
    return tuple(layout.pieces[int(x[0, place])][0] for place in places)
