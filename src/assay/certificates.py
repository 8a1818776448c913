"""A certificate is data: what the model said, what follows in whole numbers, and all it takes to check both."""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal, TypeAlias, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from assay import radii
from assay.errors import InputError, TargetError, VersionError
from assay.features import Labels
from assay.layout import TensorLayout
from assay.question import Question
from assay.radii import Integers, Masks, NoiseDesign
from assay.removal import Background, Baseline, FixedAbsent

Bound: TypeAlias = Literal["vote-aware", "strict", "bernoulli", "enumeration"]

FORMAT = 1
FINE = 1 << 20  # probabilities count in units of 2^-20
ROWS = 4096  # masked rows per request: what is held at once does not grow with draws or inputs
_CLAIMS = ("predicted", "selected", "consistent", "incremental", "decremental", "full")


@final
@dataclass(frozen=True)
class Votes:
    """What the base model said in each draw: its class, or the scores of all classes in units of 1/scale.

    `unsure` are the draws whose two largest outputs are so close that rounding could swap them; `closest` is the
    smallest relative distance seen.
    """

    draws: tuple[int, ...] | tuple[tuple[int, ...], ...]
    unsure: tuple[int, ...] = ()
    closest: float | None = None

    def table(self, classes: int) -> Integers:
        """The scores (draws, classes)."""
        raw = np.asarray(self.draws, dtype=np.int64)
        return raw if raw.ndim == 2 else np.eye(classes, dtype=np.int64)[raw]

    def doubtful(self) -> NDArray[np.bool_]:
        """Which draws are unsure: (draws,)."""
        found = np.zeros(len(self.draws), dtype=bool)
        found[list(self.unsure)] = True
        return found


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
@dataclass(frozen=True, eq=False)
class Evidence:
    """The input of a certificate as flat rows: x (elements,), absent (draws, elements), labels (elements,)."""

    x: Tensor
    absent: Tensor
    labels: Tensor
    parts: tuple[tuple[int, ...], ...]
    dtypes: tuple[str, ...]

    @staticmethod
    def of(question: Question) -> Evidence | None:
        """The evidence of a question about one input, where its parts can be written down."""
        bound, layout = question.bound, question.layout
        if (
            not isinstance(layout, TensorLayout)
            or not isinstance(bound.absent, FixedAbsent)
            or bound.aligned
            or bound.shared
        ):
            return None
        labels = bound.partition.of(torch.zeros(1, dtype=torch.int64, device=bound.x.device))[0]
        kept = (bound.x[0], bound.absent.rows[0], labels)
        x, absent, labels = (each.detach().cpu().clone() for each in kept)
        return Evidence(x, absent, labels, layout.parts, tuple(str(each).partition(".")[2] for each in layout.dtypes))

    def question(self, model: Any) -> Question:
        """The same question asked of a model."""
        layout = TensorLayout(self.parts, tuple(getattr(torch, name) for name in self.dtypes), torch.device("cpu"))
        pieces = self.labels.split(layout.sizes)
        labels = tuple(piece.reshape(shape) for piece, shape in zip(pieces, self.parts))
        folded = [layout.fold(rows) for rows in (self.x[None], self.absent)]
        inputs, absent = (parts[0] if len(parts) == 1 else parts for parts in folded)
        removal = Baseline(absent) if len(self.absent) == 1 else Background(absent)
        return Question(model, inputs, features=Labels(labels), removal=removal)


