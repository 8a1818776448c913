"""Maps of credit and inputs as small PNG pictures for a page.

Nothing is drawn with a plotting library's state: arrays become pixels, pixels become a PNG, and a
PNG becomes a data address that a page carries in itself. A map of credit has one pixel for each
place of the input (a saliency map), in a diverging palette that is symmetric around zero.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from assay.answers.attribution import Attribution
from assay.errors import InputError
from assay.numerics.statistics import Floats
from assay.question.question import Question
from assay.settings import shown

if TYPE_CHECKING:
    from PIL.Image import Image

COLOURS = "RdBu_r"  # blue for credit against, white for none, red for credit in favour

LEVEL_COLOURS = (
    "viridis"  # of numbers without a neutral zero: dark for the lowest, bright for the highest
)

# From so many places on, the strongest percent shares the full colour: one outlier would bleach a
# large map, while in a small one every place may be the point.
CLIPPED = 256

STRONGEST = 0.99

LEVELS = 255  # of the palette; odd, so that zero has a level of its own


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
    """The credit of every place of the picture: (n, height, width).

    All places of a feature show the whole feature's credit, places that nobody owns show zero.
    Channels with features of their own are added up.
    """
    return spread_over_places(question, answer.values.detach().to(torch.float64).cpu().numpy())


def spread_over_places(question: Question, numbers: ArrayLike) -> Floats:
    """Numbers of features (n, features) at every place of the picture: (n, height, width)."""
    shape = question.layout.shapes[0]
    partition = question.partition
    values = torch.as_tensor(np.asarray(numbers, dtype=np.float64))
    n = len(values)
    if not partition.identity:
        labels = partition.labels.cpu().expand(n, -1)
        # A label below zero marks an element that no feature owns.
        values = torch.where(labels < 0, 0.0, values.gather(1, labels.clamp_min(0)))
    maps = values.reshape(n, *shape).numpy()
    if maps.ndim == 4 and partition.identity:
        maps = maps.sum(axis=1)
    elif maps.ndim == 4:
        # Other features reach over all channels: the first shows them as well as any.
        maps = maps[:, 0]
    return np.asarray(maps, dtype=np.float64)


def photos(question: Question, images: ArrayLike | None) -> NDArray[np.float64] | None:
    """The inputs as pictures in [0, 1], (n, height, width) or (n, height, width, 3).

    `images` are shown where they are given; None where nothing can be seen.
    """
    if images is not None:
        array = _as_array(images)
    elif _can_be_seen(question):
        array = _inputs_as_images(question)
    else:
        return None
    if array.ndim not in (3, 4) or len(array) != question.n:
        raise InputError(
            expected=(
                "images (n, height, width), (n, 3, height, width) or (n, height, width, "
                f"3) for {question.n} inputs"
            ),
            got=f"shape {array.shape}",
            advice="Hand over one image for every input of the question, in its order.",
        )
    return _stretched(_channels_last(array))


def _can_be_seen(question: Question) -> bool:
    """Whether inputs are pictures for people: grey or three colours, and not five channels."""
    shape = question.layout.shapes[0]
    return is_image(question) and (len(shape) == 2 or shape[0] in (1, 3))


def _inputs_as_images(question: Question) -> NDArray[np.float64]:
    shape = question.layout.shapes[0]
    x = question.x.detach().to(torch.float64).cpu().numpy()
    return np.asarray(x.reshape(question.n, *shape))


def _as_array(images: ArrayLike) -> NDArray[np.float64]:
    if isinstance(images, torch.Tensor):
        images = images.detach().cpu()
    try:
        return np.asarray(images, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(
            expected="images as an array of numbers, all of one shape",
            got=f"{shown(images)}: {error}",
            advice="Hand over what people should see: (n, height, width) or (n, height, width, 3).",
        ) from error


def _channels_last(array: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, height, width) for one channel, (n, height, width, 3) for three."""
    if array.ndim == 3:
        return array
    # A last axis of 1 or 3 is taken for channels: a picture is hardly ever so narrow.
    if array.shape[-1] not in (1, 3):
        array = np.moveaxis(array, 1, -1)
    channels = array.shape[-1]
    if channels not in (1, 3):
        raise InputError(
            expected="images with 1 or 3 channels",
            got=f"shape {array.shape}",
            advice="Hand over what people should see: grey images or RGB.",
        )
    if channels == 1:
        return array[..., 0]
    return array


