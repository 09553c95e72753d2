"""YAML documents of the application, whose errors the user can fix."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from cluster import document
from cluster.document import dotted, kind_of, shown
from cluster.plain_scalars import unlike
from raytune_infer.errors import SpecError

__all__ = ["Document", "RecordedDocument", "check_spelling", "dotted", "kind_of", "shown"]


class Document(document.Document):
    """A service.yaml or another YAML file of the application; its errors are SpecErrors."""

    error = SpecError
    plain = True  # the database keeps samples' sources, arguments and knobs as JSON


class RecordedDocument(Document):
    """A service.yaml as a run has recorded it: it was accepted when the run began, and must stay readable."""

    strict = plain = False


def check_spelling(document: Document, keys: Sequence[str | int]) -> None:
    """Refuse values below a key, where texts may stand as well as numbers, that YAML may have read as the wrong one.

    Raises:
        SpecError: one is written without quotes, and otherwise than JSON writes what YAML reads.
    """
    found: Any = document.values
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    for place, value in _scalars(found, tuple(keys)):
        written = document.written(place)
        if written is not None and (why := unlike(written, value)) is not None:
            raise SpecError(f"{document.place(place)}: {why}")


def _scalars(value: Any, keys: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Yield the place and the value of each scalar in a value."""
    if not isinstance(value, dict | list):
        yield keys, value
        return
    for key, part in value.items() if isinstance(value, dict) else enumerate(value):
        yield from _scalars(part, (*keys, key))
