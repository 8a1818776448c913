"""Superpixels of images as features, found once on the clean image and frozen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

import numpy as np
import torch
from torch import Tensor

from assay.errors import InputError, MissingError, SettingError
from assay.features.partition import Features, Partition
from assay.inputs.layout import Layout


@final
@dataclass(frozen=True)
class Superpixels(Features):
    """Connected regions of similar colour (SLIC: Achanta et al. 2012; or quickshift: Vedaldi and
    Soatto 2008).

    They are found on the clean image and stay what they are however the image is masked: a
    segmentation made anew would change who receives credit. All channels belong together. Colours
    are scaled to [0, 1] per image first. An image may end up with fewer regions than others; the
    features it lacks own nothing and receive 0. Needs the extra `images`. Errors: InputError for
    what is no image.

    >>> Superpixels(40)
    Superpixels(segments=40, compactness=10.0, algorithm='slic')
    """

    segments: int = 50
    compactness: float = 10.0
    algorithm: Literal["slic", "quickshift"] = "slic"

    def __post_init__(self) -> None:
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
                advice="",
            )

    def bind(self, layout: Layout, x: Tensor) -> Partition:
        shape = layout.shapes[0]
        if len(layout.shapes) != 1 or len(shape) not in (2, 3) or not x.is_floating_point():
            raise InputError(
                expected="floating images (channels, height, width) for Superpixels",
                got=layout.describe(),
                advice="",
            )
        images = (
            x.detach()
            .to("cpu", torch.float64)
            .reshape(len(x), *((1, *shape) if len(shape) == 2 else shape))
        )
        maps = torch.stack([self._regions(image) for image in images])
        labels = maps.flatten(1).repeat(1, images.shape[1]).to(x.device)
        count = int(labels.max()) + 1
        return Partition(
            labels, count, tuple(f"region {index}" for index in range(count)), (count,)
        )

    def _regions(self, image: Tensor) -> Tensor:
        """Labels 0.. of one image (channels, height, width): (height, width)."""
        try:
            from skimage import segmentation
        except ImportError as error:
            raise MissingError("scikit-image", "images") from error
        low, high = float(image.min()), float(image.max())
        array = ((image - low) / max(high - low, 1e-12)).permute(1, 2, 0).numpy()
        if self.algorithm == "quickshift":
            colours = array if array.shape[2] == 3 else np.repeat(array[..., :1], 3, axis=2)
            found = segmentation.quickshift(colours, kernel_size=4, max_dist=200, ratio=0.2, rng=0)
        else:
            found = segmentation.slic(
                array, self.segments, self.compactness, channel_axis=2, start_label=0
            )
        _, dense = np.unique(found, return_inverse=True)
        return torch.from_numpy(dense.reshape(found.shape).astype(np.int64))
