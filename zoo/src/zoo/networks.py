"""Trained image networks: pictures in [0, 1] in, logits out, in eval mode, preprocessing inside."""

from __future__ import annotations

import copy
import functools
import json
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.pictures import mnist
from zoo.place import data_root


class Normalise(nn.Module):
    """(x - mean) / std per channel; `reverse` turns RGB into BGR first."""

    def __init__(
        self, mean: tuple[float, ...], std: tuple[float, ...], reverse: bool = False
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)
        self.reverse = reverse

    def forward(self, x: Tensor) -> Tensor:
        return ((x.flip(1) if self.reverse else x) - self.mean) / self.std


class DigitNet(nn.Sequential):
    """The MNIST network of Madry et al. (2018): conv 5x5, pool, conv 5x5, pool, two linear layers;
    grey in [0, 1].
    """

    def __init__(self, channels: tuple[int, int] = (32, 64), hidden: int = 1024) -> None:
        super().__init__()
        a, b = channels
        self.conv1 = nn.Conv2d(1, a, 5, padding=2)
        self.relu1 = nn.ReLU()
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(a, b, 5, padding=2)
        self.relu2 = nn.ReLU()
        self.pool2 = nn.MaxPool2d(2)
        self.flat = nn.Flatten()
        self.fc1 = nn.Linear(49 * b, hidden)
        self.relu3 = nn.ReLU()
        self.fc2 = nn.Linear(hidden, 10)


@functools.cache
def _digit_net(
    channels: tuple[int, int], hidden: int, images: int, epochs: int, seed: int
) -> DigitNet:
    x, y = mnist("train", images)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = DigitNet(channels, hidden)
        optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
        for _ in range(epochs):
            for rows in torch.randperm(len(x)).split(100):
                optimiser.zero_grad()
                F.cross_entropy(net(x[rows]), y[rows]).backward()
                optimiser.step()
    net.zero_grad()
    return net.eval()


def digit_net(
    channels: tuple[int, int] = (16, 32),
    hidden: int = 128,
    images: int = 10000,
    epochs: int = 2,
    seed: int = 0,
) -> DigitNet:
    """A `DigitNet` trained on the first MNIST digits: a few seconds, about 95 % right."""
    return copy.deepcopy(_digit_net(channels, hidden, images, epochs, seed))


class Block(nn.Module):
    """Two 3x3 convolutions beside an option-A shortcut: every second pixel, zeros for the new
    channels.
    """

    def __init__(self, width: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.relu1 = nn.ReLU()
        self.relu2 = nn.ReLU()
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.stride = stride
        self.extra = (out - width) // 2

    def forward(self, x: Tensor) -> Tensor:
        inner = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        if self.stride > 1:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.extra, self.extra))
        return self.relu2(inner + x)


class CifarResNet(nn.Module):
    """The CIFAR residual network of He et al. (2016), depth 6 n + 2; RGB in [0, 1]."""

    def __init__(self, depth: int = 20) -> None:
        super().__init__()
        blocks = (depth - 2) // 6
        self.normalise = Normalise((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        self.layer1 = nn.Sequential(*(Block(16, 16, 1) for _ in range(blocks)))
        self.layer2 = nn.Sequential(
            *(Block(32 if i else 16, 32, 1 if i else 2) for i in range(blocks))
        )
        self.layer3 = nn.Sequential(
            *(Block(64 if i else 32, 64, 1 if i else 2) for i in range(blocks))
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flat = nn.Flatten()
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(self.normalise(x))))
        return self.linear(self.flat(self.pool(self.layer3(self.layer2(self.layer1(x))))))


def cifar_resnet(depth: int = 20) -> CifarResNet:
    """The trained CIFAR-10 network of 20, 32, 44 or 56 layers."""
    (path,) = (data_root() / "cifar10_resnets").glob(f"resnet{depth}-*.th")
    state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    net = CifarResNet(depth)
    net.load_state_dict({key.removeprefix("module."): value for key, value in state.items()})
    return net.eval()


class Fire(nn.Module):
    def __init__(self, width: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(width, squeeze, 1)
        self.relu = nn.ReLU()
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)
        self.relu1x1 = nn.ReLU()
        self.relu3x3 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.squeeze(x))
        return torch.cat([self.relu1x1(self.expand1x1(x)), self.relu3x3(self.expand3x3(x))], 1)


