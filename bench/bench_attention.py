"""Relevance of attention beside a plain forward and backward pass of the same images."""

from __future__ import annotations

import torchvision_names  # noqa: F401  before whatever imports torchvision

import torch
import torchvision
from torch import Tensor, nn

import assay
import harness
import zoo
from assay.methods.base import Method

IMAGES = 8


def beside_slopes(
    bench: harness.Bench, name: str, method: Method, net: nn.Module, images: Tensor, target: float
) -> None:
    """The maps of some images beside the slopes of the same, asked of torch."""
    model = assay.wrap(net)
    with torch.no_grad():
        targets = net(images).argmax(1)

    def ours() -> object:
        return method(assay.Question(model, images, target=assay.Output(targets)))

    def theirs() -> None:
        leaf = images.clone().requires_grad_()
        score = net(leaf).gather(1, targets[:, None]).sum()
        torch.autograd.grad(score, leaf)

    title = f"{type(method).__name__}, {name}"
    settings = f"{len(images)} images of {images.shape[-1]} x {images.shape[-1]}"
    bench.pair(title, "torch, forward and backward", ours, theirs, target, settings=settings)


def large() -> nn.Module:
    """A ViT-B/16 of random weights; torchvision's begins with a head of zeros."""
    net = torchvision.models.vit_b_16(weights=None).eval()
    nn.init.normal_(net.heads.head.weight, std=0.02)
    made: nn.Module = net
    return made


def main() -> None:
    harness.conditions()
    bench = harness.Bench("attention", harness.arguments(__doc__))
    cases = (
        ("ViT of CIFAR-10", zoo.cifar_vit(), zoo.cifar10(count=IMAGES)[0]),
        ("ViT-B/16", large(), zoo.photographs(count=IMAGES)[0]),
    )
    for name, net, images in cases:
        beside_slopes(bench, name, assay.AttentionRelevance(), net, images, 2.5)
        beside_slopes(bench, name, assay.TransformerRelevance(), net, images, 8.0)
    bench.save()


if __name__ == "__main__":
    main()
