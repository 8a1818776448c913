"""Values on plain arrays: what tables and walks say is what the definitions say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import slow_trees as slow
from assay.errors import InputError
from assay.methods.trees import solving
from assay.methods.trees.solving import Game, credit, expectation
from assay.models.forests.forest import Floats, Forest

WAYS = ("tables", "walks")


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patched:
        force(patched, request.param)
        yield request.param


def force(patched: pytest.MonkeyPatch, way: str) -> None:
    def by_table(game: Game, rows: int, background: Floats | None) -> np.ndarray:
        return np.full(game.forest.trees, way == "tables" or game.order > 1)

    patched.setattr(solving, "_by_table", by_table)


def a_forest(
    seed: int, depth: int, features: int, trees: int = 2, width: int = 1, **more: Any
) -> tuple[Forest, np.random.Generator]:
    rng = np.random.default_rng(seed)
    grown = [slow.random_tree(rng, depth, features, width, **more) for _ in range(trees)]
    return slow.joined(grown), rng


def close(found: Floats, expected: Floats) -> None:
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * scale)


def check(forest: Forest, rng: np.random.Generator, index: str, group: Any, order: int) -> None:
    """Both games of a few rows against enumeration."""
    players = int(group.max()) + 1
    game = Game(forest, group, players, index, order)  # type: ignore[arg-type]
    rows = slow.rows_for(rng, forest, 2)
    background = slow.rows_for(rng, forest, 4)
    slow_values = slow.values if order == 1 else slow.pairs
    between = credit(game, rows, background[None])
    along = credit(game, rows, None)
    if order > players:
        assert between.shape[1] == along.shape[1] == 0
        return
    for row, x in enumerate(rows):
        worth = slow.interventional(forest, x, background, group)
        close(between[:, :, row].T, slow_values(worth, players, index))
        worth = slow.path_dependent(forest, x, group)
        close(along[:, :, row].T, slow_values(worth, players, index))
    if index == "shapley" and order == 1:
        close(along.sum(axis=1).T + expectation(game), forest.margin(rows))


shapes = st.tuples(
    st.integers(0, 2**32 - 1),  # seed
    st.integers(0, 6),  # depth
    st.integers(1, 5),  # features
    st.integers(1, 3),  # trees
    st.integers(1, 2),  # width
    st.booleans(),  # categories
)


@pytest.mark.parametrize("index", ["shapley", "banzhaf"])
@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=12, deadline=None)
@given(shape=shapes)
def test_values_are_those_of_the_definition(way: str, index: str, shape: Any) -> None:
    seed, depth, features, trees, width, categories = shape
    forest, rng = a_forest(seed, depth, features, trees, width, categories=categories)
    with pytest.MonkeyPatch.context() as patched:
        force(patched, way)
        check(forest, rng, index, np.arange(features), 1)


@pytest.mark.parametrize("index", ["shapley", "banzhaf"])
@settings(max_examples=10, deadline=None)
@given(shape=shapes)
def test_pairs_are_those_of_the_definition(index: str, shape: Any) -> None:
    seed, depth, features, trees, width, categories = shape
    forest, rng = a_forest(seed, depth, features, trees, width, categories=categories)
    check(forest, rng, index, np.arange(features), 2)


def test_pairs_of_cells_of_many_players() -> None:
    forest, rng = a_forest(11, 5, 7, trees=3, stop=0.0)
    game = Game(forest, np.arange(7), 7, order=2)
    assert np.diff(solving._cut(game, 2).player_start).max() > 4
    check(forest, rng, "shapley", np.arange(7), 2)


def test_columns_of_one_feature_play_together(way: str) -> None:
    forest, rng = a_forest(3, 5, 6)
    check(forest, rng, "shapley", np.array([0, 1, 0, 2, 1, 0]), 1)


@pytest.mark.parametrize("depth", [8, 10, 12, 14, 16, 18, 20])
def test_deep_trees_with_few_features(way: str, depth: int) -> None:
    forest, rng = a_forest(depth, depth, 6, trees=1, stop=0.3, categories=True)
    check(forest, rng, "shapley", np.arange(6), 1)


def test_trees_add_to_outputs_of_their_own(way: str) -> None:
    rng = np.random.default_rng(5)
    forest = slow.joined([slow.random_tree(rng, 4, 4) for _ in range(4)], outputs=[2, 0, 1, 2])
    check(forest, rng, "shapley", np.arange(4), 1)


def test_a_leaf_alone_gives_nothing(way: str) -> None:
    forest, rng = a_forest(1, 0, 3)
    game = Game(forest, np.arange(3), 3)
    rows = slow.rows_for(rng, forest, 4)
    assert not credit(game, rows, None).any()
    assert not credit(game, rows, rows[None]).any()
    close(expectation(game), forest.margin(rows)[0])


def test_a_split_that_no_training_row_came_to(way: str) -> None:
    forest, rng = a_forest(9, 5, 4)
    cover = forest.cover.copy()
    inner = np.nonzero(forest.feature >= 0)[0]
    for node in inner[:6]:
        # One side never met, and a node never met at all.
        cover[forest.left[node]] = 0.0
    cover[forest.left[inner[3]]] = cover[forest.right[inner[3]]] = 0.0
    game = Game(replace(forest, cover=cover), np.arange(4), 4)
    rows = slow.rows_for(rng, forest, 6)
    close(credit(game, rows, None).sum(axis=1).T + expectation(game), forest.margin(rows))


@pytest.mark.parametrize("order", [1, 2])
def test_banzhaf_values_of_splits_that_no_training_row_came_to(way: str, order: int) -> None:
    """Their game is read at one half alone: at 0, where a longer rule looks, shares of 0 divide."""
    forest, rng = a_forest(9, 5, 4)
    cover = forest.cover.copy()
    cover[forest.left[forest.feature >= 0]] = 0.0
    check(replace(forest, cover=cover), rng, "banzhaf", np.arange(4), order)


def test_a_node_that_no_training_row_came_to_expects_both_sides_alike(way: str) -> None:
    """v() = v(1) = 1, v(0) = (4 + 8) / 2, v(0, 1) = 8 where both are above 0."""
    forest = Forest.of_tree(
        feature=[0, -1, 1, -1, -1],
        threshold=[0.0] * 5,
        left=[1, -1, 3, -1, -1],
        right=[2, -1, 4, -1, -1],
        value=[0.0, 1.0, 0.0, 4.0, 8.0],
        features=2,
        cover=[10.0, 10.0, 0.0, 0.0, 0.0],
    )
    game = Game(forest, np.arange(2), 2)
    close(credit(game, np.ones((1, 2)), None)[0, :, 0], np.array([6.0, 1.0]))


@pytest.mark.parametrize("depth", [50, 100])
def test_a_tree_of_depth_one_hundred_adds_up(depth: int) -> None:
    rng = np.random.default_rng(depth)
    forest = slow.random_tree(rng, depth, depth, stop=0.0, chain=True)
    assert forest.depth == depth
    rows = slow.rows_for(rng, forest, 20)
    background = slow.rows_for(rng, forest, 20)
    game = Game(forest, np.arange(depth), depth)
    along, between = credit(game, rows, None), credit(game, rows, background[None])
    close(along.sum(axis=1).T + expectation(game), forest.margin(rows))
    close(between.sum(axis=1).T, forest.margin(rows) - forest.margin(background).mean(axis=0))


def test_a_tree_of_forty_thousand_nodes_adds_up() -> None:
    rng = np.random.default_rng(0)
    forest = slow.random_tree(rng, 16, 30, stop=0.045)
    while len(forest.feature) < 40_000:
        forest = slow.random_tree(rng, 16, 30, stop=0.03)
    rows = slow.rows_for(rng, forest, 8)
    background = slow.rows_for(rng, forest, 8)
    game = Game(forest, np.arange(30), 30)
    along, between = credit(game, rows, None), credit(game, rows, background[None])
    close(along.sum(axis=1).T + expectation(game), forest.margin(rows))
    close(between.sum(axis=1).T, forest.margin(rows) - forest.margin(background).mean(axis=0))


def test_each_row_may_have_a_background_of_its_own() -> None:
    forest, rng = a_forest(4, 5, 4)
    rows = slow.rows_for(rng, forest, 5)
    own = np.stack([slow.rows_for(rng, forest, 3) for _ in rows])
    game = Game(forest, np.arange(4), 4)
    together = credit(game, rows, own)
    for row in range(len(rows)):
        alone = credit(game, rows[row : row + 1], own[row : row + 1])
        close(together[:, :, row], alone[:, :, 0])


def test_draws_of_their_own_are_no_table_however_many() -> None:
    """A table counts the patterns of one background, which a shared one of this size would go by."""
    forest, rng = a_forest(4, 4, 4)
    rows = slow.rows_for(rng, forest, 300)
    own = slow.rows_for(rng, forest, 300 * 30).reshape(300, 30, -1)
    game = Game(forest, np.arange(4), 4)
    assert solving._by_table(game, 300, own[:1]).all()
    together = credit(game, rows, own)
    for row in (0, 150, 299):
        alone = credit(game, rows[row : row + 1], own[row : row + 1])
        close(together[:, :, row], alone[:, :, 0])


def test_pieces_hold_as_many_trees_as_they_may(monkeypatch: pytest.MonkeyPatch) -> None:
    class Cells:
        cell_of_tree = np.array([0, 1, 3, 6, 7])

    monkeypatch.setattr(solving, "_HELD", 8)
    # Trees of 4, 4, 3 and 9 numbers: the last is more than is held, and goes alone.
    pieces = solving._pieces(Cells, np.array([4, 2, 2, 1, 1, 1, 9]))
    assert pieces == [(0, 2), (2, 3), (3, 4)]


@pytest.mark.parametrize("held", [1, 1 << 23])
def test_pieces_of_tables_change_nothing(held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    forest, rng = a_forest(8, 6, 5, trees=7)
    force(monkeypatch, "tables")
    monkeypatch.setattr(solving, "_HELD", held)
    game = Game(forest, np.arange(5), 5)
    rows = slow.rows_for(rng, forest, 2_100)
    close(credit(game, rows, None).sum(axis=1).T + expectation(game), forest.margin(rows))


def test_backgrounds_beyond_a_block_are_counted_to_their_end() -> None:
    forest, rng = a_forest(12, 4, 4)
    rows, background = slow.rows_for(rng, forest, 3), slow.rows_for(rng, forest, 1_500)
    found = []
    for way in WAYS:
        with pytest.MonkeyPatch.context() as patched:
            force(patched, way)
            found.append(credit(Game(forest, np.arange(4), 4), rows, background[None]))
    close(*found)


@pytest.mark.parametrize("bits", [0, 3, 11])
def test_the_size_of_cells_changes_nothing(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    forest, rng = a_forest(6, 6, 5)
    force(monkeypatch, "tables")
    monkeypatch.setattr(solving, "_FEW_BITS", bits)
    check(forest, rng, "shapley", np.arange(5), 1)


def test_pairs_of_long_paths_are_refused() -> None:
    rng = np.random.default_rng(0)
    forest = slow.random_tree(rng, 20, 200, stop=0.0, chain=True)
    game = Game(forest, np.arange(200), 200, order=2)
    rows = slow.rows_for(rng, forest, 2)
    with pytest.raises(InputError, match=r"(?s)at most 14 features.*Put columns into groups"):
        credit(game, rows, None)
