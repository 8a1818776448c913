"""Who predicts from a table: plain functions that read every cell, and estimators of scikit-learn."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from fuzz_tables.columns import MISSING, name_number
from fuzz_tables.frames import Table


class Strange(TypeError):
    """A frame of other columns or types than the table's own."""


@dataclass
class Formula:
    """A sum over cells and products of neighbours, read by the columns' names.

    Settings:
        names: the columns.
        numbers: which of them hold numbers; the others hold names.
        outputs: 0 for one number a row, else so many columns; two add up to 1.
        dtypes: what the columns' types must be; nothing is asked of them where empty.
        known: the names that a column may hold; empty where nothing is asked.
    """

    names: list[Any]
    numbers: tuple[bool, ...]
    outputs: int
    dtypes: tuple[str, ...] = ()
    known: tuple[frozenset[float], ...] = ()

    def __call__(self, frame: Any) -> Any:
        if not isinstance(frame, pd.DataFrame):
            raise Strange(f"a {type(frame).__name__} in the place of a frame")
        if self.dtypes:
            self._check(frame)
        cells = np.stack([self._cells(frame, j) for j in range(len(self.names))], axis=1)
        return _scores(cells, self.outputs)

    def _check(self, frame: Any) -> None:
        if list(frame.columns) != self.names:
            raise Strange(f"columns {list(frame.columns)[:5]} for {self.names[:5]}")
        for name, dtype, meant in zip(self.names, frame.dtypes, self.dtypes):
            if str(dtype) != meant:
                raise Strange(f"column {name!r} of {dtype} for {meant}")

    def _cells(self, frame: Any, j: int) -> Any:
        column = frame[self.names[j]]
        if self.numbers[j]:
            numbers = column if column.dtype != object else pd.to_numeric(column)
            numbers = numbers.to_numpy(dtype=np.float64, na_value=np.nan)
            return np.where(np.isnan(numbers), MISSING, numbers)
        found = np.array([name_number(value) for value in column])
        if self.known:
            strangers = [v for v in found if v not in self.known[j]]
            if strangers:
                value = next(v for v in column if name_number(v) == strangers[0])
                raise Strange(
                    f"column {self.names[j]!r} holds {value!r}, which is none of its values"
                )
        return found


@dataclass
class OnArrays:
    """The same from an array of numbers, by the columns' places."""

    outputs: int

    def __call__(self, rows: Any) -> Any:
        cells = np.asarray(rows, dtype=np.float64)
        return _scores(np.where(np.isnan(cells), MISSING, cells), self.outputs)


def _scores(cells: Any, outputs: int) -> Any:
    weights = 0.3 + np.cos(np.arange(cells.shape[1]) * 2.3)
    total = np.clip(cells, -1e6, 1e6) @ weights
    total = total + 0.5 * (cells[:, 1:] * cells[:, :-1]).sum(1)
    total = total + 0.25 * cells[:, :1].ravel() * cells[:, -1]
    if outputs == 0:
        return total
    if outputs == 2:
        likely = 1 / (1 + np.exp(-np.clip(total / 10, -30, 30)))
        return np.stack([1 - likely, likely], axis=1)
    return np.stack([total, np.cos(total), 0.5 * total**2 / (1 + np.abs(total))], axis=1)


class Predicting:
    """A class of one's own with nothing but `predict`."""

    def __init__(self, formula: Formula) -> None:
        self.formula = formula

    def predict(self, frame: Any) -> Any:
        return self.formula(frame)


@dataclass(frozen=True)
class Predictor:
    """A predictor, what it takes, and how it is called plainly.

    Settings:
        kind: what it is.
        model: what the question is given.
        call: what it says of a frame, (r,) or (r, k).
        takes: "frame" or "array".
        order: the columns that it was fitted on, in order; None for a function.
        row_by_row: whether it is asked so plainly; else as one frame, for the sake of time.
        checks: whether it raises for types and names that it never saw.
    """

    kind: str
    model: Any
    call: Callable[[Any], Any]
    takes: str = "frame"
    order: tuple[Any, ...] | None = None
    row_by_row: bool = True
    checks: bool = False
    traits: frozenset[str] = field(default=frozenset())


def predictor(draw: random.Random, table: Table) -> Predictor:
    """A predictor for a table."""
    fitting = all(kind.fits for kind in table.kinds) and table.names in ("words", "unicode")
    if fitting and len(table.kinds) <= 12 and draw.random() < 0.65:
        fitted = _estimator(draw, table)
        if fitted is not None:
            return fitted
    return _function(draw, table)


def _function(draw: random.Random, table: Table) -> Predictor:
    outputs = draw.choice((0, 0, 2, 3))
    if all(kind.number for kind in table.kinds) and draw.random() < 0.35:
        plain = OnArrays(outputs)
        return Predictor("function of arrays", plain, lambda f: plain(_array(f)), "array")
    checks = draw.random() < 0.5
    names = list(table.whole.columns)
    numbers = tuple(kind.number for kind in table.kinds)
    dtypes: tuple[str, ...] = ()
    known: tuple[frozenset[float], ...] = ()
    if checks and table.names != "repeated":
        dtypes = tuple(map(str, table.whole.dtypes))
        columns = [table.whole[name] for name in names]
        known = tuple(frozenset(map(name_number, column)) for column in columns)
    formula = Formula(names, numbers, outputs, dtypes, known)
    asked = Formula(names, numbers, outputs)
    if draw.random() < 0.15:
        return Predictor("class with predict", Predicting(formula), asked, checks=bool(dtypes))
    kind = "function that checks types" if dtypes else "function of frames"
    return Predictor(kind, formula, asked, checks=bool(dtypes))


