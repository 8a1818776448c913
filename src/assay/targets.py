"""Targets: which number is explained, a function of the model's outputs with one value per row.

Classification explains a logit, a log-probability or log-odds; captions a sum of log-probabilities;
"why a rather than b" a difference (contrastive explanations, Jacovi et al. 2021); neurons an inner
activation. Two steps: `choose` looks at the clean outputs once and fixes what depends on them (the
predicted class), `score` is then the same function for every masked or moved row.

A trap of names: `Sequence` is a target here, the words of a caption. Python's own `Sequence` is
imported by its module, `abc.Sequence`, and used in the three aliases at the head only.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections import abc
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from numbers import Integral
from typing import Any, ClassVar, TypeAlias, final

import numpy as np
import torch
from torch import Tensor

from assay.engine import count_clipped, out_of_memory
from assay.errors import AssayError, KindError, TargetError
from assay.settings import Settings

Index: TypeAlias = (
    int | tuple[int, ...] | abc.Sequence[int] | abc.Sequence[tuple[int, ...]] | Tensor
)
"""Which output: one for all inputs, one per input, or a place in outputs of several dimensions."""

Unit: TypeAlias = int | slice | tuple[int | slice, ...] | Callable[[Tensor], Tensor]
"""Which units of a layer: one, the sum over some, or a function of all of them."""

Part: TypeAlias = int | str | tuple[int | str, ...]
"""Which part of an output of several tensors: by number, by key or name, or by the way to it."""

WordNumbers: TypeAlias = abc.Sequence[int] | Tensor
"""Words of a caption as numbers in the model's vocabulary."""

Targets: TypeAlias = abc.Sequence["Target"]
"""Targets that were chosen for parts of the inputs, in the order of the inputs."""


@final
@dataclass(frozen=True)
class Outputs:
    """What is known of a model's outputs without asking it.

    Settings:
        classes: the labels of the classes, in the order of the outputs.
        probabilities: whether the outputs are probabilities; None where nobody has said.
        model: what the model is called.
        count: how many outputs a row has, once the model has been asked.
    """

    classes: tuple[Any, ...] | None = None
    probabilities: bool | None = None
    model: str = "the model"
    count: int | None = None

    def name_of(self, index: Any) -> str:
        """An output in words: its class by label where that is known."""
        if isinstance(index, tuple) and len(index) == 1:
            (index,) = index
        if not isinstance(index, int):
            return f"output {index}"
        classes = self.classes or ()
        # One score of two classes speaks for the second.
        if self.count == 1:
            return str(classes[1]) if len(classes) == 2 else "the output"
        # Scores of pairs of classes are none of a class.
        if self.count not in (None, len(classes)) or not -len(classes) <= index < len(classes):
            return f"output {index}"
        return str(classes[index])

    def place_of(self, label: Any) -> int:
        """Which output a label names."""
        if self.classes is None:
            raise TargetError(
                expected=f"a model whose classes have labels, for the target {label!r}",
                got=f"{self.model}, which says none",
                advice=(
                    "Give the output's number, target=0, or say the labels: wrap(model, "
                    "classes=['bad', 'good'])."
                ),
            )
        for place, known in enumerate(self.classes):
            # True is 1 to Python, and a label of its own here.
            if known == label and isinstance(known, bool) == isinstance(label, bool):
                return place
        raise TargetError(
            expected=f"one of the classes of {self.model}, {_some(self.classes)}",
            got=repr(label),
            advice=f"Write a label as it is, such as Label({self.classes[0]!r}).",
        )


def _some(labels: abc.Sequence[Any]) -> str:
    shown = ", ".join(map(repr, labels[:10]))
    return f"{shown}, ..." if len(labels) > 10 else shown


_SURELY = 1e-4  # from 1 that sums of probabilities in single precision may be
_ROUNDINGS = 64  # by which a probability may lie outside of [0, 1]


class Target(ABC):
    """One number per row.

    `choose` fixes what depends on the clean outputs; from then on nothing is chosen again. A
    subclass is a frozen dataclass that writes `score`, and the other hooks where it holds something
    per input or is made around another target.
    """

    def choose(self, outputs: Tensor) -> Target:  # may be overridden
        """The same target with everything that depends on the clean outputs (n, ...) decided, or a
        refusal.
        """
        # Scoring is the check: outputs of the wrong shape are refused before any
        # work.
        self.score(outputs, torch.arange(len(outputs), device=outputs.device))
        return self

    def told(self, outputs: Outputs) -> Target:  # may be overridden
        """The same target, told what is known of the model's outputs: labels are found here."""
        return self

    def described(self, outputs: Outputs, n: int) -> list[str]:  # may be overridden
        """What a target that was chosen explains of each of n inputs, in words."""
        return [repr(self)] * n

    def sized(self, n: int) -> Target:  # may be overridden
        """The same target, its ints per input checked against the number of inputs."""
        return self

    def take(self, rows: Tensor) -> Target:  # may be overridden
        """The target of some of the inputs."""
        return self

    def joined(self, others: Targets) -> Target:  # may be overridden
        """One target for all inputs, from this one and those chosen for the inputs behind it."""
        return self

    def at_layer(self) -> tuple[Target, Any]:  # may be overridden
        """The target of the network that stops at a layer, and the layer (its name, the module, or
        a `LayerPart`); None for the whole.
        """
        return self, None

    @abstractmethod
    def score(self, outputs: Tensor, rows: Tensor) -> Tensor:
        """Outputs (r, ...) of chunk rows that belong to the inputs `rows` (r,) -> (r,)."""


