"""What is ranked first under another objective and why, on levels written by hand: fast, and to the number."""

import math

import pytest

from cluster.prices import load_prices
from raytune_infer.errors import UserError
from raytune_infer.ranking import known_rates
from raytune_infer.ranking.recommendation import RunConditions, rank
from raytune_infer.store.records import Outcome, TrialRecord
from searchers.objective import Expression, Objective
from serve_deployments.load.arrivals import POISSON
from tests.levels import a_level
from tests.raytune_infer.ranking.ranked_trials import level, ranked, trial

A = trial(1, 0, level(100, 10), level(105, 60), usd=1.0)
B = trial(2, 1, level(300, 10), level(310, 60), usd=4.0)
C = trial(3, 2, level(200, 10), level(210, 60), usd=1.5)


def numbers(found) -> list[tuple[int, ...]]:
    return [r.trials for r in found]


@pytest.mark.parametrize(
    ("goal", "minimize", "order"),
    [
        ("rps", False, [2, 3, 1]),
        ("rps", True, [1, 3, 2]),
        ("rps / usd_per_hour", False, [3, 1, 2]),
        ("usd_per_hour / rps", True, [3, 1, 2]),
        ("usd_per_hour", True, [1, 3, 2]),
        ("usd_per_hour", False, [2, 3, 1]),
    ],
)
def test_the_first_is_the_best_in_the_goals_own_direction(goal, minimize, order):
    for trials in ((A, B, C), (C, B, A)):
        found = ranked(*trials, goal=goal, minimize=minimize, p99_ms=50)
        assert numbers(found.ranked) == [(n,) for n in order] and found.best.trials == (order[0],)
        assert not found.others and not found.needed
    figures = {1: (100, 1.0), 2: (300, 4.0), 3: (200, 1.5)}
    for r in found.ranked:
        rps, usd = figures[r.trials[0]]
        assert r.figure == pytest.approx(Expression(goal)({"rps": rps, "usd_per_hour": usd}))
        assert r.value == pytest.approx(1 / r.figure if minimize else r.figure)


def test_prices_all_in_another_unit_change_no_order():
    def at(factor):
        trials = (trial(n, n, level(rps, 10), level(1.05 * rps, 60), usd=usd * factor)
                  for n, rps, usd in ((1, 100, 1.0), (2, 300, 4.0), (3, 200, 1.5)))  # fmt: skip
        return ranked(*trials, goal="rps / usd_per_hour", p99_ms=50)

    assert numbers(at(1).ranked) == numbers(at(100).ranked) == numbers(at(0.01).ranked)


def test_a_bound_from_below_and_one_from_above_leave_out_opposite_ones():
    demanding = ranked(A, B, C, at_least={"rps": 200.0}, p99_ms=50)
    assert numbers(demanding.ranked) == [(2,), (3,)] and numbers(demanding.others) == [(1,)]
    cheap = ranked(A, B, C, p99_ms=50, usd_per_hour=1.5)
    assert numbers(cheap.ranked) == [(3,), (1,)] and numbers(cheap.others) == [(2,)]


def test_a_rate_is_that_of_the_highest_level_within_the_limit_and_never_between_levels():
    found = ranked(trial(1, 0, level(100, 10), level(200, 60)), p99_ms=50)
    best = found.best
    assert (best.figure, best.value, best.known.at_most_rps) == (100, 100, 200)
    assert 100 < best.known.estimate_rps < 200 and best.could_be == 200
    assert [at.rate_rps for at in best.levels] == [100, 200]
    assert ranked(trial(1, 0, level(100, 10), level(200, 50)), p99_ms=50).best.figure == 200  # just kept


def test_a_measurement_of_the_comparison_that_broke_the_limit_counts_too():
    """The search kept the limit at 300, the comparison broke it there and below: what was lucky is not recommended."""
    lucky = trial(1, 0, level(300, 40))
    again = [trial(n, 0, level(300 + n, 70), level(250 + n, 60), purpose="final") for n in (4, 5)]
    found = ranked(lucky, *again, C, p99_ms=50)
    assert numbers(found.ranked) == [(3,)] and numbers(found.others) == [(1, 4, 5)]
    assert found.others[0].known.contradicted == 1


