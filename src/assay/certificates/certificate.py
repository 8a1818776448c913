"""A certificate is data: what the model said, what follows in whole numbers, and all it takes to
check both.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal, TypeAlias, final

import numpy as np
import torch

from assay.certificates import radii
from assay.certificates.evidence import Evidence, _decode, _encode
from assay.certificates.noise import Masks, NoiseDesign
from assay.certificates.votes import Votes, _votes, cast_votes
from assay.errors import InputError, VersionError
from assay.question.question import Question

Bound: TypeAlias = Literal["vote-aware", "strict", "bernoulli", "enumeration"]

FORMAT = 1

_CLAIMS = ("predicted", "selected", "consistent", "incremental", "decremental", "full")


@final
@dataclass(frozen=True)
class Verdict:
    """Whether a certificate holds for a model (its truth value), why, and how many votes changed."""

    holds: bool
    why: str
    changed: int
    draws: int

    def __bool__(self) -> bool:
        return self.holds


@final
@dataclass(frozen=True)
class Certificate:
    """What is proven about one input and one selection of its features.

    `incremental`: adding up to that many features to the selection keeps the class it has.
    `decremental`: removing up to that many unselected features from the whole keeps the class of
    the selection. `full`: every superset keeps it. `consistent`: the selection has the class of the
    whole, without which nothing is claimed about removals. All are whole numbers of features that
    follow from `at_selection` and `at_whole`; a `confidence` of 1.0 means for certain.
    """

    features: int
    selection: tuple[int, ...]
    classes: int
    bound: Bound
    at_selection: Votes
    at_whole: Votes = Votes(())
    design: NoiseDesign | None = None
    scale: int = 1
    tolerance: float = 0.0
    confidence: float = 1.0
    settings: str = ""
    model: str = ""
    key: int = 0
    evidence: Evidence | None = field(default=None, compare=False, repr=False)
    predicted: int = field(init=False)
    selected: int = field(init=False)
    consistent: bool = field(init=False)
    incremental: int = field(init=False)
    decremental: int = field(init=False)
    full: bool = field(init=False)

    def __post_init__(self) -> None:
        claims = self._enumerated() if self.design is None else self._smoothed(self.design)
        for name, value in zip(_CLAIMS, claims, strict=True):
            object.__setattr__(self, name, value)

    # --- what follows from the votes

    @property
    def mask(self) -> Masks:
        """The selection as a mask: (features,) bool."""
        found = np.zeros(self.features, dtype=bool)
        found[list(self.selection)] = True
        return found

    @property
    def room(self) -> int:
        """How many features are not selected: no radius is larger."""
        return self.features - len(self.selection)

    @property
    def exact(self) -> bool:
        """Whether the claims hold for certain."""
        return self.confidence == 1.0

    @property
    def abstains(self) -> bool:
        """Whether nothing is claimed about any mask beyond those that were asked, or the selection
        lost the class.
        """
        return not self.consistent or (
            self.room > 0 and self.incremental == 0 and self.decremental == 0
        )

    @property
    def shares(self) -> tuple[float, float]:
        """The incremental and the decremental radius as shares of all features."""
        return self.incremental / self.features, self.decremental / self.features

    @property
    def published(self) -> float:
        """The real-valued radius gap / (2 lambda) of Xue, Alur and Wong (2023), which allows a tie:
        only to compare.
        """
        if self.design is None:
            return float(self.incremental)
        ordered = np.sort(self.at_selection.table(self.classes).sum(axis=0))
        gap = (ordered[-1] - ordered[-2]) / (self.scale * len(self.design.rows))
        return float(gap * self.design.levels / (2 * self.design.kept))

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What the claims rest on, in words."""
        common = (
            "The model is a fixed function: the same masked input gives the same outputs.",
            "Features, and what stands in for absent ones, were fixed on the clean input; no mask changes them.",
            "Nothing is claimed about removing selected features or about changing the values of features.",
        )
        if self.design is None:
            return ("The claims are about the model itself; every superset was asked.", *common)
        noise = (
            "the stored masks"
            if self.bound != "bernoulli"
            else "independent noise, of which the stored masks are a sample"
        )
        smooth = f"The claims are about the classifier smoothed over {noise}, with the lowest class at a tie."
        close = f"Draws whose two largest outputs differ by less than {self.tolerance:g} of the largest count as lost."
        sure = f"The claims hold together {'for certain' if self.exact else f'with probability {self.confidence:g}'}."
        return (smooth, *common, close, sure)

    def _enumerated(self) -> tuple[int, int, bool, int, int, bool]:
        classes = np.asarray(self.at_selection.draws, dtype=np.int64)
        if classes.shape != (2**self.room,):
            raise InputError(
                expected=f"the class at each of {2**self.room} supersets",
                got=classes.shape,
                advice="",
            )
        up, down = radii.enumerated_radii(classes, self.room)
        return int(classes[-1]), int(classes[0]), down >= 0, up, max(down, 0), up == self.room

    def _smoothed(self, design: NoiseDesign) -> tuple[int, int, bool, int, int, bool]:
        free = ~self.mask
        tables = [votes.table(self.classes) for votes in (self.at_selection, self.at_whole)]
        if {table.shape for table in tables} != {(len(design.rows), self.classes)}:
            raise InputError(
                f"Expected the scores of {self.classes} classes in each of {len(design.rows)} draws."
            )
        selected, predicted = (radii.winner(table) for table in tables)
        reach, sure = zip(
            *(self._radius(design, free, side) for side in ("incremental", "decremental"))
        )
        consistent = selected == predicted and all(sure)
        up, down = reach[0], reach[1] if consistent else 0
        full = consistent and radii.fully_stable(up, down, self.room)
        return predicted, selected, consistent, *((self.room,) * 2 if full else (up, down)), full

    def _radius(self, design: NoiseDesign, free: Masks, side: radii.Side) -> tuple[int, bool]:
        """One radius, and whether the class it is about is certain."""
        votes = self.at_selection if side == "incremental" else self.at_whole
        table, doubt = votes.table(self.classes), votes.doubtful()
        top, rounding_tolerance = (
            radii.winner(table),
            math.ceil(self.tolerance * self.scale) if self.scale > 1 else 0,
        )
        if self.bound == "bernoulli":
            loose = int(doubt.sum()) * self.scale + rounding_tolerance * len(table)
            gap = radii.expected_gap(table, top, self.scale, (1 - self.confidence) / 2, loose)
            return radii.bernoulli_radius(gap, design.kept, design.levels, self.room, side), gap > 0
        lead = radii.leads(table, top, self.scale, rounding_tolerance, doubt)
        certain = not (rounding_tolerance or doubt.any()) or bool((lead.sum(axis=0) > 0).all())
        if self.bound == "strict":
            return radii.linear_radius(lead, design.counts[free], self.scale), certain
        return radii.vote_aware_radius(lead, design.masks[:, free], self.scale), certain

    # --- checking it again

    def verify(self, model: Any) -> Verdict:
        """Asks a model (or a `Question` that holds the input) everything again, and compares.

        Cost: twice the draws of the design, or every superset. Errors: InputError where the input
        is not stored (tables, texts, contexts) and no question holds it.
        """
        question = self._asked(model)
        masks = [radii.supersets(self.mask, 0, 2**self.room)]
        if self.design is not None:
            masks = [self.design.masks & self.mask, self.design.masks]
        ballots = cast_votes(
            question, torch.from_numpy(np.concatenate(masks))[None], self.scale, self.tolerance
        )
        if ballots.classes != self.classes:
            return Verdict(
                False, f"The model has {ballots.classes} classes, not {self.classes}.", 0, 0
            )
        first = len(masks[0])
        fresh = replace(
            self,
            at_selection=ballots.votes(0, 0, first),
            at_whole=ballots.votes(0, first, None) if self.design is not None else Votes(()),
        )
        pairs = [(self.at_selection, fresh.at_selection), (self.at_whole, fresh.at_whole)]
        changed = sum(old != new for one, two in pairs for old, new in zip(one.draws, two.draws))
        worse = [name for name in _CLAIMS if getattr(fresh, name) < getattr(self, name)]
        worse += [
            name for name in ("predicted", "selected") if getattr(fresh, name) > getattr(self, name)
        ]
        said = [f"{name} is {getattr(fresh, name)}, not {getattr(self, name)}" for name in worse]
        why = "; ".join(said) or "Every claim follows from the model's answers."
        return Verdict(not worse, why, changed, sum(map(len, masks)))

    def _asked(self, model: Any) -> Question:
        if not isinstance(model, Question):
            if self.evidence is None:
                raise InputError(
                    expected=(
                        "a Question that holds the input, since this certificate does "
                        "not store it (a table, a text or a context)"
                    ),
                    got=type(model).__name__,
                    advice="Use certificate.verify(question).",
                )
            return self.evidence.question(model)
        rows = (model.keys == self.key).nonzero().flatten()
        if len(rows) == 0 or model.partition.count != self.features:
            raise InputError(
                expected=f"a question about the certified input with {self.features} features",
                got=(
                    f"one about {model.n} inputs with {model.partition.count} features and "
                    "other bytes"
                ),
                advice="",
            )
        return model.take(rows[:1])

    # --- keeping it

    def to_json(self) -> str:
        """All of it as JSON, with the assumptions in words."""
        facts = {
            name: value
            for name, value in asdict(replace(self, evidence=None)).items()
            if name != "evidence"
        }
        stored = None if self.evidence is None else _encode(self.evidence)
        said = {
            "kind": "Certificate",
            "format": FORMAT,
            "assumptions": self.assumptions,
            "evidence": stored,
        }
        return json.dumps({**said, **facts}, indent=1)

    def save(self, path: str | PathLike[str]) -> Path:
        """Writes JSON; `Certificate.load` reads it back."""
        Path(path).write_text(self.to_json(), encoding="utf-8")
        return Path(path)

    @staticmethod
    def load(path: str | PathLike[str]) -> Certificate:
        """Reads what `save` wrote; claims that do not follow from the stored votes are refused."""
        try:
            facts = json.loads(Path(path).read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(
                expected=f"a certificate as JSON in {path}",
                got=f"something else: {error}",
                advice="",
            ) from error
        if not isinstance(facts, dict) or facts.pop("kind", None) != "Certificate":
            raise InputError(
                expected=f"a certificate in {path}",
                got="other JSON",
                advice="Hand over what Certificate.save wrote.",
            )
        if (version := facts.pop("format", None)) != FORMAT:
            raise VersionError(
                expected=f"a certificate of format {FORMAT} in {path}",
                got=f"format {version}",
                advice="Certify again.",
            )
        said = {name: facts.pop(name) for name in _CLAIMS}
        facts.pop("assumptions")
        design, evidence = facts.pop("design"), facts.pop("evidence")
        votes: dict[str, Any] = {
            name: _votes(**facts.pop(name)) for name in ("at_selection", "at_whole")
        }
        made = Certificate(
            **{**facts, "selection": tuple(facts["selection"])},
            **votes,
            design=None
            if design is None
            else NoiseDesign(**{**design, "rows": tuple(design["rows"])}),
            evidence=None if evidence is None else _decode(evidence),
        )
        false = [f"{name}={value}" for name, value in said.items() if getattr(made, name) != value]
        if false:
            raise InputError(
                expected=f"claims that follow from the stored votes in {path}",
                got=", ".join(false),
                advice="",
            )
        return made
