"""DeepLIFT: differences from a reference, shared out operation by operation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, TypeAlias, final

import torch
from torch import Tensor

from assay.errors import InputError, SettingError
from assay.methods.base import Axiom, Estimate, Method
from assay.methods.rules import multipliers
from assay.methods.rules.pairs import Kept, Pairs, pulled_later, transposed
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
    tells_prediction = True
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
        rules.rows = question.n * draws

        def way(rows: Tensor, steps: Tensor) -> tuple[Tensor, Tensor | None]:
            references = question.removed(rows, steps)
            # Named before they are asked: the forward of these references comes first.
            rules.compare(references, rows, steps)
            return x[rows], x[rows] - references

        weights = torch.full((draws,), 1.0 / draws, dtype=torch.float64)
        shape = (question.n, question.partition.count)
        squares = None
        if draws > 1:
            squares = [torch.zeros(shape, dtype=torch.float64, device=x.device) for _ in questions]
        totals = question.integrals_at_inputs(questions, way, weights, squares=squares, rules=rules)
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
    """An operation of the reference's forward: its name, what it was called on, and what it gave."""

    name: str
    signals: list[Tensor]
    constants: list[Tensor]
    versions: list[int]
    settings: Any
    shape: torch.Size | None


@final
@dataclass(frozen=True, eq=False)
class _Producer:
    """The linear operation that a tensor came out of, and the reference of its input."""

    operation: Operation
    linear: LinearMap
    x0: Tensor
    value: Tensor
    version: int

    @property
    def is_intact(self) -> bool:
        """Whether its input still holds, and hangs on, what it did then."""
        return self.linear.x._version == self.version


_MultiplierRule: TypeAlias = Callable[[Operation, list[Tensor], list[Tensor]], Any]
"""What an operation gives on its operands, with multipliers beside their references as slopes."""


