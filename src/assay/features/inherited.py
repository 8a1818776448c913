"""Behind a layer, the features of the question before it.

An embedding, a convolution over a sequence, a transformer's block keep the places of their inputs and
give each of them several numbers. Whoever receives credit for a place before the layer receives that
of its numbers behind it: labels are repeated along the axes that the layer added, and names, groups
and what nobody owns come along.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from assay.errors import InputError
from assay.features.partition import Features, Partition
from assay.inputs.layout import Layout


@final
@dataclass(frozen=True)
class Inherited(Features):
    """Behind a layer that keeps the inputs' places, the features of the question before.

    phi_j = sum over the places of feature j and over the numbers that the layer gives each of them:
    integrated gradients of words by their embeddings (Sundararajan, Taly and Yan 2017, section 6.3).
    Tokens, words of tokens, groups of columns keep their names; padding and other places without an
    owner keep none.

    Shapes: those of the features before. Errors: InputError for a question that is not
    behind a layer, and for a layer whose activations do not begin with the inputs' own axes.

    >>> import torch, assay
    >>> net = torch.nn.Sequential(torch.nn.Embedding(4, 3), torch.nn.Flatten(), torch.nn.Linear(6, 2))
    >>> tokens = assay.Tokens(padding=(), vocabulary=["[MASK]", "so", "good", "bad"])
    >>> ids = torch.tensor([[1, 2]])
    >>> asked = assay.Question(net, ids, 1, features=tokens, removal=assay.MaskToken(0))
    >>> answer = assay.IntegratedGradients()(asked.after(net[0], features=Inherited()))
    >>> answer.names, answer.values.shape, bool(answer.gap.abs().max() < 1e-6)
    (('so', 'good'), torch.Size([1, 2]), True)
    """

    def bind(self, layout: Layout, x: Tensor) -> Partition:
        raise InputError(
            expected="a question behind a layer for Inherited()",
            got="a question about the inputs themselves",
            advice="Write question.after(layer, features=Inherited()).",
        )

    def bind_behind(
        self, layout: Layout, x: Tensor, before: Partition, inputs: Layout
    ) -> Partition:
        layers = layout.shapes
        alike = len(layers) == len(inputs.shapes)
        pairs = list(zip(inputs.shapes, layers))
        if not alike or any(layer[: len(places)] != places for places, layer in pairs):
            raise InputError(
                expected=f"activations with the places of the inputs, {inputs.describe()}, in front",
                got=f"activations of shape {layout.describe()}",
                advice=(
                    "Ask at a layer that keeps them, such as the embedding, or say which unit "
                    "belongs to whom: after(layer, features=Labels(map))."
                ),
            )
        parts = before.labels.split([math.prod(places) for places in inputs.shapes], dim=1)
        repeated = [
            part.repeat_interleave(math.prod(layer[len(places) :]), dim=1)
            for part, (places, layer) in zip(parts, pairs)
        ]
        return Partition(
            torch.cat(repeated, dim=1).to(x.device),
            before.count,
            before.names,
            before.shape,
            before.pooling,
            own_names=before.own_names,
        )
