"""The values of a category, each with a number that it keeps.

A flat row holds numbers, so a category travels as the number of its level. That number is a name
and nothing else: nobody computes with it, and what is folded back is the value itself, in the type
of its column. A list of levels grows with every set of rows that is read (the inputs, a background,
training rows), so that no level depends on which rows were handed in first, and none is unknown
because another row has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from assay.errors import InputError, KindError
from assay.inputs.arrays import EXACT

if TYPE_CHECKING:
    import pandas as pd

Floats: TypeAlias = NDArray[np.float64]

# A NaN has 51 bits that say nothing (IEEE 754-2019, 6.2.1); copying keeps them.
_QUIET = np.uint64(0x7FF8_0000_0000_0000)
_SPARE = np.uint64(0xFF)

_MOST_SHOWN = 12  # levels that a refusal lists

# Levels are added while another thread may read: one at a time.
_GROWING = Lock()


@final
class Levels:
    """The levels of one column, in the order in which they were met, and the column's type.

    Settings:
        name: of the column, for refusals.
        dtype: the pandas type in which the values are handed over.
    """

    categorical = True

    def __init__(self, name: Any, dtype: Any) -> None:
        import pandas as pd

        self.name = name
        self.dtype = dtype
        self._values: list[Any] = []
        self._number: dict[Any, int] = {}
        # What is missing in a column of objects, in the order in which it was met: None, NaN, NaT
        # and pandas.NA are not the same to an encoder.
        self._gaps: list[Any] = []
        # What `write` takes from, and of how many levels of which type it was made.
        self._held: tuple[Any, Any] = ((-1, None), None)
        self.is_bool = bool(pd.api.types.is_bool_dtype(dtype))
        # A category type lists its levels, and truth has two, whichever of them a row holds.
        if isinstance(dtype, pd.CategoricalDtype):
            self.is_bool = False
            self._add(dtype.categories.astype(object))
        elif self.is_bool:
            self._add([False, True])

    @property
    def of_objects(self) -> bool:
        """Whether levels may be anything that Python has: tuples, dates, texts beside numbers."""
        import pandas as pd

        categories = getattr(self.dtype, "categories", None)
        dtype = self.dtype if categories is None else categories.dtype
        objects = isinstance(dtype, np.dtype) and dtype.kind == "O"
        return objects or not all(map(pd.api.types.is_scalar, self._values))

    @property
    def has_zero(self) -> bool:
        """Whether 0 means something to everybody: False does, the first level of a list does not."""
        return self.is_bool

    def admitting(self, values: Floats) -> Levels:
        """Itself: what stands in for a level is another level."""
        return self

    # --- values to numbers

    def read(self, column: pd.Series[Any]) -> Floats:
        """The numbers of the levels in a column, NaN where a value is missing."""
        import pandas as pd

        self._follow(column.dtype)
        values = column.astype(object)
        missing = values.isna().to_numpy()
        numbers = np.full(len(values), np.nan)
        if missing.any():
            numbers[missing] = self._add_gaps(values[missing])
        present = values[~missing]
        # 1, 1.0 and True are equal to pandas: only texts are told apart by it.
        if pd.api.types.infer_dtype(present, skipna=True) == "string":
            codes, uniques = pd.factorize(present)
            numbers[~missing] = self._add(list(uniques))[codes]
        else:
            numbers[~missing] = self._add(present)
        return numbers

    def of(self, value: float) -> float:
        """The number of the level that a plain number stands for, as zero stands for False."""
        whole = float(value).is_integer()
        if self.is_bool and value in (0, 1):
            return float(value)
        kind = self.dtype.kind if isinstance(self.dtype, np.dtype) else ""
        # A column of numbers that is declared a category has the number itself for a level.
        if kind == "f" or (kind == "i" and whole and abs(value) <= EXACT):
            return float(self._add([float(value) if kind == "f" else int(value)])[0])
        raise InputError(
            expected=f"a category of column {self.name!r}, {self._listed()}",
            got=f"the number {value}",
            advice=(
                "Give rows: Background(rows), or one row of the table, Baseline(frame.iloc[[0]])."
            ),
        )

    def _listed(self) -> str:
        shown = ", ".join(map(repr, self._values[:_MOST_SHOWN]))
        more = ", ..." if len(self._values) > _MOST_SHOWN else ""
        return f"one of [{shown}{more}]"

    def _add(self, values: Any) -> Floats:
        """The numbers of some values; what is new comes last."""
        numbers = np.empty(len(values))
        for index, value in enumerate(values):
            plain = value.item() if isinstance(value, np.number | np.bool_ | np.str_) else value
            try:
                number = self._number.get(self._key(plain))
            except TypeError as error:
                raise KindError(
                    expected=f"texts, numbers or other plain values in column {self.name!r}",
                    got=f"a {type(plain).__name__}",
                    advice="Make columns of its parts, or leave it out: frame.drop(columns=...).",
                ) from error
            numbers[index] = self._new(plain) if number is None else number
        return numbers

    def _add_gaps(self, values: Iterable[Any]) -> Floats:
        """A NaN for each missing value that tells in its spare bits of which kind it is."""
        kinds = []
        for value in values:
            with _GROWING:
                known = [type(gap) for gap in self._gaps]
                if type(value) not in known:
                    known.append(type(value))
                    self._gaps.append(value)
            kinds.append(known.index(type(value)))
        return (np.array(kinds, dtype=np.uint64) | _QUIET).view(np.float64)

    def _key(self, value: Any) -> Any:
        # A column of objects keeps 1, 1.0 and True apart; in others only truth is no number.
        kind: Any = isinstance(value, bool)
        if self.is_bool:
            kind = True
        elif self.dtype == object:
            kind = type(value)
        hash(value)
        return kind, value

    def _new(self, value: Any) -> int:
        import pandas as pd

        ordered = isinstance(self.dtype, pd.CategoricalDtype) and self.dtype.ordered
        listed = ordered and len(self._values) >= len(self.dtype.categories)
        if listed or (self.is_bool and len(self._values) == 2):
            raise InputError(
                expected=f"in column {self.name!r} {self._listed()}",
                got=f"{value!r}, which is none of them",
                advice=(
                    "Give both tables one type that lists every level in order: "
                    "frame.astype({name: pandas.CategoricalDtype([...], ordered=True)})."
                    if listed
                    else "A column of true and false takes these alone: frame.astype({name: bool})."
                ),
            )
        with _GROWING:
            key = self._key(value)
            if key not in self._number:
                self._values.append(value)
                self._number[key] = len(self._values) - 1
            return self._number[key]

    def _follow(self, dtype: Any) -> None:
        """Takes over an order with more levels, if it keeps those that are known in their order."""
        import pandas as pd

        own = self.dtype
        both = isinstance(own, pd.CategoricalDtype) and isinstance(dtype, pd.CategoricalDtype)
        if not both or not own.ordered or not dtype.ordered:
            return
        places = dtype.categories.get_indexer(own.categories)
        if len(dtype.categories) > len(own.categories) and (np.diff([-1, *places]) > 0).all():
            self.dtype = pd.CategoricalDtype(own.categories, ordered=False)
            self._add(dtype.categories.astype(object))
            self.dtype = dtype

    # --- numbers to values

    def write(self, codes: Floats) -> Any:
        """The values that numbers of levels stand for, in the column's own type."""
        import pandas as pd

        missing = np.isnan(codes)
        self._check(codes[~missing])
        # pandas' own code of a missing value is -1.
        numbers = np.where(missing, -1, codes).astype(np.int64)
        if isinstance(self.dtype, pd.CategoricalDtype):
            return self._categorical(numbers)
        plain = isinstance(self.dtype, np.dtype) and self.dtype != object
        # NumPy's types of numbers hold nothing that is missing.
        dtype = np.dtype(object) if plain and missing.any() else self.dtype
        # None of them was ever met: all that can be missing is missing.
        if not self._values:
            taken = np.full(len(numbers), None, dtype=object)
            if self.dtype == object:
                taken[:] = self._missing(codes)
            return pd.Series(taken, dtype=dtype)
        values = self._kept(dtype, lambda: pd.Series(self._values, dtype=dtype).array)
        taken = values.take(numbers, allow_fill=bool(missing.any()))
        if missing.any() and self.dtype == object:
            taken = np.asarray(taken, dtype=object)
            taken[missing] = self._missing(codes[missing])
        if not (isinstance(dtype, np.dtype) and dtype.kind == "O"):
            return taken
        # A column of objects stays one, also where all that is left of it are texts.
        return pd.Series(taken, dtype=dtype)

    def _missing(self, codes: Floats) -> list[Any]:
        """What missing cells held: the first kind that was met, where their bits tell of none."""
        kinds = (np.ascontiguousarray(codes).view(np.uint64) & _SPARE).tolist()
        known = len(self._gaps)
        return [self._gaps[kind if kind < known else 0] if known else None for kind in kinds]

    def _categorical(self, numbers: NDArray[np.int64]) -> pd.Categorical:
        import pandas as pd

        dtype, places = self._kept(self.dtype, self._places)
        return pd.Categorical.from_codes(places[numbers], dtype=dtype, validate=False)

    def _places(self) -> tuple[pd.CategoricalDtype, NDArray[np.int64]]:
        """The type with every level, and where it has each; last, where what is missing stands."""
        import pandas as pd

        dtype = self.dtype
        listed = dtype.categories
        if len(self._values) > len(listed):
            more = _index(self._values[len(listed) :])
            dtype = pd.CategoricalDtype(listed.append(more))
        # The levels of an order that grew stand where the order has them.
        known = _index(self._values, dtype.categories.dtype)
        return dtype, np.append(dtype.categories.get_indexer(known), -1)

    def _kept(self, dtype: Any, make: Callable[[], Any]) -> Any:
        """What is made of the levels, made anew only when there are more of them."""
        key, found = self._held
        now = (len(self._values), dtype)
        if key[0] != now[0] or key[1] is not now[1]:
            found = make()
            self._held = (now, found)
        return found

    def _check(self, codes: Floats) -> None:
        count = len(self._values)
        whole = codes == np.round(codes)
        if bool((whole & (codes >= 0) & (codes < count)).all()):
            return
        raise InputError(
            expected=f"levels of column {self.name!r}, which is a category",
            got="numbers between them or beyond: a blend, a mean, noise or a step",
            advice=(
                "A category is switched, never computed with: Background(rows) as removal, "
                "masks of bools, and methods that switch features."
            ),
        )


def _index(values: list[Any], dtype: Any = None) -> pd.Index[Any]:
    """Levels as an index: tuples are levels, too, not the parts of several."""
    import pandas as pd

    if any(isinstance(value, tuple) for value in values):
        whole: pd.Index[Any] = pd.Index(values, dtype=object, tupleize_cols=False)
        return whole
    index: pd.Index[Any] = pd.Index(values, dtype=dtype)
    return index
