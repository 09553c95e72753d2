"""Cores reserved in Ray, by the books of a Ray that is not there: one group for each name, all of it or nothing."""

from types import SimpleNamespace

import pytest

from serve_deployments.backend import NoRoom
from serve_deployments.replicas import cores
from serve_deployments.replicas.cores import is_alive, release, reserve, reserved


class FakeRay:
    """Nodes, what is free on each, and groups that take it; time passes by sleeping and by waiting alone.

    Args:
        free: node → resources that are free.
        labels: node → its labels.
        dead: nodes that Ray knows to be gone.
        frees: (second, node) at which another two cores are given back there.
    """

    def __init__(self, free, labels=None, dead=(), frees=()):
        self.free, self.labels, self.dead, self.frees = free, labels or {}, set(dead), list(frees)
        self.groups, self.time_s, self.asked_s = [], 0.0, []
        self.fails: BaseException | None = None

    def nodes(self):
        return [{"NodeID": n, "Alive": n not in self.dead, "Labels": self.labels.get(n, {})} for n in self.free]

    def monotonic(self):
        return self.time_s

    def sleep(self, seconds):
        self.time_s += seconds
        for each in [each for each in self.frees if each[0] <= self.time_s]:
            self.frees.remove(each)
            self.free[each[1]]["CPU"] += 2

    def placement_group(self, bundles, name, bundle_label_selector):
        [bundle] = bundles
        group = SimpleNamespace(name=name, bundle=bundle, labels=bundle_label_selector, node=None, state="PENDING")
        group.wait = lambda seconds: self._wait(group, seconds)
        self.groups.append(group)
        self.asked_s.append(self.time_s)
        return group

    def _wait(self, group, seconds):
        if self.fails is not None:
            raise self.fails
        assert isinstance(seconds, int), "Ray counts whole seconds"
        for _ in range(seconds + 1):
            for node, free in self.free.items():
                fits = all(free.get(name, 0) >= amount for name, amount in group.bundle.items())
                labelled = all(
                    self.labels.get(node, {}).get(key) == value
                    for selector in group.labels or [] for key, value in selector.items()
                )  # fmt: skip
                if node not in self.dead and fits and labelled:
                    for name, amount in group.bundle.items():
                        free[name] -= amount
                    group.node, group.state = node, "CREATED"
                    return True
            self.sleep(1.0)
        return False

    def table(self, group=None):
        if group is not None:
            return {"bundles_to_node_id": {0: group.node}}
        return {number: {"name": g.name, "state": g.state} for number, g in enumerate(self.groups)}

    def get(self, name):
        for group in self.groups:
            if group.name == name and group.state != "REMOVED":
                return group
        raise ValueError(f"Failed to look up placement group with name: {name}")

    def remove(self, group):
        if group.state == "CREATED":
            for name, amount in group.bundle.items():
                self.free[group.node][name] += amount
        group.state = "REMOVED"


@pytest.fixture
def on(monkeypatch):
    def made(*args, **more):
        ray = FakeRay(*args, **more)
        monkeypatch.setattr(cores, "ray", ray)
        monkeypatch.setattr(cores, "time", ray)
        monkeypatch.setattr(cores, "available_resources_per_node", lambda: ray.free)
        for name, there in (
            ("placement_group", ray.placement_group), ("placement_group_table", ray.table),
            ("remove_placement_group", ray.remove), ("get_placement_group", ray.get),
        ):  # fmt: skip
            monkeypatch.setattr(cores, name, there)
        return ray

    return made


def test_cores_are_of_one_node_and_stay_reserved_until_they_are_given_back(on):
    ray = on({"a": {"CPU": 1.0}, "b": {"CPU": 3.0}})
    assert reserve("study-t", 2, {}, wait_s=5) == "b"
    assert ray.free["b"] == {"CPU": 1.0} and ray.asked_s == [0.0]
    assert [(g.bundle, g.labels) for g in ray.groups] == [({"CPU": 2.0}, None)]
    release("study-t")
    assert ray.free["b"] == {"CPU": 3.0}
    release("study-t")
    release("nobody's")


def test_a_gpu_on_top_is_reserved_with_the_cores(on):
    ray = on({"a": {"CPU": 8.0}, "b": {"CPU": 2.0, "GPU": 1.0}})
    assert reserve("t", 1, {}, wait_s=5, gpus=1) == "b"
    assert ray.groups[0].bundle == {"CPU": 1.0, "GPU": 1.0}


