"""Emulated suites: their formulas by hand, what their names promise, and that they are always the same."""

import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks.search.emulated.odd_knobs import odd_knobs
from benchmarks.search.emulated.odd_service import CHEAPEST_USD, KINDS, WAITING, OddService
from benchmarks.search.emulated.suites import LIMIT_MS, RECIPES, emulated, suite_at
from benchmarks.search.replaying.suite_arguments import suite_folder
from raytune_infer.spec.standard_knobs import STANDARD_KNOBS


def by_hand() -> OddService:
    """Two knobs: the first saturates in stage 0 and is best at 0.5 in stage 1; the second is a step in stage 2."""
    kinds = np.array([[KINDS.index(name) for name in row] for row in
                      (("saturates", "none"), ("place", "none"), ("none", "step"))])  # fmt: skip
    heights = np.full((3, 2), math.log(2))
    places = np.full((3, 2), 0.5)
    pairs = np.zeros((3, 2, 2))
    pairs[2, 0, 1] = 1.0
    return OddService(kinds, heights, places, pairs, np.zeros(3), np.array([0.0, 1.0]), np.array([2.0, 0.0]), waits=1)


def test_stages_by_hand():
    stages = by_hand().stages(np.array([[0.0, 0.0], [0.5, 1.0], [1.0, 0.25]]))
    saturated = math.log(2) * (1 - math.exp(-6))
    expected = [
        [1.0, 1.0, 1.0],  # of the second, the place at 0.5 is missed by all of it
        [2 ** (1 - math.exp(-3)), 2.0, 2 * math.exp(0.5)],
        [math.exp(saturated), 1.0, math.exp(0.25)],
    ]
    assert stages == pytest.approx(np.array(expected))


def test_what_is_measured_by_hand():
    service = by_hand()
    u = np.array([[0.0, 0.0], [0.5, 1.0]])
    stages = service.stages(u)
    rps, latency, usd, runs = service.measured(u)
    assert rps[0] == pytest.approx(3**-0.25)  # three equal stages
    assert latency[0] == pytest.approx(3) and latency[1] == pytest.approx((1 / stages[1]).sum() * (1 + WAITING))
    assert usd.tolist() == [CHEAPEST_USD, CHEAPEST_USD + 1]
    assert runs.tolist() == [True, False]  # the second knob takes memory


@pytest.mark.parametrize("name", ["emulated-flags", "emulated-tight"])
def test_a_suite_keeps_what_its_recipe_promises(name):
    suite, recipe = emulated(name), RECIPES[name]
    assert len(suite.judged) == recipe.models * recipe.workloads
    for task in suite.judged:
        table = suite.table(task, "limited", sources="none")
        assert len(table.metrics) == len(recipe)
        assert (table.values() > 0).mean() == pytest.approx(recipe.feasible, abs=2 / len(recipe))
        kept = [m["p99_ms"] for m in table.metrics if m is not None]
        assert min(kept) < LIMIT_MS < max(kept) and None in table.metrics
        assert {suite.tasks[other].group for other in suite.sources_of(task)} == {
            group for group in ("model-1", "model-2", "model-3", "model-4") if not task.startswith(group)
        }
    optima = {int(suite.table(task, "limited", sources="none").values().argmax()) for task in suite.judged}
    assert len(optima) > 1  # no fixed configuration is the best of all


def test_a_suite_is_the_same_whenever_it_is_made():
    once, again = emulated("emulated-tight"), emulated.__wrapped__("emulated-tight")
    assert once is not again
    for task in once.judged:
        assert once.tasks[task].metrics == again.tasks[task].metrics
        assert once.tasks[task].facts == again.tasks[task].facts


def test_no_knob_is_one_that_somebody_knows():
    for name in RECIPES:
        knobs = odd_knobs(RECIPES[name].sizes, np.random.default_rng(RECIPES[name].seed))
        assert not {knob.name for knob in knobs} & set(STANDARD_KNOBS)
        assert [len(knob.values) for knob in knobs] == list(RECIPES[name].sizes)
        assert all((knob.values == (False, True)) == (len(knob.values) == 2) for knob in knobs)
    assert len(RECIPES["emulated-large"]) == 103_680
    with pytest.raises(ValueError, match="not enough names .*: flag"):
        odd_knobs([2] * 7, np.random.default_rng(0))


def test_an_emulated_suite_is_found_by_its_name():
    assert suite_folder("emulated-tight") == Path("emulated-tight")
    assert suite_at(Path("emulated-tight")) is emulated("emulated-tight")
