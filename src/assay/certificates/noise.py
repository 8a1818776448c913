"""Noise designs: the keep masks that multiplicative smoothing averages over, in whole numbers.

The published noise (Xue, Alur and Wong 2023, Proposition 3.4) draws one uniform offset for each
feature and shares the draw between features; on a grid of `levels` steps it is a cyclic table in
which every feature is kept equally often, so that the expectation is a finite sum. A keep rate is
therefore a fraction kept / levels here, never a float.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.errors import InputError, SettingError
from assay.numerics import rng
from assay.settings import Settings, argument, checked_seed, shown

Integers: TypeAlias = NDArray[np.int64]

Masks: TypeAlias = NDArray[np.bool_]

Kind: TypeAlias = Literal["structured", "stratified", "bernoulli", "masks"]

_ROUNDING = 1e-9  # what share * levels may be off a whole number, as 0.29 * 100 is


def kept_levels(share: float, levels: int) -> int:
    """The integer L with share = L / levels; a share between two levels is refused, never floored.

    >>> kept_levels(0.29, 100)
    29
    """
    share = argument("kept_levels", "share", share, float)
    levels = argument("kept_levels", "levels", levels, int)
    if not 0 < share <= 1:
        raise SettingError(
            expected="a share above 0 and at most 1",
            got=share,
            advice="Such as MultiplicativeSmoothing.at(0.25, levels=64).",
        )
    kept = round(share * levels)
    if abs(share * levels - kept) > _ROUNDING:
        raise SettingError(
            expected=f"a share that is a multiple of 1/{levels}",
            got=share,
            advice=f"Take kept={max(1, kept)} of levels={levels}, or other levels.",
        )
    return kept


def check_levels(kept: int, levels: int) -> None:
    """Refuses a keep rate that is not in {1/levels, ..., levels/levels}."""
    # True is an int to Python, and no count to anybody.
    whole = all(isinstance(value, int) and not isinstance(value, bool) for value in (kept, levels))
    if not whole:
        raise SettingError(
            expected="whole numbers as kept and levels",
            got=f"{kept!r} and {levels!r}",
            advice="Turn a share into levels with MultiplicativeSmoothing.at(share, levels).",
        )
    if not 1 <= kept <= levels:
        raise SettingError(
            expected="1 <= kept <= levels (lambda = kept / levels, above 0 and at most 1)",
            got=f"kept={kept} and levels={levels}",
            advice="A smaller lambda needs more levels.",
        )


def pack(mask: NDArray[np.bool_]) -> str:
    """A mask as a hexadecimal word, feature 0 in the highest bit."""
    return np.packbits(mask).tobytes().hex()


def unpack(word: str, features: int) -> Masks:
    """The mask of a hexadecimal word: (features,) bool."""
    try:
        octets = bytes.fromhex(word)
    except (TypeError, ValueError):  # no hexadecimal digits: no word, and refused as one
        octets = b""
    bits = np.unpackbits(np.frombuffer(octets, dtype=np.uint8))
    # The last byte is filled up with zeros.
    if not features <= bits.size < features + 8:
        raise InputError(
            expected=f"a word of {-(-features // 8)} bytes for {features} features",
            got=repr(word),
            advice="Build designs with NoiseDesign.of(masks), which packs them.",
        )
    return bits[:features].astype(bool)


@final
@dataclass(frozen=True)
class NoiseDesign(Settings):
    """The fixed list of keep masks that a smoothed classifier averages over.

    It is part of the classifier and stored with every certificate. kept / levels is the largest
    share of draws that keeps a feature (for Bernoulli noise: the exact probability), which is the
    Lipschitz constant of the smoothed classifier. Made by `structured`, `stratified`, `bernoulli`,
    `cyclic` or `of`.

    Settings:
        features: how many features the masks are over.
        rows: one hexadecimal word for each draw, as `pack` writes it.
        kept: in how many of `levels` draws a feature is kept, at the most.
        levels: steps of the ring; the number of draws, unless they are independent.
        kind: how the draws were made; "bernoulli" says that they are a sample.

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
    kind: Kind = "masks"

    def __post_init__(self) -> None:
        if self.features < 1 or not self.rows:
            raise SettingError(
                expected="at least one feature and one draw",
                got=f"{self.features} features and {len(self.rows)} draws",
                advice="Build designs with NoiseDesign.of(masks), which packs them.",
            )

    @cached_property
    def masks(self) -> Masks:
        """(draws, features) bool, read-only."""
        table = np.stack([unpack(row, self.features) for row in self.rows])
        # Shared by all who ask, since it is computed once.
        table.setflags(write=False)
        return table

    @cached_property
    def counts(self) -> Integers:
        """How many draws keep each feature: (features,)."""
        counts: Integers = self.masks.sum(axis=0, dtype=np.int64)
        return counts

    def keeping(self, always: ArrayLike) -> NoiseDesign:
        """The same design with some features never dropped.

        Constants then hold for the other features alone.
        """
        return NoiseDesign.of(self.masks | np.asarray(always, dtype=bool))

    @staticmethod
    def of(masks: ArrayLike) -> NoiseDesign:
        """Any fixed masks S (draws, features).

        |f(a) - f(a')| <= sum over flipped features i of mean_j S[j, i].
        """
        try:
            table = np.asarray(masks)
        except ValueError:  # rows of several lengths
            table = np.asarray(None)
        if table.ndim != 2 or table.size == 0 or not np.isin(table, (0, 1)).all():
            raise InputError(
                expected="masks (draws, features) of zeros and ones",
                got=f"shape {table.shape}",
                advice="Give one row for each draw and one column for each feature.",
            )
        # The feature that is kept most often has the largest constant.
        kept = int(table.sum(axis=0).max())
        return _packed(table.astype(bool), kept, len(table), "masks")

    @staticmethod
    def cyclic(offsets: ArrayLike, kept: int, levels: int) -> NoiseDesign:
        """Draw j keeps feature i if (V_i + j) mod levels < kept, for offsets V (features,).

        The integer form of Proposition 3.4 of Xue, Alur and Wong (2023): each feature is kept in
        exactly `kept` of the `levels` draws, so `levels` forward passes give the expectation
        exactly.
        """
        check_levels(kept, levels)
        ring = _offsets(offsets)
        # Draw j turns all features by j steps; a feature is kept on an arc of `kept` of them.
        positions = ring[None, :] + np.arange(levels)[:, None]
        return _packed(positions % levels < kept, kept, levels, "structured")

    @staticmethod
    def structured(features: int, kept: int, levels: int, seed: int = 0) -> NoiseDesign:
        """Cyclic noise with independent uniform offsets, as published."""
        check_levels(kept, levels)
        features = _count(features)
        seed = checked_seed(seed, "NoiseDesign.structured")
        offsets = rng.shared(seed, "noise offsets").integers(levels, size=features)
        return NoiseDesign.cyclic(offsets, kept, levels)

    @staticmethod
    def stratified(features: int, kept: int, levels: int, seed: int = 0) -> NoiseDesign:
        """Cyclic noise whose offsets are spread evenly over the ring.

        The same guarantee, as it holds for any offsets; the masks vary more and in size less.
        """
        check_levels(kept, levels)
        features = _count(features)
        seed = checked_seed(seed, "NoiseDesign.stratified")
        # Which feature takes which offset is random; that they are evenly spread is not.
        evenly = np.arange(features) * levels // features
        offsets = rng.shared(seed, "noise offsets").permutation(evenly)
        masks = NoiseDesign.cyclic(offsets, kept, levels).masks
        return _packed(masks, kept, levels, "stratified")

    @staticmethod
    def bernoulli(features: int, kept: int, levels: int, draws: int, seed: int = 0) -> NoiseDesign:
        """Independent draws: a sample of the noise that keeps a feature with chance kept / levels."""
        check_levels(kept, levels)
        features = _count(features)
        seed = checked_seed(seed, "NoiseDesign.bernoulli")
        draws = argument("NoiseDesign.bernoulli", "draws", draws, int)
        if draws < 1:
            raise SettingError(
                expected="at least one draw",
                got=f"draws={draws}",
                advice="Some 1000 draws give useful radii.",
            )
        # A level below `kept` has exactly that chance, which a float would round.
        stream = rng.shared(seed, "noise draws")
        drawn = stream.integers(levels, size=(draws, features))
        return _packed(drawn < kept, kept, levels, "bernoulli")


def _count(features: Any) -> int:
    """A number of features."""
    count: int = argument("NoiseDesign", "features", features, int)
    if count < 1:
        raise SettingError(
            expected="noise over at least one feature",
            got=features,
            advice="Give the number of the question's features: question.partition.count.",
        )
    return count


def _offsets(offsets: Any) -> Integers:
    try:
        ring = np.asarray(offsets)
    except ValueError:  # rows of several lengths
        ring = np.asarray(None)
    if ring.ndim != 1 or not np.issubdtype(ring.dtype, np.integer):
        raise InputError(
            expected="a whole number for each feature as offsets",
            got=shown(offsets),
            advice="Give one of 0 to levels - 1 for each: NoiseDesign.cyclic((0, 1, 2, 3), 2, 4).",
        )
    return ring.astype(np.int64)


def _packed(masks: Masks, kept: int, levels: int, kind: Kind) -> NoiseDesign:
    # Words, since a design is hashed, compared, written down and read back.
    return NoiseDesign(
        features=masks.shape[1],
        rows=tuple(pack(row) for row in masks),
        kept=kept,
        levels=levels,
        kind=kind,
    )
