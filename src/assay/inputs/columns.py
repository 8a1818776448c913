"""Columns of numbers, and of what is a number with a unit: dates, durations, periods.

Each kind of column says how its values become floats and how floats become values of its type
again. Dates and durations are counted in days (of the epoch of 1970), periods in periods of their
own frequency. What a float would not give back exactly is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from assay.errors import InputError
from assay.inputs.arrays import EXACT
from assay.inputs.levels import Floats, Levels

if TYPE_CHECKING:
    import pandas as pd

_DAY = 86_400_000_000  # microseconds
_DOUBLE = np.dtype(np.float64)


@final
@dataclass(frozen=True)
class Numbers:
    """A column of numbers.

    Settings:
        name: of the column, for refusals.
        given: the type in which the inputs came.
        dtype: the type in which it is handed over: floats, where whole numbers are to be mixed.
    """

    name: Any
    given: Any
    dtype: Any
    categorical = False
    has_zero = True

    def read(self, column: pd.Series[Any]) -> Floats:
        """The numbers as floats, NaN where one is missing."""
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
        return np.asarray(numbers, dtype=np.float64)

    def write(self, values: Floats) -> Any:
        """The numbers in the column's own type, or as floats where it would change them."""
        # A blend of rows can leave the integers, and a background the range of a
        # small type: such a column is handed over as floats, never changed in silence.
        dtype = self.dtype if bool(_held(self.dtype, values).all()) else _DOUBLE
        # A series of its own for each of a thousand columns takes longer than most models.
        if isinstance(dtype, np.dtype):
            return values.astype(dtype)
        return _as_extension(values, dtype)

    def admitting(self, values: Floats) -> Numbers:
        """The column that hands over such numbers too."""
        finite = values[np.isfinite(values)]
        if not bool(_held(self.dtype, finite).all()):
            return replace(self, dtype=_DOUBLE)
        return self

    def as_given(self) -> Numbers:
        """The column in the type in which the inputs came."""
        return self if self.dtype is self.given else replace(self, dtype=self.given)


@final
@dataclass(frozen=True)
class Days:
    """A column of dates, or of durations, in days.

    Settings:
        name: of the column, for refusals.
        dtype: the type in which it is handed over; what lies between its steps is rounded to them.
        kind: that of NumPy, "M" for dates and "m" for durations.
    """

    name: Any
    dtype: Any
    kind: str
    categorical = False

    @property
    def has_zero(self) -> bool:
        """Whether 0 means something to everybody: no time does, the first of January 1970 not."""
        return self.kind == "m"

    def read(self, column: pd.Series[Any]) -> Floats:
        """Days since 1970 (of UTC, where there is a time zone), or days; NaN where missing."""
        if _days_kind(column.dtype) != self.kind or _zone(column.dtype) != _zone(self.dtype):
            raise InputError(
                expected=f"{self.dtype} in column {self.name!r} as in the inputs",
                got=column.dtype,
                advice="Convert it, with pandas.to_datetime or .astype, as the inputs were.",
            )
        steps = column.to_numpy(dtype=f"{self.kind}8[us]")
        missing = np.isnat(steps)
        # In whole numbers: 2^53 microseconds, the last that a float holds exactly, are 285 years.
        whole, rest = np.divmod(np.where(missing, 0, steps.view(np.int64)), _DAY)
        days = whole + rest / _DAY
        values = np.where(missing, np.nan, days)
        same = self.write(values).isna() | (self.write(values) == column.reset_index(drop=True))
        if not bool(same.all()):
            raise InputError(
                expected=f"whole microseconds in column {self.name!r}",
                got=f"{column[~same.to_numpy()].iloc[0]!r}, which a float of days does not hold",
                advice=(
                    "Round it: frame[name].dt.round('us'); or declare it a category: "
                    f"features=Columns(categorical=[{self.name!r}])."
                ),
            )
        return np.asarray(values, dtype=np.float64)

    def write(self, values: Floats) -> pd.Series[Any]:
        """Days as dates or durations of the column's own type."""
        import pandas as pd

        missing = np.isnan(values)
        days = np.where(missing, 0.0, values)
        whole = np.floor(days)
        # A day and its rest apart: together they would be rounded twice.
        rest = np.rint((days - whole) * _DAY).astype(np.int64)
        steps = (whole.astype(np.int64) * _DAY + rest).astype(f"{self.kind}8[us]")
        # After the arithmetic: NaT is the least whole number, and would be counted on.
        steps[missing] = "NaT"
        column = pd.Series(steps)
        zone = _zone(self.dtype)
        if zone is not None:
            return column.dt.tz_localize("UTC").astype(self.dtype)
        return column.astype(self.dtype)

    def admitting(self, values: Floats) -> Days:
        """Itself: any number of days is one."""
        return self


