"""FullGrad: the slopes of the input and of every bias, which account for the score to the last digit.

Around an input a network of rectifiers is one affine map, f(x) = J x + sum_l J_l b_l: what its biases
say is read at every layer, at the places of that layer. The forward is heard operation by operation
(`models/networks/operations`), so a bias is one in every spelling: of a convolution, of a batch norm
(its running mean and shift together), a constant that is added. What is not homogeneous, such as a
sigmoid, has an implicit bias: its value less its slope times its operands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias, final

import torch
from torch import Tensor
from torch.autograd import forward_ad

from assay.answers.attribution import Kind
from assay.errors import AbilityError, SettingError
from assay.features.images import Pixels
from assay.inputs.places import Places, places_of
from assay.methods.base import Estimate, Method
from assay.methods.cam.maps import upsampled
from assay.models.base import Ability
from assay.models.networks.operations.decomposed import PLAINER, SEVERAL
from assay.models.networks.operations.interception import Interception
from assay.models.networks.operations.kinds import OperationKind
from assay.models.networks.operations.linear import linear_map
from assay.models.networks.operations.operation import Operation
from assay.models.networks.operations.pulled import pulled
from assay.question.question import Question

Rescaling: TypeAlias = Literal["layer", "channel", "none"]
"""Over what a picture's maps are brought to [0, 1]."""

_COMPOSITE = (OperationKind.ATTENTION, OperationKind.NORMALISATION, OperationKind.RECURRENT)
_LINEAR = (OperationKind.CONVOLUTION, OperationKind.DENSE)
_AFFINE = (OperationKind.AFFINE, OperationKind.SUM, OperationKind.STRUCTURE, *_LINEAR)
_HOMOGENEOUS = ("relu", "leaky_relu", "prelu", "abs", "absolute")
"""Activations that are no more than their slope times their operand."""


@final
@dataclass(frozen=True, eq=False)
class FullGradTerms:
    """What each input's score is made of: `input.sum(1)` and the sums of `biases` add up to it.

    Settings:
        input: the input times its slope (n, elements).
        biases: for each layer that has one, in the order of the forward, the bias times its slope:
            (n, *shape of the layer's output). An operation without weights goes by its own name.
    """

    input: Tensor
    biases: dict[str, Tensor]

    @property
    def total(self) -> Tensor:
        """Their sum (n,): the score."""
        parts = [self.input, *self.biases.values()]
        return torch.stack([part.flatten(1).to(torch.float64).sum(1) for part in parts]).sum(0)


