"""Rectifiers between two bounds, y = min(max(z, low), high): ReLU, ReLU6 and its kin."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from assay.models.networks.operations.operation import Operation

_LARGE = 1 << 16
"""Numbers from which on a pass through memory costs more than calling what spares it."""


def bounds_of(operation: Operation) -> tuple[float, float] | None:
    """The bounds between which a rectifier hands on what it is given; None for other operations."""
    if operation.name == "relu":
        return 0.0, math.inf
    if operation.name == "relu6":
        return 0.0, 6.0
    if operation.name == "hardtanh":
        low: float = operation.argument(1, "min_val", -1.0)
        high: float = operation.argument(2, "max_val", 1.0)
        return low, high
    return None


def in_one_pass(signals: Tensor) -> bool:
    """Whether signals go back through a rectifier in the loops of `rectified`."""
    is_plain = signals.device.type == "cpu" and signals.dtype in (torch.float32, torch.float64)
    return is_plain and signals.numel() >= _LARGE