class SqueezeNet(nn.Module):
    """SqueezeNet (Iandola et al. 2016) in the Caffe preprocessing; RGB in [0, 1], 227 x 227."""

    def __init__(self, version: str = "1_1") -> None:
        super().__init__()
        fire = {16: (16, 64), 32: (32, 128), 48: (48, 192), 64: (64, 256)}
        width, kernel = (96, 7) if version == "1_0" else (64, 3)
        plan: list[int | None] = (
            [16, 16, 32, None, 32, 48, 48, 64, None, 64]
            if version == "1_0"
            else [16, 16, None, 32, 32, None, 48, 48, 64, 64]
        )
        layers: list[nn.Module] = [
            nn.Conv2d(3, width, kernel, 2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, ceil_mode=True),
        ]
        for squeeze in plan:
            if squeeze is None:
                layers.append(nn.MaxPool2d(3, 2, ceil_mode=True))
            else:
                layers.append(Fire(width, *fire[squeeze]))
                width = 2 * fire[squeeze][1]
        # The Caffe file of version 1.0 pads its last 1x1 convolution.
        last = nn.Conv2d(512, 1000, 1, padding=1 if version == "1_0" else 0)
        mean = (104 / 255, 117 / 255, 123 / 255)
        self.normalise = Normalise(mean, (1 / 255,) * 3, reverse=True)
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(), last, nn.ReLU(), nn.AdaptiveAvgPool2d(1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.flatten(self.classifier(self.features(self.normalise(x))), 1)


def _arrays(name: str) -> dict[str, Tensor]:
    with np.load(data_root() / "imagenet_cnns" / name) as file:
        return {key: torch.from_numpy(file[key].astype(np.float32)) for key in file.files}


def squeezenet(version: str = "1_1") -> SqueezeNet:
    """The trained SqueezeNet 1.1 or 1.0."""
    net = SqueezeNet(version)
    net.load_state_dict(_arrays(f"squeezenet{version}.npz"))
    return net.eval()


class MobileNetV2(nn.Module):
    """MobileNet V2 (Sandler et al. 2018), batch norm folded in, TensorFlow's padding; RGB in [0,
    1], 224 x 224.
    """

    def __init__(self, plan: list[dict[str, Any]], weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.normalise = Normalise((0.5,) * 3, (0.5,) * 3)
        self.steps: list[tuple[str, list[int], int]] = []
        for i, op in enumerate(plan):
            if f"op{i}.weight" in weights:
                self.add_module(
                    f"op{i}",
                    self._convolution(op, weights[f"op{i}.weight"], weights[f"op{i}.bias"]),
                )
                self.steps.append((f"op{i}", op["in"], op["out"][0]))
            elif op["op"] == "ADD":
                self.steps.append(("add", op["in"], op["out"][0]))
            elif op["op"] == "AVERAGE_POOL_2D":
                self.add_module(f"op{i}", nn.AdaptiveAvgPool2d(1))
                self.steps.append((f"op{i}", op["in"], op["out"][0]))

    @staticmethod
    def _convolution(op: dict[str, Any], weight: Tensor, bias: Tensor) -> nn.Sequential:
        out, width, kernel, _ = weight.shape
        stride = op["stride"]
        # Sides are even wherever the stride is two: "SAME" then means one more row and column at
        # the far side.
        edge = nn.ZeroPad2d((0, 1, 0, 1)) if stride == 2 and kernel == 3 else nn.Identity()
        padding = 1 if stride == 1 and kernel == 3 else 0
        conv = nn.Conv2d(width * op["groups"], out, kernel, stride, padding, groups=op["groups"])
        conv.load_state_dict({"weight": weight, "bias": bias})
        return nn.Sequential(edge, conv, nn.ReLU6() if op["act"] == "relu6" else nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        held = {self.steps[0][1][0]: self.normalise(x)}
        for name, inputs, out in self.steps:
            held[out] = (
                held[inputs[0]] + held[inputs[1]]
                if name == "add"
                else getattr(self, name)(held[inputs[0]])
            )
        return torch.flatten(held[self.steps[-1][2]], 1)[:, 1:]


def mobilenet_v2() -> MobileNetV2:
    """The trained MobileNet V2, its background class dropped."""
    plan = json.loads(
        (data_root() / "imagenet_cnns" / "mobilenet_v2_1.0_224_ops.json").read_text()
    )["ops"]
    return MobileNetV2(plan, _arrays("mobilenet_v2_1.0_224.npz")).eval()


class Attention(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = dim**-0.5
        self.to_qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.to_out = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        n, length, dim = x.shape
        q, k, v = self.to_qkv(x).reshape(n, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-2, -1) * self.scale).softmax(-1)
        return self.to_out((weights @ v).transpose(1, 2).reshape(n, length, dim))


class MnistViT(nn.Module):
    """A pre-norm vision transformer with a class token (Dosovitskiy et al. 2021): 4 x 4 patches of
    7 pixels.
    """

    def __init__(self, dim: int = 64, depth: int = 6, heads: int = 8, hidden: int = 128) -> None:
        super().__init__()
        self.normalise = Normalise((0.1307,), (0.3081,))
        self.patch_to_embedding = nn.Linear(49, dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embedding = nn.Parameter(torch.zeros(1, 17, dim))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2 * depth))
        self.attentions = nn.ModuleList(Attention(dim, heads) for _ in range(depth))
        self.feeds = nn.ModuleList(
            nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))
            for _ in range(depth)
        )
        self.head = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, 10))

    def forward(self, x: Tensor) -> Tensor:
        patches = F.unfold(self.normalise(x), 7, stride=7).transpose(1, 2)
        h = self.patch_to_embedding(patches)
        h = torch.cat([self.cls_token.expand(len(x), -1, -1), h], 1) + self.pos_embedding
        for i, (attention, feed) in enumerate(zip(self.attentions, self.feeds)):
            h = h + attention(self.norms[2 * i](h))
            h = h + feed(self.norms[2 * i + 1](h))
        return self.head(h[:, 0])


