"""Masks of fine-tuning against their definition, and a network that learns to cope with them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from assay.certificates.finetuning import MaskedDataset, masked_finetuning
from assay.errors import InputError, KindError
from assay.features.images import Patches


def ones(n: int, *shape: int) -> TensorDataset:
    return TensorDataset(torch.ones(n, *shape), torch.arange(n) % 3)


def test_every_sample_comes_once_for_each_share_with_its_label():
    masked = MaskedDataset(ones(5, 8), torch.arange(8), shares=(0.5, 0.25))
    assert len(masked) == 10
    assert [int(masked[i][1]) for i in range(10)] == [0, 1, 2, 0, 1] * 2
    with pytest.raises(IndexError):
        masked[10]


def test_the_number_kept_is_the_rounded_share_plus_a_jitter_of_one():
    masked = MaskedDataset(ones(3000, 16), torch.arange(16), shares=(0.5, 1.0))
    kept = masked.masks(torch.arange(3000)).sum(1)
    seen = np.bincount(kept.numpy(), minlength=10)
    assert seen[:7].sum() == seen[10:].sum() == 0
    assert chisquare(seen[7:10], [750, 1500, 750]).pvalue > 0.01
    assert masked.masks(torch.arange(3000, 6000)).all()
    each = masked.masks(torch.arange(3000)).sum(0).double()
    assert chisquare(each.numpy()).pvalue > 0.01
    small = (
        MaskedDataset(ones(200, 2), torch.arange(2), shares=(0.25,)).masks(torch.arange(200)).sum(1)
    )
    assert set(small.tolist()) == {0, 1, 2} - ({2} if int(small.max()) < 2 else set())


def test_patches_are_masked_whole_and_all_channels_together():
    masked = MaskedDataset(ones(4, 3, 8, 8), Patches(4), shares=(0.5,), absent=-1.0)
    numbers = torch.arange(4)
    x, _ = masked.batch(numbers)
    keep = masked.masks(numbers).view(4, 1, 2, 2).repeat_interleave(4, 2).repeat_interleave(4, 3)
    assert torch.equal(x, torch.where(keep.expand(-1, 3, -1, -1), 1.0, -1.0))
    plane = MaskedDataset(ones(4, 3, 8, 8), torch.arange(64).view(8, 8) // 32, shares=(0.5,)).batch(
        numbers
    )[0]
    assert all(
        len(image[:, rows].unique()) == 1 for image in plane for rows in (slice(0, 4), slice(4, 8))
    )


def test_tokens_keep_their_ends_and_their_padding():
    words = torch.tensor([[101, 5, 6, 7, 102, 0], [101, 8, 102, 0, 0, 0]])
    masked = MaskedDataset(
        TensorDataset(words, torch.tensor([0, 1])), torch.arange(6), (0.25,), 103, (101, 102, 0)
    )
    seen = [masked[i][0].tolist() for i in range(2)]
    assert all(
        new in (103, old) for new, old in zip([*seen[0], *seen[1]], words.flatten().tolist())
    )
    assert [seen[0][0], seen[0][4:], seen[1][2:]] == [101, [102, 0], [102, 0, 0, 0]]
    never = MaskedDataset(
        TensorDataset(words, torch.tensor([0, 1])), torch.tensor([-1, 0, 1, 2, 3, -1]), (0.01,), 103
    )
    assert [never[i][0][[0, 5]].tolist() for i in range(2)] == [[101, 0], [101, 0]]
    assert masked[0][0].dtype == torch.int64


def test_masks_depend_on_seed_epoch_and_number_alone():
    data = ones(20, 16)
    masked = MaskedDataset(data, torch.arange(16), shares=(0.5, 0.25), seed=1)
    state = torch.random.get_rng_state()
    alone = torch.stack([masked[i][0] for i in range(40)])
    together = masked.batch(torch.arange(40))[0]
    loaded = torch.cat(
        [x for x, _ in DataLoader(masked, batch_size=7, generator=torch.Generator())]
    )
    assert torch.equal(alone, together)
    assert torch.equal(loaded, together)
    for other in ({"seed": 2}, {"seed": 1, "epoch": 1}):
        assert not torch.equal(
            MaskedDataset(data, torch.arange(16), shares=(0.5, 0.25), **other).batch(
                torch.arange(40)
            )[0],
            together,
        )
    assert torch.equal(torch.random.get_rng_state(), state)


def stripes(n: int, seed: int) -> TensorDataset:
    """Images 8 x 8 of two kinds, each told by every one of its 2 x 2 patches."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(2, (n,), generator=generator)
    wave = torch.tensor([[1.0, 0.0], [1.0, 0.0]]).repeat(4, 4)
    x = torch.where(y.view(-1, 1, 1) == 1, wave, wave.T) + 0.2 * torch.randn(
        n, 8, 8, generator=generator
    )
    return TensorDataset(x.unsqueeze(1), y)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 8, 2, stride=2),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.Flatten(),
            nn.Linear(128, 2),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


