"""Forests of LightGBM, read from the text that a booster saves of itself (versions v2 to v4).

- Numbers are doubles, and what is equal to a threshold goes left.
- Missing values are a matter of each split: NaN may count as 0 (type None), as missing (type NaN), or
  as missing together with zero (type Zero).
- Numbers that are zero within 1e-35 are 0 when they are read.
- Codes of categories that a split lists go left; all others, missing ones among them, go right.
- The learning rate is in the leaves already, the first estimate in those of the first tree; random
  forests are averaged, although their raw score is a sum.
- Leaves that hold linear models are no numbers to add, and refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from assay.errors import AbilityError, InputError, ModelError
from assay.models.forests.assembly import Tree, planted, words_of
from assay.models.forests.encoding import coded, is_category, is_frame
from assay.models.forests.forest import LEAF, Floats, Forest, Integers
from assay.models.forests.tree_model import TreeModel

_VERSIONS = ("v2", "v3", "v4")

_CATEGORICAL, _DEFAULT_LEFT = 1, 2  # bits of a decision type
_ZERO_MISSING, _NAN_MISSING = 1, 2  # its two bits above

_ZERO = float(np.float32(1e-35))
"""Numbers as near to zero as this are zeros when they are read, whatever they are compared with."""

_LINKS = {
    "binary": "logit",
    "multiclass": "softmax",
    "softmax": "softmax",
    "multiclassova": "logit",
    "cross_entropy": "logit",
    "cross_entropy_lambda": "softplus",
    "poisson": "exp",
    "gamma": "exp",
    "tweedie": "exp",
}
"""What objectives make of the margin; all others leave it as it is."""


def read_lightgbm(model: Any) -> TreeModel:
    """The forest of a booster, or of an estimator of LightGBM.

    Errors: ModelError for a file of a newer version, or a model that is not fitted; AbilityError for
    trees with linear models in their leaves.
    """
    who = type(model).__name__
    booster = booster_of(model)
    text = booster.model_to_string()
    forest = forest_of_text(text)
    # What is called raw is the sum also where the prediction is an average.
    averaged = _iterations(text) if "\naverage_output\n" in text else 1
    return TreeModel(
        forest=forest,
        encode=lambda table: coded(table, _levels(booster, table, who), who, refused=True),
        margin=lambda table: _columns(model.predict(table, raw_score=True)) / averaged,
        margin_of_codes=lambda rows: _columns(booster.predict(rows, raw_score=True)) / averaged,
        source=np.arange(forest.features),
        raw=forest.features,
        missing=True,
        unknown=True,
        single_sums=False,
        who=who,
        raw_factor=float(averaged),
    )


def booster_of(model: Any) -> Any:
    """The booster inside an estimator, or the booster itself."""
    # Asked of the class: of an estimator that is not fitted the property itself raises.
    if not hasattr(type(model), "booster_"):
        return model
    try:
        return model.booster_
    except Exception as error:  # lightgbm's class is known where it is imported alone
        raise ModelError(
            expected=f"a fitted {type(model).__name__}",
            got="one without a booster",
            advice="Call fit(X, y) first.",
        ) from error


def _columns(answers: Any) -> Floats:
    array = np.asarray(answers, dtype=np.float64)
    return array.reshape(len(array), -1)


def _iterations(text: str) -> int:
    head, *blocks = text.split("\nTree=")
    return max(1, len(blocks) // int(_entries(head).get("num_tree_per_iteration", 1)))


def _levels(booster: Any, table: Any, who: str) -> dict[int, Sequence[Any]]:
    """The categories of each column of a frame that holds some, in the order of their codes."""
    # The booster's own list: a frame at hand may know its categories in another order.
    kept = getattr(booster, "pandas_categorical", None) or []
    if not is_frame(table):
        return {}
    # They are kept one behind the other, for the columns of the fit that held categories.
    places = [place for place in range(len(table.columns)) if is_category(table.iloc[:, place])]
    if len(places) != len(kept):
        raise InputError(
            expected=f"a frame with {len(kept)} columns of categories, as {who} was fitted on",
            got=f"{len(places)} of them",
            advice="Give its columns the dtypes of the fit: frame.astype({'name': 'category'}).",
        )
    return dict(zip(places, kept))


def forest_of_text(text: str) -> Forest:
    """The forest that a saved text describes.

    Errors: ModelError for a text of a newer version, AbilityError for linear models in leaves.
    """
    head, *blocks = text.split("\nTree=")
    header = _entries(head)
    _check_version(header)
    per_iteration = int(header.get("num_tree_per_iteration", 1))
    # A booster that was never trained has none.
    if not any(blocks):
        blocks = []
    # Random forests are averaged over their iterations.
    weight = 1.0
    if "average_output" in head.splitlines():
        weight = 1.0 / _iterations(text)
    # The trees of an iteration stand one behind the other, one for each output.
    trees = [
        _tree(_entries(block), number % per_iteration, weight)
        for number, block in enumerate(blocks)
    ]
    return planted(
        trees,
        base=np.zeros(per_iteration),
        features=int(header["max_feature_idx"]) + 1,
        library="LightGBM",
        zero_bound=_ZERO,
        link=_link(header.get("objective", "")),
        names=header["feature_names"].split(" "),
    )


def _entries(block: str) -> dict[str, str]:
    """Lines `key=value` as a mapping."""
    pairs = (line.partition("=") for line in block.splitlines())
    return {key: value for key, mark, value in pairs if mark}


def _check_version(header: Mapping[str, str]) -> None:
    version = header.get("version", "")
    if version not in _VERSIONS:
        raise ModelError(
            expected=f"a model of LightGBM in the format {' or '.join(_VERSIONS)}",
            got=f"one in the format {version!r}",
            advice="Explain it as a black box, wrap(model.predict), or save it with another version.",
        )


def _link(objective: str) -> str:
    """The link of an objective as it is saved, such as "binary sigmoid:1"."""
    name, *parts = objective.split(" ") if objective else ("",)
    if name == "regression" and "sqrt" in parts:
        return "signed square"
    link = _LINKS.get(name, "identity")
    # The slope of the sigmoid is a setting of its own, which multiplies the margin.
    for part in parts:
        if link == "logit" and part.startswith("sigmoid:") and float(part[8:]) != 1:
            return f"logit of {float(part[8:])} times the margin"
    return link


def _tree(entries: Mapping[str, str], output: int, weight: float) -> Tree:
    """A tree: its inner nodes first, then its leaves; without an inner node the leaf is the root."""
    if int(entries.get("is_linear", 0)):
        raise AbilityError(
            expected="trees whose leaves hold numbers",
            got="linear_tree=True: leaves that hold linear models",
            advice=(
                "Explain it as a black box, wrap(model.predict), or train it with linear_tree=False."
            ),
        )
    values = _numbers(entries, "leaf_value")
    inner = int(entries["num_leaves"]) - 1
    nodes = inner + len(values)
    # Category, default direction and kind of missing values are bits of one number.
    decisions = _numbers(entries, "decision_type", inner).astype(np.int64)
    asks_category = decisions & _CATEGORICAL != 0
    # Bits 0 and 1 are the category and the direction: the kind of missing values is above them.
    missing_type = (decisions >> 2) & 3
    threshold = _numbers(entries, "threshold", inner)
    default_left = _default_left(decisions, missing_type, threshold, asks_category)
    covers = np.concatenate(
        [_cover(entries, "internal", inner), _cover(entries, "leaf", len(values))]
    )
    return Tree(
        feature=_filled(_numbers(entries, "split_feature", inner), nodes, LEAF).astype(np.int64),
        threshold=_filled(np.where(asks_category, 0.0, threshold), nodes, 0.0),
        left=_children(entries, "left_child", inner, nodes),
        right=_children(entries, "right_child", inner, nodes),
        value=np.concatenate([np.zeros(inner), weight * values])[:, None],
        cover=covers,
        default_left=_filled(default_left, nodes, 0).astype(bool),
        zero_missing=_filled((missing_type == _ZERO_MISSING) & ~asks_category, nodes, 0).astype(
            bool
        ),
        sets=_sets(entries, threshold, asks_category),
        output=output,
    )


def _numbers(entries: Mapping[str, str], key: str, count: int | None = None) -> Floats:
    if count == 0:
        return np.zeros(0)
    return np.asarray(entries[key].split(" "), dtype=np.float64)


def _cover(entries: Mapping[str, str], kind: str, count: int) -> Floats:
    """Rows of training that came by; a tree that is one leaf does not say how many."""
    if f"{kind}_count" not in entries or not entries[f"{kind}_count"].strip():
        return np.ones(count)
    return _numbers(entries, f"{kind}_count", count)


def _filled(inner: Any, nodes: int, filling: float) -> Any:
    """Numbers of inner nodes, and a filling for the leaves."""
    return np.concatenate([inner, np.full(nodes - len(inner), filling)])


def _children(entries: Mapping[str, str], key: str, inner: int, nodes: int) -> Integers:
    # A leaf is the complement of its number.
    given = _numbers(entries, key, inner).astype(np.int64)
    children = np.where(given < 0, inner + ~given, given)
    return np.asarray(_filled(children, nodes, LEAF), dtype=np.int64)


def _default_left(
    decisions: Integers, missing_type: Integers, threshold: Floats, asks_category: Any
) -> Any:
    """Where missing values go: where the split says, or where 0 goes if NaN counts as 0."""
    said = decisions & _DEFAULT_LEFT != 0
    counts_as_zero = (missing_type != _ZERO_MISSING) & (missing_type != _NAN_MISSING)
    # No set lists NaN, so that it goes right at a category whatever the split says.
    return np.where(counts_as_zero, threshold >= 0, said) & ~asks_category


def _sets(entries: Mapping[str, str], threshold: Floats, asks_category: Any) -> dict[int, Any]:
    """The categories that go left, by node; a node's threshold is the number of its set."""
    if not asks_category.any():
        return {}
    bounds = _numbers(entries, "cat_boundaries").astype(np.int64)
    halves = np.asarray(entries["cat_threshold"].split(" "), dtype=np.uint32)
    # Words of 32 codes, those of a set between its two bounds.
    sets = threshold.astype(np.int64)
    return {
        int(node): words_of(halves[bounds[sets[node]] : bounds[sets[node] + 1]])
        for node in np.flatnonzero(asks_category)
    }
