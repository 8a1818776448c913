"""Infidelity where an absent feature has several replacements: the change is their expectation."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

import assay
from assay.errors import InputError
from assay.perturbations import (
    DifferenceToBaseline,
    GaussianNoise,
    NoisyBaseline,
    Perturbation,
    Squares,
    SubsetToBaseline,
)
from toys import randn


def f(x: Tensor) -> Tensor:
    return x[:, 0] * x[:, 1] + torch.tanh(x[:, 2]) - x[:, 0] ** 2


def by_hand(x: Tensor, rows: Tensor, phi: Tensor, removed: Tensor) -> float:
    """The mean over perturbations of (credit removed - change)^2, row by row of the background."""
    errors = []
    for mask in removed:
        values = []
        for row in rows:
            asked = torch.tensor([float(b if r else a) for a, b, r in zip(x, row, mask)])
            values.append(float(f(asked.double()[None])))
        change = float(f(x[None])) - sum(values) / len(values)
        credit = sum(float(p) for p, r in zip(phi, mask) if r)
        errors.append((credit - change) ** 2)
    return sum(errors) / len(errors)


@pytest.mark.parametrize("law", [SubsetToBaseline(), SubsetToBaseline(0.2), DifferenceToBaseline()])
def test_the_change_under_a_background_is_an_expectation_over_its_rows(law: Perturbation) -> None:
    x, rows = randn(3, 3).double(), randn(7, 3, seed=1).double()
    asked = assay.Question(f, x, removal=assay.Background(rows))
    answer = assay.ExactShapley()(asked)
    metric = assay.Infidelity(law, draws=30)
    score = metric(asked, answer)
    for row in range(3):
        one = asked.part(row, row + 1)
        removed = law.removed(one, 0, (0, law.size(one, 30)))
        assert removed is not None
        expected = by_hand(x[row], rows, answer.values[row], removed[0])
        assert abs(float(score.details["raw"][row]) - expected) < 1e-5 * (1 + expected)


def test_squares_are_removed_under_a_background() -> None:
    x, rows = randn(2, 4, 4), randn(5, 4, 4, seed=1)
    asked = assay.Question(
        lambda x: x.flatten(1).sum(1), x, features=assay.Pixels(), removal=assay.Background(rows)
    )
    answer = assay.KernelShap(budget=200)(asked)
    # Of a sum every account of the Shapley values is perfect.
    assert assay.Infidelity(Squares((1, 2)))(asked, answer).mean < 1e-8


def test_a_frame_with_categories_has_a_faithfulness_under_its_background() -> None:
    frame = pd.DataFrame(
        {
            "job": pd.Categorical(list("abcabcab")),
            "age": [21.0, 35.0, 50.0, 44.0, 30.0, 61.0, 28.0, 39.0],
            "paid": [True, False, True, True, False, False, True, False],
        }
    )

    def worth(rows: pd.DataFrame) -> np.ndarray:
        jobs = rows["job"].astype(str).map({"a": 0.0, "b": 10.0, "c": -5.0})
        return np.asarray(jobs + rows["age"] / 10 + rows["paid"].astype(float))

    asked = assay.Question(worth, frame.iloc[:4], removal=assay.Background(frame))
    answer = assay.ExactShapley()(asked)
    # Without interactions the values account for every subset.
    assert assay.Infidelity(draws=20)(asked, answer).mean < 1e-8
    wrong = assay.Infidelity(draws=20)(asked, assay.Rise(estimator="centred", masks=40)(asked))
    assert wrong.mean > 1e-3


def test_a_slope_meets_the_mean_step() -> None:
    x, rows = randn(2, 3), randn(6, 3, seed=1)
    net = torch.nn.Linear(3, 1)
    asked = assay.Question(net, x, removal=assay.Background(rows))
    assert assay.Infidelity(draws=20)(asked, assay.Gradient()(asked)).mean < 1e-8


def test_what_is_left_decides_the_replacement_of_a_conditional_removal() -> None:
    x, rows = randn(2, 3).double(), randn(60, 3, seed=1).double()
    asked = assay.Question(f, x, removal=assay.Conditional(rows))
    answer = assay.ExactShapley()(asked)
    law = SubsetToBaseline()
    score = assay.Infidelity(law, draws=25)(asked, answer)
    removed = law.removed(asked, 0, (0, 25))
    for row, mask in product(range(2), range(1)):
        values = asked.part(row, row + 1).value(~removed[row])[mask]
        change = asked.prediction[row] - values
        credit = removed[row].double() @ answer.values[row].double()
        expected = float((credit - change).square().mean())
        assert abs(float(score.details["raw"][row]) - expected) < 1e-9


def test_an_input_that_no_row_changes_loses_nothing() -> None:
    x = torch.tensor([[1.0, 1.0, 1.0], [2.0, 0.0, 1.0]]).double()
    rows = x[:1].repeat(2, 1)
    asked = assay.Question(f, x, removal=assay.Background(rows))
    answer = assay.ExactShapley()(asked)
    assert assay.Infidelity(draws=5)(asked, answer).values[0] == 0


def test_laws_that_move_the_input_keep_their_meaning() -> None:
    x, rows = randn(2, 3), randn(6, 3, seed=1)
    asked = assay.Question(torch.nn.Linear(3, 1), x, removal=assay.Background(rows))
    answer = assay.Gradient()(asked)
    assert assay.Infidelity(GaussianNoise(0.1))(asked, answer).mean < 1e-8
    with pytest.raises(InputError, match=r"Mean\(rows\)"):
        assay.Infidelity(NoisyBaseline(0.1))(asked, answer)
