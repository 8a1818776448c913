"""What a method promises, and what it says of a shard of inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, final

from torch import Tensor

from assay.features.partition import Partition


class Axiom(Enum):
    """What a method promises; the axiom tests hold it to that."""

    COMPLETENESS = "completeness"
    DUMMY = "dummy"
    SYMMETRY = "symmetry"
    LINEARITY = "linearity"
    IMPLEMENTATION_INVARIANCE = "implementation invariance"
    MONOTONICITY = "monotonicity"


@final
@dataclass(frozen=True, eq=False)
class Estimate:
    """What a method says of a shard of inputs.

    Settings:
        values: credit (n, features).
        standard_error: the same shape, where the method samples.
        notes: facts for the answer; lists with an entry for each input are joined over shards.
        ends: prediction and base (rows,), from a method that pools inputs and so has its own.
        players: how many features of each input were solved for, (n,); None where all were.
        base: (rows,), from a method that says itself what the target is with everything absent.
        partition: who the values are of, where they are not of the question's features.
    """

    values: Tensor
    standard_error: Tensor | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)
    ends: tuple[Tensor, Tensor] | None = None
    players: Tensor | None = None
    base: Tensor | None = None
    partition: Partition | None = None


def as_estimate(given: Tensor | Estimate) -> Estimate:
    """What `values` gave, as an estimate: a tensor is credit without anything beside it."""
    return given if isinstance(given, Estimate) else Estimate(given)
