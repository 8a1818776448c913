"""How far selections by four explanations are certified, and what smoothing costs in accuracy.

`python studies/certificates.py [mnist] [cifar] [text]` measures the tasks named (all three by
default), on the processor with one thread, and writes `docs/studies/certificates.json`,
`certificates*.png` and the tables of `certificates.md`; `--render` writes tables and pictures from
the figures kept.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

import assay
import certificates_models as models
import certificates_pages as pages
from assay import (
    Attack,
    CoinMasks,
    Gradient,
    IntegratedGradients,
    KernelShap,
    Lime,
    MultiplicativeSmoothing,
    Question,
    SoftStability,
)
from assay.certificates.certificate import Certificate
from assay.methods.wrappers import TimesInput
from assay.numerics.statistics import wilson
from certificates_models import Task
from page import conditions

OUT = models.ROOT / "docs" / "studies" / "certificates.json"
EIGHTHS = (1, 2, 3, 4)
SHARE = 0.25
METHODS = {
    "SHAP": (KernelShap(budget=512), "value"),
    "LIME": (Lime(CoinMasks(samples=512)), "magnitude"),
    "integrated gradients": (IntegratedGradients(steps=32), "magnitude"),
    "gradient": (TimesInput(Gradient()), "magnitude"),
}
Selections = dict[str, list[Tensor]]


@dataclass(frozen=True)
class Plan:
    """How much of a task is measured: draws of the noise, inputs of E1, of E2 and of the third
    plot, and its radii.
    """

    levels: int
    certified: int
    scored: int
    attacked: int
    radii: tuple[int, ...]
    restarts: int = 4
    reach: int = 6
    samples: int = 100


PLANS = {
    "mnist": Plan(32, 150, 500, 30, (1, 2, 3, 4, 6, 8, 12, 16)),
    "cifar": Plan(16, 100, 200, 16, (1, 2, 4, 8), restarts=1, reach=3, samples=75),
    "text": Plan(64, 150, 300, 30, (1, 2, 3, 4, 6, 8, 12)),
}


def selections(task: Task, count: int) -> Selections:
    """The top quarter of the features by each method, asked of the network trained at lambda = 1;
    and at random.
    """
    draw = np.random.default_rng(0)
    made: Selections = {name: [] for name in (*METHODS, "random")}
    for _, question in task.ask(8, count):
        for name, (method, by) in METHODS.items():
            made[name].append(method(question, seed=0).top(SHARE, by=by))
        ranks = torch.from_numpy(
            draw.random((question.n, question.partition.count)).argsort(axis=1).argsort(axis=1)
        )
        made["random"].append(ranks < made["SHAP"][-1].sum(1, keepdim=True))
    return made


def first(task: Task, plan: Plan, chosen: Selections) -> dict[str, Any]:
    """E1: the share of inputs that are consistent and stable at each whole radius, for every lambda
    and selection.
    """
    table: dict[str, Any] = {}
    for eighths in EIGHTHS:
        smoothing = MultiplicativeSmoothing.at(eighths / 8, plan.levels)
        proofs: dict[str, list[Certificate]] = {name: [] for name in chosen}
        for group, (_, question) in enumerate(task.ask(eighths, plan.certified)):
            every = smoothing.certify_all(question, [masks[group] for masks in chosen.values()])
            for name, some in zip(chosen, every):
                proofs[name].extend(some)
        table[str(eighths)] = {name: shares(some) for name, some in proofs.items()}
    return table


def shares(proofs: list[Certificate]) -> dict[str, Any]:
    """The shares of inputs at radius 0, 1, ...; `published` counts gap / (2 lambda) >= r, which
    allows a tie.

    `commonest`: the share of inputs that the commonest class takes, by the whole and by the
    selection.
    """
    good = [proof for proof in proofs if proof.consistent]
    whole, alone = (
        [getattr(proof, side) for proof in proofs] for side in ("predicted", "selected")
    )
    reach = range(6)
    return {
        "consistent": len(good) / len(proofs),
        "incremental": [sum(proof.incremental >= r for proof in good) / len(proofs) for r in reach],
        "decremental": [sum(proof.decremental >= r for proof in good) / len(proofs) for r in reach],
        "published": [sum(proof.published >= r for proof in good) / len(proofs) for r in reach],
        "commonest": [max(map(side.count, side)) / len(side) for side in (whole, alone)],
        "full": sum(proof.full for proof in good) / len(proofs),
    }


def second(task: Task, plan: Plan) -> dict[str, Any]:
    """E2: the accuracy of the smoothed classifier against lambda, with masked training and without."""
    table = {}
    for eighths in (*EIGHTHS, 8):
        row = {}
        for name, state in (("masked", eighths), ("plain", 0)):
            hits = 0
            for rows, question in task.ask(state, plan.scored):
                asked = question
                if eighths < 8:
                    smoothed = MultiplicativeSmoothing.at(eighths / 8, plan.levels).smooth(question)
                    asked = again(question, smoothed)
                whole = torch.ones(1, question.partition.count, dtype=torch.bool)
                hits += int((asked.outputs(whole)[:, 0].argmax(1) == task.labels[rows]).sum())
            row[name] = [hits / plan.scored, *wilson(hits, plan.scored)]
        table[str(eighths)] = row
    return table


def again(question: Question, model: Any) -> Question:
    """The same question asked of another model."""
    return Question(
        model,
        question.layout.fold(question.x)[0],
        features=question.features,
        removal=question.removal,
    )


def third(task: Task, plan: Plan, chosen: Selections) -> dict[str, Any]:
    """The certified, the soft and the attacked radius of selections by SHAP at lambda = 1/8, of the
    same inputs.
    """
    lines: dict[str, list[Any]] = {
        "certified": [],
        "rates": [],
        "lower": [],
        "attacked": [],
        "room": [],
    }
    bare: dict[str, list[Any]] = {"rates": [], "lower": [], "attacked": []}
    attack = Attack(restarts=plan.restarts, reach=plan.reach)
    soft = SoftStability(plan.radii, samples=plan.samples)
    smoothing = MultiplicativeSmoothing.at(1 / 8, plan.levels)
    groups = zip(task.ask(1, plan.certified), chosen["SHAP"], strict=True)
    for (rows, question), masks in groups:
        keep = (rows < plan.attacked).nonzero().flatten()
        if len(keep) == 0:
            continue
        question = question.take(keep)
        masks = masks[keep]
        for proof in smoothing.certify(question, masks):
            lines["certified"].append(proof.incremental if proof.consistent else -1)
            lines["room"].append(proof.room)
        for target, asked in (
            (lines, again(question, smoothing.smooth(question))),
            (bare, question),
        ):
            for rates in soft.certify(asked, masks):
                target["rates"].append(rates.rate)
                target["lower"].append(rates.lower)
            target["attacked"] += [found.radius for found in attack.search(asked, masks)]
    pairs = zip(lines["certified"], lines["attacked"])
    return {
        "radii": plan.radii,
        "smoothed": lines,
        "bare": bare,
        "broken": sum(low > high for low, high in pairs),
    }


def measure(name: str) -> dict[str, Any]:
    """All figures of one task, with the processor seconds of each part."""
    plan = PLANS[name]
    spent = {}

    def timed(part: str, work: Any) -> Any:
        start = time.process_time()
        found = work()
        spent[part] = round(time.process_time() - start, 1)
        print(f"{name}: {part} {spent[part]} s", flush=True)
        return found

    with assay.quiet():
        task = models.TASKS[name]()
        spent["training"] = {str(key): round(value, 1) for key, value in task.spent.items()}
        chosen = timed("selections", lambda: selections(task, plan.certified))
        found = {"plan": asdict(plan), "E1": timed("E1", lambda: first(task, plan, chosen))}
        found["E2"] = timed("E2", lambda: second(task, plan))
        found["radii"] = timed("radii", lambda: third(task, plan, chosen))
    return {**found, "features": [masks.shape[1] for masks in chosen["SHAP"]], "seconds": spent}


def main() -> None:
    conditions()
    if "--render" not in sys.argv:
        for name in sys.argv[1:] or list(models.TASKS):
            found = measure(name)
            OUT.parent.mkdir(parents=True, exist_ok=True)
            OUT.write_text(json.dumps({**kept(), name: found}, indent=1) + "\n", encoding="utf-8")
    pages.render(kept(), OUT.parent)


def kept() -> dict[str, Any]:
    """The figures of earlier runs."""
    return json.loads(OUT.read_text(encoding="utf-8")) if OUT.exists() else {}


if __name__ == "__main__":
    main()
