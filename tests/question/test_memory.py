"""A question keeps what it was asked about, and says so when its model is no longer the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import assay
from toys import randn


@pytest.mark.parametrize("kind", [torch.Tensor.clone, lambda x: x.numpy().copy()])
def test_what_is_written_to_the_inputs_later_moves_no_question(kind: Any) -> None:
    x, baseline, scale = kind(randn(3, 4)), kind(randn(4, seed=1)), kind(torch.ones(3))
    question = assay.Question(
        lambda x, scale: x.sum(1) * (scale if isinstance(x, torch.Tensor) else scale.numpy()),
        x,
        removal=assay.Baseline(baseline),
        context={"scale": assay.Aligned(scale)},
    )
    for part in (x, baseline, scale):
        part *= 0
    torch.testing.assert_close(question.x, randn(3, 4))
    torch.testing.assert_close(question.absent[0], randn(4, seed=1))
    assert np.allclose(question.prediction, randn(3, 4).sum(1))