@final
@dataclass(frozen=True, eq=False)
class Output(Target):
    """One output: the same for all inputs, or one per input.

    Settings:
        index: an int for all inputs, one int per input (a list, an array, a column of a table), a
            tuple that points into outputs of several dimensions, or a list of one such tuple for
            each input; negative ones count from the end.

    Units: the output's own. Shapes: outputs (n, k) and an int, or (n, a, b, ...) and a tuple of as many
    ints as there are dimensions behind the first. Errors: TargetError for a place that the outputs do not
    have, KindError for what is no whole number.

    >>> outputs = torch.arange(12.0).reshape(2, 2, 3)
    >>> Output([(0, 2), (1, -1)]).choose(outputs).score(outputs, torch.arange(2))
    tensor([ 2., 11.])
    """

    index: Index

    def told(self, outputs: Outputs) -> Target:
        # Numbers that were not called an output may be meant as labels.
        if "_bare" not in vars(self):
            return self
        _check_no_labels(self.index, outputs)
        return Output(self.index)

    def described(self, outputs: Outputs, n: int) -> list[str]:
        index = self.index
        if not isinstance(index, Tensor):
            return [outputs.name_of(index)] * n
        places = index.tolist()
        if index.dim() == 2:
            places = list(map(tuple, places))
        return list(map(outputs.name_of, places))

    def sized(self, n: int) -> Target:
        index = _as_index(self.index)
        if not isinstance(index, Tensor):
            return Output(index)
        # An array of one number is that number; a list says one for each input.
        alone = index.dim() == 1 and len(index) == 1 and not isinstance(self.index, list)
        if index.dim() == 0 or (alone and n > 1):
            return Output(int(index))
        if index.dim() not in (1, 2) or len(index) != n or not index.numel():
            raise TargetError(
                expected=f"one int per input, shape ({n},), or one tuple of ints for each",
                got=f"{index.dtype} of shape {tuple(index.shape)}",
                advice="Give each input its own, or one int for all of them.",
            )
        # A column is one int per input as well.
        if index.dim() == 2 and index.shape[1] == 1:
            index = index[:, 0]
        return Output(index.to(torch.int64))

    def choose(self, outputs: Tensor) -> Target:
        target = self.sized(len(outputs))
        index = target.index if isinstance(target, Output) else self.index
        if not isinstance(index, Tensor):
            place: Any = (index,) if isinstance(index, int) else index
            _check_inside(outputs, tuple(place))
            return target
        sizes = torch.tensor(tuple(outputs.shape[1:]) or (1,))
        places = index.cpu().reshape(len(index), -1)
        outside = torch.zeros(len(places), dtype=torch.bool)
        if places.shape[1] == len(sizes):
            outside = ((places < -sizes) | (places >= sizes)).any(1)
        # The first that is outside; where there is none, they all have as many numbers.
        _check_inside(outputs, tuple(places[int(outside.to(torch.int8).argmax())].tolist()))
        # gather knows no negative indices.
        return Output((places % sizes).view(index.shape).to(outputs.device))

    def take(self, rows: Tensor) -> Target:
        if not isinstance(self.index, Tensor):
            return self
        return Output(self.index[rows.to(self.index.device)])

    def joined(self, others: Targets) -> Target:
        if not isinstance(self.index, Tensor):
            return self
        indices = [self.index]
        for other in others:
            if isinstance(other, Output) and isinstance(other.index, Tensor):
                indices.append(other.index)
        return Output(torch.cat(indices))

    def score(self, outputs: Tensor, rows: Tensor) -> Tensor:
        # A model may give one number per row without a dimension for it.
        if outputs.dim() == 1:
            outputs = outputs.unsqueeze(1)
        try:
            return self._pick(outputs, rows)
        except (IndexError, RuntimeError):
            # Scored without having been chosen on outputs of this shape: refused by name.
            self.take(rows).choose(outputs)
            raise

    def _pick(self, outputs: Tensor, rows: Tensor) -> Tensor:
        index = self.index
        if isinstance(index, Tensor) and index.dim() == 2:
            # A place in outputs of several dimensions for each input.
            each = torch.arange(len(outputs), device=outputs.device)
            return outputs[(each, *index[rows].unbind(1))]
        if isinstance(index, Tensor):
            return outputs.gather(1, index[rows].unsqueeze(1)).squeeze(1)
        index = index if isinstance(index, tuple) else (index,)
        return outputs[(slice(None), *index)]

    def __repr__(self) -> str:
        index = self.index.tolist() if isinstance(self.index, Tensor) else self.index
        return f"Output({index!r})"


@final
@dataclass(frozen=True, eq=False)
class Label(Target):
    """The output of a class, by the label that the estimator was fitted with.

    Settings:
        label: a label for all inputs, or a list, an array or a column with one for each input.

    Units: the output's own, a probability of `predict_proba`. Errors: TargetError for a label that no
    class has, for a model whose classes have none (`wrap(model, classes=[...])`), and for the first of two
    classes where one output speaks for the second.

    >>> import assay
    >>> from sklearn.linear_model import LogisticRegression
    >>> model = LogisticRegression().fit([[0.0], [1.0]], ["bad", "good"])
    >>> answer = assay.explain(model, np.array([[0.2]]), target=Label("bad"))
    >>> answer.target
    'bad'
    """

    label: Any

    def told(self, outputs: Outputs) -> Target:
        labels = self._each
        if labels is None:
            place: Any = outputs.place_of(self._one)
        else:
            place = torch.tensor(list(map(outputs.place_of, labels)), dtype=torch.int64)
        return _OfClass(self, place, outputs)

    @property
    def _each(self) -> list[Any] | None:
        """One label for each input, where there are several."""
        label = self.label
        if isinstance(label, list):
            return label
        if hasattr(label, "__array__") and np.ndim(label):
            listed: list[Any] = np.asarray(label).tolist()
            return listed
        return None

    @property
    def _one(self) -> Any:
        # Numbers and texts of NumPy as Python's.
        return self.label.item() if hasattr(self.label, "item") else self.label

    def score(self, outputs: Tensor, rows: Tensor) -> Tensor:
        raise TargetError(
            expected="a target that knows the labels of the outputs",
            got=f"{self!r}, which names no output yet",
            advice="Ask a question with it, Question(model, inputs, target=Label(...)).",
        )

    def __repr__(self) -> str:
        labels = self._each
        if labels is None:
            return f"Label({self._one!r})"
        return f"Label({labels!r})"


