"""Forests of CatBoost, read from the JSON that a model saves of itself: symmetric trees and others,
several outputs, scale and bias, categories asked about one at a time (one-hot).

- A split asks x > border of float32 numbers; where that is true, a row goes right.
- The first split of a symmetric tree is the lowest bit of the number of the leaf.
- Missing numbers are below all borders or above them, as the feature says.
- A category is known by the hash of its text. Where it is that of the split, a row goes right. Codes
  of a column are the places of the hashes that splits ask about; the code after the last stands for
  all others.
- Statistics of targets (CTR), texts and embeddings are no splits of raw columns, and refused.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np

from assay.errors import AbilityError, ModelError
from assay.models.forests.assembly import Tree, packed, planted
from assay.models.forests.encoding import is_frame, number_column
from assay.models.forests.forest import LEAF, Floats, Forest, Words
from assay.models.forests.tree_model import TreeModel

_HASH = 0xFFFF_FFFF  # hashes are printed as signed numbers of 32 bits

_OTHER = "a category that no split asks about"

_LINKS = {
    "Logloss": "logit",
    "CrossEntropy": "logit",
    "MultiClass": "softmax",
    "MultiClassOneVsAll": "logit",
    "Poisson": "exp",
    "Tweedie": "exp",
}
"""What losses make of the margin; all others leave it as it is."""

Json = Mapping[str, Any]


def read_catboost(model: Any) -> TreeModel:
    """The forest of a fitted model of CatBoost.

    Errors: ModelError where it is not fitted; AbilityError for splits that do not ask about one raw
    column, such as statistics of targets.
    """
    who = type(model).__name__
    if not model.is_fitted():
        raise ModelError(
            expected=f"a fitted {who}", got="one without trees", advice="Call fit(X, y) first."
        )
    columns = len(model.feature_names_)
    codes = _Codes(model, columns)
    # Any row will do: the trees in the file are the same whichever hashes it tells beside them.
    saved = codes.saved([codes.blank()])
    forest = _forest(saved, columns, codes.asked(saved), model.feature_names_)

    def margin(table: Any) -> Floats:
        return _columns(model.predict(table, prediction_type="RawFormulaVal", thread_count=1))

    return TreeModel(
        forest=forest,
        encode=codes.encoded,
        margin=margin,
        margin_of_codes=lambda rows: margin(codes.decoded(rows)),
        source=np.arange(columns),
        raw=columns,
        missing=True,
        unknown=True,
        single_sums=False,
        who=who,
        askable=codes.askable,
    )


def _columns(answers: Any) -> Floats:
    array = np.asarray(answers, dtype=np.float64)
    return array.reshape(len(array), -1)


@final
@dataclass(frozen=True, eq=False)
class _Codes:
    """Texts of categories and their codes in a model.

    Settings:
        model: whose.
        columns: how many there are.
        hashes: those of texts that were met; the library tells them.
        texts: by column and code, a text that has it.
    """

    model: Any
    columns: int
    hashes: dict[str, int] = field(default_factory=dict)
    texts: dict[tuple[int, int], str] = field(default_factory=dict)
    listed: dict[int, dict[int, int]] = field(default_factory=dict)

    @property
    def categorical(self) -> list[int]:
        """The columns that hold categories."""
        return list(self.model.get_cat_feature_indices())

    def blank(self) -> list[Any]:
        """A row of zeros."""
        held = set(self.categorical)
        return ["0" if place in held else 0.0 for place in range(self.columns)]

    def saved(self, rows: Sequence[Sequence[Any]]) -> Json:
        """The model's own file; with categories it wants rows to tell the hashes of."""
        import catboost

        pool = catboost.Pool(
            [list(row) for row in rows],
            cat_features=self.categorical,
            feature_names=list(self.model.feature_names_),
        )
        # The library writes to files alone.
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.json"
            _save(self.model, file, pool)
            read: Json = json.loads(file.read_text(encoding="utf-8"))
        return read

    def asked(self, saved: Json) -> dict[int, dict[int, int]]:
        """By column, the code of each hash that a split asks about."""
        for known in saved["features_info"].get("categorical_features", ()):
            column = int(known["flat_feature_index"])
            hashes = [value & _HASH for value in known.get("values", ())]
            self.listed[column] = {value: code for code, value in enumerate(hashes)}
        return self.listed

    def encoded(self, table: Any) -> Floats:
        """(rows, columns) numbers, and codes of categories."""
        held = set(self.categorical)
        columns = [
            self._codes(place, _values(table, place))
            if place in held
            else _numbers_of(table, place)
            for place in range(self.columns)
        ]
        # np.column_stack refuses an empty list: the block without columns keeps the number of rows.
        return np.column_stack([np.zeros((len(table), 0)), *columns])

    def _codes(self, column: int, values: Sequence[Any]) -> Floats:
        texts = [str(value) for value in values]
        self._learn(column, sorted(set(texts) - set(self.hashes)))
        listed = self.listed.get(column, {})
        # The code after the last stands for all texts that no split asks about.
        codes = {text: listed.get(self.hashes[text], len(listed)) for text in set(texts)}
        # The way back needs a text for each code; of those that share one, any will do.
        self.texts.update({(column, code): text for text, code in codes.items()})
        return np.asarray([codes[text] for text in texts], dtype=np.float64)

    def _learn(self, column: int, texts: Sequence[str]) -> None:
        """Asks the library for the hashes of texts."""
        if not texts:
            return
        rows = []
        for text in texts:
            row = self.blank()
            row[column] = text
            rows.append(row)
        told = self.saved(rows)["features_info"]["cat_features_hash"]
        self.hashes.update({each["value"]: int(each["hash"]) & _HASH for each in told})

    def askable(self, rows: Floats) -> Floats:
        """Rows of codes, with those whose text was never met as the code of all others."""
        rows = rows.copy()
        for place in self.categorical:
            other = len(self.listed.get(place, {}))
            codes = np.where(np.isnan(rows[:, place]), other, rows[:, place]).astype(np.int64)
            known = [(place, code) in self.texts for code in codes.tolist()]
            rows[:, place] = np.where(known, codes, other)
        return rows

    def decoded(self, rows: Floats) -> Any:
        """Askable rows as the model takes them."""
        held = self.categorical
        if not held:
            return rows
        table: list[list[Any]] = rows.tolist()
        for row in table:
            for place in held:
                row[place] = self.texts.get((place, int(row[place])), _OTHER)
        return table