def mnist_vit() -> MnistViT:
    """The trained MNIST transformer."""
    state = torch.load(
        data_root() / "vit_mnist" / "vit_mnist.pth", map_location="cpu", weights_only=True
    )
    named = {}
    for key, value in state.items():
        part = key.split(".")
        if part[0] == "transformer":
            i, half, tail = int(part[2]), int(part[3]), part[5:]
            place = "norms" if tail[0] == "norm" else ("attentions", "feeds")[half]
            position = 2 * i + half if tail[0] == "norm" else i
            key = ".".join([place, str(position), *[name for name in tail[1:] if name != "net"]])
        named[key.replace("mlp_head", "head")] = value
    net = MnistViT()
    net.load_state_dict(named)
    return net.eval()


class CifarViT(nn.Module):
    """A post-norm vision transformer with a class token: 8 x 8 patches of 4 pixels; RGB in [0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.normalise = Normalise((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, 128, 4, 4)})
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 128))
        self.pos_embed = nn.Parameter(torch.zeros(1, 65, 128))
        layer = nn.TransformerEncoderLayer(128, 8, 256, batch_first=True)
        self.transformer = nn.TransformerEncoder(layer, 6, enable_nested_tensor=False)
        self.mlp_head = nn.Sequential(nn.LayerNorm(128), nn.Linear(128, 10))

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patch_embed["proj"](self.normalise(x)).flatten(2).transpose(1, 2)
        h = torch.cat([self.cls_token.expand(len(x), -1, -1), patches], 1) + self.pos_embed
        return self.mlp_head(self.transformer(h)[:, 0])


def cifar_vit() -> CifarViT:
    """The trained CIFAR-10 transformer."""
    net = CifarViT()
    path = data_root() / "vit_cifar10" / "vit_cifar10.pth"
    net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return net.eval()
