"""Traces of lengths, which tell when requests came and how many tokens they and their answers had.

- Mooncake (Qin et al., FAST 2025; github.com/kvcache-ai/Mooncake): JSON lines with `timestamp` in milliseconds,
  `input_length`, `output_length` and `hash_ids`, ids of the blocks of 512 tokens that the prompt consists of.
- BurstGPT (Wang et al., 2024; github.com/HPMLL/BurstGPT): CSV with `Timestamp` in seconds, `Request tokens` and
  `Response tokens`. A failed request has 0 response tokens.
- Azure's LLM inference traces of 2023 and 2024 (github.com/Azure/AzurePublicDataset): CSV with `TIMESTAMP`,
  `ContextTokens` and `GeneratedTokens`.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from raytune_infer.spec.samples.requests.chat_files import json_lines, text_of
from raytune_infer.spec.samples.requests.file_request import FileRequest, wrong

MOONCAKE_BLOCK = 512
"""Tokens of a block in Mooncake's traces (its README)."""

_MOONCAKE = 'a line such as {"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": [46, 47]}'
_BURSTGPT = "the columns Timestamp, Request tokens and Response tokens, in seconds and numbers of tokens"
_AZURE = "the columns TIMESTAMP, ContextTokens and GeneratedTokens, as in 2023-11-16 18:15:46.6805900,374,44"


def mooncake(path: Path) -> list[FileRequest]:
    """The requests of a trace of Mooncake's, in the order of the file. Raises RequestFileError."""
    found = []
    for number, value in json_lines(path, _MOONCAKE):
        row = value if isinstance(value, dict) else {}
        tokens = [row.get(name) for name in ("timestamp", "input_length", "output_length")]
        blocks = row.get("hash_ids", [])
        if not all(map(_is_count, tokens)) or not isinstance(blocks, list) or not all(map(_is_count, blocks)):
            raise wrong(path, number, value, _MOONCAKE)
        at_ms, tokens_in, tokens_out = (int(each or 0) for each in tokens)
        if tokens_in and tokens_out:
            found.append(FileRequest(None, tokens_in, tokens_out, at_ms / 1e3, tuple(blocks), MOONCAKE_BLOCK))
    return _some(path, found, _MOONCAKE)


def burstgpt(path: Path) -> list[FileRequest]:
    """The requests of a trace of BurstGPT's that were answered. Raises RequestFileError."""
    return _table(path, ("Timestamp", "Request tokens", "Response tokens"), _seconds, _BURSTGPT)


def azure(path: Path) -> list[FileRequest]:
    """The requests of a trace of Azure's. Raises RequestFileError."""
    return _table(path, ("TIMESTAMP", "ContextTokens", "GeneratedTokens"), _moment, _AZURE)


def _table(
    path: Path, names: tuple[str, str, str], time_of: Callable[[str], float], expected: str
) -> list[FileRequest]:
    reader = csv.DictReader(io.StringIO(text_of(path)))
    if missing := set(names) - set(reader.fieldnames or ()):
        raise wrong(path, 1, f"no {', '.join(sorted(missing))}", expected)
    return _some(path, list(_rows(path, reader, names, time_of, expected)), expected)


def _rows(
    path: Path,
    reader: csv.DictReader[str],
    names: tuple[str, str, str],
    time_of: Callable[[str], float],
    expected: str,
) -> Iterator[FileRequest]:
    for row in reader:
        try:
            at_s, tokens_in, tokens_out = time_of(row[names[0]]), _tokens(row, names[1]), _tokens(row, names[2])
        except (TypeError, ValueError):
            raise wrong(path, reader.line_num, ",".join(str(row.get(n)) for n in names), expected) from None
        if tokens_in and tokens_out:  # a request without a token, or that failed, loads nobody
            yield FileRequest(None, tokens_in, tokens_out, at_s)


def _tokens(row: Mapping[str, str], name: str) -> int:
    number = float(row[name])
    if not (number >= 0 and number == int(number)):
        raise ValueError(f"{number} is no number of tokens")
    return int(number)


def _seconds(text: str) -> float:
    if not math.isfinite(seconds := float(text)):
        raise ValueError(f"{text} is no time")
    return seconds


def _moment(text: str) -> float:
    moment = dt.datetime.fromisoformat(text.strip())
    return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp()


def _is_count(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 and value == int(value)


def _some(path: Path, found: list[FileRequest], expected: str) -> list[FileRequest]:
    if not found:
        raise wrong(path, None, "no request with tokens in and out", expected)
    return found
