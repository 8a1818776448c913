"""A question keeps what it was asked about, and says so when its model is no longer the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import assay
from assay.errors import ModelError
from toys import randn, tanh_net


@pytest.mark.parametrize("kind", [torch.Tensor.clone, lambda x: x.numpy().copy()])
def test_what_is_written_to_the_inputs_later_moves_no_question(kind: Any) -> None:
    x, baseline, scale = kind(randn(3, 4)), kind(randn(4, seed=1)), kind(torch.ones(3))
    question = assay.Question(
        lambda x, scale: x.sum(1) * scale,
        x,
        removal=assay.Baseline(baseline),
        context={"scale": assay.Aligned(scale)},
    )
    for part in (x, baseline, scale):
        part *= 0
    torch.testing.assert_close(question.x, randn(3, 4))
    torch.testing.assert_close(question.absent[0], randn(4, seed=1))
    assert np.allclose(question.prediction, randn(3, 4).sum(1))


@pytest.mark.parametrize("layer", [None, "0"])
@pytest.mark.parametrize("method", [assay.Occlusion(), assay.IntegratedGradients(8)])
def test_a_question_notices_that_its_network_was_trained_on(
    method: assay.Method, layer: str | None
) -> None:
    net = tanh_net()
    question = assay.Question(net, randn(3, 4), target=0)
    question = question if layer is None else question.after(layer)
    first = method(question)
    torch.testing.assert_close(method(question).values, first.values, rtol=0, atol=0)
    with torch.no_grad():
        net[2].weight.mul_(3)
    for again in (question, question.part(0, 2)):
        with pytest.raises(ModelError, match="Make the question anew"):
            method(again)
    assert method(assay.Question(net, randn(3, 4), target=0)).values.shape == (3, 4)


def test_a_network_may_be_trained_before_it_is_first_asked() -> None:
    net = tanh_net()
    question = assay.Question(net, randn(3, 4), target=0)
    with torch.no_grad():
        net[2].weight.mul_(3)
    torch.testing.assert_close(question.prediction, net(randn(3, 4))[:, 0].detach())
    # A session freezes the weights and puts buffers back: that is no training.
    assert question.base.shape == (3,)
