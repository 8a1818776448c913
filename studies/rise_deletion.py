"""RISE on trained networks: does removing its top tenth of the pixels lower the class score more
than a random tenth?

`python studies/rise_deletion.py` writes docs/studies/rise_deletion.json, .png and the table of the
.md page.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import assay
import zoo
from assay.numerics.statistics import wilson
from page import Page, conditions, merged

PAGE = Page("rise_deletion")

SHARE = 0.1
RANDOM = 20  # random tenths per image and kind


@dataclass(frozen=True)
class Case:
    """A network, its pictures, what absent pixels become, and the settings of RISE."""

    name: str
    net: nn.Module
    images: Tensor
    removals: tuple[str, ...]
    settings: tuple[assay.Rise, ...]


def published(masks: int) -> assay.Rise:
    """The settings of the method's authors."""
    return assay.Rise(masks=masks, grid=7, keep=0.5, estimator="ratio")


def fine(masks: int, grid: int) -> assay.Rise:
    """Small cells, few of them hidden."""
    return assay.Rise(masks=masks, grid=grid, keep=0.9, estimator="ratio")


def right(net: nn.Module, images: Tensor, labels: Tensor, count: int) -> Tensor:
    """The first pictures that the network names rightly."""
    with torch.inference_mode():
        found = torch.cat([net(part).argmax(dim=1) for part in images.split(50)]) == labels
    return images[found][:count].clone()


def resnet(count: int) -> Case:
    net = zoo.cifar_resnet(20)
    settings = (published(1000), fine(1000, 16), fine(1000, 32))
    images = right(net, *zoo.cifar10("test", 2 * count), count)
    return Case("ResNet-20, CIFAR-10", net, images, ("black", "mean colour", "blur"), settings)


def vit(count: int) -> Case:
    net = zoo.cifar_vit()
    images = right(net, *zoo.cifar10("test", 2 * count), count)
    return Case("ViT, CIFAR-10", net, images, ("mean colour",), (published(1000), fine(1000, 32)))


def digits(count: int) -> Case:
    net = zoo.digit_net()
    images = right(net, *zoo.mnist("test", 2 * count), count)
    return Case("CNN, MNIST", net, images, ("black",), (published(1000), fine(1000, 28)))


def squeezenet(count: int) -> Case:
    net = zoo.squeezenet()
    images, labels, _ = zoo.photographs(227)
    settings = (published(400), fine(1500, 32))
    return Case(
        "SqueezeNet, photographs", net, right(net, images, labels, count), ("blur",), settings
    )


def mobilenet(count: int) -> Case:
    net = zoo.mobilenet_v2()
    images, labels, _ = zoo.photographs(224)
    settings = (published(400), fine(1000, 32))
    return Case(
        "MobileNet V2, photographs", net, right(net, images, labels, count), ("blur",), settings
    )


CASES: dict[str, Callable[[int], Case]] = {
    "resnet": resnet,
    "vit": vit,
    "digits": digits,
    "squeezenet": squeezenet,
    "mobilenet": mobilenet,
}


def removal(name: str, images: Tensor) -> assay.Baseline | assay.Blur:
    """What takes the place of an absent pixel: black, the picture's mean colour, or the picture
    blurred.
    """
    if name == "blur":
        return assay.Blur(images.shape[-1] / 8)
    return assay.Baseline(
        0.0 if name == "black" else images.mean(dim=(2, 3), keepdim=True).expand_as(images)
    )


def top(maps: Tensor, share: float = SHARE) -> Tensor:
    """The top share of each map: (k, pixels) -> bool."""
    kept = maps.argsort(dim=1, descending=True)[:, : round(share * maps.shape[1])]
    return torch.zeros_like(maps, dtype=torch.bool).scatter_(1, kept, True)


def scattered(side: int, draw: torch.Generator) -> Tensor:
    """Random tenths of single pixels: (RANDOM, pixels)."""
    return top(torch.rand(RANDOM, side * side, generator=draw))


def coherent(side: int, draw: torch.Generator) -> Tensor:
    """Random tenths in patches: the top of random grids of 7 cells, interpolated as RISE's are."""
    maps = torch.rand(RANDOM, 1, 8, 8, generator=draw)
    fine = nn.functional.interpolate(maps, size=(side, side), mode="bilinear", align_corners=True)
    return top(fine.flatten(1))


