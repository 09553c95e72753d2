"""One contract, every searcher. New ones join by their name in `searchers.registry`.

Stored trajectories pin the exact choices of a searcher, so an unintended change shows. Where a change is
intended, write them anew:

    python -m tests.searchers.test_contract

Last bits differ by CPU, and long training makes much of them. So trajectories of Gaussian processes end after the first
choices that a process made, before a line search has amplified the last bits of a Cholesky factor, and what is trained
for hundreds of steps elsewhere is trained for a few here. That this is enough was tried with the instructions of older
CPUs (ATEN_CPU_CAPABILITY, MKL_CBWR, OPENBLAS_CORETYPE, NPY_DISABLE_CPU_FEATURES): the best score's distance to the next
moves by a thousandth of itself at most; after 1,000 steps in float32 it moved by all of it.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from searchers.base import History, PredictsGain, Problem
from searchers.contract import CHECKS, is_a_function_of_its_history, median_best, never_repeats_and_skips_pending, tiny
from searchers.registry import DEFAULT, LEARNS, NAMED, PREDICT_GAINS, TAKES_SURFACES, named
from searchers.replay import MeasuredTable
from searchers.surfaces.belief import pretrained
from tests.searched import roofline_problem, search, shifted_sources

torch.set_num_threads(1)

TRAJECTORIES = Path(__file__).parent / "trajectories"
STEPS = 12
# Later ones are near ties, which another CPU's rounding may break otherwise.
FEWER = {
    "meta": 6, "falcon": 6, "bo": 6, "constrained-gp": 6, "optuna-gp": 6,
    "residual-gp": 3, "constrained-residual-gp": 3, "quantile-transfer-gp": 3, "rgpe": 3, "vizier": 3,
}  # fmt: skip
# Part of the training, as long as last bits stay last bits.
SHORTER = {
    "finetune": ("searchers.baselines.from_sources.finetune._STEPS", 30),
    "morphling": ("searchers.baselines.from_sources.meta_trained._EPISODES", 5),
    "quantile-transfer": ("searchers.baselines.from_sources.quantile_transfer._STEPS", 5),
    "quantile-transfer-gp": ("searchers.baselines.from_sources.quantile_transfer._STEPS", 5),
    "vizier": ("searchers.baselines.gaussian_process._STEPS", 3),
}

every = pytest.mark.parametrize("name", sorted(NAMED))
learning = pytest.mark.parametrize("name", sorted(LEARNS))
problem, table = roofline_problem()
measured = MeasuredTable(problem, tuple(table))
taught = replace(problem, sources=shifted_sources())


def trajectory(name: str) -> list[int]:
    asked = taught if name in LEARNS else problem
    with pytest.MonkeyPatch.context() as patch:
        if name in SHORTER:
            patch.setattr(*SHORTER[name])
            asked = replace(asked, sources=shifted_sources())  # what is learnt of others is kept for all tests
        return search(asked, table, named(name), FEWER.get(name, STEPS), seed=7)


def test_who_learns_predicts_and_takes_surfaces():
    assert {name for name in NAMED if isinstance(named(name)(tiny()), PredictsGain)} == PREDICT_GAINS
    assert {"meta"} == TAKES_SURFACES and DEFAULT == "meta"
    with pytest.raises(ValueError, match="'random' cannot start from a surface model; these can: meta"):
        named("random", surfaces=pretrained())
    own = replace(pretrained(), card={"data": "our own"})  # else it is what a searcher takes that is given none
    given: Any = named("meta", surfaces=own)(tiny())
    assert given._surfaces is own


@pytest.mark.parametrize("name", sorted(set(NAMED) - LEARNS))
def test_who_does_not_learn_from_sources_ignores_them(name):
    history = History().observe(5, table[5]).observe(100, table[100])
    assert {named(name)(asked).suggest(history, np.random.default_rng(1)) for asked in (problem, taught)} == {
        named(name)(problem).suggest(history, np.random.default_rng(1))
    }


@learning
def test_who_learns_from_sources_starts_elsewhere_with_them(name):
    starts = [
        {named(name)(asked).suggest(History(), np.random.default_rng(seed)) for seed in range(3)}
        for asked in (problem, taught)
    ]
    assert starts[0] != starts[1]


@pytest.mark.parametrize("name", sorted(set(NAMED) - {"morphling", "meta"}))
def test_another_seed_is_another_search(name):
    """But for the two whose choices are ties only, all of them draw something."""
    assert len({tuple(search(problem, table, named(name), 3, seed)) for seed in range(4)}) > 1


@every
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_keeps_the_contract(name, check, monkeypatch):
    if name == "morphling":
        monkeypatch.setattr(*SHORTER[name])  # what it learns of sources that say nothing does not matter
    check(named(name), measured)


@pytest.mark.parametrize("name", sorted(set(NAMED) - {"random"} - (LEARNS - {"meta"})))
def test_beats_random_on_a_table_with_structure(name):
    # The first 10 of Ernest and of Optuna's TPE are random. A process costs a tenth of a second a step.
    trials = {
        "meta": 6,
        "bo": 14,
        "constrained-gp": 14,
        "optuna-gp": 18,
        "morphling": 15,
        "ernest": 25,
        "optuna-tpe": 30,
        "hyperopt": 40,
    }.get(name, 30)
    assert median_of(problem, name, trials, seeds=3) > median_of(problem, "random", trials, seeds=101)


@learning
def test_beats_in_6_trials_what_random_finds_in_12_where_sources_are_alike(name):
    assert median_of(taught, name, 6, seeds=3) > median_of(problem, "random", 12, seeds=101)


def median_of(asked: Problem, name: str, trials: int, seeds: int) -> float:
    return median_best(named(name), MeasuredTable(asked, tuple(table)), trials=trials, seeds=seeds)


@learning
@pytest.mark.parametrize("check", [never_repeats_and_skips_pending, is_a_function_of_its_history])
def test_keeps_the_contract_with_sources(name, check):
    check(named(name), replace(measured, problem=taught))


@every
def test_stored_trajectory(name):
    stored = json.loads((TRAJECTORIES / f"{name}.json").read_text())
    assert trajectory(name) == stored


def test_unknown_name_lists_what_there_is():
    with pytest.raises(ValueError, match="'nobody'; available: .*hyperopt.*morphling.*random"):
        named("nobody")


NEEDS = {
    "optuna-tpe": "optuna", "optuna-gp": "optuna",
    "constrained-gp": "botorch", "constrained-residual-gp": "botorch", "quantile-transfer-gp": "botorch",
    "bo": "botorch", "residual-gp": "botorch", "vizier": "botorch", "rgpe": "botorch",
}  # fmt: skip


@every
def test_missing_library_is_an_error_with_its_remedy(name, monkeypatch):
    monkeypatch.setattr("searchers.registry.find_spec", lambda library: None)
    if name not in NEEDS:
        assert named(name) is NAMED[name]
        return
    with pytest.raises(ValueError) as raised:
        named(name)
    says = f"searcher '{name}' needs {NEEDS[name]}, which is not installed; pip install 'raytune-infer[bench]'"
    assert str(raised.value) == says


def test_only_the_library_that_a_searcher_needs_is_looked_for(monkeypatch):
    looked_for = []

    def found(library):
        looked_for.append(library)
        return library

    monkeypatch.setattr("searchers.registry.find_spec", found)
    assert [named(name) for name in NAMED] == list(NAMED.values())
    assert looked_for == [NEEDS[name] for name in NAMED if name in NEEDS]


if __name__ == "__main__":
    TRAJECTORIES.mkdir(exist_ok=True)
    for searcher in sorted(NAMED):
        (TRAJECTORIES / f"{searcher}.json").write_text(json.dumps(trajectory(searcher)) + "\n")
