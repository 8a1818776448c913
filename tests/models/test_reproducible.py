"""The same bytes twice: across processes, by a fixed batch size, without a clock, and by a plan."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import assay
from assay import engine
from assay.errors import InputError
from toys import randn, randomised

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = """
import hashlib, json, random, sys, time
import torch
import assay
from assay import engine

torch.set_num_threads(2)
torch.manual_seed(0)
net = torch.nn.Sequential(
    torch.nn.Conv2d(1, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.ReLU(),
    torch.nn.MaxPool2d(2), torch.nn.Conv2d(8, 16, 3, padding=1), torch.nn.ReLU(),
    torch.nn.Flatten(), torch.nn.Linear(16 * 49, 10),
).eval()
images = torch.rand(20, 1, 14, 14)

# A clock that lies differently in every process: what it decides must show.
real = time.perf_counter
engine.time = type("Clock", (), {"perf_counter": lambda self: real() + random.random()})()

def ask(method, settings):
    own = settings.get(type(method).__name__, settings.get("both", {}))
    model = assay.wrap(net, **own)
    question = assay.Question(model, images, target=assay.Predicted(), features=assay.Pixels())
    if settings.get("block"):
        with engine.reproducible():
            return method(question)
    return method(question)

told = {}
for name, settings in json.loads(sys.argv[1]).items():
    told[name] = {}
    for method in (assay.IntegratedGradients(20), assay.Occlusion(window=2, stride=2)):
        answer = ask(method, settings)
        parts = (answer.values, answer.prediction, answer.base)
        joined = b"".join(part.numpy().tobytes() for part in parts)
        sha = hashlib.sha256(joined).hexdigest()
        told[name][type(method).__name__] = [sha, answer.facts["plan"]]
print(json.dumps(told))
"""


def fresh(cases: dict[str, Any]) -> dict[str, Any]:
    """For each case hash and plan of two methods, one of slopes and one of masks, from a process of
    its own.
    """
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(cases)],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": f"{ROOT / 'src'}", "PATH": "/usr/bin:/bin"},
    )
    return dict(json.loads(run.stdout))


CASES: dict[str, Any] = {
    "batch_size": {"both": {"batch_size": 24}},
    "setting": {"both": {"reproducible": True}},
    "block": {"block": True},
    "clock": {},
}


@pytest.fixture(scope="module")
def processes() -> list[dict[str, Any]]:
    """The cases, from two processes."""
    return [fresh(CASES) for _ in range(2)]


@pytest.mark.parametrize("case", ["batch_size", "setting", "block"])
def test_processes_agree_bit_for_bit_without_a_clock(
    case: str, processes: list[dict[str, Any]]
) -> None:
    first, *others = [told[case] for told in processes]
    assert all(other == first for other in others)


def test_a_plan_that_is_handed_back_gives_the_bytes_of_its_answer(
    processes: list[dict[str, Any]],
) -> None:
    searched = {str(index): told["clock"] for index, told in enumerate(processes)}
    cases = {
        index: {name: {"plan": plan} for name, (_, plan) in told.items()}
        for index, told in searched.items()
    }
    assert fresh(cases) == searched


def net() -> nn.Module:
    return randomised(
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 100, 3))
    )


def question(model: Any, n: int = 40) -> assay.Question:
    return assay.Question(model, randn(n, 1, 12, 12), target=0, features=assay.Pixels())


def test_the_plan_stands_in_the_facts_and_survives_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shards of different sizes, of which the search is still under way in the first."""
    monkeypatch.setattr("assay.question.derivations._SHARD", 17 * 144)
    method = assay.IntegratedGradients(16)
    assert [shard.n for shard in question(net()).shards()][-1] < 17
    answer = method(question(net()))
    assert set(answer.facts["plan"]) == {
        "outputs of ((1, 12, 12),)",
        "slopes of ((1, 12, 12),)",
    }
    for runs in answer.facts["plan"].values():
        for rows, memory_format, chunks in runs:
            assert rows > 0
            assert memory_format in (0, 1)
            assert chunks > 0
    answer.save(tmp_path / "answer.safetensors")
    loaded = assay.load(tmp_path / "answer.safetensors")
    model = assay.wrap(net(), plan=loaded.facts["plan"])  # type: ignore[union-attr]
    for _ in range(2):  # asked again, it starts anew
        again = method(question(model))
        assert torch.equal(again.values, answer.values)
        assert torch.equal(again.prediction, answer.prediction)
        assert again.facts["plan"] == answer.facts["plan"]


def test_behind_a_layer_and_for_a_function_a_plan_holds_too() -> None:
    method = assay.IntegratedGradients(16)
    answer = method(question(net()).after("0"))
    assert any("after 0" in purpose for purpose in answer.facts["plan"])
    again = method(question(assay.wrap(net(), plan=answer.facts["plan"])).after("0"))
    assert again.facts["plan"] == answer.facts["plan"]
    assert torch.equal(again.values, answer.values)

    def total(x: torch.Tensor) -> torch.Tensor:
        return x.tanh().sum((1, 2, 3))

    one = assay.Occlusion(window=3)(assay.Question(total, randn(9, 1, 12, 12)))
    model = assay.wrap(total, plan=one.facts["plan"])
    other = assay.Occlusion(window=3)(assay.Question(model, randn(9, 1, 12, 12)))
    assert other.facts["plan"] == one.facts["plan"]


def test_work_that_a_plan_does_not_name_is_not_left_to_the_clock() -> None:
    model = assay.wrap(net(), plan={"outputs of ((1, 12, 12),)": [[5, 0, 1]]})
    answer = assay.IntegratedGradients(16)(question(model))
    assert answer.facts["plan"]["outputs of ((1, 12, 12),)"] == [[5, 0, 9]]  # 40 inputs and a base
    (slopes,) = answer.facts["plan"]["slopes of ((1, 12, 12),)"]
    with engine.reproducible():
        rule = assay.IntegratedGradients(16)(question(net())).facts["plan"]
    assert rule["slopes of ((1, 12, 12),)"] == [slopes]


@pytest.mark.parametrize(
    "plan",
    [
        3,
        {"outputs": 3},
        {"outputs": []},
        {"outputs": [[5, 0]]},
        {"outputs": [[0, 0, 1]]},
        {"outputs": [[5, 2, 1]]},
        {"outputs": [[5, 0, 0]]},
        {"outputs": [["5", 0, 1]]},
    ],
)
def test_what_is_no_plan_is_refused(plan: Any) -> None:
    with pytest.raises(InputError, match=r"Expected a plan: .*answer\.facts\['plan'\]"):
        assay.wrap(net(), plan=plan)


def test_a_plan_and_a_batch_size_contradict_each_other() -> None:
    with pytest.raises(InputError, match="Expected a batch size or a plan, got both"):
        assay.wrap(net(), plan={}, batch_size=5)
