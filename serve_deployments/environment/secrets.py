"""Secrets of a model: arguments name them as environment variables, and no word that is said of an error has one."""

from __future__ import annotations

import json
import os
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, quote_plus


class BadSecret(ValueError):
    """A reference to a secret is not one, or the environment does not have what it names."""


_SHORTEST_HIDDEN, _SHORTEST_LINE = 4, 8
"""Fewest characters of a secret, and of a line of one, that are taken out of words. Our choice: fewer may be in any."""
_revealed: set[str] = set()
"""Secrets that this process has read, in the forms in which errors repeat them; none of its words may have them."""


def secrets_in(args: Mapping[str, Any]) -> Iterator[str]:
    """The names of the environment variables that arguments name as secrets, by `{secret: NAME}`.

    Raises:
        BadSecret: a mapping in an argument looks like a reference and is none, or names what can be no variable.
    """
    for value in args.values():
        match value:
            case Mapping() if (name := _reference(value)) is not None:
                yield name
            case Mapping():
                yield from secrets_in(value)
            case list() | tuple():
                yield from secrets_in({str(place): inner for place, inner in enumerate(value)})


def _reference(value: Mapping[Any, Any]) -> str | None:
    """The variable that a mapping names as a secret; None if the mapping is an ordinary one. Raises BadSecret."""
    if all(str(key).strip().lower() != "secret" for key in value):
        return None
    if set(value) != {"secret"}:
        raise BadSecret(
            f"a secret is {{secret: NAME}} and nothing else, where NAME is an environment variable; got a mapping of "
            f"{', '.join(map(str, value))}; put what is beside it elsewhere, or give the key another name"
        )
    name = value["secret"]
    if isinstance(name, str) and re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
        return name
    # Not repeated: it may be the secret itself.
    got = "a text that is none" if isinstance(name, str) else f"a value of type {type(name).__name__}"
    raise BadSecret(f"`secret` needs the name of an environment variable, got {got}; put the secret into a variable")


def revealed(args: Mapping[str, Any]) -> dict[str, Any]:
    """The same arguments with secrets from this process's environment in place of their references.

    A model gets them when it is built. They are kept and sent nowhere: stored, printed and exported is the reference.

    Raises:
        BadSecret: as in `secrets_in`, or the environment does not have one.
    """
    return {name: _read(value) for name, value in args.items()}


def _read(value: Any) -> Any:
    match value:
        case Mapping() if (name := _reference(value)) is not None:
            if not (secret := os.environ.get(name)):
                raise BadSecret(
                    f"the environment variable {name}, which holds a secret of the model, is not set here; set it "
                    "where Ray is started on each node, or where `tune` starts Ray"
                )
            _revealed.update(_forms(secret))
            return secret
        case Mapping():
            return revealed(value)
        case list() | tuple():
            return type(value)(map(_read, value))
    return value


def _forms(secret: str) -> Iterator[str]:
    """A secret and its lines as errors repeat them: as they are, escaped as in Python and JSON, in a URL, in base64."""
    lines = (line.strip() for line in secret.splitlines())
    whole = (part for part in (secret, secret.strip()) if len(part) >= _SHORTEST_HIDDEN)
    for part in {*whole, *(line for line in lines if len(line) >= _SHORTEST_LINE)}:
        raw = os.fsencode(part)
        escaped = [repr("\"'" + part)[4:-1], repr(b"\"'" + raw)[5:-1]]  # after both quotes, which has repr escape one
        yield from (part, *escaped, *(form.replace("\\'", "'") for form in escaped))
        yield from (json.dumps(part)[1:-1], json.dumps(part, ensure_ascii=False)[1:-1])
        yield from (quote(raw), quote(raw, safe=""), quote_plus(raw))
        for encode in (b64encode, urlsafe_b64encode):
            yield encode(raw).decode()
            for before in range(3):  # as a part of more, such as `user:secret`: the characters that are its alone
                yield encode(bytes(before) + raw).decode()[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6]


def hidden(words: str) -> str:
    """The words without the secrets that this process has read, which a model's error may repeat in several forms."""
    for form in sorted(_revealed, key=len, reverse=True):
        words = words.replace(form, "***")
    return words
