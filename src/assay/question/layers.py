"""A question asked behind a layer: the activations there take the place of the inputs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from assay import engine
from assay.features.partition import Features
from assay.inputs.layout import Layout, arranged
from assay.models.networks import layers as cut
from assay.question.evaluation import Bound
from assay.removals.base import FixedAbsent


def activations(
    bound: Bound, n: int, after: cut.After, layout: Layout, features: Features
) -> Bound:
    """The inputs' activations at a layer, what is carried beside them, and the activations of what
    is absent.
    """
    elements = layout.elements

    def run(
        total: int, make: Callable[[Tensor], tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, list[Tensor]]:
        made: list[Tensor] = []
        beside: list[list[Tensor]] = []

        def work(start: int, stop: int, memory: int) -> None:
            rows, owners = make(torch.arange(start, stop, device=bound.x.device))
            activation, carried = after.before(
                arranged(bound.layout.fold(rows), memory), bound.context(owners)
            )
            engine.count(len(rows))
            made.append(activation.detach().reshape(len(rows), elements).clone())
            beside.append([tensor.detach() for tensor in carried])

        with bound.model.session(slopes=False):
            pace = bound.model.pace(f"before {after.layer} of {bound.layout.shapes}").sized(
                bound.layout.elements
            )
            engine.run(total, work, pace, after.name)
        return torch.cat(made), [torch.cat(each) for each in zip(*beside)]

    x, carried = run(n, lambda flat: (bound.x[flat], flat))
    draws = bound.absent.draws
    owned = 1 if bound.absent.shared and not bound.aligned and bound.partition.whole else n
    replaced, _ = run(
        owned * draws, lambda flat: (bound.nothing(flat // draws, flat % draws), flat // draws)
    )
    absent = FixedAbsent(replaced.view(owned, draws, elements))
    aligned = {**bound.aligned, **cut.names_of(carried)}
    return Bound(after, layout, x, features.bind(layout, x), absent, aligned, bound.shared)
