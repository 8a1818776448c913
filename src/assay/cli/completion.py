"""What a shell offers at the TAB: files that fit, and names with their one-line docs.

The names stand in `names.json`, which `make docs` writes, so that no completion loads torch. Inside
the brackets of a name its settings are offered.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

_MODELS = (
    *(".py", ".pt2", ".pt", ".json", ".ubj", ".txt", ".cbm", ".onnx", ".keras", ".skops"),
    *(".joblib", ".pkl"),
)
_PICTURES = ("ladder", "bars", "importance", "swarm", "heat", "radius", "votes")
_DATA = (
    *(".csv", ".tsv", ".parquet", ".feather", ".json", ".jsonl", ".npy", ".npz", ".safetensors"),
    *(".txt", ".png", ".jpg", ".jpeg"),
)


@cache
def _names() -> dict[str, dict[str, Any]]:
    text = Path(__file__).with_name("names.json").read_text(encoding="utf-8")
    known: dict[str, dict[str, Any]] = json.loads(text)
    return known


def methods(incomplete: str) -> list[tuple[str, str]]:
    """Methods that begin so, or the settings of one whose bracket is open."""
    return _offered("methods", incomplete)


def metrics(incomplete: str) -> list[tuple[str, str]]:
    """Metrics that begin so, or the settings of one whose bracket is open."""
    return _offered("metrics", incomplete)


def _offered(kind: str, incomplete: str) -> list[tuple[str, str]]:
    known = _names()[kind]
    name, bracket, inside = incomplete.partition("(")
    if not bracket:
        return [(each, facts["says"]) for each, facts in known.items() if each.startswith(name)]
    if name not in known:
        return []
    # Behind the last comma a new setting begins.
    *before, last = inside.split(",")
    begun = last.strip()
    done = incomplete[: len(incomplete) - len(last)] + (" " if before else "")
    return [
        (f"{done}{setting}=", default)
        for setting, default in known[name]["settings"].items()
        if setting.startswith(begun)
    ]


def pictures(incomplete: str) -> list[str]:
    """Kinds of pictures."""
    return [kind for kind in _PICTURES if kind.startswith(incomplete)]


def models(incomplete: str) -> list[str]:
    """Files that may hold a predictor, and folders on the way."""
    return _files(incomplete, _MODELS)


def data(incomplete: str) -> list[str]:
    """Files that may hold inputs, and folders."""
    return _files(incomplete, _DATA)


def _files(incomplete: str, endings: tuple[str, ...]) -> list[str]:
    typed = Path(incomplete)
    folder = typed if incomplete.endswith("/") else typed.parent
    start = "" if incomplete.endswith("/") else typed.name
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return []
    return [
        f"{entry}/" if entry.is_dir() else str(entry)
        for entry in entries
        if entry.name.startswith(start)
        and not entry.name.startswith(".")
        and (entry.is_dir() or entry.suffix in endings)
    ]
