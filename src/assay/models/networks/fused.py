"""A network in a form that answers the same, up to rounding, in less time: the inference-time
transformations of compilers, on a graph captured by torch.fx.

In evaluation mode a batch norm behind a convolution is folded into its weights (Jacob et al. 2018,
section 3.2); convolutions keep their weights in the memory order that the images come in; a
rectifier or a sum overwrites what nobody reads again. The network itself is not touched: the form
is a graph of its own whose changed modules are copies. `docs/fused.md` derives it and says what it
gains.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.nn.utils.parametrize import is_parametrized

from assay.inputs.layout import arranged
from assay.models.networks.graph import answers_like, capture, keeps_slopes, run

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)

_BatchNorm = nn.modules.batchnorm._BatchNorm

# Modules whose backward pass does not read their output, so that it may be overwritten.
_OUTPUT_UNREAD = (*_CONVOLUTIONS, nn.Linear, _BatchNorm)

_RECTIFIERS = (functional.relu, torch.relu)

_WITH_SLOPES = "slopes are the module's"  # in the notes of a form

_FOLDS = "batch norms folded"  # the same


def fused(
    module: nn.Module, sample: Sequence[Any], output: Callable[[Any], Any]
) -> fx.GraphModule | None:
    """The faster form of a module with convolutions, or None where it cannot be captured or does
    not answer the same; see `may_be_asked` for its slopes.
    """
    if not any(isinstance(part, nn.Conv2d) for part in module.modules()):
        return None
    graph = capture(module, inputs=len(sample))
    if graph is None:
        return None
    form_keeps_slopes = keeps_slopes(graph.graph.nodes)
    try:
        _rewrite(graph)
    except Exception:  # a module that cannot be rewritten
        return None
    graph.meta[_WITH_SLOPES] = form_keeps_slopes
    if may_be_asked(graph) and fits(graph, module, sample, output):
        return graph
    # What differs in slopes alone still serves who only asks for outputs.
    graph.meta[_WITH_SLOPES] = False
    with torch.no_grad():
        return graph if fits(graph, module, sample, output) else None


def folded(
    module: nn.Module, sample: Sequence[Any], output: Callable[[Any], Any]
) -> fx.GraphModule | None:
    """The form of a module with convolutions in which nothing is overwritten, or None where it does
    not answer the same, in outputs and in slopes; `folds` says how many batch norms it lacks.
    """
    graph = capture(module, inputs=len(sample))
    if graph is None or not keeps_slopes(graph.graph.nodes):
        return None
    before = len(graph.graph.nodes)
    try:
        _fold_batch_norms(graph)
        _reorder_weights(graph)
        graph.recompile()
    except Exception:  # a module that cannot be rewritten
        return None
    graph.meta[_FOLDS] = before - len(graph.graph.nodes)
    return graph if fits(graph, module, sample, output) else None


def folds(form: fx.GraphModule) -> int:
    """How many batch norms were folded into convolutions."""
    return int(form.meta[_FOLDS])


def may_be_asked(form: fx.GraphModule) -> bool:
    """Whether a form has the slopes of its network, where slopes are on."""
    return bool(form.meta[_WITH_SLOPES]) or not torch.is_grad_enabled()


def fits(
    form: fx.GraphModule,
    module: nn.Module,
    sample: Sequence[Any],
    output: Callable[[Any], Any],
) -> bool:
    """Whether a form answers a sample like the module, where slopes are on also in slopes.

    Both in channels-last, the order in which the form is asked: in the plain one the module itself
    rounds differently, and where two pixels of a plain background tie, pooling takes the other.
    """
    try:
        # Interpreted, since a graph that is called prints before it raises.
        return answers_like(
            partial(run, fx.Interpreter(form)), module, arranged(tuple(sample), 1), output
        )
    except Exception:  # a wrong branch of the trace; what the module itself raises comes again
        return False


def _rewrite(graph: fx.GraphModule) -> None:
    """The faster modules and operations in place of the network's own."""
    # Folding comes first: it makes new convolutions, whose weights are then reordered.
    _fold_batch_norms(graph)
    _reorder_weights(graph)
    _overwrite(graph)
    graph.recompile()


