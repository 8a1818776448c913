"""Shapley values of a forest on plain arrays: which trees go by tables, which by walks, piece by piece.

Tables serve all rows and any background, and grow with 2^features of a path; walks grow with rows (and
with rows times background rows), and with no power of anything. Each tree goes the way that is
expected to take less time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from threading import Lock
from typing import Any, Literal, NamedTuple, TypeAlias, final

import numpy as np
import torch
from numpy.typing import NDArray

from assay.errors import InputError
from assay.models.forests.forest import Booleans, Floats, Forest, Integers

Index: TypeAlias = Literal["shapley", "banzhaf"]

MOST_BITS = 14  # of a pattern: tables of 2^14 entries for each feature of a cell
_FEW_BITS = 7  # cells of as many bits are small enough to be looked up from a near cache
_MANY_BITS = 9
_MANY_ROWS = 50_000  # from which larger tables are made up for by fewer lookups
_HELD = 1 << 23  # numbers of tables held at once: 64 MiB

_LOOKUP = 0.8e-9  # seconds for one lookup in a table
_STEP = 1.0e-9  # for one step of arithmetic on a table
_NODE = 8.0e-9  # for a node that a walk comes by
_POINT = 0.6e-9  # for a quadrature node there

_ONE_AT_A_TIME = Lock()  # numba's threads may not be asked from two threads at once


@final
class Splits(NamedTuple):
    """What `goes_left` asks of the nodes of a forest."""

    feature: Integers
    threshold: Floats
    left: Integers
    right: Integers
    default_left: Booleans
    zero_missing: Booleans
    category_start: Integers
    category_words: Integers
    category_bits: NDArray[np.uint64]
    listed_left: bool


@final
@dataclass(frozen=True, eq=False)
class Game:
    """What is asked of a forest: whose credit, of which game, in which measure.

    Settings:
        forest: the trees.
        group: (features,) the player that each feature of the forest belongs to.
        players: how many players there are.
        index: "shapley" or "banzhaf".
        order: 1 for players, 2 for pairs of them.
    """

    forest: Forest
    group: Integers
    players: int
    index: Index = "shapley"
    order: int = 1

    @property
    def targets(self) -> int:
        """Numbers of credit for each row and output."""
        if self.order == 1:
            return self.players
        return self.players * (self.players - 1) // 2

    @cached_property
    def splits(self) -> Splits:
        """The forest's nodes for compiled loops."""
        forest = self.forest
        return Splits(*(getattr(forest, name) for name in Splits._fields))

    @cached_property
    def survey(self) -> tuple[Integers, ...]:
        """What the trees are like, see `cells.survey`."""
        from assay.methods.trees.cells import survey

        forest = self.forest
        found: tuple[Integers, ...] = survey(
            forest.roots, forest.feature, forest.left, forest.right, self.group, self.players
        )
        return found

    @cached_property
    def share(self) -> Floats:
        """(nodes,) the share of its parent's training weight that a node has."""
        from assay.methods.trees.cells import shares

        forest = self.forest
        found: Floats = shares(forest.left, forest.right, forest.feature, forest.cover)
        return found

    def coalition_shares(self) -> Floats:
        """(kinds, p, q) what a player, or a pair, gets where p players keep x and q do not, of all
        `most` players of a path.
        """
        most = int(self.survey[2].max(initial=0)) + 1
        p, q = np.meshgrid(np.arange(most + 1), np.arange(most + 1), indexing="ij")
        if self.index == "banzhaf":
            # Every coalition of the other players weighs the same, however large it is.
            alike = 0.5 ** np.maximum(p + q - self.order, 0)
            kinds = [(p >= self.order, alike), (q >= self.order, (-1) ** self.order * alike)]
            if self.order == 2:
                kinds.append(((p > 0) & (q > 0), -alike))
            return np.stack([np.where(where, share, 0.0) for where, share in kinds])
        if self.order == 1:
            kinds = [(p > 0, _beta(p, q + 1)), (q > 0, -_beta(p + 1, q))]
        else:
            kinds = [
                (p > 1, _beta(p - 1, q + 1)),
                (q > 1, _beta(p + 1, q - 1)),
                ((p > 0) & (q > 0), -_beta(p, q)),
            ]
        return np.stack([np.where(where, share, 0.0) for where, share in kinds])

    def quadrature(self, points: int) -> tuple[Floats, Floats]:
        """Nodes and weights on [0, 1]; Banzhaf's game is the polynomial at one half."""
        if self.index == "banzhaf":
            return np.array([0.5]), np.array([1.0])
        nodes, weights = np.polynomial.legendre.leggauss(points)
        return (nodes + 1) / 2, weights / 2


