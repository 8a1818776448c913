"""Models of ONNX, Keras, Hugging Face and skops: the same numbers as the models that they were made
of, or one sentence. What is not installed here is skipped by its name.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torchvision_names  # noqa: F401  first: see there

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from assay.cli.app import app
from assay.registry import sources
from kinds_of_files import COLUMNS, network, table

DATA = ["d.csv", "d.json", "d.npy", "d.safetensors"]
OPSET = 17


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})


def credit(*arguments: str) -> np.ndarray[Any, Any]:
    """Credit, one row for each input."""
    done = run("explain", *arguments, "--csv", "--quiet")
    assert done.exit_code == 0, (done.output, done.exception)
    found: dict[str, list[float]] = {}
    for row in csv.DictReader(io.StringIO(done.stdout)):
        found.setdefault(row["input"], []).append(float(row["credit"]))
    return np.array(list(found.values()))


def elsewhere(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    # As `python -m assay`, with what the tests need to import transformers here.
    code = "import torchvision_names; from assay.cli.app import app; app()"
    path = os.pathsep.join(filter(None, sys.path))
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )


def refused(*arguments: str) -> str:
    done = run(*arguments)
    assert done.exit_code == 2, (done.output, done.exception)
    assert "Traceback" not in done.output
    return done.stderr


# --- ONNX


def graph(
    path: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], weights: list[Any]
) -> Any:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    made = onnx.helper.make_graph(nodes, "net", inputs, outputs, weights)
    opsets = [onnx.helper.make_opsetid("", OPSET), onnx.helper.make_opsetid("ai.onnx.ml", 3)]
    model = onnx.helper.make_model(made, opset_imports=opsets, ir_version=9)
    onnx.save(model, path)
    return model


def product(path: Path, rows: int | str = "n", factor: float = 1.0) -> Any:
    """The network of the other files: x @ w."""
    onnx = pytest.importorskip("onnx")
    value, number = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    weights = network().weight.detach().numpy().T * np.float32(factor)
    return graph(
        path,
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])],
        [value("x", number, [rows, 4])],
        [value("y", number, [rows, 2])],
        [onnx.numpy_helper.from_array(np.ascontiguousarray(weights), "w")],
    )


@pytest.mark.parametrize("rows", ["n", 1, 2])
@pytest.mark.parametrize("data", DATA)
def test_a_graph_of_onnx_answers_as_its_network(here: Path, data: str, rows: int | str) -> None:
    product(here / "net.onnx", rows)
    asked = ("--target", "1", "--method", "ExactShapley")
    right = table().iloc[:3].to_numpy() * network().weight[1].detach().numpy()
    np.testing.assert_allclose(credit("net.onnx", data, *asked), right, atol=1e-6)


def columns_of_their_own(path: Path) -> None:
    """A classifier with one input for each column, and labels before its scores."""
    onnx = pytest.importorskip("onnx")
    helper, number = onnx.helper, onnx.TensorProto.FLOAT
    scores = helper.make_node(
        "LinearClassifier",
        ["rows"],
        ["label", "raw"],
        domain="ai.onnx.ml",
        classlabels_ints=[3, 7],
        coefficients=network().weight.detach().numpy().ravel().tolist(),
        intercepts=[0.0, 0.0],
        multi_class=1,
        post_transform="NONE",
    )
    graph(
        path,
        [
            helper.make_node("Concat", COLUMNS, ["rows"], axis=1),
            scores,
            helper.make_node(
                "ZipMap", ["raw"], ["scores"], domain="ai.onnx.ml", classlabels_int64s=[3, 7]
            ),
            helper.make_node("Identity", ["raw"], ["halves"]),
        ],
        [helper.make_tensor_value_info(name, number, ["n", 1]) for name in COLUMNS],
        [
            helper.make_tensor_value_info("label", onnx.TensorProto.INT64, ["n"]),
            helper.make_value_info(
                "scores",
                helper.make_sequence_type_proto(
                    helper.make_map_type_proto(
                        onnx.TensorProto.INT64, helper.make_tensor_type_proto(number, None)
                    )
                ),
            ),
            helper.make_tensor_value_info("halves", number, ["n", 2]),
        ],
        [],
    )


@pytest.mark.parametrize("data", ["d.csv", "turned.csv", "labelled.csv"])
def test_columns_go_in_by_their_names_and_scores_count_before_labels(here: Path, data: str) -> None:
    columns_of_their_own(here / "net.onnx")
    asked = ("--target", "1", "--method", "ExactShapley")
    right = table().iloc[:3].to_numpy() * network().weight[1].detach().numpy()
    if data == "turned.csv":
        right = right[:, ::-1]
    np.testing.assert_allclose(credit("net.onnx", data, *asked), right, atol=1e-6)
    named = credit("net.onnx", data, *asked, "--output", "halves")
    np.testing.assert_allclose(named, right, atol=1e-6)
    if data == "labelled.csv":
        assert "'label'" in run("explain", "net.onnx", data, *asked).stderr
    assert "--output label or scores or halves" in refused(
        "explain", "net.onnx", data, *asked, "--output", "nothing"
    )
    assert "lacking ['years']" in refused("explain", "net.onnx", "lacking.csv", *asked)
    assert "a table with the columns age, income" in refused("explain", "net.onnx", "d.npy", *asked)


def test_a_graph_of_texts(here: Path) -> None:
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    nodes = [
        helper.make_node(
            "LabelEncoder",
            ["text"],
            ["y"],
            domain="ai.onnx.ml",
            keys_strings=["a good film", "so bad"],
            values_floats=[2.0, -1.0],
            default_float=0.0,
        )
    ]
    graph(
        here / "texts.onnx",
        nodes,
        [helper.make_tensor_value_info("text", onnx.TensorProto.STRING, ["n"])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n"])],
        [],
    )
    # Each word alone makes no other sentence known: all share alike.
    found = json.loads(
        run("explain", "texts.onnx", "texts.txt", "--method", "ExactShapley", "--json").stdout
    )
    assert [each["prediction"] for each in found["answers"]] == [2.0, -1.0]
    assert [cell["credit"] for cell in found["answers"][1]["credit"]] == pytest.approx([-0.5, -0.5])


def test_what_is_no_fitting_graph_is_one_sentence(here: Path) -> None:
    product(here / "net.onnx")
    wide = refused("explain", "net.onnx", "labelled.csv")
    assert "rows of shape (n, 4) for the input x of net.onnx" in wide
    assert re.search(r"got rows of shape \(\d+, 5\)\. Give rows", wide)
    (here / "damaged.onnx").write_bytes(b"no protocol buffer")
    assert "a model of ONNX in damaged.onnx" in refused("explain", "damaged.onnx", "d.csv")
    assert "no file there" in refused("explain", "missing.onnx", "d.csv")


def test_a_graph_is_known_by_its_weights_wherever_they_lie(here: Path) -> None:
    onnx = pytest.importorskip("onnx")
    model = product(here / "net.onnx")
    product(here / "other.onnx", factor=2.0)
    (here / "copy").mkdir()
    product(here / "copy" / "renamed.onnx")
    known = [
        sources.wrapped(sources.predictor(name)).fingerprint()
        for name in ("net.onnx", "net.onnx", "other.onnx")
    ]
    assert known[0] == known[1]
    assert known[0] != known[2]
    # Weights in a file of their own, and other ones behind the same graph.
    onnx.save(
        model,
        here / "large.onnx",
        save_as_external_data=True,
        location="large.weights",
        size_threshold=0,
    )
    first = sources.wrapped(sources.predictor("large.onnx")).fingerprint()
    held = np.fromfile(here / "large.weights", dtype=np.float32)
    (held * 3).tofile(here / "large.weights")
    assert sources.wrapped(sources.predictor("large.onnx")).fingerprint() != first


# --- Keras


def keras() -> Any:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    return pytest.importorskip("keras")


def layered(path: Path) -> Any:
    library = keras()
    layers = library.layers
    library.utils.set_random_seed(0)
    net = library.Sequential(
        [library.Input((4,)), layers.Dense(5, activation="tanh"), layers.Dense(2)]
    )
    net.save(path)
    return net


@pytest.mark.parametrize("data", DATA)
def test_a_model_of_keras_answers_with_its_slopes(here: Path, data: str) -> None:
    net = layered(here / "net.keras")
    rows = torch.tensor(table().iloc[:3].to_numpy(), dtype=torch.float32, requires_grad=True)
    net(rows)[:, 1].sum().backward()
    assert rows.grad is not None
    found = credit("net.keras", data, "--target", "1", "--method", "Gradient")
    np.testing.assert_allclose(found, rows.grad.numpy(), atol=1e-6)


def test_code_in_a_model_of_keras_is_not_run(here: Path) -> None:
    library = keras()
    net = library.Sequential(
        [library.Input((4,)), library.layers.Lambda(lambda x: x * 2), library.layers.Dense(2)]
    )
    net.save(here / "code.keras")
    said = refused("explain", "code.keras", "d.csv")
    assert "without code of its own in code.keras" in said
    (here / "old.h5").write_bytes(b"")
    assert "save it as .keras" in refused("explain", "old.h5", "d.csv")


def test_keras_on_another_library_is_a_function_on_arrays(here: Path) -> None:
    from assay.registry.keras_models import KerasFunction

    net = layered(here / "net.keras")
    wrapped = sources.wrapped(KerasFunction(net))
    rows = torch.tensor(table().iloc[:3].to_numpy(), dtype=torch.float32)
    right = net(rows).detach().numpy()
    np.testing.assert_allclose(wrapped.call((rows,), {}).numpy(), right, atol=1e-6)
    again = sources.wrapped(KerasFunction(sources.predictor("net.keras")))
    assert again.fingerprint() == sources.wrapped(KerasFunction(net)).fingerprint()
    net.layers[-1].bias.assign(np.ones(2, dtype=np.float32))
    assert again.fingerprint() != sources.wrapped(KerasFunction(net)).fingerprint()


# --- Hugging Face


def bert(folder: Path, **settings: Any) -> tuple[Any, Any]:
    """A small classifier of texts with a tokenizer of its own."""
    library = pytest.importorskip("transformers")
    folder.mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "good", "film", "so", "bad"]
    (folder / "vocab.txt").write_text("\n".join(words))
    tokenizer = library.BertTokenizerFast(vocab_file=str(folder / "vocab.txt"), model_max_length=16)
    torch.manual_seed(0)
    config = library.BertConfig(
        vocab_size=len(words),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=16,
        **settings,
    )
    net = library.BertForSequenceClassification(config).eval()
    tokenizer.save_pretrained(folder)
    net.save_pretrained(folder)
    return net, tokenizer


def test_a_folder_of_hugging_face_reads_texts(here: Path) -> None:
    net, tokenizer = bert(here / "bert", id2label={0: "dull", 1: "splendid"})
    done = run("explain", "bert", "texts.txt", "--target", "1", "--method", "Occlusion", "--json")
    assert done.exit_code == 0, (done.output, done.exception)
    found = json.loads(done.stdout)["answers"]
    texts = ["a good film", "so bad"]
    with torch.no_grad():
        right = net(**tokenizer(texts, padding=True, return_tensors="pt")).logits[:, 1]
    assert [each["prediction"] for each in found] == pytest.approx(right.tolist(), abs=1e-5)
    assert [cell["feature"] for cell in found[0]["credit"]] == ["a", "good", "film"]
    assert "splendid" in found[0]["target"]
    # A word that would be cut off is no word without credit.
    (here / "long.txt").write_text("good " * 20)
    assert "at most 16 tokens" in refused("explain", "bert", "long.txt")
    assert "Expected texts" in refused("explain", "bert", "d.npy")


@pytest.mark.parametrize(
    ("made", "model", "data"), [(layered, "net.keras", "d.csv"), (bert, "bert", "texts.txt")]
)
def test_an_answer_can_be_scored_in_another_process(
    here: Path, made: Callable[[Path], Any], model: str, data: str
) -> None:
    made(here / model)
    done = elsewhere("explain", model, data, "--target", "1", "--out", "a.safetensors")
    assert done.returncode == 0, done.stderr
    asked = ("score", model, data, "a.safetensors", "--target", "1", "--metric", "Completeness")
    scored = run(*asked)
    assert scored.exit_code == 0, scored.output


def test_a_folder_of_hugging_face_reads_pictures(here: Path) -> None:
    library = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = library.ViTConfig(
        image_size=8,
        patch_size=4,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        num_labels=3,
    )
    net = library.ViTForImageClassification(config).eval()
    net.save_pretrained(here / "vit")
    (here / "vit" / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.5, 0.4, 0.3], "image_std": [0.5, 0.2, 0.1]})
    )
    asked = ("vit", "pictures", "--resize", "8x8", "--target", "2")
    done = run("explain", *asked, "--method", "InputXGradient", "--json")
    assert done.exit_code == 0, (done.output, done.exception)
    grey = torch.tensor([100.0, 200.0]).reshape(2, 1, 1, 1) / 255
    mean, std = (
        torch.tensor(each).reshape(1, 3, 1, 1) for each in ([0.5, 0.4, 0.3], [0.5, 0.2, 0.1])
    )
    pixels = ((grey - mean) / std).expand(2, 3, 8, 8)
    with torch.no_grad():
        right = net(pixel_values=pixels).logits[:, 2]
    found = json.loads(done.stdout)["answers"]
    assert [each["prediction"] for each in found] == pytest.approx(right.tolist(), abs=1e-5)


def test_folders_that_hold_no_classifier_or_code_are_refused(here: Path) -> None:
    bert(here / "bert")
    config = json.loads((here / "bert" / "config.json").read_text())
    for name in ("lm", "coded", "pickled", "broken"):
        (here / name).mkdir()
        for file in (here / "bert").iterdir():
            (here / name / file.name).symlink_to(file)
        (here / name / "config.json").unlink()
        (here / name / "config.json").write_text(json.dumps(config))
    (here / "lm" / "config.json").write_text(
        json.dumps({**config, "architectures": ["BertForMaskedLM"]})
    )
    assert "got BertForMaskedLM" in refused("explain", "lm", "texts.txt")
    # Code that lies in the folder, and weights as a pickle.
    (here / "coded" / "config.json").write_text(
        json.dumps(
            {
                "architectures": ["OwnForSequenceClassification"],
                "model_type": "own",
                "auto_map": {
                    "AutoConfig": "own.Own",
                    "AutoModelForSequenceClassification": "own.Own",
                },
            }
        )
    )
    (here / "coded" / "own.py").write_text("open('ran', 'w')\n")
    assert "weights as safetensors" in refused("explain", "coded", "texts.txt")
    assert not (here / "ran").exists()
    (here / "pickled" / "model.safetensors").unlink()
    torch.save({}, here / "pickled" / "pytorch_model.bin")
    assert "weights as safetensors" in refused("explain", "pickled", "texts.txt")
    (here / "broken" / "config.json").write_text("{")
    assert "a configuration in" in refused("explain", "broken", "texts.txt")


# --- skops


def test_a_file_of_skops_answers_as_the_estimator_and_asks_for_trust(here: Path) -> None:
    skops = pytest.importorskip("skops.io")
    import joblib
    from sklearn.preprocessing import FunctionTransformer

    skops.dump(joblib.load(here / "fitted.joblib"), here / "fitted.skops")
    asked = ("--method", "ExactShapley")
    found = credit("fitted.skops", "d.csv", *asked)
    np.testing.assert_allclose(found, credit("fitted.joblib", "d.csv", *asked, "--trust"))
    skops.dump(FunctionTransformer(subprocess.run), here / "code.skops")
    assert "--trust-type subprocess.run" in refused("explain", "code.skops", "d.csv")


# --- what is not installed


@pytest.mark.parametrize(
    ("model", "package", "extra"),
    [
        ("net.onnx", "onnxruntime", "onnx"),
        ("net.keras", "keras", "keras"),
        ("net.skops", "skops.io", "skops"),
        ("pretrained", "transformers", "transformers"),
    ],
)
def test_a_package_that_is_not_installed_is_named(
    here: Path, monkeypatch: pytest.MonkeyPatch, model: str, package: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    if model == "pretrained":
        (here / model).mkdir()
        config = {"architectures": ["BertForSequenceClassification"]}
        (here / model / "config.json").write_text(json.dumps(config))
    else:
        (here / model).write_bytes(b"")
    said = refused("explain", model, "d.csv")
    assert f"{package.partition('.')[0]}, which comes with the extra {extra!r}" in said
    assert f"pip install 'assay[{extra}]'" in said
