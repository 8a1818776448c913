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

from typing import Any

import numpy as np
from numba import njit, prange

from assay.models.forests.forest import goes_left

_goes_left = njit(cache=True)(goes_left)


@njit(cache=True)
def _left(x: float, node: int, splits: Any) -> bool:
    return _goes_left(
        x,
        splits.threshold[node],
        splits.default_left[node],
        splits.zero_missing[node],
        splits.category_start[node],
        splits.category_words[node],
        splits.category_bits,
        splits.listed_left,
    )


@njit(cache=True)
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


@njit(cache=True)
def _factor(present: int, ratio: float, t: float) -> float:
    return (1.0 - t) * ratio + t * present


@njit(cache=True)
def _over(number: float, factor: float) -> float:
    """A quotient, and 0 where the factor is: whatever it divides is then 0 as well."""
    return number / factor if factor > 0.0 else 0.0


@njit(cache=True)
def factors(node: int, before: Any, after: Any, repeated: Any, t: Any, u: Any) -> Any:
    """Of an edge, for each of three cases: by what the product grows, and what its sum below counts.

    The cases: x passes; x fails here for the first time; x has failed the feature before.
    """
    ratio = np.empty((3, len(t)))
    count = np.empty((3, len(t)))
    for case in range(3):
        was = 0 if case == 2 else 1
        now = 1 if case == 0 else 0
        for k in range(len(t)):
            old = _factor(was, before[node], t[k])
            new = _factor(now, after[node], t[k])
            ratio[case, k] = _over(new, old)
            count[case, k] = u[k] * _over(now - after[node], new)
            if repeated[node]:
                count[case, k] -= u[k] * _over(was - before[node], old)
    return ratio, count


@njit(cache=True)
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
    ratios = np.ones((count, 3, len(t)))
    counts = np.zeros((count, 3, len(t)))
    for at in range(1, count):
        ratio, counted = factors(nodes[at], before, after, repeated, t, u)
        ratios[at] = ratio
        counts[at] = counted
    return number, ratios, counts


@njit(cache=True, parallel=True)
def by_quadrature(
    rows: Any,
    splits: Any,
    root: int,
    depth: int,
    value: Any,
    group: Any,
    players: int,
    number: Any,
    ratios: Any,
    counts: Any,
    parent: Any,
    output: int,
    credit: Any,
) -> None:
    """Adds the path-dependent credit of one tree to `credit` (outputs, players, rows)."""
    width = value.shape[1]
    points = ratios.shape[2]
    for row in prange(len(rows)):
        x = rows[row]
        state = np.ones(players, np.int64)
        stack = np.empty(depth + 2, np.int64)
        phase = np.zeros(depth + 2, np.int64)
        case = np.zeros(depth + 2, np.int64)
        was = np.ones(depth + 2, np.int64)
        product = np.ones((depth + 2, points))
        total = np.zeros((depth + 2, width, points))
        stack[0] = root
        top = 0
        while top >= 0:
            node = stack[top]
            asked = splits.feature[node]
            if asked < 0:
                for k in range(width):
                    for at in range(points):
                        total[top, k, at] = value[node, k] * product[top, at]
            elif phase[top] < 2:
                if phase[top] == 0:
                    total[top] = 0.0
                to_left = phase[top] == 0
                child = splits.left[node] if to_left else splits.right[node]
                phase[top] += 1
                player = group[asked]
                passes = _left(x[asked], node, splits) == to_left
                top += 1
                stack[top] = child
                phase[top] = 0
                was[top] = state[player]
                case[top] = 2 if was[top] == 0 else (0 if passes else 1)
                state[player] = 1 if case[top] == 0 else 0
                edge = number[child]
                for at in range(points):
                    product[top, at] = product[top - 1, at] * ratios[edge, case[top], at]
                continue
            # The node is done: what lies below it counts for the feature that led here.
            if top > 0:
                player = group[splits.feature[parent[node]]]
                edge = number[node]
                for k in range(width):
                    added = 0.0
                    for at in range(points):
                        below = total[top, k, at]
                        added += below * counts[edge, case[top], at]
                        total[top - 1, k, at] += below
                    credit[output + k, player, row] += added
                state[player] = was[top]
            top -= 1


