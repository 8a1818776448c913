"""The pictures of docs/gallery.md, on real data: `python studies/gallery.py` writes docs/gallery/*.png."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import assay
import zoo
from assay import pictures
from assay.pictures.drawing.drawing import Drawing
from assay.pictures.drawing.themes import THEMES, ThemeName, theme_of

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "gallery"
DOTS = 75  # to the inch


def adult() -> tuple[assay.Question, assay.Question]:
    """Questions about 600 and about 60 people, to trees that were boosted on others."""
    import xgboost

    x, y = zoo.adult()
    for name in x.columns:
        if not pd.api.types.is_numeric_dtype(x[name]):
            x[name] = x[name].astype("category")
    rich = (y == sorted(set(y))[-1]).astype(int)
    trees = xgboost.XGBClassifier(n_estimators=60, max_depth=5, enable_categorical=True, n_jobs=1)
    trees.fit(x.iloc[:8000], rich.iloc[:8000])
    rows = x.iloc[8000:8600]
    many = assay.Question(trees, rows, assay.LogOdds(1), removal=assay.Background(x.iloc[:50]))
    few = assay.Question(
        trees, rows.iloc[:60], assay.LogOdds(1), removal=assay.Background(x.iloc[:20])
    )
    return many, few


def tables() -> dict[str, Drawing]:
    many, few = adult()
    exact = assay.TreeShap()(many)
    sampled = assay.KernelShap(budget=256)(few)
    other = assay.PermutationShapley(orderings=16)(few)
    return {
        "ladder": pictures.ladder(sampled, 1, question=few, top=7),
        "importance": pictures.importance(sampled, top=8),
        "swarm": pictures.swarm(exact, question=many, top=8),
        "dependence": pictures.dependence(exact, "age", question=many, partial=20),
        "heat": pictures.heat(exact, top=8),
        "duel": pictures.duel(sampled, other, 1, top=8),
    }


def photographs() -> dict[str, Drawing]:
    net = zoo.mobilenet_v2()
    images, _, _ = zoo.photographs(count=2)
    question = assay.Question(net, images, removal=assay.Blur(10))
    slopes = assay.IntegratedGradients(16)(question)
    regions = assay.Question(net, images, features=assay.Superpixels(40), removal=assay.Blur(10))
    sampled = assay.KernelShap(budget=160)(regions)
    return {
        "map": pictures.image_map(sampled, [0, 1], question=regions),
        "contours": pictures.contours(assay.GradCam()(question), 1, question=question),
        "retina": pictures.retina(slopes, 1, question=question),
    }


def texts() -> dict[str, Drawing]:
    known, kinds = zoo.trec("train")
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression(C=20, max_iter=500)
    )
    asked = ["How far is it from Denver to Aspen ?", "Who was the first man in space ?"]
    question = assay.Question(model.fit(known, kinds), asked)
    return {"words": pictures.words(assay.ExactShapley()(question), 1, question=question)}


def molecules() -> dict[str, Drawing]:
    data = zoo.molecules("benzene", "test", zoo.LARGEST_MOLECULE["benzene"])
    question = assay.Question(
        zoo.molecule_net("benzene", epochs=2),
        (data.atoms[:2], data.pairs[:2]),
        0,
        features=assay.Atoms(data.symbols[:2]),
        removal=assay.Baseline(0.0),
        context={"mask": assay.Aligned(data.mask[:2])},
    )
    return {"molecule": pictures.molecule(assay.IntegratedGradients(32)(question), 0)}


def digits() -> dict[str, Drawing]:
    images, _ = zoo.mnist("test", 12)
    patches = assay.Patches(4)
    question = assay.Question(
        zoo.digit_net(), images, features=patches, removal=assay.Baseline(0.0)
    )
    chosen = assay.KernelShap(budget=256)(question).top(0.3)
    certificates = assay.MultiplicativeSmoothing(kept=1, levels=8).certify(question, chosen)
    return {"selection": pictures.selection(certificates[0], question=question)}


def page(made: dict[str, Drawing], theme: ThemeName) -> str:
    """All pictures on one page, as SVG with their tables."""
    parts = [
        f"<section><h2>{name}</h2>{picture.html(theme)}</section>" for name, picture in made.items()
    ]
    ground = theme_of(theme)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Gallery</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><style>'
        f"body{{background:{ground.ground};color:{ground.text};font-family:sans-serif;margin:1rem}}"
        "figure{margin:0}details{overflow-x:auto}td,th{padding:0 .6rem;text-align:left}"
        f"</style></head><body><main><h1>Gallery</h1>{''.join(parts)}</main></body></html>"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="writes docs/gallery/*.png")
    parser.add_argument("--look", type=Path, help="a folder for all pictures in all themes")
    parser.add_argument("--only", default="", help="makers whose name contains this")
    options = parser.parse_args()
    torch.manual_seed(0)
    makers: list[Callable[[], dict[str, Drawing]]] = [tables, photographs, texts, molecules, digits]
    FOLDER.mkdir(parents=True, exist_ok=True)
    made: dict[str, Drawing] = {}
    for make in makers:
        if options.only not in make.__name__:
            continue
        for name, picture in make().items():
            made[name] = picture
            figure = picture.figure()
            figure.savefig(FOLDER / f"{name}.png", dpi=DOTS, metadata={"Software": None})
            print(f"{name}: {picture.alt}", flush=True)
    if options.look is None:
        return
    options.look.mkdir(parents=True, exist_ok=True)
    for theme in THEMES:
        (options.look / f"{theme}.html").write_text(page(made, theme), encoding="utf-8")
        for name, picture in made.items():
            picture.figure(theme=theme).savefig(options.look / f"{name}-{theme}.png", dpi=DOTS)


if __name__ == "__main__":
    main()
