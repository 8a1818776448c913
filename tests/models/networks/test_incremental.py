"""Incremental inference: what a patch changes, against the network asked about whole images."""

from __future__ import annotations

import operator
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

import assay
from assay.models.base import LocalChange
from assay.models.networks import incremental as local
from assay.models.networks.fused import fused
from assay.models.networks.graph import capture
from assay.models.networks.incremental import IncrementalNetwork
from assay.numerics.rectangles import Rectangles, boxes
from toys import Residual, randn, randomised, seeded

DOUBLE = torch.float64


class Branches(nn.Module):
    """Strides, dilation, groups, pools, channels joined and scaled, and a shortcut cut out of it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 4, (5, 3), stride=(2, 1), padding=(2, 0), bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.wide = nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=2)
        self.thin = nn.Conv2d(4, 4, 1)
        self.down = nn.Conv2d(8, 4, 3, stride=2, padding=1)
        self.skip = nn.Conv2d(8, 4, 1, stride=2)
        self.gate = nn.Linear(4, 4)
        self.last = nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")
        self.head = nn.Linear(4, 3)
        self.register_buffer("level", torch.rand(1, 2, 1, 1, generator=seeded(3)))

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.norm(self.stem((x - self.level) / 2)))
        h = self.pool(h)
        h = torch.cat([functional.relu6(self.wide(h)), torch.tanh(self.thin(h))], dim=1)
        h = functional.silu(self.down(h) + self.skip(h))
        h = h * torch.sigmoid(self.gate(h.mean((2, 3))))[:, :, None, None]
        return self.head(self.last(h).amax((2, 3)))


class Cut(nn.Module):
    """A shortcut by slices and padding, as in the first residual networks, and a map read at one
    place.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (
            nn.Conv2d(2, 4, 3, padding=1),
            nn.Conv2d(4, 8, 3, stride=2, padding=1),
        )
        self.third = nn.Conv2d(8, 3, 3, padding="same")

    def forward(self, x: Tensor) -> Tensor:
        h = functional.relu(self.first(x), inplace=True)
        h = self.second(h) + functional.pad(h[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))
        return self.third(functional.gelu(h))[:, :, 2, 3]


def plain(channels: int = 3) -> nn.Module:
    parts = [
        nn.Conv2d(2, channels, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels, channels, 3),
        nn.ELU(),
    ]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 2))


def pools() -> nn.Module:
    """Windows that are rounded up at the far end, means of windows, and frames of one width or
    another.
    """
    down = [
        nn.Conv2d(2, 4, 3),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.ConstantPad2d((1, 0, 0, 2), 0.5),
    ]
    more = [
        nn.Conv2d(4, 4, 3, padding=1),
        nn.AvgPool2d((2, 3), 1, (1, 0)),
        nn.ReLU(),
        nn.ZeroPad2d((0, 1, 0, 1)),
    ]
    last = [
        nn.MaxPool2d((2, 3), (2, 3), (0, 1), ceil_mode=True),
        nn.Conv2d(4, 3, 1),
        nn.AvgPool2d(2, padding=1),
    ]
    return nn.Sequential(*down, *more, *last, nn.Flatten(), nn.LazyLinear(2))


def pools_of(size: tuple[int, int]) -> nn.Module:
    """`pools` for images of one size."""
    net = pools().double()
    net(torch.zeros(1, 2, *size, dtype=DOUBLE))
    return net


