"""Relevance of attention weights times their slopes: the rules of relevance on the way to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from assay.errors import ModelError
from assay.methods.attention.base import Answers, AttentionMethod, Heads, Wanted, part_of
from assay.methods.attention.capture import MATRIX_PRODUCTS, Capture, Forward, Map, factors_of
from assay.methods.attention.relevance import carried
from assay.methods.attention.streams import Layer, Rule
from assay.methods.attention.tokens import Interpolation
from assay.methods.rules.composites import Composite
from assay.methods.rules.lrp import RelevanceForward
from assay.methods.rules.relevance import Halves, Norm, Passage, ZPlus
from assay.methods.rules.relevance import Rule as RelevanceRule
from assay.models.networks.operations.pulled import pulled, scaled
from assay.question.question import Question

_TOGETHER = 8  # inputs whose maps, slopes and relevance are held at once


@final
@dataclass(frozen=True)
class TransformerRelevance(AttentionMethod):
    """The relevance of attention weights times their slopes, carried from layer to layer.

    A' = mean over heads of max(G * R_A, 0), R_A the relevance that arrives at A from 1 at the
    target, G the slope; then as `AttentionRelevance`, R = R + A' R
    (Chefer et al. 2021, CVPR, equations 13 and 14)

    Settings:
        heads: how the heads of a layer become one map: their "mean" as in the paper, "max" or "min".
        token: the token of the last layer whose row is read; None for those that the target reads,
            in equal shares.
        grid: the grid of an image's patches, (rows, columns); where nothing is said that of the
            convolution that makes them.
        interpolation: how a map of patches is laid on pixels, "bilinear" or "nearest".

    The rules of relevance are the paper's: positive contributions alone in dense and convolutional
    layers (equation 4), without biases; matrix products shared in halves; branches of a sum in
    proportion to the sizes of theirs (equations 9 and 10); activations, norms and softmax hand on
    what they get. Cross-attention goes by the rules of `AttentionRelevance`. Cost: two forward and
    backward passes, the second with two products for each dense layer. Values: not negative, no sum.
    Errors: those of `AttentionRelevance`, and AbilityError for an operation without a rule.

    >>> TransformerRelevance(grid=(14, 14))
    TransformerRelevance(heads='mean', token=None, grid=(14, 14), interpolation='bilinear')
    """

    heads: Heads = "mean"
    token: int | None = None
    grid: tuple[int, int] | None = None
    interpolation: Interpolation = "bilinear"
    cost: ClassVar[str] = "2 gradients, one with twice the dense layers"

    def rule(self, forward: Forward) -> Rule:
        return carried(lambda layer: layer.weights, self.heads)

    def ask(self, question: Question, wanted: Sequence[Wanted]) -> Answers:
        parts = [
            self._part(*part_of(question, wanted, start, min(start + _TOGETHER, question.n)))
            for start in range(0, question.n, _TOGETHER)
        ]
        return parts[0].joined(parts[1:])

    def _part(self, question: Question, wanted: Sequence[Wanted]) -> Answers:
        answers = Answers(self, question, len(wanted))
        targets = [one.target for one in wanted]
        forwards: list[Forward] = []
        capture = Capture(type(self).__name__, question.layout.elements, forwards.append)
        question.slopes(targets, rules=capture)
        # Two forwards, since rules change slopes: the first has the network's own, for G.
        log = _Log(forwards[0].maps)
        question.slopes(targets, rules=RelevanceForward(_published(log), log.begin))
        for forward in forwards:
            log.check(forward, question.n)
            prediction = wanted[forward.target].prediction[forward.owners]
            # Relevance is that of the target's value: from 1 on, it is a share of it.
            start = torch.where(prediction == 0, torch.inf, prediction)[:, None, None, None]

            def worth(layer: Layer, forward: Forward = forward, start: Tensor = start) -> Tensor:
                each = [log.relevance(one, forward) for one in layer.maps]
                return torch.cat(each, 1) / start

            answers.explain(forward, carried(worth, self.heads))
        answers.heard(capture)
        return answers


@final
class _Log:
    """The relevance of the weights of maps, as it arrives on the way back."""

    def __init__(self, maps: Sequence[Map]) -> None:
        self._maps = {each.product: each for each in maps}
        self._forwards: list[dict[tuple[int, int], Tensor]] = []
        self._products = 0
        self._rows = 0

    def begin(self, signals: list[Tensor]) -> None:
        """A forward begins with these inputs."""
        self._forwards.append({})
        self._products = 0
        self._rows = len(signals[0])

    def next_map(self) -> Map | None:
        """The map that the next matrix product works with, if it does with one."""
        number = self._products
        self._products += 1
        return self._maps.get(number)

    def keep(self, each: Map, target: int, relevance: Tensor) -> None:
        """The relevance of a map's weights in the forward that is on its way back."""
        # By the axes that the first forward found, whatever the network's own layout is.
        arranged = each.axes.arranged(relevance, self._rows)
        self._forwards[-1][target, each.bit] = arranged

    def check(self, forward: Forward, inputs: int) -> None:
        """Refuses relevance of another forward than the one whose maps were heard."""
        for each in forward.maps:
            shape = (inputs, *each.shape)
            if each.slope is not None and self._all(each, forward).shape != shape:
                raise ModelError(
                    expected="the same attention in two forwards of the same inputs",
                    got="maps of other shapes",
                    advice="A forward that draws at random or counts its calls has no one answer.",
                )

    def relevance(self, each: Map, forward: Forward) -> Tensor:
        """That of a map's weights for the inputs of a forward."""
        if each.slope is None:
            return torch.zeros_like(each.weights)
        return self._all(each, forward)[forward.owners]

    def _all(self, each: Map, forward: Forward) -> Tensor:
        key = (forward.target, each.bit)
        # A forward that was cut short is asked again, and has not come back for all of them.
        whole = max(map(len, self._forwards))
        kept = [found[key] for found in self._forwards if len(found) == whole and key in found]
        return torch.cat(kept) if kept else torch.zeros(0)


