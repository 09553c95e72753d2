"""Levels as they are stored: every field there and back, what older records leave out, and what newer ones have."""

import json
from dataclasses import MISSING, fields, replace
from typing import Any

import pytest

from raytune_infer.store.levels import KEPT_BATCHES, level_from_json, level_to_json, usage_from_json, usage_to_json
from serve_deployments.metrics.distribution import Distribution
from serve_deployments.metrics.level_result import LevelResult
from serve_deployments.metrics.metric_table import METRICS, PERCENTILES, REQUEST_TIMES, Metric
from serve_deployments.resources.usage import RECENT, BatchTime, Usage
from tests.levels import a_level

USAGE: dict[str, Any] = {
    "seconds": 3.0, "batches": {1: 2, 4: 5}, "busy_s": 1.5, "cpu_s": 2.5, "gpu_busy_s": 0.5, "gpu_seen_s": 1.0,
    "memory_bytes": 1000, "gpu_memory_bytes": 2000, "queue": 3, "queue_most": 4, "others_s": 0.25, "cores_s": 6.0,
    "load_s": 0.5, "recent": (BatchTime(1, 0.125), BatchTime(4, 0.25)),
}  # fmt: skip
LEVEL: dict[str, Any] = {
    "samples": 50, "counts": {"output_per_s": 7.5},
    "mode": "closed", "concurrency": 4, "requested_rps": 12.5, "achieved_rps": 9.5, "rate_rps": 9.75,
    "duration_s": 2.0, "completed": 19, "errors": 1, "error_rate": 0.05,
    "distributions": {"latency": Distribution.of([0.1, 0.2, 0.3])}, "steady": True, "overloaded": True,
    "fell_behind": True, "client_cpu_share": 0.1, "client_lag_ms": 0.5, "client_limited": True, "warmup_s": 0.4,
    "started_at": 1e9, "ended_at": 1e9 + 3, "rate_low_rps": 9.0, "rate_high_rps": 10.0, "first_error": "Full: no",
    "usage": Usage(**USAGE), "senders": 3, "stalled": 7, "stalled_s": 0.75, "unanswered": 2, "unanswered_s": 1.5,
    "failed_samples": ((4, "ValueError: no"),),
}  # fmt: skip


def stored(level):
    return json.loads(json.dumps(level_to_json(level), allow_nan=False))


@pytest.mark.parametrize(("made_of", "values"), [(Usage, USAGE), (LevelResult, LEVEL)])
def test_every_field_comes_back_from_json(made_of, values):
    """Each has another value than it would have unless it was told, so that one which is dropped is missed."""
    assert set(values) == {field.name for field in fields(made_of)}
    unless_told = {field.name: field.default for field in fields(made_of) if field.default is not MISSING}
    assert all(values[name] != default for name, default in unless_told.items())
    one = made_of(**values)
    there, back = (level_to_json, level_from_json) if made_of is LevelResult else (usage_to_json, usage_from_json)
    assert back(json.loads(json.dumps(there(one), allow_nan=False))) == one


def test_a_level_without_answers_comes_back():
    silent = a_level(10.0, latency_s=[])
    assert level_from_json(stored(silent)) == silent and stored(silent)["p99_ms"] is None


def test_metrics_stand_in_a_record_by_their_own_names():
    table = stored(a_level(10.0, error_rate=0.25, rate_rps=7.5))
    assert {name: table[name] for name in METRICS if name in table and name != "rps"} == {
        name: value for name, value in level_from_json(table).metrics.items() if name != "rps"
    }
    assert table["rate_rps"] == 7.5 and table["error_rate"] == 0.25


@pytest.fixture(autouse=True)
def counting(monkeypatch):
    """A metric that counts, beside ours."""
    counted = Metric("output_per_s", "tokens/s", "higher", "tokens per second", counted=lambda one: one.size_out)
    monkeypatch.setitem(METRICS, "output_per_s", counted)


@pytest.mark.parametrize("name", [field.name for field in fields(LevelResult) if field.default is not MISSING])
def test_records_of_an_earlier_revision_are_read_without_what_they_did_not_have(name):
    table = stored(LevelResult(**LEVEL))
    del table[name]
    told = {key: value for key, value in LEVEL.items() if key != name}
    assert level_from_json(table) == LevelResult(**told)


def test_what_counts_is_stored_by_its_metrics_name_and_missing_where_it_was_not_counted():
    table = stored(LevelResult(**LEVEL))
    assert table["output_per_s"] == 7.5 and "counts" not in table
    del table["output_per_s"]
    assert level_from_json(table) == LevelResult(**LEVEL | {"counts": {}})


