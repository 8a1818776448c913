"""The hash of a network: never in the way of an answer, other where the state is other, and cheap."""

from __future__ import annotations

import hashlib
import tracemalloc
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.ao import quantization

import assay
from assay.errors import ModelError
from assay.models.networks import fingerprint
from assay.models.networks.fingerprint import Fingerprint
from toys import randn, tanh_net

X = randn(3, 4)


class Holding(nn.Module):
    """A network with a buffer that its forward does not read."""

    def __init__(self, held: Tensor) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 2)
        self.register_buffer("held", held)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc(x)
        return out


def compressed(layout: torch.layout) -> Callable[[Tensor], Tensor]:
    block = (2, 2) if layout in (torch.sparse_bsr, torch.sparse_bsc) else None
    return lambda t: t.to_sparse(layout=layout, blocksize=block)


def per_channel(dtype: torch.dtype, scale: torch.dtype) -> Callable[[Tensor], Tensor]:
    ones, zeros = torch.ones(4, dtype=scale), torch.zeros(4, dtype=scale)
    return lambda t: torch.quantize_per_channel(t, ones, zeros, 0, dtype)


BUFFERS: dict[str, Callable[[Tensor], Tensor]] = {
    "coo": lambda t: t.to_sparse(),
    "csr": compressed(torch.sparse_csr),
    "csc": compressed(torch.sparse_csc),
    "bsr": compressed(torch.sparse_bsr),
    "bsc": compressed(torch.sparse_bsc),
    "mkldnn": lambda t: t.to_mkldnn(),
    "nested": lambda t: torch.nested.nested_tensor([t, t[:2]]),
    "jagged": lambda t: torch.nested.nested_tensor([t, t[:2]], layout=torch.jagged),
    "complex": lambda t: t.to(torch.complex64),
    "conjugate": lambda t: t.to(torch.complex64).conj(),
    "per tensor": lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8),
    "per channel": per_channel(torch.qint8, torch.float64),
    "per channel, float": per_channel(torch.quint8, torch.float32),
    "eight bits": lambda t: t.to(torch.float8_e4m3fn),
    "bool": lambda t: t > 0,
    "transposed": lambda t: t.t(),
}


def asked(net: nn.Module, method: assay.Method | None = None, **settings: Any) -> Tensor:
    method = assay.Gradient() if method is None else method
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return method(assay.Question(assay.wrap(net, **settings), X, target=1)).values


@pytest.mark.parametrize("kind", BUFFERS)
@pytest.mark.filterwarnings("ignore")
def test_every_kind_of_buffer_is_answered_and_told_from_another(kind: str) -> None:
    torch.manual_seed(0)
    net = Holding(BUFFERS[kind](torch.eye(4))).eval()
    values = asked(net)
    torch.testing.assert_close(values, net.fc.weight[1].detach().expand(3, 4))
    first = assay.wrap(net).fingerprint()
    assert assay.wrap(net).fingerprint() == first
    net.held = BUFFERS[kind](torch.eye(4) + 1)
    assert assay.wrap(net).fingerprint() != first


class Extra(nn.Linear):
    def __init__(self, extra: Any) -> None:
        super().__init__(4, 2)
        self.extra = extra

    def get_extra_state(self) -> Any:
        if isinstance(self.extra, Exception):
            raise self.extra
        return self.extra

    def set_extra_state(self, state: Any) -> None:
        self.extra = state


@pytest.mark.parametrize(
    ("extra", "other"),
    [
        ({"scale": 1.0}, {"scale": 2.0}),
        ([torch.ones(2), {1, 2}], [torch.zeros(2), {1, 2}]),
        (b"one", b"two"),
        (slice(1), slice(2)),
    ],
    ids=repr,
)
def test_extra_state_of_any_kind_counts(extra: Any, other: Any) -> None:
    torch.manual_seed(0)
    net = Extra(extra).eval()
    asked(net)
    before = assay.wrap(net).fingerprint()
    net.extra = other
    assert assay.wrap(net).fingerprint() != before


@pytest.mark.parametrize("extra", [RuntimeError("no"), lambda: 1], ids=["raises", "no pickle"])
def test_state_that_cannot_be_read_takes_no_answer_with_it(extra: Any) -> None:
    net = Extra(extra).eval()
    asked(net)
    before = assay.wrap(net).fingerprint()
    with torch.no_grad():
        net.weight.add_(1)
    assert assay.wrap(net).fingerprint() != before


def test_weights_on_meta_are_known_by_their_shape() -> None:
    net = Holding(torch.empty(3, device="meta")).eval()
    asked(net)
    assert (
        assay.wrap(net).fingerprint()
        != assay.wrap(Holding(torch.empty(4, device="meta"))).fingerprint()
    )


@pytest.mark.filterwarnings("ignore")
def test_quantised_networks_are_answered() -> None:
    stubs = quantization.QuantStub(), nn.Linear(4, 2), quantization.DeQuantStub()
    net: Any = nn.Sequential(*stubs).eval()
    net.qconfig = quantization.get_default_qconfig("fbgemm")
    net = quantization.prepare(net)
    net(X)
    asked(quantization.convert(net), assay.Occlusion())
    made = nn.Sequential(nn.Linear(4, 2)).eval()
    # Its scale follows from the batch: one row at a time.
    dynamic = quantization.quantize_dynamic(made, {nn.Linear})
    asked(dynamic, assay.Occlusion(), batch_size=1)


