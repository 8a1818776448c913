"""Rules of relevance: how an operation hands the relevance of its output on to its operands.

Relevance is kept as a product: R = y g with g the signal that autograd carries. A rule with the
denominators z_r then is z_r itself, with the signal g z / z_r behind it, and the sums over weights
are left to autograd: R_i = x_i sum_j (d z_r,j / d x_i) R_j / z_r,j. Where R_i is no multiple of x_i
(`ZBox`, `WSquare`, `Flat`), it is handed to the inputs beside the slope, on `shares` of ones.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from assay.errors import SettingError
from assay.methods.rules.conservation import Account
from assay.models.networks.operations.linear import LinearMap
from assay.models.networks.operations.operation import Operation, slopes_of
from assay.models.networks.operations.pulled import pulled, scaled
from assay.settings import Settings


@final
@dataclass(frozen=True, eq=False)
class Passage:
    """An operation with everything that a rule may need of it.

    Settings:
        operation: what is called.
        account: where absorbed relevance is written down.
        linear: the same as a linear map, where it is one.
        shares: ones in the shape of the map's input, on which relevance can be handed over directly;
            None behind the first layer.
        absorb: whether biases take their share of the relevance.
        result: what the operation has given, where it was called already: that of the linear map,
            into which a batch norm may have been merged.
    """

    operation: Operation
    account: Account
    linear: LinearMap | None = None
    shares: Tensor | None = None
    absorb: bool = True
    result: Any = None

    @property
    def value(self) -> Any:
        """What the operation gives, with the slope of its own."""
        return self.operation() if self.result is None else self.result

    @property
    def name(self) -> str:
        """What the account calls it."""
        return self.operation.name


class Rule(Settings, ABC):
    """What becomes of relevance at an operation. A subclass is a frozen dataclass with `passed`."""

    direct: ClassVar[bool] = False
    """Whether relevance is handed over on shares, which only the first layer has."""

    @abstractmethod
    def passed(self, passage: Passage) -> Any:
        """The operation's own value, with the slope behind it that hands relevance on."""


def _require_linear(rule: Rule, passage: Passage) -> LinearMap:
    if passage.linear is None:
        raise SettingError(
            expected=f"a convolution or dense operation for {rule!r}",
            got=repr(passage.name),
            advice="Other operations take Zero(), Epsilon(), Pass(), Constant() or Halves().",
        )
    return passage.linear


def _nonnegative(x: Tensor) -> bool:
    return bool(x.detach().amin() >= 0)


