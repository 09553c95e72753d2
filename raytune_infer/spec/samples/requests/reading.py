"""The requests that service.yaml asks for: read from their file, or drawn, and when they came."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from raytune_infer.errors import SpecError, UserError
from raytune_infer.spec.paths import beside, refuse_special
from raytune_infer.spec.samples.requests.file_request import RequestFileError
from raytune_infer.spec.samples.requests.made_text import MadeText
from raytune_infer.spec.samples.requests.payloads import LlmRequests, drawn, from_file
from raytune_infer.spec.samples.requests.requests_spec import RequestsSpec
from raytune_infer.spec.service_spec import ServiceSpec

DRAWN = 2000
"""Requests that are drawn unless told otherwise. Our choice: a level of a load test seldom sends more, so hardly any is
sent twice to a cache of prefixes that still has it."""


def read_requests(spec: ServiceSpec) -> LlmRequests:
    """Return the requests to the language model.

    Raises:
        SpecError: a file is missing or of another form, or there is no tokenizer where one is named.
    """
    asked = spec.requests
    assert asked is not None, "asked for where there are some"
    try:
        return made(asked, spec.folder)
    except RequestFileError as error:
        raise SpecError(f"{spec.place('requests', *(asked.file or ('lengths',))[:1])}: {error}") from None
    except (UserError, ValueError) as error:
        raise SpecError(f"{spec.place('requests')}: {error}") from None


def made(asked: RequestsSpec, folder: Path) -> LlmRequests:
    """The requests; relative paths start at `folder`. Raises UserError or ValueError."""
    text = MadeText(asked.seed, None if asked.tokenizer is None else counter(str(beside(folder, asked.tokenizer))))
    if asked.file is None:
        assert asked.lengths is not None, "one of the two, checked when read"
        return drawn(asked.lengths.drawn(asked.seed), asked.count or DRAWN, text, output=asked.output)
    kind, name = asked.file
    refuse_special(path := beside(folder, name))
    return from_file(kind, path, text, output=asked.output, most=asked.count, seed=asked.seed)


def counter(folder: str) -> Callable[[str], int]:
    """Text → its number of tokens, by the tokenizer of a model's folder.

    Raises:
        UserError: there is no such tokenizer, or the extra that reads it is not installed.
    """
    try:
        from transformers import AutoTokenizer
    except ImportError:
        raise UserError("a tokenizer needs transformers: pip install 'raytune-infer[transformers]'") from None
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        line = str(error).splitlines()[0]
        raise UserError(f"no tokenizer can be read from {folder} ({line}); name a folder that has one") from None
    return lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"])
