"""Which methods find the atoms that decide? Three tasks whose true atoms are known, one trained network
each.

    python studies/molecules.py            every task: writes docs/studies/molecules.md, .json and .png
    python studies/molecules.py --only benzene    one task; the others stay as they were kept
    python studies/molecules.py --quick    ten molecules a task; keeps nothing
    python studies/molecules.py --render   the page again from the kept figures

Sanchez-Lengeling et al. (2020): a molecule is of the class if it holds a benzene ring (benzene), or two
groups and not a third (logic7); its true atoms are those groups. Crippen: logP is a sum of known numbers,
one for each atom.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata

import assay
import zoo
from assay.numerics import rng, statistics
from page import Page, conditions

PAGE = Page("molecules")
TASKS = ("benzene", "logic7", "crippen")
COUNT = 100  # molecules of a task, the first of the published test half
CLASSES = ("benzene", "logic7")
LEVEL = 0.95


def methods() -> dict[str, assay.Method]:
    """By the names of the table."""
    return {
        "gradient x input": assay.InputXGradient(),
        "integrated gradients": assay.IntegratedGradients(32),
        "LRP, epsilon-plus": assay.LRP(),
        "DeepLIFT, Rescale": assay.DeepLift(),
        "DeepLIFT, RevealCancel": assay.DeepLift(rule="reveal_cancel"),
        "occlusion": assay.Occlusion(),
        "Shapley, sampled": assay.PermutationShapley(orderings=8),
    }


def roc_area(credit: np.ndarray, truth: np.ndarray) -> float:
    """The chance that a true atom has more credit than another one, ties counted half."""
    true = truth > 0
    inside, outside = int(true.sum()), int((~true).sum())
    ranks = rankdata(credit)
    return float((ranks[true].sum() - inside * (inside + 1) / 2) / (inside * outside))


def agreement(task: str, credit: np.ndarray, truth: np.ndarray) -> float:
    """The ROC area of the way to explain the molecule that fits best, or the correlation with true
    numbers; NaN where every atom is true.
    """
    if task not in CLASSES:
        flat = credit.std() == 0 or truth.std() == 0
        return float("nan") if flat else float(np.corrcoef(credit, truth[:, 0])[0, 1])
    ways = [way for way in truth.T if 0 < (way > 0).sum() < len(way)]
    return max((roc_area(credit, way) for way in ways), default=float("nan"))


def asked_molecules(task: str, net: torch.nn.Module, count: int) -> tuple[Any, dict[str, float]]:
    """The molecules that are asked about, and how good the network is on all of them."""
    data = zoo.molecules(task, "test", zoo.LARGEST_MOLECULE[task])
    with torch.inference_mode():
        parts = zip(data.atoms.split(100), data.pairs.split(100), data.mask.split(100))
        said = torch.cat([net(*part)[:, 0] for part in parts])
    if task in CLASSES:
        right = (said > 0) == data.y.bool()
        rows = (right & data.y.bool()).nonzero()[:count, 0]
        return data.take(rows), {"molecules": len(data), "accuracy": float(right.double().mean())}
    explained = 1 - float(((said - data.y) ** 2).mean() / data.y.var())
    return data.take(range(min(count, len(data)))), {"molecules": len(data), "R2": explained}


def question(net: torch.nn.Module, data: Any, bonds: bool) -> assay.Question:
    """Atoms and pairs as two inputs; an absent atom or bond is of no kind."""
    return assay.Question(
        net,
        (data.atoms, data.pairs),
        0,
        features=assay.Atoms(data.symbols, bonds=bonds),
        removal=assay.Baseline(0.0),
        context={"mask": assay.Aligned(data.mask)},
    )


def measure(task: str, count: int) -> dict[str, Any]:
    """The agreement of every method, molecule by molecule, and what became of the network."""
    net = zoo.molecule_net(task)
    data, quality = asked_molecules(task, net, count)
    asked = question(net, data, bonds=False)
    table: dict[str, list[float]] = {}
    seconds: dict[str, float] = {}
    for name, method in methods().items():
        start = time.process_time()
        answer = method(asked)
        seconds[name] = time.process_time() - start
        credit = answer.values.double().numpy()
        table[name] = [
            agreement(task, row[: len(truth)], truth) for row, truth in zip(credit, data.truth)
        ]
    generator = rng.shared(0, "random credit")
    table["random"] = [
        agreement(task, generator.normal(size=len(truth)), truth) for truth in data.truth
    ]
    found = {"asked": len(data), **quality, "table": table, "seconds": seconds}
    for name in table:
        print(task, name, np.nanmean(table[name]), flush=True)
    return found


def shown(count: int = 3) -> list[dict[str, Any]]:
    """Credit of atoms and bonds of some molecules with a benzene ring, for the picture."""
    net = zoo.molecule_net("benzene")
    data, _ = asked_molecules("benzene", net, 40)
    # One ring each, so that the true atoms are one set.
    rows = [number for number, truth in enumerate(data.truth) if truth.shape[1] == 1][:count]
    data = data.take(rows)
    answer = assay.DeepLift()(question(net, data, bonds=True))
    pictures = []
    for number in range(len(data)):
        names = answer.names_of(number)
        credit = answer.values[number, : len(names)].tolist()
        pictures.append(
            {"credit": dict(zip(names, credit)), "true": data.truth[number][:, 0].tolist()}
        )
    return pictures


def comparison(table: dict[str, list[float]]) -> tuple[list[str], np.ndarray, list[str]]:
    """Methods from best to worst, (mean, low, high) of each, and letters that they share."""
    names = list(table)
    columns = np.array([table[name] for name in names]).T
    columns = columns[~np.isnan(columns).any(axis=1)]
    order = np.argsort(-columns.mean(axis=0))
    columns, names = columns[:, order], [names[place] for place in order]
    bounds = statistics.intervals(columns, LEVEL)
    pairs = statistics.every_pair(columns)
    adjusted = statistics.holm([pair.p for pair in pairs.values()])
    differ = np.zeros((len(names), len(names)), dtype=bool)
    for (one, other), p in zip(pairs, adjusted):
        differ[one, other] = differ[other, one] = p < 1 - LEVEL
    letters = list(statistics.letters(differ))
    return names, np.column_stack([columns.mean(axis=0), bounds]), letters


def tables(found: dict[str, Any]) -> str:
    """One table a task."""
    lines = []
    for task in TASKS:
        part = found[task]
        good = f"accuracy {part['accuracy']:.1%}" if task in CLASSES else f"R2 {part['R2']:.2f}"
        measure_of = "ROC area" if task in CLASSES else "correlation"
        lines += [
            f"**{task}**: {good} on {part['molecules']:,} test molecules, {part['asked']} of them asked.",
            "",
            f"| method | {measure_of} | 95 % interval | | seconds |",
            "|---|---|---|---|---|",
        ]
        for name, (mean, low, high), letter in zip(*comparison(part["table"])):
            seconds = part["seconds"].get(name)
            spent = "" if seconds is None else f"{seconds:.1f}"
            lines.append(f"| {name} | {mean:.3f} | {low:.3f} to {high:.3f} | {letter} | {spent} |")
        lines.append("")
    lines.append(
        "Methods that share a letter are not told apart (sign-flip tests of all pairs over molecules, Holm, "
        "5 %). Seconds of one processor for all molecules."
    )
    return "\n".join(lines)


def places(bonds: list[tuple[int, int]], count: int) -> np.ndarray:
    """Where atoms are drawn: distances on paper as near as may be to steps along bonds."""
    from scipy.sparse.csgraph import shortest_path
    from sklearn.manifold import MDS

    near = np.zeros((count, count))
    for one, other in bonds:
        near[one, other] = near[other, one] = 1
    steps = shortest_path(near, unweighted=True)
    steps[~np.isfinite(steps)] = count
    scaling = MDS(2, dissimilarity="precomputed", random_state=0, n_init=8, normalized_stress=False)
    found: np.ndarray = scaling.fit_transform(steps)
    return found


def draw_molecule(axis: Any, picture: dict[str, Any]) -> None:
    """Atoms and bonds in the colour of their credit; true atoms have a ring."""
    import matplotlib as mpl

    credit = picture["credit"]
    atoms = [name for name in credit if "-" not in name]
    number = {name: place for place, name in enumerate(atoms)}
    bonds = [tuple(number[end] for end in name.split("-")) for name in credit if "-" in name]
    place = places(bonds, len(atoms))
    most = max(map(abs, credit.values()))
    colour = mpl.colormaps["coolwarm"]
    for name, value in credit.items():
        shade = colour(0.5 + value / most / 2)
        if "-" in name:
            one, other = (place[number[end]] for end in name.split("-"))
            axis.plot(*zip(one, other), color=shade, linewidth=5, zorder=1)
            continue
        x, y = place[number[name]]
        true = picture["true"][number[name]] > 0
        edge = "black" if true else "lightgrey"
        axis.scatter(x, y, s=190, color=shade, edgecolors=edge, linewidths=1.6, zorder=2)
        axis.text(x, y, name.rstrip("0123456789"), ha="center", va="center", fontsize=7, zorder=3)
    axis.set_aspect("equal")
    axis.margins(0.15)
    axis.axis("off")


def draw(found: dict[str, Any]) -> None:
    """Means with their intervals, and molecules."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 3, figsize=(13, 8), layout="constrained")
    for axis, task in zip(axes[0], TASKS):
        names, bounds, letters = comparison(found[task]["table"])
        mean, low, high = bounds.T
        heights = np.arange(len(names))[::-1]
        axis.errorbar(mean, heights, xerr=[mean - low, high - mean], fmt="o")
        axis.set_yticks(heights, [f"{name} ({letter})" for name, letter in zip(names, letters)])
        axis.set_title(f"{task} ({found[task]['asked']})")
        axis.set_xlabel(
            "ROC area of the true atoms" if task in CLASSES else "correlation with the truth"
        )
    for axis, picture in zip(axes[1], found["shown"]):
        draw_molecule(axis, picture)
    axes[1, 1].set_title("DeepLIFT of atoms and bonds, true atoms ringed")
    figure.savefig(PAGE.picture, dpi=80)


def main() -> None:
    """Runs, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="ten molecules; keeps nothing")
    parser.add_argument("--only", choices=TASKS, help="one task")
    parser.add_argument("--render", action="store_true", help="the page from the kept figures")
    options = parser.parse_args()
    conditions()
    found: dict[str, Any] = PAGE.kept() if options.render or options.only else {}
    if not options.render:
        for task in (options.only,) if options.only else TASKS:
            found[task] = measure(task, 10 if options.quick else COUNT)
        if options.only in (None, "benzene"):
            found["shown"] = shown()
    if not options.quick and not options.render:
        PAGE.keep(found)
    print(tables(found))
    if options.quick:
        return
    PAGE.fill(tables(found))
    draw(found)


if __name__ == "__main__":
    main()
