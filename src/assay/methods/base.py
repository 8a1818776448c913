"""A method: frozen settings and one pure function from a question to numbers."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from inspect import isabstract
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from assay import engine
from assay.answers.attribution import Attribution, Kind
from assay.answers.provenance import versions
from assay.errors import AbilityError, KindError
from assay.features.partition import Partition
from assay.inputs.tensors import TensorLayout
from assay.models.base import Ability, finite
from assay.question.question import Question


class Axiom(Enum):
    """What a method promises; the axiom tests hold it to that."""

    COMPLETENESS = "completeness"
    DUMMY = "dummy"
    SYMMETRY = "symmetry"
    LINEARITY = "linearity"
    IMPLEMENTATION_INVARIANCE = "implementation invariance"
    MONOTONICITY = "monotonicity"


@final
@dataclass(frozen=True, eq=False)
class Estimate:
    """What a method that samples returns: values (n, features), their standard error, and notes for
    the diagnostics.
    """

    values: Tensor
    standard_error: Tensor | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)


class Method(ABC):
    """`Question -> Attribution`. A subclass is a frozen dataclass that writes `values(question,
    seed)` and nothing else.
    """

    needs: ClassVar[frozenset[Ability]] = frozenset()
    kind: ClassVar[Kind] = Kind.CONTRIBUTION
    axioms: ClassVar[frozenset[Axiom]] = frozenset()
    cost: ClassVar[str] = ""
    around: ClassVar[bool] = False
    """Whether it is made around another method, whose needs it has."""

    @abstractmethod
    def values(self, question: Question, seed: int) -> Tensor | Estimate:
        """Credit (n, features) for a shard of inputs: a function of the question, the settings and
        the seed alone.
        """

    @property
    def needed(self) -> frozenset[Ability]:
        """The abilities these settings need; a method around another needs what that one needs."""
        return self.needs

    @property
    def unit(self) -> Kind:
        """The unit of the numbers that these settings give."""
        return self.kind

    @property
    def promises(self) -> frozenset[Axiom]:
        """The axioms that these settings keep."""
        return self.axioms

    @final
    def __call__(self, question: Question, *, seed: int = 0) -> Attribution:
        """The answer to a question."""
        if not isinstance(question, Question):
            raise KindError(
                expected="a Question",
                got=type(question).__name__,
                advice="Build one: Question(model, inputs, target=...).",
            )
        self.check(question)
        start = time.perf_counter()
        pieces: list[Estimate] = []
        bases, predictions = [], []
        with engine.tally() as spent, torch.inference_mode(False), torch.no_grad():
            for shard in question.shards():
                predictions.append(shard.prediction)
                bases.append(shard.base)
                piece = self.estimate(shard, seed)
                if not pieces:
                    partition = shard.partition
                    values = piece.values.new_empty(question.n, piece.values.shape[1])
                # Filled shard by shard: joining the parts at the end would hold the answer twice.
                done = sum(map(len, predictions))
                values[done - shard.n : done] = piece.values
                pieces.append(Estimate(piece.values[:0].clone(), piece.standard_error, piece.notes))
        facts = {
            "seconds": time.perf_counter() - start,
            "forwards": spent.forwards,
            "backwards": spent.backwards,
        }
        return self._answer(
            question,
            partition,
            values,
            pieces,
            torch.cat(bases),
            torch.cat(predictions),
            facts,
            seed,
        )

    @final
    def estimate(self, question: Question, seed: int) -> Estimate:
        """The bare numbers for one shard, checked: what metrics ask again, and methods around this
        one.
        """
        given = self.values(question, seed)
        made = given if isinstance(given, Estimate) else Estimate(given)
        values = finite(made.values.detach(), repr(self), "of its own values")
        return Estimate(
            values.to(torch.float64 if question.x.dtype == torch.float64 else torch.float32),
            made.standard_error,
            made.notes,
        )

    def check(self, question: Question) -> None:
        """Refuses before any work what this method cannot answer, and names methods that can."""
        missing = self.needed - question.model.abilities
        if missing:
            from_here = ", ".join(sorted(each.value for each in missing))
            able = able_methods(question.model.abilities)
            raise AbilityError(
                f"Expected a model with {from_here} for {self!r}, got {question.model.name}, which has none. "
                + (
                    f"Methods that can answer: {', '.join(able)}."
                    if able
                    else "No method at hand can answer."
                )
            )
        if Ability.GRADIENT in self.needed:
            layout = question.layout
            dtypes = layout.dtypes if isinstance(layout, TensorLayout) else ()
            if any(not dtype.is_floating_point for dtype in dtypes):
                raise KindError(
                    expected=f"floating inputs for {self!r}",
                    got=", ".join(map(str, dtypes)),
                    advice=(
                        "integers have no slope. Ask behind the layer that embeds them, "
                        "question.after('embedding'), hand what is not attributed over as "
                        "context, or convert real numbers with .float()."
                    ),
                )

    def _answer(
        self,
        question: Question,
        partition: Partition,
        values: Tensor,
        pieces: list[Estimate],
        base: Tensor,
        prediction: Tensor,
        facts: dict[str, Any],
        seed: int,
    ) -> Attribution:
        errors = [piece.standard_error for piece in pieces if piece.standard_error is not None]
        for piece in pieces:
            for name, note in piece.notes.items():
                facts[name] = _merged(facts[name], note) if name in facts else note
        if question.notes:
            facts["layer"] = "; ".join(question.notes)
        complete = Axiom.COMPLETENESS in self.promises
        pooled_by_mean = partition.pooling == "mean" and not partition.identity
        return Attribution(
            values=values,
            base=base,
            prediction=prediction,
            names=partition.names,
            shape=partition.shape,
            kind=self.unit.value,
            gap=prediction - base - values.sum(1) if complete and not pooled_by_mean else None,
            standard_error=torch.cat(errors).to(values.dtype) if errors else None,
            facts=facts,
            provenance={
                "method": repr(self),
                "seed": seed,
                "question": question.digest,
                "asked": repr(question),
                "versions": versions(),
            },
        )


def _merged(one: Any, other: Any) -> Any:
    """What two shards say of the same thing: a claim must hold in both, of numbers the larger
    counts, and lists with an entry for each input go on.
    """
    if isinstance(one, bool) and isinstance(other, bool):
        return one and other
    if isinstance(one, list) and isinstance(other, list):
        return one + other
    return max(one, other) if isinstance(other, int | float) else other


def able_methods(abilities: frozenset[Ability]) -> list[str]:
    """Names of the methods of this library that stand alone and whose needs are among the
    abilities.
    """

    def below(kind: type[Method]) -> list[type[Method]]:
        return [kind, *(each for child in kind.__subclasses__() for each in below(child))]

    ours = [
        kind
        for kind in below(Method)
        if not isabstract(kind) and kind.__module__.startswith("assay.")
    ]
    return sorted(kind.__name__ for kind in ours if kind.needs <= abilities and not kind.around)
