"""Tables of credit: what each pattern of a cell is worth, and their sums over rows.

For one leaf with weight w, let its path use D distinct features; c_i says whether x passes every split
on feature i, b_i whether a background row does, r_i which share of the training rows does.

    path-dependent     phi_i = w (c_i - r_i) sum_t u_t prod_{j != i} ((1 - t) r_j + t c_j)
    interventional     phi_i = w [c_i] E_b[(p-1)! q! / (p+q)!; b has not-c and lacks i]   for i in c,
                       phi_i = -w E_b[p! (q-1)! / (p+q)!; b has not-c]                    for others,
                       p = D - |b|, q = D - |c|

The first is a Gauss-Legendre sum, exact for the polynomial of degree D - 1 that it stands for
(Wettenstein, Mitchell and Yu 2026); the second asks of the background how often each pattern b occurs,
and no more (Nadel and Wettenstein 2026). Both depend on a row by c alone: a table over c serves all rows.

This file is compiled by numba, and imported where trees are first explained.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from assay.methods.trees.compiling import inner_loop, parallel_loop
from assay.models.forests.forest import goes_left

_goes_left = inner_loop(goes_left)

# Rows that are worked on at once: their patterns take 2 KiB, which a near cache holds.
BLOCK = 1024


@inner_loop
def _node_bits(columns: Any, start: int, count: int, nodes: Any, splits: Any, bits: Any) -> None:
    """bits[k, row] = 1 where node k sends a row to the left."""
    for k in range(len(nodes)):
        node = nodes[k]
        column = columns[splits.feature[node], start : start + count]
        threshold = splits.threshold[node]
        out = bits[k]
        # Only such nodes take the general way: the loops below have no branch inside, so that
        # a compiler can work on several rows at once.
        if splits.category_start[node] >= 0 or splits.zero_missing[node]:
            for row in range(count):
                out[row] = _goes_left(
                    column[row],
                    threshold,
                    splits.default_left[node],
                    splits.zero_missing[node],
                    splits.category_start[node],
                    splits.category_words[node],
                    splits.category_bits,
                    splits.listed_left,
                )
        elif splits.default_left[node]:
            # NaN is not larger.
            for row in range(count):
                out[row] = not (column[row] > threshold)
        else:
            for row in range(count):
                out[row] = column[row] <= threshold


@inner_loop
def _patterns(cells: Any, cell: int, bits: Any, count: int, out: Any) -> None:
    """The pattern of each row of a block in a cell."""
    full = np.uint16((1 << cells.cell_bits[cell]) - 1)
    for row in range(count):
        out[row] = full
    for op in range(cells.op_start[cell], cells.op_start[cell + 1]):
        bit = np.uint16(cells.op_bit[op])
        goes = cells.op_left[op]
        node = bits[cells.op_node[op]]
        for row in range(count):
            # Cleared where the way differs from the one that is meant, without a branch.
            out[row] &= ~(np.uint16(node[row] ^ goes) << bit)


@parallel_loop
def histograms(columns: Any, splits: Any, cells: Any, first: int, last: int, start: Any) -> Any:
    """How often each pattern of each cell occurs among rows: flat, that of cell k from start[k] on.

    Of the trees from `first` to `last`, whose cells begin at `start[0]`.
    """
    counts = np.zeros(start[-1])
    base = cells.cell_of_tree[first]
    rows = columns.shape[1]
    for tree in prange(first, last):
        # A cell belongs to one tree, so that threads never count into the same place.
        nodes = cells.nodes[cells.node_of_tree[tree] : cells.node_of_tree[tree + 1]]
        bits = np.empty((len(nodes), BLOCK), np.uint8)
        pattern = np.empty(BLOCK, np.uint16)
        for at in range(0, rows, BLOCK):
            count = min(BLOCK, rows - at)
            _node_bits(columns, at, count, nodes, splits, bits)
            for cell in range(cells.cell_of_tree[tree], cells.cell_of_tree[tree + 1]):
                _patterns(cells, cell, bits, count, pattern)
                mine = counts[start[cell - base] :]
                for row in range(count):
                    mine[pattern[row]] += 1.0
    return counts


@inner_loop
def _leaf_patterns(cells: Any, leaf: int, bits: int, out: Any) -> None:
    """For each pattern of the cell, the pattern of the leaf's own features."""
    first = cells.slot_start[leaf]
    for pattern in range(1 << bits):
        mine = 0
        for slot in range(first, cells.slot_start[leaf + 1]):
            if pattern & cells.slot_mask[slot] == cells.slot_value[slot]:
                mine |= 1 << (slot - first)
        out[pattern] = mine


