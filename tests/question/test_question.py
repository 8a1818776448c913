"""The question's verbs against loops over single rows, and its answers under every kind of input."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import assay
from assay.errors import AbilityError, AssayError, InputError, KindError, TargetError
from toys import FEATURES, randn, seeded, tanh_net

DOUBLE = torch.float64


def f(x: torch.Tensor) -> torch.Tensor:
    flat = x.flatten(1)
    return torch.sin(flat).sum(1) * flat[:, 0] + flat.prod(1)


def by_hand(
    question: assay.Question, model: Any, x: torch.Tensor, rows: torch.Tensor, masks: torch.Tensor
) -> torch.Tensor:
    """The slow twin of `value`: one input, one mask, one replacement and one element at a time."""
    labels, n, m = question.partition.labels, len(x), masks.shape[-2]
    out = torch.zeros(n, m, dtype=DOUBLE)
    for i, j in itertools.product(range(n), range(m)):
        mask = masks[j] if masks.dim() == 2 else masks[i, j]
        answers = []
        for row in rows:
            point = x[i].flatten().clone()
            for e in range(len(point)):
                owner = int(labels[0 if len(labels) == 1 else i, e])
                share = 1.0 if owner < 0 else float(mask[owner])
                point[e] = share * point[e] + (1 - share) * row.flatten()[e]
            answers.append(model(point.view(1, *x.shape[1:]))[0])
        out[i, j] = torch.stack(answers).mean()
    return out


IMAGES = randn(3, 2, 2, 2, seed=4, dtype=DOUBLE)


@pytest.mark.parametrize(
    "features",
    [
        assay.Elements(),
        assay.Pixels(),
        assay.Patches(2),
        assay.Labels(torch.tensor([[0, -1], [1, 1]])),
        assay.Labels(torch.arange(24).view(3, 2, 2, 2) % 3),
    ],
)
@pytest.mark.parametrize("draws", [1, 3])
@pytest.mark.parametrize("kind", ["shared bool", "own bool", "own float"])
@pytest.mark.parametrize(
    ("chunk", "few"), [("auto", 8), ("auto", 0), (1, 8), (5, 8), (5, 1), (7, 2)]
)
def test_values_are_what_a_loop_gives(
    features: Any, draws: int, kind: str, chunk: Any, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the chunk cuts through, and however many inputs it holds."""
    monkeypatch.setattr("assay.question.masked_rows._FEW", few)
    rows = randn(draws, 2, 2, 2, seed=6, dtype=DOUBLE)
    question = assay.Question(
        assay.wrap(f, batch_size=chunk), IMAGES, features=features, removal=assay.Background(rows)
    )
    shape = (
        (4, question.partition.count) if kind == "shared bool" else (3, 4, question.partition.count)
    )
    masks: torch.Tensor = torch.rand(shape, generator=seeded(1), dtype=DOUBLE)
    masks = masks if kind == "own float" else masks < 0.5
    expected = by_hand(question, f, IMAGES, rows, masks)
    torch.testing.assert_close(question.value(masks), expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(question.outputs(masks)[..., 0], expected, rtol=0, atol=1e-10)


def test_every_input_may_have_its_own_replacement() -> None:
    own = randn(3, 2, 2, 2, seed=9, dtype=DOUBLE)
    question = assay.Question(f, IMAGES, removal=assay.Baseline(own))
    masks = torch.rand((5, 8), generator=seeded(2), dtype=DOUBLE) < 0.5
    expected = torch.cat(
        [by_hand(question, f, IMAGES[i : i + 1], own[i : i + 1], masks) for i in range(3)]
    )
    torch.testing.assert_close(question.value(masks), expected, rtol=0, atol=1e-10)


def test_the_ends_of_a_value_are_prediction_and_base() -> None:
    question = assay.Question(f, IMAGES, removal=assay.Background(randn(5, 2, 2, 2, dtype=DOUBLE)))
    ends = question.value(torch.tensor([[True], [False]]).expand(2, 8))
    torch.testing.assert_close(ends[:, 0], question.prediction)
    torch.testing.assert_close(ends[:, 1], question.base)


def test_score_and_slope_at_any_points() -> None:
    question = assay.Question(f, IMAGES)
    points = randn(3, 5, 8, seed=9, dtype=DOUBLE)
    for at in (points, points[:, 0]):
        leaf = at.clone().requires_grad_()
        expected = f(leaf.reshape(-1, 2, 2, 2))
        (slope,) = torch.autograd.grad(expected.sum(), leaf)
        torch.testing.assert_close(
            question.score(at), expected.detach().view(at.shape[:-1]), rtol=0, atol=1e-12
        )
        torch.testing.assert_close(question.slope(at), slope, rtol=0, atol=1e-12)
    with pytest.raises(InputError, match=r"\(3, 8\) or \(3, k, 8\), got \(2, 8\)"):
        question.score(points[:2, 0])


def test_scores_of_integers_keep_their_fractions() -> None:
    whole = torch.tensor([[1, 2], [3, 4]])
    question = assay.Question(lambda x: x.double().sum(1) / 2, whole)
    assert question.score(whole).tolist() == [1.5, 3.5]
    assert question.slope is not None
    with pytest.raises(KindError, match="Integers have no slope"):
        question.slope()


def test_integrals_are_weighted_sums_of_slopes_times_velocities() -> None:
    question = assay.Question(f, IMAGES)
    points, velocity = randn(3, 4, 8, seed=1, dtype=DOUBLE), randn(3, 4, 8, seed=2, dtype=DOUBLE)
    weights = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=DOUBLE)
    squares = torch.zeros(3, 8, dtype=DOUBLE)
    made = question.integrate(
        lambda rows, steps: (points[rows, steps], velocity[rows, steps]), weights, squares=squares
    )
    moved = question.slope(points) * velocity
    torch.testing.assert_close(made, torch.einsum("k,nkd->nd", weights, moved), rtol=0, atol=1e-12)
    torch.testing.assert_close(
        squares, torch.einsum("k,nkd->nd", weights, moved**2), rtol=0, atol=1e-12
    )


