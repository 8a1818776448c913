"""What is asked of trees is what is asked of their answers: any sum of outputs and a constant, draws of
each input's own, numbers that the library does not tell apart.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.tree import DecisionTreeRegressor

import assay
from assay.methods.trees import asked
from toys import randn

X = randn(200, 4, seed=0, dtype=torch.float64).numpy()
CLASSES = np.digitize(X[:, 0] * X[:, 1] + X[:, 2], [-0.7, 0.4])
ROWS = torch.from_numpy(X[:9])


@pytest.fixture(scope="module")
def boosted() -> assay.Model:
    """Three classes that begin at numbers of their own, each with trees of its own."""
    model = GradientBoostingClassifier(n_estimators=6, max_depth=3, random_state=0)
    return assay.wrap(model.fit(X, CLASSES), output="decision_function")


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    scale = max(1.0, float(expected.abs().max()))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9 * scale)


TARGETS = {
    "one": assay.Output(2),
    "less another": assay.Contrast(0, 1),
    "less the mean": assay.Centred(assay.Output(1)),
    "a sum and a constant": lambda outputs: 2.0 * outputs[:, 0] - 3.0 * outputs[:, 2] + 5.0,
}


@pytest.mark.parametrize("name", TARGETS)
def test_sums_of_outputs_and_a_constant(name: str, boosted: Any) -> None:
    removal = assay.Background(torch.from_numpy(X[40:60]))
    question = assay.Question(boosted, ROWS, TARGETS[name], removal=removal)
    close(assay.TreeShap()(question).values, assay.ExactShapley()(question).values)
    along = assay.TreeShap("path_dependent")(question)
    close(along.base + along.values.sum(1), question.prediction)


def test_each_input_has_a_target_and_draws_of_its_own(boosted: Any) -> None:
    removal = assay.Noise(0.7, draws=3, seed=1)
    question = assay.Question(boosted, ROWS, assay.Predicted(), removal=removal)
    answer = assay.TreeShap()(question)
    assert len(set(answer.targets or ())) > 1
    close(answer.values, assay.ExactShapley()(question).values)


def test_draws_go_with_their_inputs_piece_by_piece(
    boosted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asked, "_HELD", 1)
    monkeypatch.setattr(asked, "_FEWEST", 4)
    question = assay.Question(boosted, ROWS, 0, removal=assay.Noise(0.7, draws=3, seed=1))
    together = assay.TreeShap().for_outputs(question)
    for answer, exact in zip(together, assay.ExactShapley().for_outputs(question), strict=True):
        close(answer.values, exact.values)


def test_the_background_is_rounded_as_the_inputs_are() -> None:
    """Beyond the threshold in double, and at it in the single precision that the library compares."""
    tree = DecisionTreeRegressor().fit([[0.0], [0.2]], [0.0, 1.0])
    beside = float(np.nextafter(tree.tree_.threshold[0], 1.0))
    rows = np.array([[0.2], [beside]])
    np.testing.assert_array_equal(tree.predict(rows), [1.0, 0.0])
    removal = assay.Background(np.array([[beside]]))
    answer = assay.TreeShap()(assay.Question(tree, rows, removal=removal))
    assert answer.values.tolist() == [[1.0], [0.0]]


@pytest.mark.parametrize("mode", ["interventional", "path_dependent"])
def test_halves_of_an_interaction_stand_on_both_sides(mode: Any) -> None:
    """Of 8 where both are 1: alone each adds nothing to (0, 0), and half to the training rows' mean."""
    corners = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    tree = DecisionTreeRegressor().fit(corners, [0.0, 0.0, 0.0, 8.0])
    question = assay.Question(tree, corners[3:], removal=assay.Background(corners[:1]))
    expected = [[0.0, 4.0], [4.0, 0.0]]
    if mode == "path_dependent":
        expected = [[2.0, 1.0], [1.0, 2.0]]
    assert assay.TreeInteractions(mode)(question).maps[0].tolist() == expected
