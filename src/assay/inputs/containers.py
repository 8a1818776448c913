"""Containers that hold inputs but are no inputs themselves, each refused with the line that makes one.

One row of a table comes as a `Series`, several as a list of dicts; other libraries have frames of
their own. As arrays they would lose what makes them a table: names, types, the order of columns.
"""

from __future__ import annotations

from typing import Any

from assay.errors import InputError, KindError

_CELLS = ("list", "tuple", "dict", "set", "frozenset", "ndarray", "Tensor")
_SHOWN = 1000  # cells of a column that are looked at


def check_container(raw: Any) -> None:
    """Refuses what is no array and no frame, but is easily made one."""
    for is_one, what, advice in _CONTAINERS:
        if is_one(raw):
            raise KindError(
                expected="a tensor, an array of numbers or a pandas DataFrame",
                got=what.format(type=f"{type(raw).__module__}.{type(raw).__name__}"),
                advice=advice,
            )


def check_cells(frame: Any) -> None:
    """Refuses columns whose cells are containers: nobody knows what the absence of one would be."""
    for name, dtype in frame.dtypes.items():
        if getattr(dtype, "kind", "O") != "O":
            continue
        for cell in frame[name].iloc[:_SHOWN]:
            # By its name: a column is looked through without asking each library for its classes.
            if type(cell).__name__ in _CELLS:
                raise InputError(
                    expected=f"one value in each cell of column {name!r}",
                    got=f"a {type(cell).__name__}",
                    advice=(
                        "Make columns of its entries: frame.join(pandas.DataFrame("
                        f"frame[{name!r}].tolist(), index=frame.index).add_prefix('{name}_'))."
                    ),
                )


def _is_series(raw: Any) -> bool:
    is_pandas = type(raw).__module__.partition(".")[0] == "pandas"
    return is_pandas and type(raw).__name__ == "Series"


def _is_row(raw: Any) -> bool:
    return _is_series(raw) and getattr(raw.dtype, "kind", "O") not in "biuf"


def _is_list_of(raw: Any, is_one: Any) -> bool:
    return isinstance(raw, list) and len(raw) > 0 and all(map(is_one, raw))


def _is_foreign_frame(raw: Any) -> bool:
    return hasattr(raw, "to_pandas") and (hasattr(raw, "columns") or hasattr(raw, "schema"))


def _is_records(raw: Any) -> bool:
    return getattr(getattr(raw, "dtype", None), "names", None) is not None


_CONTAINERS = (
    (
        _is_row,
        "a Series of something else than numbers",
        "One row of a table is frame.iloc[[0]]; a column of texts is a list, column.tolist(); a "
        "column of something else is a table of one, column.to_frame().",
    ),
    (
        lambda raw: _is_list_of(raw, _is_series),
        "a list of Series",
        "Rows are one table: pandas.DataFrame(rows). Columns are one, too: "
        "pandas.concat(columns, axis=1).",
    ),
    (
        lambda raw: _is_list_of(raw, lambda part: isinstance(part, dict)),
        "a list of dicts",
        "Make a table of them: pandas.DataFrame(rows).",
    ),
    (
        _is_foreign_frame,
        "a {type}",
        "Convert it: frame.to_pandas(). A function that wants its own kind of frame gets it by "
        "lambda table: f(polars.from_pandas(table)).",
    ),
    (
        _is_records,
        "an array of records",
        "Make a table of it: pandas.DataFrame.from_records(x).",
    ),
)
