"""An attack ends with its budget, and says so."""

from __future__ import annotations

import time

import pytest
import torch
from torch import Tensor

import assay
from assay.certificates.attack import Attack
from assay.errors import SettingError


def never(x: Tensor) -> Tensor:
    """Class 1, whatever is there."""
    return torch.stack([0 * x[:, 0], 1 + x.sum(1) / 1e4], dim=1)


def question(f: object, features: int) -> assay.Question:
    return assay.Question(f, torch.ones(1, features), target=1)


def test_a_class_that_never_flips_costs_no_more_than_the_budget() -> None:
    began = time.perf_counter()
    asked = question(never, 1500)
    (found,) = Attack(budget=3000).search(asked, torch.arange(1500) < 5)
    # A few rows more tell whether the model can be asked at all.
    assert found.evaluations <= 3000 + 8
    assert found.size is None
    assert found.spent_all
    # Nothing found is no radius: the bound is all there is.
    assert found.radius == found.room == 1495
    assert time.perf_counter() - began < 60


def test_the_default_budget_bounds_the_work() -> None:
    assert 2 <= Attack().budget <= 100_000


def test_a_small_search_is_what_it_was_and_spends_less_than_it_may() -> None:
    def two(x: Tensor) -> Tensor:
        return torch.stack([1.5 + 0 * x[:, 0], x[:, 1] + x[:, 3]], dim=1)

    (found,) = Attack().search(question(two, 5), torch.arange(5) == 0)
    assert (found.size, found.flipped, found.spent_all) == (2, (1, 3), False)


@pytest.mark.parametrize("budget", range(2, 40))
def test_what_is_found_within_any_budget_does_turn_the_class(budget: int) -> None:
    def three(x: Tensor) -> Tensor:
        return torch.stack([2.5 + 0 * x[:, 0], x[:, 1] + x[:, 3] + x[:, 6]], dim=1)

    asked = question(three, 8)
    (found,) = Attack(budget=budget).search(asked, torch.arange(8) == 0)
    assert found.evaluations <= budget + 8
    if found.size is not None:
        mask = torch.arange(8) == 0
        mask[list(found.flipped)] = True
        assert int(asked.outputs(mask[None])[0, 0].argmax()) == found.other == 1
    if budget == 39:
        assert found.size == 3


def test_a_budget_below_the_two_ends_is_refused() -> None:
    with pytest.raises(SettingError, match="at least 2 masks"):
        Attack(budget=1)