@pytest.mark.parametrize("finish", [torch.jit.freeze, torch.jit.optimize_for_inference])
@pytest.mark.filterwarnings("ignore")
def test_frozen_scripts_are_answered_and_told_apart_by_the_weights_in_them(finish: Any) -> None:
    made = [tanh_net(seed) for seed in (0, 1)]
    first, second = (finish(torch.jit.script(net)) for net in made)
    torch.testing.assert_close(asked(first), asked(made[0]))
    asked(first, assay.Occlusion())
    assert assay.wrap(first).fingerprint() != assay.wrap(second).fingerprint()
    again = finish(torch.jit.script(made[0]))
    assert assay.wrap(first).fingerprint() == assay.wrap(again).fingerprint()


def test_an_exported_program_is_asked_and_one_of_fixed_size_refused_by_name() -> None:
    net = tanh_net()
    free = ({0: torch.export.Dim.DYNAMIC},)
    program = torch.export.export(net, (X,), dynamic_shapes=free).module()
    torch.testing.assert_close(asked(program), asked(net))
    fixed = torch.export.export(net, (X,)).module()
    with pytest.raises(ModelError, match=r"chunks of the 3 rows .* exported for.*dynamic_shapes"):
        asked(fixed)
    single = torch.export.export(net, (X[:1],)).module()
    torch.testing.assert_close(asked(single, batch_size=1), asked(net))


def test_the_hash_of_a_plain_network_is_that_of_its_description_and_bytes() -> None:
    net = nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2)).eval()
    parts = [str(net).encode()]
    for name, tensor in net.state_dict().items():
        parts.append(name.encode() + tensor.numpy().tobytes())
    expected = hashlib.blake2b(digest_size=16)
    for part in parts:
        expected.update(len(part).to_bytes(8, "little") + part)
    assert Fingerprint(net, net).digest() == expected.digest()
    # What is picked of the outputs decides the answer as well.
    picked = assay.wrap(net, output=lambda outputs: outputs[:, :1])
    assert picked.fingerprint() != assay.wrap(net).fingerprint()


def test_numbers_that_change_places_behind_the_counter_are_seen_in_small_tensors() -> None:
    net = Holding(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    prints = Fingerprint(net, net)
    before = prints.digest()
    # Pairs of them, eight bytes each, so that the sum over eight bytes stays what it was.
    net.held.data.copy_(torch.tensor([3.0, 4.0, 1.0, 2.0]))
    assert prints.digest() != before


def test_the_state_is_hashed_once_and_again_when_it_was_written_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hashed: list[bytes] = []
    real = fingerprint._hashed
    monkeypatch.setattr(
        fingerprint, "_hashed", lambda *args: hashed.append(real(*args)) or hashed[-1]
    )
    net = tanh_net()
    model = assay.wrap(net)
    first = model.fingerprint()
    assert model.fingerprint() == first
    assert len(hashed) == 1
    with torch.no_grad():
        net[0].weight[0, 0] += 1
    assert model.fingerprint() != first
    # No counter moves with what is written through `.data`.
    second = model.fingerprint()
    net[0].weight.data[0, 0] += 1
    assert model.fingerprint() != second
    net[0].eval().bias = nn.Parameter(net[0].bias.detach() + 1)
    assert model.fingerprint() not in hashed[:-1]


def test_no_copy_of_the_network_is_made() -> None:
    net = Holding(torch.ones(1 << 20)).eval()
    model = assay.wrap(net)
    tracemalloc.start()
    model.fingerprint()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Of its 4 MB of weights.
    assert most < 1 << 19


class Nested(nn.Module):
    """Parts in parts, one of them twice, weights that are tied, and buffers that are not kept."""

    def __init__(self) -> None:
        super().__init__()
        self.held = nn.Buffer(torch.arange(3.0))
        self.passing = nn.Buffer(torch.ones(2), persistent=False)
        self.first = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU())
        self.again = self.first[0]
        self.none = None
        self.register_module("missing", None)
        self.register_parameter("absent", None)
        self.last = nn.Linear(4, 4, bias=False)
        self.last.weight = self.again.weight

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.first(x))
        return out


def adding(net: nn.Module) -> nn.Module:
    """The network, whose state says one thing more by a hook of its part."""

    def hook(module: nn.Module, state: Any, prefix: str, metadata: Any) -> None:
        state[f"{prefix}more"] = torch.full((1,), module.scale)

    part = net.first[1]
    part.scale = 2.0
    part.register_state_dict_post_hook(hook)
    return net


@pytest.mark.parametrize("made", [Nested, lambda: adding(Nested())], ids=["plain", "by a hook"])
def test_state_is_what_state_dict_gives_in_its_order(made: Callable[[], nn.Module]) -> None:
    net = made()
    found, expected = list(fingerprint._state(net)), list(net.state_dict().items())
    assert [name for name, _ in found] == [name for name, _ in expected]
    assert all(torch.equal(one, other) for (_, one), (_, other) in zip(found, expected))


def test_what_a_hook_adds_to_the_state_counts() -> None:
    net = adding(Nested())
    known = Fingerprint(net, net)
    before = known.digest()
    net.first[1].scale = 3.0
    assert known.digest() != before
