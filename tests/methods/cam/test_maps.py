"""Class activation maps against their formulas, written place by place, and against each other."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

import assay
from assay.errors import AbilityError, InputError, SettingError
from assay.methods.cam.eigen import _first_eigenvector
from toys import randn, randomised

DOUBLE = torch.float64
EXACT = {"rtol": 0, "atol": 1e-10}


class Net(nn.Module):
    """Convolutions and a head, with the rectifier behind the mapped layer in or out of place."""

    def __init__(self, head: str = "pooled", inplace: bool = False) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 5, 3, padding=1)
        self.last = nn.Conv2d(5, 6, 3, padding=1, stride=2)
        self.act = nn.ReLU(inplace=inplace)
        self.pooled = head == "pooled"
        self.head = nn.Linear(6 if self.pooled else 96, 4)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.act(self.last(torch.tanh(self.first(x))))
        if self.pooled:
            return self.head(maps.mean((2, 3)))
        return self.head(torch.tanh(maps.flatten(1)))


def net(head: str = "pooled", inplace: bool = False) -> Net:
    made: Net = randomised(Net(head, inplace)).to(DOUBLE)
    return made


def inputs(n: int = 3) -> Tensor:
    return randn(n, 3, 8, 8, seed=5, dtype=DOUBLE)


def by_hand(network: Net, x: Tensor, layer: str, target: int) -> tuple[Tensor, Tensor]:
    """Activations and slopes (n, channels, h, w) of a layer, by a hook that hands on a copy."""
    kept: list[Tensor] = []

    def hook(module: nn.Module, given: Any, output: Tensor) -> Tensor:
        kept.append(output)
        return output.clone()

    handle = network.get_submodule(layer).register_forward_hook(hook)
    score = network(x)[:, target].sum()
    handle.remove()
    (slopes,) = torch.autograd.grad(score, kept[0])
    return kept[0].detach().clone(), slopes


def slowly(name: str, a: Tensor, g: Tensor) -> Tensor:
    """The map of one input, channel by channel and place by place: (h, w)."""
    channels, height, width = a.shape
    total = torch.zeros(height, width, dtype=DOUBLE)
    for k in range(channels):
        places = [(i, j) for i in range(height) for j in range(width)]
        if name == "GradCam":
            weight = sum(float(g[k][p]) for p in places) / len(places)
        elif name == "XGradCam":
            # A channel that is dead has no weighted mean, and a map of zeros.
            weight = sum(float(g[k][p] * a[k][p]) for p in places) / float(a[k].sum() or 1.0)
        elif name == "GradCamPlusPlus":
            weight = 0.0
            for p in places:
                slope = float(g[k][p])
                if slope > 0:
                    alpha = slope**2 / (2 * slope**2 + float(a[k].sum()) * slope**3)
                    weight += alpha * slope
        for i, j in places:
            if name == "HiResCam":
                weight = float(g[k, i, j])
            elif name == "LayerCam":
                weight = max(float(g[k, i, j]), 0.0)
            total[i, j] += weight * a[k, i, j]
    return total


BY_SLOPES = ["GradCam", "GradCamPlusPlus", "XGradCam", "HiResCam", "LayerCam"]


@pytest.mark.parametrize("head", ["pooled", "flat"])
@pytest.mark.parametrize("name", BY_SLOPES)
def test_a_map_is_its_formula_place_by_place(name: str, head: str) -> None:
    network, x = net(head), inputs()
    activations, slopes = by_hand(network, x, "act", 1)
    expected = torch.stack([slowly(name, a, g) for a, g in zip(activations, slopes)])
    method = assay.METHODS[name]()
    behind = assay.Question(network, x, target=1).after("act", features=assay.Pixels())
    answer = method(behind)
    assert answer.shape == (4, 4)
    torch.testing.assert_close(answer.values.view(3, 4, 4), expected, **EXACT)
    upsampled = interpolate(expected[:, None], size=(8, 8), mode="bilinear", align_corners=False)
    of_network = type(method)("act")(assay.Question(network, x, target=1, features=assay.Pixels()))
    torch.testing.assert_close(of_network.values, upsampled.flatten(1), **EXACT)


def test_the_worked_example_of_grad_cam_plus_plus() -> None:
    """Weights by equation 19: torch-cam 0.4 has .2139177 here, xplique 1.4 .1098901."""

    class Worked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.same = nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            slopes = torch.tensor([[0.5, -1.0], [0.0, 2.0]], dtype=x.dtype)
            return (self.same(x) * slopes).flatten(1).sum(1, keepdim=True)

    x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]], dtype=DOUBLE)
    answer = assay.GradCamPlusPlus("same")(assay.Question(Worked(), x, target=0))
    weight = 0.5 / 7 + 1 / 11
    torch.testing.assert_close(answer.values.view(2, 2), weight * x[0, 0], **EXACT)


def test_cam_is_grad_cam_over_an_averaging_head_and_adds_up() -> None:
    network, x = net(), inputs()
    question = assay.Question(network, x, target=2).after("act", features=assay.Pixels())
    cam, grad, hires, x_grad = (
        method(question).values.view(3, 4, 4)
        for method in (assay.CAM(), assay.GradCam(), assay.HiResCam(), assay.XGradCam())
    )
    torch.testing.assert_close(cam, 16 * grad, **EXACT)
    torch.testing.assert_close(hires, grad, **EXACT)
    # The mean of CAM over places, and the sum of the others, with the bias, is the score.
    bias = network.head.bias[2].detach()
    scores = network(x)[:, 2].detach()
    torch.testing.assert_close(cam.mean((1, 2)) + bias, scores, **EXACT)
    torch.testing.assert_close(hires.sum((1, 2)) + bias, scores, **EXACT)
    torch.testing.assert_close(x_grad.sum((1, 2)) + bias, scores, **EXACT)


def test_cam_refuses_another_head() -> None:
    for question in (
        assay.Question(net("flat"), inputs(), target=0).after("act", features=assay.Pixels()),
        assay.Question(net(), inputs(), target=0).after("last", features=assay.Pixels()),
    ):
        with pytest.raises(AbilityError, match="global average pooling and one linear layer"):
            assay.CAM()(question)


def test_the_counterfactual_is_the_map_of_the_negated_target() -> None:
    network, x = net("flat"), inputs()
    pro = assay.GradCam("act")(assay.Question(network, x, target=1)).values
    contra = assay.GradCam("act")(assay.Question(network, x, target=assay.Negated(1))).values
    torch.testing.assert_close(pro + contra, torch.zeros_like(pro), **EXACT)
    contrast = assay.GradCam("act")(assay.Question(network, x, target=assay.Contrast(1, 3))).values
    other = assay.GradCam("act")(assay.Question(network, x, target=3)).values
    torch.testing.assert_close(contrast, pro - other, **EXACT)


@pytest.mark.parametrize("name", [*BY_SLOPES, "AblationCam", "EigenCam", "ScoreCam"])
def test_a_rectifier_in_place_behind_the_layer_changes_nothing(name: str) -> None:
    """pytorch-grad-cam 1.5.7 and torch-cam 0.4 map the overwritten activation: 65 % off."""
    x = inputs()
    plain, writing = (
        assay.METHODS[name]("last")(assay.Question(net(inplace=inplace), x, target=0)).values
        for inplace in (False, True)
    )
    torch.testing.assert_close(writing, plain, **EXACT)


def test_ablation_weighs_a_channel_by_what_the_score_loses() -> None:
    network, x = net(), inputs()
    activations, _ = by_hand(network, x, "act", 1)
    question = assay.Question(network, x, target=1).after("act", features=assay.Pixels())
    scores = network(x)[:, 1].detach()
    # Over an averaging head a channel is worth its weight times its mean.
    losses = network.head.weight[1].detach() * activations.mean((2, 3))
    for relative, weights in ((False, losses), (True, losses / scores[:, None])):
        expected = (weights[:, :, None, None] * activations).sum(1)
        answer = assay.AblationCam(relative=relative)(question)
        torch.testing.assert_close(answer.values.view(3, 4, 4), expected, **EXACT)


@pytest.mark.parametrize("softmax", [False, True])
def test_score_cam_asks_through_every_map(softmax: bool) -> None:
    network, x = net("flat"), inputs(2)
    with torch.no_grad():
        network.last.bias[0] = -100.0
    activations, _ = by_hand(network, x, "act", 1)
    maps = interpolate(activations, size=(8, 8), mode="bilinear", align_corners=False)
    expected = []
    for image, image_maps, image_activations in zip(x, maps, activations):
        weights = []
        for one in image_maps:
            shown = (one - one.min()) / (one.max() - one.min()) if one.max() > one.min() else None
            if shown is None:
                weights.append(-torch.inf if softmax else 0.0)
                continue
            with torch.no_grad():
                gain = network((image * shown)[None])[0, 1] - network(0 * image[None])[0, 1]
            weights.append(float(gain))
        weighted = torch.tensor(weights, dtype=DOUBLE)
        if softmax:
            weighted = weighted.softmax(0)
        expected.append((weighted[:, None, None] * image_activations).sum(0))
    larger = interpolate(
        torch.stack(expected)[:, None], size=(8, 8), mode="bilinear", align_corners=False
    )
    question = assay.Question(network, x, target=1, features=assay.Pixels())
    answer = assay.ScoreCam("act", softmax=softmax)(question)
    torch.testing.assert_close(answer.values, larger.flatten(1), **EXACT)
    # Two inputs and their absence; nothing is asked through the channel that is dead.
    seen = int((activations.flatten(2).amax(2) > activations.flatten(2).amin(2)).sum())
    assert seen <= 10
    assert answer.facts["forwards"] == 3 + seen


@pytest.mark.parametrize("side", [8, 4], ids=["16 places of 6 channels", "4 places"])
def test_eigen_cam_is_the_main_direction_with_its_sign_at_the_strongest_place(side: int) -> None:
    network, x = net(), inputs()[:, :, :side, :side]
    activations, _ = by_hand(network, x, "last", 0)
    question = assay.Question(network, x, target=0).after("last", features=assay.Pixels())
    answer = assay.EigenCam()(question).values
    for given, maps in zip(answer, activations):
        places = maps.flatten(1).T
        centred = places - places.mean(0)
        _, _, directions = torch.linalg.svd(centred)
        along = centred @ directions[0]
        strongest = int(places.abs().sum(1).argmax())
        along = along * along[strongest].sign()
        torch.testing.assert_close(given, along, **EXACT)
        assert given[strongest] > 0
    negated = assay.Question(network, x, target=assay.Negated(0)).after(
        "last", features=assay.Pixels()
    )
    torch.testing.assert_close(assay.EigenCam()(negated).values, answer, **EXACT)


@pytest.mark.parametrize("second", [0.0, 0.5, 0.9, 0.99, 1 - 1e-6])
def test_the_first_direction_stands_out_however_close_the_second(second: float) -> None:
    sizes = torch.tensor([1.0, second, second / 2, 0.0], dtype=DOUBLE)
    turns = torch.linalg.qr(randn(3, 4, 4, dtype=DOUBLE)).Q
    squares = turns @ torch.diag(sizes) @ turns.mT
    values, vectors = _first_eigenvector(7 * squares)
    torch.testing.assert_close(values, torch.full((3,), 7.0, dtype=DOUBLE), **EXACT)
    # Eigenvectors are known to rounding times the gap between the first two.
    along = (vectors * turns[:, :, 0]).sum(1).abs()
    torch.testing.assert_close(along, torch.ones(3, dtype=DOUBLE), **EXACT)


class Tokens(nn.Module):
    """A class token and two registers before a grid of patches, attended once."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 6, 4, stride=4)
        self.norm = nn.LayerNorm(6)
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.prefix = nn.Parameter(torch.ones(1, 3, 6))
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patch(x).flatten(2).mT
        tokens = self.norm(torch.cat([self.prefix.expand(len(x), -1, -1), tokens], 1))
        tokens = tokens + self.attention(tokens, tokens, tokens)[0]
        return self.head(tokens[:, 0])


