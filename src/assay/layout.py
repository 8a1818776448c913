"""Whatever the user hands in, and the matrix of flat rows that everything inside works on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, final

import numpy as np
import torch
from torch import Tensor

from assay import rng
from assay.errors import InputError, KindError

if TYPE_CHECKING:
    import pandas as pd

Rows: TypeAlias = tuple[Any, ...]
"""What a predictor is called with: tensors that share their first dimension, or one table."""


@final
@dataclass(frozen=True)
class Aligned:
    """A context value with one row per input: an attention mask, a length. It follows its input through every chunk."""

    value: Tensor


@final
@dataclass(frozen=True)
class Shared:
    """A context value that is the same for all inputs: a constant matrix, a flag."""

    value: Any


Context: TypeAlias = Mapping[str, Aligned | Shared]


class Layout(ABC):
    """How raw inputs become rows (n, elements), and rows become what the predictor takes."""

    @property
    @abstractmethod
    def elements(self) -> int:
        """Columns of the flat matrix."""

    @property
    @abstractmethod
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shape of one input, tensor by tensor."""

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """One name per element."""

    @abstractmethod
    def flatten(self, raw: Any) -> Tensor:
        """Raw inputs of the same kind to rows (n, elements)."""

    @abstractmethod
    def fold(self, rows: Tensor) -> Rows:
        """Rows (r, elements) to what the predictor takes."""

    def identities(self, rows: Tensor) -> Tensor:
        """One key per row (n,), hashed from what the row says and not from how this layout encodes it."""
        plain = rows.detach().cpu().contiguous()
        array = (plain.view(torch.int16) if plain.dtype in (torch.bfloat16, torch.float16) else plain).numpy()
        return rng.identities(array[index].tobytes() for index in range(len(array))).to(rows.device)

    def describe(self) -> str:
        """The shape of one input, in words."""
        return " and ".join(str(shape) for shape in self.shapes)


@final
@dataclass(frozen=True)
class TensorLayout(Layout):
    """One tensor or several that share the first dimension, laid side by side in a common number type."""

    parts: tuple[tuple[int, ...], ...]
    dtypes: tuple[torch.dtype, ...]
    device: torch.device

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return self.parts

    @property
    def sizes(self) -> list[int]:
        """Elements of each tensor."""
        return [int(np.prod(shape, dtype=np.int64)) for shape in self.parts]

    @property
    def elements(self) -> int:
        return sum(self.sizes)

    @property
    def dtype(self) -> torch.dtype:
        """The common number type of the flat rows."""
        common = self.dtypes[0]
        for other in self.dtypes[1:]:
            common = torch.promote_types(common, other)
        return torch.int64 if common == torch.bool else common

    @property
    def names(self) -> tuple[str, ...]:
        prefixes = [""] if len(self.parts) == 1 else [f"input{index}" for index in range(len(self.parts))]
        return tuple(
            prefix + str(list(map(int, np.unravel_index(index, shape)))).replace(" ", "") if shape else prefix or "x"
            for prefix, shape in zip(prefixes, self.parts)
            for index in range(int(np.prod(shape, dtype=np.int64)))
        )

    def flatten(self, raw: Any) -> Tensor:
        tensors = [as_tensor(part) for part in _pieces(raw)]
        if len(tensors) != len(self.parts):
            raise InputError(f"Expected {len(self.parts)} tensors like the inputs, got {len(tensors)}.")
        for tensor, shape in zip(tensors, self.parts):
            if tuple(tensor.shape[1:]) != shape:
                raise InputError(
                    f"Expected rows of shape {shape} like the inputs, got a tensor of shape {tuple(tensor.shape)}. "
                    "The first dimension counts rows; add it with x[None] for a single one."
                )
            if (
                not self.dtype.is_floating_point
                and tensor.is_floating_point()
                and not bool((tensor == tensor.round()).all())
            ):
                raise InputError(
                    f"Expected whole numbers in the place of inputs of {self.dtype}, got fractions. Give integers, or explain "
                    "floating inputs."
                )
        flat = [
            tensor.detach().to(self.device, self.dtype).reshape(len(tensor), size)
            for tensor, size in zip(tensors, self.sizes)
        ]
        return flat[0] if len(flat) == 1 else torch.cat(flat, dim=1)

    def fold(self, rows: Tensor) -> Rows:
        pieces = rows.split(self.sizes, dim=1) if len(self.parts) > 1 else (rows,)
        return tuple(
            piece.reshape(len(rows), *shape).to(dtype)
            for piece, shape, dtype in zip(pieces, self.parts, self.dtypes, strict=True)
        )


