"""A certificate is data: what the model answered, what follows from it, and what it takes to check.

Votes and the noise they were cast under are kept, the claims are not: they are counted from the
votes whenever they are asked for, so that an edited claim cannot survive being read
(`Certificate.load`), and another model's votes can be put in the place of the stored ones
(`Certificate.verify`).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any, final

import numpy as np
import torch

from assay.answers.files import write_file
from assay.answers.shown import Shown
from assay.certificates.claims import Claims, Inequality, VoteInequality
from assay.certificates.noise import Masks, NoiseDesign
from assay.certificates.saved.evidence import Evidence
from assay.certificates.saved.reading import FORMAT, read
from assay.certificates.supersets import supersets
from assay.certificates.votes import Ballots, Votes, cast_votes, model_classes
from assay.errors import InputError
from assay.question.question import Question


@final
@dataclass(frozen=True)
class Verdict:
    """Whether a certificate holds for a model (its truth value), why, and how many votes changed."""

    holds: bool
    why: str
    changed: int  # draws with another answer
    draws: int  # draws asked again

    def __bool__(self) -> bool:
        return self.holds


@final
@dataclass(frozen=True, repr=False)
class Certificate(Shown):
    """What is proven about one input and one selection of its features.

    Its `claims` are whole numbers of features that follow from `at_selection` and `at_whole`:
    `incremental`: adding up to that many features to the selection keeps the class it has.
    `decremental`: removing up to that many unselected features from the whole keeps the class of
    the selection. `full`: every superset keeps it. `consistent`: the selection has the class of the
    whole, without which nothing is claimed about removals.

    Settings:
        features: how many features the input has.
        selection: the numbers of the selected ones.
        classes: how many classes the model tells apart.
        bound: by which inequality the radii follow from the votes.
        at_selection: the votes on the selection; on every superset where no design is.
        at_whole: the votes on the whole input.
        design: the noise of the smoothed classifier; None for a classifier as it is.
        scale: units of a vote, 1 for classes.
        tolerance: relative distance of the two largest outputs below which a draw counts as lost.
        confidence: with what probability all claims hold; 1.0 means for certain.
        settings: who certified, as text that reads back.
        model: the model's name.
        key: the input's identity, hashed from its bytes.
        bare: the class that the bare model gives the whole input; None in files of before it was
            kept.
        evidence: the input itself, where it can be stored.
    """

    features: int
    selection: tuple[int, ...]
    classes: int
    bound: Inequality
    at_selection: Votes
    at_whole: Votes = Votes(())
    design: NoiseDesign | None = None
    scale: int = 1
    tolerance: float = 0.0
    confidence: float = 1.0
    settings: str = ""
    model: str = ""
    key: int = 0
    bare: int | None = None
    evidence: Evidence | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        # Votes that do not fit are refused here: a certificate that exists has claims.
        claims = self.claims
        # A classifier as it is was asked about the whole input, as one of the supersets.
        if self.design is None and self.bare is None:
            object.__setattr__(self, "bare", claims.predicted)

    def __repr__(self) -> str:
        selected = f"{len(self.selection)} of {self.features} features"
        sure = f"bound={self.bound!r}, confidence={self.confidence:g}"
        model = f"bare={self.bare}, agrees={self.agrees}"
        return f"<Certificate: {model}, of {selected}: {self.claims!r}, {sure}>"

    # --- what follows from the votes

    @cached_property
    def claims(self) -> Claims:
        """Everything that is claimed, counted from the votes."""
        if self.design is None:
            return Claims.enumerated(self.at_selection, self.room)
        inequality = VoteInequality(
            inequality=self.bound,
            design=self.design,
            free=~self.mask,
            classes=self.classes,
            scale=self.scale,
            tolerance=self.tolerance,
            confidence=self.confidence,
        )
        return Claims.smoothed(
            inequality,
            at_selection=self.at_selection,
            at_whole=self.at_whole,
        )

    @property
    def predicted(self) -> int:
        """The class of the whole input."""
        return self.claims.predicted

    @property
    def selected(self) -> int:
        """The class of the selection."""
        return self.claims.selected

    @property
    def consistent(self) -> bool:
        """Whether the selection has the class of the whole."""
        return self.claims.consistent

    @property
    def agrees(self) -> bool | None:
        """Whether the claims are about the class that the bare model gives the whole input, `bare`:
        the whole and the selection have it. None where it is not known.

        A smoothed classifier may have another class than the model it was made of: what is proven
        of that class says nothing of an explanation of the model's own.
        """
        if self.bare is None:
            return None
        return self.bare == self.predicted == self.selected

    @property
    def incremental(self) -> int:
        """How many features may be added to the selection, whichever they are."""
        return self.claims.incremental

    @property
    def decremental(self) -> int:
        """How many unselected features may be removed from the whole, whichever they are."""
        return self.claims.decremental

    @property
    def full(self) -> bool:
        """Whether every superset keeps the class."""
        return self.claims.full

    @property
    def mask(self) -> Masks:
        """The selection as a mask: (features,) bool."""
        mask = np.zeros(self.features, dtype=bool)
        mask[list(self.selection)] = True
        return mask

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
        """Whether nothing is claimed beyond the masks that were asked, or the class was lost."""
        no_radius = self.incremental == 0 and self.decremental == 0
        return not self.consistent or (self.room > 0 and no_radius)

    @property
    def shares(self) -> tuple[float, float]:
        """The incremental and the decremental radius as shares of all features."""
        return self.incremental / self.features, self.decremental / self.features

    @property
    def published(self) -> float:
        """The real-valued radius gap / (2 lambda) of Xue, Alur and Wong (2023), to compare only.

        It allows a tie, at which the class may change.
        """
        if self.design is None:
            return float(self.incremental)
        # The two largest shares of votes, p_A and p_B of the paper.
        ordered = np.sort(self.at_selection.table(self.classes).sum(axis=0))
        gap = (ordered[-1] - ordered[-2]) / (self.scale * len(self.design.rows))
        return float(gap * self.design.levels / (2 * self.design.kept))

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What the claims rest on, in words."""
        common = (
            "The model is a fixed function: the same masked input gives the same outputs.",
            "Features, and what stands in for absent ones, were fixed on the clean input; "
            "no mask changes them.",
            "Nothing is claimed about removing selected features or about changing the values "
            "of features.",
        )
        if self.design is None:
            return (
                "The claims are about the model itself; every superset was asked.",
                *common,
                "The class at each superset is that of the outputs as they came: where the two "
                "largest are within rounding, another machine or batch may give another class.",
            )
        noise = "the stored masks"
        if self.bound == "bernoulli":
            noise = "independent noise, of which the stored masks are a sample"
        chance = f"with probability {self.confidence:g}"
        if self.exact:
            chance = "for certain"
        return (
            self._agreement,
            f"The claims are about the classifier smoothed over {noise}, "
            "with the lowest class at a tie.",
            *common,
            f"Draws whose two largest outputs differ by less than {self.tolerance:g} of the largest "
            "count as lost. Rounding up to that share of the outputs breaks no claim; the rounding "
            "inside the model is not bounded, and may be larger where outputs are small "
            "differences of large numbers.",
            f"The claims hold together {chance}.",
        )

    @property
    def _agreement(self) -> str:
        """What the bare model says beside the smoothed classifier, in words."""
        if self.bare is None:
            return "The class of the bare model was not kept: ask it, before the claims are used."
        if self.agrees:
            return f"The bare model gives the whole input class {self.bare}, as the claims have it."
        return (
            f"The bare model gives the whole input class {self.bare}, the smoothed classifier "
            f"{self.predicted} to the whole and {self.selected} to the selection: the claims are "
            "not about the class that the model itself says."
        )

    # --- checking it again

    def verify(self, model: Any) -> Verdict:
        """Asks a model (or a `Question` that holds the input) everything again, and compares.

        Cost: twice the draws of the design, or every superset, and one row. Errors: InputError
        where the input is not stored (tables, texts, contexts) and no question holds it.
        """
        question = self._question(model)
        # The masks of a smoothed classifier are its design's, above the selection and alone. All
        # supersets are listed only where the certificate rests on them: there are 2^room.
        if self.design is None:
            masks = supersets(self.mask)
            at_selection = len(masks)
        else:
            masks = np.concatenate([self.design.masks & self.mask, self.design.masks])
            at_selection = len(self.design.masks)
        ballots = cast_votes(
            question,
            torch.from_numpy(masks)[None],
            self.scale,
            self.tolerance,
        )
        if ballots.classes != self.classes:
            message = f"The model has {ballots.classes} classes, not {self.classes}."
            return Verdict(holds=False, why=message, changed=0, draws=0)
        fresh = self._recounted(ballots, at_selection)
        # The class of the model itself is no claim, but whoever reads it relies on it.
        bare = int(model_classes(question)[0])
        fresh = replace(fresh, bare=bare)
        # Votes may differ, by another machine's rounding; what counts is what follows from them.
        unsupported = self.claims.unsupported(fresh.claims)
        if self.bare is not None and self.bare != bare:
            unsupported = [*unsupported, f"bare: {self.bare}, but the model says {bare}"]
        changed = _changed(self.at_selection, fresh.at_selection)
        changed += _changed(self.at_whole, fresh.at_whole)
        return Verdict(
            holds=not unsupported,
            why="; ".join(unsupported) or "Every claim follows from the model's answers.",
            changed=changed,
            draws=len(masks),
        )

    def _recounted(self, ballots: Ballots, at_selection: int) -> Certificate:
        """The same certificate with fresh votes, of which the first are those on the selection."""
        at_whole = Votes(())
        if self.design is not None:
            at_whole = ballots.votes(0, slice(at_selection, None))
        return replace(
            self,
            at_selection=ballots.votes(0, slice(0, at_selection)),
            at_whole=at_whole,
        )

    def _question(self, model: Any) -> Question:
        """The question about the certified input."""
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
        # Whichever row of the question has the bytes of the certified input.
        rows = (model.keys == self.key).nonzero().flatten()
        if len(rows) == 0 or model.partition.count != self.features:
            raise InputError(
                expected=f"a question about the certified input with {self.features} features",
                got=(
                    f"one about {model.n} inputs with {model.partition.count} features and "
                    "other bytes"
                ),
                advice="Ask about the same input with the same features, or hand over the model.",
            )
        return model.take(rows[:1])

    # --- keeping it

    def to_json(self) -> str:
        """All of it as JSON, with the claims, and the assumptions in words."""
        header = {
            "kind": "Certificate",
            "format": FORMAT,
            "assumptions": self.assumptions,
            "evidence": None if self.evidence is None else self.evidence.encoded(),
        }
        stored = {
            part.name: getattr(self, part.name) for part in fields(self) if part.name != "evidence"
        }
        document = {
            **header,
            **stored,
            **asdict(self.claims),
        }
        # Votes and the design are dataclasses, which `default` turns into mappings.
        return json.dumps(document, indent=1, default=asdict)

    def save(self, path: str | PathLike[str]) -> Path:
        """Writes JSON; `Certificate.load` reads it back."""
        write_file(path, self.to_json().encode("utf-8"))
        return Path(path)

    @staticmethod
    def load(path: str | PathLike[str]) -> Certificate:
        """Reads what `save` wrote; claims that do not follow from the stored votes are refused."""
        facts, stored = read(path)
        certificate = Certificate(**facts)
        if certificate.claims != stored:
            raise InputError(
                expected=f"claims that follow from the stored votes in {path}",
                got="; ".join(certificate.claims.differences(stored)),
                advice="The file was changed after it was saved: certify again.",
            )
        return certificate


def _changed(before: Votes, after: Votes) -> int:
    """How many draws were answered otherwise."""
    return sum(old != new for old, new in zip(before.draws, after.draws))
