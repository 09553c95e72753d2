"""Who is recommended after some rounds, and why."""

import json
import math
from collections.abc import Mapping, Sequence

import pytest

from raytune_infer.comparing.comparison import compared, in_rounds
from raytune_infer.comparing.verdict import as_dict, standings, verdict
from raytune_infer.records import Outcome, TrialRecord
from searchers.objective import Expression, Objective

GOAL = Objective(Expression("rps"), at_most={"p99_ms": 100})
OK, BROKEN = 50.0, 150.0


def finals(
    *rounds: Sequence[tuple[int, float | None] | tuple[int, float, float]],
    prices: Mapping[int, float] | None = None,
    objective: Objective = GOAL,
    first: int = 1,
) -> list[TrialRecord]:
    """Measurements from (position, requests/s, p99) in the order in which they were made; None: could not run."""
    trials = []
    for number, (position, rps, *p99) in enumerate((cell for r in rounds for cell in r), start=first):
        metrics = None if rps is None else {"rps": rps, "p99_ms": p99[0] if p99 else OK}
        price = (prices or {}).get(position, 1.0)
        outcome = Outcome(metrics, reason="Died: it did" if rps is None else None)
        value = objective.value(metrics, price)
        trials.append(TrialRecord(number, "final", position, {"n": position}, price, value, outcome, 1.0, False))
    return trials


def positions(contestants) -> list[int]:
    return [c.position for c in contestants]


def test_a_round_ends_where_a_configuration_returns_or_the_run_was_killed():
    there = finals([(1, 9.0), (0, 5.0)], [(0, 5.0), (1, 9.0)])
    assert [list(r) for r in in_rounds(there)] == [[1, 0], [0, 1]]
    # The third measurement was killed, so number 3 is missing; what came before it was long ago.
    resumed = [*there[:1], *finals([(0, 5.0), (1, 9.0)], first=3)]
    assert [list(r) for r in in_rounds(resumed)] == [[1], [0, 1]]
    assert compared(resumed, GOAL, 0).rounds == 2


def test_the_best_in_its_rounds_wins_though_another_had_the_better_numbers():
    """Configuration 2 was measured while the machine was fast, and only then."""
    trials = finals([(1, 60.0), (0, 50.0)], [(0, 51.0), (1, 62.0)], [(1, 120.0), (2, 90.0), (0, 82.0)],
                    [(0, 84.0), (2, 91.0), (1, 119.0)])  # fmt: skip
    comparison = compared(trials, GOAL, 0)
    assert positions(comparison.counting) == [1, 2, 0]
    assert positions(comparison.alike) == [1]
    assert comparison.over_default.value == pytest.approx(1.31, rel=0.02)
    assert not comparison.over_default.contains(1)


@pytest.mark.parametrize(
    ("prices", "wins"), [({1: 1.0, 2: 0.5}, 2), ({1: 0.5, 2: 1.0}, 1), ({}, 1), ({2: math.nan}, 1)]
)
def test_of_those_alike_the_cheaper_wins(prices, wins):
    trials = finals([(1, 100.0), (2, 97.0), (0, 50.0)], [(0, 49.0), (2, 101.0), (1, 99.0)], prices=prices)
    comparison = compared(trials, GOAL, 0)
    assert positions(comparison.alike) == [1, 2]
    assert comparison.recommended.position == wins
    said = " ".join(verdict(comparison, GOAL))
    assert "the first is 1.01× the second (95 %: " in said and "so they cannot be told apart" in said
    assert ("the cheaper is recommended (0.5 against 1 USD per hour)" in said) == (wins == 2)


def test_a_cheaper_one_that_is_worse_does_not_win():
    trials = finals([(1, 100.0), (0, 50.0)], [(0, 49.5), (1, 101.0)], [(1, 99.0), (0, 49.0)], prices={0: 0.1})
    comparison = compared(trials, GOAL, 0)
    assert comparison.recommended.position == 1
    assert any(s.startswith("rps is 2.02× the default's (95 %: 1.") for s in verdict(comparison, GOAL))


