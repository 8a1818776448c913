"""Forests of XGBoost, read from the JSON that a booster saves of itself (schema of version 1.0 and
later): gbtree and DART, one or several outputs, leaves of one number or of vectors, categories.

- `x < t` of float32 numbers is `x <= t'` with t' the float32 number below t.
- Listed categories go right; negative ones and those beyond the list go left.
- The base score is kept in units of the prediction; the margin begins at its link. It is one number
  before version 3.1, one for each output after.
- DART's weights are multiplied into the leaves.
- Since version 3.1 a model that was trained on a frame knows the categories by their names, and
  numbers those of another frame as it did those of the first.
- Estimators in the clothes of scikit-learn predict with the best iteration of early stopping, a
  booster with all of them; both are read as they predict.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from assay.errors import AbilityError, ModelError
from assay.models.forests.assembly import Tree, packed, planted
from assay.models.forests.encoding import UNKNOWN, coded
from assay.models.forests.forest import LEAF, Floats, Forest
from assay.models.forests.tree_model import TreeModel

_NEWEST = (3, 3)
"""The newest version whose files are known."""

_LINKS = {
    "binary:logistic": "logit",
    "reg:logistic": "logit",
    "multi:softprob": "softmax",
    "multi:softmax": "softmax",
    "count:poisson": "exp",
    "reg:gamma": "exp",
    "reg:tweedie": "exp",
    "survival:cox": "exp",
    "survival:aft": "exp",
    "binary:hinge": "step",
}
"""What objectives make of the margin; all others leave it as it is."""


def read_xgboost(model: Any) -> TreeModel:
    """The forest of a booster, or of an estimator of XGBoost.

    Errors: ModelError for a file of a newer version, or a model that is not fitted; AbilityError for a
    booster without trees.
    """
    booster = booster_of(model)
    saved = json.loads(bytes(booster.save_raw("json")))
    _check_version(saved)
    learner = saved["learner"]
    rounds = _rounds(model)
    forest, levels = _forest(learner, rounds)
    kinds = booster.feature_types or ()
    categorical = [place for place, kind in enumerate(kinds) if kind == "c"]

    def of_codes(rows: Floats) -> Floats:
        import xgboost

        matrix = xgboost.DMatrix(
            rows,
            feature_names=booster.feature_names,
            feature_types=booster.feature_types,
            enable_categorical=True,
        )
        return _margin_of(booster, matrix, rounds)

    return TreeModel(
        forest=forest,
        encode=lambda table: _encoded(table, levels, model, categorical),
        margin=lambda table: _margin(model, booster, table),
        margin_of_codes=of_codes,
        source=np.arange(forest.features),
        raw=forest.features,
        missing=True,
        unknown=not levels,
        single_sums=True,
        who=type(model).__name__,
    )


def booster_of(model: Any) -> Any:
    """The booster inside an estimator, or the booster itself."""
    if not hasattr(model, "get_booster"):
        return model
    try:
        return model.get_booster()
    except Exception as error:  # xgboost's class is known where it is imported alone
        raise ModelError(
            expected=f"a fitted {type(model).__name__}",
            got="one without a booster",
            advice="Call fit(X, y) first.",
        ) from error


def _rounds(model: Any) -> tuple[int, int]:
    """The iterations that a model predicts with; (0, 0) for all."""
    if not hasattr(model, "get_booster"):
        return (0, 0)
    try:
        # An estimator predicts up to its best iteration; if it was not stopped early it has none.
        return (0, int(model.best_iteration) + 1)
    except AttributeError:
        return (0, 0)


def _margin_of(booster: Any, matrix: Any, rounds: tuple[int, int]) -> Floats:
    answers = booster.predict(matrix, output_margin=True, iteration_range=rounds)
    return _columns(answers)


def _margin(model: Any, booster: Any, table: Any) -> Floats:
    """The model's own margin of a table, as it would be asked by its user."""
    if hasattr(model, "get_booster"):
        return _columns(model.predict(table, output_margin=True))
    import xgboost

    beside: dict[str, Any] = {}
    if not hasattr(table, "columns"):
        beside = {"feature_names": booster.feature_names, "feature_types": booster.feature_types}
    matrix = xgboost.DMatrix(table, enable_categorical=True, **beside)
    return _margin_of(booster, matrix, (0, 0))


