"""Multipliers of DeepLIFT: by how much an output differs from its reference, per difference of input.

Every rule keeps the sum: the multipliers of y times the differences of its operands add up to the
difference of y. Linear operations have their slope as multiplier, so what is written here is all that
is not linear.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from assay.methods.rules.pairs import Kept
from assay.methods.rules.rectifiers import bounds_of, in_one_pass
from assay.models.networks.operations.kinds import HARD, MAXIMA, RECTIFIERS
from assay.models.networks.operations.linear import LinearMap
from assay.models.networks.operations.operation import Operation, slopes_of
from assay.models.networks.operations.pulled import pulled, scaled

_PIECEWISE = (RECTIFIERS - {"rrelu"}) | MAXIMA | HARD
"""Piecewise linear: their quotient of differences is right however small the difference is."""

_NEAR = 1e-5
"""Relative differences of double precision from which on the slope in the middle is the better one:
its own error is their square.
"""


def elementwise(operation: Operation, references: list[Tensor]) -> Tensor:
    """m = (f(z) - f(z0)) / (z - z0), the slope where they meet: the Rescale rule.

    (Shrikumar et al. 2017, section 3.5.1, equation 10)
    """
    (signal,), (reference,) = operation.signals, references
    return scaled(signal, operation(), quotient(operation, signal, signal.detach(), reference))


def handed_on(
    operation: Operation, z: Tensor, value: Kept, reference: Tensor, cotangents: Tensor
) -> Tensor:
    """The same multipliers times the signals of a table (references, *shape of z), of an operation
    without operands beside z; `reference` is set against (1, *shape of z).
    """
    (signal,) = operation.signals
    if operation.name not in _PIECEWISE:
        return quotient(operation, signal, z[None], reference) * cotangents
    bounds = bounds_of(operation)
    alike = reference[0, 0].shape == z.shape[1:]
    if bounds is not None and alike and in_one_pass(cotangents):
        from assay.methods.rules import rectified

        return rectified.rescaled(z, reference, cotangents, *bounds)
    # An operation in place behind this one may have written over it: then it is asked once more.
    values = value.numbers if value.is_intact else operation.on({id(signal): z})()
    difference = z[None] - reference
    # In place: a table of inputs times references is the largest thing on the way back.
    factor: Tensor = values[None] - operation.on({id(signal): reference})()
    factor.div_(difference)
    # Not a number where both meet: there the slope takes its place.
    if bool(factor.sum().isnan()):
        slopes = slopes_of(operation.on({id(signal): z}), z)
        factor = torch.where(difference == 0, slopes, factor)
    return factor.mul_(cotangents)


def quotient(operation: Operation, operand: Tensor, z: Tensor, z0: Tensor) -> Tensor:
    """The quotient of differences of an elementwise operation between z0 and z.

    Smooth ones are worked out in double precision: single precision loses the difference of two
    values that are near to each other.
    """

    def values(at: Tensor) -> Tensor:
        given: Tensor = operation.on({id(operand): at})()
        return given

    dtype = z.dtype
    if operation.name in _PIECEWISE:
        return _quotient(values, z, z0, 0.0)
    double = _in_double(operation)
    z, z0 = z.to(torch.float64), z0.to(torch.float64)

    def precisely(at: Tensor) -> Tensor:
        given: Tensor = double.on({id(operand): at})()
        return given

    return _quotient(precisely, z, z0, _NEAR).to(dtype)


def _in_double(operation: Operation) -> Operation:
    constants = {
        id(tensor): tensor.to(torch.float64)
        for tensor in operation.constants
        if tensor.is_floating_point()
    }
    return operation.on(constants)


def _quotient(values: Callable[[Tensor], Tensor], z: Tensor, z0: Tensor, near: float) -> Tensor:
    difference = z - z0
    meet = difference.abs() <= near * (1 + torch.maximum(z.abs(), z0.abs()))
    divisor = torch.where(meet, torch.ones_like(difference), difference)
    factor = (values(z) - values(z0)) / divisor
    if not bool(meet.any()):
        return factor
    # In the middle the error is of the square of the difference, at an end of the difference.
    middle = z0 + difference / 2
    with torch.enable_grad():
        leaf = middle.detach().requires_grad_()
        (slope,) = torch.autograd.grad(values(leaf).sum(), leaf)
    return torch.where(meet, slope, factor)


def product(operation: Operation, references: list[Tensor]) -> Tensor:
    """Each factor's difference at the mean of the other: exact for what is linear in each of two.

    a b - a0 b0 = (a - a0) (b + b0) / 2 + (b - b0) (a + a0) / 2
    """
    signals = operation.signals
    value = operation()
    first, second = signals
    middles = [
        ((signal.detach() + reference) / 2) for signal, reference in zip(signals, references)
    ]
    along_first = operation.on({id(second): middles[1]})()
    along_second = operation.on({id(first): middles[0]})()
    carrier = along_first + along_second
    # The carrier lends its slopes, which are the multipliers; the value stays the product.
    return pulled(carrier, value, lambda cotangent: cotangent)


def normalised(operation: Operation, references: list[Tensor]) -> Any:
    """Softmax, its logarithm, and the logarithm of the sum, taken apart: L = log sum exp x by the
    rules of exp, the sum and log, the logarithm of the softmax x - L, and its exponential.

    What is added to all x alike changes no share, however large it is.
    """
    (signal,), (reference,) = operation.signals, references
    dim = operation.argument(1, "dim", -1)
    value = operation()
    x, x0 = signal.detach().to(torch.float64), reference.to(torch.float64)
    total = torch.logsumexp(x, dim, keepdim=True)
    total0 = torch.logsumexp(x0, dim, keepdim=True)
    # (exp x - exp x0) / (x - x0) over the same of the totals.
    of_total = torch.exp(torch.maximum(x, x0) - torch.maximum(total, total0))
    of_total = of_total * _mean_decay(x, x0) / _mean_decay(total, total0)
    logarithm, logarithm0 = x - total, x0 - total0
    of_softmax = torch.exp(torch.maximum(logarithm, logarithm0))
    of_softmax = of_softmax * _mean_decay(logarithm, logarithm0)

    def to_log_softmax(cotangent: Tensor) -> Tensor:
        return cotangent - cotangent.sum(dim, keepdim=True) * of_total

    def to_softmax(cotangent: Tensor) -> Tensor:
        return to_log_softmax(cotangent * of_softmax)

    def to_logsumexp(cotangent: Tensor) -> Tensor:
        return cotangent.view(total.shape) * of_total

    pulls = {"softmax": to_softmax, "log_softmax": to_log_softmax, "logsumexp": to_logsumexp}
    pull = pulls[operation.name]
    return pulled(
        signal, value, lambda cotangent: pull(cotangent.to(torch.float64)).to(signal.dtype)
    )


def _mean_decay(x: Tensor, x0: Tensor) -> Tensor:
    """(1 - exp(-d)) / d with d = |x - x0|, 1 where they meet, in all digits."""
    # What a mask holds at minus infinity on both sides meets.
    distance = torch.where(x == x0, 0.0, (x - x0).abs())
    meet = distance == 0
    decay = -torch.expm1(-distance) / torch.where(meet, 1.0, distance)
    return torch.where(meet, 1.0, decay)


def pooled(operation: Operation, references: list[Tensor]) -> Any:
    """The larger of two maxima decides: where y >= y0 the winner of the input gets the difference,
    elsewhere the winner of the reference does, so that |m| <= 1 and nothing is divided by less than
    what is shared out. Of several winners of the reference it is the one that is the input's, too.
    """
    (signal,), (reference,) = operation.signals, references
    value, places = _winners(operation, signal, signal.detach())
    value0, places0 = _winners(operation, signal, reference)
    axes = _window_dims(operation)
    # Places of winners are counted over all dimensions that windows lie in, as if one.
    flat, flat0 = signal.flatten(-axes), reference.flatten(-axes)
    places_flat = places.flatten(-axes)
    # A winner that shares the reference's maximum with others stays the winner.
    stays = flat0.gather(-1, places_flat).view_as(value) == value0
    chosen = torch.where((value >= value0) | stays, places, places0).flatten(-axes)
    carrier = flat.gather(-1, chosen).view_as(value)
    moved = carrier.detach() - flat0.gather(-1, chosen).view_as(value)
    largest = scaled(carrier, value, _share(value - value0, moved))
    # Whoever asks where the maxima are is told so.
    asks_places = operation.name.endswith("_with_indices")
    return (largest, places) if asks_places else largest


def _share(difference: Tensor, moved: Tensor) -> Tensor:
    still = moved == 0
    return torch.where(still, torch.ones_like(moved), difference / torch.where(still, 1.0, moved))


def _window_dims(operation: Operation) -> int:
    return int(next(letter for letter in operation.name if letter.isdigit()))


def _winners(operation: Operation, signal: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
    """The maxima of windows, and where they are, counted over the windows' dimensions."""
    name = operation.name.removesuffix("_with_indices")
    pool = getattr(torch.nn.functional, f"{name}_with_indices")
    args = [at if part is signal else part for part in operation.args]
    kwargs = {
        key: at if part is signal else part
        for key, part in operation.kwargs.items()
        if key != "return_indices"
    }
    values, places = pool(*args, **kwargs)
    return values, places


