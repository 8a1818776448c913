"""The quantity of interest: a model's outputs to one number per row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import abc
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias, final

import torch
from torch import Tensor

from assay.errors import KindError, TargetError

Index: TypeAlias = int | tuple[int, ...] | abc.Sequence[int] | Tensor


class Target(ABC):
    """One number per row. `choose` fixes what depends on the clean outputs; from then on nothing is
    chosen again.
    """

    def choose(self, outputs: Tensor) -> Target:
        """The same target with everything that depends on the clean outputs (n, ...) decided, or a
        refusal.
        """
        self.score(outputs, torch.arange(len(outputs), device=outputs.device))
        return self

    def sized(self, n: int) -> Target:
        """The same target, its ints per input checked against the number of inputs."""
        return self

    def take(self, rows: Tensor) -> Target:
        """The target of some of the inputs."""
        return self

    def joined(self, others: abc.Sequence[Target]) -> Target:
        """One target for all inputs, from this one and those chosen for the inputs behind it."""
        return self

    @abstractmethod
    def score(self, outputs: Tensor, rows: Tensor) -> Tensor:
        """Outputs (r, ...) of chunk rows that belong to the inputs `rows` (r,) -> (r,)."""


@final
@dataclass(frozen=True, eq=False)
class Output(Target):
    """One output: an int for all inputs, one int per input, or a tuple that points into outputs of
    several dimensions.
    """

    index: Index

    def sized(self, n: int) -> Target:
        index = self.index
        if isinstance(index, bool) or not (
            isinstance(index, int | tuple | list) or hasattr(index, "__array__")
        ):
            raise KindError(
                expected="an int, one int per input or a tuple as output",
                got=type(index).__name__,
                advice="",
            )
        if isinstance(index, int | tuple):
            return self
        each = torch.as_tensor(index)
        if each.dim() == 0 and not each.is_floating_point() and each.dtype != torch.bool:
            return Output(int(each))
        if each.is_floating_point() or each.dtype == torch.bool or tuple(each.shape) != (n,):
            raise TargetError(
                expected=f"one int per input, shape ({n},)",
                got=f"{each.dtype} of shape {tuple(each.shape)}",
                advice="",
            )
        return Output(each.to(torch.int64))

    def choose(self, outputs: Tensor) -> Target:
        target = self.sized(len(outputs))
        index = target.index if isinstance(target, Output) else self.index
        if isinstance(index, Tensor):
            for value in (int(index.min()), int(index.max())):
                self._inside(outputs, (value,))
            return Output(index.to(outputs.device) % (outputs.shape[1] if outputs.dim() > 1 else 1))
        self._inside(outputs, (index,) if isinstance(index, int) else tuple(index))
        return self

    def _inside(self, outputs: Tensor, index: tuple[int, ...]) -> None:
        sizes = tuple(outputs.shape[1:]) or (1,)
        if len(index) != len(sizes):
            raise TargetError(
                expected=f"a target that points at one of the outputs of shape {sizes}",
                got=index,
                advice=f"Give a tuple of {len(sizes)} ints, or a callable outputs -> (n,).",
            )
        for value, size in zip(index, sizes):
            if not -size <= value < size:
                raise TargetError(
                    expected=f"a target inside outputs of shape {sizes}",
                    got=f"{index}; the first output is 0",
                    advice="",
                )

    def take(self, rows: Tensor) -> Target:
        return (
            Output(self.index[rows.to(self.index.device)])
            if isinstance(self.index, Tensor)
            else self
        )

    def joined(self, others: abc.Sequence[Target]) -> Target:
        if not isinstance(self.index, Tensor):
            return self
        rest = [
            other.index
            for other in others
            if isinstance(other, Output) and isinstance(other.index, Tensor)
        ]
        return Output(torch.cat([self.index, *rest]))

    def score(self, outputs: Tensor, rows: Tensor) -> Tensor:
        outputs = outputs.unsqueeze(1) if outputs.dim() == 1 else outputs
        if isinstance(self.index, Tensor):
            return outputs.gather(1, self.index[rows].unsqueeze(1)).squeeze(1)
        where = self.index if isinstance(self.index, tuple) else (self.index,)
        return outputs[(slice(None), *where)]

    def __repr__(self) -> str:
        shown = self.index.tolist() if isinstance(self.index, Tensor) else self.index
        return f"Output({shown!r})"


@final
@dataclass(frozen=True)
class Predicted(Target):
    """The output that is largest on the clean input, chosen once; the only output where there is
    just one.
    """

    def choose(self, outputs: Tensor) -> Target:
        if outputs.dim() == 1 or outputs.shape[1:] == (1,):
            return Output(0)
        if outputs.dim() > 2:
            raise TargetError(
                expected="outputs of shape (n, classes) for Predicted()",
                got=tuple(outputs.shape),
                advice="Point at one of them: Output((i, j)), or a callable outputs -> (n,).",
            )
        return Output(outputs.argmax(1))

    def score(self, outputs: Tensor, rows: Tensor) -> Tensor:
        raise TargetError(
            "Predicted() is chosen on the clean outputs before anything is scored: call choose(outputs) first."
        )


class _OfOutput(Target):
    """A function of all outputs around one of them."""

    output: Target

    def __post_init__(self) -> None:
        object.__setattr__(self, "output", as_target(self.output))

    def choose(self, outputs: Tensor) -> Target:
        if outputs.dim() != 2 or outputs.shape[1] < 2:
            raise TargetError(
                expected=f"outputs of shape (n, classes) with two classes or more for {self!r}",
                got=tuple(outputs.shape),
                advice="",
            )
        return replace(self, output=self.output.choose(outputs))  # type: ignore[type-var]

    def sized(self, n: int) -> Target:
        return replace(self, output=self.output.sized(n))  # type: ignore[type-var]

    def take(self, rows: Tensor) -> Target:
        return replace(self, output=self.output.take(rows))  # type: ignore[type-var]

    def joined(self, others: abc.Sequence[Target]) -> Target:
        return replace(self, output=self.output.joined([other.output for other in others]))  # type: ignore[type-var, attr-defined]


@final
@dataclass(frozen=True)
class LogProb(_OfOutput):
    """log softmax of one output, from logits: log p_c = z_c - log sum_k exp z_k."""

    output: Target = Predicted()

    def score(self, outputs: Tensor, rows: Tensor) -> Tensor:
        return self.output.score(outputs.log_softmax(1), rows)


@final
@dataclass(frozen=True)
class LogOdds(_OfOutput):
    """log (p_c / (1 - p_c)) of one output; from logits, or from probabilities with
    `probabilities=True`.
    """

    output: Target = Predicted()
    probabilities: bool = False

    def score(self, outputs: Tensor, rows: Tensor) -> Tensor:
        if self.probabilities:
            return torch.logit(self.output.score(outputs, rows), eps=torch.finfo(outputs.dtype).eps)
        # z_c - log sum_{k != c} exp z_k keeps the precision that 1 - p would lose near p = 1.
        classes = torch.arange(outputs.shape[1], device=outputs.device).expand_as(outputs)
        own = self.output.score(classes, rows).unsqueeze(1)
        others = outputs.masked_fill(classes == own, -torch.inf).logsumexp(1)
        return self.output.score(outputs, rows) - others


@final
@dataclass(frozen=True, eq=False)
class Sequence(Target):
    """How probable a caption is: sum_t log p(word_t | the words before it), from outputs (n, steps,
    vocabulary).

    Outputs are logits, or log-probabilities, of a model that is shown the words so far (hand them
    over as context). `words`: one int for each step, or one such row for each input; a negative one
    leaves its step out, and so `Sequence([-1, word, -1])` is the log-probability of one word in its
    place.

    >>> outputs = torch.tensor([[[0.5, 0.5], [0.1, 0.9]]]).log()
    >>> Sequence([0, 1]).score(outputs, torch.tensor([0])).exp()
    tensor([0.4500])
    """

    words: abc.Sequence[int] | Tensor

    @cached_property
    def _rows(self) -> Tensor:
        """Words (steps,), or (n, steps)."""
        return torch.as_tensor(self.words)

    def sized(self, n: int) -> Target:
        words = self._rows
        whole = not (words.is_floating_point() or words.dtype == torch.bool)
        if (
            not whole
            or words.dim() not in (1, 2)
            or (words.dim() == 2 and len(words) != n)
            or not (words >= 0).any()
        ):
            raise TargetError(
                expected=(f"one word (an int) for each step, or such a row for each of {n} inputs"),
                got=f"{words.dtype} of shape {tuple(words.shape)}",
                advice="",
            )
        return self

    def choose(self, outputs: Tensor) -> Target:
        self.sized(len(outputs))
        words = self._rows
        if (
            outputs.dim() != 3
            or outputs.shape[1] != words.shape[-1]
            or int(words.max()) >= outputs.shape[2]
        ):
            raise TargetError(
                expected=(
                    f"outputs of shape (n, {words.shape[-1]} steps, more than "
                    f"{int(words.max())} words) for the caption"
                ),
                got=tuple(outputs.shape),
                advice="",
            )
        return Sequence(words.to(outputs.device, torch.int64))

    def take(self, rows: Tensor) -> Target:
        return self if self._rows.dim() == 1 else Sequence(self._rows[rows.to(self._rows.device)])

    def joined(self, others: abc.Sequence[Target]) -> Target:
        if self._rows.dim() == 1:
            return self
        return Sequence(
            torch.cat(
                [self._rows, *(other._rows for other in others if isinstance(other, Sequence))]
            )
        )

    def score(self, outputs: Tensor, rows: Tensor) -> Tensor:
        words = self._rows.expand(len(outputs), -1) if self._rows.dim() == 1 else self._rows[rows]
        of_words = outputs.log_softmax(2).gather(2, words.clamp_min(0)[:, :, None]).squeeze(2)
        return torch.where(words < 0, 0.0, of_words).sum(dim=1)

    def __repr__(self) -> str:
        return f"Sequence({self._rows.tolist()!r})"


@final
@dataclass(frozen=True)
class Contrast(Target):
    """Why a rather than b: the difference of two targets (ints are outputs)."""

    a: Target | Index
    b: Target | Index

    def choose(self, outputs: Tensor) -> Target:
        return Contrast(as_target(self.a).choose(outputs), as_target(self.b).choose(outputs))

    def sized(self, n: int) -> Target:
        return Contrast(as_target(self.a).sized(n), as_target(self.b).sized(n))

    def take(self, rows: Tensor) -> Target:
        return Contrast(as_target(self.a).take(rows), as_target(self.b).take(rows))

    def joined(self, others: abc.Sequence[Target]) -> Target:
        pairs = [
            (as_target(other.a), as_target(other.b))
            for other in others
            if isinstance(other, Contrast)
        ]
        a, b = as_target(self.a), as_target(self.b)
        return Contrast(
            a.joined([pair[0] for pair in pairs]), b.joined([pair[1] for pair in pairs])
        )

    def score(self, outputs: Tensor, rows: Tensor) -> Tensor:
        return as_target(self.a).score(outputs, rows) - as_target(self.b).score(outputs, rows)


@final
@dataclass(frozen=True)
class Negated(Target):
    """What speaks against: the target with its sign turned."""

    target: Target = Predicted()

    def __post_init__(self) -> None:
        object.__setattr__(self, "target", as_target(self.target))

    def choose(self, outputs: Tensor) -> Target:
        return Negated(self.target.choose(outputs))

    def sized(self, n: int) -> Target:
        return Negated(self.target.sized(n))

    def take(self, rows: Tensor) -> Target:
        return Negated(self.target.take(rows))

    def joined(self, others: abc.Sequence[Target]) -> Target:
        return Negated(
            self.target.joined([other.target for other in others if isinstance(other, Negated)])
        )

    def score(self, outputs: Tensor, rows: Tensor) -> Tensor:
        return -self.target.score(outputs, rows)


@final
@dataclass(frozen=True)
class Neuron(Target):
    """The activation of one unit of a layer; the question is then asked of the model that stops
    there.
    """

    layer: str
    unit: int | tuple[int, ...]

    def score(self, outputs: Tensor, rows: Tensor) -> Tensor:
        return Output(self.unit).score(outputs, rows)


@final
@dataclass(frozen=True)
class Function(Target):
    """Any callable from outputs (r, ...) to one number per row (r,)."""

    function: Callable[[Tensor], Tensor]

    def score(self, outputs: Tensor, rows: Tensor) -> Tensor:
        scores: Any = self.function(outputs)
        if not isinstance(scores, Tensor) or tuple(scores.shape) != (len(outputs),):
            came = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
            raise TargetError(
                expected=f"the target function to return a tensor of shape ({len(outputs)},)",
                got=came,
                advice="",
            )
        return scores


def as_target(value: Any) -> Target:
    """A target from a target, an index or a callable."""
    if isinstance(value, Target):
        return value
    if isinstance(value, int | tuple | list | Tensor) and not isinstance(value, bool):
        return Output(value)
    if hasattr(value, "__array__"):
        return Output(torch.as_tensor(value))
    if callable(value):
        return Function(value)
    raise KindError(
        expected="a target, an int, ints per input or a callable as target",
        got=type(value).__name__,
        advice="",
    )
