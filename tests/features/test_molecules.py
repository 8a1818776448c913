"""Atoms and bonds: who owns which number of the two tensors, and what becomes of padding."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import assay
from assay.errors import InputError, KindError

SYMBOLS = [["C", "O", "N"], ["C", "C"]]
SIZE, KINDS, BONDS = 4, 2, 2


def graphs(edges: list[list[tuple[int, int]]], sizes: list[int]) -> tuple[Tensor, Tensor]:
    """Atoms of one kind or the other in turn, bonds of the kind of their sum."""
    atoms = torch.zeros(len(sizes), SIZE, KINDS, dtype=torch.float64)
    pairs = torch.zeros(len(sizes), SIZE, SIZE, BONDS, dtype=torch.float64)
    for number, (bonds, size) in enumerate(zip(edges, sizes)):
        for atom in range(size):
            atoms[number, atom, atom % KINDS] = 1
        for one, other in bonds:
            pairs[number, one, other, (one + other) % BONDS] = 1
            pairs[number, other, one, (one + other) % BONDS] = 1
    return atoms, pairs


def energy(atoms: Tensor, pairs: Tensor) -> Tensor:
    """A number that atoms, bonds, and atoms through bonds have a part in."""
    own = atoms @ torch.tensor([1.0, 10.0], dtype=atoms.dtype)
    strength = pairs @ torch.tensor([0.5, 3.0], dtype=pairs.dtype)
    return (
        own.sum(1) + (strength * own[:, :, None] * own[:, None]).sum((1, 2)) + strength.sum((1, 2))
    )


def question(features: assay.Atoms, edges: Any = None, sizes: Any = (3, 2)) -> assay.Question:
    edges = [[(0, 1), (1, 2)], [(0, 1)]] if edges is None else edges
    return assay.Question(energy, graphs(edges, list(sizes)), features=features)


def test_atoms_come_first_and_each_bond_owns_both_its_places() -> None:
    partition = question(assay.Atoms(SYMBOLS)).partition
    assert partition.own_names == (("C0", "O1", "N2", "C0-O1", "O1-N2"), ("C0", "C1", "C0-C1"))
    atoms, pairs = partition.labels.split([SIZE * KINDS, SIZE * SIZE * BONDS], dim=1)
    assert atoms[0].view(SIZE, KINDS)[:, 0].tolist() == [0, 1, 2, -1]
    nobody = -1
    assert pairs[0].view(SIZE, SIZE, BONDS)[..., 0].tolist() == [
        [0, 3, nobody, nobody],
        [3, 1, 4, nobody],
        [nobody, 4, 2, nobody],
        [nobody] * 4,
    ]


def test_without_bonds_an_atom_owns_its_row() -> None:
    partition = question(assay.Atoms(SYMBOLS, bonds=False)).partition
    assert partition.own_names == (("C0", "O1", "N2"), ("C0", "C1"))
    pairs = partition.labels[:, SIZE * KINDS :].view(2, SIZE, SIZE, BONDS)
    assert pairs[1, ..., 1].tolist() == [[0, 0, -1, -1], [1, 1, -1, -1], [-1] * 4, [-1] * 4]


def shapley_twin(
    atoms: Tensor, pairs: Tensor, size: int, edges: list[tuple[int, int]]
) -> list[float]:
    """Shapley values of atoms and bonds of one molecule by their definition over all orders' subsets."""
    from itertools import combinations
    from math import factorial

    players = [("atom", atom) for atom in range(size)] + [("bond", edge) for edge in edges]
    count = len(players)

    def value(present: tuple[int, ...]) -> float:
        kinds, bonds = torch.zeros_like(atoms), torch.zeros_like(pairs)
        for player in present:
            what, which = players[player]
            if what == "atom":
                kinds[which] = atoms[which]
            else:
                one, other = which
                bonds[one, other] = pairs[one, other]
                bonds[other, one] = pairs[other, one]
        return float(energy(kinds[None], bonds[None]))

    credit = []
    for player in range(count):
        rest = [other for other in range(count) if other != player]
        total = 0.0
        for k in range(count):
            weight = factorial(k) * factorial(count - k - 1) / factorial(count)
            for present in combinations(rest, k):
                total += weight * (value((*present, player)) - value(present))
        credit.append(total)
    return credit


