"""Noise designs: which features are kept at which level, as integers, so that every mask can be
enumerated.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.errors import InputError
from assay.numerics import rng

Integers = NDArray[np.int64]

Masks = NDArray[np.bool_]


def kept_levels(share: float, levels: int) -> int:
    """The integer L with share = L / levels; a share between two levels is refused, never floored.

    >>> kept_levels(0.29, 100)
    29
    """
    kept = round(share * levels)
    if abs(share * levels - kept) > 1e-9:
        raise InputError(
            expected=f"a share that is a multiple of 1/{levels}",
            got=share,
            advice=f"Take kept={max(1, kept)} of levels={levels}, or other levels.",
        )
    return kept


def check_levels(kept: int, levels: int) -> None:
    """Refuses a keep rate that is not in {1/levels, ..., levels/levels}."""
    if any(isinstance(value, bool) or not isinstance(value, int) for value in (kept, levels)):
        raise InputError(
            expected="whole numbers as kept and levels",
            got=f"{kept!r} and {levels!r}",
            advice="See kept_levels.",
        )
    if not 1 <= kept <= levels:
        raise InputError(
            expected="1 <= kept <= levels (lambda = kept / levels, above 0 and at most 1)",
            got=f"kept={kept} and levels={levels}",
            advice="A smaller lambda needs more levels.",
        )


def pack(mask: NDArray[np.bool_]) -> str:
    """A mask as a hexadecimal word, feature 0 in the highest bit."""
    return np.packbits(mask).tobytes().hex()


def unpack(word: str, features: int) -> Masks:
    """The mask of a hexadecimal word: (features,) bool."""
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(word), dtype=np.uint8))
    if not features <= bits.size < features + 8:
        raise InputError(
            expected=f"a word of {-(-features // 8)} bytes for {features} features",
            got=repr(word),
            advice="",
        )
    return bits[:features].astype(bool)


@final
@dataclass(frozen=True)
class NoiseDesign:
    """The fixed list of keep masks of a smoothed classifier: part of it, and stored with every
    certificate.

    `rows` holds one hexadecimal word per draw; `kept / levels` is the largest share of draws that
    keeps a feature (for Bernoulli noise: the exact probability), which is the Lipschitz constant of
    the smoothed classifier.

    >>> NoiseDesign.cyclic((0, 1, 2, 3), kept=2, levels=4).masks.astype(int)
    array([[1, 1, 0, 0],
           [1, 0, 0, 1],
           [0, 0, 1, 1],
           [0, 1, 1, 0]])
    """

    features: int
    rows: tuple[str, ...]
    kept: int
    levels: int
    kind: Literal["structured", "stratified", "bernoulli", "masks"] = "masks"

    @cached_property
    def masks(self) -> Masks:
        """(draws, features) bool, read-only."""
        table = np.stack([unpack(row, self.features) for row in self.rows])
        table.setflags(write=False)
        return table

    @cached_property
    def counts(self) -> Integers:
        """How many draws keep each feature: (features,)."""
        counts: Integers = self.masks.sum(axis=0, dtype=np.int64)
        return counts

    def keeping(self, always: ArrayLike) -> NoiseDesign:
        """The same design with some features never dropped: constants then hold for the other
        features alone.
        """
        return NoiseDesign.of(self.masks | np.asarray(always, dtype=bool))

    @staticmethod
    def of(masks: ArrayLike) -> NoiseDesign:
        """Any fixed masks (draws, features): |f(a) - f(a')| <= sum over flipped i of mean_j S[j,
        i].
        """
        table = np.asarray(masks)
        if table.ndim != 2 or table.size == 0 or not np.isin(table, (0, 1)).all():
            raise InputError(
                expected="masks (draws, features) of zeros and ones",
                got=f"shape {table.shape}",
                advice="",
            )
        return _design(table.astype(bool), int(table.sum(axis=0).max()), len(table), "masks")

    @staticmethod
    def cyclic(offsets: ArrayLike, kept: int, levels: int) -> NoiseDesign:
        """Draw j keeps feature i if (V_i + j) mod levels < kept.

        The integer form of Proposition 3.4 of Xue, Alur and Wong (2023): each feature is kept in
        exactly `kept` of the `levels` draws, so `levels` forward passes give the expectation
        exactly.
        """
        check_levels(kept, levels)
        ring = np.asarray(offsets, dtype=np.int64)
        return _design(
            (ring[None, :] + np.arange(levels)[:, None]) % levels < kept, kept, levels, "structured"
        )

    @staticmethod
    def structured(features: int, kept: int, levels: int, seed: int = 0) -> NoiseDesign:
        """Cyclic noise with independent uniform offsets, as published."""
        check_levels(kept, levels)
        return NoiseDesign.cyclic(
            rng.shared(seed, "noise offsets").integers(levels, size=features), kept, levels
        )

    @staticmethod
    def stratified(features: int, kept: int, levels: int, seed: int = 0) -> NoiseDesign:
        """Cyclic noise whose offsets are spread evenly over the ring: the same guarantee, more
        varied masks.
        """
        check_levels(kept, levels)
        ring = rng.shared(seed, "noise offsets").permutation(
            np.arange(features) * levels // features
        )
        return _design(NoiseDesign.cyclic(ring, kept, levels).masks, kept, levels, "stratified")

    @staticmethod
    def bernoulli(features: int, kept: int, levels: int, draws: int, seed: int = 0) -> NoiseDesign:
        """Independent draws, each feature kept with probability exactly kept / levels: a sample of
        the noise.
        """
        check_levels(kept, levels)
        if draws < 1:
            raise InputError(
                expected="at least one draw",
                got=f"draws={draws}",
                advice="",
            )
        masks = rng.shared(seed, "noise draws").integers(levels, size=(draws, features)) < kept
        return _design(masks, kept, levels, "bernoulli")


def _design(
    masks: Masks,
    kept: int,
    levels: int,
    kind: Literal["structured", "stratified", "bernoulli", "masks"],
) -> NoiseDesign:
    return NoiseDesign(masks.shape[1], tuple(pack(row) for row in masks), kept, levels, kind)
