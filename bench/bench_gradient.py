"""Integrated gradients, 50 steps, 100 pictures: Captum at its defaults and at its best batch size."""

from __future__ import annotations

import torchvision_names  # noqa: F401  before whatever imports torchvision

import captum.attr
import torch
from torch import Tensor, nn

import assay
import harness
import zoo

STEPS = 50
IMAGES = 100
BATCHES = (50, 100, 200, 400, 800, 1600)


def case(bench: harness.Bench, name: str, net: nn.Module, images: Tensor) -> None:
    if not bench.wanted(name):
        return
    with torch.no_grad():
        targets = net(images).argmax(1)
    model = assay.wrap(net)
    theirs = captum.attr.IntegratedGradients(net)

    def captum_run(batch: int | None) -> Tensor:
        return theirs.attribute(images, target=targets, n_steps=STEPS, internal_batch_size=batch)

    def ours() -> Tensor:
        question = assay.Question(model, images, target=assay.Output(targets))
        return assay.IntegratedGradients(steps=STEPS)(question).values

    gap = float("nan")
    if not bench.options.peers:
        reference = captum_run(200).flatten(1)
        gap = float((ours().double() - reference.double()).abs().max() / reference.abs().max())
    settings = f"{STEPS} steps, {len(images)} images"
    bench.pair(
        name,
        "captum, defaults",
        ours,
        lambda: captum_run(None),
        0.3,
        settings=settings,
        largest_gap=gap,
    )
    batch = bench.best(BATCHES, captum_run)
    bench.pair(
        name, "captum, best batch", ours, lambda: captum_run(batch), 0.7,
        settings=f"{settings}, internal_batch_size={batch}", largest_gap=gap,
    )  # fmt: skip


def main() -> None:
    harness.conditions()
    bench = harness.Bench("gradient", harness.arguments(__doc__))
    case(
        bench, "integrated gradients, small CNN", zoo.DigitNet().eval(), zoo.mnist(count=IMAGES)[0]
    )
    case(
        bench, "integrated gradients, ResNet-20", zoo.cifar_resnet(20), zoo.cifar10(count=IMAGES)[0]
    )
    bench.save()


if __name__ == "__main__":
    main()
