"""Models that fail in ways that no `except Exception` sees: each request has an answer, and the replica serves on."""

import asyncio
import threading

import numpy as np
import pytest

from serve_deployments.endpoint import DescribedError
from serve_deployments.models.model import Builder
from serve_deployments.replicas.hosting import HostedModel
from serve_deployments.settings import Settings
from tests.serve_deployments.virtual_replica import served


class PanicException(BaseException):
    """As that of Rust's extensions."""


class Unsendable(Exception):
    """Holds what cannot be serialised, and cannot be built from its message."""

    def __init__(self, words, lock):
        super().__init__(words)
        self.lock = lock


RAISED = {
    "panic": (PanicException("index out of bounds"), "PanicException: index out of bounds"),
    "stop": (StopIteration(), "StopIteration"),
    "interrupt": (KeyboardInterrupt(), "KeyboardInterrupt"),
    "exit": (SystemExit(3), "SystemExit: 3; a model must not end its process"),
    "cancelled": (asyncio.CancelledError(), "CancelledError: the model cancelled"),
    "unsendable": (Unsendable("no\nroom", threading.Lock()), "Unsendable: no"),
}


def of_thread():
    """As `model.build`: raises what the payload names."""

    def batch(payloads):
        for payload in payloads:
            if payload in RAISED:
                raise RAISED[payload][0]
        return payloads

    return batch


def of_loop():
    """The same in the replica's event loop."""
    raises = of_thread()

    async def batch(payloads):
        await asyncio.sleep(0)
        return raises(payloads)

    return batch


@pytest.mark.parametrize(
    ("model", "raised"),
    # Python itself turns a coroutine's StopIteration into RuntimeError.
    [("of_thread", each) for each in RAISED] + [("of_loop", each) for each in RAISED if each != "stop"],
)
def test_a_request_whose_model_raises_anything_is_answered_with_its_words(model, raised):
    async def ask(server):
        answers = await asyncio.gather(server.infer(raised), server.infer("good"), return_exceptions=True)
        return *answers, await server.infer("again"), await server.facts()

    settings = Settings(emulated=True, max_batch_size=1)
    failed, good, again, facts = served(Builder(f"{__name__}:{model}"), settings, ask)
    assert type(failed) is DescribedError and str(failed).startswith(RAISED[raised][1])
    assert (good, again) == ("good", "again")
    assert facts.raised == 1 and facts.said.startswith(RAISED[raised][1]) and facts.failure is None


def exits():
    """As `model.build`: ends its process, as argparse does."""
    raise SystemExit(2)


def streams():
    """As `model.build`: each result is a generator."""
    return lambda payloads: [(character for character in payload) for payload in payloads]


def columns():
    """As `model.build`: a result in columns, of as many as there are payloads."""
    return lambda payloads: {"label": ["x" for _ in payloads], "score": [0.5 for _ in payloads]}


def yields():
    """As `model.build`: a generator function."""

    def batch(payloads):
        yield from payloads

    return batch


def locks():
    """As `model.build`: the second result holds what cannot be sent."""
    return lambda payloads: [len(payloads), {"lock": threading.Lock()}]


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("exits", "SystemExit: 2; a model must not end its process; with argparse, parse an empty list"),
        ("streams", "ModelError: result 0 is a generator, which cannot be sent (TypeError: cannot pickle 'generator'"),
        ("locks", "ModelError: result 1 is a dict, which cannot be sent (TypeError: cannot pickle '_thread.lock'"),
        (
            "columns",
            f"ModelError: {__name__}:columns returned a dict, which has columns instead of rows; return a list",
        ),
        ("yields", f"ModelError: {__name__}:yields returned a generator, as a function with `yield` does; return a"),
    ],
)
def test_a_model_whose_answers_nobody_could_have_fails_before_any_load(model, says):
    async def ask(server):
        settings = Settings(emulated=True, max_batch_size=2)
        return await server.change({**settings.as_dict(), "args": {}}, samples=["hello", "world"])

    facts = served(Builder(f"{__name__}:{model}"), None, ask)
    assert facts.failure is not None and facts.failure.startswith(says)


def halves():
    """As `model.build`: changes its payloads in place."""

    def batch(payloads):
        for payload in payloads:
            payload /= 2
        return [float(payload.sum()) for payload in payloads]

    return batch


def test_a_warm_up_batch_is_the_models_own_to_write_to():
    """As a request's payload is, and unlike what lies in the object store, or in the study's list."""
    sample = np.ones(4)
    sample.flags.writeable = False
    host = HostedModel(Builder(f"{__name__}:halves"))
    host.warm_up_with([sample])
    asyncio.run(host.take_on(Settings(emulated=True, max_batch_size=3)))
    assert sample.sum() == 4.0 and host.raised == 0
