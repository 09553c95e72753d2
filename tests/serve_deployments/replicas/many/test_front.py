"""The front over HTTP, without Ray: which status for which mistake, and what the figures are called."""

import asyncio
import json

import pytest
from starlette.requests import Request

from serve_deployments.replicas.many import front as module
from serve_deployments.replicas.many.front import FrontServer
from serve_deployments.replicas.many.shown import BYTES_MOVED, DONE, FIRST_OUTPUT_S, LOST, Shown
from serve_deployments.replicas.many.tally import Tally
from tests.serve_deployments.replicas.many.test_dispatcher import Process, dispatcher


def asked(name, body=b"1", method="POST"):
    """Status and content of an answer of a front with the models a and b."""

    async def test():
        front = object.__new__(FrontServer)
        front._dispatcher = dispatcher([Process()])
        front._shown = type("Nobody", (), {"show": lambda self, tally: None})()
        module.serve.get_multiplexed_model_id = lambda: name  # put back by the fixture

        async def receive():
            return {"type": "http.request", "body": body, "more_body": False}

        scope = {"type": "http", "method": method, "headers": [(b"content-type", b"application/json")], "path": "/"}
        response = await front(Request(scope, receive))
        return response.status_code, json.loads(bytes(response.body))

    return asyncio.run(test())


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch):
    monkeypatch.setattr(module.serve, "get_multiplexed_model_id", module.serve.get_multiplexed_model_id)


def test_a_request_is_answered_by_the_model_that_its_header_names():
    assert asked("a") == (200, ["a", 1, 1]) and asked("b", b'{"x": 2}') == (200, ["b", 1, {"x": 2}])


def test_mistakes_have_the_status_of_whose_they_are():
    status, said = asked("")
    assert status == 400 and "serve_multiplexed_model_id; there are a, b" in said["error"]
    assert asked("c") == (404, {"error": "no model 'c' is served; there are a, b"})
    assert asked("a", b"{")[0] == 400
    assert asked("a", b'"bad"') == (500, {"error": "ValueError: a bad payload"})


def test_get_says_what_was_done():
    status, stats = asked("", method="GET")
    assert status == 200 and stats["hits"] == 0 and stats["held"] == {"r0": None}


def test_figures_are_shown_with_model_and_what_was_done():
    told = {}
    shown = object.__new__(Shown)

    class Gauges:
        def set(self, series, value, **labels):
            told[(series, *labels.values())] = value

    vars(shown)["_gauges"] = Gauges()
    tally = Tally(bytes_moved=7, lost=2)
    tally.answered("a", "hit", 1.0)
    tally.answered("a", "hit", 3.0)
    tally.answered("b", "cold start", 5.0)
    shown.show(tally)
    assert told == {
        (DONE, "a", "hit"): 2, (DONE, "b", "cold start"): 1, (FIRST_OUTPUT_S, "hit"): 2.0,
        (FIRST_OUTPUT_S, "cold start"): 5.0, (BYTES_MOVED,): 7, (LOST,): 2,
    }  # fmt: skip
