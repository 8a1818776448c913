"""Rules inside a network beside zennit, Captum and shap: relevance, DeepLIFT, guided signals; exact
integrated gradients beside many steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torchvision_names  # noqa: F401  before whatever imports torchvision

import captum.attr
import shap
import torch
import zennit.attribution
import zennit.composites
from torch import Tensor, nn

import assay
import harness
import zoo
from assay.methods.base import Method
from assay.methods.rules import LRP, DeepLift, EpsilonPlus, GuidedBackprop

BATCHES = (4, 8, 20, 50, 100)
BACKGROUND = 100
INPUTS = 4  # explained against the background
PART = 0.004  # of the way to zeros on which ResNet-20 is integrated without error


def in_batches(images: Tensor, batch: int, work: Callable[[slice], Any]) -> None:
    for start in range(0, len(images), batch):
        work(slice(start, start + batch))


def beside(
    bench: harness.Bench, title: str, peer: str, method: Method, net: nn.Module, images: Tensor,
    theirs: Callable[[int], None],
) -> None:  # fmt: skip
    """One method beside a peer's at its best batch."""
    if not bench.wanted(title):
        return
    model = assay.wrap(net)
    with torch.no_grad():
        targets = net(images).argmax(1)

    def ours() -> object:
        question = assay.Question(
            model, images, target=assay.Output(targets), removal=assay.Baseline(0.0)
        )
        return method(question)

    batches = [batch for batch in BATCHES if batch <= len(images)]
    batch = bench.best(batches, theirs, repeats=1)
    side = images.shape[-1]
    settings = f"{len(images)} images of {side} x {side}, batches of {batch}"
    bench.pair(title, f"{peer}, best batch", ours, lambda: theirs(batch), 0.8, settings=settings)


def relevance(bench: harness.Bench, name: str, net: nn.Module, images: Tensor) -> None:
    with torch.no_grad():
        outputs = net(images)
    ones = torch.eye(outputs.shape[1])[outputs.argmax(1)]

    def theirs(batch: int) -> None:
        composite = zennit.composites.EpsilonPlus()
        with zennit.attribution.Gradient(model=net, composite=composite) as attributor:
            in_batches(images, batch, lambda rows: attributor(images[rows], ones[rows]))

    method = LRP(EpsilonPlus())
    beside(bench, f"LRP (EpsilonPlus), {name}", "zennit", method, net, images, theirs)


def slopes(bench: harness.Bench, name: str, net: nn.Module, images: Tensor) -> None:
    with torch.no_grad():
        targets = net(images).argmax(1)
    pairs: tuple[tuple[str, Method, Any], ...] = (
        ("guided backpropagation", GuidedBackprop(), captum.attr.GuidedBackprop),
        ("DeepLIFT (rescale)", DeepLift(), captum.attr.DeepLift),
    )
    for title, method, peer in pairs:
        explainer = peer(net)

        def theirs(batch: int, explainer: Any = explainer) -> None:
            in_batches(
                images, batch, lambda rows: explainer.attribute(images[rows], target=targets[rows])
            )

        beside(bench, f"{title}, {name}", "captum", method, net, images, theirs)


def background(bench: harness.Bench) -> None:
    """DeepLIFT over a background of 100 rows, for a few inputs of ResNet-20."""
    title = f"DeepLIFT over {BACKGROUND} rows, ResNet-20"
    if not bench.wanted(title):
        return
    net = zoo.cifar_resnet(20)
    pictures = zoo.cifar10(count=BACKGROUND + INPUTS)[0]
    rows, images = pictures[:BACKGROUND], pictures[BACKGROUND:]
    with torch.no_grad():
        targets = net(images).argmax(1)
    model = assay.wrap(net)
    removal = assay.Background(rows)

    def ours() -> object:
        question = assay.Question(model, images, target=assay.Output(targets), removal=removal)
        return DeepLift()(question)

    theirs = captum.attr.DeepLiftShap(net)

    def captum_run(batch: int) -> None:
        in_batches(
            images,
            batch,
            lambda part: theirs.attribute(images[part], rows, target=targets[part]),
        )

    settings = f"{INPUTS} images, {BACKGROUND} background rows"
    batch = bench.best((1, 2, INPUTS), captum_run, repeats=1)
    bench.pair(
        title,
        "captum DeepLiftShap, best batch",
        ours,
        lambda: captum_run(batch),
        0.3,
        settings=f"{settings}, batches of {batch}",
        pairs=3,
    )
    explainer = shap.DeepExplainer(net, rows)

    def shap_run() -> None:
        explainer.shap_values(images, ranked_outputs=1, check_additivity=False)

    bench.pair(title, "shap DeepExplainer", ours, shap_run, 0.3, settings=settings, pairs=3)


def exact(bench: harness.Bench) -> None:
    """Integrated gradients without error beside 1,000 Gauss-Legendre steps.

    A way of ResNet-20 is cut into tens of thousands of pieces: it is asked on a small part of one.
    """
    net, resnet = assay.wrap(zoo.digit_net()), assay.wrap(zoo.cifar_resnet(20))
    digits, picture = zoo.mnist(count=1)[0], zoo.cifar10(count=1)[0]
    near = assay.Background(picture * (1 - PART))
    for name, model, images, removal in (
        ("DigitNet", net, digits, assay.Baseline(0.0)),
        (f"ResNet-20, {PART:g} of the way", resnet, picture, near),
    ):
        title = f"exact integrated gradients, {name}"
        if not bench.wanted(title):
            continue

        def ask(
            method: Method, model: Any = model, images: Any = images, removal: Any = removal
        ) -> assay.Attribution:
            return method(assay.Question(model, images, target=0, removal=removal))

        pieces = ask(assay.ExactIntegratedGradients()).facts["pieces"][0]
        bench.pair(
            title,
            "1,000 Gauss-Legendre steps",
            lambda ask=ask: ask(assay.ExactIntegratedGradients()),
            lambda ask=ask: ask(assay.IntegratedGradients(1000)),
            settings=f"1 image, {pieces} pieces",
            pairs=3,
        )


def main() -> None:
    harness.conditions()
    bench = harness.Bench("rules", harness.arguments(__doc__))
    small = zoo.cifar10(count=100)[0]
    large = zoo.photographs(count=8)[0]
    for name, make, images in (
        ("ResNet-20", lambda: zoo.cifar_resnet(20), small),
        ("MobileNet V2", zoo.mobilenet_v2, large),
    ):
        for case in (relevance, slopes):
            case(bench, name, make(), images)
    background(bench)
    exact(bench)
    bench.save()


if __name__ == "__main__":
    main()
