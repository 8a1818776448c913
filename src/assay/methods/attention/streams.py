"""Relevance carried from layer to layer: which tokens each attention mixes, and what follows.

A stream is a row of tokens that goes through the layers: those of one input, or the queries of a
decoder, which are constants of the network. Its state holds for each root (an input, or constants)
the relevance of the root's tokens for its own, (rows, tokens, root's tokens), the identity where it
begins. Self-attention mixes a stream with itself, cross-attention takes another stream's in. What
one layer does to a state is the method's formula (`Rule`); the rest is following.

Whose tokens a map mixes is read off what its queries and keys hang on, bit by bit: `queries` hangs
on exactly the maps that its stream went through before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, final

import torch
from torch import Tensor

from assay.errors import AbilityError
from assay.methods.attention.capture import Forward, Map, Tag

CONSTANTS = -1
"""The root of queries that are constants of the network."""


@final
@dataclass(frozen=True, eq=False)
class Layer:
    """The heads that mix the same tokens at once.

    Settings:
        maps: as they were heard: a single one, but for heads that are written one by one.
        queries, keys: what these hang on.
        bits: those of its maps.
    """

    maps: tuple[Map, ...]
    queries: Tag
    keys: Tag
    bits: Tag

    @property
    def weights(self) -> Tensor:
        """(rows, heads, queries, keys)."""
        return _beside([each.weights for each in self.maps])

    @property
    def slopes(self) -> Tensor:
        """Those at the weights, 0 where none arrived."""
        return _beside(
            [torch.zeros_like(one.weights) if one.slope is None else one.slope for one in self.maps]
        )

    @property
    def is_reached(self) -> bool:
        """Whether the target hangs on it."""
        return any(each.slope is not None for each in self.maps)

    @property
    def tokens(self) -> tuple[int, int]:
        """How many queries and keys."""
        queries, keys = self.maps[0].weights.shape[2:]
        return queries, keys


def _beside(heads: Sequence[Tensor]) -> Tensor:
    return heads[0] if len(heads) == 1 else torch.cat(list(heads), 1)


@final
@dataclass(frozen=True, eq=False)
class State:
    """The relevance of every root's tokens for a stream's own.

    Settings:
        root: whose tokens these were to begin with.
        relevance: by root, (rows, tokens, root's tokens).
    """

    root: int
    relevance: Mapping[int, Tensor]

    @property
    def own(self) -> Tensor:
        """That of its own root."""
        return self.relevance[self.root]


Rule: TypeAlias = Callable[[Layer, State, State], Mapping[int, Tensor]]
"""A layer, its queries' state and its keys' state, to what is added to the queries' by root."""


def layers_of(forward: Forward) -> list[Layer]:
    """The layers in the order of the forward; heads that were written one by one are one layer."""
    groups: dict[tuple[Tag, Tag], list[Map]] = {}
    for each in forward.maps:
        # A later layer's queries hang on the earlier one's maps as well, which tells them apart.
        groups.setdefault((each.queries, each.keys), []).append(each)
    return [
        Layer(tuple(maps), queries, keys, _joined(maps)) for (queries, keys), maps in groups.items()
    ]


def _joined(maps: Sequence[Map]) -> Tag:
    bits = 0
    for each in maps:
        bits |= each.bit
    return bits


@final
class Streams:
    """The streams of a forward, whose states are worked out by a rule when they are asked for."""

    def __init__(self, forward: Forward, rule: Rule) -> None:
        self.forward = forward
        self.layers = layers_of(forward)
        self.rule = rule
        self._states: dict[Tag, State] = {}

    def last(self) -> list[list[Layer]]:
        """The layers that the target reads and no other layer does, stream by stream."""
        reached = [layer for layer in self.layers if layer.is_reached]
        groups: dict[Tag, list[Layer]] = {}
        for layer in _behind_all(reached):
            groups.setdefault(layer.queries, []).append(layer)
        return list(groups.values())

    def behind(self, layers: Sequence[Layer]) -> State:
        """The state of a stream behind the layers that are its last."""
        tag = layers[0].queries
        for layer in layers:
            tag |= layer.keys | layer.bits
        return self.state(tag, layers[0].tokens[0])

    def state(self, tag: Tag, tokens: int) -> State:
        """The state of the tokens that hang on what a tag says."""
        # Many layers ask for the same state, which is worked out once.
        if tag not in self._states:
            self._states[tag] = self._state(tag, tokens)
        state = self._states[tag]
        if state.own.shape[1] != tokens:
            raise AbilityError(
                expected="tokens that stay the same from layer to layer",
                got=f"{state.own.shape[1]} of them before a layer and {tokens} in it",
                advice=(
                    "They were picked, pooled or joined in between. Ask behind the layer that does "
                    "it, question.after(layer), or use LRP(AttentionAware())."
                ),
            )
        return state

    def _state(self, tag: Tag, tokens: int) -> State:
        before = [layer for layer in self.layers if layer.bits & tag]
        if not before:
            return self._beginning(tag, tokens)
        # Earlier layers are in the state that these begin with.
        last = _behind_all(before)
        base = last[0].queries
        known = base
        for layer in last:
            known |= layer.keys | layer.bits
        if any(layer.queries != base for layer in last) or tag & ~known:
            raise _joined_streams()
        own = self.state(base, tokens)
        relevance = dict(own.relevance)
        # All that begin at the same tokens are added at once, as they are worked out at once.
        for layer in last:
            other = self.state(layer.keys, layer.tokens[1])
            for root, added in self.rule(layer, own, other).items():
                before_it = relevance.get(root)
                relevance[root] = added if before_it is None else before_it + added
        return State(own.root, relevance)

    def _beginning(self, tag: Tag, tokens: int) -> State:
        if tag.bit_count() > 1:
            raise _joined_streams()
        root = tag.bit_length() - 1 if tag else CONSTANTS
        weights = self.forward.maps[0].weights
        # Every token is its own where a stream begins: one identity, looked at by all rows.
        eye = torch.eye(tokens, dtype=weights.dtype, device=weights.device)
        return State(root, {root: eye.expand(self.forward.rows, -1, -1)})


def _behind_all(layers: Sequence[Layer]) -> list[Layer]:
    """Those that no other of them builds on."""
    used = 0
    for layer in layers:
        used |= layer.queries | layer.keys
    return [layer for layer in layers if not layer.bits & used]


def _joined_streams() -> AbilityError:
    return AbilityError(
        expected="rows of tokens that meet in attention alone",
        got="tokens that were added to or set beside those of another input or layer",
        advice=(
            "Ask behind the layer where they are joined, question.after(layer), whose output is "
            "then one row of tokens."
        ),
    )


def read_tokens(layers: Sequence[Layer], token: int | None) -> Tensor:
    """How much of the answer is each token's of the last layer: (rows, tokens), adding up to 1.

    Those that the target reads in equal shares, as slopes at their rows of the weights tell; or the
    one that is named.
    """
    weights = layers[0].maps[0].weights
    tokens = weights.shape[2]
    if token is not None:
        if not -tokens <= token < tokens:
            raise AbilityError(
                expected=f"a token of the {tokens} of the last layer",
                got=token,
                advice="The class token is 0; None takes those that the target reads.",
            )
        shares = weights.new_zeros(len(weights), tokens)
        shares[:, token] = 1
        return shares
    reads = torch.zeros(len(weights), tokens, dtype=torch.bool, device=weights.device)
    for layer in layers:
        # Through any head and key: a token that the target does not read has slopes of 0 only.
        reads |= (layer.slopes != 0).any(3).any(1)
    shares = reads.to(weights.dtype)
    # Where nothing is read all stay 0, and nothing is divided by 0.
    return shares / shares.sum(1, keepdim=True).clamp_min(1)