@final
@dataclass(frozen=True)
class FullGrad(Method):
    """The input and every bias, each times its slope, as one picture.

    f(x) = sum_i x_i g_i + sum_l sum_j b_lj g_lj, g the slopes; the picture is
    S = sum_c psi(x o g)_c + sum_l sum_c psi(b_l o g_l)_c, psi = upsample(rescale(| |))
    (Srinivas and Fleuret 2019, section 4)

    Settings:
        rescale: psi brings absolute values to [0, 1] by their least and largest over all channels
            and places of a "layer", as the authors' code, or of each "channel"; "none" leaves them
            in units of the target.

    The picture has lost signs and sizes, and adds up to nothing; `FullGrad().terms(question)` has
    both, and adds up to f(x). A bias is one in every spelling: of convolutions and dense layers, of
    batch norms (with their running means), constants that are added; what an operation that is not
    homogeneous, such as a sigmoid, has more than its slope times its operands counts as its implicit
    bias. Biases of layers without places, dense ones, are in the terms and not in the picture. Cost:
    one forward and backward pass per input, an input at a time. Values: a picture, upsampled to the
    input's pixels (bilinear). The facts say the sums of all terms. Errors: AbilityError for a part
    of the network whose operations, and so biases, cannot be heard.

    >>> import torch, assay
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(), torch.nn.Flatten())
    >>> net = net.append(torch.nn.Linear(8, 1)).double()
    >>> question = assay.Question(net, torch.rand(2, 1, 4, 4).double(), features=assay.Pixels())
    >>> FullGrad()(question).shape, list(FullGrad().terms(question).biases)
    ((4, 4), ['0', '3'])
    >>> bool(torch.allclose(FullGrad().terms(question).total, question.prediction))
    True
    """

    rescale: Rescaling = "layer"
    needs = frozenset({Ability.GRADIENT, Ability.OPERATIONS})
    kind = Kind.WEIGHT
    cost: ClassVar[str] = "1 gradient"

    def __post_init__(self) -> None:
        if self.rescale not in ("layer", "channel", "none"):
            raise SettingError(
                expected="rescale 'layer', 'channel' or 'none' for FullGrad",
                got=repr(self.rescale),
                advice="'layer' is what its authors do; signed terms are FullGrad().terms(question).",
            )

    def check(self, question: Question) -> None:
        super().check(question)
        _places(question)

    def terms(self, question: Question) -> FullGradTerms:
        """Input times slope and bias times slope, layer by layer; they add up to f(x)."""
        with self._asked(question):
            return _terms(question)

    def values(self, question: Question, seed: int) -> Estimate:
        places = _places(question)
        terms = _terms(question)
        picture = _layered(places.channels_first(terms.input), self.rescale).sum(1)
        for term in terms.biases.values():
            # Channels and as many axes of places as the input has.
            if term.dim() == 2 + len(places.shape):
                # Upsampling is linear: channels are added up first, and one map is upsampled.
                layer = _layered(term, self.rescale).sum(1, keepdim=True)
                picture = picture + upsampled(layer, places.shape).squeeze(1)
        notes = {"terms": _sums(terms), "picture": _said(self.rescale)}
        spread = places.spread(picture.flatten(1))
        return Estimate(question.pool(spread, pooling="mean"), notes=notes)


def _places(question: Question) -> Places:
    axes = question.features.axes if isinstance(question.features, Pixels) else None
    return places_of(question.layout, axes, "FullGrad")


def _sums(terms: FullGradTerms) -> Counter[Any]:
    """The sums of all terms over inputs; those of shards add up."""
    biases = {name: float(term.sum()) for name, term in terms.biases.items()}
    return Counter({"input": float(terms.input.sum()), "biases": Counter(biases)})


def _said(rescale: Rescaling) -> str:
    if rescale == "none":
        return "absolute values, bilinear, added up"
    return f"absolute values, least and largest of each {rescale} to 0 and 1, bilinear, added up"


def _layered(term: Tensor, rescale: Rescaling) -> Tensor:
    """Absolute values of a layer's terms (n, channels, *places), brought to [0, 1] as is said."""
    sizes = term.abs()
    if rescale == "none":
        return sizes
    axes = tuple(range(1 if rescale == "layer" else 2, term.dim()))
    low, high = sizes.amin(axes, keepdim=True), sizes.amax(axes, keepdim=True)
    # What is the same everywhere says nothing of places.
    return torch.where(high > low, (sizes - low) / (high - low), torch.zeros_like(sizes))


# --- the terms of an input


def _terms(question: Question) -> FullGradTerms:
    """Of each input alone, whose rows are then known in a layer of any layout."""
    each: list[tuple[Tensor, dict[str, Tensor]]] = []
    for number in range(question.n):
        part = question.part(number, number + 1)
        biases = _Biases()
        slope = part.slope(rules=biases)
        each.append((part.x * slope, biases.terms))
    inputs = torch.cat([own for own, _ in each])
    names = list(dict.fromkeys(name for _, biases in each for name in biases))
    return FullGradTerms(inputs, {name: _joined([own for _, own in each], name) for name in names})


def _joined(each: Sequence[dict[str, Tensor]], name: str) -> Tensor:
    """The terms of one layer, with zeros where an input has none."""
    shape = next(biases[name] for biases in each if name in biases)
    parts = [biases.get(name, torch.zeros_like(shape)) for biases in each]
    if any(part.shape != shape.shape for part in parts):
        raise AbilityError(
            expected=f"outputs of {name!r} of one shape for all inputs, for FullGrad",
            got=", ".join(str(tuple(part.shape[1:])) for part in parts[:3]),
            advice="Ask about inputs of one size at a time.",
        )
    return torch.cat(parts)