class Framed(nn.Module):
    """Functions that pad: with a number, with channels, and by mirroring, which is not local."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 3, 3), nn.Conv2d(4, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = functional.pad(
            self.first(x.flip([1]).flip(1)).clamp(max=1.5), (1, 2, 3, 0, 0, 1), value=0.25
        )[:, [2, 0, 3, 1]]
        h = self.second(functional.pad(torch.tanh(h), (2, 0), mode="constant"))
        return functional.pad(h, (1, 1, 1, 1), "reflect").amax((2, 3))


NETS: dict[str, Callable[[], nn.Module]] = {
    "plain": plain,
    "branches": Branches,
    "cut": Cut,
    "framed": Framed,
}


def patched(images: Tensor, owners: Tensor, place: Rectangles, seed: int) -> Tensor:
    """Copies of the owners' images with noise in each row's rectangle."""
    rows = images[owners].clone()
    for row, top, left in zip(rows, place.top.tolist(), place.left.tolist()):
        part = row[:, top : top + place.height, left : left + place.width]
        part.copy_(randn(*part.shape, seed=seed, dtype=DOUBLE))
    return rows


@pytest.mark.parametrize("name", [*NETS, "pools"])
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_patches_are_answered_as_whole_images_are(name: str, data: st.DataObject) -> None:
    high, wide = data.draw(st.integers(12, 24)), data.draw(st.integers(12, 24))
    size = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 6))
    count, seed = data.draw(st.integers(1, 6)), data.draw(st.integers(0, 99))
    net = randomised(NETS[name]() if name in NETS else pools_of((high, wide)), seed).double()
    images = randn(3, 2, high, wide, seed=seed, dtype=DOUBLE)
    draw = seeded(seed)
    owners = torch.randint(3, (count,), generator=draw)
    place = Rectangles(
        torch.randint(high - size[0] + 1, (count,), generator=draw),
        torch.randint(wide - size[1] + 1, (count,), generator=draw),
        *size,
        owners,
    )
    rows = patched(images, owners, place, seed)
    with torch.no_grad():
        expected = net(rows)
        for graph in (capture(net), fused(net, (images,), lambda out: out)):
            assert graph is not None
            asked = IncrementalNetwork(graph)  # type: ignore[arg-type]
            for _ in range(2):  # what is kept of the images is not written to
                outputs = asked.ask(rows, LocalChange(lambda numbers: images[numbers], 3, place))
                torch.testing.assert_close(outputs, expected, rtol=1e-10, atol=1e-10)


def test_only_what_a_patch_reaches_is_convolved(monkeypatch: pytest.MonkeyPatch) -> None:
    """A window of 4 in 32: 6 and 8 places behind two convolutions, not 32 and 30."""
    seen: list[tuple[int, ...]] = []
    plain_conv = functional.conv2d

    def spied(x: Tensor, *rest: object) -> Tensor:
        made = plain_conv(x, *rest)  # type: ignore[arg-type]
        seen.append(tuple(made.shape))
        return made

    monkeypatch.setattr(local.functional, "conv2d", spied)
    net, images = randomised(plain()), randn(1, 2, 32, 32)
    graph = capture(net)
    assert graph is not None
    asked, zeros = IncrementalNetwork(graph), torch.zeros(5, dtype=torch.int64)
    place = Rectangles(
        torch.tensor([10, 0, 28, 14, 1]), torch.tensor([3, 0, 28, 28, 9]), 4, 4, zeros
    )
    rows = patched(images.double(), zeros, place, 0).float()
    with torch.no_grad():
        expected = net(rows)
        seen.clear()
        outputs = asked.ask(rows, LocalChange(lambda numbers: images[numbers], 1, place))
    torch.testing.assert_close(outputs, expected, rtol=1e-5, atol=1e-5)
    assert [shape for shape in seen if shape[0] == 5] == [(5, 3, 6, 6), (5, 3, 8, 8)]


@pytest.mark.parametrize(
    ("make", "whole"),
    [(lambda: pools_of((96, 96)), ["_9"]), (Framed, ["second"]), (Branches, ["silu"])],
)
def test_maps_are_put_together_only_where_they_must_be(
    make: Callable[[], nn.Module], whole: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A patch of four in 96 x 96 stays one through rounded windows, means, frames and branches."""
    met: list[str] = []
    put_together = IncrementalNetwork._whole

    def spied(self: IncrementalNetwork, node: torch.fx.Node) -> Tensor:
        met.append(node.name)
        return put_together(self, node)

    monkeypatch.setattr(IncrementalNetwork, "_whole", spied)
    net, images, zeros = (
        randomised(make()).double(),
        randn(1, 2, 96, 96, dtype=DOUBLE),
        torch.zeros(2, dtype=torch.int64),
    )
    graph, place = (
        capture(net),
        Rectangles(torch.tensor([10, 0]), torch.tensor([3, 92]), 4, 4, zeros),
    )
    assert graph is not None
    rows = patched(images, zeros, place, 0)
    with torch.no_grad():
        outputs = IncrementalNetwork(graph).ask(
            rows, LocalChange(lambda numbers: images[numbers], 1, place)
        )
        torch.testing.assert_close(outputs, net(rows), rtol=0, atol=1e-10)
    assert met == whole


