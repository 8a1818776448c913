"""A network captured as a graph (torch.fx), and split at a layer.

A capture is used only after it has answered a sample of rows like the network itself, in outputs and,
where slopes are asked, in slopes: a trace keeps neither `torch.no_grad()` nor the slopes that a
`torch.autograd.Function` says of itself. Elsewhere the caller falls back and says so.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, fx, nn

_TOLERANCE = 1e-5  # of two forms of a network in single precision, relative to the largest output

_TOLERANCE_DOUBLE = 1e-10  # the same in double precision

_SMALLEST_SCALE = 1e-3  # outputs below this are compared absolutely

# Of slopes, by their norm in each row: a rectifier near its kink may flip by rounding, and the slopes
# of one unit with it.
_SLOPE_TOLERANCE = 1e-2
_SLOPE_TOLERANCE_DOUBLE = 1e-6

_UNRECORDED = "recorded without slopes"  # in the notes of a node that the forward ran without them


@final
class _Tracer(fx.Tracer):
    """Traces through everything but torch's own modules and the layers that are asked for.

    Settings:
        keep: names of layers that stay calls.
        inputs: how many arguments are handed over; the rest have their defaults.
    """

    def __init__(self, keep: frozenset[str], inputs: int | None) -> None:
        super().__init__()
        self._keep = keep
        self._inputs = inputs

    def create_args_for_root(
        self, root_fn: Callable[..., Any], is_module: bool, concrete_args: Any = None
    ) -> tuple[Any, list[Any]]:
        function, arguments = super().create_args_for_root(root_fn, is_module, concrete_args)
        if self._inputs is None:
            return function, arguments
        # A stand-in is not None, nor False: `mask is None` would take the other branch.
        defaults = _defaults(root_fn)
        for index in range(is_module + self._inputs, len(arguments)):
            stand_in = arguments[index]
            if stand_in.node.target in defaults:
                self.graph.erase_node(stand_in.node)
                arguments[index] = defaults[stand_in.node.target]
        return function, arguments

    def create_node(
        self,
        kind: str,
        target: Any,
        args: Any,
        kwargs: Any,
        name: str | None = None,
        type_expr: Any = None,
    ) -> fx.Node:
        node = super().create_node(kind, target, args, kwargs, name, type_expr)
        # Within no_grad, and in the forward of an autograd.Function, which knows slopes of its own.
        if not torch.is_grad_enabled():
            node.meta[_UNRECORDED] = True
        return node

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if module_qualified_name in self._keep:
            return True
        return super().is_leaf_module(m, module_qualified_name)


def _defaults(function: Callable[..., Any]) -> dict[str, Any]:
    """What the arguments of a function are when they are left out, by the names of the trace."""
    defaults: dict[str, Any] = {}
    for name, parameter in inspect.signature(inspect.unwrap(function)).parameters.items():
        if parameter.kind is parameter.VAR_POSITIONAL:
            defaults[f"*{name}"] = ()
        elif parameter.kind is parameter.VAR_KEYWORD:
            defaults[f"**{name}"] = {}
        elif parameter.default is not parameter.empty:
            defaults[name] = parameter.default
    return defaults


def capture(
    module: nn.Module, keep: frozenset[str] = frozenset(), inputs: int | None = None
) -> fx.GraphModule | None:
    """The module as a graph, or None where its forward cannot be traced or a hook listens to it.

    A trace follows one branch of the forward, and perhaps not the one that the network takes:
    whoever uses the graph compares it with the network first.
    """
    # A graph does not call hooks of modules that it goes through, which may change what passes.
    if isinstance(module, torch.jit.ScriptModule | fx.GraphModule) or listened(module):
        return None
    try:
        # With slopes on: a node without them then shows that the forward turned them off.
        with torch.inference_mode(False), torch.enable_grad():
            graph = _Tracer(keep, inputs).trace(module)
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
    scale = float(theirs.detach().abs().max())
    # Relative to the largest output: folded batch norms differ by some units in the last place.
    tolerance = _TOLERANCE_DOUBLE if theirs.dtype == torch.float64 else _TOLERANCE
    return float((ours - theirs).detach().abs().max()) <= tolerance * max(scale, _SMALLEST_SCALE)


def keeps_slopes(nodes: Iterable[fx.Node]) -> bool:
    """Whether the forward recorded slopes at all of these nodes of a trace, as the trace would."""
    return not any(_UNRECORDED in node.meta for node in nodes if node.op != "get_attr")


def answers_like(
    form: Callable[..., Any],
    module: Callable[..., Any],
    sample: Sequence[Any],
    output: Callable[[Any], Any],
) -> bool:
    """Whether a form answers a sample like the module: in outputs, and where slopes are on also in
    slopes.
    """
    ours, our_leaves = _asked(form, sample, output)
    theirs, their_leaves = _asked(module, sample, output)
    if not agree(ours, theirs):
        return False
    # Whole numbers, such as ids of words, have no slopes to compare.
    if not torch.is_grad_enabled() or not their_leaves:
        return True
    return _same_slopes(_slopes(ours, our_leaves), _slopes(theirs, their_leaves))


def _asked(
    forward: Callable[..., Any], sample: Sequence[Any], output: Callable[[Any], Any]
) -> tuple[Any, list[Tensor]]:
    """The outputs of a sample, and those of its tensors that slopes are taken at."""
    leaves = []
    arguments = []
    for argument in sample:
        if isinstance(argument, Tensor):
            argument = argument.detach()
            if torch.is_grad_enabled() and argument.is_floating_point():
                argument.requires_grad_()
                leaves.append(argument)
        arguments.append(argument)
    return output(forward(*copies(arguments))), leaves


def _slopes(outputs: Tensor, leaves: Sequence[Tensor]) -> tuple[Tensor, ...] | None:
    """The slopes of all outputs together, each with a weight of its own; None of detached ones."""
    if not outputs.requires_grad:
        return None
    # Unlike weights: probabilities add up to one, and their plain sum has no slope.
    weights = torch.cos(torch.arange(outputs.numel(), device=outputs.device)) + 2
    weights = weights.to(outputs.dtype).reshape(outputs.shape)
    return torch.autograd.grad(outputs, leaves, weights, allow_unused=True, materialize_grads=True)


def _same_slopes(ours: tuple[Tensor, ...] | None, theirs: tuple[Tensor, ...] | None) -> bool:
    """Whether slopes are the same in every row, up to rounding."""
    if ours is None or theirs is None:
        return ours is theirs
    for mine, other in zip(ours, theirs):
        double = other.dtype == torch.float64
        tolerance = _SLOPE_TOLERANCE_DOUBLE if double else _SLOPE_TOLERANCE
        gaps = (mine - other).flatten(1).norm(dim=1)
        # NaN on either side is no agreement.
        if not bool((gaps <= tolerance * other.flatten(1).norm(dim=1)).all()):
            return False
    return True


def copies(tensors: Sequence[Any]) -> tuple[Any, ...]:
    """Copies of the tensors among some arguments, for a forward that may write on them."""
    return tuple(
        argument.clone() if isinstance(argument, Tensor) else argument for argument in tensors
    )


@final
@dataclass(frozen=True)
class Split:
    """A network in two parts: `before(*inputs) -> (activation, *carried)` and `behind(activation,
    *carried) -> outputs`.
    """

    before: fx.GraphModule
    behind: fx.GraphModule
    carried: int
    """How many tensors are carried beside the activation."""


def split(
    module: nn.Module, layer: str, sample: Sequence[Any], output: Callable[[Any], Any]
) -> Split | None:
    """The network split behind one layer, or None where it cannot be captured or does not answer
    the sample like the network; what skips past the layer is carried along.
    """
    captured = capture(module, frozenset({layer}), len(sample))
    if captured is None:
        return None
    try:
        expected = output(module(*copies(sample)))
        parts = _split(captured, layer, sample, output, expected)
        if parts is None or not _rest_answers_like(module, layer, parts, sample, output):
            return None
        return parts
    except Exception:  # a wrong branch may raise anything: the graph is then not the network
        return None


def _split(
    captured: fx.GraphModule,
    layer: str,
    sample: Sequence[Any],
    output: Callable[[Any], Any],
    expected: Any,
) -> Split | None:
    """The graph split behind one layer, if its halves answer a sample as the network has."""
    layer_calls = [node for node in captured.graph.nodes if _calls(node, layer)]
    # A layer that is called twice has no one place to cut at.
    if len(layer_calls) != 1:
        return None
    (at,) = layer_calls
    recorder = _Recorder(captured)
    # Against the network's own answer: a trace may have followed another branch.
    if not agree(output(run(recorder, *copies(sample))), expected):
        return None
    dependencies = _Dependencies.of(captured, at, recorder.values)
    if not keeps_slopes(node for node in dependencies.downstream if node is not at):
        return None
    before = _before(captured, at, dependencies.carried)
    behind = _behind(captured, at, dependencies)
    # Interpreted, since a graph that is called prints before it raises.
    parts = run(fx.Interpreter(before), *copies(sample))
    if not all(_has_rows(part, len(expected)) for part in parts):
        return None
    if not agree(output(run(fx.Interpreter(behind), *copies(parts))), expected):
        return None
    if not _takes_any_rows(before, behind, sample, output, expected):
        return None
    return Split(before, behind, len(dependencies.carried))


def _takes_any_rows(
    before: fx.GraphModule,
    behind: fx.GraphModule,
    sample: Sequence[Any],
    output: Callable[[Any], Any],
    expected: Tensor,
) -> bool:
    """Whether rows in another order, and one of them twice, have their answers: what only looks as
    if it had a row per input, or has a number of rows built in, is found out.
    """
    # One row more than the sample has: a number of rows that was traced as a constant now fails.
    mixed_up = torch.arange(len(expected), device=expected.device).flip(0).repeat(2)
    rows = mixed_up[: len(expected) + 1]
    parts = run(fx.Interpreter(before), *copies(sample))
    mixed = run(fx.Interpreter(before), *(argument[rows] for argument in sample))
    if not all(_same_rows(part, other, rows) for part, other in zip(parts, mixed)):
        return False
    return agree(output(run(fx.Interpreter(behind), *copies(mixed))), expected[rows])


def _same_rows(part: Tensor, mixed: Any, rows: Tensor) -> bool:
    """Whether a part of mixed rows is the part's mixed rows, up to rounding."""
    if not _has_rows(mixed, len(rows)):
        return False
    if part.is_floating_point():
        return torch.allclose(mixed, part[rows], rtol=1e-3, atol=1e-4, equal_nan=True)
    return torch.equal(mixed, part[rows])


