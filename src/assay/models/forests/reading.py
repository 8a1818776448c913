"""From a predictor, or its saved file, to its forest: whose it is, and that it is the same function."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from assay.errors import AssayError, InputError, ModelError
from assay.models.forests.answers import Answers
from assay.models.forests.catboost import read_catboost
from assay.models.forests.forest import Floats
from assay.models.forests.lightgbm import read_lightgbm
from assay.models.forests.pipelines import is_pipeline, source_columns, steps_of
from assay.models.forests.sklearn import is_tree_estimator, normal_way, read_sklearn
from assay.models.forests.tree_model import TreeModel
from assay.models.forests.xgboost import read_xgboost

_READERS: dict[str, Callable[[Any], TreeModel]] = {
    "sklearn": read_sklearn,
    "xgboost": read_xgboost,
    "lightgbm": read_lightgbm,
    "catboost": read_catboost,
}

_SEARCHED = ("best_estimator_",)  # what a search hands everything on to


def library_of(predictor: Any) -> str:
    """The name of the library that a predictor is of."""
    return type(predictor).__module__.partition(".")[0]


def trees_inside(predictor: Any) -> Any:
    """What is made of trees in a predictor: itself, the last step of a pipeline, the winner of a
    search; None where there are none.
    """
    for name in _SEARCHED:
        winner = getattr(predictor, name, None)
        if winner is not None:
            return trees_inside(winner)
    if is_pipeline(predictor):
        return trees_inside(predictor.steps[-1][1])
    if _is_of_trees(predictor):
        return predictor
    return None


def _is_of_trees(predictor: Any) -> bool:
    # By names alone, so that no library is loaded for the question.
    library = library_of(predictor)
    if library == "sklearn":
        return is_tree_estimator(predictor)
    if library == "xgboost":
        # The same class also fits linear models, which have no trees to read.
        linear = getattr(predictor, "booster", None) == "gblinear"
        return type(predictor).__name__ == "Booster" or (
            hasattr(predictor, "get_booster") and not linear
        )
    if library == "lightgbm":
        return type(predictor).__name__ == "Booster" or hasattr(type(predictor), "booster_")
    return library == "catboost" and hasattr(predictor, "calc_leaf_indexes")


def read_trees(predictor: Any) -> TreeModel:
    """The forest of a predictor, verified against the library's own margin.

    The predictor may be an estimator of scikit-learn, XGBoost, LightGBM or CatBoost, a booster, a
    pipeline that ends in one of them, or a search that found one.

    Errors: ModelError where it is not fitted, or where what was read is not what the library predicts;
    AbilityError for what is no sum of leaves, by its name.
    """
    winner = getattr(predictor, "best_estimator_", None)
    if winner is not None:
        return read_trees(winner)
    if is_pipeline(predictor):
        return _behind_steps(predictor)
    reader = _READERS[library_of(predictor)]
    who = type(predictor).__name__
    try:
        return reader(predictor).verify()
    except AssayError:
        raise
    except Exception as error:  # attributes and files of another version
        raise ModelError(
            expected=f"a {who} whose trees can be read",
            got=f"{type(error).__name__}: {str(error)[:200]}",
            advice=(
                "It may be of a version that is not known here. Explain it as a black box: "
                "wrap(model.predict), with KernelShap or ExactShapley."
            ),
        ) from error


def _behind_steps(pipeline: Any) -> TreeModel:
    """The trees of a pipeline's last step, of raw columns."""
    last = read_trees(pipeline.steps[-1][1])
    before = steps_of(pipeline)[:-1]
    if not before:
        return last
    raw = int(pipeline.n_features_in_)
    encoded_of = source_columns(before, raw)
    if len(encoded_of) != last.raw:
        raise ModelError(
            expected=f"{last.raw} columns for {last.who} from the steps before it",
            got=f"{len(encoded_of)} that are known of",
            advice="Explain the pipeline as a black box: wrap(pipeline.predict).",
        )

    def transformed(table: Any) -> Any:
        for step in before:
            table = step.transform(table)
        # One-hot columns may come as a sparse matrix.
        if hasattr(table, "toarray"):
            return table.toarray()
        return table

    return dataclasses.replace(
        last,
        encode=lambda table: last.encode(transformed(table)),
        margin=lambda table: last.margin(transformed(table)),
        source=encoded_of[last.source],
        raw=raw,
        mixes=True,
    )


