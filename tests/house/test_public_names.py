"""The names at the top are loaded when the first of them is asked for, and all of them are there."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import assay

STUB = Path(assay.__file__).with_suffix(".pyi")


def printed(code: str) -> str:
    """What a process of its own prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_nothing_is_loaded_before_a_name_is_asked_for() -> None:
    look = "('torch' in sys.modules, 'numpy' in sys.modules)"
    code = f"import sys, assay; print({look}); assay.Question; print({look})"
    assert printed(code).split("\n") == ["(False, False)", "(True, True)"]


def test_every_name_is_the_one_of_its_place() -> None:
    for node in ast.parse(STUB.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module != "assay":
            module = __import__(str(node.module), fromlist=["x"])
            for alias in node.names:
                assert alias.asname is None
                assert getattr(assay, alias.name) is getattr(module, alias.name)


def test_all_names_come_with_a_star_and_are_listed() -> None:
    code = (
        "import assay; listed = set(dir(assay)); from assay import *; "
        "print(set(assay.__all__) <= listed, set(assay.__all__) <= set(globals()))"
    )
    assert printed(code) == "True True"


def test_wings_are_there_without_being_imported_and_others_are_not() -> None:
    with pytest.raises(AttributeError, match="nothing_of_that_name"):
        assay.nothing_of_that_name  # noqa: B018
    code = (
        "import assay; print(hasattr(assay, '__nothing__'), assay.errors.AssayError, "
        "assay.methods.METHODS is assay.METHODS)"
    )
    assert printed(code) == "False <class 'assay.errors.AssayError'> True"


def test_a_method_by_name_is_known_whichever_module_was_imported_first() -> None:
    code = (
        "from assay.methods.choose import explain; import torch; "
        "print(explain(torch.nn.Linear(2, 1), torch.ones(1, 2), method='Gradient').method)"
    )
    assert printed(code) == "Gradient()"
