"""Incremental inference: rows that differ from their input inside a patch are recomputed where the
patch reaches (Nakandala, Kumar and Papakonstantinou 2019).

Behind a convolution a patch has grown by the kernel, and everything else is the input's own
activation, computed once. Exact up to rounding. Where a patch has grown over most of the map, or
meets an operation that is not known to be local, the whole map is put together and the rest of the
network runs as ever. `docs/incremental.md` derives it and says what it gains.

The graph is interpreted node by node (`IncrementalNetwork`); `LocalOperations` says what a node
makes of patches; `Arrangement` remembers where they lie.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar, cast, final

import torch
from torch import Tensor, fx, nn
from torch.nn import functional
from torch.nn.utils.parametrize import is_parametrized

from assay.engine import out_of_memory
from assay.models.base import LocalChange
from assay.models.networks.graph import agree, inputs_of, reached_from, run
from assay.numerics.rectangles import PasteIndex, Rectangles, Side

T = TypeVar("T")

_PREFETCHED = 8  # inputs whose clean activations are computed together

_ARRANGEMENTS = 4  # remembered: with a chunk size that divides the number of masks few recur

_CHECKED_ROWS = 4  # rows of the first chunk that are also asked of the whole graph

_CHECKED_ROWS_AGAIN = 2  # rows of a chunk of another kind that are

_CHANNELS = (1, -3)

# Operations that treat every place of a map alike and look at no other.
_POINTWISE = (
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
    nn.Identity,
    nn.Dropout,
    nn.Dropout2d,
    nn.BatchNorm2d,
)

_POINTWISE_FUNCTIONS = (
    torch.relu,
    torch.sigmoid,
    torch.tanh,
    functional.relu,
    functional.relu6,
    functional.leaky_relu,
    functional.gelu,
    functional.silu,
    functional.softplus,
    functional.hardswish,
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

_CONCATENATIONS = (torch.cat, torch.concat, torch.concatenate)

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
    rectangles: Rectangles

    def with_values(self, values: Tensor) -> Patch:
        """Other values in the same rectangles."""
        return Patch(values, self.rectangles)


@final
class Arrangement:
    """Where the patches of a chunk begin, and what follows from it at every node of the graph: each
    worked out once, since chunks with the same rectangles come again and again.
    """

    def __init__(self, rectangles: Rectangles) -> None:
        self.rectangles = rectangles
        self._results: dict[tuple[str, tuple[fx.Node, ...]], Any] = {}

    def once(self, what: str, nodes: tuple[fx.Node, ...], compute: Callable[[], T]) -> T:
        """What `compute` gives for these nodes; it must depend on nothing else."""
        key = (what, nodes)
        if key not in self._results:
            self._results[key] = compute()
        return cast(T, self._results[key])


@final
class CleanActivations(fx.Interpreter):
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
        # The node writes on a copy, so that the map of its argument is kept as it was.
        argument = next(iter(n.args), None)
        is_map = isinstance(argument, fx.Node) and isinstance(self.env[argument], Tensor)
        if overwrites and isinstance(argument, fx.Node) and is_map:
            self.env[argument] = self.env[argument].clone()
        self.maps[n] = super().run_node(n)
        return self.maps[n]


@final
class IncrementalNetwork(fx.Interpreter):
    """A network's graph, asked about rows that differ from their input inside a rectangle."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self._of_rows = reached_from(graph, inputs_of(graph))
        # The clean maps of inputs first..first + count - 1, by node, and the same with padding.
        self._clean: dict[fx.Node, Any] = {}
        self._padded: dict[tuple[fx.Node, tuple[int, ...], float], Tensor] = {}
        self._first = 0
        self._count = 0
        # The inputs of the chunk at hand, counted from the first whose maps are kept.
        self._owners = slice(0)
        self._arrangements: dict[tuple[bytes, int, int, tuple[int, int]], Arrangement] = {}
        self._arrangement: Arrangement
        # The kinds of chunks whose answers were those of the graph.
        self._checked: set[tuple[Any, ...]] = set()

    # --- what is asked

    def ask(self, rows: Tensor, change: LocalChange) -> Any:
        """The outputs of images (r, c, h, w) that differ from their owners' inside a rectangle
        each.
        """
        owner = change.rectangles.owner
        first = int(owner.min())
        last = int(owner.max()) + 1
        if first < self._first or last > self._first + self._count:
            self._compute_clean(first, last, change, rows.device)
        self._owners = slice(first - self._first, last - self._first)
        # Owners are counted within the chunk, so that chunks of other inputs are arranged alike.
        rectangles = change.rectangles.of(slice(None), owner - first)
        shape = (rows.shape[2], rows.shape[3])
        arrangement = self._arrangement_of(rectangles, shape)
        index = arrangement.once("crop", (), lambda: rectangles.crop_index(shape))
        self._arrangement = arrangement
        patches = arrangement.rectangles.crop(rows, index)
        return run(self, Patch(patches, arrangement.rectangles))

    def checked_outputs(
        self, rows: Tensor, change: LocalChange, output: Callable[[Any], Any]
    ) -> Tensor | None:
        """What is read of the answers of a chunk, or None where they are not to be had of patches.

        Of every kind of chunk (its length, its rectangles, the images' size) some rows are also
        asked of the whole graph, the first and the last among them: a last chunk of one row, or
        images of another size, may be wrong where the first chunk was right.
        """
        kind = (rows.shape, change.rectangles.height, change.rectangles.width)
        try:
            outputs: Tensor = output(self.ask(rows, change))
            if kind not in self._checked:
                at = self._some_rows(len(rows))
                if not agree(outputs[at], output(self.module(rows[at]))):
                    return None
                self._checked.add(kind)
        except Exception as error:  # an operation that depends on the whole map may raise anything
            # The engine answers this one with smaller chunks.
            if out_of_memory(error):
                raise
            return None
        return outputs

    def _some_rows(self, count: int) -> list[int]:
        """Rows of a chunk that are checked, from the first to the last."""
        checked = _CHECKED_ROWS_AGAIN if self._checked else _CHECKED_ROWS
        spread = torch.linspace(0, count - 1, min(checked, count)).round().to(torch.int64)
        return cast(list[int], spread.tolist())

    def forget(self) -> None:
        """Lets go of the inputs' clean maps, and of what was checked on these inputs."""
        self._checked.clear()
        self._clean = {}
        self._padded = {}
        self._first = 0
        self._count = 0

    def _compute_clean(
        self, first: int, last: int, change: LocalChange, device: torch.device
    ) -> None:
        # Chunks go through the inputs in order: the next ones are computed along.
        stop = min(max(last, first + _PREFETCHED), change.count)
        clean = CleanActivations(cast(fx.GraphModule, self.module))
        run(clean, change.inputs(torch.arange(first, stop, device=device)))
        self._clean = clean.maps
        self._padded = {}
        self._first = first
        self._count = stop - first

    def _arrangement_of(self, rectangles: Rectangles, shape: tuple[int, int]) -> Arrangement:
        """The arrangement of these rectangles on images (h, w), the one that was remembered if they
        came before.
        """
        places = torch.stack([rectangles.top, rectangles.left, rectangles.owner])
        # By value: each chunk brings new tensors, most often with the same places.
        where = places.cpu().numpy().tobytes()
        key = (where, rectangles.height, rectangles.width, shape)
        if len(self._arrangements) >= _ARRANGEMENTS and key not in self._arrangements:
            self._arrangements.clear()
        return self._arrangements.setdefault(key, Arrangement(rectangles))

    # --- node by node

    def run_node(self, n: fx.Node) -> Any:
        """What a node makes of its arguments: locally where it can, of whole maps where not."""
        patches = [node for node in n.all_input_nodes if isinstance(self.env[node], Patch)]
        if not patches:
            return super().run_node(n)
        # Everything else puts whole maps together and goes on with them.
        local = LocalOperations(self, n).result()
        if local is not None:
            return local
        for node in patches:
            self.env[node] = self._whole(node)
        return super().run_node(n)

    def _whole(self, node: fx.Node) -> Tensor:
        """A patch as the whole map that it is a part of."""
        patch = self.env[node]
        shape = self.map_shape(node)
        rectangles = patch.rectangles
        index = self._arrangement.once(
            "whole", (node,), lambda: rectangles.paste_index_of_whole(shape)
        )
        return self.pasted(index, self._clean[node], patch)

    # --- what local operations ask

    def is_of_rows(self, argument: Any) -> bool:
        """Whether an argument of a node depends on the rows that are asked about."""
        return argument in self._of_rows

    def map_shape(self, node: fx.Node) -> tuple[int, int]:
        """Height and width of a node's map."""
        height, width = self._clean[node].shape[2:]
        return height, width

    def once(self, what: str, nodes: tuple[fx.Node, ...], compute: Callable[[], T]) -> T:
        """What follows from where the patches of the chunk lie, worked out once."""
        return self._arrangement.once(what, nodes, compute)

    def pasted(self, index: PasteIndex, maps: Tensor, patch: Patch) -> Tensor:
        """A patch, and around it the maps of the chunk's inputs."""
        return index.take(patch.values, maps[self._owners])

    def pasted_over(self, node: fx.Node, argument: fx.Node, rectangles: Rectangles) -> Tensor:
        """The patch of a node's argument over other rectangles, the input's own map around it."""
        patch: Patch = self.env[argument]
        if patch.rectangles is rectangles:
            return patch.values
        shape = self.map_shape(argument)
        index = self.once(
            "over", (node, argument), lambda: patch.rectangles.paste_index(rectangles, shape)
        )
        return self.pasted(index, self._clean[argument], patch)

    def padded_map(self, node: fx.Node, sides: tuple[Side, Side], fill: float) -> Tensor:
        """The clean maps of a node with the places that a window sees beyond their ends."""
        down, across = sides
        widths = (
            across.padding,
            across.padding + across.more,
            down.padding,
            down.padding + down.more,
        )
        if not any(widths):
            return cast(Tensor, self._clean[node])
        # Kept with the clean maps, since every chunk on the same inputs reads them.
        key = (node, widths, fill)
        if key not in self._padded:
            self._padded[key] = functional.pad(self._clean[node], widths, value=fill)
        return self._padded[key]


