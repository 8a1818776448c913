"""Places at which widely used libraries of class activation maps answer wrongly without a word.

Each docstring names the library and version that fails the same question.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

import assay
from assay.errors import AbilityError, InputError
from toys import randn, randomised

DOUBLE = torch.float64
EXACT = {"rtol": 0, "atol": 1e-10}
X = randn(3, 3, 8, 8, seed=5, dtype=DOUBLE)
BY_SLOPES = ["GradCam", "GradCamPlusPlus", "XGradCam", "HiResCam", "LayerCam"]
EVERY = [*BY_SLOPES, "ScoreCam", "AblationCam", "EigenCam", "FullGrad"]


class Net(nn.Module):
    """A convolution that is mapped, and one shared by two calls behind it."""

    def __init__(self, writes: bool = False) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 5, 3, padding=1)
        self.shared = nn.Conv2d(5, 5, 3, padding=1)
        self.head = nn.Linear(5, 4)
        self.writes = writes

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        if self.writes:
            h += 1.0
            h = h.relu_() * 0.5
        else:
            h = torch.relu(h + 1.0) * 0.5
        h = torch.tanh(self.shared(h))
        return self.head(torch.tanh(h).mean((2, 3)) ** 3)


def net(writes: bool = False) -> nn.Module:
    return randomised(Net(writes), 1).to(DOUBLE)


def method_of(name: str, layer: str = "first") -> Any:
    return assay.FullGrad() if name == "FullGrad" else assay.METHODS[name](layer)


def ask(network: Any, x: Tensor = X, target: Any = 1) -> assay.Question:
    return assay.Question(network, x, target=target, features=assay.Pixels())


@pytest.mark.parametrize("name", EVERY)
def test_1_what_is_written_behind_the_layer_is_not_in_the_map(name: str) -> None:
    """pytorch-grad-cam 1.5.7, torch-cam 0.4: the map of what the activation was overwritten with."""
    plain = method_of(name)(ask(net())).values
    torch.testing.assert_close(method_of(name)(ask(net(writes=True))).values, plain, **EXACT)


@pytest.mark.parametrize("name", ["GradCam", "XGradCam", "HiResCam", "LayerCam"])
def test_2_sizes_and_signs_are_kept(name: str) -> None:
    """pytorch-grad-cam 1.5.7: scaled to [0, 1] twice, so that no map can be told from its tenth."""
    network = net()
    whole = method_of(name)(ask(network)).values
    tenth = method_of(name)(ask(network, target=lambda outputs: outputs[:, 1] / 10)).values
    torch.testing.assert_close(tenth, whole / 10, **EXACT)
    assert bool((whole < 0).any()), "a signed map"


@pytest.mark.parametrize("name", EVERY)
def test_3_an_input_is_mapped_as_it_is_alone(name: str) -> None:
    """pytorch-grad-cam 1.5.7, torch-cam 0.4: each map by its own least pixel, so that maps of a batch
    cannot be compared; here a map has the units of the target, in company as alone.
    """
    whole = method_of(name)(ask(net())).values
    for row in range(3):
        alone = method_of(name)(ask(net(), X[row : row + 1])).values
        torch.testing.assert_close(alone[0], whole[row], **EXACT)


def test_4_masks_and_map_lie_on_the_same_grid() -> None:
    """pytorch-grad-cam 1.5.7: masks of Score-CAM with the corners aligned, and its map without.

    A ramp over 4 places, enlarged to 8: between the centres of places its ends are flat.
    """

    class Halved(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pool = nn.AvgPool2d((1, 2))

        def forward(self, x: Tensor) -> Tensor:
            return self.pool(x).flatten(1).sum(1, keepdim=True)

    ramp = torch.arange(8.0, dtype=DOUBLE).expand(1, 1, 1, 8)
    seen: list[Tensor] = []
    network = Halved()
    network.register_forward_pre_hook(lambda module, given: seen.append(given[0].clone()))
    answer = assay.ScoreCam("pool", softmax=False)(ask(network, ramp, target=0))
    pooled = torch.tensor([0.5, 2.5, 4.5, 6.5], dtype=DOUBLE)
    larger = interpolate(pooled.view(1, 1, 1, 4), (1, 8), mode="bilinear", align_corners=False)
    mask = (larger - 0.5) / 6.0
    shown = [given for given in seen if torch.allclose(given, ramp * mask, rtol=0, atol=1e-12)]
    assert shown, "the input through its own map, between the centres of places"
    weight = float((ramp * mask).sum()) / 2
    torch.testing.assert_close(answer.values.flatten(), weight * larger.flatten(), **EXACT)


def test_7_slopes_of_the_user_are_left_alone() -> None:
    """pytorch-grad-cam 1.5.7: `backward()` and `zero_grad()`, which wipe them out."""
    network = net()
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    for name in EVERY:
        method_of(name)(ask(network))
    assert all(bool((parameter.grad == 1).all()) for parameter in network.parameters())


class Twice(nn.Module):
    """One block, called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Conv2d(3, 3, 3, padding=1)
        self.head = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.block(torch.tanh(self.block(x)))).mean((2, 3)))


