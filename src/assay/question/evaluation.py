"""A question's inputs bound to its model: everything that a chunk of rows needs to be asked.

Work is numbered 0..total - 1. A caller says which rows a run of numbers stands for (`Make`) and what
becomes of their outputs (`Use`); the engine cuts the numbers into chunks, so that rows exist one
chunk at a time, whatever their number. `question.py` is built on these two loops, forward only
(`outputs`) and with slopes (`slopes`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, TypeAlias, final

import torch
from torch import Tensor

from assay import engine
from assay.errors import AbilityError, AssayError, KindError, TargetError
from assay.features.partition import Features, Partition
from assay.inputs.layout import Layout, Rows
from assay.models.base import ABSENT, LocalChange, Model, all_finite, digest, finite
from assay.models.failures import Asked, slopes_refusal, told
from assay.models.identity import identity
from assay.models.networks.operations.interception import Interception
from assay.numerics.precision import to_input_precision
from assay.removals.base import Absent, FixedAbsent, Removal
from assay.targets import Target

Make: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Work numbers (r,) to rows (r, elements) and the inputs they belong to, their owners (r,)."""

LocalChanges: TypeAlias = Callable[[Tensor, Tensor, int], LocalChange]
"""Work numbers, owners and the memory format to the patches in which rows differ from inputs."""

Use: TypeAlias = Callable[[Tensor, Tensor, Tensor], None]
"""What becomes of a chunk: work numbers, owners, and the outputs (or the slopes)."""

Score: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Outputs (r, ...) and owners (r,) to one number for each row (r,)."""

Look: TypeAlias = Callable[[Tensor, Tensor], None]
"""Sees owners (r,) and outputs (r, ...) of a chunk before they are scored, unheard."""

Beside: TypeAlias = Callable[[Tensor, Sequence[Tensor]], None]
"""Sees owners (r,) of a chunk and each score (r,) of what rules compare its rows with."""

Read: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Outputs (r, ...) and owners (r,) to the numbers that are kept of them (r, k)."""


@final
@dataclass(frozen=True, eq=False)
class Alone:
    """What the model said of rows that it was asked alone, while rows were checked: the outputs
    (1, ...) of inputs, by their numbers, and of the one input with everything removed.
    """

    inputs: Mapping[int, Tensor] = field(default_factory=dict)
    absent: Tensor | None = None


@final
@dataclass(frozen=True, eq=False)
class _Scoring:
    """What is made of a chunk's outputs: one number for each row and slope, once they are seen."""

    scores: Sequence[Score]
    look: Look | None = None
    beside: Beside | None = None

    def see(self, owners: Tensor, outputs: Tensor) -> None:
        if self.look is not None:
            self.look(owners, outputs.detach())


_PATCH_COST = 1 / 16  # work and memory of a row of which a patch is asked, relative to a whole row
_SHOWN = 1 << 22  # elements of inputs up to which a refusal may try them as one input
_DEEPEST = 8  # containers within containers of shared context that are looked into

NOTHING_ASKED = Alone()


