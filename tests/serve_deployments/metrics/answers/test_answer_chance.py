"""Whether answers differ more than the reference's own: how often by chance, and how often rightly."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import product

import numpy as np
import pytest

from serve_deployments.metrics.answers.agreement import agreement
from serve_deployments.metrics.answers.chance import Triple, chance_of
from serve_deployments.metrics.answers.difference import Difference

SAMPLES, STUDIES = 32, 200


def side(distance: float) -> Difference:
    return Difference(parts={"": distance} if distance else {}, words="off" if distance else None)


def triples(sides: Sequence[tuple[float, float, float]]) -> list[Triple]:
    return [Triple(*map(side, each)) for each in sides]


def test_where_nothing_differs_or_the_reference_repeats_itself_no_chance_is_needed():
    assert chance_of(triples([(0, 0, 0)] * 8)) == 1.0
    assert chance_of(triples([(0, 0, 0)] * 7 + [(0.1, 0, 0.1)])) == 0.0
    assert chance_of(triples([(0, 0.1, 0.1)] * 8)) == 1.0  # the reference differs from itself, the answers do not


def by_all_exchanges(sides: Sequence[tuple[float, float, float]]) -> float:
    """The permutation test by its definition: each of the three answers to each sample may be the odd one."""
    found = [[(a + b) / 2 - c for a, b, c in ((x, z, y), (x, y, z), (y, z, x))] for x, y, z in sides]
    sums = [sum(each) for each in product(*found)]
    return sum(each >= sums[0] - 1e-12 for each in sums) / len(sums)


@pytest.mark.parametrize("seed", range(4))
def test_the_probability_is_that_of_all_exchanges(seed):
    drawn = np.random.default_rng(seed).uniform(0.1, 1, (7, 3))
    sides = [(float(x) + 0.2, float(y), float(z) + 0.2) for x, y, z in drawn]
    found, exact = chance_of(triples(sides)), by_all_exchanges(sides)
    assert found == pytest.approx(exact, abs=4 * np.sqrt(exact / 10_000)) and found > 0


@pytest.mark.parametrize(
    ("more", "fewer", "probability"),
    # By hand: of n samples that one of the two fails alone, so many or more of the configuration's, each with 1/2.
    [(1, 0, 1 / 2), (3, 0, 1 / 8), (5, 1, 7 / 64), (4, 2, 22 / 64), (2, 4, 57 / 64), (0, 3, 1.0)],
)
def test_of_failures_the_chance_is_that_of_a_sign_test(more, fewer, probability):
    fails, answers = Difference(parts={}, words="failed", answered=False), side(0.0)
    failures = [Triple(fails, answers, None)] * more + [Triple(answers, fails, None)] * fewer
    # And two samples that both fail, which say nothing.
    assert chance_of([*failures, *[Triple(fails, fails, None)] * 2]) == pytest.approx(probability)


def test_of_a_reference_that_seldom_differs_three_others_are_enough():
    """(1/3)^3 = 0.037; of two it is a ninth."""
    own = [(0.0, 1.0, 0.0)]  # one sample where the reference's second answer is another
    assert chance_of(triples([*own, *[(1.0, 0, 1.0)] * 2])) > 0.05
    assert chance_of(triples([(1.0, 1.0, 0.0), *[(1.0, 0, 1.0)] * 5])) < 0.05


def numbers(rng: np.random.Generator, at: np.ndarray, shift: float = 0.0, spread: float = 0.01):
    """Scores with noise of `spread`."""
    return [float(each) for each in at + shift + rng.normal(0, spread, len(at))]


def labels(rng: np.random.Generator, at: np.ndarray, other: float = 0.0):
    """The likeliest of three labels in four of five answers, and a share `other` of a wrong one."""
    drawn = rng.random((2, len(at)))
    return [
        "wrong" if wrong < other else f"label {int(place > 1.5) if usual < 0.8 else 2}"
        for place, usual, wrong in zip(at, *drawn, strict=True)
    ]


def texts(rng: np.random.Generator, at: np.ndarray, other: float = 0.0):
    """Sentences of twelve words of which each is drawn, a share `other` from other words."""
    return [
        " ".join(f"other{int(n)}" if wrong < other else f"word{int(n)}" for n, wrong in zip(*each, strict=True))
        for each in zip(rng.integers(0, 4, (len(at), 12)), rng.random((len(at), 12)), strict=True)
    ]


def records(rng: np.random.Generator, at: np.ndarray, other: float = 0.0):
    """Labels of which some are wrong, beside an id and a time that are new in every answer."""
    ids = rng.integers(2**60, size=len(at))
    return [
        {"id": int(new), "created": 1.7e9 + float(rng.random()), "choices": [{"label": label}]}
        for new, label in zip(ids, labels(rng, at, other), strict=True)
    ]


def told(answer: Callable, changed: Callable) -> float:
    """Share of studies in which a configuration that answers as `changed` does is said to differ."""
    said = []
    for seed in range(STUDIES):
        rng = np.random.default_rng(seed)
        at = rng.uniform(1, 2, SAMPLES)
        said.append(agreement(answer(rng, at), answer(rng, at), changed(rng, at), 1e-4).differs)
    return float(np.mean(said))


@pytest.mark.parametrize("answer", [numbers, labels, texts, records])
def test_one_that_answers_as_the_reference_is_seldom_said_to_differ(answer):
    """In 5 % of studies; 200 of them are off by 4.6 % with three standard errors."""
    assert told(answer, answer) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / STUDIES)


@pytest.mark.parametrize(
    ("answer", "changed", "least"),
    [
        (numbers, partial(numbers, shift=0.02), 0.95),  # of twice the noise
        (numbers, partial(numbers, spread=0.02), 0.8),
        (labels, partial(labels, other=0.3), 0.8),
        (texts, partial(texts, other=0.2), 0.95),
        (records, partial(records, other=0.4), 0.8),
    ],
)
def test_one_that_answers_otherwise_is_found_out(answer, changed, least):
    assert told(answer, changed) >= least
