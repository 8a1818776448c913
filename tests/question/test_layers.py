"""A network cut at a layer: the part before it runs once, what skips past it is carried, the
forward stops where it is told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import assay
import zoo
from assay.errors import AbilityError, KindError
from assay.question import question as question_module
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
    monkeypatch.setattr(question_module, "_SHARD", 1)
    behind = assay.Question(net, x, target=0).after("middle")
    shards = len(list(behind.shards()))
    assert shards == 4
    log.clear()
    made = IG(behind)
    assert sum(log) == 100 + shards
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
    net, x = zoo.cifar_resnet(20).double(), zoo.cifar10("test", 3)[0].double()

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
