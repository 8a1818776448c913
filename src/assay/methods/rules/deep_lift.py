"""DeepLIFT: differences from a reference, shared out operation by operation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, TypeAlias, final

import torch
from torch import Tensor

from assay.errors import InputError, SettingError
from assay.methods.base import Axiom, Estimate, Method
from assay.methods.rules import multipliers
from assay.methods.rules.pairs import Pairs
from assay.models.base import Ability
from assay.models.networks.operations.decomposed import SEVERAL
from assay.models.networks.operations.interception import Interception
from assay.models.networks.operations.kinds import OperationKind
from assay.models.networks.operations.linear import LinearMap, batch_norm_map, linear_map
from assay.models.networks.operations.operation import Operation
from assay.question.question import Question

NonlinearRule: TypeAlias = Literal["rescale", "reveal_cancel", "genomics"]
"""What becomes of differences at an activation."""

_AGAIN = (
    OperationKind.ATTENTION,
    OperationKind.NORMALISATION,
    OperationKind.RECURRENT,
)
_SIZES = ("norm", "linalg_vector_norm", "vector_norm", "var", "std", "softmin")
_LINEAR = (OperationKind.CONVOLUTION, OperationKind.DENSE)
_PLAIN = (OperationKind.AFFINE, OperationKind.SUM, OperationKind.STRUCTURE)


@final
@dataclass(frozen=True)
class DeepLift(Method):
    """The difference from a reference, shared out in proportion, operation by operation (DeepLIFT).

    phi_i = m_i (x_i - b_i), m_i = sum_j m_ij m_j, with the multiplier m_ij of each operation such
    that its differences add up      (Shrikumar et al. 2017, equations 1 to 3)

    Settings:
        rule: at an activation, "rescale" takes the quotient of differences, (f(z) - f(z0)) / (z -
            z0); "reveal_cancel" shares between the positive and the negative contributions of the
            convolution or dense layer right before it by their Shapley values; "genomics" does the
            latter behind dense layers and the former behind convolutions.

    The reference is what the removal says; over `Background(rows)` it is the mean of the answers for
    each row (DeepSHAP, Lundberg and Lee 2017, section 4.2), with a standard error over rows. Maxima
    give the difference to the winner of the larger side, products share by the mean of the other
    factor, softmax, attention, normalisation and recurrent cells are taken apart into these; so the
    values add up to f(x) - f(reference) whatever the network. Ask for logits rather than
    probabilities, which saturate. Cost: a forward pass of the input and of the reference, and a
    backward pass, for each replacement. Values: (n, features), in units of the target. Errors:
    AbilityError for an operation without a rule, by its name and line.

    >>> import torch, assay
    >>> question = assay.Question(
    ...     lambda x: 2 * torch.relu(x[:, 0]) + 2 * torch.relu(x[:, 1] - 1.5), torch.tensor([[1.0, 2.0]])
    ... )
    >>> DeepLift()(question).values
    tensor([[2., 1.]])
    """

    rule: NonlinearRule = "rescale"
    needs = frozenset({Ability.GRADIENT, Ability.OPERATIONS})
    axioms = frozenset({Axiom.COMPLETENESS, Axiom.DUMMY})
    nearly_complete = True
    cost: ClassVar[str] = "1 gradient and 1 forward for each replacement"

    def __post_init__(self) -> None:
        if self.rule not in ("rescale", "reveal_cancel", "genomics"):
            raise SettingError(
                expected="the rule 'rescale', 'reveal_cancel' or 'genomics' for DeepLift",
                got=repr(self.rule),
                advice="'rescale' is what other libraries mean by DeepLIFT.",
            )

    def check(self, question: Question) -> None:
        super().check(question)
        if question.fixed_replacements is None:
            raise InputError(
                expected="a removal that does not depend on what is present, for a reference",
                got=repr(question.removal),
                advice="Say Baseline(0.0), Mean(rows) or Background(rows).",
            )

    def values(self, question: Question, seed: int) -> Estimate:
        return self.per_output((question,), seed)[0]

    def per_output(self, questions: Sequence[Question], seed: int) -> list[Estimate]:
        question = questions[0]
        x = question.x
        draws = question.replacements
        rules = _Differences(self.rule)

        def way(rows: Tensor, steps: Tensor) -> tuple[Tensor, Tensor | None]:
            references = question.removed(rows, steps)
            rules.compare(references, rows, steps)
            return x[rows], x[rows] - references

        weights = torch.full((draws,), 1.0 / draws, dtype=torch.float64)
        shape = (question.n, question.partition.count)
        squares = None
        if draws > 1:
            squares = [torch.zeros(shape, dtype=torch.float64, device=x.device) for _ in questions]
        targets = [asked.fixed_target for asked in questions]
        totals = question.integrals(targets, way, weights, squares=squares, rules=rules)
        notes = {"operations": rules.coverage()}
        means = [question.pool(total) for total in totals]
        if squares is None:
            return [Estimate(mean, notes=notes) for mean in means]
        return [
            Estimate(mean, _error_of_mean(mean, square, draws), notes)
            for mean, square in zip(means, squares)
        ]


def _error_of_mean(mean: Tensor, square: Tensor, draws: int) -> Tensor:
    """The standard error of a mean over draws, from the mean of their squares."""
    return ((square - mean**2).clamp_min(0) / (draws - 1)).sqrt()


@final
@dataclass(frozen=True, eq=False)
class _Record:
    """An operation of the reference's forward: its name, and what it was called on."""

    name: str
    signals: list[Tensor]
    constants: list[Tensor]
    versions: list[int]
    settings: Any