def reduced(operation: Operation, references: list[Tensor]) -> Any:
    """The same for a maximum or minimum over dimensions, `amax` and `max(dim)`."""
    (signal,), (reference,) = operation.signals, references
    dims = operation.argument(1, "dim", ())
    keepdim = operation.argument(2, "keepdim", False)
    dims = (dims,) if isinstance(dims, int) else tuple(dims)
    dims = tuple(dim % signal.dim() for dim in dims) or tuple(range(signal.dim()))
    sign = -1 if "min" in operation.name else 1
    value, places = _largest(sign * signal.detach(), dims)
    value0, places0 = _largest(sign * reference, dims)
    # As for pools: of several winners of the reference the one that is the input's, too.
    stays = sign * _last(reference, dims).gather(-1, places) == value0
    chosen = torch.where((value >= value0) | stays, places, places0)
    carrier = _last(signal, dims).gather(-1, chosen)
    moved = carrier.detach() - _last(reference, dims).gather(-1, chosen)
    share = _share(sign * (value - value0), moved)
    extreme = scaled(carrier, sign * value, share).squeeze(-1)
    if keepdim:
        for dim in sorted(dims):
            extreme = extreme.unsqueeze(dim)
    given = operation()
    # `max(dim)` gives the places, too.
    return extreme if isinstance(given, Tensor) else type(given)((extreme, given.indices))


