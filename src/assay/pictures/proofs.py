"""Certificates: what is proven, what is not known, and what is disproved.

- `radius`: how many features may come or go before the class can change
- `selection`: what is certified, where on the picture
- `votes`: why the radius is what it is
- `certified_curve`: for which share of inputs a radius is proven
- `soft_stability`: which share of supersets keeps the class

All numbers are whole numbers of features that follow from the votes of the certificate itself; nothing
is claimed here that it does not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.errors import InputError, KindError
from assay.pictures.drawing.drawing import Chart
from assay.pictures.drawing.kinds import border, photo_panel
from assay.pictures.drawing.marks import Band, Box, Dots, Floats, Key, Line, Mark
from assay.pictures.drawing.panel import Panel
from assay.pictures.drawing.row_chart import ROW
from assay.pictures.drawing.scales import Axis, axis_of
from assay.pictures.images import photos, spread_over_places
from assay.pictures.numbers import clause, number
from assay.question.question import Question
from assay.settings import shown

if TYPE_CHECKING:
    from assay.certificates.attack import Counterexample
    from assay.certificates.certificate import Certificate
    from assay.certificates.soft_stability import StabilityRates

_CLASSES = 20  # bars of votes
_SIDES = ("incremental", "decremental")


def radius(certificate: Certificate, attacks: Sequence[Counterexample] = ()) -> Chart:
    """How many features may be added to the selection, or removed from the whole, before the class can
    change: proven, not known, and flipped by what an attack has found.

    Settings:
        certificate: of one input and selection.
        attacks: what `Attack(side).search(...)` found on the same input.

    >>> import torch, assay
    >>> net = lambda x: torch.stack([1.5 + 0 * x[:, 0], x[:, 1] + x[:, 3]], dim=1)
    >>> question = assay.Question(net, torch.ones(1, 5))
    >>> [certificate] = assay.HardStability().certify(question, torch.arange(5) == 0)
    >>> radius(certificate).data["proven"].tolist()
    [1, 0]
    """
    _check_certificate(certificate)
    room = certificate.room
    found: dict[str, Counterexample] = {attack.side: attack for attack in attacks}
    proven = {side: getattr(certificate, side) for side in _SIDES}
    # Removals are claimed of the whole's own class alone.
    sizes = {side: _size(found.get(side)) for side in _SIDES}
    marks: list[Mark] = []
    texts = []
    for row, side in enumerate(_SIDES):
        flips = sizes[side]
        end = room if flips is None else max(flips - 1, proven[side])
        marks += _strip(row, f"proven-{row}", 0, proven[side], "proven", "")
        marks += _strip(row, f"open-{row}", proven[side], end, "muted", "open")
        if flips is not None:
            marks += _strip(row, f"flipped-{row}", max(flips - 1, 0), room, "flipped", "")
        texts.append(_claim(proven[side], flips, room))
    panel = Panel(
        marks=tuple(marks),
        x=Axis(0.0, float(max(room, 1)), "features", whole=True),
        y=Axis(
            1.5, -0.5, marked=((0.0, "added to the selection"), (1.0, "removed from the whole"))
        ),
        size=(380.0, 1.4 * ROW * 2),
        frame="rows",
        right=tuple((float(row), text) for row, text in enumerate(texts)),
        keys=(
            Key("proven", "proven"),
            Key("not known", "muted"),
            *((Key("flipped by an attack", "flipped"),) if attacks else ()),
        ),
    )
    return Chart(
        drawn=(panel,),
        table={
            "side": list(_SIDES),
            "proven": [proven[side] for side in _SIDES],
            "flips at": [sizes[side] for side in _SIDES],
            "room": [room, room],
        },
        caption=_caption(certificate),
        alt=(
            f"Certificate of {len(certificate.selection)} of {certificate.features} features for class "
            f"{certificate.selected}: added {texts[0]}, removed {texts[1]}.{_abstention(certificate)}"
        ),
    )


def _strip(row: int, gid: str, start: int, end: int, fill: str, hatch: Any) -> list[Mark]:
    if end <= start:
        return []
    title = f"{fill} up to {end}" if fill != "muted" else "not known"
    return [Box(gid, float(start), float(end), row - 0.3, row + 0.3, fill, hatch, title)]


def _size(attack: Any) -> int | None:
    size: int | None = None
    if attack is not None:
        size = attack.size
    return size


def _claim(proven: int, flips: int | None, room: int) -> str:
    if proven >= room:
        return f"all {room} proven"
    return f"proven {proven}" + (clause(f", flips at {flips}", flips is not None))


def _caption(certificate: Certificate, more: str = "") -> str:
    sure = "for certain" if certificate.exact else f"with probability {certificate.confidence:g}"
    about = "the model itself" if certificate.design is None else "the smoothed classifier"
    told = f"about {about}, {sure}; bound {certificate.bound}{more}"
    if _abstention(certificate):
        return f"{told}.{_abstention(certificate)}"
    return told


def _abstention(certificate: Certificate) -> str:
    if not certificate.consistent:
        return " The selection has another class than the whole: nothing is claimed about removals."
    if certificate.abstains:
        return " It abstains: no radius follows from the votes."
    return ""


def _check_certificate(certificate: Any) -> None:
    for name in ("incremental", "decremental", "room", "selection", "at_selection"):
        if not hasattr(certificate, name):
            raise KindError(
                expected="a Certificate",
                got=shown(certificate),
                advice="Certify first: [certificate] = HardStability().certify(question, selection).",
            )


def selection(
    certificate: Certificate,
    *,
    question: Question,
    attacks: Sequence[Counterexample] = (),
    images: ArrayLike | None = None,
) -> Chart:
    """What is certified, where: the picture with the selection outlined and the flipped features crossed,
    above the radii.

    Settings: as of `radius`; `question` holds the certified input.
    """
    strip = radius(certificate, attacks)
    rows = (question.keys == certificate.key).nonzero().flatten().tolist()
    i = rows[0] if rows else 0
    seen = photos(question, images)
    if seen is None or question.partition.count != certificate.features:
        raise InputError(
            expected=f"a question about a picture with {certificate.features} features",
            got=f"inputs of shape {question.layout.describe()}",
            advice="Draw radius(certificate), or hand over images.",
        )
    chosen = np.zeros((question.n, certificate.features))
    chosen[i, list(certificate.selection)] = 1
    x, y = border(spread_over_places(question, chosen)[i] > 0)
    marks: list[Mark] = [
        Line("selection-ground", x, y, "#ffffff", 2.6),
        Line("selection", x, y, "#000000", 1.0, title="selection"),
    ]
    for attack in attacks:
        centres = np.array([_centre(question, feature, i) for feature in attack.flipped])
        if len(centres):
            down, across = centres.T
            marks.append(Dots(f"flipped-{attack.side}", across, down, "#762a83", 7.0, shape="x"))
    photo = photo_panel("photo", seen[i], title=f"class {certificate.selected}", over=marks)
    return Chart(
        drawn=(photo, *strip.panels),
        table=strip.table,
        caption=f"outlined: the selection; crosses: what an attack flipped; {strip.caption}",
        alt=strip.alt,
    )


def _centre(question: Question, feature: int, i: int) -> tuple[float, float]:
    flat = np.zeros((question.n, question.partition.count))
    flat[i, feature] = 1
    down, across = np.nonzero(spread_over_places(question, flat)[i] > 0)
    return float(down.mean()), float(across.mean())


def votes(certificate: Certificate) -> Chart:
    """Why this radius: the votes of the classes on the selection and on the whole.

    Of a smoothed classifier a feature may move a share lambda of the votes, so that the gap of the two
    first classes, less 2 lambda r, has to stay above zero.
    """
    _check_certificate(certificate)
    panels: list[Panel] = []
    table: dict[str, list[Any]] = {"at": [], "class": [], "share": []}
    asked = "all supersets" if certificate.design is None else "the selection"
    ends = [(asked, certificate.at_selection)]
    if certificate.design is not None:
        ends.append(("the whole", certificate.at_whole))
    for number_of, (where, cast) in enumerate(ends):
        shares = np.asarray(cast.table(certificate.classes).sum(axis=0), dtype=np.float64)
        shares /= max(shares.sum(), 1.0)
        # Classes that nobody voted for have no bar.
        voted = max(2, int((shares > 0).sum()))
        order = np.argsort(-shares, kind="stable")[: min(voted, _CLASSES)]
        table["at"] += [where] * len(order)
        table["class"] += order.tolist()
        table["share"] += shares[order].tolist()
        rest = int((shares > 0).sum()) - len(order)
        panels.append(_voted(number_of, where, shares, order.tolist(), rest))
    # The classes are in the order of their votes, and no certificate is about a single one.
    first, second = table["share"][:2]
    return Chart(
        drawn=tuple(panels),
        table=table,
        caption=_caption(certificate, _gap(certificate, float(first - second))),
        alt=(
            f"Votes of {certificate.classes} classes on {asked}: class {table['class'][0]} has "
            f"{100 * first:.0f} %, the next {100 * second:.0f} %."
        ),
    )


def _gap(certificate: Certificate, gap: float) -> str:
    if certificate.design is None:
        return ""
    share = certificate.design.kept / certificate.design.levels
    r = certificate.incremental
    told = f"; gap {number(gap)} against 2 lambda r = {number(2 * share * r)} at r = {r}"
    return f"{told} and {number(2 * share * (r + 1))} at r = {r + 1}"


def _voted(number_of: int, where: str, shares: Floats, order: Sequence[int], rest: int) -> Panel:
    bars = [
        Box(
            f"votes-{number_of}-{k}",
            0.0,
            float(shares[label]),
            k - 0.3,
            k + 0.3,
            "proven" if k == 0 else "muted",
            title=f"class {label}: {100 * shares[label]:.1f} %",
        )
        for k, label in enumerate(order)
    ]
    told = [(f"class {label}", float(shares[label])) for label in order]
    if rest > 0:
        left = max(0.0, 1.0 - float(shares[list(order)].sum()))
        k = len(order)
        title = f"{rest} further classes"
        told.append((title, left))
        bars.append(
            Box(f"votes-{number_of}-{k}", 0.0, left, k - 0.3, k + 0.3, "muted", "open", title)
        )
    return Panel(
        marks=tuple(bars),
        x=Axis(0.0, 1.0, "share of the votes"),
        y=Axis(
            len(told) - 0.5,
            -0.5,
            marked=tuple((float(k), name) for k, (name, _) in enumerate(told)),
        ),
        size=(340.0, 0.8 * ROW * len(told)),
        title=f"on {where}",
        frame="rows",
        right=tuple((float(k), f"{100 * share:.1f} %") for k, (_, share) in enumerate(told)),
    )


def certified_curve(
    certificates: Sequence[Certificate],
    *,
    side: str = "incremental",
    level: float = 0.95,
    labels: ArrayLike | None = None,
) -> Chart:
    """For which share of inputs a radius of r features is proven.

    A step at each whole number; the band holds the whole curve at once for all inputs of the model
    (Dvoretzky, Kiefer and Wolfowitz, with the constant of Massart 1990): eps = sqrt(log(2 / alpha) / 2n).
    Certificates that abstain count as radius 0, and never are left out.

    Settings:
        certificates: of several inputs, by one way of certifying.
        side: "incremental" or "decremental".
        level: of the band.
        labels: the right class of each input, for a line at the accuracy of the model, and the share of
            inputs of which the right class is proven (the certified accuracy).
    """
    listed = list(certificates)
    for certificate in listed:
        _check_certificate(certificate)
    if side not in _SIDES or not listed:
        raise InputError(
            expected="certificates, and the side 'incremental' or 'decremental'",
            got=f"{len(listed)} and {side!r}",
            advice="Certify several inputs: HardStability().certify(question, masks).",
        )
    radii = np.array([getattr(each, side) for each in listed])
    most = max(each.room for each in listed)
    r = np.arange(0, most + 1)
    shares = (radii[None] >= r[:, None]).mean(axis=1)
    eps = math.sqrt(math.log(2 / (1 - level)) / (2 * len(listed)))
    low, high = np.clip(shares - eps, 0, 1), np.clip(shares + eps, 0, 1)
    # A radius of r is proven from r - 1 on, without, up to r.
    x = np.repeat(np.append(r, most + 1) - 1.0, 2)[1:-1]
    line = Line("curve", x, np.repeat(shares, 2), "proven", 1.8)
    band = Band("band", x, np.repeat(low, 2), np.repeat(high, 2), "proven")
    marks: list[Mark] = [band, line]
    table = {
        "radius": r.tolist(),
        "share": shares.tolist(),
        "low": low.tolist(),
        "high": high.tolist(),
    }
    keys: tuple[Key, ...] = ()
    told = ""
    if labels is not None:
        right, accuracy = _right(listed, labels)
        proven = ((radii[None] >= r[:, None]) & right).mean(axis=1)
        ends = np.array([-1.0, float(most)])
        marks.append(Line("right", x, np.repeat(proven, 2), "series-0", 1.4, "dots"))
        marks.append(Line("accuracy", ends, np.full(2, accuracy), "text", 1.2, True))
        table["share, right"] = proven.tolist()
        keys = (
            Key("proven", "proven", "line"),
            Key("proven, and right", "series-0", "dashed"),
            Key("accuracy of the model", "text", "dashed"),
        )
        told = f"; the model is right on {100 * accuracy:.0f} %"
    abstain = sum(bool(each.abstains) for each in listed)
    median = int(np.median(radii))
    return Chart(
        drawn=(
            Panel(
                marks=tuple(marks),
                x=Axis(-1.0, float(most), f"radius, {side}: features", whole=True),
                y=Axis(0.0, 1.02, "share of inputs with this radius proven"),
                size=(400.0, 240.0),
                keys=keys,
            ),
        ),
        table=table,
        caption=(
            f"{len(listed)} inputs, of which {abstain} abstain and count as 0; band: the whole curve with "
            f"{100 * level:g} %{told}"
        ),
        alt=(
            f"Certified curve over {len(listed)} inputs: half have a radius of {median} features or more, "
            f"{100 * shares[min(1, most)]:.0f} % of 1 or more; {abstain} abstain{told}."
        ),
    )


def _right(
    certificates: Sequence[Certificate], labels: ArrayLike
) -> tuple[NDArray[np.bool_], float]:
    """Which certificates are about the right class, and how often the model itself is right."""
    given = np.asarray(labels)
    if given.shape != (len(certificates),) or given.dtype.kind not in "iu":
        raise InputError(
            expected=f"the right class of each of {len(certificates)} inputs as labels, whole numbers",
            got=f"{given.dtype} of shape {given.shape}",
            advice="Hand over as many as there are certificates, in their order.",
        )
    # Certificates of before the bare model's class was kept have that of the smoothed classifier.
    said = [each.predicted if each.bare is None else each.bare for each in certificates]
    selected = np.array([each.selected for each in certificates])
    return np.asarray(selected == given), float((np.array(said) == given).mean())


def soft_stability(rates: StabilityRates) -> Chart:
    """Which share of supersets keeps the class, by how many features are added.

    Whiskers hold at all radii together; a rate that was listed whole has none. The line stands at the
    last radius up to which every superset is known to keep the class.

    Settings:
        rates: of one input, as `SoftStability(radius=(1, 2, 4)).certify(...)` gives them.
    """
    if not hasattr(rates, "radii") or not hasattr(rates, "rate"):
        raise KindError(
            expected="the rates of one input, of SoftStability",
            got=shown(rates),
            advice="[rates] = SoftStability(radius=(1, 2, 4)).certify(question, selection).",
        )
    r = np.asarray(rates.radii, dtype=np.float64)
    order = np.argsort(r, kind="stable")
    rate, low, high = (
        np.asarray(column, dtype=np.float64)[order]
        for column in (rates.rate, rates.lower, rates.upper)
    )
    exact = np.asarray(rates.exact, dtype=bool)[order]
    r = r[order]
    whole = [int(k) for k, share, known in zip(r, rate, exact) if known and share == 1.0]
    gap = np.full(len(r), np.nan)
    ends = np.stack(
        [np.where(exact, np.nan, low), np.where(exact, np.nan, high), gap], axis=1
    ).ravel()
    marks: list[Mark] = [
        Line("errors-0", np.repeat(r, 3), ends, "text"),
        Dots("dots-0", r, rate, "proven", 6.5),
    ]
    if whole:
        marks.insert(
            0, Line("proven", np.full(2, max(whole)), np.array([0.0, 1.0]), "proven", 1.2, True)
        )
    return Chart(
        drawn=(
            Panel(
                marks=tuple(marks),
                x=axis_of([0.0, *r.tolist()], "features added, at the most", whole=True),
                y=Axis(0.0, 1.03, "share of supersets that keep the class"),
                size=(400.0, 240.0),
            ),
        ),
        table={
            "radius": r.astype(int).tolist(),
            "rate": rate.tolist(),
            "low": low.tolist(),
            "high": high.tolist(),
            "exact": exact.tolist(),
        },
        caption=(
            f"{len(rates.selection)} features selected, class {rates.selected}; intervals hold together with "
            f"{100 * rates.confidence:g} %; {int(exact.sum())} of {len(r)} rates are exact"
        ),
        alt=(
            f"Soft stability of {len(rates.selection)} features for class {rates.selected}: "
            + ", ".join(f"{100 * s:.0f} % within {k:g}" for k, s in zip(r[:4], rate[:4]))
            + "."
        ),
    )
