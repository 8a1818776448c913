"""A target from whatever a user writes for one."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from assay.errors import KindError
from assay.targets.function import Function
from assay.targets.label import Label, is_label
from assay.targets.output import bare_output
from assay.targets.target import Target


def as_target(value: Any) -> Target:
    """A target from a target, an index or a callable."""
    if isinstance(value, Target):
        return value
    if isinstance(value, type):
        raise KindError(
            expected="a target, an int, ints per input or a callable as target",
            got=f"the class {value.__name__}",
            advice=f"Make one: {value.__name__}(...).",
        )
    if is_label(value):
        return Label(value)
    # True is an int to Python, and no output.
    if isinstance(value, int | tuple | list | Tensor) and not isinstance(value, bool):
        return bare_output(value)
    # Arrays and numbers of NumPy, columns of pandas.
    if hasattr(value, "__array__"):
        return bare_output(value)
    if callable(value):
        return Function(value)
    raise KindError(
        expected="a target, an int, ints per input or a callable as target",
        got=type(value).__name__,
        advice="Use target=0 for the first output, or Predicted() for the largest.",
    )