def _last(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """x with some dimensions as its one last."""
    kept = [dim for dim in range(x.dim()) if dim not in dims]
    return x.permute(*kept, *dims).flatten(len(kept))


def _largest(x: Tensor, dims: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    values, places = _last(x, dims).max(-1, keepdim=True)
    return values, places


def revealed(operation: Operation, linear: LinearMap, x0: Tensor, z0: Tensor) -> Tensor:
    """The Shapley values of the positive and the negative contributions to z, as multipliers of each.

    dy+ = (f(z0 + dz+) - f(z0)) / 2 + (f(z0 + dz- + dz+) - f(z0 + dz-)) / 2, dy- alike
    (Shrikumar et al. 2017, section 3.5.3: RevealCancel)
    """
    (signal,) = operation.signals

    def values(at: Tensor) -> Tensor:
        given: Tensor = operation.on({id(signal): at})()
        return given

    positive, negative = _contributions(linear, x0)
    with torch.no_grad():
        # Both orders in which the two contributions can come, of four values.
        start = values(z0)
        up, down = values(z0 + positive), values(z0 + negative)
        end = values(z0 + positive + negative)
        gain = ((up - start) + (end - down)) / 2
        loss = ((down - start) + (end - up)) / 2
    value = operation()
    carried = scaled(positive, value, _over(gain, positive.detach()))
    return carried + scaled(negative, torch.zeros_like(value), _over(loss, negative.detach()))


def _contributions(linear: LinearMap, x0: Tensor) -> tuple[Tensor, Tensor]:
    """dz+ and dz-, the sums of positive and of negative products w_ij dx_i, with their slopes."""
    difference = linear.x - x0
    sign = difference.detach()
    # An input that does not differ has half of the multiplier of either sign.
    above = (sign > 0).to(sign.dtype) + (sign == 0).to(sign.dtype) / 2
    rising, falling = linear.weight.clamp(min=0), linear.weight.clamp(max=0)
    up, down = difference * above, difference * (1 - above)
    positive = linear.apply(up, rising, None) + linear.apply(down, falling, None)
    negative = linear.apply(up, falling, None) + linear.apply(down, rising, None)
    return positive, negative


def _over(difference: Tensor, contribution: Tensor) -> Tensor:
    none = contribution == 0
    return torch.where(
        none, torch.zeros_like(contribution), difference / torch.where(none, 1.0, contribution)
    )
