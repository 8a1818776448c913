"""Incremental inference: rows that differ from their input inside a patch are recomputed where the patch reaches.

Behind a convolution a patch has grown by the kernel, and everything else is the input's own activation, computed once
(Nakandala, Kumar and Papakonstantinou 2019). Exact up to rounding. Where a patch has grown over most of the map, or meets an
operation that is not known to be local, the whole map is put together and the rest of the network runs as ever.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from assay.graph import agree

_MOST = 0.6  # the share of a map from which recomputing all of it costs less
_POINTWISE = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Hardswish, nn.Sigmoid, nn.Tanh, nn.Softplus),
    *(nn.Identity, nn.Dropout, nn.Dropout2d, nn.BatchNorm2d),
)
_POINTWISE_FUNCTIONS = (
    *(torch.relu, torch.sigmoid, torch.tanh, functional.relu, functional.relu6, functional.leaky_relu, functional.gelu),
    *(functional.silu, functional.softplus, functional.hardswish),
)
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

Box: TypeAlias = tuple[Tensor, Tensor, int, int]
"""Tops (r,) and lefts (r,) of rectangles, and their common height and width."""


@final
@dataclass(frozen=True, eq=False)
class Near:
    """What rows are near to: their owners (r,), the owners' images by number, and rectangles outside of which both agree."""

    owners: Tensor
    inputs: Callable[[Tensor], Tensor]
    box: Box


@final
@dataclass(frozen=True, eq=False)
class Patch:
    """The part of a map that differs from the input's own: values (r, channels, height, width) and where they lie."""

    values: Tensor
    top: Tensor
    left: Tensor

    @property
    def box(self) -> Box:
        """Where it lies."""
        return self.top, self.left, self.values.shape[2], self.values.shape[3]

    def along(self, axis: int) -> tuple[Tensor, int]:
        """Where it begins on one axis, and how long it is there."""
        return (self.top, self.left)[axis], self.values.shape[2 + axis]

    def on(self, values: Tensor) -> Patch:
        """Other values in the same place."""
        return Patch(values, self.top, self.left)


def boxes(down: Tensor, across: Tensor) -> Box:
    """The smallest rectangles of a common size, inside of the map, that hold the places whose rows (m, height) and columns
    (m, width) are named.
    """
    ends = []
    for some in (down, across):
        length, seen = some.shape[1], some.to(torch.uint8)
        first, last = seen.argmax(dim=1), length - seen.flip(1).argmax(dim=1)
        size = int(torch.where(some.any(dim=1), last - first, 1).max())
        ends.append((first.clamp_max(length - size), size))
    (top, height), (left, width) = ends
    return top, left, height, width


def region(base: Tensor, owners: Tensor, patch: Patch | None, box: Box) -> Tensor:
    """The map of every row over a rectangle: its patch where that lies, its owner's own map (k, c, h, w) elsewhere."""
    top, left, height, width = box
    channels, across = base.shape[1], base.shape[3]
    y = top[:, None] + torch.arange(height, device=top.device)
    x = left[:, None] + torch.arange(width, device=top.device)
    at = (owners[:, None] * base.shape[2] + y)[:, :, None] * across + x[:, None, :]
    table = base.permute(0, 2, 3, 1).reshape(-1, channels)
    if patch is not None:
        own_top, own_left, high, wide = patch.box
        down, over = y - own_top[:, None], x - own_left[:, None]
        inside = ((down >= 0) & (down < high))[:, :, None] & ((over >= 0) & (over < wide))[:, None, :]
        number = torch.arange(len(top), device=top.device)[:, None]
        own = (number * high + down)[:, :, None] * wide + over[:, None, :]
        at = torch.where(inside, own + len(table), at)
        table = torch.cat([table, patch.values.permute(0, 2, 3, 1).reshape(-1, channels)])
    return table.index_select(0, at.flatten()).view(len(top), height, width, channels).permute(0, 3, 1, 2)


