"""What adds up, adds up on networks of every kind of operation, and each leaves no trace."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import hypothesis
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

import assay
from assay import LRP, DeepLift, GuidedBackprop
from assay.errors import AbilityError
from assay.methods.rules import (
    AttentionAware,
    ConservativeAttention,
    EpsilonAlpha2Beta1,
    EpsilonAlpha2Beta1Flat,
    EpsilonGammaBox,
    EpsilonPlus,
    EpsilonPlusFlat,
)
from rule_networks import DOUBLE, NETWORKS
from toys import randn, randomised

NETS = {name: case.make() for name, case in NETWORKS.items()}
EVERY = pytest.mark.parametrize("name", NETWORKS)

CONSTANT = ("sigmoid", "softmax", "log_softmax", "softmin", "rsub")
"""Networks through which no relevance passes where sigmoid and softmax are held constant."""


def ask(name: str, rows: int = 3, **more: Any) -> assay.Question:
    case = NETWORKS[name]
    removal = assay.Baseline(case.inputs(7)[:rows])
    return assay.Question(NETS[name], case.inputs()[:rows], target=1, removal=removal, **more)


def sums_to(values: Tensor, difference: Tensor) -> None:
    scale = float(difference.abs().max())
    torch.testing.assert_close(values.flatten(1).sum(1), difference, rtol=0, atol=1e-9 * scale)


def difference(net: nn.Module, x: Tensor, base: Tensor) -> Tensor:
    with torch.no_grad():
        given: Tensor = net(x)[:, 1] - net(base)[:, 1]
    return given


def balanced(attribution: assay.Attribution) -> None:
    account = attribution.facts["conservation"]
    total = abs(account["output"]) + sum(abs(share) for share in account["absorbed"].values())
    assert abs(account["unaccounted"]) <= 1e-9 * total, account


@EVERY
@pytest.mark.parametrize("rule", ["rescale", "reveal_cancel"])
def test_deep_lift_sums_to_the_difference(name: str, rule: Any) -> None:
    case = NETWORKS[name]
    attribution = DeepLift(rule)(ask(name))
    sums_to(attribution.values, difference(NETS[name], case.inputs(), case.inputs(7)))
    assert attribution.facts["operations"]


@EVERY
@pytest.mark.parametrize(
    "composite",
    [EpsilonPlusFlat(), AttentionAware(gamma=0.25)],
)
def test_relevance_is_accounted_for(name: str, composite: Any) -> None:
    if name == "vector: divided by signal":
        pytest.skip("nothing but a size hangs on the inputs")
    balanced(LRP(composite)(ask(name)))


@EVERY
def test_relevance_without_softmax_and_biases_conserves(name: str) -> None:
    """Ali et al. 2022: what is held constant absorbs nothing."""
    composite = ConservativeAttention(epsilon=0.0, bias="ignore")
    if name.removeprefix("vector: ") in (*CONSTANT, "divided by signal"):
        with pytest.raises(AbilityError):
            LRP(composite)(ask(name))
        return
    attribution = LRP(composite)(ask(name))
    balanced(attribution)
    account = attribution.facts["conservation"]
    # What is left are constants that are added in the forward itself.
    if not set(account["absorbed"]) - {"softmax"}:
        assert account["input"] == pytest.approx(account["output"], rel=1e-9)


@EVERY
@pytest.mark.parametrize(
    "method",
    [LRP(EpsilonGammaBox(-5.0, 5.0)), GuidedBackprop()],
)
def test_an_input_is_answered_as_it_is_alone(name: str, method: Any) -> None:
    if name == "vector: divided by signal" and isinstance(method, LRP):
        pytest.skip("nothing but a size hangs on the inputs")
    whole = method(ask(name)).values
    alone = method(ask(name, rows=1)).values
    scale = float(whole.abs().max())
    torch.testing.assert_close(whole[:1], alone, rtol=0, atol=1e-10 * scale)


# --- drawn at random

COMPOSITES = st.sampled_from(
    [
        EpsilonPlus(),
        EpsilonPlusFlat(),
        EpsilonAlpha2Beta1(),
        EpsilonAlpha2Beta1Flat(),
        EpsilonGammaBox(-6.0, 6.0),
        AttentionAware(gamma=0.5),
        ConservativeAttention(),
    ]
)


@st.composite
def blocks(draw: Any, channels: int = 4) -> Callable[[Tensor], Tensor]:
    """A layer or a block that takes and gives 4 channels, with layers of its own."""
    kind = draw(
        st.sampled_from(
            [
                "convolution",
                "transposed",
                "max_pool",
                "avg_pool",
                "residual",
                "dense",
                "norm",
                "gate",
                "activation",
                "attention",
                "masked attention",
                "masked",
                "grown",
                "recurrent",
                "cell",
            ]
        )
    )
    seed = draw(st.integers(0, 9))
    if kind in ("convolution", "transposed"):
        return draw(convolutions(channels, seed, transposed=kind == "transposed"))
    if kind in ("max_pool", "avg_pool"):
        return draw(pools(largest=kind == "max_pool"))
    if kind in ("masked", "grown", "recurrent", "cell", "attention", "masked attention"):
        return draw(woven(kind, channels, seed))
    layer = randomised(nn.Conv2d(channels, channels, 3, padding=1), seed).double()
    if kind == "residual":
        return lambda h: torch.relu(layer(torch.relu(h)) + h)
    if kind == "dense":
        reduce = randomised(nn.Conv2d(2 * channels, channels, 1), seed).double()
        return lambda h: reduce(torch.cat([h, torch.relu(layer(h))], 1))
    if kind == "norm":
        norm = draw(
            st.sampled_from(
                [nn.BatchNorm2d(4), nn.GroupNorm(2, 4), nn.InstanceNorm2d(4, affine=True)]
            )
        )
        norm = randomised(norm, seed).double()
        return lambda h: norm(layer(h))
    if kind == "gate":
        return lambda h: h * torch.sigmoid(layer(h).mean((2, 3), keepdim=True))
    return draw(
        st.sampled_from(
            [
                torch.relu,
                functional.gelu,
                functional.silu,
                torch.tanh,
                torch.sigmoid,
                nn.ELU(),
                nn.ReLU(inplace=True),
                nn.LeakyReLU(0.1, inplace=True),
                nn.Hardswish(),
                nn.Softplus(),
            ]
        )
    )


@st.composite
def convolutions(draw: Any, channels: int, seed: int, *, transposed: bool) -> nn.Module:
    make = nn.ConvTranspose2d if transposed else nn.Conv2d
    groups, stride, dilation = draw(
        st.tuples(st.sampled_from([1, 2, 4]), st.integers(1, 2), st.integers(1, 2))
    )
    layer = make(
        channels, channels, draw(st.integers(1, 3)), stride=stride, padding=draw(st.integers(0, 1)),
        groups=groups, dilation=dilation, bias=draw(st.booleans()),
    )  # fmt: skip
    return randomised(layer, seed).double()


@st.composite
def pools(draw: Any, *, largest: bool) -> nn.Module:
    kernel = draw(st.integers(1, 3))
    stride, padding = draw(st.integers(1, 3)), draw(st.integers(0, kernel // 2))
    ceil = draw(st.booleans())
    if largest:
        return nn.MaxPool2d(kernel, stride, padding, draw(st.integers(1, 2)), ceil_mode=ceil)
    return nn.AvgPool2d(kernel, stride, padding, ceil, draw(st.booleans()))


@st.composite
def woven(draw: Any, kind: str, channels: int, seed: int) -> Callable[[Tensor], Tensor]:
    """Places that see each other, places that are hidden, layers that see all before them."""
    if kind == "masked":
        return draw(masks())
    if kind == "grown":
        return _grown(channels, seed)
    if kind in ("recurrent", "cell"):
        return draw(recurrences(channels, seed, cell=kind == "cell"))
    masking = "none"
    if kind == "masked attention":
        masking = draw(st.sampled_from(["causal", "boolean", "additive", "by hand"]))
    return lambda h: h + _attended(h, masking)


def _attended(h: Tensor, masking: str = "none") -> Tensor:
    tokens = h.flatten(2).transpose(1, 2)
    count = tokens.shape[1]
    allowed = torch.ones(count, count, dtype=torch.bool).tril(1)
    forbidden = torch.zeros(count, count, dtype=h.dtype).masked_fill(~allowed, -torch.inf)
    key = tokens * 0.5
    if masking == "by hand":
        scores = (tokens @ key.transpose(1, 2)).masked_fill(~allowed, -torch.inf)
        given = scores.softmax(-1) @ tokens
    else:
        mask = {"boolean": allowed, "additive": forbidden}.get(masking)
        given = functional.scaled_dot_product_attention(
            tokens, key, tokens, attn_mask=mask, is_causal=masking == "causal"
        )
    return given.transpose(1, 2).reshape(h.shape)


@st.composite
def masks(draw: Any) -> Callable[[Tensor], Tensor]:
    """A part of the places is held back, shrunk, or filled with a number."""
    way = draw(st.sampled_from(["where", "where zero", "masked_fill", "product", "tril"]))
    fill = draw(st.sampled_from([0.0, 0.7]))

    def masked(h: Tensor) -> Tensor:
        hidden = torch.arange(h[0].numel()).view(h.shape[1:]) % 3 == 0
        if way == "where":
            return torch.where(hidden, h * 0.5, h)
        if way == "where zero":
            return torch.where(hidden, torch.zeros((), dtype=h.dtype), h)
        if way == "masked_fill":
            return h.masked_fill(hidden, fill)
        return h.tril() if way == "tril" else h * (~hidden).to(h.dtype)

    return masked


def _grown(channels: int, seed: int) -> Callable[[Tensor], Tensor]:
    """Every layer sees all before it, as in a dense block, and a last one takes them together."""
    sizes = [(channels * (number + 1), channels, 3) for number in range(2)]
    layers = [randomised(nn.Conv2d(*size, padding=1), seed).double() for size in sizes]
    norm = randomised(nn.BatchNorm2d(channels), seed).double()
    last = randomised(nn.Conv2d(3 * channels, channels, 1), seed).double()

    def forward(h: Tensor) -> Tensor:
        kept = [h]
        for layer in layers:
            kept.append(torch.relu(norm(layer(torch.cat(kept, 1)))))
        return last(torch.cat(kept, 1))

    return forward


@st.composite
def recurrences(draw: Any, channels: int, seed: int, *, cell: bool) -> Callable[[Tensor], Tensor]:
    """Four places one after the other, through a layer of torch or a cell in a loop."""
    cells = [nn.LSTMCell, nn.GRUCell, nn.RNNCell, partial(nn.RNNCell, nonlinearity="relu")]
    layers = [nn.LSTM, nn.GRU, nn.RNN, partial(nn.RNN, nonlinearity="relu")]
    bias = draw(st.booleans())
    if cell:
        step = randomised(draw(st.sampled_from(cells))(channels, channels, bias), seed).double()
    else:
        both_ways = draw(st.booleans())
        width = channels // 2 if both_ways else channels
        layer = draw(st.sampled_from(layers))(
            channels, width, draw(st.integers(1, 2)), bias=bias,
            batch_first=True, bidirectional=both_ways,
        )  # fmt: skip
        layer = randomised(layer, seed).double()

    def forward(h: Tensor) -> Tensor:
        steps = functional.adaptive_avg_pool2d(h, 2).flatten(2).transpose(1, 2)
        given = _stepped(step, steps) if cell else layer(steps)[0]
        return given.transpose(1, 2).unflatten(2, (2, 2))

    return forward


def _stepped(cell: nn.Module, steps: Tensor) -> Tensor:
    state, given = None, []
    for step in steps.unbind(1):
        state = cell(step, state)
        given.append(state[0] if isinstance(state, tuple) else state)
    return torch.stack(given, 1)


@st.composite
def networks(draw: Any, parts: list[Callable[[Tensor], Tensor]] | None = None) -> nn.Module:
    """A stem, one to four blocks, and a head."""
    if parts is None:
        parts = draw(st.lists(blocks(), min_size=1, max_size=4))
    stem = randomised(nn.Conv2d(2, 4, 3, padding=1), draw(st.integers(0, 9))).double()
    head = randomised(nn.Linear(16, 3), 1).double()

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.head = stem, head
            self.parts = nn.ModuleList(part for part in parts if isinstance(part, nn.Module))

        def forward(self, x: Tensor) -> Tensor:
            h = self.stem(x)
            for part in parts:
                h = part(h)
            return self.head(functional.adaptive_avg_pool2d(h, 2).flatten(1))

    net = Net().eval()
    hypothesis.assume(_runs(net))
    return net


IMAGES = randn(2, 2, 7, 7, seed=5, dtype=DOUBLE)
REFERENCES = randn(2, 2, 7, 7, seed=6, dtype=DOUBLE)


def _runs(net: nn.Module) -> bool:
    """Whether the images are large enough for all of it, and not all is cut off."""
    try:
        with torch.no_grad():
            moved = difference(net, IMAGES, REFERENCES)
    except RuntimeError:
        return False
    return bool(moved.abs().max() > 1e-3)


@given(networks(), st.sampled_from(["rescale", "reveal_cancel", "genomics"]))
def test_deep_lift_of_random_networks(net: nn.Module, rule: Any) -> None:
    question = assay.Question(net, IMAGES, target=1, removal=assay.Baseline(REFERENCES))
    values = DeepLift(rule)(question).values
    sums_to(values, difference(net, IMAGES, REFERENCES))
    alone = assay.Question(net, IMAGES[1:], target=1, removal=assay.Baseline(REFERENCES[1:]))
    scale = float(values.abs().max())
    torch.testing.assert_close(DeepLift(rule)(alone).values, values[1:], rtol=0, atol=1e-9 * scale)


@given(networks(), COMPOSITES)
def test_relevance_of_random_networks(net: nn.Module, composite: Any) -> None:
    question = assay.Question(net, IMAGES, target=1)
    attribution = LRP(composite)(question)
    balanced(attribution)
    alone = LRP(composite)(assay.Question(net, IMAGES[1:], target=1)).values
    scale = float(attribution.values.abs().max())
    torch.testing.assert_close(alone, attribution.values[1:], rtol=0, atol=1e-9 * scale)


@st.composite
def piecewise(draw: Any) -> nn.Module:
    """The same of blocks that are linear piece by piece."""
    kinds = st.sampled_from(["convolution", "transposed", "max_pool", "grown", "masked", "relu"])
    parts: list[Callable[[Tensor], Tensor]] = []
    for kind in draw(st.lists(kinds, min_size=1, max_size=3)):
        seed = draw(st.integers(0, 9))
        if kind in ("convolution", "transposed"):
            parts.append(draw(convolutions(4, seed, transposed=kind == "transposed")))
        elif kind == "max_pool":
            parts.append(draw(pools(largest=True)))
        elif kind == "relu":
            parts.append(torch.relu)
        else:
            parts.append(draw(woven(kind, 4, seed)))
    return draw(networks(parts=[*parts, torch.relu]))


@hypothesis.settings(max_examples=8)
@given(piecewise())
def test_exact_paths_of_random_networks(net: nn.Module) -> None:
    question = assay.Question(net, IMAGES, target=1, removal=assay.Baseline(REFERENCES))
    answer = assay.ExactIntegratedGradients()(question)
    sums_to(answer.values, difference(net, IMAGES, REFERENCES))
    # A node of a rule weighs little more than a step, and misplaces no kink by more.
    steps = 4096
    near = assay.IntegratedGradients(steps=steps)(question.part(0, 1)).values[0]
    exact, kinks = answer.values[0], answer.facts["pieces"][0]
    scale = float(exact.abs().sum())
    assert float((near - exact).abs().max()) <= 4 * scale * kinks / steps
    if kinks == 1:
        torch.testing.assert_close(near, exact, rtol=0, atol=1e-9 * scale)
    # Inside, too: what passes through the units of a layer.
    through = assay.Conductance(exact=True)(question.after("stem"))
    sums_to(through.values, difference(net, IMAGES, REFERENCES))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["image: residual", "vector: swiglu", "sequence: encoder"])
def test_less_precise_numbers(name: str, dtype: torch.dtype) -> None:
    case = NETWORKS[name]
    net = case.make().to(dtype)
    x, base = case.inputs().to(dtype), case.inputs(7).to(dtype)
    question = assay.Question(net, x, target=1, removal=assay.Baseline(base))
    precise = ask(name)
    tolerance = {torch.float32: 1e-4, torch.bfloat16: 0.2}[dtype]
    for method in (DeepLift(), LRP(AttentionAware(epsilon=0.0)), GuidedBackprop()):
        values = method(question).values
        expected = method(precise).values
        scale = float(expected.abs().max())
        torch.testing.assert_close(values.double(), expected, rtol=0, atol=tolerance * scale)
