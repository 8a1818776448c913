"""The faster forms of a network beside their twin, the network itself."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from torch import nn

import assay
from assay.models.networks import fast_forms
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
