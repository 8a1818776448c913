"""Full gradients: complete on networks of every operation, and layer by layer as the formula says."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import interpolate

import assay
from assay.errors import AbilityError, InputError, SettingError
from rule_networks import DOUBLE, NETWORKS, RELUS, calls
from toys import randn, randomised

TIGHT = {"rtol": 0, "atol": 1e-10}
X = randn(3, 2, 7, 7, seed=5, dtype=DOUBLE)


def ask(net: Any, x: Tensor = X, **more: Any) -> assay.Question:
    return assay.Question(net, x, **{"target": 1, "features": assay.Pixels(), **more})


class Normed(nn.Module):
    """Two convolutions, a batch norm behind each, a rectifier and a dense head."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 3, 3)
        self.norm = nn.BatchNorm2d(3)
        self.second = nn.Conv2d(3, 4, 3, bias=False)
        self.again = nn.BatchNorm2d(4)
        self.head = nn.Linear(36, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.norm(self.first(x)))
        h = torch.relu(self.again(self.second(h)))
        return self.head(h.flatten(1))


NORMED = randomised(Normed(), 3).double()


@pytest.mark.parametrize("name", NETWORKS)
def test_terms_add_up_to_the_score(name: str) -> None:
    """Biases of layers alone do not: a sigmoid, a product or a norm has one of its own."""
    case = NETWORKS[name]
    net = case.make()
    question = assay.Question(net, case.inputs(), target=1)
    terms = assay.FullGrad().terms(_placed(question, net, case))
    scores = net(case.inputs())[:, 1].detach()
    torch.testing.assert_close(terms.total, scores, rtol=1e-9, atol=1e-10)
    assert len(terms.input) == 3
    assert all(len(term) == 3 for term in terms.biases.values())


def _placed(question: assay.Question, net: nn.Module, case: Any) -> assay.Question:
    """Inputs of any shape as pictures of one row, which is what FullGrad is asked about."""
    if len(case.shape) > 1:
        return question
    unfolded = calls(lambda n, x: net(x.flatten(1)), net=nn.Identity())
    inputs = case.inputs().unflatten(1, (1, 1, -1))
    return assay.Question(unfolded, inputs, target=1)


def test_each_bias_times_its_own_slope() -> None:
    """By hand: the slope behind each layer, times the bias; batch norms with their running means."""
    kept: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, given: Any, output: Tensor) -> Tensor:
            kept[name] = output
            return output.clone()

        return hook

    names = ("first", "norm", "again", "head")
    handles = [getattr(NORMED, name).register_forward_hook(keep(name)) for name in names]
    leaf = X.clone().requires_grad_()
    score = NORMED(leaf)[:, 1].sum()
    for handle in handles:
        handle.remove()
    own, *slopes = torch.autograd.grad(score, [leaf, *(kept[name] for name in names)])
    biases = {"first": NORMED.first.bias, "head": NORMED.head.bias}
    for name in ("norm", "again"):
        norm = getattr(NORMED, name)
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        biases[name] = norm.bias - norm.running_mean * scale
    terms = assay.FullGrad().terms(ask(NORMED))
    torch.testing.assert_close(terms.input, (X * own).flatten(1), **TIGHT)
    assert list(terms.biases) == list(names)
    for name, slope in zip(names, slopes):
        bias = biases[name].detach()
        expected = slope * bias.view(-1, *[1] * (slope.dim() - 2))
        torch.testing.assert_close(terms.biases[name], expected, **TIGHT)


@pytest.mark.parametrize("rescale", ["layer", "channel", "none"])
def test_the_picture_map_by_map(rescale: Any) -> None:
    """pytorch-grad-cam 1.5.7 brings each channel to [0, 1]: a channel that says next to nothing
    weighs as much as any other.
    """
    question = ask(NORMED)
    terms = assay.FullGrad().terms(question)
    layers = [terms.input.view(X.shape), *terms.biases.values()]
    expected = torch.zeros(3, 7, 7, dtype=DOUBLE)
    for row in range(3):
        for layer in layers:
            if layer.dim() != 4:
                continue
            sizes = layer[row].abs()
            for channel in sizes:
                over = {"layer": sizes, "channel": channel}.get(rescale)
                scaled = channel
                if over is not None and over.max() == over.min():
                    continue
                if over is not None:
                    scaled = (channel - over.min()) / (over.max() - over.min())
                expected[row] += interpolate(
                    scaled[None, None], size=(7, 7), mode="bilinear", align_corners=False
                )[0, 0]
    answer = assay.FullGrad(rescale)(question)
    torch.testing.assert_close(answer.values.view(3, 7, 7), expected, **TIGHT)
    sums = answer.facts["terms"]
    total = sums["input"] + sum(sums["biases"].values())
    assert total == pytest.approx(float(question.prediction.sum()), abs=1e-10)
    assert (rescale in answer.facts["picture"]) == (rescale != "none")


@pytest.mark.parametrize("relu", RELUS.values(), ids=RELUS)
def test_a_rectifier_in_any_spelling_has_no_bias(relu: Any) -> None:
    """pytorch-grad-cam 1.5.7 looks at modules: biases of functions are lost there."""
    convs = [randomised(nn.Conv2d(2, 2, 3), seed).double() for seed in range(2)]
    head = randomised(nn.Linear(18, 2), 2).double()
    net = calls(lambda n, x: head(relu(convs[1](relu(convs[0](x)))).flatten(1)))
    twin = nn.Sequential(convs[0], nn.ReLU(), convs[1], nn.ReLU(), nn.Flatten(), head)
    values = assay.FullGrad()(ask(net)).values
    torch.testing.assert_close(values, assay.FullGrad()(ask(twin)).values, **TIGHT)
    assert len(assay.FullGrad().terms(ask(net)).biases) == 3


