"""Calls that cannot be answered end in one sentence and code 2, before any work."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from assay.cli.app import app

MODULE = """
import numpy as np

CALLS = []


def model(x):
    CALLS.append(len(x))
    return np.asarray(x, dtype=float)[:, :1] * 2.0


def broken(x):
    raise OSError("the disk of the user")
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "hostile_module.py").write_text(MODULE)
    np.save(tmp_path / "x.npy", np.ones((2, 3)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def refused(*arguments: str) -> str:
    done = run(*arguments)
    assert done.exit_code == 2, (done.output, done.exception)
    assert "Traceback" not in done.output
    return done.output


@pytest.mark.parametrize(
    "target", ["\u00b2", "--5", "-", "9" * 5000, "0x1", "1.5", "[/b]", "", "\u0663"]
)
def test_targets_that_are_none_are_refused(place: Path, target: str) -> None:
    refused("explain", "hostile_module:model", "x.npy", f"--target={target}")


def damaged_npz() -> bytes:
    held = io.BytesIO()
    np.savez(held, x=np.ones((2, 3)))
    return held.getvalue()[:100]


def header_of(shape: str, kind: str = "<f8") -> bytes:
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"
    text = text.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


FILES = {
    "empty.csv": b"",
    "binary.csv": bytes(range(256)),
    "ragged.csv": b"a,b\n1,2\n1,2,3,4\n",
    "bare.csv": b"a,b\n",
    "empty.npy": b"",
    "text.npy": b"numbers",
    "huge.npy": header_of("(1000000000, 3000)"),
    "code.npy": header_of("(__import__('os').getpid(),)"),
    "complex.npy": header_of("(1,)", "<c16") + bytes(16),
    "long.npy": header_of("(1,)", "<f16") + bytes(16),
    "object.npy": header_of("(1,)", "|O"),
    "cut.npz": damaged_npz(),
    "text.npz": b"PK but no archive",
    "none.npz": b"",
    "text.safetensors": b"\x08\0\0\0\0\0\0\0nonsense",
    "none.safetensors": b"",
    "text.doc": b"1 2 3",
    "none.txt": b"\n \n",
    "bytes.txt": b"\xff\xfe\xff",
    "none.json": b"",
    "nested.json": b"[[[",
    "text.jsonl": b"a b c",
    "text.parquet": b"PAR1",
    "text.png": b"no picture",
}


@pytest.mark.parametrize("name", FILES)
def test_files_that_hold_no_numbers_are_refused(place: Path, name: str) -> None:
    (place / name).write_bytes(FILES[name])
    assert name in refused("explain", "hostile_module:model", name)
    assert name in refused("explain", "hostile_module:model", "x.npy", "--background", name)
    refused("score", "hostile_module:model", "x.npy", name, "--metric", "Completeness")


@pytest.mark.parametrize("command", ["explain", "report"])
def test_where_nothing_can_be_written_is_told_before_the_work(place: Path, command: str) -> None:
    import hostile_module

    hostile_module.CALLS.clear()
    (place / "file").write_text("")
    options = ["--method", "KernelShap"]
    if command == "report":
        options += ["--metric", "Completeness"]
    for out in (".", "file/answer.safetensors"):
        call = [command, "hostile_module:model", "x.npy", *options, "--target", "0", "--out", out]
        assert "path to write to" in refused(*call)
    assert hostile_module.CALLS == []


def test_folders_of_an_answer_are_made(place: Path) -> None:
    out = "missing/folder/a.safetensors"
    done = run(
        "explain",
        "hostile_module:model",
        "x.npy",
        "--method",
        "KernelShap",
        "--target",
        "0",
        "--out",
        out,
    )
    assert done.exit_code == 0, (done.output, done.exception)
    assert (place / out).is_file()


def test_names_that_look_like_markup_are_printed(place: Path) -> None:
    (place / "m.csv").write_text("[/b],[red]\n1,2\n3,4\n")
    (place / "names.py").write_text("def model(frame):\n    return frame.to_numpy()[:, :1] * 1.0\n")
    lime = "Lime(Gaussian(columns=('[/b]',)))"
    done = run("explain", "names:model", "m.csv", "--target", "0", "--method", lime)
    assert "MarkupError" not in repr(done.exception)
    done = run("explain", "names:model", "m.csv", "--target", "0", "--method", "KernelShap")
    assert done.exit_code == 0, (done.output, done.exception)
    assert "[/b]" in done.output


def test_what_the_module_of_the_user_raises_is_told_as_its_own(place: Path) -> None:
    done = run("explain", "hostile_module:broken", "x.npy", "--target", "0")
    assert done.exit_code == 4
    assert "OSError: the disk of the user" in done.output
    assert "hostile_module.py, line 13" in done.output
    assert "no part of assay" in done.output


def test_unknown_methods_are_refused_with_methods_alone(place: Path) -> None:
    said = refused("explain", "hostile_module:model", "x.npy", "--method", "KernalShap")
    assert "Did you mean KernelShap" in said
    for stranger in ("FixedAbsent", "TextLayout", "Infidelity"):
        assert stranger not in said


def test_version_and_short_help() -> None:
    assert run("--version").output.startswith("assay ")
    assert run("--version").exit_code == 0
    assert "explain" in run("-h").output
    assert "--target" in run("explain", "-h").output
