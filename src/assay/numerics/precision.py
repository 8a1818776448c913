"""Rounding: in which number type results are given, and how much of a difference is rounding."""

from __future__ import annotations

import torch
from torch import Tensor


def to_input_precision(values: Tensor, like: Tensor) -> Tensor:
    """Results in the inputs' number type; half precision and integers answer in single precision."""
    return values.to(torch.float64 if like.dtype == torch.float64 else torch.float32)


def rounding_tolerance(x: Tensor) -> float:
    """The relative error that rounding in the inputs' number type excuses."""
    return max(1e-4, 8 * torch.finfo(x.dtype).eps) if x.is_floating_point() else 1e-4