def test_a_layer_that_is_called_twice_has_two_terms() -> None:
    conv = randomised(nn.Conv2d(2, 2, 3, padding=1), 1).double()
    head = randomised(nn.Linear(98, 2), 2).double()
    net = calls(
        lambda n, x: head(torch.relu(n["c"](torch.relu(n["c"](x)) + 0.5)).flatten(1)), c=conv
    )
    terms = assay.FullGrad().terms(ask(net))
    assert list(terms.biases) == ["layers.c", "add", "layers.c (2)", "linear"]
    torch.testing.assert_close(terms.total, net(X)[:, 1].detach(), **TIGHT)


def test_an_operation_has_its_name_whatever_its_bias_is_for_an_input() -> None:
    """Where a rectifier that is clipped clips nothing, the next one keeps its number."""

    class Clipped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(2, 3, 3, bias=False)
            self.second = nn.Conv2d(3, 4, 3, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            h = nn.functional.hardtanh(self.first(x), 0.0, 2.0)
            h = nn.functional.hardtanh(self.second(h), 0.0, 100.0)
            return nn.functional.hardtanh(h.mean((2, 3)), 0.0, 0.5)

    net = Clipped().double()
    with torch.no_grad():
        net.first.weight.fill_(0.1)
        net.second.weight.fill_(0.1)
    x = torch.cat([torch.full((1, 2, 7, 7), size, dtype=DOUBLE) for size in (0.5, 5.0)])
    terms = assay.FullGrad().terms(ask(net, x))
    assert list(terms.biases) == ["hardtanh (3)", "hardtanh"]
    assert [len(term) for term in terms.biases.values()] == [2, 2]
    # The smaller input is clipped at the end alone, the larger one is so everywhere.
    assert not terms.biases["hardtanh"][0].any()
    torch.testing.assert_close(terms.total, net(x)[:, 1].detach(), **TIGHT)


def test_without_biases_the_input_has_it_all() -> None:
    conv = randomised(nn.Conv2d(2, 2, 3, bias=False), 1).double()
    net = nn.Sequential(conv, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()).append(
        randomised(nn.Linear(8, 2, bias=False), 2).double()
    )
    terms = assay.FullGrad().terms(ask(net))
    assert not terms.biases
    torch.testing.assert_close(terms.total, net(X)[:, 1].detach(), **TIGHT)


def test_an_input_is_answered_as_it_is_alone() -> None:
    whole = assay.FullGrad()(ask(NORMED)).values
    for row in range(3):
        alone = assay.FullGrad()(ask(NORMED, X[row : row + 1])).values
        torch.testing.assert_close(alone[0], whole[row], **TIGHT)


def test_biases_that_cannot_be_seen_are_refused_by_name() -> None:
    scripted = torch.jit.trace(nn.Conv2d(2, 3, 3).double(), X)
    net = nn.Sequential(scripted, nn.ReLU(), nn.Flatten(), nn.Linear(75, 2).double())
    with pytest.raises(AbilityError, match=r"(?i)operations|script"):
        assay.FullGrad()(ask(net))
    sorting = calls(lambda n, x: x.sort(3)[0].flatten(1))
    with pytest.raises(AbilityError, match="sort"):
        assay.FullGrad()(ask(sorting))
    with pytest.raises(InputError, match="images of shape"):
        assay.FullGrad()(assay.Question(nn.Linear(3, 2), torch.ones(2, 3)))
    with pytest.raises(SettingError, match="'layer', 'channel' or 'none'"):
        assay.FullGrad("image")  # type: ignore[arg-type]


@st.composite
def networks(draw: Any) -> nn.Module:
    """Convolutions, norms, rectifiers and pools, any of them with or without biases."""
    parts: list[nn.Module] = []
    for number in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["convolution", "norm", "relu", "pool", "mean", "smooth"]))
        made = {
            "convolution": lambda: nn.Conv2d(2, 2, 2, bias=draw(st.booleans())),
            "norm": lambda: nn.BatchNorm2d(2, affine=draw(st.booleans())),
            "relu": lambda: nn.ReLU(inplace=draw(st.booleans())),
            "pool": lambda: nn.MaxPool2d(2, 1, ceil_mode=draw(st.booleans())),
            "mean": lambda: nn.AvgPool2d(2, 1),
            "smooth": lambda: draw(st.sampled_from([nn.GELU(), nn.Sigmoid(), nn.Hardswish()])),
        }[kind]()
        parts.append(randomised(made, number))
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(2), nn.Flatten()).double().eval()


@settings(max_examples=40)
@given(networks())
def test_random_networks_are_complete(net: nn.Module) -> None:
    terms = assay.FullGrad().terms(ask(net))
    scores = net(X.clone())[:, 1].detach()
    scale = float(scores.abs().max()) + sum(float(t.abs().sum()) for t in terms.biases.values())
    torch.testing.assert_close(terms.total, scores, rtol=0, atol=1e-9 * scale)
