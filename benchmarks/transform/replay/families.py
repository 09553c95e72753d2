"""The models of the replay: structures from transformers with random weights, and siblings of each.

A structure is a class with its configuration. Of its siblings one half is fine-tuned with a frozen trunk, so that they
differ in the head alone; the others share no tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import nn

_HIDDEN, _LAYERS, _HEADS, _LABELS = 512, 6, 8, 10
"""About half of a base model in width and depth: 20 to 45 million parameters, so that all fit beside other work."""


@dataclass(frozen=True)
class Structure:
    """One class of models.

    Args:
        make: builds a model with its default initialisation.
        request: input of one request.
        head: name of the module that siblings with a frozen trunk have for themselves.
    """

    make: Callable[[], nn.Module]
    request: Callable[[], Mapping[str, torch.Tensor]]
    head: str


def structures() -> Mapping[str, Structure]:
    """Name → structure."""
    tf: Any = import_module("transformers")  # the extra `transformers`; heavy, and its types are of no use here
    text: dict[str, Any] = dict(
        vocab_size=30522, hidden_size=_HIDDEN, num_hidden_layers=_LAYERS, num_attention_heads=_HEADS
    )
    text |= dict(intermediate_size=4 * _HIDDEN, num_labels=_LABELS)
    distil = dict(vocab_size=30522, dim=_HIDDEN, n_layers=_LAYERS, n_heads=_HEADS, hidden_dim=4 * _HIDDEN)
    gpt = dict(n_embd=_HIDDEN, n_layer=_LAYERS, n_head=_HEADS, num_labels=_LABELS, pad_token_id=0)
    vit = dict(hidden_size=_HIDDEN, num_hidden_layers=_LAYERS, num_attention_heads=_HEADS, num_labels=_LABELS)
    return {
        "bert": _text(tf.BertForSequenceClassification, tf.BertConfig(**text)),
        "roberta": _text(tf.RobertaForSequenceClassification, tf.RobertaConfig(**text)),
        "distilbert": _text(tf.DistilBertForSequenceClassification, tf.DistilBertConfig(**distil, num_labels=_LABELS)),
        "gpt2": _text(tf.GPT2ForSequenceClassification, tf.GPT2Config(**gpt), head="score"),
        "vit": _image(tf.ViTForImageClassification, tf.ViTConfig(**vit, intermediate_size=4 * _HIDDEN)),
        "resnet": _image(tf.ResNetForImageClassification, tf.ResNetConfig(num_labels=_LABELS)),
    }


def _text(model: Callable[..., nn.Module], config: Any, head: str = "classifier") -> Structure:
    return Structure(lambda: model(config), lambda: {"input_ids": torch.randint(1, 1000, (1, 32))}, head)


def _image(model: Callable[..., nn.Module], config: Any) -> Structure:
    return Structure(lambda: model(config), lambda: {"pixel_values": torch.randn(1, 3, 224, 224)}, "classifier")
