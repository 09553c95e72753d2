"""Requests and limits as the options of a benchmark name them, which are those of `vllm bench serve`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from raytune_infer.errors import UserError
from raytune_infer.spec.samples.requests.drawn_lengths import DrawnRequests, Lengths
from raytune_infer.spec.samples.requests.made_text import MadeText
from raytune_infer.spec.samples.requests.payloads import KINDS, LlmRequests, Output, drawn, from_file
from raytune_infer.spec.samples.requests.reading import counter
from serve_deployments.metrics.request_limits import RequestLimits

_RANDOM = "random"
_OTHER_NAMES = {"custom": "openai"}  # vLLM's name of a kind of file → ours
_LIMITS = {"ttft": "ttft", "tpot": "tpot", "itl": "itl", "e2el": "latency"}
"""vLLM's name of a time of each request → ours."""


def bench_requests(
    name: str,
    path: Path | None,
    count: int,
    *,
    random: tuple[int, int, int],
    output: Output,
    tokenizer: str | None,
    seed: int,
) -> LlmRequests:
    """Return the requests of a benchmark.

    Args:
        name: kind of the data set.
        path: its file; None for random ones.
        count: largest number of requests.
        random: tokens of a random request, of its answer, and of what all of them begin with.
        output: how long answers are.
        tokenizer: folder of a tokenizer.
        seed: of the choice, and of random texts.

    Raises:
        UserError: there is no such data set, its file is missing, or of another form.
    """
    kind = _OTHER_NAMES.get(name, name)
    if kind != _RANDOM and kind not in KINDS:
        there = ", ".join((_RANDOM, *KINDS, *_OTHER_NAMES))
        raise UserError(f"--dataset-name {name}: there is no such kind of data set; there are {there}")
    if (path is None) != (kind == _RANDOM):
        need = "needs no --dataset-path; leave it out" if kind == _RANDOM else "needs --dataset-path, its file"
        raise UserError(f"--dataset-name {name} {need}")
    text = MadeText(seed, None if tokenizer is None else counter(tokenizer))
    if path is None:
        tokens_in, tokens_out, prefix = random
        requests = DrawnRequests(Lengths(tokens_in), Lengths(tokens_out), prefix_tokens=prefix, seed=seed)
        return drawn(requests, count, text, output=output)
    return from_file(kind, path, text, output=output, most=count, seed=seed)


def own_limits(words: Sequence[str]) -> RequestLimits | None:
    """Return the limits of each request in words such as `ttft:500`, in ms; None if there are no words.

    Raises:
        UserError: a word is no limit.
    """
    found: dict[str, float] = {}
    for word in " ".join(words).split():
        name, _, number = word.partition(":")
        try:
            limit_ms = float(number)
        except ValueError:
            limit_ms = 0.0
        if name not in _LIMITS or not limit_ms > 0:
            raise UserError(f"--goodput {word}: a limit is NAME:MILLISECONDS, above 0; names are {', '.join(_LIMITS)}")
        found[_LIMITS[name]] = limit_ms / 1e3
    return RequestLimits(found) if found else None


def pairs(words: Sequence[str]) -> dict[str, str]:
    """Return words such as `KEY=VALUE` as a mapping. Raises UserError for a word without a `=`."""
    for word in words:
        if "=" not in word:
            raise UserError(f"--metadata {word}: KEY=VALUE is needed")
    return {key.strip(): value.strip() for key, value in (word.split("=", 1) for word in words)}
