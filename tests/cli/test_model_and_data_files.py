"""Every kind of model file by every kind of data file: the same numbers, or one sentence."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from assay.cli.app import app
from kinds_of_files import COLUMNS, network, table

NETWORKS = ["model.py", "model.py:net", "model.py:build()", "model:net", "program.pt2", "script.pt"]
TREES = ["x.json", "x.ubj", "l.txt", "c.cbm"]
TABLES = ["d.csv", "d.tsv", "d.json", "d.jsonl", "d.parquet", "turned.csv", "labelled.csv"]
ARRAYS = ["d.npy", "d.npz", "d.safetensors"]


def run(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"}, input=stdin)


def there(folder: Path, name: str) -> None:
    if not (folder / name.partition(":")[0]).exists() and name != "model:net":
        pytest.skip(f"the package that writes {name} is not installed")


def credit(*arguments: str) -> dict[str, list[float]]:
    """Credit by feature, one number for each input."""
    done = run(*arguments, "--csv", "--quiet")
    assert done.exit_code == 0, (done.output, done.exception)
    found: dict[str, list[float]] = {}
    for row in csv.DictReader(io.StringIO(done.stdout)):
        found.setdefault(row["feature"], []).append(float(row["credit"]))
    return found


@pytest.mark.parametrize("data", [*ARRAYS, *TABLES[:5]])
@pytest.mark.parametrize("model", NETWORKS)
def test_networks(here: Path, model: str, data: str) -> None:
    there(here, data)
    found = credit("explain", model, data, "--target", "1", "--method", "InputXGradient")
    rows = torch.tensor(table().iloc[:3].to_numpy(), dtype=torch.float32)
    right = rows * network().weight[1]
    assert list(found) == (COLUMNS if data in TABLES else ["[0]", "[1]", "[2]", "[3]"])
    np.testing.assert_allclose(np.array(list(found.values())).T, right.detach(), atol=1e-6)


@pytest.mark.parametrize("data", [*ARRAYS, *TABLES])
@pytest.mark.parametrize("model", [*TREES, "fitted.joblib"])
def test_estimators_take_columns_by_their_names(here: Path, model: str, data: str) -> None:
    there(here, model)
    there(here, data)
    asked = ("explain", model, data, "--trust", "--method", "ExactShapley")
    found = credit(*asked)
    right = credit("explain", model, "d.csv", "--trust", "--method", "ExactShapley")
    # Single precision of the arrays, and no other order of the columns.
    names = COLUMNS if data in TABLES else ["[0]", "[1]", "[2]", "[3]"]
    assert sorted(found) == sorted(names)
    for name, column in zip(names, COLUMNS):
        np.testing.assert_allclose(found[name], right[column], atol=1e-5)


def test_a_table_that_lacks_a_column_is_refused_by_its_name(here: Path) -> None:
    done = run("explain", "fitted.joblib", "lacking.csv", "--trust")
    assert done.exit_code == 2
    assert "lacking ['years']" in done.stderr


def test_columns_that_the_model_does_not_know_are_left_out_and_said(here: Path) -> None:
    done = run("explain", "fitted.joblib", "indexed.csv", "--trust")
    assert done.exit_code == 0, done.output
    assert "Left out, since the model was not fitted on it: 'Unnamed: 0'." in done.stderr


def test_rows_and_columns_are_chosen(here: Path) -> None:
    asked = ("explain", "model.py:net", "d.csv", "--target", "0", "--method", "InputXGradient")
    ages = table().age.iloc[:3].to_list()
    assert credit(*asked, "--rows", "1:3")["age"] == pytest.approx(ages[1:], abs=1e-6)
    assert credit(*asked, "--rows", "-1")["age"] == pytest.approx(ages[2:], abs=1e-6)
    older = [age for age in ages if age > -0.6]
    assert 0 < len(older) < 3
    assert credit(*asked, "--where", "age > -0.6")["age"] == pytest.approx(older, abs=1e-6)
    assert len(credit(*asked, "--sample", "2")["age"]) == 2
    indexed = ("explain", "model.py:net", "indexed.csv", *asked[3:])
    assert credit(*indexed, "--index-column", "Unnamed: 0") == credit(*asked)
    assert credit(*indexed, "--drop", "Unnamed: 0") == credit(*asked)
    columns = [part for name in COLUMNS for part in ("--columns", name)]
    assert credit("explain", "model.py:net", "turned.csv", *asked[3:], *columns) == credit(*asked)


@pytest.mark.parametrize("weights", ["weights.pt", "weights.safetensors"])
def test_weights_are_put_into_a_module(here: Path, weights: str) -> None:
    (here / "bare.py").write_text("import torch\nnet = torch.nn.Linear(4, 2, bias=False)\n")
    asked = ("d.csv", "--target", "0", "--method", "InputXGradient")
    found = credit("explain", "bare.py:net", *asked, "--weights", weights)
    assert found == credit("explain", "model.py:net", *asked)


def test_texts_and_folders_of_texts(here: Path) -> None:
    lines = credit("explain", "words.py:good", "texts.txt")
    assert lines == {"a": [0.0], "good": [1.0], "film": [0.0], "so": [0.0], "bad": [0.0]}
    # In the order of the names of the files, each one text.
    files = credit("explain", "words.py:good", "letters")
    assert list(files) == ["a", "good", "film", "so", "bad"]


def test_pictures_are_channels_first_in_shares_of_white(here: Path) -> None:
    (here / "bright.py").write_text(
        "def mean(x):\n    assert x.shape[1:] == (3, 6, 5), x.shape\n    return x.mean((1, 2, 3))\n"
    )
    done = run("explain", "bright.py:mean", "pictures", "--json", "--method", "Gradient")
    assert done.exit_code == 0, (done.output, done.exception)
    import json

    found = json.loads(done.stdout)["answers"]
    # By name: a.png is the darker one.
    assert [each["prediction"] for each in found] == pytest.approx([100 / 255, 200 / 255])
    small = run("check", "bright.py:mean", "pictures/a.png", "--resize", "6x5", "--mean", "0.5")
    assert small.exit_code == 0, small.output
    assert f"{100 / 255 - 0.5:.4f}" in small.stdout


def test_standard_input_is_read(here: Path) -> None:
    text = (here / "d.csv").read_text()
    asked = ("--target", "0", "--method", "InputXGradient", "--csv")
    done = run("explain", "model.py:net", "-", "--format", "csv", *asked, stdin=text)
    assert done.exit_code == 0, done.output
    assert done.stdout == run("explain", "model.py:net", "d.csv", *asked).stdout
    assert "Say what is coming" in run("explain", "model.py:net", "-", stdin=text).stderr


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("weights.pt", "--weights weights.pt"),
        ("fitted.joblib", "--trust"),
        ("d.csv", "model.py:name"),
        ("missing.py:net", "no file there"),
        ("missing.pt2", "no file there"),
        ("model.py:nothing", "'nothing' is not defined there"),
        ("words.py", "words.py:good"),
        ("net.h5", "save it as .keras"),
        ("pictures", "load it in model.py"),
        ("model.py:build(3)", "Settings cannot be given"),
    ],
)
def test_what_is_no_predictor_is_refused_with_the_way_out(
    here: Path, model: str, said: str
) -> None:
    done = run("explain", model, "d.csv")
    assert done.exit_code == 2, (done.output, done.exception)
    assert said in done.stderr
    assert "Traceback" not in done.output


def test_a_file_that_raises_when_it_is_loaded_is_the_users_own(here: Path) -> None:
    (here / "broken.py").write_text("import math\nmath.sqrt(-1)\n")
    done = run("explain", "broken.py:net", "d.csv")
    assert done.exit_code == 4
    assert "broken.py, line 2" in done.stderr


@pytest.mark.parametrize(
    ("model", "data"), [("model.py:net", "d.csv"), ("fitted.joblib", "d.jsonl")]
)
def test_some_of_it_in_a_process_of_its_own(here: Path, model: str, data: str) -> None:
    call = [sys.executable, "-m", "assay", "explain", model, data, "--csv", "--trust"]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == run("explain", model, data, "--csv", "--trust").stdout
