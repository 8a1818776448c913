"""Tensors and arrays as flat rows, and back.

Several tensors are laid side by side (concatenated along the elements) in their common number type,
by the promotion rules of PyTorch, and cut apart again into their own shapes and types.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from assay.errors import InputError, KindError
from assay.inputs.layout import Layout, Rows


@final
@dataclass(frozen=True)
class TensorLayout(Layout):
    """One tensor or several that share the first dimension, laid side by side.

    Settings:
        parts: the shape of one input in each tensor, without the first dimension.
        dtypes: the number type in which the predictor takes each tensor.
        device: where the rows live.
    """

    parts: tuple[tuple[int, ...], ...]
    dtypes: tuple[torch.dtype, ...]
    device: torch.device

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
        """The common number type of the flat rows."""
        common = self.dtypes[0]
        for other in self.dtypes[1:]:
            common = torch.promote_types(common, other)
        # Truth values have no differences and no sums.
        if common == torch.bool:
            return torch.int64
        return common

    @property
    def names(self) -> tuple[str, ...]:
        if len(self.parts) == 1:
            return tuple(_element_names("", self.parts[0]))
        names: list[str] = []
        for number, shape in enumerate(self.parts):
            names += _element_names(f"input{number}", shape)
        return tuple(names)

    def flatten(self, raw: Any) -> Tensor:
        tensors = [as_tensor(part) for part in tensor_parts(raw)]
        if len(tensors) != len(self.parts):
            raise InputError(
                expected=f"{len(self.parts)} tensors like the inputs",
                got=len(tensors),
                advice="Hand them over as one tuple, in the order of the inputs.",
            )
        for tensor, shape in zip(tensors, self.parts):
            self._check(tensor, shape)
        rows = [
            tensor.detach().to(self.device, self.dtype).reshape(len(tensor), size)
            for tensor, size in zip(tensors, self.sizes)
        ]
        if len(rows) > 1:
            return torch.cat(rows, dim=1)
        (flat,) = rows
        # What the caller may write to is copied: a buffer that is filled again moves no question.
        if flat.untyped_storage().data_ptr() == tensors[0].untyped_storage().data_ptr():
            return flat.clone(memory_format=torch.contiguous_format)
        return flat

    def _check(self, tensor: Tensor, shape: tuple[int, ...]) -> None:
        if tuple(tensor.shape[1:]) != shape:
            raise InputError(
                expected=f"rows of shape {shape} like the inputs",
                got=f"a tensor of shape {tuple(tensor.shape)}",
                advice="The first dimension counts rows; add it with x[None] for a single one.",
            )
        if self.dtype.is_floating_point or not tensor.is_floating_point():
            return
        # Floats may stand for integers, such as token numbers out of a float
        # table, if none is cut.
        if not bool((tensor == tensor.round()).all()):
            raise InputError(
                expected=f"whole numbers in the place of inputs of {self.dtype}",
                got="fractions",
                advice="Give integers, or explain floating inputs.",
            )

    def fold(self, rows: Tensor) -> Rows:
        columns = rows.split(self.sizes, dim=1) if len(self.parts) > 1 else (rows,)
        return tuple(
            part.reshape(len(rows), *shape).to(dtype)
            for part, shape, dtype in zip(columns, self.parts, self.dtypes, strict=True)
        )


def _size(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=np.int64))


def _element_names(prefix: str, shape: tuple[int, ...]) -> list[str]:
    """Names such as input0[2,3]; a tensor of one number per input is called by its prefix, or x."""
    if not shape:
        return [prefix or "x"]
    indices = (map(int, np.unravel_index(flat, shape)) for flat in range(_size(shape)))
    return [f"{prefix}[{','.join(map(str, index))}]" for index in indices]


def as_tensor(value: Any) -> Tensor:
    """A tensor of the same numbers; anything that is no array of numbers is refused."""
    if isinstance(value, Tensor):
        # Tensors made in inference mode can never take part in a gradient: their
        # copies can.
        return value.clone() if value.is_inference() else value
    try:
        array = np.asarray(value, order="C")
        # torch shares an array's memory and would warn of one that it must not
        # write to.
        return torch.as_tensor(array if array.flags.writeable else array.copy())
    except (TypeError, ValueError) as error:
        raise KindError(
            expected="a tensor, an array of numbers or a DataFrame",
            got=type(value).__name__,
            advice=(
                "Encode texts and categories first, or hand a DataFrame to an estimator "
                "that takes one."
            ),
        ) from error


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
