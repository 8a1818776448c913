"""Credit per atom and per bond of molecules that a network reads as two tensors.

A graph network takes what its nodes are, (atoms, features), and what its pairs of nodes are, (atoms,
atoms, features): the convention of molecular graph convolutions (Kearnes et al. 2016), whose pairs
hold a bond's type or a distance. Molecules of several sizes share one padded tensor; what is not there
owns nothing. Nothing here knows chemistry: any graph with features of nodes and edges will do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from assay.errors import InputError, SettingKindError
from assay.features.partition import Features, Partition
from assay.inputs.layout import Layout
from assay.settings import has_length, shown

_NOBODY = -1


@final
@dataclass(frozen=True)
class Atoms(Features):
    """The atoms of molecules, and their bonds, as inputs (n, atoms, f) and (n, atoms, atoms, g).

    An atom owns its row of the first tensor. A pair of atoms with any number that is not 0 is a bond: a
    feature that owns both of its places, (i, j) and (j, i), or, without `bonds`, half an atom's each: atom
    i then owns its row (i, .) of the second tensor. An absent atom or bond is a row of zeros under
    `Baseline(0.0)`: of no kind.

    Settings:
        symbols: the symbols of each molecule's atoms, in order; where nothing is said an atom is a
            row with any number that is not 0.
        bonds: whether bonds receive credit of their own.

    Shapes: (atoms and bonds of the largest molecule,), atoms first; those that a molecule does not have get
    0. Their names ("C0", "C0-N1") stand in `answer.names_of(i)`. Errors: InputError for inputs of other
    shapes, symbols that do not fit them, bonds of atoms that are not there.

    >>> import torch, assay
    >>> kinds = torch.tensor([[[1.0, 0], [0, 1], [0, 0]]])                    # C, O, and a place left over
    >>> pairs = torch.zeros(1, 3, 3, 1)
    >>> pairs[0, 0, 1] = pairs[0, 1, 0] = 2.0                                 # a double bond
    >>> f = lambda kinds, pairs: kinds[:, :, 1].sum(1) + pairs.sum((1, 2, 3))
    >>> question = assay.Question(f, (kinds, pairs), features=Atoms([["C", "O"]]))
    >>> dict(zip(question.partition.names, assay.ExactShapley()(question).values[0].tolist()))
    {'C0': 0.0, 'O1': 1.0, 'C0-O1': 4.0}
    """

    symbols: Any = None
    bonds: bool = True

    def __post_init__(self) -> None:
        if self.symbols is None:
            return
        several = has_length(self.symbols) and not isinstance(self.symbols, str)
        rows = list(self.symbols) if several else []
        listed = [tuple(row) for row in rows if isinstance(row, Sequence)]
        plain = all(isinstance(symbol, str) for row in listed for symbol in row)
        if not listed or len(listed) < len(rows) or not plain:
            raise SettingKindError(
                expected="a list of symbols for each molecule",
                got=shown(self.symbols),
                advice='Write Atoms([["C", "C", "O"]]), in the order of the atoms.',
            )
        object.__setattr__(self, "symbols", tuple(listed))

    def __repr__(self) -> str:
        symbols = "None" if self.symbols is None else f"<{len(self.symbols)} molecules>"
        return f"Atoms(symbols={symbols}, bonds={self.bonds})"

    def bind(self, layout: Layout, x: Tensor) -> Partition:
        atoms, pairs = self._tensors(layout, x)
        present = self._present(atoms)
        kinds = (pairs != 0).any(dim=-1)
        self._check_bonds(present, kinds)
        # The first atom of a molecule is feature 0, wherever it stands.
        owners = torch.where(present, present.cumsum(dim=1) - 1, _NOBODY)
        # A pair belongs to its first atom, until a bond takes it.
        owners_of_pairs = owners[:, :, None].expand(kinds.shape).clone()
        owners_of_pairs[~(present[:, :, None] & present[:, None, :])] = _NOBODY
        names = self._names(present)
        if self.bonds:
            for number, own in enumerate(names):
                places = present[number].nonzero()[:, 0].tolist()
                named = dict(zip(places, own))
                own += _bonds(kinds[number], owners_of_pairs[number], named, len(own))
        count = max(map(len, names))
        if count == 0:
            raise InputError(
                expected="at least one atom",
                got="inputs of zeros alone",
                advice="Leave molecules without atoms out, or give their symbols.",
            )
        f, g = atoms.shape[-1], pairs.shape[-1]
        labels = torch.cat(
            [
                owners.repeat_interleave(f, dim=1),
                owners_of_pairs.flatten(1).repeat_interleave(g, dim=1),
            ],
            dim=1,
        )
        if len(names) == 1:
            return Partition(labels, count, tuple(names[0]), (count,))
        shared = tuple(f"feature {index}" for index in range(count))
        return Partition(labels, count, shared, (count,), own_names=tuple(map(tuple, names)))

    def _tensors(self, layout: Layout, x: Tensor) -> tuple[Tensor, Tensor]:
        """The two tensors, (n, atoms, f) and (n, atoms, atoms, g)."""
        shapes = layout.shapes
        fits = len(shapes) == 2 and (len(shapes[0]), len(shapes[1])) == (2, 3)
        if not fits or shapes[1][:2] != (shapes[0][0],) * 2:
            raise InputError(
                expected="two tensors for Atoms, (n, atoms, f) and (n, atoms, atoms, g)",
                got=f"inputs of shape {layout.describe()}",
                advice="Hand them over as a tuple; pairs of one number have g = 1.",
            )
        width = shapes[0][0] * shapes[0][1]
        return x[:, :width].view(-1, *shapes[0]), x[:, width:].view(-1, *shapes[1])

    def _present(self, atoms: Tensor) -> Tensor:
        """Which places hold an atom, (n, atoms)."""
        filled = (atoms != 0).any(dim=-1)
        if self.symbols is None:
            return filled
        sizes = torch.tensor([len(row) for row in self.symbols], device=atoms.device)
        places = torch.arange(atoms.shape[1], device=atoms.device)
        fits = len(sizes) == len(atoms) and int(sizes.max()) <= atoms.shape[1]
        present = places < sizes[:, None] if fits else ~filled
        if bool((filled & ~present).any()):
            raise InputError(
                expected=f"symbols of {len(atoms)} molecules, one for each of their atoms",
                got=f"{len(sizes)} molecules, with {sizes.tolist()[:5]} symbols first",
                advice="Give the symbols in the order of the inputs; what is behind them is empty.",
            )
        return present

    def _names(self, present: Tensor) -> list[list[str]]:
        names = []
        for number, count in enumerate(present.sum(dim=1).tolist()):
            symbols = ("atom",) * count if self.symbols is None else self.symbols[number]
            names.append([f"{symbol}{index}" for index, symbol in enumerate(symbols)])
        return names

    @staticmethod
    def _check_bonds(present: Tensor, kinds: Tensor) -> None:
        ends = present[:, :, None] & present[:, None, :]
        loose = (kinds & ~ends).nonzero().tolist()
        if loose:
            molecule, one, other = loose[0]
            raise InputError(
                expected="bonds between atoms that are there",
                got=f"one of the places {one} and {other} of molecule {molecule}",
                advice="Fill padding with zeros in both tensors.",
            )


def _bonds(kinds: Tensor, owners: Tensor, named: dict[int, str], first: int) -> list[str]:
    """Writes the bonds of one molecule into the owners of its pairs, numbered from `first` on."""
    names: list[str] = []
    # A bond may stand in one of its two places alone.
    either = (kinds | kinds.T).triu(diagonal=1)
    for one, other in either.nonzero().tolist():
        owners[one, other] = owners[other, one] = first + len(names)
        names.append(f"{named[one]}-{named[other]}")
    # Places between atoms without a bond hold zeros, and are nobody's.
    empty = ~(kinds | kinds.T)
    empty.fill_diagonal_(False)
    owners[empty] = _NOBODY
    return names
