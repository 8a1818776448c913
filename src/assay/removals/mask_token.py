"""A removed word or token becomes a mask, as in LIME for texts and in masked language models.

Texts are rows of codes, one of which is kept for masks; the layout writes the mask's string where
that code stands. Integer inputs are a tokenizer's numbers already, and take the mask's number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import final

from torch import Tensor

from assay.errors import KindError
from assay.inputs.layout import Layout
from assay.inputs.texts import TextLayout
from assay.removals.base import Absent, FixedAbsent, Removal


@final
@dataclass(frozen=True)
class MaskToken(Removal):
    """An absent word or token is replaced by a mask.

    Dropped words are what LIME for texts asks about (Ribeiro et al. 2016); a mask is what masked
    language models were trained on. Punctuation behind a word goes with it.

    Settings:
        token: a string for texts, where "" drops the word; the number of the mask token for integer
            inputs.

    Units: none. Cost: 1 evaluation per mask. Errors: KindError for a number with texts, or a string with
    anything else.

    >>> import numpy as np, assay
    >>> asked = []
    >>> def length(texts):
    ...     asked.extend(texts)
    ...     return np.array([float(len(text)) for text in texts])
    >>> question = assay.Question(length, ["so good!"], removal=MaskToken("[MASK]"))
    >>> question.base.tolist(), asked[-1]
    ([13.0], '[MASK] [MASK]')
    """

    token: str | int = ""

    def masked(self, layout: TextLayout) -> TextLayout:
        """The layout that writes this mask."""
        if not isinstance(self.token, str):
            raise KindError(
                expected="a string as mask for texts",
                got=repr(self.token),
                advice='Write MaskToken("[MASK]"), or MaskToken("") to drop words.',
            )
        return replace(layout, mask=self.token)

    def bind(self, layout: Layout, x: Tensor, keys: Callable[[], Tensor]) -> Absent:
        # Of texts only the code is written here: the layout knows the string by now.
        if isinstance(layout, TextLayout):
            codes = layout.masked(x)
            # Texts of one length have one row of masks in common.
            shared = bool((codes == codes[:1]).all())
            return FixedAbsent((codes[:1] if shared else codes).unsqueeze(1))
        if x.is_floating_point() or x.is_complex():
            raise KindError(
                expected=f"texts or integer tokens for {self!r}",
                got=f"inputs of type {x.dtype}",
                advice="Use Baseline(value) for real numbers, or hand over ids.long().",
            )
        if isinstance(self.token, str):
            raise KindError(
                expected=f"a token's number as mask for inputs of type {x.dtype}",
                got=repr(self.token),
                advice="Write MaskToken(tokenizer.mask_token_id).",
            )
        # One mask for all inputs: (1, 1, elements).
        return FixedAbsent(layout.filled(self.token).to(x.dtype).unsqueeze(1))
