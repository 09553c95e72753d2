"""Error messages for an invalid service.yaml: pydantic's errors in the terms of the file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from raytune_infer.counted import counted
from raytune_infer.spec.document import Document, dotted, shown

_MOST_LINES = 5
"""Most lines in one message. Our choice: nobody reads more at once."""

_KINDS: Mapping[str, str] = {
    "string_type": "a text", "int_type": "a whole number", "int_from_float": "a whole number",
    "float_type": "a number", "float_parsing": "a number", "bool_type": "true or false", "list_type": "a list",
    "dict_type": "a mapping of keys", "model_type": "a mapping of keys",
}  # fmt: skip
"""Pydantic's error type → the kind of value that is needed."""

_BOUNDS: Mapping[str, str] = {
    "greater_than": "must be above {gt:g}", "greater_than_equal": "must be {ge:g} or more",
    "less_than": "must be below {lt:g}", "less_than_equal": "must be at most {le:g}",
    "finite_number": "must be a finite number", "too_short": "needs at least one",
    "string_too_short": "needs some text", "string_too_long": "may have at most {max_length} characters",
    "string_pattern_mismatch": "may contain only letters, digits, `-` and `_`, and must begin with a letter or digit",
}  # fmt: skip
"""Pydantic's error type → message, with the bound."""

Keys = tuple[str | int, ...]
Allowed = Callable[[Keys], Iterable[str]]
"""Function from the place of a part of the file to the keys that it may have."""


class At(ValueError):
    """An error raised in a validator that knows its place in the file more exactly than pydantic does."""

    def __init__(self, keys: Sequence[str | int], why: str) -> None:
        super().__init__(why)
        self.keys = tuple(keys)


def explain(document: Document, errors: Sequence[Any], allowed: Allowed) -> str:
    """Return the message: one line for each wrong place, with file, line, key, what is needed and what was found."""
    by_place: dict[Keys, list[Any]] = {}
    for error in errors:
        by_place.setdefault(_keys(document, error), []).append(error)
    lines = [
        f"{document.place(keys)}: {_said(keys, found, allowed)}"
        for keys, found in by_place.items()
        # All branches of a union report errors; the branch that found one deeper inside had the right kind of value.
        if not (all(map(_is_kind, found)) and any(len(k) > len(keys) and k[: len(keys)] == keys for k in by_place))
    ]
    more = len(lines) - _MOST_LINES
    return "\n".join([*lines[:_MOST_LINES], *([f"… and {counted(more, 'more error')}"] if more > 0 else [])])


def _keys(document: Document, error: Any) -> Keys:
    """Return the place of an error in the file: pydantic's location without the names of union branches."""
    keys: Keys = ()
    value: Any = {str(key): value for key, value in document.values.items()}
    for key in error["loc"]:
        inside = range(len(value)) if isinstance(value, list) else value if isinstance(value, dict) else ()
        if key in inside:
            keys, value = (*keys, key), value[key]
    if _is_key(error):
        return (*keys[:-1], str(keys[-1]))
    cause = _cause(error)
    if isinstance(cause, At):
        return cause.keys if cause.keys[: len(keys)] == keys else (*keys, *cause.keys)
    return keys


def _said(keys: Keys, errors: Sequence[Any], allowed: Allowed) -> str:
    """Return the message for one place."""
    telling = [error for error in errors if not _is_kind(error)]
    if missing := [dotted(e["loc"][-1:]) for e in telling if e["type"] == "missing"]:
        there = ", ".join(allowed(keys))
        return f"{' and '.join(map(repr, missing))} {'is' if len(missing) == 1 else 'are'} missing; allowed are {there}"
    if telling:
        return _one(keys, telling[0], allowed)
    value = errors[0]["input"]
    kinds = list(dict.fromkeys(_kind(error) for error in errors))
    if "a number" in kinds and "a whole number" in kinds:
        kinds.remove("a whole number")
    remedy = ""
    if value is None:
        remedy = "; give one, or leave the key out"
    elif "a text" in kinds and not isinstance(value, dict | list):
        remedy = "; put it in quotes"
    return f"needs {' or '.join(kinds)}, got {shown(value)}{remedy}"


def _one(keys: Keys, error: Any, allowed: Allowed) -> str:
    cause = _cause(error)
    if cause is not None:
        return str(cause)
    if error["type"] == "extra_forbidden":
        return f"unknown key; allowed are {', '.join(allowed(keys[:-1]))}"
    if _is_key(error):
        return f"keys must be text, and YAML reads {shown(keys[-1])} as another type; put it in quotes"
    bound = _BOUNDS.get(error["type"])
    what = error["msg"] if bound is None else bound.format(**error.get("ctx", {}))
    return f"{what[0].lower()}{what[1:]}, got {shown(error['input'])}"


def _is_key(error: Any) -> bool:
    """Whether the key is wrong, not its value."""
    return error["type"] == "invalid_key" or error["loc"][-1:] == ("[key]",)


def _is_kind(error: Any) -> bool:
    return error["type"] in _KINDS or error["type"] == "literal_error"


def _kind(error: Any) -> str:
    """Return the kind of value that is needed."""
    return error["ctx"]["expected"] if error["type"] == "literal_error" else _KINDS[error["type"]]


def _cause(error: Any) -> Exception | None:
    return error.get("ctx", {}).get("error")
