"""Load actors that stay between trials, on a cluster that is not there: which is kept, replaced, and ended."""

from types import SimpleNamespace

import pytest

from serve_deployments.measuring.in_cluster import load_side
from serve_deployments.measuring.in_cluster.load_side import load_actor, release_cores


class FakeRay:
    """As much of Ray as keeping actors takes: each has a number, and may be dead or dumb."""

    class exceptions:
        class RayActorError(Exception):
            pass

        class GetTimeoutError(Exception):
            pass

    def __init__(self):
        self.made, self.killed, self.asked, self.silent = [], [], [], {}

    def remote(self, kind):
        return self

    def options(self, **asked):
        self.asked.append(asked)
        return SimpleNamespace(remote=self._start)

    def _start(self):
        made = SimpleNamespace(number=len(self.made))
        made.__ray_ready__ = SimpleNamespace(remote=lambda: made)
        self.made.append(made)
        return made

    def get(self, made, timeout):
        assert 1 <= timeout <= 10
        if made.number in self.silent:
            raise self.silent[made.number]

    def kill(self, made):
        self.killed.append(made.number)


NODE, OTHER = 28 * "0a", 28 * "0b"  # as Ray spells them


@pytest.fixture
def fake(monkeypatch):
    made = FakeRay()
    monkeypatch.setattr(load_side, "ray", made)
    monkeypatch.setattr(load_side, "_kept", {})
    return made


def test_one_actor_is_kept_for_each_node_and_one_more_measurement_has_one_of_its_own(fake):
    with load_actor(NODE) as first:
        with load_actor(NODE) as second:
            assert second is not first
        with load_actor(OTHER) as other:
            assert other is not first
        assert fake.killed == []
    assert fake.killed == [second.number]  # that of the measurement that ended last stays
    for node, kept in ((NODE, first), (OTHER, other)):
        with load_actor(node) as again:
            assert again is kept
    assert len(fake.made) == 3 and fake.killed == [second.number]
    release_cores()
    assert sorted(fake.killed) == [0, 1, 2]
    with load_actor(NODE) as anew:
        assert anew.number == 3


@pytest.mark.parametrize("said", [FakeRay.exceptions.RayActorError(), FakeRay.exceptions.GetTimeoutError()])
def test_one_that_no_longer_answers_is_ended_and_replaced(fake, said):
    with load_actor(NODE) as first:
        pass
    fake.silent = {first.number: said}
    with load_actor(NODE) as anew:
        assert anew is not first and fake.killed == [first.number]
    with load_actor(NODE) as again:
        assert again is anew and fake.killed == [first.number]


def test_one_in_whose_measurement_something_was_raised_is_ended_as_a_test_may_still_run_in_it(fake):
    with pytest.raises(KeyboardInterrupt), load_actor(NODE) as broken:
        raise KeyboardInterrupt
    assert fake.killed == [broken.number]
    with load_actor(NODE) as anew:
        assert anew is not broken


def test_an_actor_is_on_its_node_or_nowhere_and_takes_no_room_there(fake):
    for node in (NODE, OTHER):
        with load_actor(node):
            pass
    for asked, node in zip(fake.asked, (NODE, OTHER), strict=True):
        where = asked.pop("scheduling_strategy")
        assert (where.node_id, where.soft) == (node, False)
        assert asked == {"num_cpus": 0, "runtime_env": {"env_vars": load_side.LOAD_ENVIRONMENT}}