@final
class _Biases(Interception):
    """The slopes as they are, behind operations whose biases are written down."""

    who = "FullGrad"

    def __init__(self) -> None:
        super().__init__()
        # By name, in the order of the forward; None where no slope has come back.
        self._met: dict[str, Tensor | None] = {}
        # Operations so far by name, whether their bias is 0 for this input or not.
        self._calls: Counter[str] = Counter()

    @property
    def terms(self) -> dict[str, Tensor]:
        return {name: term for name, term in self._met.items() if term is not None}

    @contextmanager
    def counting(self) -> Iterator[None]:
        self._met.clear()
        self._calls.clear()
        with super().counting():
            yield

    def handle(self, operation: Operation) -> Any:
        if operation.kind in _COMPOSITE or _is_several(operation):
            return self.again(operation)
        given = self.plainly(operation)
        bias = self._bias(operation, given)
        if bias is None:
            return given
        name = self._named(operation)
        # What a mask has set to minus infinity comes to nothing.
        bias = torch.where(torch.isfinite(bias), bias, 0.0)
        return self._metered(name, given, bias) if bool(bias.any()) else given

    def _metered(self, name: str, given: Tensor, bias: Tensor) -> Tensor:
        # Entered in the order of the forward, which the way back would turn around.
        self._met[name] = None

        def written(cotangent: Tensor) -> Tensor:
            # Kept as it is and not summed: the picture needs a number for each place.
            term = (cotangent * bias).detach()
            self._met[name] = term if term.dim() and len(term) == 1 else term.unsqueeze(0)
            return cotangent

        return pulled(given, given, written)

    def _named(self, operation: Operation) -> str:
        name = operation.layer or operation.name
        self._calls[name] += 1
        calls = self._calls[name]
        return name if calls == 1 else f"{name} ({calls})"

    def _bias(self, operation: Operation, given: Any) -> Tensor | None:
        """What an operation gives beyond its slope times its operands; None where that is nothing."""
        if operation.kind in _AFFINE:
            return _at_zero(operation, given)
        alone = not operation.constants
        is_maximum = operation.kind is OperationKind.MAXIMUM
        if (is_maximum and alone) or operation.name in _HOMOGENEOUS:
            return None
        return _beyond_slope(operation, given)


def _is_several(operation: Operation) -> bool:
    """What is said in plainer operations, of which each has a bias of its own."""
    product = operation.kind is OperationKind.PRODUCT and operation.name in SEVERAL
    return product or (operation.name in PLAINER and operation.kind is OperationKind.SOFTMAX)


def _at_zero(operation: Operation, given: Any) -> Tensor | None:
    """The constant part of an affine operation."""
    linear = linear_map(operation) if operation.kind in _LINEAR else None
    if linear is not None:
        # Of what is linear the bias is known, and spares the operation a second call.
        bias = linear.spread_bias(given)
        return None if bias is None else bias.detach().expand_as(given)
    if not isinstance(given, Tensor):
        return None
    # Of other affine operations it is what they make of zeros, however they are spelt.
    zeros = {id(signal): torch.zeros_like(signal) for signal in operation.signals}
    shift: Tensor = operation.on(zeros)().detach()
    return shift


def _beyond_slope(operation: Operation, given: Any) -> Tensor | None:
    """y - J x, by forward differentiation along the operands themselves."""
    if not isinstance(given, Tensor):
        return None
    with forward_ad.dual_level():
        # J x in one forward pass, with the operands for a direction: no matrix J is made.
        duals = {
            id(signal): forward_ad.make_dual(signal.detach(), signal.detach())
            for signal in operation.signals
        }
        value, along = forward_ad.unpack_dual(operation.on(duals)())
    bias: Tensor = value if along is None else value - along
    return bias.detach()
