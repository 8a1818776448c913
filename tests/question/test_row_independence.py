"""An answer depends on its own row alone: models and targets that mix rows are refused."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import assay
from assay.errors import ModelError, TargetError
from assay.question.generators import Generators
from toys import randn, randomised, tanh_net


class TimeFirst(nn.Module):
    """An LSTM whose `batch_first` was forgotten: rows are taken for time."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.lstm(x)[0][:, -1])
        return out


def centred(scale: float) -> Callable[[Tensor], Tensor]:
    return lambda x: scale * (x - x.mean(0)).sum(1)


def one_of_four_differs(places: int) -> Tensor:
    x = torch.tensor([[1.0, 2.0, 4.0]]).repeat(4, 1)
    x[4 - places :] += 1
    return x


@pytest.mark.parametrize(
    ("model", "x"),
    [
        (randomised(TimeFirst()), randn(4, 5, 3)),
        (lambda x: x.sum(1).cumsum(0), torch.ones(3, 2)),
        (centred(1.0), one_of_four_differs(0)),
        (centred(1.0), one_of_four_differs(1)),
        (centred(1e-5), one_of_four_differs(3)),
        # Two rows say nothing of it: the first chunk of five does.
        (lambda x: x.sum(1) + float(len(x) > 2), torch.ones(5, 2)),
        (lambda x: x.sum(1) + (x.mean() if len(x) > 2 else 0.0), one_of_four_differs(3)),
    ],
    ids=[
        "time first",
        "running sum",
        "all alike",
        "the first alike",
        "small outputs",
        "in company of two",
        "mean of three",
    ],
)
def test_models_whose_rows_influence_each_other_are_refused(model: Any, x: Tensor) -> None:
    # What is influenced in company alone has a way out, too.
    told = r"not to depend on its neighbours.*in evaluation mode.*wrap\(model, batch_size=1\)"
    with pytest.raises(ModelError, match=told):
        _ = assay.Question(model, x, target=0).prediction


@pytest.mark.parametrize(
    "target",
    [
        lambda outputs: outputs[:, 0] - outputs.mean(),
        lambda outputs: outputs[:, 0].cumsum(0),
        assay.Negated(lambda outputs: outputs[:, 0] / outputs[:, 0].abs().max()),
    ],
)
def test_targets_that_mix_rows_are_refused(target: Any) -> None:
    with pytest.raises(TargetError, match="each row from its own outputs alone"):
        _ = assay.Question(tanh_net(), randn(3, 4), target=target).prediction


def test_outputs_that_cancel_up_to_rounding_are_no_influence() -> None:
    """Rounding that depends on the size of a chunk is not taken for an influence of rows."""
    rounding = iter([3e-8, -3e-8, 0.0] * 10)
    question = assay.Question(lambda x: x.sum(1) * 0 + next(rounding), randn(3, 4), target=0)
    assert question.prediction.abs().max() < 1e-7


@pytest.mark.parametrize(
    "target",
    [None, [2, 0, 1], assay.LogOdds(1), assay.Contrast(0, [1, 2, 0]), lambda y: y.logsumexp(1)],
)
def test_targets_of_their_own_rows_pass(target: Any) -> None:
    for x in (randn(3, 4), torch.ones(3, 4)):
        assert assay.Question(tanh_net(), x, target=target).prediction.shape == (3,)


class OneRow(nn.Module):
    """An export for one row at a time, which cannot take two."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(3, 3, 1)
        self.head = nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.first(x).reshape(1, -1))
        return out


@pytest.mark.parametrize("method", [assay.Gradient(), assay.Occlusion()])
@pytest.mark.parametrize("layer", [None, "first"])
def test_a_model_of_one_row_is_never_asked_two(method: assay.Method, layer: str | None) -> None:
    net, x = randomised(OneRow()), randn(3, 3, 4)
    question = assay.Question(assay.wrap(net, batch_size=1), x, target=1)
    answer = method(question if layer is None else question.after(layer))
    for row in range(3):
        alone = assay.Question(assay.wrap(net, batch_size=1), x[row : row + 1], target=1)
        expected = method(alone if layer is None else alone.after(layer))
        torch.testing.assert_close(answer.values[row], expected.values[0])


def test_randomness_shows_in_a_model_of_one_row() -> None:
    model = assay.wrap(lambda x: x.sum(1) + torch.rand(1), batch_size=1)
    with pytest.raises(ModelError, match="fix the randomness"):
        _ = assay.Question(model, randn(3, 4), target=0).prediction


class Drops(nn.Module):
    """Drops one of two units by chance, in evaluation mode too: often the same one twice."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.nn.functional.dropout(x, 0.2, training=True)[:, :2]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("rows", [1, 2])
