"""Composites: which rule of relevance for which operation."""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, final

from assay.errors import SettingError
from assay.methods.rules.relevance import (
    AlphaBeta,
    Constant,
    Epsilon,
    Flat,
    Gamma,
    Halves,
    Norm,
    Pass,
    Rule,
    Softmax,
    ZBox,
    Zero,
    ZPlus,
)
from assay.models.networks.operations.kinds import KNOWN_NAMES, OperationKind
from assay.models.networks.operations.operation import Operation
from assay.settings import Settings

Bias: TypeAlias = Literal["absorb", "ignore"]
"""Whether biases take their share of the relevance, or the inputs get it all."""

_DEFAULTS: dict[str, Rule] = {
    "convolution": Epsilon(),
    "dense": Epsilon(),
    "affine": Zero(),
    "sum": Zero(),
    "activation": Pass(),
    "maximum": Zero(),
    "product": Halves(),
    "scale": Constant(),
    "softmax": Softmax(),
}
"""What holds where a composite says nothing of a kind."""

_LISTED = 12  # names of layers in a refusal

_KINDS = frozenset(kind.value for kind in OperationKind)


class Composition(Settings, ABC):
    """A mapping from operations to rules. A subclass is a frozen dataclass that writes `composite`."""

    @abstractmethod
    def composite(self) -> Composite:
        """The same, said kind by kind."""


@final
@dataclass(frozen=True)
class Composite(Composition):
    """Rules by the kind of an operation, by its name, and by the layer whose weights it works with.

    Settings:
        rules: a mapping from kinds ("convolution", "dense", "sum", "activation", "product",
            "softmax", ...) or names of operations ("sigmoid", "conv2d", ...) to rules; a name goes
            before its kind. What is not said is `Epsilon()` for convolutions and dense layers,
            `Pass()` for activations, `Halves()` for products of two signals, `Constant()` for sizes
            that are divided by, the slope for softmax, sums and maxima.
        first: the rule of the first convolution or dense layer that an input reaches.
        layers: rules by the name of a layer, or the beginning of one ("features.0", "fc"); they go
            before everything else.
        bias: "absorb" leaves biases their share of the relevance, "ignore" gives it to the inputs.
        merge_batch_norm: takes a batch norm behind a convolution or dense layer into its weights;
            elsewhere it is the affine map that it is in evaluation mode.
        otherwise: the rule of operations that are none of the known ones; they are refused where
            nothing is said.

    >>> Composite({"convolution": ZPlus(), "sigmoid": Constant()}, first=Flat())
    Composite(rules={'convolution': ZPlus(epsilon=1e-09), 'sigmoid': Constant()}, first=Flat())
    """

    rules: Mapping[str, Rule] = field(default_factory=dict)
    first: Rule | None = None
    layers: Mapping[str, Rule] = field(default_factory=dict)
    bias: Bias = "absorb"
    merge_batch_norm: bool = True
    otherwise: Rule | None = None

    def __post_init__(self) -> None:
        for key, rule in {**self.rules, **self.layers}.items():
            if not isinstance(rule, Rule):
                raise SettingError(
                    expected=f"a rule for {key!r}",
                    got=repr(rule),
                    advice="Make one, such as ZPlus() or Epsilon(0.1).",
                )
        for key in self.rules:
            if key not in _KINDS and key not in KNOWN_NAMES:
                # A key that is misspelt would pass in silence, and the default rule would hold.
                close = difflib.get_close_matches(key, [*_KINDS, *KNOWN_NAMES])
                raise SettingError(
                    expected="kinds or names of operations as keys of rules",
                    got=repr(key),
                    advice=f"Near it: {', '.join(close) or 'none'}. Kinds: {', '.join(sorted(_KINDS))}.",
                )
        if self.bias not in ("absorb", "ignore"):
            raise SettingError(
                expected="bias 'absorb' or 'ignore' for Composite",
                got=repr(self.bias),
                advice="'absorb' says what the network computes; 'ignore' conserves.",
            )

    def composite(self) -> Composite:
        return self

    def rule_for(self, operation: Operation, *, is_first: bool) -> Rule | None:
        """The rule of an operation, or None where there is none."""
        # The name of a layer goes first: it is the most particular thing that somebody can say.
        if operation.layer is not None:
            for name, rule in self.layers.items():
                if _is_within(operation.layer, name):
                    return rule
        kind = operation.kind
        if is_first and self.first is not None:
            return self.first
        # An operation's name before its kind, so that one sigmoid of all activations can differ.
        if operation.name in self.rules:
            return self.rules[operation.name]
        if kind is None:
            return self.otherwise
        return self.rules.get(kind.value) or _DEFAULTS.get(kind.value)

    def check_layers(self, known: Sequence[str]) -> None:
        """Refuses the name of a layer that the network has not: its rule would hold nowhere."""
        for name in self.layers:
            if not any(_is_within(layer, name) for layer in known):
                close = difflib.get_close_matches(name, known)
                raise SettingError(
                    expected="names of layers with weights as keys of layers",
                    got=repr(name),
                    advice=f"Near it: {', '.join(close) or 'none'}. "
                    f"The first of {len(known)}: {', '.join(known[:_LISTED]) or 'none'}.",
                )

    def says(self, operation: Operation) -> bool:
        """Whether it has a rule of its own for the whole of an operation, by its name or kind."""
        kind = operation.kind
        return operation.name in self.rules or (kind is not None and kind.value in self.rules)

    def __repr__(self) -> str:
        said = [
            f"{name}={value!r}"
            for name, value in vars(self).items()
            if value != type(self).__dataclass_fields__[name].default and value != {}
        ]
        return f"Composite({', '.join(said)})"