def model_trees(
    predictor: Any,
    method: str,
    pick: Callable[[Any], Any],
    arrange: Callable[[Any], Any],
    asked: Callable[[Any], Any],
) -> TreeModel:
    """The forest of a predictor that is asked by one of its methods.

    Args:
        predictor: an estimator, a booster, a pipeline or a search.
        method: what it is asked for.
        pick: what picks a part of the answer.
        arrange: makes tables of rows.
        asked: what the method says of a table.
    """
    # Read and verified by the margin; what the method makes of it is compared row by row later.
    trees = read_trees(predictor)

    def answered(rows: Any) -> Floats:
        outputs = np.asarray(pick(asked(arrange(rows))), dtype=np.float64)
        return outputs.reshape(len(outputs), -1)

    return dataclasses.replace(
        trees,
        arrange=arrange,
        answers=_picked(answers_of(predictor, method, trees), predictor, trees, pick),
        answered=answered,
    )


def _picked(
    answers: Answers | None, predictor: Any, trees: TreeModel, pick: Callable[[Any], Any]
) -> Answers | None:
    """The answers of which a part is picked, found by picking from the numbers of the columns."""
    if answers is None:
        return None
    count = 2 if answers.both else trees.forest.outputs
    numbers: Any = np.arange(count)[None]
    # Probabilities of several targets come as a list.
    targets = np.asarray(getattr(trees_inside(predictor), "n_classes_", 1))
    if targets.ndim == 1 and len(targets) > 1:
        numbers = np.split(numbers, np.cumsum(targets)[:-1], axis=1)
    try:
        chosen = np.asarray(pick(numbers)).reshape(-1)
    except Exception:  # a pick of one's own, of which anything may be said
        return None
    whole = chosen.dtype.kind in "iu" and np.array_equal(chosen, np.arange(count))
    if whole:
        return answers
    if chosen.dtype.kind not in "iu" or not np.isin(chosen, np.arange(count)).all():
        return None
    return dataclasses.replace(answers, columns=tuple(chosen.tolist()))


# What the predictor's own method makes of the margin.


def answers_of(predictor: Any, method: str, trees: TreeModel) -> Answers | None:
    """What a method of a predictor answers with; None where it gives labels, or what is not known."""
    inner = trees_inside(predictor)
    link = trees.forest.link
    if method == "margin":
        return Answers(factor=trees.raw_factor)
    if library_of(inner) == "sklearn":
        return _of_sklearn(inner, method, link)
    if method == "predict_proba":
        return _probabilities(link, trees.forest.outputs)
    if method != "predict" or hasattr(inner, "predict_proba"):
        return None
    # CatBoost predicts the margin, but for counts.
    if library_of(inner) == "catboost" and link != "exp":
        return Answers()
    return _linked(link)


def _linked(link: str) -> Answers | None:
    """A link by its name, "logit of 2.0 times the margin" among them."""
    if link == "logit of twice the margin":
        return Answers("logit", factor=2.0)
    if link.startswith("logit of "):
        return Answers("logit", factor=float(link.split(" ")[2]))
    return Answers(link)


def _probabilities(link: str, outputs: int) -> Answers | None:
    known = _linked(link)
    if known is None or outputs > 1:
        return known
    return dataclasses.replace(known, both=True)


def _of_sklearn(estimator: Any, method: str, link: str) -> Answers | None:
    kind = type(estimator).__name__
    if kind == "IsolationForest":
        return _of_isolation(estimator, method)
    is_classifier = hasattr(estimator, "predict_proba")
    if is_classifier and link == "identity":
        links = {"predict_proba": Answers(), "predict_log_proba": Answers("log")}
        return links.get(method)
    if not is_classifier:
        if method == "predict":
            return _linked(link)
        return None
    if method == "decision_function":
        return Answers()
    # A logit is one margin that makes two columns; a softmax has a margin for each.
    outputs = 1 if link.startswith("logit") else 2
    if method == "predict_proba":
        return _probabilities(link, outputs)
    return None


