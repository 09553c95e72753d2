"""DLRM, a recommender of embedding tables and dense layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Recommender(nn.Module):
    """DLRM (Naumov et al. 2019): 26 categories and 13 numbers as in Criteo's data, products of pairs, dense layers.

    The embedding tables are stored as one, with an offset per category: one look-up instead of 26.
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
