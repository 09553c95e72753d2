"""Two small models of torch that differ in one layer. Apart from their test, so that replicas import no pytest."""

import os
import time

import torch
from torch import nn


class Sibling(nn.Module):
    def __init__(self, head):
        super().__init__()
        torch.manual_seed(0)
        self.trunk, self.head = nn.Linear(4, 8), nn.Linear(8, 1)
        with torch.no_grad():
            self.head.weight.fill_(float(head))
            self.head.bias.fill_(float(head))

    def forward(self, x):
        return self.head(torch.relu(self.trunk(x)))


class Answers:
    """Rows of four numbers to one; `slow` takes as many seconds first, and `pid` is the process."""

    def __init__(self, module):
        self.module = module

    def __call__(self, payloads):
        time.sleep(max((p.get("slow", 0) for p in payloads), default=0))
        with torch.inference_mode():
            rows = self.module(torch.tensor([p["x"] for p in payloads], dtype=torch.float32))
        return [{"y": row.item(), "pid": os.getpid()} for row in rows]


def model(head):
    return Answers(Sibling(head).eval())


def expected(head, x):
    return model(head)([{"x": x}])[0]["y"]
