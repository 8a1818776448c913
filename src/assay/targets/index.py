"""Numbers of outputs, read from whatever holds them: ints, tuples, lists, arrays, columns."""

from __future__ import annotations

import operator
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor

from assay.errors import KindError, TargetError


def check_inside(outputs: Tensor, index: tuple[int, ...]) -> None:
    """Refuses a place that outputs (n, ...) do not have."""
    sizes = tuple(outputs.shape[1:]) or (1,)
    if len(index) != len(sizes):
        raise TargetError(
            expected=f"a target that points at one of the outputs of shape {sizes}",
            got=index,
            advice=f"Give a tuple of {len(sizes)} ints, or a callable outputs -> (n,).",
        )
    for value, size in zip(index, sizes):
        if not -size <= value < size:
            advice = f"Use 0 to {size - 1}, or -{size} to -1 from the end."
            if size == 1:
                advice = "There is one output: use 0."
            raise TargetError(
                expected=f"a target inside outputs of shape {sizes}",
                got=f"output number {index[0] if len(index) == 1 else index}; the first output is 0",
                advice=advice,
            )


def as_index(index: Any) -> int | tuple[int, ...] | Tensor:
    """An index as an int, as a tuple of ints, or as integers per input."""
    if isinstance(index, tuple):
        try:
            return tuple(map(whole, index))
        except TypeError as error:
            raise TargetError(
                expected="a tuple of ints that points into outputs of several dimensions",
                got=repr(index),
                advice="Give one int for each dimension; a list holds one target for each input.",
            ) from error
    # True is an int to Python, and no output.
    truth = isinstance(index, bool)
    if isinstance(index, Integral) and not truth:
        return int(index)
    if isinstance(index, list) or hasattr(index, "__array__"):
        return whole_numbers(index, "one int per input")
    raise KindError(
        expected="an int, one int per input or a tuple as output",
        got=type(index).__name__,
        advice="Use target=0 for the first output, target=labels for one per input.",
    )


def whole(value: Any) -> int:
    """An int, from one of Python's, NumPy's or torch's; TypeError for anything else."""
    if isinstance(value, bool) or getattr(value, "dtype", None) == torch.bool:
        raise TypeError("a truth value is no number of an output")
    return operator.index(value)


def whole_numbers(values: Any, expected: str) -> Tensor:
    """Whole numbers as a tensor, whatever kind of array or list holds them."""
    try:
        # Copies: what the caller writes later is not asked about.
        is_tensor = isinstance(values, Tensor)
        tensor = values.detach().clone() if is_tensor else torch.as_tensor(as_array(values))
    except (TypeError, ValueError) as error:
        raise TargetError(
            expected=expected,
            got=f"{type(values).__name__} of something else: {error}",
            advice="Number the outputs 0, 1, 2, ...: one whole number for each input.",
        ) from error
    if not is_whole(tensor):
        raise TargetError(
            expected=expected,
            got=f"{tensor.dtype} of shape {tuple(tensor.shape)}",
            advice="Give whole numbers: the first is 0.",
        )
    return tensor


def as_array(values: Any) -> np.ndarray[Any, Any]:
    """An array that torch can take, whole numbers as 64-bit ones."""
    array = np.asarray(values)
    # Objects may be whole numbers: columns of pandas that can hold missing ones.
    if array.dtype == object:
        numbers = [whole(value) for value in array.ravel()]
        return np.array(numbers, dtype=np.int64).reshape(array.shape)
    # torch does not share the memory of what runs backwards, and has no larger unsigned numbers.
    if array.dtype.kind in "iu":
        return np.array(array, dtype=np.int64)
    return array


def is_whole(values: Tensor) -> bool:
    """Whether numbers are of an integer type; truth values are not."""
    return not (values.is_floating_point() or values.is_complex() or values.dtype == torch.bool)
