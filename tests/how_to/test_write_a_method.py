"""The method of docs/how-to/write-a-method.md keeps the whole contract, and is its twin.

The questions are those of tests/contracts: imported here, they are asked of this module's `case`.
"""

from __future__ import annotations

import doctest

import pytest
import torch

import assay
from contracts.test_axioms import test_the_axioms_it_claims_hold  # noqa: F401
from contracts.test_methods import *  # noqa: F403  every question of the contract
from how_to.how_to import PAGES, names
from toys import FEATURES, Case, randn, tanh_net

SquaredGradient = names("write-a-method")["SquaredGradient"]
squared_gradient_slowly = names("write-a-method")["squared_gradient_slowly"]


@pytest.fixture(params=["alone", "smoothed"])
def case(request: pytest.FixtureRequest) -> Case:
    """Alone, and inside another method: both must keep the contract."""
    # Its repr evaluates back once it has a name inside the package, which it has not here.
    if request.param == "alone":
        return Case(SquaredGradient(), settings_evaluate=False, evaluations=lambda n: (n + 1, n))
    return Case(
        assay.Smoothed(SquaredGradient(), noise=0.1, draws=8),
        settings_evaluate=False,
        own_draws=True,
        evaluations=lambda n: (n + 1, 8 * n),
    )


@pytest.mark.parametrize("output", [0, 2])
def test_the_twin_says_the_same(output: int) -> None:
    net = tanh_net().double()
    x = randn(3, FEATURES, seed=4, dtype=torch.float64)
    slow = squared_gradient_slowly(lambda row: float(net(row)[0, output].detach()), x)
    fast = SquaredGradient()(assay.Question(net, x, target=output)).values
    torch.testing.assert_close(fast, slow, rtol=0, atol=1e-8)


def test_a_method_and_its_twin_take_few_lines() -> None:
    page = (PAGES / "write-a-method.md").read_text(encoding="utf-8")
    examples = {
        example.source.split("\n")[0].strip(): len(example.source.splitlines())
        for example in doctest.DocTestParser().get_examples(page)
    }
    imports = sum(lines for first, lines in examples.items() if first.startswith("from "))
    method = examples["@final"]
    twin = examples["def squared_gradient_slowly(f, x, step=1e-4):"]
    assert imports + method <= 25
    assert imports + method + twin <= 60
