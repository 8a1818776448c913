"""Credit of molecules and other graphs: atoms as discs, bonds as lines, each as strong as its credit.

Nothing is smeared between atoms: a bond's own credit is seen, and neighbours of opposite sign stay two.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.answers.attribution import Attribution
from assay.errors import InputError
from assay.pictures.described import (
    answers_by_name,
    row_number,
    strongest,
    unit_of,
    unsure_of,
    values_of,
)
from assay.pictures.drawing.drawing import Chart
from assay.pictures.drawing.labels import names, signed
from assay.pictures.drawing.marks import Dots, Floats, Key, Line, Mark, Words
from assay.pictures.drawing.panel import Panel
from assay.pictures.drawing.scales import Axis, Scale, around_zero
from assay.pictures.drawing.themes import ink_on
from assay.pictures.numbers import form_of

_NODES = 300
_LARGEST = 22.0  # points across of the largest disc
_RING = 14.0  # points across of the smallest ring
_WIDEST = 9.0  # points of the widest bond
_PLATE = 12.0  # points across of the ground of a letter
_WIDER = 4.0  # for each further letter
_LETTER = 9.0  # points across of a letter
_WHITE = "#ffffff"
_ROUNDS = 300  # of making distances fit


def molecule(
    answer: Attribution,
    i: int = 0,
    *,
    positions: ArrayLike | None = None,
    edges: ArrayLike | None = None,
    scale: float | None = None,
) -> Chart:
    """Which atoms and bonds: discs with an area, and lines with a width, proportional to their credit.

    Settings:
        answer: of features `Atoms()`, or of the nodes of any graph.
        i: which molecule.
        positions: of the atoms (atoms, 2); where nothing is said they are laid out by distances along
            bonds (stress, Kamada and Kawai 1989), the same every time.
        edges: pairs of atoms (bonds, 2), in the order of their credit; where nothing is said those that
            the names tell, "C0-N1".
        scale: the credit of the full colour, to compare molecules; its own where nothing is said.

    Three grey discs above say which size means which credit, in either direction. A ring instead of a
    disc, and a dotted line: not told from zero. Errors: InputError for edges that do
    not fit, or more than 300 atoms.

    >>> import torch, assay
    >>> from assay import Atoms
    >>> kinds = torch.tensor([[[1.0, 0], [0, 1]]])
    >>> pairs = torch.zeros(1, 2, 2, 1)
    >>> pairs[0, 0, 1] = pairs[0, 1, 0] = 2.0
    >>> f = lambda kinds, pairs: kinds[:, :, 1].sum(1) + pairs.sum((1, 2, 3))
    >>> question = assay.Question(f, (kinds, pairs), features=Atoms([["C", "O"]]))
    >>> molecule(assay.ExactShapley()(question)).data["credit"].tolist()
    [0.0, 1.0, 4.0]
    """
    [(name, answer)] = answers_by_name(answer).items()
    i = row_number(answer, i)
    listed = [str(each) for each in answer.names_of(i)]
    credit = values_of(answer, i)[: len(listed)]
    unsure = unsure_of(answer)[i, : len(listed)]
    bonds, numbers = _bonds(listed, edges)
    atoms = [k for k in range(len(listed)) if k not in set(numbers)]
    places = _placed(positions, bonds, len(atoms))
    limit = float(np.abs(credit).max(initial=0)) if scale is None else float(scale)
    colours = around_zero(limit, unit_of(answer, i), beyond=bool((np.abs(credit) > limit).any()))
    graph = _Graph(listed, credit, unsure, colours, limit or 1.0)
    across, down = _ends(places[:, 0]), _ends(places[:, 1])
    wide, high = across.high - across.low, down.high - down.low
    longest = max(wide, high)
    labels = names(listed)
    return Chart(
        drawn=(
            Panel(
                marks=(*graph.lines(bonds, numbers, places), *graph.discs(atoms, places)),
                x=across,
                y=down,
                size=(400.0 * max(wide / longest, 0.3), 400.0 * max(high / longest, 0.3)),
                title=f"{name}, molecule {i}",
                frame="none",
                bar=colours,
                keys=_sizes(limit),
                equal=True,
            ),
        ),
        table={"name": labels, "credit": credit.tolist(), "not told from zero": unsure.tolist()},
        caption="area of a disc and width of a bond: size of the credit; ring, dotted: not told from zero",
        alt=(
            f"Molecule {i} with the credit of {name}: {len(atoms)} atoms, {len(bonds)} bonds. Strongest: "
            f"{strongest(credit.tolist(), labels)}."
        ),
    )


@final
@dataclass(frozen=True)
class _Graph:
    """The credit of one graph's nodes and edges, as marks.

    Settings:
        names, credit, unsure: of its features.
        colours: of their credit.
        reach: the credit that is drawn largest.
    """

    names: Sequence[str]
    credit: Floats
    unsure: NDArray[np.bool_]
    colours: Scale
    reach: float

    def lines(
        self, bonds: Sequence[tuple[int, int]], numbers: Sequence[int], places: Floats
    ) -> Iterator[Mark]:
        """All bonds as they are, and over them the credit of those that are features."""
        for number, (a, b) in enumerate(bonds):
            x, y = places[[a, b], 0], places[[a, b], 1]
            yield Line(f"skeleton-{number}", x, y, "muted", 1.2)
            if number < len(numbers):
                yield self._bond(number, numbers[number], x, y)

    def _bond(self, number: int, k: int, x: Floats, y: Floats) -> Line:
        """The credit of feature k, along a bond."""
        value = float(self.credit[k])
        width = max(0.1, _WIDEST * min(1.0, abs(value) / self.reach))
        pattern: Any = "dots" if self.unsure[k] else False
        colour = self.colours.colour(value)
        return Line(f"bond-{number}", x, y, colour, width, pattern, title=self._title(k))

    def discs(self, atoms: Sequence[int], places: Floats) -> Iterator[Mark]:
        """The atoms' credit, and their letters."""
        x, y = places[:, 0], places[:, 1]
        credit, unsure = self.credit[atoms], self.unsure[atoms]
        sizes = _LARGEST * np.sqrt(np.minimum(1.0, np.abs(credit) / self.reach))
        # A ring stands around its letter.
        drawn = np.maximum(sizes, np.where(unsure, _RING, 0.1))
        # A ring has no sign to show, and that of 0 would be white on white.
        own = self.colours.colours_of(credit)
        fills = tuple("muted" if ring else colour for ring, colour in zip(unsure, own))
        # A plate below each letter, which the bonds would run through: white on any ground, since a
        # pale disc that is smaller than its letter leaves no ink that is read on both.
        symbols = [_symbol(self.names[k]) for k in atoms]
        plates = np.array([_PLATE + _WIDER * (len(symbol) - 1) for symbol in symbols])
        yield Dots("ground", x, y, _WHITE, plates)
        yield Dots("atoms", x, y, fills, drawn, unsure, titles=tuple(map(self._title, atoms)))
        for n, symbol in enumerate(symbols):
            # A disc that is larger than its letter is read on, a smaller one on its plate, a ring on
            # the ground of the picture.
            ink = ink_on(fills[n] if sizes[n] > _LETTER else _WHITE)
            ink = "text" if unsure[n] else ink
            yield Words(f"symbol-{n}", float(x[n]), float(y[n]), symbol, ink, size=8.0)

    def _title(self, k: int) -> str:
        return f"{self.names[k]}: {signed(float(self.credit[k]))}"


