"""The door: any predictor becomes a `Model` here, and only here is its kind sniffed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import nn

from assay.errors import InputError, KindError
from assay.models.base import Model
from assay.models.black_box import Estimator, Function
from assay.models.networks.network import Network

_ANSWERS = ("predict_proba", "decision_function", "predict")


def _same(outputs: Any) -> Any:
    return outputs


def _part(output: str | int | Callable[[Any], Any] | None) -> Callable[[Any], Any]:
    """Which part of a structured output is meant."""
    if output is None:
        return _same
    if callable(output):
        return output
    key: Any = output

    def pick(outputs: Any) -> Any:
        if isinstance(key, str) and hasattr(outputs, key):
            return getattr(outputs, key)
        try:
            return outputs[key]
        except (KeyError, IndexError, TypeError) as error:
            raise KindError(
                expected=f"outputs with a part {key!r}",
                got=f"{type(outputs).__name__}: {error!r}",
                advice="",
            ) from error

    return pick


def wrap(
    predictor: Any,
    *,
    batch_size: int | Literal["auto"] = "auto",
    device: str | torch.device | None = None,
    output: str | int | Callable[[Any], Any] | None = None,
) -> Model:
    """A `Model` from a torch module, an estimator in the style of scikit-learn, or any callable on
    arrays or tensors.

    `batch_size="auto"` finds the fastest chunk on the first rows of real work and halves it when
    memory runs out. `output` says which part of a structured output is meant (a key, an index or a
    callable); for an estimator, which of `predict_proba`, `decision_function` and `predict` is
    explained (the first that exists, by default).

    >>> import torch
    >>> wrap(torch.nn.Linear(3, 2)).name
    'Linear'
    """
    if isinstance(predictor, Model):
        return predictor
    if batch_size != "auto" and (
        isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1
    ):
        raise InputError(
            expected="'auto' or a positive int as batch size",
            got=repr(batch_size),
            advice="",
        )
    rows = None if batch_size == "auto" else batch_size
    place = torch.device(device) if device is not None else None
    if isinstance(predictor, nn.Module):
        return Network(predictor, _part(output), rows, place)
    answers = [name for name in _ANSWERS if callable(getattr(predictor, name, None))]
    if answers and not isinstance(predictor, type):
        if output is not None and output not in answers:
            raise InputError(
                expected=f"output to be one of {answers} for {type(predictor).__name__}",
                got=repr(output),
                advice="",
            )
        return Estimator(predictor, str(output or answers[0]), rows, place)
    if callable(predictor) and not isinstance(predictor, type):
        return Function(predictor, _part(output), rows, place)
    raise KindError(
        expected=(
            f"a torch module, an estimator with one of {list(_ANSWERS)}, or a callable on arrays"
        ),
        got=type(predictor).__name__,
        advice="Hand over an instance rather than a class, or a function that predicts.",
    )