@inner_loop
def _by_path(ratios: Any, nodes: Any, weights: Any, order: int, products: Any, worth: Any) -> None:
    """The path-dependent worth of each pattern of a leaf of weight 1: (places, 2^D)."""
    players = len(ratios)
    for at in range(len(nodes)):
        t = nodes[at]
        # The products of all subsets, doubled player by player: those with j follow from those
        # without, which are scaled last, when they are needed no more.
        products[0, at] = weights[at]
        for j in range(players):
            absent = (1.0 - t) * ratios[j]
            for c in range(1 << j):
                products[c | (1 << j), at] = products[c, at] * (absent + t)
                products[c, at] *= absent
    place = 0
    for i in range(players):
        if order == 1:
            _integrals(ratios, nodes, i, i, products, worth[place])
            place += 1
        else:
            for j in range(i):
                _integrals(ratios, nodes, i, j, products, worth[place])
                place += 1


@inner_loop
def _integrals(ratios: Any, nodes: Any, i: int, j: int, products: Any, worth: Any) -> None:
    """(c_i - r_i) (c_j - r_j) times the integral of the others' product; i = j is one player alone.

    What i and j say is divided out where both are there: their factors are then t at least.
    """
    both = (1 << i) | (1 << j)
    for c in range(1 << len(ratios)):
        if c & both != both:
            continue
        total = 0.0
        for at in range(len(nodes)):
            t = nodes[at]
            factor = (1.0 - t) * ratios[i] + t
            if i != j:
                factor *= (1.0 - t) * ratios[j] + t
            total += products[c, at] / factor
        if i == j:
            worth[c] = (1.0 - ratios[i]) * total
            worth[c ^ both] = -ratios[i] * total
        else:
            worth[c] = (1.0 - ratios[i]) * (1.0 - ratios[j]) * total
            worth[c ^ (1 << i)] = -ratios[i] * (1.0 - ratios[j]) * total
            worth[c ^ (1 << j)] = -(1.0 - ratios[i]) * ratios[j] * total
            worth[c ^ both] = ratios[i] * ratios[j] * total


@inner_loop
def _sums_over_supersets(table: Any, players: int) -> None:
    """table[u] becomes the sum of table[b] over all b that contain u."""
    for j in range(players):
        # Player by player, d 2^d additions in the place of the 3^d of every sum by itself.
        step = 1 << j
        for u in range(1 << players):
            if u & step == 0:
                table[u] += table[u | step]


@inner_loop
def _size(pattern: int) -> int:
    count = 0
    while pattern:
        pattern &= pattern - 1
        count += 1
    return count


@inner_loop
def _by_background(frequency: Any, players: int, shares: Any, sums: Any, worth: Any) -> None:
    """The interventional worth of each pattern of a leaf of weight 1: (places, 2^D).

    shares (kinds, p, q): what a player who keeps x (kind 0) and one who does not (kind 1) get of a
    coalition of p and q; of pairs two who do, two who do not, and one of each.
    """
    full = (1 << players) - 1
    kinds = shares.shape[0]
    # A share depends on p, which the background row says, and on q, which the pattern says: the
    # sums for one q serve all patterns of that size.
    for q in range(players + 1):
        for kind in range(kinds):
            for b in range(full + 1):
                sums[kind, b] = frequency[b] * shares[kind, players - _size(b), q]
            _sums_over_supersets(sums[kind], players)
        for c in range(full + 1):
            if players - _size(c) == q:
                _share_out(c, full ^ c, players, sums, worth)


@inner_loop
def _share_out(c: int, u: int, players: int, sums: Any, worth: Any) -> None:
    """What each player, or pair of players, gets of pattern c, whose complement is u."""
    place = 0
    for i in range(players):
        i_there = (c >> i) & 1
        if sums.shape[0] == 2:
            # Background rows that lack i: all with not-c, less those that have i as well.
            if i_there:
                worth[place, c] = sums[0, u] - sums[0, u | (1 << i)]
            else:
                worth[place, c] = sums[1, u]
            place += 1
            continue
        for j in range(i):
            j_there = (c >> j) & 1
            if i_there and j_there:
                # Background rows that lack both, by inclusion and exclusion.
                alone = sums[0, u | (1 << i)] + sums[0, u | (1 << j)]
                worth[place, c] = sums[0, u] - alone + sums[0, u | (1 << i) | (1 << j)]
            elif not i_there and not j_there:
                worth[place, c] = sums[1, u]
            else:
                one = i if i_there else j
                worth[place, c] = sums[2, u] - sums[2, u | (1 << one)]
            place += 1


@inner_loop
def _place_of_pair(a: int, b: int) -> int:
    """Where a pair of players of a cell stands among its pairs."""
    return max(a, b) * (max(a, b) - 1) // 2 + min(a, b)


