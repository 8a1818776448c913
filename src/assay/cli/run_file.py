"""A run as a file: the options of `compare`, `certify` and `report` in TOML, by the same words.

Read from `assay.toml`, or from the table `[tool.assay]` of a `pyproject.toml`. A key that is not
known is refused, and so is a value of another kind.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from assay.answers.files import write_file
from assay.cli import certifying, comparing
from assay.cli.asked import Asked
from assay.cli.comparing import Contest
from assay.cli.exits import DONE, NOT_HELD
from assay.errors import InputError, KindError
from assay.registry.data_files import Reading

_TEXT = (str,)
_TEXTS = (list,)
_NUMBER = (int, float)

# What may stand in a file, by table: each key with the kinds of its values.
_KEYS: Mapping[str, Mapping[str, tuple[type, ...]]] = {
    "": {
        "model": _TEXT,
        "data": _TEXT,
        "target": (str, int),
        "features": _TEXT,
        "removal": _TEXT,
        "background": _TEXT,
        "output": (str, int),
        "weights": _TEXT,
        "trust": (bool,),
        "rows": _TEXT,
        "where": _TEXT,
        "sample": (int,),
        "columns": _TEXTS,
        "drop": _TEXTS,
        "index_column": _TEXT,
        "categories": _TEXTS,
        "resize": _TEXT,
        "mean": _TEXT,
        "std": _TEXT,
        "methods": _TEXTS,
        "metrics": _TEXTS,
        "answers": _TEXTS,
        "references": (bool,),
        "require": _TEXTS,
        "vary": _TEXTS,
        "save": _TEXT,
        "seed": (int,),
        "certify": (dict,),
        "report": (dict,),
    },
    "certify": {"select": _TEXT, "by": _TEXT, "out": _TEXT, "require": _NUMBER},
    "report": {"out": _TEXT, "title": _TEXT},
}

_READING = ("rows", "where", "sample", "index_column", "resize", "mean", "std")


def read(path: Path) -> dict[str, Any]:
    """The settings of a run, checked."""
    try:
        stated: Any = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(
            expected=f"a run in {path}",
            got="no file there",
            advice="Write one: assay compare ... --save-config assay.toml.",
        ) from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(
            expected=f"TOML in {path}",
            got=str(error),
            advice="Write key = value, texts in quotes.",
        ) from error
    if path.name == "pyproject.toml":
        stated = stated.get("tool", {}).get("assay", {})
    _check(stated, "", path)
    for name in ("certify", "report"):
        _check(stated.get(name, {}), name, path)
    if "model" not in stated or "data" not in stated:
        raise InputError(
            expected=f"model and data in {path}",
            got=", ".join(stated) or "neither",
            advice='Write model = "model.py:net" and data = "test.csv".',
        )
    found: dict[str, Any] = stated
    return found


def _check(table: Any, name: str, path: Path) -> None:
    known = _KEYS[name]
    for key, value in table.items():
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            meant = f"Did you mean {close[0]}? " if close else ""
            raise InputError(
                expected=f"known keys in {f'[{name}] of ' if name else ''}{path}",
                got=repr(key),
                advice=f"{meant}Known: {', '.join(known)}.",
            )
        # True is a number to Python, and none here.
        right = isinstance(value, known[key]) and (bool in known[key] or type(value) is not bool)
        if not right or (known[key] is _TEXTS and not all(isinstance(each, str) for each in value)):
            kinds = "texts" if known[key] is _TEXTS else known[key][0].__name__
            raise KindError(
                expected=f"{key} in {path} as {kinds}",
                got=repr(value),
                advice="Texts stand in quotes, lists in brackets.",
            )


def _text(value: Any) -> str | None:
    if value is None:
        return None
    return str(value)


def _path(value: Any) -> Path | None:
    if value is None:
        return None
    return Path(value)


def asked(stated: Mapping[str, Any]) -> Asked:
    """The question of a run."""
    return Asked(
        model=stated["model"],
        data=Path(stated["data"]),
        target=_text(stated.get("target")),
        features=stated.get("features"),
        removal=stated.get("removal"),
        background=_path(stated.get("background")),
        output=_text(stated.get("output")),
        weights=_path(stated.get("weights")),
        trust=stated.get("trust", False),
        reading=Reading(
            columns=tuple(stated.get("columns", ())),
            drop=tuple(stated.get("drop", ())),
            categories=tuple(stated.get("categories", ())),
            **{name: stated[name] for name in _READING if name in stated},
        ),
        seed=stated.get("seed", 0),
    )


def run(path: Path, form: str, quiet: bool) -> int:
    """Compares, certifies and reports, as far as the file asks for it."""
    stated = read(path)
    question = asked(stated)
    certify = stated.get("certify", {})
    page = stated.get("report", {})
    contest = Contest(
        methods=tuple(stated.get("methods", ())),
        metrics=tuple(stated.get("metrics", ())),
        answers=tuple(map(Path, stated.get("answers", ()))),
        references=stated.get("references", True),
        save=_path(stated.get("save")),
        page=Path(page.get("out", "report.html")) if "report" in stated else None,
        title=page.get("title", Contest.title),
        require=tuple(stated.get("require", ())),
        vary=tuple(stated.get("vary", ())),
    )
    if certify and "select" not in certify:
        raise InputError(
            expected=f"select in [certify] of {path}",
            got=", ".join(certify),
            advice='Write select = "Occlusion:0.25".',
        )
    codes = []
    if contest.methods or contest.answers or not certify:
        codes.append(comparing.run(question, contest, form, quiet))
    if certify:
        codes.append(_certified(question, certify, form, quiet))
    # A requirement that does not hold weighs more than what was refused.
    if NOT_HELD in codes:
        return NOT_HELD
    return max(codes, default=DONE)


def _certified(question: Asked, certify: Mapping[str, Any], form: str, quiet: bool) -> int:
    return certifying.certify(
        question,
        certify["select"],
        certify.get("by", "MultiplicativeSmoothing(kept=16, levels=64)"),
        _path(certify.get("out")),
        certify.get("require"),
        form,
        quiet,
    )


def write(path: Path, question: Asked, contest: Contest) -> None:
    """Keeps a call as a file, before it is made."""
    write_file(path, as_toml(question, contest).encode("utf-8"))


def as_toml(question: Asked, contest: Contest) -> str:
    """The file that asks the same comparison again."""
    stated: dict[str, Any] = {
        "model": question.model,
        "data": str(question.data),
        "target": question.target,
        "features": question.features,
        "removal": question.removal,
        "background": _text(question.background),
        "output": question.output,
        "weights": _text(question.weights),
        "trust": question.trust or None,
        "columns": question.reading.columns,
        "drop": question.reading.drop,
        "categories": question.reading.categories,
        **{name: getattr(question.reading, name) for name in _READING},
        "methods": contest.methods,
        "metrics": contest.metrics,
        "answers": tuple(map(str, contest.answers)),
        "references": contest.references,
        "require": contest.require,
        "vary": contest.vary,
        "save": _text(contest.save),
        "seed": question.seed,
    }
    lines = [f"{key} = {_toml(value)}" for key, value in stated.items() if value not in (None, ())]
    if contest.page is not None:
        lines += [
            "[report]",
            f"out = {_toml(str(contest.page))}",
            f"title = {_toml(contest.title)}",
        ]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        # Its escapes are those of JSON for every text that has a TOML form.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Sequence):
        return f"[{', '.join(map(_toml, value))}]"
    return repr(value)