@final
@dataclass(frozen=True, eq=False)
class _OfClass(Target):
    """A class whose place among the classes is known; what column that is, the outputs say."""

    asked: Label
    place: int | Tensor
    known: Outputs

    def sized(self, n: int) -> Target:
        if isinstance(self.place, Tensor) and len(self.place) != n:
            raise TargetError(
                expected=f"one label, or one for each of {n} inputs",
                got=f"{len(self.place)} labels",
                advice="Give each input its own, or one label for all of them.",
            )
        return self

    def take(self, rows: Tensor) -> Target:
        if not isinstance(self.place, Tensor):
            return self
        place = self.place[rows.to(self.place.device)]
        return _OfClass(Label([self.known_label(number) for number in place]), place, self.known)

    def known_label(self, number: Any) -> Any:
        """The label at a place."""
        return (self.known.classes or ())[int(number)]

    def choose(self, outputs: Tensor) -> Target:
        count = len(self.known.classes or ())
        columns = 1 if outputs.dim() == 1 else outputs.shape[1]
        if outputs.dim() <= 2 and columns == count:
            return Output(self.place).choose(outputs)
        if columns == 1 and count == 2 and bool((torch.as_tensor(self.place) == 1).all()):
            return Output(0).choose(outputs)
        if columns == 1 and count == 2:
            labels = self.known.classes or ()
            raise TargetError(
                expected=f"a label that {self.known.model} scores",
                got=f"{labels[0]!r}, while its one output speaks for {labels[1]!r}",
                advice=f"What speaks against is Negated(Label({labels[1]!r})).",
            )
        raise TargetError(
            expected=f"one output for each of {count} classes, for {self.asked!r}",
            got=f"outputs of shape {tuple(outputs.shape)}",
            advice="Point at one of them by its number: target=Output(0).",
        )

    def score(self, outputs: Tensor, rows: Tensor) -> Tensor:
        return self.take(rows).choose(outputs).score(outputs, torch.arange(len(outputs)))

    def __repr__(self) -> str:
        return repr(self.asked)


@final
@dataclass(frozen=True)
class Predicted(Target):
    """The output that is largest on the clean input, chosen once; the only one of a single output.

    argmax_k f_k(x): every masked or moved row is scored by that same output. Each input may have another:
    compare columns of answers only where `answer.targets` agree.

    Units: the output's own. Shapes: outputs (n, classes), (n, 1) or (n,). Errors: TargetError for outputs
    of several dimensions, which take a tuple.

    >>> import assay
    >>> x = torch.tensor([[1.0, 2.0], [3.0, 0.0]])
    >>> answer = assay.Gradient()(assay.Question(lambda x: x ** 2, x, target=Predicted()))
    >>> answer.values.tolist(), answer.targets
    ([[0.0, 4.0], [6.0, 0.0]], ('output 1', 'output 0'))
    """

    def choose(self, outputs: Tensor) -> Target:
        if outputs.dim() == 1 or outputs.shape[1:] == (1,):
            return Output(0)
        if outputs.dim() > 2:
            raise TargetError(
                expected="outputs of shape (n, classes) for Predicted()",
                got=tuple(outputs.shape),
                advice="Point at one of them: Output((i, j)), or a callable outputs -> (n,).",
            )
        return Output(outputs.argmax(1))

    def score(self, outputs: Tensor, rows: Tensor) -> Tensor:
        raise TargetError(
            expected="a target that was chosen on the clean outputs",
            got="Predicted(), which names no output yet",
            advice="Call target.choose(outputs) first, and score what it gives back.",
        )


class _OfOutput(Settings, Target):
    """A function of all outputs around one of them."""

    output: Target
    probabilities: bool | None
    _words: ClassVar[str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "output", as_target(self.output))
        if self.output.at_layer()[1] is not None:
            raise TargetError(
                expected=f"one of the model's outputs in {type(self).__name__}",
                got=repr(self.output),
                advice="Units of a layer are no classes: explain the neuron itself.",
            )

    def told(self, outputs: Outputs) -> Target:
        # The name of what the model gives tells what has to be done with it.
        target = replace(self, output=self.output.told(outputs))  # type: ignore[type-var]
        said = target.probabilities
        known = outputs.probabilities
        if said is None:
            return replace(target, probabilities=known)  # type: ignore[type-var]
        if known is not None and said != known:
            kinds = {True: "probabilities", False: "scores"}
            raise TargetError(
                expected=f"{kinds[said]} as outputs, for {self!r}",
                got=f"{outputs.model}, which gives {kinds[known]}",
                advice="Leave probabilities= out: it is known of this model.",
            )
        return target

    def described(self, outputs: Outputs, n: int) -> list[str]:
        return [f"{self._words} {part}" for part in self.output.described(outputs, n)]

    def choose(self, outputs: Tensor) -> Target:
        # One probability has odds of its own; one logit is one of two, or of none.
        alone = outputs.dim() == 1 or outputs.shape[1:] == (1,)
        if not (self.probabilities and alone) and (outputs.dim() != 2 or outputs.shape[1] < 2):
            raise TargetError(
                expected=f"outputs of shape (n, classes) with two classes or more for {self!r}",
                got=tuple(outputs.shape),
                advice=(
                    "Explain an output as it is with Output(0), or wrap the model to give both; of "
                    f"one probability say {type(self).__name__}(0, probabilities=True)."
                ),
            )
        if self.probabilities is None and _sum_to_one(outputs):
            raise TargetError(
                expected=f"to know what the outputs are, for {self!r}",
                got="numbers in [0, 1] that add up to 1: probabilities, by their looks",
                advice=(
                    "Say it: probabilities=True in the target, or wrap(model, probabilities=True); "
                    "False for logits."
                ),
            )
        if self.probabilities:
            _check_probabilities(outputs, self)
        return replace(self, output=self.output.choose(outputs))  # type: ignore[type-var]

    def sized(self, n: int) -> Target:
        return replace(self, output=self.output.sized(n))  # type: ignore[type-var]

    def take(self, rows: Tensor) -> Target:
        return replace(self, output=self.output.take(rows))  # type: ignore[type-var]

    def joined(self, others: Targets) -> Target:
        outputs = [other.output for other in others if isinstance(other, _OfOutput)]
        return replace(self, output=self.output.joined(outputs))  # type: ignore[type-var]


