"""An ensemble of decision trees as flat arrays, whichever library grew it.

All nodes of all trees lie in one row of numbers; a child is the number of a node in that row. Every
split is one of two questions:

    a number    x <= threshold
    a category  is the code, x cut towards zero, is one of a set

and a missing value goes where the node says. What the libraries do differently is settled when a
model is read, without loss: XGBoost's `x < t` of float32 numbers is `x <= t'` with t' the float32
number below t; where a library lets NaN count as 0, NaN goes where 0 goes; weights of trees, learning
rates and averages are multiplied into the leaves.

Codes that a set does not list, negative ones among them, all go to one side, whichever split:

    XGBoost                          listed codes go right, all others left
    LightGBM, CatBoost (one-hot),    listed codes go left, all others right
    histogram gradient boosting      (CatBoost's set is of the codes that are not the value)

Two functions decide where a row goes: `goes_left` in plain numbers, one node at a time, for compiled
loops; and `Forest.leaves` in NumPy, many at once. They are each other's twins.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from assay.errors import ModelError

Floats = NDArray[np.float64]

Integers = NDArray[np.int64]

Booleans = NDArray[np.bool_]

Words = NDArray[np.uint64]

LEAF = -1
"""The feature of a node that asks nothing, and the child that is none."""

_WORD = 64  # codes in a word of a set
_CELLS = 1 << 22  # pairs of rows and trees that are followed at once


def goes_left(
    x: float,
    threshold: float,
    default_left: bool,
    zero_missing: bool,
    start: int,
    words: int,
    bits: Words,
    listed_left: bool,
) -> bool:
    """Whether a value goes to the left child, in plain numbers that a compiler can take.

    Args:
        x: the value, as `Forest.rounded` hands it on.
        threshold, default_left, zero_missing: those of the node.
        start: `category_start` of the node; negative for a question about a number.
        words: `category_words` of the node.
        bits: `category_bits` of the forest.
        listed_left: `listed_left` of the forest.
    """
    if math.isnan(x):
        return default_left
    if start >= 0:
        # Codes are cut towards zero; what is too large, or negative, is in no set.
        if not -1.0 < x < words * 64.0:
            return not listed_left
        code = int(x)
        listed = (bits[start + code // 64] >> np.uint64(code % 64)) & np.uint64(1) != 0
        return bool(listed == listed_left)
    if zero_missing and x == 0.0:
        return default_left
    return x <= threshold


@final
@dataclass(frozen=True, eq=False)
class Forest:
    """Decision trees whose leaves add up: margin(x) = base + sum over trees of value[leaf of x].

    Settings:
        roots: (trees,) the node that each tree begins at.
        feature: (nodes,) the column that a node asks about; -1 at leaves.
        threshold: (nodes,) numbers up to it, itself included, go left.
        left, right: (nodes,) the nodes' children; -1 at leaves.
        default_left: (nodes,) whether a missing value goes left.
        zero_missing: (nodes,) whether zero is missing as NaN is.
        category_start: (nodes,) where the node's set of codes begins in `category_bits`; -1 for a
            question about a number.
        category_words: (nodes,) how many words of 64 codes the set has.
        category_bits: (words,) sets of codes: code c is bit c % 64 of word c // 64.
        listed_left: whether codes in a set go left and all others right, or the other way round.
        value: (nodes, width) what a leaf adds, weights and averages multiplied in.
        tree_output: (trees,) a tree adds its `width` numbers to the outputs from this one on: with
            leaves of one number it is the output of the tree, with vectors of all outputs it is 0.
        base: (outputs,) what every row is given.
        cover: (nodes,) the weight of the training rows that came by, in the library's own measure.
        single: whether inputs are rounded to float32 before they are compared.
        zero_bound: numbers as near to zero as this are made 0 before they are compared.
        features: the number of columns.
        link: what the library makes of the margin: "identity", "logit" (a probability is its
            sigmoid), "softmax", "exp", or the library's own word.
        library: who grew it, for refusals.
        names: the columns' names, where the model keeps them.

    >>> stump = Forest.of_tree(feature=[0, -1, -1], threshold=[2.0, 0, 0], left=[1, -1, -1],
    ...                        right=[2, -1, -1], value=[0.0, 10.0, 20.0], features=1)
    >>> stump.margin([[2.0], [2.1]])
    array([[10.], [20.]])
    """

    roots: Integers
    feature: Integers
    threshold: Floats
    left: Integers
    right: Integers
    default_left: Booleans
    zero_missing: Booleans
    category_start: Integers
    category_words: Integers
    category_bits: Words
    listed_left: bool
    value: Floats
    tree_output: Integers
    base: Floats
    cover: Floats
    single: bool
    features: int
    link: str = "identity"
    library: str = ""
    names: tuple[str, ...] | None = None
    zero_bound: float = 0.0

    @classmethod
    def of_tree(
        cls,
        *,
        feature: Any,
        threshold: Any,
        left: Any,
        right: Any,
        value: Any,
        features: int,
        default_left: Any = None,
        cover: Any = None,
        base: Any = None,
        single: bool = False,
    ) -> Forest:
        """One tree that asks about numbers alone, from lists; root first."""
        asked = np.asarray(feature, dtype=np.int64)
        nodes = len(asked)
        leaves = np.asarray(value, dtype=np.float64).reshape(nodes, -1)
        return cls(
            roots=np.zeros(1, np.int64),
            feature=asked,
            threshold=np.asarray(threshold, dtype=np.float64),
            left=np.asarray(left, dtype=np.int64),
            right=np.asarray(right, dtype=np.int64),
            default_left=_or_zeros(default_left, nodes).astype(bool),
            zero_missing=np.zeros(nodes, bool),
            category_start=np.full(nodes, -1, np.int64),
            category_words=np.zeros(nodes, np.int64),
            category_bits=np.zeros(0, np.uint64),
            listed_left=True,
            value=leaves,
            tree_output=np.zeros(1, np.int64),
            base=_or_zeros(base, leaves.shape[1]),
            cover=_or_zeros(cover, nodes),
            single=single,
            features=features,
        )

    def __post_init__(self) -> None:
        self._check_nodes()
        self._check_children()
        self._check_sets()

    def _check_nodes(self) -> None:
        nodes = len(self.feature)
        for name in _PER_NODE:
            self._require(len(getattr(self, name)) == nodes, f"{name} for each of {nodes} nodes")
        self._require(self.value.ndim == 2, "rows of values, one for each node")
        self._require(len(self.tree_output) == len(self.roots), "one output for each tree")
        ends = self.tree_output + self.width
        inside = (self.tree_output >= 0).all() and (ends <= self.outputs).all()
        self._require(bool(inside), f"trees that add to {self.outputs} outputs")

    def _check_children(self) -> None:
        nodes = len(self.feature)
        inner = self.feature >= 0
        self._require(bool((self.feature < self.features).all()), f"{self.features} features")
        children = np.concatenate([self.left[inner], self.right[inner]])
        inside = (children >= 0).all() and (children < nodes).all()
        self._require(bool(inside), f"children among {nodes} nodes")
        # A node that two others lead to, or a root that one leads to, is no tree.
        reached = np.bincount(np.concatenate([children, self.roots]), minlength=nodes)
        self._require(bool((reached <= 1).all()), "one way to each node")

    def _check_sets(self) -> None:
        categorical = self.category_start >= 0
        ends = self.category_start + self.category_words
        inside = (ends[categorical] <= len(self.category_bits)).all()
        self._require(bool(inside), "sets of codes that end where the bits end")

    def _require(self, holds: bool, expected: str) -> None:
        if not holds:
            raise ModelError(
                expected=f"{expected} in a forest of {self.library or 'trees'}",
                got="arrays that do not fit together",
                advice="The saved model is damaged, or of a version whose format is not known.",
            )

    @property
    def trees(self) -> int:
        """The number of trees."""
        return len(self.roots)

    @property
    def outputs(self) -> int:
        """The number of outputs of the margin."""
        return len(self.base)

    @property
    def width(self) -> int:
        """The number of outputs that one leaf adds to."""
        return int(self.value.shape[1])

    @cached_property
    def level(self) -> Integers:
        """(nodes,) how many questions lead to a node; -1 for nodes that no root leads to."""
        level = np.full(len(self.feature), -1, np.int64)
        # Level by level: a tree is no deeper than it has nodes.
        front = self.roots
        for depth in range(len(self.feature) + 1):
            level[front] = depth
            inner = front[self.feature[front] >= 0]
            if not len(inner):
                break
            front = np.concatenate([self.left[inner], self.right[inner]])
        return level

    @property
    def depth(self) -> int:
        """The most questions on the way to a leaf; 0 for leaves alone."""
        return int(max(self.level.max(initial=0), 0))

    # What is beyond float32 becomes infinite, and what is too small 0, as where the library compares.
    @np.errstate(over="ignore", under="ignore")
    def rounded(self, X: Any) -> Floats:
        """Rows as they are compared: in double numbers, of those that the library tells apart."""
        rows = np.asarray(X, dtype=np.float64)
        if self.zero_bound > 0:
            rows = np.where(np.abs(rows) <= self.zero_bound, 0.0, rows)
        if not self.single:
            return np.ascontiguousarray(rows)
        return rows.astype(np.float32).astype(np.float64)

    def leaves(self, X: Any) -> Integers:
        """(rows, trees) the leaf that each row comes to; many rows are followed level by level."""
        rows = self.rounded(X)
        # So many rows at once that rows times trees fit the memory.
        step = max(1, _CELLS // max(1, self.trees))
        parts = [self._leaves(rows[at : at + step]) for at in range(0, len(rows), step)]
        return np.concatenate([np.zeros((0, self.trees), np.int64), *parts])

    def _leaves(self, rows: Floats) -> Integers:
        at = np.tile(self.roots, (len(rows), 1))
        # Pairs of row and tree that have not come to a leaf yet.
        row, tree = np.nonzero(self.feature[at] >= 0)
        while len(row):
            node = at[row, tree]
            left = self._goes_left(rows[row, self.feature[node]], node)
            node = np.where(left, self.left[node], self.right[node])
            at[row, tree] = node
            further = self.feature[node] >= 0
            row, tree = row[further], tree[further]
        return at

    def _goes_left(self, x: Floats, node: Integers) -> Booleans:
        """`goes_left` for many values, each at a node of its own."""
        missing = np.isnan(x) | (self.zero_missing[node] & (x == 0))
        categorical = self.category_start[node] >= 0
        # NaN is compared, too, and its answer is replaced below.
        with np.errstate(invalid="ignore"):
            left = x <= self.threshold[node]
        if categorical.any():
            left[categorical] = self._in_set(x[categorical], node[categorical]) == self.listed_left
            missing[categorical] = np.isnan(x[categorical])
        return np.where(missing, self.default_left[node], left)

    def _in_set(self, x: Floats, node: Integers) -> Booleans:
        # Codes outside are looked up as 0, and are in no set whatever is found.
        inside = (x > -1) & (x < self.category_words[node] * _WORD)
        code = np.where(inside, x, 0).astype(np.int64)
        word = np.where(inside, self.category_start[node] + code // _WORD, 0)
        bit = self.category_bits[word] >> (code % _WORD).astype(np.uint64)
        listed: Booleans = inside & ((bit & np.uint64(1)) != 0)
        return listed

    def margin(self, X: Any) -> Floats:
        """(rows, outputs) what the trees add up to, before the link."""
        rows = np.asarray(X, dtype=np.float64)
        step = max(1, _CELLS // max(1, self.trees * self.width))
        # A copy for each row: leaves are added in place.
        margins = np.tile(self.base, (len(rows), 1))
        for at in range(0, len(rows), step):
            self._add(self.leaves(rows[at : at + step]), margins[at : at + step])
        return margins

    def _add(self, leaves: Integers, margins: Floats) -> None:
        # Trees of the same outputs are added at once.
        for output in np.unique(self.tree_output):
            mine = self.tree_output == output
            added = self.value[leaves[:, mine]].sum(axis=1)
            margins[:, output : output + self.width] += added

    def sizes(self, X: Any) -> Floats:
        """(rows, outputs) the sum of absolute values that a margin is made of, which its rounding
        grows with.
        """
        # The same walk with absolute leaves, since splits do not look at values.
        absolute = replace(self, value=np.abs(self.value), base=np.abs(self.base))
        return absolute.margin(X)


_PER_NODE = (
    "threshold",
    "left",
    "right",
    "default_left",
    "zero_missing",
    "category_start",
    "category_words",
    "value",
    "cover",
)


def _or_zeros(given: Any, count: int) -> Floats:
    if given is None:
        return np.zeros(count)
    return np.asarray(given, dtype=np.float64)
