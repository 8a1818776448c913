"""What every method must keep, asked of methods that read trees, of a small forest: what
`test_methods.py` asks of a network, and what metrics and comparisons take.
"""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from torch import Tensor

import assay
from assay.answers.attribution import Attribution
from assay.errors import AbilityError, AssayError, InputError, ModelError, TargetError
from assay.methods import METHODS
from assay.methods.base import Axiom, Method
from assay.metrics import METRICS
from assay.models.base import Ability
from toys import FEATURES, OF_TREES, randn

SAMPLES = 5  # inputs of a contract question
CASES: dict[str, Method] = {
    repr(method): method
    for method in (
        assay.TreeShap(),
        assay.TreeShap("path_dependent"),
        assay.TreeShap(index="banzhaf"),
        assay.TreeShap("path_dependent", index="banzhaf"),
        assay.TreeInteractions(),
        assay.TreeInteractions("path_dependent"),
    )
}
X = randn(300, FEATURES, seed=0).numpy()
Y = X[:, 0] * X[:, 1] + np.abs(X[:, 2]) + X[:, 3]
BACKGROUND = randn(12, FEATURES, seed=77)


@pytest.fixture(params=CASES)
def method(request: pytest.FixtureRequest) -> Method:
    return CASES[request.param]


@pytest.fixture(scope="module")
def forest() -> Any:
    return RandomForestRegressor(6, max_depth=5, random_state=0).fit(X, Y)


@pytest.fixture(scope="module")
def classifier() -> Any:
    classes = np.digitize(Y, np.quantile(Y, [0.3, 0.7]))
    return RandomForestClassifier(6, max_depth=5, random_state=0).fit(X, classes)


def inputs(n: int = SAMPLES, dtype: torch.dtype = torch.float32) -> Tensor:
    return randn(n, FEATURES, seed=3, dtype=dtype)


def ask(model: Any, x: Any, **more: Any) -> assay.Question:
    return assay.Question(model, x, **{"removal": assay.Background(BACKGROUND), **more})


def close(ours: Tensor, theirs: Tensor, tolerance: float = 1e-6) -> None:
    scale = max(1.0, float(theirs.abs().max()))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance * scale)


def test_every_method_of_trees_is_asked() -> None:
    # Of wrappers what they need depends on what they are around.
    needs = {name: kind.needs for name, kind in METHODS.items()}
    fixed = {name: need for name, need in needs.items() if isinstance(need, frozenset)}
    needing = {name for name, need in fixed.items() if Ability.TREES in need}
    assert needing == OF_TREES == {type(method).__name__ for method in CASES.values()}


# --- the answer depends on question and settings alone


@pytest.mark.parametrize("rows", [1, 3, 1000])
def test_batch_size_changes_nothing(method: Method, forest: Any, rows: int) -> None:
    usual = method(ask(forest, inputs()))
    close(method(ask(assay.wrap(forest, batch_size=rows), inputs())).values, usual.values)


