"""A question asked behind a layer: the activations there take the place of the inputs.

Layer attributions (Captum's `LayerIntegratedGradients` and its kin) are the same methods, asked of
the rest of the network. What is absent becomes the activation of the absent input, or what a removal
of the layer's own says; what skips past the layer travels beside it as context. Several layers lie
side by side, as several inputs do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol, final

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel

from assay import engine
from assay.errors import AbilityError, AssayError, InputError
from assay.features.partition import Features
from assay.inputs.layout import Layout, Rows
from assay.inputs.tensors import TensorLayout
from assay.models.base import ABSENT, digest, finite
from assay.models.failures import Asked, slopes_refusal, told
from assay.models.identity import identity
from assay.models.networks.layered import Witness
from assay.models.networks.layers import After, Layers, names_of
from assay.question.consistency import (
    ask_alone,
    ask_behind_absent,
    check_alone,
    check_same,
    check_target,
    is_answered_alike,
)
from assay.question.evaluation import Alone, Evaluation, replacement_bytes
from assay.question.generators import Generators
from assay.removals.base import Absent, FixedAbsent, Removal
from assay.targets import Target

_CLEAN = "on the clean inputs"
_MET = 2  # inputs whose outputs are kept beside their activations
_ASKED_ALONE = 2  # the input that is compared alone, if there are as many


class Before(Protocol):
    """What is read of the question before the layer (a `Question`, which is built on this file)."""

    @property
    def keys(self) -> Tensor:
        """Each input's identity (n,)."""

    @property
    def digest(self) -> str:
        """A hash of the whole question."""

    @property
    def replacements(self) -> int:
        """How many replacements the removal has for each input."""

    @property
    def _evaluation(self) -> Evaluation: ...

    def take(self, rows: Tensor) -> Before:
        """The same question about some of its inputs."""


@final
@dataclass(frozen=True, eq=False)
class Image:
    """Where points lead behind a layer: activations (r, units), their velocities (r, units), and
    what is carried beside them, by name.
    """

    activations: Tensor
    velocities: Tensor
    carried: dict[str, Tensor]


@final
@dataclass(frozen=True, eq=False)
class Passing:
    """What inputs pass at a layer.

    Settings:
        layout: how activations lie in a row.
        activations: those of the inputs (n, units).
        slopes: the target's, at them, where they were asked for.
        absent: those of the one absent input (1, units), where it was asked beside them.
        outputs: what the network says of some inputs, from the first (r, ...).
    """

    layout: Layout
    activations: Tensor
    slopes: Tensor | None
    absent: Tensor | None = None
    outputs: Tensor | None = None

    def take(self, rows: Tensor) -> Passing:
        """Those of some inputs."""
        slopes = None if self.slopes is None else self.slopes[rows]
        return Passing(self.layout, self.activations[rows], slopes, self.absent)

    @property
    def met(self) -> tuple[Rows, Tensor] | None:
        """The activations of some inputs as the network has them, and its outputs."""
        if self.outputs is None:
            return None
        return self.layout.fold(self.activations[: len(self.outputs)]), self.outputs


class _AnotherAnswer(Exception):
    """A row whose answer alone is known is answered otherwise: it is influenced, or all has changed."""


