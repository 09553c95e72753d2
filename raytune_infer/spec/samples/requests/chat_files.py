"""Files of conversations: OpenAI's JSON lines, and ShareGPT's JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from raytune_infer.spec.samples.requests.file_request import FileRequest, wrong

_OPENAI = (
    'a line such as {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 64} or '
    '{"prompt": "Hello", "max_tokens": 64}; in a file of OpenAI\'s batches that is under "body"'
)
_SHAREGPT = 'a list of {"conversations": [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Hello!"}]}'
_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "chatgpt": "assistant", "assistant": "assistant",
          "bard": "assistant", "bing": "assistant", "system": "system"}  # fmt: skip
"""Who speaks in a file of ShareGPT → the role in OpenAI's form."""


def openai(path: Path) -> list[FileRequest]:
    """Requests in OpenAI's form, one a line: bodies of chat or completion requests, or lines of its batch API.

    `output_tokens`, which vLLM's custom data sets have, says how long an answer is to be, as `max_tokens` does.

    Raises:
        RequestFileError: a line is of another form.
    """
    return [_of_body(path, number, value) for number, value in _json_lines(path)]


def _of_body(path: Path, number: int, value: Any) -> FileRequest:
    body = value.get("body", value) if isinstance(value, dict) else value
    if not isinstance(body, dict) or not (_is_chat(body.get("messages")) or isinstance(body.get("prompt"), str)):
        raise wrong(path, number, value, _OPENAI)
    tokens_out = next((body[n] for n in ("max_completion_tokens", "max_tokens", "output_tokens") if n in body), None)
    if tokens_out is not None and not (isinstance(tokens_out, int) and tokens_out > 0):
        raise wrong(path, number, tokens_out, "a whole number of tokens above 0")
    kept = {k: v for k, v in body.items() if k not in ("model", "stream", "stream_options", "output_tokens")}
    return FileRequest(kept, tokens_out=tokens_out)


def _is_chat(messages: Any) -> bool:
    return isinstance(messages, list) and bool(messages) and all(
        isinstance(one, dict) and isinstance(one.get("role"), str) and "content" in one for one in messages
    )  # fmt: skip


def sharegpt(path: Path, *, turns: str = "first") -> list[FileRequest]:
    """Requests of ShareGPT's conversations: each question with what was said before it.

    Args:
        path: the file.
        turns: "first": the first question of each conversation, as vLLM's benchmark takes them; "all": every question,
            with the questions and answers before it, in the order of the file.

    Raises:
        RequestFileError: the file is of another form, or no conversation begins with a question that is answered.
    """
    try:
        whole = json.loads(text_of(path))
    except json.JSONDecodeError as error:
        raise wrong(path, error.lineno, error.msg, f"JSON: {_SHAREGPT}") from None
    if not isinstance(whole, list):
        raise wrong(path, None, whole, _SHAREGPT)
    found = [one for number, each in enumerate(whole, 1) for one in _of_conversation(path, number, each, turns)]
    if not found:
        raise wrong(path, None, "no question with an answer", _SHAREGPT)
    return found


def _of_conversation(path: Path, number: int, value: Any, turns: str) -> Iterator[FileRequest]:
    said = value.get("conversations", value.get("conversation")) if isinstance(value, dict) else None
    if not isinstance(said, list):
        raise wrong(path, None, f"number {number}: {value!r:.80}", _SHAREGPT)
    messages: list[dict[str, str]] = []
    for one in said:
        role = _ROLES.get(str(one.get("from"))) if isinstance(one, dict) else None
        if role is None or not isinstance(one.get("value"), str):
            raise wrong(path, None, f"number {number}: {one!r:.80}", _SHAREGPT)
        if role == "assistant" and messages and messages[-1]["role"] == "user":
            yield FileRequest({"messages": list(messages), ANSWER: one["value"]})
            if turns == "first":
                return
        messages.append({"role": role, "content": one["value"]})


ANSWER = "answer"
"""Key of a request's body for the answer that the file has, of which only the length is used."""


def text_of(path: Path) -> str:
    """The text of a file. Raises RequestFileError."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise wrong(path, None, "bytes that are no UTF-8", "text in UTF-8") from None
    except OSError as error:
        raise wrong(path, None, error.strerror or str(error), "a file that can be read") from None


def json_lines(path: Path, expected: str) -> Iterator[tuple[int, Any]]:
    """The JSON values of a file, one a line, with the numbers of their lines; blank lines are left out.

    Raises:
        RequestFileError: a line is no JSON, or there is none.
    """
    empty = True
    for number, line in enumerate(text_of(path).split("\n"), 1):
        if line.strip():
            empty = False
            try:
                yield number, json.loads(line)
            except json.JSONDecodeError:
                raise wrong(path, number, line[:80], expected) from None
    if empty:
        raise wrong(path, None, "no line", expected)


def _json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    return json_lines(path, _OPENAI)
