"""Places at which widely used libraries answer wrongly without a word.

Each docstring names the library and version that fails the same question.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import assay
from assay import LRP, Deconvnet, DeepLift, GuidedBackprop
from assay.errors import AbilityError, AssayError
from assay.methods.rules import (
    Composite,
    Epsilon,
    EpsilonAlpha2Beta1,
    EpsilonPlus,
    EpsilonPlusFlat,
    Gamma,
    ZPlus,
)
from rule_networks import DOUBLE, calls
from toys import randn, randomised

X = randn(4, 2, 7, 7, seed=1, dtype=DOUBLE)
BASE = randn(4, 2, 7, 7, seed=2, dtype=DOUBLE)
METHODS = [DeepLift(), LRP(), LRP(EpsilonPlusFlat()), GuidedBackprop(), Deconvnet()]


def ask(net: Any, x: Any = X, base: Any = BASE, **more: Any) -> assay.Question:
    return assay.Question(net, x, **{"target": 1, "removal": assay.Baseline(base), **more})


def sums_to_difference(
    method: DeepLift, net: nn.Module, x: Tensor = X, base: Tensor = BASE
) -> None:
    with torch.no_grad():
        difference = net(x)[:, 1] - net(base)[:, 1]
    values = method(ask(net, x, base)).values.flatten(1)
    torch.testing.assert_close(values.sum(1), difference, rtol=1e-9, atol=1e-12)


STEM = randomised(nn.Conv2d(2, 3, 2), 1).double()


def pooled(
    pool: Callable[[Tensor], Tensor],
    between: Callable[[Tensor], Tensor],
    conv: Callable[[Tensor], Tensor] = STEM,
) -> nn.Module:
    size = pool(between(conv(X))).flatten(1).shape[1]
    head = randomised(nn.Linear(size, 2), 2).double()
    return calls(lambda n, x: head(pool(between(conv(x))).flatten(1)))


POOLS = [
    (kernel, stride, padding, dilation, ceil)
    for kernel, stride, padding, dilation, ceil in itertools.product(
        (2, 3), (1, 2), (0, 1), (1, 2), (False, True)
    )
]


@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation", "ceil"), POOLS)
def test_t1_overlapping_maxima(
    kernel: int, stride: int, padding: int, dilation: int, ceil: bool
) -> None:
    """captum 0.9.0: max_unpool assigns where windows overlap; 0.186 of 0.656 is missing."""
    pool = nn.MaxPool2d(kernel, stride, padding, dilation, ceil_mode=ceil)
    sums_to_difference(DeepLift(), pooled(pool, lambda h: h))


@pytest.mark.parametrize(("kernel", "stride"), [(2, 2), (3, 2), (3, 1)])
@pytest.mark.parametrize("relu", [torch.relu, nn.ReLU(inplace=True), functional.relu_])
def test_t2_a_rectifier_before_a_maximum(kernel: int, stride: int, relu: Any) -> None:
    """captum 0.9.0: the output's gradient is stale; 1.01 of 0.36 is missing."""
    sums_to_difference(DeepLift(), pooled(nn.MaxPool2d(kernel, stride), relu))


def standing_still() -> tuple[nn.Module, Tensor, Tensor]:
    """Sums of two channels before a maximum: from the second input on the channels move by as much in
    opposite directions, in numbers that binary digits hold, so that no sum moves.
    """
    x, base = X.mul(8).round() / 8, BASE.mul(8).round() / 8
    apart = (x - base)[:, :1]
    x[1:] = (base + torch.cat([apart, -apart], 1))[1:]
    return pooled(nn.MaxPool2d(3, 2), torch.relu, lambda h: h.sum(1, keepdim=True)), x, base


@pytest.mark.parametrize("method", [*METHODS, DeepLift("reveal_cancel")])
@pytest.mark.parametrize("still", ["inputs", "sums"])
def test_t3_an_input_alone_is_answered_as_in_company(method: Any, still: str) -> None:
    """captum 0.9.0: where a maximum does not differ, the multipliers of example 0 are taken."""
    if still == "inputs":
        net, base = pooled(nn.MaxPool2d(3, 2), torch.relu), BASE
        # An input that is its reference, and one of which a part is.
        x = X.clone()
        x[0], x[1, :, :4] = BASE[0], BASE[1, :, :4]
    else:
        net, x, base = standing_still()
    whole = method(ask(net, x, base)).values
    for place in range(len(x)):
        alone = method(ask(net, x[place : place + 1], base[place : place + 1])).values
        torch.testing.assert_close(alone[0], whole[place], rtol=0, atol=1e-12)
        assert bool(torch.isfinite(alone).all())