def test_only_nodes_with_the_labels_will_do(on):
    ray = on({"a": {"CPU": 8.0}, "b": {"CPU": 8.0}}, labels={"a": {"gpu": "T4"}, "b": {"gpu": "L4"}})
    assert reserve("t", 1, {"gpu": "L4"}, wait_s=5) == "b"
    assert ray.groups[0].labels == [{"gpu": "L4"}] and ray.asked_s == [0.0]


def test_what_does_not_become_free_in_time_is_an_error_and_nothing_stays_reserved(on):
    ray = on({"a": {"CPU": 1.0}}, labels={"a": {"gpu": "T4"}})
    with pytest.raises(NoRoom, match=r"no node with labels \{'gpu': 'T4'\} had \{'CPU': 2.0\} free within 1.5 s"):
        reserve("t", 2, {"gpu": "T4"}, wait_s=1.5)
    assert [g.state for g in ray.groups] == ["REMOVED"]
    with pytest.raises(NoRoom, match=r"no node had \{'CPU': 2.0\} free"):
        reserve("t", 2, {}, wait_s=1)


def test_cores_that_are_given_back_at_this_moment_are_waited_for_before_they_are_asked_for(on):
    """Ray sees after 0.1 s what was given back; a group that is asked for earlier is tried again a second later."""
    ray = on({"a": {"CPU": 0.0}}, frees=[(0.1, "a")])
    assert reserve("t", 2, {}, wait_s=5) == "a"
    assert ray.asked_s[0] == pytest.approx(0.1, abs=0.011) and ray.time_s < 0.12


def test_it_is_asked_for_all_the_same_when_nothing_becomes_free_soon(on):
    ray = on({"a": {"CPU": 0.0}}, frees=[(2.0, "a")])
    assert reserve("t", 2, {}, wait_s=5) == "a"
    assert ray.asked_s[0] == pytest.approx(0.3, abs=0.011)
    ray = on({"a": {"CPU": 0.0}})
    with pytest.raises(NoRoom):
        reserve("t", 2, {}, wait_s=0)
    assert ray.asked_s == [0.0]


@pytest.mark.parametrize(
    ("labels", "asked_s"),
    [
        ({"gpu": "T4"}, 0.0),
        ({"gpu": "L4"}, 0.3),  # that node is full
        ({"gpu": "A100"}, 0.3),  # there is none
        ({"gpu": "!L4"}, 0.0),  # what names more than one value is not looked at beforehand
        ({"gpu": "in(T4, L4)"}, 0.0),
    ],
)
def test_room_is_looked_for_on_nodes_that_live_and_have_the_labels(on, labels, asked_s):
    nodes = {"a": {"CPU": 8.0}, "b": {"CPU": 0.0}, "dead": {"CPU": 8.0}}
    ray = on(nodes, labels={"a": {"gpu": "T4"}, "b": {"gpu": "L4"}, "dead": {"gpu": "L4"}}, dead=["dead"])
    try:
        reserve("t", 1, labels, wait_s=1)
    except NoRoom:
        pass
    assert ray.asked_s[0] == pytest.approx(asked_s, abs=0.011)


def test_room_is_on_one_node_not_on_two_together(on):
    ray = on({"a": {"CPU": 1.0}, "b": {"CPU": 1.0, "GPU": 1.0}, "c": {"CPU": 4.0}})
    with pytest.raises(NoRoom):
        reserve("t", 2, {}, wait_s=1, gpus=1)
    assert ray.asked_s[0] == pytest.approx(0.3, abs=0.011)


def test_who_is_interrupted_while_waiting_leaves_nothing_reserved(on):
    ray = on({"a": {"CPU": 8.0}})
    ray.fails = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        reserve("t", 1, {}, wait_s=1)
    assert [g.state for g in ray.groups] == ["REMOVED"]


def test_groups_are_told_by_how_their_names_begin_and_only_while_they_are_there(on):
    on({"a": {"CPU": 8.0}})
    for name in ("study-a", "study-b", "other-study-a", "studyx"):
        reserve(name, 1, {}, wait_s=1)
    release("study-b")
    assert reserved("study-") == ("study-a",)
    assert set(reserved("")) == {"study-a", "other-study-a", "studyx"}


def test_a_node_lives_while_ray_says_so(on):
    on({"a": {}, "b": {}}, dead=["b"])
    assert is_alive("a") and not is_alive("b") and not is_alive("c")