def _columns(answers: Any) -> Floats:
    array = np.asarray(answers, dtype=np.float64)
    return array.reshape(len(array), -1)


def _check_version(saved: Mapping[str, Any]) -> None:
    version = tuple(saved.get("version", ()))
    if version[:2] > _NEWEST:
        raise ModelError(
            expected=f"a model of XGBoost {_NEWEST[0]}.{_NEWEST[1]} or older",
            got=f"one of version {'.'.join(map(str, version))}, whose format is not known",
            advice="Explain it as a black box, wrap(model.predict), or train it with that version.",
        )


# The file.


def _forest(
    learner: Mapping[str, Any], rounds: tuple[int, int]
) -> tuple[Forest, dict[int, list[Any]]]:
    """The forest, and the categories of the columns whose names it knows."""
    booster = learner["gradient_booster"]
    weights = None
    # DART drops trees in training and weighs the others; versions keep the weights in two places.
    if booster["name"] == "dart":
        weights = booster.get("weight_drop") or booster["gbtree"]["model"].get("weight_drop")
    if booster["name"] not in ("gbtree", "dart"):
        raise AbilityError(
            expected="a booster of trees, gbtree or dart",
            got=repr(booster["name"]),
            advice="It is a linear model: LinearShap explains it.",
        )
    # DART holds its trees as a gbtree inside.
    model = booster.get("gbtree", booster)["model"]
    parameters = learner["learner_model_param"]
    features = int(parameters["num_feature"])
    # The file says 0 classes where there are none.
    outputs = max(1, int(parameters["num_class"]), int(parameters.get("num_target", 1)))
    # Trees of iterations after the best one are in the file, and not in the prediction.
    kept = _kept(model, rounds)
    trees = [
        _tree(tree, int(output), 1.0 if weights is None else float(weights[number]))
        for number, (tree, output) in enumerate(zip(model["trees"][:kept], model["tree_info"]))
    ]
    objective = learner["objective"]["name"]
    forest = planted(
        trees,
        base=_base(parameters["base_score"], objective, outputs),
        features=features,
        library="XGBoost",
        listed_left=False,
        single=True,
        link=_LINKS.get(objective, "identity"),
        names=learner.get("feature_names") or None,
    )
    return forest, _levels(model.get("cats"))


def _kept(model: Mapping[str, Any], rounds: tuple[int, int]) -> int:
    """How many trees a prediction adds up."""
    trees = len(model["trees"])
    if rounds[1] == 0:
        return trees
    starts = model.get("iteration_indptr")
    if starts:
        return int(starts[min(rounds[1], len(starts) - 1)])
    # Before version 2.0 all iterations have the same number of trees.
    # One for each output.
    groups = len(set(model["tree_info"])) or 1
    parallel = int(model["gbtree_model_param"].get("num_parallel_tree", 1))
    return min(trees, rounds[1] * groups * max(1, parallel))


# Numbers at the ends of float32, and beside 0, are stepped over and cast as they are.
@np.errstate(over="ignore", under="ignore")
def _tree(tree: Mapping[str, Any], output: int, weight: float) -> Tree:
    left = np.asarray(tree["left_children"], dtype=np.int64)
    inner = left != LEAF
    conditions = np.asarray(tree["split_conditions"], dtype=np.float32)
    # x < t of float32 numbers is x <= the number below t.
    below = np.nextafter(conditions, np.float32(-np.inf)).astype(np.float64)
    # The number of a leaf stands where an inner node has its threshold.
    value = _leaf_values(tree, conditions, inner)
    return Tree(
        feature=np.where(inner, np.asarray(tree["split_indices"], dtype=np.int64), LEAF),
        threshold=np.where(inner, below, 0.0),
        left=left,
        right=np.where(inner, np.asarray(tree["right_children"], dtype=np.int64), LEAF),
        value=np.where(inner[:, None], 0.0, weight * value),
        cover=_cover(tree, len(left)),
        default_left=np.asarray(tree["default_left"], dtype=bool),
        sets=_sets(tree),
        output=output,
    )


