"""Plain scalars of YAML 1.1 that it reads as something else than most people mean, such as `on`, `010` and `12:30`.

PyYAML follows YAML 1.1 (2005); most people know JSON, or YAML 1.2, where these are texts or other numbers.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Any

import yaml

EXPONENT = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?[eE][-+]?\d+$")
"""Numbers of JSON such as 1e-3, which YAML 1.1 reads as texts: its own need a point and a sign."""

_OCTAL = re.compile(r"[-+]?0[0-7_]+")
_DECIMAL = re.compile(r"-?(?:0|[1-9]\d*)(?:\.(?:0|\d*[1-9]))?")
"""Numbers as JSON writes them, without a zero at the end that they do not keep: 3.1, not 3.10."""
_LIKE_A_NUMBER = re.compile(r"[-+]?\.?\d[\d_]*\.?[\d_]*(?:[eE][-+]?\d+)?")


def misread(node: yaml.ScalarNode, value: Any) -> str | None:
    """Return what YAML takes a plain scalar for, and the remedy, as the end of an error message; None if it is clear.

    Args:
        node: the scalar as it is written.
        value: what YAML reads it as.
    """
    if node.style is not None:  # in quotes, so a text
        return None
    text = node.value
    if isinstance(value, bool) and text.lower() not in ("true", "false"):
        taken = str(value).lower()
    elif isinstance(value, int | float) and not isinstance(value, bool) and (":" in text or _OCTAL.fullmatch(text)):
        taken = f"{value:g}" if isinstance(value, float) else str(value)
    elif isinstance(value, float) and math.isinf(value) and text[-1].isdigit():
        return f"{text} is a number that is too large; put it in quotes if it is a text"
    else:
        return None
    return f"YAML takes {text} for {taken}; write {taken}, or put it in quotes if it is a text"


def unlike(text: str, value: Any) -> str | None:
    """Return what is wrong with a plain scalar that could be meant as a text, as the end of an error message.

    It is clear, and None is returned, if a text is no number and anything else is written as JSON writes it, without a
    digit that gets lost. For places where a text may stand as well as a number: of version 3.10, only 3.1 is left.

    Args:
        text: the scalar as it is written, without quotes.
        value: what YAML reads it as.
    """
    match value:
        case str():
            if not _LIKE_A_NUMBER.fullmatch(text):
                return None
            return f"YAML takes {text} for a text; put it in quotes, or write it as JSON has it if it is a number"
        case None if text.lower() not in ("", "null"):
            taken = "null"
        case int() | float() if not isinstance(value, bool) and math.isfinite(value) and not _kept(text, value):
            taken = repr(value)
        case _:
            return None
    return f"YAML takes {text} for {taken}; write {taken}, or put it in quotes if it is a text"


def _kept(text: str, value: float) -> bool:
    """Whether a number is written as JSON writes it, and all of its digits are kept."""
    if EXPONENT.match(text):
        return True
    return _DECIMAL.fullmatch(text) is not None and Decimal(text) == Decimal(repr(value))
