"""The model of docs/how-to/wrap-a-model.md answers as the function behind it, in calls of its size."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import assay
from assay.methods import METHODS
from assay.models.base import Model
from how_to.how_to import names
from toys import randn

Client = names("wrap-a-model")["Client"]
Service = names("wrap-a-model")["Service"]


class Counting(Client):
    """Notes the rows of every call."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def score(self, rows: list[Any]) -> list[Any]:
        self.calls.append(len(rows))
        return super().score(rows)


def ask(model: Any, n: int = 12) -> assay.Question:
    x = randn(n, 2, seed=3, dtype=torch.float64)
    return assay.Question(model, x, target=1, removal=assay.Baseline(0.1))


def plain(rows: Any) -> torch.Tensor:
    """The function behind the service."""
    return torch.tensor(Client().score(rows.tolist()), dtype=torch.float64)


@pytest.mark.parametrize(
    "method",
    [
        assay.ExactShapley(),
        assay.PermutationShapley(orderings=4),
        assay.SamplingShapley(draws=8),
        assay.Occlusion(),
        assay.Rise(masks=40),
        assay.Lime(assay.CoinMasks(20)),
    ],
    ids=repr,
)
def test_the_twin_says_the_same(method: assay.Method) -> None:
    ours, theirs = method(ask(Service(Client()))), method(ask(plain))
    torch.testing.assert_close(ours.values, theirs.values, rtol=0, atol=1e-12)
    assert type(method).__name__ in METHODS


def test_no_call_has_more_rows_than_the_service_takes() -> None:
    client = Counting()
    assay.ExactShapley()(ask(Service(client), n=300))
    assert 32 <= max(client.calls) <= 100  # the search doubles while that pays


def test_versions_are_told_apart() -> None:
    old, new = Client(), Client()
    new.version = "2025-01"
    assert ask(Service(old)).digest == ask(Service(Client())).digest
    assert ask(Service(old)).digest != ask(Service(new)).digest


def test_a_service_that_cannot_give_slopes_is_refused_where_they_are_needed() -> None:
    assert isinstance(Service(Client()), Model)
    with pytest.raises(assay.errors.AbilityError, match="service 2024-11"):
        assay.Gradient()(ask(Service(Client())))


def test_what_the_service_raises_is_the_cause_of_the_refusal() -> None:
    class Broken(Client):
        def score(self, rows: list[Any]) -> list[Any]:
            raise ConnectionError("the service is away")

    with pytest.raises(assay.errors.ModelError, match="the service is away") as caught:
        assay.ExactShapley()(ask(Service(Broken())))
    assert isinstance(caught.value.__cause__, ConnectionError)
