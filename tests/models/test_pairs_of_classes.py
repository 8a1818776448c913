"""Scores of pairs of classes are none of a class, also where there are as many of both."""

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, NuSVC

import assay
from assay.errors import TargetError

GENERATOR = np.random.default_rng(0)
ROWS = GENERATOR.normal(size=(90, 2))
CLASSES = np.array(["a", "b", "c"])[(ROWS[:, 0] > -0.5).astype(int) + (ROWS[:, 0] > 0.6)]


def fitted(kind: str) -> object:
    pairs = SVC(decision_function_shape="ovo")
    made = {
        "svc": pairs,
        "nu": NuSVC(nu=0.05, decision_function_shape="ovo"),
        "pipeline": make_pipeline(StandardScaler(), pairs),
        "search": GridSearchCV(pairs, {"C": [1.0]}, cv=2),
    }[kind]
    return made.fit(ROWS, CLASSES)


@pytest.mark.parametrize("kind", ["svc", "nu", "pipeline", "search"])
def test_a_class_is_no_column_of_pairs(kind: str) -> None:
    model = fitted(kind)
    for asked in (model, model.decision_function):
        with pytest.raises(TargetError, match="'a rather than b', 'a rather than c'"):
            assay.explain(asked, ROWS[:2], target="b", removal=assay.Background(ROWS[:9]))


def test_pairs_have_names_of_their_own_whose_sign_speaks_for_the_first() -> None:
    model = fitted("svc")
    answer = assay.explain(
        model, ROWS[:60], target="b rather than c", removal=assay.Background(ROWS[:9])
    )
    of_both = [i for i in range(60) if CLASSES[i] in ("b", "c")]
    signs = answer.prediction[of_both].sign()
    said = [1.0 if CLASSES[i] == "b" else -1.0 for i in of_both]
    assert float((signs == signs.new_tensor(said)).double().mean()) > 0.9
    expected = model.decision_function(ROWS[:60])[:, 2]
    np.testing.assert_allclose(answer.prediction.numpy(), expected, rtol=1e-12)


def test_a_score_for_each_class_keeps_the_classes() -> None:
    model = SVC(decision_function_shape="ovr").fit(ROWS, CLASSES)
    answer = assay.explain(model, ROWS[:2], target="b", removal=assay.Background(ROWS[:9]))
    assert answer.target == "b"
    np.testing.assert_allclose(
        answer.prediction.numpy(), model.decision_function(ROWS[:2])[:, 1], rtol=1e-12
    )