def _save(model: Any, file: Path, pool: Any) -> None:
    """Writes a model as JSON, which has no infinite numbers."""
    try:
        model.save_model(str(file), format="json", pool=pool)
    except Exception as error:  # catboost's class is known where it is imported alone
        if "invalid float value" not in str(error):
            raise
        raise ModelError(
            expected=f"a {type(model).__name__} whose borders are finite numbers",
            got="an infinite one, of a column that held numbers beyond single precision",
            advice=(
                "Explain it as a black box, wrap(model.predict), or train it on a column in other units."
            ),
        ) from error


def _values(table: Any, place: int) -> Sequence[Any]:
    column = table.iloc[:, place] if is_frame(table) else np.asarray(table, dtype=object)[:, place]
    return list(column)


def _numbers_of(table: Any, place: int) -> Floats:
    if is_frame(table):
        return number_column(table.iloc[:, place])
    return np.asarray([row[place] for row in table], dtype=np.float64)


# The file.


def _forest(
    saved: Json, columns: int, listed: Mapping[int, Mapping[int, int]], names: Sequence[str]
) -> Forest:
    scale, bias = saved.get("scale_and_bias", (1.0, [0.0]))
    bias = np.atleast_1d(np.asarray(bias, dtype=np.float64))
    splits = _Splits(saved["features_info"], listed)
    grown = [
        *(_symmetric(tree, splits, len(bias), scale) for tree in saved.get("oblivious_trees", ())),
        *(_nested(tree, splits, len(bias), scale) for tree in saved.get("trees", ())),
    ]
    return planted(
        grown,
        base=bias,
        features=columns,
        library="CatBoost",
        single=True,
        link=_LINKS.get(_loss(saved), "identity"),
        names=names,
    )


def _loss(saved: Json) -> str:
    parameters = saved.get("model_info", {}).get("params", {})
    # The parameters may be JSON within the JSON.
    if isinstance(parameters, str):
        parameters = json.loads(parameters)
    return str(parameters.get("loss_function", {}).get("type", ""))


@final
@dataclass(frozen=True)
class _Question:
    """A split: column, threshold, whether missing goes left, and the codes that go left."""

    column: int
    threshold: float
    default_left: bool
    codes: Words | None


@final
@dataclass(frozen=True)
class _Splits:
    """What splits ask, by the features that the file knows."""

    features: Json
    listed: Mapping[int, Mapping[int, int]]

    def question(self, split: Json) -> _Question:
        kind = split["split_type"]
        if kind == "FloatFeature":
            known = self.features["float_features"][split["float_feature_index"]]
            # AsTrue puts NaN above all borders, to the right; anything else puts it below them.
            above = known.get("nan_value_treatment") == "AsTrue"
            return _Question(
                int(known["flat_feature_index"]), float(split["border"]), not above, None
            )
        if kind == "OneHotFeature":
            known = self.features["categorical_features"][split["cat_feature_index"]]
            column = int(known["flat_feature_index"])
            listed = self.listed[column]
            equal = listed[int(split["value"]) & _HASH]
            # In the set are the codes that go left: all but one, and the one of unknown texts.
            others = [code for code in range(len(listed) + 1) if code != equal]
            return _Question(column, 0.0, True, packed(others))
        raise AbilityError(
            expected="splits that ask about a number or one category",
            got=f"{kind}: {_WHAT.get(kind, 'numbers that are computed of several columns')}",
            advice=(
                "Explain it as a black box, wrap(model.predict), or train it with one_hot_max_size "
                "above the number of categories."
            ),
        )


