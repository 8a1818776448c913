"""A network beside what its own module answers: the memory formats that its forward takes."""

from __future__ import annotations

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
