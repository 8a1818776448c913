"""Credit per element, per column of a table, or per any label map.

Groups of columns are one feature, and stand or fall together. The usual case are the one-hot
columns of one field, none of which means anything without the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from assay.errors import InputError, KindError, SettingError
from assay.features.partition import Features, Partition, as_labels
from assay.inputs.arrays import as_tensor
from assay.inputs.layout import Layout
from assay.settings import scalar, shown


@final
@dataclass(frozen=True)
class Elements(Features):
    """Every number of the input is a feature of its own: phi_i belongs to x_i.

    The default of tables, vectors, series and several tensors; of colour pictures say it for credit of
    each channel by itself.

    Shapes: as many features as elements, in the shape of the input, so that maps look like it; of several
    tensors in one row, which `answer.parts` cuts apart. Errors: none of its own.

    >>> import torch, assay
    >>> x = torch.tensor([[1.0, 2.0, 3.0]])
    >>> question = assay.Question(lambda x: x[:, 0] * x[:, 1], x, features=Elements())
    >>> question.partition.count, assay.ExactShapley()(question).values.tolist()
    (3, [[1.0, 1.0, 0.0]])
    """

    def bind(self, layout: Layout, x: Tensor) -> Partition:
        # Several tensors have no shape in common, and their features lie in one row.
        shape: tuple[int, ...] = (layout.elements,)
        if len(layout.shapes) == 1:
            shape = layout.shapes[0] or (1,)
        # Feature i is element i, which `identity` says: masks are used as they come.
        labels = torch.arange(layout.elements, device=x.device)
        return Partition(as_labels(labels, x), layout.elements, layout.names, shape, identity=True)


@final
@dataclass(frozen=True)
class Columns(Features):
    """The columns of a table, with names and with groups of columns that stand or fall together.

    A group is one player of the game: a coalition has all of its columns or none, as the one-hot columns
    of one field need it. Its credit of slopes is their sum.

    Settings:
        names: one for each column; those of the DataFrame where nothing is said.
        groups: a group's name to its columns, by name, by number or as a slice of numbers (one-hot
            columns of one field).
            Columns in no group stand alone. A group stands where its first column does.
        categorical: columns that are categories though they hold numbers or dates, by name or by
            number: codes, numbers that only name something. Categories are switched, never
            computed with; columns of texts, bools and pandas' categories are so anyway.

    Shapes: (groups and columns in none,), in the order of their first columns. Errors: InputError for what
    is no table, names that do not fit, columns in two groups.

    >>> import torch, assay
    >>> columns = Columns(("age", "red", "blue"), groups={"colour": ["red", "blue"]})
    >>> question = assay.Question(torch.nn.Linear(3, 1), torch.ones(2, 3), features=columns)
    >>> question.partition.names, question.partition.labels.tolist()
    (('age', 'colour'), [[0, 1, 1]])
    """

    names: tuple[Any, ...] | None = None
    groups: Mapping[Any, Any] | None = None
    categorical: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        if self.groups is not None:
            groups = {group: _listed(group, columns) for group, columns in self.groups.items()}
            object.__setattr__(self, "groups", groups)

    def declared(self, layout: Layout) -> Layout:
        """The layout with the columns as categories that are said to be."""
        if not self.categorical:
            return layout
        self._check_table(layout)
        names = self._column_names(layout)
        return layout.declaring([self._column(column, names) for column in self.categorical])

    def bind(self, layout: Layout, x: Tensor) -> Partition:
        self._check_table(layout)
        names = self._column_names(layout)
        groups = self._group_of_column(names)
        # A group may bear the name of a column outside it: they are two features.
        keys = [(index in groups, groups.get(index, name)) for index, name in enumerate(names)]
        # Features are numbered in the order in which their first columns stand.
        number = {key: index for index, key in enumerate(dict.fromkeys(keys))}
        labels = torch.tensor([number[key] for key in keys])
        count = len(number)
        feature_names = tuple(name for _, name in number)
        # As many features as columns: then feature i is column i.
        identity = count == len(names)
        return Partition(as_labels(labels, x), count, feature_names, (count,), identity=identity)

    @staticmethod
    def _check_table(layout: Layout) -> None:
        if len(layout.shapes) != 1 or len(layout.shapes[0]) != 1:
            raise InputError(
                expected="a table (n, columns) for Columns",
                got=f"inputs of shape {layout.describe()}",
                advice="Use Elements(), Pixels() or Labels(map) for other shapes.",
            )

    def _column_names(self, layout: Layout) -> tuple[str, ...]:
        names = tuple(map(str, layout.names if self.names is None else self.names))
        if len(names) != layout.elements:
            raise InputError(
                expected=f"{layout.elements} column names",
                got=len(names),
                advice="Give Columns(names=...) one name for each column of the inputs, in order.",
            )
        if len(set(names)) < len(names):
            raise InputError(
                expected="column names that differ",
                got=list(names),
                advice="Put columns that belong together in `groups`.",
            )
        return names

    def _group_of_column(self, names: tuple[str, ...]) -> dict[int, str]:
        """The group of each column that is in one, by the column's number."""
        group_of: dict[int, str] = {}
        for group, members in (self.groups or {}).items():
            if isinstance(members, slice):
                members = range(len(names))[members]
            for member in members:
                index = self._column(member, names)
                # A mask could not say whether such a column is present.
                if index in group_of:
                    raise InputError(
                        expected="every column in one group at most",
                        got=f"{names[index]!r} in two",
                        advice=f"Take it out of {group_of[index]!r} or out of {str(group)!r}.",
                    )
                group_of[index] = str(group)
        return group_of

    @staticmethod
    def _column(member: str | int, names: tuple[str, ...]) -> int:
        """The number of a column that is called by its name or by its number."""
        if isinstance(member, str) and member in names:
            return names.index(member)
        # True is an int to Python, and no column.
        number = -1 if isinstance(member, str | bool) else member
        if isinstance(number, int) and 0 <= number < len(names):
            return number
        raise InputError(
            expected=f"a column out of {list(names)}",
            got=repr(member),
            advice=f"Name one of these, or give its number, 0 to {len(names) - 1}.",
        )


