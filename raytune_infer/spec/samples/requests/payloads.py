"""Requests as they are sent: bodies in OpenAI's form with the length of the answer, and when they came."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from raytune_infer.spec.samples.requests.chat_files import ANSWER, openai, sharegpt
from raytune_infer.spec.samples.requests.drawn_lengths import DrawnRequests
from raytune_infer.spec.samples.requests.file_request import FileRequest
from raytune_infer.spec.samples.requests.length_traces import azure, burstgpt, mooncake
from raytune_infer.spec.samples.requests.made_text import MadeText

Output = Literal["fixed", "free"] | int
"""How long answers are: "fixed": as the file says, whatever the model would say; "free": as the model says, up to what
the file says; a number: so many tokens each."""

KINDS: Mapping[str, Callable[[Path], list[FileRequest]]] = {
    "openai": openai, "sharegpt": sharegpt, "sharegpt_turns": partial(sharegpt, turns="all"), "mooncake": mooncake,
    "burstgpt": burstgpt, "azure": azure,
}  # fmt: skip
"""Kind of file → its reader."""

_BLOCK, _REST = 1, 2  # what the number of a text begins with: a block that requests share, or one request's own


@dataclass(frozen=True)
class LlmRequests:
    """Requests to a language model.

    Args:
        payloads: bodies in OpenAI's form, without the model's name.
        at_s: when each came, ascending, in seconds; empty where not all of them say.
    """

    payloads: tuple[dict[str, Any], ...]
    at_s: tuple[float, ...] = ()


def from_file(
    kind: str, path: Path, text: MadeText, *, output: Output = "fixed", most: int | None = None, seed: int | None = None
) -> LlmRequests:
    """Requests of a file.

    Args:
        kind: the file's form, one of `KINDS`.
        path: the file.
        text: makes the prompts of which only lengths are known, and counts tokens.
        output: how long answers are.
        most: largest number of requests: the first ones, or with a seed a random choice, in the order of the file.
        seed: of that choice.

    Raises:
        RequestFileError: the file is of another form.
    """
    found = KINDS[kind](path)
    if most is not None and most < len(found):
        rng = None if seed is None else np.random.default_rng(seed)
        places = range(most) if rng is None else np.sort(rng.choice(len(found), most, replace=False)).tolist()
        found = [found[place] for place in places]
    if all(one.at_s is not None for one in found):
        found = sorted(found, key=lambda one: one.at_s or 0.0)
        at_s = tuple(float(one.at_s or 0.0) for one in found)
    else:
        at_s = ()
    return LlmRequests(tuple(_payload(one, number, text, output) for number, one in enumerate(found)), at_s)


def drawn(requests: DrawnRequests, count: int, text: MadeText, *, output: Output = "fixed") -> LlmRequests:
    """So many drawn requests; see `DrawnRequests`."""
    return LlmRequests(tuple(_sized(body, tokens, output) for body, tokens in requests.bodies(count, text)))


def _payload(request: FileRequest, number: int, text: MadeText, output: Output) -> dict[str, Any]:
    body = dict(request.body) if request.body is not None else {"prompt": _prompt(request, number, text)}
    answer = body.pop(ANSWER, None)
    tokens = request.tokens_out or (text.tokens_of(answer) if isinstance(answer, str) else None)
    return _sized(body, tokens, output)


def _sized(body: Mapping[str, Any], tokens: int | None, output: Output) -> dict[str, Any]:
    rest = {name: value for name, value in body.items() if name not in ("max_tokens", "max_completion_tokens")}
    tokens = output if isinstance(output, int) else tokens
    if tokens is None:
        return rest
    # `ignore_eos` is vLLM's and SGLang's; OpenAI has no such thing, so answers of its service are free.
    return {**rest, "max_tokens": tokens, **({} if output == "free" else {"ignore_eos": True})}


def _prompt(request: FileRequest, number: int, text: MadeText) -> str:
    """A prompt of the wanted length; where blocks are known, those with the same id have the same text."""
    assert request.tokens_in is not None, "a request has a text or a length"
    left, parts = request.tokens_in, []
    for block in request.blocks:
        if left >= request.block_tokens:
            parts.append(text.of(request.block_tokens, _BLOCK, block))
            left -= request.block_tokens
    if left:
        # The last block of a prompt is not full; its id tells that it is shared only with the same whole prompt.
        own = (_BLOCK, request.blocks[-1], 1) if request.blocks else (_REST, number)
        parts.append(text.of(left, *own))
    return " ".join(parts)
