"""Rules written slowly from their definitions: relevance through a matrix, guided signals and
DeepLIFT layer by layer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import hypothesis
import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

import assay
from assay import LRP, Deconvnet, DeepLift, GuidedBackprop
from assay.methods.rules import (
    AlphaBeta,
    Composite,
    Epsilon,
    Flat,
    Gamma,
    Norm,
    Pass,
    Rule,
    WSquare,
    ZBox,
    Zero,
    ZPlus,
)
from rule_networks import DOUBLE, Calls, calls
from toys import randn, randomised

Floats: TypeAlias = npt.NDArray[np.float64]
TIGHT = {"rtol": 1e-10, "atol": 1e-10}

LAYERS: dict[str, tuple[Callable[..., nn.Module], tuple[int, ...]]] = {
    "linear": (lambda bias: nn.Linear(6, 5, bias), (6,)),
    "linear of steps": (lambda bias: nn.Linear(3, 4, bias), (2, 3)),
    "conv1d": (lambda bias: nn.Conv1d(4, 6, 3, 2, 2, 2, 2, bias), (4, 7)),
    "conv2d": (lambda bias: nn.Conv2d(2, 3, 3, padding=1, bias=bias), (2, 4, 4)),
    "conv2d strided": (lambda bias: nn.Conv2d(2, 4, (3, 2), (2, 1), groups=2, bias=bias), (2, 5, 4)),
    "conv2d dilated": (lambda bias: nn.Conv2d(2, 3, 2, dilation=2, padding=1, bias=bias), (2, 4, 4)),
    "conv3d": (lambda bias: nn.Conv3d(1, 2, 2, padding=1, bias=bias), (1, 3, 2, 3)),
    "transposed 1d": (
        lambda bias: nn.ConvTranspose1d(4, 2, 3, 2, 1, 1, groups=2, bias=bias), (4, 4)
    ),
    "transposed 2d": (lambda bias: nn.ConvTranspose2d(2, 3, 3, 2, bias=bias), (2, 3, 3)),
    "transposed 3d": (
        lambda bias: nn.ConvTranspose3d(1, 2, 2, dilation=2, bias=bias), (1, 2, 2, 2)
    ),
}  # fmt: skip


def positive(numbers: Floats) -> Floats:
    return np.maximum(numbers, 0)


def negative(numbers: Floats) -> Floats:
    return np.minimum(numbers, 0)


def steady(numbers: Floats, epsilon: float) -> Floats:
    moved = numbers + epsilon * np.where(numbers >= 0, 1.0, -1.0)
    return np.where(moved == 0, 1.0, moved)


def shared(parts: Floats, bias: Floats, relevance: Floats, epsilon: float) -> Floats:
    """In proportion to parts (inputs, outputs), of which the bias is one more."""
    return parts @ (relevance / steady(parts.sum(0) + bias, epsilon))


Twin: TypeAlias = Callable[[Any, Floats, Floats, Floats, Floats, bool], Floats]
"""(rule, x, W (inputs, outputs), bias, R, is the bias ignored) to the inputs' relevance."""


def zero(rule: Any, x: Floats, w: Floats, b: Floats, r: Floats, ignored: bool) -> Floats:
    return shared(x[:, None] * w, b * (not ignored), r, getattr(rule, "epsilon", 0.0))


def gamma(rule: Any, x: Floats, w: Floats, b: Floats, r: Floats, ignored: bool) -> Floats:
    z = x @ w + b
    up, down = w + rule.gamma * positive(w), w + rule.gamma * negative(w)
    above, below = positive(x)[:, None], negative(x)[:, None]
    parts = np.where(z >= 0, above * up + below * down, above * down + below * up)
    bias = b + rule.gamma * np.where(z >= 0, positive(b), negative(b))
    return shared(parts, bias * (not ignored), r, rule.epsilon)


