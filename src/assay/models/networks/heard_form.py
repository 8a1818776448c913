"""The form of a network that rules hear in its place: batch norms folded, weights in channels-last order.

Guided slopes and multipliers of DeepLIFT are the same behind a convolution and a batch norm as behind
the one convolution that both are, so less has to be heard, and to be gone back through. Unlike the
form for plain slopes nothing is overwritten, since rules keep what went through rectifiers. A form
pays from the second time on that a network is asked: the first is asked of the network itself.
`docs/fused.md` says how it is checked, and what it gains.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Any, final

from torch import fx, nn

from assay.inputs.layout import Rows
from assay.models.networks.fused import folded
from assay.models.networks.graph import agree, copies, listened

_KEY = "heard form"
_SAMPLE = 4


@final
class HeardForm:
    """The form of one module, as long as the module is what it was.

    Settings:
        module: what rules hear otherwise.
        output: what is picked of its answers.
        digest: a hash of its weights, which changes also with what is written through `.data`.
    """

    def __init__(
        self, module: nn.Module, output: Callable[[Any], Any], digest: Callable[[], bytes]
    ) -> None:
        self._module = module
        self._output = output
        self._digest = digest
        # Chosen once for a session, so that a reference and its inputs go through the same.
        self._is_chosen = False
        self._chosen: fx.GraphModule | None = None

    def close(self) -> None:
        """A session has ended: the next one chooses anew."""
        self._is_chosen = False
        self._chosen = None

    def chosen(
        self, rows: Rows, learnt: MutableMapping[Any, Any], *, compared: bool
    ) -> fx.GraphModule | None:
        """The form to be heard in this session, or None for the module itself.

        `learnt` is forgotten when the module is found changed. The form's answer is compared with
        the module's for one row, unless the answers for some rows are `compared` anyway.
        """
        if not self._is_chosen:
            self._chosen = self._choice(tuple(rows), learnt, compared=compared)
            self._is_chosen = True
        return self._chosen

    def _choice(
        self, rows: Rows, learnt: MutableMapping[Any, Any], *, compared: bool
    ) -> fx.GraphModule | None:
        if listened(self._module):
            return None
        weights = self._digest()
        known, form = learnt.get(_KEY, (None, None))
        if known != weights:
            # Asked for the first time: to make a form would cost more than it saves.
            learnt[_KEY] = (weights, _NONE_YET)
            return None
        if form is _NONE_YET:
            form = folded(self._module, tuple(row[:_SAMPLE] for row in rows), self._output)
            learnt[_KEY] = (weights, form)
        elif form is not None and not compared and not self._answers_like_module(form, rows):
            # It was made of something that leaves no trace in the module, such as a global.
            learnt.pop(_KEY)
            return None
        return form

    def _answers_like_module(self, form: fx.GraphModule, rows: Rows) -> bool:
        sample = tuple(row[:1].detach() for row in rows)
        ours = self._output(form.forward(*copies(sample)))
        return agree(ours, self._output(self._module(*copies(sample))))


_NONE_YET = object()
