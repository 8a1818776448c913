"""Forests of scikit-learn: trees, forests, extra trees, gradient boosting, histogram gradient boosting,
isolation forests, bagged trees.

What is explained, the margin, is what leaves add up to:

    decision trees, forests, extra trees    the prediction itself; of classifiers the probabilities,
                                            all classes of all targets behind one another
    gradient boosting, histogram gradient   the raw prediction before the link (log-odds of a
    boosting                                classifier; the logarithm under a log-linear loss)
    isolation forest                        the mean length of the way, h; the score is
                                            -2^(-h / c), no sum of leaves

Inputs are rounded to float32 before they are compared with thresholds in double, but in histogram
gradient boosting, which compares doubles, and brings categories to the front before it counts columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from assay.errors import AbilityError, ModelError
from assay.models.forests.assembly import Tree, planted, words_of
from assay.models.forests.encoding import numbers
from assay.models.forests.forest import LEAF, Floats, Forest, Integers
from assay.models.forests.tree_model import TreeModel

_TREES = (
    "DecisionTreeRegressor",
    "DecisionTreeClassifier",
    "ExtraTreeRegressor",
    "ExtraTreeClassifier",
)

_MEANS = (
    "RandomForestRegressor",
    "RandomForestClassifier",
    "ExtraTreesRegressor",
    "ExtraTreesClassifier",
)

_BOOSTED = ("GradientBoostingRegressor", "GradientBoostingClassifier")

_HISTOGRAMS = ("HistGradientBoostingRegressor", "HistGradientBoostingClassifier")

_BAGS = ("BaggingRegressor", "BaggingClassifier")

KINDS = (*_TREES, *_MEANS, *_BOOSTED, *_HISTOGRAMS, "IsolationForest")
"""The estimators that are read, but for bags, of which it depends on what is in them."""


def is_tree_estimator(estimator: Any) -> bool:
    """Whether an estimator of scikit-learn, fitted or not, is made of trees that add up."""
    kind = type(estimator).__name__
    if type(estimator).__module__.partition(".")[0] != "sklearn":
        return False
    if kind in _BAGS:
        return type(getattr(estimator, "estimator", None)).__name__ in _TREES
    return kind in KINDS


def read_sklearn(estimator: Any) -> TreeModel:
    """The forest of a fitted estimator.

    Errors: ModelError where it is not fitted, AbilityError for a first estimate that is no constant.
    """
    kind = type(estimator).__name__
    _check_fitted(estimator, kind)
    if kind in _HISTOGRAMS:
        return _histograms(estimator)
    reader, margin = _readers(estimator, kind)
    forest = reader(estimator)
    takes_missing = _takes_missing(estimator, kind)
    columns = int(estimator.n_features_in_)
    return TreeModel(
        forest=forest,
        encode=numbers,
        margin=margin,
        margin_of_codes=lambda rows: margin(_named(estimator, rows)),
        source=np.arange(columns),
        raw=columns,
        missing=takes_missing,
        unknown=False,
        single_sums=False,
        who=kind,
    )


def _readers(estimator: Any, kind: str) -> tuple[Callable[[Any], Forest], Callable[[Any], Floats]]:
    """What reads the trees of a kind, and its own margin."""
    if kind in _TREES:
        return _single_tree, lambda table: _predicted(estimator, table)
    if kind in _MEANS:
        return _mean_of_trees, lambda table: _predicted(estimator, table)
    if kind in _BAGS:
        return _bag_of_trees, lambda table: _predicted(estimator, table)
    if kind in _BOOSTED:
        return _boosted, lambda table: _raw_of_boosted(estimator, table)
    return _isolation, lambda table: _mean_way(estimator, table)


def _check_fitted(estimator: Any, kind: str) -> None:
    if not any(hasattr(estimator, name) for name in ("tree_", "estimators_", "_predictors")):
        raise ModelError(
            expected=f"a fitted {kind}",
            got="one without trees",
            advice="Call fit(X, y) first.",
        )


def _named(estimator: Any, rows: Floats) -> Any:
    """Rows under the names of the fit, so that there is no cause to warn."""
    names = getattr(estimator, "feature_names_in_", None)
    if names is None:
        return rows
    import pandas as pd

    return pd.DataFrame(rows, columns=list(names))


def _takes_missing(estimator: Any, kind: str) -> bool:
    """Whether NaN may be asked: the estimator says so, and of bags their trees."""
    if kind in _BAGS:
        estimator = estimator.estimators_[0]
    tags = estimator.__sklearn_tags__()
    return bool(tags.input_tags.allow_nan)


# The margin: what the library itself says.


def _predicted(estimator: Any, table: Any) -> Floats:
    """Predictions (rows, outputs); probabilities of several targets behind one another."""
    if hasattr(estimator, "predict_proba"):
        answers = estimator.predict_proba(table)
        return np.hstack(answers if isinstance(answers, list) else [answers])
    return _columns(estimator.predict(table))


def _columns(answers: Any) -> Floats:
    array = np.asarray(answers, dtype=np.float64)
    if array.ndim == 1:
        return array[:, None]
    return array


def _raw_of_boosted(estimator: Any, table: Any) -> Floats:
    """The raw prediction; of a regressor it is the prediction."""
    if hasattr(estimator, "decision_function"):
        return _columns(estimator.decision_function(table))
    return _columns(estimator.predict(table))


def _mean_way(estimator: Any, table: Any) -> Floats:
    """The mean length of the way to a leaf, out of the score -2^(-h / c)."""
    return _columns(-normal_way(estimator) * np.log2(-estimator.score_samples(table)))


def normal_way(estimator: Any) -> float:
    """What an isolation forest divides the mean length of the way by, c of its samples."""
    return float(_average_way(np.array([estimator.max_samples_]))[0])


# Trees.


def _tree(fitted: Any, value: Floats, output: int = 0, columns: Integers | None = None) -> Tree:
    """A tree of scikit-learn, with the numbers that its leaves add."""
    grown = fitted.tree_
    inner = grown.children_left != LEAF
    # Trees of a bag count the columns that they were given.
    asked = np.where(inner, grown.feature, 0)
    if columns is not None:
        asked = columns[asked]
    return Tree(
        feature=np.where(inner, asked, LEAF).astype(np.int64),
        threshold=np.where(inner, grown.threshold, 0.0),
        left=grown.children_left.astype(np.int64),
        right=grown.children_right.astype(np.int64),
        value=np.where(inner[:, None], 0.0, value),
        cover=grown.weighted_n_node_samples.astype(np.float64),
        default_left=_missing_left(grown),
        output=output,
    )


def _missing_left(grown: Any) -> Any:
    given = getattr(grown, "missing_go_to_left", None)
    # NaN is compared by versions that know of no missing values, and no number is beyond NaN.
    if given is None:
        return np.zeros(grown.node_count, bool)
    return np.asarray(given).astype(bool)


def _leaf_values(fitted: Any) -> Floats:
    """(nodes, outputs) predictions of a tree, or its probabilities behind one another."""
    value = fitted.tree_.value
    if not hasattr(fitted, "predict_proba"):
        return np.asarray(value[:, :, 0], dtype=np.float64)
    classes = np.atleast_1d(fitted.n_classes_)
    # Counts before version 1.3, probabilities after.
    parts = [value[:, target, :count] for target, count in enumerate(classes)]
    return np.hstack([part / part.sum(axis=1, keepdims=True) for part in parts])


def _made(estimator: Any, trees: Sequence[Tree], base: Any, *, link: str = "identity") -> Forest:
    return planted(
        trees,
        base=base,
        features=int(estimator.n_features_in_),
        library="scikit-learn",
        single=True,
        link=link,
        names=getattr(estimator, "feature_names_in_", None),
    )


def _single_tree(estimator: Any) -> Forest:
    value = _leaf_values(estimator)
    return _made(estimator, [_tree(estimator, value)], np.zeros(value.shape[1]))


def _mean_of_trees(estimator: Any) -> Forest:
    count = len(estimator.estimators_)
    trees = [_tree(each, _leaf_values(each) / count) for each in estimator.estimators_]
    return _made(estimator, trees, np.zeros(trees[0].value.shape[1]))


def _bag_of_trees(estimator: Any) -> Forest:
    """Trees that each see some of the columns, and maybe not all of the classes."""
    count = len(estimator.estimators_)
    trees = [
        _tree(each, _of_all_classes(estimator, each) / count, columns=np.asarray(columns))
        for each, columns in zip(estimator.estimators_, estimator.estimators_features_)
    ]
    return _made(estimator, trees, np.zeros(trees[0].value.shape[1]))


def _of_all_classes(estimator: Any, tree: Any) -> Floats:
    value = _leaf_values(tree)
    classes = getattr(estimator, "n_classes_", None)
    if classes is None or value.shape[1] == classes:
        return value
    whole = np.zeros((len(value), int(classes)))
    # A bag hands numbers of classes to its trees.
    whole[:, np.asarray(tree.classes_, dtype=np.int64)] = value
    return whole


def _boosted(estimator: Any) -> Forest:
    """Gradient boosting: a first estimate, and trees that are weighed by the learning rate."""
    rate = estimator.learning_rate
    trees = [
        _tree(each, rate * each.tree_.value[:, :, 0], output=output)
        for stage in estimator.estimators_
        for output, each in enumerate(stage)
    ]
    link = "identity"
    if hasattr(estimator, "decision_function"):
        outputs = estimator.estimators_.shape[1]
        link = "softmax" if outputs > 1 else "logit"
        # The exponential loss has half the log-odds as its margin.
        if estimator.loss == "exponential":
            link = "logit of twice the margin"
    return _made(estimator, trees, _first_estimate(estimator), link=link)


def _first_estimate(estimator: Any) -> Floats:
    outputs = estimator.estimators_.shape[1]
    initial = estimator.init_
    if initial == "zero":
        return np.zeros(outputs)
    if type(initial).__name__ not in ("DummyClassifier", "DummyRegressor"):
        raise AbilityError(
            expected=f"a {type(estimator).__name__} that starts from a constant",
            got=f"init={type(initial).__name__}, another model that the trees are added to",
            advice=(
                "Explain it as a black box, wrap(model.predict), or fit it with init=None or 'zero'."
            ),
        )
    # What is left of the raw prediction of one row without its trees.
    row = np.zeros((1, int(estimator.n_features_in_)))
    first: Floats = np.asarray(estimator._raw_predict_init(row), dtype=np.float64)[0]
    return first


# Isolation forests.


def _average_way(counts: Floats | Integers) -> Floats:
    """Mean length of an unsuccessful search in a binary search tree of so many (Liu, Ting and Zhou
    2008, equation 1).
    """
    sizes = np.asarray(counts, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        way = 2.0 * (np.log(sizes - 1.0) + np.euler_gamma) - 2.0 * (sizes - 1.0) / sizes
    return np.where(sizes <= 1, 0.0, np.where(sizes == 2, 1.0, way))


def _isolation(estimator: Any) -> Forest:
    count = len(estimator.estimators_)
    trees = []
    for each, columns in zip(estimator.estimators_, estimator.estimators_features_):
        grown = each.tree_
        # A leaf of several rows stands for the tree that was not grown below it.
        way = _levels(grown) + _average_way(grown.n_node_samples)
        trees.append(_tree(each, way[:, None] / count, columns=np.asarray(columns)))
    return _made(estimator, trees, np.zeros(1), link="isolation")


def _levels(grown: Any) -> Floats:
    """(nodes,) questions on the way to a node."""
    level = np.zeros(grown.node_count)
    # Parents come before their children.
    for node in range(grown.node_count):
        for child in (grown.children_left[node], grown.children_right[node]):
            if child != LEAF:
                level[child] = level[node] + 1
    return level


# Histogram gradient boosting.


def _histograms(estimator: Any) -> TreeModel:
    columns = int(estimator.n_features_in_)
    encoder = getattr(estimator, "_preprocessor", None)
    order = _order_of_columns(estimator, encoder, columns)
    forest = _forest_of_histograms(estimator, order, columns)
    # Encoded columns are put back where the raw ones are.
    inverse = np.empty(columns, np.int64)
    inverse[order] = np.arange(columns)

    def encode(table: Any) -> Floats:
        if encoder is None:
            return numbers(table)
        codes = np.asarray(encoder.transform(table), dtype=np.float64)
        return np.ascontiguousarray(codes[:, inverse])

    def of_codes(rows: Floats) -> Floats:
        return _raw_of_codes(estimator, rows[:, order])

    return TreeModel(
        forest=forest,
        encode=encode,
        margin=lambda table: _raw_of_histograms(estimator, table),
        margin_of_codes=of_codes,
        source=np.arange(columns),
        raw=columns,
        missing=True,
        unknown=False,
        single_sums=False,
        who=type(estimator).__name__,
    )


def _order_of_columns(estimator: Any, encoder: Any, columns: int) -> Integers:
    """(columns,) the raw column that is asked in each place: categories come first."""
    categorical = getattr(estimator, "is_categorical_", None)
    if encoder is None or categorical is None:
        return np.arange(columns)
    asked = np.asarray(categorical, dtype=bool)
    return np.concatenate([np.flatnonzero(asked), np.flatnonzero(~asked)])


def _forest_of_histograms(estimator: Any, order: Integers, columns: int) -> Forest:
    trees = [
        _histogram_tree(predictor, order, output)
        for stage in estimator._predictors
        for output, predictor in enumerate(stage)
    ]
    base = np.asarray(estimator._baseline_prediction, dtype=np.float64).reshape(-1)
    return planted(
        trees,
        base=base,
        features=columns,
        library="scikit-learn",
        link=_link_of_histograms(estimator, len(base)),
        names=getattr(estimator, "feature_names_in_", None),
    )


def _link_of_histograms(estimator: Any, outputs: int) -> str:
    if hasattr(estimator, "decision_function"):
        if outputs > 1:
            return "softmax"
        return "logit"
    if estimator.loss in ("poisson", "gamma"):
        return "exp"
    return "identity"


def _histogram_tree(predictor: Any, order: Integers, output: int) -> Tree:
    nodes = predictor.nodes
    inner = nodes["is_leaf"] == 0
    asks_category = inner & (nodes["is_categorical"] != 0)
    sets = {
        int(node): words_of(predictor.raw_left_cat_bitsets[nodes["bitset_idx"][node]])
        for node in np.flatnonzero(asks_category)
    }
    return Tree(
        feature=np.where(inner, order[nodes["feature_idx"]], LEAF),
        threshold=np.where(inner & ~asks_category, nodes["num_threshold"], 0.0),
        left=np.where(inner, nodes["left"], LEAF).astype(np.int64),
        right=np.where(inner, nodes["right"], LEAF).astype(np.int64),
        value=np.where(inner, 0.0, nodes["value"])[:, None],
        cover=nodes["count"].astype(np.float64),
        default_left=nodes["missing_go_to_left"].astype(bool),
        sets=sets,
        output=output,
    )


def _raw_of_histograms(estimator: Any, table: Any) -> Floats:
    """The raw prediction: log-odds of a classifier, the logarithm under a log-linear loss."""
    if hasattr(estimator, "decision_function"):
        return _columns(estimator.decision_function(table))
    answers = _columns(estimator.predict(table))
    if estimator.loss in ("poisson", "gamma"):
        return np.log(answers)
    return answers


def _raw_of_codes(estimator: Any, codes: Floats) -> Floats:
    """The same of rows whose categories are codes already, in the order of the trees."""
    from sklearn.utils._openmp_helpers import _openmp_effective_n_threads

    # A predictor takes the number of threads as an operand, without a default.
    threads = _openmp_effective_n_threads()
    raw = np.zeros((len(codes), estimator.n_trees_per_iteration_))
    raw += np.asarray(estimator._baseline_prediction).reshape(1, -1)
    # What its own `_raw_predict` does after it has encoded a table.
    known, places = estimator._bin_mapper.make_known_categories_bitsets()
    for stage in estimator._predictors:
        for output, predictor in enumerate(stage):
            raw[:, output] += predictor.predict(codes, known, places, threads)
    return raw
