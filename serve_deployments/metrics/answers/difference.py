"""The difference of one answer from the reference's answer to the same request."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from serve_deployments.metrics.answers.content import Content, Unanswered
from serve_deployments.metrics.answers.edit_distance import edit_distance

_WORDS = 60
"""Most characters of a value in the words on a difference. Our choice: it stays on one line."""

WHOLLY_OFF = 2.0
"""Relative error of an answer with NaN or infinity where the other has another number: no norm says how far it is off,
and 2 is the largest that the difference of two finite answers can have, so it breaks every limit below."""


@dataclass(frozen=True)
class Difference:
    """How an answer differs from the reference's.

    Args:
        same: whether texts, labels and whole numbers are equal, and other numbers equal up to rounding.
        relative_error: norm of the difference of all numbers, relative to the larger of the two norms, 0 to 2; NaN
            where neither answer has numbers; `WHOLLY_OFF` where NaN or infinity stands on one side only.
        cosine: cosine of the angle between all numbers of the two answers; NaN where there are fewer than two; 0 where
            NaN or infinity stands on one side only.
        edit_similarity: 1 - edit distance / length of the longer text, 0 to 1; NaN where neither answer has texts.
        words: the first difference in words; None if they are the same.
    """

    same: bool
    relative_error: float = math.nan
    cosine: float = math.nan
    edit_similarity: float = math.nan
    words: str | None = None

    @property
    def distance(self) -> float:
        """One number for how far the answer is off: 0 if it is the same; for putting differences in order."""
        if self.same:
            return 0.0
        parts = [self.relative_error, 1.0 - self.edit_similarity]
        # Labels such as True have neither numbers nor texts: they are either the same or not.
        return max((part for part in parts if part > 0), default=1.0)


def difference(reference: Content, answer: Content | Unanswered, allowed: float) -> Difference:
    """Compare an answer with the reference's.

    Lists and dictionaries are compared by their parts, arrays element by element. A part that only one of the answers
    has, or that is of another type or shape, counts as one that the other has as 0 or as an empty text. NaN and
    infinity agree with themselves at the same place, and with nothing else.

    Args:
        reference: the reference's answer.
        answer: the answer.
        allowed: relative error of all numbers together that rounding explains.
    """
    found = _Parts()
    if isinstance(answer, Unanswered):
        found.only(reference, left=True)
        found.unlike("", f"no answer: {answer.why}")
    else:
        found.compare(reference, answer, "")
    error, cosine = found.error_and_cosine()
    if error > allowed:
        found.unlike("", f"its numbers differ by {error:.2g} of their norm")
    return Difference(found.words is None, error, cosine, found.edit_similarity(), found.words)


@dataclass
class _Parts:
    """The parts of two answers, collected side by side."""

    numbers: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    edits: list[tuple[int, int]] = field(default_factory=list)
    words: str | None = None
    alone: bool = False  # whether numbers stand on one side only
    odd: bool = False  # whether NaN or infinity does

    def unlike(self, path: str, words: str) -> None:
        """Note the first part that differs."""
        if self.words is None:
            self.words = f"{path.removeprefix('.')}: {words}" if path else words

    def compare(self, one: Content, other: Content, path: str) -> None:
        """Compare a part of the reference's answer with the same part of the other."""
        if isinstance(one, dict) and isinstance(other, dict):
            self._dictionaries(one, other, path)
        elif (pair := _as_arrays(one, other)) is not None:
            self._arrays(*pair, path)
        elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
            for index, (left, right) in enumerate(zip(one, other, strict=True)):
                self.compare(left, right, f"{path}[{index}]")
        elif isinstance(one, str) and isinstance(other, str) or isinstance(one, bytes) and isinstance(other, bytes):
            self.edits.append(edit_distance(one, other))
            if one != other:
                self.unlike(path, f"{_shown(other)} instead of {_shown(one)}")
        elif type(one) is not type(other) or not isinstance(one, bool | int | None):
            self.only(one, left=True)
            self.only(other, left=False)
            self.unlike(path, f"{_kind(other)} instead of {_kind(one)}")
        elif one != other:
            self.unlike(path, f"{other} instead of {one}")

    def _dictionaries(self, one: dict[str, Content], other: dict[str, Content], path: str) -> None:
        for key in (*one, *(key for key in other if key not in one)):
            if key in one and key in other:
                self.compare(one[key], other[key], f"{path}.{key}")
            else:
                self.only(one.get(key, other.get(key)), left=key in one)
                self.unlike(path, f"{key!r} is {'missing' if key in one else 'there, and not in the reference'}")

    def _arrays(self, one: np.ndarray, other: np.ndarray, path: str) -> None:
        if one.shape != other.shape:
            self.only(one, left=True)
            self.only(other, left=False)
            self.unlike(path, f"{_kind(other)} instead of {_kind(one)}")
            return
        whole = one.dtype.kind in "biu" and other.dtype.kind in "biu"
        if whole and (count := int((one != other).sum())):
            self.unlike(path, _whole_words(one, other, count))
        left, right = one.astype(float).ravel(), other.astype(float).ravel()
        odd = ~(np.isfinite(left) & np.isfinite(right))
        if odd.any():
            if not np.array_equal(left[odd], right[odd], equal_nan=True):
                self.odd = True
                self.unlike(path, "NaN or infinity in other places")
            left, right = (np.where(odd, 0.0, each) for each in (left, right))
        self.numbers.append((left, right))

    def only(self, content: Content, *, left: bool) -> None:
        """Count a part that only the reference has (`left`), or only the other answer."""
        match content:
            case dict():
                for each in content.values():
                    self.only(each, left=left)
            case str() | bytes():
                self.edits.append((len(content), len(content)))
            case bool() | None:
                pass
            case int() | float() | np.ndarray():
                found = _floats(content)
                finite = np.isfinite(found)
                self.alone |= bool(found.size)
                self.odd |= not finite.all()
                told = np.where(finite, found, 0.0)
                self.numbers.append((told, np.zeros_like(told)) if left else (np.zeros_like(told), told))
            case list():
                for each in content:
                    self.only(each, left=left)

    def error_and_cosine(self) -> tuple[float, float]:
        """Return relative error and cosine of all numbers together."""
        left, right = (np.concatenate([pair[side] for pair in self.numbers] or [np.empty(0)]) for side in (0, 1))
        largest = max(np.abs(left).max(initial=0.0), np.abs(right).max(initial=0.0))
        if not left.size:
            return math.nan, math.nan
        if self.odd:
            return WHOLLY_OFF, 0.0 if left.size > 1 else math.nan
        if largest == 0:  # all zeros agree with zeros, but not with nothing
            error, cosine = (1.0, 0.0) if self.alone else (0.0, 1.0)
            return error, cosine if left.size > 1 else math.nan
        left, right = left / largest, right / largest  # so that squares neither overflow nor vanish
        norms = float(np.linalg.norm(left)), float(np.linalg.norm(right))
        error = float(np.linalg.norm(left - right)) / max(norms)
        if left.size < 2:
            return error, math.nan
        return error, float(np.clip(left @ right / (norms[0] * norms[1]), -1, 1)) if min(norms) > 0 else 0.0

    def edit_similarity(self) -> float:
        """Return 1 - edit distance / length over all texts; NaN where there is none."""
        if not self.edits:
            return math.nan
        length = sum(longer for _, longer in self.edits)
        return 1.0 - sum(distance for distance, _ in self.edits) / length if length else 1.0


