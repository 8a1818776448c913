"""Whether two explanations are connected: how a metric changes on the straight way between them.

phi_t = (1 - t) phi_a + t phi_b. Infidelity is a convex quadratic in phi (Yeh et al. 2019, proposition
2.1), INFD(phi_t) = (1 - t) INFD_a + t INFD_b - t (1 - t) E[(I . (phi_a - phi_b))^2]: between two faithful
explanations no barrier can stand. Other metrics may have one.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from assay.answers.attribution import Attribution
from assay.answers.score import Score
from assay.errors import InputError, KindError
from assay.metrics.base import Metric
from assay.question.question import Question
from assay.settings import argument, shown


def path_barrier(
    question: Question,
    first: Attribution,
    second: Attribution,
    metric: Metric,
    *,
    steps: int = 10,
    seed: int = 0,
) -> Score:
    """The height of the barrier between two explanations, along the straight way from one to the other.

    max_t m(phi_t) - max(m(phi_0), m(phi_1)) of a metric that is better when lower, and the drop below the
    worse end of one that is better when higher: above 0 the way leads over something worse than both.

    Arguments:
        question: what both have answered.
        first, second: two attributions of one kind.
        metric: judges them, all points of the way from the same draws.
        steps: of the way, at least 2.
        seed: of the metric's draws.

    Details: `curve`, the metric along the way, and `share`, t: (n, steps + 1).

    Units: those of the metric. Cost: the metric of steps + 1 attributions. Errors: KindError for what
    is no metric, InputError for attributions of two kinds or a way of fewer than 2 steps.

    >>> import assay
    >>> f = lambda x: x[:, 0] * x[:, 1]
    >>> question = assay.Question(f, torch.tensor([[2.0, 3.0]]))
    >>> ends = assay.IntegratedGradients()(question), assay.InputXGradient()(question)
    >>> path_barrier(question, *ends, assay.Infidelity(draws=100)).mean <= 0
    True
    """
    steps = argument("path_barrier", "steps", steps, int)
    if not isinstance(metric, Metric):
        raise KindError(
            expected="a metric for the way between two explanations",
            got=shown(metric),
            advice="Hand over an instance: path_barrier(question, a, b, Infidelity()).",
        )
    if steps < 2 or first.kind != second.kind or first.values.shape != second.values.shape:
        raise InputError(
            expected="two attributions of one kind and shape, and at least 2 steps between them",
            got=f"a {first.kind} and a {second.kind}, {steps} steps",
            advice="Make contributions of slopes: TimesInput(method).",
        )
    shares = [step / steps for step in range(steps + 1)]
    # A mixture is nobody's answer: the first one's gap from completeness is not its own.
    way = [
        replace(first, values=torch.lerp(first.values, second.values, share), gap=None)
        for share in shares
    ]
    # In one call: all points of the way share the draws, so that no draw makes a barrier.
    scores = metric.each(question, way, seed=seed)
    curve = torch.stack([score.values for score in scores], dim=1)
    # Turned so that larger is worse, whichever way the metric counts.
    worse = curve if scores[0].direction == "lower" else -curve
    # Above the worse end: a way that only climbs from one end to the other has no barrier.
    height = worse.amax(1) - torch.maximum(worse[:, 0], worse[:, -1])
    share = torch.tensor(shares, dtype=torch.float64).expand_as(curve)
    return replace(
        scores[0],
        name=f"barrier of {scores[0].name}",
        values=height,
        direction="lower",
        error=None,
        details={"curve": curve, "share": share},
        provenance={
            **scores[0].provenance,
            "method": f"{first.method} to {second.method}",
        },
    )
