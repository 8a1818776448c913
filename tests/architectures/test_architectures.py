"""A few real architectures with random weights: right or refused, at the input and at two layers."""

from __future__ import annotations

import pytest

pytest.importorskip("transformers", reason="needs the extra 'architectures'")

from architectures.asked import ask
from architectures.catalogue import FEW


@pytest.mark.parametrize("name", FEW)
def test_answers_are_right_or_refused(name: str) -> None:
    if name.startswith("torchvision"):
        _torchvision()
    cases = ask(name, count=2)
    assert any(case.outcome == "right" for case in cases)
    bad = [case for case in cases if case.outcome not in ("right", "refused")]
    assert not bad, "\n".join(map(str, bad))


def _torchvision() -> None:
    """torchvision, whose operators may be built for another torch."""
    import torch

    try:
        import torchvision_names  # noqa: F401  # see bench/torchvision_names.py
    except ImportError:
        pytest.importorskip("torchvision", exc_type=(ImportError, RuntimeError))
    assert torch.ops.torchvision is not None
    pytest.importorskip("torchvision")
