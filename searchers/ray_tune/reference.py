"""What a space has in place of a choice that is neither a text nor a number."""

from __future__ import annotations

from typing import Any, Self

REFERENCES = ("__ref_ph", "__fn_ph")
"""First part of what Tune 2.60 hands to searchers in place of an object (`ray.tune.impl.placeholder`)."""


class Reference(str):
    """Name of a choice that is neither a text nor a number.

    Args:
        name: the name.
        stands_for: what Tune gets for it: None, or Tune's reference to an object, which it resolves for the trial.
    """

    stands_for: Any

    def __new__(cls, name: str, stands_for: Any = None) -> Self:
        """Return the text with what it stands for."""
        self = super().__new__(cls, name)
        self.stands_for = stands_for
        return self
