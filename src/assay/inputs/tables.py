"""Tables as flat rows, and back to the kind of table that the predictor was fitted on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch
from torch import Tensor

from assay.errors import InputError, KindError
from assay.inputs.layout import Layout, Rows
from assay.numerics import rng

if TYPE_CHECKING:
    import pandas as pd


@final
@dataclass(frozen=True)
class TableLayout(Layout):
    """A DataFrame: numbers stay numbers, categories become codes; folding gives back a frame with
    the columns' own types.
    """

    columns: tuple[str, ...]
    dtypes: tuple[Any, ...]
    categories: tuple[tuple[Any, ...] | None, ...]
    device: torch.device

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return ((len(self.columns),),)

    @property
    def elements(self) -> int:
        return len(self.columns)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(map(str, self.columns))

    def flatten(self, raw: Any) -> Tensor:
        import pandas as pd

        if not isinstance(raw, pd.DataFrame):
            raise KindError(
                expected="a DataFrame with the columns of the inputs",
                got=type(raw).__name__,
                advice="",
            )
        if tuple(raw.columns) != self.columns:
            raise InputError(
                expected=f"the columns {list(self.columns)}",
                got=list(raw.columns),
                advice="",
            )
        codes = []
        for name, known in zip(self.columns, self.categories):
            if known is None:
                if not pd.api.types.is_numeric_dtype(raw[name].dtype):
                    raise InputError(
                        expected=f"numbers in the column {name!r} as in the inputs",
                        got=raw[name].dtype,
                        advice="Convert it with pandas.to_numeric.",
                    )
                codes.append(raw[name].to_numpy(dtype=np.float64, na_value=np.nan))
                continue
            code = (
                pd.Index(list(known), dtype=object)
                .get_indexer(raw[name].astype(object))
                .astype(np.float64)
            )
            unknown = (code < 0) & raw[name].notna().to_numpy()
            if unknown.any():
                value = raw[name].to_numpy()[unknown.argmax()]
                raise InputError(
                    f"Column {name!r} holds {value!r}, which is none of the inputs' categories {list(known)}. "
                    "Give the column a pandas categorical type that lists every category."
                )
            codes.append(np.where(code < 0, np.nan, code))
        return torch.from_numpy(np.stack(codes, axis=1)).to(self.device)

    def fold(self, rows: Tensor) -> Rows:
        import pandas as pd

        values = rows.detach().cpu().numpy()
        columns: dict[Any, Any] = {}
        for index, (name, dtype, known) in enumerate(
            zip(self.columns, self.dtypes, self.categories)
        ):
            column = values[:, index]
            if known is None:
                # A blend of rows can leave the integers: such a column is handed over as floats, never rounded in silence.
                whole = not np.issubdtype(getattr(dtype, "numpy_dtype", dtype), np.integer) or bool(
                    np.all(column == np.round(column))
                )
                columns[name] = pd.Series(column).astype(dtype if whole else np.float64)
            else:
                taken = np.where(np.isnan(column), -1, column).astype(np.int64)
                made = pd.Categorical.from_codes(taken, categories=pd.Index(list(known)))
                columns[name] = (
                    made
                    if isinstance(dtype, pd.CategoricalDtype)
                    else pd.Series(made).astype(dtype)
                )
        return (pd.DataFrame(columns),)

    def identities(self, rows: Tensor) -> Tensor:
        import pandas as pd

        if all(known is None for known in self.categories):
            return super().identities(rows)
        hashed = pd.util.hash_pandas_object(self.fold(rows)[0], index=False, categorize=False)
        return rng.identities([key.tobytes() for key in hashed.to_numpy()]).to(rows.device)


def _table(frame: pd.DataFrame, device: torch.device) -> TableLayout:
    import pandas as pd

    categories: list[tuple[Any, ...] | None] = []
    for name in frame.columns:
        column = frame[name]
        if isinstance(column.dtype, pd.CategoricalDtype):
            categories.append(tuple(column.cat.categories))
        elif pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(
            column.dtype
        ):
            categories.append(None)
        else:
            categories.append(tuple(sorted(column.dropna().unique(), key=str)))
    return TableLayout(tuple(frame.columns), tuple(frame.dtypes), tuple(categories), device)
