"""What commands print for programs: one JSON object each, as the schemas beside this file describe.

Numbers are written with all their digits, and null where there is none. A later version may add
fields; whatever else changes raises the number at the end of `format`.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any, TypeAlias

from assay.answers.attribution import Attribution
from assay.answers.provenance import versions
from assay.answers.score import Score
from assay.answers.storage import plain
from assay.certificates.certificate import Certificate, Verdict
from assay.cli.varying import Lasting
from assay.comparison.comparison import Comparison
from assay.errors import AssayError, InputError
from assay.pages.credit import contents, names_of
from assay.pages.explained import explained
from assay.question.question import Question
from assay.registry.tables import Catalogue

Record: TypeAlias = dict[str, Any]


def text(record: Any) -> str:
    """One line of JSON; no number is NaN or infinite there."""
    return json.dumps(_finite(plain(record)), ensure_ascii=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return None
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    return value


def schema(name: str) -> str:
    """The JSON Schema of what a command prints with --json."""
    known = sorted(
        each.name.removesuffix(".json") for each in files("assay.cli").joinpath("schemas").iterdir()
    )
    if name not in known:
        raise InputError(
            expected=f"one of {', '.join(known)}",
            got=repr(name),
            advice="Name the command whose output is described.",
        )
    return files("assay.cli").joinpath("schemas", f"{name}.json").read_text(encoding="utf-8")


def head(command: str, question: Question | None = None) -> Record:
    """What every object begins with."""
    begun: Record = {"format": f"assay.{command}/1", "command": command, "versions": versions()}
    if question is not None:
        begun["question"] = {
            "model": question.model.name,
            "inputs": question.n,
            "features": question.partition.count,
            "asked": " ".join(repr(question).split()),
            "digest": question.digest,
        }
    return begun


def answers(answer: Attribution, question: Question, top: int | None) -> Iterator[Record]:
    """One record for each input, with the features of most credit first where `top` says how many."""
    targets = explained(question)
    for i in range(len(answer)):
        yield {
            "input": i,
            "key": str(int(question.keys[i])),
            "target": targets[i],
            "prediction": float(answer.prediction[i]),
            "base": float(answer.base[i]),
            "gap": None if answer.gap is None else float(answer.gap[i]),
            "credit": list(_credit(answer, question, i, top)),
        }


def _credit(answer: Attribution, question: Question, i: int, top: int | None) -> Iterator[Record]:
    names = names_of(answer, i)
    values = answer.values[i, : len(names)].double()
    seen = contents(question, i)
    kept: Sequence[int] = range(len(names))
    if top is not None:
        kept = values.abs().argsort(descending=True, stable=True)[:top].tolist()
    errors = answer.standard_error
    for k in kept:
        yield {
            "feature": str(names[k]),
            "value": seen[k] if seen else None,
            "credit": float(values[k]),
            "error": None if errors is None else float(errors[i, k]),
        }


def explanation(answer: Attribution, question: Question, top: int | None) -> Record:
    """What `explain` found."""
    return {
        **head("explain", question),
        "method": answer.method,
        "unit": answer.kind,
        "answers": list(answers(answer, question, top)),
        "facts": dict(answer.facts),
    }


def scores(found: Sequence[Score], question: Question) -> Record:
    """What `score` measured."""
    return {**head("score", question), "scores": [scored(score) for score in found]}


def scored(score: Score) -> Record:
    """One score."""
    low, high = score.interval
    return {
        "metric": score.name,
        "better": score.direction,
        "unit": score.units,
        "mean": score.mean,
        "low": low,
        "high": high,
        "no_interval": score.no_interval or None,
        "values": score.values.tolist(),
        "errors": None if score.error is None else score.error.tolist(),
        "missing": score.missing,
    }


def comparison(found: Comparison, lasted: Sequence[Lasting] = ()) -> Record:
    """What `compare` found, with what more inputs, draws and metrics would say."""
    cells = []
    for metric in found.metrics:
        ranking = found.rankings[metric]
        for method in found.listed:
            place = ranking.place(method)
            cells.append(
                {
                    "method": method,
                    "metric": metric,
                    "better": ranking.direction,
                    "reference": method in found.references,
                    **({} if place is None else dataclasses.asdict(place)),
                    "no_interval": (place is not None and place.no_interval) or None,
                    "refusal": found.refusals.get((method, metric)),
                }
            )
    agreement = found.agreement
    skills, refused = _skills(found)
    return {
        **head("compare", found.question),
        "seed": found.seed,
        "level": found.level,
        "methods": list(found.methods),
        "metrics": list(found.metrics),
        "winners": {
            metric: ranking.winner for metric, ranking in found.rankings.items() if ranking.places
        },
        "scores": cells,
        "differences": found.differences().to_dict("records"),
        "agreement": dataclasses.asdict(agreement),
        "inputs_needed": found.inputs_needed().to_dict("records"),
        "sampling": found.sampling().to_dict("records"),
        "skills": skills,
        "skills_refused": refused,
        "persistence": list(map(_lasting, lasted)),
        "refusals": [
            {"method": method, "metric": metric, "reason": reason}
            for (method, metric), reason in found.refusals.items()
        ],
    }


def _lasting(lasted: Lasting) -> Record:
    """Whether one winner stays the winner."""
    found = lasted.found
    if found is None:
        told: Record = dict.fromkeys(("winner", "share", "share_not_beaten", "chance"))
        return {"metric": lasted.metric, **told, "trials": [], "refusal": lasted.refusal}
    return {
        "metric": lasted.metric,
        "winner": found.winner,
        "share": found.share,
        "share_not_beaten": found.share_not_beaten,
        "chance": found.chance,
        "trials": [
            {
                "metric": trial.metric,
                "winner": trial.winner or None,
                "leaders": list(trial.leaders),
                "chance": trial.chance if trial.winner else None,
                "refusal": trial.refusal or None,
            }
            for trial in found.trials
        ],
        "refusal": None,
    }


def _skills(found: Comparison) -> tuple[list[Any], str | None]:
    """Skills, or why a metric's optimum is not known here: what was compared is there all the same."""
    try:
        return found.skills().to_dict("records"), None
    except AssayError as refusal:
        return [], str(refusal)


def certificates(proofs: Sequence[Any], question: Question, holds: bool | None) -> Record:
    """What `certify` proved."""
    return {
        **head("certify", question),
        "certificates": [{"input": i, **proved(proof)} for i, proof in enumerate(proofs)],
        "holds": holds,
    }


def proved(proof: Any) -> Record:
    """One certificate, or the rates of soft stability."""
    if not isinstance(proof, Certificate):
        # Rates of soft stability: a list for each radius.
        return {"rates": dataclasses.asdict(proof)}
    return {
        "selection": list(proof.selection),
        "features": proof.features,
        "incremental": proof.incremental,
        "decremental": proof.decremental,
        "consistent": proof.consistent,
        "agrees": proof.agrees,
        "full": proof.full,
        "confidence": proof.confidence,
        "by": proof.settings,
        "assumptions": list(proof.assumptions),
    }


def verdict(found: Verdict) -> Record:
    """What `verify` found."""
    return {**head("verify"), **dataclasses.asdict(found)}


def catalogue(command: str, table: Catalogue) -> Record:
    """A table of what there is, row by row."""
    return {**head(command), "rows": [dict(zip(table.columns, row)) for row in table.rows]}


def checked(facts: Mapping[str, Any], question: Question) -> Record:
    """What `check` found."""
    return {**head("check", question), **facts}
