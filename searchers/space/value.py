"""What a knob's value may be."""

from __future__ import annotations

from typing import Literal

Value = str | int | float | bool

Kind = Literal["number", "text", "truth value"]


def kind_of(value: Value) -> Kind:
    """The kind of a value; True and False are no numbers."""
    if isinstance(value, bool):
        return "truth value"
    return "text" if isinstance(value, str) else "number"