def _is_within(layer: str, name: str) -> bool:
    """Whether a layer has a name, or lies in the part of the network that has it."""
    return layer == name or layer.startswith(f"{name}.")


def _standard(convolution: Rule, dense: Rule, first: Rule | None, bias: Bias) -> Composite:
    rules = {"convolution": convolution, "dense": dense, "sum": Norm()}
    return Composite(rules, first=first, bias=bias)


@final
@dataclass(frozen=True)
class EpsilonPlus(Composition):
    """z-plus for convolutions, epsilon for dense layers (Lapuschkin et al. 2017; Kohlbrenner et al.
    2020).

    Settings:
        epsilon: the stabiliser of dense layers.
        bias: whether biases absorb relevance.
    """

    epsilon: float = 1e-6
    bias: Bias = "absorb"

    def composite(self) -> Composite:
        return _standard(ZPlus(), Epsilon(self.epsilon), None, self.bias)


@final
@dataclass(frozen=True)
class EpsilonPlusFlat(Composition):
    """As `EpsilonPlus`, with the flat rule for the first layer.

    Settings:
        epsilon: the stabiliser of dense layers.
        bias: whether biases absorb relevance.
    """

    epsilon: float = 1e-6
    bias: Bias = "absorb"

    def composite(self) -> Composite:
        return _standard(ZPlus(), Epsilon(self.epsilon), Flat(), self.bias)


@final
@dataclass(frozen=True)
class EpsilonAlpha2Beta1(Composition):
    """Alpha-beta with alpha 2 for convolutions, epsilon for dense layers.

    Settings:
        epsilon: the stabiliser of dense layers.
        bias: whether biases absorb relevance.
    """

    epsilon: float = 1e-6
    bias: Bias = "absorb"

    def composite(self) -> Composite:
        return _standard(AlphaBeta(2.0), Epsilon(self.epsilon), None, self.bias)


@final
@dataclass(frozen=True)
class EpsilonAlpha2Beta1Flat(Composition):
    """As `EpsilonAlpha2Beta1`, with the flat rule for the first layer.

    Settings:
        epsilon: the stabiliser of dense layers.
        bias: whether biases absorb relevance.
    """

    epsilon: float = 1e-6
    bias: Bias = "absorb"

    def composite(self) -> Composite:
        return _standard(AlphaBeta(2.0), Epsilon(self.epsilon), Flat(), self.bias)


@final
@dataclass(frozen=True)
class EpsilonGammaBox(Composition):
    """The box rule for the first layer, gamma for convolutions, epsilon for dense layers
    (Montavon et al. 2019, section 10.3).

    Settings:
        low, high: the bounds of the inputs as the network sees them, normalised ones included:
            numbers, or one for each channel.
        gamma: how much more positive contributions count.
        epsilon: the stabiliser of dense layers.
        bias: whether biases absorb relevance.
    """

    low: float | tuple[float, ...]
    high: float | tuple[float, ...]
    gamma: float = 0.25
    epsilon: float = 1e-6
    bias: Bias = "absorb"

    def composite(self) -> Composite:
        first = ZBox(self.low, self.high)
        return _standard(Gamma(self.gamma), Epsilon(self.epsilon), first, self.bias)


@final
@dataclass(frozen=True)
class AttentionAware(Composition):
    """For transformers: products share evenly, softmax by its slope, sizes of norms held constant,
    gates and activations pass (AttnLRP, Achtibat et al. 2024).

    Settings:
        gamma: how much more positive contributions count in linear layers; 0 for the epsilon rule.
        epsilon: the stabiliser.
        bias: whether biases absorb relevance.
    """

    gamma: float = 0.0
    epsilon: float = 1e-6
    bias: Bias = "absorb"

    def composite(self) -> Composite:
        linear: Rule = Gamma(self.gamma, self.epsilon) if self.gamma else Epsilon(self.epsilon)
        # Products, softmax and sizes of norms go by the defaults, which are this paper's.
        return Composite({"convolution": linear, "dense": linear}, bias=self.bias)


@final
@dataclass(frozen=True)
class ConservativeAttention(Composition):
    """For transformers: attention weights, gates and sizes of norms held constant, so that relevance
    is conserved but for biases (CP-LRP, Ali et al. 2022).

    Settings:
        epsilon: the stabiliser.
        bias: whether biases absorb relevance.
    """

    epsilon: float = 1e-6
    bias: Bias = "absorb"

    def composite(self) -> Composite:
        linear = Epsilon(self.epsilon)
        rules: dict[str, Rule] = {
            "convolution": linear,
            "dense": linear,
            "softmax": Constant(),
            "sigmoid": Constant(),
        }
        return Composite(rules, bias=self.bias)
