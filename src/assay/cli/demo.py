"""The main job on real data: a small network reads handwritten digits, and every method explains
what it says.

The data ship with scikit-learn and the network trains in seconds, so that the whole way (question,
answers, scores, page) can be walked anywhere. Every number is decided by the seed.
"""

from __future__ import annotations

import io
from dataclasses import MISSING, dataclass, fields
from os import PathLike
from pathlib import Path as File
from typing import Any, final

import numpy as np
import torch
import typer
from torch import Tensor, nn

from assay.answers.files import write_file
from assay.cli import printing
from assay.cli.asked import check_out
from assay.cli.explaining import progress
from assay.comparison.comparing import compare
from assay.comparison.comparison import Comparison
from assay.engine import one_thread
from assay.methods import METHODS
from assay.methods.attention.base import AttentionMethod
from assay.methods.base import Method
from assay.methods.gradients.paths import Path
from assay.methods.trees.interactions import TreeInteractions
from assay.methods.trees.tree_shap import TreeShap
from assay.metrics.base import Metric
from assay.numerics.rng import shared
from assay.numerics.statistics import bracket
from assay.pages.report_page import report
from assay.pictures.images import COLOURS, credit_maps
from assay.question.question import Question
from assay.registry import parts
from assay.registry.settings import parse

INPUTS = 16  # digits that are explained: a page of them can be looked through

TRAINED = 1400  # of 1,797 digits; the others are for testing

# The methods of the picture of the README: one of each family, at most seven columns wide.
_DRAWN = (
    "Gradient",
    "InputXGradient",
    "IntegratedGradients",
    "KernelShap",
    "Lime",
    "Rise",
    "Occlusion",
)

# Settings that suit 64 pixels and half a thousand questions for each input; every other method
# takes its defaults.
_SETTINGS = (
    "Absolute(Gradient())",
    "TimesInput(Smoothed(Gradient(), noise=0.1, draws=16))",
    "Smoothed(Gradient(), noise=0.1, draws=16)",
    "IntegratedGradients(steps=16)",
    "ExpectedGradients(draws=16)",
    "PermutationShapley(orderings=8)",
    "KernelShap(budget=512)",
    "ProxyShap(budget=640)",
    "SamplingShapley(draws=4)",
    "Qii('unary')",
    "Occlusion(window=3)",
    "Rise(masks=512, grid=4, estimator='centred')",
    "Lime(CoinMasks(samples=512))",
)


_JUDGES = (
    "Infidelity(Squares(sides=(1, 2, 3, 4)))",
    # Without an ascent, which asks every method three times as often.
    "MaxSensitivity(radius=0.05, draws=5, ascent=0)",
    "Completeness",
    "Deletion(steps=16)",
    "Insertion(steps=16)",
    "Compactness",
)


@final
@dataclass(frozen=True)
class Digits:
    """Scikit-learn's handwritten digits: images (n, 1, 8, 8) in [0, 1] and their labels (n,),
    shuffled by the seed.
    """

    images: Tensor
    labels: Tensor

    @staticmethod
    def read(seed: int = 0) -> Digits:
        """The digits that ship with scikit-learn; nothing is downloaded."""
        from sklearn.datasets import load_digits

        bundle = load_digits()
        order = shared(seed, "digits").permutation(len(bundle.target))
        # Grey levels are whole numbers from 0 to 16.
        images = torch.from_numpy(bundle.images[order, None] / 16).to(torch.float32)
        return Digits(images, torch.from_numpy(bundle.target[order]))


@final
@dataclass(frozen=True)
class BrightLast:
    """A curved way for `Path`: the brighter a pixel, the later it appears.

    b + a^(1 + power |x - b|) (x - b), from the absent input b at a = 0 to the input x at a = 1.
    """

    power: float = 2.0

    def __call__(self, position: Tensor, absent: Tensor, x: Tensor) -> Tensor:
        way = x - absent
        return absent + position ** (1 + self.power * way.abs()) * way


