"""Where the answer changes: by hand on levels whose every number is given, and in virtual time where truth is known."""

from dataclasses import replace

import numpy as np
import pytest

from cluster.prices import load_prices
from raytune_infer.ranking.other_objective import changed
from raytune_infer.ranking.recommendation import RunConditions, rank, recommend
from raytune_infer.report.chart import Quantity
from raytune_infer.report.whole.moving.sensitivity import Moved, sensitivity_view, words
from raytune_infer.report.whole.moving.turning_points import FARTHEST, UNSEEN, Other, Turn, turn
from raytune_infer.report.whole.run_facts import read_facts
from raytune_infer.report.words.values import spelled
from searchers.objective import Expression, Objective
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
    assert found.other is not None and found.other.config == CHEAP and found.other.end is None
    assert found.other.start == pytest.approx(0.6 / 1.0285, rel=0.011)
    assert turn(by_price, 1.0, FAST, upwards=True) is None


def test_below_all_that_was_measured_nothing_is_known():
    def at(limit_ms):
        return ranked(trial(1, 0, level(100, 50), level(50, 20)), p99_ms=limit_ms)

    found = turn(at, 100.0, FAST, upwards=False)
    assert found is not None and found.sure_until == pytest.approx(20, rel=0.011) and found.sure_until >= 20
    assert found.at == pytest.approx(20, rel=0.011) and found.then is None and found.other is None


def test_a_turn_has_its_numbers_in_order():
    assert Turn(1.0, 2.0, None, Other(3.0, None, None)) and Turn(3.0, 2.0, None, Other(2.0, 1.0, None))
    with pytest.raises(ValueError, match="in order"):
        Turn(2.0, 1.0, None, Other(3.0, None, None))


def test_a_sentence_for_each_direction_says_what_is_sure_and_what_is_not_known():
    surely = Other(70.0, 40.0, {"a": 2})
    moved = Moved("p99_ms", "ms", "limit", 100.0, Turn(90.0, 83.0, {"a": 1}, surely), Turn(110.0, 120.0, None))
    assert words(moved) == (
        "If the bound of p99_ms (now 100 ms) falls, the answer is the same for sure down to 90 ms; at 83 ms "
        "`recommend` names a=1; from 70 ms down to 40 ms a=2 surely is better. If it rises, it is so up to 110 ms; at "
        "120 ms `recommend` names nothing, as no rate surely keeps the limits, and what is best above that these "
        "measurements do not tell."
    )
    still = replace(moved, down=None, up=None)
    assert words(still) == (
        "The answer is the same for sure wherever the bound of p99_ms (now 100 ms) is within 8 times that."
    )
    unsure = replace(still, up=Turn(100.0))
    assert words(unsure) == (
        "If the bound of p99_ms (now 100 ms) falls, the answer is the same for sure down to 12.5 ms, the farthest that "
        "was looked at. If it rises, it is so at no other number; above that these measurements do not tell, but "
        "`recommend` names the same up to 800 ms, the farthest that was looked at."
    )
    none = replace(still, down=Turn(90.0, 83.0, None, Other(83.0, None, None)))
    assert "down to 90 ms; from 83 ms down to 12.5 ms, the farthest that was looked at surely nothing" in words(none)


def test_that_no_level_shows_a_rate_within_a_limit_does_not_mean_that_another_is_better():
    """Of the first only one level is known, whose p99 is 50 ms: under 40 ms it may do nearly as much, or nothing."""

    def at(limit_ms):
        return ranked(trial(1, 0, level(100, 50)), trial(2, 1, level(40, 10), level(50, 200)), p99_ms=limit_ms)

    found = turn(at, 100.0, FAST, upwards=False)
    assert found is not None and found.other is None
    assert found.sure_until == pytest.approx(50, rel=0.02)
    # `recommend` names the other one there, as its rate is known: it would be wrong that the first stays so.
    assert found.at == pytest.approx(50, rel=0.02) and found.then == CHEAP == at(found.at).ranked[0].config


def stretches(found, now, upwards):
    """The stretch in which the answer is the same for sure, and that in which another surely is better, with it."""
    farthest = now * FARTHEST ** (1 if upwards else -1)
    yield now, farthest if found is None else found.sure_until, "same"
    if found is not None and found.other is not None:
        yield found.other.start, found.other.end or farthest, found.other


def names(ask, number, config, ends):
    """Whether the ranking names a configuration at a number, or beside it: what is shorter than a step is not seen."""
    near = [at for at in (number, number / UNSEEN, number * UNSEEN) if min(ends) <= at <= max(ends)]
    return any((None if (best := ask(float(at)).best) is None else best.config) == config for at in near)


def check_never_contradicts(ask, now, config):
    """Whatever is said of a number, the ranking at that number says the same; returns of how many what was said."""
    said = {"same": 0, "other": 0}
    for upwards in (False, True):
        for start, end, what in stretches(turn(ask, now, config, upwards=upwards), now, upwards):
            for number in np.geomspace(start, end, 6):
                wanted = config if what == "same" else what.config
                assert names(ask, number, wanted, (start, end)), (number, what, start, end)
                said["same" if what == "same" else "other"] += 1
    return said


