"""Temporary environment variables, for libraries that read them; afterwards the process has its old ones again."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


def unless_set(variables: Mapping[str, str]) -> dict[str, str]:
    """Return these variables; one that is already set in the process keeps the value that it has there."""
    return {name: os.environ.get(name, value) for name, value in variables.items()}


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set these variables inside the context and restore the previous values afterwards."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
