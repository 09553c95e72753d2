"""A model that answers in parts, in a replica without Serve: as parts, as a whole, withdrawn, and when it fails."""

import asyncio
from typing import Any

import pytest

from serve_deployments.endpoint import DescribedError, Sizes
from serve_deployments.models.context import ModelContext, ModelError
from serve_deployments.models.model import Builder, load
from serve_deployments.replicas.replica import NotServing, ReplicaServer
from serve_deployments.settings import Settings

SETTINGS = Settings(cpu_cores=1, emulated=True)
ENDED: list[str] = []


def words():
    """Answers a text word by word, and says how many there were; fails at a word, and tells when it is given up."""

    async def answer(text):
        try:
            for word in text.split():
                await asyncio.sleep(0.001)
                if word == "fail":
                    raise ValueError("no such word")
                yield word
            yield Sizes(len(text), len(text.split()))
        finally:
            ENDED.append(text)

    return answer


SOURCE = Builder(f"{__name__}:words", concurrent=True)


def with_replica(main, settings: Settings | None = SETTINGS) -> Any:
    async def all_of_it():
        server: Any = object.__new__(ReplicaServer)
        await server.__init__(SOURCE, None if settings is None else settings.as_dict())
        return await main(server)

    return asyncio.run(all_of_it())


async def parts(server, payload):
    return [part async for part in server.stream(payload)]


def test_parts_come_as_they_are_made_and_the_answer_is_theirs_together():
    async def main(server):
        facts = await server.facts()
        together = await asyncio.gather(parts(server, "a b c"), parts(server, "d"))
        return facts.streams, together, await server.infer("a b c"), (await server.usage()).batches

    streams, (first, second), whole, batches = with_replica(main)
    assert streams and first == ["a", "b", "c", Sizes(5, 3)] and second == ["d", Sizes(1, 1)]
    assert whole == "abc" and batches == {1: 3}


def test_what_the_model_raises_between_parts_reaches_the_caller_in_words():
    async def main(server):
        found = []
        with pytest.raises(DescribedError, match="ValueError: no such word"):
            async for part in server.stream("a fail b"):
                found.append(part)
        facts = await server.facts()
        return found, facts.raised, facts.said, await parts(server, "x")

    assert with_replica(main) == (["a"], 1, "ValueError: no such word", ["x", Sizes(1, 1)])


def test_a_request_that_nobody_reads_any_more_ends_in_the_model():
    async def main(server):
        ENDED.clear()
        stream = server.stream("one " * 10_000)
        assert await anext(stream) == "one"
        await stream.aclose()
        for _ in range(200):
            if ENDED:
                break
            await asyncio.sleep(0.01)
        return len(ENDED), server._serving

    assert with_replica(main) == (1, 0)


def test_a_parked_replica_streams_nothing():
    async def main(server):
        with pytest.raises(NotServing):
            await parts(server, "a")

    with_replica(main, settings=None)


def test_a_model_that_streams_says_that_each_request_reaches_it():
    with pytest.raises(ModelError, match="answers one request in parts; write `concurrent: true` under `model`"):
        load(Builder(f"{__name__}:words"), {}, ModelContext())


def lists():
    async def answer(payload):
        yield [1]
        yield "a"

    return answer


def test_parts_that_are_no_texts_are_a_list_together():
    batch: Any = load(Builder(f"{__name__}:lists", concurrent=True), {}, ModelContext())
    assert asyncio.run(batch(["x"])) == [[[1], "a"]]
