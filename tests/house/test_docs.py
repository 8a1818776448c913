"""The docs say what the code does: generated pages are current, links lead somewhere, names exist."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import assay
from assay.comparison.comparing import compare
from assay.errors import AssayError
from assay.methods.shapley.exact import ExactShapley
from assay.methods.shapley.kernel_shap import KernelShap
from assay.metrics import METRICS
from assay.metrics.sensitivity.max_sensitivity import MaxSensitivity
from assay.perturbations import Squares
from assay.registry import tables
from assay.registry.aliases import ALIASES, normalised

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


@pytest.mark.parametrize(
    ("name", "page"), [("methods.md", tables.page), ("names.md", tables.names_page)]
)
def test_the_generated_pages_are_current(name: str, page: Callable[[], str]) -> None:
    kept = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert kept == page(), f"docs/{name} is out of date: make docs"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        if not link.startswith(("http://", "https://")):
            assert (page.parent / link).exists(), (
                f"{page.name} points to {link}, which is not there"
            )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_lines_of_code_in_pages_are_short_enough_to_read(page: Path) -> None:
    assert all(
        len(line) <= 120
        for line in page.read_text(encoding="utf-8").splitlines()
        if line.startswith((">>>", "..."))
    )


def test_the_index_names_every_page() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    missing = [
        page.name
        for page in PAGES
        if page.parent.name == "docs" and page.name != "index.md" and page.name not in index
    ]
    assert not missing


def test_every_method_and_metric_has_a_page() -> None:
    text = "\n".join(
        page.read_text(encoding="utf-8")
        for page in PAGES
        if page.name not in ("methods.md", "names.md", "architecture.md")
    )
    missing = [name for name in (*assay.METHODS, *METRICS) if not re.search(rf"\b{name}\b", text)]
    assert not missing, "no page of the docs says a word about these"


def test_coming_from_elsewhere_says_what_the_names_say() -> None:
    page = (ROOT / "docs" / "coming-from.md").read_text(encoding="utf-8")
    known = {(alias.library, normalised(alias.name)): alias for alias in ALIASES}
    rows = re.findall(r"^\| (`.*`) \| (.*) \|$", page, flags=re.M)
    libraries = re.findall(r"^\| ([\w-]+) \| here \|$", page, flags=re.M)
    assert libraries == ["shap", "Captum", "lime", "pytorch-grad-cam"]
    # The rows of a table follow its head.
    tables_there = re.split(r"^\| [\w-]+ \| here \|$", page, flags=re.M)[1:]
    seen = 0
    for library, table in zip(libraries, tables_there):
        for names, here in re.findall(r"^\| (`.*`) \| (.*) \|$", table, flags=re.M):
            for name in re.findall(r"`([^`]+)`", names):
                alias = known.get((library, normalised(name)))
                alias = alias or known.get((library, name.casefold()))
                assert alias is not None, f"{name} of {library} is no name in the table"
                assert here == (f"`{alias.here}`" if alias.here else "nothing yet"), name
            seen += 1
    assert seen == len(rows) > 50


def test_a_table_escapes_what_would_break_it() -> None:
    made = tables.Catalogue("t", ("a", "b"), (("|x|", "y"),))
    assert made.markdown() == "| a | b |\n| --- | --- |\n| \\|x\\| | y |\n"


def test_importing_loads_nothing_that_is_not_needed() -> None:
    heavy = {"pandas", "sklearn", "matplotlib", "rich", "typer", "jinja2", "scipy.stats", "PIL"}
    code = (
        "import torch, sys; there = set(sys.modules); import assay; "
        f"print(sorted(({heavy!r} & set(sys.modules)) - there))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_target_makes_its_environment_with_exact_versions_and_torch_first() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    rule = re.search(r"^\$\(READY\):.*?(?=^\S)", makefile, flags=re.M | re.S)
    assert rule is not None
    torch_alone, everything = re.findall(r"^\t.*pip install.*$", rule[0], flags=re.M)
    assert re.search(r"-c constraints\.txt torch==\S+$", torch_alone)
    assert re.search(r"-c constraints\.txt -e '\.\[test\]'", everything)
    for target in ("demo", "test", "lint", "types", "docs"):
        assert re.search(rf"^{target}: \$\(READY\)$", makefile, flags=re.M), target
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    named = [line for line in constraints if line and not line.startswith("#")]
    assert all("==" in line for line in named)
    assert 'requires-python = ">=3.11"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_nothing_speaks_to_a_network() -> None:
    speaks = {"requests", "urllib", "http", "socket", "httpx", "ftplib", "huggingface_hub"}
    speaks |= {"aiohttp", "urllib3", "torchvision", "transformers", "gdown"}
    files = [*(ROOT / "src").rglob("*.py"), *(ROOT / "zoo" / "src").rglob("*.py")]
    assert len(files) > 100
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert "load_state_dict_from_url" not in text, path
        # scikit-learn's own loaders that ask a server.
        assert not re.search(r"\bfetch_(openml|california|20news|lfw|covtype|kdd)", text), path
        for node in ast.walk(ast.parse(text)):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in getattr(node, "names", []) if hasattr(alias, "name")]
            assert not {name.partition(".")[0] for name in names} & speaks, path


# What the README's list of what is covered calls them.
COVERED = {
    "gradient": "Gradient",
    "input x gradient": "InputXGradient",
    "integrated gradients (exact ones, too)": "IntegratedGradients ExactIntegratedGradients",
    "conductance": "Conductance",
    "any path": "Path",
    "Influence inside a network": "InternalInfluence",
    "expected gradients": "ExpectedGradients",
    "smoothing": "Smoothed Absolute TimesInput",
    "guided backpropagation": "GuidedBackprop",
    "deconvnet": "Deconvnet",
    "relevance propagation": "LRP",
    "DeepLIFT": "DeepLift",
    "class activation maps by slopes": "CAM GradCam GradCamPlusPlus XGradCam HiResCam LayerCam",
    "by masking channels": "ScoreCam AblationCam",
    "by their main direction": "EigenCam",
    "guided ones": "Guided",
    "full gradients": "FullGrad",
    "rollout, raw attention": "AttentionRollout RawAttention",
    "its relevance and transformer relevance": "AttentionRelevance TransformerRelevance",
    "exact": "ExactShapley LowOrderShap",
    "sampled": "PermutationShapley SamplingShapley",
    "kernel": "KernelShap",
    "proxy Shapley values": "ProxyShap",
    "Owen values": "OwenValues",
    "closed forms": "LinearShap MaxShap",
    "retraining": "ShapleyRegression",
    "LIME": "Lime",
    "RISE": "Rise",
    "occlusion": "Occlusion",
    "quantitative input influence": "Qii",
    "exact Shapley and Banzhaf values": "TreeShap",
    "interactions of pairs": "TreeInteractions ExactInteractions",
    "infidelity": "Infidelity",
    "max-sensitivity": "MaxSensitivity",
    "completeness": "Completeness",
    "correlations over subsets": "SensitivityN FaithfulnessCorrelation",
    "deletion and insertion": "Deletion Insertion LeastRelevantFirst SymmetricRelevanceGain",
    "AOPC": "AOPC",
    "necessity and sufficiency in order and in proportion": (
        "NecessityOrdering SufficiencyOrdering NecessityProportionality SufficiencyProportionality"
    ),
    "average drop, increase and gain": "AverageDrop AverageIncrease AverageGain",
    "comprehensiveness": "Comprehensiveness Sufficiency",
    "log-odds": "LogOddsChange",
    "ROAD": "Road",
    "monotonicity": "Monotonicity",
    "pointing game": "PointingGame",
    "mass and ranks": "MassAccuracy RankAccuracy",
    "ratios, overlap, ROC area": "InsideOutsideRatio IntersectionOverUnion RocArea",
    "[complexity]": "Compactness Gini Entropy EffectiveNumber Connectedness",
    "[agreement]": "RankCorrelation TopKOverlap SignAgreement",
    "optimal explanations": "Optimal",
    "Lipschitz sensitivity": "LipschitzSensitivity",
    "gradient sensitivity": "GradientSensitivity",
    "model randomisation": "ModelRandomisation",
    "class sensitivity": "ClassSensitivity",
    "input shifts": "InputShift",
}
NOT_COVERED = {
    "concept activation vectors": "TCAV",
    "anchors": "Anchors",
}


def test_what_is_covered_and_what_not_is_as_the_readme_says() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    covered = readme.partition("## What is covered")[2]
    covered, _, rest = covered.partition("Not covered yet:")
    words = " ".join(covered.split())
    assert all(phrase in words for phrase in COVERED)
    named = {name for names in COVERED.values() for name in names.split()}
    assert named == {*assay.METHODS, *METRICS}
    words = " ".join(rest.split())
    for phrase, name in NOT_COVERED.items():
        assert phrase in words, phrase
        with pytest.raises(AssayError, match="has no equivalent here yet"):
            assay.parse(name, assay.Method)


# --- the right column of the README's table


def test_every_rule_is_exact_for_a_linear_model() -> None:
    question = assay.Question(lambda x: x @ torch.tensor([1.0, 2.0, 3.0]), torch.ones(1, 3))
    for rule in ("gauss_legendre", "trapezoid", "left", "right", "middle"):
        for steps in (2, 10):
            total = assay.IntegratedGradients(steps=steps, rule=rule)(question).values.sum()
            assert float(total) == pytest.approx(6.0, abs=1e-6)


def test_a_shared_matrix_is_not_repeated() -> None:
    matrix = torch.tensor([[1.0], [2.0], [3.0]])
    given = {"matrix": assay.Shared(matrix)}
    question = assay.Question(lambda x, matrix: (x @ matrix)[:, 0], torch.ones(2, 3), context=given)
    values = assay.IntegratedGradients(steps=50)(question).values
    torch.testing.assert_close(values, matrix.T.repeat(2, 1), rtol=1e-6, atol=0)


def test_a_network_in_training_mode_does_not_answer_by_its_neighbours() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3)).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(AssayError):
        assay.IntegratedGradients()(assay.Question(net, torch.rand(4, 3), target=0))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert net.training


def test_a_budget_that_determines_nothing_is_refused() -> None:
    question = assay.Question(lambda x: x.sum(1), torch.rand(1, 100))
    with pytest.raises(AssayError, match="at least 298"):
        KernelShap(budget=25)(question)


def test_every_row_of_a_background_counts() -> None:
    rows = torch.zeros(1500, 2)
    rows[-1] = 1500.0
    question = assay.Question(lambda x: x.sum(1), torch.ones(1, 2), removal=assay.Background(rows))
    torch.testing.assert_close(question.base, torch.tensor([2.0]))
    torch.testing.assert_close(ExactShapley()(question).values, torch.zeros(1, 2))


def test_squares_are_removed_one_at_a_time() -> None:
    question = assay.Question(
        lambda x: (x**2).sum((1, 2, 3)), torch.ones(1, 1, 8, 8), features=assay.Pixels()
    )
    squares = Squares(sides=(4,))
    removed = squares.draw(question, 0, (0, squares.size(question, 1))).removed
    assert removed is not None
    assert removed.shape[1] == 25
    assert bool((removed.sum(2) == 16).all())


def test_a_score_does_not_depend_on_the_batch_size() -> None:
    net = (
        torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))
        .double()
        .eval()
    )
    inputs, method = torch.rand(9, 3, dtype=torch.float64), assay.Gradient()
    details = []
    for size in (64, 4, 1):
        question = assay.Question(assay.wrap(net, batch_size=size), inputs, target=0)
        details.append(
            MaxSensitivity(method, draws=5)(question, method(question)).details["lipschitz"]
        )
    assert details[0].std() > 0
    for other in details[1:]:
        torch.testing.assert_close(other, details[0], rtol=1e-10, atol=0)


def test_every_metric_gives_an_interval_and_a_paired_test() -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Linear(2, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2), torch.nn.Softmax(1)
    )
    truth = torch.tensor([[True, False]]).expand(12, 2)
    question = assay.Question(net, torch.rand(12, 2), target=0, truth=truth)
    # The inputs are no images, which are what ROAD imputes.
    metrics = [assay.Road(removal=None) if name == "Road" else name for name in METRICS]
    table = compare(question, [assay.Gradient(), assay.IntegratedGradients()], metrics)
    for metric in table.metrics:
        # No credit at all has no shares, ranks or correlations: a reference point without a score.
        scores = [score for name, score in table.by(metric).items() if name in table.methods]
        assert len(scores) == 2
        assert all(low <= high for low, high in (score.interval for score in scores))
        assert len(table.rankings[metric].pairs) == 1
