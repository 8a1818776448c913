"""Infidelity with 100 perturbations and max-sensitivity with 50 draws, of gradients, on 100 pictures;
six methods by ten metrics beside Quantus; curves beside the bare forward passes; memory of draws.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import torchvision_names  # noqa: F401  before whatever imports torchvision

import captum.attr
import captum.metrics
import numpy as np
import quantus
import torch
from torch import Tensor, nn

import assay
import harness
import zoo
from assay.engine import torch_in_one_thread
from assay.metrics.faithfulness.infidelity import Infidelity
from assay.metrics.sensitivity.max_sensitivity import MaxSensitivity
from assay.perturbations import GaussianNoise

IMAGES = 100
PERTURBATIONS = 100
DRAWS = 50
NOISE = 0.2
RADIUS = 0.1
BATCHES = (100, 200, 400, 1000, 2000)


def noisy(arr: np.ndarray, **_: object) -> np.ndarray:
    return (arr - NOISE * np.random.randn(*arr.shape)).astype(arr.dtype)  # noqa: NPY002  the peer's own global state


def uniform(arr: np.ndarray, **_: object) -> np.ndarray:
    return (arr + np.random.uniform(-RADIUS, RADIUS, arr.shape)).astype(arr.dtype)  # noqa: NPY002


def infidelity(
    bench: harness.Bench, net: nn.Module, images: Tensor, targets: Tensor, slopes: Tensor
) -> None:
    name = "infidelity of gradients"
    if not bench.wanted(name):
        return

    def perturb(inputs: Tensor) -> tuple[Tensor, Tensor]:
        noise = NOISE * torch.randn_like(inputs)
        return noise, inputs - noise

    def captum_run(batch: int | None) -> Tensor:
        return captum.metrics.infidelity(
            net,
            perturb,
            images,
            slopes,
            target=targets,
            n_perturb_samples=PERTURBATIONS,
            max_examples_per_batch=batch,
        )

    def quantus_run(**settings: object) -> list[float]:
        metric = quantus.Infidelity(
            n_perturb_samples=PERTURBATIONS,
            abs=False,
            normalise=False,
            disable_warnings=True,
            **settings,
        )
        return metric(
            model=net,
            x_batch=images.numpy(),
            y_batch=targets.numpy(),
            a_batch=slopes.numpy(),
            device="cpu",
        )

    def ours() -> object:
        question = assay.Question(model, images, target=assay.Output(targets))
        return Infidelity(GaussianNoise(NOISE), draws=PERTURBATIONS)(question, answer)

    model = assay.wrap(net)
    answer = None if bench.options.peers else gradient(model, images, targets)
    law = f"Gaussian noise {NOISE}, {PERTURBATIONS} perturbations, {len(images)} images"
    bench.pair(name, "captum, defaults", ours, lambda: captum_run(None), 0.5, settings=law)
    batch = bench.best(BATCHES, captum_run)
    law_ = f"{law}, max_examples_per_batch={batch}"
    bench.pair(name, "captum, best batch", ours, lambda: captum_run(batch), 0.5, settings=law_)
    bench.pair(
        name, "quantus, 100 samples", ours, quantus_run, 0.05, pairs=3, warm=False,
        settings="its own law: 4 x 4 blocks, 4,900 evaluations an image",
    )  # fmt: skip
    bench.pair(
        name, "quantus, 100 evaluations", ours,
        lambda: quantus_run(perturb_patch_sizes=[28], perturb_func=noisy), settings=law,
    )  # fmt: skip


def gradient(model: assay.Model, images: Tensor, targets: Tensor) -> assay.Attribution:
    return assay.Gradient()(assay.Question(model, images, target=assay.Output(targets)))


def sensitivity(
    bench: harness.Bench, net: nn.Module, images: Tensor, targets: Tensor, slopes: Tensor
) -> None:
    name = "max-sensitivity of gradients"
    if not bench.wanted(name):
        return
    saliency = captum.attr.Saliency(net)

    def captum_run(batch: int | None) -> Tensor:
        return captum.metrics.sensitivity_max(
            saliency.attribute, images, perturb_radius=RADIUS, n_perturb_samples=DRAWS,
            max_examples_per_batch=batch, target=targets, abs=False,
        )  # fmt: skip

    def quantus_run() -> list[float]:
        metric = quantus.MaxSensitivity(
            nr_samples=DRAWS,
            lower_bound=RADIUS,
            abs=False,
            normalise=False,
            disable_warnings=True,
            perturb_func=uniform,
        )
        return metric(
            model=net, x_batch=images.numpy(), y_batch=targets.numpy(), a_batch=slopes.numpy(), device="cpu",
            explain_func=quantus.explain, explain_func_kwargs={"method": "Gradient"},
        )  # fmt: skip

    def ours() -> object:
        question = assay.Question(model, images, target=assay.Output(targets))
        return MaxSensitivity(assay.Gradient(), radius=RADIUS, ball="linf", draws=DRAWS)(
            question, answer
        )

    model = assay.wrap(net)
    answer = None if bench.options.peers else gradient(model, images, targets)
    law = f"uniform in a box of radius {RADIUS}, {DRAWS} draws, {len(images)} images"
    bench.pair(name, "captum, defaults", ours, lambda: captum_run(None), 0.5, settings=law)
    batch = bench.best(BATCHES, captum_run)
    law_ = f"{law}, max_examples_per_batch={batch}"
    bench.pair(name, "captum, best batch", ours, lambda: captum_run(batch), 0.5, settings=law_)
    bench.pair(name, "quantus", ours, quantus_run, 0.05, settings=law, pairs=3)


SUBSETS = 100  # of the faithfulness correlation, 224 pixels each
FLIPS = 49  # steps of curves, 16 pixels each
NEIGHBOURS = 20  # of both sensitivities
PATH = 20  # steps of integrated gradients

# The same explanation on both sides; theirs by Captum.
METHODS: dict[str, assay.Method] = {
    "Saliency": assay.Gradient(),
    "InputXGradient": assay.InputXGradient(),
    "IntegratedGradients": assay.IntegratedGradients(PATH),
    "GuidedBackprop": assay.GuidedBackprop(),
    "Deconvolution": assay.Deconvnet(),
    "DeepLift": assay.DeepLift(),
}


def explained(
    model: nn.Module, inputs: Any, targets: Any, method: str = "Saliency", **_: object
) -> np.ndarray:
    """One of Captum's explanations, as Quantus asks for it again at neighbours."""
    x = torch.as_tensor(inputs, dtype=torch.float32)
    y = torch.as_tensor(targets)
    settings: dict[str, Any] = {"n_steps": PATH} if method == "IntegratedGradients" else {}
    if method == "Saliency":
        settings = {"abs": False}
    found = getattr(captum.attr, method)(model).attribute(x, target=y, **settings)
    return found.detach().numpy()  # type: ignore[no-any-return]


