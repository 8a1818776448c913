"""Values of Captum's own tests for maps, worked out, and what its layers do in ways that ours refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

import assay
from assay.errors import AbilityError, InputError
from rule_networks import RELUS
from toys import randn, randomised

DOUBLE = torch.float64
EXACT = {"rtol": 0, "atol": 1e-10}
A16 = torch.arange(16, dtype=DOUBLE).view(1, 1, 4, 4)


class OneConvolution(nn.Module):
    """Captum's `BasicModel_ConvNet_One_Conv`: a convolution of ones, and a dense layer of signs."""

    def __init__(self, relu: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.act = Function(relu)
        self.fc = nn.Linear(8, 4, bias=False)
        with torch.no_grad():
            self.conv.weight.fill_(1.0)
            self.conv.bias.copy_(torch.tensor([-50.0, -75.0]))
            self.fc.weight.copy_(torch.cat([torch.ones(4, 5), -torch.ones(4, 3)], 1))
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.fc(self.act(self.conv(x)).flatten(1)))


class Function(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def behind(network: nn.Module, layer: str) -> assay.Question:
    question = assay.Question(network, A16, target=0)
    return question.after(layer, features=assay.Pixels())


@pytest.mark.parametrize("relu", RELUS.values(), ids=RELUS)
def test_grad_cam_of_one_convolution(relu: Callable[[Tensor], Tensor]) -> None:
    """Captum 0.9.0 has these in its tests, of a rectifier that does not write in place."""
    network = OneConvolution(relu).to(DOUBLE)
    conv = torch.tensor([[11.25, 13.5], [20.25, 22.5]], dtype=DOUBLE)
    act = torch.tensor([[0.0, 4.0], [28.0, 32.5]], dtype=DOUBLE)
    for layer, expected in (("conv", conv), ("act", act)):
        values = assay.GradCam()(behind(network, layer)).values
        torch.testing.assert_close(values, expected.view_as(values), **EXACT)


@pytest.mark.parametrize("relu", RELUS.values(), ids=RELUS)
def test_guided_grad_cam_of_one_convolution(relu: Callable[[Tensor], Tensor]) -> None:
    """Captum 0.9.0 enlarges to the nearest place: its numbers are the product of the same two maps."""
    network = OneConvolution(relu).to(DOUBLE)
    small = torch.tensor([[0.0, 4.0], [28.0, 32.5]], dtype=DOUBLE).view(1, 1, 2, 2)
    guided = torch.tensor(
        [[0, 1, 1, 1], [1, 3, 3, 2], [1, 3, 3, 2], [1, 2, 2, 1]], dtype=DOUBLE
    ).view(1, 1, 4, 4)
    captum = torch.tensor(
        [[0, 0, 4, 4], [0, 0, 12, 8], [28, 84, 97.5, 65], [28, 56, 65, 32.5]], dtype=DOUBLE
    )
    question = assay.Question(network, A16, target=0)
    slopes = assay.GuidedBackprop()(question).values
    nearest = interpolate(assay.GradCam()(behind(network, "act")).values.view(1, 1, 2, 2), (4, 4))
    torch.testing.assert_close((nearest.flatten(1) * slopes).view(4, 4), captum, **EXACT)
    bilinear = interpolate(small, (4, 4), mode="bilinear", align_corners=False)
    values = assay.Guided(assay.GradCam("act"))(question).values
    torch.testing.assert_close(values, (bilinear * guided).flatten(1), **EXACT)


def dense() -> nn.Sequential:
    """Captum's `BasicModel_MultiLayer`, as a chain."""
    network = nn.Sequential()
    network.add_module("linear0", nn.Linear(3, 3, bias=False))
    network.add_module("linear1", nn.Linear(3, 4))
    network.add_module("relu", nn.ReLU())
    network.add_module("linear2", nn.Linear(4, 2))
    with torch.no_grad():
        network.linear0.weight.copy_(torch.eye(3))
        network.linear1.weight.fill_(1)
        network.linear1.bias.copy_(torch.tensor([-10.0, 1, 1, 1]))
        network.linear2.weight.fill_(1)
        network.linear2.bias.copy_(torch.tensor([-1.0, 1]))
    return network.to(DOUBLE)


def test_t19_a_layer_without_places_has_no_map() -> None:
    """Captum 0.9.0 gives 400 at `linear0`: the mean over nothing times the activation, added up. That
    number is the slope times the activation.
    """
    question = assay.Question(dense(), torch.tensor([[0, 100.0, 0]], dtype=DOUBLE), target=0)
    with pytest.raises(InputError, match="'linear0' to have places"):
        assay.GradCam("linear0")(question)
    product = assay.TimesInput(assay.Gradient())(question.after("linear0", removal=ZERO)).values
    torch.testing.assert_close(product.sum(), torch.tensor(400.0, dtype=DOUBLE), **EXACT)


ZERO = assay.Baseline(0.0)


def test_the_mean_slope_of_a_unit_on_the_way() -> None:
    """Captum 0.9.0 has 3.96 in its test, within a tolerance: 119 / 30 exactly, three times."""
    question = assay.Question(dense(), torch.full((1, 3), 100.0, dtype=DOUBLE))
    unit = question.upto("linear2", 0)
    values = assay.ExactIntegratedGradients(multiply=False)(unit).values
    torch.testing.assert_close(values, torch.full((1, 3), 119 / 30, dtype=DOUBLE), **EXACT)


class Residual(nn.Module):
    """A sum that writes on what the mapped layer gave."""

    def __init__(self, writes: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.act = nn.ReLU(inplace=writes)
        self.side = nn.Conv2d(3, 4, 1)
        self.head = nn.Linear(4, 2)
        self.writes = writes

    def forward(self, x: Tensor) -> Tensor:
        h = self.act(self.first(x))
        if self.writes:
            h += self.side(x)
        else:
            h = h + self.side(x)
        return self.head(torch.tanh(h).mean((2, 3)))


IMAGES = randn(2, 3, 6, 6, seed=5, dtype=DOUBLE)
MAPS = ("GradCam", "GradCamPlusPlus", "XGradCam", "HiResCam", "LayerCam", "AblationCam", "EigenCam")


def mapped(network: Any, name: str, layer: Any) -> Tensor:
    question = assay.Question(network, IMAGES, target=1, features=assay.Pixels())
    return assay.METHODS[name](layer)(question).values


@pytest.mark.parametrize("name", MAPS)
def test_t15_a_sum_that_writes_on_the_mapped_layer(name: str) -> None:
    """Captum 0.9.0: a RuntimeError of LayerGradCam at a rectifier that `y += x` writes on."""
    network = randomised(Residual(False), 3).to(DOUBLE)
    writing = Residual(True).to(DOUBLE)
    writing.load_state_dict(network.state_dict())
    torch.testing.assert_close(mapped(writing, name, "act"), mapped(network, name, "act"), **EXACT)
    if name in ("AblationCam", "EigenCam"):
        torch.testing.assert_close(
            mapped(writing, name, "first"), mapped(network, name, "first"), **EXACT
        )
    else:
        # Behind the rectifier torch itself has no slopes: what they need is written over.
        with pytest.raises(AbilityError, match="use inplace=False"):
            mapped(writing, name, "first")


def around(network: nn.Module) -> Any:
    return torch.compile(network, backend="eager")


def in_place(network: nn.Module) -> Any:
    network.compile(backend="eager")
    return network


class Holding(nn.Module):
    """A network of which a part is compiled, with the mapped layer inside it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.inner = torch.compile(network, backend="eager")

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x)
        return out


@pytest.mark.parametrize("compiled", [around, in_place, Holding])
@pytest.mark.parametrize("name", MAPS)
def test_t12_a_compiled_network_is_mapped_at_its_layers(name: str, compiled: Any) -> None:
    """Captum 0.9.0: "Forward hook did not obtain any outputs" with the layer of the original."""
    network = randomised(Residual(False), 3).to(DOUBLE).eval()
    expected = mapped(network, name, "act")
    made = compiled(network)
    # Compiled before anybody listens: hooks that come later are not in what was compiled.
    made(IMAGES)
    layer = "inner.act" if compiled is Holding else "act"
    for asked in (layer, network.act):
        torch.testing.assert_close(mapped(made, name, asked), expected, **EXACT)


class Encoder(nn.Module):
    """A class token before 2 x 2 patches, two blocks, and a head that reads the class token alone."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 3, stride=3)
        self.token = nn.Parameter(torch.ones(1, 1, 8))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(8, 2, 16, batch_first=True) for _ in range(2)
        )
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patch(x).flatten(2).mT
        tokens = torch.cat([self.token.expand(len(x), -1, -1), tokens], 1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(tokens[:, 0])


@pytest.mark.parametrize("name", ["GradCam", "GradCamPlusPlus", "XGradCam", "HiResCam", "LayerCam"])
def test_5_patches_that_do_not_reach_the_class_token_are_refused(name: str) -> None:
    """pytorch-grad-cam 1.5.7 (its issues 363 and 513): a map of zeros of the last block."""
    network = randomised(Encoder(), 2).to(DOUBLE).eval()
    question = assay.Question(network, IMAGES, target=0, features=assay.Pixels())
    method = assay.METHODS[name]
    with pytest.raises(AbilityError, match="take the block before it"):
        method("blocks.1", grid=(2, 2))(question)
    answer = method("blocks.0", grid=(2, 2))(question)
    assert bool(answer.values.any())
    assert answer.facts["map"] == "2x2"


@pytest.mark.parametrize("inside", [1.0, 3.27, 6.38])
def test_29_the_ratio_of_a_map_that_is_larger_inside_a_box(inside: float) -> None:
    """What a map is inside, over 1 outside: 1 for a map that is the same everywhere. Defined."""
    weights = torch.ones(1, 6, 8, dtype=DOUBLE)
    weights[:, 1:5, 2:5] = inside
    question = assay.Question(
        lambda x: (x * weights).sum((1, 2, 3)),
        torch.ones(2, 1, 6, 8, dtype=DOUBLE),
        features=assay.Pixels(),
        removal=assay.Baseline(0.0),
        # Left, top, right and bottom; the second box lies elsewhere, where nothing is larger.
        truth=torch.tensor([[2, 1, 5, 5], [5, 0, 8, 6]]),
    )
    ratio = assay.InsideOutsideRatio()(question, assay.Occlusion()(question)).values
    others = (12 * inside + 18) / 30
    torch.testing.assert_close(ratio, torch.tensor([inside, 1 / others], dtype=DOUBLE), **EXACT)
