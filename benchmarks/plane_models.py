"""Twelve models of six families in plain torch with random weights: what `planes.py` measures.

Shapes are those of the papers; weights are random, since speed does not depend on them. Written as one would to be
fast: one product for query, key and value, `scaled_dot_product_attention`, batch norms folded away, no padding, no
dropout. Tokens an item are our choice, so that most batches are affordable on two cores: 64 for a sentence, 32 for the
wide encoders.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

WORDS = 30_522  # BERT's vocabulary (Devlin et al. 2019)


@dataclass(frozen=True)
class PlaneModel:
    """A model to measure.

    Args:
        name: names the table.
        family: models of a family never learn from one another when they are judged.
        build: a fresh model, weights random.
        sample: number of items → the model's inputs, floats as float32.
        input_tokens: tokens an item; 0 where it has none.
        input_pixels: pixels an item; 0 where it has none.
    """

    name: str
    family: str
    build: Callable[[], nn.Module]
    sample: Callable[[int], tuple[Tensor, ...]]
    input_tokens: int = 0
    input_pixels: int = 0


class Block(nn.Module):
    """A transformer's layer: attention, then two dense layers (Vaswani et al. 2017); normalised before or after."""

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        *,
        norm_first: bool = False,
        causal: bool = False,
        bias: bool = True,
        norm: type[nn.Module] = nn.LayerNorm,
        activation: Callable[[Tensor], Tensor] = F.gelu,
    ) -> None:
        super().__init__()
        self.heads, self.norm_first, self.causal, self.activation = heads, norm_first, causal, activation
        self.qkv, self.out = nn.Linear(width, 3 * width, bias), nn.Linear(width, width, bias)
        self.up, self.down = nn.Linear(width, hidden, bias), nn.Linear(hidden, width, bias)
        self.norm_1, self.norm_2 = norm(width), norm(width)

    def attend(self, x: Tensor, position_bias: Tensor | None) -> Tensor:
        b, n, d = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=position_bias, is_causal=self.causal)
        return self.out(mixed.transpose(1, 2).reshape(b, n, d))

    def dense(self, x: Tensor) -> Tensor:
        return self.down(self.activation(self.up(x)))

    def forward(self, x: Tensor, position_bias: Tensor | None = None) -> Tensor:
        """`x` is `[b, n, width]`, `position_bias` `[1, heads, n, n]`."""
        if self.norm_first:
            x = x + self.attend(self.norm_1(x), position_bias)
            return x + self.dense(self.norm_2(x))
        x = self.norm_1(x + self.attend(x, position_bias))
        return self.norm_2(x + self.dense(x))


class Bert(nn.Module):
    """BERT-like encoder with the mean of its words as the item's vector; ALBERT with `shared` (Lan et al. 2020)."""

    def __init__(self, width: int, layers: int, heads: int, *, embedding: int = 0, shared: bool = False) -> None:
        super().__init__()
        narrow = embedding or width
        self.words, self.places = nn.Embedding(WORDS, narrow), nn.Embedding(512, narrow)
        self.norm = nn.LayerNorm(narrow)
        self.widen = nn.Linear(narrow, width) if embedding else nn.Identity()
        blocks = [Block(width, heads, 4 * width) for _ in range(1 if shared else layers)]
        self.blocks, self.turns = nn.ModuleList(blocks), layers if shared else 1

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.widen(self.norm(self.words(tokens) + self.places.weight[: tokens.shape[1]]))
        for _ in range(self.turns):
            for block in self.blocks:
                x = block(x)
        return x.mean(1)