@final
class LayerPass:
    """One forward of the inputs that keeps what passes a layer, and takes the target's slopes there.

    What was chosen on the way, its values, and those of the absent input serve whoever asks for them.

    Settings:
        source: the inputs, bound to the network.
        rest: the network, cut at the layer.
        target: what is explained, chosen on the outputs where it is not `fixed`.
        fixed: whether it is.
        slopes: whether slopes are taken.
        absent: whether one absent input, the same for all, is asked beside them.
    """

    _layout: TensorLayout

    def __init__(
        self,
        source: Evaluation,
        rest: After,
        target: Target,
        *,
        fixed: bool,
        slopes: bool,
        absent: bool,
    ) -> None:
        self._source = source
        self._rest = rest
        self._explained = target
        self._is_fixed = fixed
        self._with_slopes = slopes
        self._with_absent = absent
        self._checks_target = False
        self._activations: list[Tensor] = []
        self._slopes: list[Tensor] = []
        self._targets: list[Target] = []
        self._scores: list[Tensor] = []
        self._met: list[int] = []
        self._witness: Witness | None = None
        self._absent: Tensor | None = None
        self._absent_activations: Tensor | None = None
        self._outputs: Tensor | None = None
        self.outputs_each = 0

    def run(self, layout: TensorLayout, alone: Alone) -> Passing:
        """What the inputs pass; what was said of some of them alone is compared with what is said
        in company.
        """
        with self._source.model.session(slopes=self._with_slopes):
            passing = self._asked(layout, alone)
        # No input was compared on the way: what the cut network says is checked against the whole.
        if not self._met:
            self._compare_plainly()
        return passing

    def run_as_learnt(self) -> tuple[Passing, Alone] | None:
        """The same of a network that has not changed since its rows were checked and this layer was
        learnt: one input is asked alone, and compared. None where there is more to check.
        """
        source = self._source
        n = len(source.x)
        number = min(_ASKED_ALONE, n - 1)
        # Two rows that are alike hide an influence of one on the other.
        if source.most_rows is not None or torch.equal(self._first_row, source.x[number]):
            return None
        rows, context = source.sample()
        if context:
            return None
        with source.model.session(slopes=self._with_slopes):
            layers = self._rest.known_layers(rows, single=n == 1)
            if layers is None or self._rest.is_common:
                return None
            self._checks_target = not self._is_fixed
            network, layout = self._rest.network, layout_of(layers)
            witness = network.witness(rows)
            if witness is not None and not self._is_neighbour(witness.row):
                found = self._asked_beside(witness, layout, number)
                if found is None:
                    network.keep_witness(rows, None)
                return found
            if self._with_absent and self._has_other_company(number):
                alone = ask_behind_absent(source, number, self._first_row)
            else:
                alone = ask_alone(source, number)
            if alone is None:
                return None
            if alone.absent is not None:
                self._with_absent = False
                self._absent = finite(alone.absent, source.model.name, ABSENT)
                engine.count(1)
            passing = self._asked(layout, alone)
            kept = Witness(source.x[number].clone(), alone.inputs[number])
            network.keep_witness(rows, kept)
            return passing, alone

    def _asked_beside(
        self, witness: Witness, layout: TensorLayout, number: int
    ) -> tuple[Passing, Alone] | None:
        """What the inputs pass, and what is said of one of them, in the company of a row whose answer
        alone is known. None where that is another one now, which is checked anew.
        """
        self._witness = witness
        generators = Generators()
        try:
            passing = self._asked(layout, Alone())
        except _AnotherAnswer:
            return None
        if generators.moved or self._outputs is None:
            return None
        number = min(number, len(self._outputs) - 1)
        return passing, Alone({number: self._outputs[number : number + 1]})

    def _is_neighbour(self, row: Tensor) -> bool:
        """Whether a row behind the inputs would stand beside its like, or have no other company."""
        first, last = self._first_row, self._source.x[-1]
        return bool((row == first).all()) or bool((row == last).all())

    def _has_other_company(self, number: int) -> bool:
        """Whether an input that has the absent one alone before it meets other rows there, and has
        another place, than among the inputs.
        """
        before = self._source.x[: number + 1]
        return number != 1 and not bool((before == self._first_row).all(dim=1).any())

    @property
    def _first_row(self) -> Tensor:
        """The first row that is asked, (elements,)."""
        if not self._with_absent:
            return self._source.x[0]
        first = torch.zeros(1, dtype=torch.int64, device=self._source.x.device)
        return self._source.removed_rows(first, first)[0]

    def _asked(self, layout: TensorLayout, alone: Alone) -> Passing:
        source = self._source
        self._layout = layout
        n = len(source.x)

        def work(start: int, stop: int, memory: int) -> None:
            self._chunk(torch.arange(start, stop, device=source.x.device), memory, alone)

        chunks = source.model.pace(f"past {self._rest.layer} of {source.layout.shapes}")
        chunks = chunks.sized(source.layout.elements, total=n)
        engine.run(n, work, chunks, source.model.name)
        slopes = torch.cat(self._slopes) if self._with_slopes else None
        return Passing(
            layout, torch.cat(self._activations), slopes, self._absent_activations, self._outputs
        )

    @property
    def target(self) -> Target:
        """One target for all inputs: chunks have chosen for their own."""
        first, *others = self._targets
        return first.joined(others)

    @property
    def scores(self) -> Tensor:
        """The target on the clean inputs (n,)."""
        return torch.cat(self._scores)

    @property
    def absent_scores(self) -> Tensor | None:
        """The target with everything removed (n,), where it was asked."""
        if self._absent is None:
            return None
        n = len(self._source.x)
        everyone = torch.arange(n, device=self._source.x.device)
        return self.target.score(self._absent.expand(n, *self._absent.shape[1:]), everyone)

    def _chunk(self, owners: Tensor, memory: int, alone: Alone) -> None:
        source = self._source
        count = len(owners)
        is_first = int(owners[0]) == 0
        before = int(self._with_absent and is_first)
        behind = before + count
        rows = self._in_company(source.x[owners]) if is_first else source.x[owners]
        asked = source.asked(rows, owners, _CLEAN)
        with told(asked):
            leaves, outputs = self._rest.passed(
                asked.rows, asked.context, memory, slopes=self._with_slopes
            )
        check_shapes(self._layout, leaves, self._rest.name)
        self._compare_with_witness(outputs[behind:].detach())
        absent = finite(outputs[:before].detach(), source.model.name, ABSENT)
        outputs = finite(outputs[before:behind], source.model.name, _CLEAN)
        met = check_alone(source, owners, outputs.detach(), alone)
        target = self._chosen(owners, outputs.detach())
        scores = target.score(outputs, torch.arange(count, device=owners.device))
        slopes = self._slopes_of(scores, outputs, leaves, asked) if self._with_slopes else None
        engine.count(count, backward=self._with_slopes)
        engine.count(len(absent))
        # Last of all: a chunk that runs out of memory is asked again.
        self.outputs_each = math.prod(outputs.shape[1:])
        if len(absent):
            self._absent = absent.clone()
            rest = tuple(leaf.detach()[:before] for leaf in leaves)
            self._absent_activations = self._layout.flatten(rest)
        if self._outputs is None:
            self._outputs = outputs[:_MET].detach().clone()
        self._met += met
        self._targets.append(target)
        self._scores.append(scores.detach().clone())
        activations = tuple(leaf.detach()[before:behind] for leaf in leaves)
        self._activations.append(self._layout.flatten(activations))
        if slopes is not None:
            own = tuple(one[before:behind] for one in slopes)
            self._slopes.append(self._layout.flatten(own))

    def _in_company(self, rows: Tensor) -> Tensor:
        """The rows of the first chunk, with the absent one in front, so that every input has a row
        before it, and one whose answer is known behind all others.
        """
        if self._with_absent:
            rows = torch.cat([self._first_row[None], rows])
        if self._witness is not None:
            rows = torch.cat([rows, self._witness.row[None]])
        return rows

    def _compare_with_witness(self, outputs: Tensor) -> None:
        """Compares what is said of the row behind all others, where there is one, with its answer."""
        if self._witness is None or not len(outputs):
            return
        if not is_answered_alike(self._source, outputs, self._witness.outputs):
            raise _AnotherAnswer

    def _chosen(self, owners: Tensor, outputs: Tensor) -> Target:
        """The target of some inputs, chosen on their outputs where it is not fixed."""
        if self._checks_target:
            check_target(self._source, self._explained, owners, outputs)
        target = self._explained.take(owners)
        return target if self._is_fixed else target.choose(outputs)

    def _slopes_of(
        self, scores: Tensor, outputs: Tensor, leaves: Rows, asked: Asked
    ) -> tuple[Tensor, ...]:
        if not scores.requires_grad:
            self._check_inputs_lead_there(outputs)
            return tuple(torch.zeros_like(leaf) for leaf in leaves)
        try:
            # Rows do not influence each other, so the slope of the sum is the slope of each row.
            return torch.autograd.grad(
                scores.sum(), leaves, allow_unused=True, materialize_grads=True
            )
        except Exception as error:
            # The engine answers this one with smaller chunks.
            if isinstance(error, AssayError) or engine.out_of_memory(error):
                raise
            raise slopes_refusal(error, asked) from error

    def _check_inputs_lead_there(self, outputs: Tensor) -> None:
        """Refuses outputs that hang on nothing; those that hang on the inputs, past the layer, have
        slopes of 0 there.
        """
        source = self._source

        def make(numbers: Tensor) -> tuple[Tensor, Tensor]:
            return source.x[numbers], numbers

        def score(outputs: Tensor, owners: Tensor) -> Tensor:
            return self._explained.take(owners).choose(outputs.detach()).score(outputs, owners)

        try:
            source.slopes(1, make, [score], lambda which, numbers, owners, slopes: None)
        except AssayError as error:
            raise source._without_graph(outputs) from error

    def _compare_plainly(self) -> None:
        """Compares the first input with what the network says of it by itself, without slopes."""
        source, target, scores = self._source, self.target, self.scores

        def use(numbers: Tensor, owners: Tensor, outputs: Tensor) -> None:
            check_same(source, target.score(outputs, owners), scores[owners])

        source.outputs(1, lambda numbers: (source.x[numbers], numbers), use, _CLEAN)