@final
@dataclass(frozen=True)
class LogProb(_OfOutput):
    """log p of one output: log softmax of logits, z_c - log sum_k exp z_k, or log of probabilities.

    Settings:
        output: which output; the predicted one where nothing is said.
        probabilities: whether the model's outputs are probabilities. An estimator's are known by
            the name of its method; else they are logits, and what looks like probabilities is
            refused until it is said. A probability of 0 is held at the smallest number above it;
            `facts["clipped"]` says of how many rows.

    Units: nats, at most 0. Shapes: outputs (n, classes), two or more of logits. Errors: TargetError for
    outputs that cannot be what was said, and for one logit, which has no softmax.

    >>> LogProb(0, probabilities=True).score(torch.tensor([[0.5, 0.5]]), torch.tensor([0]))
    tensor([-0.6931])
    """

    output: Target = Predicted()
    probabilities: bool | None = None
    _words = "log-probability of"

    def score(self, outputs: Tensor, rows: Tensor) -> Tensor:
        if self.probabilities:
            p = self.output.score(outputs, rows)
            _check_probabilities(p, self)
            least = torch.finfo(p.dtype).tiny
            count_clipped(int((p.detach() < least).sum()))
            return p.clamp_min(least).log()
        _check_several(outputs, self)
        return self.output.score(outputs.log_softmax(1), rows)


@final
@dataclass(frozen=True)
class Centred(_OfOutput):
    """One logit less the mean of all: z_c - mean_k z_k, which a constant added to all leaves as it is.

    (Shrikumar et al. 2017, section 3.6, for softmax outputs.) Of probabilities it is log p_c - mean_k
    log p_k, the same number. Over all classes the values add up to 0, and so do attributions that
    are linear in the target.

    Settings:
        output: which output; the predicted one where nothing is said.
        probabilities: whether the model's outputs are probabilities, as in `LogProb`.

    Units: those of the logits. Errors: TargetError for a single output, and for numbers that
    look like probabilities until it is said what they are.

    >>> Centred(0).score(torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([0]))
    tensor([1.])
    """

    output: Target = Predicted()
    probabilities: bool | None = None
    _words = "centred logit of"

    def score(self, outputs: Tensor, rows: Tensor) -> Tensor:
        _check_several(outputs, self)
        if self.probabilities:
            _check_probabilities(outputs, self)
            least = torch.finfo(outputs.dtype).tiny
            count_clipped(int((outputs.detach() < least).any(1).sum()))
            outputs = outputs.clamp_min(least).log()
        return self.output.score(outputs, rows) - outputs.mean(1)


def _check_several(outputs: Tensor, target: Target) -> None:
    """Refuses logits of classes that are not there: one number has no softmax."""
    if outputs.dim() < 2 or outputs.shape[1] < 2:
        raise TargetError(
            expected=f"outputs of two classes or more for {target!r}",
            got=f"outputs of shape {tuple(outputs.shape)}",
            advice="Explain the number itself, target=0, or let the model give a column per class.",
        )


@final
@dataclass(frozen=True)
class LogOdds(_OfOutput):
    """log (p_c / (1 - p_c)) of one output; of logits z_c - log sum_{k != c} exp z_k.

    Settings:
        output: which output; the predicted one where nothing is said.
        probabilities: whether the model's outputs are probabilities. An estimator's are known by
            the name of its method; else they are logits, and what looks like probabilities is
            refused until it is said. Probabilities of 0 and 1 are held one rounding away from it
            (36.04 in double precision); `facts["clipped"]` says of how many rows.

    Values are of E log-odds under a removal with several draws; shap's `link="logit"` explains the
    log-odds of the expectation.

    Units: nats; 0 is even odds. Shapes: outputs (n, classes), two or more of logits, or one probability.
    Errors: TargetError for outputs that cannot be what was said, and for one logit.

    >>> LogOdds(0, probabilities=True).score(torch.tensor([[0.75, 0.25]]), torch.tensor([0])).exp()
    tensor([3.])
    """

    output: Target = Predicted()
    probabilities: bool | None = None
    _words = "log-odds of"

    def score(self, outputs: Tensor, rows: Tensor) -> Tensor:
        if self.probabilities:
            p = self.output.score(outputs, rows)
            _check_probabilities(p, self)
            # Certain predictions are held one rounding away from infinite odds.
            eps = torch.finfo(outputs.dtype).eps
            count_clipped(int(((p < eps) | (p > 1 - eps)).sum()))
            return torch.logit(p, eps=eps)
        _check_several(outputs, self)
        # z_c - log sum_{k != c} exp z_k keeps the precision that 1 - p would lose
        # near p = 1.
        classes = torch.arange(outputs.shape[1], device=outputs.device).expand_as(outputs)
        # Scoring the class numbers themselves tells which class is meant, row by
        # row.
        target_class = self.output.score(classes, rows).unsqueeze(1)
        others = outputs.masked_fill(classes == target_class, -torch.inf).logsumexp(1)
        return self.output.score(outputs, rows) - others