@final
class LocalOperations:
    """What one node of the graph makes of patches, if it is local."""

    def __init__(self, network: IncrementalNetwork, node: fx.Node) -> None:
        self._network = network
        self._node = node
        self._first = next(iter(node.args), None)

    def result(self) -> Patch | None:
        """The patch behind the node, or None where it has to see whole maps."""
        by_kind = {
            "call_module": self._module,
            "call_function": self._function,
            "call_method": self._method,
        }
        operation = by_kind.get(self._node.op)
        if operation is None:
            return None
        return operation()

    @property
    def _patch(self) -> Patch | None:
        """The node's first argument, if that is a patch."""
        value = self._value(self._first)
        return value if isinstance(value, Patch) else None

    @property
    def _source(self) -> fx.Node:
        """The node that the first argument comes from."""
        return cast(fx.Node, self._first)

    @property
    def _further(self) -> tuple[Any, ...]:
        return tuple(self._node.args[1:])

    def _value(self, argument: Any) -> Any:
        return self._network.env[argument] if isinstance(argument, fx.Node) else argument

    # --- by kind of node

    def _module(self) -> Patch | None:
        patch = self._patch
        module = self._network.fetch_attr(str(self._node.target))
        if patch is None:
            return None
        if isinstance(module, nn.Conv2d):
            return self._convolved(patch, module)
        if isinstance(module, nn.MaxPool2d):
            return self._max_pooled(patch, module)
        if isinstance(module, nn.AvgPool2d):
            return self._average_pooled(patch, module)
        if isinstance(module, nn.ConstantPad2d):
            # What it fills with is part of the clean map: only the place of the patch moves.
            return _framed(patch, module.padding)
        if isinstance(module, _POINTWISE):
            return patch.with_values(module(patch.values))
        return None

    def _function(self) -> Patch | None:
        node = self._node
        patch = self._patch
        target = cast(Callable[..., Any], node.target)
        if target in _CONCATENATIONS:
            return self._concatenated()
        if target in _ARITHMETIC and not node.kwargs and len(node.args) == 2:
            return self._combined(target)
        if patch is None:
            return None
        if target is functional.pad:
            return self._padded(patch)
        if target in _POINTWISE_FUNCTIONS:
            return self._pointwise(patch, target)
        if target is operator.getitem and len(node.all_input_nodes) == 1:
            return self._sliced(patch, node.args[1])
        return None

    def _method(self) -> Patch | None:
        node = self._node
        patch = self._patch
        if patch is None or len(node.all_input_nodes) != 1:
            return None
        if node.target in _POINTWISE_METHODS or _reverses_channels(node):
            return self._pointwise(patch, getattr(Tensor, str(node.target)))
        return None

    def _pointwise(self, patch: Patch, operation: Callable[..., Any]) -> Patch | None:
        """An operation on every place alike; its settings must be plain, or a map is among them."""
        further: Any = fx.node.map_arg(self._further, self._value)
        named: Any = fx.node.map_arg(self._node.kwargs, self._value)
        if any(isinstance(value, Tensor | Patch) for value in (*further, *named.values())):
            return None
        return patch.with_values(operation(patch.values, *further, **named))

    def _padded(self, patch: Patch) -> Patch | None:
        """A frame around a map, whose widths and filling may be worked out from sizes."""
        names = ("pad", "mode", "value")
        settings: dict[str, Any] = dict(zip(names, self._further)) | self._node.kwargs
        settings.pop("input", None)
        named: Any = fx.node.map_arg(settings, self._value)
        if any(isinstance(value, Tensor | Patch) for value in named.values()):
            return None
        value = float(named.get("value") or 0.0)
        return _framed(patch, named["pad"], str(named.get("mode", "constant")), value)

    # --- several patches

    def _combined(self, operation: Callable[..., Any]) -> Patch | None:
        """A sum or product of two patches, or of a patch and what is the same at every place."""
        arguments = self._node.args
        values = [self._value(argument) for argument in arguments]
        if all(isinstance(value, Patch) for value in values):
            # A map that is stretched over another (its means, one for each line) has other places.
            if not self._same_size(cast(Any, arguments)):
                return None
            widest = self._widest(cast(Any, arguments))
            if widest is None:
                return None
            return widest.with_values(operation(*self._over(cast(Any, arguments), widest)))
        # A patch and something else: it must not matter where on the map the patch lies.
        at, other = next(
            (argument, value)
            for argument, value in zip(arguments, values)
            if not isinstance(value, Patch)
        )
        # A chunk of one row does not turn a factor of each row into one of all.
        if isinstance(other, Tensor) and (
            self._network.is_of_rows(at) or not _alike_everywhere(other)
        ):
            return None
        operands = [value.values if isinstance(value, Patch) else value for value in values]
        patch = next(value for value in values if isinstance(value, Patch))
        return patch.with_values(operation(*operands))

    def _concatenated(self) -> Patch | None:
        """Channels of several patches, one behind the other."""
        settings = dict(zip(("tensors", "dim"), self._node.args)) | self._node.kwargs
        parts: Any = settings.get("tensors")
        if not isinstance(parts, list | tuple) or settings.get("dim", 0) not in _CHANNELS:
            return None
        if not all(isinstance(self._value(part), Patch) for part in parts):
            return None
        if not self._same_size(parts):
            return None
        widest = self._widest(parts)
        if widest is None:
            return None
        return widest.with_values(torch.cat(self._over(parts, widest), 1))

    def _same_size(self, arguments: Iterable[fx.Node]) -> bool:
        """Whether the maps that patches are parts of have the same height and width."""
        return len({self._network.map_shape(argument) for argument in arguments}) == 1

    def _over(self, arguments: Iterable[fx.Node], widest: Patch) -> list[Tensor]:
        """The patches of some arguments, all over the rectangles of the widest."""
        network = self._network
        node = self._node
        return [network.pasted_over(node, part, widest.rectangles) for part in arguments]

    def _widest(self, arguments: Iterable[fx.Node]) -> Patch | None:
        """The patch whose rectangles hold those of all others, if there is one."""
        patches: list[Patch] = [self._value(argument) for argument in arguments]
        widest = max(patches, key=lambda patch: patch.values.shape[2:].numel())
        rectangles = widest.rectangles
        holds_all = self._network.once(
            "widest",
            (self._node,),
            lambda: all(rectangles.holds(patch.rectangles) for patch in patches),
        )
        return widest if holds_all else None

    # --- sliding windows

    def _convolved(self, patch: Patch, conv: nn.Conv2d) -> Patch | None:
        # A kind of its own may compute something else; with computed weights it has a class of its own.
        if type(conv) is not nn.Conv2d and not is_parametrized(conv):
            return None
        # Other paddings read the map at its far end, which is no place of the patch's own.
        if conv.padding_mode != "zeros" or isinstance(conv.padding, str):
            return None

        def slide(seen: Tensor) -> Tensor:
            return functional.conv2d(
                seen, conv.weight, conv.bias, conv.stride, 0, conv.dilation, conv.groups
            )

        sides = _sides(conv.kernel_size, conv.stride, conv.padding, conv.dilation)
        return self._windowed(patch, sides, 0.0, slide)

    def _max_pooled(self, patch: Patch, pool: nn.MaxPool2d) -> Patch | None:
        if pool.return_indices:
            return None

        def slide(seen: Tensor) -> Tensor:
            return functional.max_pool2d(seen, pool.kernel_size, pool.stride, 0, pool.dilation)

        sides = _sides(pool.kernel_size, pool.stride, pool.padding, pool.dilation)
        if pool.ceil_mode:
            # The clean map is padded at the far end until the last window fits.
            down, across = self._network.map_shape(self._source)
            sides = sides[0].rounded_up(down), sides[1].rounded_up(across)
        return self._windowed(patch, sides, float("-inf"), slide)

    def _average_pooled(self, patch: Patch, pool: nn.AvgPool2d) -> Patch | None:
        # A window at the end then divides by another number than one in the middle.
        pads_uncounted = any(_pair(pool.padding)) and not pool.count_include_pad
        if pool.ceil_mode or pads_uncounted:
            return None

        def slide(seen: Tensor) -> Tensor:
            return functional.avg_pool2d(
                seen, pool.kernel_size, pool.stride, 0, divisor_override=pool.divisor_override
            )

        return self._windowed(
            patch, _sides(pool.kernel_size, pool.stride, pool.padding), 0.0, slide
        )

    def _sliced(self, patch: Patch, index: Any) -> Patch | None:
        """Some of the channels, or every so many places, from the first on."""
        if _picks_channels(index):
            return patch.with_values(patch.values[index])
        if not _picks_every_so_many_places(index):
            return None
        strides = (index[2].step or 1, index[3].step or 1)
        sides = _sides((1, 1), strides, (0, 0))
        return self._windowed(patch, sides, 0.0, lambda seen: seen[index])

    def _windowed(
        self,
        patch: Patch,
        sides: tuple[Side, Side],
        fill: float,
        slide: Callable[[Tensor], Tensor],
    ) -> Patch | None:
        """A sliding window over what sees a patch; None where that is most of the map."""
        network = self._network
        source = self._source
        shape = network.map_shape(source)
        affected = network.once(
            "affected",
            (self._node,),
            lambda: patch.rectangles.affected_outputs(sides, shape),
        )
        if affected is None:
            return None
        index, rectangles = affected
        seen = network.pasted(index, network.padded_map(source, sides, fill), patch)
        return Patch(slide(seen), rectangles)


