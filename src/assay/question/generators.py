"""Whether a model draws random numbers while it is asked: the process's own generators tell.

A forward that draws may by chance answer twice alike, so that two answers that agree prove nothing.
One that moves a generator and means nothing by it (an initialisation, a shuffle) is not refused for
that alone: it is asked some more times.
"""

from __future__ import annotations

import ctypes
import random
from typing import Any, final

import numpy as np
import torch

_TWISTER = 4 * 624 + 4  # bytes of a Mersenne twister in memory: its key, and the place in it


@final
class Generators:
    """The generators of torch, NumPy and Python as they are when this is made."""

    def __init__(self) -> None:
        self._found = _states()

    @property
    def moved(self) -> bool:
        """Whether somebody has drawn since."""
        return self._found != _states()


def _states() -> tuple[Any, ...]:
    of_torch = [torch.get_rng_state()]
    if torch.cuda.is_initialized():
        of_torch.append(torch.cuda.get_rng_state())
    return [state.numpy().tobytes() for state in of_torch], _of_numpy(), random.getstate()


def _of_numpy() -> bytes | str:
    """The state of the generator behind `np.random.rand` and the like: models draw from it, not we."""
    generator: Any = np.random.get_bit_generator()  # type: ignore[attr-defined]
    if type(generator) is np.random.MT19937:
        # Where it lies, since NumPy writes its key out number by number, which takes 0.15 ms.
        return ctypes.string_at(generator.ctypes.state_address, _TWISTER)
    return repr(generator.state)
