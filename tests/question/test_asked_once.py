"""A row that was asked alone, while rows were checked, is not asked again; its answer is checked as
any other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

import assay
from assay.errors import AssayError, ModelError
from assay.models.base import all_finite


def watched(asked: list[list[float]]) -> Any:
    def model(x: Any) -> Any:
        asked.append(np.asarray(x).sum(1).tolist())
        return x.sum(1)

    return model


def test_one_input_and_its_absence_are_asked_alone_and_together_and_never_again() -> None:
    asked: list[list[float]] = []
    question = assay.Question(watched(asked), np.full((1, 3), 2.0), target=0)
    assert (question.prediction.tolist(), question.base.tolist()) == ([6.0], [0.0])
    assert asked == [[6.0], [0.0], [6.0, 0.0]]
    # Under masks the ends are asked again, which tells of a model that remembers.
    assay.ExactShapley()(question)
    assert [len(rows) for rows in asked] == [1, 1, 2, 8]


def test_two_inputs_are_asked_alone_and_together_and_never_again() -> None:
    asked: list[list[float]] = []
    question = assay.Question(watched(asked), np.array([[1.0, 2.0], [3.0, 4.0]]), target=0)
    assert question.prediction.tolist() == [3.0, 7.0]
    assert asked == [[3.0], [7.0], [3.0, 7.0]]


def test_rows_count_as_asked_where_they_serve_as_answers() -> None:
    """What an answer costs is told the same for one input as for many."""
    for n in (1, 2, 3):
        x = np.arange(3.0 * n).reshape(n, 3) + 1
        answer = assay.ExactShapley()(assay.Question(lambda rows: rows.sum(1), x))
        # The inputs, one absent row for all of them, and the coalitions.
        assert answer.facts["forwards"] == n + 1 + 8 * n


def test_an_input_alone_is_answered_as_in_company_whatever_the_target() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh()).double()
    x = torch.linspace(-1, 1, 12).double().reshape(4, 3)
    removal = assay.Mean(torch.ones(5, 3).double())
    for target in (None, 2, assay.LogOdds(1), lambda outputs: outputs.logsumexp(1)):
        crowd = assay.Question(net, x, target=target, removal=removal)
        for row in range(4):
            alone = assay.Question(net, x[row : row + 1], target=target, removal=removal)
            torch.testing.assert_close(alone.prediction, crowd.prediction[row : row + 1])
            torch.testing.assert_close(alone.base, crowd.base[row : row + 1])
            (first, *_) = alone.for_outputs()
            (second, *_) = crowd.for_outputs()
            torch.testing.assert_close(first.base, second.base[row : row + 1])


@pytest.mark.parametrize(
    ("bad", "where"), [(6.0, "on the clean inputs"), (0.0, "with everything removed")]
)
@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_answers_of_rows_alone_are_finite(bad: float, where: str, number: float) -> None:
    def model(x: np.ndarray) -> np.ndarray:
        sums = x.sum(1)
        return np.where(sums == bad, number, sums)

    question = assay.Question(model, np.full((1, 3), 2.0), target=0)
    with pytest.raises(ModelError, match=f"rows {where}"):
        _ = question.prediction, question.base


def test_one_row_without_a_meaning_of_absent_has_no_base() -> None:
    """Its second row is itself, which is not its absence."""
    frame = pd.DataFrame({"a": ["x"], "b": [1.0]})
    question = assay.Question(lambda table: table["b"].to_numpy(), frame, target=0)
    assert question.prediction.tolist() == [1.0]
    with pytest.raises(AssayError, match="removal"):
        _ = question.base


def test_several_replacements_are_all_asked() -> None:
    background = np.array([[0.0, 0.0], [2.0, 0.0]])
    question = assay.Question(
        lambda rows: rows.sum(1), np.ones((1, 2)), target=0, removal=assay.Background(background)
    )
    assert question.base.tolist() == [1.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_numbers_are_finite_where_their_sum_is_not(dtype: torch.dtype) -> None:
    most = torch.finfo(dtype).max
    assert all_finite(torch.full((4,), most, dtype=dtype))
    for bad in ([torch.nan], [torch.inf], [torch.inf, -torch.inf], [-torch.inf, torch.nan]):
        numbers: Tensor = torch.tensor([1.0, *bad, most], dtype=torch.float64).to(dtype)
        assert not all_finite(numbers)
    assert all_finite(torch.tensor([3, 4]))


class Mixing(torch.nn.Module):
    """Tells the rows of its forwards, and mixes them where one of them is large."""

    def __init__(self, asked: list[int]) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(3, 2)
        # A list of its own would be put back after every session.
        self.tell = asked.append

    def forward(self, x: Tensor) -> Tensor:
        self.tell(len(x))
        out: Tensor = self.linear(x)
        return torch.where((x > 10).any(), out - out.mean(0), out)


def test_of_a_network_whose_rows_were_checked_one_row_is_asked_alone() -> None:
    asked: list[int] = []
    net = Mixing(asked).eval()
    model = assay.wrap(net)
    x = torch.linspace(-1, 1, 15).reshape(5, 3)
    first = assay.Question(model, x, target=1).prediction
    assert asked == [1, 1, 2, 5]
    again = assay.Question(model, x, target=1).prediction
    assert asked[4:] == [1, 5]
    assert torch.equal(again, first)
    # What one row beside it can tell is not enough: two inputs, or chunks of one.
    for few in (x[:2], x[[0, 1, 0]]):
        del asked[:]
        _ = assay.Question(model, few, target=1).prediction
        assert asked[:3] == [1, 1, 2]
    # A network that is another now is checked as at first.
    with torch.no_grad():
        net.linear.weight.add_(1.0)
    del asked[:]
    _ = assay.Question(model, x, target=1).prediction
    assert asked == [1, 1, 2, 5]


def test_rows_that_mix_are_refused_of_a_network_whose_rows_were_checked() -> None:
    model = assay.wrap(Mixing([]).eval())
    x = torch.linspace(-1, 1, 15).reshape(5, 3)
    for _ in range(2):
        _ = assay.Question(model, x, target=1).prediction
    with pytest.raises(AssayError, match="scores each row from its own outputs"):
        _ = assay.Question(model, x, target=lambda out: out[:, 0] - out[:, 0].mean()).prediction
    # Once again as it was: a refusal forgets what was learnt.
    _ = assay.Question(model, x, target=1).prediction
    large = torch.cat([x[:4], torch.full((1, 3), 11.0)])
    with pytest.raises(ModelError, match="depend on its neighbours"):
        _ = assay.Question(model, large, target=1).prediction
