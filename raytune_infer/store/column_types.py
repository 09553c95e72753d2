"""Columns that keep what Python can hold and SQL cannot: any text, and any number within JSON."""

from __future__ import annotations

import math
import re
from typing import Any

from sqlalchemy import JSON, Dialect, String, Text
from sqlalchemy.types import TypeDecorator, TypeEngine

_MARK = "\x1a"
"""Unicode's control character SUBSTITUTE: what stands for a character that could not be kept."""
_UNSTORABLE = re.compile("[\x00\x1a\ud800-\udfff]")
_ESCAPED = re.compile("\x1a([0-9a-f]{4})")
_NUMBER = "$float"
"""The one key of an object that stands for a number which JSON has not."""


class AnyText(TypeDecorator[str]):
    """Text of any length and of any characters.

    PostgreSQL takes no NUL, and no database takes half of a surrogate pair (Python's stand-in for a byte of a path or
    of a process's output that is no UTF-8). They are kept as the mark and four hexadecimal digits, and so is the mark.

    Args:
        length: what the column is called by in SQLite, which then keeps longer texts all the same; None for TEXT.
    """

    impl = Text
    cache_ok = True

    def __init__(self, length: int | None = None) -> None:
        super().__init__()
        self.length = length

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """VARCHAR in SQLite, where that is no limit, so that its tables need not be made anew; else TEXT."""
        return String(self.length) if self.length and dialect.name == "sqlite" else Text()

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """The text as it is kept."""
        return None if value is None else _UNSTORABLE.sub(lambda found: f"{_MARK}{ord(found[0]):04x}", value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        """The text as it was."""
        return None if value is None else _ESCAPED.sub(lambda found: chr(int(found[1], 16)), value)


class AnyJson(TypeDecorator[Any]):
    """JSON with NaN and infinities.

    Python writes them as words that are not JSON, and PostgreSQL refuses. Here they are objects, `{"$float": "nan"}`;
    what an earlier version wrote into SQLite is read too.
    """

    impl = JSON
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """The value in what JSON has."""
        return _as_json(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """The value as it was."""
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
