"""Many outputs of one input cost one forward, and one backward each, by every method of slopes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import assay
from assay.methods.base import Method
from toys import counting, curved, randn, randomised

DOUBLE = torch.float64
X = randn(4, 5, seed=1, dtype=DOUBLE)
ROWS = assay.Background(randn(3, 5, seed=2, dtype=DOUBLE))

METHODS: dict[str, tuple[Method, Any]] = {
    "gradient": (assay.Gradient(), None),
    "times": (assay.InputXGradient(), None),
    "absolute": (assay.Absolute(assay.Gradient()), None),
    "times input": (assay.TimesInput(assay.Gradient()), None),
    "smoothed": (assay.Smoothed(assay.Gradient(), draws=3), None),
    "smoothed squares": (assay.Smoothed(assay.Gradient(), draws=3, statistic="variance"), None),
    "times smoothed": (assay.TimesInput(assay.Smoothed(assay.Gradient(), draws=3)), None),
    "smoothed integral": (assay.Smoothed(assay.IntegratedGradients(4), draws=3), None),
    "integrated": (assay.IntegratedGradients(6), None),
    "mean slope": (assay.IntegratedGradients(6, multiply=False), None),
    "path": (assay.Path(curved, steps=6), None),
    "expected": (assay.ExpectedGradients(draws=6), ROWS),
    "conductance": (assay.Conductance(6), None),
    "influence": (assay.InternalInfluence(assay.LineDistribution(6)), None),
}


def net(outputs: int, log: list[int] | None = None) -> nn.Module:
    layers = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 12)).double()
    made = nn.Sequential(randomised(layers, 5), Some(outputs))
    return made if log is None else counting(made, log)


class Some(nn.Module):
    """The first outputs."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, x: Tensor) -> Tensor:
        return x[:, : self.outputs]


def forwards(method: Method, removal: Any, outputs: int) -> int:
    """Rows that the network itself has seen."""
    log: list[int] = []
    method.for_outputs(assay.Question(net(outputs, log), X, removal=removal), seed=1)
    return sum(log)


@pytest.mark.parametrize("name", METHODS)
def test_forwards_do_not_grow_with_the_number_of_outputs(name: str) -> None:
    method, removal = METHODS[name]
    assert forwards(method, removal, 12) == forwards(method, removal, 2)


@pytest.mark.parametrize("name", METHODS)
def test_numbers_and_errors_are_those_of_questions_of_their_own(name: str) -> None:
    method, removal = METHODS[name]
    together = method.for_outputs(assay.Question(net(5), X, removal=removal), [3, 0, 4], seed=2)
    for output, answer in zip([3, 0, 4], together):
        alone = method(assay.Question(net(5), X, target=output, removal=removal), seed=2)
        torch.testing.assert_close(answer.values, alone.values, rtol=0, atol=1e-12)
        assert (answer.standard_error is None) == (alone.standard_error is None)
        if answer.standard_error is not None and alone.standard_error is not None:
            torch.testing.assert_close(
                answer.standard_error, alone.standard_error, rtol=0, atol=1e-12
            )


def test_doubling_for_a_tolerance_is_that_of_each_output_alone() -> None:
    method = assay.IntegratedGradients(2, "left", tolerance=0.01)
    together = method.for_outputs(assay.Question(net(5), X))
    counts = set()
    for output, answer in enumerate(together):
        alone = method(assay.Question(net(5), X, target=output))
        torch.testing.assert_close(answer.values, alone.values, rtol=0, atol=1e-12)
        for fact in ("steps", "converged"):
            assert answer.facts[fact] == alone.facts[fact]
        counts.add(answer.facts["steps"])
    assert len(counts) > 1


def test_the_largest_outputs_cost_a_backward_for_each_rank() -> None:
    question = assay.Question(net(12), X)
    order = net(12)(X).argsort(dim=1, descending=True)
    assert len(order[:, :3].unique()) > 3
    answers = assay.Gradient().for_outputs(question, top=3)
    assert answers[0].facts["backwards"] == 3 * len(X)
    for rank, answer in enumerate(answers):
        alone = assay.Gradient()(assay.Question(net(12), X, target=order[:, rank].tolist()))
        torch.testing.assert_close(answer.values, alone.values, rtol=0, atol=1e-12)
        torch.testing.assert_close(answer.prediction, alone.prediction, rtol=0, atol=1e-12)
        torch.testing.assert_close(answer.base, alone.base, rtol=0, atol=1e-12)
        assert answer.targets == alone.targets
        assert answer.provenance == alone.provenance


def test_the_largest_of_outputs_of_several_dimensions() -> None:
    def grid(x: Tensor) -> Tensor:
        out: Tensor = net(12)(x).view(-1, 3, 4)
        return out

    answers = assay.Gradient().for_outputs(assay.Question(grid, X, target=(0, 0)), top=2)
    order = net(12)(X).argsort(dim=1, descending=True)
    for rank, answer in enumerate(answers):
        places = [(k // 4, k % 4) for k in order[:, rank].tolist()]
        alone = assay.Gradient()(assay.Question(grid, X, target=places))
        torch.testing.assert_close(answer.values, alone.values, rtol=0, atol=1e-12)
