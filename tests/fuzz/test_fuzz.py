"""Some hundreds of random situations: nothing foreign, nothing wrong."""

from __future__ import annotations

import pytest

from fuzz.situations import outcome

SEEDS = 240
IN_A_TEST = 20


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("first", range(0, SEEDS, IN_A_TEST))
def test_nothing_is_foreign_and_nothing_is_wrong(first: int) -> None:
    ended = [outcome(seed) for seed in range(first, first + IN_A_TEST)]
    bad = [one for one in ended if one.outcome in ("foreign", "wrong")]
    assert not bad, "\n".join(f"{one.seed} {one.situation}: {one.detail}" for one in bad)
