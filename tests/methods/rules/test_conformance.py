"""Values that are known by hand, each network in every spelling of its operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import assay
from assay import LRP, Deconvnet, DeepLift, GuidedBackprop
from assay.methods.base import Method
from assay.methods.rules import (
    AlphaBeta,
    Composite,
    ConservativeAttention,
    Epsilon,
    EpsilonAlpha2Beta1,
    EpsilonAlpha2Beta1Flat,
    EpsilonGammaBox,
    EpsilonPlus,
    EpsilonPlusFlat,
    Flat,
    Gamma,
    Norm,
    Pass,
    WSquare,
    ZBox,
    Zero,
    ZPlus,
)
from rule_networks import DOUBLE, RELUS, SUMS, calls, image_net
from toys import randn, randomised

TIGHT = {"rtol": 0, "atol": 1e-10}
EXACT = Composite({"convolution": Epsilon(0.0), "dense": Epsilon(0.0)})


def tensor(*rows: Any) -> Tensor:
    return torch.tensor(rows, dtype=DOUBLE)


def ask(net: Any, x: Any, **more: Any) -> assay.Question:
    return assay.Question(net, x, **{"removal": assay.Baseline(0.0), **more})


def check(method: Method, question: assay.Question, expected: Tensor) -> None:
    values = method(question).values
    torch.testing.assert_close(values.reshape(expected.shape), expected, **TIGHT)


def dense(weight: Any, bias: Any = None) -> nn.Linear:
    numbers = torch.as_tensor(weight, dtype=DOUBLE)
    layer = nn.Linear(numbers.shape[1], numbers.shape[0], bias is not None, dtype=DOUBLE)
    layer.weight.data.copy_(numbers)
    if bias is not None:
        layer.bias.data.copy_(torch.as_tensor(bias, dtype=DOUBLE))
    return layer.requires_grad_(False)


def convolutional(relu: Callable[[Tensor], Tensor]) -> nn.Module:
    """Captum's `BasicModel_ConvNet_One_Conv`: a convolution of ones, and a dense layer of signs."""
    conv = nn.Conv2d(1, 2, 3, dtype=DOUBLE)
    conv.weight.data.fill_(1.0)
    conv.bias.data.copy_(torch.tensor([-50.0, -75.0]))
    signs = torch.cat([torch.ones(4, 5), -torch.ones(4, 3)], 1)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = conv, dense(signs)

        def forward(self, x: Tensor) -> Tensor:
            return relu(self.fc(relu(self.conv(x)).flatten(1)))

    return Net()


A16 = torch.arange(16, dtype=DOUBLE).view(1, 1, 4, 4)
EVERY_RELU = pytest.mark.parametrize("relu", RELUS.values(), ids=RELUS)
EVERY_SUM = pytest.mark.parametrize("add", SUMS.values(), ids=SUMS)


# --- slopes by rules


def test_the_gradient_at_a_kink_is_that_of_torch() -> None:
    check(assay.Gradient(), ask(lambda x: 1 - torch.relu(1 - x[:, 0]), tensor([1])), tensor([0]))


@EVERY_RELU
def test_the_gradient_of_one_less_a_rectifier(relu: Callable[[Tensor], Tensor]) -> None:
    # Not at the kink, where a rectifier's slope depends on how it is written.
    x = tensor([1.5, 2, 3, 0, -1, 7]).T
    expected = tensor([0, 0, 0, 1, 1, 0]).T
    check(assay.Gradient(), ask(calls(lambda n, x: 1 - relu(1 - x[:, 0])), x), expected)
    # With its sign, of which Captum's `Saliency` takes the size unless it is told not to.
    check(assay.Gradient(), ask(calls(lambda n, x: relu(1 - x[:, 0]) - 1), x), -expected)


@EVERY_RELU
def test_guided_signals_of_a_convolution(relu: Callable[[Tensor], Tensor]) -> None:
    question = ask(convolutional(relu), A16, target=0)
    guided = tensor([0, 1, 1, 1], [1, 3, 3, 2], [1, 3, 3, 2], [1, 2, 2, 1])
    deconvolved = tensor([2, 3, 3, 1], [3, 5, 5, 2], [3, 5, 5, 2], [1, 2, 2, 1])
    check(GuidedBackprop(), question, guided)
    check(Deconvnet(), question, deconvolved)