@final
@dataclass(frozen=True, eq=False)
class Sequence(Target):
    """How probable a caption is: sum_t log p(word_t | the words before it).

    The log-likelihood under teacher forcing, from outputs (n, steps, vocabulary): logits, or
    log-probabilities, of a model that is shown the words so far (hand them over as context).

    Settings:
        words: one int for each step, or one such row for each input; a negative one leaves its step
            out, and so `Sequence([-1, word, -1])` is the log-probability of one word in its place.

    Units: nats, at most 0. Errors: TargetError for outputs of another shape, for words beyond the
    vocabulary, and where every step is left out.

    >>> outputs = torch.tensor([[[0.5, 0.5], [0.1, 0.9]]]).log()
    >>> Sequence([0, 1]).score(outputs, torch.tensor([0])).exp()
    tensor([0.4500])
    """

    words: WordNumbers

    @cached_property
    def _words(self) -> Tensor:
        """Words (steps,), or (n, steps)."""
        return _numbers(self.words, "one word (an int) for each step")

    def sized(self, n: int) -> Target:
        words = self._words
        # One row for all inputs, or as many rows as inputs.
        fits = words.dim() == 1 or (words.dim() == 2 and len(words) == n)
        if not fits or not _is_whole(words) or not (words >= 0).any():
            raise TargetError(
                expected=f"one word (an int) for each step, or such a row for each of {n} inputs",
                got=f"{words.dtype} of shape {tuple(words.shape)}",
                advice="Give numbers of the vocabulary; -1 leaves a step out, but not all of them.",
            )
        return self

    def choose(self, outputs: Tensor) -> Target:
        self.sized(len(outputs))
        words = self._words
        steps = words.shape[-1]
        last = int(words.max())
        fits = outputs.dim() == 3 and outputs.shape[1] == steps
        if not fits or outputs.shape[2] <= last:
            raise TargetError(
                expected=(
                    f"outputs of shape (n, {steps} steps, more than {last} words) for the caption"
                ),
                got=tuple(outputs.shape),
                advice="Wrap the model so that it gives the logits of every step: (n, steps, words).",
            )
        return Sequence(words.to(outputs.device, torch.int64))

    def take(self, rows: Tensor) -> Target:
        if self._words.dim() == 1:
            return self
        return Sequence(self._words[rows.to(self._words.device)])

    def joined(self, others: Targets) -> Target:
        if self._words.dim() == 1:
            return self
        words = [other._words for other in others if isinstance(other, Sequence)]
        return Sequence(torch.cat([self._words, *words]))

    def score(self, outputs: Tensor, rows: Tensor) -> Tensor:
        words = self._words
        # One caption for all inputs is the same row for each.
        words = words.expand(len(outputs), -1) if words.dim() == 1 else words[rows]
        # A step that is left out reads word 0, and its number is then replaced by
        # zero.
        readable = words.clamp_min(0)[:, :, None]
        log_probabilities = outputs.log_softmax(2).gather(2, readable).squeeze(2)
        return torch.where(words < 0, 0.0, log_probabilities).sum(dim=1)

    def __repr__(self) -> str:
        return f"Sequence({self._words.tolist()!r})"


@final
@dataclass(frozen=True)
class Contrast(Target):
    """Why a rather than b: the difference of two targets, f_a(x) - f_b(x) (Jacovi et al. 2021).

    Settings:
        a: what speaks for; a target, or an int for an output.
        b: what it is compared with, alike.

    Units: those of a and b, which should be the same; of two logits the log of their odds. Errors: those
    of a and b, and TargetError for units of two layers.

    >>> import assay
    >>> question = assay.Question(lambda x: x ** 2, torch.tensor([[1.0, 3.0]]), target=Contrast(1, 0))
    >>> question.prediction.tolist(), assay.Gradient()(question).values.tolist()
    ([8.0], [[-2.0, 6.0]])
    """

    a: Target | Index
    b: Target | Index

    @property
    def _pair(self) -> tuple[Target, Target]:
        return as_target(self.a), as_target(self.b)

    def told(self, outputs: Outputs) -> Target:
        a, b = self._pair
        return Contrast(a.told(outputs), b.told(outputs))

    def described(self, outputs: Outputs, n: int) -> list[str]:
        a, b = (part.described(outputs, n) for part in self._pair)
        return [f"{one} - {other}" for one, other in zip(a, b)]

    def choose(self, outputs: Tensor) -> Target:
        a, b = self._pair
        return Contrast(a.choose(outputs), b.choose(outputs))

    def sized(self, n: int) -> Target:
        a, b = self._pair
        return Contrast(a.sized(n), b.sized(n))

    def at_layer(self) -> tuple[Target, Any]:
        a, layer = as_target(self.a).at_layer()
        b, layer_of_b = as_target(self.b).at_layer()
        if layer != layer_of_b:
            raise TargetError(
                expected="two neurons of one layer, or two outputs, in Contrast",
                got=f"{self.a!r} and {self.b!r}",
                advice="A question stops at one layer: Contrast(Neuron(layer, 0), Neuron(layer, 1)).",
            )
        return (self, None) if layer is None else (Contrast(a, b), layer)

    def take(self, rows: Tensor) -> Target:
        a, b = self._pair
        return Contrast(a.take(rows), b.take(rows))

    def joined(self, others: Targets) -> Target:
        a, b = self._pair
        pairs = [other._pair for other in others if isinstance(other, Contrast)]
        return Contrast(
            a.joined([other_a for other_a, _ in pairs]),
            b.joined([other_b for _, other_b in pairs]),
        )

    def score(self, outputs: Tensor, rows: Tensor) -> Tensor:
        a, b = self._pair
        return a.score(outputs, rows) - b.score(outputs, rows)