# --- inputs of every kind


class Pair(torch.nn.Module):
    """Two inputs of other shapes, and context beside them."""

    def forward(
        self, a: torch.Tensor, b: torch.Tensor, scale: Any = 1.0, lengths: Any = None
    ) -> torch.Tensor:
        own = 0.0 if lengths is None else lengths
        return (a.flatten(1).sum(1) * b.prod(1)) * scale + own


def test_several_tensors_are_one_row_and_features_may_span_them() -> None:
    a, b = randn(3, 2, 2, dtype=DOUBLE), randn(3, 2, seed=1, dtype=DOUBLE)
    span = assay.Labels((torch.tensor([[0, 0], [1, 1]]), torch.tensor([0, 2])))
    question = assay.Question(Pair().eval(), (a, b), features=span)
    made = question.value(torch.tensor([[False, True, True]]))[:, 0]
    torch.testing.assert_close(made, a[:, 1].sum(1) * 0.0)
    slope = assay.Gradient()(assay.Question(Pair().eval(), (a, b)))
    torch.testing.assert_close(slope.values[:, :4], b.prod(1, keepdim=True).expand(-1, 4))
    torch.testing.assert_close(slope.values[:, 4], a.flatten(1).sum(1) * b[:, 1])
    assert slope.names == (
        "input0[0,0]",
        "input0[0,1]",
        "input0[1,0]",
        "input0[1,1]",
        "input1[0]",
        "input1[1]",
    )


def test_context_follows_its_input_or_is_the_same_for_all() -> None:
    a, b, lengths = (
        randn(5, 3, dtype=DOUBLE),
        randn(5, 2, seed=1, dtype=DOUBLE),
        torch.arange(5.0, dtype=DOUBLE),
    )
    context = {"scale": assay.Shared(2.0), "lengths": assay.Aligned(lengths)}
    question = assay.Question(assay.wrap(Pair().eval(), batch_size=2), (a, b), context=context)
    torch.testing.assert_close(question.prediction, 2 * a.sum(1) * b.prod(1) + lengths)
    torch.testing.assert_close(question.base, lengths)
    some = question.take(torch.tensor([3, 1]))
    torch.testing.assert_close(some.prediction, question.prediction[[3, 1]])
    with pytest.raises(InputError, match="Expected 5 rows in the aligned context 'lengths'"):
        assay.Question(Pair().eval(), (a, b), context={"lengths": assay.Aligned(lengths[:2])})
    with pytest.raises(
        KindError, match=r"Aligned\(tensor\) or Shared\(value\) as context 'lengths'"
    ):
        assay.Question(Pair().eval(), (a, b), context={"lengths": lengths})  # type: ignore[dict-item]


