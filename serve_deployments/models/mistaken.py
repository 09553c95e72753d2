"""What to write in place of common mistakes in a reference to a model, as the ends of error messages."""

from __future__ import annotations

import re
import shlex
from pathlib import PurePosixPath

_HUB_NAME = r"\w[\w.-]*(/\w[\w.-]*)?"
"""A model's name on the Hugging Face Hub, with its owner's or without (`huggingface_hub.utils.validate_repo_id`)."""
_FILE_SUFFIX = r"\.[A-Za-z]\w*"
"""End of a file's name; that of a version in a model's name (`Qwen2.5-0.5B`) begins with a number."""


def instead_of_file(reference: str) -> str:
    """What to write for a builder's reference that names a file, such as `model.py:build`; empty if it names none."""
    module, _, name = reference.partition(":")
    path = PurePosixPath(module)
    if path.suffix != ".py" and len(path.parts) < 2:
        return ""
    parts = path.parts[:-1] + (path.name.removesuffix(".py"),)
    if not re.fullmatch(r"\w+", parts[-1]):
        return f"; rename {path.name}: the name of a module has letters, digits and `_` only"
    if all(re.fullmatch(r"\w+", part) for part in parts):
        return f"; write {'.'.join(parts)}:{name or 'build'}: the name of the module in place of its file's"
    return f"; write {parts[-1]}:{name or 'build'}, with {path.name} in the folder of service.yaml"


def instead_of_hub(path: str, folder: str) -> str:
    """What to do for a path where there is nothing, if it may be a model's name on the Hub; empty if it cannot be.

    Args:
        path: the path; one that was written relative to `folder` begins with it.
        folder: the folder of service.yaml; empty if there is none.
    """
    written = path.removeprefix(f"{folder}/") if folder else path
    if not re.fullmatch(_HUB_NAME, written) or re.fullmatch(_FILE_SUFFIX, PurePosixPath(written).suffix):
        return ""
    name = PurePosixPath(written).name
    into = shlex.quote(f"{folder}/{name}" if folder else name)
    return (
        f"; if {written} is a model on the Hugging Face Hub, download it first, "
        f"`hf download {written} --local-dir {into}`, and write `path: {name}`"
    )
