"""What an absent feature is replaced by."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from assay.inputs.layout import Layout

_WORDS = {
    1: torch.int8,
    2: torch.int16,
    4: torch.int32,
    8: torch.int64,
}  # integers by their size in bytes


class Absent(ABC):
    """A removal bound to inputs: `draws` replacements for each, over which values are averaged."""

    draws: int
    shared: bool
    """Whether the replacements are the same for all inputs and all masks."""

    @abstractmethod
    def remove(self, x: Tensor, present: Tensor, rows: Tensor, draws: Tensor) -> Tensor:
        """Rows x (r, elements) with what is not present replaced; bool masks switch, float masks
        blend.
        """

    @abstractmethod
    def take(self, rows: Tensor) -> Absent:
        """The replacements of some of the inputs."""

    @abstractmethod
    def everything_removed(self, rows: Tensor, draws: Tensor) -> Tensor:
        """The rows (r, elements) with everything removed."""


def blend(x: Tensor, replacement: Tensor, present: Tensor) -> Tensor:
    """x where present, the replacement elsewhere; a float mask in between mixes the two. Slopes
    pass.
    """
    if present.dtype != torch.bool:
        return torch.lerp(replacement, x, present.to(x.dtype))
    if x.requires_grad or replacement.requires_grad:
        return torch.where(present, x, replacement)
    shape = torch.broadcast_tensors(x, replacement, present)[0].shape
    rows = torch.empty(shape, dtype=x.dtype, device=x.device)
    blend_into(rows, x, replacement, present)
    return rows


def blend_into(rows: Tensor, x: Tensor, replacement: Tensor, present: Tensor) -> None:
    """Writes `blend` into rows of its shape.

    Bits are switched whole words at a time, replacement ^ ((x ^ replacement) & present): an order
    of magnitude faster than a choice for each number.
    """
    word = _WORDS.get(x.element_size())
    if present.dtype != torch.bool:
        torch.lerp(replacement, x, present.to(x.dtype), out=rows)
    elif word is None:
        torch.where(present, x, replacement, out=rows)
    else:
        bits, other = rows.view(word), replacement.view(word)
        torch.bitwise_and(present.view(torch.int8).neg().to(word), x.view(word) ^ other, out=bits)
        bits.bitwise_xor_(other)


@final
@dataclass(frozen=True, eq=False)
class FixedAbsent(Absent):
    """Replacement rows (1 or n, draws, elements) that do not depend on the mask."""

    rows: Tensor

    @property
    def draws(self) -> int:  # type: ignore[override]
        """Replacements of each input."""
        return self.rows.shape[1]

    @property
    def shared(self) -> bool:  # type: ignore[override]
        """Whether one set of replacements serves all inputs."""
        return len(self.rows) == 1

    def everything_removed(self, rows: Tensor, draws: Tensor) -> Tensor:
        if len(self.rows) == 1 and self.rows.shape[1] == 1:
            return self.rows[0].expand(len(rows), -1)
        return self.rows[torch.zeros_like(rows) if len(self.rows) == 1 else rows, draws]

    def remove(self, x: Tensor, present: Tensor, rows: Tensor, draws: Tensor) -> Tensor:
        return blend(x, self.everything_removed(rows, draws), present)

    def take(self, rows: Tensor) -> Absent:
        return self if len(self.rows) == 1 else FixedAbsent(self.rows[rows])


class Removal(ABC):
    """A rule that says what stands in for what is absent."""

    follows = False
    """Whether the replacement is made from the input itself, and so is made anew for other inputs.
    """

    @abstractmethod
    def bind(self, layout: Layout, x: Tensor, keys: Callable[[], Tensor]) -> Absent:
        """The replacements for these inputs (n, elements), whose identities (n,) can be asked for."""


def shown(value: Any) -> str:
    """Settings that are data, by kind and shape."""
    shape = getattr(value, "shape", None)
    return repr(value) if shape is None else f"<{type(value).__name__} of shape {tuple(shape)}>"
