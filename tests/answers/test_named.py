"""What is asked for by name: a name that there is not is refused, with those that there are."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Mapping
from typing import Any

import pytest
import torch

import assay
from assay.answers.named import Named
from assay.errors import AssayError, InputError
from assay.metrics.sensitivity.smoothing import Inequality


def compared() -> Any:
    question = assay.Question(lambda x: (x[:, 0] * x[:, 1]) ** 2, torch.rand(9, 2) + 0.5)
    return assay.compare(question, ["Gradient", "InputXGradient"], ["Completeness", "Infidelity"])


def test_it_is_a_dict_but_for_names_that_there_are_not() -> None:
    found = Named({"curve": 1, "share": 2})
    assert found == {"curve": 1, "share": 2}
    assert repr(found) == "{'curve': 1, 'share': 2}"
    assert found["curve"] == 1
    assert found.get("curves") is None
    assert "curves" not in found
    with pytest.raises(InputError, match="one of the names curve, share, got 'curves'"):
        found["curves"]
    for again in (copy.deepcopy(found), pickle.loads(pickle.dumps(found))):
        assert type(again) is Named
        assert again == found


@pytest.mark.parametrize("wanted", ["Completeness", "Completeness()", assay.Completeness()])
def test_a_comparison_takes_short_labels_everywhere(wanted: Any) -> None:
    found = compared()
    label = "Completeness()"
    assert found.rankings[wanted] is found.rankings[label]
    assert found.by(wanted) == found.by(label)
    assert found.directions[wanted] == "lower"
    assert found.scores["InputXGradient", wanted] is found.scores["InputXGradient()", label]
    assert found.by(wanted)["InputXGradient"] is found.scores["InputXGradient()", label]
    assert found.attributions["Gradient"] is found.attributions["Gradient()"]


def public_mappings() -> dict[str, Mapping[Any, Any]]:
    """Every mapping of a public answer that a user asks for something by its name."""
    found = compared()
    answer = found.attributions["InputXGradient()"]
    score = assay.Deletion()(found.question, answer)
    network = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1))
    asked = assay.Question(network, torch.rand(2, 2), target=0)
    report = assay.axioms.check(assay.InputXGradient(), asked, axioms=["completeness"])
    (axiom,) = report
    answers = (answer, score, report, report[axiom], found, found.rankings["Completeness"])
    mappings = {
        f"{type(owner).__name__}.{field.name}": getattr(owner, field.name)
        for owner in answers
        for field in dataclasses.fields(owner)
        if isinstance(getattr(owner, field.name), Mapping)
    }
    groups = found.rankings["Completeness"].groups
    inequality = Inequality(torch.ones(2), torch.ones(2), {"C1": torch.ones(2)})
    return mappings | {
        "Comparison.rankings": found.rankings,
        "Comparison.by": found.by("Completeness"),
        "Ranking.groups": groups,
        "Report": report,  # type: ignore[dict-item]
        "Inequality.constants": inequality.constants,
    }


def test_no_public_mapping_answers_with_a_bare_key_error() -> None:
    mappings = public_mappings()
    assert len(mappings) >= 14
    for name, mapping in mappings.items():
        for wanted in ("no such name", 7, ("no", "such"), None):
            # A number of an input is no name, and a text is no cell.
            with pytest.raises(AssayError) as refused:
                mapping[wanted]
            assert refused.value.advice, name
