"""The simulation: tiny traces computed by hand, and what holds for every policy and trace."""

import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.transform.replay.baselines import ColdReplica, ContainerSharing, LeastRecentlyUsed, ServeMultiplexing
from benchmarks.transform.replay.costs import Costs, ModelCosts, SharedPrices
from benchmarks.transform.replay.outcome import Outcome
from benchmarks.transform.replay.simulation import Cluster, Served, simulate
from benchmarks.transform.replay.systems import systems
from benchmarks.transform.traces.invocations import Arrival
from serve_deployments.replicas.many.choosing.cheapest_conversion import CheapestConversion
from serve_deployments.replicas.many.choosing.state import Choice, Kind

A = ModelCosts("bert", {"trunk": 90, "a": 10}, naive_s=8.0, scratch_s=4.0, skeleton_s=2.0, serve_s=1.0)
B = ModelCosts("bert", {"trunk": 90, "b": 10}, naive_s=8.0, scratch_s=4.0, skeleton_s=2.0, serve_s=1.0)
C = ModelCosts("gpt", {"c": 50}, naive_s=6.0, scratch_s=3.0, skeleton_s=1.5, serve_s=2.0)
COSTS = Costs(process_s=10.0, models={"a": A, "b": B, "c": C})
ONE = Cluster({"n": 1})
TRACE = [Arrival(0.0, "a"), Arrival(100.0, "a"), Arrival(200.0, "b"), Arrival(201.0, "c"), Arrival(300.0, "b")]


def times(policy, sharing, arrivals=TRACE, cluster=ONE, naive=False):
    served = simulate(arrivals, policy, SharedPrices(COSTS, sharing, naive), COSTS.serve_s, cluster)
    return [(each.kind, round(each.service_s, 9), each.bytes_moved) for each in served]


def test_a_cold_replica_pays_for_a_process_each_time():
    # 10 + 4 + 1; a hit; 10 + 4 + 1, done at 215; c waits 14 s for it and then takes 10 + 3 + 2, until 230; b anew.
    assert times(ColdReplica(), "nothing") == [
        ("start", 15.0, 100), ("hit", 1.0, 0), ("start", 15.0, 100), ("start", 29.0, 50), ("start", 15.0, 100),
    ]  # fmt: skip
    assert times(ColdReplica(), "nothing", TRACE[:1], naive=True) == [("start", 19.0, 100)]


def test_tensors_of_other_replicas_on_the_node_are_not_loaded_again():
    # b beside a: 10 + (4 - 2) to make the structure + 2 * 10/100 of the mapping + 1
    two = [Arrival(0.0, "a"), Arrival(100.0, "b")]
    assert times(ColdReplica(), "tensors", two, Cluster({"n": 2})) == [("start", 15.0, 100), ("start", 13.2, 10)]
    assert times(ColdReplica(), "tensors", two, Cluster({"n": 1, "m": 1}))[1] == ("start", 15.0, 100)  # another node
    assert times(ColdReplica(), "tensors", two, ONE)[1] == ("start", 15.0, 100)  # the one that holds them ends


def test_a_process_that_is_shared_saves_its_start():
    assert times(ContainerSharing(60.0), "nothing") == [
        ("start", 15.0, 100), ("hit", 1.0, 0), ("convert", 5.0, 100), ("start", 19.0, 50), ("convert", 5.0, 100),
    ]  # fmt: skip  # c waits 4 s for b to be done, and no replica was idle: 4 + 10 + 3 + 2


def test_a_cached_skeleton_is_used_where_the_process_has_held_its_like():
    assert times(LeastRecentlyUsed(), "skeletons") == [
        ("start", 15.0, 100), ("hit", 1.0, 0), ("convert", 3.0, 100), ("convert", 7.0, 50), ("convert", 3.0, 100),
    ]  # fmt: skip  # c waits 2 s, 3 + 2


def test_a_conversion_moves_what_differs():
    # a to b: 2 * 10/100 + 1, done at 201.2; c: 0.2 + 3 + 2; back to b by the skeleton, as c is another structure.
    assert times(CheapestConversion(60.0), "conversion") == [
        ("start", 15.0, 100), ("hit", 1.0, 0), ("convert", 1.2, 10), ("convert", 5.2, 50), ("convert", 3.0, 100),
    ]  # fmt: skip


def test_multiplexing_waits_for_the_holder_and_gives_up_the_least_recently_used():
    arrivals = [Arrival(0.0, "a"), Arrival(100.0, "b"), Arrival(200.0, "a"), Arrival(300.0, "c"), Arrival(301.0, "a")]
    assert times(ServeMultiplexing(), "nothing", arrivals, Cluster({"n": 1}, slots=2)) == [
        ("start", 15.0, 100), ("convert", 5.0, 100), ("hit", 1.0, 0), ("convert", 5.0, 50), ("hit", 5.0, 0),
    ]  # fmt: skip  # c takes b's place; a waits 4 s


