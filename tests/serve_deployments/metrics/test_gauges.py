"""Gauges that are set again, as Ray forgets them otherwise: what Ray is told is kept in place of being exported."""

import pickle

import pytest

from serve_deployments.metrics.shown import gauges
from serve_deployments.metrics.shown.gauges import Gauges
from serve_deployments.metrics.shown.series import Series

RATE = Series("raytune_infer_rate_rps", "A rate.", ("study", "run", "kind"))
LABELS = {"study": "a", "run": "1"}


@pytest.fixture
def told(monkeypatch):
    """What Ray was told since it was last looked at: name, value and labels."""
    told = []

    class Told:
        def __init__(self, name, description, tag_keys):
            self.name, self.keys = name, tag_keys

        def set(self, value, tags):
            assert set(tags) == set(self.keys)
            told.append((self.name, value, tags["kind"]))

    monkeypatch.setattr(gauges, "Gauge", Told)
    return told


def test_every_value_is_told_again_as_it_was_set_last(told):
    with Gauges([RATE], LABELS) as shown:
        shown.set(RATE, 1.0, kind="x")
        shown.set(RATE, 2.0, kind="y")
        shown.set(RATE, 3.0, kind="x")
        told.clear()
        shown.set_again()
        assert sorted(told) == [(RATE.name, 2.0, "y"), (RATE.name, 3.0, "x")]


def test_it_is_told_again_by_itself_until_the_end(told, monkeypatch):
    monkeypatch.setattr(gauges, "_AGAIN_S", 0.001)
    with Gauges([RATE], LABELS) as shown:
        shown.set(RATE, 1.0, kind="x")
        while len(told) < 5:  # the test's own limit ends it if nothing is told
            pass
        keeper = shown._keeper
    assert keeper is not None
    keeper.join(timeout=30)
    assert not keeper.is_alive(), "the end ends it"


def test_it_goes_to_another_process_with_its_labels(told):
    sent = pickle.loads(pickle.dumps(Gauges([RATE], LABELS)))
    with sent:
        sent.set(RATE, 4.0, kind="z")
    assert told[0] == (RATE.name, 4.0, "z")