@final
@dataclass(frozen=True)
class TableLayout(Layout):
    """A DataFrame: numbers stay numbers, categories become codes; folding gives back a frame with the columns' own types."""

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
            raise KindError(f"Expected a DataFrame with the columns of the inputs, got {type(raw).__name__}.")
        if tuple(raw.columns) != self.columns:
            raise InputError(f"Expected the columns {list(self.columns)}, got {list(raw.columns)}.")
        codes = []
        for name, known in zip(self.columns, self.categories):
            if known is None:
                if not pd.api.types.is_numeric_dtype(raw[name].dtype):
                    raise InputError(
                        f"Expected numbers in the column {name!r} as in the inputs, got {raw[name].dtype}. Convert it with "
                        "pandas.to_numeric."
                    )
                codes.append(raw[name].to_numpy(dtype=np.float64, na_value=np.nan))
                continue
            code = pd.Index(list(known), dtype=object).get_indexer(raw[name].astype(object)).astype(np.float64)
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
        for index, (name, dtype, known) in enumerate(zip(self.columns, self.dtypes, self.categories)):
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
                columns[name] = made if isinstance(dtype, pd.CategoricalDtype) else pd.Series(made).astype(dtype)
        return (pd.DataFrame(columns),)

    def identities(self, rows: Tensor) -> Tensor:
        import pandas as pd

        if all(known is None for known in self.categories):
            return super().identities(rows)
        hashed = pd.util.hash_pandas_object(self.fold(rows)[0], index=False, categorize=False)
        return rng.identities([key.tobytes() for key in hashed.to_numpy()]).to(rows.device)


def as_tensor(value: Any) -> Tensor:
    """A tensor of the same numbers; anything that is no array of numbers is refused."""
    if isinstance(value, Tensor):
        return value.clone() if value.is_inference() else value
    try:
        array = np.asarray(value, order="C")
        return torch.as_tensor(array if array.flags.writeable else array.copy())
    except (TypeError, ValueError) as error:
        raise KindError(
            f"Expected a tensor, an array of numbers or a DataFrame, got {type(value).__name__}. "
            "Encode texts and categories first, or hand a DataFrame to an estimator that takes one."
        ) from error


def _pieces(raw: Any) -> list[Any]:
    """The tensors handed in: a tuple or a list of arrays is several of them, a list of numbers is one."""
    several = isinstance(raw, tuple) or (isinstance(raw, list) and all(hasattr(part, "shape") for part in raw))
    return list(raw) if several else [raw]


def _table(frame: pd.DataFrame, device: torch.device) -> TableLayout:
    import pandas as pd

    categories: list[tuple[Any, ...] | None] = []
    for name in frame.columns:
        column = frame[name]
        if isinstance(column.dtype, pd.CategoricalDtype):
            categories.append(tuple(column.cat.categories))
        elif pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype):
            categories.append(None)
        else:
            categories.append(tuple(sorted(column.dropna().unique(), key=str)))
    return TableLayout(tuple(frame.columns), tuple(frame.dtypes), tuple(categories), device)


def layout_of(raw: Any, *, device: torch.device, dtype: torch.dtype | None) -> Layout:
    """The layout of raw inputs; floating tensors take the model's number type, integers keep theirs."""
    if type(raw).__module__.partition(".")[0] == "pandas":
        import pandas as pd

        if isinstance(raw, pd.DataFrame):
            return _table(raw, device)
    tensors = [as_tensor(part) for part in _pieces(raw)]
    if not tensors:
        raise InputError("Expected at least one tensor of inputs, got none.")
    for tensor in tensors:
        if tensor.dim() == 0:
            raise InputError("Expected inputs whose first dimension counts them, got a single number.")
    lengths = {len(tensor) for tensor in tensors}
    if len(lengths) > 1:
        raise InputError(f"Expected tensors that share their first dimension, got {sorted(lengths)} rows.")
    dtypes = [dtype if dtype is not None and t.is_floating_point() else t.dtype for t in tensors]
    return TensorLayout(tuple(tuple(t.shape[1:]) for t in tensors), tuple(dtypes), device)


def arranged(rows: Rows, memory: int) -> Rows:
    """The rows in one of the memory layouts that a model may be tried in: 0 is plain, 1 is channels-last for images."""
    if memory == 0:
        return rows
    return tuple(
        row.contiguous(memory_format=torch.channels_last) if isinstance(row, Tensor) and row.dim() == 4 else row
        for row in rows
    )
