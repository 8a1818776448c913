"""What the pages claim is held by tests, sentence by sentence.

`CLAIMS` takes a sentence as it stands on its page to the tests that hold it: whoever changes the
sentence finds the tests, and whoever removes a test finds the sentence. Of the README every sentence
is here, or among those that claim nothing. A page's own `>>>` blocks run as tests; where one of them
shows what is claimed it is named by a piece of its code, `docs/x.md::code`. `FIGURES` are measured
once, on real data or by the clock, and name the file that keeps them.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Folders that many claims name.
CONTRACT = "tests/contracts/test_methods.py::"
BAD_INPUT = "tests/contracts/test_bad_input.py::"
METRICS = "tests/contracts/test_metrics.py::"
DOCS = "tests/house/test_docs.py::"
BOUNDS = "tests/metrics/test_sensitivity_bounds.py::"
OPTIMAL = "tests/methods/test_optimal.py::"
AXIOMS = "tests/metrics/test_axioms.py::"
CALIBRATED = "tests/metrics/test_calibration.py::"
FORESTS = "tests/models/forests/"
CURVES = "tests/metrics/test_masking_curves.py::"
LOCATED = "tests/metrics/test_localisation.py::"
COMPLEX = "tests/metrics/test_complexity.py::"
QUESTION = "tests/question/test_question.py::"
LAYERS = "tests/question/test_layers.py::"
WRAPPING = "tests/models/test_wrapping.py::"
REPRODUCIBLE = "tests/models/test_reproducible.py::"
SHAPLEY = "tests/methods/shapley/"
LIME = "tests/methods/lime/"
TREES = "tests/methods/trees/"
MAPS = "tests/methods/cam/test_maps.py::"
FULL = "tests/methods/cam/test_full_grad.py::"
ATTENTION = "tests/methods/attention/test_maps.py::"
ATTENTION_TWINS = "tests/methods/attention/test_twins.py::"
INFLUENCE = "tests/methods/influence/test_internal_influence.py::"
RISE = "tests/methods/test_rise.py::"
PATHS = "tests/methods/test_slopes_and_paths.py::"
CLOSED = "tests/metrics/test_closed_forms.py::"
CERTIFICATE = "tests/certificates/test_certificate.py::"
COMPARISON = "tests/comparison/test_comparison.py::"
PAGE = "tests/pages/test_report_page.py::"
SEEN = "tests/pages/test_what_people_see.py::"
CLI = "tests/cli/test_app.py::"
PROGRAMS = "tests/cli/test_command_models.py::"
FILES = "tests/cli/test_model_and_data_files.py::"
ENDINGS = "tests/cli/test_endings.py::"
FOUND = "tests/pages/test_findings.py::"
EVERY_PICTURE = "tests/pictures/test_every_picture.py::"
DRAWN = "tests/pictures/test_marks_and_statistics.py::"
FIXED = "tests/removals/test_fixed.py::"
CATEGORIES = "tests/inputs/test_categories.py::"
ENGINE = "tests/engine/test_engine.py::"
ATTRIBUTION = "tests/answers/test_attribution.py::"
LABELS = "tests/targets/test_labels.py::"
TARGETS = "tests/targets/test_targets.py::"
WORDS = "tests/inputs/test_segmentation.py::"
TEXTS = "tests/inputs/test_texts.py::"
TOKENS = "tests/features/test_tokens.py::"
FEATURES = "tests/features/test_features.py::"

CLAIMS: dict[str, dict[str, tuple[str, ...]]] = {
    "README.md": {
        "**Influence inside a network** under a distribution of interest, and the expert of a class.": (
            INFLUENCE + "test_behind_a_layer_it_is_the_mean_slope_over_inputs_that_lead_there",
            "tests/methods/influence/test_experts.py::test_a_unit_by_its_definition",
        ),
        "It takes torch modules, scikit-learn style estimators, and any function on arrays.": (
            WRAPPING + "test_an_estimator_answers_with_the_most_telling_of_its_methods",
            WRAPPING + "test_a_function_is_called_with_what_the_question_was_given",
            CONTRACT + "test_a_model_without_slopes_is_refused_or_answered",
        ),
        "Above each column the mean infidelity over 16 digits with its 95 % interval, lower is "
        "better.](docs/digits.png)": (
            "tests/cli/test_demo.py::test_the_page_and_the_picture_are_written",
        ),
        "Both do all their own set-up; they need Python 3.11 or later, make and a package index.": (
            DOCS + "test_every_target_makes_its_environment_with_exact_versions_and_torch_first",
        ),
        "No data is downloaded at run time.": (DOCS + "test_nothing_speaks_to_a_network",),
        "a **method** turns a question into an **`Attribution`**;": (
            BAD_INPUT + "test_a_method_asks_questions_and_nothing_else",
            CONTRACT + "test_shapes_and_diagnostics_fit_the_question",
        ),
        "a **metric** turns a question and an attribution into a **`Score`**, one number per input "
        "with an interval; a **certificate** turns them into whole numbers that were proven.": (
            DOCS + "test_every_metric_gives_an_interval_and_a_paired_test",
            CERTIFICATE + "test_every_certificate_is_true_of_the_smoothed_classifier_it_is_about",
        ),
        "Which explanation to trust is a comparison: every method by every metric on the same "
        "inputs and the same draws, with paired tests.": (
            METRICS + "test_attributions_are_compared_on_the_same_draws_and_the_same_answers",
            COMPARISON + "test_every_cell_is_the_metric_alone",
        ),
        '`assay.report(table, "report.html")` writes it as one self-contained page, with a map for '
        "every method and each of the 16 most telling inputs (`inputs=` says how many).": (
            PAGE + "test_the_page_is_whole_and_loads_nothing",
            FOUND + "test_of_many_inputs_the_most_telling_ones_are_shown_with_their_reasons",
            PAGE + "test_sixteen_inputs_are_drawn_unless_another_number_is_said",
        ),
        "The same from a shell; settings are read as text, never evaluated:": (
            CLI + "test_code_is_not_read_as_settings",
            "tests/registry/test_hostile_text.py::test_reading_settings_computes_nothing",
            CLI + "test_explain_writes_the_answer_that_the_library_gives",
        ),
        "Measured with the versions named; the right column is held by "
        "`tests/house/test_docs.py`.": (
            DOCS + "test_every_rule_is_exact_for_a_linear_model",
            DOCS + "test_a_shared_matrix_is_not_repeated",
            DOCS + "test_a_network_in_training_mode_does_not_answer_by_its_neighbours",
            DOCS + "test_a_budget_that_determines_nothing_is_refused",
            DOCS + "test_every_row_of_a_background_counts",
            DOCS + "test_squares_are_removed_one_at_a_time",
            DOCS + "test_a_score_does_not_depend_on_the_batch_size",
            DOCS + "test_every_metric_gives_an_interval_and_a_paired_test",
        ),
        "Everything follows from a few rules: an answer depends on the question, the settings and "
        "the seed alone, never on the batch size, the neighbours or a global generator; a sampled "
        "answer carries its standard error; the model is left as it was found, also after an "
        "exception; what cannot be answered is refused before the work, in a sentence that says "
        "what to do.": (
            CONTRACT + "test_batch_size_changes_nothing",
            CONTRACT + "test_shards_change_nothing",
            CONTRACT + "test_an_input_alone_gets_the_answer_it_gets_in_a_crowd",
            CONTRACT + "test_the_order_of_inputs_changes_nothing",
            CONTRACT + "test_global_generators_are_neither_read_nor_moved",
            # Another seed gives the same answer, or there is a standard error.
            CONTRACT + "test_the_seed_decides_the_draws",
            CONTRACT + "test_the_model_is_left_as_found",
            CONTRACT + "test_the_model_is_left_as_found_when_its_forward_breaks",
            BAD_INPUT + "test_what_cannot_be_answered_is_refused_early_and_in_a_helpful_sentence",
        ),
        "`make` targets install the exact versions of `constraints.txt` into `.venv`, torch first, "
        "so that a CPU build is taken where one is at hand.": (
            DOCS + "test_every_target_makes_its_environment_with_exact_versions_and_torch_first",
        ),
        "**Slopes and paths**: gradient, input x gradient, integrated gradients (exact ones, too), "
        "any path, expected gradients, conductance, smoothing; of the output, of a neuron, or behind "
        "a layer.": (
            DOCS + "test_what_is_covered_and_what_not_is_as_the_readme_says",
            LAYERS + "test_every_method_of_slopes_is_a_layer_method",
            TARGETS + "test_a_neuron_is_a_target",
        ),
        "**Rules inside a network**: guided backpropagation, deconvnet, relevance propagation, "
        "DeepLIFT.": (DOCS + "test_what_is_covered_and_what_not_is_as_the_readme_says",),
        "**Maps of a layer**: class activation maps by slopes, by masking channels and by their main "
        "direction, guided ones, full gradients.": (
            DOCS + "test_what_is_covered_and_what_not_is_as_the_readme_says",
        ),
        "**Attention**: rollout, raw attention, its relevance and transformer relevance.": (
            DOCS + "test_what_is_covered_and_what_not_is_as_the_readme_says",
        ),
        "**Asking with features hidden**: exact, sampled, kernel and proxy Shapley values, Owen "
        "values, closed forms, retraining, LIME, RISE, occlusion, quantitative input influence.": (
            DOCS + "test_what_is_covered_and_what_not_is_as_the_readme_says",
        ),
        "**Ensembles of trees** by their structure: exact Shapley and Banzhaf values, interactions of "
        "pairs, also of any other model with few features.": (
            DOCS + "test_what_is_covered_and_what_not_is_as_the_readme_says",
            TREES + "test_tree_shap.py::test_values_are_those_of_all_coalitions",
            TREES + "test_tree_shap.py::test_pairs_are_those_of_all_coalitions",
        ),
        "**Metrics** with intervals and paired tests: infidelity, max-sensitivity, completeness, "
        "correlations over subsets; [masking curves](docs/masking.md) (deletion and insertion, AOPC, "
        "necessity and sufficiency in order and in proportion, average drop, increase and gain, "
        "comprehensiveness, log-odds, ROAD, monotonicity); [localisation](docs/localisation.md) "
        "(pointing game, mass and ranks, ratios, overlap, ROC area), "
        "[complexity](docs/complexity.md), [agreement](docs/agreement.md).": (
            DOCS + "test_what_is_covered_and_what_not_is_as_the_readme_says",
            DOCS + "test_every_metric_gives_an_interval_and_a_paired_test",
        ),
        "**Certificates** that a selection of features decides the class.": (
            "tests/certificates/test_stability.py"
            "::test_enumeration_finds_the_radii_of_the_definition_and_attacks_stay_above",
        ),
        "What you write yourself is held to the same contract as what is here:": (
            "tests/how_to/test_write_a_metric.py::test_the_contract_is_there",
            "tests/how_to/test_write_a_method.py::test_the_twin_says_the_same",
            "tests/how_to/test_write_a_removal.py::test_the_twin_says_the_same",
        ),
        "**Judging methods and models**: optimal explanations, Lipschitz sensitivity and gradient "
        "sensitivity between bounds, model randomisation, class sensitivity, input shifts, axioms as "
        "gaps, calibration.": (
            DOCS + "test_what_is_covered_and_what_not_is_as_the_readme_says",
            AXIOMS + "test_every_claim_of_every_method_holds_and_its_row_in_the_docs_is_current",
            CALIBRATED + "test_the_intervals_cover_what_they_are_about",
        ),
        "Not covered yet: concept activation vectors, anchors.": (
            DOCS + "test_what_is_covered_and_what_not_is_as_the_readme_says",
        ),
        # Of its tables.
        "| Integrated gradients, trapezoid rule, 10 steps, linear model, true sum 6 | Captum 0.9.0: "
        "5.4 (and 3.0 with 2 steps) | 6, by every rule from 2 steps on |": (
            DOCS + "test_every_rule_is_exact_for_a_linear_model",
        ),
        "| refused, and the statistics are as they were |": (
            DOCS + "test_a_network_in_training_mode_does_not_answer_by_its_neighbours",
        ),
        "| refused: at least 298 are needed |": (
            DOCS + "test_a_budget_that_determines_nothing_is_refused",
        ),
        "| all rows that were given |": (DOCS + "test_every_row_of_a_background_counts",),
        "| one square at a time, as defined |": (DOCS + "test_squares_are_removed_one_at_a_time",),
    },
    "docs/questions.md": {
        "Which chunks run fastest is found by measuring, so that the last bits may differ from run "
        "to run; the same bytes twice come from `reproducible=True` (or `with "
        "assay.reproducible():`), from a fixed `batch_size`, or from handing the plan of an answer "
        'back, `wrap(net, plan=answer.facts["plan"])`.': (
            ENGINE + "test_the_pace_finds_the_fastest_chunk",
            REPRODUCIBLE + "test_processes_agree_bit_for_bit_without_a_clock",
            REPRODUCIBLE + "test_a_plan_that_is_handed_back_gives_the_bytes_of_its_answer",
        ),
        "`speedups=False` asks the bare network.": (
            "tests/models/networks/test_fast_forms.py"
            "::test_without_speedups_the_network_itself_is_asked_and_says_the_same",
        ),
        "The wrapper owns what is learnt of the predictor: wrap once, ask often.": (
            "tests/models/networks/test_fast_forms.py"
            "::test_a_wrapper_owns_what_is_learnt_and_takes_it_along",
        ),
        "a method that needs one that is missing refuses and names methods that do not.": (
            BAD_INPUT + "test_a_refusal_names_methods_that_can_answer",
        ),
        "An estimator is called with the kind of table that it was fitted on.": (
            WRAPPING + "test_an_estimator_is_called_with_the_table_it_was_fitted_on",
        ),
        "The predictor is left as it was found.": (
            CONTRACT + "test_the_model_is_left_as_found",
            CONTRACT + "test_the_model_is_left_as_found_when_its_forward_breaks",
            WRAPPING + "test_what_a_forward_writes_to_itself_is_undone",
        ),
        "Numbers must be finite, unless the model says that it takes missing values.": (
            WRAPPING + "test_missing_values_pass_where_the_estimator_takes_them",
            "tests/models/test_estimators.py::test_a_function_says_that_it_takes_what_is_missing",
        ),
        "What is in the mapping is explained, whole numbers too; what the context names is not.": (
            "tests/models/test_failures.py::test_a_mapping_is_several_inputs_by_name",
            "docs/texts.md::assay.Question(model, encoded, 1).partition.count",
        ),
        "A function is called with what was handed in: tensors for tensors, arrays for arrays (its "
        "context then are arrays as well), frames for frames.": (
            WRAPPING + "test_a_function_is_called_with_what_the_question_was_given",
            "tests/models/test_failures.py::test_context_reaches_a_function_on_arrays_as_arrays",
        ),
        "A function of tensors that leaves torch on the way (`.numpy()`, `.detach()`) has no "
        "slopes, and `explain` chooses a method that needs none.": (
            "tests/models/test_failures.py::test_functions_that_leave_torch_have_no_slopes",
        ),
        "Answers are in double precision where the inputs are or where the model's own numbers "
        "are.": (
            CONTRACT + "test_float64_in_float64_out_and_near_float32",
            "tests/question/test_large_outputs.py"
            "::test_differences_of_large_outputs_are_those_of_the_model",
        ),
        "Where outputs have several dimensions, a tuple points into them, and a list of tuples "
        "holds one place per input.": (
            TARGETS + "test_a_tuple_points_into_outputs_of_several_dimensions",
            TARGETS + "test_every_input_may_have_its_own_place",
        ),
        "| `Predicted()` | the largest output on the clean input, chosen once; the default |": (
            TARGETS + "test_the_prediction_is_chosen_on_the_clean_input_and_never_again",
        ),
        "the default of a model with two known classes is the second |": (
            LABELS + "test_of_two_classes_the_positive_one_is_explained_by_default",
        ),
        "words of -1 are left out |": (
            TARGETS + "test_a_caption_is_as_probable_as_its_words_after_each_other",
        ),
        "An input that a removal leaves as it is gets zeros, with a warning where that is so of "
        'all inputs; a mean score over masks (`Rise(estimator="ratio")`, `"raw"`) has no zero, and '
        "refuses it.": (
            FIXED + "test_inputs_that_stay_as_they_are_get_zeros",
            FIXED + "test_a_mean_score_over_masks_needs_a_removal",
        ),
        "`-1` in a map marks what is never removed.": (
            FEATURES + "test_pooling_adds_or_averages_and_leaves_out_what_nobody_owns",
            FIXED + "test_what_nobody_owns_does_not_count_as_removed",
        ),
        "Where the network can be captured as a graph the part before it runs once.": (
            LAYERS + "test_the_part_before_a_layer_runs_once_for_each_input",
        ),
        "A layer is named as in `named_modules()`, or handed over itself.": (
            LAYERS + "test_a_layer_may_be_handed_over_itself",
            LAYERS + "test_layers_go_by_all_their_names",
        ),
        "Layers of which one lies behind another are refused: the first would be heard through the "
        "second alone, which is exchanged.": (
            LAYERS + "test_layers_of_which_one_hides_another_are_refused",
        ),
        "What is absent behind a layer is the activation of the absent input, unless the layer has "
        "a removal of its own, in the shape of its activations:": (
            LAYERS + "test_a_background_passes_through_the_layer",
            LAYERS + "test_a_layer_may_have_a_removal_of_its_own",
        ),
        "What the model says of the inputs themselves, and with everything removed, is asked "
        "once.": ("docs/cost.md::for method in (assay.ExactShapley(), assay.ExactShapley())",),
        "Inputs, labels, baselines and arrays of the context are copied when a question is made, "
        "so that what is written to them later moves nothing; weights of a torch module that are "
        "written to or moved are noticed, and the question is refused.": (
            "tests/question/test_memory.py::test_what_is_written_to_the_inputs_later_moves_no_question",
            "tests/question/test_memory.py::test_a_question_notices_that_its_network_was_trained_on",
            QUESTION + "test_a_question_holds_what_it_was_given",
        ),
        "nothing is pickled.": (
            "tests/house/test_source.py::test_nobody_draws_from_a_global_generator_or_unpickles",
            CONTRACT + "test_a_saved_answer_is_the_answer",
        ),
    },
    "docs/gradients.md": {
        "A feature that a saturated unit depends on has slope zero.": (
            CLOSED + "test_saliency_of_a_saturated_unit",
        ),
        "It changes the question, from the slope here to the mean slope around here; the standard "
        "error it carries is that of the draws.": (
            PATHS + "test_smoothing_is_the_mean_over_noisy_copies",
        ),
        "One forward and backward pass per input, times `draws` for `Smoothed`.": (
            CONTRACT + "test_the_cost_is_counted_as_stated",
        ),
        'Integer inputs are refused: ask behind the embedding, `question.after("embedding")`.': (
            CONTRACT + "test_integers_are_refused_where_slopes_are_asked_for",
            LAYERS + "test_token_ids_are_explained_behind_their_embedding",
        ),
        "Slopes of channels are added within a pixel; to average them use "
        '`Pixels(pooling="mean")`.': (FEATURES + "test_pixels_pool_channels_by_sum_or_mean",),
    },
    "docs/paths.md": {
        "The credit adds up: sum_i phi_i = f(x) - f(absent).": (
            "tests/contracts/test_axioms.py::test_the_axioms_it_claims_hold",
        ),
        "`gauss_legendre` (default) is exact for polynomials up to degree 2 steps - 1 along the "
        "way;": (PATHS + "test_gauss_legendre_is_exact_for_polynomials",),
        "All weights add up to one, so that a linear model is exact by every rule from two steps "
        "on:": (
            PATHS + "test_quadrature_is_the_rule_and_its_weights_sum_to_one",
            DOCS + "test_every_rule_is_exact_for_a_linear_model",
        ),
        "If it is not small beside f(x) - f(absent), more steps are needed; `tolerance=` doubles "
        "them until it is, and `facts` say how many it took.": (
            PATHS + "test_doubling_steps_is_asking_with_that_many",
            CLOSED + "test_tolerance_says_when_steps_did_not_suffice",
        ),
        "`steps` forward and backward passes per input (`draws` for expected gradients, with a "
        "standard error).": (
            CONTRACT + "test_the_cost_is_counted_as_stated",
            PATHS + "test_expected_gradients_are_their_draws_averaged",
        ),
        "Two networks with the same function get the same answer; two ways between the same ends "
        "do not.": (
            CLOSED + "test_two_implementations_of_one_function_get_the_same_answer",
            CLOSED + "test_a_path_along_the_axes_gives_a_product_to_the_last_feature",
        ),
    },
    "docs/shapley.md": {
        "Every sampled answer carries `standard_error`, and 1.96 of them make a 95 % interval where "
        "contributions vary smoothly.": (
            CONTRACT + "test_the_seed_decides_the_draws",
            SHAPLEY + "test_sampled.py::test_intervals_cover_as_often_as_they_say",
        ),
        "Of a threshold rule of 10 features, asked in `tests/methods/shapley/test_coverage.py`, 95 % "
        "intervals held the value in .88 (`PermutationShapley()`), .64 (8 orderings), .74 "
        "(`ProxyShap(budget=100)`) and .95 (`KernelShap(budget=128)`) of the cases.": (
            SHAPLEY + "test_coverage.py::test_of_a_threshold_rule_intervals_hold_less",
        ),
        "`PermutationShapley` with few orderings and `ProxyShap` may state 0 for a feature that "
        "decides somewhere.": (
            SHAPLEY + "test_coverage.py::test_a_feature_that_no_draw_has_met_has_an_error_of_zero",
        ),
        "`SamplingShapley` states some four times too much where every row is used equally often, "
        "and too little where rows have heavy tails: of products of lognormal columns (sigma 1.5) it "
        "held .59 with 10 draws and .78 with 100.": (
            SHAPLEY
            + "test_coverage.py"
            + "::test_sampling_states_too_much_where_every_row_is_used_equally_often",
            SHAPLEY
            + "test_coverage.py"
            + "::test_sampling_states_too_little_where_rows_have_heavy_tails",
        ),
        "`KernelShap(until=0.01)` asks until the standard error is at most 0.01:": (
            SHAPLEY + "test_standard_errors.py::test_until_holds_for_every_feature",
        ),
        "is the interventional expectation, over every row that was given: none is dropped, and "
        "the cost is multiplied by their number.": (
            DOCS + "test_every_row_of_a_background_counts",
            "docs/cost.md::rows(assay.ExactShapley(), assay.Background(torch.zeros(5, 10)))",
        ),
        '`LinearShap("gaussian")` shares credit among correlated features instead.': (
            SHAPLEY
            + "test_max_and_low_order.py"
            + "::test_correlated_features_share_as_conditional_expectations_say",
        ),
        "2^d, budget + 2, or orderings x d evaluations per input and background row.": (
            CONTRACT + "test_the_cost_is_counted_as_stated",
        ),
        "Where all inputs share the coalitions, one table of them serves every output of the model, "
        "at the cost of one:": (
            SHAPLEY + "test_questions.py::test_all_outputs_share_one_table",
            SHAPLEY + "test_questions.py::test_who_shares_the_rows_among_outputs",
        ),
        "(`SamplingShapley`, `LinearShap`, `MaxShap` and `ShapleyRegression` ask for each output "
        "anew.)": (SHAPLEY + "test_questions.py::test_who_shares_the_rows_among_outputs",),
        "A budget that leaves the values undetermined is refused, and the refusal names the "
        "smallest that does not.": (
            DOCS + "test_a_budget_that_determines_nothing_is_refused",
            SHAPLEY
            + "test_questions.py::test_a_budget_below_what_is_needed_is_refused_with_the_cost",
        ),
    },
    "docs/lime.md": {
        "`standard_error` comes from the fit.": (
            LIME + "test_lime.py::test_the_standard_error_is_the_sandwich",
        ),
        'With `keep=k` only k features have coefficients, and `facts["stability"]` is the expected '
        "overlap (Jaccard) of the sets that two repeats would pick:": (
            LIME + "test_lime.py::test_kept_columns_are_refitted_and_the_rest_is_zero",
            LIME + "test_lime.py::test_the_stability_forecasts_how_repeats_agree",
        ),
        "`Quartiles` draws a category's levels as often as `rows` have them and exactly as they "
        "are,": (LIME + "test_categories.py::test_each_level_is_drawn_by_its_frequency",),
        "A column of two values, such as a flag of 0 and 1, is drawn as it is without a word.": (
            LIME + "test_categories.py::test_flags_are_drawn_as_they_are",
        ),
        "A level that no row has is refused, since no draw could have it; `Gaussian` and "
        "`Instances` refuse to move or compare categories, which have no slope and no distance.": (
            LIME + "test_categories.py::test_one_level_gets_nothing_and_a_new_one_is_refused",
            LIME + "test_categories.py::test_codes_have_no_slope_and_no_distance",
        ),
        "**Missing values** are one more level, for models that declare that they take them:": (
            LIME + "test_categories.py::test_what_is_missing_is_a_level_of_its_own",
            LIME + "test_categories.py::test_gaps_that_cannot_be_asked_are_refused",
        ),
        "of a product of ten features the 95 % interval misses the surrogate in 29 % of the cases "
        "with 30 masks, in 48 % with 100, and in 3 % with a thousand.": (
            LIME + "test_coverage.py::test_of_a_product_of_ten_features_intervals_hold_less",
        ),
        "what two columns do together is not taken for an effect of a third while columns are few: "
        "up to 6 with 64 draws, 10 with 256, 24 with 1,024, 60 with 4,096.": (
            LIME + "test_coverage.py::test_two_columns_are_not_taken_for_a_third",
            LIME + "test_lime.py::test_orthogonal_arrays_hold_every_triple_of_levels_equally",
        ),
        "The standard errors do not count on that, and are then too large.": (
            LIME + "test_lime.py::test_stated_intervals_cover_the_limit",
        ),
        "of 20 columns with 256 draws, where one pair is all there is, some seeds are off by more "
        "than eight of them;": (
            LIME
            + "test_coverage.py"
            + "::test_more_columns_than_fit_are_off_by_many_errors_for_some_seeds_and_not_on_average",
        ),
        "Sobol' points leave less error, which no spread of the draws can tell: their standard errors "
        "are too large, never too small, while columns are few (4 with 64 draws, 8 with 256, 14 with "
        "1,024).": (
            LIME
            + "test_lime.py"
            + "::test_every_three_sobol_columns_hold_every_triple_of_quarters_equally",
            LIME + "test_coverage.py::test_two_columns_are_not_taken_for_a_third",
            LIME
            + "test_lime.py"
            + "::test_sobol_points_leave_less_error_than_orthogonal_arrays_and_no_more_than_they_state",
        ),
        "A proxy knows, and takes Sobol' points by itself.": (
            LIME
            + "test_bayesian_quadrature.py"
            + "::test_a_proxy_asks_at_sobol_points_unless_told_otherwise",
        ),
        "With masks, all of them are fitted from the same model evaluations;": (
            LIME + "test_lime.py::test_all_outputs_share_the_evaluations_of_masks",
        ),
        "`Quartiles` and `Instances` ask their points once for all inputs with the same target;": (
            LIME
            + "test_lime.py"
            + "::test_quartiles_and_instances_ask_each_point_once_for_each_target",
        ),
        "thousands of words or columns take seconds.": (
            LIME + "test_few_draws.py::test_many_columns_take_seconds",
        ),
        "`parts=10` cuts columns at their deciles.": (
            LIME + "test_categories.py::test_columns_are_cut_at_their_deciles",
        ),
    },
    "docs/lime_proxy.md": {
        "Tests hold the stated 95 % intervals to the limit of many draws, for a model with "
        "structure and for one without.": (
            LIME + "test_bayesian_quadrature.py::test_stated_intervals_cover_the_limit",
        ),
        "What the process misses is averaged over all draws, as plain LIME averages the answers:": (
            LIME
            + "test_bayesian_quadrature.py::test_what_the_process_misses_is_added_from_the_draws",
        ),
        "In a balanced array the indicators of two columns are orthogonal given the mean,": (
            LIME + "test_lime.py::test_orthogonal_arrays_hold_every_pair_of_levels_equally",
        ),
        "The first p are a basis, and p columns hold every combination of levels.": (
            LIME + "test_lime.py::test_few_columns_hold_every_combination_of_levels_equally",
        ),
        "the array has strength 3 (Bush 1952): up to 6 columns with p = 3, 10 with p = 4, 24 with p = 5 "
        "and 60 with p = 6.": (
            LIME + "test_lime.py::test_orthogonal_arrays_hold_every_triple_of_levels_equally",
        ),
        "So columns are taken from the sequence in turn, each if its three vectors are neither those of "
        "one before nor such sums of two: 8 columns with 256 points, 14 with 1,024.": (
            LIME
            + "test_lime.py"
            + "::test_every_three_sobol_columns_hold_every_triple_of_quarters_equally",
        ),
        "Where these do not suffice, each is taken if its three vectors are new.": (
            LIME
            + "test_lime.py"
            + "::test_every_two_sobol_columns_hold_every_pair_of_quarters_equally",
        ),
    },
    "docs/cam.md": {
        "exact, for global average pooling and one linear layer; refused elsewhere": (
            MAPS + "test_cam_is_grad_cam_over_an_averaging_head_and_adds_up",
            MAPS + "test_cam_refuses_another_head",
        ),
        "upsampled to the input's pixels (bilinear, between the centres of places).": (
            MAPS + "test_a_map_is_its_formula_place_by_place",
        ),
        "What speaks for another class is the map of `Negated(target)`, the counterfactual of the paper.": (
            MAPS + "test_the_counterfactual_is_the_map_of_the_negated_target",
        ),
        "`layer=None` takes the last one whose output has places, and the facts say which (`mapped`).": (
            MAPS + "test_the_last_layer_with_places_is_chosen_and_said",
        ),
        "What comes before the grid (class token, registers) is left out; a grid that does not fit "
        "is refused.": (MAPS + "test_tokens_lie_on_the_grid_that_is_declared",),
        "A rectifier that writes on the layer's output does not corrupt the map:": (
            MAPS + "test_a_rectifier_in_place_behind_the_layer_changes_nothing",
        ),
        "so the terms add up for any network.": (
            FULL + "test_terms_add_up_to_the_score",
            FULL + "test_random_networks_are_complete",
        ),
        "A part that cannot be heard is refused by its name.": (
            FULL + "test_biases_that_cannot_be_seen_are_refused_by_name",
        ),
        '`by="contribution"` multiplies by its mean activation, and leaves such channels out.': (
            "tests/methods/cam/test_neurons.py::test_what_is_absent_contributes_nothing",
        ),
    },
    "docs/attention.md": {
        "All keep what is positive alone:": (
            ATTENTION_TWINS + "test_every_method_is_what_its_formula_gives_written_out",
        ),
        "(whose fast path is not taken while it is heard)": (
            ATTENTION + "test_the_fast_path_answers_and_the_maps_are_heard",
            ATTENTION + "test_attention_is_heard_in_every_spelling",
        ),
        "encoders of Hugging Face with any implementation that calls these (`eager`, `sdpa`).": (
            "tests/methods/attention/test_hugging_face.py"
            "::test_maps_and_slopes_are_those_of_the_library",
        ),
        "what is masked out mixes with nothing and gets nothing.": (
            ATTENTION + "test_random_encoders_with_masks_are_as_written_out_by_hand",
            ATTENTION + "test_ids_get_one_number_a_token",
        ),
        "A map of the other layers would be taken for one of the network.": (
            ATTENTION + "test_one_layer_that_cannot_be_read_is_not_left_out",
            ATTENTION + "test_what_has_no_map_over_all_tokens_is_refused",
            ATTENTION + "test_a_network_without_attention_is_refused",
        ),
        "Where a forward lays both in one axis, in an order that nobody says, inputs are asked one by "
        "one.": (
            ATTENTION + "test_attention_is_heard_in_every_spelling",
            ATTENTION + "test_as_many_inputs_as_heads_are_not_taken_for_each_other",
        ),
        "the slopes at the last layer's weights tell which rows the target reads,": (
            ATTENTION + "test_the_token_that_is_read_is_seen_or_said",
            ATTENTION_TWINS + "test_every_method_is_what_its_formula_gives_written_out",
        ),
        "and a grid that does not fit is refused.": (
            ATTENTION + "test_a_grid_that_does_not_fit_the_tokens_is_refused",
            ATTENTION + "test_tokens_before_the_grid_are_left_out_and_patches_are_laid_on_pixels",
        ),
        "Relevance follows equations 5 to 11 of the ICCV paper;": (
            ATTENTION_TWINS + "test_two_inputs_that_look_at_each_other_follow_equations_5_to_11",
            ATTENTION + "test_rollout_refuses_cross_attention_by_name",
        ),
        "`RawAttention(layer=...)` counts layers in the order of the forward.": (
            ATTENTION + "test_raw_attention_is_what_need_weights_gives",
            ATTENTION + "test_a_layer_that_there_is_not_is_refused",
        ),
    },
    "docs/influence.md": {
        'With `at="layer"` activations are moved themselves, and what skips past the layer stays that of '
        "the input.": (INFLUENCE + "test_a_distribution_at_the_layer_moves_activations_alone",),
        "Gauss-Legendre gives 1 on two.": (
            INFLUENCE + "test_the_line_is_an_integral_and_no_mean_over_its_ends",
        ),
        "A predicted class is chosen once, on the clean input, and not anew at every point.": (
            INFLUENCE + "test_the_class_is_that_of_the_input_at_every_point",
        ),
        "its influence is added up over places, and so is its activation.": (
            "tests/methods/influence/test_experts.py::test_a_channel_is_the_sum_over_its_places",
        ),
        "Over several inputs influence is averaged, which is a data set as the distribution of interest.": (
            "tests/methods/influence/test_experts.py"
            "::test_a_data_set_is_the_mean_over_inputs_or_a_distribution",
        ),
    },
    "docs/rules.md": {
        "DeepLIFT's sum holds whatever the network, `gap` says how exactly;": (
            "docs/rules.md::lift.gap",
        ),
        "Over `Background(rows)` DeepLIFT is the mean over rows, with a standard error (DeepSHAP):": (
            "tests/methods/rules/test_pairs.py::test_a_background_beside_one_row_at_a_time",
        ),
        "constants beside the signal such as class tokens,": (
            "tests/methods/rules/test_real_networks.py"
            "::test_constants_beside_the_signal_absorb_what_they_get",
        ),
        "A batch norm right behind a convolution or dense layer is merged into it": (
            "tests/methods/rules/test_real_networks.py"
            "::test_a_merged_batch_norm_leaves_the_answer_as_it_is",
        ),
    },
    "docs/rise.md": {
        "Masks are coarse grids of coins, enlarged smoothly and shifted at random, with the same "
        "variance up to the border.": (
            RISE + "test_masks_are_the_interpolated_grids",
            RISE + "test_the_variance_of_a_mask_is_the_same_at_every_place",
        ),
        "values are weights, and metrics that add credit up refuse them": (
            RISE + "test_units_follow_the_estimator",
            RISE + "test_places_that_share_a_cell_have_weights",
            RISE + "test_channels_that_share_a_mask_have_weights",
            "tests/metrics/test_other_answers.py::test_weights_are_not_added_up",
        ),
        "sums are kept in grid space, and memory does not grow with the number of masks.": (
            RISE + "test_sums_in_grid_space_are_the_sums_over_masks",
            RISE + "test_memory_does_not_grow_with_the_number_of_masks",
        ),
        "`Rise().for_outputs(question)` explains all outputs from the same evaluations; "
        '`design="balanced"` needs fewer masks.': (
            RISE + "test_every_output_in_one_pass_is_each_output_alone",
            RISE + "test_balanced_masks_err_less",
        ),
    },
    "docs/masking.md": {
        "None and all of the features are always on it, and the question knows both, so that `steps` "
        "steps cost `steps` - 1 evaluations.": (
            CURVES + "test_orders_that_are_the_same_are_asked_once",
            CURVES + "test_a_curve_is_in_the_details_and_survives_a_file",
        ),
        "Orders that several explanations share are asked once; masks are made some steps at a time.": (
            CURVES + "test_orders_that_are_the_same_are_asked_once",
            CURVES + "test_masks_are_made_in_pieces",
        ),
        "The curve uses the question's removal; `removal=assay.Blur(5.0)` takes another for the metric "
        "alone,": (
            CURVES + "test_another_removal_is_another_curve_and_is_said",
            CURVES + "test_any_removal_is_a_substrate",
        ),
        "here what a tie decides is averaged over `pairs` of opposite orders drawn by chance, with its "
        "standard error (`score.error`); where effects add up a pair is exact.": (
            CURVES + "test_ties_are_averaged_over_orders_by_chance_with_an_error",
            CURVES + "test_the_stated_error_of_ties_is_their_spread",
            CURVES + "test_case_14_random_and_constant_orders_have_half_the_target",
        ),
        'All three want probabilities, and refuse what is none; `outputs="scores"` allows logits for '
        "the drop and the increase.": (
            CURVES + "test_probabilities_asked_of_a_model_that_gives_scores_are_refused",
            CURVES + "test_the_homeworks_average_drop_by_hand",
        ),
        "A constant explanation scores as random ones do on average.": (
            CURVES + "test_a_constant_explanation_scores_as_random_ones_do",
        ),
    },
    "docs/localisation.md": {
        "or boxes (left, top, right, bottom) in pixels, as many as an input has.": (
            LOCATED + "test_boxes_are_masks_of_their_pixels",
            LOCATED + "test_a_truth_follows_its_inputs_through_shards",
        ),
        "such an input has no score, is counted in `score.missing`, and is neither hit nor miss.": (
            LOCATED + "test_an_empty_truth_is_not_defined_and_never_a_hit",
        ),
        "of tied maxima the pointing game counts the share that lies inside, and no map is helped by "
        "the order of its pixels.": (
            LOCATED + "test_ties_of_the_maximum_are_shared",
            LOCATED + "test_case_23_a_uniform_map",
        ),
    },
    "docs/complexity.md": {
        "Sizes count, signs do not. An explanation without any credit has no score.": (
            COMPLEX + "test_sign_scale_and_order_have_no_part",
            COMPLEX + "test_no_credit_has_no_score_and_sparser_is_better",
        ),
        "`Connectedness` compares with random masks of the same size, and refuses masks of more than a "
        "fifth of the map: denser ones hang together by chance. A constant map has 1.": (
            COMPLEX + "test_random_and_constant_maps_are_as_connected_as_chance",
            COMPLEX + "test_maps_without_places_and_large_masks_are_refused",
        ),
        "Infidelity is convex in the credit, so that between two faithful explanations no barrier "
        "stands;": (COMPLEX + "test_case_28_infidelity_between_two_explanations",),
    },
    "docs/agreement.md": {
        "The reference is a method, asked about the same question, or the question's truth:": (
            "tests/metrics/test_agreement.py::test_a_reference_is_asked_about_the_same_question",
            "tests/metrics/test_agreement.py::test_agreement_is_its_definition",
        ),
    },
    "docs/occlusion.md": {
        "It misses what is there twice: of two copies neither is needed.": (
            "tests/methods/test_occlusion.py::test_what_is_there_twice_is_missed",
        ),
        "with windows larger than one feature the values are not contributions of single features, "
        "and metrics that add credit up (infidelity, completeness) say so.": (
            "tests/metrics/test_other_answers.py::test_weights_are_not_added_up",
        ),
        "One evaluation per window and input.": (
            "tests/methods/test_occlusion.py::test_one_evaluation_per_window_is_spent",
        ),
        "what a window reaches is computed, and all else is the image's own, computed once (the "
        "same answer, up to rounding).": (
            "tests/models/networks/test_incremental.py"
            "::test_patches_are_answered_as_whole_images_are",
            "tests/models/networks/test_incremental.py"
            "::test_only_what_a_patch_reaches_is_convolved",
        ),
    },
    "docs/qii.md": {
        'Values are drawn as whole rows (`draws="joint"`) or each column on its own '
        '(`draws="independent"`).': (
            SHAPLEY
            + "test_qii.py"
            + "::test_independent_draws_differ_from_whole_rows_where_columns_move_together",
        ),
        "for shapley and banzhaf all 2^features sets where they fit the `budget`, else `budget` "
        "random ones, with a standard error.": (
            SHAPLEY + "test_qii.py::test_the_averages_over_sets_are_exact_where_the_budget_allows",
            SHAPLEY + "test_qii.py::test_sampled_answers_spend_at_most_the_budget",
            SHAPLEY + "test_qii.py::test_stated_intervals_cover_the_exact_influence",
        ),
        "`method.for_outputs(question)` answers every output from the same sets": (
            SHAPLEY + "test_qii.py::test_every_output_is_answered_as_it_is_alone",
        ),
    },
    "docs/metrics.md": {
        "An input that has no score is NaN, counted in `.missing` and explained in `.why`.": (
            "tests/answers/test_score.py::test_mean_interval_missing_and_noise",
            "tests/answers/test_score.py::test_without_any_score_everything_is_nan",
        ),
        "`GaussianNoise` and `NoisyBaseline` move the input and suit slopes, and refuse "
        "contributions, which have no product with noise.": (
            METRICS + "test_what_a_metric_cannot_measure_is_refused_before_the_work",
        ),
        "`DifferenceToBaseline` removes everything, and is then the squared completeness gap.": (
            CLOSED + "test_complete_values_have_no_infidelity_when_everything_goes_at_once",
        ),
        "`Squares` asks every square once and ignores `draws`, up to 10,000 squares;": (
            METRICS + "test_squares_are_every_square_once",
            "tests/metrics/test_squares.py"
            "::test_of_more_than_ten_thousand_squares_some_are_drawn_and_it_is_said",
        ),
        "Under a removal with several replacements (`Background(rows)`) the change is f(x) minus "
        "the mean over all rows.": (
            "tests/metrics/test_several_replacements.py"
            "::test_the_change_under_a_background_is_an_expectation_over_its_rows",
        ),
        "`scaled=True` allows the explanation a free factor beta >= 0; `skill` is 0 for saying "
        "nothing and 1 for a perfect account.": (
            CLOSED + "test_scaled_infidelity_forgives_a_factor",
            CLOSED + "test_no_scale_below_zero",
            CLOSED + "test_skill_is_one_for_a_perfect_account_and_zero_for_none",
        ),
        '`details["found"]` is the largest that samples or an ascent met, a better lower bound': (
            BOUNDS + "test_the_ascent_finds_the_corner_that_samples_miss",
        ),
        '`details["upper"]` is an upper bound where one is proved:': (
            BOUNDS + "test_what_was_found_lies_below_what_was_proved",
            BOUNDS + "test_of_other_operations_nothing_is_proved",
        ),
        "The score is the largest of `draws` samples, which grows with them: compare at equal draws.": (
            CLOSED + "test_sensitivity_grows_with_its_draws",
            CLOSED + "test_the_largest_of_n_uniform_moves",
        ),
        "A constant explanation has 0.": (CLOSED + "test_a_constant_explanation_does_not_move",),
        "`compare` scores every method by every metric on the same inputs with the same "
        "perturbations, so that differences are paired;": (
            METRICS + "test_attributions_are_compared_on_the_same_draws_and_the_same_answers",
        ),
        "Methods that share a letter in the table could not be told apart (paired tests, Holm over "
        "all pairs).": (
            "tests/numerics/test_statistics.py"
            "::test_letters_are_shared_exactly_by_the_indistinguishable",
            "tests/numerics/test_statistics.py::test_holm_is_the_step_down_procedure",
        ),
        "Reference points stand beside them (`references=False` leaves them out):": (
            COMPARISON + "test_references_stand_apart",
            "tests/comparison/test_references.py::test_references_are_the_default",
        ),
        "a metric that is blind to shuffling is compared with no credit alone.": (
            "tests/comparison/test_references.py"
            "::test_a_metric_that_is_blind_to_shuffling_is_not_held_against_anybody",
        ),
        "Infidelity: `draws` evaluations per input for all methods together.": (
            METRICS + "test_the_answers_are_asked_once_for_all_that_are_compared",
        ),
        "Sensitivity: `draws` explanations per input and method, for all sensitivities of the same "
        "radius, ball and draws together.": (
            "tests/metrics/test_shared_changes.py::test_two_sensitivities_ask_as_much_as_one",
            CLOSED + "test_sensitivity_asks_the_method_once_for_each_draw",
        ),
    },
    "docs/certificates.md": {
        "All in whole numbers: nothing is rounded up, ties count against the claim.": (
            CERTIFICATE + "test_close_outputs_count_against_the_claim",
            "tests/certificates/test_radii.py"
            "::test_the_strict_radius_is_tight_on_disjoint_arcs_and_the_inclusive_one_too_large",
        ),
        "its `scores(masks)` are the shares of votes that certificates count.": (
            CERTIFICATE + "test_the_smoothed_classifier_is_the_mean_over_the_design",
        ),
        "noise drawn anew for every call would prove nothing.": (
            CERTIFICATE + "test_a_lipschitz_check_finds_noise_that_is_redrawn",
        ),
        "`proof.save(path)` keeps all it rests on, and `.verify(model)` checks it again.": (
            CERTIFICATE + "test_a_certificate_is_saved_loaded_and_verified",
        ),
        "`Certificate.load` refuses a file whose claims do not follow from them.": (
            CERTIFICATE + "test_claims_that_were_edited_are_refused",
            CERTIFICATE + "test_every_claim_of_a_saved_certificate_is_counted_again",
        ),
        "It abstains rather than claim nothing.": (
            CERTIFICATE + "test_keeping_everything_certifies_radius_zero_and_abstains",
        ),
        "`levels` rows per selection and `levels` for the whole input, shared by all selections of "
        "that input.": (
            CERTIFICATE + "test_the_cost_is_one_row_per_draw_for_the_whole_and_for_each_selection",
        ),
        "`assay.masked_finetuning` trains one that copes.": (
            "tests/certificates/test_finetuning.py"
            "::test_fine_tuning_learns_to_cope_with_masks_and_leaves_everything_else_as_it_was",
        ),
    },
    "docs/fused.md": {
        "The network itself is not touched:": (
            WRAPPING + "test_a_tuned_network_gives_the_same_answers_and_is_left_alone",
        ),
        "In exact arithmetic the form is the network, and so are its slopes with respect to the "
        "input": (
            "tests/models/networks/test_slopes_of_forms.py"
            "::test_equal_rows_have_the_slopes_of_the_network_in_every_chunk",
        ),
        "The sample is asked in channels-last, as the form will be, again before every long work, "
        "and the address and version of each tensor compared, so that a network that was trained "
        "on, or changed behind autograd's "
        "back, is captured anew.": (
            WRAPPING + "test_a_network_changed_after_it_was_tuned_is_asked_as_it_is_now",
            "tests/models/networks/test_fast_forms.py"
            "::test_a_network_that_was_converted_since_is_asked_as_it_is_now",
        ),
        "The network itself is then asked.": (
            WRAPPING + "test_a_network_that_cannot_be_captured_is_asked_itself",
        ),
    },
    "docs/incremental.md": {
        "equal up to rounding, and checked at 1e-10 in double precision by "
        "`tests/models/networks/test_incremental.py`, against the network on whole images, over "
        "drawn sizes and places.": (
            "tests/models/networks/test_incremental.py"
            "::test_patches_are_answered_as_whole_images_are",
        ),
        "**Anything else puts the whole map together** and goes on from there:": (
            "tests/models/networks/test_incremental.py"
            "::test_maps_are_put_together_only_where_they_must_be",
        ),
        "where the answers differ by more than rounding (a module that looks pointwise and is not) "
        "patches are given up for the session.": (
            "tests/models/networks/test_incremental.py::test_what_only_looks_local_is_found_out",
            "tests/models/networks/test_incremental.py"
            "::test_a_last_chunk_of_another_length_is_checked_as_the_first_was",
        ),
        "The input's maps at every layer, 8 inputs at a time (dropped at the end of the session),": (
            "tests/models/networks/test_incremental.py"
            "::test_inputs_are_run_once_and_those_that_come_next_along",
        ),
        "Masks of bools, the same for all inputs, whose hidden part fits a rectangle of at most a "
        "quarter of the image;": (
            "tests/models/networks/test_incremental.py::test_masks_of_small_windows_are_asked_as_patches",
            "tests/models/networks/test_incremental.py::test_other_masks_are_asked_as_they_were",
        ),
    },
    "docs/pictures.md": {
        "pyplot is never imported, and nothing of the process is set: the same answer gives the same "
        "marks, in any thread.": (
            EVERY_PICTURE + "test_no_picture_imports_pyplot",
            EVERY_PICTURE + "test_nothing_of_the_process_is_touched",
            EVERY_PICTURE + "test_the_same_data_give_the_same_marks",
            EVERY_PICTURE + "test_threads_draw_the_same_pictures",
        ),
        "**Zero is the centre.**": (
            EVERY_PICTURE + "test_scales_of_credit_are_around_zero_and_clip_nothing_unsaid",
        ),
        "**Nothing is clipped unsaid.**": (DRAWN + "test_clipping_is_counted_in_words",),
        "maps in different units never share one.": (
            DRAWN + "test_maps_share_a_scale_in_one_unit_alone",
        ),
        "**Bands hold the whole line.**": (
            DRAWN + "test_a_band_holds_the_whole_mean_line_at_once",
        ),
        "No dot is moved by chance.": (
            DRAWN + "test_dots_of_a_swarm_lie_at_their_credit_and_never_on_each_other",
            DRAWN + "test_a_dot_of_a_dependence_lies_at_its_value",
        ),
        "In a swarm a dot has one size and a pile one step in all rows;": (
            DRAWN + "test_all_rows_of_a_swarm_have_one_thickness_for_a_dot",
        ),
        "Two runs of one sampling method do not agree perfectly: what they reach is the most that can "
        "be asked of another method.": (DRAWN + "test_a_ceiling_is_what_two_runs_reach",),
    },
    "docs/gallery.md": {
        "`python studies/gallery.py` makes them anew;": (
            DRAWN + "test_the_gallery_shows_pictures_that_its_script_makes",
        ),
    },
    "docs/report.md": {
        "writes one file without scripts.": (PAGE + "test_the_page_is_whole_and_loads_nothing",),
        "*By more than chance* means: the paired sign-flip test, adjusted over all pairs (Holm), "
        "is at most 5 %, and the interval of the difference leaves zero out.": (
            COMPARISON + "test_a_difference_counts_with_its_sign",
            COMPARISON + "test_a_ranking_by_definition",
        ),
        "on too few none can be shown, which is said with the number that it takes.": (
            COMPARISON + "test_how_many_inputs_a_difference_takes",
        ),
        "A winner that is worse than saying nothing is called so.": (
            SEEN + "test_a_winner_that_is_worse_than_saying_nothing_is_called_so",
        ),
        "Metrics that are blind to shuffling are compared with Zero alone.": (
            "tests/comparison/test_references.py"
            "::test_a_metric_that_is_blind_to_shuffling_is_not_held_against_anybody",
        ),
        "Of more, the most telling ones are, in turn: where the methods differ most, where the best of "
        "them scores worst, where they agree most. Each says why it is there:": (
            FOUND + "test_of_many_inputs_the_most_telling_ones_are_shown_with_their_reasons",
            FOUND + "test_few_inputs_are_all_shown_and_one_method_shows_the_first",
        ),
        "the number below it is the credit of its full colour, in the unit of its method. Of a large "
        "map the strongest hundredth may lie beyond, and how many places do is said.": (
            FOUND + "test_the_number_of_the_full_colour_is_told_and_what_lies_beyond",
            PAGE + "test_one_strong_place_does_not_bleach_a_large_map",
        ),
        'Levels (`Rise(estimator="ratio")`) have no neutral zero and go from dark to bright.': (
            SEEN + "test_levels_are_drawn_from_their_lowest",
        ),
        "A map that is chosen is shown large.": (
            SEEN + "test_maps_are_as_large_as_there_is_room_and_enlarge",
        ),
        "Categories by their names, a text in its sentence, and above each input which output or "
        "class was explained.": (
            SEEN + "test_a_category_is_shown_by_its_name_and_a_class_by_its_label",
            SEEN + "test_a_text_stands_in_its_sentence",
            SEEN + "test_every_row_names_its_own_class",
        ),
        "A line over a bar is the 95 % interval of a sampled credit; a bar whose interval holds zero is "
        "pale.": (FOUND + "test_bars_show_their_errors_and_what_cannot_be_told_from_zero",),
        "so that the numbers add up.": (FOUND + "test_bars_add_up_to_the_prediction",),
        "Certificates, where they are handed over:": (FOUND + "test_certificates_are_on_the_page",),
        "Whether the metrics agree (Kendall's W), how many inputs the differences that were not shown "
        "would take, and which metrics should draw more.": (
            FOUND + "test_the_evidence_about_a_comparison_is_on_the_page",
        ),
        "A comparison can be kept and shown later, with the same question:": (
            "tests/comparison/test_saved_comparison.py::test_what_was_saved_comes_back",
            "tests/comparison/test_saved_comparison.py::test_another_question_is_refused",
        ),
    },
    "docs/command-line.md": {
        "`--csv` one line for each input and feature.": (
            CLI + "test_quiet_silences_words_and_not_the_data",
            "tests/cli/test_json.py::test_outputs_keep_to_their_schemas",
            "tests/cli/test_json.py::test_answers_by_line_are_those_of_one_object",
        ),
        "| `model.py:net`, `model.py:build()`, `model.py` | a name in a Python file, called without "
        "arguments where brackets follow; alone where the file has one model |": (
            FILES + "test_networks",
            CLI + "test_a_predictor_is_found_by_its_name",
        ),
        "A program reads rows on its standard input, one line of JSON each,": (
            PROGRAMS + "test_a_program_answers_as_the_network_that_it_holds",
            PROGRAMS + "test_rows_are_lines_of_json",
            PROGRAMS + "test_no_shell_reads_the_words",
        ),
        "is told in a sentence. Its words and the files that they name are the model's identity:": (
            PROGRAMS + "test_what_goes_wrong_is_one_sentence",
            PROGRAMS + "test_a_program_that_takes_too_long_is_ended_with_what_it_started",
            PROGRAMS + "test_another_content_is_another_model",
        ),
        "all files are written before the first is moved.": (
            "tests/cli/test_endings.py::test_a_full_disk_and_an_interrupt_leave_what_was_there",
        ),
        "weights alone are no model:": (
            FILES + "test_weights_are_put_into_a_module",
            FILES + "test_what_is_no_predictor_is_refused_with_the_way_out",
        ),
        "| `m.joblib`, `m.pkl` | a pickle, which runs code when it is read: refused without `--trust` |": (
            FILES + "test_what_is_no_predictor_is_refused_with_the_way_out",
        ),
        "Columns are matched by name: a model that knows its columns gets these, and what is left out "
        "of the file is said.": (
            FILES + "test_estimators_take_columns_by_their_names",
            FILES + "test_a_table_that_lacks_a_column_is_refused_by_its_name",
            FILES + "test_columns_that_the_model_does_not_know_are_left_out_and_said",
        ),
        "`.txt` is one text a line": (FILES + "test_texts_and_folders_of_texts",),
        "`-` is standard input, with `--format csv`.": (FILES + "test_standard_input_is_read",),
        "a place where nothing can be written costs no work.": (
            ENDINGS + "test_where_nothing_can_be_written_is_told_before_the_model_is_loaded",
        ),
        "so that neither a full disk nor an interrupt leaves half of one.": (
            ENDINGS + "test_a_full_disk_is_one_sentence",
            ENDINGS + "test_a_full_disk_and_an_interrupt_leave_what_was_there",
            ENDINGS + "test_an_interrupted_run_leaves_nothing_behind",
        ),
        "`--quiet` silences the words, and never the data.": (
            CLI + "test_quiet_silences_words_and_not_the_data",
        ),
        "With `--json` a refusal is an object, too:": (
            "tests/cli/test_json.py::test_refusals_are_objects_too",
        ),
        "| 2 | refused: arguments, files, the question; one sentence says what to do |": (
            CLI + "test_a_refusal_is_one_message_and_code_two",
            ENDINGS + "test_codes",
        ),
        "| 4 | your model raised an exception: where is said, `assay --traceback ...` shows the way "
        "there |": (
            ENDINGS + "test_where_the_users_code_raised_is_shown_when_it_is_asked_for",
            "tests/cli/test_hostile_calls.py"
            "::test_what_the_module_of_the_user_raises_is_told_as_its_own",
        ),
        "| 70 | a fault of assay: please report it |": (
            ENDINGS + "test_a_fault_of_the_library_is_code_70_and_asks_to_be_reported",
        ),
        "and `assay run assay.toml` repeats it, to the byte.": (
            "tests/cli/test_run_file.py::test_a_call_is_kept_as_a_file_that_repeats_it",
        ),
        "Settings are read as text, as in Python, and never evaluated:": (
            CLI + "test_code_is_not_read_as_settings",
            CLI + "test_settings_are_read_back_as_they_were_said",
        ),
        "An answer to another question is refused by `score`, `certify` and `report`.": (
            CLI + "test_score_refuses_the_answer_to_another_question",
            CLI + "test_refusals_of_a_report",
        ),
    },
    "docs/methods.md": {
        "Axioms are those that a method claims and the tests hold it to;": (
            "tests/contracts/test_axioms.py::test_the_axioms_it_claims_hold",
            "tests/contracts/test_axioms.py::test_every_axiom_that_is_claimed_is_tested_here",
        ),
        "| method | what it says | needs | axioms | unit | cost per input | settings |": (
            CONTRACT + "test_the_cost_is_counted_as_stated",
            CONTRACT + "test_a_model_without_slopes_is_refused_or_answered",
            CONTRACT + "test_shapes_and_diagnostics_fit_the_question",
            DOCS + "test_the_generated_pages_are_current",
        ),
    },
    "docs/names.md": {
        "Where a name stands for settings, `parse`, `compare` and the command line understand it, "
        "in any case:": (
            "tests/registry/test_aliases.py::test_every_alias_parses_to_a_working_object",
            CLI + "test_a_name_from_elsewhere_is_understood_or_refused_with_a_sentence",
        ),
        "Where it stands for a line of code, or for nothing yet, the refusal says so.": (
            "tests/registry/test_aliases.py"
            "::test_what_has_no_name_here_is_refused_with_what_to_write",
        ),
    },
    "docs/tables.md": {
        "Of a table with categories or dates a question without a removal is refused where it "
        "needs one:": (
            CATEGORIES + "test_a_table_with_categories_asks_for_a_removal",
            CATEGORIES + "test_dates_are_days_and_ask_for_a_removal",
        ),
        "they are switched and drawn, never computed with, and reach the model as they were.": (
            CATEGORIES + "test_columns_arrive_as_they_were",
            CATEGORIES + "test_declared_columns_of_an_array_are_never_computed_with",
        ),
        "A method or a removal that has to compute with a column refuses categories and says what "
        "does not:": (
            CATEGORIES + "test_slopes_between_categories_are_refused",
            "tests/methods/test_categories.py::test_laws_of_numbers_refuse_categories",
        ),
        "`groups` lets them stand or fall together:": (
            FEATURES + "test_columns_with_names_and_groups",
        ),
        "A NaN is refused, unless the model says that it knows what to do with it.": (
            WRAPPING + "test_missing_values_pass_where_the_estimator_takes_them",
            "tests/models/test_estimators.py::test_pipelines_say_whether_they_take_what_is_missing",
        ),
        "what looks like probabilities is refused until it is said.": (
            LABELS + "test_what_only_looks_like_probabilities_is_asked_for",
        ),
    },
    "docs/images.md": {
        "What seems to come last is refused, not guessed;": (
            FEATURES + "test_channels_that_seem_to_come_last_are_refused_by_name",
            FIXED + "test_a_blur_of_what_seems_channels_last_is_refused_by_name",
        ),
        "They stay what they were on the clean picture however it is masked.": (
            "tests/features/test_superpixels.py::test_regions_stay_those_of_the_clean_image",
        ),
        "Methods that hide pixels ask them as bytes; slopes of whole numbers there are none,": (
            "tests/methods/test_occlusion.py::test_integer_inputs_are_occluded_as_integers",
            CONTRACT + "test_integers_are_refused_where_slopes_are_asked_for",
        ),
        "50,176 features take at least 150,526 coalitions a picture (three for each, less 2).": (
            SHAPLEY
            + "test_questions.py::test_a_budget_below_what_is_needed_is_refused_with_the_cost",
        ),
    },
    "docs/texts.md": {
        "Marks stay with their letters, symbols and emoji are words of their own, and a word takes "
        "the space and the punctuation behind it along.": (
            WORDS + "test_words_of_many_scripts",
            WORDS + "test_symbols_and_emoji_are_words_and_punctuation_is_none",
            TEXTS + "test_absent_words_are_dropped_or_masked_and_marks_follow_their_word",
        ),
        "a text is answered beside others as it is alone.": (
            TEXTS + "test_a_short_text_beside_a_long_one_has_nothing_where_it_has_no_words",
            "tests/question/test_players.py::test_words_that_a_text_does_not_have_take_nothing",
        ),
        "padding owns nothing, is never masked and gets 0, wherever it stands.": (
            TOKENS + "test_padding_receives_nothing_and_is_never_masked",
            TOKENS + "test_it_does_not_matter_where_and_how_far_rows_are_padded",
        ),
        "leaves them out of the credit, and always present.": (
            TOKENS + "test_several_numbers_may_be_no_tokens_and_none_may",
        ),
        "a method that takes slopes refuses them and says where to ask.": (
            CONTRACT + "test_integers_are_refused_where_slopes_are_asked_for",
            LAYERS + "test_token_ids_are_explained_behind_their_embedding",
        ),
        "`Inherited()` takes the features of the question before along, with their names, and "
        "padding stays nobody's.": (
            "tests/features/test_inherited.py"
            "::test_credit_of_tokens_is_the_path_integral_by_definition",
            "tests/features/test_inherited.py"
            "::test_methods_of_masks_and_of_slopes_ask_the_same_players",
        ),
        "places of no text (`[CLS]`, `[SEP]`, padding: (0, 0)) own nothing.": (
            "tests/features/test_token_words.py"
            "::test_pieces_of_a_word_are_one_feature_and_places_without_text_are_none",
        ),
        "It is refused by its name, and never cut:": (
            "tests/features/test_token_words.py::test_a_token_of_two_words_is_refused_by_name",
        ),
        "their mean credit over the texts of that class that hold them, with an interval, and p "
        "values that are adjusted for all words that were looked at.": (
            "tests/answers/test_corpora.py::test_numbers_are_those_of_the_definition",
        ),
    },
    "docs/molecules.md": {
        "Padding owns nothing and receives nothing.": (
            "tests/features/test_molecules.py"
            "::test_every_number_of_a_molecule_is_owned_once_and_padding_by_nobody",
        ),
        "credit of atoms then adds up to everything,": (
            "tests/features/test_molecules.py::test_without_bonds_an_atom_owns_its_row",
        ),
    },
    "docs/answer.md": {
        "It holds no model, and nothing in it is a picture.": (
            CONTRACT + "test_a_saved_answer_is_the_answer",
        ),
        "Metrics that add credit up ask for a contribution and refuse the rest;": (
            "tests/metrics/test_other_answers.py::test_weights_are_not_added_up",
            METRICS + "test_what_a_metric_cannot_measure_is_refused_before_the_work",
        ),
        "Methods that enumerate or integrate have none.": (
            CONTRACT + "test_the_seed_decides_the_draws",
        ),
        "a metric refuses an answer to another question by it.": (
            "tests/metrics/test_other_answers.py::test_an_answer_to_another_question_is_refused",
            CONTRACT + "test_the_digest_tells_questions_apart",
        ),
        "`top(k)` counts features, `top(0.1)` is a share, rounded up;": (
            ATTRIBUTION + "test_top_counts_features_or_takes_a_share_rounded_up",
        ),
        "Nothing is pickled, and a file that was changed into something else is refused.": (
            "tests/answers/test_hostile_files.py"
            "::test_a_file_with_anything_in_the_place_of_anything_is_loaded_or_refused",
            "tests/house/test_source.py::test_nobody_draws_from_a_global_generator_or_unpickles",
        ),
        "`assay.load` reads answers, scores and certificates alike, and says which.": (
            CLI + "test_load_gives_back_every_noun",
        ),
    },
    "docs/cost.md": {
        "features that no replacement changes for an input are not asked (of a sparse row only "
        "what is not 0),": (
            "tests/question/test_players.py::test_zeros_of_a_sparse_row_leave_a_small_game",
        ),
        "`MaxSensitivity(draws=50)` asks the *method* 50 times:": (
            CLOSED + "test_sensitivity_asks_the_method_once_for_each_draw",
        ),
        "it doubles while that pays,": (ENGINE + "test_the_pace_finds_the_fastest_chunk",),
        "Work of less than 1,024 rows is not searched.": (
            ENGINE + "test_short_work_is_not_searched",
        ),
        "When memory runs out, the chunk is halved and the work goes on.": (
            ENGINE + "test_a_chunk_is_halved_until_it_fits",
        ),
        "`wrap(model, batch_size=64)` says the size instead.": (
            WRAPPING + "test_the_batch_size_is_the_largest_chunk",
        ),
        "so that what is held does not grow with the number of inputs, masks, steps or draws:": (
            "tests/question/test_flat_memory.py::test_the_peak_does_not_grow_with_the_inputs",
            ENGINE + "test_memory_does_not_grow_with_the_number_of_masks_or_inputs",
            RISE + "test_memory_does_not_grow_with_the_number_of_masks",
        ),
        "are kept for as long as it lives, and are noticed to be stale when weights change.": (
            "tests/models/networks/test_fast_forms.py"
            "::test_a_wrapper_owns_what_is_learnt_and_takes_it_along",
            WRAPPING + "test_a_network_changed_after_it_was_tuned_is_asked_as_it_is_now",
        ),
        "In a terminal long work shows a bar with what is done and how long it takes yet, from two "
        "seconds of forecast work on.": (
            ENGINE + "test_work_with_a_long_forecast_shows_a_bar",
            ENGINE + "test_short_work_shows_none",
        ),
        "`assay.quiet()` hides it.": (
            ENGINE + "test_none_where_nobody_watches_or_quiet_is_asked_for",
        ),
        "what is planned where the forecast is above ten seconds, then a line every ten seconds.": (
            "tests/engine/test_log.py::test_long_work_is_forecast_and_shows_that_it_lives",
            "tests/engine/test_log.py::test_short_work_says_nothing",
        ),
    },
    "docs/index.md": {
        "`assay.explain` picks by these rules.": (
            CLI + "test_explain_picks_what_the_model_can_do",
            "docs/texts.md::much too long for what it has to say",
        ),
    },
    "docs/optimal.md": {
        "all subsets of few features are gone through whole: no sampling error.": (
            OPTIMAL + "test_squares_of_a_picture_are_all_gone_through",
            OPTIMAL + "test_it_is_the_regression_of_the_definition",
        ),
        "the Shapley value: the kernel weighs removing everything infinitely, so that values add up "
        "exactly": (
            OPTIMAL + "test_the_shapley_value",
            OPTIMAL + "test_sampled_shapley_values_are_complete_and_within_their_error",
        ),
        "| `Coordinates()` | occlusion of one feature |": (
            OPTIMAL + "test_occlusion_of_one_feature",
        ),
        "the gradient as sigma goes to 0, and a slope of the neighbourhood else": (
            OPTIMAL + "test_the_gradient_as_noise_vanishes",
        ),
        "Fewer draws than features determine nothing and are refused, unless a `ridge` says how small "
        "values are to be.": (
            OPTIMAL + "test_what_cannot_be_fitted_is_refused",
            OPTIMAL + "test_a_ridge_takes_the_place_of_draws",
        ),
        "the standard error of a regression with errors of any size.": (
            OPTIMAL + "test_the_standard_error_is_the_spread_over_seeds",
        ),
        "Above 1,500 features conjugate gradients need products alone": (
            OPTIMAL + "test_a_large_picture_is_asked_without_a_matrix",
        ),
    },
    "docs/axioms.md": {
        "A number is the gap that was found, relative to the size of what is compared: a "
        "counterexample.": (
            AXIOMS + "test_the_gaps_of_the_gradient_are_as_by_hand",
            AXIOMS + "test_the_page_of_the_docs_holds_every_method_in_order",
        ),
        "**Bold** is what the method claims (`method.axioms`), and tests hold it to that.": (
            AXIOMS + "test_every_claim_of_every_method_holds_and_its_row_in_the_docs_is_current",
        ),
    },
    "docs/calibration.md": {
        "`kind` says what the outputs are; it is never guessed from their range.": (
            CALIBRATED + "test_what_outputs_are_is_said_and_not_guessed",
        ),
        "confidence and accuracy in bins (low, high] of equal width and of equal mass, with Wilson's "
        "intervals": (
            CALIBRATED + "test_a_confidence_on_an_edge_is_in_the_lower_bin",
            CALIBRATED + "test_bins_of_equal_mass_hold_as_many_answers",
        ),
        "they hold whatever the gaps of the bins are, most of them in more than 95 % of samples;": (
            CALIBRATED + "test_the_correction_takes_off_what_chance_adds",
            CALIBRATED + "test_the_intervals_cover_what_they_are_about",
        ),
        "so that T is that of the closed form where there is one.": (
            CALIBRATED + "test_two_logits_have_a_temperature_in_closed_form",
        ),
        "0 means that every answer is right, infinity that the logits say nothing.": (
            CALIBRATED + "test_extreme_temperatures_say_what_they_mean",
        ),
    },
    "docs/forests.md": {
        "when it is read, on 256 rows that lie on and just beside its own thresholds, with missing "
        "values and unknown categories;": (
            FORESTS + "test_forest.py::test_probes_come_to_the_thresholds_and_to_most_leaves",
            FORESTS + "test_verification.py::test_a_threshold_beside_the_right_one_is_refused",
        ),
        "whether rows mixed by raw column are mixed the same way after encoding.": (
            FORESTS + "test_reading.py::test_rows_mixed_by_raw_column_are_mixed_after_encoding",
            FORESTS + "test_reading.py::test_a_scaler_that_mixes_columns_after_all_is_found_out",
        ),
        "whenever rows are explained, on the first 256 of them:": (
            FORESTS + "test_verification.py::test_rows_are_compared_before_they_are_explained",
        ),
        "| | random forests (`rf`) | the average, of which `raw_score` is the sum |": (
            FORESTS + "test_lightgbm.py"
            "::test_a_random_forest_is_averaged_although_its_raw_score_is_not",
        ),
        "an estimator up to its best iteration, a booster with all": (
            FORESTS
            + "test_xgboost.py::test_an_estimator_stops_at_the_best_iteration_and_a_booster_does_not",
        ),
        "From the fitted object, or from its file:": (
            FORESTS + "test_xgboost.py::test_a_booster_and_its_files_are_one_function",
            FORESTS + "test_lightgbm.py::test_a_booster_and_its_file_are_one_function",
            FORESTS + "test_catboost.py::test_a_model_and_its_file_are_one_function",
        ),
        "leaves hold linear models, and no numbers": (
            FORESTS + "test_lightgbm.py::test_leaves_with_linear_models_are_refused_by_name",
        ),
        "steps that mix columns, such as principal components": (
            FORESTS + "test_reading.py::test_steps_that_mix_columns_are_refused_by_name",
        ),
    },
    "docs/trees.md": {
        "the model is asked for nothing but the clean predictions and the base.": (
            'docs/trees.md::answer.facts["forwards"] < 400',
        ),
        "`assay.explain` chooses it for such models by itself.": (
            TREES + "test_tree_shap.py::test_explain_chooses_trees",
        ),
        "The first is the game of `ExactShapley`, `KernelShap` and every other method here, so that "
        "answers can be compared.": (
            TREES + "test_tree_shap.py::test_values_are_those_of_all_coalitions",
        ),
        "Column 0 has no influence on what the tree says, and gets -2:": (
            'docs/trees.md::assay.TreeShap("path_dependent")(at)',
        ),
        "A probability behind a link is none, and is refused with the way out: its log-odds are.": (
            TREES + "test_tree_shap.py::test_what_is_no_sum_over_trees_is_refused_with_the_way_out",
            TREES + "test_tree_shap.py::test_log_odds_of_boosted_classes",
        ),
        '`features=Columns(groups={"place": ["distance", "noise"]})` is exact in both modes.': (
            TREES + "test_tree_shap.py::test_columns_in_groups_play_together",
            TREES + "test_solving.py::test_columns_of_one_feature_play_together",
        ),
        "values add up to 1e-9 at depth 100,": (
            TREES + "test_solving.py::test_a_tree_of_depth_one_hundred_adds_up",
        ),
    },
    "docs/coming-from.md": {
        "`parse`, `compare` and the command line understand them in any case:": (
            "tests/registry/test_aliases.py::test_every_alias_parses_to_a_working_object",
            "tests/registry/test_aliases.py::test_names_are_found_without_case_package_and_hyphens",
        ),
        "| shap | here |": (DOCS + "test_coming_from_elsewhere_says_what_the_names_say",),
        "Of two known classes the second is explained by default.": (
            LABELS + "test_of_two_classes_the_positive_one_is_explained_by_default",
        ),
        "With background rows of probability .5 and .99 the base is 1.07 there and 2.30 here:": (
            "docs/tables.md::removal=assay.Background(p[:, None])",
        ),
        '`LogOdds()` or `wrap(booster, output="margin")` for raw scores.': (
            "tests/models/test_estimators.py::test_a_native_booster_gives_its_own_prediction",
        ),
        "**`Saliency` is absolute there** (`abs=True`): it never says against.": (
            'docs/coming-from.md::assay.parse("Saliency", assay.Method)(plain).values',
        ),
        "`gap` is the difference less the sum.": ('docs/coming-from.md::rule="left")(left).gap',),
        "here a network that acts differently in it is refused until `.eval()`.": (
            WRAPPING + "test_a_model_that_acts_differently_in_train_mode_is_refused_there",
        ),
        "here the network is left as it was found.": (
            CONTRACT + "test_the_model_is_left_as_found",
            WRAPPING + "test_hooks_of_the_caller_stay_and_are_heard",
        ),
    },
    "docs/architecture.md": {
        "`lint-imports` and `tests/house/test_layout.py` hold it, count rooms and arrows, and ask "
        "every file for its place.": (
            "tests/house/test_layout.py"
            "::test_arrows_point_down_and_families_do_not_know_each_other",
            "tests/house/test_layout.py::test_the_plan_stays_small",
            "tests/house/test_layout.py::test_every_file_has_its_place_on_the_page_of_its_wing",
        ),
        "so that no number depends on which rows came first, and folding refuses numbers that name "
        "no level.": (
            CATEGORIES + "test_levels_are_joined_from_the_rows_of_the_removal",
            "tests/inputs/test_arrays.py::test_a_number_that_is_no_category_is_refused",
        ),
        "**A function** has McCabe complexity 10 at most;": (
            "tests/house/test_measures.py"
            "::test_no_function_is_complex_no_line_wide_and_every_refusal_says_what_to_do",
        ),
        "memory flat in the number of inputs is then a property of the house, not of each "
        "method.": (
            "tests/question/test_flat_memory.py::test_the_peak_does_not_grow_with_the_inputs",
        ),
        "annotations that lie are found by `tests/contracts/test_settings.py`, which gives every "
        "setting of every class what no setting means.": (
            "tests/contracts/test_settings.py::test_a_setting_is_taken_or_refused_by_the_family",
        ),
    },
    "docs/how-to/wrap-a-model.md": {
        "Batches, retries of a smaller batch when memory runs out, counting and the check that "
        "rows are independent are not yours to write.": (
            "tests/how_to/test_wrap_a_model.py::test_no_call_has_more_rows_than_the_service_takes",
            ENGINE + "test_a_chunk_is_halved_until_it_fits",
            "tests/question/test_row_independence.py"
            "::test_models_whose_rows_influence_each_other_are_refused",
        ),
        "A service that fails should raise: what was computed is dropped and the model left as it "
        "was.": (
            "tests/how_to/test_wrap_a_model.py"
            "::test_what_the_service_raises_is_the_cause_of_the_refusal",
        ),
    },
    "docs/how-to/write-a-method.md": {
        "`tests/contracts/test_axioms.py` asks for the axioms it claims.": (
            "tests/contracts/test_axioms.py::test_a_false_claim_is_found",
        ),
        "`tests/how_to/test_write_a_method.py` runs this page's method in the same way;": (
            "tests/how_to/test_write_a_method.py::test_the_twin_says_the_same",
            "tests/how_to/test_write_a_method.py::test_a_method_and_its_twin_take_few_lines",
        ),
        "The name is known wherever the distribution is installed.": (
            "tests/registry/test_extensions.py::test_an_entry_point_gives_a_name",
        ),
        "`assay.register(SquaredGradient)`, or `@assay.register` above the class.": (
            "tests/registry/test_extensions.py"
            "::test_a_class_is_registered_by_hand_and_may_be_replaced",
        ),
    },
    "docs/how-to/write-a-metric.md": {
        "left out, the contract finds out by asking with two seeds.": (
            METRICS + "test_a_metric_that_draws_nothing_is_found_out",
        ),
        "`tests/how_to/test_write_a_metric.py` runs this page's metric in the same way,": (
            "tests/how_to/test_write_a_metric.py::test_the_contract_is_there",
        ),
    },
    "docs/how-to/write-a-removal.md": {
        "the input keeps its histogram, and loses what stands where.": (
            "tests/how_to/test_write_a_removal.py::test_every_replacement_has_the_inputs_histogram",
        ),
        "with several, integrated gradients refuse and name `ExpectedGradients`.": (
            FIXED + "test_one_baseline_is_asked_for_where_a_way_needs_one",
        ),
        "It shortens what has a shape (arrays, tensors, tables), and lists and tuples of many "
        "entries.": (
            "tests/removals/test_short_repr.py::test_data_of_many_entries_are_told_by_their_number",
        ),
        "Refused: no rows, NaN, and whole numbers, which have no median of their own kind.": (
            "tests/how_to/test_write_a_removal.py::test_rows_that_have_no_median_are_refused",
        ),
    },
    "docs/how-to/write-a-target.md": {
        "chunks, order and parts of a question change nothing, and outputs that have no second "
        "class are refused.": (
            "tests/how_to/test_write_a_target.py::test_chunks_order_and_parts_change_nothing",
            "tests/how_to/test_write_a_target.py::test_outputs_without_a_second_class_are_refused",
        ),
    },
    "docs/tutorials/tables.md": {
        "they are switched and drawn, never computed with, and arrive at the model as they were.": (
            CATEGORIES + "test_columns_arrive_as_they_were",
        ),
        "Dates and durations are numbers of days.": (
            CATEGORIES + "test_dates_are_days_and_ask_for_a_removal",
        ),
        "`compare` measures all of them on the same persons with the same perturbations, beside "
        "their own credit shuffled, and no credit at all.": (
            "tests/comparison/test_references.py::test_references_are_the_default",
            METRICS + "test_attributions_are_compared_on_the_same_draws_and_the_same_answers",
        ),
        "Infidelity then averages over the same persons.": (
            "tests/metrics/test_several_replacements.py"
            "::test_the_change_under_a_background_is_an_expectation_over_its_rows",
        ),
    },
    "docs/tutorials/photographs.md": {
        "One self-contained file with a map for every input and method, to open in a browser:": (
            PAGE + "test_the_page_is_whole_and_loads_nothing",
        ),
        "Credit per pixel (`Pixels` pools the three channels),": (
            FEATURES + "test_pixels_pool_channels_by_sum_or_mean",
        ),
    },
    "docs/tutorials/texts.md": {
        "a text without a word (empty, or punctuation alone) gets zeros beside others, and is "
        "refused alone.": (
            TEXTS + "test_a_text_without_a_word_gets_zeros_and_refuses_no_other",
            TEXTS + "test_what_cannot_be_read_is_refused_in_words",
        ),
        "and the words that it does not have get 0:": (
            "tests/question/test_players.py::test_words_that_a_text_does_not_have_take_nothing",
        ),
        "padding owns nothing, is never masked and gets 0, and a vocabulary gives the tokens' "
        "names.": (
            TOKENS + "test_padding_receives_nothing_and_is_never_masked",
            TOKENS + "test_names_are_those_of_the_vocabulary",
        ),
    },
}

# Measured by a script, and kept.
FIGURES: dict[str, dict[str, str]] = {
    "docs/rise.md": {
        "on 92 to 100 % of the pictures of five networks, and the published grid of 7 on 38 to 100 "
        "% ([study](studies/rise_deletion.md)).": "docs/studies/rise_deletion.json",
    },
    "docs/lime.md": {
        "Beside lime 0.2.0.1 on Adult and German credit all strong categories have the same sign "
        "([study](studies/lime_categories.md)).": "docs/studies/lime_categories.json",
        "With 500 draws repeated runs then agree on the top columns more often than lime's do with "
        "5,000, on six of seven real tables ([study](studies/lime_stability.md));": (
            "docs/studies/lime_stability.json"
        ),
    },
    "docs/lime_proxy.md": {
        "From the [study of stability](studies/lime_stability.md), on seven real tables,": (
            "docs/studies/lime_stability.json"
        ),
    },
    "docs/report.md": {
        "those of very skewed scores hold a little less than they promise:": (
            "docs/studies/intervals.csv"
        ),
    },
    "docs/fused.md": {
        "Integrated gradients with 50 steps took 0.95 of the twin's processor time "
        "(`speedups=False`) on a network of two convolutions without a batch norm, and 0.74 on "
        "ResNet-20 ([study](studies/speedups.md)).": "docs/studies/speedups.json",
    },
    "docs/incremental.md": {
        "Occlusion with 4 x 4 windows took 0.30 of the twin's processor time (`speedups=False`) on a "
        "network of two convolutions, and 0.65 on ResNet-20 ([study](studies/speedups.md));": (
            "docs/studies/speedups.json"
        ),
        "Beside Captum (`bench/README.md`): occlusion of ResNet-20 takes 0.55 of its time, of "
        "MobileNet V2 on 224 x 224 pixels 0.39.": "bench/README.md",
    },
}

# What says where things are, or what a word means.
CLAIM_NOTHING = (
    "`assay` answers three questions about a model's prediction: which parts of the input it rests "
    "on, how good that explanation is, and what can be proven about it.",
    "![Three handwritten digits and what each method says about them; red speaks for the predicted "
    "digit, blue against it.",
    "Three sentences carry everything:",
    "a **`Question`** holds a model, the inputs, the target (which number is explained), the "
    'features (who receives credit) and the removal (what "absent" means);',
    "Because the usual ones are wrong in places where nobody notices.",
    "Looking for a name from a paper or another library?",
    "Coming from shap, Captum, lime or pytorch-grad-cam?",
    "Walk through a [table](docs/tutorials/tables.md), [photographs](docs/tutorials/photographs.md) "
    "or a [text](docs/tutorials/texts.md), or look up what data of your kind need:",
    "What each needs, keeps and costs is in one [table](docs/methods.md), and what that means for "
    "time and memory in [cost](docs/cost.md); the nouns are explained in "
    "[questions](docs/questions.md), what comes back in [answer](docs/answer.md), how the library is "
    "built in [architecture](docs/architecture.md), how fast it is in [bench](bench/README.md), how "
    "it fares on real networks in [studies](docs/studies/).",
    "[CONTRIBUTING](CONTRIBUTING.md) says how a change goes its way, [CHANGELOG](CHANGELOG.md) what "
    "has changed.",
    "Licence:",
    "Apache 2.0.",
)


def flat(text: str) -> str:
    """A text on one line, however it is wrapped."""
    return " ".join(text.split())


@cache
def page_text(page: str) -> str:
    """A page on one line, marks of lists left out."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return flat(re.sub(r"^\s*(- |\d+\. )", "", text, flags=re.MULTILINE))


