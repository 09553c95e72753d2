"""TuneSearcher as Tune calls it, without a Tuner and without a cluster."""

import logging
from typing import Any

import numpy as np
import pytest
from ray import tune
from ray.tune.search.repeater import TRIAL_INDEX, Repeater

from searchers.baselines.random_search import RandomSearch
from searchers.ray_tune.knob_paths import KnobPaths
from searchers.ray_tune.param_space import space_of
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


def test_a_repeater_around_it_gets_each_configuration_once_and_hands_on_the_mean():
    inner = started()
    repeater = Repeater(inner, repeat=2)
    configs: list[Any] = [repeater.suggest(str(i)) for i in range(4)]
    assert [config.pop(TRIAL_INDEX) for config in configs] == [0, 1, 0, 1]
    assert configs[0] == configs[1] != configs[2] == configs[3]
    for i, figure in enumerate((1.0, 3.0)):
        repeater.on_trial_complete(str(i), {"val/rps": figure})
    [seen] = inner.history.observed
    assert seen.metrics is not None and seen.metrics[FIGURE] == 2.0 and len(inner.history.pending) == 1


@pytest.mark.parametrize("result", [None, {}, {"other": 1}, {"val/rps": float("nan")}, {"val/rps": "fast"},
                                    {"val/rps": 3.0, "could_not_run": True}, {"val/rps": 0.0}])  # fmt: skip
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
        (-0.25, []),
        (1e-9, []),
        (float("nan"), []),
        ("fast", []),
    ],
)
def test_a_metric_of_0_is_said_to_be_of_no_use(caplog, figure, said):
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


def test_lists_and_keys_are_kept_by_a_checkpoint_and_measured_points_may_have_them(tmp_path):
    searcher = TuneSearcher(searcher="random")
    searcher.add_evaluated_point({"layers": [4, 64], "n": {8: {"a/b": 2}}}, 8.0)
    given = {"layers": [tune.choice([1, 4]), 64], "n": {8: {"a/b": tune.choice([1, 2]), "c": 3}}}
    assert searcher.set_search_properties("rps", "max", given)
    assert len(searcher.history.observed) == 1
    searcher.save(str(tmp_path / "state"))
    restored = TuneSearcher(searcher="random")
    restored.restore(str(tmp_path / "state"))
    expected = [{"layers": [a, 64], "n": {8: {"a/b": b}}} for a, b in ((1, 1), (1, 2), (4, 1))]
    for one in (searcher, restored):
        suggested: list[Any] = [one.suggest(str(i)) for i in range(3)]
        assert sorted(suggested, key=str) == expected


def test_a_space_of_ones_own_nests_names_with_a_slash():
    searcher = TuneSearcher(Space([Knob("a/b", (1,)), Knob("a/c/d", (2,))]), RandomSearch, "rps", "max")
    assert searcher.suggest("t") == {"a": {"b": 1, "c": {"d": 2}}}
    odd = TuneSearcher(Space([Knob("a/b", (1,)), Knob("a", (2,))]), RandomSearch, "rps", "max")
    with pytest.raises(ValueError, match="knob 'a/b' would be inside of 'a', as `/` nests; rename one of them"):
        odd.suggest("t")


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


def told(searcher, figures):
    """Let the searcher try everything; a trial reports what `figures` says of its configuration."""
    number = 0
    while isinstance(config := searcher.suggest(str(number)), dict):
        searcher.on_trial_complete(str(number), {"score": figures(config)})
        number += 1
    return number


def best(searcher):
    found = searcher.problem.best(searcher.history)
    return searcher.problem.space[found.position]["a"]


@pytest.mark.parametrize(("mode", "winner"), [("max", 1), ("min", 4)])
def test_a_metric_that_is_always_negative_is_searched_like_another(tmp_path, mode, winner):
    searcher = TuneSearcher(space_of({"a": tune.choice([1, 2, 3, 4])}), "random", "score", mode)
    searcher.add_evaluated_point({"a": 2}, -2.0)
    assert told(searcher, lambda config: -float(config["a"])) == 3
    assert all(o.metrics is not None for o in searcher.history.observed) and best(searcher) == winner
    searcher.save(str(tmp_path / "state"))
    restored = TuneSearcher(searcher="random")
    restored.restore(str(tmp_path / "state"))
    assert best(restored) == winner and restored.problem.objective == searcher.problem.objective


def test_a_metric_of_either_sign_ends_the_search_with_one_sentence(caplog):
    searcher = TuneSearcher(space_of({"a": tune.choice([1, 2, 3, 4])}), "random", "score", "max")
    first, second = searcher.suggest("0"), searcher.suggest("1")
    assert first != second
    searcher.on_trial_complete("0", {"score": 2.0})
    with caplog.at_level(logging.ERROR, "searchers.ray_tune.tune_searcher"):
        searcher.on_trial_complete("1", {"score": -1.0})
        searcher.on_trial_complete("1", {"score": -1.5})
    assert [record.getMessage() for record in caplog.records] == [
        "the search ends here: score was 2 in one trial and -1 in another, and must be positive in all or negative in "
        "all, as configurations are compared by ratio; report another metric"
    ]
    assert searcher.suggest("2") == searcher.FINISHED


def test_the_last_report_with_the_metric_counts():
    searcher = TuneSearcher(space_of({"a": tune.choice([1, 2])}), "random", "score", "max")
    searcher.suggest("0")
    for score in (3.0, 5.0):
        searcher.on_trial_result("0", {"score": score, "other": 1.0})
    searcher.on_trial_result("0", {"note": 1.0})
    searcher.on_trial_complete("0", {"note": 1.0, "other": 2.0})
    assert searcher.history.observed[0].metrics == {"score": 5.0, "figure": 5.0, "note": 1.0, "other": 2.0}


def test_choices_of_numpys_numbers_of_none_and_of_objects():
    numbers = space_of({"a": tune.choice(list(np.arange(1, 4))), "b": tune.choice([np.float32(0.5), np.float64(2.0)])})
    assert [(knob.values, knob.kind) for knob in numbers.knobs] == [((1, 2, 3), "ordinal"), ((0.5, 2.0), "ordinal")]
    assert all(type(value) in (int, float) for knob in numbers.knobs for value in knob.values)
    # As Tune hands objects to searchers, numpy's numbers among them.
    objects = [("__ref_ph", "2b144548"), ("__ref_ph", "93a2bc10")]
    searcher = TuneSearcher(
        space_of({"a": tune.choice(objects), "b": tune.choice([None, 4])}), "random", "score", "max"
    )
    searcher.add_evaluated_point({"a": objects[1], "b": None}, 1.0)
    suggested = [searcher.suggest(str(i)) for i in range(3)]
    assert sorted(map(str, suggested)) == sorted(
        str({"a": a, "b": b}) for a in objects for b in (None, 4) if (a, b) != (objects[1], None)
    )


def test_what_stands_for_an_object_is_kept_by_a_checkpoint(tmp_path):
    space = space_of({"a": tune.choice([("__ref_ph", "2b144548"), None])})
    searcher = TuneSearcher(space, "random", "score", "max")
    searcher.save(str(tmp_path / "state"))
    restored = TuneSearcher(searcher="random")
    restored.restore(str(tmp_path / "state"))
    assert [restored.suggest(str(i)) for i in range(2)] == [searcher.suggest(str(i)) for i in range(2)]
    paths = KnobPaths.of_names(["a"])
    assert {str(paths.nested(space[position])["a"]) for position in range(2)} == {
        "('__ref_ph', '2b144548')", "None",
    }  # fmt: skip
