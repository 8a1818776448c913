"""Whatever holds numbers, as one plain tensor; what only looks like it is refused here, by name.

A plain tensor is strided, lies on a device that holds data, and has real numbers that can be
computed with. Everything that a user hands in as numbers (inputs, baselines, backgrounds, maps of
labels, aligned context) comes through `as_tensor`, so that no other place meets the other kinds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from numbers import Integral, Number
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from assay.errors import InputError, KindError

EXACT = 1 << 53
"""The largest whole number up to which float64 holds every one."""

_PLAIN = frozenset(
    {
        torch.bool,
        torch.uint8,
        torch.uint16,
        torch.uint32,
        torch.uint64,
        torch.int8,
        torch.int16,
        torch.int32,
        torch.int64,
        torch.float16,
        torch.bfloat16,
        torch.float32,
        torch.float64,
    }
)


def as_tensor(value: Any) -> Tensor:
    """A plain tensor of the same numbers; anything that is no array of numbers is refused."""
    if isinstance(value, Tensor):
        return _plain(value)
    return torch.as_tensor(_array(value))


def of_64_bits(value: float) -> float:
    """A number as 64 bits hold it: whole where they do, else the nearest float."""
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        try:
            return float(value)
        except OverflowError:
            return math.inf
    return value


def _plain(tensor: Tensor) -> Tensor:
    refusal = _kind_of(tensor)
    if refusal is not None:
        got, advice = refusal
        raise KindError(expected="a plain tensor of real numbers", got=got, advice=advice)
    # Tensors made in inference mode can never take part in a gradient: their
    # copies can.
    return tensor.clone() if tensor.is_inference() else tensor.resolve_neg()


def _kind_of(tensor: Tensor) -> tuple[str, str] | None:
    """What a tensor is that is not plain, and the line that makes a plain one of it."""
    # Nested tensors come first: they may call themselves strided.
    if tensor.is_nested:
        return "a nested one", "Pad it: x.to_padded_tensor(0.0)."
    if tensor.is_quantized:
        return f"a quantised one of {tensor.dtype}", "Convert it: x.dequantize()."
    if tensor.layout != torch.strided:
        return f"one of layout {tensor.layout}", "Convert it: x.to_dense()."
    if tensor.is_meta:
        advice = "Make it with its numbers: torch.empty_like(x, device='cpu') and fill it."
        return "one on the meta device, which holds no numbers", advice
    if tensor.is_complex():
        return (
            f"one of {tensor.dtype}",
            "Hand over the real and the imaginary part as two inputs, (x.real, x.imag), to a "
            "model that puts them together: torch.complex(real, imaginary).",
        )
    if tensor.dtype not in _PLAIN:
        return f"one of {tensor.dtype}", "Convert it: x.to(torch.float32)."
    return None


def _array(value: Any) -> NDArray[Any]:
    """A NumPy array of numbers that torch can take and may write to."""
    _check_container(value)
    try:
        array = np.asarray(value, order="C")
    except (TypeError, ValueError, OverflowError) as error:
        raise _no_numbers(type(value).__name__) from error
    _check_kind(value, array)
    # Torch takes the machine's own order of bytes alone, shares an array's memory, and would warn
    # of one that it must not write to.
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    return array if array.flags.writeable else array.copy()


def _check_container(value: Any) -> None:
    """Refuses containers of which NumPy would silently make something else."""
    masked = (part for part in _parts(value) if isinstance(part, np.ma.MaskedArray))
    if next(masked, None) is not None:
        raise KindError(
            expected="an array without a mask",
            got="a masked array, whose masked cells have no value",
            advice="Fill them: x.filled(value), or x.filled(numpy.nan) where the model takes NaN.",
        )
    # SciPy's sparse matrices would become an array of one object.
    if hasattr(value, "toarray") and not hasattr(value, "__array__"):
        raise KindError(
            expected="a dense array of numbers",
            got=f"a sparse {type(value).__name__}",
            advice="Convert it: x.toarray().",
        )


def _parts(value: Any) -> Iterator[Any]:
    yield value
    if isinstance(value, list | tuple):
        yield from value


def _check_kind(value: Any, array: NDArray[Any]) -> None:
    """Refuses arrays whose items are no real numbers that a tensor holds as they are."""
    kind = array.dtype.kind
    if kind == "c":
        raise KindError(
            expected="real numbers",
            got=f"complex ones, {array.dtype}",
            advice="Hand over the real and the imaginary part as two inputs, (x.real, x.imag).",
        )
    if kind == "O" and array.size and all(_is_number(item) for item in array.flat):
        raise KindError(
            expected="an array of one number type",
            got="numbers of dtype object",
            advice="Convert it: x.astype(float), if no whole number in it is beyond 2**53.",
        )
    if kind not in "biuf":
        raise _no_numbers(_described(value, array))
    if array.dtype.itemsize > 8:
        raise KindError(
            expected="numbers of at most 64 bits",
            got=str(array.dtype),
            advice="Convert it: x.astype(float).",
        )
    # Of whole numbers beside fractions in one list NumPy makes floats.
    if kind == "f" and isinstance(value, list | tuple):
        _check_listed(value)


def _check_listed(value: Any) -> None:
    for item in np.asarray(value, dtype=object).flat:
        if isinstance(item, Integral) and abs(int(item)) > EXACT:
            raise InputError(
                expected="whole numbers up to 2**53 beside fractions in one list",
                got=f"{item}, which a float does not hold",
                advice="Hand whole numbers over as an input of their own: (whole, fractions).",
            )


def _is_number(item: Any) -> bool:
    return isinstance(item, Number) and not isinstance(item, complex)


def _described(value: Any, array: NDArray[Any]) -> str:
    name = type(value).__name__
    return f"{name} of dtype {array.dtype}" if hasattr(value, "dtype") else name


def _no_numbers(got: str) -> KindError:
    return KindError(
        expected="a tensor, an array of numbers or a DataFrame",
        got=got,
        advice=(
            "Encode texts and categories first, or hand a DataFrame to an estimator that "
            "takes one; a column of texts is a list of them: column.tolist()."
        ),
    )
