"""Random numbers: the generator against published answers, and draws that do not depend on how they
are asked for.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from assay.numerics import rng

ONES = 0xFFFFFFFF


def words(counter: list[int], key: list[int]) -> list[int]:
    made = rng.philox([torch.tensor([c]) for c in counter], [torch.tensor([k]) for k in key])
    return [int(word) for word in made]


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([ONES] * 4, [ONES] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_philox_gives_the_published_answers(
    counter: list[int], key: list[int], expected: list[int]
) -> None:
    assert words(counter, key) == expected


def plain_philox(counter: list[int], key: list[int]) -> list[int]:
    """The slow twin: Python integers, one round after another (Salmon et al. 2011, section 4.3)."""
    c, k = list(counter), list(key)
    for _ in range(10):
        first, second = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(second >> 32) ^ c[1] ^ k[0], second & ONES, (first >> 32) ^ c[3] ^ k[1], first & ONES]
        k = [(k[0] + 0x9E3779B9) & ONES, (k[1] + 0xBB67AE85) & ONES]
    return c


word = st.integers(0, ONES)


@given(st.lists(word, min_size=4, max_size=4), st.lists(word, min_size=2, max_size=2))
def test_philox_is_its_twin_in_plain_integers(counter: list[int], key: list[int]) -> None:
    assert words(counter, key) == plain_philox(counter, key)


def streams(n: int = 3, seed: int = 0, name: str = "") -> rng.Streams:
    return rng.streams(seed, rng.identities([bytes([i]) for i in range(n)]), name)


@given(st.integers(1, 9), st.integers(1, 8), st.integers(1, 8))
def test_draws_are_the_same_however_they_are_cut(size: int, first: int, second: int) -> None:
    source = streams()
    for law in (source.uniform, source.normal):
        whole = law((0, first + second), size)
        parts = torch.cat([law((0, first), size), law((first, first + second), size)], dim=1)
        assert torch.equal(parts, whole)
    alone = source.take(torch.tensor([2])).uniform((0, first), size)
    assert torch.equal(alone, source.uniform((0, first), size)[2:])


def test_more_draws_than_a_block_holds_are_the_same_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = streams().normal((0, 50), 7)
    monkeypatch.setattr(rng, "_CACHE_BLOCK", 5)
    assert torch.equal(streams().normal((0, 50), 7), whole)


def test_inputs_seeds_and_purposes_have_draws_of_their_own() -> None:
    seen = [
        streams(2, seed, name).uniform((0, 1), 4)[i]
        for seed in (0, 1)
        for name in ("", "a")
        for i in (0, 1)
    ]
    assert len({tuple(draw.flatten().tolist()) for draw in seen}) == 8
    assert rng.derive(0, "a") != rng.derive(1, "a") != rng.derive(1, "b")


def test_uniform_and_normal_draws_follow_their_laws() -> None:
    from scipy import stats

    uniform = streams(4).uniform((0, 5000), 5, torch.float64).flatten().numpy()
    assert 0.0 <= uniform.min() < uniform.max() < 1.0
    assert stats.kstest(uniform, "uniform").pvalue > 0.001
    normal = streams(4).normal((0, 5000), 5, torch.float64).flatten().numpy()
    assert stats.kstest(normal, "norm").pvalue > 0.001
    assert abs(np.corrcoef(normal[:-1], normal[1:])[0, 1]) < 4 / math.sqrt(len(normal))
    whole = streams(4).integers((0, 5000), 1, 6).flatten()
    counts = torch.bincount(whole, minlength=6).numpy()
    assert len(counts) == 6
    assert stats.chisquare(counts).pvalue > 0.001


def test_number_types_come_out_as_asked() -> None:
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        assert (
            streams().uniform((0, 2), 3, dtype).dtype
            == streams().normal((0, 2), 3, dtype).dtype
            == dtype
        )
    assert float(streams(50).uniform((0, 200), 40).max()) < 1.0


def test_a_shared_design_comes_from_the_seed_alone() -> None:
    first, again = rng.shared(3, "masks").random(5), rng.shared(3, "masks").random(5)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, rng.shared(4, "masks").random(5))
    assert not np.array_equal(first, rng.shared(3, "noise").random(5))


def test_identities_tell_inputs_apart_and_stay() -> None:
    made = rng.identities([b"a", b"b", b"a"])
    assert made.dtype == torch.int64
    assert made[0] == made[2] != made[1]
    assert made.tolist() == rng.identities([b"a", b"b", b"a"]).tolist()
