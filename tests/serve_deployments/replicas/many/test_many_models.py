"""Two models on two replicas of a real Serve: right answers under concurrent switching, also when one is killed."""

import os
import signal
import time

import pytest
from ray import serve

from serve_deployments.replicas.many.application import application
from serve_deployments.settings import Settings
from tests.serve_deployments.replicas.many import sibling_models
from tests.serve_deployments.replicas.many.sibling_models import expected

pytestmark = pytest.mark.ray
X = [0.5, -1.0, 2.0, 0.25]
APP = "many-models"


def args(head):
    source = {"reference": f"{sibling_models.__name__}:model"}
    return {"model": source, "settings": Settings(max_batch_size=4, args={"head": head}, emulated=True).as_dict()}


@pytest.fixture(scope="module")
def front(local_ray):
    serve.start(proxy_location="Disabled")
    models = {name: args(head) for name, head in (("one", 1), ("two", 2))}
    built = application({"models": models, "replicas": 2, "idle_s": 0.0})
    yield serve.run(built, name=APP, route_prefix=None)
    serve.delete(APP)


def ask(front, name, **payload):
    return front.options(multiplexed_model_id=name).infer.remote({"x": X, **payload})


def test_answers_are_right_while_requests_for_both_come_at_once(front):
    names = ["one", "two", "two", "one"] * 6
    answers = [ask(front, name) for name in names]
    wanted = {"one": expected(1, X), "two": expected(2, X)}
    assert [answer.result(timeout_s=60)["y"] for answer in answers] == [pytest.approx(wanted[name]) for name in names]
    stats = front.stats.remote().result(timeout_s=10)
    assert stats["hits"] + stats["conversions"] + stats["cold_starts"] == len(names)
    assert stats["cold_starts"] >= 1 and set(stats["held"]) == {"replica 1", "replica 2"}
    back = [ask(front, name).result(timeout_s=60)["y"] for name in ("one", "two", "one", "two")]
    assert back == pytest.approx([wanted["one"], wanted["two"]] * 2)


def test_what_is_wrong_is_said(front):
    with pytest.raises(Exception, match="no model 'three' is served; there are one, two"):
        ask(front, "three").result(timeout_s=10)
    with pytest.raises(Exception, match="KeyError: 'x'"):
        front.options(multiplexed_model_id="one").infer.remote({"y": 1}).result(timeout_s=10)


def test_models_come_and_go(front):
    front.register.remote("three", args(3)).result(timeout_s=10)
    assert ask(front, "three").result(timeout_s=60)["y"] == pytest.approx(expected(3, X))
    front.unregister.remote("three").result(timeout_s=10)
    assert front.models.remote().result(timeout_s=10) == ["one", "two"]
    with pytest.raises(Exception, match="no model 'three'"):
        ask(front, "three").result(timeout_s=10)
    with pytest.raises(Exception, match="differ in cpu_cores, 1 and 2"):
        more = {**args(3), "settings": Settings(cpu_cores=2, emulated=True).as_dict()}
        front.register.remote("more", more).result(timeout_s=10)


def test_a_killed_process_loses_no_request(front):
    pid = ask(front, "one").result(timeout_s=30)["pid"]
    waiting = [ask(front, "one", slow=1.0) for _ in range(4)]
    time.sleep(0.3)
    os.kill(pid, signal.SIGKILL)
    after = ask(front, "two")
    assert [answer.result(timeout_s=90)["y"] for answer in waiting] == [pytest.approx(expected(1, X))] * 4
    assert after.result(timeout_s=90)["y"] == pytest.approx(expected(2, X))
    assert front.stats.remote().result(timeout_s=10)["requests_of_lost_replicas"] >= 1
