"""Incremental inference: rows that differ from their input inside a patch are recomputed where the
patch reaches.

Behind a convolution a patch has grown by the kernel, and everything else is the input's own
activation, computed once (Nakandala, Kumar and Papakonstantinou 2019). Exact up to rounding. Where
a patch has grown over most of the map, or meets an operation that is not known to be local, the
whole map is put together and the rest of the network runs as ever.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from assay.models.base import LocalChange
from assay.models.networks.graph import agree
from assay.numerics.rectangles import PasteIndex, Rectangles, Side

_AHEAD = 8  # inputs whose own maps are computed together

_PLACES = 4  # arrangements of rectangles that are remembered: chunks of a size that divides the masks meet few

_POINTWISE = (
    *(
        nn.ReLU,
        nn.ReLU6,
        nn.LeakyReLU,
        nn.ELU,
        nn.GELU,
        nn.SiLU,
        nn.Hardswish,
        nn.Sigmoid,
        nn.Tanh,
        nn.Softplus,
    ),
    *(nn.Identity, nn.Dropout, nn.Dropout2d, nn.BatchNorm2d),
)

_POINTWISE_FUNCTIONS = (
    *(
        torch.relu,
        torch.sigmoid,
        torch.tanh,
        functional.relu,
        functional.relu6,
        functional.leaky_relu,
        functional.gelu,
    ),
    *(functional.silu, functional.softplus, functional.hardswish),
)

_POINTWISE_METHODS = (
    "relu",
    "relu_",
    "sigmoid",
    "tanh",
    "clamp",
    "clamp_min",
    "clamp_max",
    "contiguous",
)

_CHANNELS = (1, -3)

_ARITHMETIC = (
    operator.add,
    operator.iadd,
    operator.sub,
    operator.mul,
    operator.truediv,
    torch.add,
    torch.sub,
    torch.mul,
)


@final
@dataclass(frozen=True, eq=False)
class Patch:
    """The part of a map that differs from the input's own: values (r, channels, height, width) and
    where they lie.
    """

    values: Tensor
    place: Rectangles

    def on(self, values: Tensor) -> Patch:
        """Other values in the same place."""
        return Patch(values, self.place)


@final
class _Clean(fx.Interpreter):
    """Runs a graph on the inputs themselves and keeps every map, as it was before anything
    overwrote it.
    """

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.maps: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        overwrites = n.target is operator.iadd or bool(n.kwargs.get("inplace"))
        if n.op == "call_module":
            overwrites = bool(getattr(self.fetch_attr(str(n.target)), "inplace", False))
        if (
            overwrites
            and isinstance(n.args[0], fx.Node)
            and isinstance(self.env[n.args[0]], Tensor)
        ):
            self.env[n.args[0]] = self.env[n.args[0]].clone()
        self.maps[n] = super().run_node(n)
        return self.maps[n]


@final
class IncrementalNetwork(fx.Interpreter):
    """A network's graph, asked about rows that differ from their input inside a rectangle."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self._clean: dict[fx.Node, Any] = {}
        self._padded: dict[Any, Tensor] = {}
        self._places: dict[Any, Rectangles] = {}
        self._first, self._known = 0, 0
        self._asked = slice(0)
        self._sound = False

    def ask(self, rows: Tensor, change: LocalChange) -> Any:
        """The outputs of images (r, c, h, w) that differ from their owners' inside a rectangle
        each.
        """
        owner = change.place.owner
        first, last = int(owner.min()), int(owner.max()) + 1
        if first < self._first or last > self._first + self._known:
            # Those that come next are run along.
            clean, stop = _Clean(self.module), min(max(last, first + _AHEAD), change.count)  # type: ignore[arg-type]
            clean.run(change.inputs(torch.arange(first, stop, device=rows.device)))
            self._clean, self._first, self._known, self._padded = (
                clean.maps,
                first,
                stop - first,
                {},
            )
        self._asked = slice(first - self._first, last - self._first)
        place = self._remembered(change.place.of(slice(None), owner - first))
        return self.run(Patch(place.crop(rows), place))

    def forget(self) -> None:
        """Lets go of the inputs' own maps."""
        self._clean, self._padded, self._first, self._known = {}, {}, 0, 0

    def _remembered(self, place: Rectangles) -> Rectangles:
        """The place that was asked about before, with all that is known of it."""
        rows = torch.stack([place.top, place.left, place.owner]).cpu().numpy().tobytes()
        key = (rows, place.height, place.width)
        if len(self._places) >= _PLACES and key not in self._places:
            self._places.clear()
        return self._places.setdefault(key, place)

    def fits(self, rows: Tensor, change: LocalChange, output: Callable[[Any], Any]) -> bool:
        """Whether some of the rows are answered as the graph itself answers them; asked once."""
        if not self._sound:
            few = LocalChange(
                change.inputs, change.count, change.place.of(slice(4), change.place.owner[:4])
            )
            try:
                ours = output(self.ask(rows[:4], few))
            except RuntimeError:  # an operation that took a part for the whole
                return False
            self._sound = agree(ours, output(self.module(rows[:4])))
        return self._sound

    def run_node(self, n: fx.Node) -> Any:
        patches = [node for node in n.all_input_nodes if isinstance(self.env[node], Patch)]
        if not patches:
            return super().run_node(n)
        made = self._locally(n)
        if made is None:
            for node in patches:
                self.env[node] = self._whole(node)
            made = super().run_node(n)
        return made

    def _locally(self, n: fx.Node) -> Patch | None:
        """What a node makes of patches, or None where it has to see whole maps."""
        first = self.env[n.args[0]] if n.args and isinstance(n.args[0], fx.Node) else None
        part = self.fetch_attr(str(n.target)) if n.op == "call_module" else None
        if isinstance(first, Patch) and isinstance(part, nn.Conv2d):
            return self._convolved(n.args[0], first, part)  # type: ignore[arg-type]
        if isinstance(first, Patch) and isinstance(part, nn.MaxPool2d | nn.AvgPool2d):
            return self._pooled(n.args[0], first, part)  # type: ignore[arg-type]
        if isinstance(first, Patch) and isinstance(part, nn.ConstantPad2d):
            return _framed(first, part.padding)
        if isinstance(first, Patch) and isinstance(part, _POINTWISE):
            return first.on(part(first.values))
        if n.target is functional.pad and isinstance(first, Patch):
            return _framed(first, *_padding(n))
        if (
            n.op == "call_function"
            and isinstance(first, Patch)
            and n.target in _POINTWISE_FUNCTIONS
        ):
            return first.on(n.target(first.values, *n.args[1:], **n.kwargs))
        if n.op == "call_method" and isinstance(first, Patch) and len(n.all_input_nodes) == 1:
            if n.target in _POINTWISE_METHODS or _turns_channels(n):
                return first.on(getattr(first.values, str(n.target))(*n.args[1:], **n.kwargs))
            return None
        if (
            n.op == "call_function"
            and n.target in _ARITHMETIC
            and not n.kwargs
            and len(n.args) == 2
        ):
            return self._combined(n)
        if (
            n.target is operator.getitem
            and isinstance(first, Patch)
            and len(n.all_input_nodes) == 1
        ):
            return self._sliced(n.args[0], first, n.args[1])  # type: ignore[arg-type]
        return self._joined(n) if n.target is torch.cat else None

    def _combined(self, n: fx.Node) -> Patch | None:
        """A sum or product of two patches, or of a patch and what is the same at every place."""
        values = [self.env[part] if isinstance(part, fx.Node) else part for part in n.args]
        patches = [part for part in values if isinstance(part, Patch)]
        if len(patches) == 2:
            wide = _widest(patches)
            if wide is None:
                return None
            parts = [self._over(node, patch, wide.place) for node, patch in zip(n.args, patches)]  # type: ignore[arg-type]
            return wide.on(n.target(*parts))  # type: ignore[operator]
        other = next(part for part in values if not isinstance(part, Patch))
        if isinstance(other, Tensor) and (
            other.dim() > 4 or any(side != 1 for side in (1, 1, *other.shape)[-2:])
        ):
            return None
        if isinstance(other, Tensor) and other.dim() == 4 and len(other) != 1:
            return None
        return patches[0].on(
            n.target(*(part.values if isinstance(part, Patch) else part for part in values))
        )  # type: ignore[operator]

    def _over(self, node: fx.Node, patch: Patch, place: Rectangles) -> Tensor:
        """A patch over another place, with the inputs' own map around it."""
        if patch.place is place:
            return patch.values
        base = self._clean[node]
        return self._taken(patch.place.over(place, tuple(base.shape[2:])), base, patch)

    def _whole(self, node: fx.Node) -> Tensor:
        """A patch as the whole map that it is a part of."""
        base, patch = self._clean[node], self.env[node]
        return self._taken(patch.place.over_all(tuple(base.shape[2:])), base, patch)

    def _joined(self, n: fx.Node) -> Patch | None:
        """Channels of several patches, one behind the other."""
        parts, dim = n.args[0], n.args[1] if len(n.args) > 1 else n.kwargs.get("dim", 0)
        patches = [self.env[part] for part in parts]  # type: ignore[union-attr,index]
        if dim not in _CHANNELS or not all(isinstance(part, Patch) for part in patches):
            return None
        wide = _widest(patches)
        if wide is None:
            return None
        return wide.on(
            torch.cat([self._over(node, part, wide.place) for node, part in zip(parts, patches)], 1)
        )  # type: ignore[arg-type]

    def _convolved(self, node: fx.Node, patch: Patch, conv: nn.Conv2d) -> Patch | None:
        if conv.padding_mode != "zeros" or isinstance(conv.padding, str):
            return None

        def work(around: Tensor) -> Tensor:
            return functional.conv2d(
                around, conv.weight, conv.bias, conv.stride, 0, conv.dilation, conv.groups
            )

        sides = zip(conv.kernel_size, conv.stride, conv.padding, conv.dilation)
        return self._windowed(node, patch, _sides(sides), 0.0, work)

    def _pooled(
        self, node: fx.Node, patch: Patch, pool: nn.MaxPool2d | nn.AvgPool2d
    ) -> Patch | None:
        settings = [pool.kernel_size, pool.stride, pool.padding]
        if isinstance(pool, nn.MaxPool2d):
            if pool.return_indices:
                return None
            settings.append(pool.dilation)
        elif pool.ceil_mode or (any(_pair(pool.padding)) and not pool.count_include_pad):
            return None

        def work(around: Tensor) -> Tensor:
            if isinstance(pool, nn.MaxPool2d):
                return functional.max_pool2d(
                    around, pool.kernel_size, pool.stride, 0, pool.dilation
                )
            return functional.avg_pool2d(
                around, pool.kernel_size, pool.stride, 0, divisor_override=pool.divisor_override
            )

        sides = _sides(zip(*map(_pair, settings)))
        if pool.ceil_mode:
            down, across = self._clean[node].shape[2:]
            sides = sides[0].rounded_up(down), sides[1].rounded_up(across)
        return self._windowed(
            node, patch, sides, float("-inf") if isinstance(pool, nn.MaxPool2d) else 0.0, work
        )

    def _sliced(self, node: fx.Node, patch: Patch, index: Any) -> Patch | None:
        """Some of the channels, or every so many places, from the first on."""
        if (
            isinstance(index, tuple)
            and len(index) == 2
            and index[0] == slice(None)
            and isinstance(index[1], slice | list)
        ):
            return patch.on(patch.values[index])
        if (
            not isinstance(index, tuple)
            or len(index) != 4
            or not all(isinstance(part, slice) for part in index)
        ):
            return None
        if index[:2] != (slice(None), slice(None)) or any(
            part.start or part.stop is not None or (part.step or 1) < 1 for part in index[2:]
        ):
            return None
        sides = [(1, part.step or 1, 0, 1) for part in index[2:]]
        return self._windowed(node, patch, _sides(sides), 0.0, lambda around: around[index])

    def _windowed(
        self,
        node: fx.Node,
        patch: Patch,
        sides: tuple[Side, Side],
        fill: float,
        work: Callable[[Tensor], Tensor],
    ) -> Patch | None:
        """A sliding window over the places that see a patch; None where these are most of the map."""
        base = self._clean[node]
        seen = patch.place.seen(sides, tuple(base.shape[2:]))
        if seen is None:
            return None
        ends = [
            width for side in reversed(sides) for width in (side.padding, side.padding + side.more)
        ]
        key = (node, *ends, fill)
        if key not in self._padded:
            self._padded[key] = functional.pad(base, ends, value=fill) if any(ends) else base
        gather, place = seen
        return Patch(work(self._taken(gather, self._padded[key], patch)), place)

    def _taken(self, gather: PasteIndex, base: Tensor, patch: Patch) -> Tensor:
        return gather.take(patch.values, base[self._asked])


