"""Whether an estimator takes missing values, as far as it says so itself.

scikit-learn's tags say it of one estimator; of a pipeline they say what its last step takes, although
an imputer in front leaves nothing missing. Here a pipeline is walked step by step. Whatever cannot
be known so is declared: `wrap(model, missing=True)`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, final

_ENCODERS = ("OneHotEncoder", "TargetEncoder")


@final
@dataclass(frozen=True)
class _Step:
    """What a step does with missing values."""

    takes: bool
    removes: bool


_PASSES = _Step(takes=True, removes=False)
_ENDS = _Step(takes=True, removes=True)
_REFUSES = _Step(takes=False, removes=False)


def takes_missing(estimator: Any) -> bool:
    """Whether an estimator says that it can take NaN."""
    return _step(estimator).takes


def _step(part: Any) -> _Step:
    # What is left out of a table, and what is let through.
    if part == "drop":
        return _ENDS
    if part is None or part == "passthrough":
        return _PASSES
    for look in (_inside_pipeline, _inside_columns, _inside_search):
        found = look(part)
        if found is not None:
            return found
    if _is_imputer(part):
        return _ENDS
    return _Step(takes=_tagged(part), removes=type(part).__name__ in _ENCODERS)


def _inside_pipeline(part: Any) -> _Step | None:
    steps = getattr(part, "steps", None)
    if not isinstance(steps, list):
        return None
    for _, inner in steps:
        step = _step(inner)
        # The first step that refuses or removes decides: those behind it never meet a gap.
        if not step.takes or step.removes:
            return step
    return _PASSES


def _inside_columns(part: Any) -> _Step | None:
    """Of steps side by side all must take what is missing; a fitted one knows the rest as well."""
    fitted = getattr(part, "transformers_", None)
    union = getattr(part, "transformer_list", None)
    inner = None
    if isinstance(fitted, list):
        # A part without columns is never called, and what it says of NaN does not count.
        inner = [step for _, step, columns in fitted if len(_listed(columns))]
    elif isinstance(union, list):
        inner = [step for _, step in union]
    if inner is None:
        return None
    steps = list(map(_step, inner))
    return _Step(all(step.takes for step in steps), all(step.removes for step in steps))


def _listed(columns: Any) -> Any:
    return columns if hasattr(columns, "__len__") else [columns]


def _inside_search(part: Any) -> _Step | None:
    """What a search, or a calibration, is made around."""
    for name in ("best_estimator_", "estimator_", "regressor_"):
        inner = getattr(part, name, None)
        if inner is not None:
            return _step(inner)
    calibrated = getattr(part, "calibrated_classifiers_", None)
    if isinstance(calibrated, list) and calibrated:
        return _step(calibrated[0].estimator)
    return None


def _is_imputer(part: Any) -> bool:
    if not type(part).__name__.endswith("Imputer"):
        return False
    # One of another mark than NaN leaves NaN as it is.
    missing = getattr(part, "missing_values", math.nan)
    return isinstance(missing, float) and math.isnan(missing)


def _tagged(part: Any) -> bool:
    tags = getattr(part, "__sklearn_tags__", None)
    try:
        return callable(tags) and bool(tags().input_tags.allow_nan)
    except Exception:  # tags of another version
        return False