@pytest.mark.parametrize("rule", ["rescale", "reveal_cancel"])
def test_t3_a_maximum_that_stands_still_while_its_parts_move(rule: Any) -> None:
    """captum 0.9.0: the same, where it shows: both parts of the winner move, and their sum does not.

    The multiplier of what stands still is 1, its slope, whatever stands beside it.
    """
    pool = nn.MaxPool1d(2)
    net = calls(lambda n, x: pool(x.sum(1, keepdim=True)).flatten(1))
    x = torch.tensor([[[5.0, 4], [0, 0]], [[3, 0], [2, 0]], [[2, 1], [2, 0]]], dtype=DOUBLE)
    base = torch.tensor([[[1.0, 6], [0, 0]], [[2, 0], [3, 0]], [[3, 0], [1, 0]]], dtype=DOUBLE)
    expected = torch.tensor(
        [[[0.0, -1], [0, 0]], [[1, 0], [-1, 0]], [[-1, 0], [1, 0]]], dtype=DOUBLE
    )
    whole = DeepLift(rule)(ask(net, x, base, target=0)).values.view(x.shape)
    torch.testing.assert_close(whole, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("place", ["output", "within"])
def test_t4_softmax(place: str) -> None:
    """captum 0.9.0: subtracts the mean over inputs and references; 0.084 of 0.085 is missing."""
    first, last = (randomised(nn.Linear(*shape), 3).double() for shape in ((4, 5), (5, 3)))
    if place == "output":
        net = nn.Sequential(first, nn.ReLU(), last, nn.Softmax(1))
    else:
        net = nn.Sequential(first, nn.Softmax(1), last)
    x, base = randn(3, 4, seed=1, dtype=DOUBLE), randn(3, 4, seed=2, dtype=DOUBLE)
    sums_to_difference(DeepLift(), net, x, base)
    # Far from each other, too, and where the scores are all shifted.
    sums_to_difference(DeepLift(), net, 30 * x, -20 * base)
    whole = DeepLift()(ask(net, x, base)).values
    alone = DeepLift()(ask(net, x[2:], base[2:])).values
    torch.testing.assert_close(alone, whole[2:], rtol=0, atol=1e-12)


def test_softmax_of_scores_that_are_all_shifted_has_multipliers_of_size_one() -> None:
    """A shift of all scores changes no share, however large it is."""
    net = calls(lambda n, x: torch.softmax(x, 1))
    x = randn(2, 4, seed=1, dtype=DOUBLE)
    values = DeepLift()(ask(net, x + 40, x)).values
    assert float(values.abs().max()) < 40
    torch.testing.assert_close(values.sum(1), torch.zeros(2, dtype=DOUBLE), rtol=0, atol=1e-12)


class Own(nn.ReLU):
    """A subclass, which is a rectifier as well."""


@pytest.mark.parametrize(
    "middle",
    [
        functional.relu,
        functional.gelu,
        functional.silu,
        nn.LayerNorm(4, dtype=DOUBLE),
        Own(),
        lambda h: h * torch.sigmoid(h),
    ],
    ids=["relu", "gelu", "silu", "layer norm", "subclass", "gate"],
)
def test_t5_what_is_no_module_is_no_plain_gradient(middle: Any) -> None:
    """captum 0.9.0: the input times the gradient, bit for bit, without a warning."""
    first, last = (randomised(nn.Linear(*shape), 3).double() for shape in ((3, 4), (4, 2)))
    net = calls(lambda n, x: last(middle(first(x))))
    x, base = randn(3, 3, seed=1, dtype=DOUBLE), randn(3, 3, seed=2, dtype=DOUBLE)
    sums_to_difference(DeepLift(), net, x, base)
    leaf = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(net(leaf)[:, 1].sum(), leaf)
    values = DeepLift()(ask(net, x, base)).values
    assert float((values - (x - base) * slope).abs().max()) > 1e-3


@pytest.mark.parametrize("method", [GuidedBackprop(), Deconvnet()])
def test_t6_guided_signals_of_functions(method: Any) -> None:
    """captum 0.9.0: `F.relu` gives the plain gradient, without a warning."""
    convs = [randomised(nn.Conv2d(2, 2, 3), seed).double() for seed in range(2)]
    as_modules = nn.Sequential(convs[0], nn.ReLU(), convs[1], nn.ReLU(), nn.Flatten())
    as_functions = calls(
        lambda n, x: functional.relu(convs[1](functional.relu(convs[0](x)))).flatten(1)
    )
    values = method(ask(as_functions)).values
    torch.testing.assert_close(values, method(ask(as_modules)).values, rtol=0, atol=1e-12)
    assert float((values - assay.Gradient()(ask(as_modules)).values).abs().max()) > 1e-3


@pytest.mark.parametrize("composite", [EpsilonPlus(bias="ignore"), Composite(bias="ignore")])
def test_t10_a_residual_sum_doubles_nothing(composite: Any) -> None:
    """captum 0.9.0: relevance of [1.106, 1.429] for outputs of [0.633, 0.795]."""
    inner = randomised(nn.Conv2d(2, 2, 3, padding=1, bias=False), 1).double()
    head = randomised(nn.Linear(98, 2, bias=False), 2).double()

    def forward(n: nn.ModuleDict, x: Tensor) -> Tensor:
        h = torch.relu(inner(x)) + x
        h = torch.relu(inner(h)) + h
        return head(h.flatten(1))

    attribution = LRP(composite)(ask(calls(forward)))
    account = attribution.facts["conservation"]
    assert account["unaccounted"] == pytest.approx(0, abs=1e-10)
    # Nothing is absorbed but by stabilisers.
    assert account["input"] == pytest.approx(account["output"], abs=1e-3)


def test_t11_a_second_call_is_the_first() -> None:
    """captum 0.9.0: rules of the user are deleted by the first call, and left behind by errors."""
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).double()
    rules = Composite(layers={"0": Gamma(1.0), "2": ZPlus()})
    x = randn(3, 3, seed=1, dtype=DOUBLE)
    kept = x.clone()
    before = [sorted(vars(module)) for module in net.modules()]
    first = LRP(rules)(ask(net, x, 0.0))
    second = LRP(rules)(ask(net, x, 0.0))
    assert torch.equal(first.values, second.values)
    assert torch.equal(x, kept)
    for fact in ("operations", "conservation"):
        assert first.facts[fact] == second.facts[fact]
    # A part without a rule, behind others that have one.
    net.append(nn.Identity())
    net[3].forward = lambda h: h.sort(1)[0]  # type: ignore[method-assign]
    with pytest.raises(AbilityError, match="sort"):
        LRP(rules)(ask(net, x, 0.0))
    assert [sorted(vars(module)) for module in list(net.modules())[:4]] == before
    assert torch.equal(x, kept)


