"""Samples in a config file: what the model gets of them is what it got in the trials."""

import json

import numpy as np
import pytest

from serve_deployments.replicas.http.payload_type import BadPayload, PayloadType
from serve_deployments.replicas.http.warm_up import MOST_BYTES, MOST_SAMPLES, from_config, in_config


@pytest.mark.parametrize(
    "samples",
    [
        [{"text": "a", "n": 1}, {"text": "é", "n": None}],
        ["a text", "\u2028 another"],
        [b"\x89PNG", b""],
        list(np.arange(6, dtype=np.float32).reshape(2, 3)),
        list(np.array([[1.5, np.nan]])),
        list(np.arange(3)),
    ],
    ids=["json", "texts", "bytes", "arrays", "arrays with NaN", "scalars"],
)
def test_they_come_back_as_they_were(samples):
    payload_type = PayloadType.of(samples)
    values = in_config(samples, payload_type)
    assert json.loads(json.dumps(values)) == values
    again = from_config(values, payload_type)
    np.testing.assert_equal(again, samples)
    assert [type(each) for each in again] == [type(each) for each in samples]


def test_a_config_stays_small_and_has_what_fits():
    large, small = "x" * (MOST_BYTES // 2 - 2), "y" * 100  # the quotes of JSON count
    assert in_config([large, large, small], PayloadType("text")) == [large, large]
    assert in_config([large, small, large, small], PayloadType("text")) == [large, small, small]
    assert in_config(["x" * MOST_BYTES], PayloadType("text")) == []
    assert len(in_config([small] * 100, PayloadType("text"))) == MOST_SAMPLES


def test_what_no_client_could_send_as_json_is_left_out():
    arrays = [np.zeros(2, np.float32), np.zeros(2, np.float64)]  # of two types, so a list could be either
    assert in_config(arrays, PayloadType.of(arrays)) == []
    assert in_config([object(), {"a": 1}], PayloadType("json")) == [{"a": 1}]


def test_a_value_that_someone_wrote_wrongly_is_refused():
    with pytest.raises(BadPayload, match="a text is needed"):
        from_config([1], PayloadType("text"))
