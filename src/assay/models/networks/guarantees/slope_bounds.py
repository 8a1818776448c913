"""How far the slope of a network may move near an input: bounds that are proved, not sampled.

Two kinds, both on the network's graph. Interval arithmetic goes forward with the range of every unit
over the neighbourhood, and backward with the range of every slope (interval bound propagation, Gowal
et al. 2018; of slopes as in Weng et al. 2018, section 3.3): rectifiers that do not change sign there
keep their slope, others have any in between. A bound of curvature follows from the chain rule,
|H(g o h)| <= |Dg| |H h| + |Dh|^2 |H g|, with the largest first and second derivative that the ranges
leave (Szegedy et al. 2014, section 4.3, for the first): rectifiers that may bend have none.

Followed are linear and convolutional layers, batch norms, average and maximum pooling, rectifiers,
tanh, sigmoid, softplus, reshapes and sums. Of anything else nothing is proved. Everything is computed
in double precision on a copy of the network, up to rounding.
"""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, final

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from assay.models.networks.graph import capture

# The largest sizes of second derivatives, found where the third is 0: at tanh(z)^2 = 1/3, at
# sigmoid(z) = 1/2 - 1/(2 sqrt(3)), and of softplus, whose slope is the sigmoid, at z = 0.
_STEEPEST_TANH = 4 / (3 * math.sqrt(3))  # of its second derivative
_STEEPEST_SIGMOID = 1 / (6 * math.sqrt(3))
_STEEPEST_SOFTPLUS = 1 / 4

Linear: TypeAlias = "Callable[[Tensor], Tensor]"


@final
@dataclass(frozen=True, eq=False)
class SlopeBounds:
    """Where the slopes of n inputs lie in their neighbourhoods.

    Settings:
        low, high: the range of each slope, (n, elements), float64.
        curvature: the largest norm of the Hessian, (n,); infinite where a unit may bend.
    """

    low: Tensor
    high: Tensor
    curvature: Tensor


class _Unfollowed(Exception):
    """An operation of which nothing is proved."""


@final
@dataclass(frozen=True, eq=False)
class _Step:
    """One operation of the graph: how slopes go back through it.

    Settings:
        inputs: the nodes it reads.
        back: the centre and radius of a slope behind it, to those before it.
    """

    inputs: tuple[fx.Node, ...]
    back: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@final
@dataclass(frozen=True, eq=False)
class _Signal:
    """The range of a signal, and how it depends on the input.

    Settings:
        centre, radius: of the range, (n, ...).
        rate: the largest norm of its derivative, (n,).
        curvature: the largest norm of its second derivative, (n,).
        spherical: whether the radius is that of a ball around the centre, and not of a box.
    """

    centre: Tensor
    radius: Tensor
    rate: Tensor
    curvature: Tensor
    spherical: bool = False

    @property
    def low(self) -> Tensor:
        return self.centre - self.radius

    @property
    def high(self) -> Tensor:
        return self.centre + self.radius


def slope_bounds(
    module: nn.Module,
    centre: Tensor,
    radius: Tensor,
    ball: Literal["linf", "l2"],
    seed: Callable[[Tensor], Tensor],
) -> SlopeBounds | None:
    """Bounds of the slopes of a linear function of the network's outputs, over balls.

    Settings:
        module: the network, which is copied.
        centre: inputs (n, ...).
        radius: of the ball around each, (n,).
        ball: "linf" or "l2".
        seed: outputs (n, ...) to the slope of the function at them, the same shape.

    None where the network does something of which nothing is proved.
    """
    # A layer that is a network by itself is called by one, and so stays a layer in the graph.
    double = nn.Sequential(copy.deepcopy(module).double().eval())
    graph = capture(double)
    if graph is None:
        return None
    try:
        with torch.no_grad():
            return _Propagation(graph, ball).bounds(centre.double(), radius.double(), seed)
    except _Unfollowed:
        return None