NAMED = LRP(Composite(layers={"0": Gamma(1.0), "2": ZPlus()}))


@pytest.mark.parametrize("method", [*METHODS, NAMED])
def test_t12_a_compiled_network(method: Any) -> None:
    """captum 0.9.0: LRP raises an in-place version error on what is compiled, and layers of the
    network itself are not found in it.
    """
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 2)).double()
    x = randn(3, 3, seed=1, dtype=DOUBLE)
    compiled = torch.compile(net, backend="eager")
    compiled(x)
    expected = method(ask(net, x, 0.0))
    given = method(ask(compiled, x, 0.0))
    torch.testing.assert_close(given.values, expected.values, rtol=0, atol=1e-12)
    assert given.facts["operations"] == expected.facts["operations"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("fails", [False, True])
def test_t13_nothing_is_left_behind(method: Any, fails: bool) -> None:
    """captum 0.9.0: `requires_grad` of the inputs stays on, activations stay on modules."""
    net = nn.Sequential(nn.Linear(3, 4), Aside(), nn.Linear(4, 2)).double()
    net[2].register_forward_hook(lambda module, inputs, output: _fail(output) if fails else None)
    x = randn(3, 3, seed=1, dtype=DOUBLE)
    kept = x.clone()

    def snapshot() -> Any:
        hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in net.modules()]
        backward = [len(m._backward_hooks) for m in net.modules()]
        slopes = [(p.requires_grad, p.grad) for p in net.parameters()]
        return [sorted(vars(m)) for m in net.modules()], hooks, backward, slopes, x.requires_grad

    before = snapshot()
    if fails:
        with pytest.raises(AssayError):
            method(ask(net, x, 0.0))
    else:
        method(ask(net, x, 0.0))
    assert snapshot() == before
    assert torch.equal(x, kept)


