"""A model that writes all its answers into the same memory: each request has its own, whoever is answered next."""

import asyncio
import json
from typing import Any

import numpy as np
import pytest
import torch
from starlette.requests import Request

from serve_deployments.replicas.application import application
from serve_deployments.replicas.replica import ReplicaServer
from serve_deployments.settings import Settings

LONGEST = 4  # requests in a batch
REQUESTS = 50


def as_array(kind):
    buffer = np.zeros((LONGEST, 2)) if kind == "numpy" else torch.zeros(LONGEST, 2)

    def answer(payloads):
        for row, payload in zip(buffer, payloads, strict=False):
            row[:] = payload
        return buffer[: len(payloads)]

    return answer


def in_mappings(kind):
    write = as_array(kind)
    return lambda payloads: [{"scores": [row], "label": "one"} for row in write(payloads)]


def of_an_engine(kind):
    """As an engine that is called for each request, and has the memory for one answer."""
    write = as_array(kind)

    async def answer(payloads):
        await asyncio.sleep(0.01)
        return write(payloads)

    return answer


class InTwoSteps:
    """Has memory for the answers of each of the two batches that may be in progress."""

    def __init__(self, kind):
        self.write, self.next = [as_array(kind), as_array(kind)], 0

    def __call__(self, payloads):
        return self.finish(self.begin(payloads))

    def begin(self, payloads):
        self.next = 1 - self.next
        return self.write[self.next], payloads

    def finish(self, begun):
        write, payloads = begun
        return write(payloads)


def numbers(answer):
    return np.asarray(answer["scores"][0] if isinstance(answer, dict) else answer).tolist()


def asked(name, kind, ask):
    """The answers of a replica of this model, as it is deployed, to many requests at once."""
    source = {"reference": f"{__name__}:{name}", "concurrent": name == "of_an_engine"}
    settings = Settings(emulated=True, max_batch_size=LONGEST, args={"kind": kind}).as_dict()
    bound: Any = application({"model": source, "settings": settings})._bound_deployment

    async def all_of_it():
        server: Any = object.__new__(ReplicaServer)
        await server.__init__(*bound.init_args, **bound.init_kwargs)
        return await asyncio.gather(*(ask(server, float(x)) for x in range(REQUESTS)))

    return asyncio.run(all_of_it())


KINDS = pytest.mark.parametrize("kind", ["numpy", "torch"])
MODELS = pytest.mark.parametrize("name", ["as_array", "in_mappings", "of_an_engine", "InTwoSteps"])


@KINDS
@MODELS
def test_each_request_is_answered_with_its_own_row(name, kind):
    """Answers are looked at when all are there, as answers are serialised while the next batches run."""
    answers = asked(name, kind, lambda server, x: server.infer(x))
    assert [numbers(answer) for answer in answers] == [[x, x] for x in range(REQUESTS)]


@KINDS
@MODELS
def test_each_request_over_http_is_answered_with_its_own_row(name, kind):
    async def ask(server, x):
        async def receive():
            return {"type": "http.request", "body": json.dumps(x).encode(), "more_body": False}

        return await server(Request({"type": "http", "method": "POST", "headers": []}, receive))

    answers = asked(name, kind, ask)
    assert [numbers(json.loads(answer.body)) for answer in answers] == [[x, x] for x in range(REQUESTS)]