def _beta(a: Any, b: Any) -> Floats:
    """(a - 1)! (b - 1)! / (a + b - 1)!, and whatever where a or b is none."""
    from scipy.special import betaln

    # By logarithms: factorials of long paths have no double. Where a or b is 0 nobody looks.
    with np.errstate(all="ignore"):
        return np.asarray(np.exp(betaln(np.maximum(a, 1), np.maximum(b, 1))))


def expectation(game: Game) -> Floats:
    """(outputs,) what the forest expects of a row of which nothing is known, by training weights."""
    forest = game.forest
    reach = np.zeros(len(forest.feature))
    front = forest.roots
    reach[front] = 1.0
    # Level by level, all trees at once: a forest has more nodes than levels by far.
    while len(front):
        inner = front[forest.feature[front] >= 0]
        for children in (forest.left, forest.right):
            reach[children[inner]] = reach[inner] * game.share[children[inner]]
        front = np.concatenate([forest.left[inner], forest.right[inner]])
    base = forest.base.copy()
    leaves = forest.feature < 0
    tree = tree_of_nodes(forest)
    # A tree adds to `width` outputs from its first on; nodes that no root reaches add to none.
    for output in np.unique(forest.tree_output):
        mine = leaves & (tree >= 0) & (forest.tree_output[tree] == output)
        base[output : output + forest.width] += reach[mine] @ forest.value[mine]
    return base


def tree_of_nodes(forest: Forest) -> Integers:
    """(nodes,) the tree of a node; -1 for nodes that no root leads to."""
    tree = np.full(len(forest.feature), -1, np.int64)
    front, number = forest.roots, np.arange(forest.trees)
    while len(front):
        tree[front] = number
        inner = forest.feature[front] >= 0
        number = np.concatenate([number[inner], number[inner]])
        front = np.concatenate([forest.left[front[inner]], forest.right[front[inner]]])
    return tree


def credit(game: Game, rows: Floats, background: Floats | None) -> Floats:
    """(outputs, targets, rows) the credit of rows (n, features), as the forest compares them.

    background (1 or n, draws, features) of the interventional game, rows that all share or draws of
    each row's own; None for the path-dependent game.
    """
    with _threads():
        # Rows last: a table is looked up for many rows at a time, which lie side by side.
        out = np.zeros((game.forest.outputs, game.targets, len(rows)))
        by_table = _by_table(game, len(rows), background)
        _check_pairs(game, by_table)
        if by_table.any():
            shared = None if background is None else background[0]
            _add_tables(_some(game, by_table), rows, shared, out)
        if not by_table.all():
            _add_walks(_some(game, ~by_table), rows, background, out)
    return out


@contextmanager
def _threads() -> Iterator[None]:
    """As many of numba's threads as torch has, and one call at a time; put back afterwards."""
    from numba import config, get_num_threads, set_num_threads

    most: int = config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    with _ONE_AT_A_TIME:
        before = get_num_threads()
        set_num_threads(max(1, min(torch.get_num_threads(), most)))
        try:
            yield
        finally:
            set_num_threads(before)


def _check_pairs(game: Game, by_table: Booleans) -> None:
    """Refuses pairs that no table holds: walks know players alone."""
    if game.order == 2 and not by_table.all():
        most = int(game.survey[2].max())
        raise InputError(
            expected=f"trees whose paths use at most {MOST_BITS} features, for interactions of pairs",
            got=f"a path that uses {most}, or a background of each input's own",
            advice="Put columns into groups, use a removal that all inputs share, or ask TreeShap().",
        )


def _some(game: Game, chosen: Booleans) -> Game:
    """The game of some of the trees."""
    if chosen.all():
        return game
    forest = game.forest
    part = replace(forest, roots=forest.roots[chosen], tree_output=forest.tree_output[chosen])
    return replace(game, forest=part)


