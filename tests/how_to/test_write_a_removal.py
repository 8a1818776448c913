"""The removals of docs/how-to/write-a-removal.md keep the whole contract; their twins, and what is
their own.

The questions are those of tests/contracts: imported here, they are asked of this module's `case`.
"""

from __future__ import annotations

import pytest
import torch

import assay
from assay.errors import InputError, SettingError
from contracts.test_removals import *  # noqa: F403  every question of the contract
from contracts.test_removals import Case, background, images
from how_to.how_to import names
from toys import FEATURES, randn, tanh_net

Shuffled = names("write-a-removal")["Shuffled"]
Median = names("write-a-removal")["Median"]
value_slowly = names("write-a-removal")["value_slowly"]
SOME = torch.tensor([[True, False, True, False], [False, False, True, True]])


@pytest.fixture(params=["five", "one", "images", "median"])
def case(request: pytest.FixtureRequest) -> Case:
    """In the place of the contract's: every question is asked of these."""
    cases = {
        "five": Case(Shuffled(draws=5)),
        "one": Case(Shuffled(draws=1)),
        "images": Case(Shuffled(draws=4), images),
        "median": Case(Median(background())),
    }
    return cases[request.param]


def ask(x: torch.Tensor, model: object = None, draws: int = 5) -> assay.Question:
    model = tanh_net().double() if model is None else model
    return assay.Question(model, x, target=0, removal=Shuffled(draws=draws))


def inputs(n: int = 6) -> torch.Tensor:
    return randn(n, FEATURES, seed=3, dtype=torch.float64)


@pytest.mark.parametrize("removal", [Shuffled(draws=5), Median(background())], ids=repr)
def test_the_twin_says_the_same(removal: assay.removals.Removal) -> None:
    net, x = tanh_net().double().requires_grad_(False), inputs()
    question = assay.Question(net, x, target=0, removal=removal)
    replacements = question.fixed_replacements.expand(len(x), -1, -1)
    slow = torch.tensor(
        [
            [value_slowly(lambda row: net(row)[0, 0], image, rows, mask) for mask in SOME]
            for image, rows in zip(x, replacements)
        ],
        dtype=torch.float64,
    )
    torch.testing.assert_close(question.value(SOME), slow, rtol=0, atol=1e-12)


def test_every_replacement_has_the_inputs_histogram() -> None:
    x = inputs()
    for draw in ask(x).fixed_replacements.unbind(1):
        assert torch.equal(draw.sort(1).values, x.sort(1).values)


def test_draws_differ_between_inputs_seeds_and_each_other() -> None:
    x = inputs()
    rows = ask(x, draws=20).fixed_replacements
    assert len(rows[0].unique(dim=0)) > 1
    other = assay.Question(tanh_net().double(), x, removal=Shuffled(draws=20, seed=1))
    assert not torch.equal(rows, other.fixed_replacements)


def test_one_draw_is_a_baseline() -> None:
    one = assay.IntegratedGradients()(ask(inputs(), draws=1))
    assert float(one.gap.abs().max()) < 1e-6


def test_a_median_is_that_of_its_rows_however_they_come() -> None:
    table = background()
    middle = table.sort(0).values[3:5].mean(0)
    for rows in (table, table.numpy(), table.tolist()):
        question = assay.Question(lambda x: x.sum(1), inputs(), removal=Median(rows))
        torch.testing.assert_close(question.absent, middle.expand(6, -1), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("rows", "x", "message"),
    [
        (torch.zeros(0, FEATURES), inputs(), "at least one row, of finite numbers.*got 0 rows"),
        (torch.full((2, FEATURES), torch.nan), inputs(), "finite numbers.*got 2 rows, or NaN"),
        (torch.zeros(2, FEATURES + 1), inputs(), r"rows of shape \(4,\)"),
        (torch.zeros(2, FEATURES).long(), inputs().long(), "floating inputs for Median"),
    ],
)
def test_rows_that_have_no_median_are_refused(
    rows: torch.Tensor, x: torch.Tensor, message: str
) -> None:
    with pytest.raises(InputError, match=message) as refused:
        assay.Question(lambda x: x.double().sum(1), x, removal=Median(rows))
    assert refused.value.advice


def test_no_draws_are_refused() -> None:
    with pytest.raises(SettingError, match=r"Expected at least one draw, got 0\. Use 10\."):
        Shuffled(draws=0)
