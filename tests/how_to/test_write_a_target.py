"""The target of docs/how-to/write-a-target.md: decided once, on the clean outputs; its twin."""

from __future__ import annotations

import pytest
import torch

import assay
from assay.errors import TargetError
from how_to.how_to import names
from toys import FEATURES, randn, tanh_net

Lead = names("write-a-target")["Lead"]
lead_slowly = names("write-a-target")["lead_slowly"]
MASKS = torch.tensor([[True, False, True, False], [False, True, False, False]])


def inputs(n: int = 40) -> torch.Tensor:
    return randn(n, FEATURES, seed=3, dtype=torch.float64)


def test_the_twin_says_the_same() -> None:
    net, x = tanh_net().double(), inputs()
    found = assay.Question(net, x, target=Lead()).value(MASKS)
    clean = net(x).tolist()
    slow = [
        [lead_slowly(clean[i], net(x[i] * mask).tolist()) for mask in MASKS] for i in range(len(x))
    ]
    torch.testing.assert_close(found, torch.tensor(slow, dtype=torch.float64), rtol=0, atol=1e-12)
    # The classes are those of the clean outputs: where another has overtaken them it is negative.
    assert bool((found < 0).any())


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_chunks_order_and_parts_change_nothing(rows: int) -> None:
    net, x = tanh_net().double(), inputs()
    whole = assay.Question(net, x, target=Lead()).value(MASKS)
    model = assay.wrap(net, batch_size=rows)
    order = torch.arange(len(x)).flip(0)
    shuffled = assay.Question(model, x[order], target=Lead())
    torch.testing.assert_close(shuffled.value(MASKS), whole[order], rtol=0, atol=1e-12)
    part = assay.Question(model, x, target=Lead()).part(3, 9)
    torch.testing.assert_close(part.value(MASKS), whole[3:9], rtol=0, atol=1e-12)


def test_slopes_pass_through() -> None:
    answer = assay.IntegratedGradients()(
        assay.Question(tanh_net().double(), inputs(), target=Lead())
    )
    assert float(answer.gap.abs().max()) < 1e-6


def test_outputs_without_a_second_class_are_refused() -> None:
    question = assay.Question(tanh_net(outputs=1), inputs().float(), target=Lead())
    with pytest.raises(TargetError, match=r"at least two classes, got .* Use target=0"):
        question.fix_target()