@final
class _Differences(Interception):
    """A forward whose operations hand differences from a recorded one on."""

    who = "DeepLift"
    may_hear_form = True

    def __init__(self, rule: NonlinearRule) -> None:
        super().__init__()
        self.rule = rule
        self._records: list[_Record] = []
        self._place = 0
        self._is_recording = False
        self._producers: dict[int, _Producer] = {}
        self._chunk: Pairs | None = None
        self._shares_work = True
        # Behind the outputs every pair is looked at by itself.
        self._outputs: Tensor | None = None
        self._of_pairs: Tensor | None = None

    # --- two forwards

    def compare(self, references: Tensor, inputs: Tensor, steps: Tensor) -> None:
        """Says what rows come next: the inputs of these numbers beside these references."""
        self._chunk = Pairs(references, inputs, steps)

    @property
    def _pairs(self) -> Pairs:
        """How the rows that are heard now stand beside the references."""
        if self._chunk is None:
            raise RuntimeError("a forward is compared with references that nobody has named")
        return self._chunk.one_by_one if self._of_pairs is not None else self._chunk

    def reference_rows(self, owners: Tensor, *, alike: bool) -> Tensor | None:
        if self._chunk is None:
            return None
        self._chunk.share(self._shares_work and alike)
        return self._chunk.distinct_references

    def input_rows(self, rows: Tensor) -> Tensor:
        return rows if self._chunk is None else rows[self._chunk.inputs.first]

    def spread(self, answers: Tensor) -> Tensor:
        if self._chunk is None or not self._chunk.is_table:
            return answers
        if self._is_recording:
            return answers.index_select(0, self._chunk.distinct.places)
        self._outputs = answers
        each = answers.detach().index_select(0, self._chunk.inputs.places)
        self._of_pairs = each.requires_grad_(answers.requires_grad)
        return self._of_pairs

    def slopes(self, scores: Tensor, leaves: list[Tensor], *, keep: bool) -> list[Tensor]:
        chunk, outputs = self._chunk, self._outputs
        if chunk is None or outputs is None or self._of_pairs is None:
            return super().slopes(scores, leaves, keep=keep)
        (of_pairs,) = torch.autograd.grad(
            scores.sum(), self._of_pairs, allow_unused=True, materialize_grads=True,
            retain_graph=keep,
        )  # fmt: skip

        def back(cotangents: Tensor) -> tuple[Tensor, ...]:
            return torch.autograd.grad(
                outputs, leaves, cotangents, allow_unused=True, materialize_grads=True,
                retain_graph=keep,
            )  # fmt: skip

        # Signals of pairs are set into their table, where each reference is one way back through
        # the inputs, and all references together are one that is vectorised.
        table = chunk.cells(of_pairs)
        if chunk.depth == 1:
            tables = tuple(slope.unsqueeze(0) for slope in back(table[0]))
        else:
            tables = torch.func.vmap(back)(table)
        return [chunk.of_cells(slopes) for slopes in tables]

    def simplify(self) -> bool:
        """Asks every reference beside its input, after a network whose rows are not told apart."""
        could = self._shares_work
        self._shares_work = False
        self.forget()
        shared = could and self._chunk is not None and self._chunk.is_table
        return shared or super().simplify()

    @contextmanager
    def recording(self) -> Iterator[None]:
        self._is_recording = True
        try:
            yield
        finally:
            self._is_recording = False

    def begin(self, signals: list[Tensor]) -> None:
        self._place = 0
        self._outputs = self._of_pairs = None
        if self._is_recording:
            # One that begins anew, in another memory format, is recorded anew.
            self._records.clear()

    def forget(self) -> None:
        super().forget()
        self._producers.clear()
        self._outputs = self._of_pairs = None

    # --- operations

    def handle(self, operation: Operation) -> Any:
        if self._is_said_in_others(operation):
            return self.again(operation)
        if self._is_recording:
            return self._recorded(operation)
        return self._differing(operation, self._next(operation))

    def stands_for(self, copy: Tensor, original: Tensor) -> None:
        if id(original) in self._producers:
            # The copy is kept, so that no other tensor takes its `id`.
            self._producers[id(copy)] = replace(self._producers[id(original)], value=copy)

    def overwritten(self, target: Tensor) -> None:
        self._producers.pop(id(target), None)

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
        # Plain operations are linear: where the reference has been does not matter to them.
        needed = [] if operation.kind in _PLAIN else operation.signals
        signals = [signal.detach() for signal in needed]
        parts = (*signals, *operation.constants)
        versions = [part._version for part in parts]
        given = operation()
        shape = given.shape if isinstance(given, Tensor) else None
        self._records.append(
            _Record(
                operation.name, signals, operation.constants, versions, _settings(operation), shape
            )
        )
        return given

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
        # A network that makes a constant from its data (a mask, an index) is another network for
        # the reference: differences between the two would be shared out wrongly.
        is_same = all(
            ours is theirs or self._pairs.alike(ours, theirs)
            for ours, theirs in zip(operation.constants, record.constants)
        )
        if not is_same or not self._said_alike(_settings(operation), record.settings):
            raise self.refusal(operation, " of a constant that is another one for the reference")
        return record

    def _said_alike(self, ours: Any, theirs: Any) -> bool:
        """Whether operands that are no tensors are the same, but for the number of rows."""
        if isinstance(ours, list | tuple) and isinstance(theirs, list | tuple):
            pairs = zip(ours, theirs)
            return len(ours) == len(theirs) and all(self._said_alike(*pair) for pair in pairs)
        if isinstance(ours, dict) and isinstance(theirs, dict):
            return ours.keys() == theirs.keys() and all(
                self._said_alike(value, theirs[name]) for name, value in ours.items()
            )
        return bool(ours == theirs) or (ours, theirs) == self._pairs.rows

    def _row_dimension(
        self, operation: Operation, theirs: torch.Size | None, ours: torch.Size
    ) -> int:
        """Which dimension of what an operation works on, or gives, counts rows."""
        dim = None if theirs is None else self._pairs.row_dimension(theirs, ours)
        if dim is None:
            described = "several" if theirs is None else tuple(theirs)
            raise self.refusal(operation, f" of another shape: {described}")
        return dim

    def _differing(self, operation: Operation, record: _Record) -> Any:
        kind = operation.kind
        if operation.name == "batch_norm":
            return self._normalised(operation)
        if kind in _PLAIN:
            return self.plainly(operation)
        if kind in _LINEAR:
            return self._linear(operation, record)
        if kind is OperationKind.PRODUCT and len(operation.signals) == 2:
            self.seen[operation.name, "mean of the other factor"] += 1
            return self._ruled(operation, record, multipliers.product)
        if kind is OperationKind.SOFTMAX:
            self.seen[operation.name, "rescale"] += 1
            return self._ruled(operation, record, multipliers.normalised)
        if kind is OperationKind.MAXIMUM:
            return self._maximum(operation, record)
        if len(record.signals) == 1:
            return self._activation(operation, record)
        raise self.refusal(operation)

    # --- what is linear

    def _linear(self, operation: Operation, record: _Record) -> Any:
        linear = linear_map(operation)
        pull = None if linear is None else self._transposed(operation, linear)
        if linear is None or pull is None:
            value = self.plainly(operation)
        else:
            value = self._sent(operation, linear.x, pull)
        if linear is not None:
            (x0,) = record.signals
            # What comes behind (RevealCancel, a batch norm) may need this input once more: its
            # version tells whether it still holds then.
            version = linear.x._version
            self._producers[id(value)] = _Producer(operation, linear, x0, value, version)
        return value

    def _normalised(self, operation: Operation) -> Any:
        """A batch norm; right behind a linear operation it goes back as one operation with it."""
        normalised = batch_norm_map(operation)
        if normalised is None:
            return self.plainly(operation)
        scale, shift = normalised
        (signal,) = operation.signals
        producer = self._producers.get(id(signal))
        if producer is not None and _can_be_merged(producer):
            linear = producer.linear.scaled(scale, shift)
            pull = self._transposed(producer.operation, linear)
            if pull is None:
                return self.plainly(operation)
            value = self._sent(operation, linear.x, pull)
            self._producers[id(value)] = replace(producer, linear=linear, value=value)
            return value
        each = scale.view(-1, *[1] * (signal.dim() - 2))
        return self._sent(operation, signal, lambda cotangents: cotangents * each)

    def _transposed(
        self, operation: Operation, linear: LinearMap
    ) -> Callable[[Tensor], Tensor] | None:
        return transposed(operation, linear.weight, linear.x, self._pairs)

    def _sent(
        self, operation: Operation, carrier: Tensor, pull: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """What an operation gives, behind which signals go on to one carrier."""
        with torch.no_grad():
            value = self.plainly(operation)
        return pulled_later([carrier], value, lambda cotangents: (pull(cotangents),))

    # --- what is not

    def _maximum(self, operation: Operation, record: _Record) -> Any:
        if "pool" in operation.name:
            self.seen[operation.name, "winner"] += 1
            return self._ruled(operation, record, multipliers.pooled)
        if len(operation.operands) > 1:
            return self._activation(operation, record)
        if operation.name in ("amax", "amin", "max", "min"):
            self.seen[operation.name, "winner"] += 1
            return self._ruled(operation, record, multipliers.reduced)
        raise self.refusal(operation)

    def _activation(self, operation: Operation, record: _Record) -> Any:
        (signal,) = operation.signals
        producer = self._producers.get(id(signal))
        if producer is not None and self._reveals(producer) and producer.is_intact:
            self.seen[operation.name, "reveal_cancel"] += 1
            return self._revealed(operation, record, producer)
        self.seen[operation.name, "rescale"] += 1
        if operation.constants:
            return self._ruled(operation, record, multipliers.elementwise)
        return self._rescaled(operation, record)

    def _reveals(self, producer: _Producer) -> bool:
        if self.rule == "genomics":
            return producer.operation.kind is OperationKind.DENSE
        return self.rule == "reveal_cancel"

    def _rescaled(self, operation: Operation, record: _Record) -> Tensor:
        """An activation, whose multipliers are worked out on the way back, cell by cell."""
        (signal,), (reference,) = operation.signals, record.signals
        dim = self._row_dimension(operation, reference.shape, signal.shape)
        beside = self._pairs.along(reference, dim)
        with torch.no_grad():
            value = operation()
        x, y = Kept(signal), Kept(value)

        def pull(cotangents: Tensor) -> tuple[Tensor]:
            return (multipliers.handed_on(operation, x.numbers, y, beside, cotangents),)

        return pulled_later([signal], value, pull)

    def _revealed(self, operation: Operation, record: _Record, producer: _Producer) -> Any:
        (signal,) = operation.signals
        linear = producer.linear

        def rule(on: Operation, operands: list[Tensor], references: list[Tensor]) -> Tensor:
            x, x0, z0 = operands[0], *references
            return multipliers.revealed(on, replace(linear, x=x), x0, z0)

        beside = [producer.x0, *record.signals]
        return self._by_pairs(operation, record, rule, [linear.x, signal], beside, carriers=1)

    def _ruled(
        self, operation: Operation, record: _Record, rule: Callable[[Operation, list[Tensor]], Any]
    ) -> Any:
        signals = operation.signals
        return self._by_pairs(
            operation, record, lambda on, operands, references: rule(on, references),
            signals, record.signals, carriers=len(signals),
        )  # fmt: skip

    def _by_pairs(
        self,
        operation: Operation,
        record: _Record,
        rule: _MultiplierRule,
        operands: list[Tensor],
        references: list[Tensor],
        *,
        carriers: int,
    ) -> Any:
        """An operation whose rule is applied on the way back, to every cell of the table; signals go
        on to the first operands.
        """
        pairs = self._pairs
        dims = [
            self._row_dimension(operation, reference.shape, operand.shape)
            for operand, reference in zip(operands, references)
        ]
        if not pairs.is_table:
            return rule(operation, operands, references)
        with torch.no_grad():
            value = operation()
        own_shape = value.shape if isinstance(value, Tensor) else torch.Size()
        dim = self._row_dimension(operation, record.shape, own_shape)
        kept = [Kept(operand) for operand in operands]

        def pull(cotangents: Tensor) -> list[Tensor]:
            cells = [pairs.each_cell(one.numbers[None], along) for one, along in zip(kept, dims)]
            leaves = [cell.detach().requires_grad_() for cell in cells]
            beside = [
                pairs.each_cell(pairs.along(reference, along), along, like=one.numbers)
                for reference, along, one in zip(references, dims, kept)
            ]
            on = operation.on({id(operand): leaf for operand, leaf in zip(operands, leaves)})
            # The way back has no graph: the rule makes one of its own, from leaves, for its slopes.
            with torch.enable_grad():
                given = rule(on, leaves, beside)
                slopes = torch.autograd.grad(
                    given, leaves[:carriers], pairs.merged(cotangents, dim), allow_unused=True,
                    materialize_grads=True,
                )  # fmt: skip
            return [pairs.parted(slope, along) for slope, along in zip(slopes, dims)]

        return pulled_later(operands[:carriers], value, pull)


def _can_be_merged(producer: _Producer) -> bool:
    """Whether a scale for each channel can be taken into the weights."""
    linear = producer.linear
    return linear.can_be_merged and linear.channels == 1 and producer.is_intact


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
