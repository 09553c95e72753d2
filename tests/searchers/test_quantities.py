import pytest

from searchers.quantities import PRICE, ROLES, role


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("rps", "rate"), ("tokens_per_s", "rate"), ("error_rate", "rate"), ("items_per_ms", "rate"),
        ("p99_ms", "latency"), ("latency", "latency"), ("mean_latency_s", "latency"), ("wait_us", "latency"),
        ("ttft_ms", "ttft"), ("p99_ttft_ms", "ttft"), ("tpot_ms", "tpot"), ("itl_p50_ms", "tpot"), ("TTFT", "ttft"),
        ("P99_MS", "latency"), ("setting", "rate"), ("title", "rate"), ("alarms", "rate"), ("latency_per_s", "rate"),
    ],
)  # fmt: skip
def test_roles_by_name(metric, expected):
    assert role(metric) == expected


def test_there_are_four_roles_and_the_price_has_none_of_times():
    assert ROLES == ("rate", "latency", "ttft", "tpot") and PRICE == "usd_per_hour" and role(PRICE) == "rate"