@final
@dataclass(frozen=True)
class Certificate:
    """What is proven about one input and one selection of its features.

    `incremental`: adding up to that many features to the selection keeps the class it has. `decremental`: removing up
    to that many unselected features from the whole keeps the class of the selection. `full`: every superset keeps it.
    `consistent`: the selection has the class of the whole, without which nothing is claimed about removals. All are
    whole numbers of features that follow from `at_selection` and `at_whole`; a `confidence` of 1.0 means for certain.
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
        """Whether nothing is claimed about any mask beyond those that were asked, or the selection lost the class."""
        return not self.consistent or (self.room > 0 and self.incremental == 0 and self.decremental == 0)

    @property
    def shares(self) -> tuple[float, float]:
        """The incremental and the decremental radius as shares of all features."""
        return self.incremental / self.features, self.decremental / self.features

    @property
    def published(self) -> float:
        """The real-valued radius gap / (2 lambda) of Xue, Alur and Wong (2023), which allows a tie: only to compare."""
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
            raise InputError(f"Expected the class at each of {2**self.room} supersets, got {classes.shape}.")
        up, down = radii.enumerated_radii(classes, self.room)
        return int(classes[-1]), int(classes[0]), down >= 0, up, max(down, 0), up == self.room

    def _smoothed(self, design: NoiseDesign) -> tuple[int, int, bool, int, int, bool]:
        free = ~self.mask
        tables = [votes.table(self.classes) for votes in (self.at_selection, self.at_whole)]
        if {table.shape for table in tables} != {(len(design.rows), self.classes)}:
            raise InputError(f"Expected the scores of {self.classes} classes in each of {len(design.rows)} draws.")
        selected, predicted = (radii.winner(table) for table in tables)
        reach, sure = zip(*(self._radius(design, free, side) for side in ("incremental", "decremental")))
        consistent = selected == predicted and all(sure)
        up, down = reach[0], reach[1] if consistent else 0
        full = consistent and radii.fully_stable(up, down, self.room)
        return predicted, selected, consistent, *((self.room,) * 2 if full else (up, down)), full

    def _radius(self, design: NoiseDesign, free: Masks, side: radii.Side) -> tuple[int, bool]:
        """One radius, and whether the class it is about is certain."""
        votes = self.at_selection if side == "incremental" else self.at_whole
        table, doubt = votes.table(self.classes), votes.doubtful()
        top, slack = radii.winner(table), math.ceil(self.tolerance * self.scale) if self.scale > 1 else 0
        if self.bound == "bernoulli":
            loose = int(doubt.sum()) * self.scale + slack * len(table)
            gap = radii.expected_gap(table, top, self.scale, (1 - self.confidence) / 2, loose)
            return radii.bernoulli_radius(gap, design.kept, design.levels, self.room, side), gap > 0
        lead = radii.leads(table, top, self.scale, slack, doubt)
        certain = not (slack or doubt.any()) or bool((lead.sum(axis=0) > 0).all())
        if self.bound == "strict":
            return radii.linear_radius(lead, design.counts[free], self.scale), certain
        return radii.vote_aware_radius(lead, design.masks[:, free], self.scale), certain

    # --- checking it again

    def verify(self, model: Any) -> Verdict:
        """Asks a model (or a `Question` that holds the input) everything again, and compares.

        Cost: twice the draws of the design, or every superset. Errors: InputError where the input is not stored
        (tables, texts, contexts) and no question holds it.
        """
        question = self._asked(model)
        masks = [radii.supersets(self.mask, 0, 2**self.room)]
        if self.design is not None:
            masks = [self.design.masks & self.mask, self.design.masks]
        ballots = cast_votes(question, torch.from_numpy(np.concatenate(masks))[None], self.scale, self.tolerance)
        if ballots.classes != self.classes:
            return Verdict(False, f"The model has {ballots.classes} classes, not {self.classes}.", 0, 0)
        first = len(masks[0])
        fresh = replace(
            self,
            at_selection=ballots.votes(0, 0, first),
            at_whole=ballots.votes(0, first, None) if self.design is not None else Votes(()),
        )
        pairs = [(self.at_selection, fresh.at_selection), (self.at_whole, fresh.at_whole)]
        changed = sum(old != new for one, two in pairs for old, new in zip(one.draws, two.draws))
        worse = [name for name in _CLAIMS if getattr(fresh, name) < getattr(self, name)]
        worse += [name for name in ("predicted", "selected") if getattr(fresh, name) > getattr(self, name)]
        said = [f"{name} is {getattr(fresh, name)}, not {getattr(self, name)}" for name in worse]
        why = "; ".join(said) or "Every claim follows from the model's answers."
        return Verdict(not worse, why, changed, sum(map(len, masks)))

    def _asked(self, model: Any) -> Question:
        if not isinstance(model, Question):
            if self.evidence is None:
                raise InputError(
                    "Expected a Question that holds the input, since this certificate does not store it "
                    f"(a table, a text or a context), got {type(model).__name__}. Use certificate.verify(question)."
                )
            return self.evidence.question(model)
        rows = (model.keys == self.key).nonzero().flatten()
        if len(rows) == 0 or model.partition.count != self.features:
            raise InputError(
                f"Expected a question about the certified input with {self.features} features, got one about "
                f"{model.n} inputs with {model.partition.count} features and other bytes."
            )
        return model.take(rows[:1])

    # --- keeping it

    def to_json(self) -> str:
        """All of it as JSON, with the assumptions in words."""
        facts = {name: value for name, value in asdict(replace(self, evidence=None)).items() if name != "evidence"}
        stored = None if self.evidence is None else _encode(self.evidence)
        said = {"kind": "Certificate", "format": FORMAT, "assumptions": self.assumptions, "evidence": stored}
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
            raise InputError(f"Expected a certificate as JSON in {path}, got something else: {error}.") from error
        if not isinstance(facts, dict) or facts.pop("kind", None) != "Certificate":
            raise InputError(
                f"Expected a certificate in {path}, got other JSON. Hand over what Certificate.save wrote."
            )
        if (version := facts.pop("format", None)) != FORMAT:
            raise VersionError(
                f"Expected a certificate of format {FORMAT} in {path}, got format {version}. Certify again."
            )
        said = {name: facts.pop(name) for name in _CLAIMS}
        facts.pop("assumptions")
        design, evidence = facts.pop("design"), facts.pop("evidence")
        votes: dict[str, Any] = {name: _votes(**facts.pop(name)) for name in ("at_selection", "at_whole")}
        made = Certificate(
            **{**facts, "selection": tuple(facts["selection"])},
            **votes,
            design=None if design is None else NoiseDesign(**{**design, "rows": tuple(design["rows"])}),
            evidence=None if evidence is None else _decode(evidence),
        )
        false = [f"{name}={value}" for name, value in said.items() if getattr(made, name) != value]
        if false:
            raise InputError(f"Expected claims that follow from the stored votes in {path}, got {', '.join(false)}.")
        return made


def _votes(draws: Sequence[Any], unsure: Sequence[int], closest: float | None) -> Votes:
    scored = len(draws) > 0 and isinstance(draws[0], list)
    return Votes(tuple(map(tuple, draws)) if scored else tuple(draws), tuple(unsure), closest)


def _encode(evidence: Evidence) -> dict[str, Any]:
    arrays = {}
    for name in ("x", "absent", "labels"):
        tensor: Tensor = getattr(evidence, name).contiguous()
        packed = base64.b64encode(zlib.compress(tensor.reshape(-1).view(torch.uint8).numpy().tobytes()))
        arrays[name] = [str(tensor.dtype).partition(".")[2], list(tensor.shape), packed.decode()]
    return {**arrays, "parts": evidence.parts, "dtypes": evidence.dtypes}


def _decode(stored: dict[str, Any]) -> Evidence:
    def tensor(name: str) -> Tensor:
        dtype, shape, packed = stored[name]
        raw = bytearray(zlib.decompress(base64.b64decode(packed)))
        return torch.frombuffer(raw, dtype=getattr(torch, dtype)).reshape(shape)

    x, absent, labels = (tensor(name) for name in ("x", "absent", "labels"))
    return Evidence(x, absent, labels, tuple(map(tuple, stored["parts"])), tuple(stored["dtypes"]))


@final
@dataclass(frozen=True, eq=False)
class Ballots:
    """The votes of several inputs: draws (n, m) classes or (n, m, classes) scores, and how close each draw was."""

    draws: Integers
    distance: NDArray[np.float64]
    classes: int
    tolerance: float

    def votes(self, row: int, start: int, stop: int | None) -> Votes:
        """Some draws of one input."""
        draws, distance = self.draws[row, start:stop].tolist(), self.distance[row, start:stop]
        unsure = np.flatnonzero(distance < self.tolerance).tolist() if self.draws.ndim == 2 else ()
        return _votes(draws, unsure, float(distance.min()))


def cast_votes(question: Question, masks: Tensor, scale: int, tolerance: float) -> Ballots:
    """Asks the base model under masks (n, m, features), a slice at a time, and keeps whole numbers alone."""
    step, parts = max(1, ROWS // question.n), []
    for start in range(0, masks.shape[1], step):
        parts.append(_count(question.outputs(masks[:, start : start + step]), scale, question.model.name))
    draws, distance = (np.concatenate(each, axis=1) for each in zip(*((part[0], part[1]) for part in parts)))
    return Ballots(draws, distance, parts[0][2], tolerance)


def _count(outputs: Tensor, scale: int, who: str) -> tuple[Integers, NDArray[np.float64], int]:
    classes = outputs.shape[-1]
    if classes < 2:
        raise TargetError(
            f"Expected scores of at least two classes, since a certificate is about a class that stays, got one output "
            f"from {who}. Let a binary classifier return two columns (1 - p, p), and cut a regression into ranges."
        )
    best = outputs.to(torch.float64).topk(2, dim=-1).values
    distance = ((best[..., 0] - best[..., 1]) / best.abs().amax(-1).clamp_min(1e-300)).cpu().numpy()
    if scale == 1:
        return outputs.argmax(-1).cpu().numpy(), distance, classes
    if float(outputs.min()) < -1e-6 or float(outputs.max()) > 1 + 1e-6:
        raise InputError(
            f"Expected probabilities in [0, 1] to smooth, got outputs of {who} from {float(outputs.min()):.3g} to "
            f"{float(outputs.max()):.3g}. Let the model end in a softmax, or smooth its votes: output='votes'."
        )
    units = (outputs.to(torch.float64) * scale).round().clamp(0, scale).to(torch.int64).cpu().numpy()
    return units, distance, classes
