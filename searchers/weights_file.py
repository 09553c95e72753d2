"""Weights in a file that executes nothing when read: safetensors, with all that is no tensor as JSON in its header.

Each kind of model has a key of its own in the header, by which one is told from another.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor


@dataclass(frozen=True)
class Kind:
    """What a file holds.

    Args:
        key: in the file's header.
        what: for messages.
        made_by: the command that writes one.
    """

    key: str
    what: str
    made_by: str


def write(path: Path, kind: Kind, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write a model; the file's folder is made.

    Args:
        path: the file.
        kind: of model.
        tensors: by name.
        about: anything that JSON can hold.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: t.contiguous() for name, t in tensors.items()}, path, metadata={kind.key: json.dumps(dict(about))})
    path.chmod(0o644)  # safetensors leaves it to its owner alone, but a package is read by others


def read(path: Path, kind: Kind) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and what else `write` was given.

    Raises:
        ValueError: there is no such file, or it holds something else.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = (file.metadata() or {}).get(kind.key)
            if metadata is None:
                raise ValueError("its header names another kind, or none")
            return {name: file.get_tensor(name) for name in file.keys()}, json.loads(metadata)  # noqa: SIM118
    except (OSError, SafetensorError, ValueError) as error:
        raise ValueError(f"{path} holds no {kind.what} ({error}); `{kind.made_by}` writes such a file") from None


def part(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `name.`, without that."""
    return {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