# --- relevance


def simple(first: float = 2.0, relu: Callable[[Tensor], Tensor] = torch.relu) -> nn.Module:
    weight = torch.full((3, 3), 2.0)
    weight[0, 0] = first

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = dense(weight), dense([[3.0, 3.0, 3.0]])

        def forward(self, x: Tensor) -> Tensor:
            return self.last(relu(self.first(x)))

    return Net()


@EVERY_RELU
@pytest.mark.parametrize(
    ("rules", "first", "expected"),
    [
        (EXACT, 2.0, [18, 36, 54]),
        (
            Composite(layers={"first": Gamma(1.0, 0.0), "last": Gamma(0.25, 0.0)}),
            -2.0,
            [28 / 3, 104 / 3, 52],
        ),
        (Composite({"dense": AlphaBeta(1.0, 0.0)}), -2.0, [12, 33.6, 50.4]),
        (Composite({"dense": ZPlus(0.0)}), -2.0, [12, 33.6, 50.4]),
        (Composite({"dense": Epsilon(0.0)}, layers={"first": Pass()}), -2.0, [24, 36, 36]),
    ],
    ids=["epsilon", "gamma", "alpha 1 beta 0", "z-plus", "identity"],
)
def test_relevance_of_two_dense_layers(
    relu: Callable[[Tensor], Tensor], rules: Composite, first: float, expected: list[float]
) -> None:
    x = tensor([1, 2, 3])
    check(LRP(rules), ask(simple(first, relu), x), tensor(expected))


def test_relevance_of_a_batch_is_that_of_each() -> None:
    x = tensor([1, 2, 3], [3, 6, 9])
    check(LRP(EXACT), ask(simple(), x), tensor([18, 36, 54], [54, 108, 162]))


@EVERY_RELU
def test_relevance_of_a_convolution(relu: Callable[[Tensor], Tensor]) -> None:
    expected = tensor([0, 1, 2, 3], [0, 5, 6, 7], [0, 9, 10, 11], [0, 0, 0, 0])
    check(LRP(EXACT), ask(convolutional(relu), A16, target=0), expected)


@EVERY_SUM
def test_relevance_is_shared_between_summands(add: Callable[[Tensor, Tensor], Tensor]) -> None:
    layer = dense([[5.0, 5.0], [5.0, 5.0]])
    net = calls(lambda n, x: add(layer(x), x))
    check(LRP(EXACT), ask(net, tensor([2, 3]), target=1), tensor([10, 18]))


@pytest.mark.parametrize(
    ("add", "relu"),
    [(add, torch.relu) for add in SUMS.values()] + [(torch.add, relu) for relu in RELUS.values()],
    ids=[*SUMS, *RELUS],
)
def test_relevance_is_shared_between_inputs(
    add: Callable[[Tensor, Tensor], Tensor], relu: Callable[[Tensor], Tensor]
) -> None:
    """Captum 0.9.0 hands (16, 32, 48) to either input: 104 more than there is."""
    first = dense(torch.ones(4, 3), [-10, 1, 1, 1])
    last = dense(torch.ones(2, 4), [-1, 1])
    net = calls(lambda n, x, y: last(relu(first(add(x.clone(), y)))))
    x = tensor([1, 2, 3])
    attribution = LRP(EXACT)(ask(net, (x, 3 * x), target=0))
    ours, theirs = attribution.parts
    torch.testing.assert_close(ours, tensor([4, 8, 12]), **TIGHT)
    torch.testing.assert_close(theirs, tensor([12, 24, 36]), **TIGHT)
    conservation = attribution.facts["conservation"]
    assert sum(conservation["absorbed"].values()) == pytest.approx(-8, abs=1e-10)
    assert conservation["unaccounted"] == pytest.approx(0, abs=1e-10)


NET = image_net(lambda n, h: torch.relu(n["norm"](n["again"](torch.relu(h))) + h))
X = randn(2, 2, 6, 6, seed=1, dtype=DOUBLE)


