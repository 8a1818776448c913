"""Layouts: whatever the user hands in, and the matrix of flat rows that everything inside works on.

The idea is that of a pytree's flatten and unflatten (JAX): a question works on one matrix (n,
elements), so that masks, removals and slopes know no shapes; a `Layout` remembers how to fold rows
back into what the predictor takes. What travels beside the inputs unexplained is context.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import torch
from torch import Tensor

from assay.errors import InputError, SettingKindError
from assay.inputs.arrays import of_64_bits
from assay.numerics import rng
from assay.numerics.pieces import pieces
from assay.settings import Settings, has_length, shown

Rows: TypeAlias = tuple[Any, ...]
"""What a predictor is called with: tensors that share their first dimension, or one table."""

_HASHED = 1 << 20  # numbers whose bytes are held beside the rows at once


@final
@dataclass(frozen=True)
class Aligned(Settings):
    """A context value with one row per input: an attention mask, a length.

    It follows its input through every chunk.

    Settings:
        value: the tensor or array, (n, ...), one row per input.
    """

    value: Any

    def __post_init__(self) -> None:
        if not has_length(self.value) or isinstance(self.value, Mapping | set):
            raise SettingKindError(
                expected="a tensor with one row per input in Aligned",
                got=shown(self.value),
                advice="Write Aligned(mask), or Shared(value) for what all inputs share.",
            )


@final
@dataclass(frozen=True)
class Shared(Settings):
    """A context value that is the same for all inputs: a constant matrix, a flag.

    Settings:
        value: anything; the model receives it as it is.
    """

    value: Any


Context: TypeAlias = Mapping[str, Aligned | Shared]


class Layout(ABC):
    """How raw inputs become rows (n, elements), and rows become what the predictor takes.

    A subclass is a frozen dataclass that keeps what folding needs (shapes, types, categories) and
    writes the abstract members; `fold(flatten(raw))` gives back the same inputs.
    """

    @property
    @abstractmethod
    def elements(self) -> int:
        """Columns of the flat matrix."""

    @property
    @abstractmethod
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shape of one input, tensor by tensor."""

    @property
    @abstractmethod
    def names(self) -> Sequence[str]:
        """One name per element; made when they are asked for."""

    @property
    def categorical(self) -> Tensor:  # may be overridden
        """Which elements are categories (elements,), bool: never computed with, only switched."""
        return torch.zeros(self.elements, dtype=torch.bool)

    @property
    def without_zero(self) -> tuple[str, ...]:  # may be overridden
        """Names of the elements in which 0 stands for nothing: no default can be made of it."""
        return ()

    def declaring(self, categorical: Sequence[int]) -> Layout:  # may be overridden
        """The same layout with some more elements as categories, by number."""
        raise InputError(
            expected="a table (n, columns) to declare categories of",
            got=f"inputs of shape {self.describe()}",
            advice="Hand over a DataFrame, or an array with one row for each input.",
        )

    @property
    def half(self) -> bool:  # may be overridden
        """Whether the predictor takes any of it in half precision, and rounds as coarsely."""
        return False

    @abstractmethod
    def flatten(self, raw: Any) -> Tensor:
        """Raw inputs of the same kind to rows (n, elements)."""

    @abstractmethod
    def fold(self, rows: Tensor) -> Rows:
        """Rows (r, elements) to what the predictor takes."""

    def filled(self, value: float) -> Tensor:  # may be overridden
        """One row (1, elements) that holds a number everywhere; refused where it cannot."""
        return torch.full((1, self.elements), of_64_bits(value), dtype=torch.float64)

    def admitting(self, rows: Tensor) -> Layout:  # may be overridden
        """The layout of the same inputs that also hands over rows such as these (..., elements)."""
        return self

    def identities(self, rows: Tensor) -> Tensor:  # may be overridden
        """One key per row (n,), hashed from what the row says and not from how this layout encodes
        it.
        """
        # Piece by piece: bytes of a million rows would take the memory of the rows once more.
        keys = torch.empty(len(rows), dtype=torch.int64)
        for piece in pieces(len(rows), rows.shape[1], limit=_HASHED):
            # In place: keys kept one behind the other would stand between what is freed, and each
            # piece would take memory of its own.
            keys[piece] = _identities(rows[piece])
        return keys.to(rows.device)

    def describe(self) -> str:  # may be overridden
        """The shape of one input, in words."""
        return " and ".join(str(shape) for shape in self.shapes)


def arranged(rows: Rows, memory: int) -> Rows:
    """The rows in one of the memory layouts that a model may be tried in: 0 is plain, 1 is
    channels-last for images.
    """
    if memory == 0:
        return rows
    return tuple(map(_channels_last, rows))


def _channels_last(row: Any) -> Any:
    # Tensors of four dimensions are images (n, channels, height, width);
    # others have no such order.
    if isinstance(row, Tensor) and row.dim() == 4:
        ordered = row.contiguous(memory_format=torch.channels_last)
        # Images of one channel lie both ways: by their strides alone torch knows which is meant.
        return ordered if ordered.stride(1) == 1 else row.clone(memory_format=torch.channels_last)
    return row


def _identities(rows: Tensor) -> Tensor:
    """The keys (n,) of some rows, on the processor."""
    values = rows.detach().cpu().contiguous()
    # Rows that are equal have one key, whichever of the two zeros they hold.
    if values.is_floating_point():
        values = values + 0.0
    # NumPy has no bfloat16; only the bytes are read, so any type of that width will do.
    if values.dtype in (torch.bfloat16, torch.float16):
        values = values.view(torch.int16)
    array = values.numpy()
    return rng.identities(array[index].tobytes() for index in range(len(array)))
