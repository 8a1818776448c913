"""What the fused form and incremental inference gain: processor seconds with and without them.

`python studies/speedups.py` asks a network with random weights and a trained ResNet-20, writes
docs/studies/speedups.json and the table of docs/studies/speedups.md; `--only occlusion` for one of
the two. Work is cut into the same chunks on both sides (`reproducible=True`), and a pair is the one
run right after the other, in turn which of them comes first.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

import assay
import zoo
from page import Page, conditions, merged

PAGE = Page("speedups")
PAIRS = 5


def digits() -> nn.Module:
    """Two convolutions, without a batch norm."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32 * 14 * 14, 10),
    )  # fmt: skip


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "two convolutions, 20 images of 1 x 28 x 28": (digits, (20, 1, 28, 28)),
    "ResNet-20, 10 images of 3 x 32 x 32": (zoo.cifar_resnet, (10, 3, 32, 32)),
}
METHODS: dict[str, assay.Method] = {
    "integrated gradients, 50 steps": assay.IntegratedGradients(50),
    "occlusion, 4 x 4 windows": assay.Occlusion(window=4),
}


def seconds(method: assay.Method, model: Any, x: torch.Tensor) -> float:
    """Processor seconds of one answer."""
    question = assay.Question(model, x, target=1, features=assay.Pixels())
    start = time.process_time()
    method(question)
    return time.process_time() - start


def measure(method: str, network: str) -> dict[str, Any]:
    """Medians of both sides, and of the pairs' ratios with the smallest and the largest."""
    make, shape = NETWORKS[network]
    torch.manual_seed(0)
    net, x = make().eval(), torch.randn(shape)
    models = {
        speedups: assay.wrap(net, reproducible=True, speedups=speedups)
        for speedups in (True, False)
    }
    found: dict[bool, list[float]] = {True: [], False: []}
    with assay.quiet():
        # The forms are made in a run that does not count.
        for model in models.values():
            seconds(METHODS[method], model, x)
        for pair in range(PAIRS):
            for speedups in (True, False) if pair % 2 else (False, True):
                found[speedups].append(seconds(METHODS[method], models[speedups], x))
    ratios = [fast / plain for fast, plain in zip(found[True], found[False])]
    return {
        "method": method,
        "network": network,
        "fast": statistics.median(found[True]),
        "plain": statistics.median(found[False]),
        "ratio": statistics.median(ratios),
        "least": min(ratios),
        "most": max(ratios),
    }


def table(records: list[dict[str, Any]]) -> str:
    """The page's table."""
    lines = ["| method | network, inputs | fast | plain | ratio |", "|---|---|---|---|---|"]
    for one in records:
        spread = f"{one['ratio']:.2f} ({one['least']:.2f} to {one['most']:.2f})"
        lines.append(
            f"| {one['method']} | {one['network']} | {one['fast']:.3f} s | {one['plain']:.3f} s "
            f"| {spread} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Runs, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="methods whose name contains this")
    options = parser.parse_args()
    conditions()
    measured = []
    for method in METHODS:
        for network in NETWORKS:
            if options.only in method:
                measured.append(measure(method, network))
                print(measured[-1], flush=True)
    kept = PAGE.kept()["records"] if PAGE.file("json").exists() else []
    records = merged(kept, measured, "method", "network")
    PAGE.keep({"records": records})
    PAGE.fill(table(records))


if __name__ == "__main__":
    main()
