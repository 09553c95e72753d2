"""Whatever was measured: no number that is shown lies outside its interval, and no estimate outside its bounds."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raytune_infer.errors import AllFailed
from raytune_infer.ranking.recommendation import RunConditions, rank
from raytune_infer.report.recommendation_report import recommendation_view
from raytune_infer.report.renderers.json_view import as_dict
from raytune_infer.report.study_report import result_view
from raytune_infer.report.view import Quantity, View
from raytune_infer.store.records import Outcome, Purpose, TrialRecord
from raytune_infer.store.run_folder import RunFolder
from raytune_infer.study.result import conclude
from searchers.base import Problem
from searchers.objective import Expression, Objective
from searchers.space import Knob, Space
from serve_deployments.metrics.level_result import LevelResult
from tests.raytune_infer.ranking.ranked_trials import level

HELD = {"p99_ms": 100.0, "error_rate": 0.1}
SPACE = Space([Knob("batch", (1, 2, 4))])

loads = st.builds(
    lambda rps, p99_ms, errors, overloaded, limited, mode, steady: level(
        rps, p99_ms, error_rate=errors, overloaded=overloaded and not mode, clients=mode, client_limited=limited,
        achieved_rps=0.95 * rps, rate_rps=0.95 * rps if overloaded or mode else rps * (1 - errors), steady=steady,
        rate_low_rps=0.9 * rps, rate_high_rps=0.99 * rps,
    ),
    st.integers(5, 900), st.floats(5, 400), st.floats(0, 0.2), st.booleans(), st.booleans(),
    st.sampled_from([None, None, 1, 8, 64]), st.booleans(),
)  # fmt: skip


def record(
    number: int, purpose: Purpose, position: int, levels: list[LevelResult], part: float, spread: float | None,
    early: bool,
) -> TrialRecord:  # fmt: skip
    """A trial that reported its first level, at some part of its rate."""
    rps = part * levels[0].rate_rps
    ends = None if spread is None else (rps / (1 + spread), rps * (1 + spread))
    metrics = {**levels[0].metrics, "rps": rps}
    outcome = Outcome(
        metrics, levels=tuple(levels), reported=0, interval_rps=ends, ended_early=early,
        client_limited=any(at.client_limited for at in levels),
    )  # fmt: skip
    value = Objective(Expression("rps"), at_most=HELD).value(metrics, 1.0)
    return TrialRecord(number, purpose, position, SPACE[position], 1.0, value, outcome, 5.0, False)


a_trial = st.tuples(
    st.integers(0, 2), st.lists(loads, min_size=1, max_size=5), st.floats(0.5, 2.0),
    st.one_of(st.none(), st.floats(0, 0.5)), st.booleans(),
)  # fmt: skip
searches, finals = st.lists(a_trial, min_size=1, max_size=4), st.lists(a_trial, max_size=6)


def told(searched: list, compared: list) -> list[TrialRecord]:
    begun = [record(number, "search", *one) for number, one in enumerate(searched, start=1)]
    return begun + [record(number, "final", *one) for number, one in enumerate(compared, start=len(begun) + 1)]


def quantities(view: View) -> Iterator[Quantity]:
    for table in view.tables:
        yield from (cell for row in table.rows for cell in row.cells if isinstance(cell, Quantity))
    for section in view.sections:
        yield from quantities(section)


def check(view: View) -> None:
    for shown in quantities(view):
        assert shown.low is None or shown.low <= shown.value <= shown.high
    assert json.dumps(as_dict(view), allow_nan=False)


@given(searches, finals, st.sampled_from([{}, HELD, {"p99_ms": 40.0}, {"p99_ms": 300.0}, {"error_rate": 0.01}]))
def test_in_a_ranking(searched, compared, limits):
    objective = Objective(Expression("rps"), at_most=limits)
    found = rank(told(searched, compared), objective, RunConditions(HELD, 0.05, default=0))
    view = recommendation_view(found)
    check(view)
    [table] = view.tables
    for rate, below, about in zip(*map(table.column, ("rate_rps", "below_rps", "estimate_rps")), strict=True):
        low = 0.0 if rate is None else rate.value
        assert below is None or low <= below
        for number in () if about is None else (about.value, about.low or about.value, about.high or about.value):
            assert low <= number and (below is None or number <= below)


@given(searches, finals)
def test_in_what_a_study_ends_with(searched, compared):
    problem = Problem(SPACE, Objective(Expression("rps"), at_most=HELD), np.ones(3))
    try:
        result = conclude(RunFolder(Path("run"), None, 1), problem, told(searched, compared), 0, "ours")
    except AllFailed:
        return
    check(result_view(result, {}))


@pytest.mark.parametrize("ends", [(650.0, 910.0), (100.0, 389.0), (380.0, None), (None, 400.0)])
def test_a_number_outside_its_interval_cannot_be_shown(ends):
    with pytest.raises(ValueError, match="an interval around 390.0 is needed, got "):
        Quantity(390.0, *ends)
    assert Quantity(390.0, 390.0, 390.0) and Quantity(390.0)
