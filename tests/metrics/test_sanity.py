"""Sanity checks: explanations of drawn weights, other classes and other origins."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

import assay
from assay.errors import AssayError
from assay.metrics.sanity.asking import rank_correlation
from assay.metrics.sanity.model_randomisation import layers_of
from assay.numerics import rng
from toys import randn, state, tanh_net

DOUBLE = torch.float64
GRADIENT = assay.Gradient()


def near(ours: Tensor, theirs: Any, tolerance: float = 1e-9) -> None:
    expected = torch.as_tensor(theirs, dtype=ours.dtype)
    torch.testing.assert_close(ours, expected.expand_as(ours), rtol=0, atol=tolerance)


def ask(net: nn.Module | None = None, n: int = 5) -> assay.Question:
    net = tanh_net(inputs=8).double() if net is None else net
    return assay.Question(net, randn(n, 8, seed=2, dtype=DOUBLE), target=0)


def test_rank_correlation_is_spearmans_ties_and_all() -> None:
    ours = randn(6, 9, seed=1, dtype=DOUBLE).round(decimals=0)
    theirs = randn(6, 9, seed=2, dtype=DOUBLE).round(decimals=0)
    expected = [spearmanr(a, b).statistic for a, b in zip(ours.numpy(), theirs.numpy())]
    near(rank_correlation(ours, theirs), expected)
    assert bool(rank_correlation(torch.ones(1, 4), ours[:1, :4]).isnan().all())


@pytest.mark.parametrize("cascading", [True, False])
@pytest.mark.parametrize("weights", ["normal", "shuffled"])
def test_layers_are_drawn_anew_from_the_output_on(weights: Any, cascading: bool) -> None:
    net = tanh_net(inputs=8).double()
    question = ask(net)
    before = state(net)
    metric = assay.ModelRandomisation(GRADIENT, weights=weights, cascading=cascading)
    score = metric(question, GRADIENT(question), seed=4)
    assert state(net) == before
    # By hand: the weights W2, then W1 (and their offsets) drawn from the seed by their names.
    params = {name: p.detach().numpy() for name, p in net.named_parameters()}

    def drawn(name: str) -> np.ndarray[Any, Any]:
        generator = rng.shared(4, f"weights of {name}")
        flat = params[name].flatten()
        order = generator.permutation(len(flat))
        if weights == "shuffled":
            return flat[order].reshape(params[name].shape)
        made = flat.mean() + flat.std() * generator.standard_normal(len(flat))
        return made.reshape(params[name].shape)

    def slopes(w1: Any, b1: Any, w2: Any) -> np.ndarray[Any, Any]:
        hidden = np.tanh(question.x.numpy() @ w1.T + b1)
        return ((1 - hidden**2) * w2[0]) @ w1

    first = (params["0.weight"], params["0.bias"])
    new_first = (drawn("0.weight"), drawn("0.bias"))
    w2, new_w2 = params["2.weight"], drawn("2.weight")
    clean = slopes(*first, w2)
    others = [slopes(*first, new_w2), slopes(*new_first, new_w2 if cascading else w2)]
    both = slopes(*new_first, new_w2)
    signed = [[spearmanr(a, b).statistic for a, b in zip(clean, other)] for other in others]
    magnitude = [
        [spearmanr(a, b).statistic for a, b in zip(abs(clean), abs(other))] for other in others
    ]
    near(score.values, np.mean(signed, axis=0))
    near(score.details["absolute"], np.mean(magnitude, axis=0))
    near(score.details["all"], [spearmanr(a, b).statistic for a, b in zip(clean, both)])


def test_the_layers_are_those_that_hold_weights() -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Sequential(nn.BatchNorm2d(2)), nn.Flatten()
    )
    assert layers_of(net) == ["2.0", "0"]


def test_edges_of_the_input_do_not_depend_on_the_network() -> None:
    """An explanation that is the input itself has correlation 1 with every network's."""
    from dataclasses import dataclass

    from assay.methods.base import Method

    @dataclass(frozen=True)
    class Edges(Method):
        def values(self, question: assay.Question, seed: int) -> Tensor:
            return question.x

    question = ask()
    near(assay.ModelRandomisation(Edges())(question, Edges()(question)).values, 1.0)
    trained = assay.ModelRandomisation(GRADIENT)(question, GRADIENT(question))
    assert bool((trained.values < 0.9).all())
    near(assay.ClassSensitivity(Edges())(question, Edges()(question)).values, 1.0)


def test_two_classes_that_are_each_others_negatives() -> None:
    w = randn(8, seed=3, dtype=DOUBLE)
    net = nn.Linear(8, 2, bias=False).double()
    with torch.no_grad():
        net.weight.copy_(torch.stack([w, -w]))
    question = ask(net)
    score = assay.ClassSensitivity(GRADIENT)(question, GRADIENT(question))
    near(score.values, -1.0)
    near(score.details["absolute"], 1.0)
    near(assay.ClassSensitivity(GRADIENT, absolute=True)(question, GRADIENT(question)).values, 1.0)


def test_the_other_class_is_the_smallest_of_the_others_or_the_one_named() -> None:
    net = tanh_net(inputs=8).double()
    for target in (0, 2):
        question = assay.Question(net, randn(5, 8, seed=2, dtype=DOUBLE), target=target)
        answer = GRADIENT(question)
        score = assay.ClassSensitivity(GRADIENT)(question, answer)
        expected = []
        for row, values in zip(question.x, answer.values):
            outputs = net(row[None])[0].detach()
            outputs[target] = torch.inf
            other = assay.Question(net, row[None], target=int(outputs.argmin()))
            expected.append(spearmanr(values, GRADIENT(other).values[0]).statistic)
        near(score.values, expected)
        same = assay.ClassSensitivity(GRADIENT, other=target)(question, answer)
        near(same.values, 1.0)
    with pytest.raises(AssayError, match="several outputs"):
        assay.ClassSensitivity(GRADIENT, other=3)(question, answer)


def test_gradients_do_not_see_the_origin_and_products_do() -> None:
    """phi = x w at x + c is (x + c) w: it moves by |c w| / |x w|."""
    net = nn.Linear(8, 1).double()
    w = net.weight[0].detach()
    question = ask(net)
    near(assay.InputShift(GRADIENT)(question, GRADIENT(question)).values, 0.0)
    # Slopes of a curve are its own at every point: the model has to move with its inputs.
    curve = ask()
    near(assay.InputShift(GRADIENT)(curve, GRADIENT(curve)).values, 0.0)
    method = assay.InputXGradient()
    score = assay.InputShift(method, shift=0.3)(question, method(question))
    near(score.values, 0.3 * w.norm() / (question.x * w).norm(dim=1))


@pytest.mark.parametrize(
    "metric",
    [assay.ModelRandomisation(GRADIENT), assay.InputShift(GRADIENT)],
    ids=lambda metric: type(metric).__name__,
)
def test_what_holds_no_network_or_no_tensor_is_refused(metric: Any) -> None:
    table = assay.Question(lambda x: x.sum(1), torch.ones(2, 3))
    if isinstance(metric, assay.ModelRandomisation):
        with pytest.raises(AssayError, match="torch network"):
            metric(table, GRADIENT(table))
    deep = ask().after("1")
    # Before anything is asked: a layer's rest is no network, and no function of the input.
    with pytest.raises(AssayError, match=r"whole torch network|of one tensor of numbers") as caught:
        metric.check(deep, [GRADIENT(deep)])
    assert caught.value.advice
    with pytest.raises(AssayError, match="Hand over the method itself"):
        type(metric)("Gradient")
