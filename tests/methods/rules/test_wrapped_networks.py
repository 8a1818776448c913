"""Compiled, scripted and parallel networks under every method that looks inside of one: the answer of
the network itself, or a refusal that says what is not heard.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import assay
from assay import LRP, Deconvnet, DeepLift, GuidedBackprop
from assay.errors import AbilityError, SettingError
from assay.methods.rules import (
    AttentionAware,
    Composite,
    ConservativeAttention,
    Epsilon,
    EpsilonAlpha2Beta1,
    EpsilonAlpha2Beta1Flat,
    EpsilonGammaBox,
    EpsilonPlus,
    EpsilonPlusFlat,
    Gamma,
    ZPlus,
)
from rule_networks import DOUBLE
from toys import randn, randomised

X = randn(3, 4, seed=1, dtype=DOUBLE)
BASE = assay.Baseline(randn(3, 4, seed=2, dtype=DOUBLE))
ROWS = assay.Background(randn(5, 4, seed=3, dtype=DOUBLE))
TIGHT = {"rtol": 0, "atol": 1e-12}


def made() -> nn.Sequential:
    net = nn.Sequential(
        nn.Sequential(nn.Linear(4, 6), nn.ReLU(inplace=True)), nn.Sequential(nn.Linear(6, 3))
    )
    given: nn.Sequential = randomised(net, 4).double()
    return given


def ask(net: Any, removal: assay.Removal = BASE) -> assay.Question:
    return assay.Question(net, X, target=1, removal=removal)


COMPOSITES = [
    EpsilonPlus(),
    EpsilonPlusFlat(),
    EpsilonAlpha2Beta1(),
    EpsilonAlpha2Beta1Flat(),
    EpsilonGammaBox(-4.0, 4.0),
    AttentionAware(gamma=0.25),
    ConservativeAttention(),
]

BY_RULES: dict[str, Callable[[Any], assay.Attribution]] = {
    "GuidedBackprop": lambda net: GuidedBackprop()(ask(net)),
    "Deconvnet": lambda net: Deconvnet()(ask(net)),
    **{
        f"LRP {type(composite).__name__}": lambda net, composite=composite: LRP(composite)(ask(net))
        for composite in COMPOSITES
    },
    **{
        f"DeepLift {rule}": lambda net, rule=rule: DeepLift(rule)(ask(net))
        for rule in ("rescale", "reveal_cancel", "genomics")
    },
    "DeepLift over rows": lambda net: DeepLift()(ask(net, ROWS)),
}

BEHIND: dict[str, Callable[[Any, str], assay.Attribution]] = {
    "LRP": lambda net, layer: LRP()(ask(net).after(layer)),
    "DeepLift": lambda net, layer: DeepLift()(ask(net).after(layer)),
    "Conductance": lambda net, layer: assay.Conductance(8)(ask(net).after(layer)),
    "Conductance exact": lambda net, layer: assay.Conductance(exact=True)(ask(net).after(layer)),
    "of a unit": lambda net, layer: assay.IntegratedGradients(8)(ask(net).through(layer, 2)),
    "up to a unit": lambda net, layer: DeepLift("reveal_cancel")(ask(net).upto(layer, 2)),
}


class Holding(nn.Module):
    """A network whose two halves are handed in."""

    def __init__(self, first: Any, last: Any) -> None:
        super().__init__()
        self.first, self.last = first, last

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.last(self.first(x))
        return result


def in_place(net: nn.Module) -> nn.Module:
    net.compile(backend="eager")
    return net


WRAPPED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "compiled": (lambda net: torch.compile(net, backend="eager"), "0"),
    "compiled in place": (in_place, "0"),
    "a part compiled": (lambda net: Holding(in_place(net[0]), net[1]), "first"),
    "data parallel": (nn.DataParallel, "module.0"),
}
"""How a network is wrapped, and the name that its layer "0" has then."""

WRAPS = pytest.mark.parametrize("wrap", WRAPPED)


@cache
def wrapped(wrap: str) -> Any:
    """A network that is wrapped, and was called by its user before."""
    net = WRAPPED[wrap][0](made())
    net(X)
    return net


@WRAPS
@pytest.mark.parametrize("way", BY_RULES)
def test_a_wrapped_network_is_answered_as_it_is(way: str, wrap: str) -> None:
    expected = BY_RULES[way](made())
    given = BY_RULES[way](wrapped(wrap))
    torch.testing.assert_close(given.values, expected.values, **TIGHT)
    assert given.facts["operations"] == expected.facts["operations"]


@WRAPS
def test_an_exact_way_through_a_wrapped_network(wrap: str) -> None:
    expected = assay.ExactIntegratedGradients()(ask(made()))
    given = assay.ExactIntegratedGradients()(ask(wrapped(wrap)))
    torch.testing.assert_close(given.values, expected.values, **TIGHT)
    assert given.facts["pieces"] == expected.facts["pieces"]


@WRAPS
@pytest.mark.parametrize("way", BEHIND)
def test_behind_a_layer_of_a_wrapped_network(way: str, wrap: str) -> None:
    expected = BEHIND[way](made(), "0").values
    given = BEHIND[way](wrapped(wrap), WRAPPED[wrap][1]).values
    torch.testing.assert_close(given, expected, **TIGHT)


# --- scripted


def scripted(net: nn.Module) -> Any:
    return torch.jit.script(net)


def traced(net: nn.Module) -> Any:
    return torch.jit.trace(net, X)


SCRIPTS = pytest.mark.parametrize("script", [scripted, traced])


@SCRIPTS
@pytest.mark.parametrize("way", BY_RULES)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_scripted_network_is_refused(way: str, script: Any) -> None:
    with pytest.raises(AbilityError, match="operations"):
        BY_RULES[way](script(made()))
    # One that is scripted in part: its operations are what is missing.
    with pytest.raises(AbilityError, match="not heard"):
        BY_RULES[way](Holding(script(made()[0]), made()[1]))


@SCRIPTS
@pytest.mark.parametrize("way", BEHIND)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_layers_of_a_scripted_network_are_refused(way: str, script: Any) -> None:
    with pytest.raises(AbilityError, match="layers"):
        BEHIND[way](script(made()), "0")


@SCRIPTS
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_exact_way_through_a_scripted_network(script: Any) -> None:
    net = made()
    expected = assay.ExactIntegratedGradients()(ask(net))
    for other in (script(net), Holding(script(net[0]), net[1])):
        given = assay.ExactIntegratedGradients()(ask(other))
        torch.testing.assert_close(given.values, expected.values, **TIGHT)
        assert given.facts["pieces"] == expected.facts["pieces"]


# --- on several devices at once


class InThreads(nn.Module):
    """What data-parallel networks do where there are several devices: parts of the rows go through
    copies of the network, in threads of their own.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        with ThreadPoolExecutor(2) as pool:
            return torch.cat(list(pool.map(self.net, x.chunk(2))))


