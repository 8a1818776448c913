"""Pairs of inputs and references: a table of B x R of them whose forward has B + R rows.

What an operation gives for an input does not depend on the reference that it is compared with, so
distinct inputs and distinct references go forward once each. Only the way back, where every pair has a
signal of its own, has B R rows: signals come as (references, inputs, ...), one reference after the
other for whatever is linear (`torch.func.vmap`), and multipliers are worked out on the way, from what
is known of both sides. Where rows are not told apart from other dimensions, or inputs have references
of their own, every pair goes forward beside its reference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from assay.models.networks.operations.operation import Operation

_CONVOLUTIONS = ("conv1d", "conv2d", "conv3d")
_MOST_UNASKED = 1.5  # cells of a table for each pair that is asked about


@final
@dataclass(frozen=True, eq=False)
class _Distinct:
    """Which rows stand for all (k,), and which of those each row is (r,)."""

    first: Tensor
    places: Tensor

    @classmethod
    def of(cls, keys: Tensor) -> _Distinct:
        # Any of the rows alike may stand for them: whichever the scatter leaves will do.
        different, places = torch.unique(keys, return_inverse=True)
        numbers = torch.arange(len(keys), device=keys.device)
        first = numbers.new_empty(len(different)).scatter_(0, places, numbers)
        return cls(first, places)

    @classmethod
    def all_of(cls, keys: Tensor) -> _Distinct:
        """Every row for itself."""
        numbers = torch.arange(len(keys), device=keys.device)
        return cls(numbers, numbers)


@final
class Pairs:
    """A chunk of pairs: references (r, elements), and the numbers of the inputs and of the steps."""

    def __init__(self, references: Tensor, inputs: Tensor, steps: Tensor) -> None:
        self.references = references
        self._numbers = (inputs, steps)
        self.inputs = self.distinct = _Distinct.all_of(inputs)
        self.is_table = False

    def share(self, may: bool) -> None:
        """Looks whether the pairs are a table, where rows may be asked once for several of them."""
        inputs, steps = self._numbers
        self.inputs = self.distinct = _Distinct.all_of(inputs)
        self.is_table = False
        if not may:
            return
        few, distinct = _Distinct.of(inputs), _Distinct.of(steps)
        cells = len(few.first) * len(distinct.first)
        # A removal may give each input a reference of its own: then one step has several.
        spread = self.references[distinct.first][distinct.places]
        if cells > _MOST_UNASKED * len(inputs) or not torch.equal(spread, self.references):
            return
        first = distinct.first
        if len(first) == len(few.first) > 1:
            # One more: a dimension of rows is known by its size.
            first = torch.cat([first, first[:1]])
        self.inputs, self.distinct = few, _Distinct(first, distinct.places)
        self.is_table = True

    @property
    def one_by_one(self) -> Pairs:
        """The same pairs, every input beside its reference."""
        return Pairs(self.references, *self._numbers)

    @property
    def distinct_references(self) -> Tensor:
        """The references that go forward."""
        return self.references[self.distinct.first] if self.is_table else self.references

    @property
    def depth(self) -> int:
        """How many references each row that went forward is compared with."""
        return len(self.distinct.first) if self.is_table else 1

    @property
    def rows(self) -> tuple[int, int]:
        """How many rows of inputs and of references go forward."""
        return len(self.inputs.first), len(self.distinct.first)

    # --- cells of the table

    def cells(self, of_pairs: Tensor) -> Tensor:
        """Numbers of the pairs (r, ...) in their places of the table, 0 in others."""
        # A cell that nobody asks for has a signal of 0, and its slopes are not read again.
        table = of_pairs.new_zeros(self.depth, self.rows[0], *of_pairs.shape[1:])
        table[self._depths, self.inputs.places] = of_pairs
        return table

    def of_cells(self, table: Tensor) -> Tensor:
        """The pairs' own numbers out of a table (references, inputs, ...)."""
        return table[self._depths, self.inputs.places]

    @property
    def _depths(self) -> Tensor:
        return self.distinct.places if self.is_table else torch.zeros_like(self.inputs.places)

    # --- references

    def row_dimension(self, theirs: torch.Size, ours: torch.Size) -> int | None:
        """Which dimension of shapes counts rows; None where that cannot be told."""
        if not self.is_table or self.rows == (1, 1):
            return 0 if theirs == ours else None
        # Rows are the one dimension in which both differ, which is why `share` keeps numbers apart.
        sizes = list(zip(ours, theirs))
        differing = [dim for dim, (of_ours, of_theirs) in enumerate(sizes) if of_ours != of_theirs]
        told = len(theirs) == len(ours) and len(differing) == 1
        return differing[0] if told and sizes[differing[0]] == self.rows else None

    def along(self, theirs: Tensor, dim: int) -> Tensor:
        """Numbers of the references' forward, to be set against (1, *shape of ours)."""
        if not self.is_table:
            return theirs.unsqueeze(0)
        return theirs.movedim(dim, 0).unsqueeze(dim + 1)

    def each_cell(self, table: Tensor, dim: int, like: Tensor | None = None) -> Tensor:
        """Numbers that several cells have in common, as rows along a dimension, one for each cell."""
        shape = table.shape[1:] if like is None else like.shape
        return self.merged(table.expand(self.depth, *shape), dim)

    def merged(self, table: Tensor, dim: int) -> Tensor:
        """A table (references, *shape) as rows along one dimension, one for each cell."""
        return table.movedim(0, dim).flatten(dim, dim + 1)

    def parted(self, cells: Tensor, dim: int) -> Tensor:
        """The inverse of `merged`."""
        parted: Tensor = cells.unflatten(dim, (self.depth, -1))
        return parted.movedim(dim, 0)

    def alike(self, ours: Tensor, theirs: Tensor) -> bool:
        """Whether constants are the same in both forwards, whatever the number of rows."""
        if ours.shape == theirs.shape:
            return bool(torch.equal(ours, theirs))
        dim = self.row_dimension(theirs.shape, ours.shape)
        if dim is None or not self.is_table:
            return False
        # Of other numbers of rows only constants that are alike in every row can be compared.
        row = ours.narrow(dim, 0, 1)
        return bool((ours == row).all()) and bool((theirs == row).all())