def slopes(net: nn.Module, x: Tensor, target: int) -> Tensor:
    leaf = x.clone().requires_grad_()
    (given,) = torch.autograd.grad(net(leaf)[:, target].sum(), leaf)
    return given


@pytest.mark.parametrize("merge", [True, False])
def test_the_zero_rule_is_the_input_times_the_gradient(merge: bool) -> None:
    rules = Composite({"convolution": Zero(), "dense": Zero()}, merge_batch_norm=merge)
    check(LRP(rules), ask(NET, X, target=2), (X * slopes(NET, X, 2)).flatten(1))


def plain(bias: bool = False) -> nn.Module:
    net = randomised(
        nn.Sequential(nn.Conv2d(2, 4, 3, padding=1, bias=bias), nn.ReLU(), nn.MaxPool2d(2))
        .append(nn.Flatten())
        .append(nn.Linear(36, 3, bias=bias)),
        4,
    )
    return net.double()


def relevance(rules: Composite, net: nn.Module, x: Tensor) -> Tensor:
    return LRP(rules)(ask(net, x, target=1)).values


@pytest.mark.parametrize(
    ("one", "other", "x"),
    [
        (AlphaBeta(1.0), ZPlus(), X),
        (Gamma(0.0, 0.0), Zero(), X),
        (Gamma(1e12, 0.0), ZPlus(0.0), None),
        (ZBox(0.0, 5.0, 0.0), ZPlus(0.0), None),
        (Flat(), WSquare(), X),
    ],
    ids=["alpha 1 is z-plus", "gamma 0 is zero", "gamma grows to z-plus", "box", "flat"],
)
def test_rules_that_meet(one: Any, other: Any, x: Tensor | None) -> None:
    net = plain()
    weight = net[0].weight.data
    if x is None:
        # Inputs and weights of one sign, for which these are the same.
        x = X.abs()
        weight.abs_()
    if isinstance(one, Flat):
        weight.copy_(weight.sign() * 0.3)
    rules = {"dense": Epsilon(0.0)}
    first = relevance(Composite(rules, first=one), net, x)
    torch.testing.assert_close(first, relevance(Composite(rules, first=other), net, x), **TIGHT)
    assert first.abs().max() > 1e-3


COMPOSITES = [
    EpsilonPlus(),
    EpsilonPlusFlat(),
    EpsilonAlpha2Beta1(),
    EpsilonAlpha2Beta1Flat(),
    EpsilonGammaBox(-4.0, 4.0),
    ConservativeAttention(),
]


@pytest.mark.parametrize("composite", COMPOSITES)
def test_what_biases_absorb_is_all_that_is_missing(composite: Any) -> None:
    attribution = LRP(composite)(ask(NET, X, target=1))
    account = attribution.facts["conservation"]
    assert account["input"] == pytest.approx(float(attribution.values.sum()), abs=1e-10)
    assert account["output"] == pytest.approx(float(NET(X)[:, 1].sum().detach()), abs=1e-10)
    assert account["unaccounted"] == pytest.approx(0, abs=1e-10)
    assert account["absorbed"]


@pytest.mark.parametrize("rule", [Zero(), Epsilon(0.0), Epsilon(1e-3), Gamma(), ZPlus(), Flat()])
def test_a_merged_batch_norm_is_the_network_with_its_weights_merged(rule: Any) -> None:
    conv = randomised(nn.Conv2d(2, 4, 3), 5).double()
    norm = randomised(nn.BatchNorm2d(4), 6).double()
    head = randomised(nn.Linear(64, 3), 7).double()
    merged = torch.nn.utils.fuse_conv_bn_eval(conv, norm)
    net = nn.Sequential(conv, norm, nn.ReLU(), nn.Flatten(), head).eval()
    twin = nn.Sequential(merged, nn.ReLU(), nn.Flatten(), head).eval()
    # As function and as module behind a convolution that is a function.
    as_functions = calls(
        lambda n, x: head(
            functional.batch_norm(
                functional.conv2d(x, conv.weight, conv.bias), norm.running_mean, norm.running_var,
                norm.weight, norm.bias, False, 0.1, norm.eps,
            ).relu_().flatten(1)
        )
    )  # fmt: skip
    rules = Composite({"dense": Epsilon(0.0)}, first=rule)
    expected = relevance(rules, twin, X)
    torch.testing.assert_close(relevance(rules, net, X), expected, **TIGHT)
    torch.testing.assert_close(relevance(rules, as_functions.eval(), X), expected, **TIGHT)