def alpha_beta(rule: Any, x: Floats, w: Floats, b: Floats, r: Floats, ignored: bool) -> Floats:
    alpha = getattr(rule, "alpha", 1.0)
    parts = x[:, None] * w
    b = b * (not ignored)
    speaking_for = shared(positive(parts), positive(b), r, rule.epsilon)
    against = shared(negative(parts), negative(b), r, rule.epsilon)
    given: Floats = alpha * speaking_for - (alpha - 1) * against
    return given


def box(rule: Any, x: Floats, w: Floats, b: Floats, r: Floats, ignored: bool) -> Floats:
    parts = x[:, None] * w - rule.low * positive(w) - rule.high * negative(w)
    return shared(parts, 0 * b, r, rule.epsilon)


def squares(rule: Any, x: Floats, w: Floats, b: Floats, r: Floats, ignored: bool) -> Floats:
    return shared(w**2, 0 * b, r, 0.0)


def flat(rule: Any, x: Floats, w: Floats, b: Floats, r: Floats, ignored: bool) -> Floats:
    return shared((w != 0).astype(float), 0 * b, r, 0.0)


RULES: list[tuple[Rule, Twin]] = [
    (Zero(), zero),
    (Epsilon(0.3), zero),
    (Gamma(0.25), gamma),
    (Gamma(2.0, 0.01), gamma),
    (ZPlus(), alpha_beta),
    (AlphaBeta(2.0), alpha_beta),
    (AlphaBeta(3.0, 0.1), alpha_beta),
    (ZBox(-3.0, 4.0), box),
    (WSquare(), squares),
    (Flat(), flat),
]


def dense(layer: nn.Module, x: Tensor) -> tuple[Floats, Floats]:
    """The layer as a matrix (inputs, outputs) and a bias (outputs,), whatever it is."""

    def flat_layer(row: Tensor) -> Tensor:
        return layer(row.view(1, *x.shape[1:])).flatten()

    matrix = torch.autograd.functional.jacobian(flat_layer, x[0].flatten())
    bias = flat_layer(torch.zeros_like(x[0]).flatten())
    return matrix.T.detach().numpy(), bias.detach().numpy()


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize(("rule", "twin"), RULES, ids=[repr(rule) for rule, _ in RULES])
@pytest.mark.parametrize(
    ("bias", "signed"), [("none", True), ("absorb", True), ("ignore", True), ("absorb", False)]
)
def test_a_rule_through_a_matrix(
    kind: str, rule: Rule, twin: Twin, bias: Any, signed: bool
) -> None:
    make, shape = LAYERS[kind]
    layer = randomised(make(bias != "none"), 3).double()
    x = randn(2, *shape, seed=4, dtype=DOUBLE)
    x = x if signed else x.abs()
    matrix, constant = dense(layer, x)
    weight = randn(matrix.shape[1], seed=5, dtype=DOUBLE)
    # The relevance of each output is another one: z times its weight.
    net = calls(lambda n, x: (layer(x).flatten(1) * weight).sum(1), layer=nn.Identity())
    composite = Composite(
        {"sum": Zero()}, first=rule, bias="ignore" if bias == "ignore" else "absorb"
    )
    values = LRP(composite)(assay.Question(net, x)).values.flatten(1).numpy()
    for row, given in zip(x.flatten(1).numpy(), values):
        relevance = (row @ matrix + constant) * weight.numpy()
        expected = twin(rule, row, matrix, constant, relevance, bias == "ignore")
        np.testing.assert_allclose(given, expected, **TIGHT)


