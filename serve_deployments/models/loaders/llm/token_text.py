"""Requests in OpenAI's form as tokens, and tokens as pieces of text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_LONGEST_CHARACTER = 4
"""Most bytes of a character in UTF-8, and so most tokens that one may be spread over."""

_INCOMPLETE = "\ufffd"


def prompt_of(payload: Any, tokenizer: Any) -> list[int]:
    """The tokens of a request: `{"messages": […]}`, `{"prompt": text or tokens}`, or a plain text.

    Raises:
        ValueError: it has another form, or no token.
    """
    body = {"prompt": payload} if isinstance(payload, str) else payload
    if not isinstance(body, Mapping) or not ({"messages", "prompt"} & body.keys()):
        raise ValueError(f"a request needs `messages` or a `prompt`, got {type(payload).__name__}")
    if "messages" in body:
        tokens = _of_chat(body["messages"], tokenizer)
    else:
        prompt = body["prompt"]
        tokens = list(prompt) if isinstance(prompt, list | tuple) else tokenizer(prompt)["input_ids"]
    if not tokens:
        raise ValueError("the request is empty; it needs a token or more")
    return [int(token) for token in tokens]


def _of_chat(messages: Any, tokenizer: Any) -> list[int]:
    if getattr(tokenizer, "chat_template", None):
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])  # the template has them
    # A model without a template for chats continues them as a text.
    return list(tokenizer("".join(f"{one['role']}: {one['content']}\n" for one in messages))["input_ids"])


@dataclass
class PiecesOfText:
    """The text of an answer, piece by piece: one for each token, empty while a character is not complete.

    Args:
        tokenizer: decodes tokens.
    """

    tokenizer: Any
    _said: list[int] = field(default_factory=list)  # the last tokens that were told, which decide on a space after them
    _left: list[int] = field(default_factory=list)

    def add(self, token: int, *, last: bool = False) -> str:
        """The piece that another token brings; the last one brings all that is left."""
        self._left.append(token)
        before = self.tokenizer.decode(self._said, skip_special_tokens=True)
        text = self.tokenizer.decode([*self._said, *self._left], skip_special_tokens=True)
        if text.endswith(_INCOMPLETE) and len(self._left) < _LONGEST_CHARACTER and not last:
            return ""
        self._said, self._left = self._left, []
        return str(text[len(before) :])
