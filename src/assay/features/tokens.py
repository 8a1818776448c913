"""Credit per token of a tokenizer's numbers, without what is only there to fill rows up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, final

import torch
from torch import Tensor

from assay.errors import InputError, KindError
from assay.features.partition import Features, Partition
from assay.inputs.layout import Layout
from assay.inputs.tensors import TensorLayout


@final
@dataclass(frozen=True)
class Tokens(Features):
    """The tokens of sequences of numbers (n, length), one feature each; padding is none.

    Padding, and other numbers that are named so (`[CLS]`, `[SEP]`), own no feature: they are always
    present and receive no credit. The others are counted from the first on, so that it does not
    matter whether rows are padded before or behind, nor how far. The attention mask is context:
    `context={"attention_mask": Aligned(mask)}`. An absent token is what the removal says:
    `MaskToken(tokenizer.mask_token_id)`.

    Settings:
        padding: the number of the padding token, `tokenizer.pad_token_id`, or several numbers that
            are no tokens of the text; () where there is none.
        vocabulary: what the numbers stand for, as `tokenizer.get_vocab()` has it, or strings in the
            order of their numbers. The tokens of each input stand in `answer.names_of(i)`; without
            it their numbers do.

    Shapes: (tokens of the longest row,); those that a row does not have get 0. Errors: KindError for
    numbers that are no integers, InputError for inputs that are no sequences of integers, or padding
    alone.

    >>> import torch, assay
    >>> tokens = Tokens(padding=0, vocabulary=["[PAD]", "a", "good", "film"])
    >>> ids = torch.tensor([[1, 2, 3, 0]])
    >>> question = assay.Question(
    ...     lambda rows: rows.sum(1) * 1.0, ids, features=tokens, removal=assay.MaskToken(0))
    >>> question.partition.names, question.partition.labels.tolist()
    (('a', 'good', 'film'), [[0, 1, 2, -1]])
    """

    padding: int | tuple[int, ...]
    vocabulary: Any = None

    def __post_init__(self) -> None:
        if self.vocabulary is not None and not isinstance(self.vocabulary, Mapping | Sequence):
            raise KindError(
                expected="a vocabulary as a dict of tokens and numbers, or a list of tokens",
                got=type(self.vocabulary).__name__,
                advice="Write Tokens(padding=0, vocabulary=tokenizer.get_vocab()).",
            )

    def __repr__(self) -> str:
        # A vocabulary has thousands of words, and names alone hang on it.
        vocabulary = "" if self.vocabulary is None else f", vocabulary=<{len(self.vocabulary)}>"
        return f"Tokens(padding={self.padding!r}{vocabulary})"

    def bind(self, layout: Layout, x: Tensor) -> Partition:
        check_token_numbers(layout, x, "Tokens")
        paddings = self.padding if isinstance(self.padding, tuple) else (self.padding,)
        # A number that the inputs cannot hold fills none of their places.
        limits = torch.iinfo(x.dtype)
        paddings = tuple(number for number in paddings if limits.min <= number <= limits.max)
        present = ~torch.isin(x, torch.tensor(paddings, dtype=x.dtype, device=x.device))
        # The first token of a row is feature 0, wherever it stands.
        labels = torch.where(present, present.cumsum(dim=1) - 1, -1)
        count = int(labels.max()) + 1
        if count == 0:
            raise InputError(
                expected="at least one token that is no padding",
                got=f"rows of {self.padding} alone",
                advice="Say which number fills rows up: Tokens(padding=tokenizer.pad_token_id).",
            )
        tokens = self._tokens()
        names = tuple(
            tuple(tokens.get(number, str(number)) for number in row[owned].tolist())
            for row, owned in zip(x, present)
        )
        if len(names) == 1:
            return Partition(labels, count, names[0], (count,))
        places = tuple(f"token {index}" for index in range(count))
        return Partition(labels, count, places, (count,), own_names=names)

    def _tokens(self) -> dict[int, str]:
        """What each number stands for."""
        if self.vocabulary is None:
            return {}
        if not isinstance(self.vocabulary, Mapping):
            return dict(enumerate(map(str, self.vocabulary)))
        tokens: dict[int, str] = {}
        for key, value in self.vocabulary.items():
            # Vocabularies map tokens to numbers; their inverse is as good.
            if isinstance(key, Integral):
                tokens[int(key)] = str(value)
            else:
                tokens[int(value)] = str(key)
        return tokens


def check_token_numbers(layout: Layout, x: Tensor, who: str) -> None:
    """Refuses what is no single tensor of integers (n, length)."""
    is_sequence = isinstance(layout, TensorLayout) and list(map(len, layout.parts)) == [1]
    if not is_sequence:
        raise InputError(
            expected=f"one tensor of token numbers (n, length) for {who}",
            got=f"inputs of shape {layout.describe()}",
            advice=(
                "Hand over the ids alone, and the attention mask as context: "
                "Question(model, ids, context={'attention_mask': Aligned(mask)}). Texts take "
                "Words()."
            ),
        )
    if x.is_floating_point() or x.is_complex():
        raise KindError(
            expected=f"integers for {who}",
            got=f"inputs of type {x.dtype}",
            advice="Hand over ids.long(), or use Elements() for real numbers.",
        )
