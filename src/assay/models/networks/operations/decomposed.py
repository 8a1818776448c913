"""Composite operations in plainer ones: attention, softmax, normalisation, recurrent cells.

The plainer ones are called through torch's own interface, so that whoever listens hears them. Each
gives the numbers of the operation itself, to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from assay.models.networks.operations.operation import Operation
from assay.models.networks.operations.recurrent import RECURRENT


def decomposed(operation: Operation) -> Any:
    """The same operation in plainer ones."""
    return PLAINER[operation.name](operation)


def _attention(operation: Operation) -> Tensor:
    """softmax(Q K' scale + mask) V      (Vaswani et al. 2017, equation 1)"""
    query, key, value = (
        operation.argument(place, name) for place, name in enumerate(("query", "key", "value"))
    )
    mask = operation.argument(3, "attn_mask")
    causal = operation.argument(5, "is_causal", False)
    scale = operation.kwargs.get("scale")
    if scale is None:
        scale = 1 / math.sqrt(query.shape[-1])
    if operation.kwargs.get("enable_gqa", False):
        # Several queries share a key and a value.
        repeats = query.shape[-3] // key.shape[-3]
        key = key.repeat_interleave(repeats, -3)
        value = value.repeat_interleave(repeats, -3)
    # Queries are fewer numbers than scores.
    scores = torch.matmul(query * scale, key.transpose(-2, -1))
    if causal:
        allowed = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        scores = scores.masked_fill(~allowed, -math.inf)
    if mask is not None:
        scores = _masked(scores, mask)
    if not causal and mask is None:
        return torch.matmul(torch.softmax(scores, -1), value)
    # A query that may see no key gets 0 from torch, of which a softmax makes NaN.
    with torch.no_grad():
        blind = torch.isneginf(scores).all(-1, keepdim=True)
    if not bool(blind.any()):
        return torch.matmul(torch.softmax(scores, -1), value)
    weights = torch.softmax(scores.masked_fill(blind, 0.0), -1)
    return torch.matmul(weights.masked_fill(blind, 0.0), value)


def _masked(scores: Tensor, mask: Tensor) -> Tensor:
    if mask.dtype == torch.bool:
        return scores.masked_fill(~mask, -math.inf)
    return scores + mask


def _softmax(operation: Operation) -> Tensor:
    """exp(x - c) / sum exp(x - c), c a constant: the largest x, which changes nothing but overflow."""
    x, dim = operation.argument(0, "input"), _dimension(operation)
    shifted = x - _largest(x, dim)
    # What a mask has set to minus infinity is 0 whatever it is compared with.
    exponents = torch.exp(shifted.masked_fill(torch.isinf(x), -math.inf))
    return torch.div(exponents, exponents.sum(dim, keepdim=True))


def _log_softmax(operation: Operation) -> Tensor:
    x, dim = operation.argument(0, "input"), _dimension(operation)
    shifted = x - _largest(x, dim)
    return torch.sub(shifted, torch.log(torch.exp(shifted).sum(dim, keepdim=True)))


def _softmin(operation: Operation) -> Tensor:
    return torch.softmax(-operation.argument(0, "input"), _dimension(operation))


def _logsumexp(operation: Operation) -> Tensor:
    x, dim = operation.argument(0, "input"), _dimension(operation)
    keepdim = operation.argument(2, "keepdim", False)
    largest = _largest(x, dim)
    summed = torch.log(torch.exp(x - largest).sum(dim, keepdim=True)) + largest
    return summed if keepdim else summed.squeeze(dim)


def _dimension(operation: Operation) -> Any:
    return operation.argument(1, "dim", -1)


def _largest(x: Tensor, dim: Any) -> Tensor:
    return x.detach().amax(dim, keepdim=True)


def _layer_norm(operation: Operation) -> Tensor:
    """(x - mean) / sqrt(var + eps) w + b      (Ba et al. 2016, equation 4)"""
    x = operation.argument(0, "input")
    shape = operation.argument(1, "normalized_shape")
    shape = (shape,) if isinstance(shape, int) else shape
    weight, bias = operation.argument(2, "weight"), operation.argument(3, "bias")
    eps = operation.argument(4, "eps", 1e-5)
    dims = tuple(range(-len(shape), 0))
    return _shifted(_standardised(x, dims, eps), weight, bias)


def _rms_norm(operation: Operation) -> Tensor:
    """x / sqrt(mean x^2 + eps) w      (Zhang and Sennrich 2019, equation 4)"""
    x = operation.argument(0, "input")
    shape = operation.argument(1, "normalized_shape")
    shape = (shape,) if isinstance(shape, int) else shape
    weight, eps = operation.argument(2, "weight"), operation.argument(3, "eps")
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    dims = tuple(range(-len(shape), 0))
    size = torch.rsqrt(torch.square(x).mean(dims, keepdim=True) + eps)
    return _shifted(x * size, weight, None)


def _group_norm(operation: Operation) -> Tensor:
    x, groups = operation.argument(0, "input"), operation.argument(1, "num_groups")
    weight, bias = operation.argument(2, "weight"), operation.argument(3, "bias")
    eps = operation.argument(4, "eps", 1e-5)
    grouped = x.reshape(x.shape[0], groups, -1)
    standard = _standardised(grouped, (-1,), eps).reshape(x.shape)
    return _shifted(standard, _by_channel(weight, x), _by_channel(bias, x))


def _instance_norm(operation: Operation) -> Tensor:
    x = operation.argument(0, "input")
    weight, bias = operation.argument(3, "weight"), operation.argument(4, "bias")
    # torch takes weight and bias before the statistics, torch.nn.functional behind them.
    if operation.call is torch.instance_norm:
        weight, bias = operation.argument(1, "weight"), operation.argument(2, "bias")
    if not operation.argument(5, "use_input_stats", True):
        # With statistics of its own it is a batch norm in evaluation mode.
        raise KeyError(operation.name)
    eps = operation.argument(7, "eps", 1e-5)
    standard = _standardised(x, tuple(range(2, x.dim())), eps)
    return _shifted(standard, _by_channel(weight, x), _by_channel(bias, x))


def _by_channel(numbers: Tensor | None, x: Tensor) -> Tensor | None:
    return None if numbers is None else numbers.view(1, -1, *[1] * (x.dim() - 2))


def _standardised(x: Tensor, dims: tuple[int, ...], eps: float) -> Tensor:
    # Not the mean square less the squared mean, which cancels where the mean is large.
    centred = x - x.mean(dims, keepdim=True)
    size = torch.rsqrt(torch.square(centred).mean(dims, keepdim=True) + eps)
    return centred * size


def _shifted(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    if weight is not None:
        x = x * weight
    return x if bias is None else x + bias


def _norm(operation: Operation) -> Tensor:
    """The root of the sum of squares, for the 2-norm; other norms are not said in plainer ones."""
    x = operation.argument(0, "input")
    order = operation.argument(1, "ord", operation.argument(1, "p", 2))
    dim = operation.argument(2, "dim")
    keepdim = operation.argument(3, "keepdim", False)
    if order not in (2, 2.0, "fro", None):
        raise KeyError(operation.name)
    squares = torch.square(x)
    summed = squares.sum() if dim is None else squares.sum(dim, keepdim=keepdim)
    return torch.sqrt(summed)


def _variance(operation: Operation) -> Tensor:
    x = operation.argument(0, "input")
    dim = operation.argument(1, "dim")
    correction = operation.kwargs.get("correction", 1)
    if operation.kwargs.get("unbiased") is False or dim is False:
        correction = 0
    # In `x.var(False)` the operand in the place of the dimension is `unbiased`.
    if dim is None or isinstance(dim, bool):
        dim = tuple(range(x.dim()))
    dims = (dim,) if isinstance(dim, int) else tuple(dim)
    keepdim = operation.kwargs.get("keepdim", False)
    count = math.prod(x.shape[axis] for axis in dims)
    centred = x - x.mean(dims, keepdim=True)
    variance = torch.square(centred).sum(dims, keepdim=keepdim) / (count - correction)
    return torch.sqrt(variance) if operation.name == "std" else variance


def _quotient(operation: Operation) -> Tensor:
    dividend, divisor = operation.args[:2]
    # A rounded quotient is no product with an inverse.
    if operation.kwargs.get("rounding_mode") is not None:
        raise KeyError(operation.name)
    return torch.mul(dividend, torch.reciprocal(divisor))


def _larger(operation: Operation) -> Tensor:
    # Stacked, since rules know the maximum along a dimension, and so need none for two operands.
    return torch.stack(torch.broadcast_tensors(*operation.args[:2])).amax(0)


def _smaller(operation: Operation) -> Tensor:
    return -torch.stack(torch.broadcast_tensors(*(-part for part in operation.args[:2]))).amax(0)


def _gated(operation: Operation) -> Tensor:
    """a sigmoid(b), a and b the halves of x."""
    first, second = operation.argument(0, "input").chunk(2, operation.argument(1, "dim", -1))
    return torch.mul(first, torch.sigmoid(second))


def _product_added(operation: Operation) -> Tensor:
    """x + value a b, or x + value a / b."""
    x, first, second = operation.args[:3]
    combined = torch.div if operation.name == "addcdiv" else torch.mul
    return torch.add(x, torch.mul(combined(first, second), operation.kwargs.get("value", 1)))


def _matrices_added(operation: Operation) -> Tensor:
    """beta b + alpha x W."""
    added, first, second = operation.args[:3]
    alpha, beta = operation.kwargs.get("alpha", 1), operation.kwargs.get("beta", 1)
    return torch.add(torch.mul(added, beta), torch.mul(torch.matmul(first, second), alpha))


def _mixed(operation: Operation) -> Tensor:
    """(1 - w) x + w y."""
    start, end = operation.argument(0, "input"), operation.argument(1, "end")
    weight = operation.argument(2, "weight")
    return torch.add(torch.mul(start, 1 - weight), torch.mul(end, weight))


def _cosine(operation: Operation) -> Tensor:
    """x y / (|x| |y|), along a dimension."""
    dim, eps = operation.argument(2, "dim", 1), operation.argument(3, "eps", 1e-8)
    # Each norm by itself is kept from 0, and not their product: so torch has it.
    first, second = (
        torch.div(x, torch.linalg.vector_norm(x, dim=dim, keepdim=True).clamp_min(eps))
        for x in (operation.argument(0, "x1"), operation.argument(1, "x2"))
    )
    return torch.mul(first, second).sum(dim)


def _bilinear(operation: Operation) -> Tensor:
    """x_k W_kjl y_l + b_j: a dense layer of x, whose products with y are added up."""
    first, second = operation.argument(0, "input1"), operation.argument(1, "input2")
    weight, bias = operation.argument(2, "weight"), operation.argument(3, "bias")
    # (outputs, k, l) as one dense layer of x, with a row for each output and each number of y.
    flat = weight.transpose(1, 2).flatten(0, 1)
    mapped = torch.nn.functional.linear(first, flat).unflatten(-1, (-1, second.shape[-1]))
    return _shifted(torch.mul(mapped, second.unsqueeze(-2)).sum(-1), None, bias)


SEVERAL = frozenset(
    {"div", "divide", "true_divide", "addmm", "addmv", "addbmm", "baddbmm"}
)  # fmt: skip
"""Named as products, and more than one operation where several operands carry signal."""

PLAINER: dict[str, Callable[[Operation], Any]] = {
    "scaled_dot_product_attention": _attention,
    "softmax": _softmax,
    "log_softmax": _log_softmax,
    "softmin": _softmin,
    "logsumexp": _logsumexp,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "group_norm": _group_norm,
    "instance_norm": _instance_norm,
    **dict.fromkeys(("norm", "linalg_vector_norm", "vector_norm"), _norm),
    **dict.fromkeys(("var", "std"), _variance),
    **dict.fromkeys(("div", "true_divide"), _quotient),
    **dict.fromkeys(("maximum", "fmax"), _larger),
    **dict.fromkeys(("minimum", "fmin"), _smaller),
    "glu": _gated,
    **dict.fromkeys(("addcmul", "addcdiv"), _product_added),
    **dict.fromkeys(("addmm", "addmv", "baddbmm"), _matrices_added),
    "lerp": _mixed,
    "cosine_similarity": _cosine,
    "bilinear": _bilinear,
    **RECURRENT,
}