def random_trials(rng):
    """Three configurations: the faster one is, the later its first answer. All p99 are quarters of octaves apart."""
    trials = []
    for at, fastest_rps in enumerate(rng.permutation([50.0, 150.0, 400.0])):
        rates = np.geomspace(4, rng.uniform(0.5, 1) * fastest_rps, rng.integers(6, 11))
        first = round(4 * np.log2(fastest_rps / 50)) + rng.integers(0, 4)
        p99_ms = 6.25 * 2 ** ((first + np.cumsum(rng.integers(0, 4, rates.size))) / 4)
        known = [level(float(r), float(ms), completed=1000) for r, ms in zip(rates, p99_ms, strict=True)]
        kept = max(0, int(np.searchsorted(p99_ms, 100.0, side="right")) - 1)
        trials.append(trial(at + 1, at, *known, rps=float(rates[kept]), reported=kept))
    return trials


def test_nothing_that_is_said_of_a_limit_contradicts_recommend():
    said = {"same": 0, "other": 0}
    for seed in range(8):
        rng = np.random.default_rng(seed)
        trials, default = random_trials(rng), int(rng.integers(3))

        def at(limit_ms, trials=trials, default=default):
            asked = Objective(Expression("rps"), False, {"p99_ms": limit_ms}, {})
            return rank(trials, asked, RunConditions({"p99_ms": 100.0}, 0.1, size=8, default=default))

        if (best := at(100.0).best) is not None:
            for what, count in check_never_contradicts(at, 100.0, best.config).items():
                said[what] += count
    assert min(said.values()) > 5  # of either kind something was said


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
    assert found.other is None or found.other.config == CONFIGS[1]
    far = 0.0 if found.other is None else found.other.start
    # The truth is between the two ends: at each, the other one is worth more.
    values = {at: [true_rate(c, at) / price for c, price in zip(CONFIGS, usd, strict=True)]
              for at in (found.sure_until, far) if at}  # fmt: skip
    assert values[found.sure_until][0] > values[found.sure_until][1]
    assert not far or values[far][0] < values[far][1]


def test_what_is_said_of_a_run_is_what_recommend_says_of_it(tmp_path):
    run = write_run(tmp_path / "run", SPEC + "prices: morphling-2021\n", configs=CONFIGS)
    facts = read_facts(run)
    assert facts.best is not None

    def ask(limit_ms):
        return facts.asked(changed(facts.objective, limits={"p99_ms": limit_ms}))

    assert check_never_contradicts(ask, 100.0, facts.best.config)["same"]
    found = turn(ask, 100.0, facts.best.config, upwards=False)
    assert found is not None and found.at is not None
    for number, config in ((found.sure_until, facts.best.config), (found.at, found.then)):
        best = recommend(run, limits={"p99_ms": number}).best
        assert (None if best is None else best.config) == config


def test_a_default_that_is_kept_as_nothing_is_surely_better_is_said_to_be(tmp_path):
    text = SPEC.replace("cpu_cores: [1, 2]", "cpu_cores: [1]").replace("[1, 4, 16]", "[1, 4]")
    alike = measured({"cpu_cores": 1, "max_batch_size": 1}, {"p99_ms": 100})
    configs = [{"cpu_cores": 1, "max_batch_size": size} for size in (1, 4)]
    run = write_run(tmp_path / "run", text, configs=configs, again=configs * 2, measure=lambda *_: alike)
    first = sensitivity_view(read_facts(run)).notes[0].text
    assert first.startswith("The default is kept, as nothing is surely better than it")


def test_of_prices_that_the_goal_does_not_name_it_is_said_that_they_change_nothing(tmp_path):
    text = SPEC.replace("rps / usd_per_hour", "rps") + "prices: morphling-2021\n"
    view = sensitivity_view(read_facts(write_run(tmp_path / "run", text)))
    assert any("do not name them" in note.text for note in view.notes)
    assert [row.cells[0] for row in view.tables[0].rows] == ["p99_ms"]


@pytest.fixture(scope="module")
def priced_run(tmp_path_factory):
    """Its answer has two cores, which are 1.5 times as fast as one, and may cost three times what a core costs now."""
    usd = 3 * load_prices("cloud-2026").cpu_core_usd_per_hour
    text = SPEC.replace("rps / usd_per_hour", "rps").replace("p99_ms: 100", f"p99_ms: 100, usd_per_hour: {usd}")
    return write_run(
        tmp_path_factory.mktemp("runs") / "run", text + "prices: cloud-2026\n", configs=PRICED, again=PRICED * 3
    )


PRICED: list[Config] = [{"cpu_cores": cores, "max_batch_size": 16} for cores in (1, 2)]


def test_a_price_turns_the_answer_where_recommend_says_that_it_does(priced_run):
    view = sensitivity_view(read_facts(priced_run))
    [row] = [row.cells for row in view.tables[0].rows if row.cells[0] == "the price of a core"]
    told = dict(zip((column.name for column in view.tables[0].columns), row, strict=True))
    book = load_prices("cloud-2026")
    now = book.cpu_core_usd_per_hour
    assert told["now"] == now and told["falls_to"] is None and told["then_below"] == "the same"
    assert isinstance(told["rises_to"], Quantity) and told["rises_to"].value == pytest.approx(1.5 * now, rel=3e-4)
    assert told["then_above"] == spelled(PRICED[0])

    def named(usd):
        best = recommend(priced_run, prices=replace(book, cpu_core_usd_per_hour=usd)).best
        return None if best is None else best.config

    ends = told["sure_down_to"], now, told["sure_up_to"], told["rises_to"].value
    assert [named(usd) for usd in ends] == [PRICED[1]] * 3 + [PRICED[0]]
