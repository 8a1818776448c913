"""Black-box methods beside shap, Captum, lime, and bare forward passes."""

from __future__ import annotations

import math

import torchvision_names  # noqa: F401  before whatever imports torchvision

import captum.attr
import lime.lime_tabular
import numpy as np
import shap
import torch
import torchvision
import xgboost
from torch import Tensor, nn

import assay
import harness
import zoo
from assay.methods.lime.lime import Lime
from assay.methods.lime.quartiles import Quartiles
from assay.methods.occlusion import Occlusion
from assay.methods.rise import Rise
from assay.methods.shapley.exact import ExactShapley
from assay.methods.shapley.kernel_shap import KernelShap

ROWS = 100
FEATURES = 20
COALITIONS = 2048
BACKGROUND = 10


def table(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Friedman's function with interactions, and columns that do nothing."""
    x = np.random.default_rng(seed).random((rows, FEATURES))
    y = (
        10 * np.sin(np.pi * x[:, 0] * x[:, 1])
        + 20 * (x[:, 2] - 0.5) ** 2
        + 10 * x[:, 3]
        + 5 * x[:, 4] * x[:, 5]
    )
    return x, y


def boosted() -> object:
    x, y = table(5000, 0)
    return xgboost.XGBRegressor(
        n_estimators=100, max_depth=6, n_jobs=harness.THREADS, random_state=0
    ).fit(x, y)


def small_net(features: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(features, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1)
    ).eval()


def kernel_shap(bench: harness.Bench) -> None:
    names = {title: f"KernelSHAP, 100 rows, {title}" for title in ("XGBoost", "a free model")}
    if not any(map(bench.wanted, names.values())):
        return
    rows = table(ROWS, 1)[0]
    background = table(BACKGROUND, 2)[0]
    slope = np.linspace(-1, 1, FEATURES)
    models = {"XGBoost": (boosted().predict, 0.4), "a free model": (lambda x: x @ slope, 0.1)}
    settings = f"{FEATURES} features, {COALITIONS} coalitions, {BACKGROUND} background rows"
    for title, (predict, target) in models.items():
        explainer = shap.KernelExplainer(predict, background)
        model = assay.wrap(predict)

        def ours(model: assay.Model = model) -> object:
            question = assay.Question(model, rows, removal=assay.Background(background))
            return KernelShap(budget=COALITIONS)(question)

        def theirs(explainer: object = explainer) -> object:
            return explainer.shap_values(rows, nsamples=COALITIONS, l1_reg=False, silent=True)

        bench.pair(names[title], "shap", ours, theirs, target, settings=settings, pairs=3)


def kernel_shap_network(bench: harness.Bench) -> None:
    name = "KernelSHAP, 100 rows, a network"
    if not bench.wanted(name):
        return
    net = small_net(FEATURES)
    rows = torch.tensor(table(ROWS, 1)[0], dtype=torch.float32)
    model = assay.wrap(net)
    explainer = captum.attr.KernelShap(net)

    def captum_run(batch: int) -> Tensor:
        return explainer.attribute(rows, n_samples=COALITIONS, perturbations_per_eval=batch)

    def ours() -> object:
        return KernelShap(budget=COALITIONS)(assay.Question(model, rows))

    settings = f"{FEATURES} features, {COALITIONS} coalitions, baseline 0"
    if not bench.options.peers:
        ours()
    explainer.attribute(
        rows[:1], n_samples=16
    )  # both are warm; a whole run of captum's takes minutes
    bench.pair(
        name, "captum, defaults", ours, lambda: captum_run(1), 0.02, settings=settings, pairs=3, warm=False
    )  # fmt: skip
    batch = bench.best((64, 512, 2048), captum_run, repeats=1)
    chosen = f"{settings}, perturbations_per_eval={batch}"
    bench.pair(
        name,
        "captum, best batch",
        ours,
        lambda: captum_run(batch),
        settings=chosen,
        pairs=3,
        warm=False,
    )


def exact(bench: harness.Bench) -> None:
    """Captum asks features * features! rows, far too many at 10.

    It is timed at 7 and scaled by its number of rows.
    """
    name = "exact Shapley values, 10 features"
    if not bench.wanted(name):
        return
    few = 7
    many = 10
    net = small_net(many)
    rows = torch.tensor(table(4, 1)[0][:, :many], dtype=torch.float32)
    smaller = small_net(few)
    fewer = rows[:, :few].contiguous()
    explainer = captum.attr.ShapleyValues(smaller)
    batch = bench.best(
        (1, 64, 512, 2048), lambda size: explainer.attribute(fewer, perturbations_per_eval=size), 1
    )
    scale = many * math.factorial(many) / (few * math.factorial(few))
    theirs = scale * harness.seconds(
        lambda: explainer.attribute(fewer, perturbations_per_eval=batch)
    )
    ours = float("nan")
    if not bench.options.peers:
        model = assay.wrap(net)

        def work() -> object:
            return ExactShapley()(assay.Question(model, rows))

        work()
        ours = min(harness.seconds(work) for _ in range(3))
    settings = (
        f"4 rows; captum timed at {few} features, perturbations_per_eval={batch}, "
        f"times {scale:.0f} by its rows"
    )
    bench.keep(
        harness.Result(
            name, "captum, best batch", ours, theirs, ours / theirs, 0.001, "s", settings
        )
    )


def lime_tables(bench: harness.Bench) -> None:
    name = "LIME, 100 rows of a table"
    samples = 5000
    keep = 5
    if not bench.wanted(name):
        return
    predict = boosted().predict
    train = table(2000, 0)[0]
    rows = table(ROWS, 1)[0]
    model = assay.wrap(predict)
    explainer = lime.lime_tabular.LimeTabularExplainer(train, mode="regression", random_state=0)

    def theirs() -> object:
        return [
            explainer.explain_instance(row, predict, num_features=keep, num_samples=samples)
            for row in rows
        ]

    def ours() -> object:
        return Lime(Quartiles(train, samples=samples), keep=keep)(assay.Question(model, rows))

    settings = f"XGBoost, {FEATURES} features, {samples} samples, quartile bins, forward selection of {keep}"
    bench.pair(name, "lime", ours, theirs, 0.05, settings=settings, pairs=3, warm=False)


def occlusion(bench: harness.Bench) -> None:
    small = zoo.cifar10(count=100)[0]
    large = zoo.photographs(count=2)[0]
    for name, make, images, window, stride in (
        ("occlusion, ResNet-20", lambda: zoo.cifar_resnet(20), small, 4, 4),
        ("occlusion, MobileNet V2", zoo.mobilenet_v2, large, 16, 8),
    ):
        if bench.wanted(name):
            occlude(bench, name, make(), images, window, stride)


def occlude(
    bench: harness.Bench, name: str, net: nn.Module, images: Tensor, window: int, stride: int
) -> None:
    with torch.no_grad():
        targets = net(images).argmax(1)
    model = assay.wrap(net)
    explainer = captum.attr.Occlusion(net)

    def captum_run(batch: int) -> Tensor:
        return explainer.attribute(
            images,
            (3, window, window),
            (3, stride, stride),
            target=targets,
            perturbations_per_eval=batch,
        )

    def ours() -> object:
        question = assay.Question(
            model, images, target=assay.Output(targets), features=assay.Pixels(pooling="mean")
        )
        return Occlusion(window=window, stride=stride)(question)

    settings = f"{len(images)} images of {images.shape[-1]} x {images.shape[-1]}, {window} x {window} windows"
    bench.pair(name, "captum, defaults", ours, lambda: captum_run(1), settings=settings)
    batch = bench.best((1, 2, 4, 8, 16, 64), captum_run, repeats=3 if len(images) > 2 else 1)
    chosen = f"{settings}, perturbations_per_eval={batch}"
    bench.pair(name, "captum, best batch", ours, lambda: captum_run(batch), 0.7, settings=chosen)


def rise(bench: harness.Bench) -> None:
    name = "RISE, ResNet-18, 224 x 224"
    masks = 400 if bench.options.quick else 4000
    if not bench.wanted(name):
        return
    torch.manual_seed(0)
    net = torchvision.models.resnet18(weights=None).eval()
    image = zoo.photographs(count=1)[0]
    model = assay.wrap(net)

    def bare(batch: int, count: int = masks) -> None:
        with torch.inference_mode():
            for start in range(0, count, batch):
                net(image.expand(min(batch, count - start), -1, -1, -1).contiguous())

    def ours() -> object:
        question = assay.Question(
            model, image, target=assay.Output(0), features=assay.Pixels(pooling="mean")
        )
        return Rise(masks=masks)(question)

    batch = bench.best((8, 16, 32, 64), lambda size: bare(size, 128), 1)
    settings = f"{masks} masks; bare passes in chunks of {batch}"
    bench.pair(
        name,
        "bare forward passes",
        ours,
        lambda: bare(batch),
        1.10,
        settings=settings,
        pairs=2,
        warm=False,
    )


def main() -> None:
    harness.conditions()
    bench = harness.Bench("shapley", harness.arguments(__doc__))
    for case in (kernel_shap, kernel_shap_network, exact, lime_tables, occlusion, rise):
        case(bench)
    bench.save()


if __name__ == "__main__":
    main()
