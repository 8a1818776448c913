"""Where does a captioning network look for a word? Boxes of digits on a canvas, a network trained here.

    python studies/captions.py            writes docs/studies/captions.md, .json and .png
    python studies/captions.py --quick    ten canvases; keeps nothing
    python studies/captions.py --render   the page again from the kept figures

Selvaraju et al. (2017, section 8.1): a word, or a whole sentence, is a target as any other, and a map is
good if its mean inside the box of what is described is larger than outside. A picture's ratio is
infinite where nothing lies outside; the share of the map inside is not, and is averaged in its place.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor

import assay
import zoo
from assay.numerics import statistics
from page import Page, conditions

PAGE = Page("captions")
COUNT = 100  # test canvases whose caption the network writes rightly
LEVEL = 0.95
LAYER = "relu4"
WHAT = ("first digit", "second digit", "sentence")


def methods() -> dict[str, assay.Method]:
    """By the names of the table."""
    return {
        "Grad-CAM": assay.GradCam(LAYER),
        "HiResCAM": assay.HiResCam(LAYER),
        "guided backpropagation": assay.GuidedBackprop(),
        "guided Grad-CAM": assay.Guided(assay.GradCam(LAYER)),
        "gradient x input": assay.InputXGradient(),
        "integrated gradients": assay.IntegratedGradients(16),
    }


def word_targets(captions: Tensor) -> dict[str, assay.Sequence]:
    """One word of the caption in its place, and the whole sentence."""
    targets = {}
    for name, place in (("first digit", 0), ("second digit", 2)):
        alone = torch.full_like(captions, -1)
        alone[:, place] = captions[:, place]
        targets[name] = assay.Sequence(alone)
    targets["sentence"] = assay.Sequence(captions)
    return targets


def insides(boxes: Tensor) -> Tensor:
    """The pixels of both boxes (n, 2, side, side)."""
    rows = torch.arange(zoo.CANVAS_SIDE)
    top, left = boxes[..., 0, None], boxes[..., 1, None]
    down = (rows >= top) & (rows < top + zoo.DIGIT_SIDE)
    across = (rows >= left) & (rows < left + zoo.DIGIT_SIDE)
    return down[..., :, None] & across[..., None, :]


def share_inside(maps: Tensor, inside: Tensor, within: Tensor | None = None) -> Tensor:
    """How much of maps (n, side, side) without signs lies inside, of all of it or of what is `within`;
    NaN where there is nothing.
    """
    total = maps.sum((1, 2)) if within is None else (maps * within).sum((1, 2))
    return (maps * inside).sum((1, 2)) / total


def ratio(share: float, area: float) -> float:
    """mean inside / mean outside of a map with this share inside a box of this share of the picture."""
    return share / (1 - share) * (1 - area) / area if share < 1 - 1e-9 else float("inf")


def pictured(answer: assay.Attribution) -> Tensor:
    """Maps at the size of the canvas, what speaks against the words left out as Grad-CAM does."""
    maps = answer.maps.double()
    maps = maps.reshape(len(maps), 1, *maps.shape[-2:]).clamp_min(0)
    if maps.shape[-1] != zoo.CANVAS_SIDE:
        size = (zoo.CANVAS_SIDE,) * 2
        maps = torch.nn.functional.interpolate(maps, size, mode="bilinear", align_corners=False)
    return maps[:, 0]


def chosen(net: torch.nn.Module, count: int) -> tuple[Any, dict[str, float]]:
    """Canvases whose caption is written rightly, word after word, and how often that is so."""
    data = zoo.canvases("test", 10 * count)
    written = data.shifted[:, :1]
    with torch.inference_mode():
        for _ in range(data.captions.shape[1]):
            last = net(data.images, written)[:, -1].argmax(1)
            written = torch.cat([written, last[:, None]], dim=1)
    right = written[:, 1:] == data.captions
    rows = right.all(1).nonzero()[:count, 0]
    quality = {"canvases": len(data), "captions": float(right.all(1).double().mean())}
    digits = right[:, [0, 2]].double().mean()
    return data.take(rows), {**quality, "digits": float(digits)}


def question(net: torch.nn.Module, data: Any, target: Any) -> assay.Question:
    """The picture is explained; the words so far go along."""
    return assay.Question(
        net,
        data.images,
        target,
        features=assay.Pixels(),
        removal=assay.Baseline(0.0),
        context={"shifted": assay.Aligned(data.shifted)},
    )


def measure(count: int) -> dict[str, Any]:
    """Ratios by method and word, and maps of the first canvases."""
    net = zoo.captioner()
    data, quality = chosen(net, count)
    boxes = insides(data.boxes)
    both = boxes.any(1)
    inside = {"first digit": boxes[:, 0], "second digit": boxes[:, 1], "sentence": both}
    shares: dict[str, dict[str, list[float]]] = {}
    own: dict[str, list[float]] = {}
    maps: dict[str, Any] = {}
    seconds = {}
    for name, method in methods().items():
        start = time.process_time()
        shares[name] = {}
        own[name] = []
        for what, target in word_targets(data.captions).items():
            drawn = pictured(method(question(net, data, target)))
            shares[name][what] = share_inside(drawn, inside[what]).tolist()
            if what != "sentence":
                own[name] += share_inside(drawn, inside[what], both).tolist()
            if name in ("Grad-CAM", "integrated gradients"):
                # A picture shows no more than every second pixel.
                kept = drawn[:3, ::2, ::2]
                bright = kept.amax((1, 2), True).clamp_min(1e-12)
                maps.setdefault(name, {})[what] = (kept / bright).tolist()
        seconds[name] = time.process_time() - start
        means = {what: np.nanmean(values) for what, values in shares[name].items()}
        print(name, means, np.nanmean(own[name]), flush=True)
    words = [[zoo.CAPTION_WORDS[word] for word in row] for row in data.captions[:3].tolist()]
    shown = {"images": data.images[:3, 0].tolist(), "captions": words, "maps": rounded(maps)}
    found = {"asked": len(data), **quality, "shares": shares, "own": own}
    return {**found, "seconds": seconds, "shown": rounded(shown)}


def rounded(value: Any) -> Any:
    """Numbers of pictures with as many digits as are seen."""
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    if isinstance(value, list):
        return [rounded(part) for part in value]
    return round(value, 2) if isinstance(value, float) else value


def cell(values: list[float], area: float | None = None) -> str:
    """A mean share with its interval, and the ratio that it stands for."""
    low, high = statistics.interval(values, LEVEL)
    missing = int(np.isnan(values).sum())
    left_out = f", {missing} left out" if missing else ""
    mean = float(np.nanmean(values))
    beside = "" if area is None else f" = {ratio(mean, area):.1f}".replace("inf", "all")
    return f"{mean:.2f}{beside} ({low:.2f} to {high:.2f}{left_out})"


def tables(found: dict[str, Any]) -> str:
    """Shares and ratios of every method, and which methods differ."""
    area = (zoo.DIGIT_SIDE / zoo.CANVAS_SIDE) ** 2
    areas = {"first digit": area, "second digit": area, "sentence": 2 * area}
    lines = [
        f"{found['captions']:.1%} of {found['canvases']:,} captions are written rightly word after word "
        f"({found['digits']:.1%} of the digits); {found['asked']} of them are asked about.",
        "",
        "Share of the map inside the box of what is named = ratio of the means inside and outside "
        "(95 % interval of the share). A box has "
        f"{area:.2f} of the canvas, both {2 * area:.2f}.",
        "",
        "| method | " + " | ".join(WHAT) + " | of both boxes, in its own | seconds |",
        "|---" * 6 + "|",
    ]
    shares = found["shares"]
    for name in sorted(shares, key=lambda name: -np.nanmean(found["own"][name])):
        cells = [cell(shares[name][what], areas[what]) for what in WHAT]
        cells += [cell(found["own"][name]), f"{found['seconds'][name]:.1f}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    digits = {name: _by_canvas(values) for name, values in found["own"].items()}
    others = [name for name in digits if name != "Grad-CAM"]
    pairs = [statistics.paired(digits["Grad-CAM"], digits[name]) for name in others]
    adjusted = statistics.holm([pair.p for pair in pairs])
    lines += [
        "",
        "Grad-CAM beside the others by the share in its own box, paired over canvases (Holm):",
        "",
    ]
    lines += ["| against | difference | 95 % interval | p |", "|---|---|---|---|"]
    for name, pair, p in zip(others, pairs, adjusted):
        told = f"{pair.low:+.3f} to {pair.high:+.3f}"
        lines.append(f"| {name} | {pair.difference:+.3f} | {told} | {p:.4f} |")
    return "\n".join(lines)


def _by_canvas(values: list[float]) -> np.ndarray:
    """Each canvas's mean over both digits; NaN where one has no map."""
    return np.array(values, dtype=float).reshape(2, -1).mean(axis=0)


