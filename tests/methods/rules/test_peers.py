"""Beside the libraries that have these rules, where they are installed, and beside what they are
defined by where they are not.

Run with captum 0.9.0, zennit 0.5.1 and shap 0.51.0, which no environment of the tests brings.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import assay
from assay import LRP, Deconvnet, DeepLift, GuidedBackprop
from assay.methods.rules import (
    AlphaBeta,
    AttentionAware,
    Composite,
    ConservativeAttention,
    Epsilon,
    EpsilonAlpha2Beta1,
    EpsilonPlus,
    Rule,
    Zero,
    ZPlus,
)
from rule_networks import DOUBLE, calls
from toys import randn, randomised

TIGHT = {"rtol": 1e-9, "atol": 1e-10}
X = randn(3, 2, 8, 8, seed=1, dtype=DOUBLE)
BASE = randn(3, 2, 8, 8, seed=2, dtype=DOUBLE)


def peer(name: str) -> Any:
    """A library that is not ours, or the reason for which the test is skipped."""
    try:
        # Before whatever imports torchvision, which else fails once and loads in part the next time.
        importlib.import_module("torchvision_names")
        return importlib.import_module(name)
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"{name} is not installed, or does not load: {error}")


def network(bias: bool = True, pooled: bool = True) -> nn.Sequential:
    """Rectifiers as modules, which is what these libraries look for; none is used twice."""
    parts = [nn.Conv2d(2, 4, 3, padding=1, bias=bias), nn.ReLU(), nn.Conv2d(4, 3, 3, bias=bias)]
    parts += [nn.ReLU(), nn.AvgPool2d(2) if pooled else nn.Identity(), nn.Flatten()]
    size = 27 if pooled else 108
    parts += [nn.Linear(size, 6, bias=bias), nn.ReLU(), nn.Linear(6, 3, bias=bias)]
    made: nn.Sequential = randomised(nn.Sequential(*parts), 4).double()
    return made


def ours(method: Any, net: nn.Module, **more: Any) -> Tensor:
    values: Tensor = method(assay.Question(net, X, target=1, **more)).values
    return values.view(X.shape)


@pytest.mark.parametrize(
    ("method", "theirs"), [(GuidedBackprop(), "GuidedBackprop"), (Deconvnet(), "Deconvolution")]
)
@pytest.mark.filterwarnings("ignore")
def test_guided_signals_beside_captum(method: Any, theirs: str) -> None:
    attr = peer("captum.attr")
    net = network()
    expected = getattr(attr, theirs)(net).attribute(X.clone(), target=1)
    torch.testing.assert_close(ours(method, net), expected, **TIGHT)
    # The same network in functions, which Captum answers by the plain gradient.
    layers = [net[0], net[2], net[6], net[8]]

    def forward(n: nn.ModuleDict, x: Tensor) -> Tensor:
        h = functional.relu(layers[1](torch.relu(layers[0](x))))
        h = functional.avg_pool2d(h, 2).flatten(1)
        return layers[3](layers[2](h).relu_())

    torch.testing.assert_close(ours(method, calls(forward)), expected, **TIGHT)


@pytest.mark.parametrize("theirs", ["GuidedBackprop", "DeconvNet"])
def test_guided_signals_beside_zennit(theirs: str) -> None:
    composites = peer("zennit.composites")
    method = GuidedBackprop() if theirs == "GuidedBackprop" else Deconvnet()
    net = network()
    expected = _by_zennit(getattr(composites, theirs)(), net)
    torch.testing.assert_close(ours(method, net), expected, **TIGHT)


def _by_zennit(composite: Any, net: nn.Module) -> Tensor:
    leaf = X.clone().requires_grad_()
    with composite.context(net) as modified:
        output = modified(leaf)
        start = torch.zeros_like(output)
        start[:, 1] = output.detach()[:, 1]
        if type(composite).__name__ in ("GuidedBackprop", "DeconvNet"):
            start[:, 1] = 1.0
        (given,) = torch.autograd.grad(output, leaf, start)
    return given


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("composite", "theirs"),
    [(EpsilonPlus(), "EpsilonPlus"), (EpsilonAlpha2Beta1(), "EpsilonAlpha2Beta1")],
)
def test_relevance_beside_zennit(composite: Any, theirs: str, bias: bool) -> None:
    """With the same biases in the denominators; its stabiliser is 1e-6, ours of signed parts 1e-9."""
    composites = peer("zennit.composites")
    net = network(bias)
    expected = _by_zennit(getattr(composites, theirs)(), net)
    scale = float(expected.abs().max())
    values = ours(LRP(composite), net)
    torch.testing.assert_close(values, expected, rtol=0, atol=1e-4 * scale)


@pytest.mark.filterwarnings("ignore")
def test_deep_lift_beside_captum() -> None:
    attr = peer("captum.attr")
    net = network()
    expected = attr.DeepLift(net).attribute(X.clone(), BASE, target=1)
    values = ours(DeepLift(), net, removal=assay.Baseline(BASE))
    torch.testing.assert_close(values, expected, **TIGHT)


@pytest.mark.filterwarnings("ignore")
def test_deep_lift_beside_shap() -> None:
    shap = peer("shap")
    net = network(pooled=False)
    rows = BASE[:2]
    explainer = shap.DeepExplainer(net, rows)
    expected = torch.as_tensor(explainer.shap_values(X.clone(), check_additivity=False)[..., 1])
    values = ours(DeepLift(), net, removal=assay.Background(rows))
    torch.testing.assert_close(values, expected.to(DOUBLE), rtol=0, atol=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_relevance_beside_captum() -> None:
    """Captum 0.9.0's rule of epsilon, 1e-9 for every layer."""
    attr = peer("captum.attr")
    plain = network(pooled=False)
    # Its hidden units are shut otherwise, and there is no relevance.
    plain[6].bias.data += 2

    class Flat(nn.Module):
        """It has no rule for modules that flatten."""

        def __init__(self) -> None:
            super().__init__()
            self.before, self.behind = plain[:4], plain[6:]

        def forward(self, x: Tensor) -> Tensor:
            return self.behind(self.before(x).flatten(1))

    net = Flat()
    expected = attr.LRP(net).attribute(X.clone(), target=1)
    assert float(expected.abs().max()) > 1e-3
    rules = Composite({"convolution": Epsilon(1e-9), "dense": Epsilon(1e-9)})
    torch.testing.assert_close(ours(LRP(rules), net), expected, rtol=0, atol=1e-7)


