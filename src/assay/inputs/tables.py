"""Tables as flat rows, and back to the kind of table that the predictor was fitted on.

Numbers stay numbers; a category becomes its ordinal code (the position in the list of categories), a
missing one NaN. Codes are only a memory: folding gives the predictor the columns' own types again,
so that pipelines with encoders of their own see what they were fitted on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from assay.errors import InputError, KindError
from assay.inputs.arrays import EXACT
from assay.inputs.layout import Layout, Rows
from assay.numerics import rng

if TYPE_CHECKING:
    import pandas as pd

Floats: TypeAlias = NDArray[np.float64]

Categories: TypeAlias = tuple[Any, ...]


@final
@dataclass(frozen=True)
class TableLayout(Layout):
    """A DataFrame: numbers stay numbers, categories become codes.

    Folding gives back a frame with the columns' own types.

    Settings:
        columns: the names of the columns, in order.
        dtypes: the pandas type of each column.
        categories: the categories of each column in the order of their codes; None for numbers.
        device: where the rows live.
    """

    columns: tuple[str, ...]
    dtypes: tuple[Any, ...]
    categories: tuple[Categories | None, ...]
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
                advice="Make one: pd.DataFrame(rows, columns=inputs.columns).",
            )
        if tuple(raw.columns) != self.columns:
            raise InputError(
                expected=f"the columns {list(self.columns)}",
                got=list(raw.columns),
                advice="Select them by name: frame[inputs.columns].",
            )
        columns = []
        for name, categories in zip(self.columns, self.categories):
            if categories is None:
                columns.append(_numbers(raw[name]))
            else:
                columns.append(_codes(raw[name], categories))
        return torch.from_numpy(np.stack(columns, axis=1)).to(self.device)

    def filled(self, value: float) -> Tensor:
        for name, categories in zip(self.columns, self.categories):
            if categories is not None and not _is_code(value, categories):
                raise InputError(
                    expected=f"a category of column {name!r}, one of {list(categories)}",
                    got=f"the number {value}",
                    advice="Give one row of the table: Baseline(frame.iloc[[0]]).",
                )
        return super().filled(value).to(self.device)

    def admitting(self, rows: Tensor) -> TableLayout:
        # Decided once, for all rows: those of one chunk know nothing of another's fractions.
        fractional = (rows != rows.round()) & torch.isfinite(rows)
        fractional = fractional.reshape(-1, len(self.columns)).any(0)
        dtypes = tuple(
            np.dtype(np.float64) if _is_integer(dtype) and is_fractional else dtype
            for dtype, is_fractional in zip(self.dtypes, fractional.tolist())
        )
        return replace(self, dtypes=dtypes)

    def fold(self, rows: Tensor) -> Rows:
        import pandas as pd

        values = rows.detach().cpu().numpy()
        columns: dict[Any, Any] = {}
        for index, name in enumerate(self.columns):
            dtype = self.dtypes[index]
            categories = self.categories[index]
            if categories is None:
                columns[name] = _number_column(values[:, index], dtype)
            else:
                columns[name] = _category_column(values[:, index], dtype, categories)
        return (pd.DataFrame(columns),)

    def identities(self, rows: Tensor) -> Tensor:
        import pandas as pd

        if all(categories is None for categories in self.categories):
            return super().identities(rows)
        # Codes depend on which categories the inputs happened to have: hash what
        # they stand for.
        frame = self.fold(rows)[0]
        hashes = pd.util.hash_pandas_object(frame, index=False, categorize=False)
        keys = rng.identities([key.tobytes() for key in hashes.to_numpy()])
        return keys.to(rows.device)


def table_layout(frame: pd.DataFrame, device: torch.device) -> TableLayout:
    """The layout of a data frame."""
    _check_columns(frame)
    return TableLayout(
        columns=tuple(frame.columns),
        dtypes=tuple(frame.dtypes),
        categories=tuple(_categories(frame[name]) for name in frame.columns),
        device=device,
    )


def _check_columns(frame: pd.DataFrame) -> None:
    """Refuses frames whose columns cannot be told apart, or do not hold one value a row."""
    if len(frame.columns) == 0:
        raise InputError(
            expected="a table of at least one column",
            got="none",
            advice="Select the columns that the model takes: frame[columns].",
        )
    repeated = frame.columns[frame.columns.duplicated()]
    if len(repeated):
        raise InputError(
            expected="columns whose names differ",
            got=f"{repeated[0]!r} more than once",
            advice="Rename them: frame.columns = [...].",
        )
    for name, dtype in frame.dtypes.items():
        if getattr(dtype, "name", "").startswith("Sparse"):
            raise KindError(
                expected=f"a dense column {name!r}",
                got=dtype,
                advice="Convert it: frame.sparse.to_dense().",
            )
        if getattr(dtype, "kind", "") == "c":
            raise KindError(
                expected=f"real numbers in column {name!r}",
                got=dtype,
                advice="Make two columns of it, frame[name].to_numpy().real and .imag.",
            )


def _categories(column: pd.Series[Any]) -> Categories | None:
    """The categories of a column, sorted where pandas knows no order; None for numbers."""
    import pandas as pd

    if isinstance(column.dtype, pd.CategoricalDtype):
        return tuple(column.cat.categories)
    # A truth value is a number to pandas; as a category it is handed back as
    # one.
    is_bool = pd.api.types.is_bool_dtype(column.dtype)
    if pd.api.types.is_numeric_dtype(column.dtype) and not is_bool:
        return None
    # Sorted by their text, since values of different types have no order.
    return tuple(sorted(column.dropna().unique(), key=str))


def _numbers(column: pd.Series[Any]) -> Floats:
    import pandas as pd

    if not pd.api.types.is_numeric_dtype(column.dtype):
        raise InputError(
            expected=f"numbers in the column {column.name!r} as in the inputs",
            got=column.dtype,
            advice="Convert it with pandas.to_numeric.",
        )
    numbers = column.to_numpy(dtype=np.float64, na_value=np.nan)
    # Rows are floats: a number that they round would be another number to the model.
    if _is_integer(column.dtype) and bool((np.abs(numbers) >= EXACT).any()):
        _check_exact(column)
    return numbers


def _check_exact(column: pd.Series[Any]) -> None:
    for number in map(int, column.dropna()):
        if abs(number) > EXACT:
            raise InputError(
                expected=f"whole numbers up to 2**53 in column {column.name!r}",
                got=f"{number}, which a float does not hold",
                advice="A number that only names something is a category: column.astype(str).",
            )


def _codes(column: pd.Series[Any], categories: Sequence[Any]) -> Floats:
    """Positions in the list of categories, NaN where the value is missing."""
    import pandas as pd

    index = pd.Index(list(categories), dtype=object)
    codes = index.get_indexer(column.astype(object)).astype(np.float64)
    # pandas gives -1 for missing values and for those it does not find.
    unknown = (codes < 0) & column.notna().to_numpy()
    if unknown.any():
        raise InputError(
            expected=f"one of the inputs' categories {list(categories)} in column {column.name!r}",
            got=f"{column.to_numpy()[unknown.argmax()]!r}, which is none of them",
            advice="Give the column a pandas categorical type that lists every category.",
        )
    return np.where(codes < 0, np.nan, codes)


def _is_code(value: float, categories: Sequence[Any]) -> bool:
    """Whether a number stands for a category, or, as NaN, for a missing one."""
    return np.isnan(value) or (0 <= value < len(categories) and float(value).is_integer())


def _number_column(values: NDArray[Any], dtype: Any) -> pd.Series[Any]:
    """Numbers in the column's own type, or as floats where that would round them."""
    import pandas as pd

    # A blend of rows can leave the integers: such a column is handed over as
    # floats, never rounded in silence.
    if _is_integer(dtype) and not bool(np.all(values == np.round(values))):
        dtype = np.float64
    return pd.Series(values).astype(dtype)


def _is_integer(dtype: Any) -> bool:
    """Whether a column holds whole numbers; pandas' own types say which of NumPy's they are like."""
    like = getattr(dtype, "numpy_dtype", dtype)
    return isinstance(like, np.dtype) and np.issubdtype(like, np.integer)


def _category_column(values: NDArray[Any], dtype: Any, categories: Sequence[Any]) -> Any:
    """Codes as the categories they stand for, in the column's own type."""
    import pandas as pd

    # pandas' own code of a missing value is -1.
    codes = np.where(np.isnan(values), -1, values).astype(np.int64)
    column = pd.Categorical.from_codes(codes, categories=pd.Index(list(categories)))
    if isinstance(dtype, pd.CategoricalDtype):
        return column
    return pd.Series(column).astype(dtype)
