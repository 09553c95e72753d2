"""A real replica of Serve that streams: the times of its parts as a load test sees them, and withdrawal."""

import asyncio
import pickle
from dataclasses import replace

import pytest
from ray import serve

from serve_deployments.models.model import Builder
from serve_deployments.replicas.serve_backend import ServeBackend, delete_left_behind
from serve_deployments.settings import Settings

pytestmark = pytest.mark.ray

STREAMING = """\
import asyncio
from pathlib import Path

from serve_deployments.endpoint import Sizes


def model(gap_s):
    async def answer(payload):
        try:
            for number in range(payload["parts"]):
                await asyncio.sleep(gap_s)
                yield f" w{number}"
            yield Sizes(3, payload["parts"])
        except BaseException as error:
            Path("withdrawn").write_text(type(error).__name__)
            raise

    return answer
"""


def test_parts_are_timed_where_they_arrive_and_a_request_can_be_withdrawn(local_ray, tmp_path):
    (tmp_path / "streaming_model.py").write_text(STREAMING)
    serve.start(proxy_location="Disabled")
    source = Builder("streaming_model:model", str(tmp_path), concurrent=True)
    backend = ServeBackend(source, [{"parts": 1}], "streamed", deadline_s=240)
    try:
        with backend.running(Settings(cpu_cores=1, args={"gap_s": 0.05}), "a") as replica:
            endpoint = pickle.loads(pickle.dumps(replica.endpoint))
            first, answer = asyncio.run(in_turn(endpoint))
            assert replica.streams and replace(answer, first_after_s=0, gaps_s=()) == replace(
                answer, first_after_s=0, gaps_s=(), parts=6, size_in=3, size_out=6, content=" w0 w1 w2 w3 w4 w5"
            )
            assert first.parts == 1 and len(answer.gaps_s) == 5
            # Six parts, 50 ms before each; a busy machine may be late with any of them.
            assert 0.049 <= answer.first_after_s < 2 and 0.29 < answer.first_after_s + sum(answer.gaps_s) < 4
            asyncio.run(withdrawn(endpoint, tmp_path / "withdrawn"))
    finally:
        delete_left_behind("streamed")


async def in_turn(endpoint):
    return [await endpoint.infer({"parts": parts}) for parts in (1, 6)]


async def withdrawn(endpoint, told):
    task = asyncio.create_task(endpoint.infer({"parts": 1000}))
    await asyncio.sleep(0.5)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    for _ in range(100):
        if told.exists():
            return
        await asyncio.sleep(0.1)
    raise AssertionError("the model went on")
