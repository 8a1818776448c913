"""Scores: one number per input, averaged late, saved without pickle."""

from __future__ import annotations

import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from assay.answers.score import Score
from assay.errors import InputError, VersionError
from assay.numerics import statistics

NAN = math.nan


def full() -> Score:
    return Score(
        "Infidelity",
        torch.tensor([0.1, NAN, 0.4, 0.3]),
        "lower",
        units="target squared",
        error=torch.tensor([0.01, 0.02, 0.02, 0.01]),
        details={"skill": torch.tensor([0.9, NAN, 0.2, 0.3])},
        why="no change of the target",
        provenance={"metric": "Infidelity(draws=10)", "seed": 3},
    )


def test_mean_interval_missing_and_noise() -> None:
    many = torch.tensor([0.1, NAN, 0.4, 0.3, 0.2, 0.2, 0.5, 0.9, 0.1])
    known = many[~many.isnan()].double().numpy()
    assert Score("Gap", many, "lower").interval == statistics.interval(known)
    score = full()
    there = np.array([0.1, 0.4, 0.3], dtype=np.float32).astype(np.float64)
    assert score.values.dtype == torch.float64
    assert score.mean == pytest.approx(there.mean(), rel=1e-12)
    assert score.missing == 1
    assert score.noise == pytest.approx(math.sqrt(0.01**2 + 0.02**2 + 0.01**2) / 3, rel=1e-6)
    assert Score("Gap", torch.ones(3), "lower").noise == 0.0
    assert len(score) == 4


def test_a_rate_has_wilsons_interval() -> None:
    hits = torch.tensor([1.0, 1.0, 0.5, NAN, 0.0, 0.0, 0.0, 1.0, 0.0])
    score = Score("PointingGame", hits, "higher", units="rate")
    assert score.interval == statistics.wilson(3.5, 8)
    assert Score("PointingGame", torch.ones(10), "higher", units="rate").interval[0] < 0.8
    with pytest.raises(InputError, match="rate"):
        Score("PointingGame", torch.tensor([2.0]), "higher", units="rate")


def test_one_line_says_it_all() -> None:
    assert repr(full()) == (
        "Infidelity 0.267 target squared, lower is better, n=3 of 4 (no change of the target; fewer "
        "than 8 inputs give no interval: ask about 8 or more)"
    )
    known = Score("Gap", torch.tensor([*[0.0, 1.0] * 5, NAN]), "lower", why="no change")
    low, high = known.interval
    assert repr(known) == (
        f"Gap 0.5 [{low:.3g}, {high:.3g}], lower is better, n=10 of 11 (no change)"
    )
    assert (
        str(Score("Skill", torch.full((16,), 0.5), "higher"))
        == "Skill 0.5 [0.5, 0.5], higher is better, n=16"
    )


@pytest.mark.parametrize("units", ["", "rate"])
def test_fewer_than_8_inputs_give_no_interval_and_say_so(units: str) -> None:
    """Inputs without a score are not counted; the eighth makes an interval."""
    values = torch.tensor([0.5, 0.25, 1.0, 0.0, 0.75, 0.5, 0.25, NAN])
    few = Score("Gap", values, "lower", units=units)
    assert all(math.isnan(end) for end in (*few.interval, *few.interval_at(0.5)))
    assert few.no_interval == "fewer than 8 inputs give no interval: ask about 8 or more"
    assert few.no_interval in repr(few)
    assert "[" not in repr(few)
    enough = Score("Gap", values.nan_to_num(0.5), "lower", units=units)
    assert enough.no_interval == ""
    assert enough.interval[0] < enough.mean < enough.interval[1]


def test_without_any_score_everything_is_nan() -> None:
    score = Score("Gap", torch.tensor([NAN, NAN]), "lower")
    assert score.missing == 2
    assert all(math.isnan(number) for number in (score.mean, *score.interval))
    assert math.isnan(Score("Gap", torch.tensor([NAN]), "lower", error=torch.tensor([0.1])).noise)