def _array(frame: Any) -> Any:
    columns = [frame.iloc[:, j] for j in range(frame.shape[1])]
    arrays = [pd.to_numeric(c).to_numpy(dtype=np.float64, na_value=np.nan) for c in columns]
    return np.stack(arrays, axis=1)


def _estimator(draw: random.Random, table: Table) -> Predictor | None:
    classes = draw.choice((0, 2, 2, 3))
    names = draw.sample(sorted(_MAKERS), len(_MAKERS))
    for name in names:
        try:
            made = _fitted(name, draw, table, classes)
        except (ValueError, TypeError):  # not for such columns
            continue
        if made is not None:
            return made
    return None


def _labels(table: Table, classes: int) -> Any:
    cells = Formula(
        list(table.whole.columns), tuple(kind.number for kind in table.kinds), 0
    )(table.whole)  # fmt: skip
    ranks = cells.argsort().argsort()
    if classes == 0:
        return cells
    labels = np.array(["bad", "good", "odd"])[ranks * classes // len(ranks)]
    return labels if len(table.kinds) % 2 else ranks * classes // len(ranks)


def _fitted(name: str, draw: random.Random, table: Table, classes: int) -> Predictor | None:
    estimator = _MAKERS[name](table, classes)
    if estimator is None:
        return None
    by_name = name in ("one-hot, linear", "ordinal, tree", "a step of one's own, linear")
    on_arrays = table.numbers and not by_name and draw.random() < 0.4
    order = list(table.whole.columns)
    # An array has no names by which columns could be told.
    if not on_arrays and draw.random() < 0.15:
        draw.shuffle(order)
    rows = table.whole[order]
    estimator.fit(_array(rows) if on_arrays else rows, _labels(table, classes))
    ways = [
        way for way in ("predict_proba", "decision_function", "predict") if hasattr(estimator, way)
    ]
    answer = getattr(estimator, ways[0])
    answer(_array(rows[:2]) if on_arrays else rows[:2])
    call = (lambda f: answer(_array(f))) if on_arrays else answer
    traits = frozenset({"two classes"} if classes == 2 else ())
    takes = "array" if on_arrays else "frame"
    return Predictor(name, estimator, call, takes, tuple(order), False, traits=traits)


def _encoded(table: Table, last: Any, onehot: bool) -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

    numbers = [n for n, kind in zip(table.whole.columns, table.kinds) if kind.fits == "number"]
    words = [n for n, kind in zip(table.whole.columns, table.kinds) if kind.fits == "word"]
    encoder: Any = OneHotEncoder(handle_unknown="ignore")
    if not onehot:
        encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    steps = [("numbers", SimpleImputer(), numbers), ("words", encoder, words)]
    return make_pipeline(ColumnTransformer([step for step in steps if step[2]]), last)


def _linear(classes: int) -> Any:
    from sklearn.linear_model import LinearRegression, LogisticRegression

    return LogisticRegression(max_iter=200) if classes else LinearRegression()


def _tree(classes: int) -> Any:
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    kind = DecisionTreeClassifier if classes else DecisionTreeRegressor
    return kind(max_depth=4, random_state=0)


def _numbers_only(make: Callable[[int], Any]) -> Callable[[Table, int], Any]:
    return lambda table, classes: make(classes) if table.numbers else None


def _boosted(table: Table, classes: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    kind = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
    return kind(max_iter=4, min_samples_leaf=4, categorical_features="from_dtype")


def _neighbours(classes: int) -> Any:
    from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

    return KNeighborsClassifier(3) if classes else KNeighborsRegressor(3)


def _scaled(classes: int) -> Any:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVR, LinearSVC

    return make_pipeline(StandardScaler(), LinearSVC() if classes else SVR())


def _own_step(table: Table, classes: int) -> Any:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    names = list(table.whole.columns)
    numbers = tuple(kind.number for kind in table.kinds)
    return make_pipeline(FunctionTransformer(_Readable(names, numbers)), _linear(classes))


@dataclass
class _Readable:
    """A step of one's own that looks columns up by their names."""

    names: list[Any]
    numbers: tuple[bool, ...]

    def __call__(self, frame: Any) -> Any:
        reader = Formula(self.names, self.numbers, 0)
        return np.stack([reader._cells(frame, j) for j in range(len(self.names))], axis=1)


_MAKERS: dict[str, Callable[[Table, int], Any]] = {
    "one-hot, linear": lambda table, classes: _encoded(table, _linear(classes), True),
    "ordinal, tree": lambda table, classes: _encoded(table, _tree(classes), False),
    "linear": _numbers_only(_linear),
    "tree": _numbers_only(_tree),
    "neighbours": _numbers_only(_neighbours),
    "scaled, support vectors": _numbers_only(_scaled),
    "boosted": _boosted,
    "a step of one's own, linear": _own_step,
}
