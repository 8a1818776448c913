"""Names of elements, made one by one when they are asked for.

A picture of 1024 x 1024 in colour has three million elements, whose names nobody reads; making them
would take longer than most answers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, final, overload


@final
class ElementNames(Sequence[str]):
    """The elements of some tensors by their places: [2,3], or input0[2,3] among several.

    It reads as a tuple of texts does, and equals one with the same texts.

    Settings:
        tensors: the prefix and the shape of each tensor. A tensor of one number is called by its
            prefix alone, or x.

    >>> names = ElementNames((("input0", (2, 2)), ("input1", ())))
    >>> names[1], names[-1], len(names)
    ('input0[0,1]', 'input1', 5)
    """

    def __init__(self, tensors: tuple[tuple[str, tuple[int, ...]], ...]) -> None:
        self._tensors = tensors
        self._length = sum(math.prod(shape) for _, shape in tensors)

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...

    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        places = range(self._length)[index]
        if isinstance(places, range):
            return tuple(map(self._name, places))
        return self._name(places)

    def _name(self, place: int) -> str:
        for prefix, shape in self._tensors:
            size = math.prod(shape)
            if place < size:
                return _called(prefix, _indices(place, shape))
            place -= size
        raise IndexError(place)

    def __iter__(self) -> Iterator[str]:
        for prefix, shape in self._tensors:
            for indices in product(*map(range, shape)):
                yield _called(prefix, indices)

    def __eq__(self, other: Any) -> bool:
        # Two pictures of one shape are equal without making a name of either.
        if isinstance(other, ElementNames) and self._tensors == other._tensors:
            return True
        if not isinstance(other, ElementNames | tuple) or len(self) != len(other):
            return False
        return all(mine == theirs for mine, theirs in zip(self, other))

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))


def _indices(place: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The place as one index along each dimension, the last one fastest."""
    indices = []
    for length in reversed(shape):
        place, index = divmod(place, length)
        indices.append(index)
    return tuple(reversed(indices))


def _called(prefix: str, indices: tuple[int, ...]) -> str:
    if not indices:
        return prefix or "x"
    return f"{prefix}[{','.join(map(str, indices))}]"
