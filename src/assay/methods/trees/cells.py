"""Trees cut into cells: subtrees whose decisions, with those that lead to them, fit in a few bits.

The credit that a row gets from a subtree depends on two things: which features of the path above keep
to the path (a bit each, set where the row passes every split on that feature), and where each node of
the subtree sends the row (a bit each). A cell is a largest subtree for which these are at most `most`
bits; its pattern is their number. What a leaf of the cell asks of a feature is then a mask of bits and
the value that they must have.

    pattern bit k < path features     all splits of the path on feature k are passed
    pattern bit of an inner node      the row goes to its left

This file is compiled by numba, and imported where trees are first explained.
"""

from __future__ import annotations

from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from assay.methods.trees.compiling import inner_loop, loop

Whole = NDArray[np.int64]


@final
class Trees(NamedTuple):
    """What is cut: nodes, shares of training rows, players, what `survey` found, and how many bits a
    cell of each tree may have (at least the most distinct players of a path).
    """

    roots: Whole
    feature: Whole
    left: Whole
    right: Whole
    share: NDArray[np.float64]
    group: Whole
    parent: Whole
    above: Whole
    below: Whole
    bits: Whole


@final
class Cells(NamedTuple):
    """The cells of trees, tree by tree, as flat arrays.

    Fields:
        cell_of_tree: (trees + 1,) where the cells of a tree begin.
        node_of_tree, nodes: (trees + 1,) where the inner nodes of a tree begin, and which they are.
        cell_bits: (cells,) how many bits a cell's pattern has.
        op_start, op_bit, op_node, op_left: splits that clear a bit of the pattern if the row does not
            go the way that is meant; nodes are numbered within their tree.
        player_start, player: the players of a cell.
        leaf_start, leaf: the leaves of a cell.
        slot_start, slot_player, slot_mask, slot_value, slot_share: the distinct players of a leaf's
            path, by their place among those of the cell; which bits must have which value; the share
            of training rows that pass.
    """

    cell_of_tree: Whole
    node_of_tree: Whole
    nodes: Whole
    cell_bits: Whole
    op_start: Whole
    op_bit: Whole
    op_node: Whole
    op_left: NDArray[np.uint8]
    player_start: Whole
    player: Whole
    leaf_start: Whole
    leaf: Whole
    slot_start: Whole
    slot_player: Whole
    slot_mask: Whole
    slot_value: Whole
    slot_share: NDArray[np.float64]


@final
class Scratch(NamedTuple):
    """What is noted while trees are cut; -1 where nothing is."""

    number: Whole
    """(nodes,) the number of an inner node in its tree"""
    bit: Whole
    """(nodes,) the bit of a node inside a cell"""
    place: Whole
    """(players,) where a player stands among those of the cell"""
    path_bit: Whole
    """(players,) the bit of a player of the cell's path"""
    slot: Whole
    """(players,) the last slot of a player"""
    stack: Whole
    inside: Whole
    done: Whole
    """How many cells, leaves, splits, slots, players and nodes there are so far."""


CELLS, LEAVES, OPS, SLOTS, PLAYERS, NODES = range(6)


@loop
def survey(
    roots: Any,
    feature: Any,
    left: Any,
    right: Any,
    group: Any,
    players: int,
) -> Any:
    """What trees are like: per tree inner nodes, longest path, most distinct players on a path; per
    node its parent, the distinct players above it, and the inner nodes below it (itself included).
    """
    trees = len(roots)
    nodes = len(feature)
    inner = np.zeros(trees, np.int64)
    longest = np.zeros(trees, np.int64)
    most = np.zeros(trees, np.int64)
    parent = np.full(nodes, -1, np.int64)
    above = np.zeros(nodes, np.int64)
    below = np.zeros(nodes, np.int64)
    count = np.zeros(players, np.int64)
    stack = np.empty(nodes + 1, np.int64)
    # A stack of its own in the place of recursion, which compiled code has little room for.
    # The phase of a node says how many of its children were begun: 0, 1 or 2.
    phase = np.empty(nodes + 1, np.int8)
    for tree in range(trees):
        top = 0
        stack[0] = roots[tree]
        phase[0] = 0
        distinct = 0
        while top >= 0:
            node = stack[top]
            if phase[top] == 0:
                above[node] = distinct
            if feature[node] < 0:
                longest[tree] = max(longest[tree], top)
                most[tree] = max(most[tree], distinct)
                top -= 1
                continue
            player = group[feature[node]]
            if phase[top] == 2:
                # Both children are done: the node is left.
                count[player] -= 1
                if count[player] == 0:
                    distinct -= 1
                below[node] = 1 + below[left[node]] + below[right[node]]
                top -= 1
                continue
            child = left[node]
            if phase[top] == 0:
                inner[tree] += 1
                # A player may split several times on a path: it is distinct the first time alone.
                count[player] += 1
                if count[player] == 1:
                    distinct += 1
            else:
                child = right[node]
            phase[top] += 1
            parent[child] = node
            top += 1
            stack[top] = child
            phase[top] = 0
    return inner, longest, most, parent, above, below