def test_inputs_are_run_once_and_those_that_come_next_along() -> None:
    net, images, runs = randomised(plain()).double(), randn(12, 2, 12, 12, dtype=DOUBLE), []
    graph = capture(net)
    assert graph is not None
    asked = IncrementalNetwork(graph)

    def inputs(numbers: Tensor) -> Tensor:
        runs.append(numbers.tolist())
        return images[numbers]

    with torch.no_grad():
        for owners in ([0, 0], [0, 1], [5, 7], [7, 8], [11, 11], [0, 11], [2, 2]):
            numbers = torch.tensor(owners)
            place = Rectangles(torch.tensor([0, 4]), torch.tensor([2, 5]), 2, 2, numbers)
            rows = patched(images, numbers, place, 1)
            torch.testing.assert_close(
                asked.ask(rows, LocalChange(inputs, 12, place)), net(rows), rtol=0, atol=1e-10
            )
    assert runs == [list(range(8)), [7, 8, 9, 10, 11], list(range(12))]


@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 9), st.floats(0.0, 0.4))
def test_boxes_hold_what_is_hidden_and_no_more_than_the_largest_needs(
    seed: int, high: int, wide: int, share: float
) -> None:
    hidden = torch.rand(4, high, wide, generator=seeded(seed)) < share
    place = boxes(hidden.any(2), hidden.any(1))
    height, width = place.height, place.width
    needed = [(1, 1)]
    for mask, y, x in zip(hidden, place.top.tolist(), place.left.tolist()):
        assert 0 <= y <= high - height
        assert 0 <= x <= wide - width
        outside = mask.clone()
        outside[y : y + height, x : x + width] = False
        assert not outside.any()
        places = mask.nonzero()
        if len(places):
            needed.append(tuple((places.amax(0) - places.amin(0) + 1).tolist()))
    assert (height, width) == tuple(max(side) for side in zip(*needed))


@pytest.mark.parametrize("owners", [[1, 0, 1], [1, 1, 1]])
def test_a_patch_lies_over_its_owners_map(owners: list[int]) -> None:
    base, number = randn(2, 3, 7, 6, dtype=DOUBLE), torch.tensor(owners)
    values = randn(3, 3, 2, 4, seed=1, dtype=DOUBLE)
    place = Rectangles(torch.tensor([0, 3, 5]), torch.tensor([2, 0, 1]), 2, 4, number)
    whole = base[number].clone()
    for row, own, top, left in zip(whole, values, place.top.tolist(), place.left.tolist()):
        row[:, top : top + 2, left : left + 4] = own
    assert torch.equal(place.crop(whole), values)
    other = Rectangles(torch.tensor([1, 2, 3]), torch.tensor([0, 1, 1]), 4, 5, number)
    assert torch.equal(place.paste_index(other, (7, 6)).take(values, base), other.crop(whole))
    assert torch.equal(place.paste_index_of_whole((7, 6)).take(values, base), whole)


