"""Every spelling of an operation is one operation, and what cannot be heard is refused by name."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
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
    Composition,
    Constant,
    Epsilon,
    EpsilonPlusFlat,
    Flat,
    Rule,
    Zero,
    ZPlus,
)
from rule_networks import DOUBLE, RELUS, SUMS, calls, linear
from toys import randn, randomised

X = randn(3, 4, seed=1, dtype=DOUBLE)
BASE = randn(3, 4, seed=2, dtype=DOUBLE)
METHODS = [DeepLift("reveal_cancel"), LRP(EpsilonPlusFlat()), GuidedBackprop()]
TIGHT = {"rtol": 0, "atol": 1e-10}
FIRST, LAST = (randomised(linear(4, 6), 1).double(), randomised(linear(6, 3), 2).double())


def ask(net: Any, x: Any = X, **more: Any) -> assay.Question:
    return assay.Question(net, x, **{"target": 1, "removal": assay.Baseline(BASE), **more})


def rectified(relu: Callable[[Tensor], Tensor]) -> nn.Module:
    return calls(lambda n, x: LAST(relu(FIRST(x))))


@pytest.mark.parametrize("method", [*METHODS, DeepLift(), LRP(), Deconvnet()])
@pytest.mark.parametrize("relu", RELUS.values(), ids=RELUS)
def test_a_rectifier_in_every_spelling(relu: Callable[[Tensor], Tensor], method: Any) -> None:
    expected = method(ask(nn.Sequential(FIRST, nn.ReLU(), LAST))).values
    torch.testing.assert_close(method(ask(rectified(relu))).values, expected, **TIGHT)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("add", SUMS.values(), ids=SUMS)
def test_a_sum_in_every_spelling(add: Callable[[Tensor, Tensor], Tensor], method: Any) -> None:
    def residual(add: Callable[[Tensor, Tensor], Tensor]) -> nn.Module:
        middle = randomised(linear(6, 6), 5).double()

        def forward(n: nn.ModuleDict, x: Tensor) -> Tensor:
            h = torch.relu(FIRST(x))
            return LAST(add(torch.relu(middle(h)), h))

        return calls(forward)

    expected = method(ask(residual(torch.add))).values
    torch.testing.assert_close(method(ask(residual(add))).values, expected, atol=1e-6, rtol=0)


LINEAR: dict[str, Callable[[Tensor], Tensor]] = {
    "function": lambda x: functional.linear(x, FIRST.weight, FIRST.bias),
    "matmul": lambda x: x @ FIRST.weight.T + FIRST.bias,
    "mm": lambda x: torch.mm(x, FIRST.weight.t()).add_(FIRST.bias),
    "addmm": lambda x: torch.addmm(FIRST.bias, x, FIRST.weight.t()),
    "einsum": lambda x: torch.einsum("oi,bi->bo", FIRST.weight, x) + FIRST.bias,
    "from the left": lambda x: torch.matmul(FIRST.weight, x.T).T + FIRST.bias,
    "bmm": lambda x: torch.bmm(x[:, None], FIRST.weight.T.expand(len(x), 4, 6))[:, 0] + FIRST.bias,
    "convolution": lambda x: functional.conv1d(x[..., None], FIRST.weight[..., None], FIRST.bias)[..., 0],
}  # fmt: skip


@pytest.mark.parametrize("spelling", LINEAR.values(), ids=LINEAR)
@pytest.mark.parametrize("rule", [Zero(), Epsilon(1e-3), ZPlus(0.0)])
def test_a_dense_layer_in_every_spelling(spelling: Any, rule: Rule) -> None:
    """With the bias beside the product, it is a shift, which takes its share before."""
    rules = Composite({"dense": Epsilon(0.0)}, first=rule, bias="ignore")
    net = calls(lambda n, x: LAST(torch.relu(spelling(x))))
    values = LRP(rules)(ask(net)).values
    if spelling in (LINEAR["function"], LINEAR["addmm"], LINEAR["convolution"]):
        twin = LRP(rules)(ask(nn.Sequential(FIRST, nn.ReLU(), LAST))).values
        torch.testing.assert_close(values, twin, **TIGHT)
    without = calls(lambda n, x: LAST(torch.relu(spelling(x) - FIRST.bias)))
    twin = calls(lambda n, x: LAST(torch.relu(functional.linear(x, FIRST.weight))))
    exact = Composite({"dense": Epsilon(0.0)}, first=Zero())
    torch.testing.assert_close(
        LRP(exact)(ask(without)).values, LRP(exact)(ask(twin)).values, **TIGHT
    )


# --- heard, and counted


def heard(net: Any, x: Any = X) -> dict[str, Any]:
    facts: dict[str, Any] = LRP()(ask(net, x)).facts["operations"]
    return {name: count for table in facts.values() for name, count in table.items()}


def test_the_facts_count_operations_by_their_plain_name() -> None:
    def forward(n: nn.ModuleDict, x: Tensor) -> Tensor:
        h = FIRST(x)
        h += 1
        h = torch.add(h, 1).add_(1) + 1
        h = functional.relu(h).relu_()
        return LAST(nn.ReLU(inplace=True)(h))

    counts = heard(calls(forward))
    assert counts["add"] == 4
    assert counts["relu"] == 3
    assert counts["linear"] == 2


def test_multi_head_attention_is_opened() -> None:
    attention = nn.MultiheadAttention(4, 2, batch_first=True).double().eval()
    net = calls(lambda n, x: attention(x, x, x)[0].sum(1), attention=attention)
    counts = heard(net, randn(2, 3, 4, dtype=DOUBLE))
    assert "multi_head_attention_forward" not in counts
    assert counts["softmax"] >= 1
    assert counts["linear"] >= 2


# --- not heard


class _Unheard(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return gradients[0] * (ctx.saved_tensors[0] > 0)


SCRIPTED = torch.jit.script(nn.Sequential(randomised(linear(4, 3), 4).double(), nn.ReLU()))


@pytest.mark.parametrize("method", [DeepLift(), LRP(), GuidedBackprop(), Deconvnet()])
@pytest.mark.parametrize(
    "forward",
    [
        lambda n, x: LAST(_Unheard.apply(FIRST(x))),
        lambda n, x: _Unheard.apply(LAST(FIRST(x))),
        lambda n, x: _Unheard.apply(x) * 2,
        lambda n, x: SCRIPTED(x) * 2,
        lambda n, x: SCRIPTED(torch.relu(x)),
        lambda n, x: SCRIPTED(torch.relu(x)).unsqueeze(2).squeeze(2),
    ],
    ids=["within", "last", "first", "scripted", "scripted last", "scripted and reshaped"],
)
def test_what_is_not_heard_is_refused(forward: Any, method: Any) -> None:
    """A slope would come out of it, which no rule has touched."""
    with pytest.raises(AbilityError, match="not heard"):
        method(ask(calls(forward)))


@pytest.mark.parametrize("method", [DeepLift(), LRP(), GuidedBackprop()])
def test_a_scripted_network_is_refused(method: Any) -> None:
    whole = torch.jit.script(nn.Sequential(FIRST, nn.ReLU(), LAST))
    with pytest.raises(AbilityError, match="operations"):
        method(ask(whole))


class Spectrum(nn.Module):
    """An operation without a rule."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.rfft(x).real


