"""A seed and an input become one stream of random numbers, the same on every device and for every
batch size.

Draws that belong to one input come from a counter-based generator, Philox 4x32-10 (Salmon, Moraes,
Dror and Shaw 2011), keyed by (seed, the input's own bytes) and counted by (draw, element): any part
of them can be made at any time, for all inputs at once. A design that all inputs share comes from
the seed alone (`shared`, NumPy's own Philox). Normal draws are made by the transform of Box and
Muller (1958), seeds of named parts of the work by the hash BLAKE2b.
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

from assay.numerics.pieces import pieces

_WORD = 0xFFFFFFFF  # the bits of one 32-bit word

_ROUNDS = 10  # the "-10" of Philox 4x32-10

# Constants of Salmon et al. 2011, section 4.3: two multipliers, and what
# the keys grow by a round.
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)

_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)

_CACHE_BLOCK = 1 << 15  # counters per pass: the ten rounds then stay in the second-level cache


def derive(seed: int, name: str) -> int:
    """A new seed for a part of the work that has a name, so that two parts never share draws."""
    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
    # One bit is dropped, so that the seed fits a signed 64-bit integer.
    return int.from_bytes(digest, "little") >> 1


def shared(seed: int, name: str) -> np.random.Generator:
    """The generator of a design that all inputs share (coalitions, masks, noise): it depends on the
    seed alone.
    """
    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=16).digest()
    entropy = np.random.SeedSequence(int.from_bytes(digest, "little"))
    return np.random.Generator(np.random.Philox(entropy))


def identities(rows: Iterable[bytes]) -> Tensor:
    """One 64-bit key per input, hashed from its bytes: shape (n,), int64."""
    # Eight bytes each: as objects of their own, the digests of a million rows took 50 MB.
    digests = bytearray()
    for row in rows:
        digests += hashlib.blake2b(row, digest_size=8).digest()
    return torch.from_numpy(np.frombuffer(digests, dtype=np.int64).copy())


def philox(
    counter: Sequence[Tensor], key: Sequence[Tensor]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Philox 4x32-10: four counters and two keys (int64 tensors holding 32-bit words) to four
    random 32-bit words.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        # The low 64 bits of the products wrap, as they should: no bit above them
        # is read.
        product0 = c0 * _MULTIPLIERS[0]
        product1 = c2 * _MULTIPLIERS[1]
        # A shift of a signed integer copies its sign: the mask keeps the high
        # word alone.
        high0 = product0 >> 32 & _WORD
        high1 = product1 >> 32 & _WORD
        c0 = high1 ^ c1 ^ k0
        c1 = product1 & _WORD
        c2 = high0 ^ c3 ^ k1
        c3 = product0 & _WORD
        k0 = (k0 + _KEY_STEPS[0]) & _WORD
        k1 = (k1 + _KEY_STEPS[1]) & _WORD
    return c0, c1, c2, c3


@final
@dataclass(frozen=True)
class Streams:
    """One stream of random numbers per input, which can be read at any place.

    `draws=(a, b)` asks for the draws a to b - 1, which are the same however they are cut into
    calls. Memory: the draws asked for, and some 32,768 counters at a time.

    Settings:
        low, high: the two 32-bit words of each input's key, (n,), int64, on the inputs' device;
            made by `streams`.
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
        # One counter gives four words: a draw is a row of blocks, all draws one
        # flat array of them.
        blocks = -(-size // 4)
        count = draws[1] - draws[0]
        total = len(self) * count * blocks
        device = self.low.device
        words = torch.empty((total, 4), dtype=torch.int64, device=device)
        for piece in pieces(total, 1, _CACHE_BLOCK):
            position = torch.arange(piece.start, piece.stop, device=device)
            row = position // (count * blocks)
            draw = position // blocks % count + draws[0]
            block = position % blocks
            zero = torch.zeros_like(position)
            counter = (block, draw, zero, zero)
            key = (self.low[row], self.high[row])
            words[piece] = torch.stack(philox(counter, key), dim=1)
        return words.view(len(self), count, blocks * 4)

    def uniform(
        self, draws: tuple[int, int], size: int, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Uniform on [0, 1): shape (n, draws, size), 24 random bits in float32, 32 in float64."""
        words = self._words(draws, size)[..., :size]
        if dtype == torch.float64:
            return words.to(torch.float64) * 2.0**-32
        # More bits than the mantissa of float32 holds could round up to 1.
        return ((words >> 8).to(torch.float32) * 2.0**-24).to(dtype)

    def normal(
        self, draws: tuple[int, int], size: int, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Standard normal by Box and Muller (1958): shape (n, draws, size)."""
        work = torch.float64 if dtype == torch.float64 else torch.float32
        pairs = self._words(draws, size).unflatten(-1, (-1, 2)).to(work)
        # The shift by one keeps the logarithm from zero.
        radius = ((pairs[..., 0] + 1.0) * 2.0**-32).log().mul(-2.0).sqrt()
        angle = pairs[..., 1] * (2.0 * math.pi * 2.0**-32)
        normals = torch.stack((radius * angle.cos(), radius * angle.sin()), dim=-1)
        return normals.flatten(-2)[..., :size].to(dtype)

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
    low_root = torch.full_like(keys, root & _WORD)
    high_root = torch.full_like(keys, root >> 32 & _WORD)
    # Philox itself is the hash: the input's identity is the counter, seed and
    # name are the key.
    zero = torch.zeros_like(keys)
    counter = (keys & _WORD, keys >> 32 & _WORD, zero, zero)
    low, high, _, _ = philox(counter, (low_root, high_root))
    return Streams(low, high)
