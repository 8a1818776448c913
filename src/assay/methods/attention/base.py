"""What all methods of attention have in common: a forward that is heard, and its maps made credit.

A subclass says what a layer adds to the relevance of its tokens, `rule`. Finding the maps, whose
tokens they mix, which tokens the target reads, and laying the answer on the input's elements is done
here.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias, final

import torch
from torch import Tensor

from assay.answers.attribution import Kind
from assay.errors import AbilityError, SettingError
from assay.methods.attention.capture import Capture, Forward
from assay.methods.attention.streams import CONSTANTS, Layer, Rule, Streams, read_tokens
from assay.methods.attention.tokens import Interpolation, Placing, of_ids, token_embedding
from assay.methods.base import Estimate, Method
from assay.models.base import Ability
from assay.question.question import Question
from assay.targets import Target

Heads: TypeAlias = Literal["mean", "max", "min"]
"""How the heads of a layer become one map."""


class AttentionMethod(Method):
    """Credit of tokens by the attention of a network. A subclass is a frozen dataclass with these
    settings and `rule`.

    Settings:
        heads: how the heads of a layer become one map: their "mean", "max" or "min".
        token: the token of the last layer whose row is read, such as 0 for a class token, -1 for the
            last; None for those that the target reads, in equal shares.
        grid: the grid of an image's patches, (rows, columns); where nothing is said that of the
            convolution that makes them.
        interpolation: how a map of patches is laid on pixels, "bilinear" or "nearest".
    """

    heads: Heads
    token: int | None
    grid: tuple[int, int] | None
    interpolation: Interpolation
    needs = frozenset({Ability.GRADIENT, Ability.OPERATIONS})
    cost: ClassVar[str] = "1 gradient"

    @property
    def kind(self) -> Kind:
        return Kind.WEIGHT

    def __post_init__(self) -> None:
        for name, known in (
            ("heads", ("mean", "max", "min")),
            ("interpolation", ("bilinear", "nearest")),
        ):
            if getattr(self, name) not in known:
                raise SettingError(
                    expected=f"{name} as one of {', '.join(map(repr, known))}",
                    got=repr(getattr(self, name)),
                    advice=f"The default is {known[0]!r}.",
                )
        if self.grid is not None and min(self.grid) < 1:
            raise SettingError(
                expected="a grid of at least one row and column of patches",
                got=self.grid,
                advice="A vision transformer of 224 pixels and patches of 16 has grid=(14, 14).",
            )

    @abstractmethod
    def rule(self, forward: Forward) -> Rule:
        """What a layer adds to the relevance of its tokens."""

    def read(self, streams: Streams, layers: Sequence[Layer]) -> Mapping[int, Tensor]:
        """The rows that the target reads of a stream behind its last layers, by root."""
        shares = read_tokens(layers, self.token)[:, None]
        state = streams.behind(layers)
        return {root: (shares @ every)[:, 0] for root, every in state.relevance.items()}

    def ask(self, question: Question, wanted: Sequence[Wanted]) -> Answers:  # may be overridden
        """Credit of elements for each of the targets, from one forward and a backward for each."""
        answers = Answers(self, question, len(wanted))
        capture = Capture(type(self).__name__, question.layout.elements, answers.explain)
        question.slopes([one.target for one in wanted], rules=capture)
        answers.heard(capture)
        return answers

    @final
    def values(self, question: Question, seed: int) -> Estimate:
        return self.per_output((question,), seed)[0]

    @final
    def per_output(self, questions: Sequence[Question], seed: int) -> list[Estimate]:
        question = questions[0]
        embedding = token_embedding(question)
        source = question if embedding is None else question.after(embedding)
        wanted = [Wanted(asked.fixed_target, asked.prediction) for asked in questions]
        # The question's own target, which a forward that is heard is compared by.
        wanted[0] = Wanted(source.fixed_target, source.prediction)
        answers = self._asked_surely(source, wanted)
        estimates = []
        for asked, elements in zip(questions, answers.elements):
            if embedding is not None:
                elements = of_ids(elements, source, question)
            estimates.append(Estimate(asked.pool(elements, pooling="mean"), notes=answers.notes))
        return estimates

    def _asked_surely(self, question: Question, wanted: Sequence[Wanted]) -> Answers:
        """The answers; input by input where a forward mixes inputs and heads in one axis."""
        # All inputs at once first: whether heads and inputs are mixed shows in a forward alone.
        answers = self.ask(question, wanted)
        one_by_one = answers.capture.merged
        if answers.capture.unsure and question.n > 1 and not one_by_one:
            # Alone an input has maps of the same shape, unless its heads were taken for inputs.
            alone = self.ask(*part_of(question, wanted, 0, 1))
            one_by_one = alone.capture.shapes != answers.capture.shapes
        if not one_by_one or question.n == 1:
            return answers.checked(len(wanted))
        parts = [self.ask(*part_of(question, wanted, i, i + 1)) for i in range(question.n)]
        return parts[0].joined(parts[1:]).checked(len(wanted))

    def _check_floating(self, question: Question) -> None:
        # Ids are asked behind the layer that embeds them.
        if token_embedding(question) is None:
            super()._check_floating(question)


@final
@dataclass(frozen=True, eq=False)
class Wanted:
    """A target with what it is on the inputs.

    Settings:
        target: with everything chosen on the clean outputs.
        prediction: (n,).
    """

    target: Target
    prediction: Tensor


def part_of(
    question: Question, wanted: Sequence[Wanted], start: int, stop: int
) -> tuple[Question, list[Wanted]]:
    """A question about some of its inputs, with what is wanted of these."""
    part = question.part(start, stop)
    rows = torch.arange(start, stop, device=question.x.device)
    taken = [Wanted(one.target.take(rows), one.prediction[rows]) for one in wanted]
    if wanted[0].target is question.fixed_target:
        taken[0] = Wanted(part.fixed_target, part.prediction)
    return part, taken


@final
class Answers:
    """What is made of the maps of a question's inputs, chunk by chunk."""

    def __init__(self, method: AttentionMethod, question: Question, targets: int) -> None:
        self.method = method
        self.placing = Placing.of(
            question, method.grid, method.interpolation, type(method).__name__
        )
        # At least single precision, whatever the inputs are of.
        x = question.x
        precise = torch.float64 if x.dtype == torch.float64 else torch.float32
        self.elements = [torch.zeros_like(x, dtype=precise) for _ in range(targets)]
        self.notes: dict[str, Any] = {}
        # The targets that hang on the last layer of some input.
        self._reached: set[int] = set()

    def explain(self, forward: Forward, rule: Rule | None = None) -> None:
        """Makes credit of what was heard of a chunk."""
        method = self.method
        streams = Streams(forward, rule or method.rule(forward))
        last = streams.last()
        if not streams.layers:
            raise _nothing_heard(type(method).__name__)
        credit: dict[int, Tensor] = {}
        for layers in last:
            # Whether attention leads to a target is known when all inputs are heard: see `checked`.
            if bool((layers[0].slopes != 0).any()):
                self._reached.add(forward.target)
            for root, relevance in method.read(streams, layers).items():
                if root in credit:
                    raise _read_twice(type(method).__name__)
                if root != CONSTANTS:
                    credit[root] = relevance
        self._describe(forward, streams)
        # One row holds the elements of all tensors of an input, in the layout's order.
        laid = torch.cat([self._laid(forward, credit, i) for i in range(forward.inputs)], 1)
        elements = self.elements[forward.target]
        elements[forward.owners] = laid.to(elements.dtype)

    def _laid(self, forward: Forward, credit: Mapping[int, Tensor], number: int) -> Tensor:
        if number in credit:
            grid = forward.grids.get(number)
            return self.placing.elements(credit[number], number, grid)
        # No attention takes anything of this input to the target.
        some = forward.maps[0].weights
        return some.new_zeros(forward.rows, math.prod(self.placing.shapes[number]))

    def _describe(self, forward: Forward, streams: Streams) -> None:
        shapes = [
            f"{layer.weights.shape[1]} x {layer.tokens[0]} x {layer.tokens[1]}"
            for layer in streams.layers
        ]
        self.notes = {"layers": len(shapes), "maps": ", ".join(shapes)}

    def heard(self, capture: Capture) -> None:
        """All inputs have been asked."""
        self.capture = capture
        self.notes["operations"] = capture.coverage()

    def joined(self, others: Sequence[Answers]) -> Answers:
        """With those of further inputs behind."""
        for other in others:
            # Target by target, inputs one after the other in their order.
            self.elements = [torch.cat(pair) for pair in zip(self.elements, other.elements)]
            self._reached |= other._reached
        return self

    def checked(self, targets: int) -> Answers:
        """Refuses one of so many targets that no attention leads to."""
        if len(self._reached) < targets:
            raise AbilityError(
                expected=f"a target that hangs on attention, for {type(self.method).__name__}",
                got="slopes that are 0 at the weights of the last layer",
                advice=(
                    "Saturated probabilities have slopes of 0: explain the logit. A head that "
                    "reads other layers than attention's is explained by LRP or by slopes."
                ),
            )
        return self


def _nothing_heard(who: str) -> AbilityError:
    return AbilityError(
        expected=f"a network with attention, for {who}",
        got="a forward without a softmax whose weights are multiplied with values",
        advice=(
            "Attention in compiled kernels of its own (flash, flex) or with its own normalisation "
            "is not heard: load the model with plain attention, such as "
            "attn_implementation='eager', or use LRP() or slopes."
        ),
    )


def _read_twice(who: str) -> AbilityError:
    return AbilityError(
        expected=f"a target that reads one row of tokens of each input, for {who}",
        got="several that hang on the same input",
        advice="Explain the part of the network that reads one of them: Neuron(layer, unit).",
    )


def fused(maps: Tensor, heads: Heads) -> Tensor:
    """Maps (rows, heads, queries, keys) as one for each input: (rows, queries, keys)."""
    if heads == "mean":
        return maps.mean(1)
    return maps.amax(1) if heads == "max" else maps.amin(1)