def test_a_shared_matrix_counts_once_whatever_the_steps() -> None:
    weights = randn(6, 3, dtype=DOUBLE)  # as many rows as inputs: a shape alone does not tell

    class Matrix(torch.nn.Module):
        def forward(self, x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
            return x @ weights

    x = randn(6, 6, seed=1, dtype=DOUBLE)
    asked = assay.Question(Matrix().eval(), x, target=1, context={"weights": assay.Shared(weights)})
    torch.testing.assert_close(assay.IntegratedGradients(5)(asked).values, x * weights[:, 1])


FRAME = pd.DataFrame(
    {
        "age": [30, 40, 50],
        "pay": [1.5, 2.5, 3.5],
        "sex": ["f", "m", "f"],
        "town": pd.Categorical(["a", "b", "c"]),
        "own": [True, False, True],
    }
)


def test_a_frame_comes_back_with_its_own_types() -> None:
    seen: list[pd.DataFrame] = []

    def model(frame: pd.DataFrame) -> np.ndarray:
        seen.append(frame)
        return frame["pay"].to_numpy() + (frame["sex"] == "f") + 10.0 * (frame["town"] == "c")

    question = assay.Question(model, FRAME, removal=assay.Baseline(FRAME.iloc[[0]].assign(age=31)))
    torch.testing.assert_close(question.prediction, torch.tensor([2.5, 2.5, 14.5], dtype=DOUBLE))
    for frame in seen:
        assert list(frame.columns) == list(FRAME.columns)
        assert list(frame.dtypes) == list(FRAME.dtypes)
    absent = question.value(torch.zeros(1, 5, dtype=torch.bool))[:, 0]
    assert absent.tolist() == [2.5] * 3
    pd.testing.assert_frame_equal(question.layout.fold(question.x)[0], FRAME)
    assert question.partition.names == ("age", "pay", "sex", "town", "own")


def test_a_blend_of_whole_numbers_is_handed_over_unrounded() -> None:
    seen: list[pd.DataFrame] = []

    def model(frame: pd.DataFrame) -> np.ndarray:
        seen.append(frame)
        return frame["age"].to_numpy(dtype=float)

    question = assay.Question(model, FRAME[["age"]])
    assert question.value(torch.tensor([[0.25]])).flatten().tolist() == [7.5, 10.0, 12.5]
    assert seen[-1]["age"].dtype == np.float64


def test_lists_arrays_and_single_numbers() -> None:
    rows = [[1.0, 2.0], [3.0, 4.0]]
    asks = [
        assay.Question(lambda x: x.sum(1), made).prediction
        for made in (rows, np.array(rows), torch.tensor(rows))
    ]
    assert [each.tolist() for each in asks] == [[3.0, 7.0]] * 3
    numbers = assay.Question(lambda x: 2 * x, np.array([1.0, 2.0]))
    assert (numbers.prediction.tolist(), numbers.partition.names) == ([2.0, 4.0], ("x",))
    reversed_ = np.arange(6.0).reshape(3, 2)[::-1, ::-1]
    assert assay.Question(lambda x: x[:, 0], reversed_).prediction.tolist() == [5.0, 3.0, 1.0]


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_the_memory_layout_of_images_changes_nothing(memory: Any) -> None:
    x = randn(3, 2, 4, 4, dtype=DOUBLE).contiguous(memory_format=memory)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(2, 3, 3), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(12, 2)
    )
    net = net.double().eval()
    made = assay.Gradient()(assay.Question(net, x, target=0)).values
    leaf = x.clone().contiguous().requires_grad_()
    (slope,) = torch.autograd.grad(net(leaf)[:, 0].sum(), leaf)
    torch.testing.assert_close(made, slope.reshape(3, -1))


# --- questions made from a question