_WHAT = {
    "OnlineCtr": "statistics of the target in each category (CTR)",
    "EstimatedFeature": "features of texts or embeddings",
}


def _symmetric(tree: Json, splits: _Splits, outputs: int, scale: float) -> Tree:
    """A symmetric tree: all nodes of a level ask the same; level by level, the root first."""
    questions = [splits.question(split) for split in reversed(tree.get("splits") or ())]
    depth = len(questions)
    inner = 2**depth - 1
    # All nodes of a level ask what the level asks.
    level = np.repeat(np.arange(depth), 2 ** np.arange(depth))
    leaves = np.asarray(tree["leaf_values"], dtype=np.float64).reshape(2**depth, outputs)
    weights = np.asarray(tree.get("leaf_weights", np.ones(2**depth)), dtype=np.float64)
    # Node k has the children 2k + 1 and 2k + 2: the last split comes first, and is the highest bit.
    left = np.where(np.arange(2 * inner + 1) < inner, 2 * np.arange(2 * inner + 1) + 1, LEAF)
    return _tree(
        [questions[step] for step in level],
        left,
        np.where(left == LEAF, LEAF, left + 1),
        scale * leaves,
        _summed(weights.reshape(2**depth), inner),
    )


def _summed(weights: Floats, inner: int) -> Floats:
    """Weights of all nodes of a full tree, from those of its leaves."""
    # From the last inner node up: both children are known then.
    cover = np.concatenate([np.zeros(inner), weights])
    for node in reversed(range(inner)):
        cover[node] = cover[2 * node + 1] + cover[2 * node + 2]
    return cover


def _tree(
    questions: Sequence[_Question], left: Any, right: Any, leaves: Floats, cover: Floats
) -> Tree:
    """A tree whose inner nodes come first, and then its leaves."""
    inner, ends = len(questions), len(leaves)
    width = leaves.shape[1]
    return Tree(
        feature=np.array([each.column for each in questions] + [LEAF] * ends, dtype=np.int64),
        threshold=np.array([each.threshold for each in questions] + [0.0] * ends),
        left=np.asarray(left, dtype=np.int64),
        right=np.asarray(right, dtype=np.int64),
        value=np.concatenate([np.zeros((inner, width)), leaves]),
        cover=cover,
        default_left=np.array([each.default_left for each in questions] + [True] * ends),
        sets={node: each.codes for node, each in enumerate(questions) if each.codes is not None},
    )


def _nested(tree: Json, splits: _Splits, outputs: int, scale: float) -> Tree:
    """A tree that the file keeps as nodes inside of nodes."""
    inner = [node for node in _nodes(tree) if "split" in node]
    leaves = [node for node in _nodes(tree) if "split" not in node]
    # By identity: nodes of equal content are equal dicts, and no dict can be a key.
    place = {id(node): number for number, node in enumerate([*inner, *leaves])}
    values = [np.broadcast_to(np.atleast_1d(node["value"]), outputs) for node in leaves]
    return _tree(
        [splits.question(node["split"]) for node in inner],
        _sides(inner, place, "left", len(leaves)),
        _sides(inner, place, "right", len(leaves)),
        scale * np.asarray(values, dtype=np.float64).reshape(len(leaves), outputs),
        _covers(inner, leaves),
    )


def _sides(inner: Sequence[Json], place: Mapping[int, int], side: str, leaves: int) -> list[int]:
    """The children on one side, and none for leaves."""
    return [place[id(node[side])] for node in inner] + [LEAF] * leaves


def _covers(inner: Sequence[Json], leaves: Sequence[Json]) -> Floats:
    """Weights of all nodes, from those of the leaves."""
    weights = {id(node): float(node.get("weight", 1.0)) for node in leaves}
    # Children come after their parents.
    for node in reversed(inner):
        weights[id(node)] = weights[id(node["left"])] + weights[id(node["right"])]
    return np.array([weights[id(node)] for node in (*inner, *leaves)])


def _nodes(tree: Json) -> Iterator[Json]:
    """The nodes of a tree, parents before their children."""
    # A stack of its own: a tree may be deeper than Python lets functions call themselves.
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if "split" in node:
            waiting += [node["left"], node["right"]]