def test_a_batch_norm_by_itself_is_an_affine_map() -> None:
    conv = randomised(nn.Conv2d(2, 4, 3), 5).double()
    norm = randomised(nn.BatchNorm2d(4), 6).double()
    net = nn.Sequential(conv, norm, nn.Flatten()).eval()
    twin = nn.Sequential(torch.nn.utils.fuse_conv_bn_eval(conv, norm), nn.Flatten())
    rules = Composite({"convolution": Epsilon(0.0)}, merge_batch_norm=False)
    torch.testing.assert_close(
        relevance(rules, net, X), relevance(Composite({"convolution": Zero()}), twin, X), **TIGHT
    )
    # Where it matters that it is not merged: a scale behind z-plus, which changes no share.
    scale = (norm.weight / torch.sqrt(norm.running_var + norm.eps)).detach().view(-1, 1, 1)
    shift = norm.bias.detach().view(-1, 1, 1) - norm.running_mean.view(-1, 1, 1) * scale
    affine = calls(lambda n, x: (conv(x) * scale + shift).flatten(1))
    apart = relevance(Composite({"convolution": ZPlus()}, merge_batch_norm=False), net, X)
    plus = Composite({"convolution": ZPlus()})
    torch.testing.assert_close(apart, relevance(plus, affine, X), **TIGHT)
    assert float((apart - relevance(plus, net, X)).abs().max()) > 1e-3


# --- DeepLIFT


@EVERY_RELU
def test_rescale_of_two_rectifiers(relu: Callable[[Tensor], Tensor]) -> None:
    def net(x: Tensor) -> Tensor:
        return 2 * relu(x[:, 0] + 0) + 2 * relu(x[:, 1] - 1.5)

    check(DeepLift(), ask(net, tensor([1, 2])), tensor([2, 1]))


POOLS: dict[str, Callable[[Tensor], Tensor]] = {
    "module": nn.MaxPool1d(4),
    "function": lambda x: functional.max_pool1d(x, 4),
    "with its places": lambda x: functional.max_pool1d(x, 4, return_indices=True)[0],
    "of torch": lambda x: torch.max_pool1d(x, 4),
    "of pictures": lambda x: functional.max_pool2d(x.unsqueeze(2), (1, 4)),
    "to a size": lambda x: functional.adaptive_max_pool1d(x, 1),
}


@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)
def test_rescale_of_a_maximum_that_changes_its_winner(pool: Callable[[Tensor], Tensor]) -> None:
    net = calls(lambda n, x: pool(x.unsqueeze(1)).flatten())
    base = tensor([1, 2, 3, 9], [4, 8, 6, 7])
    question = ask(net, torch.ones(2, 4, dtype=DOUBLE), removal=assay.Baseline(base))
    check(DeepLift(), question, tensor([0, 0, 0, -8], [0, -7, 0, 0]))


@EVERY_RELU
@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_rescale_behind_a_layer(scale: float, relu: Callable[[Tensor], Tensor]) -> None:
    one, other = dense([[3.0, 1.0, 0.0]]), dense([[2.0, 3.0, 0.0]])
    net = calls(
        lambda n, x, y: scale * relu(n["pre"](torch.cat([one(x), other(y)], 1)) + 0).sum(1),
        pre=nn.Identity(),
    )
    question = ask(net, (tensor([-10, 1, -5]), tensor([3, 3, 1])))
    behind = question.after("layers.pre", removal=assay.Baseline(0.0))
    check(DeepLift(), behind, tensor([0, 15 * scale]))
    check(LRP(EXACT), behind, tensor([0, 15 * scale]))
    # From (2, -1) to (-29, 15), where the slope, or what a rectifier in place leaves, says otherwise.
    away = question.after("layers.pre", removal=assay.Baseline(tensor(2, -1)))
    check(DeepLift(), away, tensor([-2 * scale, 15 * scale]))
    # The same unit, asked for as a neuron.
    unit = ask(net, (tensor([-10, 1, -5]), tensor([3, 3, 1])), target=assay.Neuron("layers.pre", 1))
    check(DeepLift(), unit, tensor([0, 0, 0, 6, 9, 0]))