def _rest_answers_like(
    module: nn.Module,
    layer: str,
    parts: Split,
    sample: Sequence[Any],
    output: Callable[[Any], Any],
) -> bool:
    """Whether the part behind the layer answers like the network whose layer is exchanged, also
    where slopes are on.
    """
    # The exchange by a hook is the plain way to the same slopes, and so the judge of the graph.
    activation, *carried = run(fx.Interpreter(parts.before), *copies(sample))
    carried = [tensor.detach() for tensor in carried]

    def rest(activation: Tensor) -> Any:
        return run(fx.Interpreter(parts.behind), activation, *copies(carried))

    def exchanged(activation: Tensor) -> Any:
        hook = module.get_submodule(layer).register_forward_hook(
            lambda part, inputs, result: activation
        )
        try:
            return module(*copies(sample))
        finally:
            hook.remove()

    with torch.inference_mode(False), torch.enable_grad():
        return answers_like(rest, exchanged, (activation,), output)


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


def run(interpreter: fx.Interpreter, *inputs: Any) -> Any:
    """What `interpreter.run(*inputs)` gives.

    torch's own loop shows its progress by tqdm, also where that is switched off, and tqdm leaves a
    thread behind.
    """
    interpreter.env = {}
    interpreter.args_iter = iter(interpreter.graph.process_inputs(*inputs))
    for node in interpreter.graph.nodes:
        interpreter.env[node] = interpreter.run_node(node)
        # Values are let go behind their last use.
        for used in interpreter.user_to_last_uses.get(node, []):
            del interpreter.env[used]
    return interpreter.graph.process_outputs(interpreter.env[node])


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
        downstream = reached_from(captured, {at})
        # Values that depend on no input are constants, even if their first dimension happens to
        # equal the number of rows.
        with_rows = reached_from(captured, inputs_of(captured), values)
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


def inputs_of(captured: fx.GraphModule) -> set[fx.Node]:
    """The nodes that stand for the graph's arguments."""
    return {node for node in captured.graph.nodes if node.op == "placeholder"}


def reached_from(
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
    # What comes only behind the layer was copied along, and nothing reads it here.
    module.graph.eliminate_dead_code()
    module.recompile()
    return module
