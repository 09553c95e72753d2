"""Counted nouns, in the singular where there is one: `1 round`, `2 rounds`, `0 studies`."""

from __future__ import annotations

from collections.abc import Sequence


def counted(many: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun.

    Args:
        many: the number.
        noun: the noun in the singular.
        plural: its plural; with an "s" when left out.
    """
    return f"{many} {by_number(many, noun, plural or f'{noun}s')}"


def by_number(many: int, one: str, several: str) -> str:
    """Return the word that goes with a number, such as `is` or `are`."""
    return one if many == 1 else several


def numbered(noun: str, numbers: Sequence[int]) -> str:
    """Return things by their numbers: `trial 3`, `trials 3, 7`."""
    return f"{by_number(len(numbers), noun, f'{noun}s')} {', '.join(map(str, numbers))}"
