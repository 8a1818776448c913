"""The command line: what it prints, what it writes, and that every refusal is one message and code 2."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner, Result

import assay
from assay import METHODS
from assay.certificates.certificate import Certificate
from assay.certificates.hard_stability import HardStability
from assay.cli.app import app
from assay.errors import AssayError, InputError, KindError
from assay.features.images import Patches
from assay.features.partition import Features
from assay.methods.base import Method
from assay.methods.choose import explain
from assay.methods.gradients.gradient import Gradient
from assay.methods.gradients.paths import IntegratedGradients
from assay.methods.wrappers import Smoothed
from assay.metrics import METRICS
from assay.metrics.base import Metric
from assay.metrics.faithfulness.infidelity import Infidelity
from assay.perturbations import Squares
from assay.registry.settings import parse, words
from assay.registry.sources import inputs, predictor
from assay.registry.tables import names_page
from assay.saved import load

MODULE = """
import torch

def build():
    net = torch.nn.Linear(3, 2, bias=False)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[1.0, -2.0, 0.5], [0.0, 1.0, 4.0]]))
    return net

net = build()
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a predictor and inputs, in which the command is run."""
    (tmp_path / "linear_example.py").write_text(MODULE)
    np.save(tmp_path / "x.npy", np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], dtype=np.float32))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "linear_example", raising=False)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "240"})


def test_the_tables_name_every_method_and_every_metric() -> None:
    methods, metrics = run("methods"), run("metrics")
    assert methods.exit_code == metrics.exit_code == 0
    assert all(name in methods.output for name in METHODS)
    assert all(name in metrics.output for name in METRICS)


def test_the_names_of_other_libraries_are_a_table_and_a_page() -> None:
    table, page = run("names"), run("names", "--markdown")
    assert table.exit_code == page.exit_code == 0
    assert "KernelExplainer" in table.output
    assert page.output == names_page()
    assert "| `Saliency` | `Absolute(Gradient())` |" in page.output


def test_a_name_from_elsewhere_is_understood_or_refused_with_a_sentence(place: Path) -> None:
    asked = ("explain", "linear_example:net", "x.npy", "--target", "0", "--method")
    done = run(*asked, "SmoothGrad")
    assert done.exit_code == 0, done.output
    assert "Smoothed(method=Gradient()" in done.output
    refused = run(*asked, "TCAV")
    assert refused.exit_code == 2
    assert "TCAV (papers) has no equivalent here yet." in refused.output


def test_explain_writes_the_answer_that_the_library_gives(place: Path) -> None:
    asked = (
        "explain",
        "linear_example:net",
        "x.npy",
        "--target",
        "1",
        "--method",
        "IntegratedGradients(steps=4)",
    )
    done = run(*asked, "--out", "answer.safetensors")
    assert done.exit_code == 0, done.output
    answer = load("answer.safetensors")
    assert isinstance(answer, assay.Attribution)
    assert answer.method.startswith("IntegratedGradients(steps=4")
    torch.testing.assert_close(answer.values, torch.tensor([[0.0, 2.0, 12.0], [0.0, 5.0, 24.0]]))
    assert "+12" in done.output


def test_quiet_silences_words_and_not_the_data(place: Path) -> None:
    asked = ("explain", "linear_example:build()", "x.npy", "--target", "0", "--quiet")
    shown = run(*asked)
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert "most credit" in shown.stdout
    kept = run(*asked, "--out", "a.safetensors")
    assert (kept.exit_code, kept.output) == (0, "")


def test_score_measures_a_saved_answer(place: Path) -> None:
    method = "Smoothed(Gradient(), noise=0.1, draws=4)"
    assert (
        run(
            "explain",
            "linear_example:net",
            "x.npy",
            "--target",
            "0",
            "--method",
            method,
            "--out",
            "a.safetensors",
        ).exit_code
        == 0
    )
    metric = ("--metric", "MaxSensitivity(radius=0.1, draws=3)")
    done = run(
        "score",
        "linear_example:net",
        "x.npy",
        "a.safetensors",
        "--target",
        "0",
        *metric,
        "--out",
        "s.safetensors",
    )
    assert done.exit_code == 0, done.output
    found = load("s.safetensors")
    assert isinstance(found, assay.Score)
    assert found.mean == pytest.approx(0.0, abs=1e-10)
    assert "MaxSensitivity" in done.output


def test_score_refuses_the_answer_to_another_question(place: Path) -> None:
    run("explain", "linear_example:net", "x.npy", "--target", "0", "--out", "a.safetensors")
    done = run(
        "score",
        "linear_example:net",
        "x.npy",
        "a.safetensors",
        "--target",
        "1",
        "--metric",
        "Completeness",
    )
    assert done.exit_code == 2
    assert "Give the options that `assay explain` was given" in done.output


def test_report_writes_one_page(place: Path) -> None:
    asked = (
        "report",
        "linear_example:net",
        "x.npy",
        "--target",
        "0",
        "--method",
        "Gradient",
        "--method",
        "InputXGradient",
    )
    done = run(*asked, "--metric", "Completeness", "--out", "page/report.html")
    assert done.exit_code == 0, done.output
    page = (place / "page" / "report.html").read_text(encoding="utf-8")
    assert "InputXGradient" in page
    assert 'src="http' not in page
    assert "<script" not in page


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("linear_example:net", "missing.npy"), "no file"),
        (("linear_example:net", "x.doc"), ".safetensors"),
        (("linear_example:nothing", "x.npy"), "nothing"),
        (("no_such_module:net", "x.npy"), "no_such_module"),
        (("linear_example", "x.npy"), "package.module:name"),
        (("linear_example:net", "x.npy", "--target", "7"), "inside outputs"),
        (("linear_example:net", "x.npy", "--target", "Gradient()"), "Target"),
        (("linear_example:net", "x.npy", "--method", "Gradients()"), "one of the names"),
        (("linear_example:net", "x.npy", "--method", "IntegratedGradients(stepz=3)"), "stepz"),
        (
            ("linear_example:net", "x.npy", "--method", "IntegratedGradients(steps=1)"),
            "at least 2 steps",
        ),
        (("linear_example:net", "x.npy", "--features", "Patches(4)"), "images"),
        (
            ("linear_example:net", "x.npy", "--removal", "Baseline(1.0)", "--background", "x.npy"),
            "got both",
        ),
    ],
)
def test_a_refusal_is_one_message_and_code_two(
    place: Path, arguments: tuple[str, ...], said: str
) -> None:
    done = run("explain", *arguments)
    assert done.exit_code == 2
    assert said in done.output
    assert "Traceback" not in done.output


def test_python_m_assay_works() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "assay", "metrics"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert "Infidelity" in done.stdout


# --- settings as text


def test_settings_are_read_back_as_they_were_said() -> None:
    for made in (Smoothed(IntegratedGradients(steps=8, rule="left"), noise=0.25), Gradient()):
        assert parse(repr(made), Method) == made
    metric = Infidelity(Squares(sides=(1, 2), sampled=True), draws=7)
    assert parse(repr(metric), Metric) == metric
    assert parse("Patches(4)", Features) == Patches(4)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "Gradient().__class__",
        "Smoothed(Gradient(), noise=1 / 4)",
        "Smoothed(Gradient(), **{'noise': 0.1})",
        "Smoothed(*[Gradient()])",
        "Smoothed(lambda q: q)",
        "[g for g in (1,)]",
        "Gradient(",
        "",
        "open('x')",
    ],
)
def test_code_is_not_read_as_settings(text: str) -> None:
    with pytest.raises(AssayError):
        parse(text, Method)


def test_another_kind_is_refused_with_the_names_that_fit() -> None:
    with pytest.raises(KindError, match="IntegratedGradients"):
        parse("Infidelity", Method)


def test_the_words_hold_every_method_and_metric() -> None:
    assert {**METHODS, **METRICS}.items() <= dict(words()).items()


# --- files


def test_files_give_tensors_tables_and_several_tensors(tmp_path: Path) -> None:
    save_file({"b": torch.ones(2, 3), "a": torch.zeros(2)}, tmp_path / "two.safetensors")
    first, second = inputs(tmp_path / "two.safetensors")
    assert (first.shape, second.shape) == ((2,), (2, 3))
    (tmp_path / "table.csv").write_text("age,weight\n1,2\n3,4\n")
    assert list(inputs(tmp_path / "table.csv").columns) == ["age", "weight"]
    np.savez(tmp_path / "both.npz", b=np.ones((2, 3)), a=np.zeros(2))
    assert [tuple(each.shape) for each in inputs(tmp_path / "both.npz")] == [(2,), (2, 3)]


def test_pickles_and_texts_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="cannot be read"):
        inputs(tmp_path / "objects.npy")
    np.save(tmp_path / "words.npy", np.array(["a", "b"]))
    with pytest.raises(KindError, match="arrays of numbers"):
        inputs(tmp_path / "words.npy")
    (tmp_path / "broken.safetensors").write_bytes(b"not a file of tensors")
    with pytest.raises(InputError, match="cannot be read"):
        inputs(tmp_path / "broken.safetensors")


def test_a_predictor_is_found_by_its_name() -> None:
    assert predictor("math:sqrt") is __import__("math").sqrt
    assert isinstance(predictor("torch.nn:ReLU()"), torch.nn.ReLU)
    with pytest.raises(InputError, match=r"package\.module:name"):
        predictor("math:sqrt(2)")


# --- one line


def test_explain_picks_what_the_model_can_do() -> None:
    x = torch.tensor([[3.0, 4.0]])
    assert explain(torch.nn.Linear(2, 1), x).method.startswith("IntegratedGradients")
    assert explain(lambda z: z[:, 0] * z[:, 1], x.numpy()).method.startswith("ExactShapley")
    assert explain(lambda z: z.sum(1), np.ones((1, 12))).method.startswith("KernelShap")
    background = assay.Background(torch.zeros(3, 2))
    assert explain(torch.nn.Linear(2, 1), x, removal=background).method.startswith(
        "ExpectedGradients"
    )
    given = assay.Conditional(
        torch.tensor([[0.0, 1.0], [2.0, 0.0], [1.0, 5.0], [4.0, 4.0]]), draws=8
    )
    assert explain(torch.nn.Linear(2, 1), x, removal=given).method.startswith("ExactShapley")
    assert explain(
        lambda texts: np.array([float("good" in t) for t in texts]), ["a good film"]
    ).values.tolist() == [[0, 1, 0]]
    assert explain(torch.nn.Linear(2, 1), x, method=Gradient()).method == "Gradient()"


def test_explain_of_a_product_shares_it() -> None:
    answer = explain(lambda z: z[:, 0] * z[:, 1], np.array([[3.0, 4.0]]))
    torch.testing.assert_close(
        answer.values, torch.tensor([[6.0, 6.0]], dtype=torch.float64), rtol=0, atol=1e-10
    )


def test_explain_refuses_a_question() -> None:
    question = assay.Question(torch.nn.Linear(2, 1), torch.ones(1, 2))
    with pytest.raises(KindError, match="got a Question"):
        explain(question, torch.ones(1, 2))


def test_load_gives_back_every_noun(tmp_path: Path) -> None:
    question = assay.Question(torch.nn.Linear(2, 2), torch.ones(3, 2))
    answer = Gradient()(question)
    answer.save(tmp_path / "answer")
    METRICS["Completeness"]()(question, answer).save(tmp_path / "score")
    certificate = HardStability().certify(question, answer.top(1))[0]
    certificate.save(tmp_path / "certificate")
    kinds = [type(load(tmp_path / name)) for name in ("answer", "score", "certificate")]
    assert kinds == [assay.Attribution, assay.Score, Certificate]
    with pytest.raises(InputError, match="there is none"):
        load(tmp_path / "nothing")


def test_explain_says_what_was_explained_and_where_it_went(place: Path) -> None:
    np.save(place / "many.npy", np.arange(36, dtype=np.float32).reshape(12, 3))
    done = run("explain", "linear_example:net", "many.npy", "--out", "a.safetensors")
    assert done.exit_code == 0, done.output
    assert "the first 10 of 12 inputs; --out keeps all" in " ".join(done.output.split())
    assert "Wrote a.safetensors." in done.output
    # f(0, 1, 2) = (-1, 9): the default target is the larger one.
    assert "output 1" in done.output
    few = run("explain", "linear_example:net", "x.npy", "--target", "0")
    assert "2 inputs" in few.output
    assert "the first" not in few.output
    assert "output 0" in few.output


def test_report_takes_saved_answers_and_keeps_the_comparison(place: Path) -> None:
    asked = ("linear_example:net", "x.npy", "--target", "0")
    method = ("--method", "IntegratedGradients(steps=4)")
    assert run("explain", *asked, *method, "--out", "a.safetensors").exit_code == 0
    made = run(
        "report",
        *asked,
        "--answer",
        "a.safetensors",
        "--method",
        "InputXGradient",
        "--metric",
        "Completeness",
        "--save",
        "kept",
        "--out",
        "one.html",
        "--title",
        "Mine",
    )
    assert made.exit_code == 0, made.output
    again = run("report", *asked, "--saved", "kept", "--out", "two.html", "--title", "Mine")
    assert again.exit_code == 0, again.output
    pages = [(place / name).read_text(encoding="utf-8") for name in ("one.html", "two.html")]
    assert pages[0] == pages[1]
    assert "<h1>Mine</h1>" in pages[0]
    assert "<wbr>Gradients(<wbr>steps=4)" in pages[0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--saved", "kept", "--method", "Gradient"), "--saved alone"),
        (("--saved", "nowhere"), "comparison.json"),
        (("--method", "Gradient"), "at least one method and one metric"),
        (
            ("--target", "1", "--answer", "a.safetensors", "--metric", "Completeness"),
            "another model",
        ),
    ],
)
def test_refusals_of_a_report(place: Path, options: tuple[str, ...], said: str) -> None:
    run("explain", "linear_example:net", "x.npy", "--target", "0", "--out", "a.safetensors")
    done = run("report", "linear_example:net", "x.npy", *options)
    assert done.exit_code == 2
    assert said in done.output
    assert not (place / "report.html").exists()
