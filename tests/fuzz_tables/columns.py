"""Columns of every type that pandas has: how one is drawn, and what a cell of it says as a number."""

from __future__ import annotations

import datetime
import decimal
import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

Values = list[Any]
MISSING = 0.37  # what a missing cell counts as


@dataclass(frozen=True)
class Kind:
    """One kind of column.

    Settings:
        name: of the kind.
        number: whether cells are numbers to compute with; else names to tell apart.
        values: draws the values that a column has at all.
        make: values, some of them None, to a column.
        ordinary: whether an answer is due for such a column.
        holed: whether a cell may be missing.
        fits: what scikit-learn's own encoders can take: "number", "word" or nothing.
    """

    name: str
    number: bool
    values: Callable[[random.Random], Values]
    make: Callable[[Values], Any]
    ordinary: bool = True
    holed: bool = True
    fits: str = ""


def _floats(draw: random.Random) -> Values:
    return [round(draw.uniform(-3, 3), 3) for _ in range(12)]


def _wholes(draw: random.Random) -> Values:
    return [draw.randrange(1, 60) for _ in range(8)]


def _large(draw: random.Random) -> Values:
    return [2**60 + draw.randrange(100_000) for _ in range(5)]


def _words(draw: random.Random) -> Values:
    found = [
        "red",
        "blue",
        "Grün",
        "",
        "жёлтый",
        "a b",
        "0",
        "1.5",
        "nan",
        "None",
        "💙",
        "赤",
        "x" * 40,
    ]
    return draw.sample(found, draw.choice((1, 2, 3, 5)))


def _moments(draw: random.Random) -> Values:
    start = datetime.datetime(draw.choice((1970, 1999, 2024)), 3, 30, 23, 30)
    return [start + datetime.timedelta(hours=draw.randrange(2000)) for _ in range(6)]


def _bools(draw: random.Random) -> Values:
    return [True, False]


def _typed(dtype: Any) -> Callable[[Values], Any]:
    return lambda values: pd.Series(values, dtype=dtype)


def _float_typed(dtype: Any) -> Callable[[Values], Any]:
    return lambda values: pd.Series([np.nan if v is None else v for v in values], dtype=dtype)


def _objects(values: Values) -> Any:
    return pd.Series(values, dtype=object)


def _category(ordered: bool, hidden: bool = False) -> Callable[[Values], Any]:
    def make(values: Values) -> Any:
        known = list(dict.fromkeys(v for v in values if v is not None))
        if ordered:
            known.reverse()
        # Levels that no row of the table has, as a column of a larger one keeps them.
        if hidden and known and isinstance(known[0], str):
            known.insert(0, "never seen")
        dtype = pd.CategoricalDtype(known, ordered=ordered)
        return pd.Series(pd.Categorical(values, dtype=dtype))

    return make


def _moments_of(unit: str, zone: str | None = None) -> Callable[[Values], Any]:
    def make(values: Values) -> Any:
        column = pd.Series(pd.to_datetime(pd.Series(values, dtype=object))).astype(
            f"datetime64[{unit}]"
        )
        return column.dt.tz_localize("UTC").dt.tz_convert(zone) if zone else column

    return make


def _spans(values: Values) -> Any:
    epoch = datetime.datetime(1970, 1, 1)
    return pd.Series(pd.to_timedelta([None if v is None else v - epoch for v in values]))


def _periods(values: Values) -> Any:
    return pd.Series(
        pd.PeriodIndex([pd.NaT if v is None else pd.Period(v, "D") for v in values], freq="D")
    )


def _intervals(values: Values) -> Any:
    return pd.Series(
        pd.arrays.IntervalArray([np.nan if v is None else pd.Interval(v, v + 1) for v in values])
    )


def _sparse(fill: float) -> Callable[[Values], Any]:
    return lambda values: pd.Series(pd.arrays.SparseArray(np.array(values, float), fill_value=fill))


def _mixed(draw: random.Random) -> Values:
    return [1, "1", 2.5, True, "two", (1, 2)]


def _dates(draw: random.Random) -> Values:
    return [moment.date() for moment in _moments(draw)]


def _number(dtype: str, holed: bool = False) -> Kind:
    whole = "int" in dtype.lower()
    make = _typed(dtype) if holed or whole else _float_typed(dtype)
    return Kind(
        dtype, True, _wholes if whole else _floats, make, True, holed or not whole, "number"
    )