def _spectrum(x: Tensor) -> Tensor:
    return torch.fft.rfft(x).real  # a line to be named


UNKNOWN = [
    ("fft_rfft", lambda n, x: _spectrum(x)),
    ("topk", lambda n, x: FIRST(x).topk(2, 1).values),
    ("sort", lambda n, x: FIRST(x).sort(1)[0]),
    ("cdist", lambda n, x: torch.cdist(FIRST(x)[:, None], torch.zeros(1, 2, 6).double())[:, 0]),
]


@pytest.mark.parametrize("method", [DeepLift(), LRP()])
@pytest.mark.parametrize(("name", "forward"), UNKNOWN, ids=[name for name, _ in UNKNOWN])
def test_an_unknown_operation_is_refused_by_its_name_and_line(
    name: str, forward: Any, method: Any
) -> None:
    with pytest.raises(AbilityError, match=f"{name}.*test_spellings.py, line"):
        method(ask(calls(forward)))


def test_the_refusal_shows_the_line_of_the_network() -> None:
    with pytest.raises(AbilityError, match="a line to be named"):
        LRP()(ask(calls(lambda n, x: _spectrum(x))))


def test_a_line_of_torch_is_not_the_users_wherever_torch_lies(tmp_path: Path) -> None:
    """The folder of an environment may be a link, and its files then have another path."""
    file = tmp_path / "functional.py"
    file.write_text("import torch\n\n\ndef called(x):\n    return torch.fft.rfft(x).real\n")
    module: dict[str, Any] = {"__name__": "torch.functional"}
    exec(compile(file.read_text(), str(file), "exec"), module)
    called = module["called"]
    with pytest.raises(AbilityError, match="a line of the network"):
        LRP()(ask(calls(lambda n, x: called(x))))  # a line of the network


