"""Models made from a model, of which an axiom says what their explanations have to be.

All of them hold the model that they are made from, which is called and never changed, its mode
included; a twin is written on a copy.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor, nn

from assay.errors import InputError
from assay.question.question import Question


def predictor_of(question: Question) -> Callable[[Tensor], Tensor]:
    """What the question's model calls, as a function of tensors.

    Errors: InputError for a model that takes something else than one tensor of numbers.
    """
    model: Any = question.model
    module = getattr(model, "module", None)
    function = getattr(model, "function", None)
    shapes = question.layout.shapes
    whole = len(shapes) == 1 and question.x.is_floating_point() and not question.has_context
    if not whole or question.is_behind_layer or (module is None and function is None):
        raise InputError(
            expected="a question about a network or a function of one tensor of numbers",
            got=f"{model.name}, asked with {question.layout.describe()}",
            advice="Wrap the predictor as a function of a tensor: Question(lambda x: ..., x).",
        )
    found: Any = function if module is None else module
    if module is not None or model.tensors:
        return found  # type: ignore[no-any-return]
    # Detached: a function of arrays carries no gradient.
    return lambda x: torch.as_tensor(found(x.detach().numpy()))


@final
class Ignoring(nn.Module):
    """The model with some elements always as they are absent.

    Settings:
        inner: the model.
        present: which elements it sees, (elements,), bool.
        absent: what stands in the place of the others, (elements,).
    """

    present: Tensor
    absent: Tensor

    def __init__(self, inner: Any, present: Tensor, absent: Tensor) -> None:
        super().__init__()
        self.inner = inner
        # Buffers, so that constants are copied and moved to a device with the model.
        self.register_buffer("present", present)
        self.register_buffer("absent", absent)

    def forward(self, x: Tensor) -> Tensor:
        shape = x.shape[1:]
        present = self.present.view(shape).to(x.dtype)
        # A product, and no choice: rules for operations know products.
        kept = x * present + (1 - present) * self.absent.view(shape)
        return self.inner(kept)  # type: ignore[no-any-return]


@final
class Reordered(nn.Module):
    """The model of the elements in another order."""

    order: Tensor

    def __init__(self, inner: Any, order: Tensor) -> None:
        super().__init__()
        self.inner = inner
        self.register_buffer("order", order)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.flatten(1)[:, self.order].view_as(x))  # type: ignore[no-any-return]


@final
class Exchanging(nn.Module):
    """The mean of the model and of the model with its elements in another order."""

    def __init__(self, inner: Any, order: Tensor) -> None:
        super().__init__()
        self.inner = inner
        self.other = Reordered(inner, order)

    def forward(self, x: Tensor) -> Tensor:
        # Symmetric by its making, whatever the model is: both orders have the same weight.
        return 0.5 * self.inner(x) + 0.5 * self.other(x)  # type: ignore[no-any-return]


@final
class Combined(nn.Module):
    """a f + b g."""

    def __init__(self, f: Any, g: Any, a: float, b: float) -> None:
        super().__init__()
        self.f = f
        self.g = g
        self.a = a
        self.b = b

    def forward(self, x: Tensor) -> Tensor:
        return self.a * self.f(x) + self.b * self.g(x)  # type: ignore[no-any-return]


@final
class Raised(nn.Module):
    """The model and, added to each output, weights . (x - absent): some features count for more."""

    weights: Tensor
    absent: Tensor

    def __init__(self, inner: Any, weights: Tensor, absent: Tensor) -> None:
        super().__init__()
        self.inner = inner
        self.register_buffer("weights", weights)
        self.register_buffer("absent", absent)

    def forward(self, x: Tensor) -> Tensor:
        # Linear in x - absent: where the features are absent nothing is added, and the base stays.
        added = (x.flatten(1) - self.absent) @ self.weights
        outputs = self.inner(x)
        # To every output alike: which of them the target reads need not be known.
        return outputs + added.view(-1, *[1] * (outputs.dim() - 1))  # type: ignore[no-any-return]


@final
class Shifted(nn.Module):
    """The model of inputs that are told from another origin: f(x - shift)."""

    shift: Tensor

    def __init__(self, inner: Any, shift: Tensor) -> None:
        super().__init__()
        self.inner = inner
        self.register_buffer("shift", shift)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x - self.shift.view(x.shape[1:]))  # type: ignore[no-any-return]


@final
class _Rectifier(nn.Module):
    """max(z, 0) as (z + |z|) / 2."""

    def forward(self, z: Tensor) -> Tensor:
        # Its slope at 0 is a half, a rectifier's in torch 0: inputs on a kink would differ.
        return 0.5 * (z + z.abs())


@final
class _Tanh(nn.Module):
    """tanh(z) as 2 sigmoid(2 z) - 1."""

    def forward(self, z: Tensor) -> Tensor:
        return 2 * torch.sigmoid(2 * z) - 1


@final
class _Sigmoid(nn.Module):
    """sigmoid(z) as (1 + tanh(z / 2)) / 2."""

    def forward(self, z: Tensor) -> Tensor:
        return 0.5 * (1 + torch.tanh(0.5 * z))


@final
class _Halves(nn.Module):
    """The model as the sum of its halves, of inputs written as sums of theirs."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        # Halving and adding equal halves is exact in floating point: what differs is the method's.
        half = 0.5 * x
        outputs = self.inner(half + half)
        return 0.5 * outputs + 0.5 * outputs  # type: ignore[no-any-return]


_REWRITTEN: dict[type[nn.Module], type[nn.Module]] = {
    nn.ReLU: _Rectifier,
    nn.Tanh: _Tanh,
    nn.Sigmoid: _Sigmoid,
}


def twin_of(predictor: Any) -> tuple[nn.Module, str]:
    """The same function written differently, and how: activations by other formulas where they are
    modules of a network, else sums of halves.
    """
    if isinstance(predictor, nn.Module):
        # A copy: the user's network keeps its own activations.
        twin = copy.deepcopy(predictor)
        rewritten = _rewrite(twin)
        # A network that is one activation has no child that could be replaced.
        if type(twin) in _REWRITTEN:
            return _REWRITTEN[type(twin)](), "its activation by another formula"
        if rewritten:
            return twin.eval(), f"{rewritten} activations by other formulas"
    # Nothing to rewrite: only a method that looks at how a function is written tells it apart.
    return _Halves(predictor), "a sum of halves"


def _rewrite(module: nn.Module) -> int:
    """Replaces activations inside a module; how many."""
    count = 0
    for name, child in module.named_children():
        form = _REWRITTEN.get(type(child))
        if form is None:
            count += _rewrite(child)
        else:
            setattr(module, name, form())
            count += 1
    return count
