"""A few real architectures with random weights: right or refused, at the input and at two layers."""

from __future__ import annotations

import pytest

pytest.importorskip("transformers", reason="needs the extra 'architectures'")

from architectures.asked import ask
from architectures.catalogue import FEW


@pytest.fixture(scope="module", autouse=True)
def torchvision() -> None:
    """torchvision, whose operators may be built for another torch: see bench/torchvision_names.py."""
    import torchvision_names  # noqa: F401

    pytest.importorskip("torchvision", reason="needs the extra 'architectures'")


@pytest.mark.parametrize("name", FEW)
def test_answers_are_right_or_refused(name: str) -> None:
    cases = ask(name, count=2)
    assert any(case.outcome == "right" for case in cases)
    bad = [case for case in cases if case.outcome not in ("right", "refused")]
    assert not bad, "\n".join(map(str, bad))
