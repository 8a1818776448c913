"""Where maps point: the pointing game and the mass inside the box, beside a centre and an edge detector.

`python studies/localisation.py` asks SqueezeNet 1.1 and MobileNet V2 about pictures of tiny-imagenet
(64 x 64, upsampled to 224), one of each class, for the class that the picture has, and writes
docs/studies/localisation.json, .png and the tables of the .md page. Maps that ask every channel are
asked about some of the pictures; with names of methods only these are measured, and the rest is kept.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

import assay
import zoo
from assay.methods.base import Method
from assay.numerics.statistics import interval, wilson
from page import Page, conditions

PAGE = Page("localisation")
SIDE = 224
BATCH = 5
PER_CLASS = 20  # pictures of each class, in the order of the file

# The network, and the last layer with places whose activations are rectified.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "SqueezeNet 1.1": (zoo.squeezenet, "features.12"),
    "MobileNet V2": (zoo.mobilenet_v2, "op61"),
}
# Where a mean over places and one linear layer follow, as CAM needs.
LINEAR = {"SqueezeNet 1.1": "classifier.2", "MobileNet V2": "op61"}
# Asking every channel takes up to a minute a picture: of how many pictures, spread over all; with 0
# a method is left out.
FEW = {
    ("SqueezeNet 1.1", "ScoreCam"): 20,
    ("SqueezeNet 1.1", "AblationCam"): 25,
    ("MobileNet V2", "ScoreCam"): 20,
    # Every operation of the network is heard.
    ("SqueezeNet 1.1", "FullGrad"): 40,
    ("MobileNet V2", "FullGrad"): 20,
}
FEWEST = 10  # pictures of which intervals say something
MAPS: dict[str, Method] = {
    "GradCam": assay.GradCam(rectify=True),
    "GradCamPlusPlus": assay.GradCamPlusPlus(rectify=True),
    "XGradCam": assay.XGradCam(rectify=True),
    "HiResCam": assay.HiResCam(rectify=True),
    "LayerCam": assay.LayerCam(rectify=True),
    "EigenCam": assay.EigenCam(rectify=True),
}
SLOPES: dict[str, Method] = {
    "Gradient": assay.Gradient(),
    "InputXGradient": assay.InputXGradient(),
    "GuidedBackprop": assay.GuidedBackprop(),
    "IntegratedGradients": assay.IntegratedGradients(steps=5),
    "SmoothGrad": assay.Smoothed(assay.Gradient(), noise=0.1, draws=5),
}
REFERENCES = ("centre", "edges")


def pictures(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures (n, 3, 224, 224), their classes (n,) and boxes (n, 224, 224), bool: spread over classes."""
    images, synsets, boxes = zoo.tiny_imagenet()
    chosen = range(0, len(images), max(PER_CLASS, len(images) // count))[:count]
    index = zoo.data_root() / "imagenet_sample_images" / "imagenet_class_index.json"
    number = {synset: int(key) for key, (synset, _) in json.loads(index.read_text()).items()}
    rows = torch.tensor(list(chosen))
    labels = torch.tensor([number[synsets[row]] for row in chosen])
    large = interpolate(images[rows], (SIDE, SIDE), mode="bilinear", align_corners=False)
    inside = torch.zeros(len(rows), SIDE, SIDE, dtype=torch.bool)
    scale = SIDE / images.shape[-1]
    for mask, box in zip(inside, boxes[rows].tolist()):
        # Both ends of a box are pixels inside it.
        left, top, right, bottom = (
            round(end * scale) for end in (box[0], box[1], box[2] + 1, box[3] + 1)
        )
        mask[top:bottom, left:right] = True
    return large, labels, inside


def references(images: Tensor) -> dict[str, Tensor]:
    """Maps that know nothing of the network: a bell at the centre, and the edges of the picture."""
    places = torch.arange(SIDE) - (SIDE - 1) / 2
    bell = torch.exp(-(places[:, None] ** 2 + places[None] ** 2) / (2 * (SIDE / 4) ** 2))
    grey = (images * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1)
    down, across = torch.gradient(grey, dim=(1, 2))
    return {"centre": bell.expand(len(images), -1, -1), "edges": torch.hypot(down, across)}


def methods(network: str) -> dict[str, Method]:
    """By name. Those of `MAPS` are asked behind the layer, the others of the whole network."""
    layer = NETWORKS[network][1]
    asked: dict[str, Method] = {
        "CAM": assay.CAM(LINEAR[network], rectify=True),
        "ScoreCam": assay.ScoreCam(layer, rectify=True, softmax=False),
        "AblationCam": assay.AblationCam(layer, rectify=True, relative=False),
        "Guided(GradCam)": assay.Guided(assay.GradCam(layer, rectify=True)),
        "FullGrad": assay.FullGrad(),
    }
    return {**MAPS, **SLOPES, **asked}


def map_of(
    name: str, method: Method, model: Any, layer: str, images: Tensor, labels: Tensor
) -> Tensor:
    """The map of a method (n, 224, 224), at least 0."""
    question = assay.Question(
        model, images, target=assay.Output(labels), removal=assay.Baseline(0.0)
    )
    if name in MAPS:
        # At the layer's own resolution, the same at all channels, then as `GradCam(layer)` does it.
        behind = question.after(layer)
        answer = method(behind).values.reshape(len(images), *behind.layout.shapes[0])[:, :1]
        return interpolate(answer, (SIDE, SIDE), mode="bilinear", align_corners=False)[:, 0]
    # A pixel is a feature: credit is that of its colours together.
    credit = method(question).values.reshape(len(images), SIDE, SIDE)
    return credit.abs() if name in SLOPES or name.startswith("Guided") else credit


def judged(maps: Tensor, inside: Tensor) -> tuple[list[float], list[float]]:
    """Whether the largest place is inside, and which share of the mass is; NaN of an empty map."""
    flat = maps.clamp_min(0).flatten(1).to(torch.float64)
    within = inside.flatten(1)
    largest = flat.argmax(1, keepdim=True)
    totals = flat.sum(1)
    hits = within.gather(1, largest)[:, 0].to(torch.float64)
    shares = (flat * within).sum(1) / totals
    # Nothing in favour anywhere: no point, and no mass.
    hits[totals == 0] = 0
    shares[totals == 0] = 0
    return hits.tolist(), shares.tolist()


def measure(count: int, networks: list[str], only: list[str]) -> dict[str, Any]:
    """Hits and masses of networks and methods, picture by picture."""
    images, labels, inside = pictures(count)
    figures: dict[str, Any] = {
        "n": len(images),
        "area": inside.flatten(1).double().mean(1).tolist(),
    }
    for network in networks:
        make, layer = NETWORKS[network]
        net = make()
        with torch.inference_mode():
            parts = torch.arange(len(images)).split(BATCH)
            right = sum(int((net(images[p]).argmax(1) == labels[p]).sum()) for p in parts)
        record: dict[str, Any] = {"right": right, "hits": {}, "masses": {}, "few": {}}
        model = assay.wrap(net)
        for name, method in methods(network).items():
            if only and name not in only:
                continue
            number = FEW.get((network, name), count)
            if number == 0:
                continue
            rows = torch.arange(0, len(images), max(1, len(images) // number))
            found = [
                map_of(name, method, model, layer, images[part], labels[part])
                for part in rows.split(BATCH)
            ]
            record["hits"][name], record["masses"][name] = judged(torch.cat(found), inside[rows])
            if len(rows) < len(images):
                record["few"][name] = rows.tolist()
            print(network, name, len(rows), flush=True)
        for name, maps in references(images).items():
            record["hits"][name], record["masses"][name] = judged(maps, inside)
        figures[network] = record
    return figures


def together(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Kept figures with those that were measured anew in their place."""
    for network in NETWORKS:
        if network in new and network in old:
            for part in ("hits", "masses", "few"):
                new[network][part] = {**old[network].get(part, {}), **new[network][part]}
    return {**old, **new}


def _interval(values: np.ndarray) -> str:
    if np.ptp(values) == 0:
        return f"{values[0]:+.3f}"
    low, high = interval(values)
    return f"{values.mean():+.3f} [{low:+.3f}, {high:+.3f}]"


def text(figures: dict[str, Any]) -> str:
    """The tables, a network each."""
    lines = [f"Mean share of the picture inside the box: {np.mean(figures['area']):.3f}."]
    for network in NETWORKS:
        record = figures[network]
        share = record["right"] / figures["n"]
        lines += [
            "",
            f"**{network}**, top-1 on these pictures {share:.2f}, n = {figures['n']}:",
            "",
        ]
        lines += ["| | hits | hits less the centre's | mass inside | mass less the centre's |"]
        lines += ["|---|---|---|---|---|"]
        order = sorted(record["masses"], key=lambda name: -np.mean(record["masses"][name]))
        for name in order:
            hits = np.asarray(record["hits"][name])
            mass = np.asarray(record["masses"][name])
            # Beside the centre on the same pictures.
            rows = record.get("few", {}).get(name, slice(None))
            centre = [np.asarray(record[part]["centre"])[rows] for part in ("hits", "masses")]
            if len(hits) < FEWEST:
                differences = [(hits - centre[0]).mean(), (mass - centre[1]).mean()]
                cells = [f"{hits.mean():.3f}", f"{differences[0]:+.3f}"]
                cells += [f"{mass.mean():.3f}", f"{differences[1]:+.3f}"]
            else:
                low, high = wilson(hits.sum(), len(hits))
                a, b = interval(mass)
                cells = [f"{hits.mean():.3f} [{low:.3f}, {high:.3f}]", _interval(hits - centre[0])]
                cells += [f"{mass.mean():.3f} [{a:.3f}, {b:.3f}]", _interval(mass - centre[1])]
            if name == "centre":
                cells[1] = cells[3] = ""
            called = name if len(hits) == figures["n"] else f"{name}, {len(hits)} pictures"
            lines.append(f"| {called} | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(figures: dict[str, Any]) -> None:
    """Mass inside with intervals, the share of the box and the centre as lines."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    _, axes = plt.subplots(1, len(NETWORKS), figsize=(10, 4.2), sharex=True)
    for axis, network in zip(axes, NETWORKS):
        masses = figures[network]["masses"]
        order = sorted(masses, key=lambda name: np.mean(masses[name]))
        for place, name in enumerate(order):
            is_told = len(masses[name]) >= FEWEST
            low, high = interval(masses[name]) if is_told else (np.mean(masses[name]),) * 2
            colour = "0.55" if name in REFERENCES else "#0072b2"
            axis.plot([low, high], [place, place], color=colour, lw=2)
            axis.plot(np.mean(masses[name]), place, "o", color=colour)
        # Where not all pictures were asked, of how many.
        few = {name: f"{name} ({len(masses[name])})" for name in figures[network].get("few", {})}
        axis.set_yticks(range(len(order)), [few.get(name, name) for name in order])
        axis.axvline(np.mean(figures["area"]), color="0.7", ls=":")
        axis.set_title(network)
        axis.set_xlabel("mass inside the box")
    plt.tight_layout()
    plt.savefig(PAGE.picture, dpi=120)


def main() -> None:
    """Measures, keeps, draws and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="some of the methods; all where none is said")
    parser.add_argument("--network", choices=list(NETWORKS), help="one of the networks")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--render", action="store_true", help="from the kept figures")
    options = parser.parse_args()
    conditions()
    if not options.render:
        networks = [options.network] if options.network else list(NETWORKS)
        measured = measure(options.count, networks, options.names)
        PAGE.keep(together(PAGE.kept(), measured) if options.names or options.network else measured)
    figures = PAGE.kept()
    draw(figures)
    PAGE.fill(text(figures))
    print(text(figures))


if __name__ == "__main__":
    main()
