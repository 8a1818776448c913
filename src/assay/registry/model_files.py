"""Predictors by what is typed for them: the name of a module's member, a Python file, a saved model, or
a program.

The form decides, and `form_of` says which: nothing is tried out. A file that runs code of its own
when it is read (a pickle) is read only where its owner is trusted by an option; weights without a
model are no predictor.
"""

from __future__ import annotations

import sys
import types
import zipfile
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import torch

from assay.errors import AssayError, InputError, ModelError
from assay.registry.command_models import PREFIX, command_model
from assay.registry.hugging_face import is_pretrained, pretrained
from assay.registry.keras_models import keras_model
from assay.registry.onnx_models import OnnxModel
from assay.registry.optional_packages import optional

_TREES = (".json", ".ubj", ".cbm", ".txt")
_PICKLES = (".joblib", ".pkl", ".pickle")
_WEIGHTS = (".pt", ".pth", ".safetensors")
_NO_READER = {
    # Its reader runs code in layers that are lambdas, whatever it is told.
    ".h5": "save it as .keras, or make a function of it: keras.saving.load_model in model.py, given as "
    "model.py:name",
}

_FORMS: Mapping[str, str] = {
    ".pt2": "a program of torch.export",
    ".pt": "a TorchScript",
    ".pth": "a TorchScript",
    **dict.fromkeys(_TREES, "a saved ensemble of trees"),
    **dict.fromkeys(_PICKLES, "a pickle"),
    ".skops": "a skops file",
    ".onnx": "a model of ONNX",
    ".keras": "a model of Keras",
    **{ending: f"a file that ends in {ending}" for ending in _NO_READER},
}

_WAYS = (
    "package.module:name, model.py:name, a .pt2 of torch.export, a TorchScript, a file of XGBoost, "
    "LightGBM or CatBoost, a .skops, .onnx or .keras, a folder of save_pretrained, with --trust a "
    ".joblib or .pkl, or a program, cmd:'./predict --stdin'"
)


def form_of(address: str) -> str:
    """By which rule a predictor is read, in words.

    >>> form_of("model.py:net"), form_of("package.module:net"), form_of("m.cbm")
    ('a Python file', 'a name that is imported', 'a saved ensemble of trees')
    """
    # First: a program may be one of Python.
    if address.startswith(PREFIX):
        return "a program"
    file, _, _ = address.partition(":")
    if file.endswith(".py"):
        return "a Python file"
    ending = Path(address).suffix
    if ending in _FORMS:
        return _FORMS[ending]
    if Path(address).is_dir():
        return "a folder of save_pretrained" if is_pretrained(Path(address)) else "a folder"
    return "a name that is imported"


def predictor(
    address: str, *, trust: bool = False, weights: Path | None = None, types: Iterable[str] = ()
) -> Any:
    """What is meant by an address; `name()` is called without arguments, so that a function may
    build it.

    Settings:
        address: see `form_of`.
        trust: whether code in a pickle may run.
        weights: a file of weights for a torch module, which is read without running code.
        types: the types in a skops file that are trusted beside those that skops knows.

    Errors: InputError for what cannot be read, with the way out; ModelError for what a module raises
    while it is loaded.

    >>> predictor("torch.nn:ReLU()")
    ReLU()
    """
    form = form_of(address)
    readers: dict[str, Callable[[], Any]] = {
        "a program": lambda: command_model(address),
        "a Python file": lambda: _from_file(address),
        "a program of torch.export": lambda: _exported(_existing(address)),
        "a TorchScript": lambda: _scripted(_existing(address)),
        "a saved ensemble of trees": lambda: _existing(address),
        "a pickle": lambda: _unpickled(_existing(address), trust),
        "a skops file": lambda: _skops(_existing(address), tuple(types)),
        "a model of ONNX": lambda: OnnxModel(_existing(address)),
        "a model of Keras": lambda: keras_model(_existing(address)),
        "a folder of save_pretrained": lambda: pretrained(Path(address)),
        "a name that is imported": lambda: _imported(address),
    }
    if form not in readers:
        raise InputError(
            expected=f"a predictor: {_WAYS}",
            got=f"{address}, {form}",
            advice=f"There is no reader for it: {_way_out(address)}.",
        )
    found = readers[form]()
    if weights is None:
        return found
    return _with_weights(found, weights)


def _way_out(address: str) -> str:
    return _NO_READER.get(
        Path(address).suffix, "load it in model.py, and give model.py:name or model.py:build()"
    )


def _existing(address: str) -> Path:
    path = Path(address)
    if not path.is_file():
        raise InputError(
            expected=f"a predictor in {path}",
            got="no file there",
            advice=f"Give a path from {Path.cwd()}, or a whole one.",
        )
    return path


# --- Python


def _imported(address: str) -> Any:
    module, _, path = address.partition(":")
    # Brackets at the end ask for a call without arguments: settings have no place in an address.
    name = path.removesuffix("()")
    _check_names(address, [*module.split("."), *name.split(".")])
    # A command line starts where the user is: modules of that folder can be named, as by
    # `python -m`. An installed script does not put that folder on the path by itself.
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        value: Any = import_module(module)
    except ImportError as error:
        raise _nothing_at(address, error) from error
    except Exception as error:
        raise _raised(module, error) from error
    return _member(value, address, path)


