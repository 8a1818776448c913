"""What is remembered between calls, bounded by its bytes: the least recently used goes first.

Designs are functions of a few numbers, cost seconds to make, and are met again for every input and
output. How many may be kept depends on how large they are, which a number of entries does not say.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import update_wrapper
from threading import Lock
from typing import Any, Generic, TypeVar, final

R = TypeVar("R")


@final
class Remembered(Generic[R]):
    """A function whose latest results are kept, at most `most_bytes` of them.

    Settings:
        function: of arguments that can be hashed; what it gives is shared, and must not be written.
        size: the bytes that a result holds, or will hold once it has been used.
        most_bytes: of all results together; the latest is kept whatever its size, so that who asks
            twice in a row need not wait twice.
    """

    def __init__(
        self, function: Callable[..., R], size: Callable[[R], int], most_bytes: int
    ) -> None:
        update_wrapper(self, function)
        self.function = function
        self.size = size
        self.most_bytes = most_bytes
        self.bytes = 0
        self._kept: OrderedDict[Hashable, tuple[R, int]] = OrderedDict()
        self._lock = Lock()

    def __call__(self, *key: Hashable) -> R:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key][0]
        # Made outside of the lock: two threads may make the same, and one of them is kept.
        result = self.function(*key)
        self._keep(key, result)
        return result

    def _keep(self, key: Hashable, result: R) -> None:
        size = self.size(result)
        with self._lock:
            if key in self._kept:
                return
            self._kept[key] = (result, size)
            self.bytes += size
            while self.bytes > self.most_bytes and len(self._kept) > 1:
                _, (_, oldest) = self._kept.popitem(last=False)
                self.bytes -= oldest

    def cache_clear(self) -> None:
        """Forgets everything."""
        with self._lock:
            self._kept.clear()
            self.bytes = 0

    def __len__(self) -> int:
        """How many results are kept."""
        return len(self._kept)


def remembered(
    most_bytes: int, size: Callable[[Any], int]
) -> Callable[[Callable[..., R]], Remembered[R]]:
    """Keeps the latest results of a function, at most so many bytes of them.

    >>> @remembered(most_bytes=20, size=len)
    ... def text(letters: int) -> str:
    ...     return "a" * letters
    >>> len(text(9)), len(text(8)), len(text(7)), text.bytes
    (9, 8, 7, 15)
    """

    def wrap(function: Callable[..., R]) -> Remembered[R]:
        return Remembered(function, size, most_bytes)

    return wrap
