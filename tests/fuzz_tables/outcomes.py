"""How a situation ended, and how two arrays of numbers are compared."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SLACK = 1e-8


class Wrong(Exception):
    """An answer that is contradicted, or something that was not left as it was."""


class Slow(BaseException):
    """A situation that takes too long."""


@dataclass
class Ended:
    """How it ended, filled in on the way."""

    outcome: str = "answered"
    detail: str = ""
    checked: bool = False


@dataclass
class Outcome:
    """How it ended: answered, refused, foreign, wrong or slow; and about what."""

    seed: int
    family: str
    kind: str
    action: str
    removal: str
    outcome: str
    detail: str
    situation: str
    due: bool = False
    checked: bool = False


def place(error: BaseException) -> str:
    """Where in the library an exception came by last."""
    found = ""
    for frame in traceback.extract_tb(error.__traceback__):
        path = Path(frame.filename).as_posix()
        if "/assay/" in path:
            found = f"{path.split('/assay/')[-1]}:{frame.name}"
    return found


def brief(values: Any) -> str:
    """The first numbers."""
    return "[" + ", ".join(f"{v:.6g}" for v in np.asarray(values).reshape(-1)[:5]) + "]"


def compared(
    name: str, given: Any, expected: Any, slack: float = SLACK, scale: float = 1.0
) -> None:
    """Raises `Wrong` where numbers differ by more than rounding."""
    given, expected = np.asarray(given, float), np.asarray(expected, float)
    if given.shape != expected.shape:
        raise Wrong(f"{name}: shape {given.shape} for {expected.shape}")
    if (np.isnan(given) != np.isnan(expected)).any():
        raise Wrong(f"{name}: {brief(given)} for {brief(expected)}")
    allowed = slack * max(scale, float(np.nan_to_num(np.abs(expected)).max(initial=0.0)))
    error = float(np.nan_to_num(np.abs(given - expected)).max(initial=0.0))
    if not error <= allowed:
        raise Wrong(f"{name}: {brief(given)} for {brief(expected)}, off by {error:.3g}")
