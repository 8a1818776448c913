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

import torch
from torch import Tensor, nn

import assay
import zoo
from assay.answers.score import Score
from assay.methods.base import Method
from assay.numerics.statistics import interval, paired
from page import Page, conditions

PAGE = Page("table1")
BATCH = 4  # pictures between two savings
STEPS = 10  # left ends, as in the reference code
COPIES = 10  # of smoothing, where the paper takes 50 (global) and 500 (local)
DRAWS = 10  # of the sensitivity, where the paper takes 50
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


def smoothed(method: Method) -> Method:
    """The mean over a box of noise, as in the reference code."""
    return assay.Smoothed(method, noise=NOISE, draws=COPIES, shape="uniform")


@dataclass(frozen=True)
class Setting:
    """One block of rows: a law, the features it removes, and the explanations of its unit."""

    law: assay.perturbations.Perturbation
    draws: int
    radius: float
    features: assay.features.Features
    rows: dict[str, Method]
    # What costs thousands of evaluations is not asked again at neighbours.
    dear: tuple[str, ...]


def global_setting(size: int, sides: tuple[int, ...], budget: int) -> Setting:
    """Contributions of patches under squares of them."""
    law = assay.Squares(sides)
    path = assay.IntegratedGradients(STEPS, "left")
    rows = {
        "Grad": assay.InputXGradient(),
        "Grad-SG": smoothed(assay.InputXGradient()),
        "IG": path,
        "IG-SG": smoothed(path),
        "GBP": assay.TimesInput(assay.GuidedBackprop()),
        "SHAP": assay.KernelShap(budget=budget),
        "Square": assay.Optimal(law),
    }
    return Setting(law, 100, 0.1, assay.Patches(size), rows, ("SHAP", "Square"))


def local_setting() -> Setting:
    """Slopes under the noisy baseline."""
    law = assay.NoisyBaseline(NOISE, limits=(0.0, 1.0))
    path = assay.IntegratedGradients(STEPS, "left", multiply=False)
    rows = {
        "Grad": GRADIENT,
        "Grad-SG": smoothed(GRADIENT),
        "IG": path,
        "IG-SG": smoothed(path),
        "GBP": assay.GuidedBackprop(),
        "Noisy Baseline": assay.Optimal(law, draws=1600),
    }
    return Setting(law, 400, 0.2, assay.Elements(), rows, ("Noisy Baseline",))


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
    "MNIST global": ("mnist", mnist, global_setting(2, (1, 2, 3, 4, 5), 800)),
    "MNIST local": ("mnist", mnist, local_setting()),
    "CIFAR-10 global": ("cifar", cifar, global_setting(4, (1, 2, 3), 300)),
    "ImageNet global": ("imagenet", imagenet, global_setting(32, (1, 2), 200)),
}


def measured(net: nn.Module, block: str, start: int, stop: int) -> list[dict[str, Any]]:
    """One record for each picture: infidelity and sensitivity of every row."""
    _, pictures, setting = BLOCKS[block]
    x, y = pictures(stop)
    question = assay.Question(net, x[start:], target=y[start:].tolist(), features=setting.features)
    answers = [method(question) for method in setting.rows.values()]
    metric = assay.Infidelity(setting.law, draws=setting.draws, scaled=True, negative=True)
    scores = metric.each(question, answers)
    records: list[dict[str, Any]] = [{"picture": start + row} for row in range(question.n)]
    for (name, method), answer, score in zip(setting.rows.items(), answers, scores):
        sensitivity: Score | None = None
        if name not in setting.dear:
            again = assay.MaxSensitivity(method, radius=setting.radius, draws=DRAWS, ascent=0)
            sensitivity = again(question, answer)
        for row, record in enumerate(records):
            moved = None if sensitivity is None else float(sensitivity.values[row])
            record[name] = [float(score.values[row]), moved]
    return records


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
        "SHAP": (5.78, 0.93),
        "Square": (2.27, 0.99),
    },
    "ImageNet global": {
        "Grad": (0.25, 1.16),
        "Grad-SG": (0.24, 0.59),
        "IG": (0.24, 0.93),
        "IG-SG": (0.23, 0.48),
        "Square": (0.04, 1.33),
    },
}
"""Infidelity and sensitivity. Their GBP rows are plain gradients on MNIST (see the page)."""


def table(block: str, records: list[dict[str, Any]]) -> str:
    """One block as a table."""
    lines = [
        f"### {block}, {len(records)} pictures\n",
        "| explanation | infidelity | of Grad's | published | p, paired | sensitivity | published |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    base = [record["Grad"][0] for record in records]
    for name in BLOCKS[block][2].rows:
        values = [record[name][0] for record in records]
        moves = [record[name][1] for record in records if record[name][1] is not None]
        ratio = sum(values) / sum(base)
        published = PUBLISHED[block]
        known = published.get(name)
        there = f"{known[0] / published['Grad'][0]:.2f}" if known else "-"
        moved = with_interval(moves) if moves else "-"
        p = "-"
        if name != "Grad" and len(values) >= 8:
            p = f"{paired(torch.tensor(values).numpy(), torch.tensor(base).numpy()).p:.1g}"
        also = f"{known[1]:.2f}" if known else "-"
        lines.append(
            f"| {name} | {with_interval(values)} | {ratio:.2f} | {there} | {p} | {moved} | {also} |"
        )
    return "\n".join(lines)


def render() -> None:
    """Writes the tables from the kept figures."""
    kept = PAGE.kept()
    parts = [f"MNIST network: {100 * kept['accuracy']:.2f} % of the test digits.\n"]
    parts += [table(block, records) + "\n" for block, records in kept["blocks"].items() if records]
    PAGE.fill("\n".join(parts))


def main() -> None:
    """Asks for the blocks that are named, or draws again from the kept figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--render", action="store_true")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--only", nargs="*", default=list(BLOCKS))
    given = parser.parse_args()
    conditions()
    if given.render:
        render()
        return
    kept: dict[str, Any] = {"accuracy": 0.0, "blocks": {}}
    if PAGE.file("json").exists():
        kept = PAGE.kept()
    for block in given.only:
        net = networks(BLOCKS[block][0], given.weights)
        if BLOCKS[block][0] == "mnist" and not kept["accuracy"]:
            kept["accuracy"] = accuracy(net)
        records = kept["blocks"].setdefault(block, [])
        for start in range(len(records), given.count, BATCH):
            records += measured(net, block, start, min(start + BATCH, given.count))
            PAGE.keep(kept)
    render()


if __name__ == "__main__":
    main()
