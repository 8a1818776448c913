"""Whatever the user hands in, read into the layout that knows its kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from assay.errors import InputError
from assay.inputs.layout import Layout
from assay.inputs.tables import _table
from assay.inputs.tensors import TensorLayout, _pieces, as_tensor

if TYPE_CHECKING:
    pass


def layout_of(raw: Any, *, device: torch.device, dtype: torch.dtype | None) -> Layout:
    """The layout of raw inputs; floating tensors take the model's number type, integers keep
    theirs.
    """
    if type(raw).__module__.partition(".")[0] == "pandas":
        import pandas as pd

        if isinstance(raw, pd.DataFrame):
            return _table(raw, device)
    tensors = [as_tensor(part) for part in _pieces(raw)]
    if not tensors:
        raise InputError(
            expected="at least one tensor of inputs",
            got="none",
            advice="",
        )
    for tensor in tensors:
        if tensor.dim() == 0:
            raise InputError(
                expected="inputs whose first dimension counts them",
                got="a single number",
                advice="",
            )
    lengths = {len(tensor) for tensor in tensors}
    if len(lengths) > 1:
        raise InputError(
            expected="tensors that share their first dimension",
            got=f"{sorted(lengths)} rows",
            advice="",
        )
    dtypes = [dtype if dtype is not None and t.is_floating_point() else t.dtype for t in tensors]
    return TensorLayout(tuple(tuple(t.shape[1:]) for t in tensors), tuple(dtypes), device)