@EVERY_RELU
@pytest.mark.parametrize("rule", ["rescale", "reveal_cancel", "genomics"])
def test_reused_layers(relu: Callable[[Tensor], Tensor], rule: Any) -> None:
    """Captum 0.9.0 refuses a module that is called twice."""
    layer = randomised(nn.Linear(3, 3), 2).double()
    copies = [randomised(nn.Linear(3, 3), 2).double() for _ in range(3)]
    net = calls(lambda n, x: n["layer"](relu(n["layer"](relu(n["layer"](x))))), layer=layer)
    twin = calls(
        lambda n, x: n["c"](torch.relu(n["b"](torch.relu(n["a"](x))))),
        **dict(zip("abc", copies)),
    )
    for copy in copies:
        copy.load_state_dict(layer.state_dict())
    x = randn(4, 3, seed=3, dtype=DOUBLE)
    values = DeepLift(rule)(ask(net, x, target=0)).values
    check(DeepLift(rule), ask(twin, x, target=0), values)
    gap = net(x)[:, 0] - net(torch.zeros_like(x))[:, 0]
    torch.testing.assert_close(values.sum(1), gap, **TIGHT)


def test_rescale_of_what_is_linear_is_the_gradient_times_the_difference() -> None:
    net = randomised(nn.Linear(4, 3), 2).double()
    x, base = randn(3, 4, seed=1, dtype=DOUBLE), randn(3, 4, seed=2, dtype=DOUBLE)
    question = ask(net, x, removal=assay.Baseline(base), target=0)
    check(DeepLift(), question, (x - base) * net.weight[0])
    check(assay.IntegratedGradients(steps=4), question, (x - base) * net.weight[0])


def test_rescale_from_zero_without_biases_is_the_input_times_the_gradient() -> None:
    net = plain()
    check(DeepLift(), ask(net, X, target=0), (X * slopes(net, X, 0)).flatten(1))
    check(LRP(EXACT), ask(net, X, target=0), (X * slopes(net, X, 0)).flatten(1))


@pytest.mark.parametrize("x", [(2.0, 1.0), (1.0, 3.0)])
def test_reveal_cancel_of_a_minimum(x: tuple[float, float]) -> None:
    """min(a, b) = a - relu(a - b): rescale gives all to one of both."""
    layer = dense([[1.0, -1.0]])
    net = calls(lambda n, x: x[:, 0] - torch.relu(layer(x))[:, 0])
    check(DeepLift("reveal_cancel"), ask(net, tensor(x)), tensor([0.5, 0.5]) * min(x))
    winner = tensor([0, 1]) if x[1] < x[0] else tensor([1, 0])
    check(DeepLift(), ask(net, tensor(x)), winner * min(x))


def test_reveal_cancel_of_sums_that_saturate() -> None:
    x = tensor([1, 1])
    both = dense([[1.0, 1.0]], [-1.5])
    check(
        DeepLift("reveal_cancel"),
        ask(calls(lambda n, x: torch.relu(both(x))[:, 0]), x),
        tensor([0.25, 0.25]),
    )
    less = dense([[-1.0, -1.0]], [1.0])
    saturated = calls(lambda n, x: 1 - torch.relu(less(x))[:, 0])
    check(DeepLift("reveal_cancel"), ask(saturated, x), tensor([0.5, 0.5]))
    check(assay.Gradient(), ask(saturated, x), tensor([0, 0]))


def test_reveal_cancel_of_contributions_of_one_sign_is_rescale() -> None:
    net = plain(bias=True)
    net[0].weight.data.abs_()
    question = ask(net, X.abs(), target=0)
    check(DeepLift("reveal_cancel"), question, DeepLift()(question).values)


