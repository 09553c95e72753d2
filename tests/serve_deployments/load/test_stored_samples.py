"""Samples in Ray's object store, without Ray: stored once, sent as a reference, read when first used."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest

from serve_deployments.load import stored_samples
from serve_deployments.load.stored_samples import StoredSamples


@pytest.fixture
def store(monkeypatch):
    """Ray's object store: what is in it by reference, and which references were read."""
    held: dict[str, object] = {}
    read: list[str] = []

    def put(samples):
        held[f"reference {len(held)}"] = samples
        return f"reference {len(held) - 1}"

    def get(reference):
        read.append(reference)
        return held[reference]

    monkeypatch.setattr(stored_samples, "ray", SimpleNamespace(put=put, get=get))
    return held, read


def test_samples_are_stored_once_and_sent_as_a_reference(store):
    held, read = store
    samples = ["x" * 1000 + str(n) for n in range(1000)]
    stored = StoredSamples.put(iter(samples))
    assert len(held) == 1 and len(pickle.dumps(stored)) < 200 and not read
    received = pickle.loads(pickle.dumps(stored))
    assert list(received) == samples and len(received) == 1000 and received[-1] == samples[-1]
    assert received[:2] == samples[:2] and received[998:5000] == samples[998:]
    assert read == ["reference 0"], "each process reads them once"
    assert len(pickle.dumps(received)) < 200, "whoever passes them on sends the reference too"
    with pytest.raises(IndexError):
        received[1000]


def test_each_sample_that_is_taken_is_a_writable_copy(store):
    """What lies in the object store, or in a mapped file, is not."""
    array = np.arange(4.0)
    array.flags.writeable = False
    stored = StoredSamples.put([array, {"image": array}])
    stored[0][:] = 7.0
    stored[1]["image"][:] = 7.0
    assert stored[0].tolist() == stored[1]["image"].tolist() == array.tolist() == [0.0, 1.0, 2.0, 3.0]
