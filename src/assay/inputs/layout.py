"""Whatever the user hands in, and the matrix of flat rows that everything inside works on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import torch
from torch import Tensor

from assay.numerics import rng

Rows: TypeAlias = tuple[Any, ...]
"""What a predictor is called with: tensors that share their first dimension, or one table."""


@final
@dataclass(frozen=True)
class Aligned:
    """A context value with one row per input: an attention mask, a length. It follows its input
    through every chunk.
    """

    value: Tensor


@final
@dataclass(frozen=True)
class Shared:
    """A context value that is the same for all inputs: a constant matrix, a flag."""

    value: Any


Context: TypeAlias = Mapping[str, Aligned | Shared]


class Layout(ABC):
    """How raw inputs become rows (n, elements), and rows become what the predictor takes."""

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
    def names(self) -> tuple[str, ...]:
        """One name per element."""

    @abstractmethod
    def flatten(self, raw: Any) -> Tensor:
        """Raw inputs of the same kind to rows (n, elements)."""

    @abstractmethod
    def fold(self, rows: Tensor) -> Rows:
        """Rows (r, elements) to what the predictor takes."""

    def identities(self, rows: Tensor) -> Tensor:
        """One key per row (n,), hashed from what the row says and not from how this layout encodes
        it.
        """
        plain = rows.detach().cpu().contiguous()
        array = (
            plain.view(torch.int16) if plain.dtype in (torch.bfloat16, torch.float16) else plain
        ).numpy()
        return rng.identities(array[index].tobytes() for index in range(len(array))).to(rows.device)

    def describe(self) -> str:
        """The shape of one input, in words."""
        return " and ".join(str(shape) for shape in self.shapes)


def arranged(rows: Rows, memory: int) -> Rows:
    """The rows in one of the memory layouts that a model may be tried in: 0 is plain, 1 is
    channels-last for images.
    """
    if memory == 0:
        return rows
    return tuple(
        row.contiguous(memory_format=torch.channels_last)
        if isinstance(row, Tensor) and row.dim() == 4
        else row
        for row in rows
    )