def test_a_maximum_with_a_constant_reference_is_exact() -> None:
    net = calls(lambda n, x: functional.max_pool2d(x, 2).flatten(1).sum(1))
    check(DeepLift(), ask(net, X), (X * slopes(lambda x: net(x)[:, None], X, 0)).flatten(1))


def test_centred_logits_share_to_nothing_over_all_classes() -> None:
    net = plain(bias=True)
    shifted = calls(lambda n, x: net(x) + 7 * x.sum((1, 2, 3)).unsqueeze(1))
    total = torch.zeros(2, 72, dtype=DOUBLE)
    for label in range(3):
        values = DeepLift()(ask(net, X, target=assay.Centred(label))).values
        check(DeepLift(), ask(shifted, X, target=assay.Centred(label)), values)
        total += values
    torch.testing.assert_close(total, torch.zeros_like(total), **TIGHT)


# --- attention


def test_the_softmax_rule_is_its_slope() -> None:
    x, relevant = randn(3, 5, seed=1, dtype=DOUBLE), 2
    shares = torch.softmax(x, 1)
    out = torch.zeros_like(x)
    out[:, relevant] = shares[:, relevant]
    expected = x * (out - shares * out.sum(1, keepdim=True))
    attribution = LRP(Composite())(ask(calls(lambda n, x: x.softmax(1)), x, target=relevant))
    torch.testing.assert_close(attribution.values, expected, **TIGHT)
    assert attribution.facts["conservation"]["unaccounted"] == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("spelling", [torch.matmul, torch.bmm, lambda a, b: a @ b])
def test_both_factors_of_a_product_get_half(spelling: Callable[..., Tensor]) -> None:
    x, y = randn(2, 3, 4, seed=1, dtype=DOUBLE), randn(2, 4, 3, seed=2, dtype=DOUBLE)
    net = calls(lambda n, x, y: spelling(x, y).flatten(1))
    ours, theirs = LRP(Composite())(ask(net, (x, y), target=4)).parts
    half = torch.matmul(x, y)[:, 1, 1] / 2
    torch.testing.assert_close(ours.sum((1, 2)), half, **TIGHT)
    torch.testing.assert_close(theirs.sum((1, 2)), half, **TIGHT)


def test_a_layer_norm_whose_size_is_constant_conserves() -> None:
    norm = nn.LayerNorm(5, bias=False).double()
    net = calls(lambda n, x: norm(x))
    x = randn(3, 5, seed=1, dtype=DOUBLE)
    values = LRP(Composite())(ask(net, x, target=1)).values
    torch.testing.assert_close(values.sum(1), norm(x)[:, 1], **TIGHT)
    # The slope of the whole norm hands on next to nothing.
    assert float((x * slopes(norm, x, 1)).sum(1).abs().max()) < 1e-4


@pytest.mark.parametrize(
    ("activation", "gate"),
    [
        (functional.gelu, lambda x: (1 + torch.erf(x / 2**0.5)) / 2),
        (functional.silu, torch.sigmoid),
    ],
    ids=["gelu", "silu"],
)
def test_activations_pass_by_their_gate(activation: Any, gate: Any) -> None:
    net = calls(lambda n, x: activation(2 * x))
    x = randn(3, 5, seed=1, dtype=DOUBLE)
    x[0, 1] = 0.0
    expected = torch.zeros_like(x)
    expected[:, 1] = (2 * x * gate(2 * x))[:, 1]
    check(LRP(Composite()), ask(net, x, target=1), expected)
    # Behind a layer that gives exactly 0 the limit of f(x) / x is finite, too.
    assert bool(torch.isfinite(LRP(Composite())(ask(net, 0 * x, target=1)).values).all())


def test_the_norm_rule_shares_an_average_by_its_parts() -> None:
    x = X.abs()
    net = calls(lambda n, x: functional.avg_pool2d(x, 3, 2, 1).flatten(1))
    check(
        LRP(Composite({"sum": Norm(0.0)})),
        ask(net, x, target=5),
        (x * slopes(net, x, 5)).flatten(1),
    )