@given(st.lists(st.integers(0, 4), min_size=1, max_size=5))
def test_some_of_the_inputs_are_the_same_question(rows: list[int]) -> None:
    net, x = tanh_net(), randn(5, FEATURES)
    question = assay.Question(net, x, removal=assay.Baseline(x.flip(0)), truth=[10, 11, 12, 13, 14])
    some = question.take(torch.tensor(rows))
    torch.testing.assert_close(some.prediction, question.prediction[rows])
    torch.testing.assert_close(some.base, question.base[rows])
    assert some.keys.tolist() == question.keys[rows].tolist()
    assert list(some.truth) == [10 + row for row in rows]


def test_truth_of_any_kind_goes_along() -> None:
    x = randn(4, 2)
    for truth in (
        torch.arange(4),
        np.arange(4),
        [0, 1, 2, 3],
        pd.Series([0, 1, 2, 3], index=list("abcd")),
    ):
        part = assay.Question(lambda x: x.sum(1), x, truth=truth).part(1, 3)
        assert list(part.truth) == [1, 2]


def test_other_inputs_in_the_place_of_these() -> None:
    question = assay.Question(tanh_net(), randn(3, FEATURES))
    moved = question.at(question.x + 5.0, torch.tensor([0, 1, 2]))
    chosen = question.prediction.new_tensor([float(v) for v in moved.prediction])
    everything = question.outputs(torch.ones(1, FEATURES, dtype=torch.bool))[:, 0].argmax(1)
    expected = moved.outputs(torch.ones(1, FEATURES, dtype=torch.bool))[:, 0].gather(
        1, everything[:, None]
    )[:, 0]
    torch.testing.assert_close(chosen, expected)


def test_a_question_by_elements_credits_every_element() -> None:
    question = assay.Question(f, IMAGES, features=assay.Patches(2))
    assert (question.partition.count, question.by_elements().partition.count) == (1, 8)
    assert question.by_elements().keys.tolist() == question.keys.tolist()


@pytest.mark.parametrize("table", [False, True])
def test_the_two_zeros_are_one_input(table: bool) -> None:
    """Rows that are equal have the same draws."""
    rows: Any = np.array([[0.0, 1.0], [-0.0, 1.0], [1.0, 1.0]])
    model: Any = linear_in_both
    if table:
        rows = pd.DataFrame({"a": rows[:, 0], "b": pd.Categorical(["x", "x", "x"])})
    question = assay.Question(model, rows, removal=assay.Background(rows))
    first, second, third = question.keys.tolist()
    assert first == second != third


def linear_in_both(rows: Any) -> Any:
    return np.asarray(rows)[:, 0].astype(np.float64)


def test_the_verbs_work_in_inference_mode() -> None:
    net, x, masks = tanh_net(), randn(3, FEATURES), torch.eye(FEATURES, dtype=torch.bool)
    usual = assay.Question(net, x, target=0)
    with torch.inference_mode():
        question = assay.Question(net, x * 1, target=0)
        torch.testing.assert_close(question.value(masks), usual.value(masks))
        torch.testing.assert_close(question.outputs(masks), usual.outputs(masks))
        torch.testing.assert_close(question.score(question.x), usual.prediction)
        torch.testing.assert_close(question.slope(), usual.slope())
        torch.testing.assert_close(question.base, usual.base)
        behind = assay.Gradient()(question.after("0")).values
    torch.testing.assert_close(behind, assay.Gradient()(usual.after("0")).values)


def test_nothing_is_asked_before_a_method_is() -> None:
    calls: list[int] = []

    def counted(x: torch.Tensor) -> torch.Tensor:
        calls.append(len(x))
        return x.sum(1)

    question = assay.Question(counted, randn(3, 4))
    assert (calls, question.n, question.x.shape) == ([], 3, (3, 4))
    repr(question)
    assert calls == []
    assert question.prediction.shape == (3,)
    asked = len(calls)
    assert question.prediction.shape == (3,)
    assert len(calls) == asked  # and never again


# --- what the verbs take


def verbs() -> assay.Question:
    return assay.Question(tanh_net(), randn(4, FEATURES), target=0)


MASK = [[True] * (FEATURES - 1) + [False]]


@pytest.mark.parametrize(
    "hold", [np.array, torch.tensor, list, lambda masks: np.array(masks, float)]
)
def test_masks_are_read_from_whatever_holds_them(hold: Any) -> None:
    question = verbs()
    expected = question.value(torch.tensor(MASK))
    torch.testing.assert_close(question.value(hold(MASK)), expected)
    torch.testing.assert_close(question.outputs(hold(MASK)), question.outputs(torch.tensor(MASK)))