# --- innvestigate's layers: their golden files are not shipped here, so the values are worked out from
# the definitions that they hold, input by input. Biases are 0 there, and the relevance of a layer
# is the value of its largest neuron.

ANALYZERS: dict[str, tuple[Rule, Callable[[Any, Any], Any]]] = {
    "LRPZ": (Zero(), lambda parts, z: parts / z),
    "LRPEpsilon": (Epsilon(1e-7), lambda parts, z: parts / (z + math.copysign(1e-7, z))),
    "LRPZPlus": (ZPlus(0.0), lambda parts, z: _share(parts.clip(min=0))),
    "LRPAlpha1Beta0": (AlphaBeta(1.0, 0.0), lambda parts, z: _share(parts.clip(min=0))),
    "LRPAlpha2Beta1": (
        AlphaBeta(2.0, 0.0),
        lambda parts, z: 2 * _share(parts.clip(min=0)) - _share(parts.clip(max=0)),
    ),
}


def _share(parts: Any) -> Any:
    return parts / parts.sum() if parts.any() else parts


@pytest.mark.parametrize("ignored", [False, True], ids=["absorb", "ignore"])
@pytest.mark.parametrize("rectified", [False, True])
@pytest.mark.parametrize("kind", ["dense", "convolution", "grouped"])
@pytest.mark.parametrize("analyzer", ANALYZERS)
def test_a_layer_as_innvestigate_defines_it(
    analyzer: str, kind: str, rectified: bool, ignored: bool
) -> None:
    rule, shares = ANALYZERS[analyzer]
    make = {
        "dense": lambda: nn.Sequential(nn.Flatten(), nn.Linear(128, 5, bias=False)),
        "convolution": lambda: nn.Sequential(nn.Conv2d(2, 3, 3, bias=False), nn.Flatten()),
        "grouped": lambda: nn.Sequential(nn.Conv2d(2, 4, 3, groups=2, bias=False), nn.Flatten()),
    }[kind]
    layer = randomised(make(), 3).double()
    net = nn.Sequential(*layer, nn.ReLU()) if rectified else layer
    bias = "ignore" if ignored else "absorb"
    composite = Composite({"convolution": rule, "dense": rule}, bias=bias)
    # The largest neuron of each input is its predicted class.
    attribution = LRP(composite)(assay.Question(net, X))
    for row, given in zip(X, attribution.values):
        z, chosen = layer(row[None])[0].detach().max(0)
        matrix = torch.autograd.functional.jacobian(lambda x: layer(x[None])[0], row)
        parts = (row * matrix[chosen]).flatten().numpy()
        expected = shares(parts, float(z)) * float(z)
        np.testing.assert_allclose(given.flatten().numpy(), expected, rtol=0, atol=1e-9)
    if analyzer != "LRPEpsilon":
        sums = attribution.values.flatten(1).sum(1)
        torch.testing.assert_close(sums, attribution.prediction, **TIGHT)


# --- attention: explicit relevance, and slopes that are patched (Arras et al. 2025), are one thing