@final
@dataclass(frozen=True, eq=False)
class _Propagation:
    """Ranges forward and backward through a captured network."""

    graph: fx.GraphModule
    ball: Literal["linf", "l2"]
    steps: dict[fx.Node, _Step] = field(default_factory=dict)
    signals: dict[fx.Node, _Signal] = field(default_factory=dict)

    def bounds(
        self, centre: Tensor, radius: Tensor, seed: Callable[[Tensor], Tensor]
    ) -> SlopeBounds:
        """The bounds of slopes for inputs (n, ...) in balls of a radius (n,)."""
        source, last = self._forward(centre, radius)
        outputs = self.signals[last].centre
        slope = seed(outputs)
        # The function of the outputs is linear: its slope is one all over the ball, of radius 0.
        slopes: dict[fx.Node, tuple[Tensor, Tensor]] = {last: (slope, torch.zeros_like(outputs))}
        # Steps are kept as they run: backwards, all that reads a signal comes before what makes it.
        for node in reversed(list(self.steps)):
            if node in slopes:
                self._backward(node, slopes)
        # An input that no output hangs on has a slope of 0, and none was kept.
        middle, half = slopes.get(source, (torch.zeros_like(centre),) * 2)
        signal = self.signals[last]
        # Cauchy-Schwarz: outputs added with weights c bend at most |c| times as much as they do.
        norm = slope.reshape(len(slope), -1).norm(dim=1)
        return SlopeBounds(
            (middle - half).flatten(1), (middle + half).flatten(1), norm * signal.curvature
        )

    def _forward(self, centre: Tensor, radius: Tensor) -> tuple[fx.Node, fx.Node]:
        """Ranges of all signals; the nodes of the input and of the output."""
        source: fx.Node | None = None
        for node in self.graph.graph.nodes:
            if node.op == "output":
                if source is None or node.args[0] not in self.signals:
                    raise _Unfollowed
                return source, node.args[0]
            if node.op == "placeholder":
                if source is not None:
                    raise _Unfollowed
                source = node
                self.signals[node] = self._source(centre, radius)
            elif node.op != "get_attr":
                self._follow(node)
        raise _Unfollowed

    def _source(self, centre: Tensor, radius: Tensor) -> _Signal:
        ones = torch.ones_like(radius)
        shape = (-1, *[1] * (centre.dim() - 1))
        radii = radius.view(shape).expand(centre.shape)
        return _Signal(centre, radii, ones, torch.zeros_like(ones), self.ball == "l2")

    def _backward(self, node: fx.Node, slopes: dict[fx.Node, tuple[Tensor, Tensor]]) -> None:
        step = self.steps[node]
        middle, half = step.back(*slopes[node])
        for before in step.inputs:
            known = slopes.get(before)
            # A signal that is read twice, as before a skip connection, has the sum of both slopes.
            if known is None:
                slopes[before] = middle, half
            else:
                slopes[before] = known[0] + middle, known[1] + half

    # --- operations

    def _follow(self, node: fx.Node) -> None:
        """One operation, forward; an exception where nothing is proved of it."""
        kind = self._kind(node)
        nodes = [part for part in node.args if isinstance(part, fx.Node)]
        signals = [part for part in nodes if part in self.signals]
        if kind in ("add", "sub") and len(signals) == 2 and len(node.args) == 2:
            self._add(node, kind)
            return
        # One signal, and nothing else that could be one.
        if len(signals) != 1 or node.args[0] is not signals[0]:
            raise _Unfollowed
        before = self.signals[signals[0]]
        if kind in _ACTIVATIONS:
            self._bend(node, before, _ACTIVATIONS[kind](self._module(node), before))
        elif kind == "MaxPool2d":
            self._largest(node, before)
        else:
            self._linear(node, before, *self._forms(node, kind))

    def _module(self, node: fx.Node) -> Any:
        return self.graph.get_submodule(str(node.target)) if node.op == "call_module" else None

    def _kind(self, node: fx.Node) -> str:
        if node.op == "call_module":
            return type(self._module(node)).__name__
        if node.op == "call_method":
            return str(node.target)
        return _FUNCTIONS.get(node.target, "")

    def _forms(self, node: fx.Node, kind: str) -> tuple[Linear, Linear, Linear, Linear]:
        """A linear operation: itself, without its offset, and with |weights| and weights^2."""
        module = self._module(node)
        if kind in _RESHAPES:
            rest: tuple[Any, ...] = tuple(node.args[1:])
            if any(isinstance(part, fx.Node) for part in rest) or node.kwargs:
                raise _Unfollowed

            def reshaped(z: Tensor) -> Tensor:
                return z.flatten(*rest) if kind == "flatten" else z.reshape(*rest)

            return (reshaped,) * 4
        if kind in _PLAIN:
            return (module.__call__,) * 4
        if kind in ("Linear", "Conv1d", "Conv2d", "Conv3d"):
            return _weighted(module)
        if kind.startswith("BatchNorm") and module.track_running_stats:
            return _normalised(module)
        raise _Unfollowed

    def _linear(
        self,
        node: fx.Node,
        before: _Signal,
        whole: Linear,
        plain: Linear,
        absolute: Linear,
        square: Linear,
    ) -> None:
        centre = whole(before.centre)
        weighted = isinstance(self._module(node), nn.Linear | nn.modules.conv._ConvNd)
        if before.spherical and weighted:
            # A ball is as wide in a direction as the direction is long.
            radius = square(before.radius**2).clamp_min(0).sqrt()
        else:
            radius = absolute(before.radius)
        spherical = before.spherical and not weighted and node.op != "call_module"
        # What is unbounded already stays so, and a large matrix is dear to bound.
        bounded = bool(before.curvature.isfinite().any())
        gain = _gain(self._module(node), absolute, before.centre) if bounded else 1.0
        self.signals[node] = _Signal(
            centre, radius, gain * before.rate, gain * before.curvature, spherical
        )

        def back(middle: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
            return (
                _adjoint(plain, before.centre, middle),
                _adjoint(absolute, before.centre, half),
            )

        self.steps[node] = _Step((node.args[0],), back)  # type: ignore[arg-type]

    def _bend(self, node: fx.Node, before: _Signal, bend: _Bend) -> None:
        low = bend.low
        high = bend.high
        steepest = torch.maximum(low.abs(), high.abs()).flatten(1).amax(1)
        bending = bend.second.flatten(1).amax(1)
        # An infinite bend of what does not move is no bend.
        added = torch.where(before.rate > 0, before.rate**2 * bending, 0.0)
        self.signals[node] = _Signal(
            (bend.smallest + bend.largest) / 2,
            (bend.largest - bend.smallest) / 2,
            steepest * before.rate,
            steepest * before.curvature + added,
        )

        def back(middle: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
            return _product(middle, half, low, high)

        self.steps[node] = _Step((node.args[0],), back)  # type: ignore[arg-type]

    def _largest(self, node: fx.Node, before: _Signal) -> None:
        """Maximum pooling: of a window the winner passes, and every possible winner may."""
        pool = self._module(node)
        unfold = _unfolding(pool, before.centre)
        low = unfold(before.low)
        high = unfold(before.high)
        # Whatever cannot reach the largest lower bound of its window never wins it.
        floor = low.amax(2, keepdim=True)
        possible = high >= floor
        certain = possible & (possible.sum(2, keepdim=True) == 1)
        shape = pool(before.centre).shape
        smallest = floor.reshape(shape)
        largest = high.amax(2).reshape(shape)
        # A pixel lies in at most so many windows, and a maximum moves no more than the pixel that
        # moves most in its window: the norm grows by the root of that number at most.
        overlap = math.prod(-(-_pair(pool.kernel_size)[i] // _pair(pool.stride)[i]) for i in (0, 1))
        gain = math.sqrt(overlap)
        # A winner that may change puts a kink into the function, which no second derivative bounds.
        sure = (certain.sum(2) == 1).flatten(1).all(1)
        self.signals[node] = _Signal(
            (smallest + largest) / 2,
            (largest - smallest) / 2,
            gain * before.rate,
            torch.where(sure, gain * before.curvature, math.inf),
        )

        def back(middle: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
            windows = (len(middle), middle.shape[1], 1, -1)
            middle, half = _product(
                middle.reshape(windows), half.reshape(windows), certain.double(), possible.double()
            )
            return _adjoint(unfold, before.centre, middle), _adjoint(unfold, before.centre, half)

        self.steps[node] = _Step((node.args[0],), back)  # type: ignore[arg-type]

    def _add(self, node: fx.Node, kind: str) -> None:
        first, second = (self.signals[part] for part in node.args)  # type: ignore[index]
        if first.centre.shape != second.centre.shape or kind == "sub":
            raise _Unfollowed
        self.signals[node] = _Signal(
            first.centre + second.centre,
            first.radius + second.radius,
            first.rate + second.rate,
            first.curvature + second.curvature,
        )
        both: Any = tuple(node.args)
        # A slope of a sum is that of each part.
        self.steps[node] = _Step(both, lambda middle, half: (middle, half))


def _product(middle: Tensor, half: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """The product of slopes in a range with factors in [low, high]: centre and radius."""
    ends = torch.stack(
        [
            (middle - half) * low,
            (middle - half) * high,
            (middle + half) * low,
            (middle + half) * high,
        ]
    )
    smallest = ends.amin(0)
    largest = ends.amax(0)
    return (smallest + largest) / 2, (largest - smallest) / 2


def _adjoint(linear: Linear, at: Tensor, slope: Tensor) -> Tensor:
    """A slope behind a linear operation, before it."""
    with torch.enable_grad():
        # A linear map has the same transpose everywhere, so that it may be taken at zeros.
        leaf = torch.zeros_like(at).requires_grad_()
        (before,) = torch.autograd.grad(linear(leaf), leaf, slope)
    return before


def _gain(module: Any, absolute: Linear, at: Tensor) -> float:
    """An upper bound of the spectral norm of a linear operation."""
    if isinstance(module, nn.Linear):
        # A matrix is at hand for its exact norm; a convolution's would have a row for each pixel.
        weight = module.weight.double()
        weight = weight if len(weight) <= weight.shape[1] else weight.T
        # Of the smaller product alone, a small part of the cost of all singular values.
        return float(torch.linalg.eigvalsh(weight @ weight.T)[-1].clamp_min(0).sqrt())
    one = torch.ones_like(at[:1])
    # |A|_2^2 <= |A|_1 |A|_inf, the largest sums of columns and of rows.
    rows = absolute(one)
    columns = _adjoint(absolute, one, torch.ones_like(rows))
    return float((rows.max() * columns.max()).sqrt())


def _weighted(module: Any) -> tuple[Linear, Linear, Linear, Linear]:
    weight = module.weight.detach()
    bias = None if module.bias is None else module.bias.detach()

    def form(weight: Tensor, bias: Tensor | None) -> Linear:
        if isinstance(module, nn.Linear):
            return lambda z: F.linear(z, weight, bias)
        return lambda z: module._conv_forward(z, weight, bias)

    return form(weight, bias), form(weight, None), form(weight.abs(), None), form(weight**2, None)


def _normalised(module: Any) -> tuple[Linear, Linear, Linear, Linear]:
    factor = 1 / (module.running_var + module.eps).sqrt()
    if module.weight is not None:
        factor = factor * module.weight.detach()

    def form(factor: Tensor) -> Linear:
        return lambda z: z * factor.view(1, -1, *[1] * (z.dim() - 2))

    return module.__call__, form(factor), form(factor.abs()), form(factor**2)


def _pair(number: Any) -> tuple[int, int]:
    return (number, number) if isinstance(number, int) else (number[0], number[1])


def _unfolding(pool: nn.MaxPool2d, at: Tensor) -> Linear:
    """Images to the windows of a pool: (n, channels, cells, windows)."""
    # F.unfold pads with 0 and a pool with minus infinity: windows at the border would differ.
    plain = pool.padding in (0, (0, 0)) and pool.dilation in (1, (1, 1))
    if not plain or pool.ceil_mode or pool.return_indices or at.dim() != 4:
        raise _Unfollowed
    channels = at.shape[1]

    def unfold(z: Tensor) -> Tensor:
        windows = F.unfold(z, _pair(pool.kernel_size), stride=_pair(pool.stride))
        return windows.view(len(z), channels, -1, windows.shape[-1])

    return unfold


@final
@dataclass(frozen=True, eq=False)
class _Bend:
    """An activation over the range of its input.

    Settings:
        smallest, largest: its range.
        low, high: the range of its slope.
        second: the largest of its second derivative.
    """

    smallest: Tensor
    largest: Tensor
    low: Tensor
    high: Tensor
    second: Tensor


def _rectifier(module: Any, signal: _Signal) -> _Bend:
    leak = float(getattr(module, "negative_slope", 0.0))
    # Below 0 it is not monotone, and above 1 the steeper side is the left one: ends would swap.
    if not 0 <= leak <= 1:
        raise _Unfollowed
    # In double precision: 0.1 in single is another number.
    leaks = torch.full_like(signal.low, leak)
    ones = torch.ones_like(leaks)
    low = torch.where(signal.low > 0, ones, leaks)
    high = torch.where(signal.high > 0, ones, leaks)
    second = torch.where(low < high, math.inf, 0.0).double()
    ends = [F.leaky_relu(end, leak) for end in (signal.low, signal.high)]
    return _Bend(ends[0], ends[1], low, high, second)


def _humped(
    value: Linear, slope: Linear, steepest: float, signal: _Signal, factor: float = 1.0
) -> _Bend:
    """An activation whose slope is largest at 0 and falls to both sides."""
    ends = torch.stack([slope(signal.low), slope(signal.high)])
    nearest = torch.where((signal.low < 0) & (signal.high > 0), 0.0, 1.0)
    top = torch.where(nearest == 0, slope(torch.zeros_like(signal.low)), ends.amax(0))
    # The largest anywhere, and not over the range alone: a bound that is loose, but proved.
    second = torch.full_like(signal.low, steepest * factor)
    return _Bend(value(signal.low), value(signal.high), ends.amin(0), top, second)


def _tanh(module: Any, signal: _Signal) -> _Bend:
    return _humped(torch.tanh, lambda z: 1 - torch.tanh(z) ** 2, _STEEPEST_TANH, signal)


def _sigmoid(module: Any, signal: _Signal) -> _Bend:
    return _humped(
        torch.sigmoid,
        lambda z: torch.sigmoid(z) * torch.sigmoid(-z),
        _STEEPEST_SIGMOID,
        signal,
    )


def _softplus(module: Any, signal: _Signal) -> _Bend:
    beta = float(getattr(module, "beta", 1.0))
    # Above its threshold torch's softplus is the identity, which has a kink.
    threshold = float(getattr(module, "threshold", 20.0))
    if bool((beta * signal.high >= threshold).any()):
        raise _Unfollowed

    def value(z: Tensor) -> Tensor:
        return F.softplus(z, beta, threshold)

    low = torch.sigmoid(beta * signal.low)
    high = torch.sigmoid(beta * signal.high)
    second = torch.full_like(low, beta * _STEEPEST_SOFTPLUS)
    return _Bend(value(signal.low), value(signal.high), low, high, second)


_ACTIVATIONS: dict[str, Callable[[Any, _Signal], _Bend]] = {
    "ReLU": _rectifier,
    "LeakyReLU": _rectifier,
    "relu": _rectifier,
    "Tanh": _tanh,
    "tanh": _tanh,
    "Sigmoid": _sigmoid,
    "sigmoid": _sigmoid,
    "Softplus": _softplus,
}

_FUNCTIONS: dict[Any, str] = {
    torch.relu: "relu",
    F.relu: "relu",
    torch.tanh: "tanh",
    torch.sigmoid: "sigmoid",
    torch.flatten: "flatten",
    torch.reshape: "reshape",
    operator.add: "add",
    torch.add: "add",
}

_RESHAPES = frozenset({"flatten", "reshape", "view"})

_PLAIN = frozenset(
    {"Flatten", "Identity", "Dropout", "Dropout2d", "AvgPool1d", "AvgPool2d", "AdaptiveAvgPool2d"}
)
