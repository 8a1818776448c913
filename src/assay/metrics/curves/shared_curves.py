"""What was read along orders of features, kept so that nobody asks it twice.

A step of a curve is a set of features that is shown. Metrics come to the same sets by different ways:
removing the first k of an order shows what adding the last ones shows, so that of deletion, insertion,
the order turned round, their difference, AOPC and monotonicity two curves are left to ask. Explanations
that agree in an order share it as well. A comparison keeps one table for all of its metrics.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeAlias, final

import torch
from torch import Tensor

from assay.question.question import Question

Ask: TypeAlias = Callable[[Tensor], Tensor]
"""Numbers of features taken (n, m) to what is read then (n, m)."""


@final
class SharedCurves:
    """What was read, by the order of features and by how many of it were shown.

    Kept are the numbers read and hashes of what was asked: it takes no memory for masks and orders.
    """

    def __init__(self) -> None:
        self._steps: dict[tuple[Any, bytes], dict[bytes, Tensor]] = {}

    def along(
        self,
        about: str,
        rows: Tensor,
        places: Tensor,
        counts: Tensor,
        ask: Ask,
        *,
        insert: bool,
        read: Any,
    ) -> Tensor:
        """What is read of n inputs along orders: (n, m), asked where it is not known.

        Settings:
            about: which question it is about.
            rows: the n of its inputs.
            places: of every feature in its order (n, features).
            counts: how many are taken (n, m).
            ask: what reads it, for some of the counts.
            insert: whether what is taken is shown alone, in the place of removed.
            read: what tells readings apart, such as a function.
        """
        features = places.shape[1]
        # Without the first k of an order: nothing but the first ones of the order turned round.
        if not insert:
            places = features - 1 - places
        shown = counts if insert else features - counts
        steps = self._steps.setdefault((read, _hash(about, rows, places)), {})
        # A step is known by how many every input shows of it.
        names = [step.tobytes() for step in shown.T.contiguous().cpu().numpy()]
        new = {name: number for number, name in enumerate(names) if name not in steps}
        if new:
            asked = torch.tensor(list(new.values()), device=counts.device)
            values = ask(counts[:, asked])
            steps.update(zip(new, values.unbind(1)))
        return torch.stack([steps[name] for name in names], dim=1)


_SHARED: ContextVar[SharedCurves | None] = ContextVar("shared curves", default=None)


@contextmanager
def sharing_curves() -> Iterator[SharedCurves]:
    """What metrics read along orders within it is asked once."""
    shared = SharedCurves()
    token = _SHARED.set(shared)
    try:
        yield shared
    finally:
        # Weights may change afterwards: nothing is remembered beyond the comparison.
        _SHARED.reset(token)


def shared_curves(question: Question) -> tuple[SharedCurves, str]:
    """The table of the comparison that is being made, and what this question is called there; or
    else a new table, in which it needs no name.
    """
    shared = _SHARED.get()
    if shared is None:
        return SharedCurves(), ""
    # Its inputs, model, target and removal: the last may be a metric's own.
    return shared, question.digest


def _hash(about: str, rows: Tensor, places: Tensor) -> bytes:
    """Which inputs of a question are asked about in which order."""
    hashed = hashlib.blake2b(about.encode(), digest_size=16)
    for part in (rows, places.to(torch.int32)):
        hashed.update(str(tuple(part.shape)).encode())
        hashed.update(part.contiguous().cpu().numpy().tobytes())
    return hashed.digest()
