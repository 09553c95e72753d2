"""What a replica runs before any load: every usual size, without refused samples, within a time that is said."""

import asyncio

import pytest

from serve_deployments.fakes.virtual_replicas import run_virtual
from serve_deployments.models.context import ModelError
from serve_deployments.replicas.batching.first_batches import SHAPES_S, FirstBatches, usual_sizes


class Model:
    """Takes time by what it is given, in virtual time; refuses `bad`; writes down the batches."""

    def __init__(self, took_s=lambda model, payloads: 0.01):
        self.took_s, self.batches, self.shapes = took_s, [], set()

    async def __call__(self, payloads):
        self.batches.append(list(payloads))
        await asyncio.sleep(self.took_s(self, payloads))
        if "bad" in payloads:
            raise ValueError("no such language")
        return payloads

    @property
    def sizes(self):
        return [len(batch) for batch in self.batches]


def by_shape(model, payloads):
    """0.3 s more for each new number of payloads with this longest one."""
    shape = len(payloads), max(map(len, payloads))
    known = shape in model.shapes
    model.shapes.add(shape)
    return 0.005 + (0.0 if known else 0.3)


def ready(model, samples, size, needed=None):
    async def made():
        first = FirstBatches(model, samples, clock=asyncio.get_running_loop().time)
        await first.make_ready(needed or (size,), size)
        return first, asyncio.get_running_loop().time()

    return run_virtual(made())


def test_a_result_that_no_client_could_get_over_http_ends_it_with_the_words_of_the_answer():
    async def odd(payloads):
        return [{"found": object.__init__} for _ in payloads]

    with pytest.raises(ModelError, match="the result has a value of type wrapper_descriptor, which JSON does not have"):
        ready(odd, ["a"], 2)


def test_the_usual_sizes_are_the_largest_and_the_powers_of_two_below():
    assert usual_sizes(1) == (1,) and usual_sizes(8) == (8, 4, 2, 1) and usual_sizes(10) == (10, 8, 4, 2, 1)


def test_a_batch_of_each_usual_size_is_run_once_and_a_model_that_is_as_fast_at_first_no_more():
    model = Model()
    first, _ = ready(model, ["a", "b", "c"], 8)
    assert model.batches[0] == ["a", "b", "c", "a", "b", "c", "a", "b"] and model.sizes[:4] == [8, 4, 2, 1]
    assert model.sizes[4:] == [1, 1, 3, 3] and first.told is None and first.tried == {1, 2, 4, 8}


def test_sizes_that_have_been_run_are_not_run_again():
    async def twice():
        model = Model()
        first = FirstBatches(model, ["a"], clock=asyncio.get_running_loop().time)
        await first.make_ready((4,), 4)
        before = len(model.batches)
        await first.make_ready((2,), 2)
        assert len(model.batches) == before
        await first.make_ready((8,), 8)
        assert model.sizes[before:] == [8]

    run_virtual(twice())


def test_what_a_model_asks_for_is_run_however_long_it_takes():
    model = Model(lambda model, payloads: 20.0)
    first, took_s = ready(model, ["a"], 8, needed=(8, 6))
    assert model.sizes == [8, 6] and took_s == 40.0
    assert first.told is not None and not first.told.enforced
    assert first.told.how.startswith("batches of 4, 2, 1 would have taken more than 10 s")


def test_where_each_size_costs_once_all_are_run():
    model = Model(by_shape)
    first, took_s = ready(model, ["x"], 5)
    assert {size for size, _ in model.shapes} == {1, 2, 3, 4, 5} and first.told is None and took_s < 3


def test_where_each_length_costs_once_as_many_are_run_as_there_is_time_for_and_the_rest_is_said():
    model = Model(by_shape)
    first, took_s = ready(model, ["x" * n for n in range(1, 17)], 8)
    assert 10.0 <= took_s < 11.0 and len(model.shapes) > 25
    assert first.told is not None and "took up to 0.3 s more the first time; after 10 s not all" in first.told.how


@pytest.mark.parametrize("at", [0, 3, 9])
def test_a_sample_that_the_model_refuses_keeps_no_size_from_being_run(at):
    model = Model()
    samples = [f"text {n}" for n in range(20)]
    samples[at] = "bad"
    first, _ = ready(model, samples, 16)
    assert {16, 8, 4, 2, 1} <= first.tried and "bad" not in first.samples and len(first.samples) == 19
    assert any(len(batch) == 16 and "bad" not in batch for batch in model.batches)


def test_a_model_that_runs_no_sample_or_not_this_many_is_refused():
    with pytest.raises(ValueError, match="no such language"):
        ready(Model(), ["bad"], 4)

    def up_to_eight(model, payloads):
        if len(payloads) > 8:
            raise ValueError("8 at most")
        return 0.01

    with pytest.raises(ValueError, match="8 at most"):
        ready(Model(up_to_eight), ["a", "b"], 16)


class Taking(Model):
    """Takes the text out of each payload, as a model may do with what is its own."""

    async def __call__(self, payloads):
        return await super().__call__([payload.pop("text") for payload in payloads])


@pytest.mark.parametrize("size", [4, 8, 16])
def test_samples_stay_as_they_are_whatever_the_model_does_with_its_payloads(size):
    samples = [{"text": "bad" if n == 3 else f"text {n}"} for n in range(40)]
    first, _ = ready(Taking(), samples, size)
    assert size in first.tried and [*first.samples] == [{"text": f"text {n}"} for n in range(40) if n != 3]


def test_one_time_costs_are_seen_of_a_model_that_changes_its_payloads():
    model = Taking(by_shape)
    first, _ = ready(model, [{"text": "x"}], 7)
    assert {size for size, _ in model.shapes} == {1, 2, 3, 4, 5, 6, 7} and first.told is None


def shapes_run(model, batches):
    async def made():
        first = FirstBatches(model, ["a", "b", "bad"], clock=asyncio.get_running_loop().time)
        await first.run_shapes(batches, SHAPES_S)
        return first

    return run_virtual(made())


def test_shapes_are_run_until_the_time_is_up_and_what_is_left_is_said():
    model = Model(lambda model, payloads: SHAPES_S / 4)
    first = shapes_run(model, [(0, 1), (0,), (1,), (1, 1), (0, 0)])
    assert model.batches == [["a", "b"], ["a"], ["b"], ["b", "b"]] and not first.told.enforced
    assert first.told.how.startswith("1 of the 5 shapes that batches of the samples can have were not recorded within")
    assert shapes_run(Model(), [(0, 1), (0,)]).told is None


def test_a_shape_of_a_refused_sample_is_passed_over_but_not_one_without_room():
    model = Model()
    shapes_run(model, [(2, 2), (0,)])
    assert model.batches == [["bad", "bad"], ["a"]]

    def full(model, payloads):
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    with pytest.raises(RuntimeError, match="out of memory"):
        shapes_run(Model(full), [(0, 1)])


def test_what_was_said_before_is_not_forgotten():
    async def made():
        first = FirstBatches(Model(lambda model, payloads: 20.0), ["a"], clock=asyncio.get_running_loop().time)
        await first.make_ready((8, 6), 8)
        await first.run_shapes([(0,)], asyncio.get_running_loop().time())
        return first.told.how

    how = run_virtual(made())
    assert "batches of 4, 2, 1 would have taken more than 10 s" in how and "; 1 of the 1 shapes" in how
