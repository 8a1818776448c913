"""Units inside a network: the target is asked of the network that stops at their layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from torch import Tensor

from assay.errors import KindError, TargetError
from assay.targets.conversion import as_target
from assay.targets.index import whole
from assay.targets.label import Label
from assay.targets.target import Index, Part, Target, Unit


@final
@dataclass(frozen=True)
class LayerPart:
    """A part of a layer's output, where the layer gives several tensors."""

    layer: Any
    output: Part


@final
@dataclass(frozen=True)
class Neuron(Target):
    """The activation of one unit of a layer; the question is asked of the model that stops there.

    Settings:
        layer: the layer's name in the network, as in `named_modules()`, or the module itself.
        unit: an int, or a tuple that points into an activation of several dimensions. Slices, alone
            or in such a tuple, mean the sum over their units (as in Captum); a function of the
            activation gives one number per row (r,); a list is one unit for each input.
        output: which part, where the layer gives several tensors (the first of an LSTM is 0): its
            number, its key or its attribute's name.

    Units: the activation's own. Errors: AbilityError for a model without layers, KindError for what is no
    unit, TargetError for units that the layer does not have and for a neuron inside another target than
    `Contrast` and `Negated`.

    >>> import assay, torch
    >>> net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU())
    >>> x = torch.ones(2, 3)
    >>> some = assay.Question(net, x, target=Neuron("1", slice(0, 2))).prediction
    >>> bool(torch.allclose(some, net(x)[:, :2].sum(1)))
    True
    """

    layer: Any
    unit: Unit | Index | Target
    output: Part | None = None

    def at_layer(self) -> tuple[Target, Any]:
        # No layer would be the whole network.
        if self.layer is None:
            raise KindError(
                expected="the name of a layer, or the layer itself, in Neuron",
                got="None",
                advice="Name one, as in named_modules(): Neuron('layer4', unit).",
            )
        if self.output is None:
            return self._units, self.layer
        return self._units, LayerPart(self.layer, self.output)

    @property
    def _units(self) -> Target:
        """The target of the network that stops at the layer."""
        unit: Any = (self.unit,) if isinstance(self.unit, slice) else self.unit
        # Units have numbers: labels are those of the outputs.
        if isinstance(unit, str | Label):
            raise KindError(
                expected=f"a unit of layer {self._layer_name}",
                got=repr(unit),
                advice="Units have numbers: Neuron(layer, 0).",
            )
        if isinstance(unit, tuple) and any(isinstance(part, slice) for part in unit):
            return _Units(unit)
        try:
            target = as_target(unit)
        except KindError as error:
            raise KindError(
                expected=f"a unit of layer {self._layer_name}",
                got=error.got,
                advice=(
                    "Use an int, a tuple of ints, slices to add units up, or a function of the "
                    "activation: Neuron(layer, 0)."
                ),
            ) from error
        if target.at_layer()[1] is not None:
            raise TargetError(
                expected=f"a unit of layer {self._layer_name}",
                got=repr(self.unit),
                advice="A question stops at one layer: give the unit itself, Neuron(layer, 0).",
            )
        return target

    @property
    def _layer_name(self) -> str:
        # A module's own repr may be pages long.
        return repr(self.layer) if isinstance(self.layer, str) else type(self.layer).__name__

    def __repr__(self) -> str:
        part = "" if self.output is None else f", output={self.output!r}"
        return f"Neuron({self._layer_name}, {self.unit!r}{part})"

    def score(self, outputs: Tensor, rows: Tensor) -> Tensor:
        # Reached inside of a target that does not hand `at_layer` on: the outputs are the network's.
        raise TargetError(
            expected="the outputs of a network that stops at the neuron's layer",
            got=f"{self!r} inside another target",
            advice="Use it alone, in Negated or in Contrast, or ask question.upto(layer, unit).",
        )


@final
@dataclass(frozen=True)
class _Units(Target):
    """The sum over some units of a layer: ints and slices that point into its activation."""

    index: tuple[Any, ...]

    def choose(self, outputs: Tensor) -> Target:
        sizes = tuple(outputs.shape[1:]) or (1,)
        if len(self.index) != len(sizes):
            raise TargetError(
                expected=f"units of an activation of shape {sizes}",
                got=self.index,
                advice=f"Give a tuple of {len(sizes)} ints or slices, or a function.",
            )
        return _Units(tuple(map(self._inside, self.index, sizes)))

    def _inside(self, part: Any, size: int) -> slice:
        """The same units as a slice that counts upwards."""
        try:
            key: Any = part if isinstance(part, slice) else whole(part)
            units: Any = range(size)[key]
            # torch takes no negative steps; of a sum the order means nothing.
            chosen = sorted(units) if isinstance(part, slice) else [units]
            step = (chosen[1] - chosen[0]) if len(chosen) > 1 else 1
            return slice(chosen[0], chosen[-1] + 1, step)
        # No int, a slice of something else, a step of zero, no unit at all.
        except (TypeError, ValueError, IndexError) as error:
            raise TargetError(
                expected=f"units out of {size}, numbers 0 to {size - 1}",
                got=f"{part!r} in {self.index}",
                advice="Use ints, or slices that hold at least one unit.",
            ) from error

    def score(self, outputs: Tensor, rows: Tensor) -> Tensor:
        if outputs.dim() == 1:
            outputs = outputs.unsqueeze(1)
        return outputs[(slice(None), *self.index)].flatten(1).sum(1)

    def __repr__(self) -> str:
        return f"Units({self.index!r})"