def _from_file(address: str) -> Any:
    file, _, path = address.partition(":")
    place = _existing(file).resolve()
    _check_names(address, path.removesuffix("()").split(".") if path else [])
    spec = spec_from_file_location(place.stem, place)
    if spec is None or spec.loader is None:
        raise InputError(
            expected=f"a Python file at {file}",
            got="one that cannot be imported",
            advice="Name a file that ends in .py.",
        )
    module = module_from_spec(spec)
    # Beside it lie the modules that it imports; pickles and dataclasses look it up by its name.
    if str(place.parent) not in sys.path:
        sys.path.insert(0, str(place.parent))
    known = sys.modules.get(place.stem)
    sys.modules[place.stem] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        if known is not None:
            sys.modules[place.stem] = known
        raise _raised(file, error) from error
    if path:
        return _member(module, address, path)
    return _only_predictor(module, file)


def _check_names(address: str, parts: list[str]) -> None:
    if not all(part.isidentifier() for part in parts):
        raise InputError(
            expected=f"a predictor: {_WAYS}; or :name() to have it built",
            got=repr(address),
            advice="Settings cannot be given: name a function that builds it with them.",
        )


def _member(module: Any, address: str, path: str) -> Any:
    value = module
    for part in path.removesuffix("()").split("."):
        if not hasattr(value, part):
            raise _nothing_at(address, f"{part!r} is not defined there")
        value = getattr(value, part)
    if not path.endswith("()"):
        return value
    try:
        return value()
    except AssayError:
        raise
    except Exception as error:
        raise _raised(address, error) from error


def _nothing_at(address: str, why: object) -> InputError:
    return InputError(
        expected=f"a predictor at {address}",
        got=f"{why}, looked from {Path.cwd()}",
        advice="Name a module that Python can import from here, and what it defines.",
    )


def _raised(where: str, error: Exception) -> ModelError:
    return ModelError(
        expected=f"{where} to be loaded",
        got=f"{type(error).__name__}: {str(error)[:200]}",
        advice="Its own code raised that: run it by itself first.",
    )


def _only_predictor(module: types.ModuleType, file: str) -> Any:
    """The one torch module, estimator or function that a file defines."""
    own = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    made = [name for name, value in own.items() if _is_made(value)]
    functions = [
        name
        for name, value in own.items()
        if isinstance(value, types.FunctionType) and value.__module__ == module.__name__
    ]
    # What is made already counts before functions, which may only have helped to make it.
    found = made or functions
    if len(found) == 1:
        return own[found[0]]
    raise InputError(
        expected=f"one predictor in {file}, or its name",
        got=", ".join(found) or "none",
        advice=f"Name it: {file}:{found[0] if found else 'name'}.",
    )


def _is_made(value: Any) -> bool:
    if isinstance(value, type):
        return False
    return isinstance(value, torch.nn.Module) or callable(getattr(value, "predict", None))


# --- saved models


def _exported(path: Path) -> Any:
    try:
        return torch.export.load(path).module()
    # A zip file, a schema and a graph, each with exceptions of its own.
    except Exception as error:
        raise _unreadable(path, "a program that torch.export.save wrote", error) from error


def _scripted(path: Path) -> Any:
    # Weights are a zip file too: that of a TorchScript holds code.
    if not zipfile.is_zipfile(path) or not _holds_code(path):
        raise InputError(
            expected=f"a model in {path}",
            got="weights alone, or what is no file of torch",
            advice=f"Give the module, and the file as its weights: model.py:build() --weights {path}.",
        )
    try:
        return torch.jit.load(str(path), map_location="cpu")
    except Exception as error:
        raise _unreadable(path, "a TorchScript", error) from error


def _holds_code(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name for name in archive.namelist())


def _unpickled(path: Path, trust: bool) -> Any:
    if not trust:
        raise InputError(
            expected=f"--trust for {path}",
            got="none",
            advice=(
                "A pickle runs code when it is read. Give --trust if you know who wrote it; a .skops "
                "file runs none."
            ),
        )
    import joblib

    try:
        return joblib.load(path)
    except Exception as error:
        raise _unreadable(path, "a pickle of this machine's versions", error) from error


def _skops(path: Path, types: tuple[str, ...]) -> Any:
    skops = optional("skops.io", "skops")
    try:
        asked = [name for name in skops.get_untrusted_types(file=path) if name not in types]
    except Exception as error:
        raise _unreadable(path, "what skops.io.dump wrote", error) from error
    if asked:
        raise InputError(
            expected=f"types in {path} that are trusted",
            got=", ".join(asked),
            advice=f"Look at them, and say so: --trust-type {asked[0]}.",
        )
    return skops.load(path, trusted=list(types))


def _unreadable(path: Path, what: str, error: Exception) -> InputError:
    lines = str(error).splitlines() or [""]
    return InputError(
        expected=f"{what} in {path}",
        got=f"{type(error).__name__}: {lines[0][:200]}",
        advice="It may be damaged, or of another version: save it again.",
    )


# --- weights


def _with_weights(model: Any, path: Path) -> Any:
    if not isinstance(model, torch.nn.Module):
        raise InputError(
            expected="a torch module to put weights into",
            got=type(model).__name__,
            advice="Leave --weights out.",
        )
    if path.suffix not in _WEIGHTS:
        raise InputError(
            expected=f"weights in a file that ends in {', '.join(_WEIGHTS)}",
            got=path.name,
            advice="Save them: torch.save(net.state_dict(), 'net.pt').",
        )
    file = _existing(str(path))
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            held = load_file(str(file))
        else:
            held = torch.load(file, map_location="cpu", weights_only=True)
        model.load_state_dict(held)
    # Names and shapes that do not fit, pickles that are refused, damaged files.
    except Exception as error:
        raise _unreadable(file, f"weights of {type(model).__name__}", error) from error
    return model
