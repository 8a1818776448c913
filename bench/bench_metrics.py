"""Infidelity with 100 perturbations and max-sensitivity with 50 draws, of gradients, on 100
pictures.
"""

from __future__ import annotations

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
    bench.save()


if __name__ == "__main__":
    main()
