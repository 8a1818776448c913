"""The abstract target, and what is known of a model's outputs before it is asked.

Two steps: `choose` looks at the clean outputs once and fixes what depends on them (the predicted
class), `score` is then the same function for every masked or moved row.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import torch
from torch import Tensor

from assay.errors import TargetError
from assay.settings import Named

Index: TypeAlias = (
    int | tuple[int, ...] | abc.Sequence[int] | abc.Sequence[tuple[int, ...]] | Tensor
)
"""Which output: one for all inputs, one per input, or a place in outputs of several dimensions."""


Unit: TypeAlias = int | slice | tuple[int | slice, ...] | Callable[[Tensor], Tensor]
"""Which units of a layer: one, the sum over some, or a function of all of them."""


Part: TypeAlias = int | str | tuple[int | str, ...]
"""Which part of an output of several tensors: by number, by key or name, or by the way to it."""


WordNumbers: TypeAlias = abc.Sequence[int] | Tensor
"""Words of a caption as numbers in the model's vocabulary."""


Targets: TypeAlias = abc.Sequence["Target"]
"""Targets that were chosen for parts of the inputs, in the order of the inputs."""


@final
@dataclass(frozen=True)
class Outputs:
    """What is known of a model's outputs without asking it.

    Settings:
        classes: the labels of the classes, in the order of the outputs.
        probabilities: whether the outputs are probabilities; None where nobody has said.
        model: what the model is called.
        count: how many outputs a row has, once the model has been asked.
    """

    classes: tuple[Any, ...] | None = None
    probabilities: bool | None = None
    model: str = "the model"
    count: int | None = None

    def name_of(self, index: Any) -> str:
        """An output in words: its class by label where that is known."""
        if isinstance(index, tuple) and len(index) == 1:
            (index,) = index
        if not isinstance(index, int):
            return f"output {index}"
        classes = self.classes or ()
        # One score of two classes speaks for the second.
        if self.count == 1:
            return str(classes[1]) if len(classes) == 2 else "the output"
        # Scores of pairs of classes are none of a class.
        if self.count not in (None, len(classes)) or not -len(classes) <= index < len(classes):
            return f"output {index}"
        return str(classes[index])

    def place_of(self, label: Any) -> int:
        """Which output a label names."""
        if self.classes is None:
            raise TargetError(
                expected=f"a model whose classes have labels, for the target {label!r}",
                got=f"{self.model}, which says none",
                advice=(
                    "Give the output's number, target=0, or say the labels: wrap(model, "
                    "classes=['bad', 'good'])."
                ),
            )
        for place, known in enumerate(self.classes):
            # True is 1 to Python, and a label of its own here.
            if known == label and isinstance(known, bool) == isinstance(label, bool):
                return place
        raise TargetError(
            expected=f"one of the classes of {self.model}, {listed_labels(self.classes)}",
            got=repr(label),
            advice=f"Write a label as it is, such as Label({self.classes[0]!r}).",
        )


def listed_labels(labels: abc.Sequence[Any]) -> str:
    """The first labels, as a refusal shows them."""
    shown = ", ".join(map(repr, labels[:10]))
    return f"{shown}, ..." if len(labels) > 10 else shown


class Target(Named, ABC):
    """One number per row.

    `choose` fixes what depends on the clean outputs; from then on nothing is chosen again. A
    subclass is a frozen dataclass that writes `score`, and the other hooks where it holds something
    per input or is made around another target.
    """

    def choose(self, outputs: Tensor) -> Target:  # may be overridden
        """The same target with everything that depends on the clean outputs (n, ...) decided, or a
        refusal.
        """
        # Scoring is the check: outputs of the wrong shape are refused before any
        # work.
        self.score(outputs, torch.arange(len(outputs), device=outputs.device))
        return self

    def told(self, outputs: Outputs) -> Target:  # may be overridden
        """The same target, told what is known of the model's outputs: labels are found here."""
        return self

    def described(self, outputs: Outputs, n: int) -> list[str]:  # may be overridden
        """What a target that was chosen explains of each of n inputs, in words."""
        return [repr(self)] * n

    def sized(self, n: int) -> Target:  # may be overridden
        """The same target, its ints per input checked against the number of inputs."""
        return self

    def take(self, rows: Tensor) -> Target:  # may be overridden
        """The target of some of the inputs."""
        return self

    def joined(self, others: Targets) -> Target:  # may be overridden
        """One target for all inputs, from this one and those chosen for the inputs behind it."""
        return self

    def at_layer(self) -> tuple[Target, Any]:  # may be overridden
        """The target of the network that stops at a layer, and the layer (its name, the module, or
        a `LayerPart`); None for the whole.
        """
        return self, None

    @property
    def linear(self) -> bool:  # may be overridden
        """Whether it is a linear function of the outputs, once it is chosen."""
        return False

    @abstractmethod
    def score(self, outputs: Tensor, rows: Tensor) -> Tensor:
        """Outputs (r, ...) of chunk rows that belong to the inputs `rows` (r,) -> (r,)."""
