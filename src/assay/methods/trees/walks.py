"""Trees too deep for tables: one walk through the tree for each row, or each row and background row.

    path-dependent     at each node t of Gauss-Legendre quadrature a walk carries the product of
                       (1 - t) r_j + t c_j down to the leaves, and their sums back up: what the last
                       split on a feature adds is (c - r) / ((1 - t) r + t c) times the sum below it,
                       less what an earlier split on the same feature has already counted of it
    interventional     a walk follows x and the background row; where they part, the feature is x's
                       or the background row's from there on

No factor is larger than 1, so that nothing cancels at any depth.

This file is compiled by numba, and imported where trees are first explained.
"""

from __future__ import annotations

from typing import Any, NamedTuple, final

import numpy as np
from numba import prange

from assay.methods.trees.compiling import inner_loop, loop, parallel_loop
from assay.models.forests.forest import goes_left

_goes_left = inner_loop(goes_left)


@inner_loop
def _left(x: float, node: int, splits: Any) -> bool:
    left: bool = _goes_left(
        x,
        splits.threshold[node],
        splits.default_left[node],
        splits.zero_missing[node],
        splits.category_start[node],
        splits.category_words[node],
        splits.category_bits,
        splits.listed_left,
    )
    return left


@loop
def edges(
    root: int,
    feature: Any,
    left: Any,
    right: Any,
    parent: Any,
    share: Any,
    group: Any,
    players: int,
    before: Any,
    after: Any,
    repeated: Any,
) -> None:
    """For the edge into each node of a tree: the share of training rows that pass all splits of the
    path on its feature without it (`before`) and with it (`after`), and whether there are any others.
    """
    # What is known of each player on the way: the product of the shares of its splits, and how many
    # there are. Both are put back when the walk leaves an edge.
    current = np.ones(players)
    met = np.zeros(players, np.int64)
    stack = np.empty(len(feature) + 1, np.int64)
    phase = np.empty(len(feature) + 1, np.int8)
    top = 0
    stack[0] = root
    phase[0] = 0
    while top >= 0:
        node = stack[top]
        if feature[node] < 0 or phase[top] == 2:
            if top > 0:
                player = group[feature[parent[node]]]
                current[player] = before[node]
                met[player] -= 1
            top -= 1
            continue
        child = left[node] if phase[top] == 0 else right[node]
        player = group[feature[node]]
        before[child] = current[player]
        after[child] = current[player] * share[child]
        repeated[child] = met[player] > 0
        current[player] = after[child]
        met[player] += 1
        phase[top] += 1
        top += 1
        stack[top] = child
        phase[top] = 0


@inner_loop
def _factor(present: int, ratio: float, t: float) -> float:
    return (1.0 - t) * ratio + t * present


@inner_loop
def _over(number: float, factor: float) -> float:
    """A quotient, and 0 where the factor is: whatever it divides is then 0 as well."""
    if factor > 0.0:
        return number / factor
    return 0.0


@inner_loop
def _factors(
    node: int, before: Any, after: Any, repeated: Any, t: Any, u: Any, ratio: Any, count: Any
) -> None:
    """Of an edge, for each of three cases (3, points): by what the product grows, and what its sum
    below counts.

    The cases: x passes; x fails here for the first time; x has failed the feature before.
    """
    for case in range(3):
        was = 0 if case == 2 else 1
        now = 1 if case == 0 else 0
        for k in range(len(t)):
            old = _factor(was, before[node], t[k])
            new = _factor(now, after[node], t[k])
            ratio[case, k] = _over(new, old)
            count[case, k] = u[k] * _over(now - after[node], new)
            # The earlier split on this feature has counted the same leaves: that is taken back.
            if repeated[node]:
                count[case, k] -= u[k] * _over(was - before[node], old)


@loop
def all_factors(
    root: int,
    feature: Any,
    left: Any,
    right: Any,
    before: Any,
    after: Any,
    repeated: Any,
    t: Any,
    u: Any,
) -> Any:
    """The factors of all edges of a tree, and the number of each node in them."""
    # All trees lie in one array: numbers within this tree keep the tables of its edges small.
    nodes = np.empty(len(feature), np.int64)
    number = np.full(len(feature), -1, np.int64)
    count = 1
    nodes[0] = root
    number[root] = 0
    at = 0
    while at < count:
        node = nodes[at]
        at += 1
        if feature[node] >= 0:
            nodes[count] = left[node]
            number[left[node]] = count
            nodes[count + 1] = right[node]
            number[right[node]] = count + 1
            count += 2
    # Number 0 is the root, which no edge leads to: its factor is 1, and it counts nothing.
    ratios = np.ones((count, 3, len(t)))
    counts = np.zeros((count, 3, len(t)))
    for at in range(1, count):
        # Written in place: to copy arrays of shapes that could differ takes seconds to compile.
        _factors(nodes[at], before, after, repeated, t, u, ratios[at], counts[at])
    return number, ratios, counts


