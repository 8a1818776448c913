"""The expert of a class: the unit of a layer that matters most for it, and what it looks for.

The unit of greatest influence on a quantity is found first, with a mean over the inputs of a question
and a distribution of interest around each; the unit is then asked about the inputs itself, as any
other target is (Leino et al. 2018, section 4). For `Contrast` it is the unit that tells two classes
apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from torch import Tensor

from assay.answers.attribution import Attribution
from assay.errors import InputError, KindError, SettingError
from assay.methods.gradients.gradient import Gradient, InputXGradient
from assay.methods.influence.distributions import Distribution, LineDistribution
from assay.methods.influence.internal_influence import InternalInfluence
from assay.question.question import Question


@final
@dataclass(frozen=True, eq=False)
class ExpertUnit:
    """The unit of a layer with the greatest influence on a target, and its own explanation.

    Settings:
        number: the unit, counted along the axis of units: a channel of a convolution.
        influence: its influence, the mean over the inputs of the question.
        influences: that of every unit, (units,).
        question: the question of the unit itself at the inputs, for any other method; a channel is
            the sum over its places.
        gradient: the slope of the unit at the inputs.
        attribution: x times that slope (the expert neuron attribution of a unit).
    """

    number: int
    influence: float
    influences: Tensor
    question: Question
    gradient: Attribution
    attribution: Attribution


def expert(
    question: Question,
    layer: Any,
    distribution: Distribution | None = None,
    *,
    axis: int = 0,
    seed: int = 0,
) -> ExpertUnit:
    """The unit of a layer with the greatest influence on the question's target.

    i* = argmax_i I_i, I_i = mean over inputs and points of d f / d h_i; its attribution is
    x * d h_i* / d x      (Leino et al. 2018, section 4.1)

    Settings:
        question: what is asked of a network; its target is the class, or a `Contrast` of two. Over
            several inputs the mean is taken, which is a data set as the distribution of interest.
        layer: its name, or the module itself; behind a rectifier a unit is what it passes on.
        distribution: which points around each input; the line from what is absent by default.
        axis: which axis of an activation counts the units, 0 for channels; over the others influence
            is added up (tokens of a transformer lie along the first: axis=-1).
        seed: of a sampled distribution.

    Cost: that of `InternalInfluence`, and two gradients of the unit. Units: influence is in target per
    unit of activation. Errors: InputError for a question behind a layer and for several layers, SettingError
    for an axis that activations do not have.

    >>> import assay, torch
    >>> net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    >>> question = assay.Question(net, torch.ones(2, 3), target=assay.Contrast(0, 1))
    >>> found = expert(question, "1", assay.LineDistribution(steps=8))
    >>> found.number == int(found.influences.argmax()), found.attribution.values.shape
    (True, torch.Size([2, 3]))
    """
    _check(question)
    behind = question.after(layer)
    shapes = behind.layout.shapes
    if len(shapes) != 1:
        raise InputError(
            expected="one layer whose units are compared",
            got=f"{len(shapes)} of them",
            advice="Ask for the expert of each by itself: expert(question, layer).",
        )
    shape = tuple(shapes[0])
    if not -len(shape) <= axis < len(shape):
        raise SettingError(
            expected=f"an axis of an activation of shape {shape}",
            got=axis,
            advice="Channels are axis 0, the numbers of a token axis -1.",
        )
    method = InternalInfluence(LineDistribution() if distribution is None else distribution)
    influence = method(behind, seed=seed).values
    # Units may lie at many places: what is moved there, moves together.
    units = influence.reshape(len(influence), *shape).movedim(axis % len(shape) + 1, 1)
    influences = units.flatten(2).sum(2).mean(0) if units.dim() > 2 else units.mean(0)
    # Signed: a unit that speaks against the target is no expert of it, however large it is.
    number = int(influences.argmax())
    # A channel is asked about over all its places, as its influence was added up.
    everywhere: list[Any] = [slice(None)] * len(shape)
    everywhere[axis] = number
    itself = question.upto(layer, number if len(shape) == 1 else tuple(everywhere))
    return ExpertUnit(
        number=number,
        influence=float(influences[number]),
        influences=influences,
        question=itself,
        gradient=Gradient()(itself),
        attribution=InputXGradient()(itself),
    )


def _check(question: Question) -> None:
    if not isinstance(question, Question):
        raise KindError(
            expected="a Question",
            got=type(question).__name__,
            advice="Build one: Question(model, inputs, target=...).",
        )
    if question.is_behind_layer:
        raise InputError(
            expected="a question about the network's own inputs for an expert",
            got="one behind a layer",
            advice="Ask the network, and name the layer: expert(question, layer).",
        )
