"""Maps of attention on trained vision transformers: which of them orders the patches best?

The perturbation test of Chefer et al. 2021 (CVPR, section 4.1): patches are taken away by a map, the
most relevant first (positive) or the least relevant first (negative), and the network is asked
again. `python studies/attention_perturbation.py` writes docs/studies/attention_perturbation.json,
.png and the table of the .md page.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import assay
import zoo
from assay.methods.base import Method
from assay.numerics.statistics import interval, paired
from page import Page, conditions

PAGE = Page("attention_perturbation")

SHARES = tuple(tenth / 10 for tenth in range(1, 10))
RANDOM = "random order"
BESIDE = "AttentionRelevance"


@dataclass(frozen=True)
class Case:
    """A network with its pictures, the grid of its patches, and the layer that Grad-CAM maps."""

    name: str
    net: nn.Module
    images: Tensor
    labels: Tensor
    grid: tuple[int, int]
    layer: str
    removals: tuple[str, ...]


def right(net: nn.Module, images: Tensor, labels: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The first pictures that the network names rightly."""
    with torch.inference_mode():
        found = torch.cat([net(part).argmax(dim=1) for part in images.split(50)]) == labels
    return images[found][:count].clone(), labels[found][:count].clone()


def pictures(count: int) -> Case:
    net = zoo.cifar_vit()
    images, labels = right(net, *zoo.cifar10("test", 2 * count), count)
    removals = ("black", "mean colour")
    return Case("CIFAR-10", net, images, labels, (8, 8), "transformer.layers.4", removals)


def digits(count: int) -> Case:
    net = zoo.mnist_vit()
    images, labels = right(net, *zoo.mnist("test", 2 * count), count)
    return Case("MNIST", net, images, labels, (4, 4), "norms.10", ("black",))


CASES: dict[str, Callable[[int], Case]] = {"cifar": pictures, "mnist": digits}


def methods(case: Case) -> dict[str, Method]:
    """The methods, each with a map of the patches themselves."""
    how: dict[str, Any] = {"grid": case.grid, "interpolation": "nearest"}
    return {
        "RawAttention": assay.RawAttention(**how),
        "AttentionRollout": assay.AttentionRollout(**how),
        "GradCam": assay.GradCam(case.layer, rectify=True, grid=case.grid),
        "AttentionRelevance": assay.AttentionRelevance(**how),
        "TransformerRelevance": assay.TransformerRelevance(**how),
    }


def removal(name: str, images: Tensor) -> assay.Baseline:
    """What takes the place of a patch: black, or the pictures' mean colour."""
    if name == "black":
        return assay.Baseline(0.0)
    colour = images.mean(dim=(0, 2, 3), keepdim=True)[0]
    return assay.Baseline(colour.expand_as(images[0]))


def kept_right(question: assay.Question, order: Tensor, labels: Tensor) -> NDArray[np.float64]:
    """Of each picture the share of steps at which it is named rightly, patches gone in this order."""
    patches = order.shape[1]
    places = order.argsort(dim=1)
    counts = torch.tensor([round(share * patches) for share in SHARES])
    present = places[:, None] >= counts[None, :, None]
    named = question.outputs(present).argmax(dim=2)
    shares: NDArray[np.float64] = (named == labels[:, None]).double().mean(dim=1).numpy()
    return shares


def measure(case: Case, absent: str) -> list[dict[str, Any]]:
    """Both scores of every picture, method by method."""
    side = case.images.shape[-1] // case.grid[0]
    question = assay.Question(
        case.net,
        case.images,
        features=assay.Patches(side),
        removal=removal(absent, case.images),
    )
    count, patches = len(case.images), case.grid[0] * case.grid[1]
    draw = torch.Generator().manual_seed(0)
    orders = {RANDOM: torch.rand(count, patches, generator=draw).argsort(dim=1)}
    records = []
    for name, method in {RANDOM: None, **methods(case)}.items():
        start = time.process_time()
        if method is not None:
            orders[name] = method(question).values.argsort(dim=1, descending=True, stable=True)
        seconds = time.process_time() - start
        record: dict[str, Any] = {"network": case.name, "removal": absent, "method": name}
        record["positive"] = kept_right(question, orders[name], case.labels).round(4).tolist()
        record["negative"] = (
            kept_right(question, orders[name].flip(1), case.labels).round(4).tolist()
        )
        records.append(record | {"seconds": seconds})
        print(case.name, absent, name, f"{seconds:.0f} s", flush=True)
    return records


def _percent(values: Any) -> str:
    low, high = interval(values)
    return f"{100 * np.mean(values):.1f} ({100 * low:.1f}–{100 * high:.1f})"


def _beside(record: dict[str, Any], other: dict[str, Any], kind: str) -> str:
    if record is other:
        return "–"
    found = paired(record[kind], other[kind])
    return f"{100 * found.difference:+.1f} ({100 * found.low:+.1f} to {100 * found.high:+.1f})"


def _groups(records: list[dict[str, Any]]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for record in records:
        groups.setdefault((record["network"], record["removal"]), []).append(record)
    return groups


def table(records: list[dict[str, Any]]) -> str:
    """The markdown table: both areas, and how far each method is from one of them, paired."""
    heads = [
        "pictures", "absent patches", "order by", "positive, lower is better",
        f"beside {BESIDE}", "negative, higher is better", f"beside {BESIDE}",
    ]  # fmt: skip
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for (network, absent), group in _groups(records).items():
        (beside,) = (one for one in group if one["method"] == BESIDE)
        for record in group:
            cells = [network, absent, record["method"]]
            for kind in ("positive", "negative"):
                cells += [_percent(record[kind]), _beside(record, beside, kind)]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(records: list[dict[str, Any]], path: Any) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    groups = _groups(records)
    figure, axes = plt.subplots(
        1, len(groups), figsize=(4 * len(groups), 3.2), layout="constrained", sharey=True
    )
    for axis, ((network, absent), group) in zip(np.atleast_1d(axes), groups.items()):
        for row, record in enumerate(group):
            for colour, kind in enumerate(("positive", "negative")):
                low, high = interval(record[kind])
                at = row + 0.16 * (2 * colour - 1)
                axis.plot([100 * low, 100 * high], [at, at], color=f"C{colour}", lw=1.5)
                label = f"{kind} ({'lower' if colour == 0 else 'higher'} is better)"
                axis.plot(
                    [100 * np.mean(record[kind])], [at], "o", ms=4, color=f"C{colour}",
                    label=label if row == 0 else None,
                )  # fmt: skip
        axis.set_yticks(range(len(group)), [record["method"] for record in group])
        axis.set_title(f"{network}, {absent}", fontsize=10)
        axis.set_xlabel("named rightly, mean of nine steps, %")
    np.atleast_1d(axes)[0].invert_yaxis()
    handles, labels = np.atleast_1d(axes)[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, loc="outside lower center", ncols=2)
    figure.savefig(path, dpi=120)


def publish(records: list[dict[str, Any]]) -> None:
    """The picture and the page's table."""
    draw(records, PAGE.picture)
    PAGE.fill(table(records))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=500, help="pictures per network")
    parser.add_argument(
        "--render", action="store_true", help="picture and table alone, from the kept scores"
    )
    options = parser.parse_args()
    if options.render:
        return publish(PAGE.kept()["records"])
    conditions()
    records = []
    with assay.quiet():
        for make in CASES.values():
            case = make(options.pictures)
            for absent in case.removals:
                records += measure(case, absent)
    PAGE.keep({"shares": SHARES, "pictures": options.pictures, "records": records})
    return publish(records)


if __name__ == "__main__":
    main()
