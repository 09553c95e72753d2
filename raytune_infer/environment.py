"""Environment variables for a while: what libraries read of them, without changing it for the rest of the process."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


def unless_set(variables: Mapping[str, str]) -> dict[str, str]:
    """These variables, but with the value that the user has given them where there is one."""
    return {name: os.environ.get(name, value) for name, value in variables.items()}


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """These variables are set inside; afterwards they are as before."""
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