@st.composite
def chains(draw: Any) -> tuple[list[nn.Module], list[tuple[Rule, Twin]], Any]:
    """Layers in a row, each with a rule of its own, and what becomes of biases."""
    layers: list[nn.Module] = []
    h = randn(2, 2, 4, 4, seed=4, dtype=DOUBLE)
    rules = []
    for number in range(draw(st.integers(2, 3))):
        channels, width, bias = h.shape[1], h.shape[3], draw(st.booleans())
        kind = draw(st.sampled_from(["convolution", "transposed", "grouped", "dense"]))
        made = {
            "convolution": lambda c, w, b: nn.Conv2d(c, 2, 2, bias=b),
            "transposed": lambda c, w, b: nn.ConvTranspose2d(c, 2, 2, 2, 1, bias=b),
            "grouped": lambda c, w, b: nn.Conv2d(c, 4, 2, groups=2, padding=1, bias=b),
            # Over the columns of an image.
            "dense": lambda c, w, b: nn.Linear(w, 3, bias=b),
        }[kind](channels, width, bias)
        layers.append(randomised(made, number + 1).double())
        h = layers[-1](h).detach()
        # What is handed over directly is for the first layer.
        allowed = RULES if number == 0 else [pair for pair in RULES if not pair[0].direct]
        rules.append(draw(st.sampled_from(allowed)))
    return layers, rules, draw(st.sampled_from(["absorb", "ignore"]))


@hypothesis.given(chains())
def test_rules_through_a_chain_of_matrices(made: Any) -> None:
    layers, rules, bias = made
    x = randn(2, 2, 4, 4, seed=4, dtype=DOUBLE)
    named = {f"layers.l{number}": layer for number, layer in enumerate(layers)}

    def forward(n: nn.ModuleDict, x: Tensor) -> Tensor:
        for layer in n.values():
            x = torch.relu(layer(x))
        return x.flatten(1)

    net = Calls(forward, **{name.removeprefix("layers."): layer for name, layer in named.items()})
    said = {name: rule for name, (rule, _) in zip(named, rules)}
    composite = Composite({"sum": Zero()}, first=rules[0][0], layers=said, bias=bias)
    target = 1
    attribution = LRP(composite)(assay.Question(net.eval(), x, target=target))
    for row, given_row in zip(x, attribution.values.flatten(1).numpy()):
        activations = [row[None]]
        for layer in layers:
            activations.append(torch.relu(layer(activations[-1])).detach())
        relevance = np.zeros(activations[-1].numel())
        relevance[target] = float(activations[-1].flatten()[target])
        for layer, (rule, twin), h in zip(
            reversed(layers), reversed(rules), reversed(activations[:-1])
        ):
            matrix, constant = dense(layer, h)
            relevance = twin(
                rule, h.flatten().numpy(), matrix, constant, relevance, bias == "ignore"
            )
        scale = max(float(np.abs(given_row).max()), 1e-3)
        np.testing.assert_allclose(given_row, relevance, rtol=0, atol=1e-9 * scale)


@pytest.mark.parametrize("epsilon", [0.0, 0.2])
def test_the_norm_rule_of_a_sum(epsilon: float) -> None:
    x, y = randn(3, 4, seed=1, dtype=DOUBLE), randn(3, 4, seed=2, dtype=DOUBLE)
    net = calls(lambda n, x, y: x + y)
    ours, theirs = LRP(Composite({"sum": Norm(epsilon)}))(
        assay.Question(net, (x, y), target=1)
    ).parts
    z = (x + y)[:, 1]
    share = z / torch.where(z >= 0, z + epsilon, z - epsilon)
    torch.testing.assert_close(ours[:, 1], x[:, 1] * share, **TIGHT)
    torch.testing.assert_close(theirs[:, 1], y[:, 1] * share, **TIGHT)


def test_the_pass_rule_of_activations() -> None:
    x = randn(3, 4, seed=1, dtype=DOUBLE)
    for activation in (torch.tanh, torch.sigmoid, functional.elu, torch.exp, functional.softplus):
        net = calls(lambda n, x, activation=activation: activation(3 * x))
        values = LRP(Composite({"activation": Pass()}))(assay.Question(net, x, target=1)).values
        torch.testing.assert_close(values[:, 1], activation(3 * x)[:, 1], **TIGHT)


# --- signals through rectifiers, layer by layer


