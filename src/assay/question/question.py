"""The one noun that everyone touches: a model, inputs, a target, features and a removal.

A question is asked in six ways: under masks (`value`, `outputs`), at points (`score`), for slopes
(`slope`), along paths (`integrate`), and, for what none of these covers, with any rows at all
(`ask`). Every way first checks that rows do not influence each other and that the target fits, once
for a question. Everything inside works on flat rows; the inputs' shapes matter at the door and
nowhere else. How it is made stands here, and how it is asked behind a layer, up to one and through
one; the rest in the files of the classes that it is built on.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, final

import torch
from torch import Tensor

from assay.answers.shown import Shown
from assay.errors import AssayError, InputError
from assay.features.elements import Elements
from assay.features.partition import Features
from assay.inputs.layout import Context, Rows
from assay.inputs.tensors import TensorLayout
from assay.models.base import ABSENT, Model
from assay.models.black_box import Function
from assay.models.networks.layers import After, Through
from assay.models.wrapping import wrap
from assay.question.arguments import mask_of
from assay.question.derivations import Derivations
from assay.question.evaluation import Evaluation, finite_scores
from assay.question.layers import BehindLayer, LayerPass, Passing, layout_of
from assay.question.validation import (
    admitting,
    arrays_of,
    by_argument,
    check_finite,
    check_replacements,
    check_truth,
    index_of,
    read_inputs,
    require_type,
    split_context,
)
from assay.removals.base import Removal
from assay.removals.fixed import Background
from assay.targets import Label, LayerPart, Neuron, Outputs, Part, Predicted, Target, as_target


@final
class Question(Derivations, Shown):
    """What is asked of a model about some inputs.

    Settings:
        model: any predictor, or what `wrap` made of it.
        inputs: a tensor, an array, a DataFrame, texts, or several tensors that share dimension 0,
            as a tuple, or as a mapping from the names of the model's arguments.
        target: which number is explained: an output by its number, a class by its label, or any
            target. Where nothing is said, the second of two classes whose labels are known (the
            positive class of an estimator), else the predicted class of each input.
        features: who receives credit; every element where nothing is said.
        removal: what an absent feature is replaced by. Where nothing is said it is the model's
            background (`wrap(model, background=rows)`), else zeros; a table with categories or
            dates, in which 0 means nothing, asks for one.
        truth: what is known of the inputs, one entry each, for metrics that compare with it.
        context: what is not attributed (attention masks, lengths, constant matrices): a mapping
            from the model's argument names to `Aligned(tensor)`, one row per input, or
            `Shared(value)`.

    Inside, `x` is (n, elements).

    >>> import torch
    >>> question = Question(torch.nn.Linear(3, 2), torch.ones(4, 3), target=0)
    >>> question.value(torch.tensor([[True, True, False]])).shape
    torch.Size([4, 1])
    """

    @torch.inference_mode(False)
    def __init__(
        self,
        model: Any,
        inputs: Any,
        target: Any = None,
        features: Features | None = None,
        removal: Removal | None = None,
        truth: Any = None,
        *,
        context: Context | None = None,
    ) -> None:
        model = wrap(model)
        # Said once of the model: what absent means where a question does not say it.
        if removal is None and model.background is not None:
            removal = Background(model.background)
        context = {} if context is None else context
        raw = inputs
        model, inputs = by_argument(model, inputs, context)
        # A plain function is called with the kind of array that was handed in.
        if isinstance(model, Function):
            model = model.reading(inputs)
        target = _by_default(model) if target is None else as_target(target)
        # A neuron is an output of the network that stops at its layer.
        target, layer = target.at_layer()
        if layer is not None:
            model = _stopped(model, layer)
        known = Outputs(model.classes, model.probabilities, model.name)
        target = target.told(known)
        layout, self.features, self.removal = read_inputs(inputs, features, removal, model)
        x = check_finite(layout.flatten(inputs), model)
        aligned, shared = split_context(context, len(x), model.device)
        absent = self.removal.bind(layout, x, lambda: layout.identities(x))
        evaluation = Evaluation(
            model=model,
            layout=admitting(layout, absent, x),
            x=x,
            partition=self.features.bind(layout, x),
            absent=check_replacements(absent, model),
            aligned=aligned,
            shared=shared,
        )
        if isinstance(model, Function):
            model.asked_about(evaluation.sample, arrays_of(inputs, context))
        self._fill(evaluation, len(x), target.sized(len(x)), check_truth(truth, len(x)))
        self._known = known
        self.index = index_of(raw)

    # --- at a layer

    def last_layer_with_places(self) -> str:
        """The last layer of the network whose output has places, (channels, height, width).

        Found in a forward of the first input.
        """
        self._check_rows_independent()
        model = self._evaluation.model
        with model.session(slopes=False):
            return model.last_layer_with_places(*self._evaluation.sample())

    @property
    def before(self) -> Question:
        """The question before the layer that this one is asked behind; itself where there is none."""
        source = self._source
        if isinstance(source, BehindLayer) and isinstance(source.before, Question):
            return source.before
        return self

    @torch.inference_mode(False)
    def image(self, points: Tensor, way: Tensor, rows: Tensor) -> tuple[Question, Tensor]:
        """The same question where other inputs (r, elements) in the place of inputs `rows` (r,)
        lead behind the layer, and the velocity (r, units) there when they move along `way`
        (r, elements).

        What skips past the layer is that of these inputs, too. Without a layer it is `at(points)`.
        Cost: one row forward to the layer for each point, with its derivative along the way.
        """
        source = self._source
        if not isinstance(source, BehindLayer):
            self._refuse_moved()
            return self.at(points, rows), way
        self._check_rows_independent()
        image = source.image(points, way, rows)
        return self._carrying(image.activations, image.carried, rows), image.velocities

    @torch.inference_mode(False)
    def image_at(self, points: Tensor, rows: Tensor) -> Question:
        """The same question where other inputs (r, elements) in the place of inputs `rows` (r,)
        lead behind the layer, as `image` without a way.

        Cost: one row forward to the layer for each point.
        """
        source = self._source
        if not isinstance(source, BehindLayer):
            self._refuse_moved()
            return self.at(points, rows)
        self._check_rows_independent()
        return self._carrying(*source.reached(points, rows), rows)

    def _carrying(self, activations: Tensor, carried: dict[str, Tensor], rows: Tensor) -> Question:
        """The same question about other activations, with what is carried beside them."""
        evaluation = self._evaluation.with_inputs(activations, rows)
        evaluation = replace(evaluation, aligned={**evaluation.aligned, **carried})
        return self._moved(evaluation, activations, rows)

    def _refuse_moved(self) -> None:
        """Refuses activations that no input leads to: other ones than were found behind the layer."""
        if isinstance(self.model, After):
            raise InputError(
                expected="activations that inputs lead to, behind a layer",
                got="others in their place",
                advice="Ask question.after(layer) itself, without noise or other points around it.",
            )

    def upto(self, layer: Any, unit: Any, output: Part | None = None) -> Question:
        """The same question asked of one unit of a layer; the forward stops there.

        `layer`, `unit` and `output` are those of `Neuron`.
        """
        target, place = Neuron(layer, unit, output).at_layer()
        evaluation = replace(self._evaluation, model=_stopped(self.model, place))
        upto = self._derived(evaluation, self.n, target.sized(self.n), self.truth)
        upto._known = Outputs(model=evaluation.model.name)
        return upto

    @torch.inference_mode(False)
    def after(
        self,
        layer: Any,
        features: Features | None = None,
        *,
        output: Part | list[Part | None] | None = None,
        removal: Removal | None = None,
    ) -> Question:
        """The same question asked of the rest of the model behind a layer.

        The layer's activations become the inputs. Activations are computed when they are first
        needed.

        Settings:
            layer: its name, as in `named_modules()`, or the module itself; a list of layers lies
                side by side, as several inputs do, and `attribution.parts` cuts them apart again.
            features: who receives credit; every unit where nothing is said.
            output: which part, where the layer gives several tensors: its number, its key or its
                attribute's name; a list has one for each layer, or several of one layer.
            removal: what an absent activation is replaced by, such as Baseline(0.0) or Mean(rows)
                of activations; the activation of the absent input where nothing is said.

        >>> net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
        >>> from assay.removals.fixed import Baseline
        >>> behind = Question(net, torch.ones(2, 3), target=0).after(net[1], removal=Baseline(0.0))
        >>> bool(torch.allclose(behind.base, net[2].bias[0]))
        True
        """
        self._check_rows_independent()
        rest = self._evaluation.model.cut_after(layer, output)
        layout = self._layout_behind(rest)
        features = require_type(Elements() if features is None else features, Features)
        source = BehindLayer(self, rest, layout, features)
        if removal is not None:
            source = replace(source, removal=require_type(removal, Removal))
        return self._behind(source, features, self.removal if removal is None else removal)

    @torch.inference_mode(False)
    def passing(self, layer: Any, *, slopes: bool) -> Passing:
        """The activations that the inputs pass at a layer, with the target's slopes at them: those
        of `after(layer)`, from one forward of the network itself.

        What is chosen on the clean inputs, and predicted of them, comes from it as well where it has
        not been asked before. Kept until it is asked for: the second call takes it along. Behind a
        layer the activations are the inputs. Cost: one row forward for each input, and one backward
        behind the layer.
        """
        # Handed on once and let go: activations of all inputs are large.
        if self._passing is not None and self._passing[0] == (layer, slopes):
            kept = self._passing[1]
            self._passing = None
            return kept
        if self.is_behind_layer:
            return Passing(self.layout, self.x, self.slope() if slopes else None)
        rest = self._evaluation.model.cut_after(layer)
        self._check_weights()
        # A network whose rows were checked in an earlier question need not ask them in pairs again.
        if not self._rows_checked:
            layer_pass = self._layer_pass(rest, slopes)
            learnt = layer_pass.run_as_learnt()
            if learnt is not None:
                passing, self._alone = learnt
                self._rows_checked = True
                self._keep_answers(layer_pass)
                return passing
        self._check_rows_independent()
        layout = self._layout_by_hooks(rest)
        if layout is None:
            return self.after(layer).passing(layer, slopes=slopes)
        layer_pass = self._layer_pass(rest, slopes)
        passing = layer_pass.run(layout, self._alone)
        self._keep_answers(layer_pass)
        # Company was found to change nothing.
        rest.network.learn_apart(self._evaluation.sample()[0])
        return passing

    @torch.inference_mode(False)
    def behind_passing(self, layer: Any, passing: Passing) -> Question:
        """The question of `after(layer)`, of which what the inputs pass is known: it is not asked
        again where nothing skips past the layer, and what was chosen stays chosen.
        """
        if self.is_behind_layer:
            return self
        rest = self._evaluation.model.cut_after(layer)
        layout = self._layout_behind(rest, met=passing.met)
        source = BehindLayer(self, rest, layout, Elements(), passed=passing)
        behind = self._behind(source, Elements(), self.removal)
        # What is chosen on the inputs must not be chosen anew on activations.
        behind._fixed_target, behind._prediction = self.fix_target()
        return behind

    def _behind(self, source: BehindLayer, features: Features, removal: Removal) -> Question:
        behind = self._derived(source, self.n, self.target, None)
        behind._removes_inputs = source.removal is not None
        behind.features = features
        behind.removal = removal
        behind.notes = (*self.notes, source.model.how)
        behind._rows_checked = True
        return behind

    def keep_passing(self, layer: Any, *, slopes: bool) -> None:
        """Asks what inputs pass at a layer before anything else is asked of them, for whoever asks
        for it next, so that one forward tells both it and the prediction.
        """
        if self._prediction is None and not self.is_behind_layer:
            self._passing = (layer, slopes), self.passing(layer, slopes=slopes)

    def _layout_by_hooks(self, rest: After) -> TensorLayout | None:
        """How activations lie in a row where a hook can exchange them for leaves; else None."""
        try:
            layout = self._layout_behind(rest, captured=False)
        except AssayError:
            # A graph may be cut where the network's own forward refuses the exchange, or refuses.
            return None
        numbers = all(dtype.is_floating_point for dtype in layout.dtypes)
        return None if rest.is_common or not numbers else layout

    def _layer_pass(self, rest: After, slopes: bool) -> LayerPass:
        fixed = self._fixed_target
        evaluation = self._evaluation
        # One row tells of all where nothing of their own is left in them.
        alike = evaluation.absent.shared and not evaluation.aligned and evaluation.partition.whole
        absent = (
            self._base is None
            and self.says_what_absent_means
            and alike
            and evaluation.absent.draws == 1
            and evaluation.most_rows is None
            and self._alone.absent is None
        )
        return LayerPass(
            evaluation,
            rest,
            self.target if fixed is None else fixed,
            fixed=fixed is not None,
            slopes=slopes,
            absent=absent,
        )

    def _keep_answers(self, layer_pass: LayerPass) -> None:
        """Keeps what a pass has said of the inputs and of their absence."""
        convert = self._evaluation.to_result_precision
        if self._prediction is None:
            scores = finite_scores(layer_pass.scores, self.target, "on the clean inputs")
            self._known = replace(self._known, count=layer_pass.outputs_each)
            self._fixed_target = layer_pass.target
            self._prediction = convert(scores, scores.dtype)
        absent = layer_pass.absent_scores
        if absent is not None:
            absent = finite_scores(absent, self.target, ABSENT)
            self._base = convert(absent.to(torch.float64), absent.dtype)

    @torch.inference_mode(False)
    def through(self, layer: Any, unit: Any, output: Part | None = None) -> Question:
        """The same question, whose slopes pass through one unit of a layer alone.

        What the inputs do to the target by that unit: integrated gradients of it are the unit's
        conductance, input by input (Dhamdhere et al. 2018, equation 2). The target is what it was,
        so that a gap is what does not pass through the unit.

        Settings:
            layer: its name, as in `named_modules()`, or the module itself.
            unit: an int, or a tuple that points into an activation of several dimensions; with
                slices it means all units inside.
            output: which part, where the layer gives several tensors.

        >>> net = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU(), torch.nn.Linear(2, 1))
        >>> question = Question(net, torch.ones(1, 3), target=0)
        >>> parts = [question.through(net[1], unit).slope() for unit in (0, 1)]
        >>> bool(torch.allclose(sum(parts), question.slope()))
        True
        """
        self._check_rows_independent()
        rest = self._evaluation.model.cut_after(layer, output)
        # A unit is a place in one activation; in several laid side by side it would be ambiguous.
        shapes = self._layout_behind(rest).shapes
        if len(shapes) != 1:
            raise InputError(
                expected="one layer whose unit slopes pass through",
                got=f"{len(shapes)} of them",
                advice="Ask for a unit of each by itself: question.through(layer, unit).",
            )
        mask = mask_of(unit, shapes[0])
        evaluation = replace(self._evaluation, model=Through(rest, unit, mask))
        through = self._derived(evaluation, self.n, self.target, self.truth)
        through.notes = (*self.notes, rest.how)
        return through

    def _layout_behind(
        self,
        rest: After,
        *,
        captured: bool = True,
        met: tuple[Rows, Tensor] | None = None,
    ) -> TensorLayout:
        """How activations behind a layer lie in a row, learnt from two inputs; `captured` if the
        rest of the network is to be asked alone, of which `met` tells activations and outputs.
        """
        source = self._evaluation
        rows = torch.arange(min(self.n, 2), device=self.x.device)
        # One input serves as two, so that what only looks as if it had rows is found out.
        if len(rows) == 1 and source.most_rows != 1:
            rows = rows.repeat(2)
        rows = rows[: source.most_rows or 2]
        with source.model.session(slopes=False):
            two, *each = (
                (source.layout.fold(source.x[some]), source.context(some))
                for some in (rows, *rows.split(1))
            )
            # Two rows also tell whether the network can be captured as a graph.
            return layout_of(rest.study(two, each, captured=captured, met=met))

    def __repr__(self) -> str:
        inputs = f"{self.n} inputs of shape {self.layout.describe()}"
        settings = f"{self.target!r}, {self.features!r}, {self.removal!r}"
        return f"Question({self.model.name}, {inputs}, {settings})"


def _by_default(model: Model) -> Target:
    """What is explained where nothing is said.

    The predicted class where nobody knows better. Rows of a table are compared with each other, and
    of two classes each is the other with its sign turned: all rows are then asked about the second,
    the positive one of scikit-learn.
    """
    if model.classes is not None and len(model.classes) == 2:
        return Label(model.classes[1])
    return Predicted()


def _stopped(model: Model, layer: Any) -> Model:
    """The model that stops at a layer, or at a part of its output."""
    if isinstance(layer, LayerPart):
        return model.cut_upto(layer.layer, layer.output)
    return model.cut_upto(layer)
