"""Signals that go back through a rectifier y = min(max(z, low), high), in one pass through memory.

On the way back tensors are larger than the cache, and each operation of torch goes through all of
them once more: a quotient of differences takes six. The loops do the same arithmetic in the same
order, number by number, and so give the same bits.

This file is compiled by numba, and imported where the first large signals come back.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from numba import njit
from torch import Tensor


def rescaled(z: Tensor, reference: Tensor, signals: Tensor, low: float, high: float) -> Tensor:
    """Signals (references, inputs, ...) times (y - y0) / (z - z0), the slope where they meet, for z
    (inputs, ...) and a reference (references, 1 or inputs, ...).
    """
    order = _order(z)
    given = _empty_like(signals, order)
    from_table, beside, into = (_rows(table, order, 2) for table in (signals, reference, given))
    arrays = (from_table, _rows(z, order, 1), beside, into)
    _in_threads(_rescale, arrays, low, high, from_table.shape[-1])
    return given


def guided(value: Tensor, signals: Tensor, low: float, high: float) -> Tensor:
    """What is positive of the signals (inputs, ...) where the rectifier was open, by its value."""
    order = _order(value)
    given = _empty_like(signals, order)
    arrays = tuple(_rows(table, order, 1).reshape(-1) for table in (signals, value, given))
    _in_threads(_guide, arrays, low, high, arrays[0].size)
    return given


def _order(rows: Tensor) -> tuple[int, ...]:
    """The order of the dimensions behind the first, in which rows lie in memory."""
    images = rows.dim() == 4 and rows.is_contiguous(memory_format=torch.channels_last)
    return (-2, -1, -3) if images else tuple(range(1 - rows.dim(), 0))


def _rows(table: Tensor, order: tuple[int, ...], kept: int) -> Any:
    """The numbers of a table (*kept, n) in the order of its rows, copied only where they lie in
    another.
    """
    moved = table.permute(*range(kept), *order)
    return moved.reshape(*table.shape[:kept], -1).contiguous().numpy()


def _empty_like(table: Tensor, order: tuple[int, ...]) -> Tensor:
    """A tensor of a table's shape whose rows have an order in memory; no view, since autograd adds
    to what it alone holds in place.
    """
    strides = list(table.stride())
    size = 1
    for dim in (*reversed(order), *range(-len(order) - 1, -table.dim() - 1, -1)):
        strides[dim] = size
        size *= table.shape[dim]
    return torch.empty_strided(table.shape, strides, dtype=table.dtype)


def _in_threads(
    loop: Callable[..., None], arrays: tuple[Any, ...], low: float, high: float, count: int
) -> None:
    """Runs a loop over parts of the last dimension, in as many threads as torch has."""
    bounds = [arrays[0].dtype.type(number) for number in (low, high, 0, 1)]
    threads = torch.get_num_threads()
    step = math.ceil(count / threads)
    parts = [(start, min(start + step, count)) for start in range(0, count, step)]
    if len(parts) == 1:
        loop(*arrays, *bounds, *parts[0])
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda part: loop(*arrays, *bounds, *part), parts))


@njit(cache=True, nogil=True, error_model="numpy")
def _rescale(
    signals: Any, z: Any, z0: Any, out: Any, low: Any, high: Any, zero: Any, one: Any,
    start: int, stop: int,
) -> None:  # fmt: skip
    for reference in range(signals.shape[0]):
        for row in range(signals.shape[1]):
            # One row of references may stand beside all inputs.
            beside = row if z0.shape[1] > 1 else 0
            _rescale_row(
                signals[reference, row, start:stop], z[row, start:stop],
                z0[reference, beside, start:stop], out[reference, row, start:stop],
                low, high, zero, one,
            )  # fmt: skip


# Below there are choices between two numbers and no branches, which would hold up the processor; and
# bounds, 0 and 1 in the type of the numbers, which others would turn into double precision.


@njit(cache=True, nogil=True, error_model="numpy")
def _rescale_row(
    signals: Any, z: Any, z0: Any, out: Any, low: Any, high: Any, zero: Any, one: Any
) -> None:
    for i in range(len(out)):
        a, b = z[i], z0[i]
        # What is not a number stays so: comparisons with it are false.
        y = low if a < low else a
        y = high if y > high else y
        y0 = low if b < low else b
        y0 = high if y0 > high else y0
        meet = a == b
        is_slope = meet & (low < a) & (a < high)
        # The slope of what meets is 1 / 1 or 0 / 1.
        rise = y - y0 + (one if is_slope else zero)
        run = a - b + (one if meet else zero)
        out[i] = rise / run * signals[i]


@njit(cache=True, nogil=True)
def _guide(
    signals: Any, y: Any, out: Any, low: Any, high: Any, zero: Any, one: Any,
    start: int, stop: int,
) -> None:  # fmt: skip
    _guide_row(signals[start:stop], y[start:stop], out[start:stop], low, high, zero)


@njit(cache=True, nogil=True)
def _guide_row(signals: Any, y: Any, out: Any, low: Any, high: Any, zero: Any) -> None:
    for i in range(len(out)):
        value, signal = y[i], signals[i]
        signal = signal if signal > zero else zero
        signal = signal if value > low else zero
        out[i] = signal if value < high else zero
