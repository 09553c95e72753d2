"""A payload that is kept is given again as it was, whatever a model has done to the first one."""

import threading

import numpy as np
import pytest
import torch

from serve_deployments.models.sendable import kept


def written(payload):
    payload["pixels"] *= 0
    payload["texts"].append("more")
    del payload["size"]


def test_what_is_kept_is_given_as_often_as_wanted_each_time_anew():
    payload = {"pixels": np.asfortranarray(np.arange(6.0).reshape(2, 3)), "texts": ["a"], "size": torch.ones(2)}
    again = kept(payload)
    written(payload)
    for _ in range(2):
        given = again()
        assert given["pixels"].tolist() == [[0, 1, 2], [3, 4, 5]] and given["texts"] == ["a"]
        assert given["pixels"].flags.f_contiguous and given["size"].tolist() == [1, 1]
        written(given)


@pytest.mark.parametrize("writeable", [True, False])
def test_an_array_may_be_written_to_if_the_first_one_could(writeable):
    array = np.arange(3)
    array.flags.writeable = writeable
    assert kept(array)().flags.writeable is writeable


@pytest.mark.parametrize("payload", [None, True, 2**70, 1.5, 2j, "text" * 100, b"file" * 100], ids=str)
def test_what_cannot_change_is_not_copied(payload):
    assert kept(payload)() is payload


def test_what_cannot_be_copied_raises():
    with pytest.raises(TypeError):
        kept([threading.Lock()])
