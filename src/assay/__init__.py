"""assay: explains a prediction, measures how good the explanation is, and certifies what it can.

A `Question` holds a model, the inputs, the target, the features and the removal; a method is
`Question -> Attribution`; a metric or a certificate is `(Question, Attribution) -> Score` or
`-> Certificate`. `__all__` is what is public at the top; the bases for extensions are public under
their wings (`assay.methods`, `assay.features`, ...), whose docstrings are their pages.

The public names and their places stand in `__init__.pyi`, which is read when the first of them is
asked for: until then nothing is loaded, so that `assay --help` need not wait for torch.
"""

import importlib.util as _util
from importlib import import_module as _import_module
from pathlib import Path as _Path
from typing import Any as _Any


def _load() -> None:
    """Puts every public name into this module."""
    # Only here: help and completion need no names.
    import ast

    stub = ast.parse(_Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    found: dict[str, _Any] = {}
    for node in stub.body:
        if isinstance(node, ast.ImportFrom) and node.module != __name__:
            module = _import_module(str(node.module))
            found |= {alias.name: getattr(module, alias.name) for alias in node.names}
        elif isinstance(node, ast.Assign):
            found["__all__"] = ast.literal_eval(node.value)
    # All at once: whoever evaluates a repr in `vars(assay)` finds every name or none.
    globals().update(found)


def _loaded() -> bool:
    return "__all__" in globals()


def __getattr__(name: str) -> _Any:
    if name == "__version__":
        return _import_module("assay.answers.provenance").versions()["assay"]
    # A wing or file that nobody has imported yet.
    if not name.startswith("_") and _util.find_spec(f"{__name__}.{name}") is not None:
        return _import_module(f"{__name__}.{name}")
    if not _loaded() and (name == "__all__" or not name.startswith("_")):
        _load()
        if name in globals():
            return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    if not _loaded():
        _load()
    return sorted(globals())
