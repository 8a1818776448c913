"""Tables as the matrices of numbers that forests take: NaN for what is missing, codes for categories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from assay.errors import InputError
from assay.models.forests.forest import Floats

UNKNOWN = -1
"""The code of a category that is none."""


def is_frame(table: Any) -> bool:
    """Whether a table has columns with names."""
    return hasattr(table, "columns") and hasattr(table, "iloc")


def numbers(table: Any) -> Floats:
    """(rows, columns) of a table that holds numbers alone."""
    if not is_frame(table):
        return np.array(table, dtype=np.float64)
    columns = [number_column(table.iloc[:, place]) for place in range(len(table.columns))]
    # np.column_stack refuses an empty list: the block without columns keeps the number of rows.
    return np.column_stack([np.zeros((len(table), 0)), *columns])


def number_column(column: Any) -> Floats:
    """(rows,) of a column that holds numbers; nullable types have NaN for what is missing."""
    try:
        # The NA of pandas' nullable types is no float: without `na_value` it would raise.
        return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))
    except (TypeError, ValueError) as error:
        raise InputError(
            expected=f"numbers in column {column.name!r}",
            got=f"{column.dtype}: {error}",
            advice="Make it the dtype that the model was fitted on: frame.astype('category').",
        ) from error


def is_category(column: Any) -> bool:
    """Whether a column of a frame holds categories."""
    return str(column.dtype) == "category"


def category_codes(column: Any, levels: Sequence[Any] | None, who: str, *, refused: bool) -> Floats:
    """(rows,) the numbers of categories in the model's own list of levels.

    Args:
        column: a column of categories.
        levels: those of the fit, in the order of their codes; None for the column's own.
        who: the predictor's name.
        refused: whether levels that are not listed are refused; missing otherwise.
    """
    # Those of the frame at hand, whose categories may stand in another order than the model's.
    codes = np.asarray(column.cat.codes, dtype=np.int64)
    if levels is not None:
        places = {level: code for code, level in enumerate(levels)}
        listed = [places.get(level, UNKNOWN) for level in column.cat.categories]
        if refused:
            _check_known(column, codes, listed, levels, who)
        # What is missing has the code -1, which finds the last entry.
        codes = np.asarray([*listed, UNKNOWN], dtype=np.int64)[codes]
    return np.where(codes >= 0, codes.astype(np.float64), np.nan)


def _check_known(
    column: Any, codes: Any, listed: Sequence[int], levels: Sequence[Any], who: str
) -> None:
    unknown = [
        level
        for number, level in enumerate(column.cat.categories)
        if listed[number] == UNKNOWN and (codes == number).any()
    ]
    if unknown:
        raise InputError(
            expected=f"categories that {who} was fitted with, {list(levels)[:8]}",
            got=f"{unknown[:3]} in column {column.name!r}",
            advice="Give those rows a category that is known, or make them missing.",
        )


def coded(table: Any, levels: Mapping[int, Sequence[Any]], who: str, *, refused: bool) -> Floats:
    """(rows, columns) of a table: numbers as they are, categories by their codes.

    Args:
        table: an array, or a frame whose columns stand in the order of the fit.
        levels: the categories of columns, by place, where the model keeps them.
        who: the predictor's name.
        refused: whether categories that are not listed are refused; missing otherwise.
    """
    if not is_frame(table):
        return numbers(table)
    columns = []
    for place in range(len(table.columns)):
        column = table.iloc[:, place]
        if is_category(column):
            columns.append(category_codes(column, levels.get(place), who, refused=refused))
        else:
            columns.append(number_column(column))
    return np.column_stack([np.zeros((len(table), 0)), *columns])
