"""The arrays of a forest: where a row goes, and what the leaves add up to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from assay.errors import ModelError
from assay.models.forests.assembly import Tree, packed, planted, unpacked, words_of
from assay.models.forests.forest import Forest, goes_left
from assay.models.forests.probes import probe_rows

FEATURES = 4


def grown(draws: np.random.Generator, *, width: int, output: int) -> Tree:
    """A random tree that asks about numbers and categories (column 3)."""
    inner = int(draws.integers(0, 9))
    nodes = 2 * inner + 1
    left, right = np.full(nodes, -1), np.full(nodes, -1)
    open_leaves = [0]
    for number in range(inner):
        node = open_leaves.pop(int(draws.integers(len(open_leaves))))
        left[node], right[node] = 2 * number + 1, 2 * number + 2
        open_leaves += [2 * number + 1, 2 * number + 2]
    asks = left >= 0
    feature = np.where(asks, draws.integers(0, FEATURES, nodes), -1)
    sets = {
        int(node): packed(draws.choice(130, 40)) for node in np.flatnonzero(feature == FEATURES - 1)
    }
    return Tree(
        feature=feature,
        threshold=np.where(asks, draws.integers(-2, 3, nodes) / 2, 0.0),
        left=left,
        right=right,
        value=np.where(asks[:, None], 0.0, draws.normal(size=(nodes, width))),
        cover=np.ones(nodes),
        default_left=draws.random(nodes) < 0.5,
        zero_missing=draws.random(nodes) < 0.4,
        sets=sets,
        output=output,
    )


def random_forest(seed: int, *, listed_left: bool = True, width: int = 1) -> Forest:
    draws = np.random.Generator(np.random.Philox(seed))
    trees = [
        grown(draws, width=width, output=number % 3 if width == 1 else 0) for number in range(12)
    ]
    return planted(
        trees, base=[1.0, 2.0, 3.0], features=FEATURES, library="none", listed_left=listed_left
    )


def rows(count: int = 200) -> np.ndarray:
    draws = np.random.Generator(np.random.Philox(99))
    table = draws.integers(-3, 4, (count, FEATURES)) / 2
    table[:, 3] = draws.choice([-1.0, -0.5, 0, 3, 63, 64, 65.7, 127, 128, 1e9, 1e300], count)
    table[draws.random(table.shape) < 0.15] = np.nan
    return table


def slow_margin(forest: Forest, x: np.ndarray, decide: Any = goes_left) -> np.ndarray:
    """One row and one tree at a time."""
    total = forest.base.copy()
    for root, output in zip(forest.roots, forest.tree_output):
        node = int(root)
        while forest.feature[node] >= 0:
            left = decide(
                float(x[forest.feature[node]]),
                float(forest.threshold[node]),
                bool(forest.default_left[node]),
                bool(forest.zero_missing[node]),
                int(forest.category_start[node]),
                int(forest.category_words[node]),
                forest.category_bits,
                forest.listed_left,
            )
            node = int(forest.left[node] if left else forest.right[node])
        total[output : output + forest.width] += forest.value[node]
    return total


@pytest.mark.parametrize("listed_left", [True, False])
@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("seed", range(4))
def test_many_rows_at_once_are_one_row_at_a_time(seed: int, width: int, listed_left: bool) -> None:
    forest = random_forest(seed, listed_left=listed_left, width=width)
    expected = [slow_margin(forest, x) for x in rows()]
    np.testing.assert_allclose(forest.margin(rows()), expected, rtol=0, atol=1e-12)


def test_the_decision_can_be_compiled() -> None:
    numba = pytest.importorskip("numba")
    compiled = numba.njit(goes_left)
    forest = random_forest(5)
    for x in rows(60):
        one, other = slow_margin(forest, x), slow_margin(forest, x, compiled)
        np.testing.assert_array_equal(one, other)


def test_sets_of_codes_are_bits() -> None:
    for codes in ([0], [63, 64], [1, 200, 5], []):
        np.testing.assert_array_equal(unpacked(packed(codes)), sorted(codes))
    np.testing.assert_array_equal(unpacked(words_of([1, 0, 2])), [0, 65])


def test_numbers_are_rounded_as_the_library_rounds_them() -> None:
    tree = {"feature": [0, -1, -1], "left": [1, -1, -1], "right": [2, -1, -1]}
    tenth = float(np.float32(0.1))
    stump = Forest.of_tree(
        **tree, threshold=[tenth, 0, 0], value=[0, 1, 2], features=1, single=True
    )
    # In double, 0.1 is below the float32 number of that name; in float32 it is the same.
    np.testing.assert_array_equal(stump.margin([[0.1], [tenth + 1e-12]])[:, 0], [1, 1])
    double = Forest.of_tree(**tree, threshold=[tenth, 0, 0], value=[0, 1, 2], features=1)
    np.testing.assert_array_equal(double.margin([[0.1], [tenth + 1e-12]])[:, 0], [1, 2])


def test_a_single_leaf_and_no_tree_at_all() -> None:
    leaf = Forest.of_tree(
        feature=[-1], threshold=[0.0], left=[-1], right=[-1], value=[7.0], features=2, base=[1.0]
    )
    np.testing.assert_array_equal(leaf.margin(np.zeros((3, 2))), np.full((3, 1), 8.0))
    assert leaf.depth == 0
    none = planted([], base=[4.0], features=2, library="none")
    np.testing.assert_array_equal(none.margin(np.zeros((3, 2))), np.full((3, 1), 4.0))
    assert probe_rows(none, 10, missing=True, unknown=True).shape == (10, 2)


@pytest.mark.parametrize(
    "broken",
    [
        {"left": [0, -1, -1]},
        {"right": [1, -1, -1]},
        {"left": [5, -1, -1]},
        {"feature": [3, -1, -1]},
        {"threshold": [0.0]},
    ],
    ids=str,
)
def test_arrays_that_are_no_tree_are_refused(broken: dict[str, Any]) -> None:
    whole = {
        "feature": [0, -1, -1],
        "threshold": [0.0, 0, 0],
        "left": [1, -1, -1],
        "right": [2, -1, -1],
        "value": [0.0, 1, 2],
    }
    with pytest.raises(ModelError, match="do not fit together"):
        Forest.of_tree(**{**whole, **broken}, features=2)


def test_probes_come_to_the_thresholds_and_to_most_leaves() -> None:
    forest = random_forest(3)
    drawn = probe_rows(forest, 256, missing=True, unknown=True)
    thresholds = set(forest.threshold[(forest.feature >= 0) & (forest.feature < 3)].tolist())
    assert thresholds <= set(drawn[:, :3].ravel().tolist())
    leaves = np.unique(forest.leaves(drawn))
    assert len(leaves) > 0.9 * (forest.feature < 0).sum()
    assert np.isnan(drawn).any()


def test_probes_stand_at_and_beside_thresholds_cell_by_cell() -> None:
    """The half that does not walk: many rows are at a threshold in several columns."""
    forest = random_forest(3)
    drawn = probe_rows(forest, 512, missing=False, unknown=True)[256:, :3]
    thresholds = np.unique(forest.threshold[(forest.feature >= 0) & (forest.feature < 3)])
    for value in (thresholds, np.nextafter(thresholds, 9.0), np.nextafter(thresholds, -9.0)):
        assert set(value.tolist()) <= set(drawn.ravel().tolist())
    assert (np.isin(drawn, thresholds).sum(axis=1) > 1).mean() > 0.2


def test_probes_stand_about_zero_where_zeros_are_missing() -> None:
    forest = random_forest(3)
    drawn = probe_rows(forest, 512, missing=False, unknown=True)[256:]
    column = forest.feature[forest.zero_missing & (forest.feature >= 0) & (forest.feature < 3)][0]
    # The library that has such nodes takes what is within 1e-35 for zero.
    assert {0.0, 1e-36, -1e-36, 1e-34, -1e-34} <= set(drawn[:, column].tolist())


def test_probes_ask_for_codes_that_no_split_lists_where_they_may() -> None:
    forest = random_forest(3)
    words = zip(forest.category_start, forest.category_words)
    listed = {
        code
        for start, count in words
        if start >= 0
        for code in unpacked(forest.category_bits[start : start + count]).tolist()
    }
    known = probe_rows(forest, 256, missing=False, unknown=False)[:, 3]
    assert set(known.tolist()) <= listed
    other = set(probe_rows(forest, 256, missing=False, unknown=True)[:, 3].tolist()) - listed
    assert len(other) == 2


def test_probes_walk_to_a_leaf_that_hardly_any_row_comes_to() -> None:
    """Beyond 5 in three columns, whose other hundred thresholds are between 0 and 1."""

    def chain(columns: list[int], thresholds: list[float]) -> Tree:
        inner = len(columns)
        nodes = 2 * inner + 1
        asks = np.arange(nodes) < inner
        # Down on the right; on the left of every node there is a leaf.
        right = np.where(np.arange(nodes) < inner - 1, np.arange(nodes) + 1, 2 * inner)
        return Tree(
            feature=np.array(columns + [-1] * (inner + 1)),
            threshold=np.array(thresholds + [0.0] * (inner + 1)),
            left=np.where(asks, np.arange(nodes) + inner, -1),
            right=np.where(asks, right, -1),
            value=np.zeros((nodes, 1)),
            cover=np.ones(nodes),
            default_left=np.zeros(nodes, bool),
        )

    many = np.linspace(0.0, 1.0, 100).tolist()
    trees = [chain([column] * 100, many) for column in range(3)]
    trees.append(chain([0, 1, 2], [5.0] * 3))
    forest = planted(trees, base=[0.0], features=3, library="none")
    leaves = forest.leaves(probe_rows(forest, 256, missing=False, unknown=False))[:, -1]
    assert len(forest.feature) - 1 in leaves
