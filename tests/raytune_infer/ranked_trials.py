"""Trials of a study as levels of load written by hand, and their ranking."""

from raytune_infer.ranking.recommendation import rank
from raytune_infer.store.records import Outcome, TrialRecord
from searchers.objective import Expression, Objective


def level(rps, p99_ms, **more):
    record = {
        "mode": "open", "concurrency": None, "requested_rps": rps, "achieved_rps": rps, "p99_ms": p99_ms,
        "p50_ms": p99_ms / 3, "error_rate": 0.0, "steady": True, "overloaded": False, "client_limited": False,
        "duration_s": 3.0, "completed": 3 * rps, "errors": 0, "warmup_s": 1.0,
    }  # fmt: skip
    return {**record, **more}


def trial(number, position, *levels, usd=1.0, purpose="search", config=None, rps=None, **more):
    config = config or {"max_batch_size": 2**position}
    outcome = Outcome({"rps": rps or (levels[0]["achieved_rps"] if levels else 0.0)}, loads=levels, **more)
    return TrialRecord(number, purpose, position, config, usd, None, outcome, 1.0, False)


def ranked(*trials, goal="rps", held_under=100.0, minimize=False, book=None, at_least=None, arrivals=None, **limits):
    objective = Objective(Expression(goal), minimize, limits, at_least or {})
    return rank(
        trials, objective, held_under={"p99_ms": held_under}, precision=0.1, book=book, size=8, arrivals=arrivals
    )
