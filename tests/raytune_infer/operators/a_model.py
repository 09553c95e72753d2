"""Services of small models for tests: of each kind that can be served."""

from pathlib import Path

import numpy as np

CODE = """\
import time
import numpy as np
import torch


def conv(precision="float32"):
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3, padding=1), torch.nn.BatchNorm2d(16), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(), torch.nn.Linear(16, 4),
    ).eval().to(getattr(torch, precision))

    def run(rows):
        with torch.inference_mode():
            return net(torch.tensor(np.stack(rows)).to(getattr(torch, precision))).float().numpy()

    return run


def numbers():
    matrix = np.ones((64, 64))

    def run(rows):
        time.sleep(0.002)
        return [float((matrix @ matrix).sum()) for _ in rows]

    return run


async def later():
    net = torch.nn.Linear(4, 4)

    async def run(rows):
        return list(net(torch.ones(len(rows), 4)).detach())

    return run


def unprofiled():
    def run(rows):
        if torch.autograd._profiler_enabled():
            raise RuntimeError("not under a profiler")
        return rows

    return run


def broken():
    def run(rows):
        raise KeyError("token_type_ids")

    return run


def unbuilt():
    raise OSError("no weights")


def uneven():
    def run(rows):
        x = torch.ones(len(rows), 4)
        for _ in rows:
            x = torch.relu(x)
        return list(x)

    return run
"""


def write(
    folder: Path, build: str, *, samples: str = "[1, 2, 3]", knobs: str = "cpu_cores: [1]", path: str = ""
) -> Path:
    """Write a service of one of the models above, or of a file; return the path of its service.yaml."""
    (folder / "operator_models.py").write_text(CODE)
    np.save(folder / "images.npy", np.random.default_rng(0).random((5, 3, 8, 8), dtype="float32"))
    model = f'build: "operator_models:{build}"' if build else f"path: {path}"
    file = folder / "service.yaml"
    file.write_text(
        f"name: small\nmodel: {{{model}}}\nsamples: {samples}\nknobs: {{{knobs}}}\nobjective: {{maximize: rps}}\n"
    )
    return file
