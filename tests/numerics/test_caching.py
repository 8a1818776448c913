"""What is remembered is bounded by its bytes, and is what the function gives."""

from __future__ import annotations

import numpy as np

from assay.methods.shapley import coalitions, games
from assay.numerics.caching import remembered


def test_the_least_recently_used_goes_first() -> None:
    calls = []

    @remembered(most_bytes=10, size=len)
    def text(letter: str, times: int = 4) -> str:
        calls.append(letter)
        return letter * times

    assert text("a") == "aaaa"
    assert text("b") == "bbbb"
    assert text("a") == "aaaa"
    assert calls == ["a", "b"]
    # "b" is the one that was not used for longest.
    assert text("c") == "cccc"
    assert text.bytes == 8
    assert text("a") == "aaaa"
    assert calls == ["a", "b", "c"]
    assert text("b") == "bbbb"
    assert calls == ["a", "b", "c", "b"]


def test_the_latest_is_kept_whatever_its_size() -> None:
    @remembered(most_bytes=10, size=len)
    def text(times: int) -> str:
        return "a" * times

    first = text(2)
    large = text(50)
    assert text(50) is large
    assert (text.bytes, len(text)) == (50, 1)
    assert text(2) == first
    assert (text.bytes, len(text)) == (2, 1)
    text.cache_clear()
    assert (text.bytes, len(text)) == (0, 0)


def test_designs_of_many_seeds_stay_within_their_bytes() -> None:
    for seed in range(40):
        design = coalitions.paired_design(60, 4000, seed)
        assert design.projector.shape == (60, 4000)
    assert coalitions.designs.bytes <= 1 << 26
    held = 0
    for design, _ in coalitions.designs._kept.values():
        arrays = (design.half, design.layer, design.weight, design.rate)
        used = (design.centred, design.projector, design.leverage)
        held += sum(array.nbytes for array in (*arrays, *used))
    assert held <= coalitions.designs.bytes
    games.subsets(20)
    games.subsets(19)
    assert games.subsets.bytes <= 1 << 25
    assert np.array_equal(games.subsets(3)[5], [True, False, True])
