"""This checkout beside an earlier commit, in one run: what did a change cost?

    python bench/commits.py BEFORE [--pairs 7] [--only NAME]

BEFORE is a commit. Its sources are checked out into a temporary folder; each side is a process of
its own that does the same work, in turn, so that a slow moment of the machine hits both. The ratio
is the median over pairs of (now / before). Only what both commits spell alike is asked.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
THREADS = "2"


def works() -> dict[str, Callable[[], Any]]:
    """The cases, by name; each builds its question anew, as a user's loop would."""
    import torch
    from sklearn.ensemble import HistGradientBoostingRegressor

    import assay
    import zoo

    torch.set_num_threads(int(THREADS))
    residual = zoo.cifar_resnet(20)
    pictures = zoo.cifar10(count=8)[0]
    residual_model = assay.wrap(residual)
    digits_net = zoo.DigitNet().eval()
    digits_model = assay.wrap(digits_net)
    digits = zoo.mnist(count=50)[0]
    table = torch.rand(2000, 20, generator=torch.Generator().manual_seed(0)).double().numpy()
    answers = 10 * table[:, 0] * table[:, 1] + 5 * table[:, 2] + table[:, 3] ** 2
    boosted = HistGradientBoostingRegressor(random_state=0).fit(table, answers)
    free = torch.rand(20, generator=torch.Generator().manual_seed(1)).double().numpy()
    away = assay.Background(table[:10])
    votes = torch.arange(49) < 13
    smoothing = assay.MultiplicativeSmoothing(8, 32)

    def gradients(net: Any, images: Any) -> Any:
        return assay.IntegratedGradients(steps=50)(assay.Question(net, images, target=3)).values

    def kernel(model: Any) -> Any:
        question = assay.Question(model, table[:20], removal=away)
        return assay.KernelShap(budget=1024)(question).values

    def certify() -> Any:
        question = assay.Question(digits_model, digits[:8], features=assay.Patches(4))
        return smoothing.certify(question, votes)

    return {
        "integrated gradients, ResNet-20, wrapped": lambda: gradients(residual_model, pictures),
        "integrated gradients, ResNet-20, raw": lambda: gradients(residual, pictures),
        "integrated gradients, small CNN, wrapped": lambda: gradients(digits_model, digits),
        "integrated gradients, small CNN, raw": lambda: gradients(digits_net, digits),
        "KernelSHAP, boosted trees": lambda: kernel(boosted.predict),
        "KernelSHAP, free model": lambda: kernel(lambda rows: rows @ free),
        "certificates, small CNN": certify,
    }


def serve() -> None:
    """One side: reads names of cases, and writes the seconds that each took."""
    cases = works()
    print(json.dumps(list(cases)), flush=True)
    for line in sys.stdin:
        start, processor = time.perf_counter(), time.process_time()
        cases[line.strip()]()
        spent = (time.perf_counter() - start, time.process_time() - processor)
        print(json.dumps(spent), flush=True)


class Side:
    """A process that runs the cases on one tree of sources."""

    def __init__(self, source: Path) -> None:
        environment = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": THREADS}
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__, "--serve"],
            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.cases = json.loads(self._line())

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("a side ended early; its error stands above")
        return line

    def run(self, case: str) -> tuple[float, float]:
        assert self.process.stdin is not None
        self.process.stdin.write(case + "\n")
        self.process.stdin.flush()
        wall, processor = json.loads(self._line())
        return wall, processor


def compare(now: Side, before: Side, pairs: int, only: str) -> None:
    print("| what | now, s | before, s | ratio | of pairs | processor |")
    print("|---|---|---|---|---|---|")
    for case in now.cases:
        if only not in case:
            continue
        now.run(case)
        before.run(case)
        spent = []
        for pair in range(pairs):
            # Who goes first alternates.
            first, second = (now, before) if pair % 2 == 0 else (before, now)
            times = {first: first.run(case), second: second.run(case)}
            spent.append((times[now], times[before]))
        ratios = sorted(a[0] / b[0] for a, b in spent)
        processor = statistics.median(a[1] / b[1] for a, b in spent)
        ours = statistics.median(a[0] for a, _ in spent)
        theirs = statistics.median(b[0] for _, b in spent)
        ratio = statistics.median(ratios)
        span = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
        print(
            f"| {case} | {ours:.3f} | {theirs:.3f} | {ratio:.3f} | {span} | {processor:.3f} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", nargs="?", default="HEAD")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--only", default="")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
        return
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(
            ["git", "archive", options.before, "src"], cwd=ROOT, check=True, capture_output=True
        )
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
        compare(Side(ROOT / "src"), Side(Path(folder) / "src"), options.pairs, options.only)


if __name__ == "__main__":
    main()
