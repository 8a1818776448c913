"""Table 1 of the infidelity paper (Yeh et al. 2019) on networks and pictures at hand.

`python studies/table1.py` trains the paper's MNIST network where no weights are handed over
(`--weights`), asks for the infidelity and the sensitivity of its explanations, local and global, and
does the same for a CIFAR-10 ResNet and an ImageNet network; figures go to docs/studies/table1.json
after every few pictures, and the tables of the .md page are written from them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import assay
import zoo
from assay.methods.base import Method
from assay.numerics.statistics import interval, paired
from page import Page, conditions

PAGE = Page("table1")
BATCH = 2  # pictures between two savings
STEPS = 10  # left ends, as in the reference code
NOISE = 0.2
GRADIENT = assay.Gradient()


class MnistNet(nn.Module):
    """The network of the paper's MNIST rows: two convolutions of 5 x 5 and 1,024 hidden units."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 32, 5, padding=2)
        self.second = nn.Conv2d(32, 64, 5, padding=2)
        self.hidden = nn.Linear(7 * 7 * 64, 1024)
        self.head = nn.Linear(1024, 10)
        self.pool = nn.MaxPool2d(2)
        self.relu1 = nn.ReLU()
        self.relu2 = nn.ReLU()
        self.relu3 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.relu1(self.first(x)))
        x = self.pool(self.relu2(self.second(x)))
        return self.head(self.relu3(self.hidden(x.flatten(1))))  # type: ignore[no-any-return]


def trained(epochs: int = 4, batch: int = 100) -> MnistNet:
    """The network after some epochs of Adam with a falling rate."""
    torch.manual_seed(0)
    x, y = zoo.mnist("train")
    net = MnistNet()
    optimiser = torch.optim.Adam(net.parameters(), 1e-3)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * len(x) // batch)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(batch):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
            optimiser.step()
            falling.step()
    return net.eval()


def accuracy(net: nn.Module) -> float:
    """On the test digits."""
    x, y = zoo.mnist("test")
    with torch.no_grad():
        predicted = torch.cat([net(part).argmax(1) for part in x.split(500)])
    return float((predicted == y).double().mean())


def smoothed(method: Method, copies: int) -> Method:
    """The mean over a box of noise, as in the reference code."""
    return assay.Smoothed(method, noise=NOISE, draws=copies, shape="uniform")


@dataclass(frozen=True)
class Setting:
    """One block of rows: a law, the features it removes, and the explanations of its unit."""

    law: assay.perturbations.Perturbation
    draws: int
    radius: float
    features: assay.features.Features
    rows: dict[str, Method]
    # What the sensitivity asks again at every neighbour: smoothing has fewer copies there, and what
    # costs thousands of evaluations is not asked.
    again: dict[str, Method]
    neighbours: int = 10  # draws of the sensitivity, where the paper takes 50


def contributions(copies: int) -> dict[str, Method]:
    """Explanations that multiply by the input."""
    path = assay.IntegratedGradients(STEPS, "left")
    return {
        "Grad": assay.InputXGradient(),
        "Grad-SG": smoothed(assay.InputXGradient(), copies),
        "IG": path,
        "IG-SG": smoothed(path, copies),
        "GBP": assay.TimesInput(assay.GuidedBackprop()),
    }


def slopes(copies: int) -> dict[str, Method]:
    """Explanations that do not."""
    path = assay.IntegratedGradients(STEPS, "left", multiply=False)
    return {
        "Grad": GRADIENT,
        "Grad-SG": smoothed(GRADIENT, copies),
        "IG": path,
        "IG-SG": smoothed(path, copies),
        "GBP": assay.GuidedBackprop(),
    }


def global_setting(
    features: assay.features.Features,
    sides: tuple[int, ...],
    budget: int,
    copies: tuple[int, int],
    neighbours: int = 10,
) -> Setting:
    """Contributions under squares of features; copies of smoothing, and those at neighbours."""
    law = assay.Squares(sides)
    fitted: dict[str, Method] = {
        "SHAP": assay.KernelShap(budget=budget),
        "Square": assay.Optimal(law),
    }
    rows = contributions(copies[0]) | fitted
    return Setting(law, 100, 0.1, features, rows, contributions(copies[1]), neighbours)


def local_setting() -> Setting:
    """Slopes under the noisy baseline."""
    law = assay.NoisyBaseline(NOISE, limits=(0.0, 1.0))
    fitted: dict[str, Method] = {"Noisy Baseline": assay.Optimal(law, draws=3000)}
    return Setting(law, 1000, 0.2, assay.Pixels(), slopes(100) | fitted, slopes(10))


def mnist(count: int) -> tuple[Tensor, Tensor]:
    """The first test digits, in their order."""
    return zoo.mnist("test", count)


def cifar(count: int) -> tuple[Tensor, Tensor]:
    """Test pictures of all classes."""
    return zoo.cifar10("test", count)


