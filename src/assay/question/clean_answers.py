"""What the model says of the inputs themselves and of their absence: asked once, and kept."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import final

import torch
from torch import Tensor

from assay.errors import ModelError
from assay.question.consistency import ask_alone, ask_clean, check_rows_independent
from assay.question.evaluation import Alone, Use, finite_scores
from assay.question.parts import Parts
from assay.targets import Target


@final
class Chosen:
    """What is chosen on the clean outputs and its values there, chunk by chunk."""

    def __init__(self, target: Target) -> None:
        self._target = target
        # By the first input of the chunk: one that is asked again, in smaller parts after memory
        # ran out, takes the place of what was chosen before.
        self._targets: dict[int, Target] = {}
        self._values: dict[int, Tensor] = {}
        self.outputs_each = 0

    def look(self, owners: Tensor, outputs: Tensor) -> None:
        """Chooses for the inputs `owners` (r,) of a chunk."""
        self._targets[int(owners[0])] = self._target.take(owners).choose(outputs)
        self.outputs_each = math.prod(outputs.shape[1:])

    def score(self, outputs: Tensor, owners: Tensor) -> Tensor:
        """The values (r,) of what was chosen for them."""
        first = int(owners[0])
        rows = torch.arange(len(outputs), device=outputs.device)
        self._values[first] = self._targets[first].score(outputs, rows)
        return self._values[first]

    def keep(self, owners: Tensor) -> None:
        """Keeps the values of a chunk without what they were made of: its work is done."""
        first = int(owners[0])
        # A score may be a view of the outputs, and would keep those of the whole chunk in memory.
        self._values[first] = self._values[first].detach().clone()

    @property
    def starts(self) -> list[int]:
        """The first input of each chunk."""
        return list(self._targets)

    @property
    def target(self) -> Target:
        """One target for all inputs: chunks have chosen for their own."""
        first, *others = self._targets.values()
        return first.joined(others)

    @property
    def values(self) -> Tensor:
        """The target on the clean inputs: (n,)."""
        return torch.cat(list(self._values.values()))


class CleanAnswers(Parts):
    """The target that is fixed on the clean inputs, its values there, and with everything removed."""

    @property
    def prediction(self) -> Tensor:
        """The target on the clean inputs: (n,)."""
        return self.fix_target()[1]

    @property
    @torch.inference_mode(False)
    def base(self) -> Tensor:
        """The target with everything removed, averaged over the draws of the removal: (n,)."""
        self._check_weights()
        if self._base is None:
            self._base = self._evaluation.base(self.fixed_target, self._alone)
        return self._base

    @property
    def fixed_target(self) -> Target:
        """The target with everything chosen on the clean outputs: `Predicted()` is a class now."""
        self._check_weights()
        return self._fixed_target or self.fix_target()[0]

    @property
    def explained(self) -> tuple[str, ...]:
        """What is explained of each input, in words: its class by label where that is known."""
        # The first asks how many outputs there are.
        target = self.fixed_target
        return tuple(target.described(self._known, self.n))

    @torch.inference_mode(False)
    def fix_target(self) -> tuple[Target, Tensor]:
        """Asks about the clean inputs, once: what is to be chosen is chosen there, for good.

        Returns the target that is fixed now, and its values (n,).
        """
        self._check_weights()
        if self._fixed_target is not None and self._prediction is not None:
            return self._fixed_target, self._prediction
        chosen = Chosen(self.target)

        def use(numbers: Tensor, owners: Tensor, outputs: Tensor) -> None:
            chosen.look(owners, outputs)
            chosen.score(outputs, owners)
            chosen.keep(owners)

        self._ask_clean(use)
        return self._keep(chosen)

    def _keep(self, chosen: Chosen) -> tuple[Target, Tensor]:
        """Keeps what was chosen on the clean inputs, and its values there."""
        scores = finite_scores(chosen.values, self.target, "on the clean inputs")
        self._known = replace(self._known, count=chosen.outputs_each)
        self._fixed_target = chosen.target
        self._prediction = self._evaluation.to_result_precision(scores, scores.dtype)
        return self._fixed_target, self._prediction

    def _ask_clean(self, use: Use) -> None:
        self._check_rows_independent()
        ask_clean(self._evaluation, use, self._alone)

    def _check_weights(self) -> None:
        """Remembers the weights that are asked first, and refuses to ask others later."""
        version = self.model.weights_version
        if self._weights_version is None:
            self._weights_version = version
        elif version != self._weights_version:
            raise ModelError(
                expected=f"the weights of {self.model.name} that this question was first asked of",
                got="others: they were written to or moved since",
                advice=(
                    "What was asked before would not fit what is asked now. Make the question "
                    "anew: Question(model, inputs)."
                ),
            )

    def _check_rows_independent(self) -> None:
        self._check_weights()
        if not self._rows_checked:
            self._alone = check_rows_independent(self._evaluation, self.target)
            self._rows_checked = True
            self._learn_apart()

    def _learn_apart(self) -> None:
        """Lets the model know what was found of its rows, where two of them met."""
        if self.n > 1 and self._evaluation.most_rows is None:
            rows, context = self._evaluation.sample()
            if not context:
                self.model.learn_apart(rows)

    def _alone_as_learnt(self) -> Alone | None:
        """What the model says of one input alone, where rows of this kind were found not to influence
        each other before, by the model as it is now: the company of that one tells the rest.
        """
        source = self._evaluation
        # Two rows that are alike hide an influence of one on the other.
        if self.n == 1 or source.most_rows is not None or torch.equal(source.x[0], source.x[1]):
            return None
        rows, context = source.sample()
        with self.model.session(slopes=False):
            if context or not self.model.known_apart(rows):
                return None
            return ask_alone(source, 1)
