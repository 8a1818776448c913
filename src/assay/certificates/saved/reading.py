"""A saved certificate, read and checked field by field before anything is computed from it.

What a file says bounds what is spent on it: no array is made whose size only a number of the file
asks for. Reading takes at most 64 times the file's size, and the evidence 64 MiB beside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from os import PathLike
from typing import Any

from assay.answers.files import saved_file
from assay.answers.header import (
    FLAG,
    MAPPING,
    TEXT,
    Field,
    checked,
    damaged,
    listed,
    number,
    one_of,
    optional,
    parsed,
    shown,
    whole,
)
from assay.certificates.claims import Claims
from assay.certificates.noise import NoiseDesign
from assay.certificates.saved.evidence import Evidence
from assay.certificates.votes import Votes
from assay.errors import InputError, VersionError

FORMAT = 1  # of the saved file; a file of another one is refused

EXPANSION = 64  # how many times its file's size evidence may take, beside _ALLOWANCE

_ALLOWANCE = 1 << 26

_MOST_LEVELS = 1 << 20  # radii under independent noise take fractions of powers of them

# Claims are compared with what follows from the votes: 0 says what false says.
_TRUTH = Field("true or false", lambda value: isinstance(value, bool) or value in (0, 1))

_COUNT = whole()

_SCHEMA = {
    "assumptions": listed(TEXT),
    "evidence": optional(MAPPING),
    "features": whole(1),
    "selection": listed(_COUNT),
    "classes": whole(1),
    "bound": one_of("vote-aware", "strict", "bernoulli", "enumeration"),
    "at_selection": MAPPING,
    "at_whole": MAPPING,
    "design": optional(MAPPING),
    "scale": whole(1),
    "tolerance": number(0.0, 1.0),
    "confidence": number(0.0, 1.0),
    "settings": TEXT,
    "model": TEXT,
    "bare": optional(_COUNT),
    "key": Field("a whole number", lambda value: type(value) is int),
    "predicted": _COUNT,
    "selected": _COUNT,
    "consistent": _TRUTH,
    "incremental": _COUNT,
    "decremental": _COUNT,
    "full": _TRUTH,
}

_VOTES = {
    "draws": Field("a list", lambda value: isinstance(value, list)),
    "unsure": listed(_COUNT),
    "closest": optional(number(0.0, float("inf"))),
}

_DESIGN = {
    "features": whole(1),
    "rows": listed(TEXT),
    "kept": whole(),
    "levels": whole(1),
    "kind": one_of("structured", "stratified", "bernoulli", "masks"),
}

_EVIDENCE = {
    "x": listed(Field("an entry", lambda value: True)),
    "absent": listed(Field("an entry", lambda value: True)),
    "labels": listed(Field("an entry", lambda value: True)),
    "parts": listed(listed(whole(1))),
    "dtypes": listed(TEXT),
    "arrays": FLAG,
}


def read(path: str | PathLike[str]) -> tuple[dict[str, Any], Claims]:
    """The fields of a saved certificate, and the claims that its file makes.

    Errors: InputError for a file that is damaged or holds something else, VersionError for one of
    another format.
    """
    where = str(path)
    try:
        text = saved_file(path).read_text(encoding="utf-8")
        facts = parsed(text, where)
    except (OSError, ValueError) as error:
        raise InputError(
            expected=f"a certificate as JSON in {where}",
            got=shown(error),
            advice="Hand over what Certificate.save wrote.",
        ) from error
    if not isinstance(facts, dict) or facts.pop("kind", None) != "Certificate":
        raise InputError(
            expected=f"a certificate in {where}",
            got="other JSON",
            advice="Hand over what Certificate.save wrote.",
        )
    version = facts.pop("format", None)
    if version != FORMAT or isinstance(version, bool):
        raise VersionError(
            expected=f"a certificate of format {FORMAT} in {where}",
            got=f"format {shown(version)}",
            advice="Certify again.",
        )
    # Files of before this was kept do not say what the bare model's class is.
    facts = {"bare": None, **facts}
    return _made(checked(facts, _SCHEMA, where), len(text), where)


def _made(facts: dict[str, Any], size: int, where: str) -> tuple[dict[str, Any], Claims]:
    stored = Claims(**{part.name: facts.pop(part.name) for part in fields(Claims)})
    # Words for whoever reads the file; they follow from the rest.
    facts.pop("assumptions")
    _check_selection(facts["selection"], facts["features"], where)
    facts["selection"] = tuple(facts["selection"])
    facts["design"] = _design(facts["design"], facts["features"], where)
    _check_bound(facts, where)
    _check_bare(facts, where)
    for name in ("at_selection", "at_whole"):
        facts[name] = _votes(facts[name], facts["classes"], facts["scale"], where)
    if facts["design"] is None:
        _check_enumeration(facts, where)
    facts["evidence"] = _evidence(facts["evidence"], EXPANSION * size + _ALLOWANCE, where)
    return facts, stored


def _check_selection(selection: list[int], features: int, where: str) -> None:
    if selection != sorted(set(selection)) or any(index >= features for index in selection):
        raise damaged(where, f"numbers of {features} features, in order", shown(selection))


def _check_bound(facts: Mapping[str, Any], where: str) -> None:
    """Each inequality belongs to one kind of noise, and each kind of noise to one confidence."""
    design, bound = facts["design"], facts["bound"]
    kind = "none" if design is None else design.kind
    allowed = {"none": ("enumeration",), "bernoulli": ("bernoulli",)}
    if bound not in allowed.get(kind, ("vote-aware", "strict")):
        raise damaged(where, f"an inequality for noise of kind {kind!r}", repr(bound))
    confidence = facts["confidence"]
    sampled = kind == "bernoulli"
    if (sampled and not 0 < confidence < 1) or (not sampled and confidence != 1):
        raise damaged(where, f"a confidence for noise of kind {kind!r}", repr(confidence))


def _check_bare(facts: Mapping[str, Any], where: str) -> None:
    bare = facts["bare"]
    if bare is not None and bare >= facts["classes"]:
        raise damaged(where, f"a class below {facts['classes']} as 'bare'", repr(bare))


def _check_enumeration(facts: Mapping[str, Any], where: str) -> None:
    # Compared by bits, since 2^room may be too large to be computed.
    room = facts["features"] - len(facts["selection"])
    draws = facts["at_selection"].draws
    if room > len(draws).bit_length() or len(draws) != 2**room or facts["scale"] != 1:
        raise damaged(where, f"the class at each of 2^{room} supersets", f"{len(draws)} votes")
    if facts["at_whole"].draws:
        raise damaged(where, "no noise at the whole input", "votes on it")


def _votes(stored: Mapping[str, Any], classes: int, scale: int, where: str) -> Votes:
    facts = checked(stored, _VOTES, where)
    draws = facts["draws"]
    part = Field(f"a class below {classes}", lambda value: whole().fits(value) and value < classes)
    if scale > 1:
        score = Field(
            f"whole units up to {scale}", lambda value: whole().fits(value) and value <= scale
        )
        part = Field(
            f"{classes} scores", lambda value: listed(score).fits(value) and len(value) == classes
        )
    if not all(map(part.fits, draws)):
        raise damaged(where, f"votes, each {part.words}", "others")
    if any(index >= len(draws) for index in facts["unsure"]):
        raise damaged(where, f"numbers of {len(draws)} draws as unsure", shown(facts["unsure"]))
    return Votes.from_lists(**facts)


def _design(stored: dict[str, Any] | None, features: int, where: str) -> NoiseDesign | None:
    if stored is None:
        return None
    facts = checked(stored, _DESIGN, where)
    # Two hexadecimal digits for each eight features: the rows bound how many there may be.
    digits = -(-facts["features"] // 8) * 2
    fitting = facts["features"] == features and facts["kept"] <= facts["levels"] <= _MOST_LEVELS
    if not fitting or not facts["rows"] or any(len(row) != digits for row in facts["rows"]):
        raise damaged(where, f"noise over {features} features, kept in some levels", "other noise")
    try:
        design = NoiseDesign(**{**facts, "rows": tuple(facts["rows"])})
        counts = design.counts
    except ValueError as error:  # no hexadecimal digits
        raise damaged(where, "masks as hexadecimal words", shown(error)) from error
    # Constants are counted from the masks; a rate that they do not have was never theirs.
    fixed = facts["kind"] != "bernoulli"
    if fixed and (len(facts["rows"]) != facts["levels"] or int(counts.max()) != facts["kept"]):
        raise damaged(where, "kept and levels as the masks have them", "others")
    return design


def _evidence(stored: dict[str, Any] | None, limit: int, where: str) -> Evidence | None:
    if stored is None:
        return None
    # Files of before this was kept do not say: tensors.
    facts = checked({"arrays": False, **stored}, _EVIDENCE, where)
    try:
        return Evidence.decoded(facts, limit)
    except (ValueError, TypeError, RuntimeError) as error:
        raise damaged(where, "the input as evidence", shown(error)) from error
