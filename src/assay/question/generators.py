"""Whether a model draws random numbers while it is asked: the process's own generators tell.

A forward that draws may by chance answer twice alike, so that two answers that agree prove nothing.
One that moves a generator and means nothing by it (an initialisation, a shuffle) is not refused for
that alone: it is asked some more times.
"""

from __future__ import annotations

import random
from typing import Any, final

import numpy as np
import torch


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
    legacy: Any = np.random.get_state(legacy=False)  # noqa: NPY002  models draw from it, not we
    counter = (legacy["state"]["key"].tobytes(), legacy["state"]["pos"])
    return [state.numpy().tobytes() for state in of_torch], counter, random.getstate()
