"""Files of anybody: an answer, or one sentence of this library; never another exception, and memory
in proportion to the file.
"""

from __future__ import annotations

import base64
import copy
import json
import random
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import assay
from assay.answers.score import Score
from assay.answers.storage import FORMAT
from assay.certificates.hard_stability import HardStability
from assay.certificates.smoothing import MultiplicativeSmoothing
from assay.errors import AssayError, InputError, KindError, VersionError

REFUSALS = (InputError, VersionError, KindError)

# What stands in the place of a value that a file says.
WRONG = [
    *(None, True, -1, 0, 1, 3, 10**9, 2**63, 10**30, 0.5, -1.5, 1e308, float("nan"), float("inf")),
    *("", "x", "0" * 40, [], {}, [-1], ["x"], [[]], [None], {"a": 1}, [1, [2, [3]]], [10**9]),
]


def attribution() -> Any:
    question = assay.Question(torch.nn.Linear(4, 2), torch.ones(3, 4), target=0)
    return assay.KernelShap(budget=12)(question)


def score() -> Any:
    values = torch.tensor([0.25, float("nan"), 0.5], dtype=torch.float64)
    return Score("Gap", values, "lower", error=torch.ones(3), details={"raw": torch.ones(3)})


def predict(x: torch.Tensor) -> torch.Tensor:
    share = x.mean(dim=1)
    return torch.stack([share, 1 - share], dim=1)


def certificate(maker: Any) -> Any:
    question = assay.Question(predict, torch.ones(1, 5))
    (proof,) = maker.certify(question, torch.arange(5) < 3)
    return proof


MAKERS: dict[str, Callable[[], Any]] = {
    "attribution": attribution,
    "score": score,
    "enumerated": lambda: certificate(HardStability()),
    "votes": lambda: certificate(MultiplicativeSmoothing(2, 8)),
    "probabilities": lambda: certificate(MultiplicativeSmoothing(2, 8, output="probabilities")),
    "bernoulli": lambda: certificate(MultiplicativeSmoothing(2, 8, "bernoulli", draws=20)),
}


def saved(kind: str, folder: Path) -> bytes:
    path = folder / "whole"
    MAKERS[kind]().save(path)
    return path.read_bytes()


def outcome(path: Path) -> str:
    """What loading comes to; any exception that is none of ours ends the test."""
    try:
        answer = assay.load(path)
    except REFUSALS:
        return "refused"
    # What was loaded can be looked at.
    assert repr(answer)
    return "loaded"


def places(value: Any) -> list[tuple[Any, ...]]:
    """The ways to everything inside a document of JSON."""
    found: list[tuple[Any, ...]] = [()]
    parts = []
    if isinstance(value, dict):
        parts = list(value.items())
    elif isinstance(value, list):
        parts = list(enumerate(value[:4]))
    for key, part in parts:
        found += [(key, *rest) for rest in places(part)]
    return found


def put(document: Any, way: tuple[Any, ...], value: Any) -> Any:
    if not way:
        return value
    changed = copy.deepcopy(document)
    inside = changed
    for key in way[:-1]:
        inside = inside[key]
    inside[way[-1]] = value
    return changed


def without(document: Any, way: tuple[Any, ...]) -> Any:
    changed = copy.deepcopy(document)
    inside = changed
    for key in way[:-1]:
        inside = inside[key]
    del inside[way[-1]]
    return changed


def documents(data: bytes) -> tuple[dict[str, Any], Callable[[dict[str, Any]], bytes]]:
    """What a file says, and how it is written back: certificates whole, answers by their header."""
    if data[:1] == b"{":
        return json.loads(data), lambda document: json.dumps(document).encode()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"]["facts"] = json.loads(header["__metadata__"]["facts"])

    def written(document: dict[str, Any]) -> bytes:
        document = copy.deepcopy(document)
        metadata = document.get("__metadata__")
        if isinstance(metadata, dict) and "facts" in metadata:
            metadata["facts"] = json.dumps(metadata["facts"])
        text = json.dumps(document).encode()
        return struct.pack("<Q", len(text)) + text + data[8 + length :]

    return header, written


