"""What an absent feature is replaced by: a removal, and what it becomes when it is bound to inputs.

To remove features is to draw them from a law, and the value of a coalition is the average of the
target over that law (Covert, Lundberg and Lee 2021, "Explaining by removing"). A law that does
not look at what is present has replacements that can be held once for all masks (`FixedAbsent`:
baselines, blurs, background rows); one that does makes them mask by mask (`conditional.py`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from assay.inputs.layout import Layout
from assay.settings import Settings

# The integer type of as many bytes as a number has: numbers are switched as bits.
_INTEGER_OF_SIZE = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class Absent(ABC):
    """A removal bound to n inputs: some replacements for each, over which values are averaged.

    A subclass is needed where replacements depend on the mask; otherwise `FixedAbsent` serves.

    Must write: `draws`, how many replacements an input has; `shared`; `remove`, `take` and
    `everything_removed`. All three work on chunks of any r rows: row i stands for input `rows[i]`
    under its replacement number `draw[i]`, from 0 to `draws` - 1. A replacement is a
    function of its input, mask and number alone, so that no answer depends on how rows are cut
    into chunks.

    Gets for free: chunks of bounded memory, averages over the replacements, masks of any features.
    """

    draws: int
    """Replacements of each input."""
    shared: bool
    """Whether the replacements are the same for all inputs and all masks."""

    @abstractmethod
    def remove(self, x: Tensor, present: Tensor, rows: Tensor, draw: Tensor) -> Tensor:
        """The inputs x (r, elements) with what is not `present` (r, elements) replaced.

        Bool masks switch, float masks in [0, 1] blend, or are refused.
        """

    @abstractmethod
    def take(self, rows: Tensor) -> Absent:
        """The replacements of some of the inputs."""

    @abstractmethod
    def everything_removed(self, rows: Tensor, draw: Tensor) -> Tensor:
        """The inputs `rows` (r,) with everything removed: (r, elements), the caller's to write on."""


def blend(x: Tensor, replacement: Tensor, present: Tensor) -> Tensor:
    """x where present, the replacement elsewhere; a float mask in between mixes the two.

    Shapes broadcast. Slopes pass.
    """
    # Half present is half way from the replacement to x.
    if present.dtype != torch.bool:
        return torch.lerp(replacement, x, present.to(x.dtype))
    # Bits have no slope, and `out=` passes none.
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
    integer = _INTEGER_OF_SIZE.get(x.element_size())
    if present.dtype != torch.bool:
        torch.lerp(replacement, x, present.to(x.dtype), out=rows)
    elif integer is None:
        # complex128: 16 bytes are more than any integer has.
        torch.where(present, x, replacement, out=rows)
    else:
        # -1 has every bit set, and keeps all of what is present.
        keep = present.view(torch.int8).neg().to(integer)
        other = replacement.view(integer)
        changed = x.view(integer) ^ other
        bits = rows.view(integer)
        torch.bitwise_and(keep, changed, out=bits)
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

    def everything_removed(self, rows: Tensor, draw: Tensor) -> Tensor:
        # A copy always: a model may write on what it is given.
        return self._replacements(rows, draw).clone()

    def _replacements(self, rows: Tensor, draw: Tensor) -> Tensor:
        """The same to read alone: a single baseline is a view of what is held."""
        if self.shared and self.draws == 1:
            return self.rows[0].expand(len(rows), -1)
        owners = torch.zeros_like(rows) if self.shared else rows
        return self.rows[owners, draw]

    def remove(self, x: Tensor, present: Tensor, rows: Tensor, draw: Tensor) -> Tensor:
        return blend(x, self._replacements(rows, draw), present)

    def take(self, rows: Tensor) -> Absent:
        if self.shared:
            return self
        return FixedAbsent(self.rows[rows])


class Removal(Settings, ABC):
    """A rule that says what stands in for what is absent.

    A subclass is a frozen dataclass whose fields are its settings.

    Must write: `bind`, which reads the flat inputs x (n, elements) and gives an `Absent`; mostly
    that is `FixedAbsent(rows)` with replacement rows (1 or n, draws, elements) in the inputs' type.
    May write: `follows = True`, where the replacement is made from the input itself (a blur, noise
    of its own), so that it is made anew for other inputs; and a `__repr__` for settings that are
    data (`short_repr`).

    Gets for free: values averaged over the draws, masks that switch or blend, every feature map,
    questions about some of the inputs, and the refusal of inputs that it leaves as they are.
    """

    follows = False  # may be overridden
    """Whether the replacement is made from the input itself, and so is made anew for other inputs.
    """

    @abstractmethod
    def bind(self, layout: Layout, x: Tensor, keys: Callable[[], Tensor]) -> Absent:
        """The replacements for these inputs x (n, elements).

        `keys()` gives their identities (n,), the roots of random streams: what is drawn for an
        input is then its own, whatever others stand beside it. Settings that no input could make
        sense of are refused before, in `__post_init__` (SettingError); here it is refused what does
        not fit these inputs (InputError).
        """
