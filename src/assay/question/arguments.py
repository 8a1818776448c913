"""What a question is asked with: masks, points and numbers of inputs, read from whatever holds them.

Arrays and lists are read where their meaning is plain; what is no array of such numbers is refused.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from assay.errors import InputError, KindError, TargetError

_NO_NUMBERS = (str, bytes, dict, set, frozenset)


def read_masks(masks: Any, device: torch.device) -> Tensor:
    """Masks over features, on the device of the inputs."""
    advice = "Bools say what is present, floats in [0, 1] blend: torch.tensor([[True, False]])."
    read = _read(masks, device, "masks as a tensor of bools or floats", advice)
    if read.is_floating_point() and read.numel():
        low, high = torch.aminmax(read)
        # NaN is neither.
        if not (low >= 0 and high <= 1):
            raise InputError(
                expected="masks of floats from 0 to 1",
                got=f"{float(low)} to {float(high)}",
                advice="1 is the input, 0 its replacement, and 0.5 half way between them.",
            )
    return read


def read_points(at: Any, x: Tensor) -> Tensor:
    """Points like the inputs x (n, elements), on their device and in their number type."""
    advice = "Points are flat rows: start from question.x."
    expected = f"points of {x.dtype} like the inputs"
    points = _read(at, x.device, expected, advice)
    if points.dtype == x.dtype:
        return points
    if points.dtype == torch.bool or points.is_complex():
        raise KindError(expected=expected, got=points.dtype, advice=advice)
    # Floats may stand for whole numbers, if none is cut.
    cut = points.is_floating_point() and not x.is_floating_point()
    if cut and not bool((points == points.round()).all()):
        raise KindError(
            expected=expected,
            got=f"fractions of {points.dtype}",
            advice="Give whole numbers, or explain floating inputs.",
        )
    return points.to(x.dtype)


def read_rows(rows: Any, n: int, device: torch.device) -> Tensor:
    """Which of n inputs, counted from 0 (r,): from ints, a mask over all of them or a slice."""
    advice = "Give their numbers, such as question.take([0, 2]), or a mask over all of them."
    expected = f"the numbers of some of {n} inputs"
    if isinstance(rows, slice):
        rows = torch.arange(n)[rows]
    numbers = _read(rows, device, expected, advice)
    got = f"{numbers.dtype} of shape {tuple(numbers.shape)}"
    if numbers.dim() != 1:
        raise InputError(expected=expected, got=got, advice=advice)
    if numbers.dtype == torch.bool and len(numbers) == n:
        return numbers.nonzero()[:, 0]
    # An empty list is one of floats.
    if not len(numbers):
        return numbers.to(torch.int64)
    if numbers.dtype == torch.bool or numbers.is_floating_point() or numbers.is_complex():
        raise KindError(expected=expected, got=got, advice=advice)
    low, high = (int(end) for end in torch.aminmax(numbers))
    if low < -n or high >= n:
        raise InputError(
            expected=expected,
            got=f"{low if low < -n else high}; the first is 0",
            advice=f"Use 0 to {n - 1}, or -{n} to -1 from the end.",
        )
    numbers = numbers.to(torch.int64)
    return numbers % n if low < 0 else numbers


def read_columns(columns: Any) -> list[int]:
    """Numbers of outputs."""
    advice = "Give their numbers, such as question.for_outputs([0, 2])."
    read = _read(columns, torch.device("cpu"), "the numbers of some outputs", advice)
    if read.dtype == torch.bool or read.is_floating_point() or read.is_complex() or read.dim() > 1:
        raise KindError(
            expected="the numbers of some outputs",
            got=f"{read.dtype} of shape {tuple(read.shape)}",
            advice=advice,
        )
    return [int(column) for column in read.reshape(-1)]


def _read(values: Any, device: torch.device, expected: str, advice: str) -> Tensor:
    """A tensor, from a tensor, an array or lists of numbers."""
    # What is absent, or named, is no array of numbers, whatever NumPy makes of it.
    if values is None or isinstance(values, _NO_NUMBERS):
        raise KindError(expected=expected, got=type(values).__name__, advice=advice)
    tensor: Tensor = values
    if not isinstance(values, Tensor):
        try:
            tensor = torch.as_tensor(np.array(values))
        except (TypeError, ValueError, RuntimeError) as error:
            got = f"{type(values).__name__} of something else: {error}"
            raise KindError(expected=expected, got=got, advice=advice) from error
    if tensor.layout != torch.strided or tensor.is_meta:
        got = f"a tensor of {tensor.layout} on {tensor.device}"
        raise KindError(expected=expected, got=got, advice=advice)
    return tensor.to(device)


def mask_of(unit: Any, shape: tuple[int, ...]) -> Tensor:
    """Which units of an activation of a shape an int, or a tuple of ints and slices, means: 1 for
    each of them.
    """
    mask = torch.zeros(shape or (1,))
    places = unit if isinstance(unit, tuple) else (unit,)
    known = all(isinstance(place, int | slice) and not isinstance(place, bool) for place in places)
    try:
        if known and len(places) == mask.dim():
            mask[places] = 1.0
    # Outside of the layer.
    except (IndexError, ValueError, TypeError):
        mask.zero_()
    if not bool(mask.any()):
        raise TargetError(
            expected=f"units of an activation of shape {tuple(mask.shape)}",
            got=repr(unit),
            advice=f"Give a tuple of {mask.dim()} ints or slices.",
        )
    return mask
