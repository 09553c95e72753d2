"""A model of the real replay, as a service builds it: a structure of `families`, with a head of its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from benchmarks.transform.replay.families import structures


class Sibling:
    """Answers each payload, whatever it is, by one request to the model.

    Args:
        module: the model.
        request: its input.
    """

    def __init__(self, module: nn.Module, request: dict[str, torch.Tensor]) -> None:
        self.module, self._request = module, request

    def __call__(self, payloads: list[Any]) -> list[float]:
        """The first logit, for each payload."""
        with torch.inference_mode():
            return [float(self.module(**self._request).logits[0, 0]) for _ in payloads]


def build(structure: str, head: int) -> Sibling:
    """A model whose trunk is the same for each head."""
    made = structures()[structure]
    torch.manual_seed(0)
    module = made.make().eval()
    torch.manual_seed(head)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.startswith(made.head):
                parameter.normal_()
    return Sibling(module, dict(made.request()))
