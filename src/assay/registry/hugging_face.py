"""Folders that `save_pretrained` wrote: classifiers of texts and of pictures.

Weights are read from safetensors alone, code that lies in a folder is not run, and nothing is
fetched. Texts go through the folder's own tokenizer, pictures from shares of white to the means and
spreads that it names.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

from assay.errors import InputError, KindError
from assay.registry.optional_packages import optional

CONFIG = "config.json"
_TEXTS = "ForSequenceClassification"
_PICTURES = "ForImageClassification"
_LONGEST = 1_000_000  # tokens; tokenizers write more where they know of no end


def is_pretrained(folder: Path) -> bool:
    """Whether it is such a folder."""
    return (folder / CONFIG).is_file()


def pretrained(folder: Path) -> Any:
    """The classifier of a folder: a function on texts, or a torch module on pictures."""
    architecture = _architecture(folder)
    readers: dict[str, Callable[[Path], Any]] = {_TEXTS: _on_texts, _PICTURES: _on_pictures}
    for ending, read in readers.items():
        if architecture.endswith(ending):
            return read(folder)
    raise InputError(
        expected=f"a classifier of texts (...{_TEXTS}) or of pictures (...{_PICTURES}) in {folder}",
        got=architecture or "no architecture in its config.json",
        advice="Say in a function of model.py which number is explained, and give model.py:name.",
    )


def _architecture(folder: Path) -> str:
    """The class whose weights these are, as the configuration names it."""
    try:
        stated = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        named = stated.get("architectures") or [""]
        return str(named[0])
    except (OSError, ValueError, AttributeError, LookupError, TypeError) as error:
        raise InputError(
            expected=f"a configuration in {folder / CONFIG}",
            got=str(error),
            advice="Save the model again: model.save_pretrained(folder).",
        ) from error


def _loaded(auto: str, folder: Path) -> Any:
    """What a class of transformers reads from a folder, and from nowhere else."""
    transformers = optional("transformers", "transformers")
    # Bars of loading are no words of ours.
    transformers.utils.logging.disable_progress_bar()
    settings: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    # A tokenizer has no weights.
    if auto != "AutoTokenizer":
        settings["use_safetensors"] = True
    try:
        return getattr(transformers, auto).from_pretrained(str(folder), **settings)
    # Files that lack, pickles, code, sizes that do not fit: each with an exception of its own.
    except Exception as error:
        lines = str(error).splitlines() or [""]
        raise InputError(
            expected=f"what {auto} reads from {folder}, weights as safetensors",
            got=f"{type(error).__name__}: {lines[0][:200]}",
            advice="Save model and tokenizer there with save_pretrained, or load them in model.py.",
        ) from error


def labels(model: Any) -> tuple[str, ...] | None:
    """The names of a classifier's outputs, where they are more than numbers."""
    # Of a model that was read here: what others call labels may be anything.
    if getattr(model, "__module__", None) != __name__:
        return None
    named: tuple[str, ...] | None = model.labels
    return named


def _labels(config: Any) -> tuple[str, ...] | None:
    named: Mapping[int, str] = config.id2label or {}
    listed = tuple(str(named[number]) for number in sorted(named))
    # Made up by the library where nobody named them; equal names would tell nothing apart.
    made_up = all(name == f"LABEL_{number}" for number, name in enumerate(listed))
    if made_up or len(set(listed)) < len(listed):
        return None
    return listed


# --- texts


def _on_texts(folder: Path) -> Callable[[Any], Tensor]:
    model = _loaded("AutoModelForSequenceClassification", folder).eval()
    tokenizer = _loaded("AutoTokenizer", folder)
    longest = _longest(model, tokenizer)

    # A function, so that the network is seen in what it closes over.
    def scores(texts: Any) -> Tensor:
        asked = _tokens(tokenizer, texts, longest)
        found: Tensor = model(**asked).logits
        return found

    scores.__qualname__ = type(model).__name__
    scores.labels = _labels(model.config)  # type: ignore[attr-defined]
    return scores


def _longest(model: Any, tokenizer: Any) -> int | None:
    """How many tokens the model takes, where that is known."""
    known = [tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", None)]
    finite = [int(each) for each in known if isinstance(each, int) and 0 < each < _LONGEST]
    return min(finite, default=None)


def _tokens(tokenizer: Any, texts: Any, longest: int | None) -> Mapping[str, Tensor]:
    if not isinstance(texts, Sequence) or not all(isinstance(text, str) for text in texts):
        raise KindError(
            expected="texts, as a .txt holds them one a line",
            got=f"a {type(texts).__name__}",
            advice="The folder has a tokenizer of its own: give it texts.",
        )
    asked: Mapping[str, Tensor] = tokenizer(list(texts), padding=True, return_tensors="pt")
    length = asked["input_ids"].shape[1]
    # A word that was cut off would get no credit, and nobody would know why.
    if longest is not None and length > longest:
        raise InputError(
            expected=f"texts of at most {longest} tokens",
            got=length,
            advice="Cut them where you like: the model has no place for more.",
        )
    return asked


# --- pictures


@final
class PictureClassifier(nn.Module):
    """A classifier that takes shares of white, and standardises them as it was trained."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("mean", torch.tensor(mean).reshape(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).reshape(1, -1, 1, 1))
        self.labels = _labels(model.config)

    def forward(self, pixels: Tensor) -> Tensor:
        found: Tensor = self.model(pixel_values=(pixels - self.mean) / self.std).logits
        return found


def _on_pictures(folder: Path) -> nn.Module:
    model = _loaded("AutoModelForImageClassification", folder)
    mean, std = _standards(folder)
    return PictureClassifier(model, mean, std).eval()


def _standards(folder: Path) -> tuple[list[float], list[float]]:
    """What is taken from each channel, and what divides it; nothing where the folder does not say."""
    file = folder / "preprocessor_config.json"
    if not file.is_file():
        return [0.0], [1.0]
    stated = json.loads(file.read_text(encoding="utf-8"))
    if not stated.get("do_normalize", True) or "image_mean" not in stated:
        return [0.0], [1.0]
    return stated["image_mean"], stated["image_std"]
