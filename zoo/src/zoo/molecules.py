"""Molecules whose atoms are known to matter or not, and a graph network that is trained on them.

Sanchez-Lengeling et al. (2020, "Evaluating attribution for graph neural networks") made classes by
rules ("holds a benzene ring"), so that it is known which atoms a right answer hangs on. Where several
sets of atoms explain a molecule (two rings, of which one suffices), each is a column of the truth.
"""

from __future__ import annotations

import copy
import functools
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.place import data_root

Task = Literal["benzene", "logic7", "crippen"]

SYMBOLS = ("C", "N", "O", "S", "F", "P", "Cl", "Br", "Na", "Ca", "I", "B", "H", "*")
LARGEST_MOLECULE: dict[str, int | None] = {"benzene": None, "logic7": None, "crippen": 60}
"""Atoms of the largest molecule that a network is trained on: a padded tensor grows with its square."""

BONDS = ("single", "double", "triple", "aromatic", "*")


@dataclass(frozen=True, eq=False)
class Molecules:
    """Molecules in one padded form.

    Fields:
        atoms: the kind of each atom (n, size, 14), one-hot in the order of `SYMBOLS`.
        pairs: the kind of the bond of each pair of atoms (n, size, size, 5), one-hot, symmetric.
        mask: which places hold an atom, (n, size).
        y: the class (0 or 1), or the number that is predicted, (n,).
        truth: for each molecule its true credit (atoms, ways), one column for each way to explain it.
        symbols: for each molecule the symbols of its atoms.
    """

    atoms: Tensor
    pairs: Tensor
    mask: Tensor
    y: Tensor
    truth: tuple[np.ndarray, ...]
    symbols: tuple[tuple[str, ...], ...]

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: Any) -> Molecules:
        """Some of them, by number."""
        rows = torch.as_tensor(rows)
        numbers = rows.tolist()
        return Molecules(
            self.atoms[rows],
            self.pairs[rows],
            self.mask[rows],
            self.y[rows],
            tuple(self.truth[number] for number in numbers),
            tuple(self.symbols[number] for number in numbers),
        )


@functools.cache
def _graphs(task: Task) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every molecule as its file has it, its true credit, and y."""
    folder = data_root() / "molecules" / "graph_attribution" / task
    # Lists of dictionaries of arrays, which NumPy keeps as objects.
    with np.load(folder / "x_true.npz", allow_pickle=True) as file:
        graphs = file["datadict_list"].reshape(-1)
    with np.load(folder / "true_raw_attribution_datadicts.npz", allow_pickle=True) as file:
        truths = file["datadict_list"].reshape(-1)
    with np.load(folder / "y_true.npz") as file:
        y = file["y"].reshape(-1).astype(np.float32)
    return graphs, truths, y


def molecules(
    task: Task, split: Literal["train", "test"] = "test", largest: int | None = None
) -> Molecules:
    """One half of the published split: benzene 10,000 and 2,000, logic7 3,840 and 486 (classes),
    crippen 901 and 226 (logP as a sum over atoms, hydrogen among them).

    Molecules of more than `largest` atoms are left out.
    """
    graphs, truths, y = _graphs(task)
    path = data_root() / "molecules" / "graph_attribution" / task
    with np.load(path / f"{task}_traintest_indices.npz") as file:
        rows = file[f"{split}_index"].reshape(-1)
    if largest is not None:
        rows = np.array([row for row in rows if len(graphs[row]["nodes"]) <= largest])
    size = max(len(graphs[row]["nodes"]) for row in rows)
    atoms = torch.zeros(len(rows), size, len(SYMBOLS))
    pairs = torch.zeros(len(rows), size, size, len(BONDS))
    mask = torch.zeros(len(rows), size)
    for number, row in enumerate(rows):
        graph = graphs[row]
        count = len(graph["nodes"])
        mask[number, :count] = 1
        atoms[number, :count] = torch.from_numpy(np.asarray(graph["nodes"], dtype=np.float32))
        bonds = torch.from_numpy(np.asarray(graph["edges"], dtype=np.float32))
        pairs[number, graph["senders"], graph["receivers"]] = bonds
    truth = tuple(
        np.asarray(truths[row]["nodes"], dtype=float).reshape(len(graphs[row]["nodes"]), -1)
        for row in rows
    )
    symbols = tuple(
        tuple(SYMBOLS[kind] for kind in np.argmax(graphs[row]["nodes"], axis=1)) for row in rows
    )
    return Molecules(atoms, pairs, mask, torch.from_numpy(y[rows]), truth, symbols)


class MoleculeNet(nn.Module):
    """A graph convolution over atoms and pairs, with weights for each kind of bond (Schlichtkrull et
    al. 2018).

    h_i <- relu(U h_i + sum_k W_k sum_j p_ijk h_j + b), some times over; the sum of all atoms decides.
    """

    def __init__(self, width: int = 32, rounds: int = 4) -> None:
        super().__init__()
        self.embed = nn.Linear(len(SYMBOLS), width)
        self.own = nn.ModuleList(nn.Linear(width, width) for _ in range(rounds))
        self.heard = nn.ModuleList(
            nn.Linear(len(BONDS) * width, width, bias=False) for _ in range(rounds)
        )
        self.hidden = nn.Linear(width, width)
        self.head = nn.Linear(width, 1)

    def forward(self, atoms: Tensor, pairs: Tensor, mask: Tensor) -> Tensor:
        n, size = atoms.shape[:2]
        there = mask[:, :, None]
        # A row for each atom and kind of bond: (n, atoms x kinds, atoms).
        bonds = pairs.permute(0, 1, 3, 2).reshape(n, size * len(BONDS), size)
        h = torch.relu(self.embed(atoms)) * there
        for own, heard in zip(self.own, self.heard):
            neighbours = (bonds @ h).reshape(n, size, -1)
            h = torch.relu(own(h) + heard(neighbours)) * there
        return self.head(torch.relu(self.hidden(h.sum(1))))


@functools.cache
def _molecule_net(task: Task, epochs: int, seed: int) -> MoleculeNet:
    data = molecules(task, "train", LARGEST_MOLECULE[task])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = MoleculeNet()
        optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
        steps = epochs * -(-len(data) // 100)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps)
        for _ in range(epochs):
            for rows in torch.randperm(len(data)).split(100):
                optimiser.zero_grad()
                said = net(data.atoms[rows], data.pairs[rows], data.mask[rows])[:, 0]
                if task == "crippen":
                    loss = F.mse_loss(said, data.y[rows])
                else:
                    loss = F.binary_cross_entropy_with_logits(said, data.y[rows])
                loss.backward()
                nn.utils.clip_grad_norm_(net.parameters(), 1.0)
                optimiser.step()
                schedule.step()
    net.zero_grad()
    return net.eval()


def molecule_net(task: Task = "benzene", epochs: int = 8, seed: int = 0) -> MoleculeNet:
    """A `MoleculeNet` trained on the published training molecules: some 20 seconds."""
    return copy.deepcopy(_molecule_net(task, epochs, seed))
