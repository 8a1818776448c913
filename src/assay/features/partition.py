"""Who receives credit: elements, columns, pixels, patches, or any map of labels, all of them one
partition of the flat row.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor

from assay.inputs.layout import Layout

Pooling = Literal["sum", "mean"]


@final
@dataclass(frozen=True, eq=False)
class Partition:
    """Features as labels of the flat elements: `labels` (1 or n, elements), int64; -1 marks an
    element nobody owns.

    An element without an owner is never removed and receives no credit.
    """

    labels: Tensor
    count: int
    names: tuple[str, ...]
    shape: tuple[int, ...]
    pooling: Pooling = "sum"
    identity: bool = False

    def take(self, rows: Tensor) -> Partition:
        """The partition of some of the inputs."""
        if len(self.labels) == 1:
            return self
        return Partition(
            self.labels[rows], self.count, self.names, self.shape, self.pooling, self.identity
        )

    @property
    def whole(self) -> bool:
        """Whether every element has an owner."""
        return self.identity or not bool((self.labels < 0).any())

    def of(self, rows: Tensor) -> Tensor:
        """The labels of some inputs, (r or 1, elements)."""
        return self.labels if len(self.labels) == 1 else self.labels[rows]

    def spread(self, masks: Tensor, rows: Tensor) -> Tensor:
        """Masks over features (r, count) of the inputs `rows` (r,) to masks over elements (r,
        elements).
        """
        if self.identity:
            return masks
        labels = self.of(rows)
        if len(labels) == 1:
            owned = labels[0].clamp_min(0)
            spread = masks[:, owned]
        else:
            spread = masks.gather(1, labels.clamp_min(0))
        if not self.whole:
            spread = torch.where(
                labels < 0, torch.ones((), dtype=masks.dtype, device=masks.device), spread
            )
        return spread

    def pool(self, elements: Tensor, *, pooling: Pooling | None = None) -> Tensor:
        """Credit of elements (n, elements) to credit of features (n, count), by sum or mean over
        what a feature owns.
        """
        if self.identity:
            return elements
        labels = self.labels.expand(len(elements), -1)
        slots = torch.where(labels < 0, self.count, labels)
        pooled = elements.new_zeros(len(elements), self.count + 1).scatter_add_(1, slots, elements)[
            :, :-1
        ]
        if (pooling or self.pooling) == "mean":
            sizes = elements.new_zeros(len(elements), self.count + 1).scatter_add_(
                1, slots, torch.ones_like(elements)
            )
            pooled = pooled / sizes[:, :-1].clamp_min(1)
        return pooled


class Features(ABC):
    """A rule that says which elements belong together."""

    @abstractmethod
    def bind(self, layout: Layout, x: Tensor) -> Partition:
        """The partition of these inputs."""


def _plain(labels: Tensor, x: Tensor) -> Tensor:
    return labels.reshape(1, -1).to(device=x.device, dtype=torch.int64)
