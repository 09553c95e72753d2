"""Trials of a study as levels of load written by hand, and their ranking."""

from raytune_infer.ranking.recommendation import RunConditions, rank
from raytune_infer.store.records import Outcome, TrialRecord
from searchers.objective import Expression, Objective
from tests.levels import a_level


def level(rps, p99_ms, *, p50_ms=None, clients=None, **more):
    values = {"p99_ms": p99_ms, "p50_ms": p99_ms / 3 if p50_ms is None else p50_ms}
    known = {"achieved_rps": rps, "duration_s": 3.0, "completed": 3 * rps, "warmup_s": 1.0}
    return a_level(None if clients else rps, clients, values=values, **{**known, **more})


def trial(number, position, *levels, usd=1.0, purpose="search", config=None, rps=None, **more):
    config = config or {"max_batch_size": 2**position}
    outcome = Outcome({"rps": rps or (levels[0].achieved_rps if levels else 0.0)}, levels=levels, **more)
    return TrialRecord(number, purpose, position, config, usd, None, outcome, 1.0, False)


def ranked(*trials, goal="rps", held_under=100.0, minimize=False, book=None, at_least=None, arrivals=None, **limits):
    objective = Objective(Expression(goal), minimize, limits, at_least or {})
    return rank(trials, objective, RunConditions({"p99_ms": held_under}, 0.1, arrivals, size=8), book=book)
