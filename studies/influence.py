"""Influence-directed explanations on photographs: which unit is the expert of a class, and under which
distribution of interest?

`python studies/influence.py` finds the experts of the classes weasel, polecat and black-footed ferret,
and of contrasts between them, at two layers of SqueezeNet 1.1 and of MobileNet V2: at a point, on the
line from a black image, and on the line from that image's activation at an earlier layer. It writes
docs/studies/influence.json, .png and the table of the .md page.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from torch import Tensor

import assay
import zoo
from page import Page, conditions

PAGE = Page("influence")
STEPS = 16
TOP = 10
# The layer whose units are compared, and an earlier one at which points lie.
LAYERS = (
    ("SqueezeNet 1.1", "features.9", "features.5"),
    ("SqueezeNet 1.1", "features.12", "features.9"),
    ("MobileNet V2", "op59", "op54"),
    ("MobileNet V2", "op61", "op59"),
)
DRAWN = ("SqueezeNet 1.1", "features.12")
# The photograph on which two classes are compared is that of the first.
QUANTITIES = (
    ("weasel",),
    ("polecat",),
    ("black-footed ferret",),
    ("weasel", "polecat"),
    ("black-footed ferret", "polecat"),
    ("black-footed ferret", "weasel"),
)


def distributions(earlier: str) -> dict[str, assay.methods.Distribution]:
    """By name."""
    return {
        "point": assay.PointDistribution(),
        "line": assay.LineDistribution(steps=STEPS),
        f"line at {earlier}": assay.LineDistribution(steps=STEPS, at=earlier),
    }


def mustelids(side: int) -> dict[str, tuple[Tensor, int]]:
    """The photograph (1, 3, side, side) and the class of each."""
    images, classes, names = zoo.photographs(size=side)
    number = {name.replace("_", " "): index for index, name in enumerate(names)}
    return {
        name: (images[number[name]][None], int(classes[number[name]]))
        for name in ("weasel", "polecat", "black-footed ferret")
    }


def outputs_without(question: assay.Question, layer: str, channels: int) -> Tensor:
    """The outputs for the photograph without each channel, which is set to 0: (channels, outputs)."""
    shape = question.after(layer).layout.shapes[0]
    labels = torch.arange(channels).repeat_interleave(shape[1] * shape[2]).view(shape)
    behind = question.after(layer, assay.Labels(labels), removal=assay.Baseline(0.0))
    # A channel that is 0 everywhere has nothing to lose, and is no player.
    there = behind.changeable_features()[0]
    whole = behind.outputs(torch.ones(1, channels, dtype=torch.bool))[0]
    without = whole.repeat(channels, 1)
    without[there] = behind.outputs(~torch.eye(channels, dtype=torch.bool)[there])[0]
    return torch.cat([whole, without])


def measure() -> tuple[dict[str, Any], dict[tuple[str, str], Any]]:
    """The experts, and the maps that are drawn."""
    records: list[dict[str, Any]] = []
    drawn: dict[tuple[str, str], Any] = {}
    for network, layer, earlier in LAYERS:
        squeeze = network.startswith("Squeeze")
        model = assay.wrap(zoo.squeezenet() if squeeze else zoo.mobilenet_v2())
        photographs = mustelids(227 if squeeze else 224)
        without: dict[str, Tensor] = {}
        for first, *second in QUANTITIES:
            image, number = photographs[first]
            target: Any = number
            quantity = first
            if second:
                quantity = f"{first} rather than {second[0]}"
                target = assay.Contrast(number, photographs[second[0]][1])
            question = assay.Question(model, image, target=target, removal=assay.Baseline(0.0))
            experts = {
                name: assay.expert(question, layer, distribution)
                for name, distribution in distributions(earlier).items()
            }
            every = {name: found.influences for name, found in experts.items()}
            if first not in without:
                without[first] = outputs_without(question, layer, len(every["point"]))
            scores = without[first][:, number]
            if second:
                scores = scores - without[first][:, photographs[second[0]][1]]
            losses = scores[0] - scores[1:]
            top = set(every["point"].topk(TOP).indices.tolist())
            for name, found in experts.items():
                alike = float(np.corrcoef(every["point"].numpy(), every[name].numpy())[0, 1])
                records.append(
                    {
                        "network": network,
                        "layer": layer,
                        "quantity": quantity,
                        "distribution": name,
                        "expert": found.number,
                        "influence": found.influence,
                        "second": float(every[name].topk(2).values[1]),
                        "activation": float(found.question.prediction),
                        "units": len(every[name]),
                        "loss_rank": int((losses > losses[found.number]).sum()) + 1,
                        "shared_top": len(top & set(every[name].topk(TOP).indices.tolist())),
                        "correlation": alike,
                    }
                )
                print(records[-1], flush=True)
                if (network, layer) == DRAWN and name in ("point", "line"):
                    drawn[quantity, name] = (
                        image[0], found.number, found.attribution.values.view(image.shape[2:])
                    )  # fmt: skip
    return {"records": records}, drawn


def text(figures: dict[str, Any]) -> str:
    """The table."""
    lines = [
        "| network | layer | quantity | points | expert | influence | the next | its activation | "
        f"rank by what its loss costs | top {TOP} in common with the point's | correlation with them |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in figures["records"]:
        cells = (
            one["network"], one["layer"], one["quantity"], one["distribution"], one["expert"],
            f"{one['influence']:.3g}", f"{one['second']:.3g}", f"{one['activation']:.3g}",
            f"{one['loss_rank']} of {one['units']}",
            *(("", "") if one["distribution"] == "point" else
              (one["shared_top"], f"{one['correlation']:.3f}")),
        )  # fmt: skip
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def draw(drawn: dict[tuple[str, str], Any]) -> None:
    """The photograph and the attribution of each expert: green for, red against."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    # A column for each quantity: its photograph, then the expert under each distribution.
    points = list(dict.fromkeys(name for _, name in drawn))
    quantities = list(dict.fromkeys(quantity for quantity, _ in drawn))
    shape = (1 + len(points), len(quantities))
    _, axes = plt.subplots(*shape, figsize=(2.1 * shape[1], 2.4 * shape[0]))
    for column, quantity in zip(axes.T, quantities):
        column[0].imshow(drawn[quantity, points[0]][0].permute(1, 2, 0))
        column[0].set_title(quantity.replace(" rather than ", "\nrather than "), fontsize=9)
        for axis, name in zip(column[1:], points):
            _, number, values = drawn[quantity, name]
            reach = float(values.abs().quantile(0.99))
            axis.imshow(values, cmap="PiYG", vmin=-reach, vmax=reach)
            axis.set_title(f"unit {number}, {name}", fontsize=9)
        for axis in column:
            axis.axis("off")
    plt.tight_layout()
    plt.savefig(PAGE.picture, dpi=110)


def main() -> None:
    """Measures, keeps, draws and writes; the picture needs a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--render", action="store_true", help="the table from the kept figures")
    options = parser.parse_args()
    conditions()
    if not options.render:
        figures, drawn = measure()
        PAGE.keep(figures)
        draw(drawn)
    PAGE.fill(text(PAGE.kept()))
    print(text(PAGE.kept()))


if __name__ == "__main__":
    main()