def test_what_follows_from_rectangles_is_worked_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second chunk with the same rectangles, of other inputs, gathers by the indices of the
    first.
    """
    net, images = randomised(Branches()).double(), randn(6, 2, 24, 24, dtype=DOUBLE)
    graph = capture(net)
    assert graph is not None
    asked = IncrementalNetwork(graph)
    worked_out: list[int] = []
    real = Rectangles.paste_index

    def spied(self: Rectangles, *args: object) -> object:
        worked_out.append(1)
        return real(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Rectangles, "paste_index", spied)
    counts = []
    with torch.no_grad():
        for first in (0, 3):
            owners = torch.tensor([first, first + 1])
            place = Rectangles(torch.tensor([0, 4]), torch.tensor([2, 5]), 2, 2, owners)
            rows = patched(images, owners, place, 1)
            change = LocalChange(lambda numbers: images[numbers], 6, place)
            torch.testing.assert_close(asked.ask(rows, change), net(rows), rtol=0, atol=1e-10)
            counts.append(len(worked_out))
    assert counts[0] == counts[1] > 0


def test_images_of_another_size_are_arranged_anew() -> None:
    net = randomised(plain()).double()
    graph = capture(net)
    assert graph is not None
    asked, owners = IncrementalNetwork(graph), torch.zeros(2, dtype=torch.int64)
    place = Rectangles(torch.tensor([0, 4]), torch.tensor([2, 5]), 2, 2, owners)
    with torch.no_grad():
        for size in (12, 20):
            images = randn(1, 2, size, size, dtype=DOUBLE)
            rows = patched(images, owners, place, 1)
            change = LocalChange(lambda numbers, images=images: images[numbers], 1, place)
            torch.testing.assert_close(asked.ask(rows, change), net(rows), rtol=0, atol=1e-10)
            asked.forget()


class Gated(nn.Module):
    """A factor or term of each row, from a branch beside the map."""

    def __init__(self, squeezed: bool, factor: bool) -> None:
        super().__init__()
        self.stem, self.side = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.squeezed, self.factor, self.head = squeezed, factor, nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x)
        of_row = self.side(h).mean((2, 3), keepdim=True)
        if self.squeezed:
            of_row = of_row.sum(0)
        h = of_row * h if self.factor else h - 50 * of_row
        out: Tensor = self.head(h.abs().mean((2, 3)))
        return out


@pytest.mark.parametrize("factor", [True, False])
@pytest.mark.parametrize("squeezed", [True, False])
def test_a_factor_of_each_row_is_none_of_all_in_a_chunk_of_one_row(
    squeezed: bool, factor: bool
) -> None:
    net, images = randomised(Gated(squeezed, factor)).double(), randn(1, 2, 20, 20, dtype=DOUBLE)
    graph, owners = capture(net), torch.zeros(1, dtype=torch.int64)
    assert graph is not None
    place = Rectangles(torch.tensor([9]), torch.tensor([3]), 2, 2, owners)
    rows = patched(images, owners, place, 1)
    change = LocalChange(lambda numbers: images[numbers], 1, place)
    with torch.no_grad():
        outputs = IncrementalNetwork(graph).ask(rows, change)
        torch.testing.assert_close(outputs, net(rows), rtol=0, atol=1e-10)


STRIPS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "product": lambda h, strip: h * strip,
    "product, the strip first": lambda h, strip: strip * h,
    "sum": torch.add,
    "in place": lambda h, strip: operator.iadd(h, strip),
    "quotient": lambda h, strip: h / (strip + 3),
    "difference": lambda h, strip: torch.sub(strip, h),
}


class Strips(nn.Module):
    """A map beside the means of its lines, which is one place wide."""

    def __init__(self, join: Callable[[Tensor, Tensor], Tensor], window: tuple[int, int]) -> None:
        super().__init__()
        self.stem, self.pool = nn.Conv2d(2, 4, 3, padding=1), nn.AvgPool2d(window)
        self.next, self.head = nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 3)
        self.join = join

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.stem(x))
        out: Tensor = self.head(self.next(self.join(h, self.pool(h))).amax((2, 3)))
        return out


@pytest.mark.parametrize("at_the_strip", [False, True])
@pytest.mark.parametrize("window", [(1, 16), (24, 1)], ids=["lines", "columns"])
@pytest.mark.parametrize("kind", STRIPS)
def test_maps_of_unlike_sizes_are_joined_as_the_network_joins_them(
    kind: str, window: tuple[int, int], at_the_strip: bool
) -> None:
    net = randomised(Strips(STRIPS[kind], window)).double()
    images = randn(3, 2, 24, 16, dtype=DOUBLE)
    owners = torch.tensor([0, 0, 1, 2, 2])
    corners = [torch.tensor([0, 22, 11, 3, 21]), torch.tensor([14, 0, 7, 13, 3])]
    # Where the strip lies on its own map, the patch of the large map holds its rectangle.
    if at_the_strip:
        corners[window[0] == 1] = torch.zeros(5, dtype=torch.int64)
    place = Rectangles(*corners, 2, 2, owners)
    rows = patched(images, owners, place, 1)
    change = LocalChange(lambda numbers: images[numbers], 3, place)
    graph = capture(net)
    assert graph is not None
    with torch.no_grad():
        outputs = IncrementalNetwork(graph).ask(rows, change)
        torch.testing.assert_close(outputs, net(rows), rtol=0, atol=1e-10)


SPELLED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "tensors=": lambda h, x: torch.cat(tensors=[h, h.tanh()], dim=1)[:, :4],
    "tensors=, rows": lambda h, x: torch.cat(tensors=[h, h], dim=2),
    "concat": lambda h, x: torch.concat((h, h.tanh()), 1)[:, :4],
    "concatenate": lambda h, x: torch.concatenate([h, h.tanh()], dim=-3)[:, :4],
    "slope of a size": lambda h, x: functional.leaky_relu(h, x.shape[2] / 100),
    "slope of a size, by name": lambda h, x: functional.leaky_relu(
        h, negative_slope=x.shape[3] / 100
    ),
    "sharpness of a size": lambda h, x: functional.softplus(h, x.size(2) / 8),
    "filling of a size": lambda h, x: functional.pad(h, (1, 1, 1, 1), value=h.shape[2] / 100),
    "frame of a size": lambda h, x: functional.pad(h, (h.shape[2] // 8, 0)),
    "bound of a size": lambda h, x: h.clamp(max=h.shape[1] / 10),
    "bound of a tensor": lambda h, x: torch.clamp(
        h, max=x.mean((2, 3), keepdim=True).amax(1, True)
    ),
    "bound of a map": lambda h, x: h.clamp(max=x[:, :1]),
    "slopes of a tensor": lambda h, x: torch.prelu(h, x.new_tensor([0.1, 0.2, 0.3, 0.4])),
}


@pytest.mark.parametrize("kind", SPELLED)
def test_other_spellings_are_answered_as_the_network_answers_them(kind: str) -> None:
    net = randomised(Spelled(SPELLED[kind])).double()
    images, owners = randn(2, 2, 24, 16, dtype=DOUBLE), torch.tensor([0, 1, 1])
    place = Rectangles(torch.tensor([0, 22, 11]), torch.tensor([14, 0, 7]), 2, 2, owners)
    rows = patched(images, owners, place, 1)
    change = LocalChange(lambda numbers: images[numbers], 2, place)
    graph = capture(net)
    assert graph is not None
    with torch.no_grad():
        outputs = IncrementalNetwork(graph).ask(rows, change)
        torch.testing.assert_close(outputs, net(rows), rtol=0, atol=1e-10)


class Spelled(nn.Module):
    def __init__(self, step: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.stem, self.next = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 3, 3, padding=1)
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        return self.next(self.step(self.stem(x), x)).amax((2, 3))  # type: ignore[no-any-return]


def test_places_beyond_a_map_and_maps_of_another_size_are_no_numbers() -> None:
    none = torch.zeros(1, dtype=torch.int64)
    patch = Rectangles(torch.tensor([1]), torch.tensor([1]), 2, 2, none)
    for corner, size in (((0, 0), (5, 4)), ((-1, 0), (2, 2)), ((3, 3), (2, 1))):
        other = Rectangles(torch.tensor([corner[0]]), torch.tensor([corner[1]]), *size, none)
        with pytest.raises(ValueError, match="beyond a map"):
            patch.paste_index(other, (4, 4))
    index = patch.paste_index_of_whole((4, 4))
    index.take(torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 4, 4))
    for values, maps in (((2, 2), (4, 1)), ((2, 2), (5, 5)), ((1, 2), (4, 4))):
        with pytest.raises(ValueError, match="are not"):
            index.take(torch.zeros(1, 3, *values), torch.zeros(1, 3, *maps))


def test_rectangles_hold_one_another_row_by_row() -> None:
    none = torch.zeros(2, dtype=torch.int64)
    wide = Rectangles(torch.tensor([0, 2]), torch.tensor([0, 3]), 4, 4, none)
    assert wide.holds(Rectangles(torch.tensor([1, 2]), torch.tensor([0, 6]), 3, 1, none))
    assert not wide.holds(Rectangles(torch.tensor([1, 4]), torch.tensor([0, 6]), 3, 1, none))
    assert not wide.holds(Rectangles(torch.tensor([1, 2]), torch.tensor([0, 2]), 3, 1, none))


# --- in a question


WINDOWS = torch.stack(
    [
        ~torch.zeros(12, 12)
        .index_put_((torch.tensor(i // 5 * 2), torch.tensor(i % 5 * 2)), torch.tensor(1.0))
        .bool()
        for i in range(25)
    ]
).flatten(1)


def question(net: nn.Module, n: int = 13, **more: object) -> assay.Question:
    images = randn(n, 1, 12, 12, seed=2, dtype=DOUBLE)
    targets = torch.arange(n) % 3
    return assay.Question(
        net, images, target=assay.Output(targets), features=assay.Pixels(), **more
    )  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "removal",
    [
        assay.Baseline(0.5),
        assay.Blur(2.0),
        assay.Background(randn(3, 1, 12, 12, seed=9, dtype=DOUBLE)),
    ],
    ids=repr,
)
@pytest.mark.parametrize("rows", ["auto", 7, 64])
def test_masks_of_small_windows_are_asked_as_patches(
    removal: object, rows: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    ask = IncrementalNetwork.ask

    def spied(self: IncrementalNetwork, rows: Tensor, near: LocalChange) -> object:
        asked.append(len(rows))
        return ask(self, rows, near)

    monkeypatch.setattr(IncrementalNetwork, "ask", spied)
    net = randomised(Residual()).double()
    with assay.quiet():
        plan = None if rows == "auto" else {"outputs of patches of ((1, 12, 12),)": [[rows, 1, 1]]}
        values = question(assay.wrap(net, plan=plan), removal=removal).value(WINDOWS)  # type: ignore[arg-type]
        assert sum(asked) > 0
        monkeypatch.setattr("assay.question.masked_rows._MANY", 10**9)
        whole = question(assay.wrap(net), removal=removal).value(WINDOWS)
    torch.testing.assert_close(values, whole, rtol=0, atol=1e-10)


@pytest.mark.parametrize("case", ["half", "own", "float", "context", "groups"])
def test_other_masks_are_asked_as_they_were(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(IncrementalNetwork, "ask", lambda *_: pytest.fail("asked about a patch"))
    net = randomised(Residual()).double()
    asked, masks = question(net), WINDOWS
    if case == "half":
        masks = torch.rand(25, 144, generator=seeded(0)) < 0.5
    elif case == "own":
        masks = WINDOWS.expand(13, -1, -1)
    elif case == "float":
        masks = WINDOWS.double()
    elif case == "context":
        asked = question(Scaled(net), context={"scale": assay.Shared(2.0)})
    else:
        labels = torch.arange(144).view(1, 1, 12, 12).repeat(13, 1, 1, 1)
        images = randn(13, 1, 12, 12, seed=2, dtype=DOUBLE)
        asked = assay.Question(net, images, target=0, features=assay.Labels(labels))
    assert asked.value(masks).shape == (13, 25)


class Scaled(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, scale: float) -> Tensor:
        return self.net(x) * scale


class Sneaky(nn.ReLU):
    """Looks like a rectifier, and is none: what a map holds elsewhere matters."""

    def forward(self, x: Tensor) -> Tensor:
        return x * x.mean((2, 3), keepdim=True)


def test_what_only_looks_local_is_found_out() -> None:
    net = randomised(
        nn.Sequential(
            nn.Conv2d(1, 3, 3), Sneaky(), nn.Conv2d(3, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
    )
    answers = question(net.double()).value(WINDOWS)
    images = randn(13, 1, 12, 12, seed=2, dtype=DOUBLE)
    with torch.no_grad():
        for row in (0, 7):
            rows = torch.where(WINDOWS.view(25, 1, 12, 12), images[row], 0.0)
            torch.testing.assert_close(answers[row], net(rows)[:, row % 3], rtol=0, atol=1e-10)


def of_whole_map(x: Tensor) -> Tensor:
    return x * x.mean((2, 3), keepdim=True)


def too_small(x: Tensor) -> Tensor:
    """Answers maps, and raises at patches."""
    return [x.relu()][0 if x.shape[2] > 9 else 1]


@pytest.mark.parametrize("forward", [of_whole_map, too_small], ids=lambda part: part.__name__)
def test_what_is_torchs_by_name_and_answers_otherwise_is_found_out(
    forward: Callable[[Tensor], Tensor],
) -> None:
    """A forward of one's own in a module of torch: nothing in the graph tells."""
    parts = nn.Conv2d(1, 3, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    net = randomised(nn.Sequential(*parts)).double()
    net[1].forward = forward
    plan = {"outputs of patches of ((1, 12, 12),)": [[64, 1, 1]]}
    answers = question(assay.wrap(net, plan=plan)).value(WINDOWS)
    images = randn(13, 1, 12, 12, seed=2, dtype=DOUBLE)
    with torch.no_grad():
        for row in range(13):
            rows = torch.where(WINDOWS.view(25, 1, 12, 12), images[row], 0.0)
            torch.testing.assert_close(answers[row], net(rows)[:, row % 3], rtol=0, atol=1e-10)


def test_a_last_chunk_of_another_length_is_checked_as_the_first_was() -> None:
    """289 rows in chunks of 32, and one row."""
    parts = nn.Conv2d(1, 3, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    net = randomised(nn.Sequential(*parts)).double()
    right = net[1].forward
    asked: list[int] = []

    def forward(x: Tensor) -> Tensor:
        asked.append(len(x))
        patch = x.shape[2] < 10 and len(x) == 1
        return of_whole_map(x) if patch else right(x)

    net[1].forward = forward
    plan = {"outputs of patches of ((1, 17, 17),)": [[32, 1, 9], [1, 1, 1]]}
    image = randn(1, 1, 17, 17, seed=2, dtype=DOUBLE)
    method = assay.Occlusion(window=(1, 1, 1))
    values = method(assay.Question(assay.wrap(net, plan=plan), image, target=1)).values
    plain = assay.wrap(net, speedups=False, batch_size=32)
    assert 1 in asked
    expected = method(assay.Question(plain, image, target=1)).values
    torch.testing.assert_close(values, expected, rtol=0, atol=1e-10)
