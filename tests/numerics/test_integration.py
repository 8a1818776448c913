"""Quadrature and pieces against their definitions."""

from __future__ import annotations

import time
from typing import Any, get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from assay.errors import InputError
from assay.numerics.integration import Rule, quadrature
from assay.numerics.pieces import pieces


@pytest.mark.parametrize("rule", get_args(Rule))
@pytest.mark.parametrize("steps", [2, 3, 10, 51])
def test_weights_sum_to_one_and_nodes_ascend_within_the_unit_interval(
    rule: Rule, steps: int
) -> None:
    nodes, weights = quadrature(rule, steps)
    assert nodes.shape == weights.shape == (steps,)
    assert nodes.dtype == weights.dtype == torch.float64
    assert float(weights.sum()) == pytest.approx(1.0, abs=1e-14)
    assert 0.0 <= float(nodes.min()) <= float(nodes.max()) <= 1.0
    assert bool((nodes.diff() > 0).all())


def test_gauss_legendre_is_exact_up_to_its_degree() -> None:
    nodes, weights = quadrature("gauss_legendre", 4)
    for degree in range(8):
        assert float(weights @ nodes**degree) == pytest.approx(1 / (degree + 1), abs=1e-14)
    assert abs(float(weights @ nodes**8) - 1 / 9) > 1e-6


def test_thousands_of_nodes_cost_no_dense_matrix() -> None:
    """The eigenvalues of a dense one of 4,096 take ten seconds and more."""
    start = time.process_time()
    nodes, weights = quadrature("gauss_legendre", 4096)
    assert time.process_time() - start < 3
    assert float(weights @ nodes.log()) == pytest.approx(-1.0, abs=1e-6)


@pytest.mark.parametrize(
    ("rule", "integral"),
    [("left", 0.375), ("right", 0.625), ("middle", 0.5), ("trapezoid", 0.5)],
)
def test_sums_at_equal_steps_by_hand(rule: Rule, integral: float) -> None:
    nodes, weights = quadrature(rule, 4)
    assert float(weights @ nodes) == pytest.approx(integral, abs=1e-15)


@pytest.mark.parametrize(
    ("rule", "steps", "words"),
    [
        ("left", 1, "at least 2 steps, got 1. .*steps=50"),
        ("simpson", 4, "one of the rules gauss_legendre.*got 'simpson'. .*rule='gauss_legendre'"),
    ],
)
def test_refusals_say_what_to_do(rule: Any, steps: int, words: str) -> None:
    with pytest.raises(InputError, match=words):
        quadrature(rule, steps)


@given(st.integers(0, 60), st.integers(0, 30), st.integers(1, 100))
def test_pieces_follow_each_other_and_keep_the_limit(total: int, each: int, limit: int) -> None:
    parts = list(pieces(total, each, limit))
    assert [i for part in parts for i in range(part.start, part.stop)] == list(range(total))
    for part in parts:
        size = part.stop - part.start
        assert size == 1 or size * each <= limit
