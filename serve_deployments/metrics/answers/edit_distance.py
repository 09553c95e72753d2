"""The edit distance of two texts: how many characters must be put in, taken out or replaced to make one the other."""

from __future__ import annotations

import math
from typing import TypeVar

LONGEST = 16_384
"""Most characters between the first and the last difference of two texts that are compared. Our choice: the time grows
with the square, and two texts of this length take a tenth of a second."""

_Text = TypeVar("_Text", str, bytes)


def edit_distance(one: str | bytes, other: str | bytes) -> tuple[int, int]:
    """Return the edit distance of two texts (Levenshtein 1966), and the length of the longer one.

    Between the first difference and the last, the first `LONGEST` characters stand for those behind them.
    """
    longer = max(len(one), len(other))
    if isinstance(one, str) and isinstance(other, str):
        left, right = _where_they_differ(one, other)
    else:
        left, right = _where_they_differ(bytes(one), bytes(other))  # type: ignore[arg-type]
    between = max(len(left), len(right))
    if between <= LONGEST:
        return _distance(left, right), longer
    found = _distance(left[:LONGEST], right[:LONGEST])
    return max(math.ceil(found * between / LONGEST), abs(len(left) - len(right)), 1), longer


def _where_they_differ(one: _Text, other: _Text) -> tuple[_Text, _Text]:
    """Return both texts without the beginning and the end that they share, which have no part in their distance."""
    begin = _shared(one, other)
    one, other = one[begin:], other[begin:]
    end = _shared(one[::-1], other[::-1])
    return one[: len(one) - end], other[: len(other) - end]


def _shared(one: _Text, other: _Text) -> int:
    """Return the length of the longest beginning that both texts have, by halving what is in question."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _distance(one: str | bytes, other: str | bytes) -> int:
    """Return the distance by columns of bits (Myers, J. ACM 46, 1999; Hyyrö 2003 for whole texts).

    A column of the usual table of Wagner and Fischer (1974) changes by at most 1 from row to row. Two whole numbers
    keep it, a bit for each row: `up` where it grows by 1, and `down` where it falls by 1.
    """
    if not one:
        return len(other)
    places: dict[object, int] = {}
    for row, unit in enumerate(one):
        places[unit] = places.get(unit, 0) | 1 << row
    every, last = (1 << len(one)) - 1, 1 << (len(one) - 1)
    up, down, distance = every, 0, len(one)
    for unit in other:
        equal = places.get(unit, 0)
        level = ((((equal & up) + up) ^ up) | equal | down) & every  # where the diagonal does not grow
        right_up, right_down = (down | ~(level | up)) & every, level & up
        distance += bool(right_up & last) - bool(right_down & last)
        right_up, right_down = (right_up << 1 | 1) & every, right_down << 1 & every
        up, down = (right_down | ~(level | right_up)) & every, level & right_up
    return distance