def _check_one_reading(labels: Tensor) -> None:
    """Refuses maps (channels, height, width) of as many inputs, unless both readings agree."""
    if bool((labels == labels[:1]).all()):
        return
    # Maps of several inputs number their features alike; features of their own make channels.
    used = [set(part[part >= 0].tolist()) for part in labels]
    if len(set().union(*used)) == sum(map(len, used)):
        return
    count = len(labels)
    raise InputError(
        expected="a map of labels that can be read in one way",
        got=f"shape {tuple(labels.shape)}, which is {count} channels of one map or {count} maps",
        advice=(
            f"For a map for each input write Labels(map[:, None].expand(-1, {count}, -1, -1)), for "
            f"one map with labels for each channel Labels(map.expand({count}, -1, -1, -1))."
        ),
    )


def _listed(group: Any, columns: Any) -> list[Any] | slice:
    """The columns of a group, one by one, or as a slice of numbers."""
    if isinstance(columns, slice):
        ends = (columns.start, columns.stop, columns.step)
        if columns.step != 0 and all(end is None or isinstance(end, int) for end in ends):
            return columns
    elif isinstance(columns, list | tuple | set | frozenset | range):
        # Numbers of NumPy become Python's.
        return [scalar(column) for column in columns]
    elif getattr(columns, "ndim", 0) == 1 and hasattr(columns, "tolist"):
        listed: list[Any] = columns.tolist()
        return listed
    raise SettingError(
        expected=f"a list of columns as group {group!r}",
        got=shown(columns),
        advice=f"Write Columns(groups={{{group!r}: ['red', 'blue']}}).",
    )


