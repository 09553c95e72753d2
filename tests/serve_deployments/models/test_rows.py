"""What a model returns is in rows, one for each payload, or refused with the remedy."""

from array import array
from collections import OrderedDict, deque
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from serve_deployments.models.context import ModelError
from serve_deployments.models.rows import checked


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
