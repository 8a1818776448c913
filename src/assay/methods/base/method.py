"""A method: frozen settings and one pure function from a question to numbers.

A subclass writes `values(question, seed)` and nothing else; everything around it happens here, once
for all methods: refusals before the work, shards of inputs (memory does not grow with their number),
counting, number types, diagnostics, provenance. `docs/how-to/write-a-method.md` shows the whole way.
"""

from __future__ import annotations

import math
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from inspect import isabstract
from typing import Any, ClassVar, TypeAlias, final

import torch
from torch import Tensor

from assay import engine, extensions
from assay.answers.attribution import Attribution, Kind
from assay.answers.provenance import versions
from assay.errors import AbilityError, InputError, KindError, ModelError, asking
from assay.features.partition import Partition
from assay.inputs.tensors import TensorLayout
from assay.methods.base.estimate import Axiom, Estimate, as_estimate
from assay.methods.base.joining import Join, Parts, picked, plain
from assay.models.base import Ability, finite
from assay.numerics.pieces import pieces
from assay.question.question import Question
from assay.settings import Settings, argument, checked_seed

_HELD = 1 << 20  # numbers of a table of coalitions held at once: 8 MiB in double precision


_ROWS_ALONE = 4  # rows that show whether rows influence each other: two together, each alone


_FEWEST = 32  # inputs of a shard, at least


Ask: TypeAlias = "Callable[[Method, Sequence[Question]], Sequence[Tensor | Estimate]]"
"""A method and questions that differ in the output alone, to an estimate for each."""


def _rows_of_base(question: Question) -> int:
    """Rows with everything removed, at most: one for a shard where inputs keep nothing."""
    fixed = question.fixed_replacements
    shared = fixed is not None and len(fixed) == 1 and question.partition.whole
    if shared and not question.has_aligned_context:
        return question.replacements * math.ceil(question.n / _FEWEST)
    return question.replacements * question.n