def _by_table(game: Game, rows: int, background: Floats | None) -> Booleans:
    """Which trees go by tables: those for which they are expected to take less time."""
    inner, _, most = (part.astype(float) for part in game.survey[:3])
    # A table holds one background's counts, and cannot serve rows with draws of their own.
    if background is not None and len(background) > 1:
        return np.zeros(len(inner), bool)
    draws = 0 if background is None else background.shape[1]
    leaves = inner + 1
    patterns = 2.0 ** np.maximum(most, _FEW_BITS)
    # A cell of the usual size has four leaves.
    cells = np.maximum(leaves / 4, 1)
    each = np.maximum(most, 1) ** game.order
    looked_up = cells * (rows * (each + 2) + draws * 2) * _LOOKUP
    made = leaves * (2.0**most * each * (most + 1) * 2 + patterns * each) * _STEP
    if background is None:
        walked = rows * 2 * inner * (_NODE + np.ceil(most / 2) * _POINT)
    else:
        # A pair passes few of the nodes, and an ever smaller share of them in larger trees.
        walked = rows * draws * 2 * inner**0.65 * _NODE
    # Pairs of features have no walk: for them tables, however long these take.
    chosen: Booleans = (looked_up + made <= walked) | (game.order > 1)
    return chosen & (most <= MOST_BITS)


def _bits(game: Game, rows: int) -> Integers:
    """How many bits a cell of each tree may have."""
    usual = _FEW_BITS if rows < _MANY_ROWS else _MANY_BITS
    return np.maximum(game.survey[2], usual)


def _cut(game: Game, rows: int) -> Any:
    """The trees as `cells.Cells`."""
    from assay.methods.trees.cells import Trees, cut

    forest = game.forest
    _, longest, _, parent, above, below = game.survey
    trees = Trees(
        forest.roots, forest.feature, forest.left, forest.right, game.share, game.group,
        parent, above, below, _bits(game, rows),
    )  # fmt: skip
    return cut(trees, game.players, longest)


def _add_tables(game: Game, rows: Floats, background: Floats | None, out: Floats) -> None:
    from assay.methods.trees import tables

    forest = game.forest
    cells = _cut(game, len(rows))
    # Column by column, since a node asks for one column of a whole block of rows.
    columns = np.ascontiguousarray(rows.T)
    drawn = None if background is None else np.ascontiguousarray(background.T)
    patterns = 1 << cells.cell_bits
    counts = np.diff(cells.player_start)
    places = counts if game.order == 1 else counts * (counts - 1) // 2
    most = int(np.diff(cells.slot_start).max(initial=0))
    shares = game.coalition_shares() if background is not None else np.zeros((1, _points(game), 1))
    if background is not None:
        # Histograms count rows: divided here, their sums come out as means.
        shares = shares / background.shape[0]
    nodes, weights = _rules(game, most)
    # A stretch of trees at a time, since the tables of all may not fit.
    for first, last in _pieces(cells, places * patterns * forest.width):
        mine = slice(cells.cell_of_tree[first], cells.cell_of_tree[last])
        start = _starts(places[mine] * patterns[mine] * forest.width)
        count_start = _starts(patterns[mine])
        seen = np.zeros(0)
        if drawn is not None:
            seen = tables.histograms(drawn, game.splits, cells, first, last, count_start)
        table = tables.tables(
            cells, first, last, start, places[mine], forest.value, game.order, most,
            seen, count_start, shares, nodes, weights,
        )  # fmt: skip
        target_start, target = _targets(game, cells, mine)
        tables.add_up(
            columns, game.splits, cells, first, last, start, table, target_start, target,
            forest.tree_output, forest.width, out,
        )  # fmt: skip


def _points(game: Game) -> int:
    """One where the game is a polynomial at one point, two where it is an integral."""
    if game.index == "banzhaf":
        return 1
    return 2


