"""How explanations moved at neighbours, kept so that no sensitivity asks for it twice.

The sensitivities sample the same neighbours and climb the same way, and differ in what they divide by:
a comparison that asks for several of them asks its methods once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Generic, TypeVar, final

from assay.answers.attribution import Attribution

T = TypeVar("T")


@final
class SharedChanges(Generic[T]):
    """What was found, by the question, the answers and the settings that it was found with."""

    def __init__(self) -> None:
        self._found: dict[Hashable, tuple[Sequence[object], T]] = {}

    def once(self, key: Hashable, named_by_place: Sequence[object], find: Callable[[], T]) -> T:
        """What `find` gives, found once for a key and for objects that are told apart by where they
        are in memory: these are held, so that no other comes to lie there.
        """
        whole = (key, *map(id, named_by_place))
        if whole not in self._found:
            self._found[whole] = (named_by_place, find())
        return self._found[whole][1]


_SHARED: ContextVar[SharedChanges[object] | None] = ContextVar("shared changes", default=None)


@contextmanager
def sharing_changes() -> Iterator[None]:
    """What sensitivities find within it is found once."""
    token = _SHARED.set(SharedChanges())
    try:
        yield
    finally:
        # Weights may change afterwards: nothing is remembered beyond the comparison.
        _SHARED.reset(token)


def shared_changes() -> SharedChanges[object] | None:
    """What the comparison that is being made has found; None outside of one."""
    return _SHARED.get()


def digest_of(answers: Sequence[Attribution]) -> bytes:
    """A hash of the values of answers, whose parts are made anew for every metric."""
    hashed = hashlib.blake2b(digest_size=16)
    for answer in answers:
        values = answer.values.detach().contiguous().cpu()
        hashed.update(f"{values.dtype} {tuple(values.shape)}".encode())
        hashed.update(values.numpy().tobytes())
    return hashed.digest()