def _published(log: _Log) -> Composite:
    """The paper's rules."""
    passed = _Passed()
    rules = {
        "convolution": ZPlus(),
        "dense": ZPlus(),
        "sum": _Branches(),
        "product": _Products(log),
        "activation": passed,
        "softmax": passed,
        "normalisation": passed,
    }
    return Composite(rules, bias="ignore")


@final
@dataclass(frozen=True)
class _Passed(RelevanceRule):
    """Relevance as it comes, R_in = R_out: what is 0 or masked out hands on none."""

    def passed(self, passage: Passage) -> Any:
        value = passage.value
        signal = passage.operation.signals[0]
        if value.shape != signal.shape:
            return value
        x, y = signal.detach(), value.detach()
        factor = torch.where((x == 0) | torch.isinf(x), 0.0, y / x)
        return scaled(signal, y, factor.nan_to_num())


@final
@dataclass(frozen=True)
class _Branches(RelevanceRule):
    """Branches of a sum get relevance in proportion to the sizes of their sums over an input.

    R_a = a g, scaled by |sum R_a| / (|sum R_a| + |sum R_b|) sum R / sum R_a      (equations 9, 10)
    """

    def passed(self, passage: Passage) -> Any:
        operation = passage.operation
        signals = operation.signals
        value = operation()
        same = len(signals) == 2 and all(signal.shape == value.shape for signal in signals)
        if operation.name != "add" or not same or operation.kwargs.get("alpha", 1) != 1:
            return Norm().passed(passage)
        parts = [signal.detach() for signal in signals]
        branches = [_branch(signal, parts, i) for i, signal in enumerate(signals)]
        return branches[0] + branches[1]


def _branch(signal: Tensor, parts: Sequence[Tensor], which: int) -> Tensor:
    """One branch of a sum, behind which relevance is scaled."""

    def pull(cotangent: Tensor) -> Tensor:
        # Over each input's own row: the inputs of a chunk know nothing of each other.
        sums = [(part * cotangent).flatten(1).sum(1) for part in parts]
        size = sums[0].abs() + sums[1].abs()
        own = sums[which]
        share = own.abs() / torch.where(size == 0, 1.0, size) * (sums[0] + sums[1])
        factor = share / torch.where(own == 0, 1.0, own)
        return cotangent * factor.view(-1, *[1] * (cotangent.dim() - 1))

    return pulled(signal, parts[which], pull)


@final
@dataclass(frozen=True, eq=False)
class _Products(RelevanceRule):
    """Factors share in halves; what arrives at the weights of attention is written down.

    Settings:
        log: where.
    """

    log: _Log

    def passed(self, passage: Passage) -> Any:
        operation = passage.operation
        # Counted as `Capture` counts, in the same order: the number says which map it is.
        each = self.log.next_map() if operation.name in MATRIX_PRODUCTS else None
        if each is None:
            return Halves().passed(passage)
        weights = factors_of(operation)[each.factor]
        numbers = weights.detach()
        account = passage.account

        def pull(cotangent: Tensor) -> Tensor:
            self.log.keep(each, account.target, numbers * cotangent)
            return cotangent

        marked = pulled(weights, numbers, pull)
        value = operation.on({id(weights): marked})()
        return pulled(value, value, lambda cotangent: cotangent / 2)
