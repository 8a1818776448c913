"""The columns that an estimator was fitted on: their names and order, or that it took an array.

scikit-learn keeps the names of frames in `feature_names_in_` and the number of columns of anything
in `n_features_in_`; XGBoost, LightGBM and CatBoost have attributes of their own. What is made around
another estimator (a pipeline, a search, a calibration) is asked first, then what it is made around.
A frame is a frame to all of them unless it is known that they were fitted on an array.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

from assay.errors import InputError, ModelError

_SHOWN = 5  # names in a refusal
_DEPTH = 6  # how far down estimators are looked for in estimators
_INSIDE = ("best_estimator_", "estimator_", "regressor_", "classifier_", "base_estimator_")
_SEVERAL = ("estimators_", "calibrated_classifiers_")

# Those who say by a rule of their own whether they were fitted on a frame.
_LIBRARIES = ("sklearn", "imblearn", "xgboost", "lightgbm")

# Where they keep names, beside the attribute that all share.
_KEPT = {
    "xgboost": ("feature_names",),
    "lightgbm": ("feature_name",),
    "catboost": ("feature_names_",),
}

# Names that are given to the columns of arrays.
_MADE_UP = ("Column_{}", "f{}", "{}")


@final
@dataclass(frozen=True)
class Columns:
    """What is known of the columns that an estimator was fitted on.

    Settings:
        names: their names in order; None where they are not known.
        on_array: whether it is known that they came as an array.
        made_up: whether the names may be those that a library gives to the columns of an array.
        texts: whether the first step takes texts, one column of them.
        spares: whether it takes frames that lack columns, or have more, as it sees fit.
    """

    names: tuple[Any, ...] | None = None
    on_array: bool = False
    made_up: bool = False
    texts: bool = False
    spares: bool = False

    @classmethod
    def of(cls, estimator: Any) -> Columns:
        """What an estimator says of itself."""
        chain = tuple(_chain(estimator))
        names = None
        for part in chain:
            names = names or _names(part)
        counted = any(_attribute(part, "n_features_in_") is not None for part in chain)
        known = all(_root(part) in _LIBRARIES for part in chain)
        # Libraries name the columns of arrays too (Column_0): such names do not tell of a frame.
        made_up = names is not None and _made_up(names)
        return cls(
            None if names is None else tuple(names),
            on_array=counted and known and (names is None or made_up),
            made_up=made_up,
            texts=any(map(_reads_texts, chain)),
            spares=any(type(part).__name__ == "ColumnTransformer" for part in chain),
        )

    def check_rows(self, shape: tuple[int, ...], who: str) -> None:
        """Refuses one row, or one column, that has no dimension for the other."""
        counted = self.names is not None or self.on_array
        if len(shape) == 1 and counted and "Isotonic" not in who:
            raise ModelError(
                expected=f"a table of shape (n, columns) for {who}",
                got=f"one dimension, {shape}",
                advice=(
                    "One input is one row, x[None] or frame.iloc[[0]]; one column of many inputs is "
                    "x[:, None]."
                ),
            )

    def arranged(self, frame: Any, who: str) -> Any:
        """A frame as it was at the fit: an array, a column of texts, or the columns in their order."""
        if self.texts:
            return _only_column(frame, who)
        given = list(frame.columns)
        if self.made_up and not set(self.names or ()) <= set(given):
            return self._unnamed(frame)
        if self.names is None:
            return self._unnamed(frame)
        order = self._order(given)
        lacking = [name for name, place in zip(self.names, order) if place is None]
        if lacking and not self.spares:
            raise self._misfit(lacking, given, who)
        known = [place for place in order if place is not None]
        # What the fit did not know stays, behind the others: a pipeline may leave it out itself.
        more = sorted(set(range(len(given))) - set(known))
        if [*known, *more] == list(range(len(given))):
            return frame
        return frame.iloc[:, [*known, *more]]

    def _unnamed(self, frame: Any) -> Any:
        """A frame whose names mean nothing to the estimator."""
        # scikit-learn keeps no names but texts: others do not tell a frame from an array.
        named = all(isinstance(name, str) for name in frame.columns)
        return frame.to_numpy() if self.on_array and named else frame

    def _order(self, given: Sequence[Any]) -> list[int | None]:
        """Where each column of the fit stands in what is given."""
        places = {name: place for place, name in enumerate(given)}
        # LightGBM writes an underscore for a space, and text for numbers.
        written = {_written(name): place for place, name in enumerate(given)}
        names = self.names or ()
        return [places.get(name, written.get(_written(name))) for name in names]

    def _misfit(self, lacking: list[Any], given: Sequence[Any], who: str) -> ModelError:
        names = list(self.names or ())
        known = set(map(_written, names))
        more = [name for name in given if _written(name) not in known]
        rest = " + [...]" if len(names) > _SHOWN else ""
        return ModelError(
            expected=f"the columns that {who} was fitted on",
            got=f"a table lacking {lacking[:_SHOWN]}, with {more[:_SHOWN]} too many",
            advice=f"Hand over frame[{names[:_SHOWN]}{rest}].",
        )


def _written(name: Any) -> str:
    return str(name).replace(" ", "_")


def _chain(estimator: Any, depth: int = 0) -> Iterator[Any]:
    """An estimator, and what its first step is made around, from the outside in."""
    yield estimator
    if depth == _DEPTH:
        return
    inner = _first_inside(estimator)
    if inner is not None and inner is not estimator:
        yield from _chain(inner, depth + 1)


def _first_inside(estimator: Any) -> Any:
    steps = getattr(estimator, "steps", None)
    if isinstance(steps, list) and steps:
        return _first_step(steps)
    for name in _INSIDE:
        inner = getattr(estimator, name, None)
        if hasattr(inner, "predict"):
            return inner
    for name in _SEVERAL:
        inner = getattr(estimator, name, None)
        if isinstance(inner, list | tuple) and inner:
            first = inner[0]
            return getattr(first, "estimator", first)
    return None


def _first_step(steps: list[Any]) -> Any:
    for step in steps:
        part = step[-1] if isinstance(step, tuple) else step
        # A step that lets everything pass saw what the next one saw.
        if part is not None and not isinstance(part, str):
            return part
    return None


def _names(part: Any) -> Sequence[Any] | None:
    """The names that one estimator keeps."""
    for attribute in ("feature_names_in_", *_KEPT.get(_root(part), ())):
        found = _attribute(part, attribute)
        # Of a LightGBM booster it is a method.
        if callable(found):
            found = found()
        if found is not None and len(found):
            return found.tolist() if hasattr(found, "tolist") else list(found)
    return None


def _attribute(part: Any, name: str) -> Any:
    """An attribute, or None where there is none, or none before the fit."""
    try:
        return getattr(part, name, None)
    except Exception:  # whatever a property of another library raises
        return None


def _made_up(names: Sequence[Any]) -> bool:
    """Whether names are those that a library gives to the columns of an array."""
    return any(
        all(str(name) == form.format(place) for place, name in enumerate(names))
        for form in _MADE_UP
    )


def _root(part: Any) -> str:
    return type(part).__module__.partition(".")[0]


def _reads_texts(part: Any) -> bool:
    """Whether an estimator takes texts and not tables, as vectorizers do."""
    return hasattr(part, "build_analyzer") or type(part).__name__ == "HashingVectorizer"


def _only_column(frame: Any, who: str) -> Any:
    """The column of texts; iterating over a frame itself gives names of columns."""
    if len(frame.columns) != 1:
        raise InputError(
            expected=f"one column of texts for {who}",
            got=f"a table of {len(frame.columns)} columns",
            advice="Hand over the column: frame['text'].tolist().",
        )
    return frame.iloc[:, 0]