@final
@dataclass(frozen=True)
class Negated(Target):
    """What speaks against: the target with its sign turned, -f_c(x).

    Settings:
        target: a target, an int or a callable; the predicted output where nothing is said.

    Units: those of the target. Errors: those of the target.

    >>> import assay
    >>> question = assay.Question(lambda x: x ** 2, torch.tensor([[1.0, 3.0]]), target=Negated(1))
    >>> question.prediction.tolist(), assay.Gradient()(question).values.tolist()
    ([-9.0], [[0.0, -6.0]])
    """

    target: Target = Predicted()

    def __post_init__(self) -> None:
        object.__setattr__(self, "target", as_target(self.target))

    def told(self, outputs: Outputs) -> Target:
        return Negated(self.target.told(outputs))

    def described(self, outputs: Outputs, n: int) -> list[str]:
        return [f"-({part})" for part in self.target.described(outputs, n)]

    def choose(self, outputs: Tensor) -> Target:
        return Negated(self.target.choose(outputs))

    def sized(self, n: int) -> Target:
        return Negated(self.target.sized(n))

    def at_layer(self) -> tuple[Target, Any]:
        target, layer = self.target.at_layer()
        return (self, None) if layer is None else (Negated(target), layer)

    def take(self, rows: Tensor) -> Target:
        return Negated(self.target.take(rows))

    def joined(self, others: Targets) -> Target:
        targets = [other.target for other in others if isinstance(other, Negated)]
        return Negated(self.target.joined(targets))

    def score(self, outputs: Tensor, rows: Tensor) -> Tensor:
        return -self.target.score(outputs, rows)


@final
@dataclass(frozen=True)
class LayerPart:
    """A part of a layer's output, where the layer gives several tensors."""

    layer: Any
    output: Part


@final
@dataclass(frozen=True)
class Neuron(Target):
    """The activation of one unit of a layer; the question is asked of the model that stops there.

    Settings:
        layer: the layer's name in the network, as in `named_modules()`, or the module itself.
        unit: an int, or a tuple that points into an activation of several dimensions. Slices, alone
            or in such a tuple, mean the sum over their units (as in Captum); a function of the
            activation gives one number per row (r,); a list is one unit for each input.
        output: which part, where the layer gives several tensors (the first of an LSTM is 0): its
            number, its key or its attribute's name.

    Units: the activation's own. Errors: AbilityError for a model without layers, KindError for what is no
    unit, TargetError for units that the layer does not have and for a neuron inside another target than
    `Contrast` and `Negated`.

    >>> import assay
    >>> net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU())
    >>> x = torch.ones(2, 3)
    >>> some = assay.Question(net, x, target=Neuron("1", slice(0, 2))).prediction
    >>> bool(torch.allclose(some, net(x)[:, :2].sum(1)))
    True
    """

    layer: Any
    unit: Unit | Index | Target
    output: Part | None = None

    def at_layer(self) -> tuple[Target, Any]:
        # No layer would be the whole network.
        if self.layer is None:
            raise KindError(
                expected="the name of a layer, or the layer itself, in Neuron",
                got="None",
                advice="Name one, as in named_modules(): Neuron('layer4', unit).",
            )
        if self.output is None:
            return self._units, self.layer
        return self._units, LayerPart(self.layer, self.output)

    @property
    def _units(self) -> Target:
        """The target of the network that stops at the layer."""
        unit: Any = (self.unit,) if isinstance(self.unit, slice) else self.unit
        # Units have numbers: labels are those of the outputs.
        if isinstance(unit, str | Label):
            raise KindError(
                expected=f"a unit of layer {self._layer_name}",
                got=repr(unit),
                advice="Units have numbers: Neuron(layer, 0).",
            )
        if isinstance(unit, tuple) and any(isinstance(part, slice) for part in unit):
            return _Units(unit)
        try:
            target = as_target(unit)
        except KindError as error:
            raise KindError(
                expected=f"a unit of layer {self._layer_name}",
                got=error.got,
                advice=(
                    "Use an int, a tuple of ints, slices to add units up, or a function of the "
                    "activation: Neuron(layer, 0)."
                ),
            ) from error
        if target.at_layer()[1] is not None:
            raise TargetError(
                expected=f"a unit of layer {self._layer_name}",
                got=repr(self.unit),
                advice="A question stops at one layer: give the unit itself, Neuron(layer, 0).",
            )
        return target

    @property
    def _layer_name(self) -> str:
        # A module's own repr may be pages long.
        return repr(self.layer) if isinstance(self.layer, str) else type(self.layer).__name__

    def __repr__(self) -> str:
        part = "" if self.output is None else f", output={self.output!r}"
        return f"Neuron({self._layer_name}, {self.unit!r}{part})"

    def score(self, outputs: Tensor, rows: Tensor) -> Tensor:
        # Reached inside of a target that does not hand `at_layer` on: the outputs are the network's.
        raise TargetError(
            expected="the outputs of a network that stops at the neuron's layer",
            got=f"{self!r} inside another target",
            advice="Use it alone, in Negated or in Contrast, or ask question.upto(layer, unit).",
        )


