"""What a question holds: its parts as they are bound, and what absent means."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor

from assay.errors import InputError
from assay.features.partition import Features, Partition
from assay.inputs.layout import Layout
from assay.models.base import Model
from assay.models.networks.layers import After
from assay.numerics.precision import to_input_precision
from assay.question.evaluation import NOTHING_ASKED, Evaluation
from assay.question.layers import BehindLayer, Passing
from assay.question.players import changeable_features, existing_features
from assay.removals.base import FixedAbsent, Removal
from assay.removals.unstated import UnstatedAbsent
from assay.targets import Outputs, Target


class Parts(ABC):
    """The five parts bound together, and what follows from them without asking the model."""

    features: Features
    removal: Removal
    index: tuple[Any, ...] | None

    @abstractmethod
    def __repr__(self) -> str: ...

    def _fill(self, source: Evaluation | BehindLayer, n: int, target: Target, truth: Any) -> None:
        self._source = source
        self.n = n
        self.target = target
        self.truth = truth
        self.notes: tuple[str, ...] = ()
        self.column: int | None = None
        # What the caller counts the inputs by, where that is not 0, 1, 2, ...
        self.index = None
        self._known = Outputs()
        # Behind a layer the removal is one of the inputs before it, unless the layer has its own.
        self._removes_inputs = not isinstance(source, BehindLayer) or source.removal is not None
        # What has been asked of the model so far, each at most once.
        self._rows_checked = False
        self._alone = NOTHING_ASKED
        self._precision: torch.dtype | None = None
        self._weights_version: Any = None
        self._keys: Tensor | None = None
        self._digest: str | None = None
        self._fixed_target: Target | None = None
        self._prediction: Tensor | None = None
        self._base: Tensor | None = None
        # What inputs pass at a layer, until it is asked for: which layer, with slopes or without.
        self._passing: tuple[tuple[Any, bool], Passing] | None = None

    def _derived(
        self, source: Evaluation | BehindLayer, n: int, target: Target, truth: Any
    ) -> Self:
        derived = object.__new__(type(self))
        derived.features = self.features
        derived.removal = self.removal
        derived._fill(source, n, target, truth)
        derived.notes = self.notes
        derived.column = self.column
        derived.index = self.index if n == self.n else None
        derived._known = self._known
        derived._removes_inputs = derived._removes_inputs and self._removes_inputs
        # The same model asked about the same inputs need not be checked twice.
        derived._rows_checked = self._rows_checked
        derived._weights_version = self._weights_version
        derived._precision = self.precision if self._prediction is not None else self._precision
        return derived

    # --- what it holds

    @cached_property
    def _evaluation(self) -> Evaluation:
        """The inputs bound to the model; activations behind a layer are computed here, once."""
        return self._source.evaluation()

    @property
    def model(self) -> Model:
        """The model that is asked."""
        return self._source.model

    @property
    def layout(self) -> Layout:
        """How flat rows fold back into what the model takes."""
        return self._source.layout

    @property
    def partition(self) -> Partition:
        """Who receives credit."""
        return self._evaluation.partition

    @property
    def x(self) -> Tensor:
        """The inputs as flat rows (n, elements)."""
        return self._evaluation.x

    @property
    def keys(self) -> Tensor:
        """Each input's identity (n,), hashed from its bytes; behind a layer, that of its input."""
        if self._keys is None:
            self._keys = self._source.identities()
        return self._keys

    @property
    def digest(self) -> str:
        """A hash of the whole question: model, inputs, target, features, removal."""
        # Once: what is asked of a question later is asked of the model that was asked first.
        if self._digest is None:
            parts = (self.keys, self.target, self.features, self.removal)
            self._digest = self._source.digest(*parts)
        return self._digest

    @property
    def has_context(self) -> bool:
        """Whether the model takes anything beside the inputs."""
        return bool(self._evaluation.aligned or self._evaluation.shared)

    @property
    def has_aligned_context(self) -> bool:
        """Whether inputs carry something of their own beside them."""
        return bool(self._evaluation.aligned)

    @property
    def precision(self) -> torch.dtype:
        """The number type of answers: double where inputs are, or where the model's own numbers
        are.
        """
        if self._prediction is not None:
            return self._prediction.dtype
        if self._precision is not None:
            return self._precision
        return to_input_precision(torch.zeros(0), self.x).dtype

    # --- what absent means

    @property
    def replacements(self) -> int:
        """How many replacements the removal has for each input; values are averaged over them."""
        source = self._source
        # Behind a layer there are as many as before it, which is known without computing them.
        if isinstance(source, BehindLayer) and source.replacements is not None:
            return source.replacements
        return self._evaluation.absent.draws

    @property
    def fixed_replacements(self) -> Tensor | None:
        """The replacements (1 or n, draws, elements), or None where they depend on the mask."""
        absent = self._evaluation.absent
        if isinstance(absent, FixedAbsent):
            return absent.rows
        return None

    @property
    def is_behind_layer(self) -> bool:
        """Whether it is asked of the rest of a network, about activations."""
        return isinstance(self.model, After)

    @property
    def says_what_absent_means(self) -> bool:
        """Whether there is a removal: a table with categories has none by default."""
        source = self._source
        if isinstance(source, BehindLayer):
            return True
        return not isinstance(source.absent, UnstatedAbsent)

    def removed(self, rows: Tensor, draws: Tensor) -> Tensor:
        """The inputs `rows` (r,) with every feature removed, under replacements `draws` (r,)."""
        return self._evaluation.removed_rows(rows, draws)

    def masked(self, rows: Tensor, masks: Tensor, draws: Tensor) -> Tensor:
        """The inputs `rows` (r,), each under its mask (r, features) and replacement (r,)."""
        return self._evaluation.masked_rows(rows, masks, draws)

    @property
    def absent(self) -> Tensor:
        """The inputs with everything removed (n, elements), where there is one replacement each."""
        self.require_one_replacement()
        rows = torch.arange(self.n, device=self.x.device)
        return self.removed(rows, torch.zeros_like(rows))

    def require_one_replacement(self) -> None:
        """Refuses, before any work, a removal that has several replacements for each input."""
        if self.replacements > 1:
            raise InputError(
                expected="a removal with one replacement for each input",
                got=f"{self.removal!r} with {self.replacements}",
                advice=(
                    "Say Mean(rows) for one baseline, or use what averages over a background: "
                    "ExpectedGradients, the Shapley family, Infidelity with SubsetToBaseline()."
                ),
            )

    def require_removal(self) -> None:
        """Refuses, before any work, inputs that a removal leaves as they are."""
        unchanged = self._evaluation.unchanged_inputs
        if len(unchanged):
            raise InputError(
                expected="a removal that changes the inputs",
                got=(
                    f"{self.removal!r}, which leaves {len(unchanged)} of {self.n} as they are, "
                    f"first input {int(unchanged[0])}"
                ),
                advice="Use another removal, such as Background(rows), or leave them out.",
            )

    def existing_features(self) -> Tensor:
        """Which features own an element of each input: (n, features), bool."""
        evaluation = self._evaluation
        return existing_features(evaluation.x, evaluation.partition)

    def changeable_features(self) -> Tensor:
        """Which features some replacement changes in each input: (n, features), bool.

        Read off the data, without asking the model.
        """
        evaluation = self._evaluation
        return changeable_features(evaluation.x, evaluation.partition, evaluation.absent)
