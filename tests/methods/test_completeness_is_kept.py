"""A promise of completeness that is not kept is an error, not a gap that is printed."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

import assay
from assay.errors import ModelError
from assay.methods.base import Axiom, Method


@dataclass(frozen=True)
class Promising(Method):
    """Gives `share` of what completeness needs, in equal parts."""

    share: float = 1.0

    axioms = frozenset({Axiom.COMPLETENESS})

    def values(self, question: assay.Question, seed: int) -> Tensor:
        total = question.prediction - question.base
        count = question.partition.count
        return (self.share * total / count)[:, None].expand(-1, count)


def question(dtype: torch.dtype = torch.float64) -> assay.Question:
    inputs = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], dtype=dtype)
    return assay.Question(lambda x: (x**2).sum(1), inputs)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_promise_that_is_kept_is_answered(dtype: torch.dtype) -> None:
    gap = Promising()(question(dtype)).gap
    assert gap is not None
    assert float(gap.abs().max()) <= 100 * torch.finfo(dtype).eps


@pytest.mark.parametrize("share", [0.0, 0.999, 1 + 1e-7])
def test_a_promise_that_is_broken_is_an_error(share: float) -> None:
    with pytest.raises(ModelError, match="add up to the prediction less the base"):
        Promising(share)(question())


def test_an_integral_may_have_an_error_and_says_it() -> None:
    # A jump that no quadrature of few nodes integrates well.
    jump = assay.Question(lambda x: torch.tanh(50 * (x - 0.5)).sum(1), torch.ones(1, 2))
    gap = assay.IntegratedGradients(steps=3)(jump).gap
    assert gap is not None
    assert float(gap.abs().max()) > 0.1
