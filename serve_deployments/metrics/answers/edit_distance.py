"""The edit distance of two texts: how many characters must be put in, taken out or replaced to make one the other."""

from __future__ import annotations

from typing import Any

import numpy as np

LONGEST = 2048
"""Most units that are compared one by one: characters and, in a longer text, words, of which the first so many count.
Our choice: the time grows with the square, and two texts of this length take a tenth of a second."""


def edit_distance(one: str | bytes, other: str | bytes) -> tuple[int, int]:
    """Return the edit distance of two texts (Levenshtein 1966), and the length of the longer one in the same units."""
    left, right = _units(one, other)
    longer = max(len(left), len(right))
    if one == other:
        return 0, longer
    found = _distance(_numbered(left[:LONGEST], right[:LONGEST]))
    # Different texts may have equal words, or differ only beyond those that count.
    return max(found, 1), max(min(longer, LONGEST), 1)


def _units(one: Any, other: Any) -> tuple[Any, Any]:
    """Return the texts as sequences of characters or, where one is long, of words."""
    if max(len(one), len(other)) <= LONGEST or isinstance(one, bytes):
        return one, other
    return one.split(), other.split()


def _numbered(left: Any, right: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return both sequences as arrays in which equal units have equal numbers."""
    number: dict[Any, int] = {}
    arrays = [np.array([number.setdefault(unit, len(number)) for unit in units], dtype=int) for units in (left, right)]
    return arrays[0], arrays[1]


def _distance(pair: tuple[np.ndarray, np.ndarray]) -> int:
    """Return the distance by the usual table of Wagner and Fischer (1974), a row at a time."""
    left, right = pair
    steps = np.arange(len(right) + 1)
    row = steps.copy()
    for unit in left:
        changed = np.minimum(row[1:] + 1, row[:-1] + (right != unit))
        # Units that are put in cost one each from the left: the least of all starts, found in one pass.
        row = np.minimum.accumulate(np.concatenate(([row[0] + 1], changed)) - steps) + steps
    return int(row[-1])