def _leaf_values(tree: Mapping[str, Any], conditions: Any, inner: Any) -> Floats:
    """(nodes, width) what leaves add: one number, or one for each target."""
    width = int(tree["tree_param"].get("size_leaf_vector", 1))
    if width <= 1:
        return np.asarray(conditions, dtype=np.float64)[:, None]
    if "leaf_weights" in tree:
        # The right child of a leaf is its place in the list of vectors.
        vectors = np.asarray(tree["leaf_weights"], dtype=np.float32).reshape(-1, width)
        place = np.where(inner, 0, np.asarray(tree["right_children"], dtype=np.int64))
        return vectors.astype(np.float64)[place]
    # Before version 3.1 every node has a vector.
    weights = np.asarray(tree["base_weights"], dtype=np.float32)
    return weights.reshape(-1, width).astype(np.float64)


def _cover(tree: Mapping[str, Any], nodes: int) -> Floats:
    cover: Floats = np.zeros(nodes)
    if len(tree["sum_hessian"]):
        hessians = np.asarray(tree["sum_hessian"], dtype=np.float64)
        cover = hessians.reshape(nodes, -1).sum(axis=1)
    return cover


def _sets(tree: Mapping[str, Any]) -> dict[int, Any]:
    """The categories that go right, by node."""
    codes = tree.get("categories", ())
    return {
        int(node): packed(codes[start : start + size])
        for node, start, size in zip(
            tree.get("categories_nodes", ()),
            tree.get("categories_segments", ()),
            tree.get("categories_sizes", ()),
        )
    }


def _base(score: Any, objective: str, outputs: int) -> Floats:
    """The margin that every row begins with, out of the score in units of the prediction."""
    # A text of one number, or of a list of them: versions differ.
    numbers = [float(each) for each in re.findall(r"[^\[\],\s]+", str(score))]
    # In float32, as the library goes: near 0 a logarithm of rounded numbers has an error of its own.
    base = np.asarray(numbers, dtype=np.float32)
    # One number for all outputs.
    if len(base) == 1:
        base = np.repeat(base, outputs)
    link = _LINKS.get(objective, "identity")
    one = np.float32(1)
    with np.errstate(divide="ignore", over="ignore"):
        if link == "logit":
            base = -np.log(one / base - one)
        elif link == "exp":
            base = np.log(base)
    return base.astype(np.float64)


# Categories by name.


def _levels(cats: Mapping[str, Any] | None) -> dict[int, list[Any]]:
    """The categories of each column that has some, in the order of their codes."""
    levels = {}
    for column, encoded in enumerate((cats or {}).get("enc", ())):
        names = _category_names(encoded)
        if names:
            levels[column] = names
    return levels


def _category_names(encoded: Mapping[str, Any]) -> list[Any]:
    values = encoded.get("values", [])
    offsets = encoded.get("offsets")
    if offsets is None:
        return list(values)
    # Texts lie behind one another, as bytes.
    joined = bytes(value % 256 for value in values)
    return [joined[a:b].decode() for a, b in pairwise(offsets)]


@np.errstate(over="ignore", under="ignore")
def _encoded(
    table: Any, levels: Mapping[int, Sequence[Any]], model: Any, categorical: Sequence[int]
) -> Floats:
    """Numbers as XGBoost sees them: codes for categories, NaN for what is missing."""
    rows = coded(table, levels, type(model).__name__, refused=True)
    # An estimator may have been told of another number that means missing.
    missing = float(getattr(model, "missing", np.nan))
    if not np.isnan(missing):
        rows[rows.astype(np.float32) == np.float32(missing)] = np.nan
    # Below zero nothing is a code, not even what would be cut to zero.
    codes = rows[:, categorical]
    rows[:, categorical] = np.where(codes < 0, UNKNOWN, codes)
    return rows
