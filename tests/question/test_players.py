"""Each input is solved on its own players: absent words, zeros of sparse rows, padded places."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

import assay
from assay.question.players import changeable_features, existing_features

WORTH = {"good": 1.0, "fun": 2.0, "bad": -3.0}


def tone(texts: Sequence[str]) -> np.ndarray:
    """Words add up, and three of them together earn one more."""
    split = [text.split() for text in texts]
    sums = [sum(WORTH.get(word, 0.0) for word in words) for words in split]
    together = [{"a", "good", "fun"} <= set(words) for words in split]
    return np.array(sums) + np.array(together)


TEXTS = ["a good fun", "a " + " ".join(["good fun bad meh"] * 6), "fun"]

SOLVING = [
    assay.KernelShap(),
    assay.KernelShap(budget=200),
    assay.KernelShap(until=0.5),
    assay.PermutationShapley(4),
    assay.SamplingShapley(5),
    assay.ProxyShap(150),
    assay.OwenValues(),
    assay.Qii(budget=200),
    assay.Qii("banzhaf", budget=200),
    assay.Qii("unary"),
    assay.Lime(assay.CoinMasks(200)),
    assay.Lime(assay.SizeMasks(200), keep=2),
    assay.Rise(masks=100),
    assay.Rise(masks=100, estimator="centred"),
    assay.Occlusion(),
    assay.Occlusion(window=2),
]


def same(one: assay.Attribution, other: assay.Attribution, row: int) -> None:
    """The answer for an input beside others is the one it gets alone, and 0 where it has nothing."""
    width = other.values.shape[1]
    for beside, alone in (
        (one.values, other.values),
        (one.standard_error, other.standard_error),
    ):
        if beside is None:
            assert alone is None
            continue
        rest = torch.zeros(beside.shape[1] - width).tolist()
        assert beside[row, width:].tolist() == rest
        expected = torch.zeros(width) if alone is None else alone[0]
        torch.testing.assert_close(beside[row, :width], expected, check_dtype=False)


@pytest.mark.parametrize("method", SOLVING, ids=repr)
def test_a_short_text_beside_a_long_one(method: assay.Method) -> None:
    together = method(assay.Question(tone, TEXTS), seed=2)
    for row in (0, 1):
        alone = method(assay.Question(tone, TEXTS[row : row + 1]), seed=2)
        same(together, alone, row)
    assert together.facts["players"] == [3, 25, 1]


def test_words_that_a_text_does_not_have_take_nothing() -> None:
    answer = assay.KernelShap()(assay.Question(tone, TEXTS))
    expected = torch.tensor([1 / 3, 4 / 3, 7 / 3] + [0.0] * 22, dtype=torch.float64)
    torch.testing.assert_close(answer.values[0], expected)
    assert answer.values[2].tolist() == [2.0] + [0.0] * 24


def brute(value: Callable[[frozenset[int]], float], count: int) -> list[float]:
    """Shapley values from all orderings."""
    credit = [0.0] * count
    for order in itertools.permutations(range(count)):
        for place, feature in enumerate(order):
            before = frozenset(order[:place])
            credit[feature] += value(before | {feature}) - value(before)
    return [total / math.factorial(count) for total in credit]


SHAPLEY = [
    assay.ExactShapley(),
    assay.LowOrderShap(),
    assay.KernelShap(),
    assay.ProxyShap(),
    assay.Qii(),
]


@pytest.mark.parametrize("method", SHAPLEY, ids=repr)
def test_zeros_of_a_sparse_row_leave_a_small_game(method: assay.Method) -> None:
    # 40 columns are too many to enumerate: 4 and 3 that are not zero are few.
    x = torch.zeros(2, 40, dtype=torch.float64)
    x[0, [3, 11, 20, 39]] = torch.tensor([1.0, 2.0, -1.0, 0.5]).double()
    x[1, [0, 1, 2]] = torch.tensor([1.0, 1.0, 2.0]).double()

    def model(rows: Tensor) -> Tensor:
        return (rows + 1.0).prod(dim=1) + rows.sum(dim=1).sin()

    answer = method(assay.Question(model, x))
    for row in x:
        places = row.nonzero()[:, 0].tolist()

        def value(present: frozenset[int], row: Tensor = row, places: list[int] = places) -> float:
            kept = torch.zeros_like(row)
            for number in present:
                kept[places[number]] = row[places[number]]
            return float(model(kept[None])[0])

        expected = torch.zeros(40, dtype=torch.float64)
        expected[places] = torch.tensor(brute(value, len(places)), dtype=torch.float64)
        (index,) = (int(i) for i in (x == row).all(dim=1).nonzero()[:, 0])
        torch.testing.assert_close(answer.values[index], expected, rtol=0, atol=1e-9)
        assert answer.values[index][expected == 0].abs().max() == 0
    assert answer.facts["players"] == [4, 3]
    assert answer.facts["forwards"] <= 2**4 + 2**3 + 16


def test_thousands_of_columns_of_which_few_move() -> None:
    draw = np.random.default_rng(0)
    x = np.zeros((2, 3000))
    x[0, draw.choice(3000, 30, replace=False)] = 1.0
    x[1, draw.choice(3000, 20, replace=False)] = 1.0
    weights = draw.normal(size=3000)
    answer = assay.KernelShap()(assay.Question(lambda rows: rows @ weights, x))
    np.testing.assert_allclose(answer.values.numpy(), x * weights, atol=1e-10)


def test_all_outputs_at_once() -> None:
    x = torch.tensor([[1.0, 0.0, 2.0], [1.0, 3.0, 2.0], [0.0, 0.0, 0.0]])
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
    for method in (assay.ExactShapley(), assay.KernelShap(until=0.1), assay.Lime(keep=1)):
        answers = method.for_outputs(assay.Question(net, x, target=0))
        for output, answer in enumerate(answers):
            alone = method(assay.Question(net, x, target=output))
            torch.testing.assert_close(answer.values, alone.values)
            assert answer.values[0, 1] == 0
            assert answer.values[2].tolist() == [0.0] * 3
            assert answer.facts.get("intercept") == alone.facts.get("intercept")


def test_padded_places_of_a_shared_map_of_labels() -> None:
    # Two molecules of three places: the second has two atoms, of two numbers each.
    labels = torch.tensor([[0, 0, 1, 1, 2, 2], [0, 0, 1, 1, -1, -1]])
    x = torch.tensor([[1.0, 2.0, 3.0, 1.0, 2.0, 2.0], [1.0, 1.0, 2.0, 1.0, 9.0, 9.0]])
    features = assay.Labels(labels)
    for method in (assay.KernelShap(), assay.Rise(masks=100), assay.Lime(), assay.Occlusion()):
        together = method(assay.Question(lambda rows: rows.prod(dim=1), x, features=features))
        alone = method(
            assay.Question(lambda rows: rows.prod(dim=1), x[1:], features=assay.Labels(labels[1:]))
        )
        same(together, alone, 1)


def test_a_hierarchy_of_the_user_is_cut_to_the_players() -> None:
    x = torch.tensor([[1.0, 2.0, 0.0, 3.0, 0.0], [1.0, 2.0, 4.0, 3.0, 2.0]], dtype=torch.float64)

    def model(rows: Tensor) -> Tensor:
        return rows[:, 0] * rows[:, 1] * rows[:, 3] + rows.sum(dim=1) ** 2

    def asked(hierarchy: object, columns: list[int], row: int) -> Tensor:
        def narrow(rows: Tensor) -> Tensor:
            wide = torch.zeros(len(rows), 5, dtype=rows.dtype)
            wide[:, columns] = rows
            return model(wide)

        question = assay.Question(narrow, x[row : row + 1, columns])
        return assay.OwenValues(hierarchy)(question).values[0]

    nested = ((0, 1, 2), (3, 4))
    answer = assay.OwenValues(nested)(assay.Question(model, x)).values
    torch.testing.assert_close(answer[0, [0, 1, 3]], asked(((0, 1), 2), [0, 1, 3], 0))
    assert answer[0, [2, 4]].tolist() == [0.0, 0.0]
    torch.testing.assert_close(answer[1], asked(nested, [0, 1, 2, 3, 4], 1))
    with pytest.raises(assay.errors.InputError, match="features 0 to 4 once"):
        assay.OwenValues(((0, 1), 3))(assay.Question(model, x))


def test_halves_of_a_map_keep_its_places() -> None:
    image = torch.tensor([[[[1.0, 2.0], [0.0, 3.0]]]], dtype=torch.float64)

    def model(rows: Tensor) -> Tensor:
        return rows.flatten(1).sum(dim=1) ** 3

    features = assay.Pixels()
    owen = assay.OwenValues()(assay.Question(model, image, features=features)).values
    nested = assay.OwenValues(((0, 1), (2, 3)))
    by_hand = nested(assay.Question(model, image, features=features)).values
    torch.testing.assert_close(owen, by_hand)
    assert owen[0, 2] == 0


def test_a_set_that_holds_a_dummy_has_the_influence_of_the_others() -> None:
    x = torch.tensor([[3.0, 0.0, 2.0]])
    answer = assay.Qii("set", given=(0,))(assay.Question(lambda rows: rows.sum(dim=1), x))
    assert answer.values.tolist() == [[3.0, 3.0, 5.0]]


def test_who_plays() -> None:
    x = torch.tensor([[1.0, 0.0, torch.nan, 5.0]])
    question = assay.Question(
        torch.nn.Linear(4, 1),
        torch.ones(1, 4),
        features=assay.Labels(torch.tensor([0, 1, 2, -1])),
    )
    partition = question.partition
    rows = torch.tensor([[[1.0, 0.0, torch.nan, 0.0], [2.0, 0.0, torch.nan, 0.0]]])
    absent = assay.removals.base.FixedAbsent(rows)
    # What is missing in the input and in every row stays missing; column 3 belongs to nobody.
    assert changeable_features(x, partition, absent).tolist() == [[True, False, False]]
    assert existing_features(x, partition).tolist() == [[True, True, True]]
    one = assay.removals.base.FixedAbsent(rows[:, :1] * 1j)
    assert changeable_features(x * 1j, partition, one).tolist() == [[False, False, True]]


def test_an_answer_of_shards_keeps_zero_errors_where_nothing_was_sampled() -> None:
    x = torch.zeros(40, 1 << 15)
    x[35, :14] = torch.arange(1.0, 15.0)
    x[:35, 0] = 1.0
    question = assay.Question(lambda rows: rows[:, :14].prod(dim=1) + rows[:, 0], x)
    answer = assay.Qii(budget=200)(question)
    assert answer.standard_error is not None
    assert answer.standard_error.shape == answer.values.shape
    assert answer.standard_error[:35].abs().max() == 0
    assert answer.facts["players"] == [1] * 35 + [14] + [0] * 4
