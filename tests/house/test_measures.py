"""The source keeps the measures of its style guide; `measures.py` shows them file by file."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from measures import Counts, complexity, functions, measured, total, unadvised

SOURCE = Path(__file__).resolve().parents[2] / "src" / "assay"


@pytest.fixture(scope="module")
def counts() -> Counts:
    return total(SOURCE)


def test_steps_are_commented_and_lines_are_short(counts: Counts) -> None:
    assert counts.comments >= 4, counts.row()
    assert counts.body <= 38, counts.row()


def test_one_step_a_line(counts: Counts) -> None:
    assert counts.per_thousand(counts.packed) <= 4, counts.row()
    assert counts.per_thousand(counts.conditional) <= 12, counts.row()


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: path.stem)
def test_no_function_is_complex_no_line_wide_and_every_refusal_says_what_to_do(path: Path) -> None:
    counts = measured(path)
    assert counts.complex == 0, "a function above McCabe 10: split it"
    assert counts.wide == 0, "a line of more than 110 characters"
    assert counts.unadvised == 0, "a refusal without advice: say what to do"


def test_what_is_counted() -> None:
    tree = ast.parse(
        "def f(a, b):\n"
        "    for x in a:\n"
        "        if x and b:\n"
        "            raise InputError(expected='x', got=1, advice='')\n"
        "    raise InputError(expected='x', got=1, advice='do this')\n"
    )
    (function,) = functions(tree)
    assert complexity(function) == 3
    assert unadvised(tree) == 1