@inner_loop
def _add_leaf(
    cells: Any,
    leaf: int,
    values: Any,
    patterns: int,
    own: Any,
    worth: Any,
    order: int,
    table: Any,
) -> None:
    """Adds the worth of a leaf's patterns to the table (width, places, patterns) of its cell."""
    first = cells.slot_start[leaf]
    place = 0
    for i in range(cells.slot_start[leaf + 1] - first):
        for j in range(1 if order == 1 else i):
            at = cells.slot_player[first + i]
            if order == 2:
                at = _place_of_pair(at, cells.slot_player[first + j])
            for k in range(len(values)):
                if values[k] != 0.0:
                    row = table[k, at]
                    for pattern in range(patterns):
                        row[pattern] += values[k] * worth[place, own[pattern]]
            place += 1


@parallel_loop
def tables(
    cells: Any,
    first: int,
    last: int,
    start: Any,
    places: Any,
    value: Any,
    order: int,
    most: int,
    counts: Any,
    count_start: Any,
    shares: Any,
    nodes: Any,
    weights: Any,
) -> Any:
    """The credit of each pattern, flat: that of cell k from start[k] on, (width, places[k], patterns).

    With `counts` of patterns of a background (interventional), or none (path-dependent, by `nodes` and
    `weights` (D, D) of quadrature, a row for each number of players).
    """
    width = value.shape[1]
    table = np.zeros(start[-1])
    base = cells.cell_of_tree[first]
    interventional = len(counts) > 0
    for tree in prange(first, last):
        # Held by the thread of a tree, as large as any cell or leaf of it can ask for; a
        # pattern has 16 bits at most.
        own = np.empty(1 << 16, np.int64)
        size = 1 << most
        worth = np.empty((most * max(1, (most - 1) * (order - 1)) + 1, size))
        products = np.empty((size, (most + 1) // 2 + 1))
        frequency = np.empty(size)
        sums = np.empty((shares.shape[0], size))
        for cell in range(cells.cell_of_tree[tree], cells.cell_of_tree[tree + 1]):
            k = cell - base
            patterns = 1 << cells.cell_bits[cell]
            mine = table[start[k] : start[k] + width * places[k] * patterns].reshape(
                width, places[k], patterns
            )
            for leaf in range(cells.leaf_start[cell], cells.leaf_start[cell + 1]):
                begin = cells.slot_start[leaf]
                players = cells.slot_start[leaf + 1] - begin
                # A path of one player says nothing of pairs,
                # and a tree of one leaf nothing at all.
                if players < order:
                    continue
                _leaf_patterns(cells, leaf, cells.cell_bits[cell], own)
                if interventional:
                    frequency[: 1 << players] = 0.0
                    for pattern in range(patterns):
                        frequency[own[pattern]] += counts[count_start[k] + pattern]
                    _by_background(frequency, players, shares, sums, worth)
                else:
                    ratios = cells.slot_share[begin : begin + players]
                    # So many nodes of Gauss-Legendre are exact for the degree players - 1.
                    half = (players + 1) // 2
                    # Banzhaf's polynomial is read at one point (`solving._points`).
                    if shares.shape[1] == 1:
                        half = 1
                    _by_path(
                        ratios, nodes[half, :half], weights[half, :half], order, products, worth
                    )
                _add_leaf(cells, leaf, value[cells.leaf[leaf]], patterns, own, worth, order, mine)
    return table


@parallel_loop
def add_up(
    columns: Any,
    splits: Any,
    cells: Any,
    first: int,
    last: int,
    start: Any,
    table: Any,
    target_start: Any,
    target: Any,
    tree_output: Any,
    width: int,
    credit: Any,
) -> None:
    """Adds the credit of every row to `credit` (outputs, targets, rows).

    target: which row of credit each place of a cell's table belongs to.
    """
    rows = columns.shape[1]
    base = cells.cell_of_tree[first]
    for block in prange((rows + BLOCK - 1) // BLOCK):
        # Here threads take rows: a row is added to by one thread, tree after tree, so that sums
        # are rounded alike however many threads there are.
        at = block * BLOCK
        count = min(BLOCK, rows - at)
        most = 0
        for tree in range(first, last):
            most = max(most, cells.node_of_tree[tree + 1] - cells.node_of_tree[tree])
        bits = np.empty((most, BLOCK), np.uint8)
        pattern = np.empty(BLOCK, np.uint16)
        for tree in range(first, last):
            nodes = cells.nodes[cells.node_of_tree[tree] : cells.node_of_tree[tree + 1]]
            _node_bits(columns, at, count, nodes, splits, bits)
            for cell in range(cells.cell_of_tree[tree], cells.cell_of_tree[tree + 1]):
                _patterns(cells, cell, bits, count, pattern)
                offset = start[cell - base]
                size = 1 << cells.cell_bits[cell]
                for k in range(width):
                    for place in range(target_start[cell - base], target_start[cell - base + 1]):
                        mine = table[offset : offset + size]
                        out = credit[tree_output[tree] + k, target[place], at : at + count]
                        for row in range(count):
                            out[row] += mine[pattern[row]]
                        offset += size