def test_what_it_could_be_is_by_the_highest_rate_that_is_open_and_the_limits_at_their_edge():
    found = ranked(
        trial(1, 0, level(100, 10), level(200, 60), usd=2.0), trial(2, 1, level(90, 80), usd=1.0),
        goal="rps / usd_per_hour", p99_ms=50,
    )  # fmt: skip
    first, other = found.best, found.others[0]
    assert (first.value, first.could_be) == (50, 100)
    assert (other.value, other.could_be) == (None, 90) and math.isnan(other.figure)
    assert numbers(found.needed) == [(2,)]
    # Of a latency to make little of, the best that is known stands, and at the limit where nothing is.
    found = ranked(trial(1, 0, level(100, 10), level(200, 60)), trial(2, 1, level(90, 80)), goal="p99_ms",
                   minimize=True, p99_ms=50)  # fmt: skip
    assert found.best.could_be == pytest.approx(1 / 10) and found.others[0].could_be == pytest.approx(1 / 50)
    assert not found.needed  # 50 ms would not beat 10


def test_less_load_may_serve_a_goal_better_than_more():
    """Of a goal to minimise the best that could be is at the lowest rate that is open, not at the highest."""
    found = ranked(trial(1, 0, level(100, 10), level(200, 60)), trial(2, 1, level(400, 30), level(410, 60)),
                   goal="rps", minimize=True, p99_ms=50)  # fmt: skip
    assert found.best.trials == (1,) and found.best.could_be == pytest.approx(1 / 100)


def test_where_a_limit_is_kept_no_lower_percentile_is_above_it():
    """The p50 was 80 ms beside a p99 of 90: where the p99 is at most 50, the p50 could be 50 too, and not 80."""
    found = ranked(A, trial(2, 1, level(300, 90, p50_ms=80)), goal="p50_ms", minimize=True, p99_ms=50)
    assert found.others[0].could_be == pytest.approx(1 / 50)


def test_nothing_bounds_it_so_it_could_be_anything():
    found = ranked(trial(1, 0, level(100, 10), level(105, 60)), trial(2, 1, level(50, 10)), p99_ms=50)
    assert found.ranked[1].known.at_most_rps == math.inf and found.ranked[1].could_be == 1e9
    assert numbers(found.needed) == [(2,)]


def test_a_new_trial_is_of_use_only_for_what_could_beat_the_first():
    known = trial(1, 0, level(300, 10), level(310, 60))
    even = trial(2, 1, level(100, 10), level(300, 60))  # up to 300: as good, not better
    better = trial(3, 2, level(100, 10), level(301, 60))
    best = trial(4, 3, level(100, 10), level(500, 60))
    found = ranked(known, even, better, best, p99_ms=50)
    assert numbers(found.needed) == [(4,), (3,)]
    # The first needs none itself, however open it is.
    assert ranked(trial(1, 0, level(300, 10), level(900, 60)), p99_ms=50).needed == ()


def test_what_is_resolved_is_never_measured_anew():
    dear = trial(1, 0, level(300, 10), level(310, 60), usd=9.0)
    found = ranked(dear, trial(2, 1, level(100, 10), level(400, 60), usd=9.0), p99_ms=50, usd_per_hour=5)
    assert not found.ranked and not found.needed and found.best is None
    assert [r.could_be for r in found.others] == [None, None]


def test_a_rate_known_to_the_precision_is_not_measured_anew_though_it_could_be_a_little_higher():
    close = trial(2, 1, level(100, 10), level(110, 60))  # 10 % apart, the precision of the run
    found = ranked(trial(1, 0, level(105, 10), level(107, 60)), close, p99_ms=50)
    assert found.best.trials == (1,) and found.ranked[1].could_be == 110 and not found.needed
    asked = ranked(close, p99_ms=50, at_least={"rps": 105.0})
    assert asked.others[0].could_be == 110 and not asked.needed


