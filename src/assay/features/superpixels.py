"""Superpixels of images as features, found once on the clean image and frozen.

SLIC is k-means on colour and place with centres that start on a grid (Achanta et al. 2012);
quickshift climbs to the modes of a density of colour and place (Vedaldi and Soatto 2008), and is
the default of the LIME authors' own package. Both are scikit-image's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
import torch
from torch import Tensor

from assay.errors import InputError, MissingError, SettingError
from assay.features.partition import Features, Partition
from assay.inputs.layout import Layout
from assay.inputs.places import check_axes, places_of

_FLAT = 1e-12  # a colour range below this is a flat image, which is not scaled up to noise


@final
@dataclass(frozen=True)
class Superpixels(Features):
    """Connected regions of similar colour (Achanta et al. 2012, or Vedaldi and Soatto 2008).

    They are found on the clean image and stay what they are however the image is masked: a
    segmentation made anew would change who receives credit. All channels belong together. Colours
    are scaled to [0, 1] per image first. An image may end up with fewer regions than others; the
    features it lacks own nothing and receive 0. Needs the extra `images`.

    SLIC may find fewer regions than it is asked for, far fewer where colours change from pixel to
    pixel (of pure noise it may make one); `question.partition.count` says how many there are, and
    a higher compactness gives more.

    Settings:
        segments: about how many regions SLIC looks for; quickshift finds its own number.
        compactness: the weight of place against colour in SLIC's distance; higher is squarer.
        algorithm: "slic", whose regions are of even size, or "quickshift", which is LIME's.
        axes: what the axes of one input are, as in `Pixels`: "HWC" for channels last.

    Shapes: (regions of the image that has the most,); `question.partition.labels` is the map. Errors:
    SettingError for settings out of range, InputError for what is no image, MissingError without
    scikit-image.

    >>> import torch, assay
    >>> quarters = torch.tensor([[0.0, 1.0], [2.0, 3.0]]).repeat_interleave(4, 0)
    >>> image = quarters.repeat_interleave(4, 1).expand(1, 3, 8, 8)
    >>> question = assay.Question(lambda x: x.flatten(1).mean(1), image, features=Superpixels(4))
    >>> question.partition.count, question.partition.labels.reshape(3, 8, 8)[0, 0].tolist()
    (4, [0, 0, 0, 0, 1, 1, 1, 1])
    """

    segments: int = 50
    compactness: float = 10.0
    algorithm: Literal["slic", "quickshift"] = "slic"
    axes: str | None = None

    def __post_init__(self) -> None:
        check_axes(self.axes, "Superpixels")
        if (
            self.segments < 2
            or not self.compactness > 0
            or self.algorithm not in ("slic", "quickshift")
        ):
            raise SettingError(
                expected=(
                    "at least 2 segments, a positive compactness and the algorithm "
                    "'slic' or 'quickshift'"
                ),
                got=(
                    f"segments={self.segments}, compactness={self.compactness}, algorithm="
                    f"{self.algorithm!r}"
                ),
                advice="Start from Superpixels(), which is 50 segments by SLIC.",
            )

    def bind(self, layout: Layout, x: Tensor) -> Partition:
        places = places_of(layout, self.axes, "Superpixels")
        if len(places.shape) != 2:
            raise InputError(
                expected="images for Superpixels, with a height and a width",
                got=f"places of shape {places.shape}",
                advice="Use Patches(size, axes=...) for series and volumes.",
            )
        if not x.is_floating_point():
            raise InputError(
                expected="floating images for Superpixels",
                got=x.dtype,
                advice="Convert them with .float(), and wrap a model that takes integers.",
            )
        # scikit-image takes arrays on the CPU.
        images = places.channels_first(x.detach().to("cpu", torch.float64))
        maps = torch.stack([self._regions(image) for image in images])
        # All channels of a pixel bear its region's label: (n, channels * height * width).
        labels = places.spread(maps.flatten(1)).to(x.device)
        # As many features as the image with the most regions has.
        count = int(labels.max()) + 1
        names = tuple(f"region {index}" for index in range(count))
        return Partition(labels, count, names, (count,))

    def _regions(self, image: Tensor) -> Tensor:
        """Labels 0.. of one image (channels, height, width): (height, width)."""
        try:
            from skimage import segmentation
        except ImportError as error:
            raise MissingError("scikit-image", "images") from error
        low = float(image.min())
        high = float(image.max())
        # Compactness weighs place against colour, and so needs colours of one range.
        scaled = (image - low) / max(high - low, _FLAT)
        colours = scaled.permute(1, 2, 0).numpy()
        if self.algorithm == "quickshift":
            regions = _quickshift(segmentation, colours)
        else:
            regions = segmentation.slic(
                colours, self.segments, self.compactness, channel_axis=2, start_label=0
            )
        # SLIC may merge regions away: labels are numbered anew, without gaps.
        _, dense = np.unique(regions, return_inverse=True)
        return torch.from_numpy(dense.reshape(regions.shape).astype(np.int64))


def _quickshift(segmentation: Any, colours: Any) -> Any:
    """Regions of (height, width, channels), with the settings of the LIME authors' package."""
    # scikit-image takes three channels only; others are seen in grey, by their first channel.
    if colours.shape[2] != 3:
        colours = np.repeat(colours[..., :1], 3, axis=2)
    return segmentation.quickshift(colours, kernel_size=4, max_dist=200, ratio=0.2, rng=0)
