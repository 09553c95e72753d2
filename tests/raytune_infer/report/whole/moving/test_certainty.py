"""What is sure of a bound on a rate that is known within its interval, and of prices, by hand."""

from dataclasses import replace

import pytest

from raytune_infer.ranking.recommendation import RunConditions, rank
from raytune_infer.report.whole.moving.certainty import counts_for_sure, is_worse, may_count
from raytune_infer.report.whole.moving.price_places import places
from raytune_infer.report.whole.moving.turning_points import turn
from searchers.objective import Expression, Objective
from searchers.space import Config
from tests.raytune_infer.ranking.ranked_trials import level, ranked, trial

FAST: Config = {"max_batch_size": 1}
SLOW: Config = {"max_batch_size": 2}


def of_two(**bounds):
    """Of 100 requests/s, known within 2 %, and of 60, known within 10 %."""
    return ranked(
        trial(1, 0, level(100, 50), interval_rps=(98.0, 102.0), reported=0),
        trial(2, 1, level(60, 50), interval_rps=(54.0, 66.0), reported=0),
        p99_ms=100.0, **bounds,
    )  # fmt: skip


def test_a_load_is_surely_carried_up_to_the_lower_end_of_the_rate_and_surely_not_above_the_upper_one():
    found = turn(lambda rps: of_two(at_least={"rps": rps}), 50.0, FAST, upwards=True)
    assert found is not None and found.then is None
    assert found.sure_until == pytest.approx(98, rel=0.011) and found.sure_until <= 98
    assert found.at == pytest.approx(100, rel=0.011)
    assert found.other is not None and found.other.config is None
    assert found.other.start == pytest.approx(102, rel=0.011) and found.other.start >= 102


@pytest.mark.parametrize(("rps", "surely", "maybe"), [(53, True, True), (56, False, True), (63, False, True),
                                                      (67, False, False)])  # fmt: skip
def test_who_counts_at_one_end_of_its_interval_may_count(rps, surely, maybe):
    found = of_two(at_least={"rps": rps})
    [slow] = [r for r in (*found.ranked, *found.others) if r.config == SLOW]
    assert (counts_for_sure(found, slow), may_count(found, slow)) == (surely, maybe)


def test_one_that_may_break_a_bound_is_not_surely_better():
    """The fast one keeps 99 requests/s at its own rate alone: at the lower end of the interval nothing counts."""
    found = of_two(at_least={"rps": 99})
    [slow] = [r for r in found.others if r.config == SLOW]
    assert found.best is not None and found.best.config == FAST and not is_worse(found, slow, FAST)


def test_the_most_that_another_could_be_is_compared_with_the_lower_end_of_the_interval():
    """It is known to 95 requests/s at most, and the first to 98 at least; or, less precisely, to 90."""
    for low, surely in ((98.0, True), (90.0, False)):
        found = ranked(
            trial(1, 0, level(100, 50), interval_rps=(low, 110.0), reported=0),
            trial(2, 1, level(95, 500)), p99_ms=100.0,
        )  # fmt: skip
        [other] = found.others
        assert is_worse(found, other, FAST) == surely


def by_core(usd, *, goal="rps / usd_per_hour", **bounds):
    """Of 100 ± 2 requests/s with one core and 1 USD beside it, and of 180 ± 3.6 with three."""
    objective = Objective(Expression(goal), "/ rps" in goal, {"p99_ms": 100.0, **bounds})
    trials = [
        trial(1, 0, level(100, 50), usd=cost(FAST, usd), interval_rps=(98.0, 102.0), reported=0),
        trial(2, 1, level(180, 50), usd=cost(SLOW, usd), interval_rps=(176.4, 183.6), reported=0),
    ]
    return rank(trials, objective, RunConditions({"p99_ms": 100.0}, 0.1, size=2))


def cost(config, usd):
    return 1.0 + usd * (1 if config == FAST else 3)


@pytest.mark.parametrize("goal", ["rps / usd_per_hour", "usd_per_hour / rps", "rps ** 2 / usd_per_hour ** 2"])
def test_the_price_at_which_two_are_worth_the_same_is_computed_and_looked_at_alone(goal):
    """100 / (1 + p) = 180 / (1 + 3 p) at p = 2 / 3. The logarithms of the rates are known within 2 %, so of the ratio
    within 2.8 %; an exact answer needs a few rankings, not 32 in each direction."""
    asked = []

    def ask(usd):
        asked.append(usd)
        return by_core(usd, goal=goal)

    at = places(ask(0.5), cost, 0.5, [SLOW])
    found = turn(ask, 0.5, SLOW, upwards=True, places=at)
    assert found is not None and found.at == pytest.approx(2 / 3, rel=3e-4)
    assert found.then == FAST and found.other is not None and found.other.config == FAST
    # Where 1.8 (1 + p) / (1 + 3 p) is the ratio at which the two are told apart, by hand for a half-width of 2.85 %.
    if goal == "rps / usd_per_hour":
        ratio = 1.0287
        assert found.sure_until == pytest.approx((1.8 - ratio) / (3 * ratio - 1.8), rel=0.003)
        assert found.other.start == pytest.approx((1.8 * ratio - 1) / (3 - 1.8 * ratio), rel=0.003)
    assert turn(ask, 0.5, SLOW, upwards=False, places=at) is None
    assert len(set(asked)) <= 10


def test_a_bound_on_the_price_is_met_where_a_replica_costs_as_much():
    """Three cores beside 1 USD cost 2.8 USD at 0.6 a core."""
    at = places(by_core(0.5, usd_per_hour=2.8), cost, 0.5, [SLOW])
    found = turn(lambda usd: by_core(usd, usd_per_hour=2.8), 0.5, SLOW, upwards=True, places=at)
    assert found is not None and found.at == pytest.approx(0.6, rel=3e-4) and found.then == FAST


def test_of_a_goal_that_is_no_power_of_the_price_nothing_is_computed():
    found = by_core(0.5)
    odd = replace(found, objective=Objective(Expression("rps / (1 + usd_per_hour)")))
    assert places(odd, cost, 0.5, [SLOW]) is None
