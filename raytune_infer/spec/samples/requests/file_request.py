"""One request to a language model as a file tells it, and what is wrong with a file that tells it otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raytune_infer.errors import UserError
from raytune_infer.spec.document import shown


class RequestFileError(UserError):
    """A file of requests is of another form; the message says file, line and what was expected."""


@dataclass(frozen=True)
class FileRequest:
    """A request, with its text or, as traces have it, only with its lengths.

    Args:
        body: `{"messages": […]}` or `{"prompt": …}` with what else the request says, in OpenAI's form; None: only
            lengths are known.
        tokens_in: tokens of the request; None where only its text is known.
        tokens_out: tokens that its answer had; None where that is not known.
        at_s: when it came, in seconds from any origin; None where that is not known.
        blocks: ids of the blocks of tokens that its prompt consists of: the same id, the same tokens. Empty where not
            known.
        block_tokens: tokens of a block.

    Raises:
        ValueError: neither a text nor a length, or a length that is not positive.
    """

    body: Mapping[str, Any] | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    at_s: float | None = None
    blocks: tuple[int, ...] = field(default=(), repr=False)
    block_tokens: int = 0

    def __post_init__(self) -> None:
        if self.body is None and self.tokens_in is None:
            raise ValueError("a request needs a text or a number of tokens")
        for name, tokens in (("input", self.tokens_in), ("output", self.tokens_out)):
            if tokens is not None and tokens < 1:
                raise ValueError(f"a request needs one {name} token or more, got {tokens}")


def wrong(path: Path, line: int | None, found: object, expected: str) -> RequestFileError:
    """The error of a file of another form.

    Args:
        path: the file.
        line: number of the line, from 1; None for the whole file.
        found: what is there.
        expected: what was expected, with an example.
    """
    place = str(path) if line is None else f"{path}:{line}"
    return RequestFileError(f"{place}: found {shown(found)}; expected {expected}")
