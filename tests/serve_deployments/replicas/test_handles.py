"""Handles to replicas: made once, given up in time, withdrawn with the request; without Serve."""

import asyncio
import pickle
from collections import OrderedDict
from typing import Any

import pytest

from serve_deployments.fakes.virtual_replicas import run_virtual
from serve_deployments.replicas import handles
from serve_deployments.replicas.handles import HandleEndpoint, forget, handle_of


class Response:
    """An answer after a second, or whatever was arranged."""

    def __init__(self, answer):
        self.answer, self.cancelled = answer, False

    def __await__(self):
        yield from asyncio.sleep(1).__await__()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def cancel(self):
        self.cancelled = True


class Handle:
    """As Serve's: remembers what it was asked, and whether it was given up."""

    made: list["Handle"] = []

    def __init__(self, deployment, app):
        assert deployment == "Replica"
        self.app, self.shut, self.options_given, self.responses = app, False, [], []
        self.answer: object = "fine"
        Handle.made.append(self)

    def shutdown(self):
        self.shut = True

    def options(self, **options):
        self.options_given.append(options)
        return Method(self, options["method_name"])


class Method:
    def __init__(self, handle, name):
        self.handle, self.name = handle, name

    def remote(self, *args):
        self.handle.responses.append((self.name, args, Response(self.handle.answer)))
        return self.handle.responses[-1][2]


@pytest.fixture(autouse=True)
def serve(monkeypatch):
    monkeypatch.setattr(handles, "DeploymentHandle", Handle)
    monkeypatch.setattr(handles, "_handles", OrderedDict())
    monkeypatch.setattr(Handle, "made", [])
    return Handle


def test_an_applications_handle_is_made_once_and_anew_after_it_was_forgotten(serve):
    first: Any = handle_of("a")
    assert first.app == "a" and handle_of("a") is first and handle_of("b") is not first
    forget("a")
    assert first.shut and handle_of("a") is not first and not handle_of("a").shut
    forget("never there")
    assert len(serve.made) == 3


def test_the_handle_that_was_used_longest_ago_is_given_up_when_there_are_more_than_32(serve):
    for number in range(32):
        handle_of(str(number))
    assert not any(handle.shut for handle in serve.made)
    handle_of("0")
    handle_of("32")
    assert [handle.app for handle in serve.made if handle.shut] == ["1"]
    assert len(serve.made) == 33 and handle_of("0") is serve.made[0]


def test_requests_go_by_value_to_the_replicas_own_method_over_one_handle(serve):
    async def ask():
        endpoint = HandleEndpoint("a")
        for payload in ("x", "y"):
            await endpoint.infer(payload)
        return await endpoint.usage()

    assert run_virtual(ask()) == "fine"
    [handle] = serve.made
    assert [(name, args) for name, args, _ in handle.responses] == [("infer", ("x",)), ("infer", ("y",)), ("usage", ())]
    assert handle.options_given == [
        {"method_name": "infer", "_by_reference": False}, {"method_name": "usage", "_by_reference": False},
    ]  # fmt: skip


def test_what_the_replica_raised_is_raised_here():
    async def ask():
        handle: Any = handle_of("a")
        handle.answer = ValueError("bad input")
        await HandleEndpoint("a").infer("x")

    with pytest.raises(ValueError, match="bad input"):
        run_virtual(ask())


def test_a_request_that_is_given_up_is_withdrawn_from_the_replicas_queue(serve):
    async def ask():
        task = asyncio.create_task(HandleEndpoint("a").infer("x"))
        await asyncio.sleep(0.5)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return task.cancelled()

    assert run_virtual(ask())
    [(_, _, response)] = serve.made[0].responses
    assert response.cancelled


def test_an_endpoint_sent_to_another_process_makes_its_handles_there(serve):
    endpoint = HandleEndpoint("a")
    run_virtual(endpoint.infer("x"))
    there = pickle.loads(pickle.dumps(endpoint))
    assert there.app == "a" and there._methods == {}