@final
class _Clean(fx.Interpreter):
    """Runs a graph on the inputs themselves and keeps every map, as it was before anything overwrote it."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.maps: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        overwrites = n.target is operator.iadd or bool(n.kwargs.get("inplace"))
        if n.op == "call_module":
            overwrites = bool(getattr(self.fetch_attr(str(n.target)), "inplace", False))
        if overwrites and isinstance(n.args[0], fx.Node) and isinstance(self.env[n.args[0]], Tensor):
            self.env[n.args[0]] = self.env[n.args[0]].clone()
        self.maps[n] = super().run_node(n)
        return self.maps[n]


@final
class Local(fx.Interpreter):
    """A network's graph, asked about rows that differ from their input inside a rectangle."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self._clean: dict[fx.Node, Any] = {}
        self._known: tuple[int, ...] = ()
        self._owners = torch.zeros(0, dtype=torch.int64)
        self._sound = False

    def ask(self, rows: Tensor, near: Near) -> Any:
        """The outputs of images (r, c, h, w) that differ from their owners' inside a rectangle each."""
        numbers, self._owners = torch.unique(near.owners, return_inverse=True)
        if tuple(numbers.tolist()) != self._known:
            clean = _Clean(self.module)  # type: ignore[arg-type]
            clean.run(near.inputs(numbers))
            self._clean, self._known = clean.maps, tuple(numbers.tolist())
        every = torch.arange(len(rows), device=rows.device)
        return self.run(Patch(region(rows, every, None, near.box), *near.box[:2]))

    def fits(self, rows: Tensor, near: Near, output: Callable[[Any], Any]) -> bool:
        """Whether some of the rows are answered as the graph itself answers them; asked once."""
        if not self._sound:
            few = Near(near.owners[:4], near.inputs, (near.box[0][:4], near.box[1][:4], *near.box[2:]))
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
        if isinstance(first, Patch) and isinstance(part, nn.MaxPool2d):
            return self._pooled(n.args[0], first, part)  # type: ignore[arg-type]
        if isinstance(first, Patch) and isinstance(part, _POINTWISE):
            return first.on(part(first.values))
        if n.op == "call_function" and isinstance(first, Patch) and n.target in _POINTWISE_FUNCTIONS:
            return first.on(n.target(first.values, *n.args[1:], **n.kwargs))
        if n.op == "call_function" and n.target in _ARITHMETIC and not n.kwargs and len(n.args) == 2:
            return self._combined(n)
        return self._joined(n) if n.target is torch.cat else None

    def _combined(self, n: fx.Node) -> Patch | None:
        """A sum or product of two patches, or of a patch and what is the same at every place."""
        values = [self.env[part] if isinstance(part, fx.Node) else part for part in n.args]
        patches = [part for part in values if isinstance(part, Patch)]
        if len(patches) == 2:
            wide = _widest(patches)
            if wide is None:
                return None
            parts = [self._over(node, patch, wide.box) for node, patch in zip(n.args, patches)]  # type: ignore[arg-type]
            return wide.on(n.target(*parts))  # type: ignore[operator]
        other = next(part for part in values if not isinstance(part, Patch))
        if isinstance(other, Tensor) and (other.dim() > 4 or any(side != 1 for side in (1, 1, *other.shape)[-2:])):
            return None
        if isinstance(other, Tensor) and other.dim() == 4 and len(other) != 1:
            return None
        return patches[0].on(n.target(*(part.values if isinstance(part, Patch) else part for part in values)))  # type: ignore[operator]

    def _over(self, node: fx.Node, patch: Patch, box: Box) -> Tensor:
        """A patch over another rectangle, with the inputs' own map around it."""
        same = patch.box[2:] == box[2:] and torch.equal(patch.top, box[0]) and torch.equal(patch.left, box[1])
        return patch.values if same else region(self._clean[node], self._owners, patch, box)

    def _whole(self, node: fx.Node) -> Tensor:
        """A patch as the whole map that it is a part of."""
        corner, patch = torch.zeros_like(self._owners), self.env[node]
        return region(self._clean[node], self._owners, patch, (corner, corner, *self._clean[node].shape[2:]))

    def _joined(self, n: fx.Node) -> Patch | None:
        """Channels of several patches, one behind the other."""
        parts, dim = n.args[0], n.args[1] if len(n.args) > 1 else n.kwargs.get("dim", 0)
        patches = [self.env[part] for part in parts]  # type: ignore[union-attr,index]
        if dim not in (1, -3) or not all(isinstance(part, Patch) for part in patches):
            return None
        wide = _widest(patches)
        if wide is None:
            return None
        return wide.on(torch.cat([self._over(node, part, wide.box) for node, part in zip(parts, patches)], 1))  # type: ignore[arg-type]

    def _convolved(self, node: fx.Node, patch: Patch, conv: nn.Conv2d) -> Patch | None:
        if conv.padding_mode != "zeros" or isinstance(conv.padding, str):
            return None

        def work(around: Tensor) -> Tensor:
            return functional.conv2d(around, conv.weight, conv.bias, conv.stride, 0, conv.dilation, conv.groups)

        sides = zip(conv.kernel_size, conv.stride, conv.padding, conv.dilation)
        return self._windowed(node, patch, list(sides), 0.0, work)

    def _pooled(self, node: fx.Node, patch: Patch, pool: nn.MaxPool2d) -> Patch | None:
        if pool.ceil_mode or pool.return_indices:
            return None

        def work(around: Tensor) -> Tensor:
            return functional.max_pool2d(around, pool.kernel_size, pool.stride, 0, pool.dilation)

        sides = zip(*map(_pair, (pool.kernel_size, pool.stride, pool.padding, pool.dilation)))
        return self._windowed(node, patch, list(sides), float("-inf"), work)

    def _windowed(
        self,
        node: fx.Node,
        patch: Patch,
        sides: list[tuple[int, int, int, int]],
        fill: float,
        work: Callable[[Tensor], Tensor],
    ) -> Patch | None:
        """A sliding window over the places that see a patch; None where these are most of the map."""
        base, seen, taken = self._clean[node], [], []
        for axis, (kernel, stride, padding, dilation) in enumerate(sides):
            start, size = patch.along(axis)
            reach = dilation * (kernel - 1)
            length = (base.shape[2 + axis] + 2 * padding - reach - 1) // stride + 1
            count = min((size - 1 + reach) // stride + 1, length)
            first = (-((reach - start - padding) // stride)).clamp(0, length - count)
            seen.append((first, count, length))
            taken.append((first * stride, (count - 1) * stride + reach + 1, padding))
        if seen[0][1] * seen[1][1] > _MOST * seen[0][2] * seen[1][2]:
            return None
        (top, height, down), (left, width, over) = taken
        padded = functional.pad(base, (over, over, down, down), value=fill)
        moved = Patch(patch.values, patch.top + down, patch.left + over)
        return Patch(work(region(padded, self._owners, moved, (top, left, height, width))), seen[0][0], seen[1][0])


def _pair(setting: int | tuple[int, int]) -> tuple[int, int]:
    return setting if isinstance(setting, tuple) else (setting, setting)


def _widest(patches: list[Patch]) -> Patch | None:
    """The patch whose rectangles hold those of all others, if there is one."""
    wide = max(patches, key=lambda patch: patch.values.shape[2:].numel())
    for patch in patches:
        for axis in (0, 1):
            (start, size), (first, most) = patch.along(axis), wide.along(axis)
            if bool(((start < first) | (start + size > first + most)).any()):
                return None
    return wide