def _parts(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """Positive and negative part, each with the slope of its own side."""
    return tensor.clamp(min=0), tensor.clamp(max=0)


@final
@dataclass(frozen=True)
class Zero(Rule):
    """In proportion to the contributions: R_i = x_i sum_j w_ij R_j / z_j, the slope as it is.

    (Bach et al. 2015, equation 56 without its stabiliser.) Over a whole network of rectifiers this
    is the input times the gradient.
    """

    def passed(self, passage: Passage) -> Any:
        value = passage.value
        linear = passage.linear
        bias = None if linear is None else linear.spread_bias(value)
        if bias is None:
            return value
        if passage.absorb:
            return passage.account.metered(passage.name, value, bias)
        z = value.detach()
        # The bias gets nothing: what is divided by is the inputs' part of z.
        return _shared_out(passage, z, _Sums(value, z - bias), 0.0)


@final
@dataclass(frozen=True)
class Epsilon(Rule):
    """R_i = x_i sum_j w_ij R_j / (z_j + epsilon sign(z_j))      (Bach et al. 2015, equation 58).

    Settings:
        epsilon: what is added to the denominators, in units of the activations.
    """

    epsilon: float = 1e-6

    def __post_init__(self) -> None:
        _check_not_negative(self, "epsilon")

    def passed(self, passage: Passage) -> Any:
        value = passage.value
        z = value.detach()
        linear = passage.linear
        bias = None if linear is None else linear.spread_bias(z)
        if passage.absorb or bias is None:
            return _shared_out(passage, z, _Sums(value, z, bias), self.epsilon)
        return _shared_out(passage, z, _Sums(value, z - bias), self.epsilon)


@final
@dataclass(frozen=True)
class Gamma(Rule):
    """Positive contributions are favoured:
    R_i = sum_j x_i (w_ij + gamma w_ij^+) / sum_i x_i (w_ij + gamma w_ij^+) R_j

    (Montavon et al. 2019, section 10.2.3); for inputs of both signs generalised (Andeol et al. 2021):
    where z_j > 0 positive products x_i w_ij count 1 + gamma, where z_j < 0 negative ones do.

    Settings:
        gamma: how much more they count; 0 is the zero rule, infinity the z-plus rule.
        epsilon: what is added to the denominators.
    """

    gamma: float = 0.25
    epsilon: float = 1e-9

    def __post_init__(self) -> None:
        _check_not_negative(self, "gamma", "epsilon")

    def passed(self, passage: Passage) -> Any:
        linear = _require_linear(self, passage)
        z = passage.value.detach()
        rising, falling = _favoured(linear, self.gamma, passage.absorb)
        # Chosen output by output, by the sign of z itself and not of the favoured sums.
        carrier = torch.where(z >= 0, rising.carrier, falling.carrier)
        own = None
        if rising.own is not None and falling.own is not None:
            own = torch.where(z >= 0, rising.own, falling.own)
        return _shared_out(passage, z, _Sums(carrier, carrier, own), self.epsilon)


@final
@dataclass(frozen=True)
class ZPlus(Rule):
    """Only positive contributions count: R_i = sum_j (x_i w_ij)^+ / sum_i (x_i w_ij)^+ R_j.

    (Montavon et al. 2017, section 5.2, for x >= 0; with inputs of both signs this is alpha-beta with
    alpha 1.)

    Settings:
        epsilon: what is added to the denominators.
    """

    epsilon: float = 1e-9

    def __post_init__(self) -> None:
        _check_not_negative(self, "epsilon")

    def passed(self, passage: Passage) -> Any:
        linear = _require_linear(self, passage)
        z = passage.value.detach()
        positive = _signed(linear, positive=True, absorb=passage.absorb)
        return _shared_out(passage, z, positive, self.epsilon)


@final
@dataclass(frozen=True)
class AlphaBeta(Rule):
    """Positive and negative contributions apart:
    R_i = sum_j (alpha (x_i w_ij)^+ / z_j^+ - beta (x_i w_ij)^- / z_j^-) R_j

    (Bach et al. 2015, equation 60), alpha - beta = 1.

    Settings:
        alpha: the weight of what speaks for; beta is alpha - 1.
        epsilon: what is added to the denominators.
    """

    alpha: float = 2.0
    epsilon: float = 1e-9

    def __post_init__(self) -> None:
        _check_not_negative(self, "epsilon")
        if self.alpha < 1:
            raise SettingError(
                expected="alpha of 1 or more for AlphaBeta, so that beta = alpha - 1 is not negative",
                got=self.alpha,
                advice="AlphaBeta(1.0) is the z-plus rule, AlphaBeta(2.0) the usual one.",
            )

    def passed(self, passage: Passage) -> Any:
        linear = _require_linear(self, passage)
        z = passage.value.detach()
        positive = _signed(linear, positive=True, absorb=passage.absorb)
        beta = self.alpha - 1
        value = _shared_out(passage, z, positive, self.epsilon, self.alpha)
        if beta == 0:
            return value
        negative = _signed(linear, positive=False, absorb=passage.absorb)
        # Its value is 0, so that the sum keeps the operation's own; the relevance is that of z.
        against = _shared_out(passage, torch.zeros_like(z), negative, self.epsilon, -beta, z)
        return value + against


@final
@dataclass(frozen=True)
class ZBox(Rule):
    """For inputs between bounds:
    R_i = sum_j (x_i w_ij - l_i w_ij^+ - h_i w_ij^-) / sum_i (same) R_j

    (Montavon et al. 2017, section 5.1), for the first layer.

    Settings:
        low, high: the bounds of the inputs as the network sees them: numbers, or one for each
            channel.
        epsilon: what is added to the denominators.
    """

    low: float | tuple[float, ...] = 0.0
    high: float | tuple[float, ...] = 1.0
    epsilon: float = 1e-9
    direct: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_not_negative(self, "epsilon")

    def passed(self, passage: Passage) -> Any:
        linear = _require_linear(self, passage)
        shares = _require_shares(self, passage)
        x, weight = linear.x.detach(), linear.weight
        low, high = (_bound(bound, x) for bound in (self.low, self.high))
        rising, falling = weight.clamp(min=0), weight.clamp(max=0)
        # On shares and not on x: with bounds an input of 0 has relevance, which no slope times
        # x gives.
        total = linear.apply(shares * x, weight, None)
        total = total - linear.apply(shares * low, rising, None)
        total = total - linear.apply(shares * high, falling, None)
        z = passage.value.detach()
        return _shared_out(passage, z, _Sums(total, total), self.epsilon)


@final
@dataclass(frozen=True)
class WSquare(Rule):
    """By the squares of the weights, whatever the input: R_i = sum_j w_ij^2 / sum_i w_ij^2 R_j.

    (Montavon et al. 2017, section 5, for the real space), for the first layer.
    """

    direct: ClassVar[bool] = True

    def passed(self, passage: Passage) -> Any:
        linear = _require_linear(self, passage)
        shares = _require_shares(self, passage)
        total = linear.apply(shares, linear.weight**2, None)
        sums = _Sums(total, total)
        return _shared_out(passage, passage.value.detach(), sums, 0.0)


@final
@dataclass(frozen=True)
class Flat(Rule):
    """Evenly to every input that has a weight: R_i = sum_j 1 / n_j R_j (Lapuschkin et al. 2019).

    For the first layer: the answer has the resolution of its receptive fields and no more.
    """

    direct: ClassVar[bool] = True

    def passed(self, passage: Passage) -> Any:
        linear = _require_linear(self, passage)
        shares = _require_shares(self, passage)
        # Ones for weights: at a border, padding counts as no input, and n_j is smaller.
        total = linear.apply(shares, torch.ones_like(linear.weight), None)
        sums = _Sums(total, total)
        return _shared_out(passage, passage.value.detach(), sums, 0.0)


@final
@dataclass(frozen=True)
class Norm(Rule):
    """In proportion to the summands, stabilised, for sums and averages.

    Settings:
        epsilon: what is added to the denominators.
    """

    epsilon: float = 1e-6

    def __post_init__(self) -> None:
        _check_not_negative(self, "epsilon")

    def passed(self, passage: Passage) -> Any:
        return Epsilon(self.epsilon).passed(passage)


@final
@dataclass(frozen=True)
class Pass(Rule):
    """Relevance as it comes: R_in = R_out, for operations element by element.

    As a slope this is f(x) / x; where x is 0 and f(0) is not, nothing can carry it, and it is
    absorbed.
    """

    def passed(self, passage: Passage) -> Any:
        operation = passage.operation
        signals = operation.signals
        value = passage.value
        if len(signals) != 1 or value.shape != signals[0].shape:
            return value
        if operation.name in ("relu", "leaky_relu", "prelu"):
            # Homogeneous: the slope is the quotient.
            return value
        x, y = signals[0].detach(), value.detach()
        if _starts_at_zero(operation):
            # 0 for what is not above 0: no quotient is needed there.
            least = torch.finfo(x.dtype).tiny
            return scaled(signals[0], y, y / x.clamp_min(least))
        factor = y / x
        at_zero = x == 0
        if not bool(at_zero.any()):
            return scaled(signals[0], y, factor)
        factor = torch.where(at_zero, slopes_of(operation, signals[0]), factor)
        passed = scaled(signals[0], y, factor)
        if not bool(y[at_zero].any()):
            return passed
        return passage.account.metered(passage.name, passed, torch.where(at_zero, y, 0.0))


def _starts_at_zero(operation: Operation) -> bool:
    """Whether it is max(x, 0), cut off above at a positive number at most: ReLU6 and its kin."""
    if operation.name == "relu6":
        return True
    if operation.name != "hardtanh":
        return False
    low, high = operation.argument(1, "min_val", -1.0), operation.argument(2, "max_val", 1.0)
    return bool(low == 0 and high > 0)


@final
@dataclass(frozen=True)
class Constant(Rule):
    """The operation's value is held constant, and takes no relevance: gates, attention, sizes.

    What it is multiplied with takes all (Ali et al. 2022, section 4, for attention and the sizes of
    layer norm; Arras et al. 2017 for gates).
    """

    def passed(self, passage: Passage) -> Any:
        value = passage.value
        if isinstance(value, Tensor):
            return value.detach()
        return type(value)(part.detach() for part in value)


@final
@dataclass(frozen=True)
class Halves(Rule):
    """The factors of a product share evenly: each of n factors gets R / n (Achtibat et al. 2024).

    As a slope: the product's own, divided by the number of factors that carry signal.
    """

    def passed(self, passage: Passage) -> Any:
        value = passage.value
        factors = len(passage.operation.signals)
        if factors < 2:
            return value
        return pulled(value, value, lambda cotangent: cotangent / factors)


@final
@dataclass(frozen=True)
class Softmax(Rule):
    """The slope of the softmax: R_i = x_i (R_i - s_i sum_j R_j) (Achtibat et al. 2024, equation 12).

    It is not homogeneous: what its normalisation absorbs is in the account.
    """

    def passed(self, passage: Passage) -> Any:
        operation = passage.operation
        value = operation()
        x = operation.signals[0].detach().clone()
        dim = operation.argument(1, "dim", -1)
        logarithm = operation.name == "log_softmax"
        shares = value.detach().exp() if logarithm else value.detach().clone()
        # A score that is masked out is minus infinity with a share of 0: 0 together, not NaN.
        weighted = (shares * x).nan_to_num(posinf=0.0, neginf=0.0)
        mean = weighted.sum(dim, keepdim=True)
        # What the slope makes of the input itself.
        linear = x - mean if logarithm else weighted - shares * mean
        return passage.account.metered(passage.name, value, value.detach() - linear)


OF_THE_HOUSE: frozenset[type[Rule]] = frozenset(
    {
        Zero,
        Epsilon,
        Gamma,
        ZPlus,
        AlphaBeta,
        ZBox,
        WSquare,
        Flat,
        Norm,
        Pass,
        Constant,
        Halves,
        Softmax,
    }
)
"""Rules whose value is the operation's own, to the last bit."""


@final
@dataclass(frozen=True, eq=False)
class _Sums:
    """Sums that relevance is divided by.

    Settings:
        carrier: a tensor whose slopes are those of the inputs' part of the sums.
        total: the sums.
        own: what of them is no input's, a bias in a shape that broadcasts; None for nothing.
        sign: 1 or -1 where all sums have that sign, 0 where they have any.
    """

    carrier: Tensor
    total: Tensor
    own: Tensor | None = None
    sign: int = 0


def _signed(linear: LinearMap, *, positive: bool, absorb: bool) -> _Sums:
    """sum_i (x_i w_ij)^+ or ^-, and the bias where it has that sign."""
    rising, falling = linear.weight.clamp(min=0), linear.weight.clamp(max=0)
    along, across = (rising, falling) if positive else (falling, rising)
    bias = None
    if absorb and linear.bias is not None:
        bias = linear.bias.clamp(min=0) if positive else linear.bias.clamp(max=0)
    # Behind a rectifier the products of negative inputs are none: one pass is enough.
    if _nonnegative(linear.x):
        total = linear.apply(linear.x, along, bias)
    else:
        above, below = _parts(linear.x)
        total = linear.apply(above, along, bias) + linear.apply(below, across, None)
    own = None if bias is None else replace(linear, bias=bias).spread_bias(total)
    return _Sums(total, total, own, 1 if positive else -1)


def _favoured(linear: LinearMap, gamma: float, absorb: bool) -> tuple[_Sums, _Sums]:
    """The sums in which positive products count 1 + gamma, and those in which negative ones do."""
    weight = linear.weight
    rising = weight + gamma * weight.clamp(min=0)
    falling = weight + gamma * weight.clamp(max=0)
    above, below = _parts(linear.x)
    for_positive = linear.apply(above, rising, None)
    for_negative = linear.apply(above, falling, None)
    # A negative input turns the sign of its products, so it takes the other weights.
    if not _nonnegative(linear.x):
        for_positive = for_positive + linear.apply(below, falling, None)
        for_negative = for_negative + linear.apply(below, rising, None)
    bias = linear.spread_bias(for_positive)
    if bias is None or not absorb:
        return _Sums(for_positive, for_positive), _Sums(for_negative, for_negative)
    with_rising = bias + gamma * bias.clamp(min=0)
    with_falling = bias + gamma * bias.clamp(max=0)
    for_positive, for_negative = for_positive + with_rising, for_negative + with_falling
    return (
        _Sums(for_positive, for_positive, with_rising),
        _Sums(for_negative, for_negative, with_falling),
    )


def _shared_out(
    passage: Passage,
    value: Tensor,
    sums: _Sums,
    epsilon: float,
    weight: float = 1.0,
    relevant: Tensor | None = None,
) -> Tensor:
    """`value`, whose relevance goes to the sums' slopes in proportion, times `weight`."""
    z = value if relevant is None else relevant
    # Worked out in the forward: on the way back nothing is left but a product.
    step, denominators = _stabilised(sums, epsilon)
    # Where the relevance is z g, its quotient by the sums is what the slopes are multiplied with.
    factor = torch.div(z, denominators, out=denominators)
    if weight != 1:
        factor *= weight
    account, name = passage.account, passage.name
    own = None if sums.own is None else sums.own.detach()

    def pull(cotangent: Tensor) -> Tensor:
        return account.passed_on(name, cotangent * factor, own, step)

    return pulled(sums.carrier, value, pull)


def _stabilised(sums: _Sums, epsilon: float) -> tuple[Tensor, Tensor]:
    """The stabiliser, with the sign of the sums, and the sums with it: never 0."""
    total = sums.total.detach()
    if epsilon == 0:
        # Without a stabiliser, what is 0 has no relevance to hand on.
        step = (total == 0).to(total.dtype)
        return step, total + step
    if sums.sign:
        # What should have one sign may miss it by rounding.
        one_sided = total.clamp_min(0) if sums.sign > 0 else total.clamp_max(0)
        step = torch.full((), sums.sign * epsilon, dtype=total.dtype, device=total.device)
        return step, one_sided.add_(step)
    # Adding 0 takes the sign from a negative 0.
    step = torch.copysign(torch.full((), epsilon, dtype=total.dtype), total + 0.0)
    return step, step + total


def _require_shares(rule: Rule, passage: Passage) -> Tensor:
    if passage.shares is None:
        raise SettingError(
            expected=f"{rule!r} for the first layer that an input reaches",
            got=f"it for {passage.name!r} ({passage.operation.layer or 'no layer of its own'})",
            advice="Say Composite(..., first=...).",
        )
    return passage.shares


def _bound(bound: float | tuple[float, ...], x: Tensor) -> Tensor:
    """A bound in a shape that can be compared with x (r, channels, ...)."""
    numbers = torch.as_tensor(bound, dtype=x.dtype, device=x.device)
    if numbers.dim() == 0:
        return numbers
    return numbers.view(-1, *[1] * (x.dim() - 2))


def _check_not_negative(rule: Rule, *names: str) -> None:
    for name in names:
        number = getattr(rule, name)
        if not number >= 0:
            raise SettingError(
                expected=f"{name} of 0 or more for {type(rule).__name__}",
                got=number,
                advice=f"The default is {type(rule)()!r}.",
            )