@final
@dataclass(frozen=True)
class Function(Target):
    """Any callable of the outputs: `target=lambda outputs: ...` makes one.

    Settings:
        function: outputs (r, ...) to one number per row (r,), each from its own row alone.

    Units: whatever it gives. It sees any number of rows at once; what it needs of each input travels as
    context of a function around both. Errors: TargetError for what it raises, for another shape, and where
    rows influence each other.

    >>> import assay
    >>> x = torch.tensor([[1.0, 3.0]])
    >>> assay.Question(lambda x: x ** 2, x, target=lambda outputs: outputs.sum(1)).prediction.tolist()
    [10.0]
    """

    function: Callable[[Tensor], Tensor]

    def described(self, outputs: Outputs, n: int) -> list[str]:
        name = getattr(self.function, "__name__", type(self.function).__name__)
        # A function without a name has none to tell.
        return ["a function of the outputs" if name == "<lambda>" else name] * n

    def score(self, outputs: Tensor, rows: Tensor) -> Tensor:
        try:
            scores: Any = self.function(outputs)
        except AssayError:
            raise
        except Exception as error:
            # The engine answers this one with smaller chunks.
            if out_of_memory(error):
                raise
            raise TargetError(
                expected=f"the target function to score outputs of shape {tuple(outputs.shape)}",
                got=f"{type(error).__name__}: {error}",
                advice=f"It sees any number of rows at once. {_OWN_TENSORS}",
            ) from error
        self._check(scores, len(outputs))
        return scores  # type: ignore[no-any-return]

    @staticmethod
    def _check(scores: Any, rows: int) -> None:
        got = type(scores).__name__
        advice = "Reduce every dimension but the first: outputs.flatten(1).sum(1)."
        if isinstance(scores, Tensor):
            got = str(tuple(scores.shape))
            if scores.is_complex() or scores.dtype == torch.bool or scores.layout != torch.strided:
                got = f"{scores.dtype} of shape {got}, {scores.layout}"
                advice = "Give real numbers: .float() of truth values, .abs() of complex ones."
            elif tuple(scores.shape) == (rows,):
                return
            elif scores.dim() == 1:
                advice = f"Give one number for each row. {_OWN_TENSORS}"
        raise TargetError(
            expected=f"the target function to return a tensor of shape ({rows},)",
            got=got,
            advice=advice,
        )


_OWN_TENSORS = (
    "A tensor with a row for each input travels as context of a function around both: "
    "Question(lambda x, mask: (model(x) * mask).sum(1), x, context={'mask': Aligned(mask)})."
)


@final
@dataclass(frozen=True)
class _Units(Target):
    """The sum over some units of a layer: ints and slices that point into its activation."""

    index: tuple[Any, ...]

    def choose(self, outputs: Tensor) -> Target:
        sizes = tuple(outputs.shape[1:]) or (1,)
        if len(self.index) != len(sizes):
            raise TargetError(
                expected=f"units of an activation of shape {sizes}",
                got=self.index,
                advice=f"Give a tuple of {len(sizes)} ints or slices, or a function.",
            )
        return _Units(tuple(map(self._inside, self.index, sizes)))

    def _inside(self, part: Any, size: int) -> slice:
        """The same units as a slice that counts upwards."""
        try:
            key: Any = part if isinstance(part, slice) else _whole(part)
            units: Any = range(size)[key]
            chosen = sorted(units) if isinstance(part, slice) else [units]
            step = (chosen[1] - chosen[0]) if len(chosen) > 1 else 1
            return slice(chosen[0], chosen[-1] + 1, step)
        # No int, a slice of something else, a step of zero, no unit at all.
        except (TypeError, ValueError, IndexError) as error:
            raise TargetError(
                expected=f"units out of {size}, numbers 0 to {size - 1}",
                got=f"{part!r} in {self.index}",
                advice="Use ints, or slices that hold at least one unit.",
            ) from error

    def score(self, outputs: Tensor, rows: Tensor) -> Tensor:
        if outputs.dim() == 1:
            outputs = outputs.unsqueeze(1)
        return outputs[(slice(None), *self.index)].flatten(1).sum(1)

    def __repr__(self) -> str:
        return f"Units({self.index!r})"


def _is_label(value: Any) -> bool:
    """Whether something names classes: a text, or a list or a column of texts."""
    if isinstance(value, str):
        return True
    if hasattr(value, "__array__") and not isinstance(value, Tensor):
        array = np.asarray(value)
        listed = array.ravel()[:1].tolist() if array.dtype.kind in "OUT" else []
        return bool(listed) and isinstance(listed[0], str)
    return isinstance(value, list) and bool(value) and all(isinstance(part, str) for part in value)


def _bare(index: Any) -> Output:
    """An output that was named by a plain number, which may have been meant as a label."""
    output = Output(index)
    object.__setattr__(output, "_bare", True)
    return output


def _check_no_labels(index: Any, outputs: Outputs) -> None:
    """Refuses plain numbers that are both an output and the label of another one."""
    classes = outputs.classes
    if classes is None or not all(isinstance(label, int | float) for label in classes):
        return
    if isinstance(index, tuple):
        return
    try:
        numbers = torch.as_tensor(_array(index)).reshape(-1).unique().tolist()
    except (TypeError, ValueError, RuntimeError):  # refused by name where it is used
        return
    for number in numbers:
        place = classes.index(number) if number in classes else None
        if place is None or number in (place, place - len(classes)):
            continue
        there = "no output has that number"
        if -len(classes) <= number < len(classes):
            there = f"output {number} is that of class {classes[int(number)]!r}"
        raise TargetError(
            expected="an output by its number, or a class by its label",
            got=f"{number}, the label of output {place}, while {there}",
            advice=f"Say which: target=Label({number!r}), or target=Output({place}).",
        )