def sentences(text: str) -> list[str]:
    """The sentences of a page, without its code, tables and headings."""
    prose = re.sub(r"^```.*?^```", "\n\n", text, flags=re.MULTILINE | re.DOTALL)
    found = []
    for paragraph in re.split(r"\n\s*\n", prose):
        lines = [line for line in paragraph.splitlines() if not line.startswith(("|", "#"))]
        # Each entry of a list is a sentence of its own.
        for entry in re.split(r"\n(?=- )", "\n".join(lines)):
            one_line = flat(entry.removeprefix("- "))
            found += re.split(r"(?<=[.?!:])\s+(?=[A-Z`*\[!])", one_line)
    return [sentence for sentence in found if sentence]


@cache
def names_in(path: Path) -> frozenset[str]:
    """The functions of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


@cache
def code_of(page: str) -> str:
    """The lines of a page that run as tests."""
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if line.startswith((">>>", "...")))


def is_there(holder: str) -> bool:
    """Whether what holds a claim exists: a test by its file and name, or an example by its code."""
    where, _, name = holder.partition("::")
    if where.endswith(".md"):
        return bool(name) and name in code_of(where)
    path = ROOT / where
    return path.is_file() and name.startswith("test_") and name in names_in(path)


CASES = [(page, claim) for page, claims in CLAIMS.items() for claim in claims]


@pytest.mark.parametrize(
    ("page", "claim"), CASES, ids=[f"{page}: {claim[:40]}" for page, claim in CASES]
)
def test_a_claim_stands_on_its_page_and_is_held(page: str, claim: str) -> None:
    assert claim in page_text(page), "the sentence was changed: look at the tests that held it"
    holders = CLAIMS[page][claim]
    assert holders
    missing = [holder for holder in holders if not is_there(holder)]
    assert missing == [], "no such test: the claim is held by nothing"


FIGURE_CASES = [(page, claim) for page, claims in FIGURES.items() for claim in claims]


@pytest.mark.parametrize(
    ("page", "claim"), FIGURE_CASES, ids=[f"{page}: {claim[:40]}" for page, claim in FIGURE_CASES]
)
def test_a_figure_stands_on_its_page_and_is_kept(page: str, claim: str) -> None:
    assert claim in page_text(page), "the sentence was changed: look at the figures it is from"
    assert (ROOT / FIGURES[page][claim]).is_file()


def test_every_sentence_of_the_readme_is_held_or_claims_nothing() -> None:
    said = sentences((ROOT / "README.md").read_text(encoding="utf-8"))
    # Links alone say where to read on.
    said = [
        sentence for sentence in said if re.sub(r"\[[^\]]*\]\([^)]*\)", "", sentence).strip(" ,.")
    ]
    links = re.compile(r"^(\[[^\]]*\]\([^)]*\),?( and)? ?)+( from papers)?\.$")
    said = [sentence for sentence in said if not links.match(sentence)]
    silent = [
        sentence for sentence in said if sentence not in {*CLAIMS["README.md"], *CLAIM_NOTHING}
    ]
    assert silent == [], (
        "a sentence that nothing holds: map it to its tests, or say it claims nothing"
    )


def test_every_page_has_claims_that_are_held() -> None:
    docs = ROOT / "docs"
    # Studies are held by their scripts and kept figures.
    pages = {page.relative_to(ROOT).as_posix() for page in docs.rglob("*.md")}
    pages = {page for page in pages if not page.startswith("docs/studies/")}
    assert pages | {"README.md"} == set(CLAIMS)
