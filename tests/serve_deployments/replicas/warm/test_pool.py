"""The pool's books: one trial for a replica, the longest idle goes first, nothing that failed comes back."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from serve_deployments.replicas.warm.pool import Pool
from serve_deployments.replicas.warm.transition import NEW_S, ChangeInPlace, WarmReplica
from serve_deployments.settings import Settings

ONE, TWO, GPU = Settings(cpu_cores=1), Settings(cpu_cores=2), Settings(gpu_type="T4")


def parked(pool, name, settings=ONE, node="n", free_memory=None, **more):
    kept = WarmReplica(name, settings, node, **more)
    pool.add(name, kept)
    return names(pool.park(name, kept, free_memory))


def names(replicas):
    return tuple(kept.app for kept in replicas)


def test_a_replica_is_taken_for_what_it_can_become_and_for_nothing_else():
    pool = Pool()
    parked(pool, "a", replace(ONE, args={"size": 1, "k": 1}), changeable=frozenset({"k"}))
    asked = Settings(max_batch_size=8, batch_wait_ms=5, threads=1, precision="bfloat16", args={"size": 1, "k": 2})
    for other in (
        replace(asked, cpu_cores=2),
        replace(asked, env={"A": "1"}),
        replace(asked, gpu_type="T4"),
        replace(asked, emulated=True),
        replace(asked, args={"size": 2, "k": 2}),
        replace(asked, max_batch_size=4096),  # more than it lets in
    ):
        assert pool.take("t", other) is None
    assert pool.take("t", asked, node="elsewhere") is None
    assert pool.take("t", asked).app == "a"
    assert pool.take("u", asked) is None


def test_of_several_it_is_the_one_that_becomes_it_at_the_least_price():
    """Another batch size and wait are a call; another precision builds the model anew."""
    half = replace(ONE, precision="bfloat16")
    pool = Pool()
    parked(pool, "full", replace(ONE, max_batch_size=2, batch_wait_ms=5))
    parked(pool, "half", half)
    assert pool.take("t", replace(half, max_batch_size=2, batch_wait_ms=5)).app == "half"
    parked(pool, "as it is", replace(half, max_batch_size=4))
    parked(pool, "nearly", half)
    assert pool.take("u", replace(half, max_batch_size=4)).app == "as it is"
    parked(pool, "not as long", replace(ONE, max_batch_size=3))
    assert pool.take("v", ONE).app == "full"  # of the same price, and idle for longer


def test_a_change_in_place_costs_what_the_dearest_of_its_parts_does():
    live = WarmReplica("a", replace(ONE, args={"k": 1}), "n", changeable=frozenset({"k"}))
    price_s = ChangeInPlace().price_s
    assert price_s(live, "", live.settings) == 0.0
    batch_s, wait_s, precision_s, argument_s, both_s, all_s = (
        price_s(live, "", replace(live.settings, **changes))
        for changes in (
            {"max_batch_size": 8}, {"batch_wait_ms": 5}, {"precision": "bfloat16"}, {"args": {"k": 2}},
            {"max_batch_size": 8, "batch_wait_ms": 5}, {"max_batch_size": 8, "precision": "bfloat16"},
        )
    )  # fmt: skip
    assert 0 < batch_s == wait_s == both_s < precision_s == all_s < NEW_S and 0 < argument_s < precision_s
    assert price_s(live, "", replace(live.settings, cpu_cores=2)) is None


class BySize:
    """A way to become anything, at a second for each core more or less."""

    def price_s(self, live, model, wanted):
        return float(abs(live.settings.cpu_cores - wanted.cpu_cores))


def test_a_live_one_that_takes_longer_than_a_new_one_is_left_alone():
    pool = Pool(transition=BySize(), new_s=3.0)
    parked(pool, "one", ONE)
    parked(pool, "nine", Settings(cpu_cores=9))
    assert pool.take("t", Settings(cpu_cores=5)) is None  # four seconds away, both
    assert pool.take("t", Settings(cpu_cores=4)).app == "one"
    assert pool.take("u", Settings(cpu_cores=7)).app == "nine"


def test_a_replica_of_another_model_is_never_handed_out():
    pool = Pool()
    parked(pool, "a", model="this one")
    assert pool.take("t", ONE, model="another") is None and pool.take("t", ONE) is None
    assert pool.take("t", ONE, model="this one").app == "a"


def test_it_is_handed_on_with_what_it_runs_under_now():
    pool = Pool()
    parked(pool, "a")
    kept = pool.take("t", replace(ONE, max_batch_size=4))
    assert pool.park("t", replace(kept, settings=replace(ONE, max_batch_size=4))) == ()
    assert pool.take("u", ONE).settings.max_batch_size == 4


def test_the_longest_idle_goes_where_too_many_are():
    pool = Pool(most_idle=2)
    assert parked(pool, "a") == parked(pool, "b") == ()
    pool.park("t", pool.take("t", ONE))  # either; it is the last in line now
    first = pool.idle()[0].app
    assert parked(pool, "c") == (first,)
    assert pool.take("t", ONE).app != first  # it is on its way out
    assert pool.held()[first] == "c"
    pool.forget(first)
    assert first not in pool.held()


def test_short_memory_costs_the_neighbours_their_place():
    pool = Pool()
    parked(pool, "a", free_memory=0.9)
    assert parked(pool, "far", node="m", free_memory=0.01) == ()  # it is all that idles there, and in nobody's way
    assert parked(pool, "b", free_memory=0.01) == ("a",)
    assert parked(pool, "c", TWO, free_memory=0.9) == ()
    assert pool.take("t", ONE) is not None
    # A new replica where memory is short needs all the room there is.
    parked(pool, "d", free_memory=0.01)
    left = {k.app for k in pool.idle() if k.node == "n"}
    assert set(names(pool.add("e", WarmReplica("e", TWO, "n")))) == left != set()


def test_memory_of_which_just_as_much_is_free_as_must_be_is_not_short():
    pool = Pool(least_free=0.25)
    parked(pool, "a")
    assert parked(pool, "b", free_memory=0.25) == ()
    assert pool.add("c", WarmReplica("c", TWO, "n")) == ()
    assert parked(pool, "d", free_memory=0.24) == ("a",)


def test_where_memory_is_short_the_one_that_was_used_last_is_kept():
    pool = Pool()
    replicas = [WarmReplica(name, ONE, "n") for name in "abcd"]
    for kept in replicas:
        pool.add("t", kept)  # while nobody knows yet that it is short
    gone = [names(pool.park("t", kept, 0.01)) for kept in replicas[:3]]
    assert gone == [(), ("a",), ("b",)] and names(pool.idle()) == ("c",)
    assert pool.park("t", replicas[3], 0.15) == ()  # no longer short


def test_a_gpu_is_given_up_by_the_longest_idle_of_its_kind():
    pool = Pool()
    for name, settings in (("cpu", ONE), ("first", GPU), ("second", GPU), ("other", replace(GPU, gpu_type="L4"))):
        parked(pool, name, settings, node=f"node of {name}")
    assert pool.evict("t", "T4", "node of other") is None
    assert pool.evict("t", "T4").app == "first"
    assert pool.evict("t", "T4", "node of second").app == "second"
    assert pool.evict("t", "T4") is None


def test_what_a_dead_trial_held_is_never_used_again():
    pool = Pool()
    parked(pool, "a")
    kept = pool.take("t", ONE)
    pool.add("t", WarmReplica("b", TWO, "n"))
    assert set(names(pool.drop("t"))) == {"a", "b"}
    assert pool.park("t", kept) == ()  # it was not dead after all, but too late
    assert pool.idle() == () and pool.held() == {}
    assert pool.drop("t") == ()


def test_reserved_cores_go_with_a_replica_until_somebody_wants_them():
    pool = Pool()
    parked(pool, "a", group="cores of a")
    parked(pool, "b", TWO, group="cores of b")
    assert pool.take("t", ONE).group == "cores of a"
    assert pool.spare() == ("cores of b",) and pool.spare() == ()
    assert pool.groups() - {""} == {"cores of a"}
    assert pool.take("u", TWO).group == ""


@given(st.sampled_from([ONE, TWO, GPU]), st.integers(1, 5000), st.sampled_from(["float32", "bfloat16"]))
def test_becoming_is_symmetric(settings, batch, precision):
    changed, price_s = replace(settings, max_batch_size=batch, precision=precision), ChangeInPlace().price_s
    there, back = (WarmReplica("a", one, "n") for one in (settings, changed))
    assert price_s(there, "", changed) == price_s(back, "", settings)


class Trials(RuleBasedStateMachine):
    """Any order of events: a replica is idle, or one trial's, or gone for good."""

    @initialize(most=st.integers(0, 3))
    def start(self, most):
        self.pool, self.most, self.count = Pool(most), most, 0
        self.mine: dict[str, WarmReplica] = {}  # trial → what it runs on
        self.gone: set[str] = set()

    @rule(trial=st.sampled_from("tuv"), settings=st.sampled_from([ONE, TWO, GPU]))
    def begin(self, trial, settings):
        if trial in self.mine:
            return
        kept = self.pool.take(trial, settings)
        if kept is None:
            self.count += 1
            kept = WarmReplica(f"app-{self.count}", settings, "n")
            self.taken_down(trial, names(self.pool.add(trial, kept)))
        assert kept.app not in self.gone
        assert kept.app not in {other.app for other in self.mine.values()}
        self.mine[trial] = kept

    @rule(trial=st.sampled_from("tuv"), free=st.sampled_from([None, 0.01, 0.9]))
    def end_well(self, trial, free):
        if (kept := self.mine.pop(trial, None)) is not None:
            self.taken_down(trial, names(self.pool.park(trial, kept, free)))

    @rule(trial=st.sampled_from("tuv"))
    def fail(self, trial):
        if (kept := self.mine.pop(trial, None)) is not None:
            self.taken_down(trial, (kept.app,))

    @rule(trial=st.sampled_from("tuv"))
    def die(self, trial):
        kept = self.mine.pop(trial, None)
        assert set(names(self.pool.drop(trial))) == (set() if kept is None else {kept.app})
        self.gone |= set() if kept is None else {kept.app}

    @rule(trial=st.sampled_from("tuv"))
    def need_a_gpu(self, trial):
        self.taken_down(trial, names(filter(None, [self.pool.evict(trial, "T4")])))

    def taken_down(self, trial, apps):
        for app in apps:
            assert self.pool.held()[app] == trial
            self.pool.forget(app)
            self.gone.add(app)

    @invariant()
    def the_books_are_right(self):
        idle = {kept.app for kept in self.pool.idle()}
        assert self.pool.held() == {kept.app: trial for trial, kept in self.mine.items()}
        assert idle.isdisjoint(self.pool.held()) and (idle | set(self.pool.held())).isdisjoint(self.gone)
        assert len(idle) <= self.most


TestTrials = Trials.TestCase
