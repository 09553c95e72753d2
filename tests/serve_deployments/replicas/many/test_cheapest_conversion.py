"""The policy, against hand-computed choices and a search through everything that could be done."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_deployments.replicas.many.choosing.cheapest_conversion import CheapestConversion
from serve_deployments.replicas.many.choosing.state import Choice, ReplicaState, Situation
from tests.serve_deployments.replicas.many.priced import Priced

POLICY = CheapestConversion(idle_s=60.0, horizon_s=600.0)


def replica(name, *held, free=0.0, busy=False, node="n", slots=1):
    return ReplicaState(name, node, held, free, busy, slots)


def situation(now, *replicas, room=0, chance=lambda model, within_s: 0.5, node="n"):
    return Situation(now, replicas, {node: room}, chance)


def chosen(wanted, here, prices=None, policy=POLICY):
    return policy.choose(wanted, here, prices or Priced())


def test_an_idle_replica_that_holds_the_model_serves_it_the_one_used_last():
    here = situation(100, replica("old", "a", free=10), replica("new", "a", free=90), replica("c", "b"), room=1)
    assert chosen("a", here) == Choice("hit", replica="new")


def test_with_room_a_replica_is_converted_only_after_its_time():
    assert chosen("a", situation(60, replica("r", "b", free=0.0), room=1)).kind == "convert"
    young = chosen("a", situation(59.9, replica("r", "b", free=0.0), room=1))
    assert (young.kind, young.node, young.price.seconds) == ("start", "n", 10.0)
    assert chosen("a", situation(59.9, replica("r", "b", free=0.0), room=0)).kind == "convert"  # else it would be ended


def test_the_cheapest_plan_is_taken_where_models_are_wanted_alike():
    here = situation(1000, replica("r1", "b"), replica("r2", "c"))
    assert chosen("a", here, Priced({("b", "a"): 2.0, ("c", "a"): 1.0})).replica == "r2"
    assert chosen("a", here, Priced({("b", "a"): 1.0, ("c", "a"): 2.0})).replica == "r1"


def test_what_is_given_up_counts_by_its_chance_and_the_price_back():
    # r1: 1.0 + 0.9 * 4.0 = 4.6;  r2: 3.0 + 0.1 * 4.0 = 3.4
    prices = Priced({("b", "a"): 1.0, ("c", "a"): 3.0, ("a", "b"): 4.0, ("a", "c"): 4.0})
    replicas = replica("r1", "b"), replica("r2", "c")
    assert chosen("a", situation(1000, *replicas, chance=lambda m, h: {"b": 0.9, "c": 0.1}[m]), prices).replica == "r2"
    # r1: 1.0 + 0.4 * 4.0 = 2.6
    assert chosen("a", situation(1000, *replicas, chance=lambda m, h: {"b": 0.4, "c": 0.1}[m]), prices).replica == "r1"


def test_a_model_that_another_replica_holds_too_is_not_missed():
    prices = Priced({("b", "a"): 1.0, ("c", "a"): 1.2, ("a", "b"): 9.0, ("a", "c"): 0.5})
    one = situation(1000, replica("r1", "b"), replica("r2", "c"))
    assert chosen("a", one, prices).replica == "r2"  # 1.0 + 0.5 * 9.0 against 1.2 + 0.5 * 0.5
    assert chosen("a", situation(1000, *one.replicas, replica("r3", "b", busy=True, free=1001)), prices).replica == "r1"


def test_waiting_for_a_busy_holder_is_weighed_against_a_conversion():
    def here(wait_s):
        return situation(1000, replica("holds", "a", busy=True, free=1000 + wait_s), replica("idle", "b"))

    # the conversion: 1.0 + 0.5 * 1.0
    assert chosen("a", here(1.4)) == Choice("hit", replica="holds")
    assert (chosen("a", here(1.6)).kind, chosen("a", here(1.6)).replica) == ("convert", "idle")


def test_where_all_are_busy_the_earliest_cheapest_is_queued_for():
    here = situation(0, replica("r1", "b", busy=True, free=5), replica("r2", "c", busy=True, free=4))
    assert chosen("a", here).replica == "r2"
    assert chosen("a", here, Priced({("c", "a"): 3.0})).replica == "r1"


def test_an_empty_slot_is_filled_at_once_and_the_model_least_missed_is_given_up():
    chance = {"b": 0.8, "c": 0.2}.__getitem__
    two = replica("r", "b", slots=2, free=999)
    assert chosen("a", situation(1000, two, room=1)).victim is None
    full = situation(1000, replica("r", "b", "c", slots=2), chance=lambda m, h: chance(m))
    assert chosen("a", full).victim == "c"


def test_a_model_with_a_home_is_served_there_unless_nothing_is_there():
    policy = CheapestConversion(home={"a": "home"})
    away, home = replica("away", "a", node="n"), replica("home", "b", node="home")
    assert chosen("a", situation(1000, away, home), policy=policy).replica == "home"
    assert chosen("a", situation(1000, away, room=1, node="home"), policy=policy).node == "home"
    assert chosen("a", situation(1000, away), policy=policy).replica == "away"
    assert chosen("b", situation(1000, away, home), policy=policy).replica == "home"


def test_nothing_can_be_done_without_replica_and_room():
    assert chosen("a", situation(0)) is None
    assert chosen("a", situation(0, room=1)).kind == "start"


@pytest.mark.parametrize("bad", [{"idle_s": -1.0}, {"horizon_s": math.nan}, {"idle_s": math.inf}])
def test_times_that_are_none_are_refused(bad):
    with pytest.raises(ValueError, match="seconds, 0 or more"):
        CheapestConversion(**bad)


MODELS = "abcd"
REPLICAS = st.lists(st.tuples(st.sampled_from(MODELS), st.booleans(), st.integers(0, 200)), min_size=0, max_size=5).map(
    lambda rows: tuple(
        replica(f"r{i}", model, busy=busy, free=100.0 + age if busy else 100.0 - age)
        for i, (model, busy, age) in enumerate(rows)
    )
)
PRICES = st.dictionaries(st.tuples(st.sampled_from(MODELS), st.sampled_from(MODELS)), st.floats(0, 20)).map(Priced)


@given(REPLICAS, PRICES, st.integers(0, 1), st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_no_permitted_choice_costs_less(replicas, prices, room, chances):
    """Equation (1) written anew, over all that a request could be given to."""
    chance = dict(zip(MODELS, chances, strict=True))
    here = situation(100.0, *replicas, room=room, chance=lambda m, h: chance[m])
    choice = chosen("a", here, prices)
    held = [r.held[0] for r in replicas]

    def cost(r):
        (model,) = r.held
        if model == "a":
            return r.wait_s(100.0)
        missed = 0.0 if held.count(model) > 1 else chance[model] * prices.table.get(("a", model), 1.0)
        return r.wait_s(100.0) + prices.table.get((model, "a"), 1.0) + missed

    permitted = {r.name: cost(r) for r in replicas if r.held == ("a",) or (not r.busy and r.idle_s(100.0) >= 60)}
    if room:
        permitted[""] = 10.0
    if not permitted:
        idle = [r for r in replicas if not r.busy]
        permitted = {r.name: cost(r) for r in idle or replicas}
    if not permitted:
        assert choice is None
        return
    assert choice.replica in permitted
    holders = [r for r in replicas if r.held == ("a",) and not r.busy]
    if holders:
        assert choice.kind == "hit" and choice.replica in [r.name for r in holders]
    else:
        assert permitted[choice.replica] == pytest.approx(min(permitted.values()))
