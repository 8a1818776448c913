"""Selections of features, as a certificate reads them from an attribution or from masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from assay.errors import InputError, KindError
from assay.question.question import Question
from assay.settings import shown


def as_masks(values: Any) -> Tensor:
    """A tensor or anything like an array, as a tensor on the CPU."""
    if isinstance(values, Tensor):
        return values.cpu()
    try:
        return torch.as_tensor(np.asarray(values)).cpu()
    except (TypeError, ValueError) as error:
        raise KindError(
            expected="a selection as masks of bools",
            got=shown(values),
            advice="Use answer.top(0.25), or scores > 0.",
        ) from error


def selected(selection: Any, question: Question) -> Tensor:
    """A selection as masks (n, features) of bools on the CPU, checked."""
    masks = as_masks(selection)
    n = question.n
    count = question.partition.count
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
            advice="Give one row for each input, or one for all of them.",
        )
    # One selection serves all inputs.
    masks = masks.expand(n, -1)
    # Radii are counted from a selection, which has to show something.
    empty = ~masks.any(1)
    if bool(empty.any()):
        raise InputError(
            expected="at least one selected feature for every input",
            got=f"none for input {int(empty.nonzero()[0])}",
            advice="Select more, such as answer.top(1), or leave these inputs out.",
        )
    return masks
