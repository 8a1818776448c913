"""A removed word becomes a mask token."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from assay.errors import KindError
from assay.inputs.layout import Layout
from assay.inputs.texts import _MASK, TextLayout
from assay.removals.base import Absent, FixedAbsent, Removal


@final
@dataclass(frozen=True)
class MaskToken(Removal):
    """An absent token is replaced by a mask: a string for texts ("" drops the word), a token's
    number for integer inputs.

    >>> MaskToken("[MASK]")
    MaskToken(token='[MASK]')
    """

    token: str | int = ""

    def masked(self, layout: TextLayout) -> TextLayout:
        """The layout that writes this mask."""
        if not isinstance(self.token, str):
            raise KindError(
                expected="a string as mask for texts",
                got=repr(self.token),
                advice="",
            )
        return replace(layout, mask=self.token)

    def bind(self, layout: Layout, x: Tensor, keys: Callable[[], Tensor]) -> Absent:
        if isinstance(layout, TextLayout):
            return FixedAbsent(torch.full_like(x[:1], _MASK).unsqueeze(1))
        if isinstance(self.token, str) or x.is_floating_point():
            raise KindError(
                expected=f"integer tokens and a token's number for {self!r}",
                got=f"inputs of type {x.dtype}",
                advice="Use Baseline(value) for real numbers.",
            )
        return FixedAbsent(torch.full_like(x[:1], self.token).unsqueeze(1))
