"""TuneSearcher as Tune calls it, without a Tuner and without a cluster."""

import logging
from typing import Any

import numpy as np
import pytest
from ray import tune

from searchers.baselines.random_search import RandomSearch
from searchers.ray_tune.tune_searcher import FIGURE, TuneSearcher
from searchers.space import Knob, Space

SPACE = Space([Knob("a", (1, 2, 4)), Knob("b", ("x", "y"), "categorical")])
PARAM_SPACE = {"a": tune.choice([1, 2, 4]), "nested": {"b": tune.grid_search(["x", "y"]), "constant": 7}}


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
                                    {"val/rps": 3.0, "could_not_run": True}, {"val/rps": 0.0},
                                    {"val/rps": -3.0}])  # fmt: skip
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


@pytest.mark.parametrize(
    ("figure", "said"),
    [
        (0.0, ["val/rps = 0 is not positive; the trial is recorded as one that could not run"]),
        (-0.25, ["val/rps = -0.25 is not positive; the trial is recorded as one that could not run"]),
        (1e-9, []),
        (float("nan"), []),
        ("fast", []),
    ],
)
def test_a_metric_that_is_not_positive_is_said_to_be_of_no_use(caplog, figure, said):
    searcher = started()
    searcher.suggest("t")
    with caplog.at_level(logging.WARNING, "searchers.ray_tune.tune_searcher"):
        searcher.on_trial_complete("t", {"val/rps": figure, "other": -1.0})
    assert [record.getMessage() for record in caplog.records] == said


def test_the_random_numbers_of_a_suggestion_are_those_of_its_number_whatever_still_runs():
    drawn = []

    class Recorder:
        def suggest(self, history, rng):
            drawn.append(rng.random())
            return min(set(range(len(SPACE))) - history.taken)

    searcher = TuneSearcher(SPACE, lambda problem: Recorder(), "val/rps", "max", seed=5)
    for trial in ("one", "two", "three"):
        searcher.suggest(trial)
    searcher.on_trial_complete("two", {"val/rps": 1.0})
    searcher.suggest("four")
    searcher.on_trial_complete("one", None, error=True)
    searcher.suggest("five")
    assert drawn == [np.random.default_rng([5, number]).random() for number in range(5)]


def test_evaluated_points_wait_for_the_space_and_are_never_suggested():
    searcher = TuneSearcher(searcher="random")
    searcher.add_evaluated_point({"a": 4, "nested": {"b": "x", "constant": 7}}, 8.0)
    searcher.add_evaluated_point({"a": 1, "nested": {"b": "x"}}, 8.0, error=True)
    assert searcher.set_search_properties("rps", "max", PARAM_SPACE)
    assert [o.metrics for o in searcher.history.observed] == [{FIGURE: 8.0}, None]
    suggested = [searcher.suggest(str(i)) for i in range(4)]
    assert {"a": 4, "nested": {"b": "x"}} not in suggested
    with pytest.raises(KeyError, match="not allowed|knob does not offer"):
        searcher.add_evaluated_point({"a": 3, "nested": {"b": "x"}}, 8.0)


def test_errors_name_the_remedy():
    with pytest.raises(ValueError, match="metric='rps', TuneConfig has metric='latency'"):
        TuneSearcher(metric="rps", mode="max").set_search_properties("latency", None, PARAM_SPACE)
    with pytest.raises(ValueError, match="lacks metric and mode and space"):
        TuneSearcher().suggest("t")
    with pytest.raises(ValueError, match="available: .*random"):
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
    problem = searcher.problem
    assert {k.name: (k.values, k.kind) for k in problem.space.knobs} == {
        "i": ((1, 2, 3), "ordinal"), "q": ((3, 6, 9), "ordinal"), "f": ((0.1, 0.2, 0.3), "ordinal"),
        "n": ((1, 2, 4), "ordinal"), "s": (("b", "a"), "categorical"), "t": ((True, False), "categorical"),
    }  # fmt: skip