@loop
def shares(left: Any, right: Any, feature: Any, cover: Any) -> Any:
    """(nodes,) the share of its parent's training weight that came to a node; a half each where
    none came.
    """
    share = np.ones(len(feature))
    for node in range(len(feature)):
        if feature[node] < 0:
            continue
        both = cover[left[node]] + cover[right[node]]
        if both > 0:
            share[left[node]] = cover[left[node]] / both
            share[right[node]] = cover[right[node]] / both
        else:
            share[left[node]] = 0.5
            share[right[node]] = 0.5
    return share


def cut(trees: Trees, players: int, longest: Whole) -> Cells:
    """The cells of trees whose longest paths have `longest` splits (trees,)."""
    # Compiled loops cannot let arrays grow: all are held at the most that they can need, and cut to
    # size afterwards. A tree of k inner nodes has k + 1 leaves, and no more cells than leaves.
    leaves = trees.below[trees.roots] + 1
    inner = int(trees.below[trees.roots].sum())
    count = int(leaves.sum())
    paths = int((leaves * longest).sum())
    # A path has no more distinct players than splits, and a tree has a bit for each of them.
    slots = int((leaves * np.minimum(longest, trees.bits)).sum())

    def whole(size: int) -> Whole:
        return np.zeros(size, np.int64)

    cells = Cells(
        cell_of_tree=whole(len(leaves) + 1),
        node_of_tree=whole(len(leaves) + 1),
        nodes=whole(inner),
        cell_bits=whole(count),
        op_start=whole(count + 1),
        op_bit=whole(paths + inner),
        op_node=whole(paths + inner),
        op_left=np.zeros(paths + inner, np.uint8),
        player_start=whole(count + 1),
        player=whole(paths + inner),
        leaf_start=whole(count + 1),
        leaf=whole(count),
        slot_start=whole(count + 1),
        slot_player=whole(slots),
        slot_mask=whole(slots),
        slot_value=whole(slots),
        slot_share=np.zeros(slots),
    )
    nodes = len(trees.feature)
    scratch = Scratch(
        number=whole(nodes) - 1,
        bit=whole(nodes) - 1,
        place=whole(players) - 1,
        path_bit=whole(players) - 1,
        slot=whole(players) - 1,
        stack=whole(nodes + 1),
        inside=whole(nodes + 1),
        done=whole(6),
    )
    _cut(trees, cells, scratch)
    return _trimmed(cells, scratch.done.tolist())


def _trimmed(cells: Cells, done: list[int]) -> Cells:
    """The same without what was held free."""
    ops, slots = done[OPS], done[SLOTS]
    sizes = {
        "cell_bits": done[CELLS],
        "op_start": done[CELLS] + 1,
        "player_start": done[CELLS] + 1,
        "leaf_start": done[CELLS] + 1,
        "player": done[PLAYERS],
        **dict.fromkeys(("op_bit", "op_node", "op_left"), ops),
        **dict.fromkeys(("slot_player", "slot_mask", "slot_value", "slot_share"), slots),
    }
    return cells._replace(**{name: getattr(cells, name)[:size] for name, size in sizes.items()})


@loop
def _cut(trees: Any, cells: Any, scratch: Any) -> None:
    done, stack = scratch.done, scratch.stack
    for tree in range(len(trees.roots)):
        _number_nodes(trees, tree, cells, scratch)
        top = 0
        stack[0] = trees.roots[tree]
        while top >= 0:
            node = stack[top]
            # From the root down: the first subtree that fits is the largest one. A leaf always
            # fits, since a tree has bits for the most distinct players of a path.
            if trees.above[node] + trees.below[node] <= trees.bits[tree]:
                _add_cell(trees, trees.roots[tree], node, cells, scratch)
                top -= 1
                continue
            stack[top] = trees.right[node]
            top += 1
            stack[top] = trees.left[node]
        cells.cell_of_tree[tree + 1] = done[CELLS]


