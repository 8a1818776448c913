"""A network cut at a layer: the part before it runs once, what skips past it is carried, the
forward stops where it is told.
"""

from __future__ import annotations

import copy
import tempfile
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import assay
import zoo
from assay.errors import AbilityError, InputError, KindError
from toys import FEATURES, Residual, counting, randn, randomised, state, tanh_net

DOUBLE = torch.float64
STEPS = 8
ONCE = "ran once (captured as a graph)"
AGAIN = "was recomputed for every row"


class Counted(nn.Module):
    """A prefix whose rows are counted, a middle and a head."""

    def __init__(self, log: list[int]) -> None:
        super().__init__()
        self.prefix = counting(nn.Linear(FEATURES, 6), log)
        self.middle = nn.Linear(6, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(torch.tanh(self.middle(torch.tanh(self.prefix(x)))))
        return out


class Untraceable(Counted):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if bool((x == x).all()) else x


def counted(kind: type[Counted] = Counted) -> tuple[Counted, list[int]]:
    log: list[int] = []
    return randomised(kind(log)).double(), log  # type: ignore[return-value]


def layer_by_hand(
    before: Callable[[Tensor], Tensor],
    behind: Callable[[Tensor, Tensor], Tensor],
    x: Tensor,
    b: Tensor,
    steps: int,
) -> Tensor:
    """The slow twin of integrated gradients at a layer: midpoint sum in the space of activations,
    the input kept beside it.
    """
    start, end = before(b), before(x)
    total = torch.zeros_like(end)
    for k in range(steps):
        point = (start + (k + 0.5) / steps * (end - start)).detach().requires_grad_()
        (slope,) = torch.autograd.grad(behind(point, x).sum(), point)
        total += slope / steps
    return ((end - start) * total).detach().flatten(1)


X = randn(5, FEATURES, dtype=DOUBLE)
IG = assay.IntegratedGradients(STEPS, "middle")


@pytest.mark.parametrize("rows", ["auto", 2])
def test_the_part_before_a_layer_runs_once_for_each_input(rows: Any) -> None:
    net, log = counted()
    behind = assay.Question(assay.wrap(net, batch_size=rows), X, target=0).after("middle")
    log.clear()  # what the cut itself asked: a probe and a sample
    made = IG(behind)
    assert ONCE in made.facts["layer"]
    assert sum(log) == len(X) + 1  # the inputs, and the one absent input
    log.clear()
    IG(behind)
    assert log == []  # nor for the next method
    expected = layer_by_hand(
        lambda x: net.middle(torch.tanh(net.prefix(x))),
        lambda h, x: net.head(torch.tanh(h))[:, 0],
        X,
        0 * X,
        STEPS,
    )
    torch.testing.assert_close(made.values, expected, rtol=0, atol=1e-10)


def test_many_shards_run_the_part_before_a_layer_once_for_each_input(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net, log = counted()
    x = randn(100, FEATURES, dtype=DOUBLE)
    whole = IG(assay.Question(net, x, target=0).after("middle"))
    monkeypatch.setattr("assay.question.derivations._SHARD", 1)
    behind = assay.Question(net, x, target=0).after("middle")
    shards = len(list(behind.shards()))
    assert shards == 4
    log.clear()
    made = IG(behind)
    # The inputs once, and once what is absent, whatever the number of shards.
    assert sum(log) == 100 + 1
    torch.testing.assert_close(made.values, whole.values, rtol=0, atol=1e-12)
    assert made.provenance["question"] == whole.provenance["question"]


def test_a_network_that_cannot_be_captured_is_run_again_and_says_so() -> None:
    net, log = counted(Untraceable)
    behind = assay.Question(net, X, target=0).after("middle")
    log.clear()
    made = IG(behind)
    assert AGAIN in made.facts["layer"]
    assert sum(log) >= len(X) * STEPS
    plain, _ = counted()
    torch.testing.assert_close(
        made.values, IG(assay.Question(plain, X, target=0).after("middle")).values
    )


def test_context_is_no_hindrance() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.head = nn.Linear(FEATURES, 5), nn.Linear(5, 2)

        def forward(self, x: Tensor, scale: Tensor) -> Tensor:
            return self.head(torch.tanh(self.first(x))) * scale

    net = randomised(Scaled()).double()
    scale = torch.arange(1.0, 6.0, dtype=DOUBLE).unsqueeze(1)
    made = IG(
        assay.Question(net, X, target=0, context={"scale": assay.Aligned(scale)}).after("first")
    )
    plain = layer_by_hand(net.first, lambda h, x: net.head(torch.tanh(h))[:, 0], X, 0 * X, STEPS)
    torch.testing.assert_close(made.values, plain * scale, rtol=0, atol=1e-10)


# --- shortcuts, functions, constants

IMAGES = randn(4, 1, 6, 6, dtype=DOUBLE)


class NoGraph(Residual):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if bool((x == x).all()) else x


def parts_of(net: Residual, layer: str) -> tuple[Any, Any]:
    soft = nn.functional.softplus

    def stem(x: Tensor) -> Tensor:
        return torch.relu(net.norm0(net.stem(x)))

    def end(inner: Tensor, x: Tensor) -> Tensor:
        out: Tensor = net.head(soft(net.norm2(net.second(inner)) + stem(x)).mean((2, 3)))[:, 1]
        return out

    if layer == "first":
        return lambda x: net.first(stem(x)), lambda h, x: end(soft(net.norm1(h)), x)
    if layer == "norm1":
        return lambda x: net.norm1(net.first(stem(x))), lambda h, x: end(soft(h), x)
    return lambda x: net.second(soft(net.norm1(net.first(stem(x))))), lambda h, x: net.head(
        soft(net.norm2(h) + stem(x)).mean((2, 3))
    )[:, 1]


@pytest.mark.parametrize("kind", [Residual, NoGraph])
@pytest.mark.parametrize("layer", ["first", "norm1", "second"])
def test_a_cut_inside_a_residual_block_carries_the_shortcut(kind: Any, layer: str) -> None:
    net = randomised(kind()).double()
    made = IG(assay.Question(net, IMAGES, target=1).after(layer))
    assert (ONCE if kind is Residual else AGAIN) in made.facts["layer"]
    before, behind = parts_of(net, layer)
    torch.testing.assert_close(
        made.values, layer_by_hand(before, behind, IMAGES, 0 * IMAGES, STEPS), rtol=0, atol=1e-10
    )
    assert made.gap is not None
    fine = assay.IntegratedGradients(64)(assay.Question(net, IMAGES, target=1).after(layer))
    assert fine.gap is not None
    assert (
        float(fine.gap.abs().max()) < 1e-8
    )  # the difference that the layer makes while the shortcut stays


class Constants(nn.Module):
    """Tensors without rows beside the layer: made of a parameter, and cut to the size of the input."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(size, size), nn.Linear(size, 2)
        self.scale, self.place = nn.Parameter(torch.ones(size)), nn.Parameter(torch.ones(1, 9))

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.first(x))
        out: Tensor = self.head(h * self.scale.exp() + self.place[:, : x.shape[1]])
        return out


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("n", [1, 2, 5])
def test_constants_beside_a_layer_are_not_taken_for_rows(size: int, n: int) -> None:
    net = randomised(Constants(size)).double()
    x = randn(n, size, dtype=DOUBLE)
    made = IG(assay.Question(net, x, target=0).after("first"))
    assert ONCE in made.facts["layer"]

    def behind(h: Tensor, x: Tensor) -> Tensor:
        out: Tensor = net.head(torch.tanh(h) * net.scale.exp() + net.place[:, :size])[:, 0]
        return out

    torch.testing.assert_close(
        made.values, layer_by_hand(net.first, behind, x, 0 * x, STEPS), rtol=0, atol=1e-10
    )


class Turned(nn.Module):
    """What is carried past the layer has its rows in the second dimension."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(size, size), nn.Linear(size, 2)

    def forward(self, x: Tensor) -> Tensor:
        turned = x.transpose(0, 1) * 2
        out: Tensor = self.head(
            (torch.tanh(self.first(x)).transpose(0, 1) + turned).transpose(0, 1)
        )
        return out


@pytest.mark.parametrize(
    "size", [1, 2, 4]
)  # 2 is what the sample's rows count, so that a shape alone does not tell
@pytest.mark.parametrize("n", [1, 2, 5])
def test_what_is_carried_the_other_way_round_is_not_taken_for_rows(
    n: int, size: int, capsys: pytest.CaptureFixture[str]
) -> None:
    net, x = randomised(Turned(size)).double(), randn(n, size, dtype=DOUBLE)
    made = IG(assay.Question(net, x, target=0).after("first"))
    expected = layer_by_hand(
        net.first, lambda h, x: net.head(torch.tanh(h) + 2 * x)[:, 0], x, 0 * x, STEPS
    )
    torch.testing.assert_close(made.values, expected, rtol=0, atol=1e-10)
    assert capsys.readouterr() == ("", "")  # a capture that fails says nothing


def test_token_ids_are_explained_behind_their_embedding() -> None:
    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.head = nn.Embedding(10, 3), nn.Linear(3, 2)

        def forward(self, ids: Tensor) -> Tensor:
            out: Tensor = self.head(torch.tanh(self.embedding(ids)).mean(1))
            return out

    net, ids = randomised(Words()).double(), torch.tensor([[1, 2, 3], [4, 5, 0]])
    with pytest.raises(KindError, match=r"question\.after\('embedding'\)"):
        IG(assay.Question(net, ids, target=0))
    words = torch.arange(3).repeat_interleave(3).view(3, 3)
    made = IG(assay.Question(net, ids, target=0).after("embedding", features=assay.Labels(words)))
    zero = torch.zeros_like(ids)
    expected = layer_by_hand(
        lambda e: net.embedding(e.long()),
        lambda h, x: net.head(torch.tanh(h).mean(1))[:, 0],
        ids,
        zero,
        STEPS,
    )
    torch.testing.assert_close(made.values, expected.view(2, 3, 3).sum(2), rtol=0, atol=1e-10)


def test_features_of_a_layer_may_be_its_channels() -> None:
    net = randomised(Residual()).double()
    channels = torch.arange(4).repeat_interleave(36).view(4, 6, 6)
    question = assay.Question(net, IMAGES, target=1)
    pooled = IG(question.after("first", features=assay.Labels(channels))).values
    torch.testing.assert_close(pooled, IG(question.after("first")).values.view(4, 4, 36).sum(2))


@zoo.needs_data
def test_a_trained_residual_network_is_cut_inside_a_block() -> None:
    net, x = zoo.cifar_resnet(20).double(), zoo.cifar10("test", 2)[0].double()

    class Recomputed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.net(x) if bool((x == x).all()) else x
            return out

    once = IG(assay.Question(net, x).after("layer2.0.conv2"))
    again = IG(assay.Question(Recomputed().eval(), x).after("net.layer2.0.conv2"))
    assert ONCE in once.facts["layer"]
    assert AGAIN in again.facts["layer"]
    torch.testing.assert_close(once.values, again.values, rtol=0, atol=1e-10)
    fine = assay.IntegratedGradients(128)(assay.Question(net, x).after("layer2.0.conv2"))
    assert fine.gap is not None
    assert (
        float((fine.gap / (fine.prediction - fine.base)).abs().max()) < 0.02
    )  # kinks: an error of one in the steps


# --- the forward that stops


def test_the_forward_stops_at_the_layer() -> None:
    log: list[int] = []
    net = randomised(
        nn.Sequential(nn.Linear(FEATURES, 5), nn.Tanh(), counting(nn.Linear(5, 3), log))
    ).double()
    made = assay.Gradient()(assay.Question(net, X, target=0).upto("1", 3))
    assert log == []
    leaf = X.clone().requires_grad_()
    (slope,) = torch.autograd.grad(net[:2](leaf)[:, 3].sum(), leaf)
    torch.testing.assert_close(made.values, slope)


def test_a_unit_of_a_map_is_a_tuple() -> None:
    net = randomised(Residual()).double()
    made = assay.Question(net, IMAGES).upto("first", (2, 3, 1))
    torch.testing.assert_close(
        made.prediction, net.first(torch.relu(net.norm0(net.stem(IMAGES))))[:, 2, 3, 1].detach()
    )


@pytest.mark.parametrize("layer", ["0", "1", "2"])
def test_every_method_of_slopes_is_a_layer_method(layer: str) -> None:
    net = tanh_net().double()
    behind = assay.Question(net, X, target=0).after(layer)
    for method in (
        assay.Gradient(),
        assay.InputXGradient(),
        assay.TimesInput(assay.Gradient()),
        assay.Smoothed(assay.Gradient(), draws=4),
    ):
        made = method(behind)
        assert made.values.shape == (5, behind.layout.elements)
        assert made.facts["layer"]
    rest, activation = net[int(layer) + 1 :], net[: int(layer) + 1](X).detach().requires_grad_()
    (slope,) = torch.autograd.grad(rest(activation)[:, 0].sum(), activation)
    torch.testing.assert_close(assay.Gradient()(behind).values, slope)


def test_masks_hide_units_of_a_layer() -> None:
    net = tanh_net().double()
    behind = assay.Question(net, X, target=0).after("1")
    masks = torch.rand(3, 8, generator=torch.Generator().manual_seed(0)) < 0.5
    with torch.no_grad():
        h, gone = net[:2](X), net[:2](0 * X)
        expected = torch.stack([net[2](torch.where(mask, h, gone))[:, 0] for mask in masks], dim=1)
    torch.testing.assert_close(behind.value(masks), expected)


def test_an_input_alone_gets_the_layer_answer_it_gets_in_a_crowd() -> None:
    net = tanh_net().double()
    method = assay.Smoothed(assay.Gradient(), draws=4)
    whole = method(assay.Question(net, X, target=0).after("1")).values
    alone = method(assay.Question(net, X[3:4], target=0).after("1")).values
    torch.testing.assert_close(alone, whole[3:4])


def test_a_background_passes_through_the_layer() -> None:
    net, rows = tanh_net().double(), randn(6, FEATURES, seed=4, dtype=DOUBLE)
    behind = assay.Question(net, X, target=0, removal=assay.Background(rows)).after("1")
    torch.testing.assert_close(behind.base, net(rows)[:, 0].mean().detach().expand(5))


class Overwritten(nn.Module):
    """What a layer answers is written on by what follows, as in torchvision's residual blocks."""

    def __init__(self, captured: bool) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2)
        self.relu, self.head = nn.ReLU(inplace=True), nn.Linear(32, 3)
        if not captured:
            self.head.register_forward_hook(lambda module, inputs, output: None)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(self.conv(x))
        h = self.add(h, x)
        out: Tensor = self.head(self.relu(h).flatten(1))
        return out

    def add(self, h: Tensor, x: Tensor) -> Tensor:
        h += x
        return h


class OverwrittenByARectifier(Overwritten):
    def add(self, h: Tensor, x: Tensor) -> Tensor:
        return self.relu(h) + x


class OverwrittenShortcut(Overwritten):
    def add(self, h: Tensor, x: Tensor) -> Tensor:
        shortcut = 2 * x
        shortcut += h
        return shortcut


@pytest.mark.parametrize("captured", [True, False])
@pytest.mark.parametrize("kind", [Overwritten, OverwrittenByARectifier, OverwrittenShortcut])
def test_what_the_network_overwrites_behind_a_layer_is_asked_as_it_was(
    kind: type[Overwritten], captured: bool
) -> None:
    net, x = randomised(kind(captured)).double(), randn(2, 2, 4, 4, seed=5, dtype=DOUBLE)
    channels = assay.Labels(torch.arange(2)[:, None, None].expand(2, 4, 4))
    behind = assay.Question(net, x, target=1).after("norm", features=channels)

    def rest(h: Tensor, inputs: Tensor = x) -> Tensor:
        h = net.add(h.clone(), inputs.clone())
        out: Tensor = net.head(torch.relu(h).flatten(1))[:, 1]
        return out

    def before(inputs: Tensor) -> Tensor:
        out: Tensor = net.norm(net.conv(inputs)).detach()
        return out

    h, gone = before(x), before(0 * x)
    torch.testing.assert_close(behind.x, h.flatten(1))
    torch.testing.assert_close(behind.prediction, net(x.clone())[:, 1].detach())
    masks = [torch.arange(2)[None, :, None, None] == channel for channel in range(2)]
    by_hand = torch.stack([rest(h) - rest(torch.where(mask, gone, h)) for mask in masks], 1)
    torch.testing.assert_close(assay.Occlusion()(behind).values, by_hand.detach())
    expected = layer_by_hand(before, rest, x, 0 * x, STEPS)
    made = IG(behind).values
    torch.testing.assert_close(made, expected.view(2, 2, 16).sum(2), rtol=0, atol=1e-10)
    unit = assay.Question(net, x).upto("norm", (1, 2, 3))
    torch.testing.assert_close(unit.prediction, h[:, 1, 2, 3])


def test_the_network_is_left_as_found() -> None:
    for kind in (Residual, NoGraph):
        net = randomised(kind()).double()
        before = state(net)
        IG(assay.Question(net, IMAGES, target=1).after("norm1"))
        assay.Gradient()(assay.Question(net, IMAGES, target=1).upto("norm1", (0, 0, 0)))
        assert state(net) == before


# --- refusals


def test_names_of_layers_are_checked_and_near_ones_named() -> None:
    question = assay.Question(randomised(Residual()), IMAGES.float(), target=0)
    with pytest.raises(AbilityError, match=r"got 'norm'\. Layers near it: .*norm0"):
        question.after("norm")
    with pytest.raises(AbilityError, match="Layers near it"):
        question.upto("nowhere", 0)
    with pytest.raises(AbilityError, match="no layers"):
        assay.Question(lambda x: x.sum(1), X).after("0")
    with pytest.raises(AbilityError, match="Expected a whole network to cut at 'second'"):
        question.after("first").after("second").prediction.sum()


class Several(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pair, self.unused = nn.LSTM(FEATURES, 3, batch_first=True), nn.Linear(2, 2)
        self.twice, self.turned = nn.Linear(3, 3), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        h, _ = self.pair(x.unsqueeze(1))
        h = self.twice(self.twice(h))
        out: Tensor = self.turned(h.transpose(0, 1)).transpose(0, 1).mean(1)
        return out


@pytest.mark.parametrize(
    ("layer", "error", "message"),
    [
        ("pair", KindError, "Expected one tensor out of layer 'pair', got tuple"),
        ("unused", AbilityError, r"(?s)'unused'.*(once|never)"),
        ("twice", AbilityError, "called once in a forward of Several, got 2 calls"),
        ("turned", KindError, "one row for each of 2 inputs out of layer 'turned'"),
    ],
)
def test_layers_that_cannot_be_cut_at_are_refused(
    layer: str, error: type[Exception], message: str
) -> None:
    question = assay.Question(randomised(Several()).double(), X, target=0)
    with pytest.raises(error, match=message):
        question.after(layer)


@pytest.mark.parametrize("neuron", [False, True])
def test_a_unit_of_a_layer_that_is_called_twice_is_refused(neuron: bool) -> None:
    net = randomised(Several()).double()
    target = assay.Neuron("twice", 0) if neuron else 0
    question = assay.Question(net, X, target=target)
    with pytest.raises(AbilityError, match="'twice' to be called once in a forward of Several"):
        _ = (question if neuron else question.upto("twice", 0)).prediction


class NarrowHead(nn.Module):
    """A head that does not fit the inputs: only what lies before it can be asked."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(FEATURES, 3), nn.Linear(2, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.first(x))
        return out


def test_what_lies_behind_a_unit_need_not_fit() -> None:
    net = randomised(NarrowHead()).double()
    question = assay.Question(net, X).upto("first", 1)
    torch.testing.assert_close(question.prediction, net.first(X)[:, 1].detach())


def test_a_layer_that_the_forward_never_passes_is_refused() -> None:
    question = assay.Question(randomised(Several()).double(), X, target=0)
    with pytest.raises(AbilityError, match="got one that never does"):
        _ = question.upto("unused", 0).prediction


def test_the_part_before_a_layer_runs_in_chunks_of_the_models_own_size() -> None:
    net, log = counted()
    behind = assay.Question(assay.wrap(net, batch_size=2), X, target=0).after("middle")
    log.clear()
    IG(behind)
    assert log == [2, 2, 1, 1]


# --- parts of a layer's output


@dataclass
class Parts:
    """What a block answers, by attribute."""

    state: Tensor
    weights: Tensor


class Out(OrderedDict[str, Any]):
    """A mapping with attributes that counts its parts, as outputs of the transformers library."""

    def __getattr__(self, name: str) -> Any:
        return self[name]

    def to_tuple(self) -> tuple[Any, ...]:
        return tuple(self.values())


Pair = namedtuple("Pair", ["state", "weights"])


class Block(nn.Module):
    """A layer that gives a state and weights, in some form, the weights one row for all."""

    def __init__(self, form: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.inner, self.form = nn.Linear(FEATURES, 4), form

    def forward(self, x: Tensor) -> Any:
        h = torch.tanh(self.inner(x))
        return self.form(h, 2 * h)


class Blocks(nn.Module):
    def __init__(self, form: Any, state: Any, weights: Any) -> None:
        super().__init__()
        self.block, self.head = Block(form), nn.Linear(4, 3)
        self.state, self.weights = state, weights

    def forward(self, x: Tensor) -> Tensor:
        out = self.block(x)
        h = self.state(out)
        h += x[:, :4]  # written on, as residual streams are
        result: Tensor = self.head(torch.tanh(h) * self.weights(out))
        return result


FORMS = {
    "tuple": (lambda h, w: (h, w), lambda out: out[0], lambda out: out[1], 0, 1),
    "list": (lambda h, w: [h, w], lambda out: out[0], lambda out: out[1], 0, -1),
    "nested": (lambda h, w: (w, (h, None)), lambda out: out[1][0], lambda out: out[0], (1, 0), 0),
    "named": (Pair, lambda out: out.state, lambda out: out.weights, "state", 1),
    "mapping": (
        lambda h, w: {"state": h, "weights": w},
        lambda out: out["state"],
        lambda out: out["weights"],
        "state",
        "weights",
    ),
    "attributes": (Parts, lambda out: out.state, lambda out: out.weights, "state", "weights"),
    "library": (
        lambda h, w: Out(state=h, weights=w),
        lambda out: out.state,
        lambda out: out.weights,
        0,
        "weights",
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_part_of_an_output_is_asked_about_as_by_hand(form: str) -> None:
    make, state, weights, first, second = FORMS[form]
    net = randomised(Blocks(make, state, weights)).double()
    x = randn(3, FEATURES, dtype=DOUBLE)
    question = assay.Question(net, x, target=1)

    def before(x: Tensor) -> Tensor:
        return torch.tanh(net.block.inner(x))

    def rest(h: Tensor, w: Tensor) -> Tensor:
        out: Tensor = net.head(torch.tanh(h + x[:, :4]) * w)[:, 1]
        return out

    h, w = before(x).detach(), 2 * before(x).detach()
    behind = question.after("block", output=first)
    torch.testing.assert_close(behind.x, h)
    torch.testing.assert_close(behind.prediction, net(x)[:, 1].detach())
    expected = layer_by_hand(before, lambda h, _: rest(h, w), x, 0 * x, STEPS)
    torch.testing.assert_close(IG(behind).values, expected, rtol=0, atol=1e-10)
    leaves = h.clone().requires_grad_(), w.clone().requires_grad_()
    slopes = torch.autograd.grad(rest(*leaves).sum(), leaves)
    both = assay.Gradient()(question.after(net.block, output=[first, second]))
    for part, slope in zip(both.parts, slopes, strict=True):
        torch.testing.assert_close(part, slope)
    for unit in (
        question.upto("block", 2, output=first),
        assay.Question(net, x, target=assay.Neuron(net.block, 2, output=first)),
    ):
        torch.testing.assert_close(unit.prediction, h[:, 2])


def test_a_recurrent_network_and_attention_are_cut_at_their_outputs() -> None:
    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(3, 4, num_layers=2, batch_first=True)
            self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
            self.head = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            h, (last, _) = self.lstm(x)
            h, _ = self.attention(h, h, h)
            out: Tensor = self.head(h.mean(1) + last[-1])
            return out

    net, x = randomised(Reader()).double(), randn(2, 2, 3, dtype=DOUBLE)
    question = assay.Question(net, x, target=0)

    def lstm(x: Tensor) -> Tensor:
        return net.lstm(x)[0].detach()

    last = net.lstm(x)[1][0][-1].detach()

    def rest(h: Tensor, x: Tensor) -> Tensor:
        return net.head(net.attention(h, h, h)[0].mean(1) + last)[:, 0]

    made = IG(question.after("lstm", output=0))
    expected = layer_by_hand(lstm, rest, x, 0 * x, STEPS)
    torch.testing.assert_close(made.values, expected, rtol=0, atol=1e-10)
    # The state counts its layers first, of which there are as many as inputs here.
    with pytest.raises(KindError, match="one row for each of 1 inputs out of layer 'lstm'"):
        question.after("lstm", output=(1, 0))
    for ask in (lambda: question.after("lstm"), lambda: question.upto("lstm", (0, 0)).prediction):
        with pytest.raises(KindError, match=r"output=0 \(2, 2, 4\), output=\(1, 0\)"):
            ask()


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (2, r"a part \[2\] of the output of layer 'block', got tuple\. .*output=0 \(2, 4\)"),
        ("state", "a part"),
        ((0, 0), "a part"),
        (True, "got True"),
        (0.5, "got 0.5"),
        ((), "Leave output out"),
        (slice(0, 1), "got slice"),
    ],
)
def test_parts_that_an_output_does_not_have_are_refused(output: Any, message: str) -> None:
    net = randomised(Blocks(*FORMS["tuple"][:3])).double()
    question = assay.Question(net, X, target=0)
    with pytest.raises(KindError, match=message):
        question.after("block", output=output)
    with pytest.raises(KindError, match="leave output out"):
        question.after("head", output=0)
    with pytest.raises(InputError, match="one layer to stop at"):
        question.upto("block", 0, output=[0, 1])


def test_packed_sequences_have_no_rows_to_cut_at() -> None:
    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru, self.head = nn.GRU(3, 4, batch_first=True), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            lengths = torch.ones(len(x), dtype=torch.int64)
            packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
            h, _ = nn.utils.rnn.pad_packed_sequence(self.gru(packed)[0], batch_first=True)
            out: Tensor = self.head(h.mean(1))
            return out

    question = assay.Question(randomised(Packed()).double(), randn(2, 1, 3, dtype=DOUBLE), target=0)
    for output in (0, (0, "data"), (0, 0)):
        with pytest.raises(KindError, match="Expected"):
            question.after("gru", output=output)


# --- several layers


class Embedded(nn.Module):
    """Words and their places, embedded and added up; the sum is written onto the words' tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = nn.ModuleList([nn.Embedding(10, 3), nn.Embedding(7, 3)])
        self.head = nn.Linear(3, 2)

    def forward(self, ids: Tensor) -> Tensor:
        h = self.embeddings[0](ids)
        h += self.embeddings[1](torch.arange(ids.shape[1]).expand_as(ids))
        out: Tensor = self.head(torch.tanh(h).mean(1))
        return out


IDS = torch.tensor([[1, 2, 3], [4, 5, 0]])


@pytest.mark.parametrize("by", ["name", "module"])
def test_several_layers_are_explained_side_by_side(by: str) -> None:
    net = randomised(Embedded()).double()
    layers = ["embeddings.0", "embeddings.1"] if by == "name" else list(net.embeddings)
    behind = assay.Question(net, IDS, target=0).after(layers)
    words = net.embeddings[0](IDS).detach()
    places = net.embeddings[1](torch.arange(3).expand_as(IDS)).detach()

    def rest(words: Tensor, places: Tensor) -> Tensor:
        out: Tensor = net.head(torch.tanh(words + places).mean(1))[:, 0]
        return out

    torch.testing.assert_close(behind.x, torch.cat([words.flatten(1), places.flatten(1)], 1))
    torch.testing.assert_close(behind.prediction, net(IDS)[:, 0].detach())
    leaves = words.clone().requires_grad_(), places.clone().requires_grad_()
    slopes = torch.autograd.grad(rest(*leaves).sum(), leaves)
    made = assay.Gradient()(behind)
    for part, slope in zip(made.parts, slopes, strict=True):
        torch.testing.assert_close(part, slope)
    # The absent input is word 0 everywhere: its places are those of the input.
    gone = net.embeddings[0](0 * IDS).detach()
    torch.testing.assert_close(behind.base, rest(gone, places).detach())
    total = torch.zeros_like(words)
    for k in range(STEPS):
        point = (gone + (k + 0.5) / STEPS * (words - gone)).requires_grad_()
        total += torch.autograd.grad(rest(point, places).sum(), point)[0] / STEPS
    made_words, made_places = IG(behind).parts
    torch.testing.assert_close(made_words, (words - gone) * total, rtol=0, atol=1e-10)
    assert not made_places.any()
    with tempfile.TemporaryDirectory() as folder:
        IG(behind).save(f"{folder}/answer.safetensors")
        loaded = assay.Attribution.load(f"{folder}/answer.safetensors")
    torch.testing.assert_close(loaded.parts[0], made_words)


def test_a_part_of_an_answer_to_one_tensor_is_its_map() -> None:
    made = assay.Gradient()(assay.Question(randomised(Residual()).double(), IMAGES, target=1))
    (part,) = made.parts
    torch.testing.assert_close(part, made.maps)


def test_layers_of_which_one_hides_another_are_refused() -> None:
    question = assay.Question(tanh_net().double(), X, target=0)
    with pytest.raises(InputError, match="'1' lies behind another"):
        question.after(["0", "1"])
    with pytest.raises(InputError, match="'0' and '0'"):
        question.after(["0", "0"])
    with pytest.raises(InputError, match="0 layers"):
        question.after([])
    with pytest.raises(InputError, match="2 layers and 3 parts"):
        question.after(["0", "1"], output=[None, None, None])
    with pytest.raises(InputError, match="one layer to stop at"):
        question.upto(["0", "1"], 0)


# --- a removal of the layer's own


def test_a_layer_may_have_a_removal_of_its_own() -> None:
    net = tanh_net().double()
    question = assay.Question(net, X, target=0)
    h = net[:2](X).detach()
    rows = randn(6, h.shape[1], seed=9, dtype=DOUBLE)
    zero = question.after("1", removal=assay.Baseline(0.0))
    torch.testing.assert_close(zero.base, net[2](0 * h)[:, 0].detach())
    expected = layer_by_hand(lambda x: x, lambda h, _: net[2](h)[:, 0], h, 0 * h, STEPS)
    torch.testing.assert_close(IG(zero).values, expected, rtol=0, atol=1e-10)
    mean = question.after("1", removal=assay.Mean(rows))
    torch.testing.assert_close(mean.base, net[2](rows.mean(0, keepdim=True))[:, 0].expand(5))
    many = question.after("1", removal=assay.Background(rows))
    assert many.replacements == 6
    torch.testing.assert_close(many.base, net[2](rows)[:, 0].mean().detach().expand(5))
    some = many.take([3, 1])
    torch.testing.assert_close(some.base, many.base[:2])
    digests = {question.after("1").digest, zero.digest, mean.digest, many.digest}
    assert len(digests) == 4
    assert mean.digest != question.after("1", removal=assay.Mean(rows + 1)).digest
    with pytest.raises(KindError, match="removal such as"):
        question.after("1", removal=0.0)


def test_a_removal_made_from_the_input_is_not_made_from_an_activation() -> None:
    conv = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(72, 2))
    net = randomised(conv).double()
    behind = assay.Question(net, IMAGES, target=0, removal=assay.Blur(1.0)).after("1")
    moved = behind.by_elements().at(behind.x + 1)
    torch.testing.assert_close(moved.base, behind.base)
    own = assay.Question(net, IMAGES, target=0).after("1", removal=assay.Blur(1.0))
    moved = own.at(own.x + 1)
    anew = assay.Blur(1.0).bind(own.layout, own.x + 1, lambda: own.keys).rows[:, 0]
    torch.testing.assert_close(moved.absent, anew)


# --- layers as modules, and what is no layer of the network


def test_a_layer_may_be_handed_over_itself() -> None:
    net = tanh_net().double()
    question = assay.Question(net, X, target=0)
    for layer in ("1", net[1]):
        torch.testing.assert_close(IG(question.after(layer)).values, IG(question.after("1")).values)
        for unit in (
            question.upto(layer, 3),
            assay.Question(net, X, target=assay.Neuron(layer, 3)),
        ):
            torch.testing.assert_close(unit.prediction, net[:2](X)[:, 3].detach())
    assert question.after(net[1]).digest == question.after("1").digest
    assert repr(assay.Neuron(net[0], 1)) == "Neuron(Linear, 1)"


class Tied(nn.Module):
    """One module under two names, and one that only holds the weights of another."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Embedding(10, 3)
        self.encoder = nn.Module()
        self.encoder.embed = nn.Embedding(10, 3)
        self.encoder.embed.weight = self.shared.weight
        self.first = nn.Linear(3, 3)
        self.again = self.first
        self.head = nn.Linear(3, 2)

    def forward(self, ids: Tensor) -> Tensor:
        out: Tensor = self.head(torch.tanh(self.again(self.encoder.embed(ids))).mean(1))
        return out


def test_layers_go_by_all_their_names() -> None:
    net = randomised(Tied()).double()
    question = assay.Question(net, IDS, target=0)
    once = assay.Gradient()(question.after("first")).values
    for layer in ("again", net.again):
        torch.testing.assert_close(assay.Gradient()(question.after(layer)).values, once)
    for ask in (lambda: question.after("shared"), lambda: question.upto("shared", 0).prediction):
        with pytest.raises(
            AbilityError, match=r"Its weights are used by encoder\.embed: cut there"
        ):
            ask()
    with pytest.raises(KindError, match=r"question\.after\('encoder\.embed'\), hand"):
        assay.Gradient()(question)


def test_what_is_no_layer_is_refused_with_those_that_are() -> None:
    net = randomised(Embedded()).double()
    question = assay.Question(net, IDS, target=0)
    with pytest.raises(KindError, match=r"after\('embeddings\.0'\) \(or embeddings\.1\), hand"):
        assay.Gradient()(question)
    containers = r"only holds layers: question\.after\(\['embeddings\.0', 'embeddings\.1'\]\)"
    for layer in ("embeddings", net.embeddings):
        with pytest.raises(AbilityError, match=containers):
            question.after(layer)
        with pytest.raises(AbilityError, match=containers):
            _ = question.upto(layer, 0).prediction
    foreign = [nn.Embedding(10, 3), net, copy.deepcopy(net).head]
    for layer, near in zip(foreign, ["embeddings.0, embeddings.1", "embeddings, ", "head"]):
        for ask in (question.after, lambda layer: question.upto(layer, 0)):
            with pytest.raises(InputError, match=f"a layer inside of Embedded, .*near it: {near}"):
                ask(layer)
    for layer in (None, 3, 0.5, {}, [1], [None], object()):
        with pytest.raises(KindError, match="the name of a layer of Embedded, or the layer itself"):
            question.after(layer)
        with pytest.raises(KindError, match="the name of a layer"):
            assay.Question(net, IDS, target=assay.Neuron(layer, 0))
    with pytest.raises(AbilityError, match="none, it is one layer itself"):
        assay.Question(nn.Linear(FEATURES, 2).double(), X).after("first")


@pytest.mark.parametrize("layer", ["0", "0.0", "0._orig_mod.0"])
def test_layers_inside_a_compiled_part_are_heard(layer: str) -> None:
    body = nn.Sequential(nn.Linear(FEATURES, 4), nn.Tanh())
    plain = randomised(nn.Sequential(body, nn.Linear(4, 2))).double()
    net = nn.Sequential(torch.compile(plain[0], backend="eager"), plain[1]).eval()
    net(X)  # compiled by now
    name = layer.replace("_orig_mod.", "")
    made, expected = (
        assay.Gradient()(assay.Question(model, X, target=0).after(place)).values
        for model, place in ((net, layer), (plain, name))
    )
    torch.testing.assert_close(made, expected)
    unit = assay.Question(net, X).upto(layer, 2)
    torch.testing.assert_close(unit.prediction, assay.Question(plain, X).upto(name, 2).prediction)


@pytest.mark.parametrize("make", ["script", "trace"])
def test_layers_inside_a_scripted_part_are_refused(make: str) -> None:
    body = nn.Sequential(nn.Linear(FEATURES, 4), nn.Tanh()).double().eval()
    scripted = torch.jit.script(body) if make == "script" else torch.jit.trace(body, X)
    net = nn.Sequential(scripted, nn.Linear(4, 2)).double().eval()
    question = assay.Question(net, X, target=0)
    for ask in (question.after, lambda layer: question.upto(layer, 0)):
        with pytest.raises(
            AbilityError, match=r"got '0\.0' in '0', which is compiled by torch\.jit"
        ):
            ask("0.0")


class Fickle(nn.Module):
    """What passes the layer depends on the inputs: some call it, some twice, some are cut short."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(FEATURES, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x) if bool((x[:, 0] < 100).all()) else x[:, :4]
        out: Tensor = self.head(torch.tanh(h))
        return out


def test_an_exchange_that_did_not_happen_is_refused() -> None:
    x = X.clone()
    x[4, 0] = 200
    question = assay.Question(randomised(Fickle()).double(), x, target=0)
    with pytest.raises(AbilityError, match="'first' to be called once"):
        _ = question.after("first").prediction


class Trimmed(nn.Module):
    """Padding is cut off behind the longest text of the chunk."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Embedding(10, 4), nn.Linear(4, 2)

    def forward(self, ids: Tensor) -> Tensor:
        longest = int((ids > 0).sum(1).max())
        kept = self.first(ids[:, :longest]) * (ids[:, :longest, None] > 0)
        out: Tensor = self.head(kept.sum(1))
        return out


def test_activations_whose_shape_depends_on_the_chunk_are_refused() -> None:
    ids = torch.tensor([[1, 2, 0, 0], [3, 4, 0, 0], [5, 6, 7, 8]])
    question = assay.Question(randomised(Trimmed()).double(), ids, target=0)
    with pytest.raises(AbilityError, match="does not depend on the inputs beside it"):
        _ = question.after("first").prediction


class Placed(nn.Module):
    """Words beside embedded places, which are the same for all inputs."""

    def __init__(self, form: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.words, self.places, self.head = (
            nn.Embedding(10, 3),
            nn.Embedding(7, 3),
            nn.Linear(3, 2),
        )
        self.form = form

    def forward(self, ids: Tensor) -> Tensor:
        h = self.words(ids) + self.places(self.form(torch.arange(ids.shape[1])))
        out: Tensor = self.head(torch.tanh(h).mean(1))
        return out


@pytest.mark.parametrize("form", [lambda t: t, lambda t: t[None]], ids=["no rows", "one row"])
@pytest.mark.parametrize("length", [2, 3])
@pytest.mark.parametrize("n", [1, 2])
def test_places_that_all_inputs_share_lie_beside_their_words(
    form: Any, length: int, n: int
) -> None:
    net, ids = randomised(Placed(form)).double(), IDS[:n, :length] + 1
    zero = assay.Baseline(0.0)
    behind = assay.Question(net, ids, target=0).after(["words", "places"], removal=zero)
    words = net.words(ids).detach().requires_grad_()
    places = net.places(torch.arange(length).expand_as(ids)).detach().requires_grad_()
    score = net.head(torch.tanh(words + places).mean(1))[:, 0]
    slopes = torch.autograd.grad(score.sum(), (words, places))
    torch.testing.assert_close(behind.prediction, score.detach())
    torch.testing.assert_close(behind.base, net.head.bias[0].detach().expand(n))
    for part, slope in zip(assay.Gradient()(behind).parts, slopes, strict=True):
        torch.testing.assert_close(part, slope)
    masks = torch.arange(6 * length)[None] < 3 * length  # the words alone
    torch.testing.assert_close(
        behind.value(masks)[:, 0], net.head(torch.tanh(words).mean(1))[:, 0].detach()
    )


class OneForAll(Placed):
    """Places of the first input serve all of them, as long as they share them."""

    def forward(self, ids: Tensor) -> Tensor:
        places = self.places(torch.arange(ids.shape[1]))
        h = self.words(ids) + places.reshape(-1, ids.shape[1], 3)[:1]
        out: Tensor = self.head(torch.tanh(h).mean(1))
        return out


@pytest.mark.parametrize("layers", ["places", ["words", "places"]])
def test_shared_activations_that_cannot_have_rows_are_refused(layers: Any) -> None:
    question = assay.Question(randomised(OneForAll(lambda t: t)).double(), IDS, target=0)
    with pytest.raises(AbilityError, match="to answer like the whole network"):
        question.after(layers)


class TextsBeside(nn.Module):
    """Rows against three fixed ones, which a layer of their own embeds."""

    def __init__(self) -> None:
        super().__init__()
        self.fixed = nn.Linear(4, 4)
        self.rows = nn.Linear(4, 4)
        self.register_buffer("texts", torch.eye(3, 4))

    def forward(self, x: Tensor) -> Tensor:
        texts = self.fixed(self.texts)[torch.arange(3), :3]
        found: Tensor = self.rows(x)[:, :3] @ texts.T
        return found if bool((x == x).all()) else x


@pytest.mark.parametrize("kind", ["texts", "weight"])
def test_a_layer_that_is_the_same_for_all_inputs_is_refused_where_it_takes_no_rows(
    kind: str,
) -> None:
    net: nn.Module = randomised(TextsBeside())
    layer = "fixed"
    if kind == "weight":
        linear = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4))
        net, layer = nn.Sequential(linear, nn.Tanh()).eval(), "0.parametrizations.weight"
    question = assay.Question(net, randn(2, 4), target=0)
    with pytest.raises((AbilityError, KindError), match=r"counts inputs|row for each"):
        assay.Occlusion()(question.after(layer))
