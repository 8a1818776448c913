"""What commands print for programs keeps to the schemas that are shipped."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner, Result

import assay
from assay.cli import records
from assay.cli.app import app
from assay.cli.asked import Asked
from assay.comparison.comparison import Comparison

jsonschema = pytest.importorskip("jsonschema")

MODEL = ("model.py:net", "d.csv", "--target", "0")
CONTEST = ("--method", "InputXGradient", "--method", "Occlusion", "--metric", "Completeness")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def schema(name: str) -> Any:
    return json.loads(run("schema", name).stdout)


def checked(text: str, name: str) -> Any:
    # NaN and Infinity are no JSON, though Python reads them.
    found = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} in the output"))
    jsonschema.Draft202012Validator(schema(name)).validate(found)
    return found


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("explain", ("explain", *MODEL, "--method", "PermutationShapley(orderings=8)")),
        ("compare", ("compare", *MODEL, *CONTEST, "--metric", "Infidelity")),
        # A method that a metric refuses, and nobody with a score.
        ("compare", ("compare", *MODEL, "--method", "Gradient", "--metric", "PointingGame")),
        ("report", ("report", *MODEL, *CONTEST)),
        ("certify", ("certify", *MODEL[:2], "--select", "Occlusion:2", "--by", "HardStability")),
        ("certify", ("certify", *MODEL[:2], "--select", "Occlusion:2", "--by", "SoftStability(2)")),
        ("check", ("check", *MODEL)),
        ("methods", ("methods",)),
        ("metrics", ("metrics",)),
        ("names", ("names",)),
    ],
)
def test_outputs_keep_to_their_schemas(here: Path, name: str, call: tuple[str, ...]) -> None:
    done = run(*call, "--json")
    assert done.exit_code in (0, 3), (done.output, done.exception)
    checked(done.stdout, name)


@pytest.mark.parametrize("n", [7, 8])
def test_fewer_than_8_inputs_have_no_interval_and_the_reason_why(n: int) -> None:
    why = "fewer than 8 inputs give no interval: ask about 8 or more"
    question = assay.Question(lambda x: x.prod(1), torch.linspace(1, 2, 3 * n).view(n, 3))
    found = assay.compare(question, ["InputXGradient", "Occlusion"], ["Completeness"])
    cells = records.comparison(found)["scores"]
    single = records.scored(found.score("Occlusion", "Completeness"))
    for record in (single, *(cell for cell in cells if cell["refusal"] is None)):
        assert record["no_interval"] == (why if n < 8 else None)
        assert math.isnan(record["low"]) == math.isnan(record["high"]) == (n < 8)


VARIED = (
    *("--metric", "Infidelity(draws=8)"),
    *("--vary", "Infidelity(draws=4)", "--vary", "Infidelity(draws=16)"),
)


def test_whether_a_winner_lasts_is_in_the_json_the_table_and_the_page(here: Path) -> None:
    call = ("compare", *MODEL, *CONTEST, *VARIED)
    done = run(*call, "--json", "--save", "kept", "--report", "page.html")
    assert done.exit_code == 0, (done.output, done.exception)
    [lasting] = checked(done.stdout, "compare")["persistence"]
    # As the library says it.
    question, _ = Asked(MODEL[0], Path(MODEL[1]), target="0").question()
    found = Comparison.load("kept", question).persistence("Infidelity(draws=8)", {"draws": [4, 16]})
    assert lasting["chance"] == pytest.approx(found.chance, abs=1e-12)
    assert 0 < lasting["chance"] <= 1
    assert lasting["winner"] == found.winner
    assert [trial["metric"] for trial in lasting["trials"]] == [
        trial.metric for trial in found.trials
    ]
    said = f"with a chance of {found.chance:.2f}"
    page = (here / "page.html").read_text(encoding="utf-8")
    assert said in page
    assert said in run(*call, "--quiet").stdout.replace("\n", " ")
    again = run("report", *MODEL, "--saved", "kept", *VARIED[2:], "--json")
    assert checked(again.stdout, "report")["persistence"] == [lasting]
    # Nothing is asked again where nobody wants to know.
    assert (
        checked(run("compare", *MODEL, *CONTEST, "--json").stdout, "compare")["persistence"] == []
    )


@pytest.mark.parametrize(
    ("vary", "said"),
    [
        ("Completeness()", "with one other setting"),
        ("Infidelity(draws=8)", "with one other setting"),
        ("Infidelity(draws=4, scaled=True)", "one at a time"),
        ("Nothing", "Nothing"),
    ],
)
def test_what_varies_nothing_is_refused_before_the_model_is_loaded(
    here: Path, monkeypatch: pytest.MonkeyPatch, vary: str, said: str
) -> None:
    from assay.registry import sources

    monkeypatch.setattr(sources, "predictor", lambda *a, **k: pytest.fail("it was loaded"))
    done = run("compare", *MODEL, *CONTEST, *VARIED[:2], "--vary", vary)
    assert done.exit_code == 2, (done.output, done.exception)
    assert said in done.stderr


def test_a_variation_that_cannot_be_answered_takes_nothing_else_with_it(here: Path) -> None:
    # Nobody has said where the truth is, at which this metric looks.
    call = ("--metric", "PointingGame(tolerance=1)", "--vary", "PointingGame(tolerance=2)")
    done = run("compare", *MODEL, *CONTEST, *call, "--json")
    assert done.exit_code == 3, (done.output, done.exception)
    found = checked(done.stdout, "compare")
    assert found["winners"]
    [lasting] = found["persistence"]
    assert lasting["chance"] is None
    assert lasting["refusal"]


def test_schemas_are_schemas_and_a_missing_field_is_seen(here: Path) -> None:
    found = json.loads(run("explain", *MODEL, "--json").stdout)
    for name in ("explain", "answer", "score", "compare", "report", "certify", "verify", "check"):
        jsonschema.Draft202012Validator.check_schema(schema(name))
    del found["answers"][0]["credit"][0]["error"]
    with pytest.raises(jsonschema.ValidationError):
        checked(json.dumps(found), "explain")
    assert run("schema", "nothing").exit_code == 2


def test_kept_answers_scores_and_certificates(here: Path) -> None:
    asked = ("--method", "InputXGradient", "--out", "a.safetensors")
    assert run("explain", *MODEL, *asked, "--quiet").exit_code == 0
    metric = ("--metric", "Completeness")
    scored = run("score", *MODEL[:2], "a.safetensors", *MODEL[2:], *metric, "--json")
    assert checked(scored.stdout, "score")["scores"][0]["mean"] == pytest.approx(0, abs=1e-6)
    kept = ("--out", "s.safetensors")
    assert run("score", *MODEL[:2], "a.safetensors", *MODEL[2:], *metric, *kept).exit_code == 0
    proved = ("--select", "a.safetensors:2", "--by", "MultiplicativeSmoothing(kept=1, levels=4)")
    done = run("certify", *MODEL, *proved, "--out", "proofs", "--json")
    assert done.exit_code == 0, (done.output, done.exception)
    proof = checked(done.stdout, "certify")["certificates"][0]
    for file in ("a.safetensors", "s.safetensors", "proofs/certificate-0.json"):
        shown = run("show", file, "--json")
        assert shown.exit_code == 0, (shown.output, shown.exception)
        checked(shown.stdout, "show")
    assert json.loads(shown.stdout)["selection"] == proof["selection"]
    verified = run("verify", "proofs/certificate-0.json", *MODEL[:2], "--json")
    assert checked(verified.stdout, "verify")["holds"] is True


def test_answers_by_line_are_those_of_one_object(here: Path) -> None:
    asked = ("explain", *MODEL, "--method", "InputXGradient")
    whole = json.loads(run(*asked, "--json").stdout)["answers"]
    lines = run(*asked, "--jsonl").stdout.splitlines()
    assert [checked(line, "answer") for line in lines] == whole
    assert [len(each["credit"]) for each in whole] == [4, 4, 4]
    top = json.loads(run(*asked, "--json", "--top", "1").stdout)["answers"]
    for few, each in zip(top, whole):
        assert few["credit"] == [max(each["credit"], key=lambda cell: abs(cell["credit"]))]


def test_refusals_are_objects_too(here: Path) -> None:
    done = run("explain", "model.py:net", "missing.csv", "--json")
    assert done.exit_code == 2
    found = checked(done.stdout, "error")
    assert found["error"]["kind"] == "InputError"
    assert "no file there" in found["error"]["message"]


def test_the_same_call_gives_the_same_bytes(here: Path) -> None:
    call = ("compare", *MODEL, *CONTEST, "--json")
    one, other = run(*call).stdout, run(*call).stdout
    assert one == other
    # No clock: what it cost is in the facts of an answer alone.
    assert re.search(r"seconds|20[0-9]{2}-", one) is None
