"""The numbers of one part of an answer, and how they differ from the reference's: whole ones exactly, others by norm.

Broken numbers are those that are not whole by their type: 1.0 is one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from serve_deployments.metrics.answers.content import Content
from serve_deployments.metrics.answers.rounding import UNIT_ROUNDOFF

WHOLLY_OFF = 2.0
"""Relative error of numbers with NaN or infinity where the other answer has another number: no norm says how far they
are off, and 2 is the largest that the difference of two finite answers can have, so it breaks every limit below."""


@dataclass(frozen=True)
class Numbers:
    """A number, an array, or a list of numbers: one part of an answer.

    Args:
        exact: the numbers as they came.
        whole: which are whole numbers or truth values by their type, in the same shape.
    """

    exact: np.ndarray
    whole: np.ndarray

    @property
    def values(self) -> np.ndarray:
        """The numbers as floats."""
        return self.exact.astype(float)

    @property
    def norm(self) -> float | None:
        """The norm of those that are finite and not whole; None if there are none."""
        values = self.values[~self.whole]
        values = values[np.isfinite(values)]
        return norm_of(values) if values.size else None


@dataclass(frozen=True)
class NumbersDifference:
    """How numbers differ from the reference's.

    Args:
        relative_error: norm of the difference over the largest of both norms and of what is usual, 0 to 2.
        cosine: cosine of the angle between them; NaN where there are fewer than two.
        distance: 0 if they are the same; else the relative error, of whole numbers the share of those that differ.
        words: what differs; None if rounding explains it.
    """

    relative_error: float
    cosine: float
    distance: float
    words: str | None


def as_numbers(content: Content) -> Numbers | None:
    """Return a content as numbers if it is a number, an array, or a list of numbers or of truth values; else None."""
    if isinstance(content, np.ndarray):
        return Numbers(content, np.full(content.shape, content.dtype.kind in "biu"))
    kinds = {type(each) for each in content} if isinstance(content, list) else {type(content)}
    if not (kinds and kinds <= {int, float}) and not (kinds == {bool} and isinstance(content, list)):
        return None
    try:
        # As objects, whole numbers beside others keep all their digits.
        array = np.array(content, dtype=None if len(kinds) == 1 else object)
        array.astype(float)
    except OverflowError:
        return None
    if kinds == {int} and array.dtype.kind not in "iu":
        return None  # beyond 64 bits: compared as labels
    whole = [type(each) is not float for each in content] if isinstance(content, list) else type(content) is not float
    return Numbers(array, np.array(whole))


def compare(one: Numbers, other: Numbers, usual: float, allowed: float) -> list[NumbersDifference]:
    """Compare numbers with the reference's, of the same shape; the whole numbers among them apart from the others.

    Args:
        one: the reference's.
        other: those of the answer.
        usual: what the norm of this part usually is.
        allowed: relative error that rounding explains.
    """
    whole = one.whole & other.whole
    found = []
    if whole.any():
        found.append(_whole(one.exact[whole], other.exact[whole], _is_picture(one, other), allowed))
    if not whole.all():
        if np.float16 in (one.exact.dtype, other.exact.dtype):
            allowed += 2 * UNIT_ROUNDOFF["float16"]  # its neighbours are this far apart
        found.append(_broken(one.values[~whole], other.values[~whole], usual, allowed))
    return found


def only_one_side(numbers: Numbers) -> NumbersDifference | None:
    """Return the difference of numbers from nothing, as which they are taken for 0; None if there are none."""
    if not numbers.exact.size:
        return None
    odd = not np.isfinite(numbers.values).all()
    cosine = 0.0 if numbers.exact.size > 1 else math.nan
    return NumbersDifference(WHOLLY_OFF if odd else 1.0, cosine, 1.0, None)


def norm_of(values: np.ndarray) -> float:
    """Return the Euclidean norm of finite numbers, without overflow of their squares."""
    largest = float(np.abs(values).max(initial=0.0))
    return largest * float(np.linalg.norm(values / largest)) if largest else 0.0


def _whole(one: np.ndarray, other: np.ndarray, picture: bool, allowed: float) -> NumbersDifference:
    """Compare whole numbers, such as labels and counts: they are equal or not."""
    left, right = one.astype(float), other.astype(float)
    error, cosine = _error_and_cosine(left, right, 0.0, 0.0)
    unequal = one != other
    count = int(np.count_nonzero(unequal))
    if picture:
        # Intensities are rounded to whole steps. An error of e steps, e < 1, moves a share of e of them by one step.
        steps = allowed * np.iinfo(one.dtype).max
        if np.abs(left - right).max() <= math.ceil(steps) and count / one.size <= steps:
            count = 0
    if not count:
        return NumbersDifference(error, cosine, 0.0, None)
    words = f"{count} of {one.size} whole numbers differ" if one.size > 1 else f"{other[0]} instead of {one[0]}"
    return NumbersDifference(error, cosine, count / one.size, words)


def _broken(left: np.ndarray, right: np.ndarray, usual: float, allowed: float) -> NumbersDifference:
    """Compare numbers that are not all whole, by the norm of their difference."""
    odd = ~(np.isfinite(left) & np.isfinite(right))
    if not np.array_equal(left[odd], right[odd], equal_nan=True):
        cosine = 0.0 if left.size > 1 else math.nan
        words = "NaN or infinity in other places" if left.size > 1 else f"{right[0]:g} instead of {left[0]:g}"
        return NumbersDifference(WHOLLY_OFF, cosine, WHOLLY_OFF, words)
    left, right = (np.where(odd, 0.0, each) for each in (left, right))
    error, cosine = _error_and_cosine(left, right, usual, allowed)
    if error <= allowed:
        return NumbersDifference(error, cosine, 0.0, None)
    words = f"{right[0]:.6g} instead of {left[0]:.6g}"
    if left.size > 1:
        words = f"its numbers differ by {error:.2g} of their norm"
    return NumbersDifference(error, cosine, error, words)


def _error_and_cosine(left: np.ndarray, right: np.ndarray, usual: float, allowed: float) -> tuple[float, float]:
    """Return relative error and cosine of finite numbers."""
    norms = norm_of(left), norm_of(right)
    scale = max(*norms, usual)
    if scale == 0:
        return 0.0, 1.0 if left.size > 1 else math.nan
    error = norm_of(left / scale - right / scale)
    if left.size < 2:
        return error, math.nan
    if max(norms) <= allowed * scale:  # nothing but rounding: neither has a direction
        return error, 1.0
    return error, float(np.clip(_direction(left) @ _direction(right), -1, 1)) if min(norms) > 0 else 0.0


def _direction(values: np.ndarray) -> np.ndarray:
    """Return the vector of length 1."""
    values = values / np.abs(values).max()
    return np.asarray(values / np.linalg.norm(values))


def _is_picture(one: Numbers, other: Numbers) -> bool:
    """Whether these are intensities: bytes in two axes or more, as images are."""
    return all(each.exact.dtype == np.uint8 and each.exact.ndim > 1 for each in (one, other))
