"""Whatever is typed as settings, files and rows: a refusal, and never a traceback."""

from __future__ import annotations

import string
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings
from typer.testing import CliRunner

from assay.cli.app import app

FIXED = {"suppress_health_check": [HealthCheck.function_scoped_fixture], "deadline": None}

LETTERS = (
    string.ascii_letters + string.digits + "()[]{}=,.:'\"\\<>-+*/% \n\t#@!$&|~`^_éß\u202e\U0001f600"
)
NAMES = ["Gradient", "IntegratedGradients", "KernelShap", "Lime", "Smoothed", "Occlusion", "Rise"]
VALUES = ["0", "-1", "1e9", "nan", "None", "True", "'x'", "[1]", "(1, 2)", "{}", "Gradient", "1j"]

texts = st.one_of(
    st.text(alphabet=LETTERS, max_size=40),
    st.builds(
        "{}({}={})".format,
        st.sampled_from(NAMES),
        st.sampled_from(["steps", "draws", "budget", "method", "noise", "window", "masks", "x"]),
        st.sampled_from(VALUES),
    ),
    st.builds("{}({})".format, st.sampled_from(NAMES), st.text(alphabet=LETTERS, max_size=12)),
)


def ends_well(*arguments: str) -> None:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code in (0, 1, 2, 3), (arguments, done.output, done.exception)
    assert "Traceback" not in done.output


@pytest.mark.parametrize("option", ["--method", "--target", "--features", "--removal", "--output"])
@settings(max_examples=10, **FIXED)  # type: ignore[arg-type]
@given(text=texts)
def test_settings(here: Path, option: str, text: str) -> None:
    # Few rows of a small network: what can be answered is answered at once.
    if option == "--method" and "1e9" in text:
        return
    ends_well("explain", "model.py:net", "d.npy", "--rows", "0:1", f"{option}={text}")


@pytest.mark.parametrize(
    "option", ["--rows", "--where", "--columns", "--drop", "--category", "--index-column"]
)
@settings(max_examples=10, **FIXED)  # type: ignore[arg-type]
@given(text=st.one_of(texts, st.from_regex(r"\A-?[0-9]{0,3}:-?[0-9]{0,3}\Z")))
def test_rows_and_columns(here: Path, option: str, text: str) -> None:
    call = ("explain", "model.py:net", "d.csv", "--method", "Gradient", "--target", "0")
    ends_well(*call, f"{option}={text}")


@settings(max_examples=15, **FIXED)  # type: ignore[arg-type]
@given(text=texts)
def test_models_and_files(here: Path, text: str) -> None:
    ends_well("explain", "--", text, "d.npy")
    ends_well("explain", "--", "model.py:net", text.replace("\0", ""))


@settings(max_examples=15, **FIXED)  # type: ignore[arg-type]
@given(text=texts)
def test_what_is_proven_and_required(here: Path, text: str) -> None:
    call = ("certify", "model.py:net", "d.npy", "--rows", "0:1")
    ends_well(*call, f"--select={text}")
    ends_well(*call, "--select", "Gradient:1", f"--by={text}")
    contest = ("--method", "InputXGradient", "--metric", "Completeness")
    ends_well("compare", "model.py:net", "d.npy", *contest, f"--require={text}")


@settings(max_examples=20, **FIXED)  # type: ignore[arg-type]
@given(text=st.one_of(st.text(alphabet=LETTERS, max_size=80), st.binary(max_size=60)))
def test_runs_as_files(here: Path, text: str | bytes) -> None:
    (here / "odd.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    ends_well("run", "odd.toml")
