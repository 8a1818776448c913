"""Points at a layer before the one that is attributed.

The network whose first layer's output is handed in is a network with one input more: activations of
that layer, beside the inputs, from which all that skips past it comes. Asked behind the later layer
it is the question of an influence inside of the network (Leino et al. 2018, section 3: a distribution
of interest at one slice, influence at another).
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, final

import torch
from torch import Tensor, nn

from assay.errors import AbilityError, InputError
from assay.inputs.layout import Aligned
from assay.methods.influence.distributions import WeightedPoints
from assay.models.networks.layers import After
from assay.models.networks.network import Network
from assay.models.networks.places import Place
from assay.models.wrapping import wrap
from assay.question.question import Question


@final
class EarlierLayer:
    """A layer at which points lie, and a later one whose units are attributed.

    Settings:
        question: asked behind the later layer.
        place: the same asked behind the earlier one.
        layer: the name of the earlier one.
    """

    def __init__(self, question: Question, place: Question, layer: str) -> None:
        self.question = question
        self.place = place
        self.layer = layer
        self.whole = question.before

    def check(self) -> None:
        """Refuses layers of which the one does not lie behind the other."""
        net, later = self._handed_in(), self._later()
        # One row shows what hangs on what: whether a graph leads back to it is all that is asked.
        leaf = self.place.x[:1].detach().requires_grad_()
        inputs = self.whole.layout.fold(self.whole.x[:1])
        context = self.whole._evaluation.context(torch.zeros(1, dtype=torch.int64))
        hangs: list[bool] = []

        def look(module: nn.Module, given: Any, output: Any) -> None:
            hangs.append(later.find(output, 1).requires_grad)

        model = self._network()
        with model.session(slopes=True), torch.enable_grad():
            handle = model.plain.get_submodule(later.layer).register_forward_hook(look)
            try:
                net(*self.place.layout.fold(leaf), *inputs, **context)
            finally:
                handle.remove()
        if not any(hangs):
            raise InputError(
                expected=f"points at a layer that {later} lies behind",
                got=f"points at {self.layer!r}, on which it does not depend",
                advice="Say a layer before the one that is attributed, at='inputs' or at='layer'.",
            )

    @cached_property
    def joint(self) -> Question:
        """The network that activations are handed to, about those of the inputs and the inputs."""
        whole = self.whole
        evaluation = whole._evaluation
        # Speedups would pass by the hook that hands activations in.
        model = wrap(self._handed_in(), output=self._network().output, speedups=False)
        inputs = (
            *self.place.layout.fold(self.place.x),
            *whole.layout.fold(whole.x),
        )
        context = {name: Aligned(value) for name, value in evaluation.aligned.items()}
        return Question(
            model, inputs, target=whole.fixed_target, context={**context, **evaluation.shared}
        )

    def behind(self) -> Question:
        """The same asked behind the later layer."""
        later = self._later()
        part = later.path or None
        return self.joint.after(f"network.{later.layer}", self.question.features, output=part)

    def beside_inputs(self, points: WeightedPoints) -> WeightedPoints:
        """Points of the layer, each with the input that it belongs to."""
        inputs = self.joint.x[:, self.place.x.shape[1] :]

        def make(rows: Tensor, numbers: Tensor) -> Tensor:
            return torch.cat([points.make(rows, numbers).to(inputs), inputs[rows]], 1)

        return WeightedPoints(points.weights, make)

    def _network(self) -> Network:
        model = self.whole.model
        if not isinstance(model, Network):
            raise AbilityError(
                expected="a torch module, for points at another layer than the one that is attributed",
                got=model.name,
                advice="Say at='inputs' or at='layer'.",
            )
        return model

    def _handed_in(self) -> _HandedIn:
        return _HandedIn(self._network().plain, _rest(self.place).places[0])

    def _later(self) -> Place:
        behind = _rest(self.question)
        if len(behind.places) > 1:
            raise InputError(
                expected="one layer whose units are attributed, for points at an earlier one",
                got=behind.layer,
                advice="Ask behind one after the other.",
            )
        return behind.places[0]


def _rest(question: Question) -> After:
    """The rest of a network that a question behind a layer is asked of."""
    model: Any = question.model
    rest: After = model
    return rest


@final
class _HandedIn(nn.Module):
    """A network of which what one layer gives is handed in, before its inputs.

    A trace would pass layers by without the hooks on them; one that is called with any number of
    inputs cannot be traced, and is run as it is.
    """

    def __init__(self, network: nn.Module, place: Place) -> None:
        super().__init__()
        self.network = network
        self.place = place
        self.training = network.training

    def forward(self, activation: Tensor, *inputs: Any, **context: Any) -> Any:
        def exchange(module: nn.Module, given: Any, output: Any) -> Any:
            return self.place.exchange(output, activation)

        handle = self.network.get_submodule(self.place.layer).register_forward_hook(exchange)
        try:
            return self.network(*inputs, **context)
        finally:
            handle.remove()
