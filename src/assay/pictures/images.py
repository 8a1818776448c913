"""Maps of credit and inputs as small PNG pictures for a page, without any drawing state."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from assay.answers.attribution import Attribution
from assay.errors import InputError
from assay.numerics.statistics import Floats
from assay.question.question import Question

COLOURS = "RdBu_r"  # blue for credit against, white for none, red for credit in favour

CLIPPED = 256  # from so many places on the strongest half percent shares the full colour


@final
@dataclass(frozen=True)
class Picture:
    """A PNG as a data address, what it shows in words, and its size in places."""

    address: str
    words: str
    height: int
    width: int


def is_image(question: Question) -> bool:
    """Whether each input is one picture: (height, width) or (channels, height, width)."""
    shapes = question.layout.shapes
    return len(shapes) == 1 and len(shapes[0]) in (2, 3) and min(shapes[0][-2:]) > 1


def credit_maps(question: Question, answer: Attribution) -> Floats:
    """The credit of every place of the picture: (n, height, width); channels of their own are added
    up.

    All places of a feature show the whole feature's credit, places that nobody owns show zero.
    """
    shape = question.layout.shapes[0]
    partition = question.partition
    values = answer.values.detach().to(torch.float64).cpu()
    if not partition.identity:
        labels = partition.labels.cpu().expand(len(values), -1)
        values = torch.where(labels < 0, 0.0, values.gather(1, labels.clamp_min(0)))
    spread = values.reshape(len(values), *shape).numpy()
    if spread.ndim == 4:
        spread = spread.sum(axis=1) if partition.identity else spread[:, 0]
    return np.asarray(spread, dtype=np.float64)


def photos(question: Question, images: ArrayLike | None) -> NDArray[np.float64] | None:
    """The inputs as pictures in [0, 1], (n, height, width) or (n, height, width, 3); None where
    nothing can be seen.
    """
    if images is None:
        shape = question.layout.shapes[0]
        if not is_image(question) or (len(shape) == 3 and shape[0] not in (1, 3)):
            return None
        array = question.x.detach().to(torch.float64).cpu().numpy().reshape(question.n, *shape)
    else:
        array = np.asarray(
            images.detach().cpu() if isinstance(images, torch.Tensor) else images, dtype=np.float64
        )
    if array.ndim not in (3, 4) or len(array) != question.n:
        raise InputError(
            expected=(
                "images (n, height, width), (n, 3, height, width) or (n, height, width, "
                f"3) for {question.n} inputs"
            ),
            got=f"shape {array.shape}",
            advice="",
        )
    if array.ndim == 4 and array.shape[-1] not in (1, 3):
        array = np.moveaxis(array, 1, -1)
    if array.ndim == 4 and array.shape[-1] not in (1, 3):
        raise InputError(
            expected="images with 1 or 3 channels",
            got=f"shape {array.shape}: hand over what people should see",
            advice="",
        )
    array = array[..., 0] if array.ndim == 4 and array.shape[-1] == 1 else array
    low, high = float(array.min()), float(array.max())
    if low >= 0 and 1 < high <= 255:
        low, high = 0.0, 255.0
    elif low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    return (array - low) / (high - low) if high > low else np.zeros_like(array)


def photo(image: NDArray[np.float64], words: str) -> Picture:
    """One input as a picture."""
    from PIL import Image

    pixels = np.round(image * 255).astype(np.uint8)
    return Picture(_address(Image.fromarray(pixels)), words, image.shape[0], image.shape[1])


def heat(values: Floats, words: str) -> Picture:
    """One map of credit (height, width) in diverging colours, symmetric around zero."""
    from matplotlib import colormaps
    from PIL import Image

    strength = np.abs(values)
    reach = float(np.quantile(strength, 0.995)) if values.size >= CLIPPED else float(strength.max())
    reach = reach or float(strength.max()) or 1.0
    level = np.round(127 + 127 * np.clip(values / reach, -1, 1)).astype(np.uint8)
    palette = np.round(255 * np.asarray(colormaps[COLOURS](np.linspace(0, 1, 255)))[:, :3]).astype(
        np.uint8
    )
    picture = Image.fromarray(level, mode="L")
    picture.putpalette(palette.tobytes())
    return Picture(_address(picture), words, values.shape[0], values.shape[1])


def in_words(values: ArrayLike, names: Sequence[str]) -> str:
    """What a reader who cannot see the map should know of it: the strongest feature in favour and
    against.
    """
    credit = np.asarray(values, dtype=np.float64)
    if not np.any(credit):
        return "no credit anywhere"
    most, least = int(credit.argmax()), int(credit.argmin())
    said = [f"most in favour {names[most]} ({credit[most]:+.3g})"] if credit[most] > 0 else []
    said += [f"most against {names[least]} ({credit[least]:+.3g})"] if credit[least] < 0 else []
    return ", ".join(said)


def _address(picture: Any) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
