"""Plain scalars of YAML 1.1 that it reads as something else than most people mean, such as `on`, `010` and `12:30`.

PyYAML follows YAML 1.1 (2005); most people know JSON, or YAML 1.2, where these are texts or other numbers.
"""

from __future__ import annotations

import math
import re
from typing import Any

import yaml

EXPONENT = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?[eE][-+]?\d+$")
"""Numbers of JSON such as 1e-3, which YAML 1.1 reads as texts: its own need a point and a sign."""

_OCTAL = re.compile(r"[-+]?0[0-7_]+")


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
