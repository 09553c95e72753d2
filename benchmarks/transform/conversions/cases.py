"""The conversions that are measured: a sibling, a stranger of the same structure, and another structure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from benchmarks.transform.replay.families import Structure, structures


@dataclass(frozen=True)
class Model:
    """A model with its weights.

    Args:
        name: its name.
        structure: what it is.
        seed: of its random weights.
        head_seed: of its head, where that is not its own; None: no head was tuned.
    """

    name: str
    structure: Structure
    seed: int
    head_seed: int | None = None

    def build(self) -> nn.Module:
        """The model, ready to answer."""
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(self.seed)
            model = self.structure.make().eval()
            if self.head_seed is not None:
                torch.manual_seed(self.head_seed)
                for parameter in model.get_submodule(self.structure.head).parameters():
                    nn.init.normal_(parameter)
            return model

    def skeleton(self) -> nn.Module:
        """The same without weights."""
        return self.structure.make().eval()


@dataclass(frozen=True)
class Case:
    """A conversion.

    Args:
        what: what the two have to do with one another.
        source: the model that is live.
        target: the model that is wanted.
    """

    what: str
    source: Model
    target: Model


def cases() -> tuple[Case, ...]:
    """All that are measured."""
    made: Mapping[str, Callable[..., Model]] = {
        name: partial(Model, structure=structure) for name, structure in structures().items()
    }
    bert, gpt2, vit, resnet = (made[name] for name in ("bert", "gpt2", "vit", "resnet"))
    one = bert("bert", seed=1)
    return (
        Case("tuned head, frozen trunk", one, bert("bert-head", seed=1, head_seed=5)),
        Case("same structure", one, bert("bert-other", seed=2)),
        Case("same structure", resnet("resnet", seed=1), resnet("resnet-other", seed=2)),
        Case("another structure", one, gpt2("gpt2", seed=1)),
        Case("another structure", vit("vit", seed=1), resnet("resnet", seed=1)),
    )
