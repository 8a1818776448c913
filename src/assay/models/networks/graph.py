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


@final
class _Tracer(fx.Tracer):
    """Traces through everything but torch's own modules and the layers that are asked for."""

    def __init__(self, keep: frozenset[str]) -> None:
        super().__init__()
        self._keep = keep

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_qualified_name in self._keep or super().is_leaf_module(
            m, module_qualified_name
        )


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
    scale = float(theirs.abs().max()) if theirs.numel() else 1.0
    tolerance = 1e-10 if theirs.dtype == torch.float64 else 1e-5
    return bool(torch.isfinite(theirs).all()) and float(
        (ours - theirs).abs().max()
    ) <= tolerance * max(scale, 1e-3)


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
    nodes = list(captured.graph.nodes)
    at = [node for node in nodes if node.op == "call_module" and node.target == layer]
    if len(at) != 1:
        return None
    values = _Recorder(captured)
    expected = output(values.run(*sample))
    behind, carried = _behind(captured, at[0], values.seen)
    before = _before(captured, at[0], carried)
    parts = before(*sample)
    # Rows in another order, and one of them twice, tell what is carried row by row from what only looks like it.
    rows = (
        torch.arange(len(expected), device=expected.device).flip(0).repeat(2)[: len(expected) + 1]
    )
    if not all(
        isinstance(part, Tensor) and part.dim() and len(part) == len(expected) for part in parts
    ):
        return None
    try:
        # Interpreted, since a graph that is called prints before it raises.
        mixed = output(fx.Interpreter(behind).run(*(part[rows] for part in parts)))
    except RuntimeError:
        return None
    return (
        Split(before, behind)
        if agree(output(behind(*parts)), expected) and agree(mixed, expected[rows])
        else None
    )


@final
class _Recorder(fx.Interpreter):
    """Runs a graph and remembers every node's value."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.seen: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        self.seen[n] = value
        return value


def _behind(
    captured: fx.GraphModule, at: fx.Node, seen: dict[fx.Node, Any]
) -> tuple[fx.GraphModule, list[fx.Node]]:
    """The graph of everything that depends on the layer, and the tensors of each row that it needs
    beside it.
    """
    below: set[fx.Node] = {at}
    for node in captured.graph.nodes:
        if any(argument in below for argument in node.all_input_nodes):
            below.add(node)
    fed: set[fx.Node] = set()
    for node in captured.graph.nodes:
        # What is made of weights and sizes alone has no rows, whatever its first dimension.
        if isinstance(seen.get(node), Tensor) and (
            node.op == "placeholder" or any(a in fed for a in node.all_input_nodes)
        ):
            fed.add(node)
    carried: list[fx.Node] = []
    copied: list[fx.Node] = []

    def need(node: fx.Node) -> None:
        if node in below or node in carried or node in copied:
            return
        if node in fed:
            carried.append(node)
            return
        # Sizes and constants are worked out again: a batch size must be that of the chunk.
        for argument in node.all_input_nodes:
            need(argument)
        copied.append(node)

    for node in captured.graph.nodes:
        if node in below and node is not at:
            for argument in node.all_input_nodes:
                need(argument)
    graph = fx.Graph()
    made = {node: graph.placeholder(f"value{index}") for index, node in enumerate([at, *carried])}
    for node in captured.graph.nodes:
        if node in copied or (node in below and node is not at):
            made[node] = graph.node_copy(node, made.__getitem__)
    return fx.GraphModule(captured, graph), carried


def _before(captured: fx.GraphModule, at: fx.Node, carried: list[fx.Node]) -> fx.GraphModule:
    graph = fx.Graph()
    made: dict[fx.Node, fx.Node] = {}
    for node in captured.graph.nodes:
        if node.op != "output":
            made[node] = graph.node_copy(node, made.__getitem__)
    graph.output(tuple(made[node] for node in [at, *carried]))
    module = fx.GraphModule(captured, graph)
    module.graph.eliminate_dead_code()
    module.recompile()
    return module
