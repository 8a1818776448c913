"""Attention by itself: rolled out over the layers, or raw, of one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor

from assay.errors import AbilityError, InputError
from assay.methods.attention.base import AttentionMethod, Heads, fused
from assay.methods.attention.capture import Forward
from assay.methods.attention.streams import Layer, Rule, State, Streams, read_tokens
from assay.methods.attention.tokens import Interpolation


@final
@dataclass(frozen=True)
class AttentionRollout(AttentionMethod):
    """Attention multiplied over the layers, each with the residual connection beside it.

    R_l = rows of (A_l + I), scaled to 1, times R_(l-1), R_0 = I; A_l the heads of layer l as one
    map (Abnar and Zuidema 2020, equation 1)

    Settings:
        heads: how the heads of a layer become one map: their "mean" as in the paper, "max" or "min".
        token: the token of the last layer whose row is read; None for those that the target reads,
            in equal shares.
        grid: the grid of an image's patches, (rows, columns); where nothing is said that of the
            convolution that makes them.
        interpolation: how a map of patches is laid on pixels, "bilinear" or "nearest".

    It says where information may come from, and not for which class. Cost: one forward and backward
    pass, the latter to see which tokens are read. Values: shares of 1 over all tokens of the
    network, laid on the inputs; of ids, one a token. Errors: AbilityError without attention, for
    cross-attention, and where windows or pooling leave no row of tokens.

    >>> import torch, assay
    >>> layer = torch.nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
    >>> class Net(torch.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.layer, self.head = layer, torch.nn.Linear(4, 2)
    ...     def forward(self, x):
    ...         return self.head(self.layer(x)[:, 0])
    >>> answer = AttentionRollout()(assay.Question(Net().eval(), torch.rand(1, 3, 4), target=0))
    >>> float(answer.values.view(3, 4)[:, 0].sum())  # 3 tokens of 4 numbers, which share their token's
    1.0
    """

    heads: Heads = "mean"
    token: int | None = None
    grid: tuple[int, int] | None = None
    interpolation: Interpolation = "bilinear"

    def rule(self, forward: Forward) -> Rule:
        def rolled(layer: Layer, own: State, other: State) -> Mapping[int, Tensor]:
            _require_same(own, other, type(self).__name__)
            attention = fused(layer.weights, self.heads)
            # By their own sum, since maxima and minima over heads do not add up to 1.
            rows = attention.sum(2, keepdim=True) + 1
            # What a rule gives is added to the state: what is there already is taken off.
            return {
                root: (attention @ other.relevance[root] + relevance) / rows - relevance
                for root, relevance in own.relevance.items()
            }

        return rolled


@final
@dataclass(frozen=True)
class RawAttention(AttentionMethod):
    """The attention weights of one layer, as they are: the baseline of the others.

    A_l of the token that is read, the heads as one map

    Settings:
        heads: how the heads of a layer become one map: their "mean", "max" or "min".
        token: the token whose row is read; None for those that the target reads, in equal shares.
        grid: the grid of an image's patches, (rows, columns); where nothing is said that of the
            convolution that makes them.
        interpolation: how a map of patches is laid on pixels, "bilinear" or "nearest".
        layer: its number in the order of the forward, 0 the first, -1 the last.

    Behind the first layer a token is no longer the input's part that it began as, and the map takes
    it for that. Cost: one forward and backward pass. Values: shares of 1 over the keys. Errors:
    InputError for a layer that there is not.

    >>> RawAttention(layer=3)
    RawAttention(heads='mean', token=None, grid=None, interpolation='bilinear', layer=3)
    """

    heads: Heads = "mean"
    token: int | None = None
    grid: tuple[int, int] | None = None
    interpolation: Interpolation = "bilinear"
    layer: int = -1

    def rule(self, forward: Forward) -> Rule:
        # States are followed for the roots of keys; what they hold is not asked.
        return lambda layer, own, other: {}

    def read(self, streams: Streams, layers: Sequence[Layer]) -> Mapping[int, Tensor]:
        count = len(streams.layers)
        if not -count <= self.layer < count:
            raise InputError(
                expected=f"a layer from 0 to {count - 1}, or from -{count} to -1, for RawAttention",
                got=self.layer,
                advice="-1 is the last layer with attention.",
            )
        layer = layers[0] if self.layer == -1 else streams.layers[self.layer]
        same = layer.tokens[0] == layers[0].tokens[0]
        shares = read_tokens(layers if same else (layer,), self.token)
        root = streams.state(layer.keys, layer.tokens[1]).root
        return {root: (shares[:, None] @ fused(layer.weights, self.heads))[:, 0]}


def _require_same(own: State, other: State, who: str) -> None:
    if own.root != other.root:
        raise AbilityError(
            expected=f"self-attention alone, for {who}",
            got="queries of one row of tokens and keys of another",
            advice="AttentionRelevance() and TransformerRelevance() have rules for cross-attention.",
        )