@final
@dataclass(frozen=True, eq=False)
class _Producer:
    """The linear operation that a tensor came out of, and the reference of its input and output."""

    linear: LinearMap
    x0: Tensor
    kind: OperationKind
    value: Tensor


@final
class _Differences(Interception):
    """A forward whose operations hand differences from a recorded one on."""

    who = "DeepLift"

    def __init__(self, rule: NonlinearRule) -> None:
        super().__init__()
        self.rule = rule
        self._records: list[_Record] = []
        self._place = 0
        self._is_recording = False
        self._producers: dict[int, _Producer] = {}
        self._pairs: Pairs | None = None
        self._shares_work = True

    # --- two forwards

    def compare(self, references: Tensor, inputs: Tensor, steps: Tensor) -> None:
        """Says what rows come next: the inputs of these numbers beside these references."""
        self._pairs = Pairs(references, inputs, steps)

    def reference_rows(self, owners: Tensor, *, alike: bool) -> Tensor | None:
        pairs = self._pairs
        if pairs is None:
            return None
        pairs.share(self._shares_work and alike)
        return pairs.distinct_references

    def spread(self, answers: Tensor) -> Tensor:
        if not self._is_recording or self._pairs is None:
            return answers
        return self._pairs.spread_references(answers)

    def simplify(self) -> bool:
        """Asks every reference beside its input, after a network whose rows are not told apart."""
        could = self._shares_work
        self._shares_work = False
        self.forget()
        shared = could and self._pairs is not None and self._pairs.shared
        return shared or super().simplify()

    @contextmanager
    def recording(self) -> Iterator[None]:
        self._records.clear()
        self._is_recording = True
        try:
            yield
        finally:
            self._is_recording = False

    def begin(self, signals: list[Tensor]) -> None:
        self._place = 0
        if self._is_recording:
            # A forward that begins anew, in another memory format, is recorded anew.
            self._records.clear()
        elif self._pairs is not None:
            self._pairs.begin(signals)

    def forget(self) -> None:
        super().forget()
        self._producers.clear()
        if self._pairs is not None:
            self._pairs.forget()

    # --- operations

    def handle(self, operation: Operation) -> Any:
        if self._is_said_in_others(operation):
            return self.again(operation)
        if self._is_recording:
            return self._recorded(operation)
        record = self._next(operation)
        given = self._differing(operation, record)
        if self._pairs is not None:
            self._pairs.follow(operation, given)
        return given

    def stands_for(self, copy: Tensor, original: Tensor) -> None:
        if id(original) in self._producers:
            # The copy is kept, so that no other tensor takes its `id`.
            self._producers[id(copy)] = replace(self._producers[id(original)], value=copy)
        if self._pairs is not None:
            self._pairs.stands_for(copy, original)

    def overwritten(self, target: Tensor) -> None:
        self._producers.pop(id(target), None)
        if self._pairs is not None:
            self._pairs.overwritten(target)

    def _is_said_in_others(self, operation: Operation) -> bool:
        kind = operation.kind
        if kind in _AGAIN or operation.name in _SIZES:
            return True
        if kind is OperationKind.PRODUCT and operation.name in SEVERAL:
            return True
        return kind is OperationKind.MAXIMUM and self._is_larger_of_two(operation)

    def _is_larger_of_two(self, operation: Operation) -> bool:
        return operation.name in ("maximum", "minimum", "fmax", "fmin") and (
            len(operation.signals) == 2
        )

    def _recorded(self, operation: Operation) -> Any:
        self._record(operation)
        return operation()

    def _record(self, operation: Operation) -> None:
        # Plain operations are linear: where the reference has been does not matter to them.
        needed = [] if operation.kind in _PLAIN else operation.signals
        signals = [signal.detach() for signal in needed]
        parts = (*signals, *operation.constants)
        versions = [part._version for part in parts]
        self._records.append(
            _Record(operation.name, signals, operation.constants, versions, _settings(operation))
        )

    def _next(self, operation: Operation) -> _Record:
        """The same operation of the reference's forward."""
        record = None
        if self._place < len(self._records):
            record = self._records[self._place]
        self._place += 1
        if record is None or record.name != operation.name:
            before = "nothing" if record is None else repr(record.name)
            raise self.refusal(operation, f", where the reference's forward has {before}")
        parts = (*record.signals, *record.constants)
        if [part._version for part in parts] != record.versions:
            raise self.refusal(operation, " of numbers that were written over since")
        constants = zip(operation.constants, record.constants)
        is_same = all(
            ours is theirs or _equal(ours, self._beside(operation, theirs, ours))
            for ours, theirs in constants
        )
        if not is_same or not self._said_alike(_settings(operation), record.settings):
            raise self.refusal(operation, " of a constant that is another one for the reference")
        if operation.kind in _PLAIN:
            return record
        beside = [
            self._beside(operation, theirs, ours)
            for ours, theirs in zip(operation.signals, record.signals)
        ]
        return replace(record, signals=beside)

    def _said_alike(self, ours: Any, theirs: Any) -> bool:
        """Whether operands that are no tensors are the same, but for the number of rows."""
        if isinstance(ours, list | tuple) and isinstance(theirs, list | tuple):
            pairs = zip(ours, theirs)
            return len(ours) == len(theirs) and all(self._said_alike(*pair) for pair in pairs)
        if isinstance(ours, dict) and isinstance(theirs, dict):
            return ours.keys() == theirs.keys() and all(
                self._said_alike(value, theirs[name]) for name, value in ours.items()
            )
        rows = None if self._pairs is None else self._pairs.rows
        return bool(ours == theirs) or (ours, theirs) == rows

    def _beside(self, operation: Operation, theirs: Tensor, ours: Tensor) -> Tensor:
        """What belongs to distinct references, with a row for each of ours."""
        if self._pairs is None:
            return theirs
        spread = self._pairs.beside(theirs, ours)
        if spread is None:
            raise self.refusal(operation, f" of another shape: {tuple(theirs.shape)}")
        return spread

    def _differing(self, operation: Operation, record: _Record) -> Any:
        kind = operation.kind
        if kind in _PLAIN:
            return self._merged(operation, self.plainly(operation))
        if kind in _LINEAR:
            return self._linear(operation, record)
        given = None
        if kind is OperationKind.PRODUCT:
            self.seen[operation.name, "mean of the other factor"] += 1
            given = multipliers.product(operation, record.signals)
        elif kind is OperationKind.SOFTMAX:
            self.seen[operation.name, "rescale"] += 1
            given = multipliers.normalised(operation, operation.signals[0], record.signals[0])
        elif kind is OperationKind.MAXIMUM:
            given = self._maximum(operation, record)
        elif len(record.signals) == 1:
            given = self._activation(operation, record.signals[0])
        if given is None:
            raise self.refusal(operation)
        return given

    def _linear(self, operation: Operation, record: _Record) -> Any:
        value = None if self._pairs is None else self._pairs.worked_out_once(operation)
        if value is None:
            value = self.plainly(operation)
        else:
            self.seen[operation.name, "once for each input"] += 1
        if self.rule == "rescale":
            return value
        linear = linear_map(operation)
        if linear is not None and operation.kind is not None:
            (x0,) = record.signals
            self._producers[id(value)] = _Producer(linear, x0, operation.kind, value)
        return value

    def _merged(self, operation: Operation, value: Any) -> Any:
        """Keeps a batch norm right behind a linear operation as one operation with it."""
        producer = self._producers.get(id(operation.signals[0]))
        if producer is None or operation.name != "batch_norm":
            return value
        normalised = batch_norm_map(operation)
        can_be_merged = producer.linear.can_be_merged and producer.linear.channels == 1
        if normalised is not None and can_be_merged:
            linear = producer.linear.scaled(*normalised)
            self._producers[id(value)] = replace(producer, linear=linear, value=value)
        return value

    def _maximum(self, operation: Operation, record: _Record) -> Any:
        (signal,), (reference,) = operation.signals, record.signals
        if "pool" in operation.name:
            self.seen[operation.name, "winner"] += 1
            return multipliers.pooled(operation, signal, reference)
        if len(operation.operands) > 1:
            return self._activation(operation, reference)
        if operation.name in ("amax", "amin", "max", "min"):
            self.seen[operation.name, "winner"] += 1
            return multipliers.reduced(operation, signal, reference)
        return None

    def _activation(self, operation: Operation, reference: Tensor) -> Any:
        (signal,) = operation.signals
        producer = self._producers.get(id(signal))
        if producer is not None and self._reveals(producer):
            self.seen[operation.name, "reveal_cancel"] += 1
            return multipliers.revealed(operation, producer.linear, producer.x0, reference)
        self.seen[operation.name, "rescale"] += 1
        return multipliers.elementwise(operation, signal, reference)

    def _reveals(self, producer: _Producer) -> bool:
        return self.rule == "reveal_cancel" or producer.kind is OperationKind.DENSE


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool(torch.equal(one, other))


def _settings(operation: Operation) -> Any:
    """All operands but the tensors: numbers, dimensions, indices."""

    def without_tensors(value: Any) -> Any:
        if isinstance(value, Tensor):
            return None
        if isinstance(value, list | tuple):
            return [without_tensors(part) for part in value]
        if isinstance(value, slice):
            return ["slice", *map(without_tensors, (value.start, value.stop, value.step))]
        return value

    named = {name: without_tensors(value) for name, value in operation.kwargs.items()}
    return without_tensors(operation.args), named
