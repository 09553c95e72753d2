"""Model files in the safetensors format, which executes no code when read; all but the tensors is JSON in the header.

Each kind of model has its own key in the header, by which the kinds are told apart.
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
class FileKind:
    """A kind of model file.

    Args:
        key: its key in the file's header.
        what: its name, for messages.
        made_by: the command that writes such a file.
    """

    key: str
    what: str
    made_by: str


def write(path: Path, kind: FileKind, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write a model; the file's folder is created if necessary.

    Args:
        path: path of the file.
        kind: kind of model.
        tensors: the tensors, by name.
        about: further data; anything that JSON can hold.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: t.contiguous() for name, t in tensors.items()}, path, metadata={kind.key: json.dumps(dict(about))})
    path.chmod(0o644)  # safetensors lets only the owner read it, but others read a package


def read(path: Path, kind: FileKind) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors and the further data that `write` was given.

    Raises:
        ValueError: there is no such file, or it holds something else.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = (file.metadata() or {}).get(kind.key)
            if metadata is None:
                raise ValueError("its header does not say that it is one")
            return {name: file.get_tensor(name) for name in file.keys()}, json.loads(metadata)  # noqa: SIM118
    except (OSError, SafetensorError, ValueError) as error:
        raise ValueError(f"{path} is not a {kind.what} file ({error}); create one with `{kind.made_by}`") from None


def part(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `name.`, with that prefix removed."""
    return {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