def test_tokens_lie_on_the_grid_that_is_declared() -> None:
    network, x = randomised(Tokens()).to(DOUBLE), inputs()
    answer = assay.GradCam("norm", grid=(2, 2))(assay.Question(network, x, target=0))
    activations, slopes = by_hand(network, x, "norm", 0)
    grid_a = activations[:, 3:].mT.unflatten(2, (2, 2))
    grid_g = slopes[:, 3:].mT.unflatten(2, (2, 2))
    maps = torch.stack([slowly("GradCam", a, g) for a, g in zip(grid_a, grid_g)])
    larger = interpolate(maps[:, None], size=(8, 8), mode="bilinear", align_corners=False)
    pixels = assay.GradCam("norm", grid=(2, 2))(
        assay.Question(network, x, target=0, features=assay.Pixels())
    )
    torch.testing.assert_close(pixels.values, larger.flatten(1), **EXACT)
    assert answer.facts["map"] == "2x2"
    # Averaged over tokens it would be a number for each channel: Captum 0.9.0 gives (n, 1, 6).
    with pytest.raises(InputError, match=r"to have places.*grid="):
        assay.GradCam("norm")(assay.Question(network, x, target=0))
    with pytest.raises(InputError, match="a token for each place of the grid"):
        assay.GradCam("norm", grid=(4, 4))(assay.Question(network, x, target=0))


