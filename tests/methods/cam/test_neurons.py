"""Channels as words: importance by hand, and names by counting places one by one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

import assay
from assay.errors import AbilityError, InputError, KindError, SettingError
from toys import randn, randomised

DOUBLE = torch.float64
TIGHT = {"rtol": 0, "atol": 1e-10}
X = randn(3, 3, 8, 8, seed=5, dtype=DOUBLE)


def network() -> nn.Sequential:
    parts = [nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Tanh(), nn.Linear(256, 2)]
    made: nn.Sequential = randomised(nn.Sequential(*parts), 1).double()
    return made


def test_importance_is_the_mean_slope_place_by_place() -> None:
    net = network()
    activations = net[1](net[0](X)).detach().requires_grad_()
    (slopes,) = torch.autograd.grad(net[2:](activations)[:, 1].sum(), activations)
    found = assay.neuron_importance(assay.Question(net, X, target=1), "1")
    for row in range(3):
        for channel in range(4):
            places = [(i, j) for i in range(8) for j in range(8)]
            slope = sum(float(slopes[row, channel][p]) for p in places) / 64
            mean = sum(float(activations.detach()[row, channel][p]) for p in places) / 64
            assert float(found.slope[row, channel]) == pytest.approx(slope, abs=1e-12)
            assert float(found.contribution[row, channel]) == pytest.approx(slope * mean, abs=1e-12)
    behind = assay.neuron_importance(assay.Question(net, X, target=1).after("1"))
    torch.testing.assert_close(behind.slope, found.slope, **TIGHT)
    # The weights of Grad-CAM: with them its map is the sum over channels.
    question = assay.Question(net, X, target=1).after("1", assay.Pixels())
    maps = assay.GradCam()(question).values.view(3, 8, 8)
    weighted = (found.slope[:, :, None, None] * activations.detach()).sum(1)
    torch.testing.assert_close(maps, weighted, **TIGHT)


class Detectors(nn.Module):
    """Three channels that fire on red, green and blue, weighed by the head."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.channels = nn.Identity()
        self.weights = nn.Parameter(weights)

    def forward(self, x: Tensor) -> Tensor:
        return self.channels(x).mean((2, 3)) @ self.weights


def spots(n: int = 20, size: int = 16) -> Tensor:
    """Images that are dark but for a square of each colour, 2 x 2."""
    images = torch.zeros(n, 3, size, size, dtype=DOUBLE)
    for number in range(n):
        for colour in range(3):
            top, left = (
                (number * 3 + colour * 5) % (size - 2),
                (number * 5 + colour * 3) % (size - 2),
            )
            images[number, colour, top : top + 2, left : left + 2] = 1.0 + colour
    return images


NAMES = ("red", "green", "blue")


def test_a_channel_that_is_a_concept_has_its_name() -> None:
    """Overlap 1; most persuasive with its weight, most inhibitive with it negated."""
    images = spots()
    masks = {name: images[:, colour] > 0 for colour, name in enumerate(NAMES)}
    net = Detectors(torch.tensor([[1.0], [-3.0], [2.0]], dtype=DOUBLE))
    # A square has 4 of 256 places: more than 0.5 % of them fire, and ties are not above.
    named = assay.name_neurons(net, "channels", images, masks, quantile=5 / 256)
    torch.testing.assert_close(named.overlap.diagonal(), torch.ones(3, dtype=DOUBLE), **TIGHT)
    assert named.names == dict(enumerate(NAMES))
    question = assay.Question(net, images, target=0)
    found = assay.neuron_importance(question, "channels", named.names)
    for row in found.persuasive():
        assert [name for _, name, _ in row] == ["blue", "red"]
    for row in found.inhibitive():
        assert [name for _, name, _ in row] == ["green"]
    net.weights.data.neg_()
    turned = assay.neuron_importance(assay.Question(net, images, target=0), "channels", named.names)
    for row in turned.inhibitive(1):
        assert [name for _, name, _ in row] == ["blue"]


