"""Output that no text ends: a terminal of another encoding gets stand-ins for what it lacks, a file is UTF-8."""

from __future__ import annotations

import codecs
import io
import os
import stat
from contextlib import suppress
from typing import TextIO

_STAND_INS = {
    "≥": ">=", "≤": "<=", "≈": "~~", "×": "x", "–": "-", "—": "-", "…": "...", "→": "->", "’": "'", "○": "o",
}  # fmt: skip
"""Character of ours → what stands for it where the encoding lacks it; any other is shown as its code."""

_ERRORS = "raytune_infer.stand_ins"


def _stand_in(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_STAND_INS.get(c, c.encode("unicode_escape").decode()) for c in lacking), error.end


codecs.register_error(_ERRORS, _stand_in)


def make_ready(stream: TextIO) -> None:
    """Let a stream of this process take any text.

    A regular file is read by programs, often on another machine, so it has the encoding that these expect.
    """
    if not isinstance(stream, io.TextIOWrapper):
        return
    regular = False
    with suppress(OSError, ValueError):  # a stream without a file
        regular = stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    stream.reconfigure(encoding="utf-8" if regular else None, errors=_ERRORS)
