"""Rankings in answers, such as labels with their scores: rounding may change the order of those that are level."""

from __future__ import annotations

from collections.abc import Sequence

from serve_deployments.metrics.answers.content import Content


def in_order_of(reference: list[Content], answer: list[Content]) -> list[Content]:
    """Return an answer's ranking in the order of the reference's; unchanged if they do not rank the same things.

    A ranking is a list of mappings in the order of one of their numbers, which tells its order, so that nothing is lost
    when the numbers of each thing are compared with its own. Things are the same if all but their broken numbers is.
    """
    if not all(isinstance(each, dict) for each in (*reference, *answer)):
        return answer
    numbers = {key for each in (*reference, *answer) for key, value in each.items() if type(value) is float}
    left, right = ([_thing(each, numbers) for each in ranking] for ranking in (reference, answer))
    if left == right or len(set(left)) < len(left) or sorted(left) != sorted(right):
        return answer
    if not any(_falls(reference, key, sign) and _falls(answer, key, sign) for key in numbers for sign in (1, -1)):
        return answer
    of = dict(zip(right, answer, strict=True))
    return [of[thing] for thing in left]


def _thing(item: dict[str, Content], numbers: set[str]) -> str:
    """Return what is ranked, as a text."""
    return repr(sorted((key, value) for key, value in item.items() if key not in numbers))


def _falls(ranking: Sequence[dict[str, Content]], key: str, sign: int) -> bool:
    """Whether every item has a number under this key that, times the sign, is no larger than the one before."""
    values = [each[key] for each in ranking if type(each.get(key)) in (int, float)]
    if len(values) < len(ranking):
        return False
    return all(sign * before >= sign * after for before, after in zip(values, values[1:], strict=False))