@pytest.mark.parametrize(("rps", "wins"), [(99.0, 0), (50.0, 1)])
def test_one_round_is_judged_by_how_load_tests_usually_repeat(rps, wins):
    comparison = compared(finals([(1, 100.0), (0, rps)], prices={0: 0.1}), GOAL, 0)
    assert comparison.recommended.position == wins
    assert comparison.ratio(*comparison.counting).bounded


def test_figures_that_are_known_exactly_tie_in_spite_of_rounding():
    price = Objective(Expression("usd_per_hour"), minimize=True, at_least={"rps": 10})
    prices = {0: 0.3, 1: 0.1, 2: 0.1}
    trials = finals(*([(1, 20.0), (2, 30.0), (0, 90.0)],) * 3, prices=prices, objective=price)
    comparison = compared(trials, price, 0)
    assert set(positions(comparison.alike)) == {1, 2}
    assert comparison.over_default.value == pytest.approx(1 / 3)


def test_a_limit_that_breaks_once_costs_a_round_and_twice_the_part():
    once = finals([(1, 100.0), (0, 50.0)], [(0, 50.5), (1, 9.0, BROKEN)], [(1, 101.0), (0, 50.0)])
    comparison = compared(once, GOAL, 0)
    assert comparison.recommended.position == 1
    # The rate at which the limit was broken is no figure of it.
    assert comparison.over_default.value == pytest.approx(2, rel=0.02)
    assert "its limits were kept in 2 of 3 rounds" in verdict(comparison, GOAL)
    # Half of the rounds are not most of them, and of two misses none comes back.
    assert positions(compared(once[:4], GOAL, 0).counting) == [0]
    twice = compared([*once, *finals([(0, 50.0), (1, 9.0, BROKEN)], first=7)], GOAL, 0)
    assert twice.recommended.position == 0 and twice.of(1).out


def test_what_could_not_run_once_is_not_recommended():
    trials = finals([(1, 100.0), (0, 50.0)], [(0, 50.5), (1, 101.0)], [(1, None), (0, 50.0)])
    comparison = compared(trials, GOAL, 0)
    assert comparison.of(1).out and comparison.recommended.position == 0
    assert verdict(comparison, GOAL)[0] == "the default is recommended"


def test_a_default_that_does_not_count_gives_no_ratio():
    trials = finals([(1, 100.0), (0, 50.0, BROKEN)], [(0, 50.5, BROKEN), (1, 101.0)])
    comparison = compared(trials, GOAL, 0)
    assert comparison.over_default is None
    assert verdict(comparison, GOAL)[0] == "no ratio to the default, which kept its limits in 0 of 2 rounds"
    assert compared([], GOAL, 0).recommended is None and verdict(compared([], GOAL, 0), GOAL) == []


def test_the_median_round_speaks_for_a_configuration():
    trials = finals([(1, 100.0)], [(1, 300.0)], [(1, 200.0)])
    assert compared(trials, GOAL, None).recommended.typical.metrics["rps"] == 200.0
    assert compared(trials[:2], GOAL, None).recommended.typical.metrics["rps"] == 100.0


def test_it_is_there_for_programs_and_for_readers():
    trials = finals([(1, 100.0), (2, None), (0, 50.0)], [(0, 49.0), (1, 99.0)], prices={0: math.nan})
    comparison = compared(trials, GOAL, 0)
    told = json.loads(json.dumps(as_dict(comparison), allow_nan=False))
    best, default, failed = told["configurations"]
    assert best["recommended"] and best["rounds_kept"] == 2 and best["figure"]["low"] < 99.5 < best["figure"]["high"]
    assert default["default"] and default["usd_per_hour"] is None
    assert failed["figure"] is None and failed["rounds_kept"] == 0
    assert standings(comparison, GOAL).row_count == 3
