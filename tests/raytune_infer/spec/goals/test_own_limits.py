"""Limits of each request and the share that must keep them, from service.yaml to what a load test is given."""

from pathlib import Path

import pytest

from raytune_infer.errors import SpecError
from raytune_infer.spec.document import Document
from raytune_infer.spec.service import Service
from raytune_infer.spec.service_spec import parse_spec
from serve_deployments.metrics.request_limits import RequestLimits

SPEC = """\
name: chat
model: {{build: "cluster.emulated:model", args: {{profile: bert-base}}}}
samples: [x]
knobs: {{cpu_cores: [1, 2]}}
objective: {objective}
limits: {limits}
"""


def spec(limits, objective="{maximize: rps}", more=""):
    text = SPEC.format(limits=limits, objective=objective) + more
    return parse_spec(Document(text, "chat.yaml"), folder=Path())


def test_limits_of_each_request_reach_the_load_test_as_one_share():
    read = spec("{ttft_ms: 500, tpot_ms: 50, attainment: 0.95, error_rate: 0.01}", "{maximize: goodput / usd_per_hour}")
    assert read.latency_limits == read.goal.at_most == {"missed": 0.05, "error_rate": 0.01}
    assert read.request_limits == RequestLimits({"ttft": 0.5, "tpot": 0.05})
    assert Service(read).plan.request_limits == read.request_limits
    assert spec("{ttft_p99_ms: 500}").request_limits is None


@pytest.mark.parametrize(
    ("limits", "objective", "said"),
    [
        ("{ttft_ms: 500}", "{maximize: rps}", r"chat.yaml:6: limits.ttft_ms: .*which share.*`attainment: 0.95`"),
        ("{attainment: 0.9}", "{maximize: rps}", r"limits.attainment: .*latency_ms, ttft_ms, tpot_ms, itl_ms"),
        ("{attainment: 95, ttft_ms: 1}", "{maximize: rps}", r"attainment is a share from 0 to 1, got 95; .*write 0.95"),
        ("{missed: 0.1, ttft_ms: 1, attainment: 0.9}", "{maximize: rps}", r"limits.missed: write `attainment: 0.9`"),
        ("{ttft_ms: 0, attainment: 0.9}", "{maximize: rps}", "limits.ttft_ms: a request takes longer than 0 ms"),
        ("{p99_ms: 9}", "{maximize: goodput}", "objective.maximize: goodput counts the requests that keep their own"),
        ("{p99_ms: 9}", "{maximize: rps, at_least: {attainment: 0.9}}", "objective.at_least: attainment counts"),
        ("{goodput: 9, ttft_ms: 9, attainment: 0.9}", "{maximize: rps}", "limits are upper bounds"),
    ],
)  # fmt: skip
def test_what_is_missing_or_wrong_is_said_with_the_remedy(limits, objective, said):
    with pytest.raises(SpecError, match=said):
        spec(limits, objective)


def test_an_attainment_is_not_judged_at_a_peak():
    with pytest.raises(SpecError, match="limits.attainment: with `load.find: peak`"):
        spec("{ttft_ms: 5, attainment: 0.9}", more="load: {find: peak}\n")
