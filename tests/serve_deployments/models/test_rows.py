"""What a model returns is in rows, one for each payload, or refused with the remedy."""

import copy
import pickle
from array import array
from collections import OrderedDict, deque
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch

from serve_deployments.models.context import ModelError
from serve_deployments.models.rows import checked, owned


@pytest.mark.parametrize(
    "results",
    [[1, 2], (1, 2), np.array([1, 2]), torch.tensor([1, 2]), deque([1, 2]), range(1, 3), array("i", [1, 2])],
    ids=lambda results: type(results).__name__,
)
def test_rows_are_taken_whatever_they_are_in(results):
    assert checked("m", ["a", "b"], results) == [1, 2]


async def later():
    """A function whose result is to be awaited."""


async def one_by_one():
    yield 1


class Table:
    """As a pandas or polars frame: as long as it has rows, but iterating gives its columns."""

    columns = ("label", "score")

    def __len__(self):
        return 2

    def __getitem__(self, column):
        return [0, 0]

    def __iter__(self):
        return iter(self.columns)


@pytest.mark.parametrize(
    ("results", "says"),
    [
        ({"label": [1, 2], "score": [3, 4]}, "a dict, which has columns instead of rows"),
        (OrderedDict(a=1, b=2), "an OrderedDict, which has columns instead of rows"),
        (Table(), "a Table, which has columns instead of rows"),
        (SimpleNamespace(column_names=["a"]), "a SimpleNamespace, which has columns instead of rows"),
        ((x for x in [1, 2]), "a generator, as a function with `yield` does"),
        (one_by_one(), "an async_generator, as a function with `yield` does"),
        (map(str, [1, 2]), "a map"),
        ({1, 2}, "a set"),
        ("ab", "a str for the whole batch"),
        (b"ab", "a bytes for the whole batch"),
        (None, "a NoneType"),
        (7, "an int"),
        (np.array(7), "a ndarray"),
        (torch.tensor(7), "a Tensor"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_is_not_in_rows_is_refused_even_with_the_right_length(results, says):
    with pytest.raises(ModelError) as refused:
        checked("m:build", ["a", "b"], results)
    assert str(refused.value) == f"m:build returned {says}; return a list, one result for each payload"


def test_a_result_that_has_to_be_awaited_is_refused():
    unawaited = later()
    with pytest.raises(ModelError, match="a coroutine instead of what it would give; make the function .*`async def`"):
        checked("m:build", ["a"], unawaited)
    unawaited.close()


def test_as_many_results_are_needed_as_payloads():
    with pytest.raises(ModelError, match="^m returned 2 results for 3 payloads; one each is needed$"):
        checked("m", ["a", "b", "c"], [1, 2])


class Pair(NamedTuple):
    scores: Any
    label: str


@dataclass(frozen=True)
class Found:
    scores: Any
    label: str


WRAPPED = [
    lambda a: a, lambda a: a[1:3], lambda a: [a, "x"], lambda a: (a, 1), lambda a: {"a": {"b": [a]}, "c": 1},
    lambda a: OrderedDict(a=a), lambda a: Pair(a, "x"), lambda a: Found(a, "x"), lambda a: [Found([a], "x")],
]  # fmt: skip


@pytest.mark.parametrize("wrap", WRAPPED)
@pytest.mark.parametrize("array", [np.zeros(4), np.zeros((4, 4), order="F"), torch.zeros(4), torch.zeros(4, 4).T])
def test_what_is_written_to_an_array_afterwards_does_not_change_a_result(wrap, array):
    array = array.copy() if isinstance(array, np.ndarray) else array.clone()
    result = wrap(array)
    before = pickle.dumps(result)
    mine = owned(result)
    assert type(mine) is type(result) and repr(mine) == repr(pickle.loads(before))
    array[:] = 1
    assert repr(mine) == repr(pickle.loads(before)) != repr(result)


@pytest.mark.parametrize(
    ("result", "write"),
    [
        ([1, 2], lambda it: it.append(3)),
        ({"a": 1}, lambda it: it.update(a=2)),
        ({"a": [1]}, lambda it: it["a"].append(2)),
        (([1], 2), lambda it: it[0].append(2)),
        (bytearray(b"ab"), lambda it: it.extend(b"c")),
        (np.zeros(2, dtype=[("x", "f4")])[0], lambda it: it.__setitem__("x", 1)),
    ],
)
def test_plain_containers_and_records_are_copied_too(result, write):
    mine, before = owned(result), repr(result)
    write(result)
    assert repr(mine) == before != repr(result) and type(mine) is type(result)


def objects(*elements: Any) -> Any:
    made = np.empty(len(elements), dtype=object)
    made[:] = elements
    return made


@pytest.mark.parametrize(
    "hold",
    [
        lambda part: objects(part, "x"),
        lambda part: {"a": [objects("x", {"b": part})]},
        lambda part: np.array([(part, 1)], dtype=[("o", object), ("n", int)]),
        lambda part: np.array([(part, 1)], dtype=[("o", object), ("n", int)])[0],
        lambda part: pd.Series([part, "x"]),
        lambda part: pd.DataFrame({"n": [1], "o": [part]}),
    ],
)
@pytest.mark.parametrize(("part", "write"), [([1], lambda it: it.append(2)), (np.zeros(3), lambda it: it.fill(7.0))])
def test_objects_in_an_array_share_no_memory_either(hold, part, write):
    part = copy.deepcopy(part)
    result = hold(part)
    mine, before = owned(result), repr(result)
    write(part)
    assert repr(mine) == before != repr(result) and type(mine) is type(result)


def test_rows_of_one_array_of_objects_share_nothing_with_one_another():
    shared = [0.5]
    first, second = checked("m", ["a", "b"], objects(objects(shared), objects(shared)))
    first[0].append(1.0)
    assert second[0] == [0.5] and shared == [0.5]


def test_an_array_of_objects_that_cannot_be_sent_is_copied_as_an_array():
    unsendable = objects(lambda: 1, 2)
    mine = owned(unsendable)
    unsendable[1] = 3
    assert mine[0] is unsendable[0] and mine[1] == 2


def test_a_view_of_bytes_becomes_the_bytes_that_it_shows():
    buffer = bytearray(b"abc")
    mine = owned(memoryview(buffer)[1:])
    buffer[:] = b"xyz"
    assert mine == b"bc"


def test_what_cannot_be_copied_is_handed_on_as_it_is():
    class Odd(dict[str, Any]):
        def update(self, *args: Any, **kwargs: Any) -> None:
            raise TypeError("it is frozen")

    endless: list[Any] = []
    endless.append(endless)
    for result in (object(), Odd(a=[1]), endless, Found):
        assert owned(result) is result


def test_a_row_of_a_tensor_is_sent_without_the_rest_of_its_batch():
    rows = checked("m", range(100), torch.zeros(100, 100))
    assert len(pickle.dumps(rows[0])) < 2 * 100 * 4


def test_a_tensor_with_a_gradient_is_sent_without_what_it_was_computed_from():
    [row] = checked("m", ["a"], torch.ones(1, 2, requires_grad=True) * 2)
    assert not row.requires_grad and row.tolist() == [2, 2]