@final
@dataclass(frozen=True)
class Periods:
    """A column of periods (months, quarters, ...), counted from 1970.

    Settings:
        name: of the column, for refusals.
        dtype: the type in which it is handed over.
    """

    name: Any
    dtype: Any
    categorical = False
    has_zero = False

    def read(self, column: pd.Series[Any]) -> Floats:
        """Periods since 1970, NaN where one is missing."""
        if column.dtype != self.dtype:
            raise InputError(
                expected=f"{self.dtype} in column {self.name!r} as in the inputs",
                got=column.dtype,
                advice="Convert it: frame[name].astype(inputs[name].dtype).",
            )
        missing = column.isna().to_numpy()
        numbers = np.asarray(column.array.asi8, dtype=np.float64)
        return np.where(missing, np.nan, numbers)

    def write(self, values: Floats) -> pd.Series[Any]:
        """Counted periods as periods."""
        import pandas as pd

        missing = np.isnan(values)
        if not bool((missing | (values == np.round(values))).all()):
            raise InputError(
                expected=f"whole periods in column {self.name!r}",
                got="parts of one: a blend, a mean or noise",
                advice=(
                    "Make dates of them, frame[name].dt.to_timestamp(), or use Background(rows)."
                ),
            )
        numbers = np.where(missing, 0, values).astype(np.int64)
        periods = pd.PeriodIndex.from_ordinals(  # type: ignore[attr-defined]
            numbers, freq=self.dtype.freq
        )
        return pd.Series(periods).mask(pd.Series(missing))

    def admitting(self, values: Floats) -> Periods:
        """Itself."""
        return self


Column: TypeAlias = Numbers | Days | Periods | Levels
"""How one column becomes floats, and floats become values of its type."""


def column_of(column: pd.Series[Any]) -> Column:
    """The kind of a column, by its type."""
    import pandas as pd

    name = column.name
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return Levels(name, dtype)
    if isinstance(dtype, pd.PeriodDtype):
        return Periods(name, dtype)
    kind = _days_kind(dtype)
    if kind:
        return Days(name, dtype, kind)
    # A truth value is a number to pandas; as a category it is handed back as one.
    is_bool = pd.api.types.is_bool_dtype(dtype)
    if pd.api.types.is_numeric_dtype(dtype) and not is_bool:
        return Numbers(name, dtype, dtype)
    return Levels(name, dtype)


def _days_kind(dtype: Any) -> str:
    """ "M" of dates, "m" of durations, nothing of other types."""
    import pandas as pd

    if pd.api.types.is_datetime64_any_dtype(dtype):
        return "M"
    if pd.api.types.is_timedelta64_dtype(dtype) or getattr(dtype, "kind", "") == "m":
        return "m"
    return ""


def _zone(dtype: Any) -> str | None:
    """The time zone of dates; None where they have none."""
    zone = getattr(dtype, "tz", None)
    if zone is None:
        zone = getattr(getattr(dtype, "pyarrow_dtype", None), "tz", None)
    return None if zone is None else str(zone)


def _check_exact(column: pd.Series[Any]) -> None:
    for number in map(int, column.dropna()):
        if abs(number) > EXACT:
            raise InputError(
                expected=f"whole numbers up to 2**53 in column {column.name!r}",
                got=f"{number}, which a float does not hold",
                advice=(
                    "A number that only names something is a category: column.astype(str), or "
                    f"features=Columns(categorical=[{column.name!r}])."
                ),
            )


def _is_integer(dtype: Any) -> bool:
    """Whether a column holds whole numbers; pandas' own types say which of NumPy's they are like."""
    like = getattr(dtype, "numpy_dtype", dtype)
    return isinstance(like, np.dtype) and np.issubdtype(like, np.integer)


@lru_cache(maxsize=256)
def _limits(dtype: Any) -> tuple[float, float, bool] | None:
    """The least number of a type, the first beyond it, whether it is whole; None of double."""
    like = getattr(dtype, "numpy_dtype", dtype)
    if _is_integer(dtype):
        info = np.iinfo(like)
        # The first number beyond is a power of 2; the largest of 64 bits itself is no float.
        return float(info.min), 2.0 ** (info.bits - (info.kind == "i")), True
    if isinstance(like, np.dtype) and like.kind == "f" and like.itemsize < _DOUBLE.itemsize:
        most = float(np.finfo(like).max)
        return -most, float(np.nextafter(most, np.inf)), False
    return None


def _held(dtype: Any, values: Floats) -> NDArray[np.bool_]:
    """Which numbers a type holds, fractions of floats up to its precision.

    Whole types hold nothing that is missing.
    """
    limits = _limits(dtype)
    if limits is None:
        return np.ones(len(values), dtype=bool)
    low, beyond, whole = limits
    inside = (values >= low) & (values < beyond)
    return inside & (values == np.round(values)) if whole else inside | ~np.isfinite(values)


def _as_extension(values: Floats, dtype: Any) -> Any:
    """Numbers that a type holds, in a type of pandas' own."""
    import pandas as pd

    make = dtype.construct_array_type()
    # Others than those with a mask, Arrow's, convert as they like.
    if make not in (pd.arrays.IntegerArray, pd.arrays.FloatingArray):
        return pd.Series(values).astype(dtype)
    missing = np.isnan(values)
    return make(np.where(missing, 0, values).astype(dtype.numpy_dtype), missing)
