"""A setting that a class does not have is refused by name, and the likely one is offered."""

import copy
import dataclasses
import inspect
import pickle

import pytest

import assay
from assay.errors import SettingKindError
from assay.registry.settings import words
from assay.settings import Settings

CLASSES = [kind for kind in words().values() if issubclass(kind, Settings)]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_unknown_names_are_refused(kind: type) -> None:
    with pytest.raises(SettingKindError, match=f"settings of {kind.__name__}.*got 'no_such'"):
        kind(no_such=1)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_more_than_all_settings_by_place_are_refused(kind: type) -> None:
    count = len(dataclasses.fields(kind))
    with pytest.raises(SettingKindError, match=f"got {count + 1} settings by place"):
        kind(*range(count + 1))


def test_the_likely_name_is_offered() -> None:
    with pytest.raises(SettingKindError, match=r"got 'n_steps'\. Did you mean steps\?"):
        assay.IntegratedGradients(n_steps=50)
    with pytest.raises(SettingKindError, match=r"got 'nois'\. Did you mean noise\?"):
        assay.Smoothed(assay.Gradient(), nois=0.5)


def test_a_setting_that_is_missing_or_given_twice_is_named() -> None:
    with pytest.raises(SettingKindError, match="got no levels"):
        assay.MultiplicativeSmoothing(kept=0.5)
    with pytest.raises(SettingKindError, match="'steps' twice, by place and by name"):
        assay.IntegratedGradients(8, steps=9)


def test_copies_and_signatures_stay() -> None:
    method = assay.IntegratedGradients(3)
    assert copy.deepcopy(method) == pickle.loads(pickle.dumps(method)) == method
    assert next(iter(inspect.signature(assay.IntegratedGradients).parameters)) == "steps"