@inner_loop
def _number_nodes(trees: Any, tree: int, cells: Any, scratch: Any) -> None:
    """Numbers the inner nodes of a tree in the order of a walk."""
    done, stack = scratch.done, scratch.stack
    first = done[NODES]
    top = 0
    stack[0] = trees.roots[tree]
    while top >= 0:
        node = stack[top]
        if trees.feature[node] < 0:
            top -= 1
            continue
        scratch.number[node] = done[NODES] - first
        cells.nodes[done[NODES]] = node
        done[NODES] += 1
        stack[top] = trees.right[node]
        top += 1
        stack[top] = trees.left[node]
    cells.node_of_tree[tree + 1] = done[NODES]


@inner_loop
def _add_cell(trees: Any, root: int, first: int, cells: Any, scratch: Any) -> None:
    """The cell of the subtree that begins at `first`."""
    done, inside = scratch.done, scratch.inside
    here = done[PLAYERS]
    bits = _path_bits(trees, root, first, cells, scratch)
    top = 0
    inside[0] = first
    while top >= 0:
        node = inside[top]
        if trees.feature[node] < 0:
            _add_leaf(trees, root, node, cells, scratch)
            top -= 1
            continue
        _member(trees.group[trees.feature[node]], here, cells, scratch)
        scratch.bit[node] = bits
        # Not the literal 1, of a type of its own, for which it would be compiled again.
        _add_split(bits, scratch.number[node], np.int64(1), cells, done)
        bits += 1
        inside[top] = trees.right[node]
        top += 1
        inside[top] = trees.left[node]
    # Scratch serves all cells: what this one has marked is taken back, and no more is touched.
    for at in range(here, done[PLAYERS]):
        scratch.place[cells.player[at]] = -1
        scratch.path_bit[cells.player[at]] = -1
    cells.cell_bits[done[CELLS]] = bits
    done[CELLS] += 1
    cells.op_start[done[CELLS]] = done[OPS]
    cells.player_start[done[CELLS]] = done[PLAYERS]
    cells.leaf_start[done[CELLS]] = done[LEAVES]


@inner_loop
def _member(player: int, here: int, cells: Any, scratch: Any) -> None:
    """Makes a player one of the cell whose players begin at `here`."""
    if scratch.place[player] < 0:
        scratch.place[player] = scratch.done[PLAYERS] - here
        cells.player[scratch.done[PLAYERS]] = player
        scratch.done[PLAYERS] += 1


@inner_loop
def _add_split(bit: int, number: int, left: int, cells: Any, done: Any) -> None:
    cells.op_bit[done[OPS]] = bit
    cells.op_node[done[OPS]] = number
    cells.op_left[done[OPS]] = left
    done[OPS] += 1


@inner_loop
def _path_bits(trees: Any, root: int, first: int, cells: Any, scratch: Any) -> int:
    """A bit for each player of the path above a cell; returns how many they are."""
    here = scratch.done[PLAYERS]
    bits = 0
    child = first
    while child != root:
        node = trees.parent[child]
        player = trees.group[trees.feature[node]]
        _member(player, here, cells, scratch)
        if scratch.path_bit[player] < 0:
            scratch.path_bit[player] = bits
            bits += 1
        left = 1 if trees.left[node] == child else 0
        _add_split(scratch.path_bit[player], scratch.number[node], left, cells, scratch.done)
        child = node
    return bits


@inner_loop
def _add_leaf(trees: Any, root: int, leaf: int, cells: Any, scratch: Any) -> None:
    """The distinct players on the way from a leaf to the root, and what they have to do."""
    done = scratch.done
    began = done[SLOTS]
    child = leaf
    while child != root:
        node = trees.parent[child]
        player = trees.group[trees.feature[node]]
        # Slots of earlier leaves have smaller numbers: nothing has to be cleared between leaves.
        if scratch.slot[player] < began:
            scratch.slot[player] = done[SLOTS]
            cells.slot_player[done[SLOTS]] = scratch.place[player]
            cells.slot_share[done[SLOTS]] = 1.0
            done[SLOTS] += 1
        slot = scratch.slot[player]
        # Several splits on one player are passed together or not at all: their shares multiply.
        cells.slot_share[slot] *= trees.share[child]
        # Inside the cell each node has a bit of its own, set where the row goes left; above it
        # a player has one for all its splits, set where the row passes every one of them.
        bit, value = scratch.bit[node], 1
        if bit < 0:
            bit = scratch.path_bit[player]
        elif trees.left[node] != child:
            value = 0
        cells.slot_mask[slot] |= 1 << bit
        cells.slot_value[slot] |= value << bit
        child = node
    cells.leaf[done[LEAVES]] = leaf
    done[LEAVES] += 1
    cells.slot_start[done[LEAVES]] = done[SLOTS]
