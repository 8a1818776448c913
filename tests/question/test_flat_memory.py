"""Memory is flat in the number of inputs, for tables as for pictures: shards are cut by elements,
and what is held for each of their inputs by coalitions.
"""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

import assay
from assay.methods.base import method as base
from toys import randn

PEAK = """
import resource, sys
import numpy as np
from sklearn.linear_model import LogisticRegression
import assay
rows, columns, method = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
rng = np.random.default_rng(0)
x = rng.normal(size=(rows, columns))
model = LogisticRegression().fit(x[:200], x[:200, 0] > 0)
names = {name: getattr(assay, name) for name in assay.__all__}
eval(method, names)(assay.Question(model, x, removal=assay.Baseline(x[0])))
# Linux counts kilobytes, macOS bytes.
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> (20 if sys.platform == "darwin" else 10))
"""


def peak(rows: int, columns: int, method: str) -> int:
    pytest.importorskip("resource", reason="peak memory is read there")
    arguments = [sys.executable, "-c", PEAK, str(rows), str(columns), method]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


@pytest.mark.parametrize(
    ("columns", "method"), [(10, "ExactShapley()"), (20, "KernelShap(budget=512)")]
)
def test_the_peak_does_not_grow_with_the_inputs(columns: int, method: str) -> None:
    few, many = peak(500, columns, method), peak(20_000, columns, method)
    assert many < few + 130, f"{few} MB for 500 rows, {many} MB for 20,000"


METHODS = [
    assay.ExactShapley(),
    assay.LowOrderShap(),
    assay.KernelShap(budget=40),
    assay.KernelShap(until=0.05),
    assay.ProxyShap(budget=40),
    assay.PermutationShapley(8),
    assay.SamplingShapley(8),
    assay.OwenValues(),
    assay.Qii("banzhaf", budget=40),
    assay.Qii("unary"),
    assay.Rise(masks=100),
    assay.Lime(assay.CoinMasks(50)),
    assay.Absolute(assay.ExactShapley()),
]


@pytest.mark.parametrize("absent_zeros", [False, True], ids=["all play", "some play"])
@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_an_answer_is_the_same_however_it_is_cut(
    method: assay.Method, absent_zeros: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = randn(7, 6).double()
    if absent_zeros:
        x = torch.where(randn(7, 6, seed=3) > 0.8, 0.0, x)

    def ask() -> assay.Attribution:
        return method(assay.Question(lambda x: torch.tanh(x).prod(1) + x[:, 0] * x[:, 1], x))

    whole = ask()
    monkeypatch.setattr(base, "_HELD", 1)
    parts = ask()
    torch.testing.assert_close(parts.values, whole.values, rtol=1e-9, atol=1e-12)
    assert parts.facts["forwards"] == whole.facts["forwards"]
    for name in ("players", "r2"):
        assert (name in parts.facts) == (name in whole.facts)
    assert (parts.standard_error is None) == (whole.standard_error is None)
    if whole.standard_error is not None and parts.standard_error is not None:
        torch.testing.assert_close(
            parts.standard_error, whole.standard_error, rtol=1e-10, atol=1e-12
        )


def test_several_outputs_share_what_may_be_held(monkeypatch: pytest.MonkeyPatch) -> None:
    net = torch.nn.Linear(5, 3).double()
    question = assay.Question(net, randn(4, 5).double())
    whole = assay.ExactShapley().for_outputs(question)
    monkeypatch.setattr(base, "_HELD", 2**5 * 3 * 2)
    for parts, answer in zip(assay.ExactShapley().for_outputs(question), whole):
        torch.testing.assert_close(parts.values, answer.values, rtol=0, atol=1e-10)