def _as_arrays(one: Content, other: Content) -> tuple[np.ndarray, np.ndarray] | None:
    """Return both as arrays if both are numbers, or arrays or lists of numbers; else None."""
    arrays = [_as_array(each) for each in (one, other)]
    return None if arrays[0] is None or arrays[1] is None else (arrays[0], arrays[1])


def _as_array(content: Content) -> np.ndarray | None:
    if isinstance(content, np.ndarray):
        return content
    if type(content) in (int, float):
        array = np.array(content)
    elif isinstance(content, list) and content and all(type(each) in (int, float) for each in content):
        array = np.array(content)
    else:
        return None
    return array if array.dtype.kind in "iuf" else None  # whole numbers beyond 64 bits are compared as labels


def _floats(content: int | float | np.ndarray) -> np.ndarray:
    """Return numbers as an array of one axis; of whole numbers that are too large for one, none."""
    try:
        return np.asarray(content, dtype=float).ravel()
    except OverflowError:
        return np.empty(0)


def _whole_words(one: np.ndarray, other: np.ndarray, count: int) -> str:
    if not one.ndim:
        return f"{other} instead of {one}"
    return f"{count} of {one.size} whole numbers differ"


def _shown(text: str | bytes) -> str:
    said = repr(text)
    return said if len(said) <= _WORDS else f"{said[:_WORDS]}…"


def _kind(content: Content) -> str:
    match content:
        case None | bool():
            return str(content)
        case np.ndarray() if content.ndim:
            return f"an array of shape {list(content.shape)}"
        case int() | float() | np.ndarray():
            return "a number"
        case str():
            return "a text"
        case bytes():
            return "bytes"
        case dict():
            return "a mapping"
    return f"a list of {len(content)}"
