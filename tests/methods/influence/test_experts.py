"""The expert of a class against its definition: which unit, and what it looks for."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import assay
from assay.errors import InputError, KindError, SettingError
from toys import randn, randomised

DOUBLE = torch.float64
TIGHT = {"rtol": 0, "atol": 1e-10}


def dense() -> nn.Sequential:
    net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
    made: nn.Sequential = randomised(net, 7).double()
    return made


def convolutional() -> nn.Sequential:
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16, 3)
    )
    made: nn.Sequential = randomised(net, 7).double()
    return made


X = randn(3, 4, seed=2, dtype=DOUBLE)
IMAGES = randn(3, 2, 6, 6, seed=2, dtype=DOUBLE)


@pytest.mark.parametrize("target", [1, assay.Contrast(2, 0)])
def test_a_unit_by_its_definition(target: object) -> None:
    """Mean slope over inputs and the line, the largest, and x times the slope of that unit."""
    net = dense()
    front, back = net[:2], net[2:]
    question = assay.Question(net, X, target=target)
    found = assay.expert(question, "1", assay.LineDistribution(2, "middle"))

    def quantity(h: torch.Tensor) -> torch.Tensor:
        out = back(h)
        return out[1] if target == 1 else out[2] - out[0]

    # Two nodes of the middle rule, on the way from 0.
    points = [a * x for x in X for a in (0.25, 0.75)]
    slopes = [torch.autograd.functional.jacobian(quantity, front(x).detach()) for x in points]
    influences = torch.stack(slopes).mean(0)
    torch.testing.assert_close(found.influences, influences, **TIGHT)
    assert found.number == int(influences.argmax())
    assert found.influence == pytest.approx(float(influences.max()), abs=1e-10)
    for i, x in enumerate(X):
        slope = torch.autograd.functional.jacobian(lambda x: front(x)[found.number], x)
        torch.testing.assert_close(found.gradient.values[i], slope, **TIGHT)
        torch.testing.assert_close(found.attribution.values[i], x * slope, **TIGHT)


def test_a_channel_is_the_sum_over_its_places() -> None:
    net = convolutional()
    front, back = net[:2], net[2:]
    question = assay.Question(net, IMAGES, target=assay.Contrast(0, 1))
    found = assay.expert(question, "1", assay.PointDistribution())
    influences = torch.zeros(4, dtype=DOUBLE)
    for image in IMAGES:
        h = front(image[None]).detach().requires_grad_()
        out = back(h)[0]
        influences += torch.autograd.grad(out[0] - out[1], h)[0].sum((0, 2, 3)) / len(IMAGES)
    torch.testing.assert_close(found.influences, influences, **TIGHT)
    assert found.number == int(influences.argmax())
    for i, image in enumerate(IMAGES):
        leaf = image.clone().requires_grad_()
        channel = front(leaf[None])[0, found.number].sum()
        assert float(found.question.prediction[i]) == pytest.approx(channel.item(), abs=1e-10)
        (slope,) = torch.autograd.grad(channel, leaf)
        torch.testing.assert_close(found.gradient.values[i], slope.flatten(), **TIGHT)
        expected = (leaf * slope).flatten().detach()
        torch.testing.assert_close(found.attribution.values[i], expected, **TIGHT)


def test_units_along_the_last_axis() -> None:
    """Of tokens (4, 6) each number is a unit, and influence is added up over tokens."""
    net = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Flatten(), nn.Linear(24, 2))
    net = randomised(net, 3).double()
    x = randn(2, 4, 3, dtype=DOUBLE)
    question = assay.Question(net, x, target=0)
    found = assay.expert(question, "1", assay.PointDistribution(), axis=-1)
    expected = net[3].weight[0].view(4, 6).sum(0)
    torch.testing.assert_close(found.influences, expected.detach(), **TIGHT)
    sums = net[:2](x)[..., found.number].sum(1)
    torch.testing.assert_close(found.question.prediction, sums.detach(), **TIGHT)


def test_a_data_set_is_the_mean_over_inputs_or_a_distribution() -> None:
    """Over inputs of one class both say the same."""
    net = dense()
    rows = randn(5, 4, seed=11, dtype=DOUBLE)
    over_inputs = assay.expert(assay.Question(net, rows, target=2), "3", assay.PointDistribution())
    one = assay.Question(net, X[:1], target=2)
    over_rows = assay.expert(one, "3", assay.DataDistribution(rows))
    torch.testing.assert_close(over_inputs.influences, over_rows.influences, **TIGHT)


def test_any_method_may_be_asked_about_the_unit() -> None:
    question = assay.Question(dense(), X, target=1, removal=assay.Baseline(0.0))
    found = assay.expert(question, "1")
    whole = assay.IntegratedGradients()(found.question)
    assert whole.gap is not None
    assert float(whole.gap.abs().max()) < 1e-10


def test_refusals() -> None:
    question = assay.Question(dense(), X, target=1)
    with pytest.raises(InputError, match="network's own inputs"):
        assay.expert(question.after("1"), "3")
    with pytest.raises(SettingError, match="axis of an activation"):
        assay.expert(question, "1", axis=1)
    with pytest.raises(KindError, match="a Question"):
        assay.expert(dense(), "1")  # type: ignore[arg-type]
    beside = assay.Question(Pair().double(), X, target=0)
    with pytest.raises(InputError, match="one layer whose units"):
        assay.expert(beside, ["left", "right"])


class Pair(nn.Module):
    """Two layers side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Linear(4, 2)
        self.right = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.left(x) + self.right(x)
        return result