@pytest.mark.parametrize("kind", MAKERS)
def test_a_file_with_anything_in_the_place_of_anything_is_loaded_or_refused(kind, tmp_path):
    draw = random.Random(kind)
    document, written = documents(saved(kind, tmp_path))
    path = tmp_path / "changed"
    path.write_bytes(written(document))
    assert outcome(path) == "loaded"
    ways = places(document)
    outcomes = []
    for way in ways[1:]:
        path.write_bytes(written(without(document, way)))
        outcomes.append(outcome(path))
        for wrong in draw.sample(WRONG, 4):
            path.write_bytes(written(put(document, way, wrong)))
            outcomes.append(outcome(path))
    assert len(outcomes) > 100
    assert outcomes.count("refused") > len(outcomes) / 2


@pytest.mark.parametrize("kind", MAKERS)
def test_a_file_that_was_cut_or_spoilt_is_loaded_or_refused(kind, tmp_path):
    draw = random.Random(kind)
    data = saved(kind, tmp_path)
    path = tmp_path / "spoilt"
    for _ in range(60):
        spoilt = bytearray(data[: draw.randrange(len(data))])
        path.write_bytes(spoilt)
        outcome(path)
        spoilt = bytearray(data)
        for _ in range(draw.choice([1, 1, 2, 8])):
            spoilt[draw.randrange(len(data))] = draw.randrange(256)
        path.write_bytes(spoilt)
        outcome(path)


@pytest.mark.parametrize(
    "text",
    [
        '{"kind":' + "[" * 100_000,
        '{"kind":' * 100_000,
        '{"kind": ' + "9" * 10_000 + "}",
        "{",
        "{}",
        '{"kind": "Certificate"}',
        '{"kind": "Certificate", "format": 1}',
        '{"kind": "Certificate", "format": true}',
        "{\xff",
        "[]",
        "",
        "\0" * 100,
    ],
    ids=lambda text: text[:12],
)
def test_bombs_and_strangers_are_refused(text, tmp_path):
    path = tmp_path / "bomb"
    path.write_bytes(text.encode("latin-1"))
    assert outcome(path) == "refused"


@pytest.mark.parametrize("facts", ["[" * 100_000, "9" * 10_000, "[]", "null", "{}", '"x"', "{"])
@pytest.mark.parametrize("noun", ["Attribution", "Score"])
def test_headers_that_are_none_are_refused(noun, facts, tmp_path):
    path = tmp_path / "header"
    header = {"noun": noun, "format": FORMAT, "facts": facts}
    save_file({"values": torch.ones(2, 2)}, str(path), metadata=header)
    assert outcome(path) == "refused"
    save_file({"values": torch.ones(2, 2)}, str(path), metadata={"noun": noun, "format": FORMAT})
    assert outcome(path) == "refused"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("bound", "anything"), ("bound", "enumeration"), ("bound", "bernoulli")),
        *(("confidence", 1e308), ("confidence", "x"), ("confidence", 0.5)),
        *(("tolerance", -1), ("tolerance", 2.0), ("tolerance", float("nan"))),
        *(("selection", [-1]), ("selection", [0, 0]), ("selection", [7]), ("selection", [2, 0])),
        *(("features", 10**9), ("features", 0), ("classes", 0), ("classes", 1), ("scale", 0)),
    ],
)
def test_certificates_that_say_what_none_says_are_refused(name, value, tmp_path):
    document, written = documents(saved("votes", tmp_path))
    path = tmp_path / "changed"
    path.write_bytes(written({**document, name: value}))
    assert outcome(path) == "refused"


@pytest.mark.parametrize(
    ("name", "value"), [("levels", 0), ("levels", 9), ("kept", 0), ("kept", 9), ("rows", [])]
)
def test_noise_that_is_none_is_refused(name, value, tmp_path):
    document, written = documents(saved("votes", tmp_path))
    path = tmp_path / "changed"
    path.write_bytes(written(put(document, ("design", name), value)))
    assert outcome(path) == "refused"


