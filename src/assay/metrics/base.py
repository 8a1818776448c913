"""A metric: frozen settings and one pure function from a question and attributions to numbers.

A subclass writes `read(question, attributions, seed)` and nothing else; everything around it
happens here, once for all metrics: refusals before the work, shards of inputs (memory does not grow
with their number), provenance. All attributions that are compared are read together, from common
random numbers, so that differences between methods are paired.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ClassVar, final

import torch
from torch import Tensor

from assay.answers.attribution import Attribution
from assay.answers.provenance import versions
from assay.answers.score import ANYTHING, Direction, Score
from assay.errors import InputError, KindError, asking
from assay.methods.base import Method
from assay.question.question import Question
from assay.settings import Settings, checked_seed, shown

_ROUNDING = 1e-9  # relative: a correlation of equal numbers may be 1 + 2e-16


@final
@dataclass(frozen=True, eq=False)
class Reading:
    """What a metric reads off one attribution, for a shard of n inputs.

    Settings:
        values: the score of each input (n,), float64; NaN where there is none.
        error: the sampling error of each (n,), or None where nothing is drawn.
        details: more numbers by name, each (n,), or curves (n, points); the same names and points in
            every shard.
    """

    values: Tensor
    error: Tensor | None = None
    details: Mapping[str, Tensor] = field(default_factory=dict)


class Metric(Settings, ABC):
    """`(Question, Attribution) -> Score`.

    A subclass is a frozen dataclass whose fields are its settings, with an example and its cost in
    the docstring.

    Must write: `read`, one `Reading` for each attribution of a shard of n inputs: values (n,), an
    error (n,) where it samples, details by name (n,). Must say: `cost`.
    May say: `direction`, `units`, `bounds`, `why`, `asks_again`. May write: `check`, which refuses before any
    work, and `for_method`, for metrics that ask the method anew.

    Gets for free: checked attributions (n, features), shards, scores over all inputs with
    intervals, paired comparisons, provenance, the command line and the tables of the docs once it
    stands on the list `METRICS`, and the contract tests.
    """

    direction: ClassVar[Direction] = "lower"  # may be overridden
    """Which way is better."""
    units: ClassVar[str] = ""  # may be overridden
    """The unit of the score, in words: "target" is that of the model's output."""
    bounds: ClassVar[tuple[float, float]] = ANYTHING  # may be overridden
    """The least and the greatest score there can be: an interval reaches no further."""
    cost: ClassVar[str] = ""  # may be overridden
    """Evaluations per input, in words: a table of the docs shows it."""
    asks_again: ClassVar[bool] = False  # may be overridden
    """Whether it asks the method anew: its answer to one method is no other's."""
    why: ClassVar[str] = ""  # may be overridden
    """Why an input may have no score, in words."""
    order_blind: ClassVar[bool] = False  # may be overridden
    """Whether it does not see which feature has which credit: shuffled credit scores alike."""

    ideal: ClassVar[float | None] = None  # may be overridden
    """The best value that any credit can have, where that is one number."""

    @abstractmethod
    def read(
        self, question: Question, attributions: Sequence[Attribution], seed: int
    ) -> list[Reading]:
        """One reading per attribution for a shard of inputs, from common random numbers.

        A function of the question, the attributions, the settings and the seed alone.
        """

    def for_method(self, method: Method) -> Metric:  # may be overridden
        """The same metric for answers of this method: itself, unless it has to ask again."""
        return self

    def check(  # may be overridden
        self, question: Question, attributions: Sequence[Attribution]
    ) -> None:
        """Refuses before any work what this metric cannot measure."""

    def optimum(self, question: Question, seed: int) -> Tensor | None:  # may be overridden
        """The best value that any credit could have on each input (n,); None where nobody knows."""
        if self.ideal is None:
            return None
        return torch.full((question.n,), self.ideal, dtype=torch.float64)

    def notes(self, question: Question) -> dict[str, str]:  # may be overridden
        """What is to be said of how it was measured, beside the score: kept in its provenance."""
        return {}

    # --- the chores

    @final
    def __call__(self, question: Question, attribution: Attribution, *, seed: int = 0) -> Score:
        """The score of one attribution."""
        return self.each(question, [attribution], seed=seed)[0]

    @final
    def each(
        self, question: Question, attributions: Sequence[Attribution], *, seed: int = 0
    ) -> list[Score]:
        """The scores of several attributions of the same question, paired.

        All of them are read from the same draws and the same answers of the model.
        """
        seed = checked_seed(seed, type(self).__name__)
        if not isinstance(attributions, list | tuple):
            raise KindError(
                expected="a list of Attributions",
                got=shown(attributions),
                advice="Write metric.each(question, [answer, other]), or metric(question, answer).",
            )
        shards: list[list[Reading]] = []
        with self._asking(question, attributions):
            start = 0
            # A shard bounds what a metric has to hold at once.
            for shard in question.shards():
                # Answers hold all inputs: each shard of the question takes its own rows of them.
                rows = slice(start, start + shard.n)
                parts = [attribution.rows(rows) for attribution in attributions]
                shards.append(self.read(shard, parts, seed))
                start += shard.n
        scores = []
        for index, attribution in enumerate(attributions):
            readings = [shard[index] for shard in shards]
            scores.append(self._score(readings, attribution, seed, self.notes(question)))
        return scores

    @contextmanager
    def _asking(self, question: Question, attributions: Sequence[Attribution]) -> Iterator[None]:
        """Refusals before the work, and the question's name on those that come during it."""
        if not isinstance(question, Question):
            raise KindError(
                expected="a Question",
                got=type(question).__name__,
                advice="Build one: Question(model, inputs, target=...).",
            )
        # A caller's inference mode is left: its tensors never have a gradient, which methods need.
        with asking(self, question), torch.inference_mode(False), torch.no_grad():
            for attribution in attributions:
                self._check_attribution(question, attribution)
            _check_same_question(question, attributions)
            self.check(question, attributions)
            yield

    def _check_attribution(self, question: Question, attribution: Attribution) -> None:
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
        # NaN would pass for an input that has no score.
        if not bool(torch.isfinite(attribution.values).all()):
            raise InputError(
                expected="finite attribution values",
                got=f"NaN or infinity in the answer of {attribution.method}",
                advice="Ask the method again, or leave out the inputs that it cannot answer.",
            )

    def _score(
        self,
        readings: list[Reading],
        attribution: Attribution,
        seed: int,
        notes: Mapping[str, str],
    ) -> Score:
        """The readings of all shards as one score."""
        errors = [reading.error for reading in readings if reading.error is not None]
        details = {
            name: torch.cat([reading.details[name] for reading in readings])
            for name in readings[0].details
        }
        return Score(
            name=type(self).__name__,
            values=self._within_bounds(torch.cat([reading.values for reading in readings])),
            direction=self.direction,
            units=self.units,
            error=torch.cat(errors) if errors else None,
            details=details,
            why=self.why,
            bounds=self.bounds,
            provenance={
                "metric": repr(self),
                "method": attribution.method,
                "seed": seed,
                "question": attribution.provenance.get("question", ""),
                "versions": versions(),
                **notes,
            },
        )

    def _within_bounds(self, values: Tensor) -> Tensor:
        """Values that are beyond a bound by their rounding alone, at the bound."""
        bounded = values.clamp(*self.bounds)
        rounded = (values - bounded).abs() <= _ROUNDING * (1 + bounded.abs())
        # What is farther beyond a bound stays there: a fault of the metric is to be seen.
        return torch.where(rounded, bounded, values)


