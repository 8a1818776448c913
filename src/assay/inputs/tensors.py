"""Tensors and arrays as flat rows, and back.

Several tensors are laid side by side (concatenated along the elements) in a number type that holds
them all exactly, and cut apart again into their own shapes and types.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from assay.errors import InputError
from assay.inputs.arrays import as_tensor, of_64_bits
from assay.inputs.containers import check_container
from assay.inputs.layout import Layout, Rows
from assay.inputs.names import ElementNames
from assay.inputs.number_types import check_fits, common_type, is_half
from assay.settings import shown


@final
@dataclass(frozen=True)
class TensorLayout(Layout):
    """One tensor or several that share the first dimension, laid side by side.

    Settings:
        parts: the shape of one input in each tensor, without the first dimension.
        dtypes: the number type in which the predictor takes each tensor.
        device: where the rows live.
        declared: which elements are categories, by number.
        columns: the names of each tensor's columns, None where they are not known: a frame, or one
            row of it, that stands for some of the inputs is matched by them.
    """

    parts: tuple[tuple[int, ...], ...]
    dtypes: tuple[torch.dtype, ...]
    device: torch.device
    declared: tuple[int, ...] = ()
    columns: tuple[tuple[Any, ...] | None, ...] = ()

    @property
    def categorical(self) -> Tensor:
        categorical = super().categorical
        categorical[list(self.declared)] = True
        return categorical

    @property
    def without_zero(self) -> tuple[str, ...]:
        return tuple(self.names[index] for index in self.declared)

    def declaring(self, categorical: Sequence[int]) -> TensorLayout:
        return replace(self, declared=tuple(sorted({*self.declared, *categorical})))

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return self.parts

    @property
    def sizes(self) -> list[int]:
        """Elements of each tensor."""
        return list(map(_size, self.parts))

    @property
    def elements(self) -> int:
        return sum(self.sizes)

    @property
    def dtype(self) -> torch.dtype:
        """The number type of the flat rows, which holds every tensor's numbers exactly."""
        return common_type(self.dtypes)

    @property
    def half(self) -> bool:
        return is_half(self.dtypes)

    @property
    def names(self) -> Sequence[str]:
        prefixes = [f"input{number}" for number in range(len(self.parts))]
        # A single tensor needs no name of its own.
        if len(self.parts) == 1:
            prefixes = [""]
        return ElementNames(tuple(zip(prefixes, self.parts)))

    def flatten(self, raw: Any) -> Tensor:
        parts = tensor_parts(raw)
        tensors = [as_tensor(self.in_order(part, number)) for number, part in enumerate(parts)]
        if len(tensors) != len(self.parts):
            raise InputError(
                expected=f"{len(self.parts)} tensors like the inputs",
                got=len(tensors),
                advice="Hand them over as one tuple, in the order of the inputs.",
            )
        for number, tensor in enumerate(tensors):
            self._check(tensor, number)
        # Side by side in one row, since masks and removals know nothing of several tensors.
        rows = [
            tensor.detach().to(self.device, self.dtype).reshape(len(tensor), size)
            for tensor, size in zip(tensors, self.sizes)
        ]
        if len(rows) > 1:
            return torch.cat(rows, dim=1)
        (flat,) = rows
        self._check_categories(flat)
        # What the caller may write to is copied: a buffer that is filled again moves no question.
        if flat.untyped_storage().data_ptr() == tensors[0].untyped_storage().data_ptr():
            return flat.clone(memory_format=torch.contiguous_format)
        return flat

    def in_order(self, part: Any, number: int = 0) -> Any:
        """Tensor `number` of some rows, with the columns of a frame where the inputs have them."""
        check_container(part)
        given = names_of_columns(part)
        # Names are told apart only where there are some, and one column has no order.
        inside = number < len(self.parts) and self.parts[number] == (len(given),)
        if len(given) < 2 or not inside or given == tuple(range(len(given))):
            return part
        known = self.columns[number] if number < len(self.columns) else None
        if known is None or not set(known) == set(given):
            raise InputError(
                expected="rows whose columns are known to stand in the order of the inputs'",
                got=f"{type(part).__name__} with the columns {shown(list(given))} beside "
                + ("an array without names" if known is None else shown(list(known))),
                advice=(
                    "Hand over both as frames; or, with its columns put in the order of the "
                    "inputs', an array: rows.to_numpy()."
                ),
            )
        if known == given:
            return part
        return part[list(known)]

    def filled(self, value: float) -> Tensor:
        """One row (1, elements) that holds a number everywhere."""
        number = as_tensor(np.asarray(of_64_bits(value)))
        return self.flatten(tuple(number.expand(1, *shape) for shape in self.parts))

    def _check(self, tensor: Tensor, number: int) -> None:
        shape = self.parts[number]
        if tuple(tensor.shape[1:]) != shape:
            raise InputError(
                expected=f"rows of shape {shape} like the inputs",
                got=f"a tensor of shape {tuple(tensor.shape)}",
                advice="The first dimension counts rows; add it with x[None] for a single one.",
            )
        check_fits(tensor, self.dtypes[number], self.dtype, self._which(number))

    def _which(self, number: int) -> str:
        """What a tensor is called in refusals."""
        return f"input{number}" if len(self.parts) > 1 else "the input"

    def fold(self, rows: Tensor) -> Rows:
        columns = rows.split(self.sizes, dim=1) if len(self.parts) > 1 else (rows,)
        # Before anything is cast: a cast to whole numbers would cut fractions off in silence.
        for number, part in enumerate(columns):
            self._check_whole(part, number)
        self._check_categories(rows)
        # Copies of what lies side by side, whose strides `.view` refuses, and of a leaf that slopes
        # are taken at, on which no forward may write.
        if len(self.parts) > 1 or rows.requires_grad:
            columns = tuple(part.clone(memory_format=torch.contiguous_format) for part in columns)
        return tuple(
            part.reshape(len(rows), *shape).to(dtype)
            for part, shape, dtype in zip(columns, self.parts, self.dtypes, strict=True)
        )

    def _check_whole(self, part: Tensor, number: int) -> None:
        """Refuses fractions in the place of whole numbers, which travel as floats beside floats."""
        dtype = self.dtypes[number]
        if dtype.is_floating_point or not part.is_floating_point():
            return
        if not bool((part == part.round()).all()):
            raise InputError(
                expected=f"whole numbers in the place of {self._which(number)}, which is {dtype}",
                got="fractions: a blend, a mean or noise",
                advice=(
                    "Switch features instead of blending them, with Background(rows) or "
                    "Baseline(value), or hand what is not explained over as "
                    "context={name: Aligned(value)}."
                ),
            )

    def _check_categories(self, rows: Tensor) -> None:
        """Refuses fractions in the place of categories, which are numbers by name alone."""
        if not self.declared or not rows.is_floating_point():
            return
        codes = rows[:, list(self.declared)]
        # NaN is a missing one.
        whole = (codes == codes.round()) | codes.isnan()
        if not bool(whole.all()):
            column = self.declared[int((~whole).any(0).nonzero()[0])]
            raise InputError(
                expected=f"whole numbers in column {self.names[column]}, declared a category",
                got="fractions: data of another kind, a blend, a mean, noise or a step",
                advice=(
                    "A category is switched, never computed with: Background(rows) as removal, "
                    "masks of bools, and methods that switch features."
                ),
            )


def names_of_columns(part: Any) -> tuple[Any, ...]:
    """The names that a frame has for its columns, or one row of it for its entries; () of others."""
    if type(part).__module__.partition(".")[0] != "pandas":
        return ()
    names: Any = getattr(part, "columns", None)
    if names is None:
        names = getattr(part, "index", ())
    return tuple(names)


def _size(shape: tuple[int, ...]) -> int:
    return math.prod(shape)


def tensor_parts(raw: Any) -> list[Any]:
    """The tensors handed in: a tuple or a list of arrays is several of them, a list of numbers is
    one.
    """
    if isinstance(raw, tuple):
        return list(raw)
    # A list of plain numbers, or of lists of them, is one array written out.
    if isinstance(raw, list) and all(hasattr(part, "shape") for part in raw):
        return list(raw)
    return [raw]
