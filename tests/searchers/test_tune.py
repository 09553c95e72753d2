import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from ray import tune
from ray.tune.error import TuneError
from ray.tune.search import ConcurrencyLimiter
from trainables import fragile, measure

from searchers.base import History, Problem
from searchers.baselines.random_search import RandomSearch
from searchers.objective import Expression, Objective
from searchers.space import Knob, Space
from searchers.tune import FIGURE, TuneSearcher

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
    problem, _ = searcher._ready()
    assert problem.space[problem.best(searcher.history).position] == {"a": 4, "nested/b": "y"}


def test_own_space_and_metric_with_concurrency_limiter_and_mode_min(tmp_path):
    searcher = TuneSearcher(SPACE, "random", metric="rps", mode="min")
    results = fit(measure, tmp_path, ConcurrencyLimiter(searcher, max_concurrent=2))
    assert len(results) == 6
    problem, _ = searcher._ready()
    assert SPACE[problem.best(searcher.history).position] == {"a": 1, "b": "x"}


def test_failing_trials_and_missing_values_count_as_could_not_run(tmp_path):
    searcher = TuneSearcher(searcher="random", mode="min", metric="latency")
    param_space = {"a": tune.qrandint(2, 6, 2), "nested": {"constant": 7}}
    results = fit(fragile, tmp_path, searcher, param_space=param_space)
    assert len(results) == 3 and len(results.errors) == 1
    measured = {o.position for o in searcher.history.observed if o.metrics is not None}
    problem, _ = searcher._ready()
    assert {problem.space[p]["a"] for p in measured} == {6}
    assert all(o.metrics["constant"] == 7 for o in searcher.history.observed if o.metrics)


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


# What needs no Tuner.


def started(**kwargs) -> TuneSearcher:
    return TuneSearcher(SPACE, RandomSearch, metric="val/rps", mode="max", **kwargs)


def test_waits_while_only_pending_trials_block_then_finishes():
    searcher = started()
    configs: list[Any] = [searcher.suggest(str(i)) for i in range(6)]
    assert len({tuple(c.values()) for c in configs}) == 6
    assert searcher.suggest("7") is None
    for i in range(6):
        searcher.on_trial_complete(str(i), {"val/rps": 1.0})
    assert searcher.suggest("8") == TuneSearcher.FINISHED


@pytest.mark.parametrize("result", [None, {}, {"other": 1}, {"val/rps": float("nan")}, {"val/rps": "fast"},
                                    {"val/rps": 3.0, "could_not_run": True}])  # fmt: skip
def test_what_counts_as_could_not_run(result):
    searcher = started()
    searcher.suggest("t")
    searcher.on_trial_complete("t", result)
    assert searcher.history.observed[0].metrics is None and not searcher.history.pending


def test_same_seed_same_suggestions_and_restored_state_goes_on_alike(tmp_path):
    one, two = started(seed=5), started(seed=5)
    for i in range(2):
        assert one.suggest(str(i)) == two.suggest(str(i))
    one.on_trial_complete("0", {"val/rps": 2.0})
    one.save(str(tmp_path / "state"))
    fresh = started(seed=99)
    fresh.restore(str(tmp_path / "state"))
    assert fresh.history == one.history and fresh.suggest("2") == one.suggest("2")
    fresh.on_trial_complete("1", {"val/rps": 4.0})
    assert len(fresh.history.observed) == 2


def test_evaluated_points_wait_for_the_space_and_are_never_suggested():
    searcher = TuneSearcher(searcher="random")
    searcher.add_evaluated_point({"a": 4, "nested": {"b": "x", "constant": 7}}, 8.0)
    searcher.add_evaluated_point({"a": 1, "nested": {"b": "x"}}, 8.0, error=True)
    assert searcher.set_search_properties("rps", "max", PARAM_SPACE)
    assert [o.metrics for o in searcher.history.observed] == [{FIGURE: 8.0}, None]
    suggested = [searcher.suggest(str(i)) for i in range(4)]
    assert {"a": 4, "nested": {"b": "x"}} not in suggested
    with pytest.raises(KeyError, match="not allowed|in no knob"):
        searcher.add_evaluated_point({"a": 3, "nested": {"b": "x"}}, 8.0)


def test_errors_name_the_remedy():
    with pytest.raises(ValueError, match="metric='rps', TuneConfig has metric='latency'"):
        TuneSearcher(metric="rps", mode="max").set_search_properties("latency", None, PARAM_SPACE)
    with pytest.raises(ValueError, match="lacks metric and mode and space"):
        TuneSearcher().suggest("t")
    with pytest.raises(ValueError, match="there are .*random"):
        TuneSearcher(searcher="nobody")
    for domain in (tune.uniform(0, 1), tune.loguniform(1, 2), tune.randn(), tune.sample_from(lambda spec: 1)):
        with pytest.raises(ValueError, match="'a' is .* no finite number of values; use choice"):
            TuneSearcher().set_search_properties("rps", "max", {"a": domain})
    with pytest.raises(ValueError, match="'a' chooses between objects"):
        TuneSearcher().set_search_properties("rps", "max", {"a": tune.choice([{"k": 1}])})
    with pytest.raises(ValueError, match="'a' alone has"):
        TuneSearcher().set_search_properties("rps", "max", {"a": tune.randint(0, 10**9)})
    with pytest.raises(ValueError, match="constants only"):
        TuneSearcher().set_search_properties("rps", "max", {"a": 1})
    assert not TuneSearcher(SPACE, metric="rps", mode="max").set_search_properties("rps", "max", PARAM_SPACE)


def test_finite_domains_become_knobs():
    searcher = TuneSearcher(searcher="random")
    searcher.set_search_properties("rps", "max", {
        "i": tune.randint(1, 4), "q": tune.qrandint(3, 9, 3), "f": tune.quniform(0.1, 0.3, 0.1),
        "n": tune.choice([4, 1, 2, 2]), "s": tune.choice(["b", "a"]), "t": tune.choice([True, False]), "c": 1,
    })  # fmt: skip
    problem, _ = searcher._ready()
    assert {k.name: (k.values, k.kind) for k in problem.space.knobs} == {
        "i": ((1, 2, 3), "ordinal"), "q": ((3, 6, 9), "ordinal"), "f": ((0.1, 0.2, 0.3), "ordinal"),
        "n": ((1, 2, 4), "ordinal"), "s": (("b", "a"), "categorical"), "t": ((True, False), "categorical"),
    }  # fmt: skip


def test_ray_is_the_shared_one():
    assert ray.is_initialized() and os.environ["RAY_AIR_NEW_OUTPUT"] == "0"
