"""The DeepLIFT paper's experiments, with its authors' own networks.

`python studies/deeplift_mnist.py` erases up to 157 pixels of digits so as to turn 8 into 3 or 6 and 9
into 1, by the scores of each method (Shrikumar et al. 2017, section 4.1), sets LIME and SHAP beside
two DeepLIFTs (Lundberg and Lee 2017, figure 5), and asks how much credit falls on the true motifs of
simulated sequences (section 4.2). Writes docs/studies/deeplift_mnist.json, .md and .png. It needs the
data and the extra `studies` (h5py for the weights, matplotlib for the picture).
"""

from __future__ import annotations

import argparse
import csv
import gzip
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import assay
import zoo
from assay.methods.gradients.gradient import Gradient
from assay.methods.gradients.paths import IntegratedGradients
from assay.methods.lime.lime import Lime
from assay.methods.lime.masks import CoinMasks
from assay.methods.rules import DeepLift, GuidedBackprop
from assay.methods.shapley.kernel_shap import KernelShap
from page import Page, conditions

PAGE = Page("deeplift_mnist")
PIXELS = 157  # a fifth of 784
PAIRS = ((8, 3), (8, 6), (9, 1))
PUBLISHED = {
    "|gradient|": (4800, 4700, 5750),
    "guided": (6500, 6900, 7900),
    "guided x input": (6500, 6900, 7900),
    "gradient x input": (7900, 7150, 8600),
    "IG, 5 steps": (7900, 7150, 8600),
    "IG, 10 steps": (8000, 7150, 8600),
    "RevealCancel": (10050, 8600, 10050),
}
"""Medians read off the figures of the authors' notebook, +-150."""

FIGURE_IMAGES = 20
FIGURE_BUDGET = 4000
PATCH = 2
MOTIFS = {"GATA": 1, "TAL1": 2}
"""The task that asks for a motif, among (both, GATA, TAL1)."""

FREQUENCIES = (0.3, 0.2, 0.2, 0.3)  # of A, C, G, T where nothing is written

Scores = Callable[[Tensor, int], Tensor]
"""Images and a class to the scores of pixels, (n, 784)."""


class _KerasFlat(nn.Module):
    """Channels last, as Keras counts them."""

    def forward(self, x: Tensor) -> Tensor:
        return x.movedim(1, -1).flatten(1)


def _arrays(name: str) -> dict[str, Tensor]:
    try:
        import h5py
    except ImportError:
        raise SystemExit(
            "Expected h5py to read the weights, got none. Install it: pip install h5py."
        ) from None
    arrays: dict[str, Tensor] = {}
    with h5py.File(folder() / name) as file:

        def keep(path: str, found: Any) -> None:
            if hasattr(found, "shape"):
                layer, kind = path.split("/")[-2:]
                arrays[f"{layer}.{kind.removesuffix(':0')}"] = torch.from_numpy(found[()])

        file.visititems(keep)
    return arrays


def folder() -> Path:
    """Where the authors' networks lie."""
    return Path(zoo.data_root()) / "deeplift_models"


