"""Tensors and arrays as flat rows, and back."""

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
    """One tensor or several that share the first dimension, laid side by side in a common number
    type.
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
        return [int(np.prod(shape, dtype=np.int64)) for shape in self.parts]

    @property
    def elements(self) -> int:
        return sum(self.sizes)

    @property
    def dtype(self) -> torch.dtype:
        """The common number type of the flat rows."""
        common = self.dtypes[0]
        for other in self.dtypes[1:]:
            common = torch.promote_types(common, other)
        return torch.int64 if common == torch.bool else common

    @property
    def names(self) -> tuple[str, ...]:
        prefixes = (
            [""] if len(self.parts) == 1 else [f"input{index}" for index in range(len(self.parts))]
        )
        return tuple(
            prefix + str(list(map(int, np.unravel_index(index, shape)))).replace(" ", "")
            if shape
            else prefix or "x"
            for prefix, shape in zip(prefixes, self.parts)
            for index in range(int(np.prod(shape, dtype=np.int64)))
        )

    def flatten(self, raw: Any) -> Tensor:
        tensors = [as_tensor(part) for part in _pieces(raw)]
        if len(tensors) != len(self.parts):
            raise InputError(
                expected=f"{len(self.parts)} tensors like the inputs",
                got=len(tensors),
                advice="",
            )
        for tensor, shape in zip(tensors, self.parts):
            if tuple(tensor.shape[1:]) != shape:
                raise InputError(
                    expected=f"rows of shape {shape} like the inputs",
                    got=f"a tensor of shape {tuple(tensor.shape)}",
                    advice=(
                        "The first dimension counts rows; add it with x[None] for a single one."
                    ),
                )
            if (
                not self.dtype.is_floating_point
                and tensor.is_floating_point()
                and not bool((tensor == tensor.round()).all())
            ):
                raise InputError(
                    expected=f"whole numbers in the place of inputs of {self.dtype}",
                    got="fractions",
                    advice="Give integers, or explain floating inputs.",
                )
        flat = [
            tensor.detach().to(self.device, self.dtype).reshape(len(tensor), size)
            for tensor, size in zip(tensors, self.sizes)
        ]
        return flat[0] if len(flat) == 1 else torch.cat(flat, dim=1)

    def fold(self, rows: Tensor) -> Rows:
        pieces = rows.split(self.sizes, dim=1) if len(self.parts) > 1 else (rows,)
        return tuple(
            piece.reshape(len(rows), *shape).to(dtype)
            for piece, shape, dtype in zip(pieces, self.parts, self.dtypes, strict=True)
        )


def as_tensor(value: Any) -> Tensor:
    """A tensor of the same numbers; anything that is no array of numbers is refused."""
    if isinstance(value, Tensor):
        return value.clone() if value.is_inference() else value
    try:
        array = np.asarray(value, order="C")
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


def _pieces(raw: Any) -> list[Any]:
    """The tensors handed in: a tuple or a list of arrays is several of them, a list of numbers is
    one.
    """
    several = isinstance(raw, tuple) or (
        isinstance(raw, list) and all(hasattr(part, "shape") for part in raw)
    )
    return list(raw) if several else [raw]
