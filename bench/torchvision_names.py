"""Declares torchvision's native operators by name, so that its Python parts import beside a CPU-
only torch.

torchvision's published wheels bring operators built for CUDA, which do not load here; its Python
parts then look for their names and fail. Import this module before whatever imports torchvision
(captum, quantus): it is the one module here that acts when it is imported, because torchvision
does. In the linter's order of imports it has a place of its own, before other libraries (`before-
torchvision` in pyproject.toml).
"""

import torch

_library = torch.library.Library("torchvision", "DEF")
for _name in ("nms", "qnms"):
    _library.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
for _name, _arity in {
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
    _library.define(f"{_name}({', '.join(f'Tensor a{i}' for i in range(_arity))}) -> Tensor")
