"""One thread at a time in a network, and in every network that shares a part with it.

A session changes its module (training mode, `requires_grad`, hooks at a layer) and puts it back at
the end: another thread in between would be asked of a network that is half put back.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from typing import final
from weakref import WeakKeyDictionary

from torch import nn

from assay.models.networks.module_state import parts_of

_numbers = count()

_registry = threading.Lock()


@final
class _NetworkLock:
    """A lock that one thread may take several times, and its number in the order of making."""

    def __init__(self) -> None:
        self.number = next(_numbers)
        self.lock = threading.RLock()


_locks: WeakKeyDictionary[nn.Module, _NetworkLock] = WeakKeyDictionary()


@contextmanager
def alone_in(module: nn.Module) -> Iterator[None]:
    """No other thread is in a session of this module or of one that shares a part with it."""
    with ExitStack() as held:
        for lock in _locks_of(module):
            held.enter_context(lock.lock)
        yield


def _locks_of(module: nn.Module) -> list[_NetworkLock]:
    """The locks of all parts of a module, in the order in which every thread takes them."""
    parts = parts_of(module)
    with _registry:
        known = {_locks[part] for part in parts if part in _locks}
        if not known:
            known = {_NetworkLock()}
        ordered = sorted(known, key=lambda lock: lock.number)
        # A part that is new belongs to the first of them.
        for part in parts:
            _locks.setdefault(part, ordered[0])
    return ordered
