"""Peak memory above the model's own forward passes, for a growing number of inputs or masks.

Each in a fresh process.
"""

from __future__ import annotations

import json

import harness

COUNTS = (100, 1000, 10000)
CHILD = """
import json, sys
import harness
import torch, zoo
harness.conditions()
kind, count = sys.argv[1], int(sys.argv[2])
images = torch.rand(10 if kind == "rise" else count, 1, 28, 28, generator=torch.Generator().manual_seed(0))
net = zoo.DigitNet((8, 16), 64).eval()
import assay
from assay.methods.shapley.kernel_shap import KernelShap
from assay.metrics.faithfulness.infidelity import Infidelity
from assay.perturbations import GaussianNoise
with torch.no_grad():
    targets = torch.cat([net(rows).argmax(1) for rows in images.split(100)])
before = harness.peak_megabytes()
question = assay.Question(net, images, target=assay.Output(targets))
if kind == "gradient":
    values = assay.Gradient()(question).values
elif kind == "path":
    values = assay.IntegratedGradients(steps=8)(question).values
elif kind == "infidelity":
    answer = assay.Gradient()(question)
    values = Infidelity(GaussianNoise(0.2), draws=10)(question, answer).values
elif kind == "kernel":
    question = assay.Question(net, images, target=assay.Output(targets), features=assay.Patches(7))
    values = KernelShap(budget=64)(question).values
elif kind == "rise":
    values = assay.Rise(masks=count)(question).values
size = values.numel() * values.element_size() / (1 << 20)
print(json.dumps([harness.peak_megabytes() - before, size]))
"""


def main() -> None:
    bench = harness.Bench("memory", harness.arguments(__doc__))
    counts = COUNTS[:2] if bench.options.quick else COUNTS
    for kind, name in (
        ("gradient", "memory of gradients"),
        ("path", "memory of integrated gradients, 8 steps"),
        ("infidelity", "memory of infidelity, 10 draws"),
        ("kernel", "memory of KernelSHAP, 64 coalitions of 16 patches"),
        ("rise", "memory of RISE, 10 images, n masks"),
    ):
        if not bench.wanted(name) or bench.options.peers:
            continue
        grown = {count: json.loads(harness.child(CHILD, kind, str(count))) for count in counts}
        above = {count: peak - result for count, (peak, result) in grown.items()}
        first = above[counts[0]]
        last = above[counts[-1]]
        settings = "; ".join(f"n = {count}: {value:.0f} MB" for count, value in above.items())
        # Where 100 inputs need next to nothing any ratio would be large: 32 MB are noise of the allocator.
        ratio = max(last, 32) / max(first, 32)
        bench.keep(
            harness.Result(
                name,
                f"itself at n = {counts[0]}",
                last,
                first,
                ratio,
                2.0,
                "MB",
                f"{settings}; less the result",
            )
        )
    bench.save()


if __name__ == "__main__":
    main()
