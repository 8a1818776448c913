"""The metric of docs/how-to/write-a-metric.md keeps the whole contract, and is its twin.

The questions are those of tests/contracts: imported here, they are asked of this module's `case`.
"""

from __future__ import annotations

import pytest
import torch

import assay
from assay.errors import SettingError
from contracts import test_metrics as contract
from contracts.test_metrics import *  # noqa: F403  every question of the contract
from contracts.test_metrics import Case, ask, score
from how_to.how_to import names
from toys import FEATURES, randn, tanh_net

LossWithoutTop = names("write-a-metric")["LossWithoutTop"]
loss_slowly = names("write-a-metric")["loss_slowly"]


@pytest.fixture(params=[0.2, 0.6])
def case(request: pytest.FixtureRequest) -> Case:
    """In the place of the contract's: every question is asked of these."""
    return Case(LossWithoutTop(request.param), moves=False)


def test_the_twin_says_the_same(case: Case) -> None:
    net = tanh_net().double()
    x = randn(6, FEATURES, seed=3, dtype=torch.float64)
    answer = case.method(ask(net=net, x=x))
    slow = loss_slowly(lambda row: net(row)[0, 0].detach(), x, answer.values, case.metric.share)
    torch.testing.assert_close(score(case, ask(net=net, x=x)).values, slow, rtol=0, atol=1e-10)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5])
def test_shares_that_hide_nothing_or_everything_are_refused(share: float) -> None:
    with pytest.raises(SettingError, match=r"a share between 0 and 1, got .* Use 0\.2"):
        LossWithoutTop(share)


def test_the_contract_is_there() -> None:
    """A contract that moves would leave this file with nothing to ask."""
    assert callable(contract.test_batch_size_changes_nothing)
    assert isinstance(assay.Completeness(), assay.Metric)