def their_metrics() -> list[Any]:
    """Ten metrics, signed and unscaled, with the counts of the other side."""
    plain: dict[str, Any] = {"abs": False, "normalise": False, "disable_warnings": True}
    near = {**plain, "nr_samples": NEIGHBOURS}
    curve = {**plain, "features_in_step": 28 * 28 // FLIPS, "perturb_baseline": "black"}
    return [
        quantus.FaithfulnessCorrelation(
            nr_runs=SUBSETS, subset_size=224, perturb_baseline="black", **plain
        ),
        quantus.PixelFlipping(**curve),
        quantus.SensitivityN(n_max_percentage=0.8, **curve),
        quantus.RegionPerturbation(
            patch_size=4, regions_evaluation=FLIPS, perturb_baseline="black", **plain
        ),
        quantus.Infidelity(
            perturb_patch_sizes=[4], n_perturb_samples=10, perturb_baseline="black", **plain
        ),
        quantus.MaxSensitivity(lower_bound=RADIUS, perturb_func=uniform, **near),
        quantus.LocalLipschitzEstimate(perturb_func=uniform, **near),
        quantus.RandomLogit(num_classes=10, seed=0, **plain),
        quantus.Sparseness(abs=True, normalise=False, disable_warnings=True),
        quantus.Complexity(abs=True, normalise=False, disable_warnings=True),
    ]


OURS: list[assay.Metric] = [
    assay.FaithfulnessCorrelation(224 / 784, draws=SUBSETS),
    # Theirs breaks ties by position; ours averages over orders, here over as few as have an error.
    assay.Deletion(steps=FLIPS, pairs=2),
    # As many masks as theirs, in sizes of the same range.
    assay.SensitivityN(sizes=(16, 208, 400, 624), draws=10),
    assay.AOPC(steps=FLIPS, pairs=2),
    assay.Infidelity(assay.SubsetToBaseline(), draws=490),
    assay.MaxSensitivity(radius=RADIUS, draws=NEIGHBOURS, ascent=0),
    assay.LipschitzSensitivity(radius=RADIUS, draws=NEIGHBOURS, ascent=0),
    assay.ClassSensitivity(),
    assay.Gini(),
    assay.Entropy(),
]


FEWER = 10  # times fewer pictures for a peer that asks picture by picture


def one_thread_pair(
    bench: harness.Bench, name: str, peer: str, ours: Callable[[], Any], theirs: Callable[[], Any],
    target: float, settings: str, *, times: int = 1, pairs: int = 3,
) -> None:  # fmt: skip
    """Both in turn on one thread, in processor seconds."""
    with torch_in_one_thread():
        bench.pair(
            name, peer, ours, theirs, target,
            settings=f"{settings}; one thread", pairs=pairs, times=times, warm=False,
            clock="processor",
        )  # fmt: skip


def six_by_ten(bench: harness.Bench, net: nn.Module, images: Tensor, targets: Tensor) -> None:
    name = "six methods by ten metrics"
    if not bench.wanted(name) or bench.options.peers:
        return
    few = images[: len(images) // FEWER]
    # Gone since NumPy 2.4; its curves end in it.
    if not hasattr(np, "trapz"):
        vars(np)["trapz"] = np.trapezoid
    model = assay.wrap(net)

    def ours() -> object:
        question = assay.Question(
            model,
            images,
            target=assay.Output(targets),
            features=assay.Pixels(),
            removal=assay.Baseline(0.0),
        )
        found = assay.compare(question, METHODS, OURS, references=False)
        # A refused cell would be a saving that is none.
        if found.refusals:
            raise RuntimeError(str(found.refusals))
        return found

    def theirs() -> None:
        for method in METHODS:
            credit = explained(net, few, targets[: len(few)], method)
            for metric in their_metrics():
                metric(
                    model=net,
                    x_batch=few.numpy(),
                    y_batch=targets[: len(few)].numpy(),
                    a_batch=credit.copy(),
                    device="cpu",
                    explain_func=explained,
                    explain_func_kwargs={"method": method},
                )

    one_thread_pair(
        bench, name, "quantus", ours, theirs, 0.05,
        f"{len(images)} digits; {SUBSETS} subsets, {FLIPS} steps, 490 perturbations, "
        f"{NEIGHBOURS} neighbours on both sides",
        times=FEWER, pairs=1,
    )  # fmt: skip


def curves(bench: harness.Bench) -> None:
    """Deletion and insertion of a photograph, beside as many rows through the bare network."""
    steps = 50
    metrics = {
        "deletion, MobileNet V2": assay.Deletion(steps=steps),
        "insertion, MobileNet V2": assay.Insertion(steps=steps),
    }
    if bench.options.peers or not any(bench.wanted(name) for name in metrics):
        return
    images, _, _ = zoo.photographs(count=1)
    net = zoo.mobilenet_v2()
    with torch.no_grad():
        target = int(net(images).argmax(1))
    model = assay.wrap(net)
    question = assay.Question(model, images, target=target, features=assay.Pixels())
    answer = assay.InputXGradient()(question)
    # None and all of the pixels are known; the rest of the curve is asked.
    rows = images.expand(steps - 1, -1, -1, -1).clone()

    def bare(batch: int) -> None:
        with torch.inference_mode():
            for part in rows.split(batch):
                net(part)

    batch = bench.best((1, 4, 16), bare, repeats=1)
    for name, metric in metrics.items():
        if not bench.wanted(name):
            continue

        def ours(metric: assay.Metric = metric) -> object:
            asked = assay.Question(model, images, target=target, features=assay.Pixels())
            return metric(asked, answer)

        ours()
        one_thread_pair(
            bench, name, "the bare rows, best batch", ours, lambda: bare(batch), 1.1,
            f"{len(rows)} rows of 224 x 224, batches of {batch}",
        )  # fmt: skip


COUNTS = (100, 1000, 10000)
CHILD = """
import json, sys
import harness
import torch, zoo
harness.conditions()
kind, count = sys.argv[1], int(sys.argv[2])
images = torch.rand(10, 1, 28, 28, generator=torch.Generator().manual_seed(0))
net = zoo.DigitNet((8, 16), 64).eval()
import assay
with torch.no_grad():
    targets = net(images).argmax(1)
question = assay.Question(net, images, target=assay.Output(targets), features=assay.Pixels())
answer = assay.InputXGradient()(question)
metrics = {
    "infidelity": lambda count: assay.Infidelity(assay.SubsetToBaseline(), draws=count),
    "correlation": lambda count: assay.FaithfulnessCorrelation(draws=count),
    "sensitivity": lambda count: assay.MaxSensitivity(assay.InputXGradient(), draws=count, ascent=0),
}
# What a process needs for a metric at all is no matter of their number.
metrics[kind](10)(question, answer)
before = harness.peak_megabytes()
metrics[kind](count)(question, answer)
print(json.dumps(harness.peak_megabytes() - before))
"""


def memory(bench: harness.Bench) -> None:
    """Peak memory of a metric as its perturbations grow in number, each in a fresh process."""
    for kind in ("infidelity", "correlation", "sensitivity"):
        name = f"memory of {kind}, n perturbations"
        if not bench.wanted(name) or bench.options.peers:
            continue
        grown = {count: json.loads(harness.child(CHILD, kind, str(count))) for count in COUNTS}
        first, last = grown[COUNTS[0]], grown[COUNTS[-1]]
        told = "; ".join(f"n = {count}: {value:.0f} MB" for count, value in grown.items())
        ratio = max(last, 32) / max(first, 32)
        bench.keep(
            harness.Result(name, f"itself at n = {COUNTS[0]}", last, first, ratio, 2.0, "MB", told)
        )


def main() -> None:
    harness.conditions()
    bench = harness.Bench("metrics", harness.arguments(__doc__))
    net = zoo.DigitNet().eval()
    images = zoo.mnist(count=IMAGES)[0]
    with torch.no_grad():
        targets = net(images).argmax(1)
    slopes = captum.attr.Saliency(net).attribute(images, target=targets, abs=False).detach()
    infidelity(bench, net, images, targets, slopes)
    sensitivity(bench, net, images, targets, slopes)
    six_by_ten(bench, net, images, targets)
    curves(bench)
    memory(bench)
    bench.save()


if __name__ == "__main__":
    main()
