"""Some hundreds of random tables and texts: nothing foreign, nothing wrong, nothing slow."""

from __future__ import annotations

import pytest

from fuzz_tables.situations import outcome

SEEDS = 200
IN_A_TEST = 20

# The first of them in every run.
FIRST = range(0, 60, IN_A_TEST)
OTHERS = [pytest.param(seed, marks=pytest.mark.long) for seed in range(60, SEEDS, IN_A_TEST)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("first", [*FIRST, *OTHERS])
def test_nothing_is_foreign_wrong_or_slow(first: int) -> None:
    ended = [outcome(seed) for seed in range(first, first + IN_A_TEST)]
    bad = [one for one in ended if one.outcome not in ("answered", "refused")]
    assert not bad, "\n".join(f"{one.seed} {one.situation}: {one.detail}" for one in bad)
