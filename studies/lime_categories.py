"""LIME on tables with categories, beside lime 0.2.0.1 with `categorical_features`: does each column
weigh as much, and with the same sign?

Pipelines of scikit-learn on Adult and German credit, whose categories are words.

`python studies/lime_categories.py` writes docs/studies/lime_categories.json and the table of the
.md page.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

import assay
import zoo
from page import Page, conditions

PAGE = Page("lime_categories")
Floats = NDArray[np.float64]
SAMPLES = 5000  # lime's default
STRONG = 0.02  # of a probability: what a column weighs that counts as strong


@dataclass(frozen=True)
class Case:
    """A table of words and numbers, a model fitted to it, and the people who are explained."""

    name: str
    model: Pipeline
    train: pd.DataFrame
    people: pd.DataFrame

    @property
    def words(self) -> list[str]:
        return list(self.train.select_dtypes("category").columns)


def logistic(words: list[str], numbers: list[str]) -> Pipeline:
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), words), (StandardScaler(), numbers)
    )
    return make_pipeline(columns, LogisticRegression(max_iter=1000))


def boosting(words: list[str], numbers: list[str]) -> Pipeline:
    columns = make_column_transformer((OrdinalEncoder(), words), ("passthrough", numbers))
    return make_pipeline(columns, HistGradientBoostingClassifier(random_state=0))


TABLES: dict[str, Callable[[], tuple[pd.DataFrame, Any]]] = {
    "Adult": zoo.adult,
    "German credit": zoo.german,
}
MODELS = {"logistic regression": logistic, "gradient boosting": boosting}


def cases(people: int) -> list[Case]:
    made = []
    for table, read in TABLES.items():
        frame, label = read()
        words = list(frame.select_dtypes(exclude="number").columns)
        numbers = [name for name in frame.columns if name not in words]
        frame = frame.astype(dict.fromkeys(words, "category"))
        train = frame[:8000]
        for model, pipeline in MODELS.items():
            fitted = pipeline(words, numbers).fit(train, label[:8000])
            made.append(Case(f"{table}, {model}", fitted, train, train[:people]))
    return made


def ours(case: Case, proxy: bool = False) -> tuple[Floats, Floats]:
    """Weights and standard errors of every person and column."""
    question = assay.Question(case.model, case.people, 1, removal=assay.Background(case.people))
    around = assay.Quartiles(case.train, samples=SAMPLES)
    answer = assay.Lime(around, proxy=proxy)(question)
    assert answer.standard_error is not None
    return answer.values.numpy(), answer.standard_error.numpy()


def theirs(case: Case) -> Floats:
    """lime's weights, from codes that its callback turns into words again."""
    from lime.lime_tabular import LimeTabularExplainer

    def coded(frame: pd.DataFrame) -> Floats:
        columns = [frame[n].cat.codes if n in case.words else frame[n] for n in frame.columns]
        return np.column_stack(columns).astype(np.float64)

    def probabilities(codes: Floats) -> Floats:
        frame = pd.DataFrame(codes, columns=case.train.columns)
        for name in case.words:
            dtype = case.train[name].dtype
            frame[name] = pd.Categorical.from_codes(frame[name].astype(int), dtype=dtype)
        return np.asarray(case.model.predict_proba(frame), dtype=np.float64)

    explainer = LimeTabularExplainer(
        coded(case.train),
        categorical_features=[case.train.columns.get_loc(name) for name in case.words],
        feature_selection="none",
        random_state=0,
    )
    count = case.train.shape[1]
    weights = np.zeros((len(case.people), count))
    for row, person in enumerate(coded(case.people)):
        answer = explainer.explain_instance(
            person, probabilities, num_features=count, num_samples=SAMPLES
        )
        for column, weight in answer.local_exp[1]:
            weights[row, column] = weight
    return weights


def measure(case: Case) -> dict[str, Any]:
    """How many strong categories there are, and how many have lime's sign."""
    values, errors = ours(case)
    proxied, _ = ours(case, proxy=True)
    lime = theirs(case)
    at = [case.train.columns.get_loc(name) for name in case.words]
    strong = np.abs(lime[:, at]) >= STRONG
    gap = np.abs(values - lime)[:, at]
    record = {
        "case": case.name,
        "categories": len(at),
        "strong": int(strong.sum()),
        "same sign": int((np.sign(values) == np.sign(lime))[:, at][strong].sum()),
        "same sign, proxy": int((np.sign(proxied) == np.sign(lime))[:, at][strong].sum()),
        "median gap": float(np.median(gap[strong])),
        "largest gap": float(gap[strong].max()),
        "median error": float(np.median(errors[:, at][strong])),
        "correlation": float(np.corrcoef(values.ravel(), lime.ravel())[0, 1]),
    }
    print(record, flush=True)
    return record


def table(records: list[dict[str, Any]]) -> str:
    head = ["table, model", "columns of categories", "strong weights of categories", "same sign"]
    head += ["same sign, proxy", "difference: median", "largest", "our standard error"]
    head += ["correlation, all columns"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for one in records:
        cells = [one["case"], one["categories"], one["strong"], one["same sign"]]
        cells += [one["same sign, proxy"], f"{one['median gap']:.4f}"]
        cells += [f"{one['largest gap']:.3f}", f"{one['median error']:.4f}"]
        cells += [f"{one['correlation']:.4f}"]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=8, help="people explained per table")
    options = parser.parse_args()
    conditions()
    with assay.quiet():
        records = [measure(case) for case in cases(options.people)]
    PAGE.keep({"people": options.people, "samples": SAMPLES, "records": records})
    PAGE.fill(table(records))


if __name__ == "__main__":
    main()