def _sum_to_one(outputs: Tensor) -> bool:
    """Whether outputs (n, classes) look like probabilities."""
    numbers = outputs.detach()
    inside = bool(((numbers >= 0) & (numbers <= 1)).all())
    if not inside or not numbers.is_floating_point():
        return False
    return bool(((numbers.sum(1) - 1).abs() < _SURELY).all())


def _check_probabilities(numbers: Tensor, target: Target) -> None:
    """Refuses numbers that cannot be probabilities, beyond rounding."""
    plain = numbers.detach()
    slack = _ROUNDINGS * torch.finfo(plain.dtype).eps if plain.is_floating_point() else 0.0
    outside = (plain < -slack) | (plain > 1 + slack)
    if bool(outside.any()):
        raise TargetError(
            expected=f"probabilities, numbers from 0 to 1, for {target!r}",
            got=f"{float(plain[outside][0]):.6g}",
            advice=(
                "Explain logits by probabilities=False, or a method that gives probabilities: "
                "wrap(model, output='predict_proba')."
            ),
        )


def _check_inside(outputs: Tensor, index: tuple[int, ...]) -> None:
    """Refuses a place that outputs (n, ...) do not have."""
    sizes = tuple(outputs.shape[1:]) or (1,)
    if len(index) != len(sizes):
        raise TargetError(
            expected=f"a target that points at one of the outputs of shape {sizes}",
            got=index,
            advice=f"Give a tuple of {len(sizes)} ints, or a callable outputs -> (n,).",
        )
    for value, size in zip(index, sizes):
        if not -size <= value < size:
            advice = f"Use 0 to {size - 1}, or -{size} to -1 from the end."
            if size == 1:
                advice = "There is one output: use 0."
            raise TargetError(
                expected=f"a target inside outputs of shape {sizes}",
                got=f"output number {index[0] if len(index) == 1 else index}; the first output is 0",
                advice=advice,
            )


def _as_index(index: Any) -> int | tuple[int, ...] | Tensor:
    """An index as an int, as a tuple of ints, or as integers per input."""
    if isinstance(index, tuple):
        try:
            return tuple(map(_whole, index))
        except TypeError as error:
            raise TargetError(
                expected="a tuple of ints that points into outputs of several dimensions",
                got=repr(index),
                advice="Give one int for each dimension; a list holds one target for each input.",
            ) from error
    # True is an int to Python, and no output.
    truth = isinstance(index, bool)
    if isinstance(index, Integral) and not truth:
        return int(index)
    if isinstance(index, list) or hasattr(index, "__array__"):
        return _numbers(index, "one int per input")
    raise KindError(
        expected="an int, one int per input or a tuple as output",
        got=type(index).__name__,
        advice="Use target=0 for the first output, target=labels for one per input.",
    )


def _whole(value: Any) -> int:
    """An int, from one of Python's, NumPy's or torch's; TypeError for anything else."""
    if isinstance(value, bool) or getattr(value, "dtype", None) == torch.bool:
        raise TypeError("a truth value is no number of an output")
    return operator.index(value)


def _numbers(values: Any, expected: str) -> Tensor:
    """Whole numbers as a tensor, whatever kind of array or list holds them."""
    try:
        # Copies: what the caller writes later is not asked about.
        is_tensor = isinstance(values, Tensor)
        tensor = values.detach().clone() if is_tensor else torch.as_tensor(_array(values))
    except (TypeError, ValueError) as error:
        raise TargetError(
            expected=expected,
            got=f"{type(values).__name__} of something else: {error}",
            advice="Number the outputs 0, 1, 2, ...: one whole number for each input.",
        ) from error
    if not _is_whole(tensor):
        raise TargetError(
            expected=expected,
            got=f"{tensor.dtype} of shape {tuple(tensor.shape)}",
            advice="Give whole numbers: the first is 0.",
        )
    return tensor


def _array(values: Any) -> np.ndarray[Any, Any]:
    array = np.asarray(values)
    # Objects may be whole numbers: columns of pandas that can hold missing ones.
    if array.dtype == object:
        whole = [_whole(value) for value in array.ravel()]
        return np.array(whole, dtype=np.int64).reshape(array.shape)
    # torch does not share the memory of what runs backwards, and has no larger unsigned numbers.
    if array.dtype.kind in "iu":
        return np.array(array, dtype=np.int64)
    return array


def _is_whole(values: Tensor) -> bool:
    """Whether numbers are of an integer type; truth values are not."""
    return not (values.is_floating_point() or values.is_complex() or values.dtype == torch.bool)


def as_target(value: Any) -> Target:
    """A target from a target, an index or a callable."""
    if isinstance(value, Target):
        return value
    if isinstance(value, type):
        raise KindError(
            expected="a target, an int, ints per input or a callable as target",
            got=f"the class {value.__name__}",
            advice=f"Make one: {value.__name__}(...).",
        )
    if _is_label(value):
        return Label(value)
    # True is an int to Python, and no output.
    if isinstance(value, int | tuple | list | Tensor) and not isinstance(value, bool):
        return _bare(value)
    # Arrays and numbers of NumPy, columns of pandas.
    if hasattr(value, "__array__"):
        return _bare(value)
    if callable(value):
        return Function(value)
    raise KindError(
        expected="a target, an int, ints per input or a callable as target",
        got=type(value).__name__,
        advice="Use target=0 for the first output, or Predicted() for the largest.",
    )