@final
@dataclass(frozen=True, eq=False)
class Labels(Features):
    """Any map of integers that says which feature each element belongs to; -1 for none.

    Feature j owns the elements with label j: they are removed together, and its credit is the sum of
    theirs. Elements of -1 are always present and receive none. Organs, boxes, fields of a form, segments
    of any other program.

    Settings:
        map: integers in the shape of one input, of an image without its channels, or either with
            the inputs in front (a map for each). Several tensors take a tuple of maps: a label
            used in two of them is one feature that spans both.
        names: one for each label; the labels themselves where nothing is said.

    Shapes: (largest label + 1,); labels that no element bears are features too, and get 0. Errors:
    KindError for labels that are no integers, InputError for maps that do not fit or can be read in two
    ways (as many maps as channels).

    >>> import torch, assay
    >>> halves = Labels(torch.tensor([0, 0, 1, -1]), names=("left", "right"))
    >>> question = assay.Question(lambda x: x.sum(1), torch.ones(2, 4), features=halves)
    >>> question.partition.count, question.partition.whole
    (2, False)
    >>> assay.ExactShapley()(question).values[0].tolist()         # the last number belongs to nobody
    [2.0, 1.0]
    """

    map: Any
    names: tuple[Any, ...] | None = None

    def bind(self, layout: Layout, x: Tensor) -> Partition:
        maps = self.map if isinstance(self.map, tuple) else (self.map,)
        if len(maps) != len(layout.shapes):
            raise InputError(
                expected=f"{len(layout.shapes)} maps of labels, one for each tensor",
                got=len(maps),
                advice="Hand them over as a tuple, Labels((map, map)), in the order of the inputs.",
            )
        flat = [
            self._flat(as_tensor(label_map), shape, len(x))
            for label_map, shape in zip(maps, layout.shapes)
        ]
        # One tensor may have a map for each input where another has one for all.
        rows = max(len(part) for part in flat)
        # Flat rows hold the tensors side by side, and so do their labels.
        labels = torch.cat([part.expand(rows, -1) for part in flat], dim=1)
        labels = labels.to(x.device, torch.int64)
        low, high = int(labels.min()), int(labels.max())
        if low < -1 or high < 0:
            raise InputError(
                expected="labels from 0 on, with -1 for elements without an owner",
                got=f"labels from {low} to {high}",
                advice="Number the features 0, 1, 2, ..., and leave at least one element an owner.",
            )
        # Labels that no element bears are features too, and receive 0.
        count = high + 1
        return Partition(labels, count, self._feature_names(count), (count,))

    def _feature_names(self, count: int) -> tuple[str, ...]:
        names = self.names or tuple(map(str, range(count)))
        if len(names) != count:
            raise InputError(
                expected=f"{count} names, one for each label up to {count - 1}",
                got=len(names),
                advice="Name every label in order, also those that no element bears.",
            )
        return tuple(map(str, names))

    @staticmethod
    def _flat(labels: Tensor, shape: tuple[int, ...], n: int) -> Tensor:
        """The map of one tensor of the inputs as rows (1 or n, its elements)."""
        # Floats are a picture handed in by mistake: rounded, it would pass for a map.
        if labels.is_floating_point():
            raise KindError(
                expected="integers as labels",
                got=labels.dtype,
                advice="Convert them with .long(), if they are whole numbers.",
            )
        sizes = tuple(labels.shape)
        # As many maps as channels: one for each channel, or one for each input?
        if len(shape) == 3 and sizes == shape == (n, *shape[1:]):
            _check_one_reading(labels)
        # One map for all inputs is tried before a map for each.
        for rows, front in ((1, ()), (n, (n,))):
            if sizes == (*front, *shape):
                return labels.reshape(rows, -1)
            if len(shape) == 3 and sizes == (*front, *shape[1:]):
                # A map without channels holds for every one of them.
                pixels = labels.reshape(rows, 1, -1)
                return pixels.expand(-1, shape[0], -1).reshape(rows, -1)
        raise InputError(
            expected=(
                f"a map of labels of shape {shape}, of the image without its channels, or "
                f"with {n} inputs in front"
            ),
            got=sizes,
            advice="Reshape the map to one of these.",
        )
