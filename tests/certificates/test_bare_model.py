"""The class that the model itself gives an input stands beside what is proven of the smoothed one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import assay
from assay.certificates.certificate import Certificate
from assay.errors import InputError

SELECTION = torch.arange(8) < 2


def needs_all(x: Tensor) -> Tensor:
    """Class 1 where nothing is absent, class 0 as soon as anything is."""
    return torch.stack([7.5 + 0 * x[:, 0], x.sum(1)], dim=1)


def proof(f: object = needs_all, **settings: object) -> Certificate:
    question = assay.Question(f, torch.ones(1, 8), target=1)
    smoothing = assay.MultiplicativeSmoothing(kept=2, levels=8, **settings)
    return smoothing.certify(question, SELECTION)[0]


@pytest.mark.parametrize("settings", [{}, {"design": "bernoulli", "draws": 100}])
def test_a_proof_about_another_class_than_the_models_says_so_first(settings: object) -> None:
    certificate = proof(**settings)  # type: ignore[arg-type]
    # All of this is true of the smoothed classifier, and of nothing that the model ever said.
    assert certificate.consistent
    assert certificate.incremental > 0
    assert (certificate.bare, certificate.predicted, certificate.selected) == (1, 0, 0)
    assert certificate.agrees is False
    assert repr(certificate).startswith("<Certificate: bare=1, agrees=False, ")
    assert "bare model gives the whole input class 1" in certificate.assumptions[0]
    assert "not about the class that the model itself says" in certificate.assumptions[0]


def test_a_proof_about_the_models_own_class_agrees() -> None:
    certificate = proof(lambda x: torch.stack([1.5 + 0 * x[:, 0], 3 * x[:, 0] + 2 * x[:, 1]], 1))
    first = assay.HardStability().certify(
        assay.Question(needs_all, torch.ones(1, 8), target=1), torch.arange(8) >= 0
    )[0]
    assert (first.bare, first.agrees) == (1, True)
    assert certificate.bare == 1
    assert certificate.agrees == (certificate.predicted == certificate.selected == 1)


def test_the_bare_class_of_probabilities_is_that_of_the_outputs_as_they_came() -> None:
    def close(x: Tensor) -> Tensor:
        share = 0.5 + 1e-8 * x.double().mean(1)
        return torch.stack([1 - share, share], dim=1)

    assert proof(close, output="probabilities").bare == 1


def test_the_bare_class_is_kept_in_the_file_and_asked_again(tmp_path: Path) -> None:
    certificate = proof()
    path = certificate.save(tmp_path / "proof.json")
    assert Certificate.load(path) == certificate
    question = assay.Question(needs_all, torch.ones(1, 8), target=1)
    assert certificate.verify(question)
    forged = replace(certificate, bare=0)
    verdict = forged.verify(question)
    assert not verdict
    assert "bare" in verdict.why
    # Files of before it was kept say nothing of it.
    facts = json.loads(path.read_text())
    del facts["bare"]
    path.write_text(json.dumps(facts))
    old = Certificate.load(path)
    assert (old.bare, old.agrees) == (None, None)
    assert "not kept" in old.assumptions[0]
    facts["bare"] = 2
    path.write_text(json.dumps(facts))
    with pytest.raises(InputError, match="a class below 2"):
        Certificate.load(path)
