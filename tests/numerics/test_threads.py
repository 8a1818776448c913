"""Small matrices are factored by one thread, and torch gets its threads back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from assay.methods.lime import few_draws, least_squares
from assay.methods.optimal import solvers
from assay.methods.shapley import linear_shap
from assay.numerics.threads import SMALL, few_threads
from assay.removals import conditional

COVARIANCE = torch.eye(3, dtype=torch.float64) + 0.5
ROW = torch.ones(1, 3, dtype=torch.float64)

FACTORED: dict[str, tuple[str, Callable[[], Any]]] = {
    "least squares": ("pinv", lambda: least_squares.inverse(COVARIANCE, 0.1)),
    "triangles": ("cholesky_ex", lambda: least_squares._ranked_by(COVARIANCE, ROW, 0.1)),
    "few draws": (
        "pinv",
        lambda: few_draws._ranking(ROW[None], ROW[:, :1], COVARIANCE[None, :1, :1], 0.1),
    ),
    "optimal": ("eigh", lambda: solvers._pseudo_inverse(COVARIANCE, 0.0)),
    "optimal, a ridge": ("eigh", lambda: solvers._pseudo_inverse(COVARIANCE, 0.1)),
    "exact linear": (
        "pinv",
        lambda: linear_shap.gaussian_exact(ROW, ROW, COVARIANCE, torch.arange(3), 3),
    ),
}


@pytest.fixture
def two_threads() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("name", "call"), FACTORED.values(), ids=FACTORED)
def test_factorisations_of_small_matrices_have_one_thread(
    name: str, call: Callable[[], Any], two_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    plain = getattr(torch.linalg, name)

    def watched(*args: Any, **kwargs: Any) -> Any:
        seen.append(torch.get_num_threads())
        return plain(*args, **kwargs)

    monkeypatch.setattr(torch.linalg, name, watched)
    call()
    assert set(seen) == {1}
    assert torch.get_num_threads() == 2


def test_what_is_absent_given_what_is_present_has_one_thread(
    two_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    for name in ("pinv", "eigh"):
        plain = getattr(torch.linalg, name)

        def watched(*args: Any, plain: Any = plain, **kwargs: Any) -> Any:
            seen.append(torch.get_num_threads())
            return plain(*args, **kwargs)

        monkeypatch.setattr(torch.linalg, name, watched)
    rows = np.random.default_rng(0).normal(size=(20, 3))
    import assay

    asked = assay.Question(
        lambda x: x[:, 0], torch.from_numpy(rows), removal=conditional.Conditional(rows)
    )
    asked.value(torch.tensor([[True, False, True]]))
    assert seen
    assert set(seen) == {1}


def test_large_matrices_keep_their_threads(two_threads: None) -> None:
    with few_threads(SMALL + 1):
        assert torch.get_num_threads() == 2
    with few_threads(SMALL):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
