"""What the comparison measures next, when it ends, and how often it is right: on machines that drift."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from raytune_infer.comparing.comparison import compared
from raytune_infer.comparing.comparison_schedule import MAX_ROUNDS, ComparisonSchedule, Turn, usual_seconds
from raytune_infer.comparing.rounds import in_rounds
from raytune_infer.store.records import Outcome, TrialRecord
from searchers.objective import Expression, Objective

GOAL = Objective(Expression("rps"), at_most={"p99_ms": 100})
RULES = ComparisonSchedule((1, 2, 3, 4, 5), 0, GOAL, budget_s=1e6, trial_s=10.0, within=0.05)

Measured = Callable[[Turn], float | None]
"""The requests/s of a turn; negative: with a limit broken; None: it could not run."""


def record(number: int, position: int, rps: float | None, seconds: float = 10.0, purpose="final") -> TrialRecord:
    metrics = None if rps is None else {"rps": abs(rps), "p99_ms": 150.0 if rps < 0 else 50.0}
    outcome = Outcome(metrics, reason=None if metrics else "Died: it did")
    value = GOAL.value(metrics, 1.0)
    return TrialRecord(number, purpose, position, {"n": position}, 1.0, value, outcome, seconds, False)


def finished(
    rules: ComparisonSchedule, measured: Measured, known: list[TrialRecord] | None = None
) -> list[TrialRecord]:
    """The comparison to its end."""
    trials = list(known or [])
    while (turn := rules.turn(trials)) is not None:
        assert len(trials) < 60, "it never ends"
        trials.append(record(len(trials) + 1, turn.position, measured(turn)))
    return trials


def orders(trials: list[TrialRecord]) -> list[list[int]]:
    return [list(r) for r in in_rounds(trials)]


def exact(turn: Turn) -> float:
    return {0: 50.0, 1: 100.0, 2: 80.0, 3: 70.0}[turn.position]


def wavering(rng: np.random.Generator) -> Measured:
    """The first two nearly alike, in noise that never lets anyone see it."""
    return lambda turn: {0: 50.0, 1: 100.0, 2: 96.0, 3: 90.0}[turn.position] * math.exp(0.1 * rng.standard_normal())


def test_rounds_go_forth_and_back_and_end_when_all_is_clear():
    assert orders(finished(RULES, exact)) == [[1, 2, 3, 0], [0, 3, 2, 1]]


def test_equal_ones_need_fewer_rounds_the_less_a_difference_matters():
    assert len(orders(finished(replace(RULES, within=0.15), lambda turn: 50.0))) == 2


def test_what_is_not_clear_takes_four_rounds_or_what_the_budget_allows():
    assert len(orders(finished(RULES, wavering(np.random.default_rng(0))))) == MAX_ROUNDS
    # Twelve measurements of ten seconds fit in 120, the thirteenth to sixteenth do not.
    short = replace(RULES, budget_s=120.0)
    assert len(orders(finished(short, wavering(np.random.default_rng(0))))) == 3
    # What the search took before is none of them.
    searched = [record(number, number, 100.0, 1000.0, "search") for number in range(5)]
    rounds = orders(finished(short, wavering(np.random.default_rng(0)), searched))
    assert rounds == orders(finished(short, wavering(np.random.default_rng(0))))


@pytest.mark.parametrize(
    ("budget_s", "trial_s", "default", "candidates"),
    [(1e6, 10, 0, 3), (80, 10, 0, 3), (79, 10, 0, 2), (60, 10, None, 3), (1, 10, 0, 1), (10, 0, 0, 3)],
)
def test_so_many_take_part_as_two_rounds_of_the_budget_hold(budget_s, trial_s, default, candidates):
    rules = replace(RULES, budget_s=budget_s, trial_s=trial_s, default=default)
    assert rules.candidates == candidates
    [first, *_] = orders(finished(rules, lambda turn: 100.0 / (1 + turn.position)))
    assert len(first) == candidates + (default is not None)


def test_it_goes_on_from_wherever_it_was_interrupted():
    whole = finished(RULES, exact)
    for cut in range(len(whole)):
        assert finished(RULES, exact, whole[:cut]) == whole


def test_a_round_of_an_earlier_version_that_was_killed_is_not_completed_after_the_pause():
    """What was measured yesterday is not side by side with what is measured today."""
    trials = [record(1, 1, 100.0), record(2, 2, 80.0)]  # and number 3 was killed
    while (turn := RULES.turn(trials)) is not None:
        trials.append(record(trials[-1].number + (2 if len(trials) == 2 else 1), turn.position, exact(turn)))
    assert orders(trials) == [[1, 2], [3, 0, 2, 1], [1, 2, 3, 0]]
    assert compared(trials, GOAL, 0).recommended.position == 1


def test_a_round_is_cut_off_as_long_as_it_lacks_one_that_is_still_in_it():
    whole = finished(RULES, exact)
    for cut in range(len(whole) + 1):
        assert RULES.cut_off(whole[:cut]) == tuple(whole[cut - cut % 4 : cut])
    # Who is out is not waited for, and the next best, who comes in for it, is.
    rules = replace(RULES, budget_s=1.0)
    trials = finished(rules, lambda turn: None if turn.position == 1 else exact(turn))
    assert orders(trials) == [[1, 2, 0], [0, 2]]
    assert [len(rules.cut_off(trials[:cut])) for cut in range(6)] == [0, 1, 2, 0, 1, 0]


def test_who_breaks_a_limit_twice_or_cannot_run_leaves():
    def measured(turn: Turn) -> float | None:
        return {1: -100.0, 2: None}.get(turn.position, 40.0 + turn.round % 2 * turn.position)

    trials = finished(RULES, measured)
    assert orders(trials)[:3] == [[1, 2, 3, 0], [0, 3, 1], [3, 0]]


def test_a_limit_broken_once_is_decided_by_a_third_round_even_beyond_the_budget():
    rules = replace(RULES, budget_s=1.0)

    def lucky(turn: Turn) -> float:
        return exact(turn) * (-1 if turn == Turn(1, 2) else 1)

    trials = finished(rules, lucky)
    assert orders(trials) == [[1, 0], [0, 1], [1, 0]]
    assert compared(trials, GOAL, 0).recommended.position == 1


def test_the_next_best_takes_the_place_of_the_last_that_is_out():
    rules = replace(RULES, budget_s=1.0)
    trials = finished(rules, lambda turn: None if turn.position == 1 else exact(turn))
    assert orders(trials) == [[1, 2, 0], [0, 2]]
    # Three in any case; more only while the budget lasts.
    assert orders(finished(rules, lambda turn: None if turn.position else 50.0)) == [[1, 2, 3, 0], [0]]
    rich = finished(RULES, lambda turn: None if turn.position else 50.0)
    assert orders(rich) == [[1, 2, 3, 4, 5, 0], [0]]


def test_without_a_default_or_without_candidates_who_is_there_is_measured():
    assert orders(finished(replace(RULES, default=None), exact)) == [[1, 2, 3], [3, 2, 1]]
    # Alone, the only question is whether it keeps its limits.
    assert orders(finished(replace(RULES, ranking=()), exact)) == [[0], [0]]
    assert finished(replace(RULES, ranking=(), default=None), exact) == []
    # The default needs no second place.
    assert orders(finished(replace(RULES, ranking=(0, 1, 2, 3)), exact))[0] == [1, 2, 3, 0]


def test_every_comparison_ends_whatever_breaks():
    rng = np.random.default_rng(5)
    for _ in range(60):
        rules = replace(RULES, budget_s=float(rng.choice([1.0, 100.0, 1e6])), default=rng.choice([0, None]))
        trials = finished(rules, lambda turn: rng.choice([None, -50.0, 50.0, 60.0, 70.0], p=[0.1, 0.3, 0.2, 0.2, 0.2]))
        comparison = compared(trials, GOAL, rules.default)
        runners = [c for c in comparison.contestants if not c.out]
        assert all(len(c.trials) >= 2 for c in runners)


def test_a_trial_of_the_search_says_what_a_measurement_takes():
    trials = [record(i, i, rps, seconds, "search") for i, (rps, seconds) in enumerate([(1, 5), (1, 9), (None, 99)])]
    assert usual_seconds(trials) == 7
    assert usual_seconds([*trials, record(9, 9, 1.0, 500.0), record(10, 10, -1.0, 500.0, "search")]) == 7
    assert usual_seconds([*trials, record(9, 9, 1.0, 100.0, "search")]) == 9
    assert usual_seconds([]) == 0


def test_bad_times_are_refused():
    times: list[dict[str, Any]] = [{"budget_s": -1.0}, {"trial_s": -1.0}, {"budget_s": math.nan}]
    for bad in times:
        with pytest.raises(ValueError, match="seconds of 0 or more"):
            replace(RULES, **bad)
    assert replace(RULES, budget_s=0.0, trial_s=0.0).candidates == 3


def test_the_next_best_comes_in_one_by_one_also_in_a_round_that_goes_back():
    rules = replace(RULES, budget_s=1.0)
    trials = finished(rules, lambda turn: None if turn == Turn(1, 2) else exact(turn))
    assert orders(trials) == [[1, 0], [0, 1, 2], [2, 0]]
    # Beyond three, another comes in only while there is time: 30 s are just spent when the third is out.
    hopeless = finished(replace(RULES, budget_s=30.0, default=None), lambda turn: None)
    assert orders(hopeless) == [[1, 2, 3]]
    assert orders(finished(replace(RULES, budget_s=30.1, default=None), lambda turn: None)) == [[1, 2, 3, 4]]


def test_what_the_search_took_is_not_taken_from_the_comparison():
    search = [record(i, i, 100.0, 1e9, "search") for i in range(6)]
    later = finished(RULES, lambda turn: exact(turn), search)
    assert orders(later) == [[1, 2, 3, 0], [0, 3, 2, 1]]


def test_a_round_begins_only_if_those_still_in_it_fit_into_the_time_left():
    def dying(turn: Turn) -> float | None:
        return None if turn == Turn(3, 1) else wavering_rps[turn.position] * (1.1 if turn.round % 2 else 1 / 1.1)

    wavering_rps = {0: 100.0, 1: 100.0, 2: 99.0, 3: 90.0}
    # 4 + 3 measurements of 10 s are done, and three more would be 100 s.
    assert [len(r) for r in orders(finished(replace(RULES, budget_s=100.0), dying))] == [4, 3, 3]
    assert [len(r) for r in orders(finished(replace(RULES, budget_s=99.9), dying))] == [4, 3]


def test_while_one_may_still_turn_out_to_keep_its_limits_nothing_is_over():
    """Configuration 2 broke its limit in one of two rounds, and the others are told apart long since."""
    trials = finished(RULES, lambda turn: exact(turn) * (-1 if turn == Turn(2, 1) else 1))
    assert orders(trials) == [[1, 2, 3, 0], [0, 3, 2, 1], [1, 2, 3, 0]]
    assert [c.position for c in compared(trials, GOAL, 0).counting] == [1, 2, 3, 0]
    # The default alone keeps nobody waiting for ever: with no time left two rounds are enough.
    poor = finished(replace(RULES, budget_s=1.0), lambda turn: exact(turn) * (-1 if turn == Turn(0, 1) else 1))
    assert orders(poor) == [[1, 0], [0, 1]]


def test_the_whole_rule_is_right_as_often_as_it_says():
    """The machine's speed wanders by a factor of two; stopping as soon as it is clear must not cost the confidence.

    A mistake is: the true best is not among those like the first, or the interval to the default misses the truth.
    """
    rng, mistakes, slips, tries = np.random.default_rng(11), 0, 0, 100
    true = {0: 60.0, 1: 95.0, 2: 100.0, 3: 90.0}
    for _ in range(tries):
        log_speed, drift = 0.0, 0.0

        def measured(turn: Turn) -> float:
            nonlocal log_speed, drift
            drift = 0.9 * drift + 0.01 * rng.standard_normal()
            log_speed += drift
            return true[turn.position] * math.exp(log_speed + 0.03 * rng.standard_normal())

        comparison = compared(finished(RULES, measured), GOAL, 0)
        mistakes += 2 not in [c.position for c in comparison.alike]
        slips += not comparison.ratio(comparison.of(2), comparison.of(0)).contains(100 / 60)
    assert mistakes / tries <= 0.05
    assert slips / tries <= 0.05