KINDS: tuple[Kind, ...] = (
    *(_number(dtype) for dtype in ("float64", "float32", "float16", "int8", "int16", "int32", "int64")),
    *(_number(dtype) for dtype in ("uint8", "uint16", "uint32", "uint64")),
    *(_number(dtype, True) for dtype in ("Float64", "Float32", "Int64", "Int8", "Int32", "UInt16")),
    Kind("bool", False, _bools, _typed(bool), True, False, "word"),
    Kind("boolean", False, _bools, _typed("boolean")),
    Kind("str", False, _words, _typed("str"), True, True, "word"),
    Kind("string", False, _words, _typed(pd.StringDtype("python"))),
    Kind("words as objects", False, _words, _objects, True, True, "word"),
    Kind("category", False, _words, _category(False), True, True, "word"),
    Kind("category with a level of no row", False, _words, _category(False, True), True, True, "word"),
    Kind("ordered category", False, _words, _category(True), True, True, "word"),
    Kind("category of ints", False, _wholes, _category(False)),
    Kind("ordered category of ints", False, _wholes, _category(True)),
    Kind("category of floats", False, _floats, _category(False)),
    Kind("category of bools", False, _bools, _category(False)),
    Kind("category of dates", False, _dates, _category(False)),
    Kind("category of objects", False, _mixed, _category(False), False),
    Kind("ids above 2**53", False, _large, _typed("int64"), False, False),
    Kind("Int64 ids above 2**53", False, _large, _typed("Int64"), False),
    Kind("category of ids", False, _large, _category(False)),
    Kind("datetime64[ns]", False, _moments, _moments_of("ns")),
    Kind("datetime64[s]", False, _moments, _moments_of("s")),
    Kind("datetime of a zone", False, _moments, _moments_of("us", "Europe/Berlin")),
    Kind("timedelta", False, _moments, _spans),
    Kind("period", False, _moments, _periods, False),
    Kind("interval", False, _wholes, _intervals, False),
    Kind("date objects", False, _dates, _objects),
    Kind("sparse", True, _floats, _sparse(0.0), False, False),
    Kind("sparse of NaN", True, _floats, _sparse(float("nan")), False),
    Kind("complex", True, _floats, _typed(complex), False, False),
    Kind("mixed objects", False, _mixed, _objects, False),
    Kind("numbers as objects", True, _floats, _objects, False),
    Kind("decimals", False, lambda d: [decimal.Decimal(str(v)) for v in _floats(d)], _objects, False),
    Kind("bytes", False, lambda d: [b"a", b"b", b""], _objects, False),
    Kind("lists", False, lambda d: [[1], [1, 2]], _objects, False, False),
    Kind("constant", True, lambda d: [d.choice((0.0, 1.0, 0.1))], _typed("float64"), True, False, "number"),
    Kind("constant word", False, lambda d: ["only"], _typed("str"), True, False, "word"),
    Kind("nothing", True, lambda d: [None], _typed("float64"), False),
    Kind("nothing of objects", False, lambda d: [None], _objects, False),
    Kind("infinity", True, lambda d: [1.0, float("inf"), -2.0], _typed("float64"), False, False),
)  # fmt: skip


def arrow_kinds() -> tuple[Kind, ...]:
    """The kinds that Arrow holds, where it is installed."""
    try:
        import pyarrow as pa
    except ImportError:
        return ()
    return (
        Kind("arrow int64", True, _wholes, _typed(pd.ArrowDtype(pa.int64()))),
        Kind("arrow double", True, _floats, _typed(pd.ArrowDtype(pa.float64()))),
        Kind("arrow string", False, _words, _typed(pd.ArrowDtype(pa.string()))),
        Kind("arrow bool", False, _bools, _typed(pd.ArrowDtype(pa.bool_()))),
    )


ALL = KINDS + arrow_kinds()
BY_NAME = {kind.name: kind for kind in ALL}


def is_missing(value: Any) -> bool:
    """Whether a cell holds nothing."""
    if isinstance(value, list | tuple | bytes):
        return False
    return bool(pd.isna(value))


def name_number(value: Any) -> float:
    """A name as a number between 0 and 1: another one for every other name."""
    try:
        return _remembered(type(value), value)
    except TypeError:  # lists have no hash
        return _name_number(value)


@lru_cache(maxsize=1 << 16)
def _remembered(kind: type, value: Any) -> float:
    return _name_number(value)


def _name_number(value: Any) -> float:
    if is_missing(value):
        return MISSING
    return zlib.crc32(str(value).encode("utf-8", "surrogatepass")) / 2**32
