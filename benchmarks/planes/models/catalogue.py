"""The twelve models of six families that `planes` measures, in plain torch with random weights.

Shapes are those of the papers; weights are random, since speed does not depend on them. The models are written to be
fast: one product for query, key and value, `scaled_dot_product_attention`, batch norms folded away, no padding, no
dropout. Tokens per item are our choice, so that most batches are affordable on two cores: 64 for a sentence, 32 for the
wide encoders.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.planes.models.convolutional import convnext_tiny, mobilenet_v2, resnet_50
from benchmarks.planes.models.recommender import Recommender
from benchmarks.planes.models.recurrent import TextLstm
from benchmarks.planes.models.transformers import WORDS, Bert, Gpt2, T5Encoder, Vit


@dataclass(frozen=True)
class PlaneModel:
    """A model to measure.

    Args:
        name: name of the model and of its table.
        family: the model's family; in evaluations, models of one family never learn from each other.
        build: makes a new model with random weights.
        sample: number of items → the model's inputs, floats as float32.
        input_tokens: tokens per item; 0 where it has none.
        input_pixels: pixels per item; 0 where it has none.
    """

    name: str
    family: str
    build: Callable[[], nn.Module]
    sample: Callable[[int], tuple[Tensor, ...]]
    input_tokens: int = 0
    input_pixels: int = 0


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