def fresh() -> Net:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Net().eval()


def accuracy(net: nn.Module, share: float) -> float:
    x, y = MaskedDataset(stripes(400, 1), Patches(2), shares=(share,), seed=9).batch(
        torch.arange(400)
    )
    with torch.no_grad():
        return float((net(x).argmax(1) == y).float().mean())


def test_fine_tuning_learns_to_cope_with_masks_and_leaves_everything_else_as_it_was():
    net, data = fresh(), stripes(300, 0)
    before, state = (
        {k: v.clone() for k, v in net.state_dict().items()},
        torch.random.get_rng_state(),
    )
    with torch.no_grad():
        tuned = masked_finetuning(net, data, features=Patches(2), share=0.25, epochs=8, rate=1e-2)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())
    assert (len(tuned.losses), tuned.network.training) == (8, False)
    assert tuned.losses[-1] < 0.6 * tuned.losses[0]
    assert accuracy(tuned.network, 0.25) > 0.9 > accuracy(net, 0.25)
    again = masked_finetuning(net, data, features=Patches(2), share=0.25, epochs=8, rate=1e-2)
    assert again.losses == tuned.losses


def test_one_step_is_adam_on_cross_entropy_of_both_shares():
    data = TensorDataset(
        torch.rand(4, 6, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 0, 1])
    )
    net = nn.Linear(6, 2)
    tuned = masked_finetuning(
        net, data, features=torch.arange(6), share=0.5, rate=0.05, batch=8, seed=3
    )
    twin = nn.Linear(6, 2)
    twin.load_state_dict(net.state_dict())
    optimiser = torch.optim.Adam(twin.parameters(), lr=0.05)
    x, y = MaskedDataset(data, torch.arange(6), shares=(0.5, 0.25), seed=3).batch(torch.arange(8))
    loss = nn.functional.cross_entropy(twin(x), y)
    loss.backward()
    optimiser.step()
    assert tuned.losses[0] == pytest.approx(float(loss.detach()), rel=1e-6)
    assert torch.allclose(tuned.network.weight, twin.weight, atol=1e-6)


def test_a_last_batch_of_one_sample_is_avoided():
    data = stripes(33, 2)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    tuned = masked_finetuning(net, data, features=Patches(2), share=0.5, batch=13)
    assert len(data) * 2 % 13 == 1
    assert np.isfinite(tuned.losses).all()


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"share": 0.0}, InputError, "shares"),
        ({"share": 1.5}, InputError, "shares"),
        ({"data": []}, InputError, "at least one sample"),
        ({"features": torch.arange(5)}, InputError, "labels"),
        ({"features": torch.rand(4)}, InputError, "integer labels"),
        ({"epochs": 0}, InputError, "epochs"),
        ({"rate": 0.0}, InputError, "rate"),
        ({"network": "net"}, KindError, "Module"),
        ({"network": nn.Linear(4, 2).requires_grad_(False)}, InputError, "unfreeze"),
    ],
)
def test_what_cannot_be_trained_is_refused(change, error, match):
    settings = {
        "network": nn.Linear(4, 2),
        "data": ones(6, 4),
        "features": torch.arange(4),
        "share": 0.5,
        **change,
    }
    with pytest.raises(error, match=match):
        masked_finetuning(settings.pop("network"), settings.pop("data"), **settings)