def test_randomness_shows_where_two_answers_agree_by_chance(seed: int, rows: int) -> None:
    torch.manual_seed(seed)
    with pytest.raises(ModelError, match="fix the randomness"):
        _ = assay.Question(assay.wrap(Drops()), torch.ones(rows, 2), target=0).prediction


class Trembles(nn.Module):
    """Draws a hundredth of what it answers with, which half precision might excuse as rounding."""

    def forward(self, x: Tensor) -> Tensor:
        return x * (1 + 0.01 * torch.randn_like(x))


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_randomness_shows_within_the_tolerance_of_half_precision(
    dtype: torch.dtype, rows: int
) -> None:
    torch.manual_seed(0)
    with pytest.raises(ModelError, match="fix the randomness"):
        _ = assay.Question(Trembles(), randn(rows, 4).to(dtype), target=0).prediction


def test_a_model_that_draws_and_means_nothing_by_it_is_answered() -> None:
    def shuffles(x: Tensor) -> Tensor:
        torch.rand(3)
        return x.sum(1)

    x = randn(3, 4)
    torch.testing.assert_close(assay.Question(shuffles, x, target=0).prediction, x.sum(1))


@pytest.mark.parametrize("method", [assay.ExactShapley(), assay.KernelShap(budget=6)], ids=repr)
def test_a_model_that_breaks_its_word_for_the_same_rows_is_refused(method: assay.Method) -> None:
    """Alone, what is empty is worth 1 more than among others: base and table disagree."""

    def counted(x: Tensor) -> Tensor:
        empty = not bool(x.any())
        return x.prod(1) + x.sum(1) + float(empty)

    x = torch.tensor([[1.0, 2.0, 3.0], [2.0, 1.0, 1.0]])
    with pytest.raises(ModelError, match="the same rows the same way again, got a difference of 1"):
        method(assay.Question(counted, x))


class Noisy(nn.Module):
    """Adds noise to what it answers with, from a generator that is no torch's."""

    def __init__(self, draw: Callable[[], float]) -> None:
        super().__init__()
        self.draw = draw

    def forward(self, x: Tensor) -> Tensor:
        return x + float(self.draw() < 0.5)


@pytest.mark.parametrize(
    ("draw", "seed"),
    [(random.random, 4), (random.random, 9), (np.random.rand, 0), (np.random.rand, 11)],
    ids=["python", "python again", "numpy", "numpy again"],
)
def test_randomness_of_other_libraries_shows_where_answers_agree_by_chance(
    draw: Callable[[], float], seed: int
) -> None:
    """After these seeds the first three answers, which are compared, agree."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  what models draw from
    with pytest.raises(ModelError, match="fix the randomness"):
        _ = assay.Question(assay.wrap(Noisy(draw)), torch.ones(1, 2), target=0).prediction


@pytest.mark.parametrize("kind", [np.random.MT19937, np.random.PCG64, np.random.Philox])
def test_a_draw_moves_the_generators_whatever_their_kind(kind: Any) -> None:
    found = np.random.get_bit_generator()
    np.random.set_bit_generator(kind(1))
    try:
        untouched = Generators()
        assert not untouched.moved
        for draw in (np.random.rand, random.random, lambda: torch.rand(1)):
            before = Generators()
            draw()
            assert before.moved
        # So many that a Mersenne twister comes back to the same place in its key, which is another.
        around = Generators()
        np.random.randint(0, 1 << 32, size=624, dtype=np.uint32)  # noqa: NPY002
        assert around.moved
    finally:
        np.random.set_bit_generator(found)
