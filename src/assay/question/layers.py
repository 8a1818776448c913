"""A question asked behind a layer: the activations there take the place of the inputs.

Layer attributions (Captum's `LayerIntegratedGradients` and its kin) are the same methods, asked of
the rest of the network. What is absent becomes the activation of the absent input, or what a removal
of the layer's own says; what skips past the layer travels beside it as context. Several layers lie
side by side, as several inputs do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, final

import torch
from torch import Tensor
from torch.autograd import forward_ad

from assay import engine
from assay.errors import AbilityError, InputError
from assay.features.partition import Features
from assay.inputs.layout import Rows
from assay.inputs.tensors import TensorLayout
from assay.models.base import ABSENT, digest
from assay.models.failures import Asked, told
from assay.models.identity import identity
from assay.models.networks.layers import After, names_of
from assay.question.evaluation import Evaluation, replacement_bytes
from assay.removals.base import Absent, FixedAbsent, Removal
from assay.targets import Target


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

    @property
    def replacements(self) -> int | None:
        """How many replacements there are, where that is known before activations are."""
        return self.before.replacements if self.removal is None else None

    def take(self, rows: Tensor) -> BehindLayer:
        """The same for some of the inputs."""
        return replace(self, before=self.before.take(rows))

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
        x, carried = self._activations(n, lambda numbers: (source.x[numbers], numbers))
        return Evaluation(
            model=self.model,
            layout=self.layout,
            x=x,
            partition=self.features.bind_behind(self.layout, x, source.partition, source.layout),
            absent=self._absent(x),
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
            with forward_ad.dual_level():
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
        shapes = tuple(tuple(layer.shape[1:]) for layer in layers)
        if shapes != self.layout.shapes:
            raise AbilityError(
                expected=f"activations of shape {self.layout.describe()} {self.model.name}",
                got=" and ".join(map(str, shapes)),
                advice="Cut at a layer whose activation does not depend on the inputs beside it.",
            )
