"""Targets: one number per row, chosen once, refused early."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import assay
from assay.errors import KindError, TargetError
from assay.targets import (
    Centred,
    Contrast,
    Function,
    LogOdds,
    LogProb,
    Negated,
    Output,
    Predicted,
    Sequence,
    Target,
    as_target,
)
from toys import FEATURES, randn, tanh_net

LOGITS = randn(5, 3, seed=4, dtype=torch.float64)
ROWS = torch.arange(5)


def value(target: Any, outputs: torch.Tensor = LOGITS) -> torch.Tensor:
    chosen = as_target(target).sized(len(outputs)).choose(outputs)
    return chosen.score(outputs, torch.arange(len(outputs)))


EACH = [2, 0, 1, 1, 0]
PROBABILITIES = LOGITS.softmax(1)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (1, LOGITS[:, 1]),
        (-1, LOGITS[:, 2]),
        (np.int64(1), LOGITS[:, 1]),
        (torch.tensor(1), LOGITS[:, 1]),
        (EACH, LOGITS[ROWS, EACH]),
        (np.array(EACH), LOGITS[ROWS, EACH]),
        (torch.tensor(EACH), LOGITS[ROWS, EACH]),
        (Output(np.array(EACH)), LOGITS[ROWS, EACH]),
        (Predicted(), LOGITS.amax(1)),
        (LogProb(), PROBABILITIES.amax(1).log()),
        (LogProb(2), PROBABILITIES[:, 2].log()),
        (LogProb(Output(EACH)), PROBABILITIES[ROWS, EACH].log()),
        (Centred(0), LOGITS[:, 0] - LOGITS.mean(1)),
        (Centred(0), PROBABILITIES[:, 0].log() - PROBABILITIES.log().mean(1)),
        (LogOdds(0), (PROBABILITIES[:, 0] / (1 - PROBABILITIES[:, 0])).log()),
        (LogOdds(), (PROBABILITIES.amax(1) / (1 - PROBABILITIES.amax(1))).log()),
        (Contrast(0, 2), LOGITS[:, 0] - LOGITS[:, 2]),
        (Contrast(Predicted(), EACH), LOGITS.amax(1) - LOGITS[ROWS, EACH]),
        (Negated(1), -LOGITS[:, 1]),
        (Negated(), -LOGITS.amax(1)),
        (Negated(Contrast(0, LogProb(1))), PROBABILITIES[:, 1].log() - LOGITS[:, 0]),
        (lambda outputs: outputs.square().sum(1), LOGITS.square().sum(1)),
        (Function(lambda outputs: outputs[:, 0]), LOGITS[:, 0]),
    ],
)
def test_a_target_is_what_its_formula_says(target: Any, expected: torch.Tensor) -> None:
    torch.testing.assert_close(value(target), expected, rtol=0, atol=1e-12)


def test_a_centred_logit_is_the_same_of_probabilities_and_beside_any_constant() -> None:
    made = value(Centred(1, probabilities=True), PROBABILITIES)
    torch.testing.assert_close(made, value(Centred(1)), rtol=0, atol=1e-9)
    moved = value(Centred(1), LOGITS + 100.0)
    torch.testing.assert_close(moved, value(Centred(1)), rtol=0, atol=1e-9)


def test_log_odds_of_probabilities_and_of_a_sure_logit() -> None:
    made = value(LogOdds(1, probabilities=True), PROBABILITIES)
    torch.testing.assert_close(made, value(LogOdds(1)), rtol=0, atol=1e-9)
    sure = torch.tensor(
        [[60.0, 0.0, 0.0]], dtype=torch.float32
    )  # 1 - p is 0 in float32; the odds are not infinite
    torch.testing.assert_close(value(LogOdds(0), sure), torch.tensor([60.0 - float(np.log(2))]))


def test_a_single_output_needs_no_target() -> None:
    for outputs in (LOGITS[:, 0], LOGITS[:, :1]):
        torch.testing.assert_close(value(Predicted(), outputs), LOGITS[:, 0])


def test_a_tuple_points_into_outputs_of_several_dimensions() -> None:
    outputs = randn(5, 2, 3, seed=1)
    torch.testing.assert_close(value((1, 2), outputs), outputs[:, 1, 2])


@pytest.mark.parametrize(
    ("target", "outputs", "message"),
    [
        (3, LOGITS, r"inside outputs of shape \(3,\), got output number 3; the first output is 0"),
        (-4, LOGITS, "inside outputs"),
        ([0, 1, 2, 3, 0], LOGITS, "inside outputs"),
        (1, LOGITS[:, 0], r"inside outputs of shape \(1,\)"),
        ((0, 1), LOGITS, "points at one of the outputs"),
        (0, LOGITS.view(5, 3, 1), r"Give a tuple of 2 ints"),
        (Predicted(), LOGITS.view(5, 3, 1), r"Output\(\(i, j\)\)"),
        ([0, 1], LOGITS, r"one int per input, shape \(5,\)"),
        ([0.5] * 5, LOGITS, "one int per input"),
        (LogProb(), LOGITS[:, 0], "two classes or more"),
        (LogOdds(), LOGITS[:, :1], "two classes or more"),
        (lambda outputs: outputs, LOGITS, r"return a tensor of shape \(5,\), got \(5, 3\)"),
        (lambda outputs: 1.0, LOGITS, "got float"),
    ],
)
def test_a_target_that_the_outputs_cannot_answer_is_refused(
    target: Any, outputs: torch.Tensor, message: str
) -> None:
    with pytest.raises(TargetError, match=message):
        value(target, outputs)


@pytest.mark.parametrize("target", [1.5, True, object(), None])
def test_a_target_of_the_wrong_kind_is_refused(target: Any) -> None:
    with pytest.raises(KindError, match="Expected"):
        as_target(target).sized(5)


def test_something_predicted_cannot_be_scored_before_it_is_chosen() -> None:
    with pytest.raises(TargetError, match="choose"):
        Predicted().score(LOGITS, ROWS)


def test_negative_outputs_of_each_input_count_from_the_end() -> None:
    net, x = tanh_net(), randn(3, FEATURES)
    question = assay.Question(net, x, target=[-1, -2, 0])
    expected = net(x)[torch.arange(3), [-1, -2, 0]].detach()
    torch.testing.assert_close(question.prediction, expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    "target",
    [
        Output(EACH),
        Predicted(),
        LogProb(),
        LogOdds(EACH),
        Contrast(Predicted(), EACH),
        Negated(EACH),
        Output(1),
    ],
)
def test_targets_travel_with_their_inputs(target: Target) -> None:
    whole = target.sized(5).choose(LOGITS)
    some = torch.tensor([3, 1])
    torch.testing.assert_close(
        whole.take(some).score(LOGITS[some], torch.arange(2)), value(target)[some]
    )
    parts = [target.sized(5).take(rows).choose(LOGITS[rows]) for rows in (ROWS[:2], ROWS[2:])]
    torch.testing.assert_close(parts[0].joined(parts[1:]).score(LOGITS, ROWS), value(target))


def test_the_prediction_is_chosen_on_the_clean_input_and_never_again() -> None:
    flips = lambda x: torch.stack([x[:, 0], 1 - x[:, 0]], dim=1)  # noqa: E731
    question = assay.Question(flips, torch.tensor([[0.9], [0.2]]))
    assert question.value(torch.tensor([[False]])).tolist() == [
        [0.0],
        [1.0],
    ]  # class 0 of the first, class 1 of the second
    torch.testing.assert_close(question.prediction, torch.tensor([0.9, 0.8]))
    moved = question.at(torch.tensor([[0.1], [0.9]]))
    torch.testing.assert_close(moved.prediction, torch.tensor([0.1, 0.1]))


def test_a_neuron_is_a_target() -> None:
    net, x = tanh_net(), randn(4, FEATURES)
    question = assay.Question(net, x, target=assay.Neuron("0", 5))
    torch.testing.assert_close(question.prediction, net[0](x)[:, 5].detach())
    same = assay.Question(net, x).upto("0", 5)
    torch.testing.assert_close(assay.Gradient()(same).values, assay.Gradient()(question).values)


def test_one_target_per_input_equals_asking_one_by_one() -> None:
    net, x = tanh_net(), randn(5, FEATURES)
    whole = assay.IntegratedGradients(8)(assay.Question(net, x, target=EACH)).values
    for i, target in enumerate(EACH):
        alone = assay.IntegratedGradients(8)(
            assay.Question(net, x[i : i + 1], target=target)
        ).values
        torch.testing.assert_close(whole[i : i + 1], alone)


# --- captions

STEPS = randn(3, 4, 6, seed=8, dtype=torch.float64)  # three inputs, four steps, six words


def told(words: list[int], outputs: torch.Tensor) -> float:
    """The slow twin: one word after the other."""
    return sum(
        float(outputs[at].softmax(0)[word].log()) for at, word in enumerate(words) if word >= 0
    )


@pytest.mark.parametrize(
    "words",
    [[5, 0, 2, 2], (1, -1, -1, 3), [[0, 1, 2, 3], [3, 3, -1, 0], [5, -1, -1, -1]]],
    ids=["one", "some", "each"],
)
def test_a_caption_is_as_probable_as_its_words_after_each_other(words: Any) -> None:
    each = words if isinstance(words[0], list) else [list(words)] * 3
    expected = torch.tensor(
        [told(row, outputs) for row, outputs in zip(each, STEPS)], dtype=torch.float64
    )
    torch.testing.assert_close(value(Sequence(words), STEPS), expected, rtol=0, atol=1e-12)
    # log-probabilities are told as the logits they came from
    torch.testing.assert_close(
        value(Sequence(words), STEPS.log_softmax(2)), expected, rtol=0, atol=1e-12
    )
    chosen = Sequence(words).choose(STEPS)
    parts = [chosen.take(torch.tensor([at])) for at in range(3)]
    torch.testing.assert_close(
        parts[2].score(STEPS[2:], torch.tensor([0])), expected[2:], rtol=0, atol=1e-12
    )
    torch.testing.assert_close(
        parts[0].joined(parts[1:]).score(STEPS, torch.arange(3)), expected, rtol=0, atol=1e-12
    )
    assert eval(repr(Sequence(words))).words == torch.as_tensor(words).tolist()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([0.5, 1.0, 0.0, 0.0], "an int"),
        ([], "an int"),
        ([-1, -1, -1, -1], "an int"),
        ([[0, 1, 2, 3]], "each of 3 inputs"),
        ([0, 1, 2], r"3 steps, more than 2 words\) for the caption, got \(3, 4, 6\)"),
        ([0, 1, 2, 6], "more than 6 words"),
    ],
)
def test_captions_that_fit_no_output_are_refused(words: Any, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        Sequence(words).sized(3).choose(STEPS)


class Captions(torch.nn.Module):
    """A picture and the words so far to the next words: (n, steps, vocabulary)."""

    def __init__(self) -> None:
        super().__init__()
        self.see, self.read = torch.nn.Linear(16, 5), torch.nn.Embedding(7, 5)
        self.say = torch.nn.Linear(5, 7)

    def forward(self, picture: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        return self.say(torch.tanh(self.see(picture.flatten(1))[:, None] + self.read(words)))


@pytest.mark.parametrize(
    "method", [assay.Rise(masks=200, grid=4), assay.Gradient(), assay.IntegratedGradients(8)]
)
def test_the_maps_of_its_words_add_up_to_the_map_of_a_caption(method: assay.Method) -> None:
    torch.manual_seed(0)
    net, pictures, words = (
        Captions().double().eval(),
        randn(2, 1, 4, 4, dtype=torch.float64),
        [3, 1, 6],
    )
    before = torch.tensor([0, *words[:-1]]).expand(2, -1)

    def asked(target: Any) -> torch.Tensor:
        question = assay.Question(
            net, pictures, target, assay.Pixels(), context={"words": assay.Aligned(before)}
        )
        return method(question).values

    each = [
        asked(Sequence([word if at == step else -1 for at, word in enumerate(words)]))
        for step in range(3)
    ]
    torch.testing.assert_close(asked(Sequence(words)), sum(each[1:], each[0]), rtol=0, atol=1e-10)
    one = asked(lambda outputs: outputs[:, 1].log_softmax(1)[:, 1])
    torch.testing.assert_close(each[1], one, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("target", "by_hand"),
    [
        (assay.Negated(assay.Neuron("1", 2)), lambda h: -h[:, 2]),
        (assay.Contrast(assay.Neuron("1", 2), assay.Neuron("1", 0)), lambda h: h[:, 2] - h[:, 0]),
        (
            assay.Contrast(assay.Negated(assay.Neuron("1", 2)), assay.Neuron("1", 0)),
            lambda h: -h[:, 2] - h[:, 0],
        ),
    ],
)
def test_a_neuron_inside_another_target_is_the_neuron(target: Any, by_hand: Any) -> None:
    net, x = tanh_net(), randn(3, 4)
    torch.testing.assert_close(
        assay.Question(net, x, target=target).prediction, by_hand(net[:2](x)).detach()
    )


class Doubled(assay.targets.Target):
    """A target of somebody else that knows nothing of layers."""

    inner = assay.Neuron("1", 2)

    def score(self, outputs: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        return 2 * self.inner.score(outputs, rows)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (lambda: assay.LogProb(assay.Neuron("1", 2)), "outputs in LogProb, got Neuron"),
        (lambda: assay.LogOdds(assay.Negated(assay.Neuron("1", 2))), "outputs in LogOdds, got Neg"),
        (lambda: assay.Contrast(assay.Neuron("1", 2), 0), "two neurons of one layer"),
        (lambda: assay.Contrast(assay.Neuron("1", 2), assay.Neuron("0", 2)), "two neurons of one"),
        (Doubled, "inside another target"),
    ],
)
def test_a_neuron_is_never_taken_for_an_output(target: Any, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        _ = assay.Question(tanh_net(), randn(3, 4), target=target()).prediction


# --- whatever holds whole numbers, and what does not

GRID = randn(5, 2, 3, seed=1)  # five inputs, outputs of two dimensions
PLACES = [(0, 2), (1, 1), (1, 0), (0, 0), (-1, -1)]


@pytest.mark.parametrize(
    "places", [PLACES, torch.tensor(PLACES), np.array(PLACES), [np.array(p) for p in PLACES]]
)
def test_every_input_may_have_its_own_place(places: Any) -> None:
    expected = torch.stack([GRID[i][place] for i, place in enumerate(PLACES)])
    torch.testing.assert_close(value(places, GRID), expected, rtol=0, atol=0)
    whole = as_target(places).sized(5).choose(GRID)
    some = torch.tensor([3, 1, 4])
    taken = whole.take(some).score(GRID[some], torch.arange(3))
    torch.testing.assert_close(taken, expected[some], rtol=0, atol=0)
    parts = [as_target(places).sized(5).take(part).choose(GRID[part]) for part in ROWS.split(2)]
    joined = parts[0].joined(parts[1:]).score(GRID, ROWS)
    torch.testing.assert_close(joined, expected, rtol=0, atol=0)


def test_places_of_inputs_are_asked_as_one_by_one() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(FEATURES, 6), torch.nn.Unflatten(1, (2, 3)))
    x = randn(5, FEATURES)
    made = assay.Gradient()(assay.Question(net, x, target=PLACES)).values
    leaf = x.clone().requires_grad_()
    total = sum(net(leaf)[i][place] for i, place in enumerate(PLACES))
    (slope,) = torch.autograd.grad(total, leaf)
    torch.testing.assert_close(made, slope)


COUNTED_BACK = [-1, -2, 0, -3, 2]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (COUNTED_BACK, LOGITS[ROWS, COUNTED_BACK]),
        (torch.tensor([1]), LOGITS[:, 1]),
        (np.array([1]), LOGITS[:, 1]),
        (np.array(EACH, dtype=np.uint8), LOGITS[ROWS, EACH]),
        (np.array(EACH[::-1])[::-1], LOGITS[ROWS, EACH]),
        (np.array(EACH)[:, None], LOGITS[ROWS, EACH]),
        ([np.int64(i) for i in EACH], LOGITS[ROWS, EACH]),
        ([torch.tensor(i) for i in EACH], LOGITS[ROWS, EACH]),
        ([(i,) for i in EACH], LOGITS[ROWS, EACH]),
        (pd.Series(EACH, index=list("vwxyz")), LOGITS[ROWS, EACH]),
        (pd.Series(EACH, index=[7, 3, 9, 1, 2]), LOGITS[ROWS, EACH]),
        (pd.Series(EACH, dtype="Int64"), LOGITS[ROWS, EACH]),
        (pd.DataFrame({"y": EACH}), LOGITS[ROWS, EACH]),
        ((np.int64(1),), LOGITS[:, 1]),
        (Contrast(pd.Series(EACH, index=list("vwxyz")), 0), LOGITS[ROWS, EACH] - LOGITS[:, 0]),
    ],
)
def test_whole_numbers_are_read_from_whatever_holds_them(
    target: Any, expected: torch.Tensor
) -> None:
    torch.testing.assert_close(value(target), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "target",
    [
        [None] * 5,
        ["a"] * 5,
        [[0], [1, 2], [0], [0], [0]],
        [0, (1, 2), 0, 0, 0],
        (0.5,),
        (slice(0, 2),),
        ("a",),
        (True,),
        (None,),
        ((0, 1), (1, 2)),
        [True] * 5,
        [1],
        [],
        [(), (), (), (), ()],
        np.array([1.5] * 5),
        torch.tensor([1j] * 5),
        pd.Series(["good"] * 5),
        pd.Series(EACH, dtype="category").astype(str),
        pd.Series([0, 1, None, 1, 0], dtype="Int64"),
        torch.tensor([[0, 1]]),
        pd.DataFrame({"a": EACH, "b": EACH}),
        np.zeros((5, 1, 1), dtype=int),
    ],
    ids=str,
)
def test_targets_of_something_else_are_refused_by_name(target: Any) -> None:
    with pytest.raises(TargetError, match="Expected"):
        value(target)


def test_a_target_of_another_kind_is_told_how_to_be_made() -> None:
    with pytest.raises(KindError, match=r"the class Predicted. Make one: Predicted\(\.\.\.\)"):
        as_target(Predicted)


@pytest.mark.parametrize("target", [1, [0, 1, 0, 0, 0], [-2, 0, 0, 0, 0]])
def test_the_only_output_has_a_name_in_the_refusal(target: Any) -> None:
    with pytest.raises(
        TargetError, match=r"got output number (1|-2); .*There is one output: use 0"
    ):
        value(target, LOGITS[:, :1])
    # scored without having been chosen, as by what retrains models of its own
    with pytest.raises(TargetError, match="There is one output: use 0"):
        as_target(target).sized(5).score(LOGITS[:, 0], ROWS)


# --- functions


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda y: y[:, 7], r"score outputs of shape \(5, 3\), got IndexError"),
        (lambda y: y @ torch.ones(9, dtype=y.dtype), "got RuntimeError"),
        (lambda y: {}["score"], "got KeyError: 'score'"),
        (lambda y: (y * torch.ones(2, 3)).sum(1), r"context=\{'mask': Aligned\(mask\)\}"),
        (lambda y: y[:1].sum(1) * torch.ones(2), r"got \(2,\)\. .*Aligned"),
        (lambda y: y[:, 0] * 1j, "complex"),
        (lambda y: y[:, 0] > 0, "bool"),
        (lambda y: y[:, 0].to_sparse(), "sparse"),
        (lambda y: None, "got NoneType"),
        (lambda y: y[:, 0].numpy(), "got ndarray"),
        (lambda y: y.sum(), r"got \(\)"),
        (lambda y: y[:, :1], r"got \(5, 1\)"),
    ],
)
def test_functions_that_do_not_score_rows_are_refused(function: Any, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        value(function)


def test_what_a_target_function_raised_is_its_cause() -> None:
    with pytest.raises(TargetError) as refused:
        value(lambda y: y[:, 7])
    assert isinstance(refused.value.__cause__, IndexError)
    with pytest.raises(MemoryError):  # answered by the engine, with smaller chunks
        value(lambda y: (_ for _ in ()).throw(MemoryError()))


# --- units of a layer


@pytest.mark.parametrize(
    ("unit", "by_hand"),
    [
        (slice(0, 2), lambda h: h[:, 0] + h[:, 1]),
        ((slice(0, 2),), lambda h: h[:, 0] + h[:, 1]),
        ((slice(None, None, 3),), lambda h: h[:, 0] + h[:, 3] + h[:, 6]),
        (slice(-1, None, -4), lambda h: h[:, 7] + h[:, 3]),
        (slice(np.int64(6), None), lambda h: h[:, 6] + h[:, 7]),
        (np.int64(5), lambda h: h[:, 5]),
        ((np.int64(5),), lambda h: h[:, 5]),
        (lambda h: h.square().sum(1), lambda h: h.square().sum(1)),
        ([1, 0, 2, 7], lambda h: h[torch.arange(4), [1, 0, 2, 7]]),
        (Contrast(0, 3), lambda h: h[:, 0] - h[:, 3]),
    ],
)
def test_units_are_picked_added_up_or_put_together(unit: Any, by_hand: Any) -> None:
    net, x = tanh_net(), randn(4, FEATURES)
    leaf = x.clone().requires_grad_()
    expected = by_hand(net[:2](leaf))
    (slope,) = torch.autograd.grad(expected.sum(), leaf)
    for question in (
        assay.Question(net, x, target=assay.Neuron("1", unit)),
        assay.Question(net, x).upto("1", unit),
    ):
        torch.testing.assert_close(question.prediction, expected.detach())
        torch.testing.assert_close(assay.Gradient()(question).values, slope)


def test_units_of_a_map_may_be_added_up_along_some_of_its_dimensions() -> None:
    net, x = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 2), torch.nn.ReLU()), randn(2, 1, 5, 5)
    question = assay.Question(net, x).upto("1", (2, slice(1, 3), slice(None)))
    torch.testing.assert_close(question.prediction, net(x)[:, 2, 1:3].sum((1, 2)).detach())


@pytest.mark.parametrize(
    "unit",
    [slice(8, 9), slice("a", None), slice(0, 2, 0), (slice(0, 2), 0), (slice(0, 2), 9), (0.5,), 8],
)
def test_units_that_the_layer_does_not_have_are_refused(unit: Any) -> None:
    with pytest.raises(TargetError, match="Expected"):
        _ = assay.Question(tanh_net(), randn(4, FEATURES)).upto("1", unit).prediction


@pytest.mark.parametrize("unit", [None, "a", 0.5, True, {}, ...])
def test_units_of_the_wrong_kind_are_refused(unit: Any) -> None:
    with pytest.raises(KindError, match="Expected a unit of layer '1'"):
        assay.Question(tanh_net(), randn(4, FEATURES), target=assay.Neuron("1", unit))


def test_a_neuron_of_a_neuron_is_refused() -> None:
    with pytest.raises(TargetError, match="A question stops at one layer"):
        assay.Question(tanh_net(), randn(4, FEATURES)).upto("1", assay.Neuron("0", 1))


@pytest.mark.parametrize("target", [assay.LogProb(0), assay.LogOdds(0)])
@pytest.mark.parametrize("model", [lambda x: x.sum(1), lambda x: x.sum(1, keepdim=True)])
def test_one_number_has_no_softmax(model: Any, target: Any) -> None:
    with pytest.raises(TargetError, match="two classes or more"):
        _ = assay.Question(model, torch.ones(2, 3), target=target).prediction
