"""A language model as an engine of its own: requests join a running batch, and each token is told as it comes."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from serve_deployments.endpoint import Sizes
from serve_deployments.models.context import ModelError
from serve_deployments.models.loaders.llm.token_text import PiecesOfText, prompt_of

Batching = Literal["continuous", "static"]
"""When requests join: "continuous": as soon as there is a place; "static": once all that run have ended."""

PRECISIONS = ("float32", "bfloat16", "float16")


@dataclass
class _Request:
    """A request that waits or runs; its pieces go to the loop that asks for them."""

    prompt: list[int]
    most: int
    ignore_eos: bool
    loop: asyncio.AbstractEventLoop
    text: PiecesOfText
    pieces: asyncio.Queue[str | BaseException | None] = field(default_factory=asyncio.Queue)
    told: int = 0
    withdrawn: bool = False

    def tell(self, piece: str | BaseException | None) -> None:
        """Hand on a piece; None: there are no more."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.pieces.put_nowait, piece)


class TransformersEngine:
    """Answers requests in OpenAI's form: `{"messages": […]}` or `{"prompt": …}`, with `max_tokens`, `ignore_eos`.

    Args:
        model: a causal language model of transformers.
        tokenizer: its tokenizer.
        max_num_seqs: most requests that run at once; the others wait in the order in which they came.
        max_model_len: most tokens of a request and its answer together.
        batching: when requests join.
    """

    def __init__(
        self, model: Any, tokenizer: Any, *, max_num_seqs: int, max_model_len: int, batching: Batching
    ) -> None:
        from serve_deployments.models.loaders.llm.padded_batch import PaddedBatch

        self._tokenizer, self._most_tokens = tokenizer, max_model_len
        self._most, self._batching = max_num_seqs, batching
        self._batch, self._running = PaddedBatch(model), list[_Request]()
        self._ends = _ends_of(model, tokenizer)
        self._waiting, self._changed, self._closed = deque[_Request](), threading.Condition(), False
        self._worker = threading.Thread(target=self._work, name="engine", daemon=True)
        self._worker.start()

    async def __call__(self, payload: Any) -> AsyncIterator[str | Sizes]:
        """The answer's text, a piece for each token, and its sizes in tokens.

        Raises:
            ValueError: the request has another form, or is longer than `max_model_len`.
        """
        body = payload if isinstance(payload, Mapping) else {}
        prompt = prompt_of(payload, self._tokenizer)
        room = self._most_tokens - len(prompt)
        most = body.get("max_tokens") or body.get("max_completion_tokens") or room
        if not 1 <= most <= room:
            raise ValueError(
                f"the request has {len(prompt)} tokens and asks for {max(most, 1)}, together more than the "
                f"{self._most_tokens} of max_model_len; shorten it, or raise max_model_len"
            )
        loop, text = asyncio.get_running_loop(), PiecesOfText(self._tokenizer)
        request = _Request(prompt, most, bool(body.get("ignore_eos")), loop, text)
        with self._changed:
            self._waiting.append(request)
            self._changed.notify()
        try:
            while (piece := await request.pieces.get()) is not None:
                if isinstance(piece, BaseException):
                    raise piece
                yield piece
            yield Sizes(len(prompt), request.told)
        finally:
            request.withdrawn = True

    def change(self, *, max_num_seqs: int, batching: Batching = "continuous") -> None:
        """Let in more or fewer requests from now on, while it runs; those that run go on."""
        _check(max_num_seqs, batching)
        with self._changed:
            self._most, self._batching = max_num_seqs, batching
            self._changed.notify()

    def close(self) -> None:
        """End the engine's thread; requests that are left get an error."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._worker.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._waiting or self._running)
                if self._closed:
                    break
                joining = self._let_in()
            try:
                self._turn(joining)
            except Exception as error:  # of the model, such as a lack of memory: told to all that were in the batch
                self._fail(error)
        for request in (*self._running, *self._waiting):
            request.tell(RuntimeError("the engine was closed"))

    def _let_in(self) -> list[_Request]:
        places = self._most - len(self._running)
        if self._batching == "static" and self._running:
            return []
        found: list[_Request] = []
        while self._waiting and len(found) < places:
            if not (request := self._waiting.popleft()).withdrawn:
                found.append(request)
        return found

    def _turn(self, joining: list[_Request]) -> None:
        """One token for every request that runs, and then the first one of those that join."""
        if self._running:
            self._tell(self._batch.step())
        if joining:
            before = len(self._running)
            self._running += joining
            self._tell(self._batch.join([request.prompt for request in joining]), before)

    def _tell(self, tokens: list[int], first: int = 0) -> None:
        """Hand on the tokens of the requests from place `first` on, and let those go that have ended."""
        ended = set[int]()
        for place, token in enumerate(tokens, first):
            request = self._running[place]
            request.told += 1
            last = token in self._ends and not request.ignore_eos
            if last or request.withdrawn or request.told >= request.most:
                ended.add(place)
            request.tell(request.text.add(token, last=place in ended))
            if place in ended:
                request.tell(None)
        if ended:
            left = [place for place in range(len(self._running)) if place not in ended]
            self._batch.keep(left)
            self._running = [self._running[place] for place in left]

    def _fail(self, error: Exception) -> None:
        for request in self._running:
            request.tell(error)
        self._running = []
        self._batch.keep([])


def _ends_of(model: Any, tokenizer: Any) -> set[int]:
    """The tokens that end an answer, by the model's own configuration or else the tokenizer's."""
    said = getattr(model.generation_config, "eos_token_id", None)
    said = tokenizer.eos_token_id if said is None else said
    return set() if said is None else set(said) if isinstance(said, list | tuple) else {int(said)}


def _check(max_num_seqs: int, batching: str) -> None:
    if max_num_seqs < 1:
        raise ModelError(f"max_num_seqs must be 1 or more, got {max_num_seqs}")
    if batching not in ("continuous", "static"):
        raise ModelError(f"batching is continuous or static, got {batching!r}")


def build(
    llm: str,
    *,
    max_num_seqs: int = 8,
    max_model_len: int | None = None,
    batching: Batching = "continuous",
    precision: str = "float32",
    device: str = "cpu",
) -> TransformersEngine:
    """Build an engine from the folder of a causal language model, with safetensors and a tokenizer.

    Args:
        llm: the folder.
        max_num_seqs: most requests that run at once; changes while it runs.
        max_model_len: most tokens of a request and its answer; None: what the model was made for.
        batching: when requests join; changes while it runs.
        precision: of the weights: float32, bfloat16 or float16.
        device: "cpu" or "cuda".

    Raises:
        ModelError: the folder has no such model, or a value is none of those.
    """
    check(llm)
    _check(max_num_seqs, batching)
    if precision not in PRECISIONS:
        raise ModelError(f"the engine supports {', '.join(PRECISIONS)}, not {precision}")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(llm, local_files_only=True)
        model = AutoModelForCausalLM.from_pretrained(
            llm, local_files_only=True, use_safetensors=True, dtype=getattr(torch, precision)
        )
    except (OSError, ValueError) as error:
        raise ModelError(f"{llm} is no language model that can be read: {str(error).splitlines()[0]}") from error
    longest = getattr(model.config, "max_position_embeddings", None) or 2048
    if max_model_len is not None and not 1 < max_model_len <= longest:
        raise ModelError(
            f"max_model_len must be from 2 to {longest}, for which the model was made, got {max_model_len}"
        )
    placed: Any = model.to(device)  # type: ignore[arg-type]  # by name, which its types leave out
    return TransformersEngine(
        placed.eval(), tokenizer, max_num_seqs=max_num_seqs, max_model_len=max_model_len or longest,
        batching=batching,
    )  # fmt: skip


def check(llm: str) -> None:
    """Check a folder as far as is possible without reading weights.

    Raises:
        ModelError: it is none of a language model, or transformers is not installed.
    """
    import importlib.util
    import json

    if importlib.util.find_spec("transformers") is None:
        raise ModelError("`engine: transformers` needs transformers: pip install 'raytune-infer[transformers]'")
    config = Path(llm) / "config.json"
    try:
        told = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{config} cannot be read ({error}); `llm` needs the folder of a language model") from None
    architectures = told.get("architectures") or []
    if not any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in architectures):
        said = ", ".join(architectures) or "none"
        raise ModelError(f"{llm} holds {said}, which is no causal language model; use `path` for other models")