def test_shards_change_nothing(
    method: Method, forest: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = method(ask(forest, inputs(70)))
    monkeypatch.setattr("assay.question.derivations._SHARD", 1)
    question = ask(forest, inputs(70))
    assert len(list(question.shards())) == 3
    sharded = method(question)
    for name in ("values", "gap", "standard_error", "base", "prediction"):
        one, other = getattr(sharded, name), getattr(whole, name)
        assert (one is None) == (other is None)
        if one is not None:
            close(one, other)


def test_parts_order_and_neighbours_change_nothing(method: Method, forest: Any) -> None:
    x, order = inputs(), torch.tensor([3, 0, 4, 2, 1])
    question = ask(forest, x)
    crowd = method(question).values
    parts = [method(question.part(a, b)).values for a, b in ((0, 2), (2, 5))]
    close(torch.cat(parts), crowd)
    close(method(ask(forest, x[order])).values, crowd[order])
    for i in (0, SAMPLES - 1):
        close(method(ask(forest, x[i : i + 1])).values, crowd[i : i + 1])


def test_generators_and_seeds_are_neither_read_nor_moved(method: Method, forest: Any) -> None:
    answers = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        random.seed(seed)
        before = torch.random.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
        answers.append(method(ask(forest, inputs()), seed=seed).values)
        assert torch.equal(torch.random.get_rng_state(), before[0])
        assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
        assert random.getstate() == before[2]
    assert torch.equal(answers[0], answers[1])


def test_all_outputs_at_once_are_the_answers_one_by_one(method: Method, classifier: Any) -> None:
    x = inputs(dtype=torch.float64)
    together = method.for_outputs(ask(classifier, x, target=0))
    assert len(together) == 3
    for output, answer in enumerate(together):
        alone = method(ask(classifier, x, target=output))
        for part in ("values", "base", "prediction", "gap"):
            ours, theirs = getattr(answer, part), getattr(alone, part)
            assert (ours is None) == (theirs is None), part
            if ours is not None:
                close(ours, theirs, 1e-9)
        assert answer.provenance == alone.provenance
    last, first = method.for_outputs(ask(classifier, x, target=0), [2, 0])
    close(last.values, together[2].values, 1e-9)
    close(first.values, together[0].values, 1e-9)
    with pytest.raises(TargetError, match="outputs from 0 to 2"):
        method.for_outputs(ask(classifier, x, target=0), [3])


# --- model and inputs are left as they were found


def test_model_and_inputs_are_left_as_found(method: Method, forest: Any) -> None:
    x = inputs().requires_grad_()
    before, model = x.detach().clone(), pickle.dumps(forest)
    method(ask(forest, x))
    assert torch.equal(x.detach(), before)
    assert x.grad is None
    assert x.requires_grad
    assert pickle.dumps(forest) == model


@pytest.mark.parametrize("at", [0, 1, 2, 4])
def test_the_model_is_left_as_found_when_it_breaks(method: Method, forest: Any, at: int) -> None:
    before = pickle.dumps(forest)
    calls = 0

    def predict(rows: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > at:
            raise RuntimeError("broke on purpose")
        return type(forest).predict(forest, rows)

    forest.predict = predict
    try:
        with pytest.raises(AssayError, match="broke on purpose"):
            method(ask(assay.wrap(forest, batch_size=2), inputs()))
    finally:
        del forest.predict
    assert pickle.dumps(forest) == before


# --- number types, layouts and modes


def test_float64_in_float64_out_and_near_float32(method: Method, forest: Any) -> None:
    removal = assay.Background(BACKGROUND.double())
    fine = method(ask(forest, inputs().double(), removal=removal))
    plain = method(ask(forest, inputs()))
    assert fine.values.dtype == fine.base.dtype == fine.prediction.dtype == torch.float64
    close(plain.values.double(), fine.values)


def test_strided_inputs_and_arrays_are_the_same_inputs(method: Method, forest: Any) -> None:
    x = inputs()
    strided = torch.stack([x, x], dim=2)[..., 0]
    assert not strided.is_contiguous()
    usual = method(ask(forest, x)).values
    close(method(ask(forest, strided)).values, usual)
    close(method(ask(forest, x.numpy())).values, usual)
    close(method(ask(forest, np.asfortranarray(x.numpy()))).values, usual)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_the_callers_grad_mode_changes_nothing(
    method: Method, forest: Any, mode: Callable[[], Any]
) -> None:
    usual = method(ask(forest, inputs())).values
    with mode():
        answer = method(ask(forest, inputs() + 0))
    close(answer.values, usual)
    assert not answer.values.requires_grad


# --- the answer as data


def test_settings_are_frozen_and_their_repr_evaluates_back(method: Method, forest: Any) -> None:
    with pytest.raises(AttributeError):
        method.mode = "path_dependent"  # type: ignore[attr-defined]
    assert eval(repr(method), vars(assay)) == method
    assert assay.parse(repr(method), Method) == method
    assert method(ask(forest, inputs())).method == repr(method)


def test_a_saved_answer_is_the_answer(method: Method, forest: Any, tmp_path: Any) -> None:
    answer = method(ask(forest, inputs()), seed=5)
    answer.save(tmp_path / "answer.safetensors")
    loaded = Attribution.load(tmp_path / "answer.safetensors")
    for name in ("values", "base", "prediction", "gap", "standard_error"):
        ours, theirs = getattr(answer, name), getattr(loaded, name)
        assert (ours is None and theirs is None) or torch.equal(ours, theirs)
    assert (loaded.names, loaded.shape, loaded.kind) == (answer.names, answer.shape, answer.kind)
    assert dict(loaded.facts) == dict(answer.facts)
    assert loaded.provenance == answer.provenance
    assert loaded.provenance["seed"] == 5


def test_shapes_diagnostics_and_cost_fit_the_question(method: Method, forest: Any) -> None:
    answer = method(ask(forest, inputs()))
    pairs = isinstance(method, assay.TreeInteractions)
    assert answer.values.shape == (SAMPLES, FEATURES**2 if pairs else FEATURES)
    assert answer.maps.shape == (SAMPLES, *answer.shape)
    assert answer.base.shape == answer.prediction.shape == (SAMPLES,)
    assert answer.kind == method.kind.value
    assert answer.standard_error is None
    if Axiom.COMPLETENESS in method.axioms:
        assert answer.gap is not None
        close(answer.gap, answer.prediction - answer.base - answer.values.sum(1))
    # The inputs and the base alone, and the few rows that every question checks.
    assert 0 < answer.facts["forwards"] <= SAMPLES + len(BACKGROUND) + 4
    assert answer.facts["forwards"] <= answer.facts["forecast"]
    assert answer.facts["backwards"] == 0


def test_the_digest_tells_questions_apart(forest: Any) -> None:
    digest = ask(forest, inputs()).digest
    assert ask(forest, inputs()).digest == digest
    assert ask(forest, inputs() + 1).digest != digest
    assert ask(forest, inputs(), removal=assay.Baseline(0.2)).digest != digest
    assert ask(forest, inputs(), target=assay.Negated(0)).digest != digest
    other = RandomForestRegressor(6, max_depth=5, random_state=1).fit(X, Y)
    assert ask(other, inputs()).digest != digest


# --- the axioms that are claimed


@pytest.mark.parametrize("name", CASES)
def test_the_axioms_it_claims_hold(name: str) -> None:
    method = CASES[name]
    # Column 4 decides nothing, and columns 0 and 1 are seen by their sum alone.
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 3, size=(200, 5)).astype(np.float64)
    number = (rows[:, 0] + rows[:, 1]) * rows[:, 2] + rows[:, 3]
    whole = np.stack(np.meshgrid(*[np.arange(3.0)] * 4, [0.0], indexing="ij"), -1).reshape(-1, 5)
    exact = (whole[:, 0] + whole[:, 1]) * whole[:, 2] + whole[:, 3]
    model = RandomForestRegressor(1, bootstrap=False, random_state=0).fit(whole, exact)
    np.testing.assert_allclose(model.predict(rows), number, atol=1e-9)
    x = rows[:20].copy()
    x[:, 1] = x[:, 0]
    answer = method(assay.Question(model, x, removal=assay.Baseline(1.0)))
    if Axiom.COMPLETENESS in method.axioms:
        assert float((answer.prediction - answer.base - answer.values.sum(1)).abs().max()) < 1e-9
    if Axiom.DUMMY in method.axioms:
        assert float(answer.values[:, 4].abs().max()) == 0
    if Axiom.SYMMETRY in method.axioms:
        close(answer.values[:, 0], answer.values[:, 1], 1e-9)
    if Axiom.LINEARITY in method.axioms:
        # A forest is the mean of its trees, and so is the answer for it.
        mean = RandomForestRegressor(4, max_depth=4, random_state=0).fit(rows, number)
        removal = assay.Background(rows[:9])
        trees = [
            method(assay.Question(tree, x, removal=removal)).values for tree in mean.estimators_
        ]
        found = method(assay.Question(mean, x, removal=removal)).values
        close(found, torch.stack(trees).mean(0), 1e-9)


# --- metrics and comparisons take them


@pytest.mark.parametrize("mode", ["interventional", "path_dependent"])
def test_completeness_is_measured_from_the_base_of_the_question(forest: Any, mode: Any) -> None:
    question = ask(forest, inputs())
    answer = assay.TreeShap(mode)(question)
    score = assay.Completeness()(question, answer)
    # The mean of the training rows is another base than the removal's.
    close(score.values, (answer.base - question.base).abs().to(score.values.dtype), 1e-5)


def test_matrices_of_pairs_are_no_credit_for_features(forest: Any) -> None:
    question = ask(forest, inputs())
    with pytest.raises(InputError, match=r"an attribution of shape \(5, 4\).*got \(5, 16\)"):
        assay.Completeness()(question, assay.TreeInteractions()(question))


def test_a_comparison_takes_them_beside_others(forest: Any) -> None:
    question = ask(forest, inputs(12, torch.float64))
    methods = [assay.TreeShap(), assay.ExactShapley(), assay.TreeShap("path_dependent")]
    metrics = [assay.Infidelity(), assay.Completeness(), assay.Deletion(), assay.Gini()]
    table = assay.compare(question, methods, metrics, references=False)
    trees, exact, along = table.methods
    for metric in table.metrics:
        scores = table.by(metric)
        close(scores[trees].values, scores[exact].values)
        assert bool(torch.isfinite(scores[along].values).all())
    named = assay.compare(question, ["TreeShap", "KernelShap"], ["Infidelity"], references=False)
    assert [name.partition("(")[0] for name in named.methods] == ["TreeShap", "KernelShap"]


# Metrics of weights that can be drawn anew, of shifts that a network undoes, of pictures, and of
# shares of a score that is above 0 or of several classes, which an estimated number is not.
NOT_OF_FORESTS = frozenset(
    {
        "AverageDrop", "AverageGain", "AverageIncrease", "ClassSensitivity", "InputShift",
        "ModelRandomisation", "Road",
    }
)  # fmt: skip


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_judges_trees_as_it_judges_all_coalitions(name: str, forest: Any) -> None:
    truth = torch.tensor([True, True, *[False] * (FEATURES - 2)]).expand(6, FEATURES)
    question = ask(forest, inputs(6, torch.float64), truth=truth)
    methods = [assay.TreeShap(), assay.ExactShapley()]
    table = assay.compare(question, methods, [name], references=False)
    if name in NOT_OF_FORESTS:
        assert not table.scores
        assert all("Expected" in reason for reason in table.refusals.values())
        return
    (metric,) = table.metrics
    trees, exact = (table.by(metric)[method].values for method in table.methods)
    torch.testing.assert_close(trees, exact, rtol=0, atol=1e-6, equal_nan=True)


# --- bad input


def refused(model: Any, rows: Any, **more: Any) -> str:
    """What every method of trees says of a question that none can answer."""
    said = []
    for method in CASES.values():
        with pytest.raises(AssayError) as caught:
            method(ask(model, rows, **{"removal": assay.Baseline(0.0), **more}))
        said.append(str(caught.value))
    assert all("Expected" in each and "got" in each for each in said)
    return said[0]


@pytest.fixture(scope="module")
def named() -> Any:
    frame = pd.DataFrame(X, columns=list("abcdefgh")[:FEATURES])
    return RandomForestRegressor(3, max_depth=4, random_state=0).fit(frame, Y)


def test_another_number_of_columns_is_refused(forest: Any) -> None:
    for rows in (inputs()[:, 1:], torch.cat([inputs(), inputs()], dim=1)):
        assert f"It was fitted on {FEATURES} columns" in refused(forest, rows)


def test_other_names_of_columns_are_refused(named: Any) -> None:
    frame = pd.DataFrame(inputs().numpy(), columns=list("zyxwvuts")[:FEATURES])
    assert "columns that" in refused(named, frame)


def test_a_model_that_is_not_fitted_is_refused() -> None:
    with pytest.raises(ModelError, match=r"(?s)fitted.*fit"):
        assay.TreeShap()(ask(RandomForestRegressor(), inputs()))


@pytest.mark.parametrize("number", [np.inf, -np.inf])
def test_infinite_numbers_are_refused_in_rows_and_background(forest: Any, number: float) -> None:
    rows = inputs()
    rows[1, 2] = number
    assert "finite" in refused(forest, rows)
    with pytest.raises(InputError, match="finite"):
        assay.TreeShap()(ask(forest, inputs(), removal=assay.Background(rows)))


def test_a_background_of_no_rows_is_refused(forest: Any) -> None:
    with pytest.raises(InputError):
        assay.TreeShap()(ask(forest, inputs(), removal=assay.Background(BACKGROUND[:0])))


def test_a_network_is_refused_with_who_can_answer(method: Method) -> None:
    net = torch.nn.Linear(FEATURES, 1)
    with pytest.raises(AbilityError, match=r"a model with trees for .* Methods that can answer"):
        method(ask(net, inputs()))
