"""Credit per word of a text."""

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
    """The words of texts. With `bag=True` all occurrences of a word in a text are one feature
    (Ribeiro et al. 2016, section 3).

    Texts of several lengths share one table of features, as wide as the longest; words that a text
    does not have receive 0. Designs depend on that width: explain a text alone where the answer
    must not depend on its neighbours' lengths.

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
        labels = torch.full_like(x, -1)
        for row, codes in zip(labels, x.tolist()):
            named = [
                (layout.pieces[code][0].lower() if self.bag else place)
                for place, code in enumerate(codes)
            ]
            real = [code > _MASK and layout.pieces[code][0] != "" for code in codes]
            order = {
                name: index
                for index, name in enumerate(dict.fromkeys(n for n, r in zip(named, real) if r))
            }
            for place, (name, there) in enumerate(zip(named, real)):
                if there:
                    row[place] = order[name]
        count = int(labels.max()) + 1
        if count == 0:
            raise InputError(
                expected="texts with at least one word",
                got="none",
                advice="",
            )
        return Partition(labels, count, _names(layout, x, labels, count), (count,))


def _names(layout: TextLayout, x: Tensor, labels: Tensor, count: int) -> tuple[str, ...]:
    """The words themselves for a single text, places for several."""
    if len(x) > 1:
        return tuple(f"word {index}" for index in range(count))
    places = [int((labels[0] == index).nonzero()[0]) for index in range(count)]
    return tuple(layout.pieces[int(x[0, place])][0] for place in places)
