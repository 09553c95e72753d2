"""Transformers: encoders like BERT, T5's encoder, GPT-2 on a prompt, and the vision transformer."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WORDS = 30_522  # BERT's vocabulary (Devlin et al. 2019)


class Block(nn.Module):
    """A transformer layer: attention, then two dense layers (Vaswani et al. 2017), each normalised before or after."""

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
    """A BERT-like encoder whose output is the mean over the words; ALBERT with `shared` (Lan et al. 2020)."""

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

    Relative positions have 32 values as in the paper, but are clamped to ±16 instead of binned in powers; the amount of
    work is the same.
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
    """GPT-2 with 124M parameters (Radford et al. 2019): one pass over a prompt gives the logits of the next token."""

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
    """The vision transformer ViT-B/32 (Dosovitskiy et al. 2021)."""

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
        # A smaller image has fewer patches and uses the first positions.
        return self.head(self.norm(self.blocks(x + self.places[:, : x.shape[1]])[:, 0]))