def test_otherwise_says_what_to_do_with_unknown_operations() -> None:
    net = calls(lambda n, x: FIRST(x).sort(1)[0])
    rules = Composite({"dense": Zero()}, otherwise=Zero())
    leaf = X.clone().requires_grad_()
    (slope,) = torch.autograd.grad(net(leaf)[:, 1].sum(), leaf)
    attribution = LRP(rules)(ask(net))
    torch.testing.assert_close(attribution.values, X * slope, **TIGHT)
    assert attribution.facts["operations"]["Zero()"]["sort"] == 1


@pytest.mark.parametrize(
    "forward",
    [
        lambda n, x: torch.where(x > 0, x, torch.zeros_like(x)),
        lambda n, x: x * (x > 0),
        lambda n, x: x * x.detach(),
        lambda n, x: x[:, :3] + x.detach().round()[:, 1:],
        lambda n, x: torch.stack([row * 2 if row.sum() > 0 else torch.relu(row) for row in x]),
        lambda n, x: torch.stack([row * float(row.detach().sum()) for row in x]),
        lambda n, x: torch.stack([row.roll(int(row.detach().argmax())) for row in x]),
        lambda n, x: x.gather(1, x.argsort(1)),
        lambda n, x: x.masked_fill(x < 0, 0.0),
    ],
    ids=[
        "where",
        "mask",
        "detached",
        "rounded",
        "branch",
        "number",
        "shift",
        "indices",
        "masked_fill",
    ],
)
def test_deep_lift_refuses_what_another_reference_takes_another_way(forward: Any) -> None:
    with pytest.raises(AbilityError, match="reference"):
        DeepLift()(ask(calls(forward)))


def test_a_state_that_the_reference_has_written_is_refused() -> None:
    memory = torch.zeros(3, 4, dtype=DOUBLE)

    def forward(n: nn.ModuleDict, x: Tensor) -> Tensor:
        kept = memory[: len(x)]
        kept.copy_(x.detach())
        return torch.relu(x) + kept

    with pytest.raises(AssayError):
        DeepLift()(ask(calls(forward)))


# --- rules of one's own


@dataclass(frozen=True)
class Own(Composition):
    """A composite in five lines."""

    def composite(self) -> Composite:
        return Composite({"dense": ZPlus(), "relu": Constant()}, layers={"2": Zero()})


def test_a_composite_of_ones_own() -> None:
    net = nn.Sequential(FIRST, nn.Tanh(), LAST)
    attribution = LRP(Own())(ask(net))
    assert attribution.facts["operations"]["Zero()"] == {"linear": 1}
    assert attribution.facts["operations"]["ZPlus(epsilon=1e-09)"] == {"linear": 1}
    same = LRP(Composite({"dense": ZPlus()}, layers={"2": Zero()}))(ask(net))
    torch.testing.assert_close(attribution.values, same.values, **TIGHT)


def test_the_first_layer_is_the_first_that_an_input_reaches() -> None:
    """zennit takes the first that is registered."""
    late = calls(lambda n, x: n["a"](torch.relu(n["b"](2 * x.flip(1)))), a=LAST, b=FIRST)
    attribution = LRP(Composite(first=Flat()))(ask(late))
    table = attribution.facts["operations"]
    assert table["Flat()"] == {"linear": 1}
    # Evenly: all elements of an input have the same.
    values = attribution.values
    torch.testing.assert_close(values, values[:, :1].expand_as(values), **TIGHT)


# --- wrapped networks


NET = nn.Sequential(FIRST, nn.ReLU(), LAST)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "wrapped",
    [
        torch.compile(NET, backend="eager"),
        nn.DataParallel(NET),
        lambda x: NET(x),
        lambda x: NET(x.clone().mul_(1)),
    ],
    ids=["compiled", "data parallel", "function", "function that writes"],
)
def test_a_wrapped_network_is_answered_as_it_is(wrapped: Any, method: Any) -> None:
    expected = method(ask(NET)).values
    torch.testing.assert_close(method(ask(wrapped)).values, expected, **TIGHT)


