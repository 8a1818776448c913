"""One model of every kind and one data file of every kind, in a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from torch import nn

MODULE = """
import torch


def build():
    net = torch.nn.Linear(4, 2, bias=False)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[1.0, -2.0, 0.5, 0.0], [0.0, 1.0, 4.0, -1.0]]))
    return net


net = build()
"""

TEXTS = """
import numpy as np


def good(texts):
    return np.array([float("good" in text) for text in texts])


def cruel(texts):
    raise ZeroDivisionError("the user's own")


def slow(texts):
    import time

    time.sleep(0.05)
    return np.array([float(len(text)) for text in texts])
"""

COLUMNS = ["age", "income", "debt", "years"]


def network() -> nn.Linear:
    net = nn.Linear(4, 2, bias=False)
    weights = torch.tensor([[1.0, -2.0, 0.5, 0.0], [0.0, 1.0, 4.0, -1.0]])
    with torch.no_grad():
        net.weight.copy_(weights)
    return net.eval()


def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(np.round(rng.normal(size=(40, 4)), 3), columns=COLUMNS)


def _models(folder: Path, frame: pd.DataFrame) -> None:
    (folder / "model.py").write_text(MODULE)
    (folder / "words.py").write_text(TEXTS)
    net = network()
    torch.save(net.state_dict(), folder / "weights.pt")
    save_file(net.state_dict(), folder / "weights.safetensors")
    torch.jit.trace(net, torch.zeros(2, 4)).save(folder / "script.pt")
    rows = torch.export.Dim("rows")
    program = torch.export.export(net, (torch.zeros(2, 4),), dynamic_shapes=({0: rows},))
    torch.export.save(program, folder / "program.pt2")
    labels = (frame.age + frame.income > 0).astype(int)
    import joblib

    joblib.dump(LogisticRegression().fit(frame, labels), folder / "fitted.joblib")
    _boosters(folder, frame, labels)


def _boosters(folder: Path, frame: pd.DataFrame, labels: pd.Series) -> None:
    try:
        import catboost
        import lightgbm
        import xgboost
    except ImportError:
        return
    xgboost.XGBClassifier(n_estimators=3).fit(frame, labels).save_model(folder / "x.json")
    xgboost.XGBClassifier(n_estimators=3).fit(frame, labels).save_model(folder / "x.ubj")
    light = lightgbm.LGBMClassifier(n_estimators=3, verbose=-1, min_child_samples=3)
    light.fit(frame, labels).booster_.save_model(folder / "l.txt")
    cat = catboost.CatBoostClassifier(iterations=3, verbose=0, allow_writing_files=False)
    cat.fit(frame, labels).save_model(str(folder / "c.cbm"))


def _data(folder: Path, frame: pd.DataFrame) -> None:
    few = frame.iloc[:3]
    few.to_csv(folder / "d.csv", index=False)
    few.to_csv(folder / "d.tsv", index=False, sep="\t")
    few.to_csv(folder / "indexed.csv")
    few.assign(label=1).to_csv(folder / "labelled.csv", index=False)
    few[COLUMNS[::-1]].to_csv(folder / "turned.csv", index=False)
    few.drop(columns="years").to_csv(folder / "lacking.csv", index=False)
    few.to_json(folder / "d.json", orient="records")
    few.to_json(folder / "d.jsonl", orient="records", lines=True)
    numbers = np.ascontiguousarray(few.to_numpy(dtype=np.float32))
    np.save(folder / "d.npy", numbers)
    np.savez(folder / "d.npz", x=numbers)
    save_file({"x": torch.from_numpy(numbers)}, folder / "d.safetensors")
    (folder / "texts.txt").write_text("a good film\nso bad\n")
    (folder / "letters").mkdir()
    (folder / "letters" / "b.txt").write_text("so\nbad")
    (folder / "letters" / "a.txt").write_text("a good\nfilm")
    (folder / "pictures").mkdir()
    for name, grey in (("b.png", 200), ("a.png", 100)):
        pixels = np.full((6, 5, 3), grey, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "pictures" / name)
    try:
        import polars as pl

        pl.from_dict({name: few[name].tolist() for name in COLUMNS}).write_parquet(
            folder / "d.parquet"
        )
    except ImportError:
        pass


def filled(folder: Path) -> Path:
    """The folder, filled."""
    frame = table()
    _models(folder, frame)
    _data(folder, frame)
    return folder
