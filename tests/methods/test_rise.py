"""RISE against its definition: masks, estimators, standard errors, and the cases where it is exact."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import zoo
from assay import Baseline, Completeness, Elements, Infidelity, Patches, Pixels, Question, Smoothed
from assay.answers.attribution import Kind
from assay.errors import InputError
from assay.features import Features
from assay.methods import Method, rise
from assay.methods.rise import Axis, Rise, balanced, exhaustive, independent, lattice

CPU = torch.device("cpu")


def slow_mask(
    grid: np.ndarray, shape: tuple[int, int], cells: tuple[int, int], shift: tuple[int, int]
) -> np.ndarray:
    """One mask, place by place: the two nearest nodes of each axis, mixed by how far the place lies
    between them.
    """
    mask = np.zeros(shape)
    for place in itertools.product(*map(range, shape)):
        for corner in itertools.product((0, 1), (0, 1)):
            node, share = [], 1.0
            for at, cell, moved, side in zip(place, cells, shift, corner):
                whole, part = divmod(at + moved, cell)
                node.append(min(whole + side, grid.shape[len(node)] - 1))
                share *= part / cell if side else 1 - part / cell
            mask[place] += share * grid[tuple(node)]
    return mask


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.integers(0, 99))
def test_masks_are_the_interpolated_grids(high: int, wide: int, size: int, seed: int) -> None:
    grid = lattice((high, wide), size, CPU)
    (grids, shifts, _), *_ = independent(grid, 40, 0.5, seed)
    made = grid.masks(grids, shifts, torch.float64).to(torch.float64)
    cells = (grid.down.cell, grid.across.cell)
    for mask, coarse, shift in zip(made, grids, shifts.tolist()):
        nodes = coarse.view(grid.down.nodes, grid.across.nodes).numpy().astype(float)
        slow = slow_mask(nodes, (high, wide), cells, divmod(shift, grid.across.cell))
        np.testing.assert_allclose(mask.view(high, wide).numpy(), slow, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("length", "size"), [(64, 7), (28, 7), (32, 5), (10, 3), (6, 6)])
def test_the_variance_of_a_mask_is_the_same_at_every_place(length: int, size: int) -> None:
    """Nodes are independent with variance v, so a place has the variance v times the mean of its
    squared weights.
    """
    axis = Axis(length, size)
    share = axis.weights().square().sum(dim=2).mean(dim=0)
    torch.testing.assert_close(share, torch.full_like(share, axis.variance), rtol=0, atol=1e-12)
    torch.testing.assert_close(
        axis.weights().sum(dim=2), torch.ones(axis.cell, length).double(), rtol=0, atol=1e-12
    )


def test_sums_in_grid_space_are_the_sums_over_masks() -> None:
    grid = lattice((3, 9, 11), 4, CPU)
    ((grids, shifts, _),) = [
        tuple(torch.cat(parts) for parts in zip(*independent(grid, 60, 0.4, 0)))  # type: ignore[misc]
    ]
    answers = torch.randn(2, 60, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sums = torch.zeros(2, grid.shifts, grid.cells, dtype=torch.float64)
    rise.add_outer(sums, answers, grids, shifts)
    naive = answers @ grid.masks(grids, shifts, torch.float64)
    torch.testing.assert_close(grid.unfold(sums), naive, rtol=0, atol=1e-12)


# --- the exact case


@pytest.mark.parametrize(("side", "keep"), [(2, 0.5), (3, 0.5), (2, 0.3)])
def test_all_binary_masks_give_the_conditional_expectation(side: int, keep: float) -> None:
    """E[f | l shown], summed over all 2^(s^2) masks by hand."""
    draw = torch.Generator().manual_seed(1)
    x = torch.rand(2, 1, side, side, generator=draw, dtype=torch.float64)
    w = torch.randn(side * side, generator=draw, dtype=torch.float64)

    def f(images: Tensor) -> Tensor:
        return torch.sin(3 * images.flatten(1) @ w) + images.flatten(1).prod(dim=1)

    shown = torch.zeros(2, side * side, dtype=torch.float64)
    for bits in itertools.product((0.0, 1.0), repeat=side * side):
        mask = torch.tensor(bits, dtype=torch.float64)
        share = keep ** sum(bits) * (1 - keep) ** (side * side - sum(bits))
        shown += share * f(x * mask.view(side, side))[:, None] * mask
    question = Question(f, x, features=Pixels())
    for estimator in ("raw", "ratio"):
        answer = Rise("all", grid=side, keep=keep, estimator=estimator)(question)  # type: ignore[arg-type]
        torch.testing.assert_close(answer.values, shown / keep, rtol=0, atol=1e-10)
        assert answer.standard_error is None


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.floats(0.1, 0.9), st.integers(0, 99))
def test_a_linear_score_gets_its_weights_back(high: int, wide: int, keep: float, seed: int) -> None:
    w = torch.randn(high * wide, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    question = Question(
        lambda x: x.flatten(1) @ w,
        torch.ones(1, high, wide, dtype=torch.float64),
        features=Pixels(),
    )
    answer = Rise("all", grid=3, keep=keep, estimator="centred")(question)
    torch.testing.assert_close(answer.values, w[None], rtol=0, atol=1e-10)


def test_soft_masks_are_enumerated_with_every_shift() -> None:
    """Centred is Cov(f, M) / Var M, here from the mean over all grids and shifts, mask by mask."""
    grid = lattice((4,), 2, CPU)
    masks, weights = [], []
    for grids, shifts, weight in exhaustive(grid, 0.5):
        masks.append(grid.masks(grids, shifts, torch.float64))
        weights.append(weight)
    table, share = torch.cat(masks), torch.cat(weights)
    x = torch.tensor([[1.0, 2.0, -1.0, 0.5]], dtype=torch.float64)
    scores = (x * table).sum(dim=1).exp()
    apart = table - share @ table
    slope = (share * (scores - share @ scores)) @ apart / (share @ apart.square())
    question = Question(lambda z: z.sum(dim=1).exp(), x)
    answer = Rise("all", grid=2, estimator="centred")(question)
    assert float(share.sum()) == pytest.approx(1.0, abs=1e-12)
    torch.testing.assert_close(answer.values[0], slope, rtol=0, atol=1e-10)


# --- sampling


def wavy(images: Tensor) -> Tensor:
    flat = images.flatten(1)
    w = torch.linspace(-1, 1, flat.shape[1], dtype=flat.dtype)
    return 3 + (flat * w).sum(dim=1).tanh() + flat[:, :3].prod(dim=1)


@pytest.mark.parametrize("estimator", ["raw", "ratio", "centred"])
@pytest.mark.parametrize("design", ["independent", "balanced"])
def test_the_estimators_are_the_sums_over_the_masks_drawn(estimator: str, design: str) -> None:
    x = torch.rand(2, 1, 5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    grid = lattice((5, 6), 3, CPU)
    blocks = independent(grid, 128, 0.5, 7) if design == "independent" else balanced(grid, 128, 7)
    grids, shifts, _ = (torch.cat(part) for part in zip(*blocks))
    masks = grid.masks(grids, shifts, torch.float64)
    f = torch.stack([wavy(image * masks.view(-1, 1, 5, 6)) for image in x])
    spread = 0.25 * grid.down.variance * grid.across.variance
    expected = {
        "raw": f @ masks / (0.5 * len(masks)),
        "ratio": f @ masks / masks.sum(dim=0),
        "centred": (f @ masks / len(masks) - f.mean(dim=1, keepdim=True) * masks.mean(dim=0))
        / spread,
    }
    method = Rise(128, grid=3, estimator=estimator, design=design)  # type: ignore[arg-type]
    answer = method(Question(wavy, x, features=Pixels()), seed=7)
    torch.testing.assert_close(answer.values, expected[estimator], rtol=0, atol=1e-10)


@pytest.mark.long
@pytest.mark.parametrize("design", ["independent", "balanced"])
def test_stated_intervals_cover_the_limit(design: str) -> None:
    x = torch.rand(1, 2, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    question = Question(wavy, x, features=Pixels())
    clean = question.prediction[:, None]
    grid = lattice((2, 3), 3, CPU)
    methods = [Rise(640, grid=3, estimator=name) for name in ("raw", "ratio", "centred")]  # type: ignore[arg-type]
    exact = [Rise("all", grid=3, estimator=method.estimator)(question).values for method in methods]
    hits = []
    for seed in range(200):
        blocks = (
            independent(grid, 640, 0.5, seed)
            if design == "independent"
            else balanced(grid, 640, seed)
        )
        ledger = rise.gather(
            grid, blocks, lambda m: wavy(x * m.view(-1, 2, 3))[None] - clean, 1, torch.float64
        )
        for method, limit in zip(methods, exact):
            values, error = method._read(ledger, grid, clean)
            hits.append(((values - limit).abs() <= 1.96 * error).double())
    covered = torch.stack(hits).view(200, 3, 6).mean(dim=(0, 2))
    assert bool(((covered >= 0.90) & (covered <= 0.99)).all()), covered


def test_balanced_masks_err_less() -> None:
    x = torch.rand(1, 4, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    question = Question(wavy, x, features=Pixels())
    exact = Rise("all", grid=4, estimator="centred")(question).values
    error = {}
    for design in ("independent", "balanced"):
        method = Rise(320, 4, estimator="centred", design=design)  # type: ignore[arg-type]
        misses = [method.estimate(question, seed).values - exact for seed in range(20)]
        error[design] = np.mean([float(miss.square().mean()) for miss in misses])
    assert error["balanced"] < 0.5 * error["independent"]


def test_balanced_blocks_hold_every_pair_of_cells_equally() -> None:
    grid = lattice((6, 6), 3, CPU)
    for grids, _, _ in balanced(grid, 256, 0):
        signs = 2 * grids.double() - 1
        assert torch.equal(signs.sum(dim=0), torch.zeros(grid.cells).double())
        assert torch.equal(signs.T @ signs, len(signs) * torch.eye(grid.cells).double())


def test_every_output_in_one_pass_is_each_output_alone() -> None:
    w = torch.randn(16, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    rows = []

    def f(images: Tensor) -> Tensor:
        rows.append(len(images))
        return (images.flatten(1) @ w).softmax(dim=1)

    answers = Rise(100, grid=2).for_outputs(Question(f, x, target=0, features=Pixels()), seed=4)
    spent = sum(rows)
    assert len(answers) == 3
    for output, answer in enumerate(answers):
        alone = Rise(100, grid=2)(Question(f, x, target=output, features=Pixels()), seed=4)
        for part in ("values", "standard_error", "base", "prediction"):
            ours, theirs = getattr(answer, part), getattr(alone, part)
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)
        assert answer.provenance["asked"] == alone.provenance["asked"]
        assert answer.facts["outputs"] == 3
    # two inputs under 100 masks, and a few rows for the clean and the absent inputs
    assert spent <= 2 * (100 + 4)


def test_pieces_do_not_change_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.rand(2, 1, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    question = Question(wavy, x, features=Pixels())
    whole = Rise(100, grid=3)(question, seed=1)
    monkeypatch.setattr(rise, "_MASK_CELLS", 36 * 3)
    monkeypatch.setattr(rise, "_OUTER_CELLS", 50)
    pieces = Rise(100, grid=3)(question, seed=1)
    torch.testing.assert_close(pieces.values, whole.values, rtol=0, atol=1e-12)
    torch.testing.assert_close(pieces.standard_error, whole.standard_error, rtol=0, atol=1e-12)


def test_memory_does_not_grow_with_the_number_of_masks() -> None:
    """The largest block of grids and the largest piece of masks are bounded, however many masks
    there are.
    """
    grid = lattice((64, 64), 7, CPU)
    largest = {}
    for masks in (20_000, 200_000):
        held, drawn = [], 0
        for grids, shifts, weights in independent(grid, masks, 0.5, 0):
            held.append(grids.numel() + shifts.numel() + weights.numel())
            drawn += len(grids)
        assert drawn == masks
        largest[masks] = max(held)
    assert largest[200_000] <= 1.05 * largest[20_000]


def test_channels_share_a_mask_and_a_line_of_features_is_its_own_grid() -> None:
    x = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    maps = Rise(100, grid=2)(Question(wavy, x, features=Elements())).maps
    assert torch.equal(maps[:, 0], maps[:, 1])
    assert lattice((9,), None, CPU).shifts == 1
    assert lattice((28, 28), None, CPU).down.cell == 4


def test_units_follow_the_estimator() -> None:
    assert Rise(estimator="ratio").kind is Rise(estimator="raw").kind is Kind.WEIGHT
    assert Rise().kind is Kind.CONTRIBUTION


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Rise(39), "at least 40 masks"),
        (lambda: Rise("many"), "at least 40 masks"),  # type: ignore[arg-type]
        (lambda: Rise(grid=0), "at least one cell"),
        (lambda: Rise(keep=1.0), "between 0 and 1"),
        (lambda: Rise(estimator="mean"), "'centred'"),  # type: ignore[arg-type]
        (lambda: Rise(design="sobol"), "'balanced'"),  # type: ignore[arg-type]
        (lambda: Rise(keep=0.3, design="balanced"), "half of the cells"),
        (
            lambda: Rise("all")(Question(wavy, torch.ones(1, 1, 6, 6), features=Pixels())),
            "coarser grid",
        ),
        (
            lambda: Rise(100, design="balanced")(
                Question(wavy, torch.ones(1, 1, 28, 28), features=Pixels())
            ),
            "blocks of 128",
        ),
        (
            lambda: Rise(40, keep=0.001, estimator="ratio")(
                Question(wavy, torch.ones(1, 1, 6, 6), features=Pixels())
            ),
            "shown by one at least, got none",
        ),
    ],
)
def test_settings_that_leave_no_estimate_are_refused(
    make: Callable[[], object], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        make()


@pytest.mark.long
@zoo.needs_data
def test_removing_the_top_tenth_hurts_a_real_network_more_than_a_random_tenth() -> None:
    images, _ = zoo.cifar10("test", 20)
    net = zoo.cifar_resnet(20)
    question = Question(
        lambda x: net(x).softmax(dim=1), images, features=Patches(4), removal=Baseline(0.5)
    )
    top = Rise(512, grid=8, keep=0.8)(question, seed=0).top(0.1)
    draws = torch.rand(10, *top.shape, generator=torch.Generator().manual_seed(0))
    some = draws >= draws.kthvalue(top.shape[1] - int(top[0].sum()) + 1, dim=2, keepdim=True).values
    hurt = question.value(~top[:, None])[:, 0]
    random = question.value(~some.transpose(0, 1)).mean(dim=1)
    assert float((hurt < random).double().mean()) >= 0.9


def test_two_blocks_of_masks_are_widened_by_students_factor() -> None:
    from assay.methods.rise import Ledger

    ledger = Ledger(1, 1, torch.device("cpu"))
    one = torch.ones(1, 1, dtype=torch.float64)
    for total in (1.0, 3.0):
        ledger.add(total * one, one, total * one, 1.0)
    # The spread of the means 1 and 3 is sqrt(2), the error of their mean 1; of two replicates the
    # 97.5 % quantile is 12.7062 of these, where the normal one is 1.95996.
    error = ledger.standard_error(0.0, 0.0, 1.0)
    assert abs(float(error) - 12.706204736 / 1.959963985) < 1e-6


@pytest.mark.parametrize(
    ("features", "method", "kind"),
    [
        # A cell of its own for each feature: what it adds on average.
        (Elements(), Rise(40), Kind.CONTRIBUTION),
        (Patches(2), Rise(40, grid=4), Kind.CONTRIBUTION),
        # 7 cells over 8 places along an axis, and 2 over 4.
        (Pixels(), Rise(40), Kind.WEIGHT),
        (Patches(2), Rise(40, grid=2), Kind.WEIGHT),
        (Patches(2), Rise(40, grid=4, estimator="ratio"), Kind.WEIGHT),
        (Patches(2), Smoothed(Rise(40, grid=2), draws=2), Kind.WEIGHT),
        (Patches(2), Smoothed(Rise(40, grid=4), draws=2), Kind.CONTRIBUTION),
    ],
)
def test_places_that_share_a_cell_have_weights(
    features: Features, method: Method, kind: Kind
) -> None:
    line = isinstance(features, Elements)
    question = Question(
        wavy, torch.rand(2, 5) if line else torch.rand(2, 1, 8, 8), features=features
    )
    answer = method(question)
    assert answer.kind == kind.value
    # A place is worth itself: the sum is that of all of them where values are contributions.
    if kind is Kind.WEIGHT:
        for metric in (Completeness(), Infidelity(draws=4)):
            with pytest.raises(InputError, match="weights without a unit"):
                metric(question, answer)
        assert bool(Infidelity(draws=4, scaled=True)(question, answer).values.isfinite().all())
    else:
        assert bool(Infidelity(draws=4)(question, answer).values.isfinite().all())


def test_channels_that_share_a_mask_have_weights() -> None:
    question = Question(wavy, torch.rand(1, 3, 4, 4), features=Elements())
    # Four cells for four places along each axis, and three channels under each.
    assert Rise(40, grid=4)(question).kind == Kind.WEIGHT.value


def test_an_additive_model_is_counted_once_per_cell() -> None:
    """Of four ones that are added up, own cells get 1 each, and one cell of all of them more."""
    x = torch.ones(1, 1, 2, 2, dtype=torch.float64)
    question = Question(lambda x: x.flatten(1).sum(1), x, features=Pixels())
    fine, coarse = (Rise("all", grid=grid)(question) for grid in (2, 1))
    assert float(fine.values.sum()) == pytest.approx(4.0, rel=1e-10)
    assert float(coarse.values.sum()) > 8.0