def test_shapley_values_of_atoms_and_bonds_are_those_of_the_definition() -> None:
    edges, sizes = [[(0, 1), (1, 2)], [(0, 1)]], [3, 2]
    answer = assay.ExactShapley()(question(assay.Atoms(SYMBOLS)))
    atoms, pairs = graphs(edges, sizes)
    for number in range(2):
        expected = shapley_twin(atoms[number], pairs[number], sizes[number], edges[number])
        found = answer.values[number].tolist()
        assert found[: len(expected)] == pytest.approx(expected, abs=1e-10)
        assert found[len(expected) :] == [0.0] * (len(found) - len(expected))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_every_number_of_a_molecule_is_owned_once_and_padding_by_nobody(data: Any) -> None:
    sizes = data.draw(st.lists(st.integers(1, SIZE), min_size=1, max_size=3))
    possible = [[(i, j) for i in range(size) for j in range(i)] for size in sizes]
    edges = [sorted(data.draw(st.sets(st.sampled_from(p)))) if p else [] for p in possible]
    atoms, pairs = graphs(edges, sizes)
    bonds = data.draw(st.booleans())
    symbols = data.draw(st.sampled_from([None, [["C"] * size for size in sizes]]))
    asked = assay.Question(energy, (atoms, pairs), features=assay.Atoms(symbols, bonds=bonds))
    labels = asked.partition.labels
    names = asked.partition.own_names or (asked.partition.names,)
    for number, (size, edge) in enumerate(zip(sizes, edges)):
        assert len(names[number]) == size + bonds * len(edge)
        used = set(labels[number].tolist()) - {-1}
        assert used == set(range(len(names[number])))
    # Whatever is not 0 has an owner: credit of it cannot get lost.
    assert bool((labels[asked.x != 0] >= 0).all())
    answer = assay.InputXGradient()(asked)
    slopes = assay.InputXGradient()(asked.by_elements()).values
    torch.testing.assert_close(answer.values.sum(1), slopes.sum(1), rtol=0, atol=1e-10)


def test_some_molecules_are_answered_as_among_others() -> None:
    whole = assay.ExactShapley()(question(assay.Atoms(SYMBOLS)))
    part = assay.ExactShapley()(question(assay.Atoms(SYMBOLS)).part(1, 2))
    torch.testing.assert_close(part.values[0, :3], whole.values[1, :3], rtol=0, atol=1e-12)
    assert part.names_of(0) == ("C0", "C1", "C0-C1")


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: assay.Atoms("CCO"), KindError, "for each molecule"),
        (lambda: assay.Atoms([["C", 3]]), KindError, "for each molecule"),
        (lambda: question(assay.Atoms([["C"], ["C", "C"]])), InputError, "each of their atoms"),
        (lambda: question(assay.Atoms([["C"] * 3])), InputError, "2 molecules"),
        (lambda: question(assay.Atoms([["C"] * 9, ["C"] * 2])), InputError, "each of their atoms"),
        (
            lambda: question(assay.Atoms(), [[(0, 3)], []]),
            InputError,
            "places 0 and 3 of molecule 0",
        ),
        (lambda: question(assay.Atoms(), [[], []], [0, 0]), InputError, "at least one atom"),
        (
            lambda: assay.Question(lambda x: x.sum(1), torch.ones(2, 3), features=assay.Atoms()),
            InputError,
            "two tensors",
        ),
    ],
)
def test_what_is_no_molecule_is_refused(make: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as refusal:
        make()
    assert refusal.value.advice  # type: ignore[attr-defined]
