"""Who receives credit, as one partition of the flat input.

Whatever a feature is (a pixel over its channels, a superpixel, a group of columns), a model sees
elements. A partition ties the two together by labels and gives the linear map between them and its
adjoint: `spread` takes masks over features to masks over elements (the map h_x from interpretable
to original inputs of Ribeiro et al. 2016, section 3.1), `pool` takes credit of elements back to
features. Methods see partitions alone, so that none of them knows what an image is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, final

import torch
from torch import Tensor

from assay.inputs.layout import Layout
from assay.settings import Settings

Pooling = Literal["sum", "mean"]


@final
@dataclass(frozen=True, eq=False)
class Partition:
    """Features as labels of the flat elements.

    An element without an owner is never removed and receives no credit.

    Settings:
        labels: the feature of each element (1 or n, elements), int64; -1 where there is no owner.
            One row serves all inputs.
        count: how many features there are.
        names: one for each feature.
        shape: the features' own shape, such as (height, width) of pixels; its product is `count`.
        pooling: whether credit of a feature's elements is added or averaged.
        identity: whether feature i is element i, so that masks and credit need no translation.
        own_names: for each input the names of the features that it has, from feature 0 on, where
            they differ from input to input, such as words; else None.
    """

    labels: Tensor
    count: int
    names: Sequence[str]
    shape: tuple[int, ...]
    pooling: Pooling = "sum"
    identity: bool = False
    own_names: tuple[tuple[str, ...], ...] | None = None

    def take(self, rows: Tensor) -> Partition:
        """The partition of some of the inputs."""
        # One row of labels serves all inputs.
        if len(self.labels) == 1:
            return self
        own_names = self.own_names
        if own_names is not None:
            own_names = tuple(own_names[row] for row in rows.tolist())
        return replace(self, labels=self.labels[rows], own_names=own_names)

    @cached_property
    def whole(self) -> bool:
        """Whether every element has an owner."""
        # What is known comes first: labels are a pass through memory.
        return self.identity or not bool((self.labels < 0).any())

    def of(self, rows: Tensor) -> Tensor:
        """The labels of some inputs, (r or 1, elements)."""
        return self.labels if len(self.labels) == 1 else self.labels[rows]

    def spread(self, masks: Tensor, rows: Tensor) -> Tensor:
        """Masks over features (r, count) of the inputs `rows` (r,), as masks over elements.

        Shape (r, elements); elements without an owner are always present.
        """
        if self.identity:
            return masks
        labels = self.of(rows)
        # Label -1 borrows feature 0 here, and is put right below.
        owners = labels.clamp_min(0)
        # One row of labels is one choice of columns for all masks.
        shared = len(labels) == 1
        element_masks = masks[:, owners[0]] if shared else masks.gather(1, owners)
        if self.whole:
            return element_masks
        present = torch.ones((), dtype=masks.dtype, device=masks.device)
        return torch.where(labels < 0, present, element_masks)

    def pool(self, elements: Tensor, *, pooling: Pooling | None = None) -> Tensor:
        """Credit of elements (n, elements) as credit of features (n, count).

        Added or averaged over the elements that a feature owns; `pooling` says which, in the place
        of the partition's own.
        """
        if self.identity:
            return elements
        labels = self.labels.expand(len(elements), -1)
        # Credit that belongs to nobody gathers in one more slot,
        # which is dropped: scatter takes no label -1.
        slots = torch.where(labels < 0, self.count, labels)
        totals = elements.new_zeros(len(elements), self.count + 1)
        totals.scatter_add_(1, slots, elements)
        if (pooling or self.pooling) != "mean":
            return totals[:, :-1]
        sizes = torch.zeros_like(totals)
        sizes.scatter_add_(1, slots, torch.ones_like(elements))
        # A feature that owns nothing has the mean 0, not 0 / 0.
        return totals[:, :-1] / sizes[:, :-1].clamp_min(1)


class Features(Settings, ABC):
    """A rule that says which elements of an input belong together and receive credit together.

    A subclass is a frozen dataclass whose fields are its settings.

    Must write: `bind`, which reads one layout and the flat inputs x (n, elements) and gives labels
    (1 or n, elements), as many names as there are features, and the features' shape.

    Gets for free: masks over its features (n, m, features) in every method and metric, credit
    (n, features) pooled from elements, questions about some of the inputs or behind a layer, and
    answers that carry its names and its shape.
    """

    @abstractmethod
    def bind(self, layout: Layout, x: Tensor) -> Partition:
        """The partition of these inputs, the same for an input whatever others stand beside it.

        Settings that no input could make sense of are refused before, in `__post_init__`
        (SettingError); here it is refused what does not fit these inputs (InputError).
        """

    def bind_behind(  # may be overridden
        self, layout: Layout, x: Tensor, before: Partition, inputs: Layout
    ) -> Partition:
        """The partition of activations x (n, units), where features of the inputs were `before`."""
        return self.bind(layout, x)


def as_labels(labels: Tensor, x: Tensor) -> Tensor:
    """One map of labels for all inputs: (1, elements), int64, on the device of the inputs."""
    return labels.reshape(1, -1).to(device=x.device, dtype=torch.int64)