class Method(Settings, ABC):
    """`Question -> Attribution`. A subclass is a frozen dataclass that writes `values`.

    `needs`, `kind` and `axioms` are what these settings need, give and keep: a class attribute
    where all settings are alike, a property where they are not.
    """

    cost: ClassVar[str] = ""
    """Model evaluations per input, in words: a table of the docs shows it."""
    around: ClassVar[bool] = False
    """Whether it is made around another method, whose needs it has."""

    @abstractmethod
    def values(self, question: Question, seed: int) -> Tensor | Estimate:
        """Credit (n, features) for a shard of inputs.

        A function of the question, the settings and the seed alone.
        """

    @property
    def needs(self) -> frozenset[Ability]:  # may be overridden
        """The abilities of a model that these settings need."""
        return frozenset()

    @property
    def kind(self) -> Kind:  # may be overridden
        """The unit of the numbers that these settings give."""
        return Kind.CONTRIBUTION

    def unit(self, partition: Partition) -> Kind:  # may be overridden
        """The unit of the numbers of these features: `kind`, but for a method whose values can be
        added up over some feature maps and not over others.
        """
        return self.kind

    @property
    def axioms(self) -> frozenset[Axiom]:  # may be overridden
        """The axioms that these settings keep."""
        return frozenset()

    @property
    def nearly_complete(self) -> bool:  # may be overridden
        """Whether completeness is kept up to an error which the gap then tells: of an integral, of
        draws, of a slope in the place of a quotient of nothing.
        """
        return False

    def check(self, question: Question) -> None:  # may be overridden
        """Refuses before any work what this method cannot answer, and names methods that can."""
        missing = self.needs - question.model.abilities
        if missing:
            from_model = ", ".join(sorted(ability.value for ability in missing))
            able = able_methods(question.model.abilities)
            raise AbilityError(
                expected=f"a model with {from_model} for {self!r}",
                got=f"{question.model.name}, which has none",
                advice=f"Methods that can answer: {', '.join(able) or 'none at hand'}.",
            )
        if Ability.GRADIENT in self.needs:
            self._check_floating(question)

    def _check_floating(self, question: Question) -> None:
        layout = question.layout
        dtypes = layout.dtypes if isinstance(layout, TensorLayout) else ()
        if any(not dtype.is_floating_point for dtype in dtypes):
            first, *others = question.model.embeddings or ("embedding",)
            also = f" (or {', '.join(others)})" if others else ""
            raise KindError(
                expected=f"floating inputs for {self!r}",
                got=", ".join(map(str, dtypes)),
                advice=(
                    "Integers have no slope: ask behind the layer that embeds them, "
                    f"question.after({first!r}){also}, hand what is not attributed over as context, "
                    "or convert real numbers with .float()."
                ),
            )

    def players(self, question: Question) -> Tensor | None:  # may be overridden
        """Which features of each input are solved for, (n, features); None for all of them.

        The others get 0 without being asked: `values` is asked about inputs with as many players
        each, and these are its features.
        """
        return None

    def among(  # may be overridden
        self, question: Question, players: Tensor
    ) -> Iterator[tuple[Tensor, Method]]:
        """Inputs (r,) that are asked together, and the method to ask, for `players` (n, features).

        Those with as many players go together; a method whose settings name features may tell
        more of them apart.
        """
        counts = players.sum(dim=1)
        for count in counts.unique().tolist():
            yield (counts == count).nonzero()[:, 0], self

    def without_players(self, question: Question) -> Estimate:  # may be overridden
        """The answer for inputs that nothing can change: zeros."""
        shape = (question.n, question.partition.count)
        zeros = torch.zeros(shape, dtype=torch.float64, device=question.x.device)
        return Estimate(zeros)

    def held(self, features: int) -> int:  # may be overridden
        """How many numbers the answer for an input of so many features holds at once, where they are
        more than a few for each element: the coalitions of a table. Inputs are asked in parts that
        hold no more than some millions.
        """
        return 0

    def rows_each(self, question: Question, players: int) -> int | None:  # may be overridden
        """How many rows the model is asked for an input with so many players, at most.

        None where nobody can say beforehand.
        """
        return None

    @final
    def forecast(self, question: Question) -> int | None:
        """How many rows the model will be asked, at most; None where nobody can say.

        Those of the method, the clean inputs, those with everything removed, and four that show
        whether rows influence each other; no call of the model. Methods that stop when they are
        precise ask fewer, and so does a question that was asked before.

        >>> import assay
        >>> question = assay.Question(lambda x: x.prod(1), torch.ones(3, 10))
        >>> method = assay.ExactShapley()
        >>> method.forecast(question) - 4, method(question).facts["forwards"]
        (3076, 3076)
        """
        players = self.players(question)
        counts = [question.partition.count] * question.n
        if players is not None:
            counts = players.sum(dim=1).tolist()
        each = {count: self.rows_each(question, count) for count in set(counts) if count}
        known = {count: rows for count, rows in each.items() if rows is not None}
        if len(known) < len(each):
            return None
        ends = question.n + (0 if self.tells_base else _rows_of_base(question))
        return ends + _ROWS_ALONE + sum(known[count] for count in counts if count)

    @property
    def pools_inputs(self) -> bool:  # may be overridden
        """Whether the answer is about all inputs together; it is then asked of them at once."""
        return False

    @property
    def tells_prediction(self) -> bool:  # may be overridden
        """Whether all that `values` asks first is `question.slopes_at_inputs`, whose forward says
        the prediction as well: it is then not asked beforehand.
        """
        return False

    @property
    def tells_base(self) -> bool:  # may be overridden
        """Whether `values` says itself what the target is with everything absent, `Estimate.base`: no
        removal is needed then, and none is asked about.
        """
        return False

    def per_output(  # may be overridden
        self, questions: Sequence[Question], seed: int
    ) -> Sequence[Tensor | Estimate]:
        """One answer for each of several questions that differ in the model's output alone.

        `question.column` says which output. A method that works on one table of model evaluations
        overrides this, so that all outputs are answered from the same table.
        """
        return [self.values(question, seed) for question in questions]

    # --- the chores

    @final
    def __call__(self, question: Question, *, seed: int = 0) -> Attribution:
        """The answer to a question."""
        seed = checked_seed(seed, type(self).__name__)
        with self._asked(question):
            (answer,) = self._answers(
                lambda: (question,),
                lambda method, shards: [method.values(shards[0], seed)],
                seed,
            )
        return answer

    @final
    def for_outputs(
        self,
        question: Question,
        outputs: Sequence[int] | None = None,
        *,
        top: int | None = None,
        seed: int = 0,
    ) -> tuple[Attribution, ...]:
        """One answer for each output of the model, from shared evaluations where the method can.

        `outputs` picks some of them; outputs of several dimensions are counted in row-major order.
        `top` picks those that are largest on each input: the first answer is about each input's
        largest output, the second about the one behind it, and `answer.targets` says which they
        are, by their labels where these are known. Each answer is what the method says of the same
        question with that output as its target; its facts count the evaluations of all of them,
        and say for how many they were.
        """
        seed = checked_seed(seed, type(self).__name__)
        top = argument("for_outputs", "top", top, int | None)
        with self._asked(question):
            if top is not None:
                return self._for_top(question, outputs, top, seed)
            return self._answers(
                lambda: question.for_outputs(outputs),
                lambda method, shards: method.per_output(shards, seed),
                seed,
            )

    def _for_top(
        self, question: Question, outputs: Sequence[int] | None, top: int, seed: int
    ) -> tuple[Attribution, ...]:
        if self.pools_inputs:
            raise InputError(
                expected=f"outputs by their numbers for {self!r}, which pools all inputs",
                got=f"top={top}",
                advice="Write for_outputs(question, [0, 1]).",
            )
        needed: list[Question] = []
        ranks: list[Tensor] = []

        def largest() -> Sequence[Question]:
            every = question.for_outputs(outputs)
            if not 1 <= top <= len(every):
                raise InputError(
                    expected=f"top from 1 to {len(every)}, the number of outputs",
                    got=top,
                    advice="Leave it out for all of them.",
                )
            clean = torch.stack([asked.prediction for asked in every], dim=1)
            order = clean.argsort(dim=1, descending=True, stable=True)[:, :top]
            # A slope is that of each row's own output: no more outputs are asked than ranks.
            if self._by_slopes:
                return [question.each_its_own(every, column) for column in order.unbind(dim=1)]
            columns, places = order.unique(return_inverse=True)
            ranks.extend(places.unbind(dim=1))
            needed.extend(every[column] for column in columns.tolist())
            return needed

        answers = self._answers(
            largest, lambda method, shards: method.per_output(shards, seed), seed
        )
        if self._by_slopes:
            return answers
        return tuple(picked(question, needed, answers, rank) for rank in ranks)

    @property
    def _by_slopes(self) -> bool:
        """Whether all that is asked of the model is slopes."""
        return Ability.GRADIENT in self.needs

    @final
    def estimate(self, question: Question, seed: int) -> Estimate:
        """The bare numbers for one shard, checked: for metrics that ask again, and for wrappers."""
        (estimate,) = self._solved(
            (question,), lambda method, shards: [method.values(shards[0], seed)]
        )
        return self._checked(estimate, question)

    @final
    def estimates(self, questions: Sequence[Question], seed: int) -> list[Estimate]:
        """The same of several questions that differ in the output alone, asked together."""

        def ask(method: Method, shards: Sequence[Question]) -> Sequence[Tensor | Estimate]:
            # Of one question nobody has said which output of the model it is about.
            if len(shards) == 1:
                return [method.values(shards[0], seed)]
            return method.per_output(shards, seed)

        solved = self._solved(questions, ask)
        return [self._checked(piece, asked) for piece, asked in zip(solved, questions)]

    @contextmanager
    def _asked(self, question: Question) -> Iterator[None]:
        if not isinstance(question, Question):
            raise KindError(
                expected="a Question",
                got=type(question).__name__,
                advice="Build one: Question(model, inputs, target=...).",
            )
        with asking(self, question), torch.inference_mode(False), torch.no_grad():
            self.check(question)
            yield

    def _answers(
        self,
        questions: Callable[[], Sequence[Question]],
        ask: Ask,
        seed: int,
    ) -> tuple[Attribution, ...]:
        """Asks shard by shard about questions of the same inputs, and joins what comes back."""
        start = time.perf_counter()
        with engine.tally() as spent:
            asked = questions()
            forecast = self.forecast(asked[0]) if len(asked) == 1 else None
            joins = [Join(question) for question in asked]
            for shards in zip(*(self._shards(question) for question in asked)):
                # What the target is on the clean inputs comes first: methods build on it.
                if not self.pools_inputs and not self.tells_prediction:
                    _add_ends(joins, shards, self.tells_base)
                solved = self._solved(shards, ask)
                if not self.pools_inputs and self.tells_prediction:
                    _add_ends(joins, shards, self.tells_base)
                for join, shard, piece in zip(joins, shards, solved):
                    join.add(shard, self._checked(piece, shard))
        facts = {"seconds": time.perf_counter() - start, **_facts_of(spent)}
        if forecast is not None:
            facts["forecast"] = forecast
        if len(asked) > 1:
            facts["outputs"] = len(asked)
        return tuple(
            self._answer(question, join, facts, seed) for question, join in zip(asked, joins)
        )

    def _solved(self, shards: Sequence[Question], ask: Ask) -> Sequence[Tensor | Estimate]:
        """Each input solved on its own players: what it gets alone, whatever stands beside it."""
        question = shards[0]
        players = self.players(question)
        if players is None or bool(players.all()):
            everyone = torch.arange(question.n, device=question.x.device)
            parts = list(self._pieces(everyone, question.partition.count, len(shards)))
            if len(parts) < 2:
                return ask(self, shards)
            players = torch.ones_like(everyone[:, None].expand(-1, question.partition.count))
            players = players.to(torch.bool)
            groups: Iterator[tuple[Tensor, Method]] = ((rows, self) for rows in parts)
        else:
            groups = self._groups(question, players, len(shards))
        for shard in shards:
            # Asked once for all groups, which take it along.
            shard.fix_target()
        joins = [Parts(players) for _ in shards]
        for rows, method in groups:
            estimates = method._of_group(shards, rows, players[rows], ask)
            for join, estimate in zip(joins, estimates):
                join.add(rows, estimate)
        return [join.joined() for join in joins]

    def _groups(
        self, question: Question, players: Tensor, outputs: int
    ) -> Iterator[tuple[Tensor, Method]]:
        """Inputs that are asked together, as `among` says, and no more than can be held at once."""
        for rows, method in self.among(question, players):
            count = int(players[rows[0]].sum())
            for part in method._pieces(rows, count, outputs):
                yield part, method

    def _pieces(self, rows: Tensor, features: int, outputs: int) -> Iterator[Tensor]:
        """The inputs `rows` (r,) in parts whose tables, one for each output, are held at once."""
        if self.pools_inputs or features == 0:
            yield rows
            return
        for piece in pieces(len(rows), self.held(features) * outputs, _HELD):
            yield rows[piece]

    def _of_group(
        self, shards: Sequence[Question], rows: Tensor, players: Tensor, ask: Ask
    ) -> Sequence[Estimate]:
        """The answers about inputs `rows` (r,) with as many `players` (r, features) each."""
        playing = int(players[0].sum())
        if playing == 0:
            return [self.without_players(shard.take(rows)) for shard in shards]
        if playing == players.shape[1]:
            taken = [shard.take(rows) for shard in shards]
        else:
            taken = [shard.among(rows, players) for shard in shards]
        return [as_estimate(piece) for piece in ask(self, taken)]

    def _shards(self, question: Question) -> Iterator[Question]:
        return iter((question,)) if self.pools_inputs else question.shards()

    def _checked(self, given: Tensor | Estimate, question: Question) -> Estimate:
        """Finite, detached, and in the number type of answers to the question."""
        estimate = as_estimate(given)
        values = finite(estimate.values.detach(), repr(self), "of its own values")
        values = values.to(question.precision)
        return replace(estimate, values=values)

    def _gap(
        self, question: Question, join: Join, prediction: Tensor, base: Tensor
    ) -> Tensor | None:
        """What the values lack of the difference (n,), where they are to add up to it."""
        # Credit that is pooled by its mean does not.
        adds_up = join.partition.pooling == "sum" or join.partition.identity
        if Axiom.COMPLETENESS not in self.axioms or not adds_up:
            return None
        # Of what the model said, before it is rounded to the inputs' precision.
        total = join.values.sum(1, dtype=prediction.dtype)
        gap = (prediction - base - total).to(join.values.dtype)
        rounding = _coarsest(gap, prediction, question.x)
        # What a model sums in single precision is no finer for coming in double.
        if question.model.single:
            rounding = max(rounding, torch.finfo(torch.float32).eps)
        # Sums of half precision are off by more than can be told from a broken promise.
        if not self.nearly_complete and rounding <= torch.finfo(torch.float32).eps:
            size = _largest_part(prediction, base, join.values)
            self._check_sum(gap, size * rounding**0.5)
        return gap

    def _check_sum(self, gap: Tensor, excused: Tensor) -> None:
        """Refuses values that do not add up as promised: a promise is no figure to be printed."""
        broken = (gap.abs() > excused).nonzero()[:, 0].tolist()
        if broken:
            first = broken[0]
            raise ModelError(
                expected=f"values of {self!r} that add up to the prediction less the base",
                got=f"a gap of {float(gap[first]):.3g} at input {first}",
                advice=(
                    "Something answers differently from one call to the next, or a method of your "
                    "own promises completeness and does not keep it; where numbers of single "
                    "precision cancel, ask in double."
                ),
            )

    def _warn_of_nothing(self, question: Question) -> None:
        warnings.warn(
            f"{question.removal!r} leaves all {question.n} inputs as they are, so that every value "
            f"of {self!r} is 0. If this is not meant, say what is absent: "
            "Question(..., removal=Background(rows)).",
            stacklevel=6,
        )

    def _answer(
        self, question: Question, join: Join, facts: Mapping[str, Any], seed: int
    ) -> Attribution:
        facts = {**facts, **{name: plain(note) for name, note in join.notes.items()}}
        if question.notes:
            facts["layer"] = "; ".join(question.notes)
        if question.model.one_by_one:
            facts["rows"] = question.model.one_by_one
        # Several tensors lie in one row of values, and are cut apart again by their shapes.
        if join.partition.identity and len(question.layout.shapes) > 1:
            facts["shapes"] = [list(shape) for shape in question.layout.shapes]
        prediction, base = torch.cat(join.predictions), torch.cat(join.bases)
        if min(join.players) < join.partition.count:
            facts["players"] = join.players
        if max(join.players) == 0:
            self._warn_of_nothing(question)
        return Attribution(
            values=join.values,
            base=base.to(join.values.dtype),
            prediction=prediction.to(join.values.dtype),
            names=join.partition.names,
            shape=join.partition.shape,
            kind=self.unit(join.partition).value,
            gap=self._gap(question, join, prediction, base),
            standard_error=join.standard_error(),
            facts=facts,
            provenance={
                "method": repr(self),
                "seed": seed,
                "question": question.digest,
                "asked": repr(question),
                "versions": versions(),
            },
            own_names=join.own_names_of_all(),
            targets=join.targets(),
            index=question.index if len(join.values) == question.n else None,
            present=join.present_in_all(),
        )


