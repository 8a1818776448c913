"""Tables as flat rows, and back to the kind of table that the predictor was fitted on.

A column is a number or a category, and the layout says which (`Layout.categorical`): removals,
neighbourhoods, perturbations and metrics ask for it. Numbers stay numbers, also dates and durations
(`columns.py`); a category becomes the number of its level (`levels.py`), a missing one NaN. Those
numbers are only a memory: folding gives the predictor the columns' own values and types again, so
that pipelines with encoders of their own see what they were fitted on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch
from torch import Tensor

from assay.errors import InputError, KindError
from assay.inputs.columns import Column, Numbers, column_of
from assay.inputs.layout import Layout, Rows
from assay.inputs.levels import Levels
from assay.numerics import rng

if TYPE_CHECKING:
    import pandas as pd


@final
@dataclass(frozen=True)
class TableLayout(Layout):
    """A DataFrame: numbers stay numbers, categories become numbers of their levels.

    Folding gives back a frame with the columns' own types.

    Settings:
        header: the frame's own index of columns.
        kinds: how each column becomes floats and comes back.
        device: where the rows live.
    """

    header: Any
    kinds: tuple[Column, ...]
    device: torch.device

    @property
    def columns(self) -> tuple[Any, ...]:
        """The names of the columns, in order."""
        return tuple(self.header)

    @property
    def dtypes(self) -> tuple[Any, ...]:
        """The pandas type in which each column is handed over."""
        return tuple(kind.dtype for kind in self.kinds)

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return ((len(self.kinds),),)

    @property
    def elements(self) -> int:
        return len(self.kinds)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(map(str, self.columns))

    @property
    def categorical(self) -> Tensor:
        return torch.tensor([kind.categorical for kind in self.kinds])

    @property
    def without_zero(self) -> tuple[str, ...]:
        pairs = zip(self.names, self.kinds)
        return tuple(name for name, kind in pairs if not kind.has_zero)

    def declaring(self, categorical: Sequence[int]) -> TableLayout:
        kinds = list(self.kinds)
        for index in categorical:
            if not kinds[index].categorical:
                kinds[index] = Levels(self.columns[index], kinds[index].dtype)
        return replace(self, kinds=tuple(kinds))

    def flatten(self, raw: Any) -> Tensor:
        import pandas as pd

        if not isinstance(raw, pd.DataFrame):
            raise KindError(
                expected="a DataFrame with the columns of the inputs",
                got=type(raw).__name__,
                advice="Make one: pd.DataFrame(rows, columns=inputs.columns).",
            )
        raw = self._in_order(raw)
        columns = [kind.read(column) for kind, (_, column) in zip(self.kinds, raw.items())]
        return torch.from_numpy(np.stack(columns, axis=1)).to(self.device)

    def _in_order(self, raw: pd.DataFrame) -> pd.DataFrame:
        """The frame with its columns where the inputs have them: they are known by their names."""
        if tuple(raw.columns) == self.columns:
            return raw
        missing = [name for name in self.columns if name not in raw.columns]
        if missing or raw.columns.has_duplicates or len(raw.columns) != len(self.columns):
            raise InputError(
                expected=f"rows with the columns of the inputs, {list(self.columns)}",
                got=_difference(missing, raw.columns, self.columns),
                advice=(
                    "Select them by name, frame[inputs.columns]; a column that the model needs "
                    "belongs to the inputs as well."
                ),
            )
        return raw[list(self.columns)]

    def filled(self, value: float) -> Tensor:
        row = super().filled(value)
        for index, kind in enumerate(self.kinds):
            if isinstance(kind, Levels):
                row[:, index] = kind.of(value)
            elif not kind.has_zero:
                raise InputError(
                    expected=f"a {kind.dtype} for column {self.names[index]!r}",
                    got=f"the number {value}",
                    advice=(
                        "Give rows: Background(rows), or one row of the table, "
                        "Baseline(frame.iloc[[0]])."
                    ),
                )
        return row.to(self.device)

    def admitting(self, rows: Tensor) -> TableLayout:
        # Decided once, for all rows: those of one chunk know nothing of another's fractions.
        values = rows.reshape(-1, len(self.kinds)).detach().cpu().numpy()
        kinds = [kind.admitting(values[:, index]) for index, kind in enumerate(self.kinds)]
        return replace(self, kinds=tuple(kinds))

    def fold(self, rows: Tensor) -> Rows:
        import pandas as pd

        values = rows.detach().cpu().numpy()
        columns = [kind.write(values[:, index]) for index, kind in enumerate(self.kinds)]
        # By number first: of keys that are tuples pandas would make an index of several levels.
        frame = pd.DataFrame(dict(enumerate(columns)))
        frame.columns = self.header
        return (frame,)

    def identities(self, rows: Tensor) -> Tensor:
        import pandas as pd

        if not any(kind.categorical for kind in self.kinds):
            return super().identities(rows)
        # Numbers of levels depend on which rows came first: hash what they stand for, in the types
        # in which it came, whatever stands in for other inputs.
        kinds = [kind.as_given() if isinstance(kind, Numbers) else kind for kind in self.kinds]
        frame = replace(self, kinds=tuple(kinds)).fold(rows)[0]
        for index, kind in enumerate(kinds):
            if isinstance(kind, Levels) and kind.of_objects:
                frame.isetitem(index, _as_texts(frame.iloc[:, index]))
        # Without the index: the same row under another label is the same input.
        hashes = pd.util.hash_pandas_object(frame, index=False, categorize=False)
        keys = rng.identities([key.tobytes() for key in hashes.to_numpy()])
        return keys.to(rows.device)


def _difference(missing: Sequence[Any], given: Iterable[Any], wanted: Sequence[Any]) -> str:
    """Which columns rows lack, or have beside those of the inputs, in words."""
    if missing:
        return f"rows without {', '.join(map(repr, missing))}"
    more = [name for name in given if name not in wanted]
    if more:
        return f"rows with {', '.join(map(repr, more))} as well"
    return f"rows with columns of the same name, {list(given)}"


def _as_texts(column: pd.Series[Any]) -> pd.Series[Any]:
    """Objects of any kind as what they say: pandas hashes texts, and no tuples."""
    import pandas as pd

    missing = column.isna().to_numpy()
    said = [
        None if gap else value if isinstance(value, str) else str(value)
        for value, gap in zip(column.tolist(), missing)
    ]
    return pd.Series(said, dtype=object, index=column.index)


def table_layout(frame: pd.DataFrame, device: torch.device) -> TableLayout:
    """The layout of a data frame."""
    _check_columns(frame)
    kinds = [column_of(column) for _, column in frame.items()]
    return TableLayout(header=frame.columns, kinds=tuple(kinds), device=device)


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