def transposed(
    operation: Operation, weight: Tensor, x: Tensor, pairs: Pairs
) -> Callable[[Tensor], Tensor] | None:
    """The way back through a convolution or dense layer, from the signals of a table at its output
    to those at its input; None for the others.
    """
    if operation.name == "linear":
        return lambda cotangents: cotangents.matmul(weight)
    if operation.name not in _CONVOLUTIONS or x.dim() != weight.dim():
        return None
    count = weight.dim() - 2
    stride, padding, dilation = (
        _sizes(operation.argument(place, name, default), count)
        for place, name, default in ((3, "stride", 1), (4, "padding", 0), (5, "dilation", 1))
    )
    groups = operation.argument(6, "groups", 1)
    if padding is None:
        return None
    # The slope at the input asks for the input's shape, and not for its numbers.
    inputs = _unwritten_rows(x, pairs.depth)

    def pull(cotangents: Tensor) -> Tensor:
        slopes: Tensor = torch.ops.aten.convolution_backward(
            pairs.merged(cotangents, 0), inputs, weight, None, stride, padding, dilation, False,
            [0] * count, groups, [True, False, False],
        )[0]  # fmt: skip
        return pairs.parted(slopes, 0)

    return pull


def _unwritten_rows(x: Tensor, times: int) -> Tensor:
    """Rows like those of x, so many times as many: only their shape and order are asked for."""
    if times == 1:
        return x.detach()
    images = x.dim() == 4 and not x.is_contiguous()
    order = torch.channels_last if images else torch.contiguous_format
    return torch.empty(
        (times * len(x), *x.shape[1:]), dtype=x.dtype, device=x.device, memory_format=order
    )


def _sizes(value: Any, count: int) -> list[int] | None:
    """A number for each dimension; None for paddings that are said in words."""
    if isinstance(value, str):
        return None
    if isinstance(value, int):
        return [value] * count
    return [int(number) for number in value] * (count if len(value) == 1 else 1)


# --- slopes that are worked out on the way back

TablePull = Callable[[Tensor], Sequence[Tensor]]
"""Signals (references, *shape) at a value to those at each of its carriers."""


@final
class _OfTable(torch.autograd.Function):
    """What a pull makes of signals, one for each reference where there are several."""

    @staticmethod
    def forward(cotangent: Tensor, pull: TablePull) -> tuple[Tensor, ...]:
        # Outside of vmap there is one reference: a table of depth 1.
        slopes = pull(cotangent.unsqueeze(0))
        if any(len(slope) > 1 for slope in slopes):
            raise RuntimeError("a signal that is the same for all references has no one slope")
        return tuple(slope.squeeze(0) for slope in slopes)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nobody asks for slopes of slopes."""

    @staticmethod
    def vmap(info: Any, in_dims: Any, cotangent: Tensor, pull: TablePull) -> Any:
        slopes = tuple(pull(cotangent.movedim(in_dims[0], 0)))
        return slopes, (0,) * len(slopes)


@final
class _PulledLater(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: list[Tensor], pull: TablePull, *carriers: Tensor) -> Any:
        ctx.pull = pull
        return value[0]

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> Any:
        return None, None, *_OfTable.apply(cotangents[0], ctx.pull)  # type: ignore[no-untyped-call]


def pulled_later(carriers: Sequence[Tensor], value: Tensor, pull: TablePull) -> Tensor:
    """`value`, behind which signals of a table go on to the `carriers` as `pull` says."""
    # In a list the value is no operand: what comes out may be written to, as any other tensor.
    given: Tensor = _PulledLater.apply([value.detach()], pull, *carriers)  # type: ignore[no-untyped-call]
    return given


@final
class Kept:
    """A tensor that is needed on the way back, which must not have been written over until then."""

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor.detach()
        self._version = tensor._version

    @property
    def is_intact(self) -> bool:
        """Whether nobody has written over it."""
        return self._tensor._version == self._version

    @property
    def numbers(self) -> Tensor:
        """The numbers that it held."""
        if not self.is_intact:
            raise RuntimeError(
                "a tensor that a multiplier needs was modified by an inplace operation"
            )
        return self._tensor