@pytest.mark.parametrize("method", METHODS)
def test_several_inputs_are_one(method: Any) -> None:
    joined = calls(lambda n, x, y: NET(torch.cat([x, y], 1)))
    question = ask(joined, (X[:, :1], X[:, 1:]), removal=assay.Baseline((BASE[:, :1], BASE[:, 1:])))
    torch.testing.assert_close(method(question).values, method(ask(NET)).values, **TIGHT)


@pytest.mark.parametrize("method", METHODS)
def test_an_input_that_is_not_used_has_nothing(method: Any) -> None:
    net = calls(lambda n, x, y: NET(x))
    ours, unused = method(ask(net, (X, X), removal=assay.Baseline((BASE, BASE)))).parts
    torch.testing.assert_close(ours, method(ask(NET)).values, **TIGHT)
    assert not bool(unused.any())


@pytest.mark.parametrize("method", METHODS)
def test_behind_an_embedding(method: Any) -> None:
    table = nn.Embedding(9, 4, dtype=DOUBLE)
    net = calls(lambda n, x: n["last"](n["table"](x).mean(1)), table=table, last=NET)
    question = ask(net, torch.tensor([[1, 2], [3, 4]]), removal=None)
    behind = question.after("layers.table", removal=assay.Baseline(0.0))
    values = method(behind).values
    assert values.shape == (2, 8)
    assert bool(values.any())


@pytest.mark.parametrize("method", METHODS)
def test_behind_a_layer_is_the_rest_by_itself(method: Any) -> None:
    behind = ask(NET).after("1", removal=assay.Baseline(0.0))
    rest = ask(LAST, torch.relu(FIRST(X)).detach(), removal=assay.Baseline(0.0))
    torch.testing.assert_close(method(behind).values, method(rest).values, **TIGHT)
    neuron = ask(NET, target=assay.Neuron("0", 2))
    torch.testing.assert_close(method(neuron).values, method(ask(FIRST, target=2)).values, **TIGHT)


# --- nothing is left behind


def state(net: nn.Module) -> list[Any]:
    return [
        [
            (
                name,
                sorted(vars(module)),
                module.training,
                len(module._forward_hooks),
                len(module._forward_pre_hooks),
                len(module._backward_hooks),
            )
            for name, module in net.named_modules()
        ],
        [(p.requires_grad, p.grad, p._version, id(p)) for p in net.parameters()],
    ]


@pytest.mark.parametrize("method", METHODS)
def test_a_network_is_left_as_it_was(method: Any) -> None:
    net = nn.Sequential(linear(4, 6), nn.ReLU(inplace=True), linear(6, 3)).double()
    net[0].weight.requires_grad_(False)
    before = state(net)
    leaf = X.clone().requires_grad_()
    method(ask(net, leaf))
    assert state(net) == before
    assert leaf.requires_grad
    assert leaf.grad is None


@pytest.mark.parametrize("method", [DeepLift(), LRP()])
def test_a_network_is_left_as_it_was_by_a_refusal(method: Any) -> None:
    net = nn.Sequential(linear(4, 6), nn.ReLU(inplace=True), Spectrum(), linear(4, 3)).double()
    before = state(net)
    with pytest.raises(AbilityError):
        method(ask(net))
    assert state(net) == before


@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_kept(method: Any) -> None:
    kept: list[weakref.ref[Tensor]] = []

    def forward(n: nn.ModuleDict, x: Tensor) -> Tensor:
        h = torch.relu(FIRST(x))
        kept.append(weakref.ref(h))
        return LAST(h)

    net = calls(forward)
    method(ask(net))
    gc.collect()
    assert kept
    assert all(reference() is None for reference in kept)


def test_many_calls_hold_no_more_than_one() -> None:
    question = ask(NET)

    def tensors() -> int:
        gc.collect()
        # By its type: a weak proxy of something gone cannot be asked for its class.
        return sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())

    methods = [DeepLift("reveal_cancel"), LRP(EpsilonPlusFlat()), GuidedBackprop()]
    for method in methods:
        method(question)
    before = tensors()
    # Three hundred calls.
    for _ in range(100):
        for method in methods:
            method(question)
    assert tensors() <= before


def test_operands_may_all_be_named() -> None:
    def largest(x: Tensor) -> Tensor:
        return torch.stack([torch.max(input=row) for row in x])

    question = assay.Question(largest, torch.tensor([[1.0, 3.0], [4.0, 2.0]]))
    expected = torch.tensor([[0.0, 3.0], [4.0, 0.0]])
    torch.testing.assert_close(assay.DeepLift()(question).values, expected, rtol=0, atol=0)