@pytest.mark.parametrize("is_guided", [True, False], ids=["guided", "deconvnet"])
def test_signals_through_rectifiers(is_guided: bool) -> None:
    convs = [randomised(nn.Conv2d(2, 2, 3, padding=1), seed).double() for seed in range(3)]
    net = nn.Sequential(convs[0], nn.ReLU(), convs[1], nn.ReLU(), convs[2], nn.ReLU(), nn.Flatten())
    x = randn(2, 2, 4, 4, seed=1, dtype=DOUBLE)
    before = [convs[0](x)]
    for conv in convs[1:]:
        before.append(conv(torch.relu(before[-1])))
    signal = torch.zeros_like(before[-1])
    signal.flatten(1)[:, 5] = 1.0
    for conv, z in zip(reversed(convs), reversed(before)):
        signal = signal.clamp(min=0)
        if is_guided:
            signal = signal * (z > 0)
        signal = functional.conv_transpose2d(signal, conv.weight, padding=1)
    method = GuidedBackprop() if is_guided else Deconvnet()
    values = method(assay.Question(net, x, target=5)).values
    torch.testing.assert_close(values.view_as(signal), signal.detach(), **TIGHT)


# --- DeepLIFT, layer by layer

ACTIVATIONS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Floats], Floats]]] = {
    "relu": (torch.relu, positive),
    "tanh": (torch.tanh, np.tanh),
    "sigmoid": (torch.sigmoid, lambda z: 1 / (1 + np.exp(-z))),
    "softplus": (functional.softplus, lambda z: np.log1p(np.exp(z))),
}


def rescaled(f: Callable[[Floats], Floats], x: Floats, w: Floats, z: Floats, z0: Floats) -> Floats:
    """Multipliers (inputs, outputs) of an activation behind a dense layer."""
    given: Floats = w * ((f(z) - f(z0)) / (z - z0))
    return given


def revealed(f: Callable[[Floats], Floats], dx: Floats, w: Floats, z: Floats, z0: Floats) -> Floats:
    parts = dx[:, None] * w
    up, down = positive(parts).sum(0), negative(parts).sum(0)
    gain = (f(z0 + up) - f(z0) + f(z0 + down + up) - f(z0 + down)) / 2
    loss = (f(z0 + down) - f(z0) + f(z0 + up + down) - f(z0 + up)) / 2
    of_gain = np.divide(gain, up, out=np.zeros_like(up), where=up != 0)
    of_loss = np.divide(loss, down, out=np.zeros_like(down), where=down != 0)
    # An input that does not differ has half of either.
    either = np.where(parts > 0, of_gain, np.where(parts < 0, of_loss, (of_gain + of_loss) / 2))
    given: Floats = w * either
    return given


