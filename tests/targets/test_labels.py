"""Classes by their labels, and what is known of outputs: probabilities or scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC
from torch import nn

import assay
from assay.errors import InputError, TargetError

X, Y = load_iris(return_X_y=True)
THREE = LogisticRegression(max_iter=500).fit(X, Y)
NAMED = LogisticRegression(max_iter=500).fit(X, np.array(["x", "y", "z"])[Y])
WORDS = np.where(Y == 0, "bad", "good")
TWO = LogisticRegression().fit(X, WORDS)


def asked(model: Any, target: Any, rows: Any = X[:1]) -> Any:
    return assay.Question(model, rows, target).prediction.numpy()


def test_log_odds_and_log_probabilities_of_an_estimator_are_right_by_themselves() -> None:
    p = THREE.predict_proba(X[:1])[:, 0]
    decided = assay.wrap(THREE, output="decision_function")
    logs = assay.wrap(THREE, output="predict_log_proba")
    for model in (THREE, THREE.predict_proba, decided, logs):
        np.testing.assert_allclose(asked(model, assay.LogProb(0)), np.log(p), rtol=1e-9)
        np.testing.assert_allclose(asked(model, assay.LogOdds(0)), np.log(p / (1 - p)), rtol=1e-9)


def test_what_is_known_is_not_contradicted() -> None:
    decided = assay.wrap(THREE, output="decision_function")
    with pytest.raises(TargetError, match="decision_function, which gives scores"):
        asked(decided, assay.LogOdds(0, probabilities=True))
    with pytest.raises(TargetError, match="which gives probabilities"):
        asked(THREE, assay.LogProb(0, probabilities=False))


def test_what_only_looks_like_probabilities_is_asked_for() -> None:
    def function(rows: Any) -> Any:
        return THREE.predict_proba(rows)

    wanted = asked(THREE, assay.LogOdds(0))
    for target in (assay.LogOdds(0), assay.LogProb(0)):
        with pytest.raises(TargetError, match="probabilities=True"):
            asked(function, target)
    said = assay.wrap(function, probabilities=True)
    np.testing.assert_allclose(asked(said, assay.LogOdds(0)), wanted)
    np.testing.assert_allclose(asked(function, assay.LogOdds(0, probabilities=True)), wanted)
    with pytest.raises(TargetError, match="from 0 to 1"):
        asked(lambda rows: THREE.decision_function(rows), assay.LogProb(0, probabilities=True))


def test_one_column_of_probabilities_has_odds() -> None:
    def chance(rows: Any) -> Any:
        return TWO.predict_proba(rows)[:, 1]

    wanted = asked(TWO, assay.LogOdds("good"))
    np.testing.assert_allclose(asked(chance, assay.LogOdds(0, probabilities=True)), wanted)
    with pytest.raises(TargetError, match="two classes or more"):
        asked(chance, assay.LogOdds(0))


def test_probabilities_of_0_and_1_are_held_and_said() -> None:
    def sure(rows: Any) -> Any:
        high = (rows[:, 0] > 0) * 1.0
        return np.stack([1 - high, high], axis=1)

    question = assay.Question(sure, np.ones((1, 2)), assay.LogOdds(1, probabilities=True))
    answer = assay.ExactShapley()(question)
    # Every one of the rows that were asked for the answer is certain.
    assert answer.facts["clipped"] >= 4
    np.testing.assert_allclose(answer.prediction, 36.0437, rtol=1e-5)
    assert "clipped" not in assay.explain(THREE, X[:1], assay.LogOdds(0)).facts


@pytest.mark.parametrize("target", ["good", assay.Label("good"), ["good"], pd.Series(["good"]), 1])
def test_a_class_is_named_by_its_label(target: Any) -> None:
    answer = assay.explain(TWO, X[:1], target)
    np.testing.assert_allclose(answer.prediction, TWO.predict_proba(X[:1])[:, 1])
    assert answer.target == "good"
    assert repr(answer).endswith(", of good)")


def test_a_label_that_is_not_there_is_refused() -> None:
    with pytest.raises(TargetError, match="'bad', 'good', got 'god'"):
        asked(TWO, "god")
    with pytest.raises(TargetError, match=r"classes=\['bad', 'good'\]"):
        asked(nn.Linear(4, 2).double(), "good")
    net = assay.wrap(nn.Linear(4, 2).double(), classes=["bad", "good"])
    assert assay.explain(net, torch.ones(1, 4), "bad").target == "bad"


@pytest.mark.parametrize("target", [1, 2, [1], np.array([2]), assay.LogOdds(1)])
def test_numbers_that_are_labels_of_other_outputs_are_refused(target: Any) -> None:
    model = LogisticRegression().fit(X, np.where(Y == 0, 1, 2))
    with pytest.raises(TargetError, match=r"target=Label\("):
        asked(model, target)
    p = model.predict_proba(X[:1])
    np.testing.assert_allclose(asked(model, assay.Label(1)), p[:, 0])
    np.testing.assert_allclose(asked(model, assay.Output(1)), p[:, 1])


def test_a_score_of_two_classes_speaks_for_the_second() -> None:
    model = LinearSVC().fit(X, WORDS)
    np.testing.assert_allclose(asked(model, "good"), model.decision_function(X[:1]))
    with pytest.raises(TargetError, match=r"Negated\(Label\('good'\)\)"):
        asked(model, "bad")


def test_of_two_classes_the_positive_one_is_explained_by_default() -> None:
    rows = X[[0, 60]]
    answer = assay.explain(TWO, rows)
    assert answer.targets == ("good", "good")
    np.testing.assert_allclose(answer.prediction, TWO.predict_proba(rows)[:, 1])
    assert assay.explain(TWO, rows, assay.Predicted()).targets == ("bad", "good")
    assert assay.explain(NAMED, X[[0, 60]]).targets == ("x", "y")


def test_labels_and_the_callers_index_stand_in_the_frame_and_in_the_file(tmp_path: Path) -> None:
    frame = pd.DataFrame(X[[0, 60]], columns=list("abcd"), index=["u", "v"])
    answer = assay.explain(NAMED, frame.to_numpy())
    assert answer.to_pandas().index.tolist() == [0, 1]
    model = LogisticRegression(max_iter=500).fit(pd.DataFrame(X, columns=list("abcd")), WORDS)
    answer = assay.explain(model, frame)
    answer.save(tmp_path / "answer.safetensors")
    for one in (answer, assay.load(tmp_path / "answer.safetensors")):
        assert isinstance(one, assay.Attribution)
        table = one.to_pandas(ends=True)
        assert table.index.tolist() == ["u", "v"]
        assert table["target"].tolist() == ["good", "good"]
        assert one.to_pandas().columns.name == "good"
        assert one.rows(slice(1, 2)).to_pandas().index.tolist() == ["v"]


def test_the_largest_outputs_of_each_input_at_once() -> None:
    rows = X[[0, 60, 120]]
    question = assay.Question(NAMED, rows, removal=assay.Background(X[::40]))
    first, second = assay.ExactShapley().for_outputs(question, top=2)
    assert first.targets == ("x", "y", "z")
    assert second.targets == ("y", "x", "y")
    alone = assay.Question(NAMED, rows, [1, 0, 1], removal=assay.Background(X[::40]))
    wanted = assay.ExactShapley()(alone)
    torch.testing.assert_close(second.values, wanted.values, rtol=0, atol=1e-12)
    assert second.provenance["question"] == wanted.provenance["question"]
    with pytest.raises(InputError, match="top from 1 to 3"):
        assay.ExactShapley().for_outputs(question, top=4)
