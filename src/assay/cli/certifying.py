"""`certify` and `verify`: what is proven of a selection of features, and whether it still holds."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from assay.answers.attribution import Attribution
from assay.answers.files import together
from assay.certificates.certificate import Certificate
from assay.certificates.hard_stability import HardStability
from assay.certificates.smoothing import MultiplicativeSmoothing
from assay.certificates.soft_stability import SoftStability
from assay.cli import printing, records
from assay.cli.asked import Asked, attribution, check_answers, check_out
from assay.cli.exits import DONE, NOT_HELD
from assay.cli.explaining import progress, say_left_out
from assay.errors import InputError
from assay.question.question import Question
from assay.registry import parts
from assay.registry.settings import parse
from assay.saved import load

CERTIFIERS: Mapping[str, type[Any]] = {
    kind.__name__: kind for kind in (MultiplicativeSmoothing, HardStability, SoftStability)
}


def certifier(text: str) -> Any:
    """Who certifies, by name with settings."""
    name = text.partition("(")[0].strip()
    if name not in CERTIFIERS:
        close = difflib.get_close_matches(name, CERTIFIERS, n=1)
        meant = f"Did you mean {close[0]}? " if close else ""
        raise InputError(
            expected=f"one of {', '.join(CERTIFIERS)}",
            got=repr(name[:80]),
            advice=f"{meant}Write --by 'MultiplicativeSmoothing(kept=16, levels=64)'.",
        )
    return parse(text, CERTIFIERS[name])


def _selection(text: str) -> tuple[str, int | float]:
    """Whose credit selects, and how much of it: ANSWER:TOP."""
    who, _, amount = text.rpartition(":")
    try:
        if who and amount.isdecimal():
            return who, int(amount)
        if who:
            return who, float(amount)
    except ValueError:
        pass
    raise InputError(
        expected="a selection as ANSWER:TOP, a method or a kept answer and how many features",
        got=repr(text),
        advice="Write --select 'Occlusion:0.25' for a quarter of them, ':3' for three.",
    )


def certify(
    asked: Asked,
    select: str,
    by: str,
    out: Path | None,
    require: float | None,
    form: str,
    quiet: bool,
) -> int:
    """Proves what it can of a selection; 1 where less is proven than was required."""
    judge = certifier(by)
    if out is not None and isinstance(judge, SoftStability):
        raise InputError(
            expected="certificates to keep",
            got="rates of SoftStability, which are frequencies and no proofs",
            advice="Leave --out out, or certify by MultiplicativeSmoothing.",
        )
    if out is not None:
        check_out(out / "certificate-0.json")
    who, amount = _selection(select)
    kept = method = None
    if Path(who).is_file():
        kept = attribution(Path(who))
    else:
        method = parts.method(who)
    with progress(quiet):
        question, dropped = asked.question()
        say_left_out(dropped, quiet)
        answer = _answer(kept, method, question, Path(who), asked.seed)
        proofs = judge.certify(question, answer.top(amount))
    holds = None
    if require is not None:
        holds = all(_meets(proof, require) for proof in proofs)
    if out is not None:
        _keep(proofs, out)
        printing.say(f"Wrote {out}. Check it: assay verify {out}/certificate-0.json MODEL", quiet)
    if form == "json":
        typer.echo(records.text(records.certificates(proofs, question, holds)))
    elif out is None or not quiet:
        # The table is data where it is kept nowhere.
        printing.show(printing.certificates(proofs))
    if holds is False:
        return NOT_HELD
    return DONE


def _answer(
    kept: Attribution | None, method: Any, question: Question, path: Path, seed: int
) -> Attribution:
    if kept is None:
        answer: Attribution = method(question, seed=seed)
        return answer
    check_answers(question, kept, path)
    return kept


def _meets(proof: Any, required: float) -> bool:
    """Whether at least so many features may be added, or such a share of all."""
    if not isinstance(proof, Certificate):
        # Of soft stability: the least rate over the radii.
        return bool(min(proof.lower) >= required)
    if required < 1:
        return proof.consistent and proof.shares[0] >= required
    return proof.consistent and proof.incremental >= required


def _keep(proofs: Sequence[Any], out: Path) -> None:
    with together(out, "certificate-0.json") as home:
        for i, proof in enumerate(proofs):
            proof.save(home / f"certificate-{i}.json")


def verify(file: Path, asked: Asked, with_data: bool, form: str, quiet: bool) -> int:
    """Asks a model everything again that a certificate rests on; 1 where a claim does not follow."""
    found = load(file)
    if not isinstance(found, Certificate):
        raise InputError(
            expected=f"a certificate in {file}",
            got=f"a {type(found).__name__}",
            advice="Give what `assay certify --out` wrote.",
        )
    with progress(quiet):
        model: Any = asked.question()[0] if with_data else asked.predictor()
        verdict = found.verify(model)
    if form == "json":
        typer.echo(records.text(records.verdict(verdict)))
    else:
        held = {True: "holds", False: "does not hold"}
        typer.echo(f"The certificate {held[verdict.holds]}: {verdict.why}")
        typer.echo(f"{verdict.changed} of {verdict.draws} draws were answered otherwise.")
    if verdict.holds:
        return DONE
    return NOT_HELD