def imagenet(count: int) -> tuple[Tensor, Tensor]:
    """One photograph of each of the first classes."""
    images, labels, _ = zoo.photographs(count=count)
    return images, labels


Pictures = Callable[[int], tuple[Tensor, Tensor]]

BLOCKS: dict[str, tuple[str, Pictures, Setting]] = {
    "MNIST global": (
        "mnist",
        mnist,
        global_setting(assay.Pixels(), tuple(range(1, 11)), 2000, (50, 10)),
    ),
    "MNIST local": ("mnist", mnist, local_setting()),
    "CIFAR-10 global": (
        "cifar",
        cifar,
        global_setting(assay.Patches(2), (1, 2, 3, 4, 5), 1000, (10, 10), 5),
    ),
    "ImageNet global": (
        "imagenet",
        imagenet,
        global_setting(assay.Patches(32), (1, 2), 200, (10, 4), 4),
    ),
}
PICTURES = {"MNIST global": 50, "MNIST local": 50, "CIFAR-10 global": 20, "ImageNet global": 8}


def measured(
    net: nn.Module, block: str, start: int, stop: int
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """One record for each picture, infidelity and sensitivity of every row; and the maps of the
    first of them.
    """
    _, pictures, setting = BLOCKS[block]
    x, y = pictures(stop)
    question = assay.Question(net, x[start:], target=y[start:].tolist(), features=setting.features)
    answers = {name: method(question) for name, method in setting.rows.items()}
    metric = assay.Infidelity(setting.law, draws=setting.draws, scaled=True, negative=True)
    scores = metric.each(question, list(answers.values()))
    records: list[dict[str, Any]] = [{"picture": start + row} for row in range(question.n)]
    for name, score in zip(answers, scores):
        moves = sensitivity(question, setting, name, answers[name])
        for row, record in enumerate(records):
            moved = None if moves is None else float(moves[row])
            record[name] = [float(score.values[row]), moved]
    maps = {name: answer.maps[0].tolist() for name, answer in answers.items()}
    return records, {"input": x[start].tolist(), "maps": maps}


def sensitivity(
    question: assay.Question,
    setting: Setting,
    name: str,
    answer: assay.Attribution,
) -> Tensor | None:
    """How far one row moves near each picture (n,); None where it is not asked."""
    method = setting.again.get(name)
    if method is None:
        return None
    # With fewer copies it is another explanation, which has to be asked itself.
    if repr(method) != repr(setting.rows[name]):
        answer = method(question)
    metric = assay.MaxSensitivity(method, radius=setting.radius, draws=setting.neighbours, ascent=0)
    return metric(question, answer).values


def networks(only: str, weights: Path | None) -> nn.Module:
    """The network of a block of rows."""
    if only == "cifar":
        return zoo.cifar_resnet(20)
    if only == "imagenet":
        return zoo.squeezenet("1_1")
    if weights is None:
        return trained()
    net = MnistNet()
    net.load_state_dict(torch.load(weights, weights_only=True))
    return net.eval()


def with_interval(values: list[float]) -> str:
    """A mean with its interval over pictures, where there are enough."""
    mean = sum(values) / len(values)
    if len(values) < 8:
        return f"{mean:.3g}"
    low, high = interval(torch.tensor(values).numpy())
    return f"{mean:.3g} [{low:.3g}, {high:.3g}]"


PUBLISHED = {
    "MNIST local": {
        "Grad": (4.12, 0.86),
        "Grad-SG": (1.84, 0.23),
        "IG": (2.75, 0.77),
        "IG-SG": (1.52, 0.22),
        "Noisy Baseline": (0.51, 0.35),
    },
    "MNIST global": {
        "Grad": (2.38, 0.56),
        "Grad-SG": (1.89, 0.28),
        "IG": (1.88, 0.47),
        "IG-SG": (1.72, 0.26),
        "SHAP": (1.20, 0.35),
        "Square": (0.46, 0.24),
    },
    "CIFAR-10 global": {
        "Grad": (15.99, 1.15),
        "Grad-SG": (13.94, 1.15),
        "IG": (16.03, 1.08),
        "IG-SG": (15.90, 0.90),
        "GBP": (15.99, 1.18),
        "SHAP": (5.78, 0.93),
        "Square": (2.27, 0.99),
    },
    "ImageNet global": {
        "Grad": (0.25, 1.16),
        "Grad-SG": (0.24, 0.59),
        "IG": (0.24, 0.93),
        "IG-SG": (0.23, 0.48),
        "GBP": (0.15, 1.09),
        "Square": (0.04, 1.33),
    },
}
"""Infidelity and sensitivity. Their GBP rows are plain gradients on MNIST (see the page)."""


def ratio_with_interval(values: list[float], base: list[float]) -> str:
    """The ratio of two means over the same pictures, with its bootstrap interval."""
    own, other = np.array(values), np.array(base)
    ratio = own.mean() / other.mean()
    if len(values) < 8:
        return f"{ratio:.2f}"
    # Pictures are drawn with both of their numbers: the ratio is a paired one.
    drawn = np.random.default_rng(0).integers(0, len(own), (4000, len(own)))
    ratios = own[drawn].mean(1) / other[drawn].mean(1)
    low, high = np.quantile(ratios, (0.025, 0.975))
    return f"{ratio:.2f} [{low:.2f}, {high:.2f}]"


def table(block: str, records: list[dict[str, Any]]) -> str:
    """One block as a table."""
    lines = [
        f"### {block}, {len(records)} pictures\n",
        "| explanation | infidelity | of Grad's | published | p, paired | sensitivity | published |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    base = [record["Grad"][0] for record in records]
    published = PUBLISHED[block]
    for name in BLOCKS[block][2].rows:
        values = [record[name][0] for record in records]
        moves = [record[name][1] for record in records if record[name][1] is not None]
        known = published.get(name)
        there = f"{known[0] / published['Grad'][0]:.2f}" if known else "-"
        moved = with_interval(moves) if moves else "-"
        p = "-"
        if name != "Grad" and len(values) >= 8:
            p = f"{paired(torch.tensor(values).numpy(), torch.tensor(base).numpy()).p:.1g}"
        also = f"{known[1]:.2f}" if known and known[1] else "-"
        lines.append(
            f"| {name} | {with_interval(values)} | {ratio_with_interval(values, base)} | {there} "
            f"| {p} | {moved} | {also} |"
        )
    return "\n".join(lines)


COLUMNS = (
    "Grad",
    "Grad-SG",
    "IG",
    "IG-SG",
    "GBP",
    "SHAP",
    "Square",
    "Noisy Baseline",
)


def draw(examples: dict[str, Any], blocks: dict[str, Any]) -> None:
    """The qualitative figure: the maps of one picture of each block, with their two numbers."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shape = (len(examples), len(COLUMNS))
    figure, axes = plt.subplots(
        shape[0], shape[1], figsize=(12, 1.85 * shape[0]), layout="constrained", squeeze=False
    )
    for line, (block, example) in zip(axes, examples.items()):
        picture = torch.tensor(example["input"])
        record = blocks[block][0]
        names = ["Grad", "Grad-SG", "IG", "IG-SG", "GBP"]
        names += [name for name in ("SHAP", "Square", "Noisy Baseline") if name in example["maps"]]
        line[0].set_ylabel("")
        for axis in line:
            axis.set_axis_off()
        shown = (
            picture.permute(1, 2, 0).squeeze(2) if len(picture) == 1 else picture.permute(1, 2, 0)
        )
        line[0].imshow(shown, cmap="gray")
        line[0].set_title(block, fontsize=8)
        for axis, name in zip(line[1:], names):
            values = torch.tensor(example["maps"][name])
            # One picture's credit has its own scale: the 99th percentile is full colour.
            scale = float(values.abs().flatten().quantile(0.99)) or 1.0
            axis.imshow(values, cmap="RdBu_r", vmin=-scale, vmax=scale)
            infidelity, moved = record[name]
            told = f"{name}\n{infidelity:.2g}" + (f" | {moved:.2f}" if moved is not None else "")
            axis.set_title(told, fontsize=8)
    figure.savefig(PAGE.picture, dpi=110)
    plt.close(figure)


def render() -> None:
    """Writes the tables and the figure from the kept figures."""
    kept = PAGE.kept()
    parts = [f"MNIST network: {100 * kept['accuracy']:.2f} % of the test digits.\n"]
    for block in BLOCKS:
        records = kept["blocks"].get(block)
        if records:
            parts.append(table(block, records) + "\n")
    draw(
        {block: kept["examples"][block] for block in BLOCKS if block in kept["examples"]},
        kept["blocks"],
    )
    PAGE.fill("\n".join(parts))


def main() -> None:
    """Asks for the blocks that are named, or draws again from the kept figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--render", action="store_true")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--count", type=int)
    parser.add_argument("--only", nargs="*", default=list(BLOCKS))
    given = parser.parse_args()
    conditions()
    if given.render:
        render()
        return
    for block in given.only:
        net = networks(BLOCKS[block][0], given.weights)
        kept = PAGE.kept()
        if BLOCKS[block][0] == "mnist" and not kept["accuracy"]:
            PAGE.keep(kept | {"accuracy": accuracy(net)})
        done = len(kept["blocks"].get(block, []))
        for start in range(done, given.count or PICTURES[block], BATCH):
            records, example = measured(net, block, start, start + BATCH)
            # Read again: another block may be measured beside this one.
            kept = PAGE.kept()
            kept["blocks"].setdefault(block, []).extend(records)
            kept["examples"].setdefault(block, example)
            PAGE.keep(kept)
            print(block, start + BATCH, flush=True)


if __name__ == "__main__":
    main()
