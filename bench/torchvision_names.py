"""Declares torchvision's native operators by name where they do not load, so that its Python parts
import beside a CPU-only torch.

torchvision's published wheels for Linux bring operators built for CUDA, which do not load there; its
Python parts then look for their names and fail. Import this module before whatever imports
torchvision (captum, quantus, transformers' image models): it is the one module here that acts when it
is imported, because torchvision does. In the linter's order of imports it has a place of its own,
before other libraries (`before-torchvision` in pyproject.toml). Tests import it from here, too.
"""

import importlib.util
from pathlib import Path

import torch


def _operators_load() -> bool:
    """Whether torchvision's own library fits this torch; loaded once, it is not loaded again."""
    found = importlib.util.find_spec("torchvision")
    for folder in (found.submodule_search_locations or []) if found else []:
        for library in (*Path(folder).glob("_C*.so"), *Path(folder).glob("_C*.pyd")):
            try:
                torch.ops.load_library(str(library))
            except OSError:
                continue
            return True
    return False


def _declare() -> torch.library.Library:
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    for name, arity in {
        "roi_align": 7,
        "qroi_align": 7,
        "roi_pool": 5,
        "ps_roi_align": 6,
        "ps_roi_pool": 5,
        "deform_conv2d": 14,
        "_roi_align_backward": 11,
        "_roi_pool_backward": 10,
        "_ps_roi_align_backward": 11,
        "_ps_roi_pool_backward": 10,
        "_deform_conv2d_backward": 15,
        "box_iou_rotated": 2,
    }.items():
        library.define(f"{name}({', '.join(f'Tensor a{i}' for i in range(arity))}) -> Tensor")
    return library


# Kept: the names go with it.
_library = None if _operators_load() else _declare()
