"""Recurrent cells over packed sequences: their rows are not rows of inputs any more."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import assay
from assay import LRP, Deconvnet, DeepLift, GuidedBackprop
from assay.errors import AbilityError
from toys import randn, randomised


class Packing(nn.Module):
    def __init__(self, cell: type[nn.RNNBase]) -> None:
        super().__init__()
        self.cell = cell(4, 5, batch_first=True)
        self.out = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        packed = pack_padded_sequence(x, torch.full((len(x),), x.shape[1]), batch_first=True)
        states, _ = pad_packed_sequence(self.cell(packed)[0], batch_first=True)
        scores: Tensor = self.out(states[:, -1])
        return scores


@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("method", [GuidedBackprop(), Deconvnet(), LRP(), DeepLift()], ids=repr)
def test_packed_sequences_are_refused_by_name(method: Any, cell: type[nn.RNNBase]) -> None:
    net = randomised(Packing(cell), 1).double()
    x = randn(3, 3, 4, seed=2, dtype=torch.float64)
    question = assay.Question(net, x, target=0, removal=assay.Baseline(0.0))
    with pytest.raises(AbilityError, match=r"padded sequences|pack_padded_sequence"):
        method(question)
