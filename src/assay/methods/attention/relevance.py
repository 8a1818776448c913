"""Attention weights times their slopes, carried through self- and cross-attention."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from assay.methods.attention.base import AttentionMethod, Heads, fused
from assay.methods.attention.capture import Forward
from assay.methods.attention.streams import Layer, Rule, State
from assay.methods.attention.tokens import Interpolation


@final
@dataclass(frozen=True)
class AttentionRelevance(AttentionMethod):
    """Attention weights times their slopes, what is positive of it, carried from layer to layer.

    A' = mean over heads of max(G * A, 0), G the slope of the target at A; R = R + A' R for
    self-attention; of queries s and keys q: R_sq = R_sq + N(R_ss)^T A' N(R_qq), R_ss = R_ss + A' R_qs,
    N(R) = I + (R - I) with rows scaled to 1      (Chefer et al. 2021, ICCV, equations 5 to 11)

    Settings:
        heads: how the heads of a layer become one map: their "mean" as in the paper, "max" or "min".
        token: the token of the last layer whose row is read; None for those that the target reads,
            in equal shares.
        grid: the grid of an image's patches, (rows, columns); where nothing is said that of the
            convolution that makes them.
        interpolation: how a map of patches is laid on pixels, "bilinear" or "nearest".

    Maps and slopes are all it needs: encoders, decoders, and two inputs that attend to each other.
    Self-attention of a decoder's constants before they have met an input is the identity. Cost: one
    forward and backward pass, and products of tokens by tokens. Values: not negative, no sum. What
    speaks against the target has no place in it: ask for `Negated(target)`. Errors: AbilityError
    without attention, and where windows or pooling leave no row of tokens.

    >>> AttentionRelevance(grid=(14, 14))
    AttentionRelevance(heads='mean', token=None, grid=(14, 14), interpolation='bilinear')
    """

    heads: Heads = "mean"
    token: int | None = None
    grid: tuple[int, int] | None = None
    interpolation: Interpolation = "bilinear"

    def rule(self, forward: Forward) -> Rule:
        return carried(lambda layer: layer.weights, self.heads)


def carried(worth: Callable[[Layer], Tensor], heads: Heads) -> Rule:
    """The rules of relevance for what a layer's weights are worth (rows, heads, queries, keys)."""

    def rule(layer: Layer, own: State, other: State) -> Mapping[int, Tensor]:
        # Cut before heads are fused: what one head says against would take from another's for.
        attention = fused((layer.slopes * worth(layer)).clamp_min(0), heads)
        # Self-attention: rows of every root are mixed alike, those of another input as well.
        if own.root == other.root:
            return {root: attention @ every for root, every in other.relevance.items()}
        added = {root: attention @ every for root, every in other.relevance.items()}
        # Of the keys' own tokens each stream's self-attention counts, scaled.
        mixed = _normalised(own.own).mT @ attention @ _normalised(other.own)
        added[other.root] = mixed
        return added

    return rule


def _normalised(own: Tensor) -> Tensor:
    """I + (R - I), what is beside the identity with rows that add up to 1, or to 0."""
    eye = torch.eye(own.shape[1], dtype=own.dtype, device=own.device)
    # What self-attention has added so far; the identity is the token itself, and stays as it is.
    mixed = own - eye
    rows = mixed.sum(2, keepdim=True)
    return eye + mixed / torch.where(rows == 0, 1.0, rows)
