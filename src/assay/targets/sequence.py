"""How probable a caption is.

A trap of names: `Sequence` is a target here, the words of a caption. Python's own `Sequence` is
`abc.Sequence` where a file of this wing needs it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from assay.errors import TargetError
from assay.targets.index import is_whole, whole_numbers
from assay.targets.target import Target, Targets, WordNumbers


@final
@dataclass(frozen=True, eq=False)
class Sequence(Target):
    """How probable a caption is: sum_t log p(word_t | the words before it).

    The log-likelihood under teacher forcing, from outputs (n, steps, vocabulary): logits, or
    log-probabilities, of a model that is shown the words so far (hand them over as context).

    Settings:
        words: one int for each step, or one such row for each input; a negative one leaves its step
            out, and so `Sequence([-1, word, -1])` is the log-probability of one word in its place.

    Units: nats, at most 0. Errors: TargetError for outputs of another shape, for words beyond the
    vocabulary, and where every step is left out.

    >>> outputs = torch.tensor([[[0.5, 0.5], [0.1, 0.9]]]).log()
    >>> Sequence([0, 1]).score(outputs, torch.tensor([0])).exp()
    tensor([0.4500])
    """

    words: WordNumbers

    @cached_property
    def _words(self) -> Tensor:
        """Words (steps,), or (n, steps)."""
        return whole_numbers(self.words, "one word (an int) for each step")

    def sized(self, n: int) -> Target:
        words = self._words
        # One row for all inputs, or as many rows as inputs.
        fits = words.dim() == 1 or (words.dim() == 2 and len(words) == n)
        if not fits or not is_whole(words) or not (words >= 0).any():
            raise TargetError(
                expected=f"one word (an int) for each step, or such a row for each of {n} inputs",
                got=f"{words.dtype} of shape {tuple(words.shape)}",
                advice="Give numbers of the vocabulary; -1 leaves a step out, but not all of them.",
            )
        return self

    def choose(self, outputs: Tensor) -> Target:
        self.sized(len(outputs))
        words = self._words
        steps = words.shape[-1]
        last = int(words.max())
        fits = outputs.dim() == 3 and outputs.shape[1] == steps
        if not fits or outputs.shape[2] <= last:
            raise TargetError(
                expected=(
                    f"outputs of shape (n, {steps} steps, more than {last} words) for the caption"
                ),
                got=tuple(outputs.shape),
                advice="Wrap the model so that it gives the logits of every step: (n, steps, words).",
            )
        return Sequence(words.to(outputs.device, torch.int64))

    def take(self, rows: Tensor) -> Target:
        if self._words.dim() == 1:
            return self
        return Sequence(self._words[rows.to(self._words.device)])

    def joined(self, others: Targets) -> Target:
        if self._words.dim() == 1:
            return self
        words = [other._words for other in others if isinstance(other, Sequence)]
        return Sequence(torch.cat([self._words, *words]))

    def score(self, outputs: Tensor, rows: Tensor) -> Tensor:
        words = self._words
        # One caption for all inputs is the same row for each.
        words = words.expand(len(outputs), -1) if words.dim() == 1 else words[rows]
        # A step that is left out reads word 0, and its number is then replaced by
        # zero.
        readable = words.clamp_min(0)[:, :, None]
        log_probabilities = outputs.log_softmax(2).gather(2, readable).squeeze(2)
        return torch.where(words < 0, 0.0, log_probabilities).sum(dim=1)

    def __repr__(self) -> str:
        return f"Sequence({self._words.tolist()!r})"
