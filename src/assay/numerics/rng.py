"""A seed and an input become one stream of random numbers, the same on every device and for every
batch size.

Draws that belong to one input come from Philox 4x32-10 (Salmon, Moraes, Dror and Shaw 2011), keyed
by (seed, the input's own bytes) and counted by (draw, element): any part of them can be made at any
time, for all inputs at once. A design that all inputs share comes from the seed alone.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

_WORD = 0xFFFFFFFF

_CACHE_BLOCK = 1 << 15  # counters per pass: the ten rounds then stay in the second-level cache


def derive(seed: int, name: str) -> int:
    """A new seed for a part of the work that has a name, so that two parts never share draws."""
    return (
        int.from_bytes(hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest(), "little")
        >> 1
    )


def shared(seed: int, name: str) -> np.random.Generator:
    """The generator of a design that all inputs share (coalitions, masks, noise): it depends on the
    seed alone.
    """
    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=16).digest()
    return np.random.Generator(
        np.random.Philox(np.random.SeedSequence(int.from_bytes(digest, "little")))
    )


def identities(rows: Iterable[bytes]) -> Tensor:
    """One 64-bit key per input, hashed from its bytes: shape (n,), int64."""
    digests = b"".join(hashlib.blake2b(row, digest_size=8).digest() for row in rows)
    return torch.from_numpy(np.frombuffer(digests, dtype=np.int64).copy())


def philox(
    counter: Sequence[Tensor], key: Sequence[Tensor]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Philox 4x32-10: four counters and two keys (int64 tensors holding 32-bit words) to four
    random 32-bit words.
    """
    (c0, c1, c2, c3), (k0, k1) = counter, key
    for _ in range(10):
        first, second = c0 * 0xD2511F53, c2 * 0xCD9E8D57  # the low 64 bits wrap, as they should
        c0, c1, c2, c3 = (
            (second >> 32 & _WORD) ^ c1 ^ k0,
            second & _WORD,
            (first >> 32 & _WORD) ^ c3 ^ k1,
            first & _WORD,
        )
        k0, k1 = (k0 + 0x9E3779B9) & _WORD, (k1 + 0xBB67AE85) & _WORD
    return c0, c1, c2, c3


@final
@dataclass(frozen=True)
class Streams:
    """One stream per input; `draws=(a, b)` asks for draws a to b - 1, which are the same however
    they are cut into calls.
    """

    low: Tensor
    high: Tensor

    def __len__(self) -> int:
        return len(self.low)

    def take(self, rows: Tensor) -> Streams:
        """The streams of some of the inputs."""
        return Streams(self.low[rows], self.high[rows])

    def _words(self, draws: tuple[int, int], size: int) -> Tensor:
        """(n, draws, 4 * ceil(size / 4)) words of 32 bits."""
        blocks, count = -(-size // 4), draws[1] - draws[0]
        total, device = len(self) * count * blocks, self.low.device
        out = torch.empty((total, 4), dtype=torch.int64, device=device)
        for start in range(0, total, _CACHE_BLOCK):
            flat = torch.arange(start, min(start + _CACHE_BLOCK, total), device=device)
            row, draw, block = (
                flat // (count * blocks),
                flat // blocks % count + draws[0],
                flat % blocks,
            )
            zero = torch.zeros_like(flat)
            words = philox((block, draw, zero, zero), (self.low[row], self.high[row]))
            out[start : start + len(flat)] = torch.stack(words, dim=1)
        return out.view(len(self), count, blocks * 4)

    def uniform(
        self, draws: tuple[int, int], size: int, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Uniform on [0, 1): shape (n, draws, size), 24 random bits in float32, 32 in float64."""
        words = self._words(draws, size)[..., :size]
        if dtype == torch.float64:
            return words.to(torch.float64) * 2.0**-32
        return ((words >> 8).to(torch.float32) * 2.0**-24).to(dtype)

    def normal(
        self, draws: tuple[int, int], size: int, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Standard normal by Box and Muller (1958): shape (n, draws, size)."""
        work = torch.float64 if dtype == torch.float64 else torch.float32
        words = self._words(draws, size).unflatten(-1, (-1, 2)).to(work)
        radius = ((words[..., 0] + 1.0) * 2.0**-32).log().mul(-2.0).sqrt()
        angle = words[..., 1] * (2.0 * math.pi * 2.0**-32)
        return (
            torch.stack((radius * angle.cos(), radius * angle.sin()), dim=-1)
            .flatten(-2)[..., :size]
            .to(dtype)
        )

    def integers(self, draws: tuple[int, int], size: int, high: int) -> Tensor:
        """Integers in [0, high): shape (n, draws, size), by multiplication (bias below high /
        2^32).
        """
        return self._words(draws, size)[..., :size] * high >> 32


def streams(seed: int, keys: Tensor, name: str = "") -> Streams:
    """Each input's own stream, hashed from the seed, the input's identity and the name of the
    purpose.
    """
    root = derive(seed, name)
    key = [torch.full_like(keys, root & _WORD), torch.full_like(keys, root >> 32 & _WORD)]
    zero = torch.zeros_like(keys)
    low, high, _, _ = philox((keys & _WORD, keys >> 32 & _WORD, zero, zero), key)
    return Streams(low, high)