def test_a_request_that_says_how_long_it_takes_takes_that():
    assert times(ColdReplica(), "nothing", [Arrival(0.0, "a", 7.0)]) == [("start", 21.0, 100)]


def test_requests_at_one_moment_queue_or_get_replicas_of_their_own():
    both = [Arrival(0.0, "a"), Arrival(0.0, "a")]
    assert [t for _, t, _ in times(CheapestConversion(), "conversion", both, ONE)] == [15.0, 16.0]
    # A second start would be ready at 14, the first is free at 15.
    assert [k for k, _, _ in times(CheapestConversion(), "conversion", both, Cluster({"n": 2}))] == ["start", "start"]


def test_an_outcome_by_hand():
    kinds: list[Kind] = ["start", "hit", "hit"]
    served = [Served("a", float(t), t + 1.0, t + 1.0 + t, kind, 5, "r") for t, kind in enumerate(kinds)]
    outcome = Outcome.of(served)
    assert outcome.p99_s == pytest.approx(2.98)
    assert replace(outcome, p99_s=0.0) == Outcome(3, 2.0, 0.0, 2, 0, 1, 15)
    assert Outcome.of(served, from_s=1.0).requests == 2
    assert math.isnan(Outcome.of([]).mean_s)


@pytest.mark.parametrize(
    "choice",
    [
        Choice("hit", replica="r0"), Choice("convert", replica="r0"), Choice("convert", replica="r9", victim="a"),
        Choice("convert", replica="r0", victim="c"), Choice("start", node="n"),
        Choice("start", node="m", replaces="r0"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused(choice):
    class Wrong:
        def choose(self, wanted, situation, prices):
            return choice if situation.replicas else Choice("start", node="n")

    with pytest.raises(RuntimeError):
        list(
            simulate(
                [Arrival(0.0, "a"), Arrival(1.0, "b")], Wrong(), SharedPrices(COSTS, "nothing"), COSTS.serve_s, ONE
            )
        )


def test_arrivals_out_of_order_and_clusters_without_room_are_refused():
    with pytest.raises(ValueError, match="in order"):
        times(ColdReplica(), "nothing", [Arrival(1.0, "a"), Arrival(0.0, "a")])
    with pytest.raises(ValueError, match="room"):
        Cluster({})


ARRIVALS = st.lists(st.tuples(st.floats(0, 500), st.sampled_from("abc")), max_size=40).map(
    lambda rows: [Arrival(*row) for row in sorted(rows)]
)


@given(ARRIVALS, st.sampled_from(systems(60.0)), st.integers(1, 3), st.integers(1, 2), st.integers(1, 2))
@settings(max_examples=150)
def test_no_request_is_lost_a_replica_serves_one_at_a_time_and_places_are_kept(arrivals, system, most, nodes, slots):
    cluster = Cluster({f"n{i}": most for i in range(nodes)}, slots)
    prices = system.prices(COSTS)
    served = list(simulate(arrivals, system.policy, prices, COSTS.serve_s, cluster))
    assert [(each.arrived_s, each.model) for each in served] == [(each.at_s, each.model) for each in arrivals]
    for _, of_one in itertools.groupby(sorted(served, key=lambda s: (s.replica, s.begun_s)), key=lambda s: s.replica):
        for before, after in itertools.pairwise(of_one):
            assert before.done_s <= after.begun_s + 1e-9
    for each in served:
        least = COSTS.models[each.model].serve_s + (COSTS.process_s if each.kind == "start" else 0.0)
        assert each.service_s >= least - 1e-9 and (each.bytes_moved == 0 or each.kind != "hit")
    outcome = Outcome.of(served)
    assert outcome.hits + outcome.conversions + outcome.cold_starts == outcome.requests == len(arrivals)
    if system.name.startswith(("Serve", "warm", "conversion")):
        assert outcome.cold_starts <= most * nodes  # none of them ends a process


@given(ARRIVALS, st.integers(1, 3))
def test_sharing_more_never_costs_more(arrivals, most):
    """The same decisions, with cheaper loads: no later answer."""
    cluster = Cluster({"n": most})

    def mean_s(sharing, naive=False):
        prices = SharedPrices(COSTS, sharing, naive)
        return Outcome.of(simulate(arrivals, ServeMultiplexing(), prices, COSTS.serve_s, cluster)).mean_s

    if arrivals and most == 1:  # with one replica the decisions cannot differ
        assert mean_s("conversion") <= mean_s("skeletons") <= mean_s("nothing") <= mean_s("nothing", naive=True)
