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

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True)
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


@njit(cache=True)
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


@njit(cache=True)
def sizes(roots: Any, feature: Any, left: Any, right: Any, above: Any, below: Any, bits: Any) -> Any:
    """How many cells, path splits, inner nodes and leaf features a cut of trees has at most."""
    cells = 0
    leaves = 0
    inner = 0
    stack = np.empty(len(feature) + 1, np.int64)
    for tree in range(len(roots)):
        top = 0
        stack[0] = roots[tree]
        while top >= 0:
            node = stack[top]
            top -= 1
            if feature[node] >= 0:
                inner += 1
            else:
                leaves += 1
            # Cells are counted below as the nodes at which a cut may begin.
            if above[node] + below[node] <= bits[tree]:
                cells += 1
            if feature[node] >= 0:
                top += 1
                stack[top] = left[node]
                top += 1
                stack[top] = right[node]
    return cells, leaves, inner


@njit(cache=True)
def cut(
    roots: Any,
    feature: Any,
    left: Any,
    right: Any,
    share: Any,
    group: Any,
    players: int,
    parent: Any,
    above: Any,
    below: Any,
    bits: Any,
    longest: Any,
) -> Any:
    """The cells of trees, as flat arrays.

    bits (trees,): how many a cell of a tree may have; at least the most distinct players of a path.

    Returns, tree by tree and cell by cell:
        cell_of_tree (trees + 1,): where the cells of a tree begin.
        node_of_tree (trees + 1,), nodes: where the inner nodes of a tree begin, and which they are.
        cell_bits (cells,): how many bits a cell's pattern has.
        op_start (cells + 1,), op_bit, op_node, op_left: splits that clear a bit of the pattern if the
            row does not go the way that is meant; nodes are numbered within their tree.
        player_start (cells + 1,), player: the players of a cell.
        leaf_start (cells + 1,), leaf: the leaves of a cell.
        slot_start (leaves + 1,), slot_player, slot_mask, slot_value, slot_share: the distinct players
            on a leaf's path, by their place among those of the cell; what bits must be; the share of
            training rows that pass.
    """
    trees = len(roots)
    cells, leaves, inner = sizes(roots, feature, left, right, above, below, bits)
    deepest = 0
    for tree in range(trees):
        deepest = max(deepest, longest[tree])
    cell_of_tree = np.zeros(trees + 1, np.int64)
    node_of_tree = np.zeros(trees + 1, np.int64)
    nodes = np.empty(inner, np.int64)
    cell_bits = np.empty(cells, np.int64)
    op_start = np.zeros(cells + 1, np.int64)
    most_ops = inner
    most_slots = 0
    for tree in range(trees):
        most_slots += (below[roots[tree]] + 1) * min(longest[tree], bits[tree])
        most_ops += (below[roots[tree]] + 1) * longest[tree]
    op_bit = np.empty(most_ops, np.int64)
    op_node = np.empty(most_ops, np.int64)
    op_left = np.empty(most_ops, np.uint8)
    player_start = np.zeros(cells + 1, np.int64)
    player = np.empty(most_slots + inner, np.int64)
    leaf_start = np.zeros(cells + 1, np.int64)
    leaf = np.empty(leaves, np.int64)
    slot_start = np.zeros(leaves + 1, np.int64)
    slot_player = np.empty(most_slots, np.int64)
    slot_mask = np.empty(most_slots, np.int64)
    slot_value = np.empty(most_slots, np.int64)
    slot_share = np.empty(most_slots)

    local = np.full(len(feature), -1, np.int64)
    bit_of = np.full(len(feature), -1, np.int64)
    place = np.full(players, -1, np.int64)
    path_bit = np.full(players, -1, np.int64)
    slot_of = np.full(players, -1, np.int64)
    stack = np.empty(len(feature) + 1, np.int64)
    inside = np.empty(len(feature) + 1, np.int64)
    cell = 0
    leaf_count = 0
    op = 0
    slot = 0
    player_count = 0
    node_count = 0
    for tree in range(trees):
        first = node_count
        # Inner nodes are numbered in the order of a walk.
        top = 0
        stack[0] = roots[tree]
        while top >= 0:
            node = stack[top]
            top -= 1
            if feature[node] < 0:
                continue
            local[node] = node_count - first
            nodes[node_count] = node
            node_count += 1
            top += 1
            stack[top] = right[node]
            top += 1
            stack[top] = left[node]
        node_of_tree[tree + 1] = node_count
        top = 0
        stack[0] = roots[tree]
        while top >= 0:
            root = stack[top]
            top -= 1
            if above[root] + below[root] > bits[tree]:
                top += 1
                stack[top] = right[root]
                top += 1
                stack[top] = left[root]
                continue
            # --- the bits of the path
            here = player_count
            bit = 0
            child = root
            node = parent[root]
            while child != roots[tree]:
                who = group[feature[node]]
                if path_bit[who] < 0:
                    path_bit[who] = bit
                    place[who] = player_count - here
                    player[player_count] = who
                    player_count += 1
                    bit += 1
                op_bit[op] = path_bit[who]
                op_node[op] = local[node]
                op_left[op] = 1 if left[node] == child else 0
                op += 1
                child = node
                node = parent[node]
            # --- the bits of the nodes inside, and the leaves
            low = 0
            inside[0] = root
            while low >= 0:
                node = inside[low]
                low -= 1
                if feature[node] < 0:
                    leaf[leaf_count] = node
                    # From the leaf to the root, player by player.
                    began = slot
                    child = node
                    while child != roots[tree]:
                        up = parent[child]
                        who = group[feature[up]]
                        goes_left = 1 if left[up] == child else 0
                        if slot_of[who] < began:
                            slot_of[who] = slot
                            slot_player[slot] = place[who]
                            slot_mask[slot] = 0
                            slot_value[slot] = 0
                            slot_share[slot] = 1.0
                            slot += 1
                        mine = slot_of[who]
                        slot_share[mine] *= share[child]
                        if bit_of[up] >= 0:
                            slot_mask[mine] |= 1 << bit_of[up]
                            slot_value[mine] |= goes_left << bit_of[up]
                        else:
                            slot_mask[mine] |= 1 << path_bit[who]
                            slot_value[mine] |= 1 << path_bit[who]
                        child = up
                    leaf_count += 1
                    slot_start[leaf_count] = slot
                    continue
                who = group[feature[node]]
                if place[who] < 0:
                    place[who] = player_count - here
                    player[player_count] = who
                    player_count += 1
                bit_of[node] = bit
                op_bit[op] = bit
                op_node[op] = local[node]
                op_left[op] = 1
                op += 1
                bit += 1
                low += 1
                inside[low] = right[node]
                low += 1
                inside[low] = left[node]
            for at in range(here, player_count):
                place[player[at]] = -1
                path_bit[player[at]] = -1
            cell_bits[cell] = bit
            cell += 1
            op_start[cell] = op
            player_start[cell] = player_count
            leaf_start[cell] = leaf_count
        cell_of_tree[tree + 1] = cell
    return (
        cell_of_tree,
        node_of_tree,
        nodes,
        cell_bits[:cell].copy(),
        op_start[: cell + 1].copy(),
        op_bit[:op].copy(),
        op_node[:op].copy(),
        op_left[:op].copy(),
        player_start[: cell + 1].copy(),
        player[:player_count].copy(),
        leaf_start[: cell + 1].copy(),
        leaf,
        slot_start,
        slot_player[:slot].copy(),
        slot_mask[:slot].copy(),
        slot_value[:slot].copy(),
        slot_share[:slot].copy(),
    )