def test_what_is_absent_contributes_nothing() -> None:
    """The slope ignores activations: a channel that is silent is "important" by it."""
    net = Detectors(torch.tensor([[1.0], [5.0], [0.5]], dtype=DOUBLE))
    images = spots(2)
    images[:, 1] = 0.0
    found = assay.neuron_importance(assay.Question(net, images, target=0), "channels")
    assert [number for number, _, _ in found.persuasive(1)[0]] == [1]
    assert [number for number, _, _ in found.persuasive(3, by="contribution")[0]] == [2, 0]


@pytest.mark.parametrize("size", [(8, 8), (16, 12)])
def test_overlap_place_by_place(size: tuple[int, int]) -> None:
    net = network()
    images = randn(6, 3, 8, 8, seed=9, dtype=DOUBLE)
    masks = {name: randn(6, *size, seed=seed) > 0.8 for seed, name in enumerate(("a", "b"))}
    masks["none"] = torch.zeros(6, *size, dtype=torch.bool)
    named = assay.name_neurons(net, "0", images, masks, quantile=0.05, least=0.0)
    activations = net[0](images).detach()
    for channel in range(4):
        values = sorted(activations[:, channel].flatten().tolist(), reverse=True)
        threshold = values[int(0.05 * len(values))]
        assert float(named.thresholds[channel]) == pytest.approx(threshold, abs=1e-12)
        above = sum(value > threshold for value in values)
        assert above <= 0.05 * len(values)
        for concept, (name, mask) in enumerate(masks.items()):
            both = either = 0
            for image in range(6):
                larger = interpolate(
                    activations[image, channel][None, None],
                    size,
                    mode="bilinear",
                    align_corners=False,
                )
                for fires, there in zip((larger > threshold).flatten(), mask[image].flatten()):
                    both += bool(fires) and bool(there)
                    either += bool(fires) or bool(there)
            assert named.overlap[channel, concept] == pytest.approx(both / either), name
    assert set(named.names.values()) <= {"a", "b"}


def test_a_weak_overlap_is_no_name() -> None:
    images = spots()
    masks = {"red": images[:, 0] > 0}
    net = Detectors(torch.ones(3, 1, dtype=DOUBLE))
    named = assay.name_neurons(net, "channels", images, masks, quantile=5 / 256)
    assert named.names == {0: "red"}


def test_what_cannot_be_named_is_refused() -> None:
    images = spots(2)
    net = Detectors(torch.ones(3, 1, dtype=DOUBLE))
    question = assay.Question(net, images, target=0)

    def name(**more: Any) -> Any:
        said = {"concepts": {"red": images[:, 0] > 0}, "quantile": 0.01, **more}
        return assay.name_neurons(net, "channels", images, **said)

    with pytest.raises(InputError, match="a mask for each of the 2 images"):
        name(concepts={"red": images[:1, 0] > 0})
    with pytest.raises(KindError, match="masks of concepts by name"):
        name(concepts=[images[:, 0]])
    with pytest.raises(SettingError, match="between 0 and 1"):
        name(quantile=0.0)
    with pytest.raises(InputError, match="channels from 0 to 2"):
        assay.neuron_importance(question, "channels", {3: "grass"})
    with pytest.raises(SettingError, match="at least one channel"):
        assay.neuron_importance(question, "channels").persuasive(0)
    with pytest.raises(SettingError, match="'slope' or by 'contribution'"):
        assay.neuron_importance(question, "channels").persuasive(by="size")  # type: ignore[arg-type]
    with pytest.raises(KindError, match="a Question"):
        assay.neuron_importance(net, "channels")  # type: ignore[arg-type]
    constant = assay.Question(net, images, target=lambda outputs: outputs[:, 0] * 0)
    with pytest.raises(AbilityError, match="slopes that are 0 everywhere"):
        assay.neuron_importance(constant, "channels")
