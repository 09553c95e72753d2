"""Our searchers inside a Tuner; what they do by themselves is in test_tune_searcher."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray import tune
from ray.tune.error import TuneError
from ray.tune.execution.tune_controller import TuneController
from ray.tune.search import ConcurrencyLimiter

from searchers.base import History, Problem
from searchers.baselines.random_search import RandomSearch
from searchers.objective import Expression, Objective
from searchers.ray_tune.tune_searcher import TuneSearcher
from searchers.space import Knob, Space
from tests.searchers.ray_tune.trainables import fragile, measure, negative

pytestmark = pytest.mark.ray

SPACE = Space([Knob("a", (1, 2, 4)), Knob("b", ("x", "y"), "categorical")])
PARAM_SPACE = {"a": tune.choice([1, 2, 4]), "nested": {"b": tune.grid_search(["x", "y"]), "constant": 7}}


def fit(trainable, tmp_path: Path, searcher, *, param_space=None, name="run", **config):
    return tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        param_space=param_space,
        tune_config=tune.TuneConfig(search_alg=searcher, num_samples=-1, reuse_actors=True, **config),
        run_config=tune.RunConfig(name=name, storage_path=str(tmp_path), verbose=0),
    ).fit()


@pytest.fixture(autouse=True)
def _quiet(local_ray, monkeypatch):
    monkeypatch.setenv("RAY_AIR_NEW_OUTPUT", "0")
    monkeypatch.setenv("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")


def test_searches_param_space_with_metric_from_tune_config_until_exhausted(tmp_path):
    searcher = TuneSearcher(searcher=RandomSearch)
    results = fit(measure, tmp_path, searcher, param_space=PARAM_SPACE, metric="rps", mode="max",
                  max_concurrent_trials=2)  # fmt: skip
    assert len(results) == 6 and not results.errors
    best = results.get_best_result().config
    assert (best["a"], best["nested"]) == (4, {"b": "y", "constant": 7})
    assert not searcher.history.pending
    problem = searcher.problem
    assert problem.space[problem.best(searcher.history).position] == {"a": 4, "nested/b": "y"}


def test_own_space_and_metric_with_concurrency_limiter_and_mode_min(tmp_path):
    searcher = TuneSearcher(SPACE, "random", metric="rps", mode="min")
    results = fit(measure, tmp_path, ConcurrencyLimiter(searcher, max_concurrent=2))
    assert len(results) == 6
    problem = searcher.problem
    assert SPACE[problem.best(searcher.history).position] == {"a": 1, "b": "x"}


def test_failing_trials_and_missing_values_count_as_could_not_run(tmp_path):
    searcher = TuneSearcher(searcher="random", mode="min", metric="latency")
    param_space = {"a": tune.qrandint(2, 6, 2), "nested": {"constant": 7}}
    results = fit(fragile, tmp_path, searcher, param_space=param_space)
    assert len(results) == 3 and len(results.errors) == 1
    measured = {o.position for o in searcher.history.observed if o.metrics is not None}
    problem = searcher.problem
    assert {problem.space[p]["a"] for p in measured} == {6}
    assert all(o.metrics["constant"] == 7 for o in searcher.history.observed if o.metrics)


def test_choices_of_numpys_numbers_and_none_negative_metrics_and_a_last_report_without_the_metric(tmp_path):
    space = {"a": tune.choice(list(np.arange(1, 3))), "b": tune.choice([None, 4])}
    searcher = TuneSearcher(searcher="random")
    results = fit(negative, tmp_path, ConcurrencyLimiter(searcher, 2), param_space=space, metric="score", mode="max")
    assert sorted((int(r.config["a"]), r.config["b"] or 0) for r in results) == [(1, 0), (1, 4), (2, 0), (2, 4)]
    measured = [o.metrics for o in searcher.history.observed]
    assert not results.errors and sorted(m["figure"] for m in measured if m) == [1.0, 1.0, 2.0, 2.0]


class Interrupt(tune.Callback):
    """Ends the run in the middle of a trial, as a crash of the driver would."""

    def __init__(self, after: int) -> None:
        self.left = after

    def on_trial_result(self, iteration, trials, trial, result, **info):
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("the driver crashed")


def test_restore_goes_on_where_the_interrupted_run_was(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNE_GLOBAL_CHECKPOINT_S", "0")
    # Tune copies its snapshots in a thread, file by file, while it writes the next ones. On a busy machine a copy may
    # so have the trials of one step and the searcher of a later one, which then waits for a trial that nobody knows:
    # the restored run would never end. The crash of this test comes between two copies.
    snapshot = TuneController.checkpoint
    monkeypatch.setattr(TuneController, "checkpoint", lambda self, force=False, wait=False: snapshot(self, force, True))
    trainable = tune.with_resources(measure, {"cpu": 1})
    searcher = TuneSearcher(searcher=RandomSearch, seed=3)
    config = tune.TuneConfig(search_alg=searcher, num_samples=-1, metric="rps", mode="max",
                             max_concurrent_trials=1, reuse_actors=True)  # fmt: skip
    run = tune.RunConfig(name="broken", storage_path=str(tmp_path), verbose=0, callbacks=[Interrupt(after=2)])
    param_space = {**PARAM_SPACE, "a": tune.choice([1, 2])}
    with pytest.raises(TuneError, match="crashed"):
        tune.Tuner(trainable, param_space=param_space, tune_config=config, run_config=run).fit()
    assert 0 < len(searcher.history.observed) < 4

    restored = tune.Tuner.restore(str(tmp_path / "broken"), trainable, param_space=param_space)
    restored._local_tuner._run_config.callbacks = []
    results: Any = restored.fit()
    assert sorted((r.config["a"], r.config["nested"]["b"]) for r in results) == [
        (a, b) for a in (1, 2) for b in ("x", "y")
    ]
    after: Any = restored._local_tuner._tune_config.search_alg
    after = getattr(after, "searcher", after)
    assert {o.position for o in after.history.observed} == set(range(4))


def test_for_problem_reads_every_metric_and_continues_a_history(tmp_path):
    problem = Problem(SPACE, Objective(Expression("rps"), at_least={"rps": 3}), np.ones(6))
    known = History().observe(0, {"rps": 1.0}).await_(1)
    searcher = TuneSearcher.for_problem(problem, "random", known, seed=1)
    results = fit(measure, tmp_path, searcher)
    assert len(results) == 5
    assert sorted(o.position for o in searcher.history.observed) == list(range(6))
    assert all("pid" not in o.metrics and "config/a" not in o.metrics for o in searcher.history.observed)