def test_the_oldest_records_are_read_by_what_they_have():
    oldest = {
        "mode": "open", "requested_rps": 10.0, "achieved_rps": 9.5, "p99_ms": 40.0, "steady": False,
        "overloaded": True, "client_limited": True,
    }  # fmt: skip
    level = level_from_json(oldest)
    assert (level.mode, level.asked, level.rate_rps, level.completed) == ("open", 10.0, 9.5, 0)
    assert (level.steady, level.client_limited, level.overloaded, level.fell_behind) == (False, True, True, False)
    assert level.metrics == {"rps": 9.5, "p99_ms": 40.0}  # how many failed is not known
    assert level.value("p97_ms") is None and level.above("p99_ms", 10.0) is None and level.interval_rps is None


def test_what_newer_records_have_besides_is_left_alone():
    level = a_level(10.0)
    assert level_from_json({**stored(level), "unheard_of": 1}) == level


def test_recorded_percentiles_and_the_histograms_are_the_same():
    table = stored(a_level(10.0, latency_s=[0.001 * i for i in range(1, 400)]))
    without = level_from_json({k: v for k, v in table.items() if k not in PERCENTILES})
    assert {name: without.value(name) for name in PERCENTILES} == {name: table[name] for name in PERCENTILES}


def test_a_percentile_that_was_recorded_counts_before_the_histogram():
    level = level_from_json({**stored(a_level(10.0)), "p99_ms": 7.0})
    assert level.value("p99_ms") == 7.0 and level.value("p98_ms") > 100
    assert level.with_metrics(["p98_ms", "speed"]) == {**level.metrics, "p98_ms": level.value("p98_ms")}


def test_the_word_of_the_rule_counts_where_it_was_kept():
    """Of 100 due 5 came: by its counts it fell behind, and its rule said that it did not, or the other way round."""
    for said in (False, True):
        for completed in (5, 100):
            level = a_level(10.0, overloaded=True, fell_behind=said, completed=completed, duration_s=10.0)
            assert level_from_json(stored(level)).fell_behind is said


def test_before_that_a_level_fell_behind_by_5_percent_and_a_deviation():
    def fell_behind(due, missing, *, overloaded=True, **more):
        level = a_level(
            due / 10, overloaded=overloaded, completed=due - missing - 5, errors=5, duration_s=10.0, **more
        )  # fmt: skip
        return level_from_json({k: v for k, v in stored(level).items() if k != "fell_behind"}).fell_behind

    # Of 400: 20 + 20; of 10,000: 500 + 100. An error is an answer.
    assert [fell_behind(400, missing) for missing in (40, 41)] == [False, True]
    assert [fell_behind(10_000, missing) for missing in (600, 601)] == [False, True]
    assert not fell_behind(400, 41, warmup_s=0.0) and not fell_behind(400, 41, overloaded=False)
    closed = stored(a_level(clients=4, overloaded=True))
    del closed["fell_behind"]
    assert not level_from_json(closed).fell_behind


@pytest.mark.parametrize("batches", [0, 1, KEPT_BATCHES, KEPT_BATCHES + 1, RECENT])
def test_a_record_keeps_some_batches_of_all_its_time(batches):
    usage = Usage(recent=tuple(BatchTime(1 + i, i / 7) for i in range(batches)))
    kept = usage_from_json(json.loads(json.dumps(usage_to_json(usage)))).recent
    assert min(batches, KEPT_BATCHES // 2) <= len(kept) <= KEPT_BATCHES
    assert all(batch.seconds == pytest.approx((batch.size - 1) / 7, rel=1e-3) for batch in kept)
    assert batches < 2 or kept[-1].size - kept[0].size > 0.9 * (batches - 1) - 1


def test_a_time_of_its_own_is_stored_beside_the_latencies(monkeypatch):
    from serve_deployments.metrics.metric_table import RequestTime

    monkeypatch.setitem(REQUEST_TIMES, "ttft", RequestTime("ttft", "ttft_", "time to first token", lambda r: r.first_s))
    level = a_level(10.0)
    both = replace(level, distributions={**level.distributions, "ttft": Distribution.of([0.01, 0.02])})
    assert level_from_json(stored(both)) == both and stored(both)["ttft_max_ms"] == 20.0
    assert level_from_json(stored(level)) == level  # one that was stored before there was such a thing
