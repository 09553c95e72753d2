"""Sequences that a language model continues together, token by token, each of its own length.

Their keys and values lie in one tensor a layer, padded on the left, so that one call of the model serves all of them; a
sequence joins with its prompt read apart, and leaves when it is done. Tokens are the likeliest ones (greedy).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import pad

Layer = tuple[torch.Tensor, torch.Tensor]
"""Keys and values of a layer, `[sequences, heads, tokens, size]` each."""


class PaddedBatch:
    """The sequences that run, in the order in which they joined.

    Args:
        model: a causal language model of transformers, in its place and precision.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._layers: list[Layer] = []
        self._mask = torch.zeros((0, 0), dtype=torch.long, device=model.device)
        self._last = torch.zeros(0, dtype=torch.long, device=model.device)

    def __len__(self) -> int:
        return len(self._last)

    @torch.inference_mode()
    def join(self, prompts: Sequence[Sequence[int]]) -> list[int]:
        """Read prompts, one or more and none empty; they run from now on. Return the first token of each answer."""
        width = max(map(len, prompts))
        device = self._mask.device
        ids = torch.tensor([[0] * (width - len(one)) + list(one) for one in prompts], device=device)
        mask = torch.tensor([[0] * (width - len(one)) + [1] * len(one) for one in prompts], device=device)
        tokens, layers = self._forward(ids, mask, [])
        self._merge(layers, mask, tokens)
        return tokens.tolist()

    @torch.inference_mode()
    def step(self) -> list[int]:
        """Continue every sequence by one token; return these."""
        self._mask = pad(self._mask, (0, 1), value=1)
        self._last, self._layers = self._forward(self._last[:, None], self._mask, self._layers)
        return self._last.tolist()

    @torch.inference_mode()
    def keep(self, places: Sequence[int]) -> None:
        """Only these sequences run on, in this order; padding that none of them needs is given back."""
        at = torch.tensor(list(places), dtype=torch.long, device=self._mask.device)
        self._mask, self._last = self._mask[at], self._last[at]
        needed = self._mask.shape[1] if len(at) == 0 else int(self._mask.sum(dim=1).max())
        first = self._mask.shape[1] - needed
        self._mask = self._mask[:, first:]
        self._layers = [(k[at][:, :, first:], v[at][:, :, first:]) for k, v in self._layers] if len(at) else []

    def _merge(self, layers: list[Layer], mask: torch.Tensor, tokens: torch.Tensor) -> None:
        if not len(self):
            self._layers, self._mask, self._last = layers, mask, tokens
            return
        width = max(self._mask.shape[1], mask.shape[1])
        self._mask = torch.cat([_widened(each, width, dim=1) for each in (self._mask, mask)])
        self._last = torch.cat([self._last, tokens])
        self._layers = [
            (_joined(k, new_k, width), _joined(v, new_v, width))
            for (k, v), (new_k, new_v) in zip(self._layers, layers, strict=True)
        ]

    def _forward(self, ids: torch.Tensor, mask: torch.Tensor, layers: list[Layer]) -> tuple[torch.Tensor, list[Layer]]:
        """The likeliest next token of each sequence, and the layers after it.

        Args:
            ids: `[sequences, new]` tokens that are read.
            mask: `[sequences, tokens]` 1 for each token, with the new ones, 0 for padding.
            layers: keys and values of the tokens before.
        """
        from transformers import DynamicCache

        cache: Any = DynamicCache()  # of plain layers, one for each that is added
        for number, (keys, values) in enumerate(layers):
            cache.update(keys, values, number)
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        told = self._model(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
        )
        return told.logits[:, -1].argmax(dim=-1), [(layer.keys, layer.values) for layer in cache.layers]


def _joined(before: torch.Tensor, new: torch.Tensor, width: int) -> torch.Tensor:
    return torch.cat([_widened(before, width, dim=2), _widened(new, width, dim=2)])


def _widened(of: torch.Tensor, width: int, *, dim: int) -> torch.Tensor:
    """Padded on the left to so many tokens, which lie along `dim`."""
    more = width - of.shape[dim]
    return pad(of, (0, 0) * (of.dim() - dim - 1) + (more, 0))