@pytest.mark.parametrize("name", BY_SLOPES)
def test_8_a_layer_that_is_called_twice_is_refused(name: str) -> None:
    """pytorch-grad-cam 1.5.7: pairs activations of one call with slopes of the other."""
    network = randomised(Twice(), 1).to(DOUBLE)
    with pytest.raises((AbilityError, InputError), match=r"block.*(twice|2 times|several|once)"):
        method_of(name, "block")(ask(network))


def _ask_under(context: Callable[[], Any], name: str) -> Tensor:
    network = net().requires_grad_(False)
    with context():
        return method_of(name)(ask(network)).values


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize("name", BY_SLOPES)
def test_10_frozen_weights_and_contexts_without_slopes(
    name: str, context: Callable[[], Any]
) -> None:
    """pytorch-grad-cam 1.5.7, torch-cam 0.4: "does not require grad"."""
    expected = method_of(name)(ask(net())).values
    torch.testing.assert_close(_ask_under(context, name), expected, **EXACT)


@pytest.mark.parametrize("name", EVERY)
def test_12_channels_last_and_less_precise_numbers(name: str) -> None:
    """pytorch-grad-cam 1.5.7: cubes of half-precision slopes underflow in Grad-CAM++."""
    expected = method_of(name)(ask(net())).values
    last = X.to(memory_format=torch.channels_last)
    network = net().to(memory_format=torch.channels_last)
    torch.testing.assert_close(method_of(name)(ask(network, last)).values, expected, **EXACT)
    if name == "ScoreCam":
        return  # of channels whose masks score alike the softmax picks others in half precision
    half = method_of(name)(ask(net().bfloat16(), X.bfloat16())).values
    scale = float(expected.abs().max())
    # A rectifier that stands near 0 opens or closes: single places may differ, the map does not.
    assert float((half.double() - expected).abs().mean()) < 0.02 * scale
    assert bool(half.any())


@pytest.mark.parametrize(("dtype", "size"), [(torch.float16, 1e-3), (torch.float32, 1e-25)])
def test_12_slopes_whose_powers_are_no_numbers_of_their_precision(
    dtype: torch.dtype, size: float
) -> None:
    """pytorch-grad-cam 1.5.7: G^3 of 1e-5 is 0 in half precision, and the map of zeros."""
    tiny = net().to(dtype)
    tiny.head.weight.data.mul_(size)
    values = assay.GradCamPlusPlus("shared")(ask(tiny, X.to(dtype), target=1)).values
    assert bool(values.any())
    assert bool(values.isfinite().all())


def test_14_the_layer_is_said() -> None:
    """torch-cam 0.4: the last layer larger than one place is taken silently, which of a network that
    enlarges again is one near the output.
    """
    answer = assay.GradCam()(ask(net()))
    assert answer.facts["mapped"] == "shared"
    assert answer.facts["map"] == "8x8"


def test_9_a_slope_at_which_a_denominator_is_0_does_not_count() -> None:
    """2 G^2 + G^3 sum A is 0 at G = -2 / sum A; torch-cam 0.4 and xplique 1.4 differ in the rest, too."""

    class Worked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.same = nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            slopes = torch.tensor([[0.5, -0.2], [0.0, 2.0]], dtype=x.dtype)
            return (self.same(x) * slopes).flatten(1).sum(1, keepdim=True)

    x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]], dtype=DOUBLE)
    values = assay.GradCamPlusPlus("same")(ask(Worked(), x, target=0)).values
    torch.testing.assert_close(values.view(2, 2), (0.5 / 7 + 1 / 11) * x[0, 0], **EXACT)


@pytest.mark.parametrize("rectify", [False, True])
@pytest.mark.parametrize("name", [*BY_SLOPES, "AblationCam", "EigenCam", "ScoreCam"])
def test_a_dead_layer_has_a_map_of_zeros(name: str, rectify: bool) -> None:
    """torch-cam (its issues 186, 202 and 208): not a number, and so is Score-CAM of pytorch-grad-cam."""

    class Head(nn.Module):
        """Slopes at a layer whose activations are all 0."""

        def __init__(self) -> None:
            super().__init__()
            self.dead = nn.ReLU()
            self.head = nn.Linear(3, 2).to(DOUBLE)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.dead(x - 100).mean((2, 3)) + x.mean((2, 3)))

    question = ask(Head(), X)
    values = assay.METHODS[name]("dead", rectify=rectify)(question).values
    assert not bool(values.any())