def _alike_everywhere(tensor: Tensor) -> bool:
    """Whether a tensor that meets maps holds one number for each channel, for all rows."""
    height, width = (1, 1, *tensor.shape)[-2:]
    if tensor.dim() > 4 or height != 1 or width != 1:
        return False
    return tensor.dim() < 4 or len(tensor) == 1


def _picks_channels(index: Any) -> bool:
    """Whether an index is [:, channels]."""
    return (
        isinstance(index, tuple)
        and len(index) == 2
        and index[0] == slice(None)
        and isinstance(index[1], slice | list)
    )


def _picks_every_so_many_places(index: Any) -> bool:
    """Whether an index is [:, :, ::down, ::across]."""
    if not isinstance(index, tuple) or len(index) != 4:
        return False
    if not all(isinstance(part, slice) for part in index):
        return False
    if index[:2] != (slice(None), slice(None)):
        return False
    return not any(
        part.start or part.stop is not None or (part.step or 1) < 1 for part in index[2:]
    )


def _framed(patch: Patch, widths: Any, mode: str = "constant", value: float = 0.0) -> Patch | None:
    """A patch of a map with places around it, and with further channels."""
    if mode != "constant" or any(width < 0 for width in widths):
        return None
    # Widths come in pairs from the last axis on: left, right, top, bottom, channels.
    left, _, top = (*widths, 0, 0)[:3]
    channels = widths[4:]
    values = patch.values
    if any(channels):
        values = functional.pad(values, (0, 0, 0, 0, *channels), value=value)
    rectangles = patch.rectangles
    if top or left:
        rectangles = rectangles.moved(top, left)
    return Patch(values, rectangles)


def _reverses_channels(node: fx.Node) -> bool:
    """Whether a method puts the channels in reverse, and nothing else."""
    dims: Any = node.args[1:]
    if len(dims) == 1 and isinstance(dims[0], list | tuple):
        dims = dims[0]
    return node.target == "flip" and not node.kwargs and all(dim in _CHANNELS for dim in dims)


def _pair(setting: Any) -> tuple[int, int]:
    return setting if isinstance(setting, tuple) else (setting, setting)


def _sides(*settings: Any) -> tuple[Side, Side]:
    """A window along both axes, from kernel, stride, padding and dilation: one number or two."""
    pairs = [_pair(setting) for setting in settings]
    down, across = zip(*pairs)
    return Side(*down), Side(*across)
