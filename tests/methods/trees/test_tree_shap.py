"""TreeSHAP asked as a method: equal to enumeration by the model's own answers, and to the contract
that every method keeps.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.ensemble import (
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LinearRegression
from sklearn.tree import DecisionTreeRegressor

import assay
from assay.answers.attribution import Attribution
from assay.errors import AbilityError, InputError, KindError, ModelError, SettingError, TargetError
from assay.methods.trees import asked

RNG = np.random.default_rng(0)
FRAME = pd.DataFrame(RNG.normal(size=(200, 5)).round(1), columns=list("abcde"))
NUMBER = (
    FRAME["a"] * FRAME["b"] + FRAME["c"].abs() + np.sin(3 * FRAME["d"]) + 0.1 * RNG.random(200)
).to_numpy()
CLASS = np.digitize(NUMBER, np.quantile(NUMBER, [0.4, 0.7]))
GAPS = FRAME.mask(RNG.random(FRAME.shape) < 0.15)
ROWS = FRAME.iloc[:12]
BACKGROUND = FRAME.iloc[40:70]

REGRESSORS: dict[str, Callable[[], Any]] = {
    "a tree": lambda: DecisionTreeRegressor(random_state=0),
    "a stump": lambda: DecisionTreeRegressor(max_depth=1),
    "a leaf": lambda: DecisionTreeRegressor(min_samples_leaf=150),
    "a random forest": lambda: RandomForestRegressor(10, max_depth=7, random_state=0),
    "extra trees": lambda: ExtraTreesRegressor(10, max_depth=5, random_state=0),
    "gradient boosting": lambda: GradientBoostingRegressor(n_estimators=20, random_state=0),
    "histograms": lambda: HistGradientBoostingRegressor(max_iter=8, min_samples_leaf=5),
}


def close(found: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-9) -> None:
    scale = max(1.0, float(expected.abs().max()))
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * scale)


@pytest.fixture(scope="module")
def forest() -> Any:
    return REGRESSORS["a random forest"]().fit(FRAME, NUMBER)


@pytest.fixture(scope="module")
def classifier() -> Any:
    return RandomForestClassifier(8, max_depth=5, random_state=0).fit(FRAME, CLASS)


def ask(model: Any, rows: Any = ROWS, **more: Any) -> assay.Question:
    return assay.Question(model, rows, **{"removal": assay.Background(BACKGROUND), **more})


# --- equal to enumeration by the model's own answers


@pytest.mark.parametrize("name", REGRESSORS)
@pytest.mark.parametrize("removal", [assay.Background(BACKGROUND), assay.Baseline(0.0)], ids=repr)
def test_values_are_those_of_all_coalitions(name: str, removal: Any) -> None:
    question = ask(REGRESSORS[name]().fit(FRAME, NUMBER), removal=removal)
    found, expected = assay.TreeShap()(question), assay.ExactShapley()(question)
    close(found.values, expected.values)
    assert torch.equal(found.base, expected.base)
    assert found.gap is not None
    assert float(found.gap.abs().max()) < 1e-9


def test_missing_values_go_where_the_model_sends_them() -> None:
    model = HistGradientBoostingRegressor(max_iter=8, min_samples_leaf=5).fit(GAPS, NUMBER)
    question = ask(model, GAPS.iloc[:15], removal=assay.Background(GAPS.iloc[50:80]))
    close(assay.TreeShap()(question).values, assay.ExactShapley()(question).values)


def test_categories_go_where_the_model_sends_them() -> None:
    frame = FRAME.assign(
        kind=pd.Categorical(RNG.choice(["x", "y", "z", "w"], 200)), again=FRAME["a"]
    )
    number = NUMBER + frame["kind"].isin(["x", "w"]) * 3.0
    model = HistGradientBoostingRegressor(
        max_iter=8, min_samples_leaf=5, categorical_features="from_dtype"
    ).fit(frame, number)
    question = ask(model, frame.iloc[:10], removal=assay.Background(frame.iloc[50:70]))
    answer = assay.TreeShap()(question)
    close(answer.values, assay.ExactShapley()(question).values)
    assert float(answer.values[:, 5].abs().mean()) > 0.3


@pytest.mark.parametrize("mode", ["interventional", "path_dependent"])
def test_every_class_of_a_forest(classifier: Any, mode: Any) -> None:
    question = ask(classifier, target=0)
    together = assay.TreeShap(mode).for_outputs(question)
    for output, answer in enumerate(together):
        alone = assay.TreeShap(mode)(ask(classifier, target=output))
        close(answer.values, alone.values)
        close(answer.base, alone.base)
        if mode == "interventional":
            exact = assay.ExactShapley()(ask(classifier, target=output))
            close(alone.values, exact.values)
    # Shares of all classes add up to 1, always.
    total = sum(answer.values for answer in together)
    close(total, torch.zeros_like(total))


def test_each_input_may_have_a_target_of_its_own(classifier: Any) -> None:
    question = ask(classifier, target=assay.Predicted())
    answer = assay.TreeShap()(question)
    assert len(set(answer.targets or ())) > 1
    close(answer.values, assay.ExactShapley()(question).values)


@pytest.mark.parametrize("target", [assay.Contrast(2, 0), assay.Negated(1)], ids=repr)
def test_targets_that_are_linear_in_the_outputs(classifier: Any, target: Any) -> None:
    question = ask(classifier, target=target)
    close(assay.TreeShap()(question).values, assay.ExactShapley()(question).values)
    along = assay.TreeShap("path_dependent")(question)
    assert along.gap is not None
    assert float(along.gap.abs().max()) < 1e-9


def test_columns_in_groups_play_together(forest: Any) -> None:
    features = assay.Columns(groups={"first": ["a", "c"], "second": ["b", "e"]})
    question = ask(forest, features=features)
    answer = assay.TreeShap()(question)
    close(answer.values, assay.ExactShapley()(question).values)
    assert list(answer.names)[:2] == ["first", "second"]


def test_draws_of_each_inputs_own(forest: Any) -> None:
    rows = torch.from_numpy(ROWS.to_numpy())
    model = lambda x: forest.predict(pd.DataFrame(x, columns=FRAME.columns))  # noqa: E731
    removal = assay.Noise(0.5, draws=4, seed=3)
    exact = assay.ExactShapley()(assay.Question(model, rows.numpy(), removal=removal))
    found = assay.TreeShap()(assay.Question(forest, rows, removal=removal))
    close(found.values, exact.values)


def test_log_odds_of_boosted_classes() -> None:
    model = GradientBoostingClassifier(n_estimators=15, random_state=0).fit(FRAME, NUMBER > 1)
    question = ask(model, target=assay.LogOdds(1))
    answer = assay.TreeShap()(question)
    close(answer.values, assay.ExactShapley()(question).values, 1e-7)
    margin = ask(assay.wrap(model, output="decision_function"), target=0)
    close(assay.TreeShap()(margin).values, answer.values, 1e-7)


def test_banzhaf_values_are_those_of_all_coalitions(forest: Any) -> None:
    from assay.methods.shapley.games import banzhaf_values, subsets

    question = ask(forest)
    table = question.value(torch.tensor(subsets(5)))
    answer = assay.TreeShap(index="banzhaf")(question)
    close(answer.values, banzhaf_values(table))
    assert answer.gap is None


def test_pairs_are_those_of_all_coalitions(forest: Any) -> None:
    question = ask(forest)
    found, exact = assay.TreeInteractions()(question), assay.ExactInteractions()(question)
    close(found.values, exact.values)
    assert found.maps.shape == (12, 5, 5)
    close(found.maps.sum(2), assay.TreeShap()(question).values)
    assert found.names[:2] == ("a", "a x b")
    along = assay.TreeInteractions("path_dependent")(question)
    close(along.maps.sum(2), assay.TreeShap("path_dependent")(question).values)


# --- the training rows' shares


def test_a_column_without_influence_may_get_credit_by_the_training_rows() -> None:
    pairs = np.repeat([[0, 0], [0, 1], [1, 0], [1, 1]], [9, 1, 1, 9], axis=0)
    for seed in range(20):
        tree = DecisionTreeRegressor(max_features=1, random_state=seed)
        tree.fit(pairs, 10.0 * pairs[:, 1])
        if tree.tree_.feature[0] == 0:
            break
    question = assay.Question(tree, torch.tensor([[0.0, 1.0]]))
    along = assay.TreeShap("path_dependent")(question)
    close(along.values, torch.tensor([[-2.0, 7.0]], dtype=torch.float64))
    assert along.base.tolist() == [5.0]
    assert assay.TreeShap()(question).values.tolist() == [[0.0, 10.0]]


def test_the_base_is_the_mean_of_the_training_rows() -> None:
    model = DecisionTreeRegressor(max_depth=4).fit(FRAME, NUMBER)
    answer = assay.TreeShap("path_dependent")(assay.Question(model, ROWS))
    assert float(answer.base[0]) == pytest.approx(NUMBER.mean(), abs=1e-12)
    assert answer.facts["forwards"] <= len(ROWS) + 4


# --- the contract


METHODS = (
    assay.TreeShap(),
    assay.TreeShap("path_dependent"),
    assay.TreeShap(index="banzhaf"),
    assay.TreeInteractions(),
)


@pytest.fixture(params=METHODS, ids=repr)
def method(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_shards_parts_and_order_change_nothing(
    method: Any, forest: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = FRAME.iloc[:70]
    whole = method(ask(forest, rows))
    order = RNG.permutation(70)
    close(method(ask(forest, rows.iloc[order])).values, whole.values[order])
    close(method(ask(forest, rows.iloc[3:4])).values, whole.values[3:4])
    close(method(ask(forest, rows).part(5, 9)).values, whole.values[5:9])
    monkeypatch.setattr("assay.question.derivations._SHARD", 1)
    sharded = method(ask(forest, rows))
    close(sharded.values, whole.values)
    close(sharded.base, whole.base)


def test_threads_and_seeds_change_nothing(method: Any, forest: Any) -> None:
    threads = torch.get_num_threads()
    first = method(ask(forest), seed=1).values
    try:
        torch.set_num_threads(1)
        assert torch.equal(method(ask(forest), seed=2).values, first)
    finally:
        torch.set_num_threads(threads)


def test_model_and_inputs_are_left_as_found(method: Any, forest: Any) -> None:
    before, rows = copy.deepcopy(forest), ROWS.copy()
    method(ask(forest, rows))
    pd.testing.assert_frame_equal(rows, ROWS)
    assert np.array_equal(before.predict(FRAME), forest.predict(FRAME))


def test_single_inputs_give_single_answers_near_double_ones(method: Any, forest: Any) -> None:
    x = torch.from_numpy(ROWS.to_numpy())
    removal = assay.Background(torch.from_numpy(BACKGROUND.to_numpy()))
    fine = method(assay.Question(forest, x, removal=removal))
    plain = method(
        assay.Question(forest, x.float(), removal=assay.Background(removal.rows.float()))
    )
    assert fine.values.dtype == torch.float64
    close(plain.values.double(), fine.values, 1e-5)


def test_answers_are_data(method: Any, forest: Any, tmp_path: Any) -> None:
    answer = method(ask(forest))
    answer.save(tmp_path / "answer.safetensors")
    loaded = Attribution.load(tmp_path / "answer.safetensors")
    assert torch.equal(loaded.values, answer.values)
    assert eval(repr(method), vars(assay)) == method
    assert list(answer.to_pandas().index) == list(ROWS.index)
    assert answer.facts["forecast"] >= answer.facts["forwards"]


def test_rows_as_arrays_are_the_rows(method: Any) -> None:
    forest = REGRESSORS["a random forest"]().fit(FRAME.to_numpy(), NUMBER)
    frame = method(ask(REGRESSORS["a random forest"]().fit(FRAME, NUMBER)))
    array = method(
        assay.Question(forest, ROWS.to_numpy(), removal=assay.Background(BACKGROUND.to_numpy()))
    )
    close(array.values, frame.values)


# --- what explain chooses


def test_explain_chooses_trees(forest: Any) -> None:
    assert assay.explain(forest, ROWS).method == repr(assay.TreeShap("path_dependent"))
    removal = assay.Background(BACKGROUND)
    assert assay.explain(forest, ROWS, removal=removal).method == repr(assay.TreeShap())
    known = assay.wrap(forest, background=BACKGROUND)
    assert assay.explain(known, ROWS).method == repr(assay.TreeShap())
    assert "Shap" in assay.explain(LinearRegression().fit(FRAME, NUMBER), ROWS).method


def test_explain_explains_log_odds_where_probabilities_are_no_sum() -> None:
    model = HistGradientBoostingClassifier(max_iter=10).fit(FRAME, NUMBER > 1)
    answer = assay.explain(model, ROWS)
    assert answer.method.startswith("TreeShap")
    assert answer.target == "log-odds of True"
    odds = torch.logit(torch.from_numpy(model.predict_proba(ROWS)[:, 1]))
    close(answer.base + answer.values.sum(1), odds, 1e-7)
    # A target that was said is kept, and asked of the model as it is.
    said = assay.explain(model, ROWS, target=assay.Label(True))
    assert said.target == "True"
    assert not said.method.startswith("TreeShap")


# --- refusals


def test_what_is_no_sum_over_trees_is_refused_with_the_way_out() -> None:
    model = GradientBoostingClassifier(n_estimators=5).fit(FRAME, NUMBER > 1)
    with pytest.raises(TargetError, match=r"(?s)a sum over trees.*logit.*LogOdds\(\)"):
        assay.TreeShap()(ask(model, target=1))


def test_models_without_trees_are_refused(method: Any) -> None:
    with pytest.raises(AbilityError, match=r"a model with trees for .* Methods that can answer"):
        method(ask(LinearRegression().fit(FRAME, NUMBER)))


def test_removals_that_look_at_what_is_present_are_refused(forest: Any) -> None:
    question = ask(forest, removal=assay.Conditional(FRAME, kind="kernel"))
    with pytest.raises(InputError, match=r"(?s)do not depend on what is present.*path_dependent"):
        assay.TreeShap()(question)
    assert assay.TreeShap("path_dependent")(question).gap is not None


def test_features_that_leave_columns_out_are_refused(forest: Any) -> None:
    x = torch.from_numpy(ROWS.to_numpy())
    labels = assay.Labels(torch.tensor([0, 0, 1, -1, 1]))
    with pytest.raises(InputError, match="own every column"):
        assay.TreeShap()(assay.Question(forest, x, features=labels))


@pytest.mark.parametrize("make", [assay.TreeShap, assay.TreeInteractions])
def test_settings_are_checked(make: Any) -> None:
    with pytest.raises((SettingError, KindError), match="interventional"):
        make("both")


def test_a_background_of_no_rows_is_refused(forest: Any) -> None:
    with pytest.raises(InputError):
        assay.TreeShap()(ask(forest, removal=assay.Background(FRAME.iloc[:0])))


def test_infinite_values_are_refused(forest: Any) -> None:
    with pytest.raises(InputError, match="finite"):
        assay.TreeShap()(ask(forest, ROWS.assign(a=np.inf)))


def test_other_columns_are_refused(forest: Any) -> None:
    with pytest.raises(ModelError, match=r"(?s)columns that .* was fitted on.*lacking \['a'\]"):
        assay.TreeShap()(ask(forest, ROWS.drop(columns="a"), removal=assay.Baseline(0.0)))


# --- what it costs


def test_pieces_of_rows_change_nothing(classifier: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = assay.TreeShap().for_outputs(ask(classifier, target=0))
    pairs = assay.TreeInteractions()(ask(classifier, target=0))
    monkeypatch.setattr(asked, "_HELD", 1)
    monkeypatch.setattr(asked, "_FEWEST", 5)
    for one, other in zip(assay.TreeShap().for_outputs(ask(classifier, target=0)), whole):
        close(one.values, other.values)
    close(assay.TreeInteractions()(ask(classifier, target=0)).values, pairs.values)


def test_numbas_threads_are_put_back(forest: Any) -> None:
    import numba

    before, torchs = numba.get_num_threads(), torch.get_num_threads()
    try:
        # Meanwhile it has as many as torch.
        torch.set_num_threads(2)
        numba.set_num_threads(1)
        assay.TreeShap()(ask(forest))
        assert numba.get_num_threads() == 1
    finally:
        torch.set_num_threads(torchs)
        numba.set_num_threads(before)


def test_the_model_is_asked_for_clean_answers_and_the_base_alone(forest: Any) -> None:
    answer = assay.TreeShap()(ask(forest))
    assert answer.facts["forwards"] <= len(ROWS) + len(BACKGROUND) + 4
