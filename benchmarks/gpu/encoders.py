"""Reproducible random encoders and texts, on which the speed path is measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from serve_deployments.batches.batch_parts import Parts, Tensors

LENGTHS = (16, 64)
"""Range of the number of tokens of a text, drawn uniformly. Our choice: a sentence to a short paragraph."""

Text = list[int]


@dataclass(frozen=True)
class Shape:
    """The sizes of an encoder.

    Args:
        name: name in the table.
        layers: number of layers.
        width: width of a token's vector.
        heads: number of attention heads.
        hidden: width of the dense layers.
        words: words in the vocabulary.
    """

    name: str
    layers: int
    width: int
    heads: int
    hidden: int
    words: int = 30_522  # BERT's vocabulary (Devlin et al. 2019)


MODELS = (
    Shape("MiniLM-L6", 6, 384, 12, 1536),  # all-MiniLM-L6-v2's config.json
    Shape("BERT-base", 12, 768, 12, 3072),  # Devlin et al. 2019, section 3
)
TINY = Shape("tiny", 1, 8, 2, 16, 100)
BY_NAME = {shape.name: shape for shape in (*MODELS, TINY)}


def encoder(shape: Shape, device: str, dtype: torch.dtype) -> torch.nn.Module:
    """A BERT model of these sizes, with random weights that are always the same."""
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=shape.words, hidden_size=shape.width, num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads, intermediate_size=shape.hidden,
    )  # fmt: skip
    return BertModel(config, add_pooling_layer=False).eval().to(device=device, dtype=dtype)


def embedding(run: Callable[..., Any]) -> Parts:
    """The parts of a model that maps tokenised texts to the mean of their tokens, as the loader `transformers` does."""

    def collate(texts: list[Text]) -> Tensors:
        ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(text) for text in texts], batch_first=True)
        lengths = torch.tensor([[len(text)] for text in texts])
        return {"input_ids": ids, "attention_mask": (torch.arange(ids.shape[1]) < lengths).long()}

    def forward(tokens: Tensors) -> Tensors:
        output = run(**tokens)
        mask = tokens["attention_mask"].unsqueeze(-1).float()
        mean = (output.last_hidden_state.float() * mask).sum(1) / mask.sum(1)
        return {"rows": torch.nn.functional.normalize(mean, dim=-1)}

    filling = {"input_ids": 0, "attention_mask": 0}
    return Parts(collate, forward, lambda made: made["rows"].tolist(), filling, longest=512)


def drawn(shape: Shape, batch: int, batches: int) -> list[list[Text]]:
    """So many batches of random texts, which are always the same."""
    rng = torch.Generator().manual_seed(0)

    def number(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=rng))

    def text() -> Text:
        return torch.randint(1, shape.words, (number(*LENGTHS),), generator=rng).tolist()

    return [[text() for _ in range(batch)] for _ in range(batches)]
