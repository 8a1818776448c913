"""The removal of docs/how-to/write-a-removal.md: draws of each input's own, the histogram kept, its
twin.
"""

from __future__ import annotations

import pytest
import torch

import assay
from assay.errors import SettingError
from how_to.how_to import names
from toys import FEATURES, randn, tanh_net

Shuffled = names("write-a-removal")["Shuffled"]
value_slowly = names("write-a-removal")["value_slowly"]
MASKS = torch.tensor([[True, False, True, False], [False, False, True, True]])


def ask(x: torch.Tensor, model: object = None, draws: int = 5) -> assay.Question:
    model = tanh_net().double() if model is None else model
    return assay.Question(model, x, target=0, removal=Shuffled(draws=draws))


def inputs(n: int = 6) -> torch.Tensor:
    return randn(n, FEATURES, seed=3, dtype=torch.float64)


def test_the_twin_says_the_same() -> None:
    net, x = tanh_net().double().requires_grad_(False), inputs()
    question = ask(x, net)
    slow = torch.tensor(
        [
            [value_slowly(lambda row: net(row)[0, 0], image, rows, mask) for mask in MASKS]
            for image, rows in zip(x, question.fixed_replacements)
        ],
        dtype=torch.float64,
    )
    torch.testing.assert_close(question.value(MASKS), slow, rtol=0, atol=1e-12)


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


@pytest.mark.parametrize("rows", [1, 3, 1000])
def test_batch_size_changes_nothing(rows: int) -> None:
    net, x = tanh_net().double(), inputs()
    small = ask(x, assay.wrap(net, batch_size=rows)).value(MASKS)
    torch.testing.assert_close(small, ask(x, net).value(MASKS), rtol=0, atol=1e-12)


def test_order_neighbours_and_parts_change_nothing() -> None:
    net, x = tanh_net().double(), inputs()
    whole = ask(x, net).value(MASKS)
    order = torch.tensor([4, 0, 5, 3, 1, 2])
    torch.testing.assert_close(ask(x[order], net).value(MASKS), whole[order], rtol=0, atol=1e-12)
    torch.testing.assert_close(ask(x[2:3], net).value(MASKS), whole[2:3], rtol=0, atol=1e-12)
    torch.testing.assert_close(ask(x, net).part(1, 4).value(MASKS), whole[1:4], rtol=0, atol=1e-12)


def test_exact_values_add_up_and_one_draw_is_a_baseline() -> None:
    answer = assay.ExactShapley()(ask(inputs()))
    assert float(answer.gap.abs().max()) < 1e-12
    one = assay.IntegratedGradients()(ask(inputs(), draws=1))
    assert float(one.gap.abs().max()) < 1e-6


def test_no_draws_are_refused() -> None:
    with pytest.raises(SettingError, match=r"Expected at least one draw, got 0\. Use 10\."):
        Shuffled(draws=0)