def test_the_last_layer_with_places_is_chosen_and_said() -> None:
    answer = assay.GradCam()(assay.Question(net(), inputs(), target=0))
    assert answer.facts["mapped"] == "act"
    with pytest.raises(AbilityError, match="whose output has places"):
        assay.GradCam()(assay.Question(nn.Linear(3, 2), torch.ones(2, 3), target=0))


def test_what_cannot_be_mapped_is_refused_by_name() -> None:
    question = assay.Question(net(), inputs(), target=0)
    with pytest.raises(AbilityError, match=r"Layers near it: .*last"):
        assay.GradCam("lost")(question)
    with pytest.raises(SettingError, match="grid of at least one"):
        assay.GradCam("last", grid=(0, 3))(question)
    constant = assay.Question(net(), inputs(), target=lambda outputs: outputs[:, 0] * 0)
    with pytest.raises(AbilityError, match="slopes that are 0 everywhere"):
        assay.GradCam("act")(constant)
    with pytest.raises(InputError, match="which masks them"):
        assay.ScoreCam()(question.after("last", features=assay.Pixels()))
    assert bool((assay.GradCam("act", rectify=True)(question).values >= 0).all())


def test_guided_grad_cam_is_the_product_of_both() -> None:
    """Captum 0.9.0 upsamples to the nearest, and gives an empty tensor where that fails."""
    network, x = net("flat"), inputs()
    question = assay.Question(network, x, target=1, features=assay.Elements())
    maps = assay.GradCam("act", rectify=True)(question).values
    slopes = assay.GuidedBackprop()(question).values
    answer = assay.Guided(assay.GradCam("act", rectify=True))(question)
    torch.testing.assert_close(answer.values, maps * slopes, **EXACT)
    pixels = assay.Question(network, x, target=1, features=assay.Pixels())
    summed = assay.Guided(assay.GradCam("act", rectify=True))(pixels)
    expected = (maps * slopes).view(3, 3, 64).sum(1)
    torch.testing.assert_close(summed.values, expected, **EXACT)
    with pytest.raises(SettingError, match="a map of a class inside Guided"):
        assay.Guided(assay.Gradient())  # type: ignore[arg-type]


def test_eigen_cam_decomposes_small_matrices_in_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    # Two threads that wait for each other took forty times as long.
    threads: list[int] = []
    decompose = torch.linalg.eigh

    def watched(matrix: Tensor) -> Any:
        threads.append(torch.get_num_threads())
        return decompose(matrix)

    monkeypatch.setattr(torch.linalg, "eigh", watched)
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        # What does not vary has no direction that stands out, and is decomposed.
        assay.EigenCam("0")(assay.Question(net, torch.ones(1, 1, 3, 3), target=0))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert threads == [1]