def train(digits: Digits, *, seed: int = 0, epochs: int = 20) -> nn.Sequential:
    """A small convolutional network for the digits, trained in seconds; the global generator is
    left as found.
    """
    # Torch draws initial weights from the global generator alone.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(12, 24, 3, padding=1, stride=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(24 * 4 * 4, 10),
        )
    images = digits.images[:TRAINED]
    labels = digits.labels[:TRAINED]
    optimiser = torch.optim.Adam(net.parameters(), lr=0.005)
    generator = shared(seed, "training order")
    for _ in range(epochs):
        order = generator.permutation(TRAINED)
        for rows in np.array_split(order, TRAINED // 64):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(images[rows]), labels[rows]).backward()
            optimiser.step()
    return net.eval()


def accuracy(net: nn.Module, digits: Digits) -> float:
    """The share of the test digits that the network reads right."""
    with torch.no_grad():
        predicted = net(digits.images[TRAINED:]).argmax(1)
    correct = predicted == digits.labels[TRAINED:]
    return float(correct.float().mean())


def ask(net: nn.Module, digits: Digits, inputs: int = INPUTS) -> Question:
    """Why this digit? Every pixel of the first test images against the empty page."""
    return Question(
        net, digits.images[TRAINED : TRAINED + inputs], features=parts.features("Pixels")
    )


def contenders() -> list[Method]:
    """Every method that can be made without data of its own, and that this network is one for."""
    # A path is a function, which no text can say.
    chosen: dict[str, Method] = {"Path": Path(BrightLast(), steps=16)}
    for text in _SETTINGS:
        method = parse(text, Method)
        chosen[type(method).__name__] = method
    return [
        chosen.get(name) or kind()
        for name, kind in METHODS.items()
        if name in chosen or not (_needs_settings(kind) or _is_of_another_model(kind))
    ]


def judges() -> list[Metric]:
    """A metric of every kind that needs no truth: faithful, steady, complete, ordered, short."""
    return [parse(text, Metric) for text in _JUDGES]


def _is_of_another_model(kind: type[Method]) -> bool:
    """Whether a method is about transformers or ensembles of trees alone."""
    return issubclass(kind, AttentionMethod | TreeShap | TreeInteractions)


def _needs_settings(kind: Any) -> bool:
    """Whether a class has settings without a default."""
    return any(
        setting.init and setting.default is MISSING and setting.default_factory is MISSING
        for setting in fields(kind)
    )


def unasked() -> list[str]:
    """Methods that the demo has nothing to hand to: they need data or a model of their own (a
    transformer, for those of attention; trees, for those of ensembles).
    """
    asked = {type(method) for method in contenders()}
    return [name for name, kind in METHODS.items() if kind not in asked]


def run(seed: int = 0, inputs: int = INPUTS) -> Comparison:
    """Trains, asks, answers and scores; the same numbers for the same seed."""
    # Sums that are split over threads round in another order.
    with one_thread():
        digits = Digits.read(seed)
        net = train(digits, seed=seed)
        return compare(ask(net, digits, inputs), contenders(), judges(), seed, references=True)


def command(out: File, picture: File | None, seed: int, quiet: bool) -> None:
    """Runs it all, and says where it went."""
    check_out(out, picture)
    # One thread: sums split over threads round in another order, and the page is to be the same.
    with progress(quiet), one_thread():
        comparison = run(seed)
        page = write(comparison, out, seed)
        if picture is not None:
            draw(comparison, picture)
    if not quiet:
        printing.show(comparison.table())
        listed = ", ".join(unasked())
        printing.say(f"Not asked, since they need data or a model of their own: {listed}.")
    # Also when quiet: where the page went is the answer of the command.
    typer.echo(f"Wrote {page}.")


def write(comparison: Comparison, path: str | PathLike[str], seed: int = 0) -> File:
    """The page about the demo."""
    shown = slice(TRAINED, TRAINED + comparison.question.n)
    labels = [f"a {int(label)}" for label in Digits.read(seed).labels[shown]]
    title = "Sixteen handwritten digits, explained and measured"
    return report(
        comparison,
        path,
        labels=labels,
        title=title,
    )


def draw(comparison: Comparison, path: str | PathLike[str], digits: int = 3) -> File:
    """A picture of a few digits and a few answers, each under its mean infidelity and the 95 %
    interval.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # By class: settings of the demo may change, the columns of the picture stay.
    by_class = {label.partition("(")[0]: label for label in comparison.attributions}
    shown = [by_class[name] for name in _DRAWN if name in by_class]
    # A figure and a canvas of its own: no global state of the plotting library is touched.
    figure = Figure(figsize=(1.25 * (len(shown) + 1), 1.2 * digits + 0.5), layout="constrained")
    panels = figure.subplots(digits, len(shown) + 1, squeeze=False)
    _draw_panels(panels, comparison, shown)
    panels[0][0].set_title("the input\ninfidelity", fontsize=6.5)
    for panel, label in zip(panels[0][1:], shown):
        panel.set_title(_heading(comparison, label), fontsize=6.5)
    drawn = io.BytesIO()
    # Without the version of the plotting library in it, the file is the same for the same seed.
    FigureCanvasAgg(figure).print_figure(drawn, dpi=130, metadata={"Software": None})
    target = File(path)
    # Whole or not at all.
    write_file(target, drawn.getvalue())
    return target


def _draw_panels(panels: Any, comparison: Comparison, shown: list[str]) -> None:
    """Images in the first column, a map of each method beside them."""
    question = comparison.question
    maps = [credit_maps(question, comparison.attributions[label]) for label in shown]
    images = question.x.reshape(-1, 8, 8).numpy()
    for row, line in enumerate(panels):
        line[0].imshow(images[row], cmap="gray_r")
        for panel, values in zip(line[1:], maps):
            # A scale of its own for each map, the same in both directions: white is no credit.
            reach = np.abs(values[row]).max()
            panel.imshow(values[row], cmap=COLOURS, vmin=-reach, vmax=reach)
    for panel in panels.flat:
        panel.set(xticks=[], yticks=[])


def _heading(comparison: Comparison, label: str) -> str:
    name = label.partition("(")[0]
    score = comparison.scores.get((label, comparison.metrics[0]))
    # Weights have no unit in which they could be scored.
    if score is None:
        return f"{name}\n(weights)"
    low, high = score.interval
    return f"{name}\n{_short(score.mean)}{bracket(low, high, _short)}"


def _short(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2g}"