def _stretched(array: NDArray[np.float64]) -> NDArray[np.float64]:
    """The numbers in [0, 1]: bytes and shares on their own scale, anything else from end to end."""
    # Over all inputs together, so that bright and dark pictures stay so beside each other.
    low = float(array.min())
    high = float(array.max())
    # Standardised images have negative numbers, and no scale that could be known.
    if low >= 0 and high <= 255:
        low = 0.0
        high = 1.0 if high <= 1 else 255.0
    # All numbers alike, and not on a known scale.
    if high <= low:
        return np.zeros_like(array)
    return (array - low) / (high - low)


def photo(image: NDArray[np.float64], words: str) -> Picture:
    """One input as a picture."""
    from PIL import Image

    # Rounded and not cut off, so that bytes come back as the bytes that they were.
    pixels = np.round(image * 255).astype(np.uint8)
    height, width = image.shape[:2]
    return Picture(_address(Image.fromarray(pixels)), words, height, width)


def heat(values: Floats, words: str, *, level: bool = False) -> Picture:
    """One map of credit (height, width) in diverging colours, symmetric around zero.

    A `level` has no zero: its colours go from its lowest place to its highest.
    """
    from PIL import Image

    if level:
        steps = np.round((LEVELS - 1) * _above_lowest(values)).astype(np.uint8)
    else:
        middle = LEVELS // 2
        shares = np.clip(values / reach(values), -1, 1)
        # The middle level is zero exactly, with as many levels on either side.
        steps = np.round(middle + middle * shares).astype(np.uint8)
    # A palette of colours and one byte a place: a third of the size of RGB, and exact.
    picture = Image.fromarray(steps, mode="L")
    picture.putpalette(_palette(LEVEL_COLOURS if level else COLOURS))
    height, width = values.shape
    return Picture(_address(picture), words, height, width)


def reach(values: Floats) -> float:
    """The credit that gets the full colour."""
    strength = np.abs(values)
    strongest = float(strength.max())
    if values.size >= CLIPPED:
        # A map with credit in few places has a zero here, and is then not clipped.
        strongest = float(np.quantile(strength, STRONGEST)) or strongest
    return strongest or 1.0


def _above_lowest(values: Floats) -> Floats:
    """How far each place is on the way from the lowest to the highest: 0 to 1."""
    heights = values - values.min()
    return np.asarray(np.clip(heights / reach(heights), 0, 1))


def _palette(name: str) -> bytes:
    from matplotlib import colormaps

    colours = np.asarray(colormaps[name](np.linspace(0, 1, LEVELS)))
    return np.round(255 * colours[:, :3]).astype(np.uint8).tobytes()


def in_words(values: ArrayLike, names: Sequence[str], *, level: bool = False) -> str:
    """What a reader who cannot see the map should know of it: the strongest feature in favour and
    against, of a level the highest and the lowest.
    """
    credit = np.asarray(values, dtype=np.float64)
    if level:
        high = int(credit.argmax())
        low = int(credit.argmin())
        return (
            f"highest {names[high]} ({credit[high]:.3g}), lowest {names[low]} ({credit[low]:.3g})"
        )
    if not np.any(credit):
        return "no credit anywhere"
    most = int(credit.argmax())
    least = int(credit.argmin())
    phrases = []
    if credit[most] > 0:
        phrases.append(f"most in favour {names[most]} ({credit[most]:+.3g})")
    if credit[least] < 0:
        phrases.append(f"most against {names[least]} ({credit[least]:+.3g})")
    return ", ".join(phrases)


def _address(picture: Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    # Inside the page itself, which stays whole when it is sent or moved.
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
