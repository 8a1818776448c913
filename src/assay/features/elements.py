"""Credit per element, per column, or per any label map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from assay.errors import InputError, KindError
from assay.features.partition import Features, Partition, _plain
from assay.inputs.layout import Layout


@final
@dataclass(frozen=True)
class Elements(Features):
    """Every number of the input is a feature of its own."""

    def bind(self, layout: Layout, x: Tensor) -> Partition:
        shape = layout.shapes[0] if len(layout.shapes) == 1 else (layout.elements,)
        labels = torch.arange(layout.elements, device=x.device)
        return Partition(
            _plain(labels, x), layout.elements, layout.names, shape or (1,), identity=True
        )


@final
@dataclass(frozen=True)
class Columns(Features):
    """The columns of a table, with names and with groups of columns that stand or fall together
    (one-hot columns of one field).

    `groups` maps a group's name to its columns, by name or by number; columns in no group stand
    alone.
    """

    names: tuple[str, ...] | None = None
    groups: Mapping[str, Sequence[str | int]] | None = None

    def bind(self, layout: Layout, x: Tensor) -> Partition:
        if len(layout.shapes) != 1 or len(layout.shapes[0]) != 1:
            raise InputError(
                expected="a table (n, columns) for Columns",
                got=f"inputs of shape {layout.describe()}",
                advice="Use Elements(), Pixels() or Labels(map) for other shapes.",
            )
        names = tuple(map(str, self.names)) if self.names is not None else layout.names
        if len(names) != layout.elements:
            raise InputError(
                expected=f"{layout.elements} column names",
                got=len(names),
                advice="",
            )
        if len(set(names)) < len(names):
            raise InputError(
                expected="column names that differ",
                got=list(names),
                advice="Put columns that belong together in `groups`.",
            )
        owner = dict(enumerate(names))
        taken: set[int] = set()
        for group, members in (self.groups or {}).items():
            for member in members:
                index = self._index(member, names)
                if index in taken:
                    raise InputError(
                        expected="every column in one group at most",
                        got=f"{names[index]!r} in two",
                        advice="",
                    )
                taken.add(index)
                owner[index] = str(group)
        order = list(dict.fromkeys((index in taken, owner[index]) for index in range(len(names))))
        labels = torch.tensor(
            [order.index((index in taken, owner[index])) for index in range(len(names))]
        )
        players = tuple(name for _, name in order)
        return Partition(
            _plain(labels, x), len(order), players, (len(order),), identity=len(order) == len(names)
        )

    @staticmethod
    def _index(member: str | int, names: tuple[str, ...]) -> int:
        if isinstance(member, str) and member in names:
            return names.index(member)
        if isinstance(member, int) and 0 <= member < len(names):
            return member
        raise InputError(
            expected=f"columns out of {list(names)} in a group",
            got=repr(member),
            advice="",
        )


@final
@dataclass(frozen=True, eq=False)
class Labels(Features):
    """Any map of integers that says which feature each element belongs to; -1 for none.

    Its shape is that of one input, of an image without its channels, or either with the inputs in
    front (a map for each). Several tensors take a tuple of maps: a label used in two of them is one
    feature that spans both.
    """

    map: Any
    names: tuple[str, ...] | None = None

    def bind(self, layout: Layout, x: Tensor) -> Partition:
        maps = self.map if isinstance(self.map, tuple) else (self.map,)
        if len(maps) != len(layout.shapes):
            raise InputError(
                expected=f"{len(layout.shapes)} maps of labels, one for each tensor",
                got=len(maps),
                advice="",
            )
        flat = [
            self._flat(torch.as_tensor(one), shape, len(x))
            for one, shape in zip(maps, layout.shapes)
        ]
        rows = max(len(part) for part in flat)
        labels = torch.cat([part.expand(rows, -1) for part in flat], dim=1).to(
            x.device, torch.int64
        )
        count = int(labels.max()) + 1
        if int(labels.min()) < -1 or count == 0:
            raise InputError("Expected labels from 0 on, with -1 for elements without an owner.")
        names = self.names or tuple(str(index) for index in range(count))
        if len(names) != count:
            raise InputError(
                expected=f"{count} names, one for each label up to {count - 1}",
                got=len(names),
                advice="",
            )
        return Partition(labels, count, tuple(map(str, names)), (count,))

    @staticmethod
    def _flat(labels: Tensor, shape: tuple[int, ...], n: int) -> Tensor:
        if labels.is_floating_point() or labels.is_complex():
            raise KindError(
                expected="integers as labels",
                got=labels.dtype,
                advice="",
            )
        for front in ((), (n,)):
            if tuple(labels.shape) == (*front, *shape):
                return labels.reshape(n if front else 1, -1)
            if len(shape) == 3 and tuple(labels.shape) == (*front, *shape[1:]):
                return (
                    labels.reshape(n if front else 1, 1, -1)
                    .expand(-1, shape[0], -1)
                    .reshape(n if front else 1, -1)
                )
        raise InputError(
            expected=(
                f"a map of labels of shape {shape}, of the image without its channels, or "
                f"with {n} inputs in front"
            ),
            got=tuple(labels.shape),
            advice="",
        )