@njit(cache=True)
def _follow(
    x: Any,
    b: Any,
    splits: Any,
    root: int,
    value: Any,
    group: Any,
    shares: Any,
    weight: float,
    state: Any,
    stack: Any,
    phase: Any,
    kept: Any,
    lost: Any,
    output: int,
    credit: Any,
) -> None:
    """Adds the credit of one row and one background row in one tree to `credit` (outputs, players)."""
    width = value.shape[1]
    top = 0
    p = 0
    q = 0
    stack[0] = root
    phase[0] = 0
    while top >= 0:
        node = stack[top]
        asked = splits.feature[node]
        if asked < 0:
            for k in range(width):
                kept[top, k] = weight * value[node, k] * shares[0, p, q]
                lost[top, k] = weight * value[node, k] * shares[1, p, q]
        else:
            player = group[asked]
            child = -1
            if phase[top] == 0:
                x_left = _left(x[asked], node, splits)
                b_left = _left(b[asked], node, splits)
                kept[top] = 0.0
                lost[top] = 0.0
                if x_left == b_left or state[player] == 1:
                    child = splits.left[node] if x_left else splits.right[node]
                    phase[top] = 3
                elif state[player] == 2:
                    child = splits.left[node] if b_left else splits.right[node]
                    phase[top] = 3
                else:
                    # They part: first the way of x, then that of the background row.
                    state[player] = 1
                    p += 1
                    child = splits.left[node] if x_left else splits.right[node]
                    phase[top] = 1 if x_left else -1
            elif phase[top] == 1 or phase[top] == -1:
                for k in range(width):
                    credit[output + k, player] += kept[top, k]
                state[player] = 2
                p -= 1
                q += 1
                child = splits.right[node] if phase[top] == 1 else splits.left[node]
                phase[top] = 2
                # What the second way brings is told apart from what the first one brought.
                for k in range(width):
                    credit[output + k, player] -= lost[top, k]
            elif phase[top] == 2:
                for k in range(width):
                    credit[output + k, player] += lost[top, k]
                state[player] = 0
                q -= 1
            if child >= 0:
                top += 1
                stack[top] = child
                phase[top] = 0
                continue
        if top > 0:
            for k in range(width):
                kept[top - 1, k] += kept[top, k]
                lost[top - 1, k] += lost[top, k]
        top -= 1


@njit(cache=True, parallel=True)
def by_pairs(
    rows: Any,
    background: Any,
    own: bool,
    splits: Any,
    roots: Any,
    depth: int,
    value: Any,
    tree_output: Any,
    group: Any,
    players: int,
    shares: Any,
    credit: Any,
) -> None:
    """Adds the interventional credit of trees to `credit` (rows, outputs, players), pair by pair.

    background: (1 or rows, draws, features); `own` where each row has draws of its own.
    """
    width = value.shape[1]
    draws = background.shape[1]
    for row in prange(len(rows)):
        mine = np.int64(row) if own else np.int64(0)
        state = np.zeros(players, np.int64)
        stack = np.empty(depth + 2, np.int64)
        phase = np.empty(depth + 2, np.int64)
        kept = np.zeros((depth + 2, width))
        lost = np.zeros((depth + 2, width))
        for tree in range(len(roots)):
            for draw in range(draws):
                _follow(
                    rows[row],
                    background[mine, draw],
                    splits,
                    roots[tree],
                    value,
                    group,
                    shares,
                    1.0 / draws,
                    state,
                    stack,
                    phase,
                    kept,
                    lost,
                    tree_output[tree],
                    credit[row],
                )
