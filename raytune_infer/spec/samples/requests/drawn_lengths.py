"""Requests whose lengths are drawn from distributions, with prefixes that several share, and turns of conversations."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from raytune_infer.spec.samples.requests.made_text import MadeText

_APART = (1, 2)  # what a text's number begins with: a prefix, or what comes after it


@dataclass(frozen=True)
class Lengths:
    """A distribution of numbers of tokens: log-normal, as those of real requests nearly are, cut at its ends.

    Args:
        mean: its mean before the cut.
        cv: standard deviation / mean; 0: always the mean.
        least: smallest number.
        most: largest number.

    Raises:
        ValueError: a value is out of its range.
    """

    mean: float
    cv: float = 0.0
    least: int = 1
    most: int = 1_000_000

    def __post_init__(self) -> None:
        if not (math.isfinite(self.mean) and self.mean >= 1 and 0 <= self.cv <= 10):
            raise ValueError(f"lengths need a mean of 1 or more and a cv from 0 to 10, got {self.mean:g}, {self.cv:g}")
        if not 1 <= self.least <= self.most:
            raise ValueError(f"lengths need 1 <= least <= most, got {self.least} and {self.most}")

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """`[count]` whole numbers."""
        variance = math.log1p(self.cv**2)  # of the logarithm, which makes mean and cv those that are asked for
        drawn = rng.lognormal(math.log(self.mean) - variance / 2, math.sqrt(variance), count)
        return np.clip(np.rint(drawn), self.least, self.most).astype(int)


@dataclass(frozen=True)
class DrawnRequests:
    """Requests drawn from distributions.

    Args:
        tokens_in: tokens of what each request adds: its question.
        tokens_out: tokens of its answer.
        prefix_tokens: tokens that come first and that several requests share; 0: none do.
        prefixes: number of different such prefixes, each as frequent as another.
        turns: number of turns of a conversation: from the second on, a request has the ones before it, with answers
            of the drawn length, in front.
        seed: another seed, other requests.

    Raises:
        ValueError: a number is out of its range.
    """

    tokens_in: Lengths
    tokens_out: Lengths
    prefix_tokens: int = 0
    prefixes: int = 1
    turns: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.prefix_tokens < 0 or self.prefixes < 1 or self.turns < 1:
            raise ValueError(
                "prefix_tokens must be 0 or more, prefixes and turns 1 or more, got "
                f"{self.prefix_tokens}, {self.prefixes} and {self.turns}"
            )

    def bodies(self, count: int, text: MadeText) -> list[tuple[dict[str, Any], int]]:
        """So many requests in OpenAI's chat form, each with the tokens of its answer; no two have the same text."""
        rng = np.random.default_rng(self.seed)
        tokens_in, tokens_out = self.tokens_in.draw(rng, count), self.tokens_out.draw(rng, count)
        which = rng.integers(self.prefixes, size=count)
        found: list[tuple[dict[str, Any], int]] = []
        said: list[dict[str, str]] = []
        for number in range(count):
            if number % self.turns == 0:
                said = []
                if self.prefix_tokens:
                    shared = text.of(self.prefix_tokens, _APART[0], int(which[number]))
                    said = [{"role": "system", "content": shared}]
            question = text.of(int(tokens_in[number]), _APART[1], number)
            said = [*said, {"role": "user", "content": question}]
            found.append(({"messages": said}, int(tokens_out[number])))
            said = [*said, {"role": "assistant", "content": text.of(int(tokens_out[number]), _APART[1], number, 1)}]
        return found