class T5Encoder(nn.Module):
    """T5's encoder (Raffel et al. 2020): no biases, RMS norms first, a learned bias for each relative position.

    Relative positions share 32 values as in the paper, cut off at ±16 instead of binned in powers; the work is equal.
    """

    def __init__(self, width: int = 512, layers: int = 6, heads: int = 8, hidden: int = 2048) -> None:
        super().__init__()
        self.words, self.distances = nn.Embedding(32_128, width), nn.Embedding(32, heads)
        self.blocks = nn.ModuleList(
            Block(width, heads, hidden, norm_first=True, bias=False, norm=nn.RMSNorm, activation=F.relu)
            for _ in range(layers)
        )
        self.norm = nn.RMSNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        places = torch.arange(tokens.shape[1], device=tokens.device)
        steps = (places[:, None] - places[None]).clamp(-16, 15) + 16
        x, bias = self.words(tokens), self.distances(steps).permute(2, 0, 1)[None]
        for block in self.blocks:
            x = block(x, bias)
        return self.norm(x).mean(1)


class Gpt2(nn.Module):
    """GPT-2 of 124M parameters (Radford et al. 2019), one pass over a prompt: logits of the next token."""

    def __init__(self, width: int = 768, layers: int = 12, heads: int = 12) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(50_257, width), nn.Embedding(1024, width)
        self.blocks = nn.ModuleList(
            Block(width, heads, 4 * width, norm_first=True, causal=True, activation=_gelu_tanh) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.words(tokens) + self.places.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return F.linear(self.norm(x[:, -1]), self.words.weight)


def _gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


class Vit(nn.Module):
    """Vision transformer, ViT-B/32 (Dosovitskiy et al. 2021)."""

    def __init__(self, patch: int = 32, width: int = 768, layers: int = 12, heads: int = 12, side: int = 224) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.first = nn.Parameter(torch.randn(1, 1, width))
        self.places = nn.Parameter(torch.randn(1, (side // patch) ** 2 + 1, width))
        self.blocks = nn.Sequential(*(Block(width, heads, 4 * width, norm_first=True) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 1000)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat((self.first.expand(len(x), -1, -1), x), 1)
        # A smaller image has fewer patches and takes the first places.
        return self.head(self.norm(self.blocks(x + self.places[:, : x.shape[1]])[:, 0]))


def convolution(inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """Convolution and batch norm, as ResNet and MobileNet have them."""
    conv = nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs)]


class Residual(nn.Module):
    """x + f(x), or shortcut(x) + f(x) where the shape changes; then `after`."""

    def __init__(
        self, path: Sequence[nn.Module], shortcut: Sequence[nn.Module] = (), after: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.path, self.shortcut, self.after = nn.Sequential(*path), nn.Sequential(*shortcut), after or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.path(x) + self.shortcut(x))


def _classifier(features: Sequence[nn.Module], width: int) -> nn.Sequential:
    """The features, their mean over the image, 1000 classes; batch norms folded into the convolutions before them."""
    net = nn.Sequential(*features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 1000)).eval()
    for chain in [module for module in net.modules() if isinstance(module, nn.Sequential)]:
        for index, (first, second) in enumerate(itertools.pairwise(list(chain))):
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                chain[index], chain[index + 1] = fuse_conv_bn_eval(first, second), nn.Identity()
    return net


def resnet_50() -> nn.Module:
    """ResNet-50 (He et al. 2016), the stride in the 3 x 3 convolution."""
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
    """MobileNetV2 (Sandler et al. 2018, table 2): expansion, channels, repeats, stride."""
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
    """Layer norm over the channels of an image; free of copies in channels_last memory."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNextBlock(nn.Module):
    """Depthwise 7 x 7, then two dense layers on each pixel's channels (Liu et al. 2022)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.scale = nn.Parameter(torch.full((width,), 1e-6))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        return x + (self.scale * self.down(F.gelu(self.up(y)))).permute(0, 3, 1, 2)


def convnext_tiny() -> nn.Module:
    """ConvNeXt-T."""
    widths = (96, 192, 384, 768)
    layers: list[nn.Module] = [nn.Conv2d(3, widths[0], 4, 4), ChannelsNorm(widths[0])]
    for stage, (width, count) in enumerate(zip(widths, (3, 3, 9, 3), strict=True)):
        if stage:
            layers += [ChannelsNorm(widths[stage - 1]), nn.Conv2d(widths[stage - 1], width, 2, 2)]
        layers += [ConvNextBlock(width) for _ in range(count)]
    return _classifier(layers, widths[-1])


class TextLstm(nn.Module):
    """Two layers of LSTM over words, the last state classified."""

    def __init__(self, embedding: int = 256, hidden: int = 512, classes: int = 20) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, embedding)
        self.lstm, self.head = nn.LSTM(embedding, hidden, 2, batch_first=True), nn.Linear(hidden, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.lstm(self.words(tokens))[0][:, -1])


class Recommender(nn.Module):
    """DLRM (Naumov et al. 2019): 26 categories and 13 numbers as in Criteo's data, products of pairs, dense layers.

    The tables are one, with an offset for each category: one look-up instead of 26.
    """

    offsets: Tensor
    pairs: Tensor

    def __init__(self, rows: int = 20_000, width: int = 64, categories: int = 26, numbers: int = 13) -> None:
        super().__init__()
        self.table = nn.Embedding(categories * rows, width)
        self.register_buffer("offsets", torch.arange(categories) * rows, persistent=False)
        self.bottom = _dense(numbers, 512, 256, width)
        pairs = torch.tril_indices(categories + 1, categories + 1, -1)
        self.register_buffer("pairs", pairs[0] * (categories + 1) + pairs[1], persistent=False)
        self.top = nn.Sequential(_dense(width + pairs.shape[1], 1024, 1024, 512, 256), nn.Linear(256, 1))

    def forward(self, numbers: Tensor, categories: Tensor) -> Tensor:
        x = self.bottom(numbers)
        vectors = torch.cat((x[:, None], self.table(categories + self.offsets)), 1)
        products = torch.bmm(vectors, vectors.transpose(1, 2)).flatten(1)
        return torch.sigmoid(self.top(torch.cat((x, products[:, self.pairs]), 1)))


def _dense(*widths: int) -> nn.Sequential:
    pairs = zip(widths[:-1], widths[1:], strict=True)
    return nn.Sequential(*(layer for a, b in pairs for layer in (nn.Linear(a, b), nn.ReLU())))


def _text(name: str, family: str, tokens: int, build: Callable[[], nn.Module], words: int = WORDS) -> PlaneModel:
    return PlaneModel(name, family, build, lambda n: (torch.randint(words, (n, tokens)),), input_tokens=tokens)


def _image(name: str, family: str, build: Callable[[], nn.Module], side: int = 224) -> PlaneModel:
    return PlaneModel(name, family, build, lambda n: (torch.randn(n, 3, side, side),), input_pixels=side * side)


MODELS: tuple[PlaneModel, ...] = (
    _text("minilm-l6", "text-encoder", 64, lambda: Bert(384, 6, 12)),
    _text("distilbert", "text-encoder", 32, lambda: Bert(768, 6, 12)),
    _text("bert-base", "text-encoder", 32, lambda: Bert(768, 12, 12)),
    _text("albert-base", "text-encoder", 32, lambda: Bert(768, 12, 12, embedding=128, shared=True)),
    _text("t5-small-encoder", "text-encoder", 64, T5Encoder),
    _text("gpt2", "text-decoder", 64, Gpt2),
    _image("vit-base-32", "vision-transformer", Vit),
    _image("resnet-50", "convolutional", resnet_50),
    _image("convnext-tiny", "convolutional", convnext_tiny),
    _image("mobilenet-v2", "convolutional", mobilenet_v2),
    _text("lstm", "recurrent", 64, TextLstm),
    PlaneModel(
        "dlrm", "recommender", Recommender, lambda n: (torch.randn(n, 13), torch.randint(20_000, (n, 26)))
    ),
)  # fmt: skip