@final
@dataclass(frozen=True, eq=False)
class BehindLayer:
    """Where a question behind a layer comes from: the question before, and the rest of its network.

    Stands in for an `Evaluation` whose activations are computed when they are first needed.
    """

    before: Before
    model: After
    layout: TensorLayout
    features: Features
    removal: Removal | None = None
    """What stands in for absent activations; those of the absent input where nothing is said."""
    passed: Passing | None = None
    """What inputs were found to pass at the layer, where they were asked before."""

    @property
    def replacements(self) -> int | None:
        """How many replacements there are, where that is known before activations are."""
        return self.before.replacements if self.removal is None else None

    def take(self, rows: Tensor) -> BehindLayer:
        """The same for some of the inputs."""
        passed = None if self.passed is None else self.passed.take(rows)
        return replace(self, before=self.before.take(rows), passed=passed)

    def identities(self) -> Tensor:
        """An activation keeps the identity of the input that it came from."""
        return self.before.keys

    def digest(self, keys: Tensor, target: Target, features: Features, removal: Removal) -> str:
        """The hash of the question before, and of what is asked behind the layer."""
        described = f"{self.model.name} {self.layout.describe()}"
        held = identity(target, features)
        parts = [self.before.digest.encode(), described.encode(), held]
        if self.removal is not None:
            parts.append(identity(self.removal))
            parts.append(replacement_bytes(self.evaluation().absent))
        return digest(*parts).hex()

    def evaluation(self) -> Evaluation:
        """The inputs' activations, what travels beside them, and the activations of what is absent."""
        source = self.before._evaluation
        n = len(source.x)
        # What runs beside the layer was not kept with its activations, and has to be asked for.
        passed = self.passed if self.model.carries_nothing else None
        if passed is None:
            x, carried = self._activations(n, lambda numbers: (source.x[numbers], numbers))
        else:
            x, carried = passed.activations, []
        if passed is None or passed.absent is None:
            absent = self._absent(x)
        else:
            absent = FixedAbsent(passed.absent.view(1, 1, self.layout.elements))
        return Evaluation(
            model=self.model,
            layout=self.layout,
            x=x,
            partition=self.features.bind_behind(self.layout, x, source.partition, source.layout),
            absent=absent,
            aligned={**source.aligned, **names_of(carried)},
            shared=source.shared,
        )

    def reached(self, points: Tensor, owners: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Where inputs (r, elements) in the place of inputs `owners` (r,) lead behind the layer:
        activations (r, units), and what is carried beside them, by name.
        """
        activations, carried = self._activations(
            len(points), lambda numbers: (points[numbers], owners[numbers])
        )
        return activations, names_of(carried)

    def image(self, points: Tensor, way: Tensor, owners: Tensor) -> Image:
        """Where inputs (r, elements) in the place of inputs `owners` (r,) lead behind the layer, and
        how fast when they move along `way` (r, elements): by forward differentiation.
        """
        if self.removal is not None:
            raise InputError(
                expected="absent activations that the absent input leads to",
                got=f"those of {self.removal!r}, which no input leads to",
                advice="Ask question.after(layer) without a removal of its own.",
            )
        source = self.before._evaluation
        activations: list[Tensor] = []
        velocities: list[Tensor] = []
        carried: list[list[Tensor]] = []

        def work(start: int, stop: int, memory: int) -> None:
            context = source.context(owners[start:stop])
            # One forward gives the velocities of all units; backwards each unit takes a pass.
            with forward_ad.dual_level(), _slowly():
                moving = forward_ad.make_dual(points[start:stop], way[start:stop])
                folded = source.layout.fold(moving)
                with told(Asked(source.model, folded, context, "on the way")):
                    layers, beside = self.model.before(folded, context, memory)
                self._check_shapes(layers)
                reached = [forward_ad.unpack_dual(layer) for layer in layers]
                carried.append([forward_ad.unpack_dual(tensor).primal for tensor in beside])
                activations.append(self.layout.flatten([part.primal for part in reached]))
                # An activation that nothing moves has no velocity.
                tangents = [
                    torch.zeros_like(part.primal) if part.tangent is None else part.tangent
                    for part in reached
                ]
                velocities.append(self.layout.flatten(tangents))
            engine.count(stop - start)

        self._run(len(points), work)
        beside = [torch.cat(parts).detach() for parts in zip(*carried)]
        return Image(torch.cat(activations), torch.cat(velocities), names_of(beside))

    def _run(self, total: int, work: Callable[[int, int, int], None]) -> None:
        """Runs the part before the layer over so many rows, a chunk at a time."""
        source = self.before._evaluation
        with source.model.session(slopes=False):
            chunks = source.model.pace(f"before {self.model.layer} of {source.layout.shapes}")
            chunks = chunks.sized(source.layout.elements, total=total)
            engine.run(total, work, chunks, self.model.name)

    def _absent(self, x: Tensor) -> Absent:
        """What stands in for the activations x (n, elements)."""
        if self.removal is not None:
            return self.removal.bind(self.layout, x, self.identities)
        source = self.before._evaluation
        # One set of absent activations serves all inputs where nothing of their own is left in them.
        draws = source.absent.draws
        alike = source.absent.shared and not source.aligned and source.partition.whole
        owned = 1 if alike else len(x)

        def removed(numbers: Tensor) -> tuple[Tensor, Tensor]:
            owners = numbers // draws
            return source.removed_rows(owners, numbers % draws), owners

        replaced, _ = self._activations(owned * draws, removed, ABSENT)
        return FixedAbsent(replaced.view(owned, draws, self.layout.elements))

    def _activations(
        self, total: int, make: Callable[[Tensor], tuple[Tensor, Tensor]], where: str = ""
    ) -> tuple[Tensor, list[Tensor]]:
        """Activations (total, elements) at the layer, and what is carried beside them."""
        source = self.before._evaluation
        activations: list[Tensor] = []
        carried: list[list[Tensor]] = []

        def work(start: int, stop: int, memory: int) -> None:
            rows, owners = make(torch.arange(start, stop, device=source.x.device))
            folded = source.layout.fold(rows)
            context = source.context(owners)
            with told(Asked(source.model, folded, context, where)):
                layers, beside = self.model.before(folded, context, memory)
            engine.count(len(rows))
            self._check_shapes(layers)
            # A copy: the network may write on its own activations afterwards.
            activations.append(self.layout.flatten(layers))
            carried.append([tensor.detach() for tensor in beside])

        self._run(total, work)
        return torch.cat(activations), [torch.cat(pieces) for pieces in zip(*carried)]

    def _check_shapes(self, layers: Rows) -> None:
        check_shapes(self.layout, layers, self.model.name)


@contextmanager
def _slowly() -> Iterator[None]:
    """Transformers by their plain operations: torch's fused ones have no forward derivative."""
    was = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(was)


def layout_of(layers: Layers) -> TensorLayout:
    """How activations lie in a row."""
    shapes, dtypes, devices = zip(*layers)
    return TensorLayout(shapes, dtypes, devices[0])


def check_shapes(layout: TensorLayout, layers: Rows, who: str) -> None:
    """Refuses activations of another shape than was learnt of two inputs."""
    shapes = tuple(tuple(layer.shape[1:]) for layer in layers)
    if shapes != layout.shapes:
        raise AbilityError(
            expected=f"activations of shape {layout.describe()} {who}",
            got=" and ".join(map(str, shapes)),
            advice="Cut at a layer whose activation does not depend on the inputs beside it.",
        )