@final
@dataclass(frozen=True, eq=False)
class Evaluation:
    """A model, flat rows x (n, elements), who gets credit, what stands in, and the context."""

    model: Model
    layout: Layout
    x: Tensor
    partition: Partition
    absent: Absent
    aligned: Mapping[str, Tensor]
    shared: Mapping[str, Any]

    # --- what a question holds, see `layers.BehindLayer` for the other kind of source

    def evaluation(self) -> Evaluation:
        """Itself: nothing has to be computed first."""
        return self

    def take(self, rows: Tensor) -> Evaluation:
        """Some of the inputs."""
        return self.with_inputs(self.x[rows], rows)

    def identities(self) -> Tensor:
        """One key per input, hashed from its bytes: (n,)."""
        return self.layout.identities(self.x)

    def digest(self, keys: Tensor, target: Target, features: Features, removal: Removal) -> str:
        """A hash of model, inputs, target, features and removal."""
        described = f"{self.layout.describe()} {self.model.name}"
        # Settings and context by what is in them: a repr shows the shape of rows, or an address.
        held = identity(target, features, removal, dict(self.aligned), dict(self.shared))
        labels = self.partition.labels.cpu().numpy().tobytes()
        identities = keys.cpu().numpy().tobytes()
        replacements = replacement_bytes(self.absent)
        parts = (identities, described.encode(), held, labels, replacements)
        return digest(self.model.fingerprint(), *parts).hex()

    # --- rows

    def with_inputs(self, x: Tensor, rows: Tensor) -> Evaluation:
        """Other inputs x in the place of the inputs `rows`."""
        return replace(
            self,
            x=x,
            partition=self.partition.take(rows),
            absent=self.absent.take(rows),
            aligned={name: value[rows] for name, value in self.aligned.items()},
        )

    def removed_rows(self, rows: Tensor, draws: Tensor) -> Tensor:
        """The inputs `rows` with every feature removed: (r, elements)."""
        if self.partition.whole:
            return self.absent.everything_removed(rows, draws)
        # Elements that no feature owns are never removed, and tell of what is.
        x = self.x[rows]
        unowned = (self.partition.of(rows) < 0).expand_as(x)
        return self.absent.remove(x, unowned, rows, draws)

    def masked_rows(self, rows: Tensor, masks: Tensor, draws: Tensor) -> Tensor:
        """The inputs `rows` (r,), each under its own mask over features (r, features)."""
        present = self.partition.spread(masks, rows)
        return self.absent.remove(self.x[rows], present, rows, draws)

    @cached_property
    def unchanged_inputs(self) -> Tensor:
        """The inputs that stay as they are when everything is removed, whatever the draw."""
        unchanged = torch.arange(len(self.x), device=self.x.device)
        for draw in range(self.absent.draws):
            if len(unchanged) == 0:
                break
            removed = self.removed_rows(unchanged, torch.full_like(unchanged, draw))
            # An input that one draw has changed is out, and asked about no more.
            equal = (removed == self.x[unchanged]).all(dim=1)
            unchanged = unchanged[equal]
        return unchanged

    def context(self, owners: Tensor) -> dict[str, Any]:
        """The context of a chunk."""
        aligned = {name: value[owners] for name, value in self.aligned.items()}
        return {**aligned, **self._unwritten(self.shared, ())}

    def _unwritten(self, value: Any, at: tuple[Any, ...]) -> Any:
        """What all inputs share, as it was handed in: a model that writes on it has a copy.

        The copy is made anew only where its counter says that it was written to.
        """
        if len(at) > _DEEPEST:
            return value
        if type(value) is dict:
            return {key: self._unwritten(part, (*at, key)) for key, part in value.items()}
        if type(value) in (list, tuple):
            return type(value)(
                self._unwritten(part, (*at, index)) for index, part in enumerate(value)
            )
        if not isinstance(value, Tensor):
            return value
        copy, version = self._handed_over.get(at, (None, 0))
        if copy is None or copy._version != version:
            copy = value.detach().clone()
            self._handed_over[at] = (copy, copy._version)
        return copy

    @cached_property
    def _handed_over(self) -> dict[tuple[Any, ...], tuple[Tensor, int]]:
        """Copies of shared tensors, by where they stand in the context, with their counters."""
        return {}

    def sample(self) -> tuple[Rows, dict[str, Any]]:
        """The first input, folded, and its context."""
        first = torch.zeros(1, dtype=torch.int64, device=self.x.device)
        return self.layout.fold(self.x[:1]), self.context(first)

    def to_result_precision(self, values: Tensor, answered: torch.dtype) -> Tensor:
        """Results in the inputs' number type, or in double where the model `answered` in that.

        Single precision has steps of 8 at 1e8: what was answered in double keeps its differences.
        """
        double = answered in (torch.float64, torch.int64) and not self.model.single
        if double:
            return values.to(torch.float64)
        return to_input_precision(values, self.x)

    @property
    def most_rows(self) -> int | None:
        """The rows that the model takes at once, where its owner said so."""
        return self.model.chunking.batch_size

    def asked(self, rows: Tensor, owners: Tensor, where: str) -> Asked:
        """Rows as the model is asked about them, with what a refusal says of them."""
        return Asked(self.model, self.layout.fold(rows), self.context(owners), where, self._whole)

    @cached_property
    def _whole(self) -> Callable[[], Rows] | None:
        """All inputs as the model takes them, where they are few enough to be tried as one."""
        if self.x.numel() > _SHOWN or self.aligned:
            return None
        return partial(self.layout.fold, self.x)

    # --- the two loops

    def outputs(
        self,
        total: int,
        make: Make,
        use: Use,
        where: str = "",
        unit: int = 1,
        changes: LocalChanges | None = None,
        share: float = 1.0,
    ) -> None:
        """Asks `total` rows, forward only.

        `unit` rows that belong together share a chunk if one holds them; `changes` says in which
        patches rows differ from their inputs, where they differ in patches only; `share` is the work
        and memory of a row, relative to one of a whole network with as many elements.
        """

        def work(start: int, stop: int, memory: int) -> None:
            numbers = torch.arange(start, stop, device=self.x.device)
            rows, owners = make(numbers)
            asked = self.asked(rows, owners, where)
            # What making the patches raises is not the model's.
            change = None if changes is None else changes(numbers, owners, memory)
            with told(asked):
                if change is None:
                    outputs = self.model.call(asked.rows, asked.context, memory)
                else:
                    outputs = self.model.call_changed(asked.rows, change, asked.context, memory)
            engine.count(len(rows))
            use(numbers, owners, finite(outputs, self.model.name, where))

        if changes is None:
            # Chunks of light rows are searched for by themselves: others must not bound them.
            purpose = "outputs" if share == 1.0 else "outputs of light rows"
            self._run(total, work, make, purpose, unit=unit, share=share)
        else:
            self._run(total, work, make, "outputs of patches", unit=unit, share=_PATCH_COST)

    def slopes(
        self,
        total: int,
        make: Make,
        scores: Sequence[Score],
        use: Callable[..., None],
        rules: Interception | None = None,
        look: Look | None = None,
        beside: Beside | None = None,
    ) -> None:
        """Asks `total` rows for the slope of each of the `scores` at each of them.

        A chunk goes forward once, and backward once for each score: `use(number of the score, work
        numbers, owners, slopes)` takes them one after the other. With `rules` the slopes are those
        that the rules give to the operations of the forward. `look` sees the outputs of a chunk
        before they are scored, `beside` the scores of what the rules compare it with.
        """
        scoring = _Scoring(scores, look, beside)

        def work(start: int, stop: int, memory: int) -> None:
            numbers = torch.arange(start, stop, device=self.x.device)
            rows, owners = make(numbers)
            if rules is None:
                each = self._slopes(rows, owners, memory, scoring)
            else:
                each = self._ruled_slopes(rows, owners, memory, scoring, rules)
            for which, slopes in enumerate(each):
                engine.count(len(rows), backward=True)
                use(which, numbers, owners, slopes)

        # A faster form for plain slopes is of no use to rules.
        self._run(total, work, make, "slopes", prepares=rules is None)

    def _slopes(self, rows: Tensor, owners: Tensor, memory: int, scoring: _Scoring) -> list[Tensor]:
        """The slope of each score at the rows, from one forward."""
        if not rows.is_floating_point():
            raise KindError(
                expected="floating inputs to take slopes at",
                got=rows.dtype,
                advice="Integers have no slope: convert real numbers with .float().",
            )
        # At the flat rows, before they are folded: one leaf also for several tensors.
        leaf = rows.detach().requires_grad_()
        asked = self.asked(leaf, owners, "on the way")
        with told(asked):
            outputs = self.model.call(asked.rows, asked.context, memory)
        outputs = finite(outputs, self.model.name, "on the way")
        scoring.see(owners, outputs)
        slopes = []
        for which, score in enumerate(scoring.scores):
            scored = score(outputs, owners)
            if not scored.requires_grad:
                raise self._without_graph(outputs)
            # The graph serves every score, and is let go of with the last.
            last = which == len(scoring.scores) - 1
            slopes += _backward(scored, [leaf], asked, keep=not last)
        return slopes

    def _ruled_slopes(
        self,
        rows: Tensor,
        owners: Tensor,
        memory: int,
        scoring: _Scoring,
        rules: Interception,
    ) -> list[Tensor]:
        """The same with the slopes that rules give to the operations of the forward."""
        try:
            while True:
                try:
                    with rules.counting():
                        return self._heard_slopes(rows, owners, memory, scoring, rules)
                except AssayError:
                    if not (rules.let_go_of_form() or rules.simplify()):
                        raise
        finally:
            rules.forget()

    def _heard_slopes(
        self,
        rows: Tensor,
        owners: Tensor,
        memory: int,
        scoring: _Scoring,
        rules: Interception,
    ) -> list[Tensor]:
        references = rules.reference_rows(owners, alike=not self.aligned)
        compared = None
        if references is not None:
            with rules.recording():
                leaf = references.detach().requires_grad_()
                compared, _ = self._heard_outputs(leaf, owners, memory, rules)
            engine.count(len(references))
        leaf = rules.input_rows(rows).detach().requires_grad_()
        outputs, asked = self._heard_outputs(leaf, owners, memory, rules)
        # What is chosen is chosen on the inputs, before anything is scored.
        scoring.see(owners, outputs)
        if compared is not None:
            with rules.recording():
                known = self._heard_scores(compared, owners, scoring, rules)
            if scoring.beside is not None:
                scoring.beside(owners, known)
        scored = self._heard_scores(outputs, owners, scoring, rules)
        leaves = [leaf, *rules.leaves]
        slopes = []
        for which, each in enumerate(scored):
            rules.answering(which)
            keep = which < len(scored) - 1
            own, *others = _backward(each, leaves, asked, keep=keep, rules=rules)
            beside = self.layout.flatten(tuple(others)) if others else None
            slopes.append(rules.attributed(leaf.detach(), own, beside))
        return slopes

    def _heard_outputs(
        self, rows: Tensor, owners: Tensor, memory: int, rules: Interception
    ) -> tuple[Tensor, Asked]:
        """The outputs of a forward that is heard, one for each of the owners."""
        asked = self.asked(rows, owners, "on the way")
        with told(asked), self.model.heard_by(rules):
            outputs = self.model.call(asked.rows, asked.context, memory)
        finite(outputs, self.model.name, "on the way")
        rules.admit_outputs(outputs)
        return rules.spread(outputs), asked

    def _heard_scores(
        self, outputs: Tensor, owners: Tensor, scoring: _Scoring, rules: Interception
    ) -> list[Tensor]:
        """What the scores make of outputs is heard, too: probabilities have a softmax in them."""
        rules.admit((outputs,))
        with rules.listening():
            scored = [score(outputs, owners) for score in scoring.scores]
        if not all(each.requires_grad for each in scored):
            raise self._without_graph(outputs)
        return scored

    def _without_graph(self, outputs: Tensor) -> AbilityError:
        """The refusal of scores that hang on no graph: the model's doing, or the target's."""
        if outputs.requires_grad:
            return AbilityError(
                expected="a target that can be differentiated by the model's outputs",
                got="a constant, or detached numbers",
                advice=(
                    "Make it of the outputs in torch, without .detach(), .numpy() or a comparison: "
                    "target=lambda outputs: outputs[:, 0]."
                ),
            )
        return AbilityError(
            expected=f"outputs of {self.model.name} that can be differentiated",
            got="ones that hang on no input: detached, or the same whatever the input",
            advice=(
                "Keep the forward in torch, without .detach(), .numpy() or no_grad, or "
                "use a method that only asks for predictions; of a network that reads no input, "
                "these say 0."
            ),
        )

    def _run(
        self,
        total: int,
        work: Callable[[int, int, int], None],
        make: Make,
        purpose: str,
        unit: int = 1,
        share: float = 1.0,
        *,
        prepares: bool = True,
    ) -> None:
        if total == 0:
            return
        with self.model.session(slopes=purpose == "slopes"):
            if prepares and total >= self.model.prepared_from:
                self._prepare(total, make)
            chunks = self.model.pace(f"{purpose} of {self.layout.shapes}")
            chunks = chunks.sized(self.layout.elements, share, total)
            engine.run(total, work, chunks, self.model.name, unit)

    def _prepare(self, total: int, make: Make) -> None:
        """Tells the model of the work, with a sample of its rows."""
        size = min(total, 4, self.most_rows or 4)
        # From the first to the last, one by one: rows at a baseline may tell nothing of others.
        spread = torch.linspace(0, total - 1, size, device=self.x.device, dtype=torch.float64)
        made = [make(number) for number in spread.round().to(torch.int64).split(1)]
        sample, owners = (torch.cat(parts) for parts in zip(*made))
        self.model.prepare(total, self.layout.fold(sample), self.context(owners))

    # --- what follows from them

    def use_known(self, outputs: Tensor, use: Use, where: str) -> None:
        """Outputs that are known of rows 0, 1, ..., as if they had come from the loop."""
        engine.count(len(outputs))
        numbers = torch.arange(len(outputs), device=self.x.device)
        use(numbers, numbers, finite(outputs, self.model.name, where))

    def removed_average(self, read: Read, alone: Alone = NOTHING_ASKED) -> Tensor:
        """`read` of the outputs with everything removed, averaged over the draws: (n, k).

        A single input with a single replacement may have been asked `alone`.
        """
        n = len(self.x)
        draws = self.absent.draws
        sums: list[Tensor] = []

        def add(owners: Tensor, outputs: Tensor) -> None:
            values = read(outputs, owners).to(torch.float64)
            if not sums:
                shape = (n, values.shape[1])
                sums.append(torch.zeros(shape, dtype=torch.float64, device=self.x.device))
            sums[0].index_add_(0, owners, values)

        def use(numbers: Tensor, owners: Tensor, outputs: Tensor) -> None:
            add(owners, outputs)

        if alone.absent is not None and n == draws == 1:
            self.use_known(alone.absent, use, ABSENT)
        elif self.absent.shared and not self.aligned and self.partition.whole:
            # Without anything of their own left, all inputs are the same row: one row per draw.
            everyone = torch.arange(n, device=self.x.device)

            def make(numbers: Tensor) -> tuple[Tensor, Tensor]:
                first = torch.zeros_like(numbers)
                return self.removed_rows(first, numbers), first

            def use_for_all(numbers: Tensor, owners: Tensor, outputs: Tensor) -> None:
                for output in outputs:
                    add(everyone, output.unsqueeze(0).expand(n, *output.shape))

            self.outputs(draws, make, use_for_all, ABSENT)
        else:

            def make(numbers: Tensor) -> tuple[Tensor, Tensor]:
                owners = numbers // draws
                return self.removed_rows(owners, numbers % draws), owners

            self.outputs(n * draws, make, use, ABSENT)
        return sums[0] / draws

    def base(self, target: Target, alone: Alone = NOTHING_ASKED) -> Tensor:
        """The target with everything removed, averaged over the draws of the removal: (n,)."""

        types: list[torch.dtype] = []

        def read(outputs: Tensor, owners: Tensor) -> Tensor:
            scores = target.score(outputs, owners)
            types.append(scores.dtype)
            return scores.unsqueeze(1)

        base = finite_scores(self.removed_average(read, alone)[:, 0], target, ABSENT)
        return self.to_result_precision(base, types[0])


