"""Base models that cope with masked inputs: a dataset that hides features, and a training loop.

A classifier that has never seen masked inputs loses accuracy under smoothing. Xue, Alur and Wong
(2023) fine-tune on inputs masked at the keep rate lambda and at half of it; so does this file, with
masks that depend on the seed, the epoch and the sample's number alone.
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
from assay.settings import Settings, argument, checked_seed, has_length


@final
@dataclass(frozen=True, eq=False)
class MaskedDataset(Settings, Dataset[tuple[Tensor, Tensor]]):
    """Every sample of a dataset once for each keep share, random features replaced.

    A sample (x, y) becomes (where(keep[label], x, absent), y). Of n features round(n share +
    U(-1, 1)) are kept, cut to 0..n, and all at share 1 (as Xue, Alur and Wong 2023 train).

    Settings:
        data: samples (x, y), with a length.
        features: which feature an element belongs to: such as `Patches(7)`, or a tensor of labels
            in the shape of x (-1: never masked).
        shares: keep shares above 0 and at most 1.
        absent: what stands in: a number or a tensor, such as 0.0 or the id of a mask token.
        protected: values of elements that stay, such as padding or the ends of a sentence.
        seed, epoch: what the masks depend on, beside the sample's number.

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
                advice="Such as shares=(0.5, 0.25); 1.0 leaves a sample as it is.",
            )
        if not has_length(self.data) or len(self.data) == 0:
            raise InputError(
                expected="a dataset with a length and at least one sample (x, y)",
                got=f"a {type(self.data).__name__} without one",
                advice="Hand over a torch Dataset or a list of pairs.",
            )
        sample = _first_sample(self.data)
        labels = _labels(self.features, sample)
        # Labels of pixels are shared by the channels, which come before them.
        shape = sample.shape[sample.dim() - labels.dim() :]
        if labels.is_floating_point() or labels.is_complex() or labels.shape != shape:
            raise SettingError(
                expected=f"integer labels for samples of shape {tuple(sample.shape)}",
                got=f"{labels.dtype} of shape {tuple(labels.shape)}",
                advice="Give one label per element, or per pixel of an image.",
            )
        if int(labels.max()) < 0:
            raise SettingError(
                expected="labels from 0 on, with -1 for elements that are never masked",
                got=f"labels up to {int(labels.max())}",
                advice="Number the features 0, 1, 2, ...: torch.arange(elements) for one each.",
            )
        _check_absent(self.absent, sample)
        # Rules such as `Patches` are read once, by the first sample.
        object.__setattr__(self, "features", labels.to(torch.int64))

    def __len__(self) -> int:
        return len(self.data) * len(self.shares)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        x, y = self.batch(torch.tensor([index % len(self)]))
        return x[0], y[0]

    def batch(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """The masked samples with these numbers (b,).

        Number i is sample i mod len(data), at share i // len(data).
        """
        samples = [self.data[int(number) % len(self.data)] for number in numbers]
        x = torch.stack([torch.as_tensor(x) for x, _ in samples])
        y = torch.stack([torch.as_tensor(y) for _, y in samples])
        labels: Tensor = torch.as_tensor(self.features)
        keep = self.masks(numbers)[:, labels.clamp_min(0)] | (labels < 0)
        # Channels before the labelled dimensions are masked together.
        channels = (1,) * (x.dim() - 1 - labels.dim())
        keep = keep.view(len(x), *channels, *labels.shape)
        for value in self.protected:
            keep = keep | (x == value)
        return torch.where(keep, x, torch.as_tensor(self.absent).to(x.dtype)), y

    def masks(self, numbers: Tensor) -> Tensor:
        """Which features the samples with these numbers keep: (b, features) bool."""
        features = int(torch.as_tensor(self.features).max()) + 1
        # One uniform for each feature, to rank them, and one for how many are kept.
        numbers = numbers.to(torch.int64)
        streams = rng.streams(self.seed, numbers, "masked training")
        epoch = (self.epoch, self.epoch + 1)
        uniforms = streams.uniform(epoch, features + 1, torch.float64)[:, 0]
        shares = torch.tensor(self.shares, dtype=torch.float64)
        share = shares[numbers // len(self.data)]
        # The published jitter of one feature up or down.
        jitter = 2 * uniforms[:, -1] - 1
        kept = (features * share + jitter).round().clamp(0, features)
        # The jitter would hide a feature of samples that are to stay as they are.
        kept = torch.where(share == 1, float(features), kept)
        return uniforms[:, :-1].argsort(dim=1) < kept[:, None]


def _first_sample(data: Any) -> Tensor:
    try:
        x, _ = data[0]
        return torch.as_tensor(x)
    except (TypeError, ValueError, RuntimeError, LookupError) as error:
        raise InputError(
            expected="samples (x, y) of tensors or arrays, by number",
            got=f"{type(error).__name__}: {error}",
            advice="Hand over a torch Dataset or a list of pairs (x, y).",
        ) from error


def _check_absent(absent: float | Tensor, sample: Tensor) -> None:
    try:
        torch.broadcast_to(torch.as_tensor(absent), sample.shape)
    except RuntimeError as error:
        raise SettingError(
            expected=f"an absent value for samples of shape {tuple(sample.shape)}",
            got=f"shape {tuple(torch.as_tensor(absent).shape)}",
            advice="Give a number, or a tensor of the shape of one sample.",
        ) from error


def _labels(features: Features | Tensor, sample: Tensor) -> Tensor:
    """Which feature each element of a sample belongs to, -1 for none."""
    if not isinstance(features, Features):
        return torch.as_tensor(features)
    layout = layout_of(sample[None], device=torch.device("cpu"), dtype=None)
    partition = features.bind(layout, layout.flatten(sample[None]))
    return partition.labels[0].reshape(sample.shape)


@final
@dataclass(frozen=True, eq=False)
class Finetuned:
    """A fine-tuned copy of a network, in evaluation mode, and its mean loss in every epoch."""

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
    """Trains a copy of a classifier on masked inputs, so that it can be smoothed.

    Cross-entropy with Adam on inputs masked at `share` and at half of it, both in one pass (Xue,
    Alur and Wong 2023). The network handed in, and the global generators, stay as they are; the
    same seed gives the same network. Long work shows a progress bar where someone watches.

    Settings:
        network: a classifier; its copy is trained.
        data: samples (x, class), with a length.
        features, absent, protected: what is masked and how, see `MaskedDataset`.
        share: the keep rate lambda of the smoothing to come.
        epochs: passes over the data at both shares.
        rate: learning rate of Adam.
        batch: samples in a step.
        seed: of masks, order and dropout.

    Cost: 2 * epochs * len(data) forward and backward passes.

    >>> data = [(torch.eye(4)[i % 4], i % 2) for i in range(16)]
    >>> tuned = masked_finetuning(
    ...     nn.Linear(4, 2), data, features=torch.arange(4), share=0.5, epochs=3, rate=0.1
    ... )
    >>> len(tuned.losses), tuned.network.training
    (3, False)
    """
    if not isinstance(network, nn.Module):
        raise KindError(
            expected="a torch.nn.Module to fine-tune",
            got=type(network).__name__,
            advice="Fit other models on masked rows themselves.",
        )
    share = argument("masked_finetuning", "share", share, float)
    epochs = argument("masked_finetuning", "epochs", epochs, int)
    rate = argument("masked_finetuning", "rate", rate, float)
    batch = argument("masked_finetuning", "batch", batch, int)
    seed = checked_seed(seed, "masked_finetuning")
    if epochs < 1 or batch < 1 or not rate > 0:
        raise SettingError(
            expected="epochs and batch from 1 on and a positive rate",
            got=f"epochs={epochs}, batch={batch} and rate={rate}",
            advice="The defaults are epochs=1, batch=32 and rate=1e-4.",
        )
    masked = MaskedDataset(
        data,
        features,
        shares=(share, share / 2),
        absent=absent,
        protected=protected,
        seed=seed,
    )
    trained = copy.deepcopy(network)
    devices_of_weights = (weight.device for weight in trained.parameters())
    device = next(devices_of_weights, torch.device("cpu"))
    # Dropout draws from the global generators, which are put back afterwards.
    devices = [device] if device.type == "cuda" else []
    with (
        torch.random.fork_rng(devices=devices),
        torch.inference_mode(False),
        torch.enable_grad(),
    ):
        torch.manual_seed(rng.derive(seed, "dropout"))
        trained.train()
        losses = _train(trained, masked, device, epochs, rate, batch)
    return Finetuned(trained.eval(), losses)


def _train(
    network: nn.Module,
    masked: MaskedDataset,
    device: torch.device,
    epochs: int,
    rate: float,
    batch: int,
) -> tuple[float, ...]:
    """Trains a network in place; the mean loss of each epoch."""
    optimiser = torch.optim.Adam(_trainable(network.parameters()), lr=rate)
    order = rng.shared(masked.seed, "order of training")
    # A last batch of one sample would leave batch normalisation without a variance.
    samples = len(masked)
    size = next(size for size in count(batch) if samples % size != 1 or size > samples)
    losses = []
    for epoch in range(epochs):
        numbers = torch.from_numpy(order.permutation(len(masked)))
        # Every epoch draws new masks.
        steps = _Epoch(
            network,
            optimiser,
            replace(masked, epoch=epoch),
            numbers,
            device,
            losses=[],
        )
        title = f"fine-tuning, epoch {epoch + 1} of {epochs}"
        # The chunk is the batch: it decides the steps, and so is not searched for.
        engine.run(samples, steps, engine.ChunkSearch(fixed=size), title)
        losses.append(math.fsum(steps.losses) / samples)
    return tuple(losses)


@final
@dataclass(frozen=True, eq=False)
class _Epoch:
    """The steps of one pass over the masked samples, as work for the engine."""

    network: nn.Module
    optimiser: torch.optim.Optimizer
    masked: MaskedDataset
    numbers: Tensor
    device: torch.device
    losses: list[float]  # summed over the samples of each step

    def __call__(self, start: int, stop: int, layout: int) -> None:
        x, y = self.masked.batch(self.numbers[start:stop])
        self.optimiser.zero_grad(set_to_none=True)
        outputs = self.network(x.to(self.device))
        loss = nn.functional.cross_entropy(outputs, y.to(self.device))
        torch.autograd.backward(loss)
        self.optimiser.step()
        # The loss of a step is a mean; steps differ in size, so sums are kept.
        self.losses.append(float(loss.detach()) * (stop - start))


def _trainable(parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    trainable = [weights for weights in parameters if weights.requires_grad]
    if not trainable:
        raise InputError(
            expected="a network with parameters that require gradients",
            got="none",
            advice="To unfreeze all of them, call network.requires_grad_(True).",
        )
    return trainable
