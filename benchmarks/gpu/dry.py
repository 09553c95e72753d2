"""A dry run: the jobs in this process, on a fake GPU on which arithmetic takes a fixed time, whatever the share."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import torch

from benchmarks.gpu.checks import Job
from benchmarks.gpu.worker import prepare
from serve_deployments.device.gpu import driver, outside, share
from serve_deployments.fakes.fake_torch import FakeTorch


class DryTorch(FakeTorch):
    """A torch that computes on the CPU and has the device memory and multiprocessors of a fake GPU."""

    mm = staticmethod(torch.mm)
    empty_like = staticmethod(torch.empty_like)
    nn = torch.nn

    def __init__(self) -> None:
        super().__init__()
        self._taken: list[object] = []

    def randn(self, *sizes: int, device: str) -> torch.Tensor:
        """A tensor whose memory counts as the device's, in this thread's stream."""
        made = torch.randn(*sizes, device=device)
        self._taken.append(self.cuda.take(made.nbytes))
        return made

    @staticmethod
    def compile(model: Any, mode: str) -> Any:
        """Compiles nothing."""
        return model


def in_this_process(jobs: Sequence[Job], env: Mapping[str, str]) -> list[dict[str, Any]]:
    """Replaces `worker.together`: each job as in a process of its own, one after the other."""
    found = []
    for job in jobs:
        fake = DryTorch()
        with (
            patch.object(driver, "library", return_value=fake.driver),
            patch.object(outside, "_found", None),
            patch.object(share, "_held", {}),
            patch.object(share, "_now", []),
        ):
            found.append(prepare(replace(job, device="cpu"), fake, map(float, itertools.count()).__next__)())
    return found
