"""Answers keep the precision of what the model said, and the same rows are answered the same way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import assay
from assay.engine import ChunkSearch
from assay.errors import ModelError
from toys import randn, randomised

METHODS = [
    assay.ExactShapley(),
    assay.KernelShap(),
    assay.PermutationShapley(),
    assay.SamplingShapley(draws=10),
]


def far(a: Any) -> Any:
    """1e8 and something: single precision has steps of 8 there."""
    a = a.astype(np.float64)
    return 1e8 + a[:, 0] + 2 * a[:, 1] + 0.5 * a[:, 0] * a[:, 2]


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_small_differences_of_large_outputs_are_kept(method: Any, dtype: Any) -> None:
    made = method(assay.Question(far, np.array([[3, 4, 5]], dtype=dtype)))
    # By hand: 3 + 7.5 / 2, 8, and 7.5 / 2.
    np.testing.assert_allclose(made.values, [[6.75, 8.0, 3.75]], atol=1e-10)
    assert abs(float(made.gap[0])) < 1e-6


def test_counts_of_words_far_from_zero() -> None:
    made = assay.explain(lambda t: np.array([1e8 + len(s.split()) for s in t]), ["a b c"])
    np.testing.assert_allclose(made.values, [[1, 1, 1]])


def test_networks_in_single_precision_answer_in_it() -> None:
    net = randomised(nn.Linear(3, 2))
    made = assay.ExactShapley()(assay.Question(net, randn(2, 3), target=0))
    assert made.values.dtype == made.prediction.dtype == torch.float32
    runtime = lambda a: a.sum(1, dtype=np.float32)  # noqa: E731  a runtime on arrays alike
    single = assay.Question(runtime, np.ones((1, 3), dtype=np.float32))
    assert single.prediction.dtype == torch.float32


def test_certificates_see_differences_far_from_zero() -> None:
    def rule(x: Any) -> Any:
        # In double whatever the inputs are: NumPy adds 1e8 to single numbers in single.
        total = x.astype(np.float64).sum(1)
        return np.stack([np.full(len(x), 1e8), 1e8 + total - 2.5], axis=1)

    for ones in (np.ones((1, 6)), np.ones((1, 6), np.float32), np.ones((1, 6), np.int64)):
        question = assay.Question(rule, ones)
        (certificate,) = assay.HardStability().certify(question, torch.arange(6) < 1)
        assert (certificate.incremental, certificate.full) == (1, False)


@pytest.mark.parametrize(("rows", "before"), [(1, 4), (3, 6)])
def test_a_model_that_remembers_breaks_its_promise(rows: int, before: int) -> None:
    """`before` it is asked under masks: two rows alone and together, which are the only input and
    its absence; of three inputs all, and their absence.
    """
    asked = {"times": 0}

    def remembers(x: Tensor) -> Tensor:
        asked["times"] += 1
        return x.sum(1) + (0.5 if asked["times"] > before else 0.0)

    with pytest.raises(ModelError, match=r"a difference of 0\.5 from what it said with nothing"):
        assay.ExactShapley()(assay.Question(remembers, torch.ones(rows, 3)))


def test_an_influence_that_takes_three_rows_is_seen() -> None:
    with pytest.raises(ModelError, match="not to depend on its neighbours"):
        _ = assay.Question(lambda x: x.sum(1) + (len(x) > 2), torch.ones(4, 3)).prediction


def test_first_chunks_of_large_rows_are_small() -> None:
    for elements, most in ((3 * 224 * 224, 8), (3 * 1024 * 1024, 1), (3 * 4096 * 4096, 1)):
        timed = ChunkSearch().sized(elements)
        assert timed.next_plan().rows <= most
        assert ChunkSearch(by_size=True).sized(elements).next_plan().rows <= most
