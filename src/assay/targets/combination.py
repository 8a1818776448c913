"""Targets made of targets: why this rather than that, and what speaks against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from torch import Tensor

from assay.errors import TargetError
from assay.targets.conversion import as_target
from assay.targets.output import Predicted
from assay.targets.target import Index, Outputs, Target, Targets


@final
@dataclass(frozen=True)
class Contrast(Target):
    """Why a rather than b: the difference of two targets, f_a(x) - f_b(x) (Jacovi et al. 2021).

    Settings:
        a: what speaks for; a target, or an int for an output.
        b: what it is compared with, alike.

    Units: those of a and b, which should be the same; of two logits the log of their odds. Errors: those
    of a and b, and TargetError for units of two layers.

    >>> import assay, torch
    >>> question = assay.Question(lambda x: x ** 2, torch.tensor([[1.0, 3.0]]), target=Contrast(1, 0))
    >>> question.prediction.tolist(), assay.Gradient()(question).values.tolist()
    ([8.0], [[-2.0, 6.0]])
    """

    a: Target | Index
    b: Target | Index

    @property
    def _pair(self) -> tuple[Target, Target]:
        return as_target(self.a), as_target(self.b)

    def told(self, outputs: Outputs) -> Target:
        a, b = self._pair
        return Contrast(a.told(outputs), b.told(outputs))

    def described(self, outputs: Outputs, n: int) -> list[str]:
        a, b = (part.described(outputs, n) for part in self._pair)
        return [f"{one} - {other}" for one, other in zip(a, b)]

    def choose(self, outputs: Tensor) -> Target:
        a, b = self._pair
        return Contrast(a.choose(outputs), b.choose(outputs))

    def sized(self, n: int) -> Target:
        a, b = self._pair
        return Contrast(a.sized(n), b.sized(n))

    def at_layer(self) -> tuple[Target, Any]:
        a, layer = as_target(self.a).at_layer()
        b, layer_of_b = as_target(self.b).at_layer()
        if layer != layer_of_b:
            raise TargetError(
                expected="two neurons of one layer, or two outputs, in Contrast",
                got=f"{self.a!r} and {self.b!r}",
                advice="A question stops at one layer: Contrast(Neuron(layer, 0), Neuron(layer, 1)).",
            )
        return (self, None) if layer is None else (Contrast(a, b), layer)

    def take(self, rows: Tensor) -> Target:
        a, b = self._pair
        return Contrast(a.take(rows), b.take(rows))

    def joined(self, others: Targets) -> Target:
        a, b = self._pair
        pairs = [other._pair for other in others if isinstance(other, Contrast)]
        return Contrast(
            a.joined([other_a for other_a, _ in pairs]),
            b.joined([other_b for _, other_b in pairs]),
        )

    @property
    def linear(self) -> bool:
        return all(part.linear for part in self._pair)

    def score(self, outputs: Tensor, rows: Tensor) -> Tensor:
        a, b = self._pair
        return a.score(outputs, rows) - b.score(outputs, rows)


@final
@dataclass(frozen=True)
class Negated(Target):
    """What speaks against: the target with its sign turned, -f_c(x).

    Settings:
        target: a target, an int or a callable; the predicted output where nothing is said.

    Units: those of the target. Errors: those of the target.

    >>> import assay, torch
    >>> question = assay.Question(lambda x: x ** 2, torch.tensor([[1.0, 3.0]]), target=Negated(1))
    >>> question.prediction.tolist(), assay.Gradient()(question).values.tolist()
    ([-9.0], [[0.0, -6.0]])
    """

    target: Target = Predicted()

    def __post_init__(self) -> None:
        object.__setattr__(self, "target", as_target(self.target))

    def told(self, outputs: Outputs) -> Target:
        return Negated(self.target.told(outputs))

    def described(self, outputs: Outputs, n: int) -> list[str]:
        return [f"-({part})" for part in self.target.described(outputs, n)]

    def choose(self, outputs: Tensor) -> Target:
        return Negated(self.target.choose(outputs))

    def sized(self, n: int) -> Target:
        return Negated(self.target.sized(n))

    def at_layer(self) -> tuple[Target, Any]:
        target, layer = self.target.at_layer()
        return (self, None) if layer is None else (Negated(target), layer)

    def take(self, rows: Tensor) -> Target:
        return Negated(self.target.take(rows))

    def joined(self, others: Targets) -> Target:
        targets = [other.target for other in others if isinstance(other, Negated)]
        return Negated(self.target.joined(targets))

    @property
    def linear(self) -> bool:
        return self.target.linear

    def score(self, outputs: Tensor, rows: Tensor) -> Tensor:
        return -self.target.score(outputs, rows)
