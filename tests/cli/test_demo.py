"""The demo on two digits: every method, every metric, one page, one picture; the same for the same seed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from assay import METHODS
from assay.cli import demo
from assay.comparison.comparison import Comparison
from assay.metrics import METRICS


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return demo.run(inputs=2)


def test_every_method_and_metric_takes_part() -> None:
    asked = {type(each).__name__ for each in demo.contenders()}
    assert asked | set(demo.unasked()) == set(METHODS)
    assert asked.isdisjoint(demo.unasked())
    # A convolutional network has no attention to look at.
    assert {"AttentionRollout", "TransformerRelevance"} <= set(demo.unasked())
    judges = {type(each).__name__ for each in demo.judges()}
    assert judges == {
        "Infidelity",
        "MaxSensitivity",
        "Completeness",
        "Deletion",
        "Insertion",
        "Compactness",
    }
    assert judges <= set(METRICS)


def test_every_answer_has_every_score(comparison: Comparison) -> None:
    answered = [name for name in comparison.attributions if name not in comparison.references]
    assert len(answered) >= 8
    for name in answered:
        scored = {metric for metric in comparison.metrics if (name, metric) in comparison.scores}
        # What has no unit is not added up; steadiness, order and shortness can be asked of everybody.
        if comparison.attributions[name].kind == "weight":
            added_up = {comparison.metrics[0], comparison.metrics[2]}
            assert scored == set(comparison.metrics) - added_up
        else:
            assert scored == set(comparison.metrics)
    assert all(len(score) == 2 for score in comparison.scores.values())


def test_integrated_gradients_account_for_more_than_the_gradient(comparison: Comparison) -> None:
    infidelity = comparison.metrics[0]
    better, worse = (
        comparison.score("IntegratedGradients", infidelity),
        comparison.score("Gradient", infidelity),
    )
    assert bool((better.values < worse.values).all())


def test_the_page_and_the_picture_are_written(comparison: Comparison, tmp_path: Path) -> None:
    page = demo.write(comparison, tmp_path / "new" / "report.html").read_text(encoding="utf-8")
    assert "handwritten digits" in page
    assert page.count("data:image/png;base64,") >= 2 * len(comparison.methods) - 2 * len(
        comparison.refusals
    )
    with Image.open(demo.draw(comparison, tmp_path / "digits.png", digits=2)) as picture:
        assert picture.width > picture.height > 100


def test_training_is_seeded_and_leaves_the_global_generator_alone() -> None:
    digits = demo.Digits.read()
    before = torch.random.get_rng_state()
    first, second = demo.train(digits, epochs=1), demo.train(digits, epochs=1)
    other = demo.train(digits, seed=1, epochs=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters()))
    assert not torch.equal(next(first.parameters()), next(other.parameters()))


def test_the_network_reads_digits() -> None:
    digits = demo.Digits.read()
    assert demo.accuracy(demo.train(digits), digits) > 0.95


def test_the_curved_way_starts_at_the_absent_input_and_ends_at_the_input() -> None:
    absent, x = torch.zeros(1, 3), torch.tensor([[0.2, 0.5, 1.0]])
    way = demo.BrightLast(power=2.0)
    assert torch.equal(way(torch.zeros(1, 1), absent, x), absent)
    assert torch.equal(way(torch.ones(1, 1), absent, x), x)
    middle = way(torch.full((1, 1), 0.5), absent, x)
    torch.testing.assert_close(
        middle, torch.tensor([[0.2 * 0.5**1.4, 0.5 * 0.25, 0.125]]), rtol=0, atol=1e-7
    )
