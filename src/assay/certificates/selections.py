"""Selections of features, as a certificate reads them from an attribution or from masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from assay.errors import InputError, KindError
from assay.question.question import Question


def selected(selection: Any, question: Question) -> Tensor:
    """A selection as masks (n, features) of bools on the CPU, checked."""
    masks = torch.as_tensor(
        np.asarray(selection) if not isinstance(selection, Tensor) else selection
    ).cpu()
    n, count = question.n, question.partition.count
    if masks.dtype != torch.bool:
        raise KindError(
            expected="a selection as masks of bools",
            got=masks.dtype,
            advice="Use answer.top(0.25), or scores > 0.",
        )
    if tuple(masks.shape) not in ((count,), (n, count)):
        raise InputError(
            expected=f"a selection of shape ({n}, {count}) or ({count},)",
            got=tuple(masks.shape),
            advice="",
        )
    masks = masks.expand(n, -1)
    if bool((~masks.any(1)).any()):
        row = int((~masks.any(1)).nonzero()[0])
        raise InputError(
            expected="at least one selected feature for every input",
            got=f"none for input {row}",
            advice="",
        )
    return masks
