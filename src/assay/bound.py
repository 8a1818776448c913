"""Inputs bound to a model: everything that a chunk of rows needs to be asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import torch
from torch import Tensor

from assay import cut, engine
from assay.errors import AbilityError
from assay.features import Features, Partition
from assay.layout import Layout
from assay.model import Model, finite
from assay.removal import Absent, FixedAbsent

Make: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Flat work indices (r,) to rows (r, elements) and the inputs they belong to (r,)."""
Use: TypeAlias = Callable[[Tensor, Tensor, Tensor], None]
"""What becomes of a chunk: flat work indices, owners, and the outputs (or the slopes)."""


@final
@dataclass(frozen=True, eq=False)
class Bound:
    """A model, the inputs' flat rows x (n, elements), who gets credit, what stands in, and the context."""

    model: Model
    layout: Layout
    x: Tensor
    partition: Partition
    absent: Absent
    aligned: Mapping[str, Tensor]
    shared: Mapping[str, Any]

    def take(self, rows: Tensor) -> Bound:
        """Some of the inputs."""
        aligned = {name: value[rows] for name, value in self.aligned.items()}
        return self.about(self.x[rows], rows, aligned)

    def about(self, x: Tensor, rows: Tensor, aligned: Mapping[str, Tensor] | None = None) -> Bound:
        """Other inputs x in the place of the inputs `rows`."""
        aligned = {name: value[rows] for name, value in self.aligned.items()} if aligned is None else aligned
        return Bound(self.model, self.layout, x, self.partition.take(rows), self.absent.take(rows), aligned, self.shared)

    def context(self, owners: Tensor) -> dict[str, Any]:
        """The context of a chunk."""
        return {**{name: value[owners] for name, value in self.aligned.items()}, **self.shared}

    def outputs(self, total: int, make: Make, use: Use, where: str = "") -> None:
        """Asks `total` rows, chunk by chunk, forward only."""

        def work(start: int, stop: int, memory: int) -> None:
            flat = torch.arange(start, stop, device=self.x.device)
            rows, owners = make(flat)
            outputs = self.model.call(self.layout.fold(rows), self.context(owners), memory)
            engine.count(len(rows))
            use(flat, owners, finite(outputs, self.model.name, where))

        self._run(total, work, make, slopes=False)

    def slopes(self, total: int, make: Make, score: Callable[[Tensor, Tensor], Tensor], use: Use) -> None:
        """Asks `total` rows, chunk by chunk, for the slope of `score(outputs, owners)` at each."""

        def work(start: int, stop: int, memory: int) -> None:
            flat = torch.arange(start, stop, device=self.x.device)
            rows, owners = make(flat)
            leaf = rows.detach().requires_grad_()
            outputs = self.model.call(self.layout.fold(leaf), self.context(owners), memory)
            scores = score(finite(outputs, self.model.name, "on the way"), owners)
            if not scores.requires_grad:
                raise AbilityError(
                    f"Expected outputs of {self.model.name} that can be differentiated, got detached ones. Keep the forward in "
                    "torch, without .detach(), .numpy() or no_grad, or use a method that only asks for predictions."
                )
            (slope,) = torch.autograd.grad(scores.sum(), leaf, allow_unused=True)
            engine.count(len(rows), backward=True)
            use(flat, owners, torch.zeros_like(leaf) if slope is None else slope)

        self._run(total, work, make, slopes=True)

    def _run(self, total: int, work: Callable[[int, int, int], None], make: Make, *, slopes: bool) -> None:
        if total == 0:
            return
        with self.model.session(slopes=slopes):
            sample, owners = make(torch.arange(min(total, 4), device=self.x.device))
            self.model.prepare(total, self.layout.fold(sample), self.context(owners))
            purpose = f"{'slopes' if slopes else 'outputs'} of {self.layout.shapes}"
            engine.run(total, work, self.model.pace(purpose), self.model.name)


def activations(bound: Bound, n: int, after: cut.After, layout: Layout, features: Features) -> Bound:
    """The inputs' activations at a layer, what is carried beside them, and the activations of what is absent."""
    elements = layout.elements

    def run(total: int, make: Callable[[Tensor], tuple[Tensor, Tensor]]) -> tuple[Tensor, list[Tensor]]:
        made: list[Tensor] = []
        beside: list[list[Tensor]] = []
        with bound.model.session(slopes=False):
            for start in range(0, total, 256):
                rows, owners = make(torch.arange(start, min(start + 256, total), device=bound.x.device))
                activation, carried = after.before(bound.layout.fold(rows), bound.context(owners))
                made.append(activation.detach().reshape(len(rows), elements).clone())
                beside.append([tensor.detach() for tensor in carried])
        return torch.cat(made), [torch.cat(each) for each in zip(*beside)]

    x, carried = run(n, lambda flat: (bound.x[flat], flat))
    draws, owned = bound.absent.draws, 1 if bound.absent.shared and not bound.aligned else n
    replaced, _ = run(owned * draws, lambda flat: (bound.absent.all(flat // draws, flat % draws), flat // draws))
    absent = FixedAbsent(replaced.view(owned, draws, elements))
    aligned = {**bound.aligned, **cut.names_of(carried)}
    return Bound(after, layout, x, features.bind(layout, x), absent, aligned, bound.shared)
