"""Base models that cope with masked inputs: a dataset that hides random features, and a small
training loop.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from assay import engine
from assay.errors import InputError, KindError, SettingError
from assay.features.partition import Features
from assay.inputs.reading import layout_of
from assay.numerics import rng


@final
@dataclass(frozen=True, eq=False)
class MaskedDataset(Dataset[tuple[Tensor, Tensor]]):
    """Every sample of a dataset once for each keep share, random features replaced by what is
    absent.

    A sample (x, y) becomes (where(keep[label], x, absent), y). `features` says which feature an
    element belongs to: such as `Patches(7)`, or a tensor of labels in the shape of x (-1: never
    masked). `absent` is a number or a tensor, such as 0.0 or the id of a mask token; elements whose
    value is one of `protected` (padding, the ends of a sentence) stay. Of n features round(n share
    + U(-1, 1)) are kept, cut to 0..n, and all at share 1 (as Xue, Alur and Wong 2023 train). The
    masks depend on the seed, the epoch and the sample's number alone.

    >>> data = [(torch.ones(4), 1), (torch.ones(4), 0)]
    >>> masked = MaskedDataset(data, torch.arange(4), shares=(1.0, 0.5))
    >>> len(masked), masked[1][0].tolist(), int(masked[3][1])
    (4, [1.0, 1.0, 1.0, 1.0], 0)
    """

    data: Any
    features: Features | Tensor
    shares: tuple[float, ...]
    absent: float | int | Tensor = 0.0
    protected: tuple[int, ...] = ()
    seed: int = 0
    epoch: int = 0

    def __post_init__(self) -> None:
        if not self.shares or not all(0 < share <= 1 for share in self.shares):
            raise SettingError(
                expected="keep shares above 0 and at most 1",
                got=self.shares,
                advice="",
            )
        if not hasattr(self.data, "__len__") or len(self.data) == 0:
            raise InputError("Expected a dataset with a length and at least one sample (x, y).")
        first = torch.as_tensor(self.data[0][0])
        labels = self.features
        if isinstance(labels, Features):
            layout = layout_of(first[None], device=torch.device("cpu"), dtype=None)
            labels = labels.bind(layout, layout.flatten(first[None])).labels[0].reshape(first.shape)
        labels = torch.as_tensor(labels)
        if labels.is_floating_point() or labels.shape != first.shape[first.dim() - labels.dim() :]:
            raise SettingError(
                expected=f"integer labels for samples of shape {tuple(first.shape)}",
                got=f"{labels.dtype} of shape {tuple(labels.shape)}",
                advice="Give one label per element, or per pixel of an image.",
            )
        object.__setattr__(self, "features", labels.to(torch.int64))

    def __len__(self) -> int:
        return len(self.data) * len(self.shares)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        x, y = self.batch(torch.tensor([index % len(self)]))
        return x[0], y[0]

    def batch(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """The masked samples with these numbers (b,): number i is sample i mod len(data), at share
        i // len(data).
        """
        pairs = [self.data[int(number) % len(self.data)] for number in numbers]
        x, y = (
            torch.stack([torch.as_tensor(one) for one, _ in pairs]),
            torch.stack([torch.as_tensor(y) for _, y in pairs]),
        )
        labels: Tensor = torch.as_tensor(self.features)
        keep = self.masks(numbers)[:, labels.clamp_min(0)] | (labels < 0)
        keep = keep.view(len(x), *(1,) * (x.dim() - 1 - labels.dim()), *labels.shape)
        for value in self.protected:
            keep = keep | (x == value)
        return torch.where(keep, x, torch.as_tensor(self.absent).to(x.dtype)), y

    def masks(self, numbers: Tensor) -> Tensor:
        """Which features the samples with these numbers keep: (b, features) bool."""
        features = int(torch.as_tensor(self.features).max()) + 1
        drawn = rng.streams(self.seed, numbers.to(torch.int64), "masked training").uniform(
            (self.epoch, self.epoch + 1), features + 1, torch.float64
        )[:, 0]
        share = torch.tensor(self.shares, dtype=torch.float64)[numbers // len(self.data)]
        kept = (features * share + 2 * drawn[:, -1] - 1).round().clamp(0, features)
        kept = torch.where(share == 1, float(features), kept)
        return drawn[:, :-1].argsort(dim=1) < kept[:, None]


@final
@dataclass(frozen=True, eq=False)
class Finetuned:
    """A fine-tuned copy of a network, in evaluation mode, and its mean training loss in every
    epoch.
    """

    network: nn.Module
    losses: tuple[float, ...]


def masked_finetuning(
    network: nn.Module,
    data: Any,
    *,
    features: Features | Tensor,
    share: float,
    absent: float | int | Tensor = 0.0,
    protected: tuple[int, ...] = (),
    epochs: int = 1,
    rate: float = 1e-4,
    batch: int = 32,
    seed: int = 0,
) -> Finetuned:
    """Trains a copy of a classifier on inputs masked at `share` and half of it, so that it can be
    smoothed.

    Cross-entropy with Adam at the given `rate`, both shares in one pass (Xue, Alur and Wong 2023);
    `data` holds samples (x, class), and the other settings are those of `MaskedDataset`. The
    network handed in, and the global generators, stay as they are; the same seed gives the same
    network. Long work shows a progress bar where someone watches.

    Cost: 2 * epochs * len(data) forward and backward passes.

    >>> data = [(torch.eye(4)[i % 4], i % 2) for i in range(16)]
    >>> tuned = masked_finetuning(nn.Linear(4, 2), data, features=torch.arange(4), share=0.5, epochs=3, rate=0.1)
    >>> len(tuned.losses), tuned.network.training
    (3, False)
    """
    if not isinstance(network, nn.Module):
        raise KindError(
            expected="a torch.nn.Module to fine-tune",
            got=type(network).__name__,
            advice="",
        )
    if epochs < 1 or batch < 1 or not rate > 0:
        raise InputError(
            expected="epochs and batch from 1 on and a positive rate",
            got=f"{epochs}, {batch} and {rate}",
            advice="",
        )
    masked = MaskedDataset(data, features, (share, share / 2), absent, protected, seed)
    learner = copy.deepcopy(network)
    place = next((p.device for p in learner.parameters()), torch.device("cpu"))
    devices = [place] if place.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.inference_mode(False), torch.enable_grad():
        torch.manual_seed(rng.derive(seed, "dropout"))
        learner.train()
        losses = _train(learner, masked, place, epochs, rate, batch)
    return Finetuned(learner.eval(), losses)


def _train(
    learner: nn.Module,
    masked: MaskedDataset,
    place: torch.device,
    epochs: int,
    rate: float,
    batch: int,
) -> tuple[float, ...]:
    optimiser = torch.optim.Adam(_learning(learner.parameters()), lr=rate)
    order = rng.shared(masked.seed, "order of training")
    # A last batch of one sample would leave batch normalisation without a variance.
    size = next(size for size in count(batch) if len(masked) % size != 1 or size > len(masked))
    losses = []
    for epoch in range(epochs):
        numbers = torch.from_numpy(order.permutation(len(masked)))
        step = _Epoch(learner, optimiser, replace(masked, epoch=epoch), numbers, place, [])
        engine.run(
            len(masked),
            step,
            engine.ChunkSearch(fixed=size),
            f"fine-tuning, epoch {epoch + 1} of {epochs}",
        )
        losses.append(math.fsum(step.losses) / len(masked))
    return tuple(losses)


@final
@dataclass(frozen=True, eq=False)
class _Epoch:
    """The steps of one pass over the masked samples."""

    learner: nn.Module
    optimiser: torch.optim.Optimizer
    masked: MaskedDataset
    numbers: Tensor
    place: torch.device
    losses: list[float]

    def __call__(self, start: int, stop: int, layout: int) -> None:
        x, y = self.masked.batch(self.numbers[start:stop])
        self.optimiser.zero_grad(set_to_none=True)
        loss = nn.functional.cross_entropy(self.learner(x.to(self.place)), y.to(self.place))
        torch.autograd.backward(loss)
        self.optimiser.step()
        self.losses.append(float(loss.detach()) * (stop - start))


def _learning(parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    chosen = [parameter for parameter in parameters if parameter.requires_grad]
    if not chosen:
        raise InputError(
            expected="a network with parameters that require gradients",
            got="none: unfreeze some",
            advice="",
        )
    return chosen
