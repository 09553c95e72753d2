"""Small models of well-known families with random weights, and inputs for them; the public definitions, made tiny."""

import os
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

os.environ["HF_HUB_OFFLINE"] = "1"

Build = Callable[[], nn.Module]
HIDDEN = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 32}


def seeded(make: Build, seed: int) -> Build:
    """The same weights at each call."""

    def build() -> nn.Module:
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            return make().eval()

    return build


def conv(into: int, out: int, size: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    layers = nn.Conv2d(into, out, size, stride, size // 2, groups=groups, bias=False), nn.BatchNorm2d(out), nn.ReLU()
    return nn.Sequential(*layers)


class Residual(nn.Module):
    """Basic block of ResNet (He et al. 2015, figure 2)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = conv(width, width, 3), nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x + self.second(self.first(x)))


class Dense(nn.Module):
    """Dense block of DenseNet (Huang et al. 2016, figure 1): each layer takes all that came before."""

    def __init__(self, width: int, growth: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(conv(width + i * growth, growth, 3) for i in range(layers))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return x


def resnet(width: int = 8, blocks: int = 2) -> nn.Module:
    residuals = [Residual(width) for _ in range(blocks)]
    return nn.Sequential(conv(3, width, 7, 2), nn.MaxPool2d(2), *residuals, nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(width, 5))  # fmt: skip


def densenet() -> nn.Module:
    return nn.Sequential(conv(3, 8, 3, 2), Dense(8, 4, 3), conv(20, 10, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(10, 5))  # fmt: skip


def vgg() -> nn.Module:
    """Convolutions of 3 × 3 and large dense layers (Simonyan and Zisserman 2014)."""
    features = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()]
    head = [nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 16), nn.ReLU(), nn.Dropout(), nn.Linear(16, 5)]
    return nn.Sequential(*features, *head)


def mobilenet() -> nn.Module:
    """Depthwise separable convolutions (Howard et al. 2017, table 1)."""
    steps = [conv(3, 8, 3, 2), conv(8, 8, 3, groups=8), conv(8, 16, 1), conv(16, 16, 3, 2, groups=16), conv(16, 12, 1)]
    return nn.Sequential(*steps, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 5))


def bert(**given: Any) -> nn.Module:
    from transformers import BertConfig, BertModel

    return BertModel(BertConfig(**{**HIDDEN, "vocab_size": 50, "max_position_embeddings": 32, **given}))


def roberta() -> nn.Module:
    from transformers import RobertaConfig, RobertaModel

    return RobertaModel(RobertaConfig(**HIDDEN, vocab_size=50, max_position_embeddings=32))


def distilbert() -> nn.Module:
    from transformers import DistilBertConfig, DistilBertModel

    return DistilBertModel(DistilBertConfig(vocab_size=50, dim=16, n_layers=2, n_heads=2, hidden_dim=32))


def gpt2() -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    tokens = {"bos_token_id": 1, "eos_token_id": 2}
    return GPT2LMHeadModel(GPT2Config(vocab_size=50, n_embd=16, n_layer=2, n_head=2, n_positions=32, **tokens))


def llama() -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(**HIDDEN, vocab_size=50, tie_word_embeddings=True))


def vit() -> nn.Module:
    from transformers import ViTConfig, ViTModel

    return ViTModel(ViTConfig(**HIDDEN, image_size=16, patch_size=8))


FAMILIES: dict[str, Callable[..., nn.Module]] = {
    "bert": bert, "distilbert": distilbert, "roberta": roberta, "gpt2": gpt2, "llama": llama, "vit": vit,
    "resnet": resnet, "densenet": densenet, "vgg": vgg, "mobilenet": mobilenet,
}  # fmt: skip
OF_TEXT = frozenset({"bert", "distilbert", "roberta", "gpt2", "llama"})


def inputs(family: str) -> list[torch.Tensor]:
    """Three inputs of different content and number."""
    generator = torch.Generator().manual_seed(3)
    if family in OF_TEXT:
        return [torch.randint(3, 50, (n, 6), generator=generator) for n in (1, 2, 3)]
    return [torch.randn(n, 3, 16, 16, generator=generator) for n in (1, 2, 3)]


def output(model: nn.Module, given: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        made = model(given)
    return made if isinstance(made, torch.Tensor) else made[0]


def sibling(make: Build, seed: int = 7) -> Build:
    """Fine-tuned in its last parameters alone: the rest is frozen."""

    def build() -> nn.Module:
        model = make()
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in list(model.parameters())[-2:]:
                parameter.add_(torch.randn(parameter.shape, generator=generator))
        return model

    return build


def merged(make: Build, rank: int = 2) -> Build:
    """With a low-rank update merged into every dense layer (LoRA, Hu et al. 2021, equation 3)."""

    def build() -> nn.Module:
        model = make()
        generator = torch.Generator().manual_seed(11)
        with torch.no_grad():
            for layer in model.modules():
                if isinstance(layer, nn.Linear):
                    up = torch.randn(layer.out_features, rank, generator=generator)
                    layer.weight.add_(up @ torch.randn(rank, layer.in_features, generator=generator))
        return model

    return build