def _backward(
    scores: Tensor,
    leaves: list[Tensor],
    asked: Asked,
    *,
    keep: bool,
    rules: Interception | None = None,
) -> list[Tensor]:
    """The slope of each row's score by each of the leaves; `keep` leaves the graph for another."""
    try:
        if rules is not None:
            return rules.slopes(scores, leaves, keep=keep)
        # Rows do not influence each other, so the slope of the sum is the slope of each row.
        slopes = torch.autograd.grad(
            scores.sum(), leaves, allow_unused=True, materialize_grads=True, retain_graph=keep
        )
    except Exception as error:
        # The engine answers this one with smaller chunks.
        if isinstance(error, AssayError) or engine.out_of_memory(error):
            raise
        raise slopes_refusal(error, asked) from error
    return list(slopes)


def replacement_bytes(absent: Absent) -> bytes:
    """What a hash tells two removals apart by, where their replacements can be held."""
    fixed = torch.zeros(0)
    if isinstance(absent, FixedAbsent):
        fixed = absent.rows.cpu()
    whole = fixed.contiguous()
    # One number that was expanded counts as contiguous with a stride of 0, which no view as bytes has.
    flat = whole.as_strided((whole.numel(),), (1,))
    return flat.view(torch.uint8).numpy().tobytes()


def finite_scores(scores: Tensor, target: Target, where: str) -> Tensor:
    """The same scores, all of them numbers."""
    if not all_finite(scores):
        bad = ~torch.isfinite(scores)
        raise TargetError(
            expected=f"finite numbers from {target!r}",
            got=f"NaN or infinity for {int(bad.sum())} of {len(scores)} inputs {where}",
            advice=(
                "The outputs are finite, the target made of them is not: keep logarithms and "
                "quotients away from zero, or use another removal."
            ),
        )
    return scores
