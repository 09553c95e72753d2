"""What the numbers of each part of an answer usually are, over all answers of the reference.

A single number near 0 is often a difference of larger ones, and rounding is relative to those. What a part usually is
stands for them: the median, so that a few large answers do not hide an error in the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from serve_deployments.metrics.answers.content import Content
from serve_deployments.metrics.answers.number_parts import Numbers, as_numbers


def key_path(path: str, key: str) -> str:
    """Return the path of a value in a mapping."""
    return f"{path}.{key}"


def place_path(path: str, place: int) -> str:
    """Return the path of a place in a list."""
    return f"{path}[{place}]"


def usual_norms(answers: Sequence[Content]) -> Mapping[str, float]:
    """Return path of a part → median norm of its numbers over the answers that have them there."""
    norms: dict[str, list[float]] = {}
    for answer in answers:
        for path, numbers in _numbers(answer, ""):
            if (norm := numbers.norm) is not None:
                norms.setdefault(path, []).append(norm)
    return {path: median(each) for path, each in norms.items()}


def _numbers(content: Content, path: str) -> Iterator[tuple[str, Numbers]]:
    """Yield the parts of an answer that are numbers, with their paths."""
    if isinstance(content, dict):
        for key, each in content.items():
            yield from _numbers(each, key_path(path, key))
    elif (numbers := as_numbers(content)) is not None:
        yield path, numbers
    elif isinstance(content, list):
        for place, each in enumerate(content):
            yield from _numbers(each, place_path(path, place))
