"""Real tables and texts, and the small networks that were trained on some of them."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from zoo.place import data_root

Split = Literal["train", "test"]

# name -> folder, file stem, label, network file
_OPENXAI = {
    "adult": ("Adult", "adult", "income", "adult_lr_0.002_acc_0.83"),
    "compas": ("COMPAS", "compas", "risk", "compas_lr_0.002_acc_0.85"),
    "german": ("German_Credit_Data", "german", "credit-risk", "german_lr_0.002_acc_0.71"),
    "heloc": ("Heloc", "heloc", "RiskPerformance", "heloc_lr_0.002_acc_0.74"),
}


def openxai(name: str, split: Split = "test") -> tuple[pd.DataFrame, pd.Series]:
    """Adult, COMPAS, German credit or HELOC as its network takes it: min-max scaled by the training
    table.
    """
    folder, stem, label, _ = _OPENXAI[name]
    tables = {
        part: pd.read_csv(data_root() / "openxai_tabular" / folder / f"{stem}-{part}.csv")
        for part in Split.__args__
    }
    low = tables["train"].drop(columns=label).min()
    high = tables["train"].drop(columns=label).max()
    table = tables[split]
    return (table.drop(columns=label) - low) / (high - low), table[label].astype(int)


def openxai_network(name: str) -> nn.Sequential:
    """The trained network of that table: two logits."""
    state = torch.load(
        data_root() / "openxai_tabular" / "ANN" / f"{_OPENXAI[name][3]}.pt",
        map_location="cpu",
        weights_only=True,
    )
    hidden, width = state["input1.weight"].shape
    net = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, 2))
    net.load_state_dict(
        {key.replace("input1", "0").replace("input2", "2"): value for key, value in state.items()}
    )
    return net.eval()


def california() -> tuple[pd.DataFrame, pd.Series]:
    """California housing: 20,640 rows of 8 numbers, and the median house value."""
    table = pd.read_csv(data_root() / "tabular_raw" / "california_housing.csv")
    return table.drop(columns="MedHouseVal"), table["MedHouseVal"]


def california_split() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Train and test rows and their values, as the trained network was made: x_train, x_test,
    y_train, y_test.

    It was made from the first 600 rows of the table.
    """
    from sklearn.model_selection import train_test_split

    x, y = california()
    parts = train_test_split(x.to_numpy()[:600], y.to_numpy()[:600], test_size=0.3, random_state=0)
    return tuple(torch.tensor(part, dtype=torch.float32) for part in parts)


def california_network() -> nn.Sequential:
    """The trained regression network 8-100-50-10-1 for unscaled California rows."""
    path = data_root() / "captum_models" / "california_model.pt"
    state = torch.load(path, map_location="cpu", weights_only=True)
    sizes = (8, 100, 50, 10, 1)
    layers = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())]
    net = nn.Sequential(*layers[:-1])
    net.load_state_dict(
        {f"{2 * int(key[3]) - 2}.{key.split('.')[1]}": value for key, value in state.items()},
    )
    return net.eval()


def adult() -> tuple[pd.DataFrame, pd.Series]:
    """The census table with its words: 32,561 rows, 14 columns, and whether the income exceeds
    50,000.
    """
    names = [
        "age",
        "workclass",
        "fnlwgt",
        "education",
        "education_num",
        "marital_status",
        "occupation",
        "relationship",
    ]
    names += [
        "race",
        "sex",
        "capital_gain",
        "capital_loss",
        "hours_per_week",
        "native_country",
        "income",
    ]
    path = data_root() / "tabular_raw" / "adult.data"
    table = pd.read_csv(path, header=None, names=names, skipinitialspace=True)
    return table[names[:-1]], table["income"].eq(">50K").astype(int)


def german() -> tuple[pd.DataFrame, pd.Series]:
    """German credit with its words: 1,000 rows, 20 columns, and whether the credit was good."""
    table = pd.read_csv(data_root() / "tabular_raw" / "GermanCredit.csv")
    return table.drop(columns="credit_risk"), table["credit_risk"].astype(int)


def boston() -> tuple[pd.DataFrame, pd.Series]:
    """Boston housing without its racially defined column: 506 rows, 12 columns, and the median
    value.
    """
    table = pd.read_csv(data_root() / "tabular_raw" / "BostonHousing.csv")
    return table.drop(columns=["medv", "b"]), table["medv"]


def nhanes() -> tuple[pd.DataFrame, pd.Series]:
    """NHANES I: 18 measurements a person, and the years survived (negative: alive at the last
    contact).
    """
    folder = data_root() / "tabular_raw"
    x = pd.read_csv(folder / "NHANESI_subset_X.csv", index_col=0)
    return x, pd.read_csv(folder / "NHANESI_subset_y.csv", index_col=0)["y"]


def trec(split: Split = "train") -> tuple[list[str], list[str]]:
    """Questions and their coarse classes (ABBR, DESC, ENTY, HUM, LOC, NUM): 5,452 and 500."""
    name = {"train": "train_5500.label", "test": "TREC_10.label"}[split]
    lines = (data_root() / "text" / name).read_text(encoding="latin-1").splitlines()
    heads, questions = zip(*(line.split(" ", 1) for line in lines if line))
    return list(questions), [head.split(":")[0] for head in heads]


def sst2(split: Literal["train", "dev", "test"] = "test") -> tuple[list[str], np.ndarray]:
    """Movie-review phrases and whether they are favourable: 60,614, 6,735 and 872."""
    lines = (
        (data_root() / "text" / "SST-2" / f"{split}.tsv").read_text(encoding="utf-8").splitlines()
    )
    rows = [line.rsplit("\t", 1) for line in lines[1:]]
    return [text.strip() for text, _ in rows], np.array([int(label) for _, label in rows])


def tweeteval(
    task: Literal["emotion", "irony", "sentiment"], split: Literal["train", "val", "test"] = "val"
) -> tuple[list[str], np.ndarray, list[str]]:
    """Tweets, their labels, and the names of the labels (no training split for sentiment)."""
    folder = data_root() / "text" / "tweeteval" / task
    texts = (folder / f"{split}_text.txt").read_text(encoding="utf-8").rstrip("\n").split("\n")
    names = [
        line.split("\t")[1] for line in (folder / "mapping.txt").read_text().splitlines() if line
    ]
    return texts, np.loadtxt(folder / f"{split}_labels.txt", dtype=np.int64), names
