"""The faster forms of a network beside their twin, the network itself."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, spectral_norm, weight_norm

import assay
from assay.models.networks import fast_forms
from assay.models.networks.fused import fused
from assay.models.networks.network import Network
from toys import Residual, randn, randomised

DOUBLE = torch.float64


def images(n: int = 12) -> torch.Tensor:
    return randn(n, 1, 12, 12, seed=2, dtype=DOUBLE)


def network() -> nn.Module:
    return randomised(Residual()).double()


@pytest.mark.parametrize(
    "method",
    [assay.IntegratedGradients(32), assay.Occlusion(window=2, stride=2), assay.Gradient()],
    ids=repr,
)
def test_without_speedups_the_network_itself_is_asked_and_says_the_same(
    method: assay.Method, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    real = fast_forms.fused

    def spied(*args: Any) -> Any:
        made.append(real(*args))
        return made[-1]

    monkeypatch.setattr(fast_forms, "fused", spied)
    net, x = network(), images(300 if isinstance(method, assay.Gradient) else 12)

    def ask(**settings: bool) -> assay.Attribution:
        model = assay.wrap(net, reproducible=True, **settings)  # type: ignore[arg-type]
        return method(assay.Question(model, x, target=1, features=assay.Pixels()))

    plain = ask(speedups=False)
    assert made == []
    fast = ask()
    assert any(form is not None for form in made)
    torch.testing.assert_close(fast.values, plain.values, rtol=0, atol=1e-10)
    torch.testing.assert_close(fast.prediction, plain.prediction, rtol=0, atol=1e-10)


def test_a_wrapper_owns_what_is_learnt_and_takes_it_along() -> None:
    """Nothing is kept of a network beside its wrapper, and nothing once the wrapper is gone."""
    net = network()
    model = assay.wrap(net)
    assert assay.wrap(model) is model
    method = assay.IntegratedGradients(32)
    method(assay.Question(model, images(), target=0))
    assert isinstance(model, Network)
    forms = model._forms
    assert forms is not None
    made = forms._fused
    assert made is not None
    method(assay.Question(model, images(), target=1))
    assert forms._fused is made
    other = assay.wrap(net)
    assert isinstance(other, Network)
    assert other._forms is not forms
    assert other.pace("outputs") is not model.pace("outputs")
    gone = weakref.ref(forms)
    del model, forms, made, other
    gc.collect()
    assert gone() is None


METHODS = [assay.IntegratedGradients(64), assay.Occlusion(), assay.Gradient()]


class Masked(nn.Module):
    """A mask that is optional and left out."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 2, 3), nn.Linear(72, 3)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        h = torch.relu(self.conv(x))
        if mask is not None:
            h = h * mask
        out: Tensor = self.fc(h.flatten(1))
        return out


class WrongTrace(Masked):
    """A trace takes a branch that cannot run."""

    error: type[Exception] = TypeError

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if not isinstance(x, Tensor):
            x = self.fail(x)
        return super().forward(x)

    def fail(self, x: Any) -> Any:
        return {TypeError: lambda: x + "no", AttributeError: lambda: x.nowhere}[self.error]()


class OtherBranch(Masked):
    """A trace takes a branch that runs as well, and answers otherwise."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return super().forward(x / 2 if isinstance(x, Tensor) else x)


class WrongAttribute(WrongTrace):
    error = AttributeError


def normed(parametrization: Any) -> nn.Module:
    conv = parametrization(nn.Conv2d(1, 2, 3))
    return nn.Sequential(conv, nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(72, 3))


class Doubled(nn.Module):
    """A parametrisation of one's own."""

    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight


def doubled(conv: nn.Conv2d) -> nn.Module:
    parametrize.register_parametrization(conv, "weight", Doubled())
    parametrize.register_parametrization(conv, "bias", Doubled())
    return conv


MADE = {
    "optional": Masked,
    "type": WrongTrace,
    "attribute": WrongAttribute,
    "other branch": OtherBranch,
    "weight norm": lambda: normed(parametrizations.weight_norm),
    "spectral norm": lambda: normed(parametrizations.spectral_norm),
    "orthogonal": lambda: normed(parametrizations.orthogonal),
    "of one's own": lambda: normed(doubled),
    "weight norm by hooks": lambda: normed(weight_norm),
    "spectral norm by hooks": lambda: normed(spectral_norm),
}


@pytest.mark.filterwarnings("ignore:.*weight_norm")
@pytest.mark.parametrize("method", METHODS, ids=repr)
@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_a_form_that_cannot_be_made_is_done_without(
    make: Any, method: assay.Method, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    net = make().double().eval()
    x = randn(300 if isinstance(method, assay.Gradient) else 5, 1, 8, 8, seed=2, dtype=DOUBLE)

    def ask(speedups: bool) -> Tensor:
        model = assay.wrap(net, reproducible=True, speedups=speedups)
        question = assay.Question(model, x, target=1, features=assay.Pixels())
        return method(question).values

    torch.testing.assert_close(ask(True), ask(False), rtol=0, atol=1e-10)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "kind", ["optional", "weight norm", "spectral norm", "orthogonal", "of one's own"]
)
def test_optional_arguments_and_computed_weights_keep_the_fast_form(kind: str) -> None:
    net, x = MADE[kind]().double().eval(), randn(3, 1, 8, 8, dtype=DOUBLE)
    form = fused(net, (x,), lambda out: out)
    assert form is not None
    torch.testing.assert_close(form(x), net(x))


CONVERSIONS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "double": lambda net: net.double(),
    "there and back": lambda net: net.bfloat16().float(),
    "half": lambda net: net.half(),
    "to": lambda net: net.to(torch.float64),
}


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("kind", CONVERSIONS)
def test_a_network_that_was_converted_since_is_asked_as_it_is_now(kind: str, wrapped: bool) -> None:
    net = randomised(Residual())
    method = assay.Occlusion(window=2, stride=2)
    model = assay.wrap(net) if wrapped else net
    x = randn(12, 1, 12, 12, seed=2)
    method(assay.Question(model, x, target=1))
    CONVERSIONS[kind](net)
    dtype = next(net.parameters()).dtype
    made = method(assay.Question(model, x.to(dtype), target=1)).values
    plain = assay.wrap(net, speedups=False, reproducible=True)
    expected = method(assay.Question(plain, x.to(dtype), target=1)).values
    near = {torch.float64: 1e-10, torch.float32: 1e-5, torch.float16: 5e-3}[dtype]
    torch.testing.assert_close(made, expected, rtol=0, atol=near)
