"""What a layer that is asked for cannot be, refused by every method that takes one, with advice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import assay
from assay.errors import AbilityError, AssayError, InputError
from toys import randn, randomised

DOUBLE = torch.float64
X = randn(2, 3, 8, 8, seed=5, dtype=DOUBLE)
MASKS = {"left": torch.ones(2, 8, 8, dtype=torch.bool)}


class Net(nn.Module):
    """Layers of every kind that cannot be mapped, and one that can."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 4, 3, padding=1)
        self.twice = nn.Conv2d(4, 4, 3, padding=1)
        self.never = nn.Conv2d(4, 4, 1)
        self.beside = nn.Conv2d(3, 4, 1)
        self.dense = nn.Linear(4, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.twice(torch.tanh(self.twice(torch.tanh(self.features(x))))))
        # Its output goes nowhere that slopes do.
        h = h + self.beside(x).detach()
        return self.head(torch.tanh(self.dense(h.mean((2, 3)))))


def question() -> assay.Question:
    network = randomised(Net(), 1).to(DOUBLE)
    return assay.Question(network, X, target=1, features=assay.Pixels())


MAPS = (
    "CAM", "GradCam", "GradCamPlusPlus", "XGradCam", "HiResCam", "LayerCam", "ScoreCam",
    "AblationCam", "EigenCam",
)  # fmt: skip


def asks() -> dict[str, Callable[[str], Any]]:
    """By name, each asked with a layer."""
    maps: dict[str, Callable[[str], Any]] = {
        name: lambda layer, name=name: assay.METHODS[name](layer)(question()) for name in MAPS
    }
    return {
        **maps,
        "Guided": lambda layer: assay.Guided(assay.GradCam(layer))(question()),
        "neuron_importance": lambda layer: assay.neuron_importance(question(), layer),
        "InternalInfluence": lambda layer: assay.InternalInfluence()(question().after(layer)),
        "InternalInfluence, points there": lambda layer: assay.InternalInfluence(
            assay.LineDistribution(steps=2, at=layer)
        )(question().after("dense")),
        "expert": lambda layer: assay.expert(question(), layer),
    }


EVERY = pytest.mark.parametrize("name", asks())


@EVERY
def test_an_unknown_layer_is_refused_with_those_near_it(name: str) -> None:
    with pytest.raises(
        AbilityError, match=r"name of a layer .*'feature'.*near it: features"
    ) as said:
        asks()[name]("feature")
    assert "twice" not in said.value.advice.split(",")[0]


@EVERY
def test_a_layer_that_is_never_called_is_refused(name: str) -> None:
    with pytest.raises(AbilityError, match=r"'never'.*(0 calls|never)"):
        asks()[name]("never")


@EVERY
def test_a_layer_that_is_called_twice_is_refused(name: str) -> None:
    with pytest.raises(AbilityError, match=r"'twice' to be called once.*got 2 calls"):
        asks()[name]("twice")


@pytest.mark.parametrize("name", [*MAPS, "Guided"])
def test_a_layer_without_places_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="'dense' to have places") as said:
        asks()[name]("dense")
    assert "grid=(14, 14)" in said.value.advice


BY_SLOPES = ("CAM", "GradCam", "GradCamPlusPlus", "XGradCam", "HiResCam", "LayerCam", "Guided")


@pytest.mark.parametrize("name", BY_SLOPES)
def test_a_layer_that_slopes_do_not_reach_is_refused_and_others_are_named(name: str) -> None:
    """The outputs hang on the inputs, but not by way of this layer."""
    with pytest.raises(
        AbilityError, match=r"layer that the target depends on.*0 everywhere"
    ) as said:
        asks()[name]("beside")
    # Neither what is called twice or never, nor what has no places.
    assert "depend on: 'features'." in said.value.advice


@pytest.mark.parametrize("name", BY_SLOPES)
def test_outputs_that_hang_on_no_input_are_refused_as_such(name: str) -> None:
    class Detached(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).detach()

    network = randomised(Detached(), 1).to(DOUBLE)
    asked = assay.Question(network, X, target=1, features=assay.Pixels())
    grad_cam = assay.GradCam("features")
    method = assay.Guided(grad_cam) if name == "Guided" else assay.METHODS[name]("features")
    with pytest.raises(AbilityError, match="can be differentiated, got ones that hang on no input"):
        method(asked)


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("grid", [(5, 5), (1, 30)])
def test_a_grid_that_does_not_fit_the_tokens_is_refused(name: str, grid: tuple[int, int]) -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patch = nn.Conv2d(3, 6, 2, stride=2)
            self.norm = nn.LayerNorm(6)
            self.head = nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.tanh(self.norm(self.patch(x).flatten(2).mT)).mean(1))

    network = randomised(Tokens(), 1).to(DOUBLE)
    asked = assay.Question(network, X, target=1, features=assay.Pixels())
    with pytest.raises(InputError, match=r"place of the grid \(.*got 16 tokens"):
        assay.METHODS[name]("norm", grid=grid)(asked)
    assert assay.METHODS["EigenCam"]("norm", grid=(4, 4))(asked).facts["map"] == "4x4"


@pytest.mark.parametrize("name", ["neuron_importance", "expert"])
def test_an_axis_or_layer_that_has_no_units_is_an_error_of_the_project(name: str) -> None:
    with pytest.raises(AssayError):
        asks()[name]("nowhere.at.all")
