"""Inputs bound to a model: everything that a chunk of rows needs to be asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias, final

import torch
from torch import Tensor

from assay import engine
from assay.errors import AbilityError, KindError, ModelError
from assay.features.partition import Partition
from assay.inputs.layout import Layout
from assay.models.base import Model, Near, finite
from assay.numerics.precision import plain
from assay.removals.base import Absent
from assay.targets import Target

Make: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Flat work indices (r,) to rows (r, elements) and the inputs they belong to (r,)."""

Nearby: TypeAlias = Callable[[Tensor, Tensor, int], Near]
"""Flat work indices, owners and the memory layout to what the rows are near to."""

Use: TypeAlias = Callable[[Tensor, Tensor, Tensor], None]
"""What becomes of a chunk: flat work indices, owners, and the outputs (or the slopes)."""

_PATCH = (
    1 / 16
)  # what a row of which a patch is asked takes of the work and memory of a whole one, about


@final
@dataclass(frozen=True, eq=False)
class Bound:
    """A model, the inputs' flat rows x (n, elements), who gets credit, what stands in, and the
    context.
    """

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
        aligned = (
            {name: value[rows] for name, value in self.aligned.items()}
            if aligned is None
            else aligned
        )
        return Bound(
            self.model,
            self.layout,
            x,
            self.partition.take(rows),
            self.absent.take(rows),
            aligned,
            self.shared,
        )

    def nothing(self, rows: Tensor, draws: Tensor) -> Tensor:
        """The inputs `rows` with every feature removed (r, elements); elements that nobody owns
        stay.
        """
        removed = self.absent.all(rows, draws)
        return (
            removed
            if self.partition.whole
            else torch.where(self.partition.of(rows) < 0, self.x[rows], removed)
        )

    @cached_property
    def unmoved(self) -> Tensor:
        """The inputs that stay as they are when everything is removed, whatever the draw."""
        same = torch.arange(len(self.x), device=self.x.device)
        for draw in range(self.absent.draws):
            if len(same) == 0:
                break
            same = same[
                (self.nothing(same, torch.full_like(same, draw)) == self.x[same]).all(dim=1)
            ]
        return same

    def context(self, owners: Tensor) -> dict[str, Any]:
        """The context of a chunk."""
        return {**{name: value[owners] for name, value in self.aligned.items()}, **self.shared}

    def outputs(
        self,
        total: int,
        make: Make,
        use: Use,
        where: str = "",
        unit: int = 1,
        near: Nearby | None = None,
    ) -> None:
        """Asks `total` rows, chunk by chunk, forward only; `unit` rows that belong together share a
        chunk if one holds them.

        `near` says of which images they differ in a patch only.
        """

        def work(start: int, stop: int, memory: int) -> None:
            flat = torch.arange(start, stop, device=self.x.device)
            rows, owners = make(flat)
            folded, context = self.layout.fold(rows), self.context(owners)
            if near is None:
                outputs = self.model.call(folded, context, memory)
            else:
                outputs = self.model.call_near(folded, near(flat, owners, memory), context, memory)
            engine.count(len(rows))
            use(flat, owners, finite(outputs, self.model.name, where))

        if near is None:
            self._run(total, work, make, "outputs", unit=unit)
        else:
            self._run(total, work, make, "outputs of patches", unit=unit, share=_PATCH)

    def slopes(
        self, total: int, make: Make, score: Callable[[Tensor, Tensor], Tensor], use: Use
    ) -> None:
        """Asks `total` rows, chunk by chunk, for the slope of `score(outputs, owners)` at each."""

        def work(start: int, stop: int, memory: int) -> None:
            flat = torch.arange(start, stop, device=self.x.device)
            rows, owners = make(flat)
            if not rows.is_floating_point():
                raise KindError(
                    expected="floating inputs to take slopes at",
                    got=rows.dtype,
                    advice="integers have no slope.",
                )
            leaf = rows.detach().requires_grad_()
            outputs = self.model.call(self.layout.fold(leaf), self.context(owners), memory)
            scores = score(finite(outputs, self.model.name, "on the way"), owners)
            if not scores.requires_grad:
                raise AbilityError(
                    expected=f"outputs of {self.model.name} that can be differentiated",
                    got="detached ones",
                    advice=(
                        "Keep the forward in torch, without .detach(), .numpy() or "
                        "no_grad, or use a method that only asks for predictions."
                    ),
                )
            (slope,) = torch.autograd.grad(scores.sum(), leaf, allow_unused=True)
            engine.count(len(rows), backward=True)
            use(flat, owners, torch.zeros_like(leaf) if slope is None else slope)

        self._run(total, work, make, "slopes")

    def base(self, n: int, target: Target) -> Tensor:
        """The target with everything removed, averaged over the draws of the removal: (n,)."""
        draws = self.absent.draws
        total = torch.zeros(n, dtype=torch.float64, device=self.x.device)
        if self.absent.shared and not self.aligned and self.partition.whole:
            every = torch.arange(n, device=self.x.device)

            def add(flat: Tensor, owners: Tensor, outputs: Tensor) -> None:
                for output in outputs:
                    total.add_(target.score(output.unsqueeze(0).expand(n, *output.shape), every))

            zero = torch.zeros(1, dtype=torch.int64, device=self.x.device)
            self.outputs(
                draws,
                lambda flat: (self.nothing(zero.expand(len(flat)), flat), zero.expand(len(flat))),
                add,
            )
        else:

            def gather(flat: Tensor, owners: Tensor, outputs: Tensor) -> None:
                total.index_add_(0, owners, target.score(outputs, owners).to(torch.float64))

            self.outputs(
                n * draws,
                lambda flat: (self.nothing(flat // draws, flat % draws), flat // draws),
                gather,
            )
        return plain(total / draws, self.x)

    def probe(self, n: int, target: Target) -> None:
        """Asks two rows together and alone, and refuses when their answers differ or the target
        does not fit them.
        """
        zero, seen = torch.zeros(1, dtype=torch.int64, device=self.x.device), []
        second = self.x[1:2] if n > 1 else self.nothing(zero, zero)
        pair, owners = (
            torch.cat([self.x[:1], second]),
            torch.tensor([0, min(1, n - 1)], device=self.x.device),
        )
        with self.model.session(slopes=False):
            for part in (slice(0, 2), slice(0, 1)):
                seen.append(
                    self.model.call(self.layout.fold(pair[part]), self.context(owners[part]))
                    .detach()
                    .clone()
                )
        together, alone = seen[0][:1].to(torch.float64), seen[1].to(torch.float64)
        single = self.x.dtype in (torch.float16, torch.bfloat16)
        if not torch.allclose(
            together,
            alone,
            rtol=3e-2 if single else 1e-3,
            atol=3e-2 if single else 1e-4,
            equal_nan=True,
        ):
            gap = float((together - alone).abs().max())
            raise ModelError(
                expected="the answer for an input not to depend on its neighbours",
                got=(
                    f"a difference of {gap:.3g} from {self.model.name} for the same row alone "
                    "and beside another"
                ),
                advice=(
                    "Statistics over the batch or randomness are at work: put such layers "
                    "in evaluation mode, or fix the randomness."
                ),
            )
        target.take(owners[:1]).choose(seen[1])

    def _run(
        self,
        total: int,
        work: Callable[[int, int, int], None],
        make: Make,
        purpose: str,
        unit: int = 1,
        share: float = 1.0,
    ) -> None:
        if total == 0:
            return
        with self.model.session(slopes=purpose == "slopes"):
            sample, owners = make(torch.arange(min(total, 4), device=self.x.device))
            self.model.prepare(total, self.layout.fold(sample), self.context(owners))
            pace = self.model.pace(f"{purpose} of {self.layout.shapes}").sized(
                self.layout.elements, share
            )
            engine.run(total, work, pace, self.model.name, unit)
