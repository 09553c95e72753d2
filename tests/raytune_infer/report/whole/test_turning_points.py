"""Where the answer changes: by hand on levels whose every number is given, and in virtual time where truth is known."""

from dataclasses import replace

import pytest

from cluster.prices import load_prices
from raytune_infer.ranking.other_objective import changed
from raytune_infer.report.whole.run_facts import read_facts
from raytune_infer.report.whole.sensitivity import Moved, sensitivity_view, words
from raytune_infer.report.whole.turning_points import Turn, turn
from searchers.space import Config
from serve_deployments.measuring.plan import LoadPlan
from tests.raytune_infer.ranking.measured_runs import SPEC, measured, write_run
from tests.raytune_infer.ranking.ranked_trials import level, ranked, trial

FAST: Config = {"max_batch_size": 1}
CHEAP: Config = {"max_batch_size": 2}


def by_price(usd):
    """Of 100 ± 2 requests/s at 1 USD, and of 60 ± 1.2 at that price: they are even at 0.6 USD."""
    return ranked(
        trial(1, 0, level(100, 50), usd=1.0, interval_rps=(98.0, 102.0), reported=0),
        trial(2, 1, level(60, 50), usd=usd, interval_rps=(58.8, 61.2), reported=0),
        goal="rps / usd_per_hour", p99_ms=100.0,
    )  # fmt: skip


def test_a_price_turns_the_answer_where_both_are_worth_the_same():
    found = turn(by_price, 1.0, FAST, upwards=False)
    assert found is not None and found.then == CHEAP
    assert found.at == pytest.approx(0.6, rel=0.011)
    # Each interval is 2 %, so the ratio's is sqrt(2) times that: the two are told apart beyond 2.8 % from 0.6.
    assert found.sure_until == pytest.approx(0.6 * 1.0285, rel=0.011)
    assert found.other_from == pytest.approx(0.6 / 1.0285, rel=0.011)
    assert turn(by_price, 1.0, FAST, upwards=True) is None


def test_one_that_was_ahead_all_along_changes_nothing_unless_it_is_surely_better():
    """The second is 1 % ahead, by luck as the final comparison has found: its price must fall until that is sure."""
    found = turn(by_price, 0.594, FAST, upwards=False)
    assert found is None or found.at < 0.594 / 1.02


def test_below_all_that_was_measured_nothing_is_known():
    def at(limit_ms):
        return ranked(trial(1, 0, level(100, 50), level(50, 20)), p99_ms=limit_ms)

    found = turn(at, 100.0, FAST, upwards=False)
    assert found is not None and found.at is None and found.sure_until == pytest.approx(20, rel=0.02)


def test_a_turn_has_its_numbers_in_order():
    assert Turn(2.0, 1.0, 3.0, None) and Turn(2.0, 3.0, 1.0, None) and Turn(2.0, 2.0, None, None)
    with pytest.raises(ValueError, match="in order"):
        Turn(1.0, 2.0, 3.0, None)


def test_a_sentence_says_where_and_how_sure():
    moved = Moved("p99_ms", "ms", "limit", 100.0, Turn(83.0, 90.0, 70.0, {"a": 1}), Turn(120.0, 110.0, None, None))
    assert words(moved) == (
        "The recommended configuration stays first while the bound of p99_ms is above 83 ms (sure up to 90, another "
        "surely from 70), then a=1; and below 120 ms (sure up to 110, not surely even there), then nothing that was "
        "measured counts (now 100 ms)."
    )
    still = replace(moved, down=None, up=None)
    assert words(still) == (
        "The recommended configuration stays first wherever the bound of p99_ms is within 8 times that (now 100 ms)."
    )
    unsure = replace(still, up=Turn(None, 130.0, None, None))
    assert words(unsure).endswith("; above 130 ms the measurements do not tell for sure (now 100 ms).")


def test_that_no_level_shows_a_rate_within_a_limit_does_not_mean_that_another_is_better():
    """Of the first only one level is known, whose p99 is 50 ms: under 40 ms it may do nearly as much, or nothing."""

    def at(limit_ms):
        return ranked(trial(1, 0, level(100, 50)), trial(2, 1, level(20, 10), level(25, 200)), p99_ms=limit_ms)

    found = turn(at, 100.0, FAST, upwards=False)
    assert found is not None and found.at is None and found.other_from is None
    assert found.sure_until == pytest.approx(50, rel=0.02)


# In virtual time: batches of 16 take 42 ms and do 381 items a second, single requests 12 ms and 83 a second.

CONFIGS: list[Config] = [{"cpu_cores": 1, "max_batch_size": 16}, {"cpu_cores": 2, "max_batch_size": 1}]
LONG = LoadPlan(max_concurrency=128, level_max_s=60, total_max_s=600)


def true_rate(config, limit_ms):
    """The rate that a load test of ten times the length finds under this very limit."""
    outcome = measured(config, {"p99_ms": limit_ms}, plan=LONG)
    return (outcome.metrics or {}).get("rps", 0.0)


def test_where_a_limit_turns_the_answer_is_where_it_truly_does(tmp_path):
    """Batches of one core are worth more per USD while the limit leaves them time; below it, single requests are."""
    run = write_run(tmp_path / "run", SPEC + "prices: morphling-2021\n", configs=CONFIGS, again=CONFIGS * 3)
    facts = read_facts(run)
    assert facts.best is not None and facts.best.config == CONFIGS[0]
    usd = [t.usd_per_hour for t in facts.trials[:2]]

    def ask(limit_ms):
        return facts.asked(changed(facts.objective, limits={"p99_ms": limit_ms}))

    found = turn(ask, 100.0, CONFIGS[0], upwards=False)
    assert found is not None
    far = found.other_from or 0.0
    # The truth is between the two ends: at each, the other one is worth more.
    values = {at: [true_rate(c, at) / price for c, price in zip(CONFIGS, usd, strict=True)]
              for at in (found.sure_until, far) if at}  # fmt: skip
    assert values[found.sure_until][0] > values[found.sure_until][1]
    assert not far or values[far][0] < values[far][1]


def test_of_prices_that_the_goal_does_not_name_it_is_said_that_they_change_nothing(tmp_path):
    text = SPEC.replace("rps / usd_per_hour", "rps") + "prices: morphling-2021\n"
    view = sensitivity_view(read_facts(write_run(tmp_path / "run", text)))
    assert any("do not name them" in note.text for note in view.notes)
    assert [row.cells[0] for row in view.tables[0].rows] == ["p99_ms"]


def test_a_price_turns_the_answer_where_recommend_says_that_it_does(tmp_path):
    run = write_run(tmp_path / "run", SPEC + "prices: cloud-2026\n", configs=CONFIGS, again=CONFIGS * 3)
    view = sensitivity_view(read_facts(run))
    table = view.tables[0]
    by_what = {row.cells[0]: row.cells for row in table.rows}
    price = by_what.get("the price of a core")
    assert price is not None, [note.text for note in view.notes]
    assert load_prices("cloud-2026").cpu_core_usd_per_hour == price[2]