def _of_isolation(estimator: Any, method: str) -> Answers | None:
    shifts = {"score_samples": 0.0, "decision_function": -float(estimator.offset_)}
    if method not in shifts:
        return None
    return Answers("power of two", factor=-1.0 / normal_way(estimator), shift=shifts[method])


# Files.


_ENDINGS = (".json", ".ubj", ".txt", ".model", ".cbm", ".bin")


def is_file(predictor: Any) -> bool:
    """Whether a predictor is named by its file."""
    if isinstance(predictor, os.PathLike):
        return True
    # Of words only those that look like files: another word is no predictor at all.
    return isinstance(predictor, str) and (
        predictor.endswith(_ENDINGS) or Path(predictor).is_file()
    )


def loaded(path: Any) -> Any:
    """The model that a file of XGBoost (JSON, UBJ), LightGBM (text) or CatBoost (cbm, JSON) holds.

    Errors: InputError for a file that is none of these, with what it is; ModelError where the library
    cannot load it.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(
            expected="the file of a model", got=f"no file {str(file)!r}", advice="Check its name."
        )
    library = _library_of_file(file)
    try:
        return _LOADERS[library](str(file))
    except ImportError as error:
        raise ModelError(
            expected=f"{library}, which the model in {file.name} is of",
            got="no such package",
            advice=f"Install it: pip install {library}. What is read is checked against it.",
        ) from error
    except Exception as error:  # each library raises its own
        raise ModelError(
            expected=f"a file that the installed {library} can load",
            got=f"{file.name}: {str(error).splitlines()[0][:200]}",
            advice=f"It may be damaged, or saved by a newer version: pip install -U {library}.",
        ) from error


def _library_of_file(file: Path) -> str:
    """Whose a file is, by its first bytes."""
    # Names of files say little; what they begin with is the library's own.
    with file.open("rb") as opened:
        start = opened.read(16)
    if start.startswith(b"CBM1"):
        return "catboost"
    if start.startswith((b"tree\n", b"tree\r")):
        return "lightgbm"
    # UBJ: a brace, and the type of the number that says how long the first key is.
    if start.startswith((b"{L", b"{l", b"{U", b"{i")):
        return "xgboost"
    if start.lstrip().startswith(b"{"):
        return _library_of_json(file)
    raise InputError(
        expected="a model of XGBoost (JSON or UBJ), LightGBM (text) or CatBoost (cbm or JSON)",
        got=f"{file.name}, which begins with {start[:8]!r}",
        advice=(
            "XGBoost's binary files of before version 1.7 are loaded by xgboost<3.1 and saved anew: "
            "booster.save_model('model.ubj'). Of scikit-learn hand over the fitted estimator."
        ),
    )


def _library_of_json(file: Path) -> str:
    try:
        keys = set(json.loads(file.read_text(encoding="utf-8")))
    except ValueError as error:
        raise InputError(
            expected="a model as JSON", got=f"{file.name}: {error}", advice="Save it anew."
        ) from error
    if "learner" in keys:
        return "xgboost"
    if keys & {"oblivious_trees", "trees", "features_info"}:
        return "catboost"
    raise InputError(
        expected="the JSON of XGBoost or CatBoost",
        got=f"{file.name} with {sorted(keys)[:5]}",
        advice="Save it by booster.save_model or model.save_model(path, format='json').",
    )


def _xgboost_file(path: str) -> Any:
    import xgboost

    return xgboost.Booster(model_file=path)


def _lightgbm_file(path: str) -> Any:
    import lightgbm

    return lightgbm.Booster(model_file=path)


def _catboost_file(path: str) -> Any:
    import catboost

    # The library does not look for itself: without a format it takes every file for cbm.
    binary = Path(path).read_bytes()[:4] == b"CBM1"
    return catboost.CatBoost().load_model(path, format="cbm" if binary else "json")


_LOADERS: dict[str, Callable[[str], Any]] = {
    "xgboost": _xgboost_file,
    "lightgbm": _lightgbm_file,
    "catboost": _catboost_file,
}
