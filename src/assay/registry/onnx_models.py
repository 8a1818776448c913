"""Models of ONNX, asked by onnxruntime: functions on arrays, tables or texts, without slopes.

A graph has names for what goes in and comes out. One input takes a whole array or table; several
inputs are the columns of a table, by their names, as converters of scikit-learn write them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, final

import numpy as np
import torch
from numpy.typing import NDArray

from assay.errors import InputError, KindError
from assay.registry.optional_packages import optional

Feed: TypeAlias = dict[str, NDArray[Any]]

_TEXT = "tensor(string)"
# What runtimes call numbers, and what NumPy does.
_NUMBERS: Mapping[str, str] = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    **{f"tensor(int{bits})": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"tensor(uint{bits})": f"uint{bits}" for bits in (8, 16, 32, 64)},
    "tensor(bool)": "bool",
}
_LOCATION = re.compile(rb"\x0a\x08location\x12[\x01-\x7f]")
_SCORES = ("tensor(float)", "tensor(double)", "tensor(float16)")


@final
class OnnxModel:
    """A graph that answers rows.

    Settings:
        path: the file.
        output: which of its outputs is explained; the first that holds scores by default.
    """

    def __init__(self, path: Path, output: str | None = None) -> None:
        self.path = path
        self.session = _session(path)
        self.inputs = self.session.get_inputs()
        self.output = self._chosen(output)
        self.__qualname__ = path.stem

    def giving(self, output: str) -> OnnxModel:
        """The same graph, of which another output is explained."""
        return OnnxModel(self.path, output)

    @property
    def columns(self) -> tuple[str, ...] | None:
        """The columns that go in one by one; None where one input takes them all."""
        names = tuple(each.name for each in self.inputs)
        return names if len(names) > 1 else None

    def __reduce__(self) -> tuple[Any, ...]:
        # What decides the answers is in the files, wherever these lie.
        return _again, (_contents(self.path), self.output)

    def __call__(self, rows: Any) -> NDArray[Any]:
        feed = self._feed(rows)
        outputs = [self._asked(part, wanted) for part, wanted in self._pieces(feed)]
        return np.concatenate(outputs)

    def _chosen(self, output: str | None) -> str:
        """The name of an output that holds numbers of which more is more."""
        held: dict[str, str] = {each.name: each.type for each in self.session.get_outputs()}
        if output is not None:
            if output in held:
                return output
            raise InputError(
                expected=f"an output of {self.path}",
                got=repr(output),
                advice=f"Choose one: --output {' or '.join(held)}.",
            )
        scores = [name for name, kind in held.items() if kind in _SCORES or kind.startswith("seq")]
        # A classifier gives its labels first, and they are no scores.
        return (scores or list(held))[0]

    def _feed(self, rows: Any) -> Feed:
        """Rows as the graph names them."""
        if hasattr(rows, "columns"):
            return self._of_table(rows)
        if len(self.inputs) > 1:
            names = ", ".join(each.name for each in self.inputs)
            raise InputError(
                expected=f"a table with the columns {names}, which {self.path} takes one by one",
                got=f"a {type(rows).__name__}",
                advice="Give a .csv with these columns, or wrap a function that names them.",
            )
        [only] = self.inputs
        if isinstance(rows, torch.Tensor):
            rows = rows.detach().cpu().numpy()
        if isinstance(rows, list) and rows and isinstance(rows[0], str):
            rows = np.array(rows, dtype=object).reshape(-1, *(1 for _ in only.shape[1:]))
        return {only.name: self._fitted(only, np.asarray(rows))}

    def _of_table(self, table: Any) -> Feed:
        if self.columns is None:
            [only] = self.inputs
            return {only.name: self._fitted(only, table.to_numpy())}
        lacking = [name for name in self.columns if name not in table.columns]
        if lacking:
            raise InputError(
                expected=f"the columns that {self.path} takes",
                got=f"a table that is lacking {lacking}",
                advice=f"It has {', '.join(map(str, table.columns))}.",
            )
        # A column of its own has one number in each row.
        return {
            each.name: self._fitted(
                each, table[each.name].to_numpy().reshape(-1, *(1 for _ in each.shape[1:]))
            )
            for each in self.inputs
        }

    def _fitted(self, wanted: Any, array: NDArray[Any]) -> NDArray[Any]:
        """An array of the kind and shape that an input has."""
        sizes = [size if isinstance(size, int) else None for size in wanted.shape]
        # Of an unknown rank any shape may be right.
        fits = not sizes or (
            len(sizes) == array.ndim
            and all(size in (None, given) for size, given in zip(sizes[1:], array.shape[1:]))
        )
        if not fits:
            shape = ", ".join("n" if size is None else str(size) for size in [None, *sizes[1:]])
            raise InputError(
                expected=f"rows of shape ({shape}) for the input {wanted.name} of {self.path}",
                got=f"rows of shape {tuple(array.shape)}",
                advice="Give rows as it was trained on them.",
            )
        if wanted.type == _TEXT:
            return array.astype(str).astype(object)
        try:
            return np.ascontiguousarray(array, dtype=_NUMBERS[wanted.type])
        except (KeyError, TypeError, ValueError) as error:
            raise KindError(
                expected=f"{wanted.type} for the input {wanted.name} of {self.path}",
                got=f"an array of {array.dtype}",
                advice="Leave columns that are no numbers out, or wrap a function that encodes them.",
            ) from error

    def _pieces(self, feed: Feed) -> Iterator[tuple[Feed, int]]:
        """Parts of as many rows as the graph was made for, each with how many of them are asked."""
        total = len(next(iter(feed.values())))
        fixed = next(iter(self.inputs[0].shape), None)
        if not isinstance(fixed, int) or fixed < 1:
            yield feed, total
            return
        for start in range(0, total, fixed):
            # The last row again where there are too few: the answers to it are left out.
            rows = np.minimum(np.arange(start, start + fixed), total - 1)
            yield {name: array[rows] for name, array in feed.items()}, min(fixed, total - start)

    def _asked(self, feed: Feed, wanted: int) -> NDArray[Any]:
        [found] = self.session.run([self.output], feed)
        if isinstance(found, list) and found and isinstance(found[0], Mapping):
            # Scores by label, as converters of scikit-learn write them.
            found = _by_label(found)
        return np.asarray(found)[:wanted]


def _by_label(found: Sequence[Mapping[Any, float]]) -> NDArray[Any]:
    labels = sorted(found[0])
    return np.array([[scores[label] for label in labels] for scores in found], dtype=np.float32)


def _session(path: Path) -> Any:
    runtime = optional("onnxruntime", "onnx")
    options = runtime.SessionOptions()
    # As many threads as everybody else here; warnings are for who makes such files.
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    # Of a native library: damaged files, later versions, operators that it does not know.
    except Exception as error:
        lines = str(error).splitlines() or [""]
        raise InputError(
            expected=f"a model of ONNX in {path}",
            got=f"{type(error).__name__}: {lines[0][:200]}",
            advice="It may be damaged, or of a later version than onnxruntime: export it again.",
        ) from error


def _contents(path: Path) -> tuple[bytes, ...]:
    """The graph, and the files beside it that hold its weights where these are many."""
    graph = path.read_bytes()
    # An entry of the protocol buffer: the word "location", and a text with its length before it.
    ends = ((found.end(), graph[found.end() - 1]) for found in _LOCATION.finditer(graph))
    names = sorted({graph[end : end + length] for end, length in ends})
    beside = [path.parent / name.decode("utf-8", "replace") for name in names]
    return graph, *(other.read_bytes() for other in beside if other.is_file())


def _again(contents: tuple[bytes, ...], output: str) -> OnnxModel:
    raise InputError(
        expected="the file of a model of ONNX",
        got="a copy of its session",
        advice="Read the file again where it is asked: a session stays in its process.",
    )
