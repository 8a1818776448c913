"""The pictures and the tables of the certificate study, from the figures it kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

TITLES = {
    "mnist": "MNIST, small CNN, 49 patches",
    "cifar": "CIFAR-10, ResNet-20, 64 patches",
    "text": "SST-2, text CNN, words",
}
COLOURS = {
    "SHAP": "#0072b2",
    "LIME": "#d55e00",
    "integrated gradients": "#009e73",
    "gradient": "#cc79a7",
    "random": "#999999",
}
SHADES = {"1": "#0b3c5d", "2": "#2878b5", "3": "#e08214", "4": "#b35806"}
# A soft radius: at least this share of the supersets keeps the class, by the interval's lower end.
SOFT = 0.9
# Xue, Alur and Wong (2023), read off their plots (within 0.01): smoothed accuracy at
# lambda = 1, 4/8, 2/8, 1/8.
PUBLISHED = {
    "ViT-B/16, ImageNet": (0.809, 0.789, 0.738, 0.677),
    "ResNet-50, ImageNet": (0.755, 0.704, 0.600, 0.358),
    "RoBERTa, TweetEval": (0.830, 0.742, 0.661, 0.596),
}


def render(kept: dict[str, Any], folder: Path) -> None:
    """Writes three pictures, and the tables between the markers of the page."""
    plt.switch_backend("agg")  # writes files, opens no window
    kept = {name: kept[name] for name in TITLES if name in kept}
    certified(kept, folder / "certificates.png")
    accuracy(kept, folder / "certificates_accuracy.png")
    radii(kept, folder / "certificates_radii.png")
    page = folder / "certificates.md"
    if page.exists():
        text = page.read_text(encoding="utf-8")
        for name, rows in (
            ("E1", first(kept)),
            ("E2", second(kept)),
            ("ties", ties(kept)),
            ("radii", third(kept)),
            ("cost", cost(kept)),
        ):
            head, rest = text.split(f"<!-- {name} -->\n")
            text = (
                f"{head}<!-- {name} -->\n"
                + "\n".join(rows)
                + f"\n<!-- end of {name} -->"
                + rest.split(f"<!-- end of {name} -->")[1]
            )
        page.write_text(text, encoding="utf-8")


def certified(kept: dict[str, Any], path: Path) -> None:
    """E1: one row per task, one column per lambda, one line per selection."""
    figure, grid = plt.subplots(
        len(kept), 4, figsize=(13, 3.1 * len(kept)), sharex=True, sharey=True, squeeze=False
    )
    for axes, (name, found) in zip(grid, kept.items()):
        for axis, (eighths, table) in zip(axes, found["E1"].items()):
            for method, row in table.items():
                reach = range(len(row["incremental"]))
                axis.plot(
                    reach,
                    row["incremental"],
                    "o-",
                    markersize=4,
                    color=COLOURS[method],
                    label=method,
                )
                axis.plot(reach, row["decremental"], "x:", markersize=5, color=COLOURS[method])
            axis.set_title(f"{name}, λ = {eighths}/8", fontsize=10)
            axis.set_ylim(0, 1.02)
            axis.grid(alpha=0.25)
        axes[0].set_ylabel("share of inputs certified")
    for axis in grid[-1]:
        axis.set_xlabel("radius (features)")
    grid[0][0].legend(
        fontsize=8, frameon=False, title="solid: adding; dotted: removing", title_fontsize=8
    )
    save(figure, path)


def accuracy(kept: dict[str, Any], path: Path) -> None:
    """E2: accuracy against lambda, with and without masked training, beside the published curves."""
    figure, axes = plt.subplots(
        1, len(kept) + 1, figsize=(3.6 * (len(kept) + 1), 3.4), sharey=True, squeeze=False
    )
    for axis, (name, found) in zip(axes[0], kept.items()):
        x = [int(key) / 8 for key in found["E2"]]
        for kind, colour, label in (
            ("masked", "#0072b2", "trained with masks"),
            ("plain", "#d55e00", "not trained with masks"),
        ):
            rows = np.array([row[kind] for row in found["E2"].values()])
            around = np.abs(rows[:, 1:].T - rows[:, 0])
            axis.errorbar(x, rows[:, 0], around, marker="o", capsize=3, color=colour, label=label)
        axis.set_title(TITLES[name], fontsize=10)
    for label, row in PUBLISHED.items():
        axes[0][-1].plot((1, 0.5, 0.25, 0.125), row, marker="s", label=label)
    axes[0][-1].set_title("published (Xue et al. 2023)", fontsize=10)
    for axis in axes[0]:
        axis.set_xlabel("λ")
        axis.grid(alpha=0.25)
        axis.legend(fontsize=8, frameon=False, loc="lower right")
    axes[0][0].set_ylabel("accuracy of the smoothed classifier")
    axes[0][0].set_ylim(0, 1.02)
    save(figure, path)


def survival(values: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """The share of inputs whose radius is at least r."""
    return (values[None, :] >= reach[:, None]).mean(axis=1)


def curves(found: dict[str, Any]) -> dict[str, np.ndarray]:
    """Per input: the certified, the soft and the attacked radius; -1 where the selection is
    inconsistent.
    """
    radii = np.array(found["radii"]["radii"])
    lines = found["radii"]["smoothed"]
    bare = found["radii"]["bare"]
    room = np.array(lines["room"])
    proven = np.array(lines["certified"])

    def soft(rows: Any) -> np.ndarray:
        passed = np.cumprod(np.array(rows) >= SOFT, axis=1).sum(axis=1)
        return np.minimum(np.concatenate([[0], radii])[passed], room)

    return {
        "certified": proven,
        "soft": np.where(proven < 0, -1, soft(lines["lower"])),
        "attacked": np.where(proven < 0, -1, np.array(lines["attacked"])),
        "bare soft": soft(bare["lower"]),
        "bare attacked": np.array(bare["attacked"]),
    }


def radii(kept: dict[str, Any], path: Path) -> None:
    """The certified radius (a proven lower bound), the attacked one (an upper bound) and the soft
    one.
    """
    figure, axes = plt.subplots(
        1, len(kept), figsize=(4.3 * len(kept), 3.6), sharey=True, squeeze=False
    )
    for axis, (name, found) in zip(axes[0], kept.items()):
        made = curves(found)
        tested = np.array(found["radii"]["radii"])
        reach = np.arange(0, tested[-1] + 1)
        for key, colour, label in (
            ("certified", "#0072b2", "certified: no addition flips it"),
            ("attacked", "#d55e00", "attacked: none found that flips it"),
            ("soft", "#009e73", f"soft: at least {SOFT:.0%} keep it"),
        ):
            axis.plot(
                reach, survival(made[key], reach), "o-", markersize=3, color=colour, label=label
            )
        axis.plot(
            reach,
            survival(made["bare attacked"], reach),
            ":",
            color="#d55e00",
            label="attacked, not smoothed",
        )
        mean = np.array(found["radii"]["smoothed"]["rates"]).mean(axis=0)
        axis.plot(tested, mean, "k.--", linewidth=0.8, label="mean share that keeps it")
        axis.set_title(TITLES[name], fontsize=10)
        axis.set_xlabel("radius (features added)")
        axis.grid(alpha=0.25)
        axis.set_ylim(0, 1.02)
    axes[0][0].set_ylabel("share of inputs")
    axes[0][0].legend(fontsize=8, frameon=False)
    save(figure, path)


def save(figure: Any, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


def first(kept: dict[str, Any]) -> list[str]:
    columns = [
        f"{eighths}/8: r = {r}"
        for eighths in (1, 2, 3, 4)
        for r in (range(4), range(2), range(2), range(1))[eighths - 1]
    ]
    rows = [f"| task | selection | {' | '.join(columns)} |", "|---|---|" + "---|" * len(columns)]
    for name, found in kept.items():
        for method in COLOURS:
            cells = []
            for eighths in (1, 2, 3, 4):
                row = found["E1"][str(eighths)][method]
                for r in (range(4), range(2), range(2), range(1))[eighths - 1]:
                    cells.append(f"{row['incremental'][r]:.2f} / {row['decremental'][r]:.2f}")
            rows.append(f"| {name} | {method} | {' | '.join(cells)} |")
    return rows


def ties(kept: dict[str, Any]) -> list[str]:
    """What the published rule, gap / (2 lambda) >= r, adds at its largest radius, where only ties
    reach.
    """
    rows = ["| task | 4/8: r = 1 | 2/8: r = 2 | 1/8: r = 4 |", "|---|---|---|---|"]
    for name, found in kept.items():
        pairs = [(found["E1"][key]["SHAP"], r) for key, r in (("4", 1), ("2", 2), ("1", 4))]
        cells = [f"{row['published'][r]:.2f}, here {row['incremental'][r]:.2f}" for row, r in pairs]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return rows


def second(kept: dict[str, Any]) -> list[str]:
    rows = ["| classifier | λ = 1 | 4/8 | 3/8 | 2/8 | 1/8 |", "|---|---|---|---|---|---|"]
    for name, found in kept.items():
        for kind, said in (("masked", "trained with masks"), ("plain", "not")):
            cells = [
                "{:.3f} ({:.2f} to {:.2f})".format(*found["E2"][key][kind])
                for key in ("8", "4", "3", "2", "1")
            ]
            rows.append(f"| {TITLES[name]}; {said} | {' | '.join(cells)} |")
    for name, (whole, half, quarter, eighth) in PUBLISHED.items():
        rows.append(
            f"| {name} (published) | {whole:.3f} | {half:.3f} | | {quarter:.3f} | {eighth:.3f} |"
        )
    return rows


def third(kept: dict[str, Any]) -> list[str]:
    rows = [
        "| task | inputs | consistent | radius | r ≥ 1 | r ≥ 2 | r ≥ 3 | r ≥ 4 | r ≥ 8 | broken |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    said = {
        "certified": "certified",
        "attacked": "attacked",
        "soft": "soft",
        "bare attacked": "attacked, not smoothed",
        "bare soft": "soft, not smoothed",
    }
    for name, found in kept.items():
        made = curves(found)
        for key, label in said.items():
            cells = [f"{(made[key] >= r).mean():.2f}" for r in (1, 2, 3, 4, 8)]
            steady = "" if key.startswith("bare") else f"{(made['certified'] >= 0).mean():.2f}"
            broken = str(found["radii"]["broken"]) if key == "certified" else ""
            rows.append(
                f"| {name} | {len(made[key])} | {steady} | {label} | {' | '.join(cells)} | {broken} |"
            )
    return rows


def cost(kept: dict[str, Any]) -> list[str]:
    rows = [
        "| task | training, all networks | selections | E1 | E2 | radii |",
        "|---|---|---|---|---|---|",
    ]
    for name, found in kept.items():
        spent = found["seconds"]
        parts = [
            sum(spent["training"].values()),
            *(spent[part] for part in ("selections", "E1", "E2", "radii")),
        ]
        rows.append(f"| {name} | {' | '.join(f'{part:.0f} s' for part in parts)} |")
    return rows
