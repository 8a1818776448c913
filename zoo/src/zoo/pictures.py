"""Real pictures: float tensors (n, channels, height, width) in [0, 1]."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zoo.place import data_root


def mnist(split: str = "test", count: int | None = None) -> tuple[Tensor, Tensor]:
    """Digits (n, 1, 28, 28) in [0, 1] and labels (n,), in the original order."""
    with np.load(data_root() / "mnist" / f"mnist_{split}.npz") as file:
        images = file["images"][:count]
        labels = file["labels"][:count]
    return torch.from_numpy(images).float().div(255).unsqueeze(1), torch.from_numpy(labels).long()


def cifar10(
    split: str = "test", count: int | None = None, shuffle: bool = True
) -> tuple[Tensor, Tensor]:
    """Pictures (n, 3, 32, 32) in [0, 1] and labels (n,); the files are sorted by class, hence
    always shuffled alike.
    """
    name = {"test": "cifar10_test.npz", "train": "cifar10_train_10000.npz"}[split]
    with np.load(data_root() / "cifar10" / name) as file:
        images = file["images"]
        labels = file["labels"]
    # The permutation under which the accuracies of the trained networks were stated.
    order = np.random.RandomState(0).permutation(len(labels)) if shuffle else np.arange(len(labels))
    images = images[order[:count]]
    labels = labels[order[:count]]
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float().div(255).contiguous()
    return pixels, torch.from_numpy(labels).long()


def square(image: Image.Image, size: int, keep: float) -> Tensor:
    """The central square that is `keep` of the shorter side, resized to (3, size, size) in [0, 1]."""
    side = int(min(image.size) * keep)
    left = (image.width - side) // 2
    top = (image.height - side) // 2
    cut = (
        image.convert("RGB")
        .crop((left, top, left + side, top + side))
        .resize((size, size), Image.Resampling.BILINEAR)
    )
    return torch.from_numpy(np.asarray(cut, np.float32) / 255).permute(2, 0, 1).contiguous()


def photographs(
    size: int = 224, keep: float = 0.875, count: int | None = None
) -> tuple[Tensor, Tensor, list[str]]:
    """ImageNet photographs (n, 3, size, size), one per class, their class indices (n,) and class
    names.
    """
    folder = data_root() / "imagenet_sample_images"
    index = json.loads((folder / "imagenet_class_index.json").read_text())
    number = {synset: (int(key), name) for key, (synset, name) in index.items()}
    files = sorted(folder.glob("*.JPEG"))[:count]
    found = [number[file.name.split("_")[0]] for file in files]
    images = torch.stack([square(Image.open(file), size, keep) for file in files])
    return images, torch.tensor([key for key, _ in found]), [name for _, name in found]


def tiny_imagenet(count: int | None = None) -> tuple[Tensor, list[str], Tensor]:
    """Pictures (n, 3, 64, 64) in [0, 1], their synsets, and boxes (n, 4) as x0, y0, x1, y1."""
    folder = data_root() / "tiny_imagenet_val"
    rows = [
        line.split()
        for line in (folder / "val_annotations_4000.txt").read_text().splitlines()[:count]
    ]
    with zipfile.ZipFile(folder / "val_images_4000.zip") as archive:
        inside = {Path(name).name: name for name in archive.namelist()}
        images = [
            square(Image.open(io.BytesIO(archive.read(inside[row[0]]))), 64, 1.0) for row in rows
        ]
    boxes = torch.tensor([[int(value) for value in row[2:]] for row in rows])
    return torch.stack(images), [row[1] for row in rows], boxes