@pytest.mark.parametrize(
    "masks",
    [
        None,
        "x",
        {},
        object,
        [["a"] * FEATURES],
        [[True], [True, False]],
        [[1] * FEATURES],
        torch.ones(1, FEATURES, dtype=torch.complex64),
        torch.ones(1, FEATURES).to_sparse(),
        torch.full((1, FEATURES), 1.5),
        torch.full((1, FEATURES), -0.1),
        torch.full((1, FEATURES), float("nan")),
        torch.ones(FEATURES, dtype=torch.bool),
    ],
    ids=str,
)
def test_masks_of_something_else_are_refused(masks: Any) -> None:
    for ask in (verbs().value, verbs().outputs):
        with pytest.raises(AssayError, match="Expected masks"):
            ask(masks)


@pytest.mark.parametrize("hold", [np.asarray, lambda at: at.tolist(), lambda at: at.double(), list])
def test_points_are_read_from_whatever_holds_them(hold: Any) -> None:
    question = verbs()
    at = question.x + 0.5
    torch.testing.assert_close(question.score(hold(at)), question.score(at))
    torch.testing.assert_close(question.slope(hold(at)), question.slope(at))
    assert question.slope(hold(at)).dtype == at.dtype


@pytest.mark.parametrize(
    "at",
    ["x", {}, [["a"]], [[1.0], [1.0, 2.0]], torch.ones(4, FEATURES, dtype=torch.bool),
     torch.ones(4, FEATURES) * 1j, torch.ones(4, FEATURES).to_sparse(), torch.ones(FEATURES),
     torch.ones(3, FEATURES), 1.0],
    ids=str,
)  # fmt: skip
def test_points_of_something_else_are_refused(at: Any) -> None:
    for ask in (verbs().score, verbs().slope):
        with pytest.raises(AssayError, match="Expected points"):
            ask(at)
    with pytest.raises(KindError, match="Expected points"):
        verbs().score(None)  # type: ignore[arg-type]


def test_fractions_are_no_points_of_whole_numbers() -> None:
    question = assay.Question(lambda x: x.sum(1).float(), torch.tensor([[1, 2]]))
    assert question.score(torch.tensor([[3.0, 4.0]])).tolist() == [7.0]
    with pytest.raises(KindError, match="fractions"):
        question.score(torch.tensor([[3.5, 4.0]]))


@pytest.mark.parametrize(
    "rows",
    [
        [2, 0],
        (2, 0),
        np.array([2, 0]),
        np.array([2, 0], dtype=np.uint8),
        torch.tensor([2, 0], dtype=torch.int32),
        [-2, 0],
        range(2, -1, -2),
    ],
    ids=str,
)
def test_some_inputs_are_taken_by_whatever_numbers_them(rows: Any) -> None:
    question = verbs()
    taken = question.take(rows)
    assert taken.n == 2
    torch.testing.assert_close(taken.x, question.x[[2, 0]])
    torch.testing.assert_close(taken.prediction, question.prediction[[2, 0]])


@pytest.mark.parametrize("mask", [np.array, torch.tensor, list])
def test_some_inputs_are_taken_by_a_mask(mask: Any) -> None:
    question = verbs()
    for rows in (mask([True, False, True, False]), slice(0, None, 2)):
        taken = question.take(rows)
        assert taken.n == 2
        torch.testing.assert_close(taken.prediction, question.prediction[[0, 2]])


@pytest.mark.parametrize(
    "rows",
    [None, "x", {}, {1}, 2, 0.5, [0.5], [None], ["a"], [4], [-5], [[0]], [True], [True] * 5],
    ids=str,
)
def test_inputs_that_are_not_there_are_refused(rows: Any) -> None:
    with pytest.raises(AssayError, match="Expected the numbers of some of 4 inputs"):
        verbs().take(rows)


# --- what the caller writes later is not asked about


