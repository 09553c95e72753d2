"""Convolutional networks for images: ResNet-50, MobileNetV2 and ConvNeXt-T."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval


def convolution(inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution and its batch norm, as in ResNet and MobileNet."""
    conv = nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs)]


class Residual(nn.Module):
    """A residual block: x + f(x), or shortcut(x) + f(x) where the shape changes; then `after`."""

    def __init__(
        self, path: Sequence[nn.Module], shortcut: Sequence[nn.Module] = (), after: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.path, self.shortcut, self.after = nn.Sequential(*path), nn.Sequential(*shortcut), after or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.path(x) + self.shortcut(x))


def _classifier(features: Sequence[nn.Module], width: int) -> nn.Sequential:
    """A classifier of 1000 classes on the features' mean over the image; batch norms are folded into convolutions."""
    net = nn.Sequential(*features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 1000)).eval()
    for chain in [module for module in net.modules() if isinstance(module, nn.Sequential)]:
        for index, (first, second) in enumerate(itertools.pairwise(list(chain))):
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                chain[index], chain[index + 1] = fuse_conv_bn_eval(first, second), nn.Identity()
    return net


def resnet_50() -> nn.Module:
    """ResNet-50 (He et al. 2016), with the stride in the 3 x 3 convolution."""
    layers: list[nn.Module] = [*convolution(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    inputs = 64
    for stage, count in enumerate((3, 4, 6, 3)):
        width = 64 * 2**stage
        for index in range(count):
            stride = 2 if stage and not index else 1
            path = [
                *convolution(inputs, width, 1), nn.ReLU(), *convolution(width, width, 3, stride), nn.ReLU(),
                *convolution(width, 4 * width, 1),
            ]  # fmt: skip
            layers.append(Residual(path, () if index else convolution(inputs, 4 * width, 1, stride), nn.ReLU()))
            inputs = 4 * width
    return _classifier(layers, inputs)


def mobilenet_v2() -> nn.Module:
    """MobileNetV2 (Sandler et al. 2018, table 2, with columns expansion, channels, repeats, stride)."""
    layers: list[nn.Module] = [*convolution(3, 32, 3, 2), nn.ReLU6()]
    inputs, table = 32, ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2))
    for expansion, outputs, repeats, first_stride in (*table, (6, 320, 1, 1)):
        for index in range(repeats):
            stride, hidden = 1 if index else first_stride, inputs * expansion
            expand = [*convolution(inputs, hidden, 1), nn.ReLU6()] if expansion > 1 else []
            depthwise = [*convolution(hidden, hidden, 3, stride, hidden), nn.ReLU6()]
            path = [*expand, *depthwise, *convolution(hidden, outputs, 1)]
            layers.append(Residual(path) if stride == 1 and inputs == outputs else nn.Sequential(*path))
            inputs = outputs
    return _classifier([*layers, *convolution(inputs, 1280, 1), nn.ReLU6()], 1280)


class ChannelsNorm(nn.LayerNorm):
    """Layer norm over the channels of an image; needs no copies in channels_last memory format."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNextBlock(nn.Module):
    """A block of ConvNeXt: depthwise 7 x 7 convolution, then two dense layers per pixel (Liu et al. 2022)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.scale = nn.Parameter(torch.full((width,), 1e-6))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        return x + (self.scale * self.down(F.gelu(self.up(y)))).permute(0, 3, 1, 2)


def convnext_tiny() -> nn.Module:
    """ConvNeXt-T (Liu et al. 2022)."""
    widths = (96, 192, 384, 768)
    layers: list[nn.Module] = [nn.Conv2d(3, widths[0], 4, 4), ChannelsNorm(widths[0])]
    for stage, (width, count) in enumerate(zip(widths, (3, 3, 9, 3), strict=True)):
        if stage:
            layers += [ChannelsNorm(widths[stage - 1]), nn.Conv2d(widths[stage - 1], width, 2, 2)]
        layers += [ConvNextBlock(width) for _ in range(count)]
    return _classifier(layers, widths[-1])
