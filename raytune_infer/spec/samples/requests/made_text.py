"""Text of a wanted number of tokens, where only lengths are known: plain words, drawn at random by a seed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

_WORDS = (
    "time year people way day man thing woman life child world school state family student group country problem hand "
    "part place case week company system program question work number night point home water room mother area money "
    "story fact month lot right study book eye job word business issue side kind head house service friend father "
    "power hour game line end member law car city name team minute idea body back parent face level office door health "
    "person art war history party result change morning reason research girl guy moment air teacher force order"
).split()
"""Frequent English words, each of which is one token of the usual vocabularies when it follows a space."""

CHARACTERS_PER_TOKEN = 4.0
"""Of English text, where no tokenizer tells: OpenAI's rule of thumb, which vocabularies of 32,000 entries come near."""


class MadeText:
    """Makes texts of a wanted number of tokens.

    Without a tokenizer each word is taken for one token, so the endpoint's own count, which is what is reported, may
    be somewhat higher. With one, a text has the wanted number to within the tokens of one word.

    Args:
        seed: another seed, other words.
        count: text → its number of tokens; None: no tokenizer.
    """

    def __init__(self, seed: int = 0, count: Callable[[str], int] | None = None) -> None:
        self._seed, self._count = seed, count

    def of(self, tokens: int, *number: int) -> str:
        """A text of so many tokens.

        Args:
            tokens: the number, 1 or more.
            number: another number, another text; the same one, the same text.
        """
        rng = np.random.default_rng([self._seed, *number])
        if self._count is None:
            return self._words(rng, tokens)
        words = self._words(rng, tokens).split(" ")
        low, high = 1, len(words)  # of words, the most that are not too many tokens
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self._count(" ".join(words[:middle])) <= tokens else (low, middle - 1)
        return " ".join(words[:low])

    def tokens_of(self, text: str) -> int:
        """The number of tokens of a text, at least 1; by its length if there is no tokenizer."""
        return max(1, round(len(text) / CHARACTERS_PER_TOKEN) if self._count is None else self._count(text))

    @staticmethod
    def _words(rng: np.random.Generator, count: int) -> str:
        return " ".join(_WORDS[place] for place in rng.integers(len(_WORDS), size=count).tolist())
