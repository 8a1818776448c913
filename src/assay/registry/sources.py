"""Predictors and inputs by address, for the command line: the door to `model_files` and `data_files`.

A table is brought into the columns that an estimator was fitted on, by their names: a file often has
more of them (an index, the label) than the model knows.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch

from assay.errors import InputError
from assay.models.base import Model
from assay.models.columns import Columns
from assay.models.wrapping import wrap
from assay.registry.data_files import Reading, inputs
from assay.registry.hugging_face import labels
from assay.registry.model_files import form_of, predictor
from assay.registry.onnx_models import OnnxModel

__all__ = ["Fitted", "fitted", "form_of", "inputs", "predictor", "Reading", "wrapped"]


def wrapped(predictor: Any, output: str | None = None) -> Model:
    """A predictor as a `Model`; `output` names the answer of an estimator, or a part of the outputs."""
    if output is not None and isinstance(predictor, OnnxModel):
        return wrap(predictor.giving(output))
    named: Any = int(output) if output is not None and output.isdecimal() else output
    return wrap(predictor, output=named, classes=labels(predictor))


def fitted(model: Model, data: Any, path: Path) -> tuple[Any, Fitted]:
    """Data as a predictor takes it, and what was done to it.

    A table loses the columns that an estimator was not fitted on; a torch module gets its numbers as
    a tensor. Whatever is no table comes back as it is.

    Errors: InputError for a table that lacks columns, or holds more than numbers where a module is
    to take it.
    """
    if not hasattr(data, "columns"):
        return data, Fitted()
    module = getattr(model, "module", None)
    if module is not None:
        return _as_tensor(module, data, path)
    names = _known_columns(model)
    if names is None:
        return data, Fitted()
    given = [str(name) for name in data.columns]
    wanted = [str(name) for name in names]
    extra = tuple(name for name in given if name not in wanted)
    # What is lacking, the model's own wrapper refuses by name: LightGBM writes other letters for some.
    if not extra or not set(wanted) <= set(given):
        return data, Fitted()
    return data[wanted], Fitted(extra)


def _known_columns(model: Model) -> tuple[Any, ...] | None:
    """The columns that a predictor takes by name, and no others."""
    function = getattr(model, "function", None)
    if isinstance(function, OnnxModel):
        return function.columns
    known = Columns.of(getattr(model, "estimator", None))
    if known.made_up or known.spares or known.texts:
        return None
    return known.names


@final
@dataclass(frozen=True)
class Fitted:
    """What was done to a table.

    Settings:
        dropped: columns that the predictor was not fitted on.
        names: of the columns, where they have become those of a tensor.
    """

    dropped: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


def _as_tensor(module: Any, table: Any, path: Path) -> tuple[Any, Fitted]:
    others = [name for name in table.columns if table[name].dtype.kind not in "iufb"]
    if others:
        raise InputError(
            expected=f"columns of numbers in {path} for the torch module {type(module).__name__}",
            got=", ".join(map(repr, others[:5])),
            advice="Leave them out with --drop, or encode them in a function around the module.",
        )
    # As wide as the weights: a module in single precision takes no double.
    kinds = [each.dtype for each in module.parameters() if each.dtype.is_floating_point]
    numbers = torch.tensor(table.to_numpy(dtype="float64"), dtype=(kinds or [torch.float32])[0])
    return numbers, Fitted(names=tuple(map(str, table.columns)))