def _facts_of(spent: engine.Tally) -> dict[str, Any]:
    """What an answer says of the work behind it."""
    facts: dict[str, Any] = {
        "forwards": spent.forwards,
        "backwards": spent.backwards,
        "plan": spent.plans,
    }
    # Values are then shares of where the logarithm was cut.
    if spent.clipped:
        facts["clipped"] = spent.clipped
    return facts


def _coarsest(*numbers: Tensor) -> float:
    """The largest rounding among the number types of these."""
    return max(torch.finfo(each.dtype).eps for each in numbers if each.is_floating_point())


def _largest_part(prediction: Tensor, base: Tensor, values: Tensor) -> Tensor:
    """The size (n,) of the numbers whose rounding a sum carries."""
    ends = torch.maximum(prediction.abs(), base.abs())
    # The norm makes no second matrix of absolute values, which may be as large as the inputs.
    return torch.maximum(ends, torch.linalg.vector_norm(values, 1, dim=1).to(ends.dtype))


def _add_ends(joins: Sequence[Join], shards: Sequence[Question], told: bool) -> None:
    for join, shard in zip(joins, shards):
        join.add_ends(shard.prediction, _base_of(shard, told))


def _base_of(shard: Question, told: bool) -> Tensor:
    """The target with everything removed; NaN where nothing was said of what that means, or where
    the method tells it.
    """
    if shard.says_what_absent_means and not told:
        return shard.base
    return torch.full_like(shard.prediction, torch.nan)


def declared(method: type[Method], name: str) -> Any:
    """What a class says of itself by `needs`, `kind` or `axioms`.

    Where that depends on the settings, it is what the default ones say; None where there are none.
    """
    value = getattr(method, name)
    if not isinstance(value, property):
        return value
    if value is getattr(Method, name):
        return value.fget(method) if value.fget is not None else None
    try:
        return getattr(method(), name)
    except TypeError:  # settings without defaults
        return None


def able_methods(abilities: frozenset[Ability]) -> list[str]:
    """Names of the methods that stand alone and whose needs are among the abilities.

    Those of this library, and those that others have registered: a subclass that is only defined
    somewhere has no name that a user could give.
    """

    def below(kind: type[Method]) -> Iterator[type[Method]]:
        for child in kind.__subclasses__():
            yield child
            yield from below(child)

    kinds = {kind for kind in below(Method) if kind.__module__.startswith("assay.")}
    kinds |= set(extensions.METHODS.classes(Method).values())
    alone = [kind for kind in kinds if not isabstract(kind) and not kind.around]
    return sorted(
        kind.__name__ for kind in alone if (declared(kind, "needs") or frozenset()) <= abilities
    )
