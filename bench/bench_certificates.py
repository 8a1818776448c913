"""Certifying beside the bare forward passes it rests on, and beside all draws of all inputs in one
batch.
"""

from __future__ import annotations

import json
import math

import torch
from torch import Tensor, nn

import assay
import harness
import zoo

PATCH = 4  # pixels
CHILD = """
import json, sys
import harness
import torch, zoo
harness.conditions()
who, count, levels = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
images = torch.rand(count, 1, 28, 28, generator=torch.Generator().manual_seed(0))
net = zoo.DigitNet((16, 32), 128).eval()
import assay
# One chunk size, so that what is compared is not the chunk that happened to be fastest.
model = assay.wrap(net, batch_size=512)
question = assay.Question(model, images, features=assay.Patches(4), removal=assay.Baseline(0.0))
smoothing = assay.MultiplicativeSmoothing(levels // 4, levels)
selection = torch.arange(49) < 13
smoothing.certify(question.part(0, 2), selection)
with torch.inference_mode():
    for _ in range(4):
        net(torch.zeros(512, 1, 28, 28))
before = harness.peak_megabytes()
if who == "assay":
    proofs = smoothing.certify(question, selection)
else:
    drawn = torch.tensor(smoothing.noise(49).masks).float().view(-1, 1, 7, 7)
    masks = torch.nn.functional.interpolate(drawn, size=28)
    with torch.inference_mode():
        votes = [net((images[:, None] * masks * kept).flatten(0, 1)).argmax(1) for kept in (1, 0.5)]
print(json.dumps(harness.peak_megabytes() - before))
"""


def all_at_once(net: nn.Module, images: Tensor, masks: Tensor, kept: Tensor) -> Tensor:
    """The published way: n x q masked inputs in one batch, one-hot and averaged.

    Once for the whole and once for the selection.
    """
    with torch.inference_mode():
        sides = [
            net((images[:, None] * masks * keep).flatten(0, 1))
            for keep in (torch.ones_like(kept), kept)
        ]
    votes = [
        nn.functional.one_hot(side.argmax(1), 10).double().view(len(images), len(masks), -1)
        for side in sides
    ]
    return torch.stack([vote.mean(1) for vote in votes])


def time_of(bench: harness.Bench, name: str, net: nn.Module, images: Tensor, levels: int) -> None:
    if not bench.wanted(name):
        return
    n = len(images)
    side = images.shape[-1] // PATCH
    smoothing = assay.MultiplicativeSmoothing(levels // 4, levels)
    selection = torch.arange(side**2) < math.ceil(side**2 / 4)
    grown = torch.tensor(smoothing.noise(side**2).masks).float().view(-1, 1, side, side)
    masks = nn.functional.interpolate(grown, size=images.shape[-1])
    kept = nn.functional.interpolate(
        selection.float().view(1, 1, side, side), size=images.shape[-1]
    )
    rows = images.repeat(levels, 1, 1, 1)
    model = assay.wrap(net)

    def bare(batch: int, times: int = 2) -> None:
        with torch.inference_mode():
            for _ in range(times):
                for part in rows.split(batch):
                    net(part)

    def certify(selections: int = 1) -> object:
        question = assay.Question(
            model, images, features=assay.Patches(PATCH), removal=assay.Baseline(0.0)
        )
        return smoothing.certify_all(
            question, [selection.roll(shift) for shift in range(selections)]
        )

    batch = bench.best((32, 64, 128, 256, 512), lambda size: bare(size, 1))
    settings = (
        f"{n} inputs, {levels} draws for the whole and for the selection; "
        f"bare passes in chunks of {batch}"
    )
    bench.pair(name, "bare forward passes", certify, lambda: bare(batch), 1.05, settings=settings)
    settings = (
        f"{n} inputs, {levels} draws for the whole, shared by 3 selections, and for each of them"
    )
    bench.pair(
        f"{name}, 3 selections",
        "bare forward passes",
        lambda: certify(3),
        lambda: bare(batch, 4),
        1.05,
        settings=settings,
    )
    settings = f"{n} inputs, {levels} draws, two batches of {n * levels} masked inputs"
    bench.pair(
        name,
        "all draws in one batch",
        certify,
        lambda: all_at_once(net, images, masks, kept),
        settings=settings,
    )


def memory(bench: harness.Bench) -> None:
    """The peak of certifying 100 inputs at 64 draws, grown tenfold in inputs and fourfold in draws."""
    name = "memory of certificates"
    if not bench.wanted(name) or bench.options.peers:
        return
    counts = ((100, 64), (100, 256)) if bench.options.quick else ((100, 64), (1000, 64), (100, 256))
    above = {pair: json.loads(harness.child(CHILD, "assay", *map(str, pair))) for pair in counts}
    batch = json.loads(harness.child(CHILD, "batch", *map(str, counts[0])))
    start = max(above[counts[0]], 32)
    for n, levels in counts[1:]:
        settings = (
            f"{n} inputs, {levels} draws, chunks of 512; "
            f"all draws of 100 inputs in one batch: {batch:.0f} MB"
        )
        most = above[n, levels]
        bench.keep(
            harness.Result(
                f"{name}, n = {n}, q = {levels}",
                "itself, n = 100, q = 64",
                most,
                above[counts[0]],
                max(most, 32) / start,
                2.0,
                "MB",
                settings,
            )
        )


def main() -> None:
    harness.conditions()
    bench = harness.Bench("certificates", harness.arguments(__doc__))
    digits = zoo.mnist(count=32)[0]
    time_of(bench, "DigitNet, certificates", zoo.digit_net(images=2000, epochs=1), digits, 64)
    time_of(bench, "ResNet-20, certificates", zoo.cifar_resnet(), zoo.cifar10(count=16)[0], 32)
    memory(bench)
    bench.save()


if __name__ == "__main__":
    main()
