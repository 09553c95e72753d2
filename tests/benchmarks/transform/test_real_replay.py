"""What the simulation is asked for beside a real replica, computed by hand."""

from benchmarks.transform.real_replay import costs_of, simulated_minutes
from benchmarks.transform.replay.outcome import Outcome
from benchmarks.transform.traces.invocations import Arrival


def test_a_warm_replica_converts_where_the_other_model_comes():
    arrivals = [Arrival(0.0, "two"), Arrival(10.0, "one"), Arrival(10.5, "one"), Arrival(20.0, "two")]
    served = simulated_minutes(arrivals, {"one": 2.0, "two": 3.0}, {"one": 1.0, "two": 1.0})
    # two is held; one: 2 + 1, done at 13; then 2.5 s of waiting + 1; two: 3 + 1
    assert [round(each.service_s, 9) for each in served[1:]] == [1.0, 3.0, 3.5, 4.0]
    outcome = Outcome.of(served, from_s=0.0)
    assert (outcome.hits, outcome.conversions, outcome.cold_starts) == (2, 2, 0)


def test_costs_are_means_of_all_measurements_and_a_conversion_is_what_an_answer_is_not():
    before = {("switched", m): [4.0, 6.0] for m in ("one", "two")} | {("again", m): [1.0, 1.0] for m in ("one", "two")}
    after = {("switched", m): [8.0, 6.0] for m in ("one", "two")} | {("again", m): [2.0, 4.0] for m in ("one", "two")}
    assert costs_of([before, after]) == ({"one": 4.0, "two": 4.0}, {"one": 2.0, "two": 2.0})