@final
class Ensemble(NamedTuple):
    """What walks ask of the trees beside `Splits`: what they add, and where; and the players.

    Loops in parallel take tuples of arrays apart once, and no tuples inside of them.
    """

    roots: Any
    parent: Any
    value: Any
    tree_output: Any
    group: Any
    depth: int
    players: int


@final
class _Upward(NamedTuple):
    """What a walk with quadrature holds: an entry for each node on the way down."""

    node: Any
    phase: Any
    case: Any
    was: Any
    """Whether x had passed all splits on the feature before."""
    state: Any
    """(players,) whether it has so far."""
    product: Any
    total: Any


@parallel_loop
def by_quadrature(
    rows: Any,
    splits: Any,
    trees: Any,
    tree: int,
    number: Any,
    ratios: Any,
    counts: Any,
    credit: Any,
) -> None:
    """Adds the path-dependent credit of one tree to `credit` (rows, outputs, players)."""
    for row in prange(len(rows)):
        # Every row has credit of its own, so that no two threads write to the same number.
        _down_and_up(rows[row], splits, trees, tree, number, ratios, counts, credit[row])


@inner_loop
def _down_and_up(
    x: Any,
    splits: Any,
    trees: Any,
    tree: int,
    number: Any,
    ratios: Any,
    counts: Any,
    credit: Any,
) -> None:
    """The same of one row, to `credit` (outputs, players)."""
    width = trees.value.shape[1]
    points = ratios.shape[2]
    size = trees.depth + 2
    way = _Upward(
        np.empty(size, np.int64),
        np.zeros(size, np.int64),
        np.zeros(size, np.int64),
        np.ones(size, np.int64),
        np.ones(trees.players, np.int64),
        np.ones((size, points)),
        np.zeros((size, width, points)),
    )
    output = trees.tree_output[tree]
    # A view of what this tree adds to: a forest may have a tree for each class.
    own = credit[output : output + width]
    way.node[0] = trees.roots[tree]
    # Of a type from the start: with a literal 0 what is called here would be compiled twice.
    top = np.int64(0)
    while top >= 0:
        node = way.node[top]
        if splits.feature[node] >= 0 and way.phase[top] < 2:
            _go_down(x, node, top, splits, trees, number, ratios, way)
            top += 1
            continue
        if splits.feature[node] < 0:
            for k in range(width):
                for at in range(points):
                    way.total[top, k, at] = trees.value[node, k] * way.product[top, at]
        if top > 0:
            _go_up(node, top, splits, trees, number, counts, way, own)
        top -= 1


@inner_loop
def _go_down(
    x: Any, node: int, top: int, splits: Any, trees: Any, number: Any, ratios: Any, way: Any
) -> None:
    """On to the next child of a node, and what the product is there."""
    asked = splits.feature[node]
    to_left = way.phase[top] == 0
    if to_left:
        # The arrays serve many nodes: the sums of an earlier one at this depth are cleared.
        way.total[top] = 0.0
    child = splits.left[node] if to_left else splits.right[node]
    way.phase[top] += 1
    player = trees.group[asked]
    passes = _left(x[asked], node, splits) == to_left
    way.node[top + 1] = child
    way.phase[top + 1] = 0
    way.was[top + 1] = way.state[player]
    # Who has failed one split on a feature has failed them all: later ones change r_j alone.
    case = 2 if way.state[player] == 0 else (0 if passes else 1)
    way.case[top + 1] = case
    way.state[player] = 1 if case == 0 else 0
    for at in range(ratios.shape[2]):
        way.product[top + 1, at] = way.product[top, at] * ratios[number[child], case, at]


@inner_loop
def _go_up(
    node: int, top: int, splits: Any, trees: Any, number: Any, counts: Any, way: Any, own: Any
) -> None:
    """What lies below a node counts for the feature that led to it, and goes on to its parent."""
    player = trees.group[splits.feature[trees.parent[node]]]
    for k in range(len(own)):
        added = 0.0
        for at in range(counts.shape[2]):
            below = way.total[top, k, at]
            added += below * counts[number[node], way.case[top], at]
            way.total[top - 1, k, at] += below
        own[k, player] += added
    # Above this edge x stands to the feature as it did before.
    way.state[player] = way.was[top]