class Aside(nn.Module):
    """A rectifier, and a second whose answer nobody takes: no signal ever comes back to it."""

    def __init__(self) -> None:
        super().__init__()
        self.taken, self.unused = nn.ReLU(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        self.unused(x)
        result: Tensor = self.taken(x)
        return result


def _fail(output: Tensor) -> None:
    if torch.is_grad_enabled():
        raise RuntimeError("only when slopes are asked")


@pytest.mark.parametrize(
    "activation", [torch.tanh, torch.sigmoid, functional.gelu, functional.silu, functional.softplus]
)
@pytest.mark.parametrize("distance", [1e-3, 1e-5, 2e-6])
@pytest.mark.parametrize("at", [0.3, 3.0, 6.0])
def test_t14_references_that_are_next_to_the_input(
    activation: Any, distance: float, at: float
) -> None:
    """captum 0.9.0: multipliers of tanh are 8 % off at a distance of 1e-6 in single precision."""
    net = calls(lambda n, x: activation(x).sum(1)).float()
    x = torch.tensor([[at, -at]])
    base = x + distance
    values = DeepLift()(assay.Question(net, x, removal=assay.Baseline(base))).values
    moved = x.double() - base.double()
    leaf = (base.double() + moved / 2).requires_grad_()
    (slope,) = torch.autograd.grad(activation(leaf).sum(), leaf)
    torch.testing.assert_close(values.double() / moved, slope, rtol=1e-5, atol=0)


def written(n: nn.ModuleDict, x: Tensor) -> Tensor:
    y = torch.relu(n["first"](x))
    y += x
    y.mul_(2)[:, 0] -= 1
    return n["last"](torch.sigmoid_(y))


def written_once(n: nn.ModuleDict, x: Tensor) -> Tensor:
    y = 2 * (torch.relu(n["first"](x)) + x)
    return n["last"](torch.sigmoid(torch.cat([y[:, :1] - 1, y[:, 1:]], 1)))


def behind_a_layer(n: nn.ModuleDict, x: Tensor) -> Tensor:
    # What comes out of the layer is no product of its weights any more.
    y = n["first"](x)
    y += 2 * x
    return n["last"](y.relu_())


def behind_a_layer_once(n: nn.ModuleDict, x: Tensor) -> Tensor:
    return n["last"](torch.relu(n["first"](x) + 2 * x))


def on_the_input(n: nn.ModuleDict, x: Tensor) -> Tensor:
    # What was the input, scaled, has been through a layer now: the last one is no first layer.
    y = x * 0.5
    y += torch.relu(n["first"](x))
    return n["last"](y)


def on_the_input_once(n: nn.ModuleDict, x: Tensor) -> Tensor:
    return n["last"](x * 0.5 + torch.relu(n["first"](x)))


WRITINGS = [
    (written, written_once),
    (behind_a_layer, behind_a_layer_once),
    (on_the_input, on_the_input_once),
]


@pytest.mark.parametrize("method", [*METHODS, DeepLift("reveal_cancel"), LRP(EpsilonAlpha2Beta1())])
@pytest.mark.parametrize(("writes", "plain"), WRITINGS, ids=["rectifier", "layer", "input"])
def test_t15_writing_behind_a_rectifier(method: Any, writes: Any, plain: Any) -> None:
    """captum 0.9.0: a RuntimeError of DeepLift and guided backpropagation."""
    layers = {"first": nn.Linear(3, 3), "last": nn.Linear(3, 2)}
    x, base = randn(3, 3, seed=1, dtype=DOUBLE), randn(3, 3, seed=2, dtype=DOUBLE)
    values = method(ask(calls(writes, 3, **layers), x, base)).values
    expected = method(ask(calls(plain, 3, **layers), x, base)).values
    torch.testing.assert_close(values, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("method", [*METHODS, LRP(Composite(first=Epsilon()))])
def test_t25_an_input_that_nothing_hangs_on(method: Any) -> None:
    """captum 0.9.0: "one of the differentiated Tensors appears to not have been used"."""
    layer = randomised(nn.Linear(3, 2), 1).double()
    x = randn(3, 3, seed=1, dtype=DOUBLE)
    net = calls(lambda n, x, unused: layer(torch.relu(x)))
    used, unused = method(ask(net, (x, x), (0.0, 0.0))).parts
    assert not bool(unused.any())
    assert bool(used.any())
