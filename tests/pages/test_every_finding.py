"""The sixteen findings about what a person looks at, each with the tests that hold it.

Who removes one of these tests, or gives it another name, finds its finding here. Those that no other
test holds have theirs below.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import assay
from assay.methods.shapley import permutation as permutation
from assay.question.question import Question

TESTS = Path(__file__).resolve().parents[1]

HELD = {
    "1 a table with other columns than the model was fitted on": [
        "cli/test_model_and_data_files.py::test_a_table_that_lacks_a_column_is_refused_by_its_name",
        "cli/test_model_and_data_files.py::test_columns_that_the_model_does_not_know_are_left_out_and_said",
    ],
    "2 a place where nothing can be written is told after the work": [
        "cli/test_endings.py::test_where_nothing_can_be_written_is_told_before_the_model_is_loaded",
    ],
    "3 a booster is taken for an estimator": [
        "ways_in/test_ways_in.py::test_an_xgboost_booster_is_its_estimator",
        "ways_in/test_ways_in.py::test_a_lightgbm_booster_is_its_estimator",
    ],
    "4 one look-up for all": [
        "pages/test_every_finding.py::test_a_metric_is_looked_up_by_one_name_everywhere",
    ],
    "5 an unknown method is answered by names of every kind": [
        "cli/test_golden.py::test_outputs",
    ],
    "6 files of models are refused without a way out": [
        "cli/test_model_and_data_files.py::test_networks",
        "cli/test_model_and_data_files.py::test_what_is_no_predictor_is_refused_with_the_way_out",
        "cli/test_models_of_other_formats.py::test_a_package_that_is_not_installed_is_named",
    ],
    "7 errors, sums, base and gap are in no picture": [
        "pages/test_findings.py::test_bars_show_their_errors_and_what_cannot_be_told_from_zero",
        "pages/test_findings.py::test_bars_add_up_to_the_prediction",
    ],
    "8 maps are clipped unsaid, and have no numbers": [
        "pages/test_findings.py::test_the_number_of_the_full_colour_is_told_and_what_lies_beyond",
    ],
    "9 nouns show one line of text": [
        "pages/test_cards.py::test_every_noun_that_shows_itself_has_a_card",
        "pages/test_terminal.py::test_every_noun_is_here",
    ],
    "10 versions, machine-readable output, standard input, completion": [
        "cli/test_completion.py::test_the_version_tells_what_it_stands_on",
        "cli/test_completion.py::test_bash_is_offered_commands_options_and_names",
        "cli/test_json.py::test_outputs_keep_to_their_schemas",
        "cli/test_model_and_data_files.py::test_standard_input_is_read",
    ],
    "11 lists of facts are written out": [
        "pages/test_findings.py::test_many_numbers_of_a_fact_are_told_by_their_mean_and_range",
    ],
    "12 progress without ipywidgets is a warning": [
        "engine/test_notebooks.py::test_a_bar_needs_something_to_show_it",
    ],
    "13 regions that scroll cannot be reached; a phone scrolls sideways": [
        "pages/test_findings.py::test_every_region_that_scrolls_can_be_reached_and_has_a_name",
        "pages/test_in_a_browser.py::test_a_phone_shows_the_page_without_sideways_scrolling",
        "pages/test_in_a_browser.py::test_a_phone_shows_few_and_many_methods_and_inputs",
        "pages/test_in_a_browser.py::test_axe_finds_nothing",
    ],
    "14 help waits for torch": [
        "cli/test_completion.py::test_nothing_heavy_is_imported_to_say_hello",
    ],
    "15 random walks are made twice": [
        "pages/test_every_finding.py::test_walks_are_made_once",
    ],
    "16 a photograph looks different beside others, unsaid": [
        "pages/test_findings.py::test_what_black_and_white_stand_for_is_said_where_nobody_could_know",
    ],
}


def test_all_sixteen_are_here() -> None:
    assert [int(finding.split()[0]) for finding in HELD] == [*range(1, 17)]


@pytest.mark.parametrize("finding", HELD)
def test_what_holds_a_finding_is_there(finding: str) -> None:
    for place in HELD[finding]:
        file, name = place.split("::")
        tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
        tests = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert name in tests, f"{place} is gone"


def test_a_metric_is_looked_up_by_one_name_everywhere() -> None:
    asked = Question(lambda x: x.prod(1), np.random.default_rng(0).normal(size=(9, 3)))
    found = assay.compare(asked, ["ExactShapley", "Occlusion"], ["Completeness"])
    for name in ("Completeness", "Completeness()"):
        assert found.winner(name) == found.rankings[name].winner == "ExactShapley()"
        assert found.score("ExactShapley", name) is found.scores["ExactShapley", name]
        assert set(found.by(name)) >= set(found.methods)
    assert found.attributions["Occlusion"] is found.attributions["Occlusion()"]


@pytest.mark.parametrize("seed", [0, 5])
def test_walks_are_made_once(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[int, ...]] = []
    unique = np.unique

    def counted(rows: Any, **settings: Any) -> Any:
        # Walks are told apart by their masks, and by nothing else is so much asked.
        if settings.get("axis") == 0:
            made.append(rows.shape)
        return unique(rows, **settings)

    monkeypatch.setattr(permutation.np, "unique", counted)
    asked = Question(lambda x: x.prod(1), np.random.default_rng(0).normal(size=(2, 7)))
    assay.PermutationShapley(orderings=38)(asked, seed=seed)
    assert made == [(38 * 8, 7)]
