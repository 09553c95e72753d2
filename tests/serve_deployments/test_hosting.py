"""A model that is changed while it lives: what is rebuilt, what is changed, which batches are tried before any load."""

import asyncio
from dataclasses import replace

import pytest

from serve_deployments.models.model import Builder
from serve_deployments.replicas.hosting import HostedModel
from serve_deployments.settings import Settings

FIRST = Settings(emulated=True, max_batch_size=2, args={"a": 1, "b": 1})
events: list[object] = []


def with_precision(precision, a, b):
    return Answer(precision, a, b)


def without(a, b):
    return Answer("any", a, b)


class Answer:
    """Writes down what happens to it."""

    def __init__(self, precision, a, b):
        events.append(("built", precision, a, b))

    def __call__(self, payloads):
        events.append(len(payloads))
        if len(payloads) > 8:
            raise MemoryError("9 do not fit")
        return payloads

    def change(self, *, a, b=None):
        events.append({"a": a, "b": b})


def seen(host, settings):
    events.clear()
    asyncio.run(host.take_on(settings))
    return list(events)


@pytest.fixture(params=[with_precision, without])
def host(request):
    made = HostedModel(Builder(f"{__name__}:{request.param.__name__}"), ["x"])
    assert seen(made, FIRST) == [("built", "float32" if request.param is with_precision else "any", 1, 1), 2]
    made.takes_precision = request.param is with_precision
    return made


def test_a_batch_of_each_size_is_tried_once(host):
    assert host.changeable == {"a", "b"}
    assert seen(host, replace(FIRST, batch_wait_ms=5)) == []
    assert seen(host, replace(FIRST, max_batch_size=4)) == [4]
    assert seen(host, FIRST) == []


def test_only_what_it_was_built_from_costs_another_model(host):
    half = replace(FIRST, precision="bfloat16")
    assert seen(host, half) == ([("built", "bfloat16", 1, 1), 2] if host.takes_precision else [])
    assert seen(host, replace(half, threads=1)) == [2]


def test_arguments_are_changed_by_the_model_itself(host):
    assert seen(host, replace(FIRST, args={"a": 2, "b": 1})) == [{"a": 2, "b": None}, 2]


def test_what_does_not_fit_is_remembered(host):
    with pytest.raises(MemoryError):
        seen(host, replace(FIRST, max_batch_size=9))
    assert host.out_of_memory == "9 do not fit" and host.raised