def _symbol(name: str) -> str:
    """The letters of an atom's name: "C" of "C12"."""
    return (re.sub(r"\d+$", "", name) or name)[:4]


def _sizes(limit: float) -> tuple[Key, ...]:
    """Three discs, of a quarter, a half and the whole of the largest credit."""
    if limit == 0:
        return ()
    shares = (0.25, 0.5, 1.0)
    form = form_of([share * limit for share in shares])
    return tuple(
        Key(form(share * limit), "muted", "dot", _LARGEST * math.sqrt(share)) for share in shares
    )


def _bonds(
    listed: Sequence[str], edges: ArrayLike | None
) -> tuple[list[tuple[int, int]], list[int]]:
    """Pairs of atoms, and the features that are bonds, in the same order."""
    told, numbers = _named_bonds(listed)
    if edges is None:
        count = len(listed) - len(numbers)
        if count > _NODES:
            raise InputError(
                expected=f"at most {_NODES} atoms", got=count, advice="Draw bars(answer, i)."
            )
        return told, numbers
    pairs = _pairs(edges, len(listed), len(numbers))
    if numbers:
        return pairs, numbers if len(numbers) == len(pairs) else []
    # Features behind the atoms are the bonds', where there are as many.
    most = max(max(pair) for pair in pairs) + 1
    behind = list(range(len(listed) - len(pairs), len(listed)))
    return pairs, behind if most <= len(listed) - len(pairs) else []


