"""Which layout suits what was handed in: a table for a data frame, tensors for everything else.

Texts are told apart before (`inputs.texts.texts_of`), since they also need a removal of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

import torch
from torch import Tensor

from assay.errors import InputError
from assay.inputs.arrays import as_tensor
from assay.inputs.containers import check_cells, check_container
from assay.inputs.layout import Layout
from assay.inputs.tables import table_layout
from assay.inputs.tensors import TensorLayout, names_of_columns, tensor_parts

if TYPE_CHECKING:
    import pandas as pd


def layout_of(
    raw: Any,
    *,
    device: torch.device,
    dtype: torch.dtype | None,
    columns: tuple[Any, ...] | None = None,
) -> Layout:
    """The layout of raw inputs; floating tensors take the model's number type, integers keep
    theirs. `columns`: what the predictor calls the columns of an array, where it says so.
    """
    # First, since a list of rows or a Series would pass as an array, without its names and types.
    check_container(raw)
    if _is_frame(raw):
        check_cells(raw)
        return table_layout(raw, device)
    parts = tensor_parts(raw)
    tensors = [as_tensor(part) for part in parts]
    _check_common_length(tensors)
    shapes = [tuple(tensor.shape[1:]) for tensor in tensors]
    dtypes = [_input_dtype(tensor, dtype) for tensor in tensors]
    known = [names_of_columns(part) or None for part in parts]
    # Names of the fit are those of an array only where there are as many, and it has none itself.
    if columns is not None and shapes == [(len(columns),)] and known == [None]:
        known = [columns]
    return TensorLayout(tuple(shapes), tuple(dtypes), device, columns=tuple(known))


def _is_frame(raw: Any) -> TypeGuard[pd.DataFrame]:
    # pandas takes a second to load: it is asked for only if the inputs come
    # from it.
    if type(raw).__module__.partition(".")[0] != "pandas":
        return False
    import pandas as pd

    return isinstance(raw, pd.DataFrame)


def _input_dtype(tensor: Tensor, model_dtype: torch.dtype | None) -> torch.dtype:
    if model_dtype is None or not tensor.is_floating_point():
        return tensor.dtype
    # Weights may be stored in eight bits; nothing is computed in them.
    if model_dtype.itemsize == 1:
        return tensor.dtype
    return model_dtype


def _check_common_length(tensors: Sequence[Tensor]) -> None:
    """Refuses inputs that are not counted by their first dimension, all alike."""
    if not tensors:
        raise InputError(
            expected="at least one tensor of inputs",
            got="none",
            advice="Hand over a tensor of shape (n, ...), or a tuple of such tensors.",
        )
    if any(tensor.dim() == 0 for tensor in tensors):
        raise InputError(
            expected="inputs whose first dimension counts them",
            got="a single number",
            advice="Add the dimension: x.reshape(1, 1) is one input of one number.",
        )
    lengths = {len(tensor) for tensor in tensors}
    if len(lengths) > 1:
        raise InputError(
            expected="tensors that share their first dimension",
            got=f"{sorted(lengths)} rows",
            advice="Hand what is the same for all inputs over as context={name: Shared(value)}.",
        )
