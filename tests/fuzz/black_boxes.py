"""Random estimators in the style of scikit-learn, and functions on arrays and tensors, good ones and
bad ones.
"""

from __future__ import annotations

import random
import warnings
from functools import cache, partial
from typing import Any

import numpy as np
import torch

from fuzz.predictors import Predictor

WIDTH = 4


@cache
def _estimators() -> dict[str, Any]:
    from sklearn import ensemble, linear_model, naive_bayes, neighbors, neural_network, svm, tree
    from sklearn.decomposition import PCA
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.multioutput import MultiOutputClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return {
        "LogisticRegression": linear_model.LogisticRegression,
        "LinearRegression": linear_model.LinearRegression,
        "Ridge two outputs": linear_model.Ridge,
        "SGDClassifier": partial(linear_model.SGDClassifier, random_state=0),
        "RandomForest": partial(ensemble.RandomForestClassifier, 5, random_state=0),
        "Boosting": partial(ensemble.HistGradientBoostingRegressor, max_iter=5),
        "Tree": partial(tree.DecisionTreeClassifier, random_state=0),
        "SVC": svm.SVC,
        "SVC three": partial(svm.SVC, decision_function_shape="ovo"),
        "KNN": partial(neighbors.KNeighborsRegressor, 3),
        "Bayes": naive_bayes.GaussianNB,
        "MLP": partial(
            neural_network.MLPRegressor, hidden_layer_sizes=(4,), max_iter=20, random_state=0
        ),
        "pipeline": partial(
            make_pipeline, StandardScaler(), PCA(2), linear_model.LogisticRegression()
        ),
        "process": GaussianProcessRegressor,
        "multi": partial(MultiOutputClassifier, linear_model.LogisticRegression()),
        "unfitted": linear_model.LogisticRegression,
        "outliers": partial(ensemble.IsolationForest, n_estimators=5, random_state=0),
        "labels": partial(linear_model.Perceptron),
    }


@cache
def _fitted(name: str, framed: bool, seed: int) -> Any:
    draw = np.random.RandomState(seed)
    x: Any = draw.randn(30, WIDTH)
    score = x[:, 0] + x[:, 1] * x[:, 2]
    y: Any = (score > 0).astype(int)
    if name in ("SVC three", "Bayes"):
        y = np.digitize(score, [-0.5, 0.5])
    elif name in ("LinearRegression", "Boosting", "KNN", "MLP", "process"):
        y = score
    elif name == "Ridge two outputs":
        y = np.stack([score, -2 * score], 1)
    elif name == "multi":
        y = np.stack([y, 1 - y], 1)
    if framed:
        import pandas as pd

        x = pd.DataFrame(x, columns=list("abcd"))
    model = _estimators()[name]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model if name == "unfitted" else model.fit(x, y)


def estimator(draw: random.Random) -> Predictor:
    """A fitted estimator (one is not), called with an array or a frame."""
    name = draw.choice(list(_estimators()))
    framed = draw.random() < 0.3
    seed = draw.randrange(3)
    return Predictor(
        family="estimator", kind=name, fresh=lambda: _fitted(name, framed, seed),
        shapes=((WIDTH,),), dtype=torch.float64, takes="frame" if framed else "array",
        columns=tuple("abcd") if framed else (), outputs=2,
    )  # fmt: skip


