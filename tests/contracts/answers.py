"""The answers of every method, metric and certificate on the contract's questions, as hashes: did a
change move a number?

    PYTHONPATH=src:tests python tests/contracts/answers.py > after.txt

and the same in a checkout of before; then diff.

One thread and fixed chunks, so that nothing is left to the clock. With a folder as argument the
numbers are kept there too.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

import assay
from assay import METHODS, METRICS
from contracts.test_metrics import ask, cases_of
from toys import FEATURES, OF_TREES, case_of, randn, tanh_net

PARTS = ("values", "base", "prediction", "gap", "standard_error")


def answers() -> Iterator[tuple[str, Any]]:
    """Every part of every answer, by name."""
    for name, kind in METHODS.items():
        if name in OF_TREES:
            continue
        for dtype in (torch.float32, torch.float64):
            case = case_of(name, kind)
            inputs = randn(5, FEATURES, seed=3, dtype=dtype)
            for batch in (3, 1000):
                net = assay.wrap(case.net().to(dtype), batch_size=batch)
                for seed in (0, 7):
                    answer = case.method(case.ask(inputs, net), seed=seed)
                    label = f"{name} {str(dtype)[6:]} batch {batch} seed {seed}"
                    for part in PARTS:
                        yield f"{label} {part}", getattr(answer, part)
                    yield f"{label} digest", answer.provenance["question"]


def scores() -> Iterator[tuple[str, Any]]:
    """Every metric of two answers."""
    inputs = randn(6, FEATURES, seed=3, dtype=torch.float64)
    net = assay.wrap(tanh_net().double(), batch_size=64)
    question = assay.Question(net, inputs, target=0, removal=assay.Baseline(0.1))
    methods = {"Gradient": assay.Gradient(), "KernelShap": assay.KernelShap()}
    metrics = {
        "Infidelity": assay.Infidelity(draws=50),
        "Completeness": assay.Completeness(),
    }
    for name, method in methods.items():
        answer = method(question)
        asked: dict[str, Any] = {**metrics, "MaxSensitivity": assay.MaxSensitivity(method, draws=9)}
        for metric, judge in asked.items():
            score = judge(question, answer, seed=2)
            yield f"{metric} of {name}", score.values
            yield f"{metric} of {name} error", getattr(score, "error", None)
    # The others by the first case of their contract, which asks what they take.
    for name, kind in METRICS.items():
        if name in asked:
            continue
        case = cases_of(name, kind)[0]
        about = case.of(ask())
        score = case.metric(about, case.method(about), seed=2)
        yield f"{name}", score.values
        yield f"{name} error", getattr(score, "error", None)
    table = assay.compare(question, list(methods.values()), ["Completeness"])
    yield "comparison", torch.from_numpy(table.to_pandas().select_dtypes("number").to_numpy(float))


def certificates() -> Iterator[tuple[str, Any]]:
    """What is proven of a selection of features."""
    inputs = randn(3, FEATURES, seed=3)
    question = assay.Question(assay.wrap(tanh_net(), batch_size=64), inputs, target=0)
    selection = torch.tensor([[True, True, False, False]]).expand(3, -1)
    for name, prover in {
        "MultiplicativeSmoothing": assay.MultiplicativeSmoothing(kept=2, levels=4),
        "HardStability": assay.HardStability(),
    }.items():
        for row, proof in enumerate(prover.certify(question, selection)):
            claims = (proof.predicted, proof.consistent, proof.incremental, proof.decremental)
            yield f"{name} of input {row}", torch.tensor([int(claim) for claim in claims])


def digest(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, str):
        return value[:16]
    array = np.ascontiguousarray(value.detach().cpu().numpy())
    return hashlib.sha256(str(array.dtype).encode() + array.tobytes()).hexdigest()[:16]


def main() -> None:
    torch.set_num_threads(1)
    kept = {}
    for produce in (answers, scores, certificates):
        for name, value in produce():
            print(f"{digest(value)} {name}")
            if hasattr(value, "numpy"):
                kept[name] = value.detach().cpu().numpy()
    if len(sys.argv) > 1:
        Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
        np.savez(Path(sys.argv[1]) / "answers.npz", **kept)


if __name__ == "__main__":
    main()
