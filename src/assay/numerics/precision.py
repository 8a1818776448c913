"""Rounding: in which number type results are given, and how much of a difference is rounding.

Sums are taken in double precision inside, and what the model says keeps its own precision until
differences have been taken: a double that is rounded first loses what the difference was about.
Finished values are handed back in the inputs' precision. What a network computes in single precision
depends on the order of its sums (Higham, "Accuracy and stability of numerical algorithms", 2002,
chapter 4).
"""

from __future__ import annotations

import torch
from torch import Tensor

_TOLERANCE = 1e-4  # relative: above what float32 leaves of the sums along a deep network

_FLOOR = 16  # units in the last place below which a difference of sums says nothing
_LAST_PLACES = 8  # machine epsilons of the largest number below which a spread is rounding

_ROUNDINGS = 8  # machine epsilons that are excused where one is coarser than that (half, bfloat16)


def to_input_precision(values: Tensor, like: Tensor) -> Tensor:
    """Results in the inputs' number type; half precision and integers answer in single precision."""
    dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
    return values.to(dtype)


def rounding_tolerance(x: Tensor) -> float:
    """The relative error that rounding in the inputs' number type excuses."""
    if not x.is_floating_point():
        return _TOLERANCE
    return max(_TOLERANCE, _ROUNDINGS * torch.finfo(x.dtype).eps)


def rounding_floor(values: Tensor, size: Tensor) -> Tensor:
    """What a sum of numbers of this size may be off by, in the number type of `values`."""
    return _FLOOR * torch.finfo(values.dtype).eps * size


def varies(values: Tensor, dim: int) -> Tensor:
    """Whether numbers along a dimension differ by more than the rounding of the largest.

    A spread of less is no unit to divide by: 0.1 + 0.2 and 0.3 are one number.

    >>> columns = torch.tensor([[0.3, 1.0], [0.1 + 0.2, 2.0]], dtype=torch.float64)
    >>> varies(columns, dim=0).tolist()
    [False, True]
    """
    low = values.amin(dim=dim)
    high = values.amax(dim=dim)
    largest = torch.maximum(low.abs(), high.abs())
    return high - low > _LAST_PLACES * torch.finfo(values.dtype).eps * largest