class _Counter:
    """A callable object that counts; what it says does not depend on that."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, x: Any) -> Any:
        self.calls += 1
        return x[:, 0] * x[:, 1]


class _Both(_Counter):
    """A callable with a `predict`, too."""

    def predict(self, x: Any) -> Any:
        return x[:, 0] - x[:, 1]


def _in_place(x: Any) -> Any:
    x *= 2
    x[:, 0] = 0
    return x.sum(1)


def _returns_view(x: Any) -> Any:
    return x[:, 1]


def _returns_buffer() -> Any:
    """Answers in one buffer that is filled again at every call."""
    buffer = np.zeros((64, 2))

    def answer(x: Any) -> Any:
        found = buffer if len(x) == 64 else np.resize(buffer, (len(x), 2))
        if len(x) <= 64:
            found = buffer[: len(x)]
        found[:, 0] = np.asarray(x).reshape(len(x), -1).sum(1)
        found[:, 1] = np.asarray(x).reshape(len(x), -1)[:, 0] ** 2
        return found

    return answer


def _standardises(x: Any) -> Any:
    return ((x - x.mean(0)) / (x.std(0) + 1e-9)).sum(1)


def _closure() -> Any:
    weights = np.arange(1.0, WIDTH + 1)
    return lambda x: np.tanh(np.asarray(x) @ weights / 3)


def _remembers() -> Any:
    calls: list[int] = []

    def answer(x: Any) -> Any:
        calls.append(1)
        return np.asarray(x).sum(1) + len(calls)

    return answer


NUMPY: dict[str, tuple[Any, frozenset[str]]] = {
    "sum": (lambda: lambda x: x.sum(1), frozenset()),
    "two columns": (lambda: lambda x: np.stack([x[:, 0], np.sin(x).sum(1)], 1), frozenset()),
    "closure": (_closure, frozenset()),
    "partial": (lambda: partial(np.sum, axis=1), frozenset()),
    "in place": (lambda: _in_place, frozenset()),
    "view": (lambda: _returns_view, frozenset()),
    "buffer": (_returns_buffer, frozenset()),
    "counter": (_Counter, frozenset()),
    "both": (_Both, frozenset({"estimator"})),
    "linear": (lambda: lambda x: 2 * x[:, 0] - x[:, 1], frozenset()),
    "largest": (lambda: lambda x: x.max(1), frozenset()),
    "float32": (lambda: lambda x: x.sum(1).astype(np.float32), frozenset()),
    "bool": (lambda: lambda x: x.sum(1) > 0, frozenset()),
    "ints": (lambda: lambda x: np.sign(x).astype(int), frozenset()),
    "transposed": (lambda: lambda x: np.asfortranarray(np.tanh(x)), frozenset()),
    "reversed": (lambda: lambda x: np.tanh(x)[:, ::-1], frozenset()),
    "broadcast": (lambda: lambda x: np.broadcast_to(x.sum(1)[:, None], (len(x), 2)), frozenset()),
    "keeps dims": (lambda: lambda x: x.sum(1, keepdims=True), frozenset()),
    "grid": (lambda: lambda x: x[:, :, None] * np.ones((1, 1, 2)), frozenset()),
    "complex": (lambda: lambda x: x.sum(1) + 1j, frozenset({"bad"})),
    "strings": (lambda: lambda x: np.array(["a"] * len(x)), frozenset({"bad"})),
    "list": (lambda: lambda x: [float(row.sum()) for row in x], frozenset({"bad"})),
    "objects": (lambda: lambda x: np.array([None] * len(x)), frozenset({"bad"})),
    "none": (lambda: lambda x: None, frozenset({"bad"})),
    "scalar": (lambda: lambda x: float(x.sum()), frozenset({"bad"})),
    "one row more": (lambda: lambda x: np.append(x.sum(1), 0.0), frozenset({"bad"})),
    "no columns": (lambda: lambda x: x[:, :0], frozenset({"bad"})),
    "nan": (lambda: lambda x: np.log(x - 10).sum(1), frozenset({"bad"})),
    "infinite": (lambda: lambda x: x.sum(1) * np.inf, frozenset({"bad"})),
    "raises": (lambda: lambda x: 1 / 0, frozenset({"bad"})),
    "key error": (lambda: lambda x: {}["weights"], frozenset({"bad"})),
    "wrong arity": (lambda: lambda: 1.0, frozenset({"bad"})),
    "generator": (lambda: lambda x: (row for row in x), frozenset({"bad"})),
    "masked": (lambda: lambda x: np.ma.masked_less(x.sum(1), 0), frozenset({"bad"})),
    "standardises": (lambda: _standardises, frozenset({"crowd"})),
    "remembers": (_remembers, frozenset({"state"})),
    "random": (lambda: lambda x: x.sum(1) + np.random.rand(len(x)), frozenset({"random"})),  # noqa: NPY002
    "type": (lambda: _Counter, frozenset({"bad"})),
    "string": (lambda: "model", frozenset({"bad"})),
    "nothing": (lambda: None, frozenset({"bad"})),
}

TORCH: dict[str, tuple[Any, frozenset[str]]] = {
    "torch sum": (lambda: lambda x: x.sum(1), frozenset()),
    "torch product": (lambda: lambda x: x.prod(1), frozenset()),
    "torch in place": (lambda: lambda x: x.mul_(2).sin_().sum(1), frozenset()),
    "torch detached": (lambda: lambda x: x.detach().sum(1), frozenset()),
    "torch no grad": (lambda: torch.no_grad()(lambda x: x.sin().sum(1)), frozenset()),
    "torch numpy": (lambda: lambda x: torch.as_tensor(x.detach().numpy().sum(1)), frozenset()),
    "torch item": (lambda: lambda x: torch.stack([row.sum() * row[0].item() for row in x]), frozenset()),
    "torch ints": (lambda: lambda x: x.round().long().sum(1), frozenset()),
    "torch two": (lambda: lambda x: torch.stack([x.exp().sum(1), x[:, 0]], 1), frozenset()),
    "torch kept graph": (lambda: _Kept(), frozenset()),
    "torch sparse": (lambda: lambda x: x.to_sparse(), frozenset({"bad"})),
    "torch complex": (lambda: lambda x: torch.complex(x, x).sum(1), frozenset({"bad"})),
    "torch expanded": (lambda: lambda x: x.sum(1, keepdim=True).expand(-1, 3), frozenset()),
    "torch inference": (lambda: torch.inference_mode()(lambda x: x.sin().sum(1)), frozenset()),
    "torch random": (lambda: lambda x: x.sum(1) + torch.rand(len(x)), frozenset({"random"})),
    "torch input itself": (lambda: lambda x: x, frozenset()),
    "torch meta": (lambda: lambda x: x.to("meta"), frozenset({"bad"})),
    "torch bound": (lambda: _linear().forward, frozenset()),
}  # fmt: skip


def _linear() -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return torch.nn.Linear(WIDTH, 2).double()


class _Kept:
    """Keeps its last outputs, graph and all."""

    def __init__(self) -> None:
        self.last: Any = None

    def __call__(self, x: Any) -> Any:
        self.last = x.cos().sum(1)
        return self.last


def function(draw: random.Random) -> Predictor:
    """A function on arrays or on tensors."""
    tensors = draw.random() < 0.4
    table = TORCH if tensors else NUMPY
    name = draw.choice(list(table))
    make, traits = table[name]
    while "bad" in traits and draw.random() < 0.6:
        name = draw.choice(list(table))
        make, traits = table[name]
    return Predictor(
        family="estimator" if "estimator" in traits else "function", kind=name, fresh=make,
        shapes=((WIDTH,),), dtype=draw.choice((torch.float64, torch.float64, torch.float32)),
        traits=traits, takes="tensor" if tensors else "array",
    )  # fmt: skip


def black_box(draw: random.Random) -> Predictor:
    """Either."""
    return estimator(draw) if draw.random() < 0.45 else function(draw)
