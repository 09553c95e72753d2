"""Whether answers differ more than the reference's own: the probability that chance alone makes them differ as much."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import bdtrc

from serve_deployments.metrics.answers.difference import Difference

DRAWS = 9_999
"""Random exchanges in the test. Our choice: a probability of 5 % is then known to 0.4 % (two standard errors)."""

_ROUNDING = 1e-9  # sums of the same numbers in another order are the same


@dataclass(frozen=True)
class Triple:
    """The three differences among the reference's two answers to a sample and that of a configuration.

    Args:
        found: of the configuration's answer from the reference's first.
        own: of the reference's second answer from its first.
        second: of the configuration's answer from the reference's second; None if one of them is missing.
    """

    found: Difference
    own: Difference
    second: Difference | None


def chance_of(triples: Sequence[Triple]) -> float:
    """Return the probability that answers differ so much if they are given as the reference's own are.

    What the reference does not do at all, no chance explains: if it answers every sample again, a request that fails
    differs, and if it repeats its answers, one that differs does. Otherwise its own answers are the yardstick, and
    there are up to two tests, of failures and of what is answered; their smaller probability counts as often as there
    are tests (Bonferroni).
    """
    found = [each for each in (_of_failures(triples), _of_answers(triples)) if each is not None]
    return min(1.0, len(found) * min(found)) if found else 1.0


def _of_failures(triples: Sequence[Triple]) -> float | None:
    """Return the probability of so many failed requests; None if none failed.

    A sign test (Dixon & Mood 1946): of the samples that either fails alone, half are the reference's by chance.
    """
    if all(each.found.answered for each in triples):
        return None
    if all(each.own.answered for each in triples):
        return 0.0
    more = sum(not each.found.answered and each.own.answered for each in triples)
    fewer = sum(each.found.answered and not each.own.answered for each in triples)
    return float(bdtrc(more - 1, more + fewer, 0.5)) if more else 1.0


def _of_answers(triples: Sequence[Triple]) -> float | None:
    """Return the probability of such differences among what was answered; None if there are none."""
    if all(each.found.same or not each.found.answered for each in triples):
        return None
    if all(each.own.same or not each.own.answered for each in triples):
        return 0.0
    return _exchanged([each for each in triples if each.second is not None])


def _exchanged(triples: Sequence[Triple]) -> float:
    """Return the probability by a permutation test (Fisher 1935; Phipson & Smyth 2010 for random permutations).

    If the configuration answers as the reference does, its answer could as well be either of the reference's: of the
    three, each is the odd one with the same probability. The statistic of a kind of part is the sum over the samples of
    how far the odd one is from the two others on average, less how far these are from one another, in standard
    deviations. The largest of all kinds counts (Westfall & Young 1993), so that a part which is new in every answer,
    such as an id, hides no other.
    """
    observed, drawn = -np.inf, np.full(DRAWS, -np.inf)
    for sides in _sides(triples):
        # Column k is the statistic if what lies opposite of side k is the odd one.
        odd = {sample: sum(three) / 2 - 1.5 * np.array(three) for sample, three in sides.items()}
        deviation = np.sqrt(sum(float(np.mean(each**2)) for each in odd.values()))
        if not deviation > 0:
            continue
        sums = np.zeros(DRAWS)
        for sample, each in odd.items():
            # The same exchanges for every kind of part; the same answers give the same probability.
            sums += each[np.random.default_rng((0, sample)).integers(3, size=DRAWS)]
        drawn = np.maximum(drawn, sums / deviation)
        observed = max(observed, sum(each[2] for each in odd.values()) / deviation)
    return (1 + int(np.count_nonzero(drawn >= observed - _ROUNDING))) / (1 + DRAWS)


def _sides(triples: Sequence[Triple]) -> Iterator[Mapping[int, tuple[float, float, float]]]:
    """Yield of each kind of part the three distances by the number of the sample, without those that are all 0."""
    sides: dict[str, dict[int, tuple[float, float, float]]] = {}
    for sample, each in enumerate(triples):
        found, own, second = each.found.parts, each.own.parts, each.second.parts if each.second else {}
        for kind in {**found, **second, **own}:
            sides.setdefault(kind, {})[sample] = (found.get(kind, 0.0), second.get(kind, 0.0), own.get(kind, 0.0))
    yield from sides.values()
