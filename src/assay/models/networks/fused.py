"""A network in a form that answers the same, up to rounding, in less time.

In evaluation mode a batch norm behind a convolution is folded into its weights; convolutions keep
their weights in the memory order that the images come in; a rectifier overwrites what nobody reads
again. The network itself is not touched: the form is a graph of its own whose changed modules are
copies.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from assay.models.networks.graph import agree, capture

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)

_SPARE = (
    *_CONVOLUTIONS,
    nn.Linear,
    nn.modules.batchnorm._BatchNorm,
)  # modules whose slope does not need their output


def fused(
    module: nn.Module, sample: Sequence[Any], output: Callable[[Any], Any]
) -> Callable[..., Any] | None:
    """The faster form of a module with convolutions, or None where it cannot be captured or does
    not answer the same.
    """
    graph = (
        capture(module) if any(isinstance(part, nn.Conv2d) for part in module.modules()) else None
    )
    if graph is None:
        return None
    _fold(graph)
    _reorder(graph)
    _overwrite(graph)
    graph.recompile()
    try:
        answers = output(graph(*sample))
    except RuntimeError:  # a sum that cannot overwrite its first part, since the second is larger
        return None
    return graph if agree(answers, output(module(*sample))) else None


def _called(graph: fx.GraphModule, node: Any) -> nn.Module | None:
    """The module that a node calls, if it is called there only."""
    if not isinstance(node, fx.Node) or node.op != "call_module":
        return None
    calls = sum(
        other.op == "call_module" and other.target == node.target for other in graph.graph.nodes
    )
    return graph.get_submodule(str(node.target)) if calls == 1 else None


def _exchange(graph: fx.GraphModule, node: fx.Node, module: nn.Module) -> None:
    """Lets a node call a module of the form's own."""
    name = f"tuned_{node.name}"
    graph.add_submodule(name, module)
    node.target = name


def _fold(graph: fx.GraphModule) -> None:
    for node in list(graph.graph.nodes):
        norm = _called(graph, node)
        before = node.args[0] if isinstance(norm, nn.modules.batchnorm._BatchNorm) else None
        conv = _called(graph, before)
        if isinstance(before, fx.Node) and isinstance(conv, nn.Conv2d) and len(before.users) == 1:
            if not isinstance(norm, nn.modules.batchnorm._BatchNorm) or norm.running_mean is None:
                continue
            _exchange(graph, before, fuse_conv_bn_eval(conv, norm).requires_grad_(False))
            node.replace_all_uses_with(before)
            graph.graph.erase_node(node)


def _reorder(graph: fx.GraphModule) -> None:
    for node in graph.graph.nodes:
        conv = _called(graph, node)
        if isinstance(conv, nn.Conv2d):
            own = copy.copy(conv)
            own._parameters = dict(conv._parameters)
            weight = conv.weight.detach().clone(memory_format=torch.channels_last)
            own._parameters["weight"] = nn.Parameter(weight, requires_grad=False)
            _exchange(graph, node, own)


def _overwrite(graph: fx.GraphModule) -> None:
    for node in graph.graph.nodes:
        if (
            node.op == "call_function"
            and node.target is operator.add
            and isinstance(node.args[0], fx.Node)
        ):
            sum_, other = node.args[0], node.args[1]
            if (
                len(sum_.users) == 1
                and sum_ is not other
                and isinstance(_called(graph, sum_), _SPARE)
            ):
                node.target = operator.iadd
                continue
        before = node.args[0] if node.args else None
        if not isinstance(before, fx.Node) or len(before.users) > 1:
            continue
        added = before.op == "call_function" and before.target in (operator.add, operator.iadd)
        if not added and not isinstance(_called(graph, before), _SPARE):
            continue
        if type(_called(graph, node)) is nn.ReLU:
            _exchange(graph, node, nn.ReLU(inplace=True))
        elif node.op == "call_function" and node.target in (functional.relu, torch.relu):
            node.target, node.kwargs = functional.relu, {"inplace": True}