class Block(nn.Module):
    """Attention and a gated layer behind norms, as in large language models, without biases."""

    def __init__(self, patched: str | None = None) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(4, bias=False) for _ in range(2))
        self.maps = nn.ModuleList(nn.Linear(4, 4, bias=False) for _ in range(4))
        self.gate, self.up = nn.Linear(4, 6, bias=False), nn.Linear(4, 6, bias=False)
        self.down, self.head = nn.Linear(6, 4, bias=False), nn.Linear(4, 3, bias=False)
        self.patched = patched

    def forward(self, x: Tensor) -> Tensor:
        h = self.normed(x, 0)
        q, k, v = (layer(h) for layer in self.maps[:3])
        if self.patched == "attn":
            # Two products in which both factors carry relevance lie behind q and k, one behind v.
            q, k, v = _scaled(q, 1 / 4), _scaled(k, 1 / 4), _scaled(v, 1 / 2)
        weights = torch.softmax(q @ k.transpose(1, 2) / 2, -1)
        weights = weights.detach() if self.patched == "cp" else weights
        x = x + self.maps[3](weights @ v)
        h = self.normed(x, 1)
        gate, up = self.activated(self.gate(h)), self.up(h)
        if self.patched == "attn":
            gate, up = _scaled(gate, 1 / 2), _scaled(up, 1 / 2)
        x = x + self.down(gate * up)
        return self.head(x.mean(1))

    def normed(self, x: Tensor, number: int) -> Tensor:
        norm = self.norms[number]
        if not self.patched:
            return norm(x)
        centred = x - x.mean(-1, keepdim=True)
        size = torch.sqrt(centred.square().mean(-1, keepdim=True) + norm.eps)
        return centred / size.detach() * norm.weight

    def activated(self, z: Tensor) -> Tensor:
        if not self.patched:
            return functional.silu(z)
        return z * torch.sigmoid(z).detach()


def _scaled(tensor: Tensor, factor: float) -> Tensor:
    """The same numbers, whose slope is taken times a factor."""
    return tensor * factor + (tensor * (1 - factor)).detach()


def test_patched_slopes_are_the_explicit_rules_of_attention() -> None:
    """LXT divides by x + 1e-10 without a sign; the gates here are exact at 0."""
    explicit, patched = (randomised(Block(way), 2).double() for way in (None, "attn"))
    x = randn(3, 5, 4, seed=1, dtype=DOUBLE)
    leaf = x.clone().requires_grad_()
    (slopes,) = torch.autograd.grad(patched(leaf)[:, 1].sum(), leaf)
    values = LRP(AttentionAware(epsilon=0.0))(assay.Question(explicit, x, target=1)).values
    torch.testing.assert_close(values.view(x.shape), x * slopes, **TIGHT)


def test_attention_that_is_held_constant_conserves_in_a_gated_block_but_for_the_gate() -> None:
    explicit, patched = (randomised(Block(way), 2).double() for way in (None, "cp"))
    x = randn(3, 5, 4, seed=1, dtype=DOUBLE)
    composite = Composite(
        {
            "dense": Epsilon(0.0),
            "softmax": assay.methods.rules.Constant(),
            "product": Zero(),
        }
    )
    leaf = x.clone().requires_grad_()
    (slopes,) = torch.autograd.grad(patched(leaf)[:, 1].sum(), leaf)
    values = LRP(composite)(assay.Question(explicit, x, target=1)).values
    torch.testing.assert_close(values.view(x.shape), x * slopes, **TIGHT)
    attribution = LRP(ConservativeAttention(epsilon=0.0))(assay.Question(explicit, x, target=1))
    account = attribution.facts["conservation"]
    assert account["input"] == pytest.approx(account["output"], rel=1e-9)


def test_relevance_of_attention_step_by_step() -> None:
    """R_x = x (R - s sum R) of the softmax; A (R / 2 O) B' and its mirror of a product."""
    q, k, v = (randn(4, 3, seed=seed, dtype=DOUBLE) for seed in (1, 2, 3))

    def forward(n: nn.ModuleDict, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return (torch.softmax(q @ k.transpose(1, 2), -1) @ v)[:, 1]

    question = assay.Question(calls(forward), (q[None], k[None], v[None]), target=2)
    given = LRP(AttentionAware(epsilon=0.0))(question).parts
    scores = q @ k.T
    weights = torch.softmax(scores, -1)
    output = weights @ v
    relevance = torch.zeros_like(output)
    relevance[1, 2] = output[1, 2]
    of_weights = weights * ((relevance / (2 * output)) @ v.T)
    of_v = v * (weights.T @ (relevance / (2 * output)))
    of_scores = scores * (of_weights - weights * of_weights.sum(-1, keepdim=True))
    of_q = q * ((of_scores / (2 * scores)) @ k)
    of_k = k * ((of_scores / (2 * scores)).T @ q)
    for ours, theirs in zip(given, (of_q, of_k, of_v)):
        torch.testing.assert_close(ours[0], theirs, **TIGHT)
    torch.testing.assert_close(of_weights.sum() + of_v.sum(), output[1, 2], **TIGHT)


def test_without_biases_relevance_is_the_score() -> None:
    net = network(bias=False)
    rules = Composite({"convolution": Zero(), "dense": Zero()})
    attribution = LRP(rules)(assay.Question(net, X, target=1))
    torch.testing.assert_close(attribution.values.flatten(1).sum(1), net(X)[:, 1].detach(), **TIGHT)
    assert not attribution.facts["conservation"]["absorbed"]
