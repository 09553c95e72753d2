"""What the installed torch can compute on: GPUs for which it has kernels, as it says itself."""

import importlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TorchBuild:
    """The torch of a machine.

    Attributes:
        version: its version.
        architectures: what it was compiled for, as `torch.cuda.get_arch_list` says: `sm_90`, `compute_90`; none for a
            build without CUDA.
    """

    version: str
    architectures: tuple[str, ...]

    def why_not(self, capability: tuple[int, int]) -> str | None:
        """None if it has kernels for a GPU of this compute capability; else what it has, and the remedy."""
        if any(_runs(architecture, capability) for architecture in self.architectures):
            return None
        have = ", ".join(self.architectures) or "none for any GPU"
        return (
            f"torch {self.version} there has no kernels for its compute capability {capability[0]}.{capability[1]} (it "
            f"has {have}); install a build of torch that has them"
        )


def torch_here(torch: Any = None) -> TorchBuild | None:
    """The torch of this machine; None where there is none, so that nothing is known."""
    try:
        torch = torch or importlib.import_module("torch")
        found: Sequence[str] = torch.cuda.get_arch_list()
    except Exception:  # a broken installation raises whatever it likes
        return None
    return TorchBuild(str(torch.__version__), tuple(found))


def _runs(architecture: str, capability: tuple[int, int]) -> bool:
    """Whether code for an architecture runs on a GPU (CUDA programming guide, "Binary compatibility", "PTX").

    Binaries run on the same major and a minor that is not lower, intermediate code on whatever is not older. Those
    with a letter are for one capability (`sm_90a`) or one family (`sm_100f`) alone.
    """
    found = re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", architecture)
    if found is None:
        return False
    kind, own, letter = found[1], (int(found[2]), int(found[3])), found[4]
    if letter == "a":
        return own == capability
    if kind == "sm" or letter == "f":
        return own[0] == capability[0] and own[1] <= capability[1]
    return own <= capability
