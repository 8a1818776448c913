"""What a model says keeps its own precision until differences have been taken."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from assay.methods.shapley.exact import ExactShapley
from assay.methods.shapley.sampling import SamplingShapley
from assay.metrics.faithfulness.completeness import Completeness
from assay.metrics.faithfulness.infidelity import Infidelity
from assay.question.question import Question

TYPES = [np.float64, np.float32, np.float16, np.int64]


def seconds(x: np.ndarray) -> np.ndarray:
    """Seconds since 1970, in double precision: of sixty times a product, on 1.7e9 of them."""
    x = np.asarray(x, dtype=np.float64)
    return 1.7e9 + 60.0 * x[:, 0] * x[:, 1]


@pytest.mark.parametrize("dtype", TYPES, ids=lambda dtype: dtype.__name__)
def test_differences_of_large_outputs_are_those_of_the_model(dtype):
    question = Question(seconds, np.array([[1, 2, 3]], dtype))
    exact = ExactShapley()(question)
    # Both share 60 * 1 * 2; the third feature never matters.
    assert exact.values.tolist() == [[60.0, 60.0, 0.0]]
    assert float(exact.gap) == 0.0
    sampled = SamplingShapley(draws=10)(question)
    assert sampled.values.tolist() == [[60.0, 60.0, 0.0]]
    # Answers are given in the precision of what the model said.
    own = torch.float64
    assert {exact.values.dtype, exact.base.dtype, exact.prediction.dtype, exact.gap.dtype} == {own}


@pytest.mark.parametrize("dtype", TYPES, ids=lambda dtype: dtype.__name__)
def test_metrics_compare_what_the_model_said(dtype):
    def linear(x: np.ndarray) -> np.ndarray:
        x = np.asarray(x, dtype=np.float64)
        return 1.7e9 + 60.0 * x[:, 0] + 7.0 * x[:, 1]

    question = Question(linear, np.array([[1, 2, 3]], dtype))
    credit = ExactShapley()(question)
    assert torch.allclose(credit.values.double(), torch.tensor([[60.0, 14.0, 0.0]]).double())
    # A linear account of a linear model misses nothing.
    assert Completeness()(question, credit).mean < 1e-6
    assert Infidelity(draws=20)(question, credit).mean < 1e-9


def test_single_precision_stays_what_it_was():
    net = torch.nn.Linear(3, 2)
    question = Question(net, torch.ones(2, 3), target=0)
    masks = torch.eye(3) > 0
    assert question.prediction.dtype == question.base.dtype == torch.float32
    assert question.value(masks).dtype == question.outputs(masks).dtype == torch.float32
    assert question.score(question.x).dtype == torch.float32
