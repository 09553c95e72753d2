"""What a replica's garbage collector goes through under load, and that no model stays because it was set aside."""

import asyncio
import gc
import weakref
from dataclasses import replace

import pytest

from serve_deployments.models.live.garbage import SetAside
from serve_deployments.models.model import Builder
from serve_deployments.replicas.hosting import HostedModel
from serve_deployments.settings import Settings

FULL = Settings(emulated=True, args={"weights": 0})
built: list[weakref.ref] = []


@pytest.fixture(autouse=True)
def collector_as_it_was(real_unfreeze):
    thresholds = gc.get_threshold()
    gc.unfreeze()
    gc.set_threshold(0)  # no collection but those that are asked for
    built.clear()
    yield
    gc.set_threshold(*thresholds)
    gc.enable()
    gc.unfreeze()


class Weights:
    """Weights that refer to themselves, so that only a collection frees them."""

    def __init__(self):
        self.me, self.values = self, [0.0] * 1000
        built.append(weakref.ref(self))


class Model:
    def __init__(self, precision, weights):
        self.me, self.weights = self, Weights()

    def __call__(self, payloads):
        return payloads

    def change(self, *, weights):
        self.weights = Weights()


def there():
    return [seen() is not None for seen in built]


def hosted(name="Model"):
    return HostedModel(Builder(f"{__name__}:{name}"), ["x"], SetAside(ours=True))


def test_a_model_that_is_ready_is_in_no_collection_nor_is_what_was_imported():
    host, all_there_is = hosted(), len(gc.get_objects())
    asyncio.run(host.take_on(FULL))
    assert gc.get_freeze_count() > all_there_is / 2 > 10_000
    assert len(gc.get_objects()) < all_there_is / 100
    assert not any(isinstance(each, Weights) for each in gc.get_objects())
    asyncio.run(host.close())


def test_models_that_are_built_changed_and_closed_time_and_again_are_gone_once_there_is_another():
    host = hosted()
    gc.freeze()  # as Serve does when a replica has started; it is not the model's doing

    async def four_times():
        for i in range(4):
            first = replace(FULL, precision=("float32", "bfloat16")[i % 2])
            await host.take_on(first)  # built, also after it was closed
            await host.take_on(replace(first, args={"weights": 1}))  # changed in place
            assert there() == [False] * (len(built) - 1) + [True] and gc.get_freeze_count()
            if i % 3 == 2:
                await host.close()
                assert not any(there())

    asyncio.run(four_times())
    asyncio.run(host.close())
    assert len(built) == 8 and not any(there())


def test_what_changes_nothing_of_the_model_makes_no_collection():
    host = hosted()
    asyncio.run(host.take_on(FULL))
    full_ones = gc.get_stats()[-1]["collections"]
    asyncio.run(host.take_on(replace(FULL, batch_wait_ms=5)))
    assert gc.get_stats()[-1]["collections"] == full_ones
    asyncio.run(host.close())


def freezes_itself(precision, weights):
    gc.freeze()
    return Model(precision, weights)


def disables(precision, weights):
    gc.disable()
    return Model(precision, weights)


def test_a_collector_that_the_model_manages_itself_is_left_as_it_has_set_it():
    asyncio.run(hosted("disables").take_on(FULL))
    assert not gc.isenabled() and gc.get_freeze_count() == 0
    gc.enable()
    host = hosted("freezes_itself")
    asyncio.run(host.take_on(FULL))
    frozen = gc.get_freeze_count()
    asyncio.run(host.take_on(replace(FULL, args={"weights": 1})))
    asyncio.run(host.close())
    assert frozen * 0.9 < gc.get_freeze_count() <= frozen


def test_a_collector_of_a_process_that_is_not_the_models_alone_is_left_alone():
    host = HostedModel(Builder(f"{__name__}:Model"), ["x"])
    asyncio.run(host.take_on(FULL))
    assert gc.get_freeze_count() == 0
    gc.freeze()
    asyncio.run(host.close())
    assert gc.get_freeze_count() > 10_000
