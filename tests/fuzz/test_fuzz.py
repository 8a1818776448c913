"""Some hundreds of random situations: nothing foreign, nothing wrong."""

from __future__ import annotations

import pytest

from fuzz.situations import outcome

SEEDS = 240
IN_A_TEST = 20

# The first of them in every run.
FIRST = range(0, 60, IN_A_TEST)
OTHERS = [pytest.param(seed, marks=pytest.mark.long) for seed in range(60, SEEDS, IN_A_TEST)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("first", [*FIRST, *OTHERS])
def test_nothing_is_foreign_and_nothing_is_wrong(first: int) -> None:
    ended = [outcome(seed) for seed in range(first, first + IN_A_TEST)]
    bad = [one for one in ended if one.outcome in ("foreign", "wrong")]
    assert not bad, "\n".join(f"{one.seed} {one.situation}: {one.detail}" for one in bad)