def _padding(n: fx.Node) -> tuple[Any, str, float]:
    """The widths of a padding, the last axes first, what kind it is, and with what it fills."""
    given = dict(zip(("pad", "mode", "value"), n.args[1:])) | n.kwargs
    return given["pad"], str(given.get("mode", "constant")), float(given.get("value") or 0.0)  # type: ignore[arg-type]


def _framed(patch: Patch, widths: Any, mode: str = "constant", value: float = 0.0) -> Patch | None:
    """A patch of a map with places around it, and with further channels."""
    left, top = ((*widths, 0, 0, 0, 0)[at] for at in (0, 2))
    if mode != "constant" or any(width < 0 for width in widths):
        return None
    further = (
        functional.pad(patch.values, (0, 0, 0, 0, *widths[4:]), value=value)
        if any(widths[4:])
        else patch.values
    )
    return Patch(further, patch.place.moved(top, left) if top or left else patch.place)


def _turns_channels(n: fx.Node) -> bool:
    """Whether it puts the channels in reverse, and nothing else."""
    dims: Any = (
        n.args[1] if len(n.args) == 2 and isinstance(n.args[1], list | tuple) else n.args[1:]
    )
    return n.target == "flip" and not n.kwargs and all(dim in _CHANNELS for dim in dims)


def _pair(setting: int | tuple[int, int]) -> tuple[int, int]:
    return setting if isinstance(setting, tuple) else (setting, setting)


def _sides(sides: Iterable[Any]) -> tuple[Side, Side]:
    down, across = (Side(*side) for side in sides)
    return down, across


def _widest(patches: list[Patch]) -> Patch | None:
    """The patch whose rectangles hold those of all others, if there is one."""
    wide = max(patches, key=lambda patch: patch.values.shape[2:].numel())
    return wide if all(wide.place.holds(patch.place) for patch in patches) else None
