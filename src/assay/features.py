"""Who receives credit: elements, columns, pixels, patches, or any map of labels, all of them one partition of the flat row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
import torch
from torch import Tensor

from assay.errors import InputError, KindError
from assay.layout import Layout

Pooling = Literal["sum", "mean"]


@final
@dataclass(frozen=True, eq=False)
class Partition:
    """Features as labels of the flat elements: `labels` (1 or n, elements), int64; -1 marks an element nobody owns.

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
        return Partition(self.labels[rows], self.count, self.names, self.shape, self.pooling, self.identity)

    @property
    def whole(self) -> bool:
        """Whether every element has an owner."""
        return self.identity or not bool((self.labels < 0).any())

    def of(self, rows: Tensor) -> Tensor:
        """The labels of some inputs, (r or 1, elements)."""
        return self.labels if len(self.labels) == 1 else self.labels[rows]

    def spread(self, masks: Tensor, rows: Tensor) -> Tensor:
        """Masks over features (r, count) of the inputs `rows` (r,) to masks over elements (r, elements)."""
        if self.identity:
            return masks
        labels = self.of(rows)
        if len(labels) == 1:
            owned = labels[0].clamp_min(0)
            spread = masks[:, owned]
        else:
            spread = masks.gather(1, labels.clamp_min(0))
        if not self.whole:
            spread = torch.where(labels < 0, torch.ones((), dtype=masks.dtype, device=masks.device), spread)
        return spread

    def pool(self, elements: Tensor, *, pooling: Pooling | None = None) -> Tensor:
        """Credit of elements (n, elements) to credit of features (n, count), by sum or mean over what a feature owns."""
        if self.identity:
            return elements
        labels = self.labels.expand(len(elements), -1)
        slots = torch.where(labels < 0, self.count, labels)
        pooled = elements.new_zeros(len(elements), self.count + 1).scatter_add_(1, slots, elements)[:, :-1]
        if (pooling or self.pooling) == "mean":
            sizes = elements.new_zeros(len(elements), self.count + 1).scatter_add_(1, slots, torch.ones_like(elements))
            pooled = pooled / sizes[:, :-1].clamp_min(1)
        return pooled


class Features(ABC):
    """A rule that says which elements belong together."""

    @abstractmethod
    def bind(self, layout: Layout, x: Tensor) -> Partition:
        """The partition of these inputs."""


def _plain(labels: Tensor, x: Tensor) -> Tensor:
    return labels.reshape(1, -1).to(device=x.device, dtype=torch.int64)


def _grid_names(shape: tuple[int, ...]) -> tuple[str, ...]:
    return tuple(str(list(map(int, np.unravel_index(i, shape)))).replace(" ", "") for i in range(int(np.prod(shape))))


@final
@dataclass(frozen=True)
class Elements(Features):
    """Every number of the input is a feature of its own."""

    def bind(self, layout: Layout, x: Tensor) -> Partition:
        shape = layout.shapes[0] if len(layout.shapes) == 1 else (layout.elements,)
        labels = torch.arange(layout.elements, device=x.device)
        return Partition(_plain(labels, x), layout.elements, layout.names, shape or (1,), identity=True)


@final
@dataclass(frozen=True)
class Columns(Features):
    """The columns of a table, with names and with groups of columns that stand or fall together (one-hot columns of one field).

    `groups` maps a group's name to its columns, by name or by number; columns in no group stand alone.
    """

    names: tuple[str, ...] | None = None
    groups: Mapping[str, Sequence[str | int]] | None = None

    def bind(self, layout: Layout, x: Tensor) -> Partition:
        if len(layout.shapes) != 1 or len(layout.shapes[0]) != 1:
            raise InputError(
                f"Expected a table (n, columns) for Columns, got inputs of shape {layout.describe()}. "
                "Use Elements(), Pixels() or Labels(map) for other shapes."
            )
        names = tuple(map(str, self.names)) if self.names is not None else layout.names
        if len(names) != layout.elements:
            raise InputError(f"Expected {layout.elements} column names, got {len(names)}.")
        if len(set(names)) < len(names):
            raise InputError(
                f"Expected column names that differ, got {list(names)}. Put columns that belong together in `groups`."
            )
        owner = dict(enumerate(names))
        taken: set[int] = set()
        for group, members in (self.groups or {}).items():
            for member in members:
                index = self._index(member, names)
                if index in taken:
                    raise InputError(f"Expected every column in one group at most, got {names[index]!r} in two.")
                taken.add(index)
                owner[index] = str(group)
        order = list(dict.fromkeys((index in taken, owner[index]) for index in range(len(names))))
        labels = torch.tensor([order.index((index in taken, owner[index])) for index in range(len(names))])
        players = tuple(name for _, name in order)
        return Partition(_plain(labels, x), len(order), players, (len(order),), identity=len(order) == len(names))

    @staticmethod
    def _index(member: str | int, names: tuple[str, ...]) -> int:
        if isinstance(member, str) and member in names:
            return names.index(member)
        if isinstance(member, int) and 0 <= member < len(names):
            return member
        raise InputError(f"Expected columns out of {list(names)} in a group, got {member!r}.")


