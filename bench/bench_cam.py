"""Class activation maps beside pytorch-grad-cam, and channels asked one by one beside the bare forwards."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torchvision_names  # noqa: F401  before whatever imports torchvision

import pytorch_grad_cam as peer
import torch
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

import assay
import harness
import zoo
from assay.engine import one_thread
from assay.methods.base import Method
from assay.methods.cam.by_masking import AblationCam, ScoreCam
from assay.methods.cam.by_slopes import (
    GradCam,
    GradCamPlusPlus,
    HiResCam,
    LayerCam,
    XGradCam,
)
from assay.methods.cam.eigen import EigenCam

BATCH = 8
BATCHES = (8, 32)
MANY = 1000  # channels: a minute of forwards of the whole network
FEWER = 8  # of those a part is asked of the bare network, whose time grows with its rows

Case = tuple[str, Callable[[], nn.Module], str, Tensor]


def beside(bench: harness.Bench, case: Case, method: type[Any], theirs: type[Any]) -> None:
    """One map of a batch beside the peer's of the same layer; both cut off what is negative."""
    name, make, layer, images = case
    title = f"{method.__name__}, {name}"
    if not bench.wanted(title):
        return
    net = make()
    model = assay.wrap(net)
    ask: Method = method(layer, rectify=True)
    with torch.no_grad():
        targets = net(images).argmax(1)

    def ours() -> object:
        question = assay.Question(
            model, images, target=assay.Output(targets), features=assay.Pixels()
        )
        return ask(question)

    # A copy: hooks stay on it, and ours would run them too.
    copied = make()
    cam = theirs(model=copied, target_layers=[copied.get_submodule(layer)])
    classes = [ClassifierOutputTarget(int(target)) for target in targets]

    def peers() -> object:
        return cam(input_tensor=images, targets=classes)

    side = images.shape[-1]
    settings = f"{len(images)} images of {side} x {side}, one batch"
    threads = nullcontext()
    # The peer's decomposition leaves threads of another pool turning, which whoever comes next pays.
    if method is EigenCam:
        threads, settings = one_thread(), f"{settings}, one thread"
    with threads:
        bench.pair(
            title, f"pytorch-grad-cam {theirs.__name__}", ours, peers, 0.7, settings=settings
        )


def forwards(bench: harness.Bench, case: Case, method: type[Any], behind: bool) -> None:
    """As many maps as one image has channels, beside as many rows through the bare network.

    Ablation-CAM asks what lies behind the layer alone. `behind`, the bare rows start at the layer,
    too, and what leads to it (a forward of the image, and of the rows that checks compare) is ours
    alone; else they are forwards of the whole network, as the paper's are.
    """
    name, make, layer, images = case
    rows_of = "its rows behind the layer" if behind else "its forwards"
    title = f"{method.__name__} beside {rows_of}, {name}, {layer}"
    if not bench.wanted(title):
        return
    net = make()
    model = assay.wrap(net)
    images = images[:1]
    rest, width = net, images
    with torch.no_grad():
        target = int(net(images).argmax(1))
        kept: list[Tensor] = []
        handle = net.get_submodule(layer).register_forward_hook(lambda *a: kept.append(a[2]))
        net(images)
        handle.remove()
        channels = kept[0].shape[1]
    if behind:
        rest, width = _rest(net, name, layer), kept[0]
    is_long = channels >= MANY and not behind
    times = FEWER if is_long else 1
    rows = width.expand(channels // times, *width.shape[1:]).clone()

    def bare(batch: int) -> None:
        with torch.inference_mode():
            for part in rows.split(batch):
                rest(part)

    def ours() -> object:
        question = assay.Question(
            model, images, target=target, features=assay.Pixels(), removal=assay.Baseline(0.0)
        )
        return method(layer)(question)

    batch = bench.best(BATCHES, bare, repeats=1)
    settings = f"{channels} rows, batches of {batch}"
    bench.pair(
        title,
        "the bare rows, best batch",
        ours,
        lambda: bare(batch),
        1.1,
        settings=settings,
        pairs=1 if is_long and method is ScoreCam else 3,
        warm=not is_long or method is AblationCam,
        times=times,
    )


def _rest(net: nn.Module, name: str, layer: str) -> nn.Module:
    """What follows the layer, written by hand."""
    if layer == "layer2":
        return nn.Sequential(net.get_submodule("layer3"), _rest(net, name, "layer3"))
    if name == "MobileNet V2":
        return nn.Sequential(net.get_submodule("op62"), net.get_submodule("op63"), nn.Flatten())
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), net.get_submodule("linear"))


def main() -> None:
    harness.conditions()
    bench = harness.Bench("cam", harness.arguments(__doc__))
    cases: list[Case] = [
        ("ResNet-20", lambda: zoo.cifar_resnet(20), "layer3", zoo.cifar10(count=BATCH)[0]),
        ("MobileNet V2", zoo.mobilenet_v2, "op61", zoo.photographs(count=BATCH)[0]),
    ]
    for case in cases:
        for method, theirs in (
            (GradCam, peer.GradCAM),
            (GradCamPlusPlus, peer.GradCAMPlusPlus),
            (XGradCam, peer.XGradCAM),
            (HiResCam, peer.HiResCAM),
            (LayerCam, peer.LayerCAM),
            (EigenCam, peer.EigenCAM),
        ):
            beside(bench, case, method, theirs)
        forwards(bench, case, ScoreCam, behind=False)
        forwards(bench, case, AblationCam, behind=False)
        forwards(bench, case, AblationCam, behind=True)
    # What follows is not affine here: every channel is asked.
    inner = ("ResNet-20", lambda: zoo.cifar_resnet(20), "layer2", zoo.cifar10(count=BATCH)[0])
    forwards(bench, inner, AblationCam, behind=True)
    bench.save()


if __name__ == "__main__":
    main()