@pytest.mark.parametrize(
    "change",
    [
        {"names": ("a", "b")},
        {"shape": (3,)},
        {"kind": "number"},
        {"base": torch.zeros(7)},
        {"values": torch.full((1, 4), torch.nan)},
        {"gap": torch.zeros(1, 4)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_attributions_whose_parts_disagree_are_neither_saved_nor_loaded(change, tmp_path):
    good = {
        "values": torch.ones(1, 4),
        "base": torch.zeros(1),
        "prediction": torch.ones(1),
        "names": ("a", "b", "c", "d"),
        "shape": (4,),
        "kind": "weight",
    }
    assay.Attribution(**good).save(tmp_path / "good")
    assert outcome(tmp_path / "good") == "loaded"
    with pytest.raises(InputError):
        assay.Attribution(**{**good, **change}).save(tmp_path / "bad")
    assert not (tmp_path / "bad").exists()


def packed(array: np.ndarray, shape: list[int] | None = None) -> list[Any]:
    name = str(array.dtype)
    data = base64.b64encode(zlib.compress(array.tobytes())).decode()
    return [name, list(array.shape) if shape is None else shape, data]


def test_a_file_cannot_ask_for_more_memory_than_its_size_allows(tmp_path):
    document, written = documents(saved("votes", tmp_path))
    zeros = packed(np.zeros(1 << 25, np.float32))  # 128 MiB of zeros in 0.13 MB
    bombs = [
        put(document, ("evidence", "x"), zeros),
        put(document, ("evidence", "absent"), packed(np.zeros((1 << 22, 8), np.float32))),
        # As many bytes as it says, and more.
        put(document, ("evidence", "x"), packed(np.zeros(1 << 25, np.float32), [5])),
        put(document, ("evidence", "x"), ["float32", [10**12], ""]),
        {**document, "features": 10**9},
        {**document, "classes": 10**9},
        put({**document, "features": 10**9}, ("design", "features"), 10**9),
    ]
    path = tmp_path / "bomb"
    for bomb in bombs:
        path.write_bytes(written(bomb))
        allowed = 64 * path.stat().st_size + (1 << 26)
        tracemalloc.start()
        outcome(path)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < allowed


def test_evidence_of_large_constant_rows_is_kept_and_read(tmp_path):
    x = torch.ones(1, 3, 600, 600)
    question = assay.Question(
        lambda x: torch.stack([x.mean((1, 2, 3)), 1 - x.mean((1, 2, 3))], 1),
        x,
        features=assay.Patches(150),
    )
    (proof,) = MultiplicativeSmoothing(1, 2).certify(question, torch.arange(16) < 9)
    proof.save(tmp_path / "large")
    assert assay.load(tmp_path / "large") == proof
    # 12 MB of constant numbers, and the file is large enough to say so.
    assert (tmp_path / "large").stat().st_size * 64 > 3 * 4 * x.numel()


@pytest.mark.parametrize("path", [None, 3, b"x", ["x"], ".", "/dev/zero", "/dev/null", "a\0b", ""])
def test_what_is_no_file_is_refused(path):
    with pytest.raises(REFUSALS):
        assay.load(path)


def test_refusals_of_paths_say_what_is_there(tmp_path):
    with pytest.raises(InputError, match="which is a folder"):
        assay.load(tmp_path)
    with pytest.raises(InputError, match="which is a device"):
        assay.load("/dev/zero")
    with pytest.raises(InputError, match="where there is none"):
        assay.load(tmp_path / "none")
    with pytest.raises(KindError, match=r"path of a file.*got None"):
        assay.load(None)


@pytest.mark.parametrize("kind", MAKERS)
def test_answers_are_written_into_new_folders_with_the_rights_of_any_file(kind, tmp_path):
    answer = MAKERS[kind]()
    path = tmp_path / "new" / "folder" / "answer"
    answer.save(path)
    (tmp_path / "any").write_text("")
    assert path.stat().st_mode == (tmp_path / "any").stat().st_mode
    assert [entry.name for entry in path.parent.iterdir()] == ["answer"]
    assert outcome(path) == "loaded"


@pytest.mark.parametrize("kind", MAKERS)
def test_where_nothing_can_be_written_is_refused_by_its_own_name(kind, tmp_path):
    answer = MAKERS[kind]()
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "answer"):
        with pytest.raises(InputError, match="path to write to") as caught:
            answer.save(path)
        assert str(path) in str(caught.value)
    with pytest.raises(KindError):
        answer.save(None)


def test_numbers_of_numpy_are_saved_as_numbers(tmp_path):
    question = assay.Question(torch.nn.Linear(3, 2), torch.ones(2, 3), target=0)
    answer = assay.KernelShap(budget=8)(question, seed=np.int64(3))
    answer.save(tmp_path / "answer")
    assert assay.load(tmp_path / "answer").provenance["seed"] == 3


def test_every_refusal_is_of_the_family():
    assert all(issubclass(refusal, AssayError) for refusal in REFUSALS)
