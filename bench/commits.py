"""This checkout beside an earlier commit, in one run: what did a change cost?

    python bench/commits.py BEFORE [--pairs 7] [--only NAME] [--clock wall]

BEFORE is a commit. Its sources are checked out into a temporary folder; each side is a process of
its own that does the same work, in turn, so that a slow moment of the machine hits both. The ratio
is the median over pairs of (now / before). Only what both commits spell alike is asked.

The wall clock tells what a user waits for, and needs a quiet machine. `--clock cpu` counts the time
of the processor instead, on one thread, with chunks that follow from the number of elements: both
sides then do the same work, and what else runs on the machine shows less.
"""

from __future__ import annotations

import argparse
import contextlib
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
THREADS = {"wall": 2, "cpu": 1}
CLOCKS = ("wall", "cpu")


def works(threads: int) -> dict[str, Callable[[], Any]]:
    """The cases, by name; each builds its question anew, as a user's loop would."""
    import torch
    from sklearn.ensemble import HistGradientBoostingRegressor

    import assay
    import zoo

    torch.set_num_threads(threads)
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
    tiny = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3)).eval()
    tiny_model = assay.wrap(tiny)
    one = torch.ones(1, 4)

    def gradients(net: Any, images: Any) -> Any:
        return assay.IntegratedGradients(steps=50)(assay.Question(net, images, target=3)).values

    def kernel(model: Any) -> Any:
        question = assay.Question(model, table[:20], removal=away)
        return assay.KernelShap(budget=1024)(question).values

    def certify(images: Any) -> Any:
        question = assay.Question(digits_model, images, features=assay.Patches(4))
        return smoothing.certify(question, votes)

    def small(net: Any, method: Any) -> None:
        for _ in range(100):
            method(assay.Question(net, one, target=0))

    def small_table() -> None:
        for row in range(100):
            question = assay.Question(boosted.predict, table[row : row + 1], removal=away)
            assay.Occlusion()(question)

    return {
        "integrated gradients, ResNet-20, wrapped": lambda: gradients(residual_model, pictures),
        "integrated gradients, ResNet-20, raw": lambda: gradients(residual, pictures),
        "integrated gradients, small CNN, wrapped": lambda: gradients(digits_model, digits),
        "integrated gradients, small CNN, raw": lambda: gradients(digits_net, digits),
        "KernelSHAP, boosted trees": lambda: kernel(boosted.predict),
        "KernelSHAP, free model": lambda: kernel(lambda rows: rows @ free),
        "certificates, small CNN": lambda: certify(digits[:8]),
        "certificates, small CNN, all images": lambda: certify(digits),
        "100 small questions, gradient, wrapped": lambda: small(tiny_model, assay.Gradient()),
        "100 small questions, gradient, raw": lambda: small(tiny, assay.Gradient()),
        "100 small questions, occlusion": lambda: small(tiny_model, assay.Occlusion()),
        "100 small questions, occlusion, trees": small_table,
        "20 small questions, gradient, ResNet-20": lambda: [
            assay.Gradient()(assay.Question(residual_model, pictures[:1], target=3))
            for _ in range(20)
        ],
    }


def serve(clock: str) -> None:
    """One side: reads names of cases, and writes the seconds that each took."""
    from assay import engine

    cases = works(THREADS[clock])
    print(json.dumps(list(cases)), flush=True)
    for line in sys.stdin:
        chunks = engine.reproducible() if clock == "cpu" else contextlib.nullcontext()
        start, processor = time.perf_counter(), time.process_time()
        with chunks:
            cases[line.strip()]()
        spent = {"wall": time.perf_counter() - start, "cpu": time.process_time() - processor}
        print(json.dumps(spent), flush=True)


class Side:
    """A process that runs the cases on one tree of sources."""

    def __init__(self, source: Path, clock: str) -> None:
        environment = {
            **os.environ,
            # The networks and data of both sides are this checkout's.
            "PYTHONPATH": os.pathsep.join([str(source), str(ROOT / "zoo" / "src")]),
            "OMP_NUM_THREADS": str(THREADS[clock]),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__, "--serve", "--clock", clock],
            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.cases = json.loads(self._line())

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("a side ended early; its error stands above")
        return line

    def run(self, case: str) -> dict[str, float]:
        """The seconds that a case took, by clock."""
        assert self.process.stdin is not None
        self.process.stdin.write(case + "\n")
        self.process.stdin.flush()
        spent: dict[str, float] = json.loads(self._line())
        return spent


def compare(now: Side, before: Side, pairs: int, only: str, clock: str) -> None:
    """Prints the cases' table, by one clock and, in the last column, by the other."""
    other = "cpu" if clock == "wall" else "wall"
    print(f"| what | now, s ({clock}) | before, s | ratio | of pairs | by {other} |")
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
        ratios = sorted(a[clock] / b[clock] for a, b in spent)
        beside = statistics.median(a[other] / b[other] for a, b in spent)
        ours, theirs = ([times[clock] for times in side] for side in zip(*spent))
        if clock == "cpu":
            now_s, before_s = min(ours), min(theirs)
            ratio = now_s / before_s
        else:
            now_s, before_s = statistics.median(ours), statistics.median(theirs)
            ratio = statistics.median(ratios)
        span = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
        print(
            f"| {case} | {now_s:.3f} | {before_s:.3f} | {ratio:.3f} | {span} | {beside:.3f} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", nargs="?", default="HEAD")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--only", default="", help="cases whose name holds this")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.clock)
        return
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(
            ["git", "archive", options.before, "src"], cwd=ROOT, check=True, capture_output=True
        )
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
        sides = (Side(ROOT / "src", options.clock), Side(Path(folder) / "src", options.clock))
        compare(*sides, options.pairs, options.only, options.clock)


if __name__ == "__main__":
    main()