def _check_same_question(question: Question, attributions: Sequence[Attribution]) -> None:
    """Refuses the answer to another question, where an answer says which one it is of.

    Questions of other inputs, models or removals have other digests. So has the same question with
    its target chosen already, or with some of its inputs left out: where digests differ, the
    target's values on the clean and on the absent inputs decide.
    """
    digests = [attribution.provenance.get("question") for attribution in attributions]
    # Attributions made by hand carry no digest: nothing is known against them.
    if not any(digests):
        return
    # Once for all answers: the model's weights are hashed.
    own = question.digest
    for attribution, digest in zip(attributions, digests):
        if not digest or digest == own:
            continue
        if not (
            _close(attribution.prediction, question.prediction)
            and _close(attribution.base, question.base)
        ):
            raise InputError(
                expected="an answer to this question",
                got=f"an answer of {attribution.method} to another model, inputs or removal",
                advice="Ask the method this very question: method(question), inputs in its order.",
            )


def _close(answered: Tensor, asked: Tensor) -> bool:
    a = answered.to(asked.device, torch.float64)
    b = asked.to(torch.float64)
    if a.shape != b.shape:
        return False
    # Chunks of other sizes round otherwise; half precision counts three digits.
    tolerance = 1e-4 if asked.dtype in (torch.float32, torch.float64) else 3e-2
    scale = float(torch.cat([a, b]).abs().max())
    return bool(((a - b).abs() <= tolerance * scale).all())