def _rules(game: Game, most: int) -> tuple[Floats, Floats]:
    """Quadrature rules of 1 to (most + 1) / 2 nodes, a row for each number of them."""
    size = (most + 1) // 2 + 1
    nodes, weights = np.zeros((size, size)), np.zeros((size, size))
    for points in range(1, size):
        t, u = game.quadrature(points)
        nodes[points, : len(t)] = t
        weights[points, : len(u)] = u
    return nodes, weights


def _starts(sizes: Integers) -> Integers:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def _pieces(cells: Any, sizes: Integers) -> list[tuple[int, int]]:
    """Trees from the first to before the last, whose tables are held at once."""
    ends = _starts(sizes)[cells.cell_of_tree]
    pieces, first = [], 0
    trees = len(ends) - 1
    while first < trees:
        last = int(np.searchsorted(ends, ends[first] + _HELD, side="right")) - 1
        # One tree at least, also where its tables alone are more than is held.
        last = min(max(last, first + 1), trees)
        pieces.append((first, last))
        first = last
    return pieces


def _targets(game: Game, cells: Any, mine: slice) -> tuple[Integers, Integers]:
    """Which credit the places of each cell's table belong to."""
    begin, end = cells.player_start[mine.start], cells.player_start[mine.stop]
    start = cells.player_start[mine.start : mine.stop + 1] - begin
    if game.order == 1:
        return start, cells.player[begin:end]
    counts = np.diff(start)
    rows, columns = [], []
    for count, at in zip(counts, start):
        # In the order of `_place_of_pair`: (1, 0), (2, 0), (2, 1), ...
        b, a = np.tril_indices(int(count), -1)
        rows.append(a + at)
        columns.append(b + at)
    player = cells.player[begin:end]
    one, other = player[np.concatenate(rows)], player[np.concatenate(columns)]
    return _starts(counts * (counts - 1) // 2), pair_number(one, other, game.players)


def pair_number(one: Any, other: Any, players: int) -> Any:
    """Where pairs of players stand among all pairs (0, 1), (0, 2), ..., (1, 2), ...

    >>> int(pair_number(2, 1, 4))
    3
    """
    low, high = np.minimum(one, other), np.maximum(one, other)
    return low * (2 * players - low - 1) // 2 + high - low - 1


def _add_walks(game: Game, rows: Floats, background: Floats | None, out: Floats) -> None:
    if background is None:
        _add_by_quadrature(game, rows, out)
    else:
        _add_by_pairs(game, rows, background, out)


def _ensemble(game: Game) -> Any:
    """The trees as `walks.Ensemble`."""
    from assay.methods.trees.walks import Ensemble

    forest = game.forest
    depth = int(game.survey[1].max(initial=0))
    return Ensemble(
        forest.roots, game.survey[3], forest.value, forest.tree_output, game.group, depth,
        game.players,
    )  # fmt: skip


def _add_by_quadrature(game: Game, rows: Floats, out: Floats) -> None:
    from assay.methods.trees import walks

    forest = game.forest
    trees = _ensemble(game)
    most, parent = game.survey[2:4]
    nodes = len(forest.feature)
    # Rows first, other than for tables: a walk writes the credit of one row.
    added = np.zeros((len(rows), forest.outputs, game.players))
    before, after, repeated = np.ones(nodes), np.ones(nodes), np.zeros(nodes, bool)
    for tree, root in enumerate(forest.roots):
        # As many nodes as are exact for the most players on one path of this tree.
        t, u = game.quadrature(max(1, math.ceil(most[tree] / 2)))
        walks.edges(
            root, forest.feature, forest.left, forest.right, parent, game.share, game.group,
            game.players, before, after, repeated,
        )  # fmt: skip
        number, ratios, counts = walks.all_factors(
            root, forest.feature, forest.left, forest.right, before, after, repeated, t, u
        )
        walks.by_quadrature(rows, game.splits, trees, tree, number, ratios, counts, added)
    out += added.transpose(1, 2, 0)


def _add_by_pairs(game: Game, rows: Floats, background: Floats, out: Floats) -> None:
    from assay.methods.trees import walks

    added = np.zeros((len(rows), game.forest.outputs, game.players))
    own = len(background) > 1
    trees = _ensemble(game)
    walks.by_pairs(rows, background, own, game.splits, trees, game.coalition_shares(), added)
    out += added.transpose(1, 2, 0)