def test_a_question_holds_what_it_was_given() -> None:
    x, labels, matrix = torch.ones(2, 3), torch.tensor([0, 1]), torch.eye(3)
    array = np.eye(3, dtype=np.float32)
    model = lambda x, matrix, array: x @ matrix @ torch.tensor(array)  # noqa: E731
    context = {"matrix": assay.Shared(matrix), "array": assay.Shared(array)}
    question = assay.Question(model, x, target=labels, context=context)
    labels.fill_(2)
    matrix.zero_()
    array.fill(0)
    assert question.prediction.tolist() == [1.0, 1.0]
    assert question.target.take(torch.tensor([1])).index.tolist() == [1]  # type: ignore[attr-defined]


def test_the_digest_tells_contexts_apart() -> None:
    model = lambda x, a, b=0: (x * a).sum(1) + 0 * torch.as_tensor(b).sum()  # noqa: E731

    def digest(**context: Any) -> str:
        return assay.Question(model, torch.ones(2, 3), context=context).digest

    one = torch.ones(2, 3)
    digests = [
        digest(a=assay.Shared(one[:1])),
        digest(a=assay.Shared(2 * one[:1])),
        digest(a=assay.Aligned(one)),
        digest(a=assay.Aligned(2 * one)),
        digest(a=assay.Shared(one[:1].numpy())),
        digest(a=assay.Shared(2.0)),
        digest(a=assay.Shared(3.0)),
        digest(a=assay.Shared(2.0), b=assay.Shared(np.array([1]))),
    ]
    assert len(set(digests)) == len(digests)
    assert digest(a=assay.Shared(2.0)) == digests[5]


@pytest.mark.parametrize("method", [assay.ExactShapley(), assay.IntegratedGradients(4)], ids=repr)
def test_one_number_is_a_feature_too(method: assay.Method) -> None:
    question = assay.Question(lambda x: x[:, 0] ** 2, torch.full((3, 1), 2.0))
    torch.testing.assert_close(method(question).values, torch.full((3, 1), 4.0))


def test_one_expanded_number_is_told_from_another_wherever_it_stands() -> None:
    def digest(number: float) -> tuple[str, str]:
        one = torch.tensor(number).expand(1)
        net = torch.nn.Linear(2, 1)
        torch.nn.init.ones_(net.weight)
        net.bias = torch.nn.Parameter(one, requires_grad=False)
        x = torch.ones(1, 2)
        context = {"scale": assay.Shared(one)}
        scaled = assay.Question(lambda x, scale: x.sum(1) * scale, x, context=context)
        return assay.Question(net, x, target=0).digest, scaled.digest

    again, other = digest(0.5), digest(0.75)
    assert digest(0.5) == again
    assert again[0] != other[0]
    assert again[1] != other[1]


def test_outputs_are_numbered_by_whatever_holds_numbers() -> None:
    question = verbs()
    for columns in ([1], (1,), np.array([1]), torch.tensor([1]), 1, np.int64(1)):
        (asked,) = question.for_outputs(columns)  # type: ignore[arg-type]
        assert asked.target.index == 1  # type: ignore[attr-defined]
    for columns in (["a"], "a", [0.5], [True], [[0]], {}, [-1], [9]):
        with pytest.raises(AssayError, match="Expected"):
            question.for_outputs(columns)  # type: ignore[arg-type]


def test_a_target_without_a_value_on_the_inputs_is_refused() -> None:
    x = torch.tensor([[1.0], [-1.0], [2.0]])
    for method in (assay.Gradient(), assay.Occlusion()):
        with pytest.raises(TargetError, match="NaN or infinity for 1 of 3"):
            method(assay.Question(torch.nn.Identity(), x, target=lambda y: y[:, 0].sqrt()))


@pytest.mark.parametrize("target", [lambda y: torch.ones(len(y)), lambda y: y[:, 0].detach()])
def test_a_target_without_slopes_is_told_from_outputs_without_them(target: Any) -> None:
    with pytest.raises(AbilityError, match="a target that can be differentiated"):
        assay.Gradient()(assay.Question(tanh_net(), randn(2, FEATURES), target=target))


def test_one_output_of_many_is_the_same_question_as_it_alone() -> None:
    net = torch.nn.Linear(3, 2)
    question = assay.Question(net, torch.ones(2, 3), target=0)
    digests = [part.digest for part in question.for_outputs()]
    alone = [assay.Question(net, torch.ones(2, 3), target=output).digest for output in (0, 1)]
    assert digests == alone
    assert alone[0] != alone[1]
