"""Column types for values that Python has and SQL lacks: any text, and any number within JSON."""

from __future__ import annotations

import math
import re
from typing import Any

from sqlalchemy import JSON, Dialect, String, Text
from sqlalchemy.types import TypeDecorator, TypeEngine

_MARK = "\x1a"
"""Unicode's control character SUBSTITUTE, which starts the escape of a character that cannot be stored."""
_UNSTORABLE = re.compile("[\x00\x1a\ud800-\udfff]")
_ESCAPED = re.compile("\x1a([0-9a-f]{4})")
_NUMBER = "$float"
"""The only key of an object that stands for a number that JSON lacks."""


class AnyText(TypeDecorator[str]):
    """Text of any length with any characters.

    PostgreSQL refuses NUL, and no database takes half of a surrogate pair (which Python uses for a byte of a path or of
    a process's output that is not UTF-8). They are stored as the mark and four hexadecimal digits, and so is the mark.

    Args:
        length: length in the column's declared type in SQLite, which stores longer texts all the same; None for TEXT.
    """

    impl = Text
    cache_ok = True

    def __init__(self, length: int | None = None) -> None:
        super().__init__()
        self.length = length

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """VARCHAR in SQLite, where the length is not enforced, so that old tables need no migration; else TEXT."""
        return String(self.length) if self.length and dialect.name == "sqlite" else Text()

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Return the text as it is stored."""
        return None if value is None else _UNSTORABLE.sub(lambda found: f"{_MARK}{ord(found[0]):04x}", value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        """Return the original text."""
        return None if value is None else _ESCAPED.sub(lambda found: chr(int(found[1], 16)), value)


class AnyJson(TypeDecorator[Any]):
    """JSON with NaN and infinities.

    Python writes these as words that are not JSON, which PostgreSQL refuses. Here they are objects,
    `{"$float": "nan"}`; values that an earlier version wrote into SQLite can be read too.
    """

    impl = JSON
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Return the value as standard JSON."""
        return _as_json(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """Return the original value."""
        return _from_json(value)


def _as_json(value: Any) -> Any:
    match value:
        case float() if not math.isfinite(value):
            return {_NUMBER: str(float(value))}
        case dict():
            return {key: _as_json(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_as_json(inner) for inner in value]
    return value


def _from_json(value: Any) -> Any:
    match value:
        case {"$float": "nan" | "inf" | "-inf" as number, **rest} if not rest:
            return float(number)
        case dict():
            return {key: _from_json(inner) for key, inner in value.items()}
        case list():
            return [_from_json(inner) for inner in value]
    return value
