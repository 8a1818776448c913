"""Settings as text from anybody: a thing, or one sentence of this library; and at once."""

from __future__ import annotations

import random
import time

import pytest

from assay.errors import AssayError, InputError
from assay.methods.base import Method
from assay.methods.gradients.paths import IntegratedGradients
from assay.metrics.base import Metric
from assay.registry.settings import named, parse, words

PIECES = [
    *("(", ")", "[", "]", "{", "}", ",", "=", ":", "-", "**", "*", " ", "\n", ".", "lambda:", "x"),
    *("0", "1", "-1", "3", "0.5", "1e308", "1e999", "1j", "9" * 40, "None", "True", "'a'", "b'a'"),
    *("steps=", "noise=", "draws=", "method=", "{[]:1}", "{[1]}", "()", "[]", "...", "é", "\0"),
]


def read(text: str) -> str:
    """What reading comes to; any exception that is none of ours ends the test."""
    try:
        parse(text, Method)
    except AssayError:
        return "refused"
    return "read"


def test_random_texts_are_read_or_refused():
    draw = random.Random(0)
    names = sorted(words())
    outcomes = []
    for _ in range(3000):
        parts = draw.choices([*PIECES, *names], k=draw.randrange(1, 9))
        outcomes.append(read("".join(parts)))
    assert "refused" in outcomes


def test_names_with_random_settings_are_read_or_refused():
    draw = random.Random(1)
    values = ["0", "-1", "2", "0.5", "1e308", "'a'", "None", "[1, [2]]", "()", "{[]: 1}", "9" * 30]
    values += ["Gradient", "Infidelity", "Output(1)", "{1: [2]}", "True", "b'x'", "1j"]
    outcomes = []
    for name in sorted(words()):
        for _ in range(25):
            settings = ", ".join(draw.choices(values, k=draw.randrange(4)))
            outcomes.append(read(f"{name}({settings})"))
    assert {"read", "refused"} == set(outcomes)


@pytest.mark.parametrize(
    "text",
    [
        "-" * 3_000 + "1",
        "-" * 100_000 + "1",
        "(" * 10_000,
        "[" * 150 + "]" * 150,
        "Absolute(" * 80 + "Gradient" + ")" * 80,
        "Absolute(" * 5_000 + ")" * 5_000,
        f"IntegratedGradients(steps={'9' * 10_000})",
        f"Smoothed(Gradient(), noise={'-' * 3_000}1)",
        "IntegratedGradients(steps={[]: 1})",
        "IntegratedGradients(steps={[1]})",
        "x" * 100_000,
        "a." * 10_000 + "a",
        "\0",
        "",
    ],
    ids=lambda text: text[:24],
)
def test_texts_that_are_too_deep_or_too_long_are_read_or_refused_in_few_words(text):
    try:
        parse(text, Method)
    except AssayError as refusal:
        got = refusal.got
        assert len(got) < 1000


def test_reading_settings_computes_nothing():
    start = time.perf_counter()
    parse("IntegratedGradients(steps=8000)", Method)
    assert time.perf_counter() - start < 0.5
    with pytest.raises(InputError, match="at most 8192 steps"):
        parse("IntegratedGradients(steps=100000000000)", Method)
    with pytest.raises(InputError, match="at most 1048576 steps"):
        IntegratedGradients(steps=1 << 40, rule="right")


def test_an_unknown_name_is_refused_with_names_of_the_wanted_kind():
    with pytest.raises(InputError, match=r"Did you mean Infidelity\?") as caught:
        parse("Infidelty", Metric)
    assert f"Known: {', '.join(named(Metric))}." in caught.value.advice
    with pytest.raises(InputError, match="IntegratedGradients") as caught:
        parse("IntegratedGradient(steps=3)", Method)
    for stranger in ("FixedAbsent", "TextLayout", "Function", "Infidelity"):
        assert stranger not in caught.value.advice
