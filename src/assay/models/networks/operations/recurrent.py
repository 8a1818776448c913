"""Recurrent layers and cells in plain operations, step by step.

torch's own kernels are one call for all steps. Here every gate is a product and every step is heard:
LSTM (Hochreiter and Schmidhuber 1997), GRU (Cho et al. 2014), and plain cells, in torch's order of
gates.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias, final

import torch
from torch import Tensor
from torch.nn.functional import linear

from assay.errors import AbilityError
from assay.models.networks.operations.operation import Operation

State: TypeAlias = tuple[Tensor, ...]
"""What a cell hands on: (h,), or (h, c) of an LSTM."""


@final
class Weights(NamedTuple):
    """Of one layer in one direction: from the input, from the state, and their biases."""

    of_input: Tensor
    of_state: Tensor
    input_bias: Tensor | None = None
    state_bias: Tensor | None = None
    projection: Tensor | None = None


Step: TypeAlias = Callable[[Tensor, State, Weights], State]
"""An input (r, k), a state, and weights to the next state."""


def _lstm_step(x: Tensor, state: State, weights: Weights) -> State:
    h, c = state
    gates = _gates(x, h, weights)
    # torch's order of gates; that of ONNX is input, output, forget, cell.
    entering, forgetting, candidate, leaving = gates.chunk(4, -1)
    kept = torch.sigmoid(forgetting) * c
    c = kept + torch.sigmoid(entering) * torch.tanh(candidate)
    h = torch.sigmoid(leaving) * torch.tanh(c)
    # A projection (torch's `proj_size`) makes the state shorter than the memory c.
    return (h if weights.projection is None else linear(h, weights.projection)), c


def _gru_step(x: Tensor, state: State, weights: Weights) -> State:
    (h,) = state
    # The shares of input and state are kept apart: torch's reset gate scales the state's share of
    # the candidate, its bias included, where the paper's scales the state before its weights.
    of_x = linear(x, weights.of_input, weights.input_bias).chunk(3, -1)
    of_h = linear(h, weights.of_state, weights.state_bias).chunk(3, -1)
    reset = torch.sigmoid(of_x[0] + of_h[0])
    update = torch.sigmoid(of_x[1] + of_h[1])
    candidate = torch.tanh(of_x[2] + reset * of_h[2])
    return ((1 - update) * candidate + update * h,)


def _plain_step(
    activation: Callable[[Tensor], Tensor],
    x: Tensor,
    state: State,
    weights: Weights,
) -> State:
    (h,) = state
    return (activation(_gates(x, h, weights)),)


def _gates(x: Tensor, h: Tensor, weights: Weights) -> Tensor:
    of_x = linear(x, weights.of_input, weights.input_bias)
    return of_x + linear(h, weights.of_state, weights.state_bias)


def _cell(step: Step, operation: Operation) -> Any:
    """`lstm_cell(x, (h, c), w_ih, w_hh, b_ih, b_hh)` and its kin."""
    x, state, *weights = operation.args
    is_pair = isinstance(state, list | tuple)
    following = step(x, tuple(state) if is_pair else (state,), Weights(*weights))
    return following if is_pair else following[0]


def _layers(step: Step, operation: Operation) -> Any:
    """`lstm(x, (h, c), weights, has_biases, layers, dropout, train, bidirectional, batch_first)`."""
    x, states, weights, has_biases, layers, _, _, both_ways, batch_first = operation.args
    # Of packed sequences the second argument is not a state, but how many rows go on at each step.
    if isinstance(states, Tensor) and not states.is_floating_point():
        raise AbilityError(
            expected="padded sequences for rules that act on operations",
            got=f"packed ones in {operation.name!r}",
            advice="Hand over padded sequences and their lengths as context.",
        )
    is_pair = isinstance(states, list | tuple)
    hidden = tuple(states) if is_pair else (states,)
    steps = x.transpose(0, 1) if batch_first else x
    directions = 2 if both_ways else 1
    # A projection of the state, where there is one, is the last of its layer.
    each = len(weights) // (layers * directions)
    biases = 2 if has_biases else 0
    last: list[State] = []
    for layer in range(layers):
        passed = []
        for direction in range(directions):
            # Weights and states are counted layer by layer, forwards before backwards within each.
            number = layer * directions + direction
            parts = weights[number * each : (number + 1) * each]
            own = Weights(*parts[: 2 + biases])._replace(projection=(*parts, None)[2 + biases])
            state = tuple(part[number] for part in hidden)
            sequence, state = _run(step, steps, state, own, backwards=direction == 1)
            passed.append(sequence)
            last.append(state)
        steps = torch.cat(passed, -1) if directions == 2 else passed[0]
    outputs = steps.transpose(0, 1) if batch_first else steps
    return outputs, *(torch.stack(parts) for parts in zip(*last))


def _run(
    step: Step, steps: Tensor, state: State, weights: Weights, *, backwards: bool
) -> tuple[Tensor, State]:
    order = range(len(steps))
    outputs: dict[int, Tensor] = {}
    for place in reversed(order) if backwards else order:
        state = step(steps[place], state, weights)
        outputs[place] = state[0]
    # In the order of the sequence, also where it was read from its end.
    return torch.stack([outputs[place] for place in order]), state


_relu_step = partial(_plain_step, torch.relu)
_tanh_step = partial(_plain_step, torch.tanh)

RECURRENT: dict[str, Callable[[Operation], Any]] = {
    "lstm": partial(_layers, _lstm_step),
    "gru": partial(_layers, _gru_step),
    "rnn_tanh": partial(_layers, _tanh_step),
    "rnn_relu": partial(_layers, _relu_step),
    "lstm_cell": partial(_cell, _lstm_step),
    "gru_cell": partial(_cell, _gru_step),
    "rnn_tanh_cell": partial(_cell, _tanh_step),
    "rnn_relu_cell": partial(_cell, _relu_step),
}