def _named_bonds(listed: Sequence[str]) -> tuple[list[tuple[int, int]], list[int]]:
    """Bonds among the features, by names such as "C1-O2": their atoms, and their numbers."""
    place = {name: k for k, name in enumerate(listed)}
    pairs, numbers = [], []
    for k, name in enumerate(listed):
        one, dash, other = name.partition("-")
        if dash and one in place and other in place:
            numbers.append(k)
            pairs.append((place[one], place[other]))
    return pairs, numbers


def _pairs(edges: ArrayLike, features: int, bonds: int) -> list[tuple[int, int]]:
    """Edges as pairs of atoms, or a refusal."""
    try:
        given = np.asarray(edges)
    except ValueError:
        # Rows of different lengths.
        given = np.empty(0)
    atoms = features - (bonds or given.size // 2)
    whole = given.ndim == 2 and given.shape[1:] == (2,) and given.dtype.kind in "iu"
    if not whole or atoms < 1 or given.min(initial=0) < 0 or given.max(initial=0) >= features:
        raise InputError(
            expected="pairs of atoms (bonds, 2) as edges, counted from 0",
            got=f"{given.dtype} of shape {given.shape}",
            advice="Such as edges=[[0, 1], [1, 2]].",
        )
    return [(int(a), int(b)) for a, b in given]


def _placed(positions: ArrayLike | None, bonds: Sequence[tuple[int, int]], count: int) -> Floats:
    if positions is None:
        return laid_out(count, bonds)
    given = np.asarray(positions, dtype=np.float64)
    if given.shape != (count, 2) or not np.isfinite(given).all():
        raise InputError(
            expected=f"finite positions of {count} atoms, ({count}, 2)",
            got=f"shape {given.shape}",
            advice="Leave them out: atoms are then laid out by their bonds.",
        )
    return given


def laid_out(count: int, bonds: Sequence[tuple[int, int]]) -> Floats:
    """Places of nodes whose distances are those along edges, as well as two dimensions allow.

    Stress sum_ij (|x_i - x_j| - d_ij)^2 / d_ij^2, made smaller by majorisation (Gansner, Koren and North
    2005) from classical scaling: the same every time.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import shortest_path

    ends = np.array(bonds, dtype=np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(count, count))
    distances = shortest_path(graph.tocsr(), directed=False, unweighted=True)
    finite = distances[np.isfinite(distances)]
    # Parts without a bond between them lie side by side.
    distances[~np.isfinite(distances)] = finite.max(initial=1) + 1.0
    places = _scaled(distances)
    weights = 1 / np.where(distances > 0, distances, 1.0) ** 2
    np.fill_diagonal(weights, 0.0)
    laplacian = np.diag(weights.sum(axis=1)) - weights
    inverse = np.linalg.pinv(laplacian)
    for _ in range(_ROUNDS if count > 2 else 0):
        between = np.linalg.norm(places[:, None] - places[None], axis=2)
        pull = -weights * distances / np.where(between > 1e-9, between, np.inf)
        np.fill_diagonal(pull, 0.0)
        np.fill_diagonal(pull, -pull.sum(axis=1))
        places = inverse @ (pull @ places)
    return places


def _scaled(distances: Floats) -> Floats:
    """Classical scaling to two dimensions (Torgerson 1952)."""
    count = len(distances)
    centre = np.eye(count) - 1 / count
    values, vectors = np.linalg.eigh(-0.5 * centre @ distances**2 @ centre)
    values, vectors = values[::-1][:2], vectors[:, ::-1][:, :2]
    # A direction has no sign of its own: its largest entry is made positive.
    signs = np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(vectors.shape[1])])
    found = vectors * np.where(signs == 0, 1, signs) * np.sqrt(np.maximum(values, 0))
    # A little apart in the second direction, or a chain of atoms could never bend.
    padded = np.zeros((count, 2))
    padded[:, : found.shape[1]] = found
    padded[:, 1] += 0.01 * np.cos(np.arange(count))
    return padded


def _ends(values: Floats) -> Axis:
    return Axis(float(values.min()) - 0.7, float(values.max()) + 0.7)