@pytest.mark.parametrize("way", BY_RULES)
def test_a_network_that_runs_in_other_threads_is_refused(way: str) -> None:
    """A plain gradient would come out of them, which no rule has touched."""
    with pytest.raises(AbilityError, match="not heard"):
        BY_RULES[way](InThreads(made()))


@pytest.mark.parametrize("name", ["00", "1.1", "module.0", "first"])
def test_a_rule_for_a_layer_that_there_is_not_is_refused(name: str) -> None:
    method = LRP(Composite(layers={"0": Gamma(0.5), name: ZPlus()}))
    with pytest.raises(
        SettingError, match=r"names of layers with weights.*The first of 2: 0\.0, 1\.0"
    ):
        method(ask(made()))


@pytest.mark.parametrize(
    "wrap",
    [nn.DataParallel, lambda net: torch.compile(net, backend="eager")],
    ids=["parallel", "compiled"],
)
def test_layers_go_by_their_own_names(wrap: Callable[[nn.Module], Any]) -> None:
    method = LRP(Composite({"dense": Epsilon()}, layers={"0": Gamma(0.5), "1.0": ZPlus()}))
    expected = method(ask(made())).values
    torch.testing.assert_close(method(ask(wrap(made()))).values, expected, **TIGHT)
    other = LRP(Composite({"dense": Epsilon()}))(ask(made())).values
    assert float((expected - other).abs().max()) > 1e-3