def _image(layout: Layout, who: str) -> tuple[int, int, int]:
    shape = layout.shapes[0]
    if len(layout.shapes) != 1 or len(shape) not in (2, 3):
        raise InputError(
            f"Expected images of shape (channels, height, width) or (height, width) for {who}, got {layout.describe()}."
        )
    return (1, *shape) if len(shape) == 2 else shape  # type: ignore[return-value]


@final
@dataclass(frozen=True)
class Pixels(Features):
    """The pixels of an image; the credit of a pixel's channels is added, or averaged with `pooling="mean"`."""

    pooling: Pooling = "sum"

    def bind(self, layout: Layout, x: Tensor) -> Partition:
        if self.pooling not in ("sum", "mean"):
            raise InputError(f"Expected pooling 'sum' or 'mean', got {self.pooling!r}.")
        channels, height, width = _image(layout, "Pixels")
        labels = torch.arange(height * width).repeat(channels)
        names = _grid_names((height, width))
        return Partition(
            _plain(labels, x), height * width, names, (height, width), self.pooling, identity=channels == 1
        )


@final
@dataclass(frozen=True)
class Patches(Features):
    """Squares of side `size` of an image, all channels together; squares at the far border may be cut."""

    size: int

    def bind(self, layout: Layout, x: Tensor) -> Partition:
        channels, height, width = _image(layout, "Patches")
        if not 1 <= self.size <= max(height, width):
            raise InputError(f"Expected a patch side from 1 to {max(height, width)}, got {self.size}.")
        rows, columns = -(-height // self.size), -(-width // self.size)
        grid = (torch.arange(height) // self.size)[:, None] * columns + (torch.arange(width) // self.size)[None, :]
        labels = grid.reshape(-1).repeat(channels)
        return Partition(_plain(labels, x), rows * columns, _grid_names((rows, columns)), (rows, columns))


@final
@dataclass(frozen=True, eq=False)
class Labels(Features):
    """Any map of integers that says which feature each element belongs to; -1 for none.

    Its shape is that of one input, of an image without its channels, or either with the inputs in front (a map for each).
    Several tensors take a tuple of maps: a label used in two of them is one feature that spans both.
    """

    map: Any
    names: tuple[str, ...] | None = None

    def bind(self, layout: Layout, x: Tensor) -> Partition:
        maps = self.map if isinstance(self.map, tuple) else (self.map,)
        if len(maps) != len(layout.shapes):
            raise InputError(f"Expected {len(layout.shapes)} maps of labels, one for each tensor, got {len(maps)}.")
        flat = [self._flat(torch.as_tensor(one), shape, len(x)) for one, shape in zip(maps, layout.shapes)]
        rows = max(len(part) for part in flat)
        labels = torch.cat([part.expand(rows, -1) for part in flat], dim=1).to(x.device, torch.int64)
        count = int(labels.max()) + 1
        if int(labels.min()) < -1 or count == 0:
            raise InputError("Expected labels from 0 on, with -1 for elements without an owner.")
        names = self.names or tuple(str(index) for index in range(count))
        if len(names) != count:
            raise InputError(f"Expected {count} names, one for each label up to {count - 1}, got {len(names)}.")
        return Partition(labels, count, tuple(map(str, names)), (count,))

    @staticmethod
    def _flat(labels: Tensor, shape: tuple[int, ...], n: int) -> Tensor:
        if labels.is_floating_point() or labels.is_complex():
            raise KindError(f"Expected integers as labels, got {labels.dtype}.")
        for front in ((), (n,)):
            if tuple(labels.shape) == (*front, *shape):
                return labels.reshape(n if front else 1, -1)
            if len(shape) == 3 and tuple(labels.shape) == (*front, *shape[1:]):
                return labels.reshape(n if front else 1, 1, -1).expand(-1, shape[0], -1).reshape(n if front else 1, -1)
        raise InputError(
            f"Expected a map of labels of shape {shape}, of the image without its channels, or with {n} inputs in front, "
            f"got {tuple(labels.shape)}."
        )
