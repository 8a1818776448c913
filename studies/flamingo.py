"""The flamingo photograph: saliency, integrated gradients and the expert of its class, by eye, by
average drop and by necessity ordering.

`python studies/flamingo.py` asks SqueezeNet 1.1 and MobileNet V2 about the flamingo and nine other
photographs; a pixel's credit is the mean over its channels, the target the score of the class that the
network names, before the softmax. It writes docs/studies/flamingo.json, .png and the tables of the .md
page; `--draw` asks for the maps of the picture alone.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from torch import Tensor

import assay
import zoo
from assay.numerics.statistics import interval, paired
from page import Page, conditions

PAGE = Page("flamingo")
STEPS = 16  # of integrated gradients, and of the line from a black image to the photograph
CURVE = 20  # steps of the necessity curve
# Each network with the side of its photographs, and the layer whose expert is asked for.
NETWORKS = {"MobileNet V2": (224, "op59"), "SqueezeNet 1.1": (227, "features.12")}
NAMES = (
    "flamingo",
    "American_Staffordshire_terrier",
    "black_stork",
    "pelican",
    "macaw",
    "peacock",
    "bittern",
    "goldfish",
    "boxer",
    "tench",
)
# Drawn with the network that names the second one wrongly.
SHOWN = ("flamingo", "American_Staffordshire_terrier", "pelican", "macaw")
METHODS = ("saliency", "integrated gradients", "influence-directed")
EXTRA = ("input x gradient", "integrated gradients, mean colour")


def asked(model: assay.Model, image: Tensor, target: int, absent: Any = 0.0) -> assay.Question:
    """The score of a class, by pixels; absent ones are black unless it says otherwise."""
    return assay.Question(
        model,
        image[None],
        target=target,
        features=assay.Pixels("mean"),
        removal=assay.Baseline(absent),
    )


def answers(model: assay.Model, image: Tensor, target: int, layer: str) -> dict[str, Tensor]:
    """The credit of pixels by the three explanations, and by two that show what they depend on."""
    question = asked(model, image, target)
    path = assay.IntegratedGradients(STEPS)
    expert = assay.expert(question, layer, assay.LineDistribution(steps=STEPS))
    colour = image.mean((1, 2))[:, None, None].expand_as(image)
    return {
        "saliency": assay.Gradient()(question).values,
        "integrated gradients": path(question).values,
        "influence-directed": expert.attribution.values,
        "input x gradient": assay.InputXGradient()(question).values,
        "integrated gradients, mean colour": path(asked(model, image, target, colour)).values,
    }


def measured(model: assay.Model, image: Tensor, target: int, layer: str) -> dict[str, Any]:
    """Both metrics of every explanation of one photograph."""
    question = asked(model, image, target)
    credits = answers(model, image, target, layer)
    partition = question.partition
    judged = [
        # Both metrics see the order of pixels and the sign of their credit alone.
        assay.Attribution(
            values, question.base, question.prediction, partition.names, partition.shape, "slope"
        )
        for values in credits.values()
    ]
    drops = assay.AverageDrop("positive", outputs="scores").each(question, judged)
    orders = assay.NecessityOrdering(steps=CURVE).each(question, judged)
    rise = float(question.prediction - question.base)
    record: dict[str, Any] = {"score": float(question.prediction), "blank": float(question.base)}
    for name, drop, order in zip(credits, drops, orders):
        curve = order.details["relative curve"][0]
        record[name] = {
            "drop": float(drop.values),
            "kept": float(drop.details["kept"]),
            "order": float(order.values),
            # Equation 8 of the exercise, whose mean is taken over the points of the curve.
            "mean rise": float(curve.mean()) * rise,
            "curve": np.round(curve.numpy(), 4).tolist(),
        }
    return record


def networks() -> Any:
    """Each network's name, itself, its layer, and photographs with their classes by name."""
    for network, (side, layer) in NETWORKS.items():
        net = zoo.squeezenet() if network.startswith("Squeeze") else zoo.mobilenet_v2()
        images, labels, names = zoo.photographs(size=side)
        found = {
            name: (images[names.index(name)], int(labels[names.index(name)])) for name in NAMES
        }
        yield network, net, layer, found


def named(net: torch.nn.Module, image: Tensor) -> int:
    """The class that a network names."""
    with torch.no_grad():
        return int(net(image[None])[0].argmax())


def measure() -> list[dict[str, Any]]:
    """A record for each network and photograph."""
    records: list[dict[str, Any]] = []
    for network, net, layer, photographs in networks():
        model = assay.wrap(net)
        for name, (image, label) in photographs.items():
            target = named(net, image)
            record = measured(model, image, target, layer)
            right = target == label
            records.append({"network": network, "photograph": name, "right": right, **record})
            print(network, name, right, {k: record[k]["drop"] for k in METHODS}, flush=True)
    return records


