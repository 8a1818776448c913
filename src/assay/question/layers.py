"""A question asked behind a layer: the activations there take the place of the inputs.

Layer attributions (Captum's `LayerIntegratedGradients` and its kin) are the same methods, asked of
the rest of the network. What is absent becomes the activation of the absent input; what skips past
the layer travels beside it as context.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, final

import torch
from torch import Tensor

from assay import engine
from assay.features.partition import Features
from assay.inputs.layout import Layout
from assay.models.base import digest
from assay.models.failures import Asked, told
from assay.models.identity import identity
from assay.models.networks.layers import After, names_of
from assay.question.evaluation import Evaluation
from assay.removals.base import FixedAbsent, Removal
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
class BehindLayer:
    """Where a question behind a layer comes from: the question before, and the rest of its network.

    Stands in for an `Evaluation` whose activations are computed when they are first needed.
    """

    before: Before
    model: After
    layout: Layout
    features: Features

    def take(self, rows: Tensor) -> BehindLayer:
        """The same for some of the inputs."""
        return BehindLayer(self.before.take(rows), self.model, self.layout, self.features)

    def identities(self) -> Tensor:
        """An activation keeps the identity of the input that it came from."""
        return self.before.keys

    def digest(self, keys: Tensor, target: Target, features: Features, removal: Removal) -> str:
        """The hash of the question before, and of what is asked behind the layer."""
        described = f"{self.model.name} {self.layout.describe()}"
        held = identity(target, features)
        return digest(self.before.digest.encode(), described.encode(), held).hex()

    def evaluation(self) -> Evaluation:
        """The inputs' activations, what travels beside them, and the activations of what is absent."""
        source = self.before._evaluation
        n = len(source.x)
        x, carried = self._activations(n, lambda numbers: (source.x[numbers], numbers))
        # One set of absent activations serves all inputs where nothing of their own is left in them.
        draws = source.absent.draws
        alike = source.absent.shared and not source.aligned and source.partition.whole
        owned = 1 if alike else n

        def removed(numbers: Tensor) -> tuple[Tensor, Tensor]:
            owners = numbers // draws
            return source.removed_rows(owners, numbers % draws), owners

        replaced, _ = self._activations(owned * draws, removed, "with everything removed")
        return Evaluation(
            model=self.model,
            layout=self.layout,
            x=x,
            partition=self.features.bind(self.layout, x),
            absent=FixedAbsent(replaced.view(owned, draws, self.layout.elements)),
            aligned={**source.aligned, **names_of(carried)},
            shared=source.shared,
        )

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
                activation, beside = self.model.before(folded, context, memory)
            engine.count(len(rows))
            # A copy: the network may write on its own activations afterwards.
            activations.append(activation.detach().reshape(len(rows), -1).clone())
            carried.append([tensor.detach() for tensor in beside])

        with source.model.session(slopes=False):
            chunks = source.model.pace(f"before {self.model.layer} of {source.layout.shapes}")
            chunks = chunks.sized(source.layout.elements, total=total)
            engine.run(total, work, chunks, self.model.name)
        return torch.cat(activations), [torch.cat(pieces) for pieces in zip(*carried)]
