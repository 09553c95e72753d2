"""Builders of three networks with random weights: a convolutional one, a vision transformer and a decoder of text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from serve_deployments.batches.batch_parts import Parts
from serve_deployments.batches.fast_batches import fast_batches

IMAGE, TOKENS, VOCABULARY = 96, 64, 8000
"""Side of an image, tokens of a text, and how many different ones. Our choice: a batch takes milliseconds on a core."""


class Block(nn.Module):
    """A layer of a transformer, with its norms first (Xiong et al. 2020)."""

    def __init__(self, width: int, heads: int, *, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.packed, self.joined = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        split = self.packed(self.first(x)).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        x = x + self.joined(mixed.transpose(1, 2).reshape(batch, length, width))
        return x + self.narrow(F.gelu(self.wide(self.second(x))))


class Residual(nn.Module):
    """Two convolutions with batch norms around a shortcut (He et al. 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first, self.second = (
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
        )  # fmt: skip
        self.norms = nn.ModuleList([nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)])
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu(self.norms[0](self.first(x)))
        return F.relu(self.norms[1](self.second(inner)) + self.shortcut(x))


class VisionTransformer(nn.Module):
    """Patches of 16 x 16, a class token, and layers (Dosovitskiy et al. 2021)."""

    def __init__(self, width: int = 256, layers: int = 6, heads: int = 4) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 16, 16)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.places = nn.Parameter(torch.zeros(1, (IMAGE // 16) ** 2 + 1, width))
        self.layers = nn.Sequential(*(Block(width, heads, causal=False) for _ in range(layers)))
        self.head = nn.Linear(width, 1000)

    def forward(self, x: Tensor) -> Tensor:
        rows = self.patches(x).flatten(2).transpose(1, 2)
        rows = torch.cat([self.token.expand(len(x), -1, -1), rows], 1) + self.places
        return self.head(self.layers(rows)[:, 0])


class Decoder(nn.Module):
    """Causal layers over tokens, and the scores of the token after the last (Radford et al. 2019)."""

    def __init__(self, width: int = 320, layers: int = 5, heads: int = 5) -> None:
        super().__init__()
        self.table, self.places = nn.Embedding(VOCABULARY, width), nn.Embedding(TOKENS, width)
        self.layers = nn.Sequential(*(Block(width, heads, causal=True) for _ in range(layers)))
        self.last, self.head = nn.LayerNorm(width), nn.Linear(width, VOCABULARY, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        rows = self.table(tokens) + self.places(torch.arange(tokens.shape[1], device=tokens.device))
        return self.head(self.last(self.layers(rows)[:, -1]))


def _residual() -> nn.Module:
    widths = (32, 64, 128, 256)
    stages = [Residual(a, b, 2) for a, b in zip(widths, widths[1:], strict=False)]
    again = [Residual(b, b, 1) for b in widths[1:]]
    body = [layer for pair in zip(stages, again, strict=True) for layer in pair]
    first = [nn.Conv2d(3, 32, 7, 2, 3, bias=False), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    return nn.Sequential(*first, *body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 1000))


def convolutional(precision: str = "float32", device: str = "cpu") -> Callable[[list[Any]], list[Any]]:
    return _served(_residual(), precision, device)


def vision(precision: str = "float32", device: str = "cpu") -> Callable[[list[Any]], list[Any]]:
    return _served(VisionTransformer(), precision, device)


def decoder(precision: str = "float32", device: str = "cpu") -> Callable[[list[Any]], list[Any]]:
    return _served(Decoder(), precision, device)


def _served(net: nn.Module, precision: str, device: str) -> Callable[[list[Any]], list[Any]]:
    """A batch function; payloads are seeds of random images or texts, as nothing depends on their content."""
    dtype = getattr(torch, precision)
    net = net.eval().to(device, dtype)
    is_text = isinstance(net, Decoder)

    def collate(seeds: Sequence[Any]) -> dict[str, Tensor]:
        if is_text:
            return {"x": torch.zeros(len(seeds), TOKENS, dtype=torch.long)}
        return {"x": torch.zeros(len(seeds), 3, IMAGE, IMAGE, dtype=dtype)}

    return fast_batches(
        Parts(collate, lambda tensors: {"y": net(tensors["x"])}, lambda made: list(made["y"].float().numpy())), device
    )
