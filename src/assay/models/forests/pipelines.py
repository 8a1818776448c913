"""Pipelines of scikit-learn that end in trees: encoded columns, and the raw columns that they are made of.

Steps that work column by column (encoders, imputers, scalers, alone or in a `ColumnTransformer`) make
every encoded column of one raw column. Then rows mixed by raw column are mixed the same way after
encoding, and a raw column is a player with all of its encoded columns. Steps that mix columns
(principal components, polynomials, imputers that look at neighbours) are refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from assay.errors import AbilityError
from assay.models.forests.forest import Integers

_ONE_TO_ONE = (
    "StandardScaler",
    "MinMaxScaler",
    "MaxAbsScaler",
    "RobustScaler",
    "QuantileTransformer",
    "PowerTransformer",
    "Binarizer",
    "OrdinalEncoder",
)
"""Transformers whose column k is made of column k alone."""

Sources = list[int]
"""The raw column of each column."""


def steps_of(pipeline: Any) -> list[Any]:
    """The steps of a pipeline, in order, without those that let everything pass."""
    parts = [step for _, step in pipeline.steps]
    return [part for part in parts if part is not None and part != "passthrough"]


def is_pipeline(predictor: Any) -> bool:
    """Whether a predictor is a pipeline of scikit-learn or in its style."""
    return isinstance(getattr(predictor, "steps", None), list) and bool(predictor.steps)


def source_columns(transformers: Sequence[Any], raw: int) -> Integers:
    """(columns,) the raw column that each encoded column is made of.

    Args:
        transformers: fitted steps, in order.
        raw: the number of raw columns.

    Errors: AbilityError for a step that mixes columns, by its name.
    """
    sources = list(range(raw))
    for transformer in transformers:
        sources = _through(transformer, sources)
    return np.asarray(sources, dtype=np.int64)


def _through(transformer: Any, sources: Sources) -> Sources:
    """The sources of what a transformer makes of columns of known sources."""
    if transformer is None or transformer == "passthrough":
        return sources
    if is_pipeline(transformer):
        for part in steps_of(transformer):
            sources = _through(part, sources)
        return sources
    kind = type(transformer).__name__
    if kind in _ONE_TO_ONE:
        return sources
    known = _KNOWN.get(kind)
    if known is None:
        raise _mixing(kind)
    return known(transformer, sources)


def _columns(transformer: Any, sources: Sources) -> Sources:
    """A `ColumnTransformer`: what its parts make stands where `output_indices_` says."""
    width = max((part.stop for part in transformer.output_indices_.values()), default=0)
    made = [-1] * width
    names = getattr(transformer, "feature_names_in_", None)
    for name, part, columns in transformer.transformers_:
        # Parts may be left out, or make nothing.
        place = transformer.output_indices_[name]
        if part == "drop" or place.stop == place.start:
            continue
        # A part sees its columns alone, in the order in which they were named.
        chosen = [sources[each] for each in _places(columns, names, len(sources))]
        made[place] = _through(part, chosen)
    return made


def _places(columns: Any, names: Any, count: int) -> list[int]:
    """Columns by number, out of numbers, names, truth values or a slice."""
    listed = columns
    if isinstance(columns, str) or np.isscalar(columns):
        listed = [columns]
    if isinstance(listed, slice):
        known = None if names is None else list(names)
        return _of_slice(listed, known, count)
    array = np.asarray(listed)
    if array.dtype == bool:
        return np.flatnonzero(array).tolist()
    # Negative numbers count from the end, as in any index.
    if array.dtype.kind in "iu":
        return [int(each) % count for each in array]
    places = {name: place for place, name in enumerate(names)}
    return [places[each] for each in listed]


def _of_slice(part: slice, names: list[Any] | None, count: int) -> list[int]:
    if isinstance(part.start, str) or isinstance(part.stop, str):
        known = names or []
        start = 0 if part.start is None else known.index(part.start)
        # A slice of names holds its end.
        stop = count if part.stop is None else known.index(part.stop) + 1
        return list(range(start, stop, part.step or 1))
    return list(range(*part.indices(count)))


def _one_hot(transformer: Any, sources: Sources) -> Sources:
    """One-hot: as many columns for each as it keeps categories."""
    # Not the lengths of `categories_`: some may be dropped, and rare ones share a column.
    counts = transformer._n_features_outs
    return [source for source, count in zip(sources, counts) for _ in range(count)]


def _target_encoded(transformer: Any, sources: Sources) -> Sources:
    repeated = 1
    if transformer.target_type_ == "multiclass":
        repeated = len(transformer.classes_)
    return [source for source in sources for _ in range(repeated)]


def _imputed(transformer: Any, sources: Sources) -> Sources:
    """Columns without a single value are left out; indicators of what was missing come behind."""
    # As objects: the statistics of columns of texts are texts, which np.isnan does not take.
    statistics = np.asarray(transformer.statistics_, dtype=object)
    empty = [isinstance(value, float) and np.isnan(value) for value in statistics]
    if transformer.keep_empty_features:
        empty = [False] * len(sources)
    kept = [source for source, left_out in zip(sources, empty) if not left_out]
    if transformer.indicator_ is None:
        return kept
    return kept + _indicated(transformer.indicator_, sources)


def _indicated(transformer: Any, sources: Sources) -> Sources:
    return [sources[place] for place in transformer.features_]


def _binned(transformer: Any, sources: Sources) -> Sources:
    if transformer.encode == "ordinal":
        return sources
    return [source for source, bins in zip(sources, transformer.n_bins_) for _ in range(bins)]


def _union(transformer: Any, sources: Sources) -> Sources:
    made: Sources = []
    for _, part in transformer.transformer_list:
        if part != "drop":
            made += _through(part, sources)
    return made


def _selected(transformer: Any, sources: Sources) -> Sources:
    return [sources[place] for place in np.flatnonzero(transformer.get_support())]


def _function(transformer: Any, sources: Sources) -> Sources:
    """Nothing, or one of NumPy's functions of single numbers."""
    if transformer.func is None or isinstance(transformer.func, np.ufunc):
        return sources
    raise _mixing(f"FunctionTransformer of {getattr(transformer.func, '__name__', 'a function')}")


_KNOWN: dict[str, Callable[[Any, Sources], Sources]] = {
    "ColumnTransformer": _columns,
    "FeatureUnion": _union,
    "FunctionTransformer": _function,
    "KBinsDiscretizer": _binned,
    "MissingIndicator": _indicated,
    "OneHotEncoder": _one_hot,
    "SelectFromModel": _selected,
    "SelectKBest": _selected,
    "SelectPercentile": _selected,
    "SimpleImputer": _imputed,
    "TargetEncoder": _target_encoded,
    "VarianceThreshold": _selected,
}
"""What is known of transformers that make, or leave, columns of single ones."""


def _mixing(kind: str) -> AbilityError:
    return AbilityError(
        expected="steps before the trees that make each column of one raw column",
        got=f"{kind}, which mixes columns, or of which it is not known",
        advice=(
            "Explain the pipeline as a black box (KernelShap, ExactShapley), or the trees alone on "
            "transformed rows: wrap(pipeline[-1]) and pipeline[:-1].transform(rows)."
        ),
    )
