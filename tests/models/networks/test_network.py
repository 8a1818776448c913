"""A network beside what its own module answers: the memory formats that its forward takes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import assay
from assay.errors import AssayError
from toys import randn, randomised

DOUBLE = torch.float64
X = randn(2, 3, 16, 16, seed=1, dtype=DOUBLE)


class Tutorial(nn.Module):
    """The network of pytorch.org's CIFAR-10 tutorial in short: `.view` behind a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 6, 5), nn.Linear(6 * 6 * 6, 10)

    def forward(self, x: Tensor) -> Tensor:
        h = self.pooled(x)
        out: Tensor = self.fc(h.view(-1, 6 * 6 * 6))
        return out

    def pooled(self, x: Tensor) -> Tensor:
        return functional.max_pool2d(torch.tanh(self.conv(x)), 2)


METHODS = [
    (assay.IntegratedGradients(64), 2),
    (assay.Occlusion(window=4, stride=4), 20),
    (assay.Rise(masks=400), 2),
    (assay.Smoothed(assay.Gradient(), draws=100), 2),
    (assay.Gradient(), 200),
]


@pytest.mark.parametrize("speedups", [True, False])
@pytest.mark.parametrize(("method", "n"), METHODS, ids=lambda case: repr(case)[:16])
def test_a_network_that_takes_plain_images_alone_is_answered(
    method: assay.Method, n: int, speedups: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    net, x = randomised(Tutorial()).double(), randn(n, 3, 16, 16, seed=1, dtype=DOUBLE)
    model = assay.wrap(net, reproducible=True, speedups=speedups)
    made = method(assay.Question(model, x, target=1)).values
    plain = method(assay.Question(assay.wrap(net, batch_size=50), x, target=1)).values
    torch.testing.assert_close(made, plain, rtol=0, atol=1e-10)
    assert capsys.readouterr() == ("", "")


def test_what_refused_once_is_not_tried_again() -> None:
    net = randomised(Tutorial()).double()
    model = assay.wrap(net, reproducible=True)
    method = assay.IntegratedGradients(64)
    method(assay.Question(model, X, target=1))
    assert model.memory_formats == 1
    refused: list[bool] = []
    net.conv.register_forward_pre_hook(
        lambda module, inputs: refused.append(not inputs[0].is_contiguous())
    )
    method(assay.Question(model, X, target=1))
    assert refused
    assert not any(refused)


@pytest.mark.parametrize("captured", [True, False])
@pytest.mark.parametrize("layer", ["conv", "fc"])
def test_behind_and_up_to_a_layer_plain_images_are_answered(layer: str, captured: bool) -> None:
    net, x = randomised(Tutorial()).double(), randn(70, 3, 16, 16, seed=1, dtype=DOUBLE)
    if not captured:
        net.fc.register_forward_hook(lambda module, inputs, output: None)
    question = assay.Question(assay.wrap(net, reproducible=True), x, target=1)
    behind = question.after(layer)
    torch.testing.assert_close(behind.prediction, net(x)[:, 1].detach())
    plain = assay.Question(assay.wrap(net, batch_size=10), x, target=1).after(layer)
    made, expected = assay.IntegratedGradients(8)(behind), assay.IntegratedGradients(8)(plain)
    torch.testing.assert_close(made.values, expected.values, rtol=0, atol=1e-10)
    unit = (0, 1, 2) if layer == "conv" else 1
    made, expected = (
        assay.Gradient()(assay.Question(assay.wrap(net, **settings), x).upto(layer, unit))
        for settings in ({"reproducible": True}, {"batch_size": 10})
    )
    torch.testing.assert_close(made.values, expected.values, rtol=0, atol=1e-10)


def test_what_the_plain_format_refuses_as_well_is_the_networks_own_error() -> None:
    class Refusing(Tutorial):
        def forward(self, x: Tensor) -> Tensor:
            if len(x) > 2:
                raise RuntimeError("no more than two")
            return self.fc(self.pooled(x).flatten(1))  # type: ignore[no-any-return]

    model = assay.wrap(randomised(Refusing()).double(), reproducible=True)
    with pytest.raises((RuntimeError, AssayError), match="no more than two"):
        assay.Gradient()(assay.Question(model, randn(3, 3, 16, 16, dtype=DOUBLE), target=1))
    assert model.memory_formats == 2


def standardised(x: Tensor) -> Tensor:
    return x.sub_(0.5).div_(2.0).tanh().flatten(1).sum(1)


def standardised_on_a_copy(x: Tensor) -> Tensor:
    return standardised(x.clone())


class Scaled(nn.Module):
    """Two inputs, of which the first is written on."""

    def __init__(self, inplace: bool) -> None:
        super().__init__()
        self.relu, self.fc = nn.ReLU(inplace=inplace), nn.Linear(6, 2)

    def forward(self, x: Tensor, scale: Tensor) -> Tensor:
        out: Tensor = self.fc(self.relu(x)) * scale
        return out


@pytest.mark.parametrize("method", [assay.Gradient(), assay.IntegratedGradients(8)], ids=repr)
@pytest.mark.parametrize("several", [False, True])
def test_what_begins_by_writing_on_its_input_has_slopes(
    method: assay.Method, several: bool
) -> None:
    x, scale = randn(3, 6, seed=1, dtype=DOUBLE), randn(3, 1, seed=2, dtype=DOUBLE)
    models: tuple[Any, ...] = standardised, standardised_on_a_copy
    if several:
        models = tuple(randomised(Scaled(inplace)).double() for inplace in (True, False))
    kept = x.clone()
    inputs = (x, scale) if several else x
    made, right = (method(assay.Question(model, inputs, target=0)) for model in models)
    torch.testing.assert_close(made.values, right.values, rtol=0, atol=0)
    torch.testing.assert_close(x, kept, rtol=0, atol=0)
    context = {"scale": assay.Aligned(scale)}
    if several:
        made, right = (method(assay.Question(model, x, 0, context=context)) for model in models)
        torch.testing.assert_close(made.values, right.values, rtol=0, atol=0)


class Merged(nn.Module):
    """Time steps of one input go through a layer as rows of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.each, self.head = nn.Linear(3, 4), nn.Linear(6, 2)

    def forward(self, steps: Tensor, static: Tensor) -> Tensor:
        n, count, width = steps.shape
        each = torch.tanh(self.each(steps.view(n * count, width))).view(n, count, 4)
        out: Tensor = self.head(torch.cat([each.mean(1), static], 1))
        return out


def test_each_of_several_inputs_has_memory_of_its_own() -> None:
    net = randomised(Merged()).double()
    inputs = randn(3, 5, 3, seed=1, dtype=DOUBLE), randn(3, 2, seed=2, dtype=DOUBLE)
    leaves = [part.clone().requires_grad_() for part in inputs]
    slopes = torch.autograd.grad(net(*leaves)[:, 1].sum(), leaves)
    by_hand = torch.cat([slope.flatten(1) for slope in slopes], 1)
    question = assay.Question(net, inputs, target=1)
    torch.testing.assert_close(assay.Gradient()(question).values, by_hand, rtol=0, atol=1e-10)
    torch.testing.assert_close(question.prediction, net(*inputs)[:, 1].detach(), rtol=0, atol=0)
    assert bool(assay.Occlusion()(question).values.isfinite().all())


class Remembering(nn.Module):
    """A recurrent network that keeps its state from one call to the next."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.fc = nn.GRU(3, 4, batch_first=True), nn.Linear(4, 2)
        self.hidden: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.hidden is None or self.hidden.shape[1] != len(x):
            self.hidden = torch.zeros(1, len(x), 4, dtype=x.dtype)
        h, self.hidden = self.rnn(x, self.hidden)
        out: Tensor = self.fc(h[:, -1])
        return out


@pytest.mark.parametrize("size", [16, 32, 128])
@pytest.mark.parametrize("layer", [None, "fc"])
def test_state_that_a_network_keeps_does_not_run_from_chunk_to_chunk(
    size: int, layer: str | None
) -> None:
    net, x = randomised(Remembering()).double(), randn(2, 5, 3, dtype=DOUBLE)

    def ask(size: int) -> Tensor:
        question = assay.Question(assay.wrap(net, batch_size=size), x, target=1)
        unit = question if layer is None else assay.Question(question.model, x).upto(layer, 1)
        return assay.IntegratedGradients(64)(unit).values

    torch.testing.assert_close(ask(size), ask(1000), rtol=0, atol=1e-12)
    assert net.hidden is None
