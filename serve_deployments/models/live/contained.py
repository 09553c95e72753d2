"""Calls of a user's code: whatever it raises leaves it as an ordinary exception, with its words.

A panic of a Rust extension and SystemExit do not derive from `Exception`, and StopIteration cannot be put into a
future: they would end the event loop or its process, or leave a request without an answer.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import redirect_stderr
from typing import Any, TextIO, TypeVar

from serve_deployments.endpoint import DescribedError, first_line

T = TypeVar("T")

_LONGEST_LINE = 120
"""Number of characters at which a quoted line is cut: it may list the whole command line of Ray's process."""

_REMEDY = "a model must not end its process; with argparse, parse an empty list, `parse_args([])`"


def contained(function: Callable[..., T], *args: Any) -> T:
    """Calls a function of the user's, in the thread that runs it.

    Raises:
        DescribedError: it raised something else than an ordinary exception.
    """
    try:
        return function(*args)
    except BaseException as error:
        if _is_ordinary(error):
            raise
        raise DescribedError(_described(error, "")) from error


def contained_build(function: Callable[..., T], *args: Any) -> T:
    """Like `contained`; what is told of SystemExit includes the last line that was written to stderr.

    It is for building a model, not for its batches: stderr is the whole process's.
    """
    lines = _LastLine(sys.stderr)
    with redirect_stderr(lines):
        try:
            return function(*args)
        except BaseException as error:
            if _is_ordinary(error):
                raise
            raise DescribedError(_described(error, lines.last)) from error


async def contained_later(answer: Awaitable[T]) -> T:
    """Awaits what a function of the user's returned.

    Raises:
        DescribedError: see `contained`; also if something that it waits for was cancelled.
        CancelledError: this task is being cancelled.
    """
    try:
        return await answer
    except BaseException as error:
        task = asyncio.current_task()
        ends = isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling()
        if ends or isinstance(error, GeneratorExit) or _is_ordinary(error):
            raise
        raise DescribedError(_described(error, "")) from error


def _is_ordinary(error: BaseException) -> bool:
    return isinstance(error, Exception) and not isinstance(error, StopIteration)


def _described(error: BaseException, written: str) -> str:
    if isinstance(error, SystemExit):
        code = "" if error.code is None else f": {error.code}"
        quoted = f" ({written[:_LONGEST_LINE]}{'…' * (len(written) > _LONGEST_LINE)})" if written else ""
        return f"SystemExit{code}{quoted}; {_REMEDY}"
    if isinstance(error, asyncio.CancelledError):
        return f"{first_line(error)}: the model cancelled a task that it waits for"
    return first_line(error)


class _LastLine:
    """A file that passes on what is written to another one and remembers the last line.

    Args:
        to: the other file; None where the process has none.
    """

    def __init__(self, to: TextIO | None) -> None:
        self._to, self._written = to, ""

    @property
    def last(self) -> str:
        """The last line that is not empty."""
        return next((line.strip() for line in reversed(self._written.splitlines()) if line.strip()), "")

    def write(self, text: str) -> int:
        """Writes a text."""
        self._written = (self._written + text)[-16 * _LONGEST_LINE :]
        return len(text) if self._to is None else self._to.write(text)

    def flush(self) -> None:
        """See `TextIO`."""
        if self._to is not None:
            self._to.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._to, name)