def test_trials_of_one_configuration_are_ranked_once_with_what_failed_of_them():
    died = TrialRecord(4, "final", 0, A.config, 1.0, None, Outcome(None, reason="Died: it did"), 1.0, True)
    never = TrialRecord(5, "search", 6, {}, 1.0, None, Outcome(None, reason="OutOfMemory: 16"), 1.0, False)
    found = ranked(A, C, died, never, p99_ms=50)
    assert numbers(found.ranked) == [(3,), (1,)]
    assert found.ranked[1].failures == {4: "Died: it did"} and found.ranked[0].failures == {}
    assert found.ranked[1].emulated and not found.ranked[0].emulated
    assert found.failed == {5: "OutOfMemory: 16"} and found.untried == 8 - 3
    assert rank([A], Objective(Expression("rps")), RunConditions({}, 0.1)).untried is None


def test_a_price_comes_from_the_book_that_is_named_and_else_from_the_run():
    on = trial(
        1, 0, level(100, 10), level(105, 60), usd=9.0, config={"cpu_cores": 2, "gpu_type": "T4", "gpu_share": 0.5}
    )
    assert ranked(on, p99_ms=50).best.usd_per_hour == 9.0
    book = load_prices("morphling-2021")
    assert ranked(on, p99_ms=50, book=book).best.usd_per_hour == pytest.approx(2 * 0.03375 + 0.5 * 0.48)
    unknown = trial(7, 0, level(100, 10), usd=math.nan)
    assert math.isnan(ranked(unknown, p99_ms=50).best.usd_per_hour)
    for objective in ({"goal": "rps / usd_per_hour"}, {"usd_per_hour": 2.0}):
        with pytest.raises(UserError, match=r"the run has none for trial 7 .*--prices"):
            ranked(unknown, **objective)


def test_a_goal_of_what_was_never_answered_has_no_value():
    silent = a_level(100, values={"p99_ms": 10})
    found = ranked(trial(1, 0, silent), goal="rps / p50_ms")
    assert not found.ranked and math.isnan(found.others[0].figure) and found.others[0].could_be is None


def test_whoever_held_only_clients_is_ranked_by_clients():
    peak = [level(100 * n, 10 * n, clients=n) for n in (1, 2, 4)]
    found = ranked(trial(1, 0, *peak), p99_ms=25)
    assert not found.arrivals and found.best.figure == 200
    assert ranked(A, p99_ms=50).arrivals


@pytest.mark.parametrize(("predicted", "estimate"), [(150.0, 150.0), (20.0, 100.0), (9e9, 200.0), (None, None)])
def test_what_is_predicted_stays_within_what_is_measured(monkeypatch, predicted, estimate):
    monkeypatch.setattr(known_rates, "predicted_rps", lambda trials, at_most, arrivals: predicted)
    # Overloaded above: no latency to interpolate by.
    still_open = trial(1, 0, level(100, 10), level(200, 60, overloaded=True, completed=0))
    found = ranked(still_open, p99_ms=50, arrivals=POISSON)
    assert found.best.known.estimate_rps == estimate and found.best.figure == 100
    assert ranked(still_open, p99_ms=50).best.known.estimate_rps is None  # of unknown arrivals nothing is
    # An interpolation, and what is known, need none.
    assert ranked(trial(1, 0, level(100, 10), level(200, 60)), p99_ms=50, arrivals=POISSON).best.known.estimate_rps == (
        pytest.approx(100 * 2 ** (math.log(5) / math.log(6)))
    )
    assert ranked(A, p99_ms=50, arrivals=POISSON).best.known.estimate_rps is None


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"precision": 0.0}, "above 0, got 0"), ({"precision": math.nan}, "above 0, got nan"), ({"size": 0}, "got 0")],
)
def test_nothing_was_measured_to_no_precision_or_in_no_space(wrong, said):
    with pytest.raises(ValueError, match=said):
        RunConditions(**{"held_under": {}, "precision": 0.1, **wrong})
