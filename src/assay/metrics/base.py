"""A metric: frozen settings and one pure function from a question and attributions to one number
per input.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from assay.answers.attribution import Attribution
from assay.answers.provenance import versions
from assay.answers.score import Direction, Score
from assay.errors import InputError, KindError
from assay.methods.base import Method
from assay.question.question import Question


@final
@dataclass(frozen=True, eq=False)
class Reading:
    """What a metric reads off one attribution, for a shard: one number per input, its sampling
    error, and details.
    """

    values: Tensor
    error: Tensor | None = None
    details: Mapping[str, Tensor] = field(default_factory=dict)


class Metric(ABC):
    """`(Question, Attribution) -> Score`. A subclass is a frozen dataclass that writes
    `read(question, attributions, seed)`.

    All attributions that are compared are read together, from the same draws and the same model
    answers.
    """

    direction: ClassVar[Direction] = "lower"
    units: ClassVar[str] = ""
    cost: ClassVar[str] = ""
    asks_again: ClassVar[bool] = False
    """Whether it asks the method anew: its answer to one method is no other's."""
    why: ClassVar[str] = ""
    """Why an input may have no score, in words."""

    @abstractmethod
    def read(
        self, question: Question, attributions: Sequence[Attribution], seed: int
    ) -> list[Reading]:
        """One reading per attribution for a shard of inputs, from common random numbers."""

    @final
    def __call__(self, question: Question, attribution: Attribution, *, seed: int = 0) -> Score:
        """The score of one attribution."""
        return self.each(question, [attribution], seed=seed)[0]

    @final
    def each(
        self, question: Question, attributions: Sequence[Attribution], *, seed: int = 0
    ) -> list[Score]:
        """The scores of several attributions of the same question, paired: same draws, same model
        answers.
        """
        if not isinstance(question, Question):
            raise KindError(
                expected="a Question",
                got=type(question).__name__,
                advice="",
            )
        for attribution in attributions:
            self._fits(question, attribution)
        self.check(question, attributions)
        parts: list[list[Reading]] = []
        start = 0
        with torch.inference_mode(False), torch.no_grad():
            for shard in question.shards():
                rows = slice(start, start + shard.n)
                parts.append(
                    self.read(shard, [attribution.rows(rows) for attribution in attributions], seed)
                )
                start += shard.n
        return [
            self._score([part[i] for part in parts], each, seed)
            for i, each in enumerate(attributions)
        ]

    def for_method(self, method: Method) -> Metric:  # may be overridden
        """The same metric for answers of this method: metrics that must ask again take it as their
        own.
        """
        return self

    def check(self, question: Question, attributions: Sequence[Attribution]) -> None:
        """Refuses before any work what this metric cannot measure."""

    def _fits(self, question: Question, attribution: Attribution) -> None:
        if not isinstance(attribution, Attribution):
            raise KindError(
                expected="an Attribution",
                got=type(attribution).__name__,
                advice="Ask a method first: answer = method(question).",
            )
        expected = (question.n, question.partition.count)
        if tuple(attribution.values.shape) != expected:
            raise InputError(
                expected=(
                    f"an attribution of shape {expected} (inputs, features) for this question"
                ),
                got=tuple(attribution.values.shape),
                advice="Was it the answer to another question?",
            )
        if not bool(torch.isfinite(attribution.values).all()):
            raise InputError(
                expected="finite attribution values",
                got=f"NaN or infinity in the answer of {attribution.method}",
                advice="",
            )

    def _score(self, parts: list[Reading], attribution: Attribution, seed: int) -> Score:
        errors = [part.error for part in parts if part.error is not None]
        provenance: dict[str, Any] = {
            "metric": repr(self),
            "method": attribution.method,
            "seed": seed,
            "question": attribution.provenance.get("question", ""),
            "versions": versions(),
        }
        return Score(
            type(self).__name__,
            torch.cat([part.values for part in parts]),
            self.direction,
            self.units,
            torch.cat(errors) if errors else None,
            {name: torch.cat([part.details[name] for part in parts]) for name in parts[0].details},
            self.why,
            provenance,
        )