def measure(case: Case, absent: str, method: assay.Rise) -> dict[str, Any]:
    """Scores of every picture: clean, without RISE's tenth, without random tenths (their mean)."""
    start = time.process_time()
    side = case.images.shape[-1]
    count = len(case.images)
    question = assay.Question(
        case.net, case.images, features=assay.Pixels(), removal=removal(absent, case.images)
    )
    answer = method(question, seed=0)
    best = answer.top(SHARE)
    after = question.value(~best[:, None])[:, 0]
    draw = torch.Generator().manual_seed(0)
    record: dict[str, Any] = {
        "network": case.name,
        "removal": absent,
        "masks": method.masks,
        "pictures": count,
    }
    record |= {"grid": method.grid, "keep": method.keep}
    record |= {"clean": question.prediction.tolist(), "rise": after.tolist()}
    shift = torch.arange(count)[:, None] + torch.arange(1, min(RANDOM, count - 1) + 1)
    for kind, masks in {
        "scattered": scattered(side, draw).expand(count, -1, -1),
        "coherent": coherent(side, draw).expand(count, -1, -1),
        "another picture's": best[shift % count],
    }.items():
        record[kind] = question.value(~masks).mean(dim=1).tolist()
    return record | {"seconds": time.process_time() - start}


KINDS = ("scattered", "coherent", "another picture's")


def share(record: dict[str, Any], kind: str) -> tuple[int, int]:
    """On how many pictures RISE's tenth takes more from the score than the mean random tenth."""
    lower = np.array(record["rise"]) < np.array(record[kind])
    return int(lower.sum()), len(lower)


def table(records: list[dict[str, Any]]) -> str:
    """The markdown table: mean scores, and the share of pictures with its Wilson interval."""
    heads = [
        "network",
        "absent pixels",
        "grid, kept",
        "masks",
        "n",
        "clean",
        "without RISE's tenth",
    ]
    heads += [f"without a {kind} tenth" for kind in KINDS[:2]] + [
        f"share lower than {kind}" for kind in KINDS
    ]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for record in records:
        cells = [record["network"], record["removal"], f"{record['grid']}, {record['keep']}"]
        cells += [f"{record['masks']:,}", str(record["pictures"])]
        cells += [f"{np.mean(record[part]):.1f}" for part in ("clean", "rise", *KINDS[:2])]
        for kind in KINDS:
            wins, n = share(record, kind)
            low, high = wilson(wins, n)
            cells.append(f"{100 * wins / n:.0f} % ({100 * low:.0f}–{100 * high:.0f})")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(records: list[dict[str, Any]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(8, 0.38 * len(records) + 1.6), layout="constrained")
    for colour, kind in enumerate(KINDS):
        for row, record in enumerate(records):
            wins, n = share(record, kind)
            low, high = wilson(wins, n)
            at = row + 0.22 * (colour - 1)
            axis.plot([low, high], [at, at], color=f"C{colour}", lw=1)
            axis.plot(
                [wins / n], [at], "o", ms=4, color=f"C{colour}", label=kind if row == 0 else None
            )
    axis.axvline(0.9, color="black", lw=0.8, ls=":")
    axis.set_yticks(
        range(len(records)),
        [f"{one['network']}: {one['removal']}, grid {one['grid']}" for one in records],
    )
    axis.invert_yaxis()
    axis.set(
        xlim=(0, 1.01), xlabel="share of pictures that lose more with RISE's tenth (dotted: 90 %)"
    )
    axis.legend(title="random tenth", frameon=False, loc="lower left")
    figure.savefig(path, dpi=120)


def rounded(record: dict[str, Any]) -> dict[str, Any]:
    """A record whose scores are as short as they are exact."""
    return {
        key: np.round(value, 3).tolist() if isinstance(value, list) else value
        for key, value in record.items()
    }


def publish(records: list[dict[str, Any]]) -> None:
    """The picture and the page's table."""
    draw(records, PAGE.picture)
    PAGE.fill(table(records))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=50, help="pictures per network")
    parser.add_argument(
        "--only", choices=tuple(CASES), help="one network; what is kept of the others stays"
    )
    parser.add_argument(
        "--render", action="store_true", help="picture and table alone, from the kept scores"
    )
    options = parser.parse_args()
    if options.render:
        return publish(PAGE.kept()["records"])
    conditions()
    records = PAGE.kept()["records"] if options.only else []
    with assay.quiet():
        for name in [options.only] if options.only else CASES:
            case = CASES[name](options.pictures)
            for absent, method in product(case.removals, case.settings):
                record = rounded(measure(case, absent, method))
                print(table([record]).splitlines()[-1], f"{record['seconds']:.0f} s", flush=True)
                records = merged(records, [record], "network", "removal", "grid", "keep")
    PAGE.keep({"random": RANDOM, "share": SHARE, "records": records})
    return publish(records)


if __name__ == "__main__":
    main()