@pytest.mark.parametrize("rule", ["rescale", "reveal_cancel", "genomics"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_multipliers_layer_by_layer(rule: Any, activation: str) -> None:
    layers = [randomised(nn.Linear(*shape), 3).double() for shape in ((4, 6), (6, 5), (5, 3))]
    call, f = ACTIVATIONS[activation]
    net = calls(lambda n, x: layers[2](call(layers[1](call(layers[0](x))))))
    x, base = randn(3, 4, seed=1, dtype=DOUBLE), randn(3, 4, seed=2, dtype=DOUBLE)
    question = assay.Question(net, x, target=1, removal=assay.Baseline(base))
    values = DeepLift(rule)(question).values.numpy()
    of = rescaled if rule == "rescale" else revealed
    weights = [(layer.weight.detach().numpy().T, layer.bias.detach().numpy()) for layer in layers]
    for a, a0, given in zip(x.numpy(), base.numpy(), values):
        dx, matrices = a - a0, []
        for w, b in weights[:2]:
            z, z0 = a @ w + b, a0 @ w + b
            matrices.append(of(f, a - a0, w, z, z0))
            a, a0 = f(z), f(z0)
        multipliers = matrices[0] @ matrices[1] @ weights[2][0][:, 1]
        np.testing.assert_allclose(given, dx * multipliers, **TIGHT)


def test_the_rule_of_genomics_reveals_behind_dense_layers_alone() -> None:
    """deeplift, GenomicsDefault: rescale behind convolutions, reveal-cancel behind dense layers."""
    conv = nn.Sequential(nn.Conv2d(2, 3, 2), nn.ReLU(), nn.Flatten())
    dense = nn.Sequential(nn.Flatten(), nn.Linear(32, 6), nn.ReLU())
    x, base = (randn(3, 2, 4, 4, seed=seed, dtype=DOUBLE) for seed in (1, 2))

    def values(net: nn.Module, rule: Any) -> Tensor:
        question = assay.Question(net, x, target=1, removal=assay.Baseline(base))
        return DeepLift(rule)(question).values

    for net, alike, other in (
        (conv, "rescale", "reveal_cancel"),
        (dense, "reveal_cancel", "rescale"),
    ):
        net = randomised(net, 3).double()
        torch.testing.assert_close(values(net, "genomics"), values(net, alike), **TIGHT)
        assert float((values(net, "genomics") - values(net, other)).abs().max()) > 1e-3


@pytest.mark.parametrize("inner", [lambda h: h, torch.tanh], ids=["inputs", "activations"])
def test_a_product_shares_by_the_mean_of_the_other_factor(
    inner: Callable[[Tensor], Tensor],
) -> None:
    """a b - a0 b0 = (a - a0) (b + b0) / 2 + (b - b0) (a + a0) / 2; of three, pair by pair."""
    x, y, z = (randn(3, 4, seed=seed, dtype=DOUBLE) for seed in (1, 2, 3))
    base = [randn(3, 4, seed=seed, dtype=DOUBLE) for seed in (4, 5, 6)]
    net = calls(lambda n, x, y, z: (inner(x) * inner(y) * inner(z)).sum(1))
    question = assay.Question(net, (x, y, z), removal=assay.Baseline(tuple(base)))
    a, b, c = (inner(part) for part in (x, y, z))
    a0, b0, c0 = (inner(part) for part in base)
    expected = (
        (a - a0) * (b + b0) / 2 * (c + c0) / 2,
        (b - b0) * (a + a0) / 2 * (c + c0) / 2,
        (c - c0) * (a * b + a0 * b0) / 2,
    )
    for ours, theirs in zip(DeepLift()(question).parts, expected):
        torch.testing.assert_close(ours, theirs, **TIGHT)


def test_the_multipliers_of_the_authors_fixture() -> None:
    """deeplift, tests/layers/test_activation.py."""
    layer = nn.Linear(4, 2, dtype=DOUBLE)
    weight = torch.tensor([[1.0, 2.0, 3.0, 4.0], [-1.0, -2.0, -3.0, -4.0]], dtype=DOUBLE)
    layer.weight.data.copy_(weight)
    layer.bias.data.copy_(torch.tensor([-1.0, 1.0]))
    net = nn.Sequential(layer, nn.ReLU())
    x = torch.tensor([[1.0] * 4, [2.0] * 4], dtype=DOUBLE)
    for target, shares in ((0, (9 / 10, 19 / 20)), (1, (1 / 10, 1 / 20))):
        question = assay.Question(net, x, target=target, removal=assay.Baseline(0.0))
        multipliers = DeepLift()(question).values / x
        expected = torch.stack([share * weight[target] for share in shares])
        torch.testing.assert_close(multipliers, expected, **TIGHT)


def test_an_average_over_references_is_the_average_of_answers() -> None:
    """DeepSHAP, and its standard error over rows."""
    net = calls(lambda n, x: n["b"](torch.relu(n["a"](x))), a=nn.Linear(4, 6), b=nn.Linear(6, 2))
    x, rows = randn(3, 4, seed=1, dtype=DOUBLE), randn(7, 4, seed=2, dtype=DOUBLE)
    over = DeepLift()(assay.Question(net, x, target=1, removal=assay.Background(rows)))
    each = torch.stack(
        [
            DeepLift()(assay.Question(net, x, target=1, removal=assay.Baseline(row))).values
            for row in rows
        ]
    )
    torch.testing.assert_close(over.values, each.mean(0), **TIGHT)
    assert over.standard_error is not None
    torch.testing.assert_close(over.standard_error, each.std(0) / 7**0.5, **TIGHT)
