"""Golden images: twelve pictures as SVG, mark by mark, with every word and every number.

`ASSAY_GOLDEN=write` writes them anew; look at them before they are kept. Numbers may differ by a tenth
of a hundredth of an inch, and rasters are compared by their pixels, since packed bytes are those of a
version of zlib.
"""

from __future__ import annotations

import base64
import io
import os
import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from pictures.samples import SAMPLES, plain

GOLDEN = Path(__file__).with_name("golden")
NAMES = (
    "ladder", "bars", "importance", "swarm", "dependence", "heat",
    "image_map", "words", "curves", "standing", "radius", "molecule",
)  # fmt: skip

_IMAGE = re.compile(r"data:image/png;base64,([A-Za-z0-9+/=]+)")
_NUMBER = re.compile(r"-?\d+\.?\d*(?:e-?\d+)?")


def parts(svg: str) -> tuple[str, np.ndarray, list[np.ndarray]]:
    """What is drawn without its numbers, the numbers, and the pixels."""
    pixels = [
        imread(io.BytesIO(base64.b64decode(found.group(1)))) for found in _IMAGE.finditer(svg)
    ]
    bare = _IMAGE.sub("image", svg)
    numbers = np.array([float(found) for found in _NUMBER.findall(bare)])
    return _NUMBER.sub("#", bare), numbers, pixels


@pytest.mark.parametrize("name", NAMES)
def test_pictures_look_as_they_looked(name: str) -> None:
    made = SAMPLES[name](plain).svg()
    kept = GOLDEN / f"{name}.svg"
    if os.environ.get("ASSAY_GOLDEN") == "write":
        GOLDEN.mkdir(exist_ok=True)
        kept.write_text(made, encoding="utf-8")
    shapes, numbers, pixels = parts(made)
    old_shapes, old_numbers, old_pixels = parts(kept.read_text(encoding="utf-8"))
    assert shapes == old_shapes
    np.testing.assert_allclose(numbers, old_numbers, rtol=0, atol=0.1)
    assert len(pixels) == len(old_pixels)
    for new, old in zip(pixels, old_pixels, strict=True):
        np.testing.assert_allclose(new, old, rtol=0, atol=1 / 255)
