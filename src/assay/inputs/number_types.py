"""Number types: which one holds the numbers of several without rounding any of them.

Torch's own promotion is made for arithmetic and makes bfloat16 of whole numbers beside bfloat16,
where 257 is 256 (https://docs.pytorch.org/docs/stable/tensor_attributes.html). Flat rows only
carry numbers to the model: there a whole number must arrive as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor

from assay.errors import InputError
from assay.inputs.arrays import EXACT

# Whole numbers below 2 to this power are exact.
_DIGITS = {torch.bfloat16: 8, torch.float16: 11, torch.float32: 24, torch.float64: 53}

# Whole numbers of a type are below 2 to this power; those of 64 bits are checked one by one.
_BITS = {
    torch.bool: 1,
    torch.uint8: 8,
    torch.int8: 7,
    torch.int16: 15,
    torch.uint16: 16,
    torch.int32: 31,
    torch.uint32: 32,
    torch.int64: 53,
    torch.uint64: 53,
}

# Torch adds and compares no others; a truth value has no difference and no sum.
_COMPUTED = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)

_HALF = (torch.bfloat16, torch.float16)


def common_type(dtypes: Sequence[torch.dtype]) -> torch.dtype:
    """The number type of flat rows that hold tensors of these types side by side."""
    floats = [dtype for dtype in dtypes if dtype.is_floating_point]
    whole = [dtype for dtype in dtypes if not dtype.is_floating_point]
    if not floats:
        return _common_integer(whole)
    common = reduce(torch.promote_types, floats)
    bits = max((_BITS[dtype] for dtype in whole), default=0)
    # The narrowest type that holds the floats and, exactly, the whole numbers.
    for wider in (common, torch.float32):
        if bits <= _DIGITS[wider] and torch.promote_types(common, wider) == wider:
            return wider
    return torch.float64


def _common_integer(dtypes: Sequence[torch.dtype]) -> torch.dtype:
    if all(dtype in _COMPUTED for dtype in dtypes):
        return reduce(torch.promote_types, dtypes)
    return torch.int64


def is_half(dtypes: Sequence[torch.dtype]) -> bool:
    """Whether any of the types is half precision, and so is what a model makes of it."""
    return any(dtype in _HALF for dtype in dtypes)


def check_fits(tensor: Tensor, dtype: torch.dtype, container: torch.dtype, which: str) -> None:
    """Refuses numbers that a tensor of that type, or the flat rows, would not hold as they are.

    Fractions may be rounded where both are floating: that is what number types are chosen for.
    """
    if tensor.numel() == 0:
        return
    if dtype.is_floating_point:
        _check_overflow(tensor, dtype, which)
        return
    if tensor.is_floating_point():
        _check_whole(tensor, dtype, which)
    low, high = _range(dtype, container)
    # What no number of its type can leave need not be looked at.
    if not tensor.is_floating_point() and _inside(_type_range(tensor.dtype), low, high):
        return
    smallest, largest = _extremes(tensor)
    if smallest < low or largest > high:
        raise InputError(
            expected=f"whole numbers from {low} to {high} in {which}, which is {dtype}",
            got=largest if largest > high else smallest,
            advice=_range_advice(dtype, container),
        )


def _check_overflow(tensor: Tensor, dtype: torch.dtype, which: str) -> None:
    # Most inputs have the model's type, or a narrower one.
    if tensor.is_floating_point() and torch.finfo(tensor.dtype).max <= torch.finfo(dtype).max:
        return
    infinite = torch.isfinite(tensor) & ~torch.isfinite(tensor.to(dtype))
    if bool(infinite.any()):
        raise InputError(
            expected=f"numbers of at most {torch.finfo(dtype).max:.3g} in {which}",
            got=f"larger ones, which are infinite in {dtype}",
            advice="Scale them down, or take a wider type: model.float() or model.double().",
        )


def _check_whole(tensor: Tensor, dtype: torch.dtype, which: str) -> None:
    # Floats may stand for integers, such as token numbers out of a float
    # table, if none is cut.
    whole = torch.isfinite(tensor) & (tensor == tensor.round())
    if not bool(whole.all()):
        raise InputError(
            expected=f"whole numbers in {which}, which is {dtype}",
            got="fractions or no numbers at all",
            advice="Give whole numbers, or convert the inputs: x.float().",
        )


def _range(dtype: torch.dtype, container: torch.dtype) -> tuple[int, int]:
    """The whole numbers that both a tensor of that type and the flat rows hold."""
    low, high = _type_range(dtype)
    if container.is_floating_point:
        return max(low, -EXACT), min(high, EXACT)
    held_low, held_high = _type_range(container)
    return max(low, held_low), min(high, held_high)


def _type_range(dtype: torch.dtype) -> tuple[int, int]:
    if dtype == torch.bool:
        return 0, 1
    limits = torch.iinfo(dtype)
    return limits.min, limits.max


def _inside(numbers: tuple[int, int], low: int, high: int) -> bool:
    return low <= numbers[0] and numbers[1] <= high


def _extremes(tensor: Tensor) -> tuple[int, int]:
    """The smallest and the largest of some whole numbers."""
    # Torch has no order of unsigned 64 bits; NumPy has.
    if tensor.dtype == torch.uint64:
        array = tensor.cpu().numpy()
        return int(array.min()), int(array.max())
    if not tensor.is_floating_point():
        tensor = tensor.to(torch.int64)
    return int(tensor.min()), int(tensor.max())


def _range_advice(dtype: torch.dtype, container: torch.dtype) -> str:
    if container.is_floating_point and dtype in (torch.int64, torch.uint64):
        return (
            "Beside floats whole numbers travel as float64, exact up to 2**53: number them anew "
            "from 0, or hand what is not explained over as context={name: Aligned(value)}."
        )
    if dtype == torch.uint64:
        return "Larger ones have no tensor that can be computed with: number them anew from 0."
    return "Choose numbers that the type holds, or convert the inputs: x.long() or x.float()."
