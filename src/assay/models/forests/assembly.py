"""Trees one by one, as the libraries keep them, put into the one row of numbers of a `Forest`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np

from assay.models.forests.forest import LEAF, Booleans, Floats, Forest, Integers, Words

_WORD = 64  # codes in a word of a set


@final
@dataclass(frozen=True, eq=False)
class Tree:
    """One tree: nodes are counted from 0, the root first, and leaves have the feature -1.

    Settings:
        feature, threshold, left, right, default_left, cover: those of `Forest`, (nodes,).
        value: (nodes, width) what a leaf adds.
        zero_missing: (nodes,) that of `Forest`; nowhere by default.
        sets: the set of codes of each node that asks about a category.
        output: the output that the first number of a leaf is added to.
    """

    feature: Integers
    threshold: Floats
    left: Integers
    right: Integers
    value: Floats
    cover: Floats
    default_left: Booleans
    zero_missing: Booleans | None = None
    sets: Mapping[int, Words] = field(default_factory=dict)
    output: int = 0


def packed(codes: Iterable[int]) -> Words:
    """A set of codes as bits: code c is bit c % 64 of word c // 64."""
    listed = np.unique(np.asarray(list(codes), dtype=np.int64))
    # One word at least: an empty set still is a question, which no code is listed in.
    words = np.zeros(int(listed.max(initial=0)) // _WORD + 1, np.uint64)
    # Several codes may fall into one word.
    bits = np.uint64(1) << (listed % _WORD).astype(np.uint64)
    np.bitwise_or.at(words, listed // _WORD, bits)
    return words


def unpacked(words: Words) -> Integers:
    """The codes of a set."""
    # Little-endian on every machine, so that bit c % 64 of word c // 64 is bit c of all bytes.
    bits = np.unpackbits(words.astype("<u8").view(np.uint8), bitorder="little")
    return np.flatnonzero(bits)


def words_of(halves: Any) -> Words:
    """Words of 64 bits from words of 32."""
    narrow = np.asarray(halves, dtype="<u4")
    # An odd number of halves lacks the upper one of its last word.
    even = np.concatenate([narrow, np.zeros(len(narrow) % 2, "<u4")])
    return even.view("<u8").astype(np.uint64)


def planted(
    trees: Sequence[Tree],
    *,
    base: Any,
    features: int,
    library: str,
    listed_left: bool = True,
    single: bool = False,
    zero_bound: float = 0.0,
    link: str = "identity",
    names: Sequence[Any] | None = None,
) -> Forest:
    """The forest of some trees, whose leaves all have as many numbers."""
    width = trees[0].value.shape[1] if trees else 1
    counts = np.array([len(tree.feature) for tree in trees], dtype=np.int64)
    # The number of a tree's first node, and at the end that of all nodes.
    roots = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    starts, lengths, bits = _sets(trees, roots)
    return Forest(
        roots=roots[:-1],
        feature=_joined([tree.feature for tree in trees], np.int64),
        threshold=_joined([tree.threshold for tree in trees], np.float64),
        left=_joined(_shifted(trees, roots, "left"), np.int64),
        right=_joined(_shifted(trees, roots, "right"), np.int64),
        default_left=_joined([tree.default_left for tree in trees], np.bool_),
        zero_missing=_joined([_zero_missing(tree) for tree in trees], np.bool_),
        category_start=starts,
        category_words=lengths,
        category_bits=bits,
        listed_left=listed_left,
        value=np.concatenate([np.zeros((0, width)), *[tree.value for tree in trees]]),
        tree_output=np.array([tree.output for tree in trees], dtype=np.int64),
        base=np.asarray(base, dtype=np.float64).reshape(-1),
        cover=_joined([tree.cover for tree in trees], np.float64),
        single=single,
        zero_bound=zero_bound,
        features=features,
        link=link,
        library=library,
        names=None if names is None else tuple(map(str, names)),
    )


def _shifted(trees: Sequence[Tree], roots: Integers, side: str) -> list[Integers]:
    """The children on one side, by their numbers among the nodes of all trees."""
    return [
        np.where(tree.feature >= 0, getattr(tree, side) + root, LEAF)
        for tree, root in zip(trees, roots)
    ]


def _zero_missing(tree: Tree) -> Booleans:
    if tree.zero_missing is None:
        return np.zeros(len(tree.feature), bool)
    return tree.zero_missing


def _sets(trees: Sequence[Tree], roots: Integers) -> tuple[Integers, Integers, Words]:
    """Where the set of each node begins, how long it is, and all sets behind one another."""
    # -1 marks the nodes that ask about a number and have no set.
    starts = np.full(roots[-1], -1, np.int64)
    lengths = np.zeros(roots[-1], np.int64)
    parts = [np.zeros(0, np.uint64)]
    filled = 0
    for tree, root in zip(trees, roots):
        for node, words in tree.sets.items():
            starts[root + node] = filled
            lengths[root + node] = len(words)
            filled += len(words)
            parts.append(words)
    return starts, lengths, np.concatenate(parts)


def _joined(parts: Sequence[Any], dtype: Any) -> Any:
    # np.concatenate refuses an empty list: a model that was never trained has no trees.
    return np.concatenate([np.zeros(0, dtype), *parts]).astype(dtype)