@final
class _Pair(NamedTuple):
    """What a walk of a row and a background row holds."""

    node: Any
    phase: Any
    state: Any
    """(players,) 0: both have gone the same way so far; 1: x's way is gone; 2: the background row's."""
    sizes: Any
    """(2,) how many players are in states 1 and 2."""
    kept: Any
    lost: Any


_NEW, _FIRST_LEFT, _FIRST_RIGHT, _BOTH, _ALIKE = range(5)  # phases of a node


@inner_loop
def _turn(
    x: Any, b: Any, node: int, top: int, splits: Any, trees: Any, way: Any, credit: Any
) -> int:
    """The next child of a node to go to; -1 where it is done."""
    asked = splits.feature[node]
    player = trees.group[asked]
    phase = way.phase[top]
    if phase == _NEW:
        x_left = _left(x[asked], node, splits)
        b_left = _left(b[asked], node, splits)
        way.kept[top] = 0.0
        way.lost[top] = 0.0
        # A feature that is decided stays so: later splits on it follow the same of the two.
        goes_left = b_left if way.state[player] == 2 else x_left
        way.phase[top] = _ALIKE
        if x_left != b_left and way.state[player] == 0:
            # They part: first the way of x, then that of the background row.
            way.state[player] = 1
            way.sizes[0] += 1
            way.phase[top] = _FIRST_LEFT if x_left else _FIRST_RIGHT
        return int(splits.left[node] if goes_left else splits.right[node])
    if phase in (_FIRST_LEFT, _FIRST_RIGHT):
        # What x's way has brought is the player's; what the other way brings is counted from here.
        for k in range(len(credit)):
            credit[k, player] += way.kept[top, k] - way.lost[top, k]
        way.state[player] = 2
        way.sizes[0] -= 1
        way.sizes[1] += 1
        way.phase[top] = _BOTH
        return int(splits.right[node] if phase == _FIRST_LEFT else splits.left[node])
    # Both ways are done: the node leaves its feature as undecided as it found it.
    if phase == _BOTH:
        for k in range(len(credit)):
            credit[k, player] += way.lost[top, k]
        way.state[player] = 0
        way.sizes[1] -= 1
    return -1


@inner_loop
def _follow(
    x: Any,
    b: Any,
    root: int,
    splits: Any,
    trees: Any,
    shares: Any,
    weight: float,
    way: Any,
    credit: Any,
) -> None:
    """Adds the credit of one row and one background row in one tree to `credit` (width, players)."""
    width = trees.value.shape[1]
    # Of a type from the start: with a literal 0 what is called here would be compiled twice.
    top = np.int64(0)
    way.node[0] = root
    way.phase[0] = _NEW
    while top >= 0:
        node = way.node[top]
        child = -1
        if splits.feature[node] < 0:
            for k in range(width):
                # How many players are on either side is all that a leaf's share depends on.
                share = weight * trees.value[node, k]
                way.kept[top, k] = share * shares[0, way.sizes[0], way.sizes[1]]
                way.lost[top, k] = share * shares[1, way.sizes[0], way.sizes[1]]
        else:
            child = _turn(x, b, node, top, splits, trees, way, credit)
        if child >= 0:
            top += 1
            way.node[top] = child
            way.phase[top] = _NEW
            continue
        if top > 0:
            for k in range(width):
                way.kept[top - 1, k] += way.kept[top, k]
                way.lost[top - 1, k] += way.lost[top, k]
        top -= 1


@parallel_loop
def by_pairs(
    rows: Any, background: Any, own: bool, splits: Any, trees: Any, shares: Any, credit: Any
) -> None:
    """Adds the interventional credit of trees to `credit` (rows, outputs, players), pair by pair.

    background: (1 or rows, draws, features); `own` where each row has draws of its own.
    """
    for row in prange(len(rows)):
        mine = np.int64(row) if own else np.int64(0)
        _against(rows[row], background[mine], splits, trees, shares, credit[row])


@inner_loop
def _against(x: Any, background: Any, splits: Any, trees: Any, shares: Any, credit: Any) -> None:
    """The same of one row, to `credit` (outputs, players)."""
    width = trees.value.shape[1]
    size = trees.depth + 2
    way = _Pair(
        np.empty(size, np.int64),
        np.empty(size, np.int64),
        np.zeros(trees.players, np.int64),
        np.zeros(2, np.int64),
        np.zeros((size, width)),
        np.zeros((size, width)),
    )
    weight = 1.0 / len(background)
    for tree in range(len(trees.roots)):
        output = trees.tree_output[tree]
        added = credit[output : output + width]
        for draw in range(len(background)):
            root = trees.roots[tree]
            _follow(x, background[draw], root, splits, trees, shares, weight, way, added)