def maps() -> dict[str, Any]:
    """The photographs that are drawn, and the credit of their pixels."""
    network, net, layer, photographs = next(networks())
    model = assay.wrap(net)
    drawn = {}
    for name in SHOWN:
        image, _ = photographs[name]
        credits = answers(model, image, named(net, image), layer)
        shape = image.shape[1:]
        drawn[name] = image, {name: values.view(shape) for name, values in credits.items()}
        print(network, name, flush=True)
    return drawn


def told(values: list[float]) -> str:
    """A mean with its interval."""
    there = [value for value in values if not np.isnan(value)]
    low, high = interval(np.array(there))
    count = "" if len(there) == len(values) else f" ({len(there)} of {len(values)})"
    return f"{np.mean(there):.3g} [{low:.3g}, {high:.3g}]{count}"


def text(records: list[dict[str, Any]]) -> str:
    """The flamingo by itself, and all photographs with intervals."""
    lines = [
        "### The flamingo\n",
        "| network | f(x) | f(0) | explanation | average drop % | pixels kept | necessity ordering "
        "| the same by equation 8 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for record in records:
        if record["photograph"] != "flamingo":
            continue
        for name in (*METHODS, *EXTRA):
            found = record[name]
            lines.append(
                f"| {record['network']} | {record['score']:.2f} | {record['blank']:.2f} | {name} "
                f"| {found['drop']:.1f} | {100 * found['kept']:.0f} % | {found['order']:.3f} "
                f"| {found['mean rise']:.2f} |"
            )
    for network in NETWORKS:
        own = [record for record in records if record["network"] == network]
        right = sum(record["right"] for record in own)
        lines += [
            f"\n### {network}, {len(own)} photographs, {right} of them named rightly\n",
            "| explanation | average drop % | pixels kept | necessity ordering "
            "| p beside saliency, paired: drop, ordering |",
            "|---|---|---|---|---|",
        ]
        for name in (*METHODS, *EXTRA):
            by = {
                part: np.array([record[name][part] for record in own])
                for part in ("drop", "kept", "order")
            }
            tests = "-"
            if name != "saliency":
                tests = ", ".join(
                    f"{paired(by[part], np.array([r['saliency'][part] for r in own])).p:.2g}"
                    for part in ("drop", "order")
                )
            lines.append(
                f"| {name} | {told(by['drop'].tolist())} | {100 * by['kept'].mean():.0f} % "
                f"| {told(by['order'].tolist())} | {tests} |"
            )
    return "\n".join(lines)


def draw(records: list[dict[str, Any]], drawn: dict[str, Any]) -> None:
    """Photographs, the three maps of each, and its necessity curves."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(len(drawn), 5, figsize=(12, 2.5 * len(drawn)), layout="constrained")
    colours = dict(zip(METHODS, ("#0072b2", "#d55e00", "#009e73")))
    for line, (photograph, (image, maps)) in zip(axes, drawn.items()):
        record = next(
            one
            for one in records
            if one["photograph"] == photograph and one["network"] == "MobileNet V2"
        )
        line[0].imshow(image.permute(1, 2, 0))
        named = photograph.replace("_", " ")
        line[0].set_title(named + ("" if record["right"] else "\n(named wrongly)"), fontsize=9)
        for axis, name in zip(line[1:4], METHODS):
            # Signs change from pixel to pixel: means of 4 x 4 of them are what can be seen.
            values = torch.nn.functional.avg_pool2d(maps[name][None], 4)[0]
            reach = float(values.abs().flatten().quantile(0.99))
            axis.imshow(values, cmap="PiYG", vmin=-reach, vmax=reach)
            found = record[name]
            axis.set_title(
                f"{name}\ndrop {found['drop']:.0f} %, N-Ord {found['order']:.2f}", fontsize=9
            )
            curve = found["curve"]
            share = np.linspace(0, 1, len(curve))
            line[4].plot(share, curve, label=name, color=colours[name])
        for axis in line[:4]:
            axis.set_axis_off()
        line[4].set_ylim(bottom=0)
        line[4].set_xlabel("share of positive pixels removed", fontsize=8)
        line[4].set_ylabel("score above blank", fontsize=8)
        line[4].tick_params(labelsize=8)
    axes[0][4].legend(fontsize=7, frameon=False)
    figure.savefig(PAGE.picture, dpi=100)
    plt.close(figure)


def main() -> None:
    """Measures, keeps, draws and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--render", action="store_true", help="the tables from the kept figures")
    parser.add_argument("--draw", action="store_true", help="the picture alone")
    options = parser.parse_args()
    conditions()
    if not options.render and not options.draw:
        PAGE.keep({"records": measure()})
    records = PAGE.kept()["records"]
    PAGE.fill(text(records))
    if not options.render:
        draw(records, maps())


if __name__ == "__main__":
    main()
