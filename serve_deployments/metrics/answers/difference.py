"""The difference of one answer from the reference's answer to the same request, part by part."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from serve_deployments.metrics.answers.content import Content, Unanswered
from serve_deployments.metrics.answers.edit_distance import edit_distance
from serve_deployments.metrics.answers.number_parts import (
    Numbers,
    NumbersDifference,
    as_numbers,
    compare,
    only_one_side,
)
from serve_deployments.metrics.answers.ranking_order import in_order_of
from serve_deployments.metrics.answers.usual_norms import key_path, place_path

_WORDS = 60
"""Most characters of a value in the words on a difference. Our choice: it stays on one line."""

_PLACE = re.compile(r"\[\d+\]")


@dataclass(frozen=True)
class Difference:
    """How an answer differs from the reference's: the figures of the part that differs most, by each figure.

    Args:
        relative_error: norm of the difference of a part's numbers over the largest of their norms and of what is usual
            for the part, 0 to 2; NaN where neither answer has numbers; `WHOLLY_OFF` where NaN or infinity stands on one
            side only.
        cosine: cosine of the angle between a part's numbers; NaN where no part has two or more; 0 where NaN or infinity
            stands on one side only.
        edit_similarity: 1 - edit distance / length of the longer text, 0 to 1; NaN where neither answer has texts.
        parts: kind of part → how far it is off, above 0; those that are the same are left out. The items of a list are
            of one kind.
        words: the first difference in words; None if there is none.
        answered: whether there is an answer.
    """

    relative_error: float = math.nan
    cosine: float = math.nan
    edit_similarity: float = math.nan
    parts: Mapping[str, float] = field(default_factory=dict)
    words: str | None = None
    answered: bool = True

    @property
    def same(self) -> bool:
        """Whether texts, labels and whole numbers are equal, and other numbers equal up to rounding."""
        return self.words is None

    @property
    def distance(self) -> float:
        """How far off the part is that differs most; 0 if the answer is the same."""
        return max(self.parts.values(), default=0.0)


def difference(
    reference: Content, answer: Content | Unanswered, allowed: float, usual: Mapping[str, float] | None = None
) -> Difference:
    """Compare an answer with the reference's.

    Lists and dictionaries are compared by their parts; an array, a list of numbers and a list of texts are one part
    each. So no part can hide in the norm or length of another. A part that only one of the answers has, or that is of
    another type or shape, counts as one that the other has as 0 or as an empty text. NaN and infinity agree with
    themselves at the same place, and with nothing else.

    Args:
        reference: the reference's answer.
        answer: the answer.
        allowed: relative error of a part that rounding explains.
        usual: path of a part → what the norm of its numbers usually is; see `usual_norms`. Unknown ones are 0.
    """
    found = _Parts(allowed, usual or {})
    answered = not isinstance(answer, Unanswered)
    if isinstance(answer, Unanswered):
        found.unlike("", f"no answer: {answer.why}", 1.0)
        found.only(reference)
    else:
        found.compare(reference, answer, "")
    return Difference(
        relative_error=max(found.errors, default=math.nan),
        cosine=min(found.cosines, default=math.nan),
        edit_similarity=min(found.similarities, default=math.nan),
        parts=found.distances,
        words=found.words,
        answered=answered,
    )


@dataclass
class _Parts:
    """The differences of all parts of two answers."""

    allowed: float
    usual: Mapping[str, float]
    errors: list[float] = field(default_factory=list)
    cosines: list[float] = field(default_factory=list)
    similarities: list[float] = field(default_factory=list)
    distances: dict[str, float] = field(default_factory=dict)
    words: str | None = None

    def unlike(self, path: str, words: str, distance: float) -> None:
        """Note a part that differs."""
        kind = _PLACE.sub("[]", path)
        self.distances[kind] = max(self.distances.get(kind, 0.0), distance)
        if self.words is None:
            self.words = f"{path.removeprefix('.')}: {words}" if path else words

    def compare(self, one: Content, other: Content, path: str) -> None:
        """Compare a part of the reference's answer with the same part of the other."""
        left, right = as_numbers(one), as_numbers(other)
        if isinstance(one, dict) and isinstance(other, dict):
            self._dictionaries(one, other, path)
        elif left is not None and right is not None and left.exact.shape == right.exact.shape:
            self._numbers(left, right, path)
        elif isinstance(one, list) and isinstance(other, list) and (one or other) and _are_texts(one, other):
            self._texts("\n".join(one), "\n".join(other), path, same=one == other)
        elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
            for place, pair in enumerate(zip(one, in_order_of(one, other), strict=True)):
                self.compare(*pair, place_path(path, place))
        elif isinstance(one, str) and isinstance(other, str) or isinstance(one, bytes) and isinstance(other, bytes):
            self._texts(one, other, path, same=one == other)
        elif type(one) is not type(other) or not isinstance(one, bool | int | None):
            self.unlike(path, f"{_kind(other)} instead of {_kind(one)}", 1.0)
            self.only(one)
            self.only(other)
        elif one != other:
            self.unlike(path, f"{other} instead of {one}", 1.0)

    def only(self, content: Content) -> None:
        """Count a part that one answer has and the other has not."""
        if (numbers := as_numbers(content)) is not None:
            if (found := only_one_side(numbers)) is not None:
                self._figures(found)
        elif isinstance(content, str | bytes):
            self.similarities.append(0.0 if content else 1.0)
        elif isinstance(content, dict | list):
            for each in content.values() if isinstance(content, dict) else content:
                self.only(each)

    def _dictionaries(self, one: dict[str, Content], other: dict[str, Content], path: str) -> None:
        for key in (*one, *(key for key in other if key not in one)):
            if key in one and key in other:
                self.compare(one[key], other[key], key_path(path, key))
            else:
                said = "missing" if key in one else "there, and not in the reference"
                self.unlike(path, f"{key!r} is {said}", 1.0)
                self.only(one.get(key, other.get(key)))

    def _numbers(self, one: Numbers, other: Numbers, path: str) -> None:
        for found in compare(one, other, self.usual.get(path, 0.0), self.allowed):
            self._figures(found)
            if found.words is not None:
                self.unlike(path, found.words, found.distance)

    def _figures(self, found: NumbersDifference) -> None:
        self.errors.append(found.relative_error)
        if not math.isnan(found.cosine):
            self.cosines.append(found.cosine)

    def _texts(self, one: str | bytes, other: str | bytes, path: str, *, same: bool) -> None:
        distance, length = edit_distance(one, other)
        off = distance / length if length else 0.0
        self.similarities.append(1.0 - off)
        if not same:
            # Lists of texts may be alike when they are joined, and still be others.
            self.unlike(path, f"{_shown(other)} instead of {_shown(one)}", off or 1.0)


def _are_texts(*lists: list[Content]) -> bool:
    """Whether all that these lists hold are texts."""
    return all(isinstance(each, str) for texts in lists for each in texts)


def _shown(text: str | bytes) -> str:
    said = repr(text)
    return said if len(said) <= _WORDS else f"{said[:_WORDS]}…"


def _kind(content: Content) -> str:
    match content:
        case None | bool():
            return str(content)
        case np.ndarray() if content.ndim:
            return f"an array of shape {list(content.shape)}"
        case list() if (numbers := as_numbers(content)) is not None:
            return f"an array of shape {list(numbers.exact.shape)}"
        case int() | float() | np.ndarray():
            return "a number"
        case str():
            return "a text"
        case bytes():
            return "bytes"
        case dict():
            return "a mapping"
    return f"a list of {len(content)}"