def test_a_score_keeps_its_own_copy() -> None:
    source = torch.tensor([1.0, 2.0], dtype=torch.float64)
    score = Score("Gap", source, "lower", details={"raw": source})
    source[0] = 9.0
    assert score.values.tolist() == [1.0, 2.0]
    assert score.details["raw"].tolist() == [1.0, 2.0]
    with pytest.raises(AttributeError):
        score.name = "other"  # type: ignore[misc]
    assert repr(pickle.loads(pickle.dumps(score))) == repr(score)


def test_save_and_load_without_pickle(tmp_path: Path) -> None:
    score = full()
    path = tmp_path / "score.safetensors"
    score.save(path)
    back = Score.load(path)
    assert repr(back) == repr(score)
    assert torch.equal(back.values.nan_to_num(7.0), score.values.nan_to_num(7.0))
    assert back.error is not None
    assert torch.equal(back.error, score.error)  # type: ignore[arg-type]
    assert torch.equal(
        back.details["skill"].nan_to_num(7.0), score.details["skill"].nan_to_num(7.0)
    )
    assert back.provenance == score.provenance
    Score("Gap", torch.ones(2), "lower").save(path)
    assert Score.load(path).error is None


WIDE = torch.tensor([*[0.01, 0.02, 0.03] * 3, 2.0])


def test_an_interval_ends_where_no_score_can_be() -> None:
    free = Score("Gap", WIDE, "lower").interval
    bounded = Score("Gap", WIDE, "lower", bounds=(0.0, math.inf)).interval
    assert free[0] < 0
    assert bounded == (0.0, free[1])
    skill = Score("Skill", 1 - WIDE, "higher", bounds=(-math.inf, 1.0))
    assert skill.interval[1] == 1.0
    assert skill.interval_at(0.5)[1] < 1.0
    assert Score("Skill", 1 - WIDE, "higher").interval[1] > 1.0


def test_bounds_are_kept_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "score.safetensors"
    for bounds in ((0.0, math.inf), (-math.inf, 3.0), (-math.inf, math.inf)):
        Score("Gap", WIDE, "lower", bounds=bounds).save(path)
        assert Score.load(path).bounds == bounds


def test_load_refuses_what_it_cannot_read(tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    save_file({"values": torch.ones(2)}, str(other))
    with pytest.raises(InputError, match="saved Score"):
        Score.load(other)
    save_file({"values": torch.ones(2)}, str(other), metadata={"noun": "Score", "format": "99"})
    with pytest.raises(VersionError, match="format 99"):
        Score.load(other)
    other.write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match="cannot be read"):
        Score.load(other)


def test_to_pandas_has_one_row_per_input() -> None:
    frame = full().to_pandas()
    assert list(frame.columns) == ["Infidelity", "standard error", "skill"]
    assert frame.index.name == "input"
    assert frame["skill"][2] == pytest.approx(0.2, rel=1e-6)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"values": torch.ones(2, 2)}, "one number per input"),
        ({"values": torch.tensor(1.0)}, "average nothing"),
        ({"values": torch.tensor([math.inf])}, "finite"),
        ({"error": torch.ones(3)}, "error"),
        ({"details": {"raw": torch.ones(3)}}, "raw"),
        ({"direction": "up"}, "lower"),
        ({"bounds": (0.0, 0.5)}, "within its bounds, 0 to 0.5"),
        ({"bounds": (2.0, 0.0)}, "lower before the upper"),
        ({"bounds": (math.nan, 2.0)}, "lower before the upper"),
    ],
)
def test_refusals(settings: dict[str, object], words: str) -> None:
    given: dict[str, object] = {
        "name": "Gap",
        "values": torch.ones(2),
        "direction": "lower",
    } | settings
    with pytest.raises(InputError, match=words):
        Score(**given)  # type: ignore[arg-type]
