"""Random forests of numbers, gaps and categories, and their exact values the slow way: from the
definitions, by enumeration, in NumPy.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from assay.models.forests.forest import Floats, Forest

_NODES = (
    "feature", "threshold", "left", "right", "default_left", "zero_missing", "category_start",
    "category_words", "value", "cover",
)  # fmt: skip


def random_tree(
    rng: np.random.Generator,
    depth: int,
    features: int,
    width: int = 1,
    *,
    stop: float = 0.15,
    categories: bool = False,
    chain: bool = False,
) -> Forest:
    """A tree of at most some depth; `chain` has a leaf on one side of every node."""
    nodes: dict[str, list[Any]] = {name: [] for name in _NODES}
    words: list[int] = []

    def add(cover: float) -> int:
        blank = (-1, 0.0, -1, -1, False, False, -1, 0, np.zeros(width), cover)
        for name, entry in zip(_NODES, blank, strict=True):
            nodes[name].append(entry)
        return len(nodes["feature"]) - 1

    # Depth-first without recursion: chains are deeper than Python's stack.
    root = add(100.0)
    open_nodes = [(root, depth)]
    while open_nodes:
        node, left_over = open_nodes.pop()
        is_leaf = left_over == 0 or (node != root and rng.random() < stop)
        if is_leaf:
            nodes["value"][node] = rng.normal(size=width)
            continue
        nodes["feature"][node] = int(rng.integers(features))
        nodes["threshold"][node] = float(np.round(rng.normal(), 1))
        nodes["default_left"][node] = bool(rng.random() < 0.5)
        nodes["zero_missing"][node] = bool(rng.random() < 0.2)
        if categories and rng.random() < 0.4:
            nodes["category_start"][node] = len(words)
            nodes["category_words"][node] = 1
            words.append(int(rng.integers(1, 16)))
        share = rng.uniform(0.05, 0.95)
        children = [add(nodes["cover"][node] * part) for part in (share, 1 - share)]
        nodes["left"][node], nodes["right"][node] = children
        short = int(rng.integers(2))
        for side, child in enumerate(children):
            open_nodes.append((child, 0 if chain and side == short else left_over - 1))
    plain = Forest.of_tree(
        feature=nodes["feature"],
        threshold=nodes["threshold"],
        left=nodes["left"],
        right=nodes["right"],
        value=np.array(nodes["value"]),
        features=features,
        default_left=nodes["default_left"],
        cover=nodes["cover"],
    )
    return replace(
        plain,
        zero_missing=np.array(nodes["zero_missing"]),
        category_start=np.array(nodes["category_start"], np.int64),
        category_words=np.array(nodes["category_words"], np.int64),
        category_bits=np.array(words, np.uint64),
    )


def joined(trees: list[Forest], outputs: list[int] | None = None) -> Forest:
    """Several trees as one forest; each adds to the first output, or to one of its own."""
    parts: dict[str, list[Any]] = {name: [] for name in (*_NODES, "category_bits")}
    roots, nodes, words = [], 0, 0
    for tree in trees:
        roots.append(nodes)
        for name, part in parts.items():
            entries = getattr(tree, name)
            if name in ("left", "right"):
                entries = np.where(entries >= 0, entries + nodes, -1)
            if name == "category_start":
                entries = np.where(entries >= 0, entries + words, -1)
            part.append(entries)
        nodes += len(tree.feature)
        words += len(tree.category_bits)
    targets = outputs or [0] * len(trees)
    return replace(
        trees[0],
        roots=np.array(roots),
        tree_output=np.array(targets, np.int64),
        base=np.full(max(targets) + trees[0].width, 0.25),
        **{name: np.concatenate(part) for name, part in parts.items()},
    )


def rows_for(
    rng: np.random.Generator, forest: Forest, count: int, *, missing: bool = True
) -> Floats:
    """Rows at and beside thresholds, with ties, zeros and, where wanted, gaps."""
    rows = np.round(rng.normal(size=(count, forest.features)), 1)
    rows[rng.random(rows.shape) < 0.1] = 0.0
    if missing:
        rows[rng.random(rows.shape) < 0.1] = np.nan
    return rows


Game = Callable[[np.ndarray], Floats]
"""A coalition (features,) to what it is worth, of any shape."""


def interventional(forest: Forest, x: Floats, background: Floats, group: Any) -> Game:
    """The mean margin over background rows that take on what is present of x."""

    def worth(present: np.ndarray) -> Floats:
        mixed = np.where(present[group], x, background)
        return np.asarray(forest.margin(mixed).mean(axis=0))

    return worth


def path_dependent(forest: Forest, x: Floats, group: Any) -> Game:
    """What leaves are worth where splits on what is absent go both ways, by the training rows."""
    left_of_x = {
        node: bool(forest._goes_left(x[[forest.feature[node]]], np.array([node]))[0])
        for node in np.nonzero(forest.feature >= 0)[0]
    }

    def expected(node: int, present: np.ndarray) -> Floats:
        feature = forest.feature[node]
        if feature < 0:
            return np.asarray(forest.value[node])
        left, right = int(forest.left[node]), int(forest.right[node])
        if present[group[feature]]:
            return expected(left if left_of_x[node] else right, present)
        one, other = forest.cover[left], forest.cover[right]
        both = one * expected(left, present) + other * expected(right, present)
        return np.asarray(both / (one + other))

    def worth(present: np.ndarray) -> Floats:
        margin = forest.base.copy()
        for root, output in zip(forest.roots, forest.tree_output, strict=True):
            margin[output : output + forest.width] += expected(int(root), present)
        return margin

    return worth


def _coalitions(players: int) -> dict[tuple[bool, ...], None]:
    return dict.fromkeys(itertools.product((False, True), repeat=players))


def values(game: Game, players: int, index: str = "shapley") -> Floats:
    """(players, ...) by the definition."""
    worth = {one: game(np.array(one)) for one in _coalitions(players)}
    found: list[Any] = [0.0] * players
    for coalition in worth:
        size = sum(coalition)
        for i in range(players):
            if coalition[i]:
                continue
            weight = 0.5 ** (players - 1)
            if index == "shapley":
                weight = 1 / (players * math.comb(players - 1, size))
            joined_by = (*coalition[:i], True, *coalition[i + 1 :])
            found[i] = found[i] + weight * (worth[joined_by] - worth[coalition])
    return np.array(found)


def pairs(game: Game, players: int, index: str = "shapley") -> Floats:
    """(pairs, ...) Shapley interactions (0, 1), (0, 2), ..., (1, 2), ... by the definition."""
    worth = {one: game(np.array(one)) for one in _coalitions(players)}
    found = []
    for i, j in itertools.combinations(range(players), 2):
        total: Any = 0.0
        for coalition, alone in worth.items():
            if coalition[i] or coalition[j]:
                continue
            weight = 0.5 ** (players - 2)
            if index == "shapley":
                weight = 1 / ((players - 1) * math.comb(players - 2, sum(coalition)))

            def with_(*more: int, coalition: tuple[bool, ...] = coalition) -> tuple[bool, ...]:
                return tuple(there or k in more for k, there in enumerate(coalition))

            joint = worth[with_(i, j)] - worth[with_(i)] - worth[with_(j)] + alone
            total = total + weight * joint
        found.append(total)
    return np.array(found)