def digits_network() -> nn.Sequential:
    """Two convolutions of stride 2 and two dense layers on pixels in 0..255; logits."""
    net = nn.Sequential(
        nn.Conv2d(1, 32, 4, 2), nn.ReLU(), nn.Conv2d(32, 64, 4, 2), nn.ReLU(), _KerasFlat(),
        nn.Linear(1600, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip
    names = {"conv2d_1": 0, "conv2d_2": 2, "dense_1": 5, "dense_2": 7}
    return _filled(net, _arrays("keras2_mnist_cnn_allconv.h5"), names)


def sequences_network() -> nn.Sequential:
    """Two convolutions, an average of 180 places and two dense layers; logits of three tasks."""
    net = nn.Sequential(
        nn.Conv1d(4, 50, 11), nn.ReLU(), nn.Conv1d(50, 50, 11), nn.ReLU(), nn.AvgPool1d(180),
        _KerasFlat(), nn.Linear(50, 50), nn.ReLU(), nn.Linear(50, 3),
    )  # fmt: skip
    names = {"conv1d_1": 0, "conv1d_2": 2, "dense_1": 6, "dense_2": 8}
    return _filled(net, _arrays("keras2_conv1d_record_5_model_PQzyq_modelWeights.h5"), names)


def _filled(net: nn.Sequential, arrays: dict[str, Tensor], names: dict[str, int]) -> nn.Sequential:
    for name, place in names.items():
        kernel = arrays[f"{name}.kernel"]
        # Keras keeps the outputs last and the inputs before them.
        order = (1, 0) if kernel.dim() == 2 else (-1, -2, *range(kernel.dim() - 2))
        layer = net[place]
        layer.load_state_dict({"weight": kernel.permute(order), "bias": arrays[f"{name}.bias"]})
    return net.eval()


# --- digits


def _asked(net: nn.Module, method: Any) -> Scores:
    model = assay.wrap(net)

    def scores(x: Tensor, output: int) -> Tensor:
        removal = assay.Baseline(0.0)
        return method(assay.Question(model, x, target=output, removal=removal)).values

    return scores


def scores_by_method(net: nn.Module) -> dict[str, Scores]:
    """The paper's methods and ours of the same names."""
    gradient, guided = _asked(net, Gradient()), _asked(net, GuidedBackprop())

    def inked(x: Tensor) -> Tensor:
        return (x > 0).flatten(1)

    return {
        "|gradient|": lambda x, output: gradient(x, output).abs() * inked(x),
        "guided": lambda x, output: guided(x, output) * inked(x),
        "guided x input": lambda x, output: guided(x, output) * x.flatten(1),
        "gradient x input": lambda x, output: gradient(x, output) * x.flatten(1),
        "IG, 5 steps": _asked(net, IntegratedGradients(steps=5, rule="middle")),
        "IG, 10 steps": _asked(net, IntegratedGradients(steps=10, rule="middle")),
        "Rescale": _asked(net, DeepLift()),
        "RevealCancel": _asked(net, DeepLift(rule="reveal_cancel")),
    }


def erased(x: Tensor, difference: Tensor) -> Tensor:
    """x without the pixels that speak most for the one class and against the other."""
    ordered = difference.sort(1, descending=True).values
    threshold = ordered[:, PIXELS].clamp_min(0)
    gone = difference > threshold[:, None]
    return torch.where(gone.view_as(x), 0.0, x)


def log_odds(net: nn.Module, x: Tensor, masked: Tensor, pair: tuple[int, int]) -> Tensor:
    """By how much the one class lost against the other."""
    one, other = pair
    with torch.no_grad():
        before, after = net(x), net(masked)
    return (before[:, one] - before[:, other]) - (after[:, one] - after[:, other])


def digits(count: int) -> dict[str, Any]:
    """Medians and quartiles of the change, by pair and method."""
    net = digits_network()
    images, labels = zoo.mnist("test")
    images = images * 255
    with torch.no_grad():
        right = torch.cat([net(part).argmax(1) for part in images.split(1000)]) == labels
    found: dict[str, Any] = {"accuracy": float(right.double().mean()), "pairs": {}}
    for pair in PAIRS:
        x = images[labels == pair[0]][:count]
        changes = {}
        for name, scores in scores_by_method(net).items():
            difference = scores(x, pair[0]) - scores(x, pair[1])
            change = log_odds(net, x, erased(x, difference), pair)
            changes[name] = (
                change.double().quantile(torch.tensor([0.25, 0.5, 0.75]).double()).tolist()
            )
            print(pair, name, changes[name], f"{time.process_time():.0f} s", flush=True)
        found["pairs"][f"{pair[0]} to {pair[1]}"] = {"images": len(x), "changes": changes}
    return found


def figure_five() -> dict[str, list[float]]:
    """8 to 3 by original and new DeepLIFT, LIME and SHAP: the change of each of 20 images."""
    net = digits_network()
    images, labels = zoo.mnist("test")
    x = images[labels == 8][:FIGURE_IMAGES] * 255
    model, features = assay.wrap(net), assay.Patches(PATCH)

    def by_patches(method: Any) -> Scores:
        def scores(x: Tensor, output: int) -> Tensor:
            question = assay.Question(
                model, x, target=output, features=features, removal=assay.Baseline(0.0)
            )
            side = x.shape[-1] // PATCH
            values = method(question).values.view(len(x), 1, side, side)
            return values.repeat_interleave(PATCH, 2).repeat_interleave(PATCH, 3).flatten(1)

        return scores

    methods = {
        "original DeepLIFT": _asked(net, DeepLift()),
        "new DeepLIFT": _asked(net, DeepLift(rule="reveal_cancel")),
        "SHAP": by_patches(KernelShap(budget=FIGURE_BUDGET)),
        "LIME": by_patches(Lime(CoinMasks(samples=FIGURE_BUDGET))),
    }
    found = {}
    for name, scores in methods.items():
        difference = scores(x, 8) - scores(x, 3)
        found[name] = log_odds(net, x, erased(x, difference), (8, 3)).tolist()
        print(name, np.median(found[name]), flush=True)
    return found


# --- sequences


def sequences() -> tuple[Tensor, Tensor, list[dict[str, Tensor]]]:
    """Test sequences (n, 4, 200), their tasks (n, 3), and the places of each motif (200,)."""
    with gzip.open(folder() / "test.txt.gz", "rt") as file:
        names = set(file.read().split())
    letters, tasks, places = [], [], []
    with gzip.open(folder() / "sequences.simdata.gz", "rt") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            if row["seqName"] not in names:
                continue
            letters.append(["ACGT".index(letter) for letter in row["sequence"]])
            tasks.append([int(row[f"task{task}"]) for task in (1, 2, 3)])
            places.append(_places(row["embeddings"] or "", len(row["sequence"])))
    coded = nn.functional.one_hot(torch.tensor(letters), 4).transpose(1, 2).float()
    return coded, torch.tensor(tasks), places


def _places(embeddings: str, length: int) -> dict[str, Tensor]:
    held = {motif: torch.zeros(length, dtype=torch.bool) for motif in MOTIFS}
    for start, motif, letters in re.findall(r"pos-(\d+)_(GATA|TAL1)[^-]*-([ACGT]+)", embeddings):
        held[motif][int(start) : int(start) + len(letters)] = True
    return held


def motifs() -> dict[str, Any]:
    """The mean share of credit, by absolute value, that falls on the motif that a task asks for."""
    net = sequences_network()
    x, tasks, places = sequences()
    with torch.no_grad():
        said = net(x) > 0
    found: dict[str, Any] = {"accuracy": (said == tasks.bool()).double().mean(0).tolist()}
    baseline = torch.tensor(FREQUENCIES)[:, None].expand(4, x.shape[-1])
    rules = ("rescale", "reveal_cancel", "genomics")
    for motif, task in MOTIFS.items():
        rows = (tasks[:, task] == 1).nonzero().flatten()
        true = torch.stack([places[row][motif] for row in rows.tolist()])
        shares = {"of the letters": float(true.double().mean())}
        for rule in rules:
            question = assay.Question(net, x[rows], target=task, removal=assay.Baseline(baseline))
            answer = DeepLift(rule=rule)(question)
            credit = answer.values.view(len(rows), 4, -1).sum(1).abs()
            share = (credit * true).sum(1) / credit.sum(1)
            shares[rule] = float(share.mean())
        found[motif] = {"sequences": len(rows), **shares}
        print(motif, found[motif], flush=True)
    return found


# --- the page


def tables(found: dict[str, Any]) -> str:
    """Medians beside the published ones, figure 5, motifs."""
    digit = found["digits"]
    lines = [f"Accuracy of the network on 10,000 test digits: {digit['accuracy']:.2%}.", ""]
    heads = [f"{name} ({part['images']})" for name, part in digit["pairs"].items()]
    lines += [f"| median change of log-odds | {' | '.join(heads)} |", "|---|---|---|---|"]
    for name in next(iter(digit["pairs"].values()))["changes"]:
        cells = []
        for place, part in enumerate(digit["pairs"].values()):
            median = part["changes"][name][1]
            beside = PUBLISHED.get(name)
            cells.append(f"{median:.0f}" + (f" ({beside[place]})" if beside else ""))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", "In brackets: the authors' notebook.", ""]
    lines += [
        f"8 to 3 over {FIGURE_IMAGES} images:",
        "",
        "| | median | least | most |",
        "|---|---|---|---|",
    ]
    for name, changes in found["figure 5"].items():
        low, high = min(changes), max(changes)
        lines.append(f"| {name} | {np.median(changes):.0f} | {low:.0f} | {high:.0f} |")
    gene = found["motifs"]
    lines += ["", "Share of the credit on the true motif, beside its share of the letters:", ""]
    lines += [
        "| motif | sequences | letters | Rescale | RevealCancel | genomics |",
        "|---" * 6 + "|",
    ]
    for motif in MOTIFS:
        row = gene[motif]
        keys = ("of the letters", "rescale", "reveal_cancel", "genomics")
        cells = " | ".join(f"{row[key]:.3f}" for key in keys)
        lines.append(f"| {motif} | {row['sequences']} | {cells} |")
    return "\n".join(lines)


def draw(found: dict[str, Any]) -> None:
    """Quartiles of the change, pair by pair, and figure 5."""
    import matplotlib.pyplot as plt

    parts = found["digits"]["pairs"]
    figure, axes = plt.subplots(1, len(parts) + 1, figsize=(15, 4), layout="constrained")
    for axis, (pair, part) in zip(axes, parts.items()):
        names = list(part["changes"])
        low, middle, high = np.array(list(part["changes"].values())).T
        places = np.arange(len(names))
        axis.errorbar(middle, places, xerr=[middle - low, high - middle], fmt="o")
        marks = [PUBLISHED.get(name, (np.nan,) * 3)[list(parts).index(pair)] for name in names]
        axis.plot(marks, places, "x", color="tab:red")
        axis.set_yticks(places, names)
        axis.set_title(pair)
        axis.set_xlabel("change of log-odds")
    axes[-1].boxplot(list(found["figure 5"].values()), tick_labels=list(found["figure 5"]))
    axes[-1].tick_params(axis="x", rotation=30)
    axes[-1].set_title("8 to 3, 20 images")
    figure.savefig(PAGE.picture, dpi=100)


def main() -> None:
    """Runs, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1200, help="images of a class, all of them")
    parser.add_argument("--quick", action="store_true", help="twenty images; keeps nothing")
    options = parser.parse_args()
    conditions()
    count = 20 if options.quick else options.count
    found = {"motifs": motifs(), "figure 5": figure_five(), "digits": digits(count)}
    print(tables(found))
    if options.quick:
        return
    PAGE.keep(found)
    PAGE.fill(tables(found))
    draw(found)


if __name__ == "__main__":
    main()
