"""A YAML document whose errors name the line: what the parser knows of places, kept for the validator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from raytune_infer.errors import SpecError


class Document:
    """A YAML file, read once into plain values and once into places.

    Args:
        text: the YAML.
        source: what to call it in errors.

    Raises:
        SpecError: not YAML, not a mapping, or a key that stands twice in one mapping.
    """

    def __init__(self, text: str, source: str) -> None:
        self.text = text
        self.source = source
        try:
            self._root = yaml.compose(text, Loader=yaml.SafeLoader)
            self.values: Any = yaml.safe_load(text)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = f":{mark.line + 1}" if mark is not None else ""
            raise SpecError(f"{source}{line}: not valid YAML ({getattr(error, 'problem', error)})") from None
        if not isinstance(self.values, dict):
            raise SpecError(f"{source}: a mapping of keys is needed, found {type(self.values).__name__}")
        self._refuse_repeated_keys(self._root)

    @classmethod
    def read(cls, path: Path) -> Document:
        """The document in a file; SpecError if there is none that can be read."""
        try:
            return cls(path.read_text(encoding="utf-8"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise SpecError(f"cannot read {path}: {reason}") from None

    def place(self, keys: Sequence[str | int]) -> str:
        """`file:line: a.b[2]` of a value, or of its innermost parent that is in the file."""
        node, line = self._root, 1
        for key in keys:
            child = _child(node, key)
            if child is None:
                break
            node = child
            line = node.start_mark.line + 1
        return f"{self.source}:{line}: {dotted(keys)}"

    def _refuse_repeated_keys(self, node: yaml.Node | None) -> None:
        if isinstance(node, yaml.MappingNode):
            seen = set()
            for key, value in node.value:
                if key.value in seen:
                    line = key.start_mark.line + 1
                    raise SpecError(f"{self.source}:{line}: {key.value!r} stands twice; keep one of them")
                seen.add(key.value)
                self._refuse_repeated_keys(value)
        elif isinstance(node, yaml.SequenceNode):
            for item in node.value:
                self._refuse_repeated_keys(item)


def dotted(keys: Sequence[str | int]) -> str:
    """`("knobs", "cores", 2)` as `knobs.cores[2]`."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).lstrip(".") or "(top)"


def _child(node: yaml.Node | None, key: str | int) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        return next((value for k, value in node.value if k.value == str(key)), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        return node.value[key]
    return None
