"""A network captured as a graph (torch.fx), and split at a layer.

A capture is used only after it has answered a sample of rows like the network itself; elsewhere the
caller falls back and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, fx, nn

_TOLERANCE = 1e-5  # of two forms of a network in single precision, relative to the largest output

_TOLERANCE_DOUBLE = 1e-10  # the same in double precision

_SMALLEST_SCALE = 1e-3  # outputs below this are compared absolutely


@final
class _Tracer(fx.Tracer):
    """Traces through everything but torch's own modules and the layers that are asked for."""

    def __init__(self, keep: frozenset[str]) -> None:
        super().__init__()
        self._keep = keep

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if module_qualified_name in self._keep:
            return True
        return super().is_leaf_module(m, module_qualified_name)


def capture(module: nn.Module, keep: frozenset[str] = frozenset()) -> fx.GraphModule | None:
    """The module as a graph, or None where its forward cannot be traced or a hook listens to it."""
    if isinstance(module, torch.jit.ScriptModule | fx.GraphModule) or listened(module):
        return None
    try:
        graph = _Tracer(keep).trace(module)
    except Exception:  # whatever a user's forward may raise on proxies: it then cannot be captured
        return None
    return fx.GraphModule(module, graph)


def listened(module: nn.Module) -> bool:
    """Whether hooks listen to the module or a part of it."""
    names = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return any(getattr(part, name) for part in module.modules() for name in names)


def agree(ours: Any, theirs: Any) -> bool:
    """Whether two answers are the same up to rounding."""
    if not isinstance(ours, Tensor) or not isinstance(theirs, Tensor) or ours.shape != theirs.shape:
        return False
    if not theirs.numel() or not bool(torch.isfinite(theirs).all()):
        return False
    scale = float(theirs.abs().max())
    # Relative to the largest output: folded batch norms differ by some units in the last place.
    tolerance = _TOLERANCE_DOUBLE if theirs.dtype == torch.float64 else _TOLERANCE
    return float((ours - theirs).abs().max()) <= tolerance * max(scale, _SMALLEST_SCALE)


@final
@dataclass(frozen=True)
class Split:
    """A network in two parts: `before(*inputs) -> (activation, *carried)` and `behind(activation,
    *carried) -> outputs`.
    """

    before: fx.GraphModule
    behind: fx.GraphModule


def split(
    module: nn.Module, layer: str, sample: Sequence[Any], output: Callable[[Any], Any]
) -> Split | None:
    """The network split behind one layer, or None where it cannot be captured; what skips past the
    layer is carried along.
    """
    captured = capture(module, frozenset({layer}))
    if captured is None:
        return None
    layer_calls = [node for node in captured.graph.nodes if _calls(node, layer)]
    # A layer that is called twice has no one place to cut at.
    if len(layer_calls) != 1:
        return None
    (at,) = layer_calls
    recorder = _Recorder(captured)
    expected = output(recorder.run(*sample))
    dependencies = _Dependencies.of(captured, at, recorder.values)
    before = _before(captured, at, dependencies.carried)
    behind = _behind(captured, at, dependencies)
    parts = before(*sample)
    if not all(_has_rows(part, len(expected)) for part in parts):
        return None
    if not agree(output(behind(*parts)), expected):
        return None
    # Rows in another order, and one of them twice: what only looks as if it had a row per input,
    # or has a number of rows built in, is found out.
    mixed_up = torch.arange(len(expected), device=expected.device).flip(0).repeat(2)
    rows = mixed_up[: len(expected) + 1]
    try:
        # Interpreted, since a graph that is called prints before it raises.
        mixed = output(fx.Interpreter(behind).run(*(part[rows] for part in parts)))
    except RuntimeError:
        return None
    return Split(before, behind) if agree(mixed, expected[rows]) else None


def calls(module: nn.Module, layer: str) -> int | None:
    """How often a forward calls the layer, or None where the network cannot be captured."""
    captured = capture(module, frozenset({layer}))
    if captured is None:
        return None
    return sum(_calls(node, layer) for node in captured.graph.nodes)


def _calls(node: fx.Node, layer: str) -> bool:
    return node.op == "call_module" and node.target == layer


def _has_rows(part: Any, rows: int) -> bool:
    return isinstance(part, Tensor) and part.dim() > 0 and len(part) == rows


@final
class _Recorder(fx.Interpreter):
    """Runs a graph and remembers every node's value."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.values: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        self.values[n] = value
        return value


@final
@dataclass(frozen=True, eq=False)
class _Dependencies:
    """How the rest of a graph hangs on one of its nodes.

    Settings:
        downstream: nodes that depend on it, itself among them.
        carried: tensors with a row for each input that downstream nodes need beside it.
        recomputed: what they need that has no rows: sizes, constants, weights.
    """

    downstream: frozenset[fx.Node]
    carried: tuple[fx.Node, ...]
    recomputed: frozenset[fx.Node]

    @classmethod
    def of(cls, captured: fx.GraphModule, at: fx.Node, values: dict[fx.Node, Any]) -> _Dependencies:
        downstream = _reached_from(captured, {at})
        placeholders = {node for node in captured.graph.nodes if node.op == "placeholder"}
        # Values that depend on no input are constants, even if their first dimension happens to
        # equal the number of rows.
        with_rows = _reached_from(captured, placeholders, values)
        carried: list[fx.Node] = []
        recomputed: list[fx.Node] = []

        def need(node: fx.Node) -> None:
            if node in downstream or node in carried or node in recomputed:
                return
            if node in with_rows:
                carried.append(node)
                return
            # Sizes are worked out again: a batch size must be that of the chunk.
            for argument in node.all_input_nodes:
                need(argument)
            recomputed.append(node)

        for node in captured.graph.nodes:
            if node in downstream and node is not at:
                for argument in node.all_input_nodes:
                    need(argument)
        return cls(downstream, tuple(carried), frozenset(recomputed))


def _reached_from(
    captured: fx.GraphModule, roots: set[fx.Node], values: dict[fx.Node, Any] | None = None
) -> frozenset[fx.Node]:
    """The roots and all nodes that depend on them; with values, by way of tensors alone."""
    reached: set[fx.Node] = set()
    # Nodes come in the order of their execution, so one pass sees every argument first.
    for node in captured.graph.nodes:
        if values is not None and not isinstance(values.get(node), Tensor):
            continue
        if node in roots or any(argument in reached for argument in node.all_input_nodes):
            reached.add(node)
    return frozenset(reached)


def _behind(captured: fx.GraphModule, at: fx.Node, dependencies: _Dependencies) -> fx.GraphModule:
    """The graph from the node on; it takes the activation and what is carried beside it."""
    graph = fx.Graph()
    inputs = (at, *dependencies.carried)
    copies = {node: graph.placeholder(f"value{index}") for index, node in enumerate(inputs)}
    for node in captured.graph.nodes:
        behind = node in dependencies.downstream and node is not at
        if behind or node in dependencies.recomputed:
            copies[node] = graph.node_copy(node, copies.__getitem__)
    return fx.GraphModule(captured, graph)


def _before(captured: fx.GraphModule, at: fx.Node, carried: tuple[fx.Node, ...]) -> fx.GraphModule:
    """The graph up to the node; it gives the activation and what is carried beside it."""
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for node in captured.graph.nodes:
        if node.op != "output":
            copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.output(tuple(copies[node] for node in (at, *carried)))
    module = fx.GraphModule(captured, graph)
    module.graph.eliminate_dead_code()
    module.recompile()
    return module