def _module_called_once(graph: fx.GraphModule, node: Any) -> nn.Module | None:
    """The module that a node calls, if it is called there only and its weights are its own."""
    if not isinstance(node, fx.Node) or node.op != "call_module":
        return None
    calls = [
        other
        for other in graph.graph.nodes
        if other.op == "call_module" and other.target == node.target
    ]
    # Called twice, a change of it for one call would change the other.
    if len(calls) != 1:
        return None
    called = graph.get_submodule(str(node.target))
    # Weights that are computed (weight or spectral norm) cannot be exchanged for others.
    return None if is_parametrized(called) else called


def _exchange(graph: fx.GraphModule, node: fx.Node, module: nn.Module) -> None:
    """Lets a node call a module of the form's own."""
    # The old module stays where it is: the graph shares it with the network.
    name = f"fused_{node.name}"
    graph.add_submodule(name, module)
    node.target = name


def _fold_batch_norms(graph: fx.GraphModule) -> None:
    """W' = W * gamma / sqrt(var + eps), b' = (b - mean) * gamma / sqrt(var + eps) + beta."""
    for node in list(graph.graph.nodes):
        norm = _module_called_once(graph, node)
        # Without running statistics a batch norm depends on its batch.
        if not isinstance(norm, _BatchNorm) or norm.running_mean is None:
            continue
        before = node.args[0]
        conv = _module_called_once(graph, before)
        if not isinstance(conv, nn.Conv2d) or len(before.users) != 1:
            continue
        _exchange(graph, before, fuse_conv_bn_eval(conv, norm).requires_grad_(False))
        node.replace_all_uses_with(before)
        graph.graph.erase_node(node)


def _reorder_weights(graph: fx.GraphModule) -> None:
    """Copies of the convolutions with weights in channels-last order, so that no call reorders."""
    for node in graph.graph.nodes:
        conv = _module_called_once(graph, node)
        if not isinstance(conv, nn.Conv2d):
            continue
        # A shallow copy with parameters of its own: everything else stays shared.
        reordered = copy.copy(conv)
        reordered._parameters = dict(conv._parameters)
        weight = conv.weight.detach().clone(memory_format=torch.channels_last)
        reordered._parameters["weight"] = nn.Parameter(weight, requires_grad=False)
        _exchange(graph, node, reordered)


def _overwrite(graph: fx.GraphModule) -> None:
    """Sums and rectifiers write on their first argument where nobody reads it again."""
    for node in graph.graph.nodes:
        if _is_sum(node) and _may_take_sum(graph, node):
            node.target = operator.iadd
            continue
        argument = next(iter(node.args), None)
        if not isinstance(argument, fx.Node) or len(argument.users) > 1:
            continue
        # The backward of a sum reads neither its arguments nor its output.
        if not _is_sum(argument) and not _output_unread(graph, argument):
            continue
        if type(_module_called_once(graph, node)) is nn.ReLU:
            _exchange(graph, node, nn.ReLU(inplace=True))
        elif node.op == "call_function" and node.target in _RECTIFIERS:
            node.target = functional.relu
            node.kwargs = {"inplace": True}


def _is_sum(node: fx.Node) -> bool:
    return node.op == "call_function" and node.target in (operator.add, operator.iadd)


def _may_take_sum(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a plain sum may be written on its first argument."""
    first, second = node.args
    return (
        node.target is operator.add
        and isinstance(first, fx.Node)
        and len(first.users) == 1
        and first is not second
        and _output_unread(graph, first)
    )


def _output_unread(graph: fx.GraphModule, node: fx.Node) -> bool:
    return isinstance(_module_called_once(graph, node), _OUTPUT_UNREAD)