def draw(found: dict[str, Any]) -> None:
    """Canvases, and maps of words and sentences over them."""
    import matplotlib.pyplot as plt

    shown = found["shown"]
    whole = (0, zoo.CANVAS_SIDE, zoo.CANVAS_SIDE, 0)
    columns = [(name, what) for name in shown["maps"] for what in WHAT]
    figure, axes = plt.subplots(3, len(columns) + 1, figsize=(13, 6), layout="constrained")
    for row, (image, caption) in enumerate(zip(shown["images"], shown["captions"])):
        axes[row, 0].imshow(image, cmap="gray", extent=whole)
        axes[row, 0].set_title(" ".join(caption[:-1]), fontsize=9)
        for axis, (name, what) in zip(axes[row, 1:], columns):
            axis.imshow(image, cmap="gray", extent=whole)
            heat = shown["maps"][name][what][row]
            axis.imshow(heat, cmap="inferno", alpha=0.7, vmin=0, vmax=1, extent=whole)
            word = {"first digit": caption[0], "second digit": caption[2]}.get(what, "sentence")
            axis.set_title(f"{word}\n{name}" if row == 0 else word, fontsize=9)
    for axis in axes.flat:
        axis.axis("off")
    figure.savefig(PAGE.picture, dpi=80)


def main() -> None:
    """Runs, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="ten canvases; keeps nothing")
    parser.add_argument("--render", action="store_true", help="the page from the kept figures")
    options = parser.parse_args()
    conditions()
    found = PAGE.kept() if options.render else measure(10 if options.quick else COUNT)
    if not options.quick and not options.render:
        PAGE.keep(found)
    print(tables(found))
    if options.quick:
        return
    PAGE.fill(tables(found))
    draw(found)


if __name__ == "__main__":
    main()
