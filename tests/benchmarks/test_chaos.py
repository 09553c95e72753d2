"""What a study survives, in short: `make chaos` is the full form, `python -m benchmarks soak` the long one."""

import random
from contextlib import contextmanager

import pytest

from benchmarks.faults.account import survived
from benchmarks.faults.faults import LOAD, REPLICA, TRIAL, Fault, Saboteur, kill, under_load
from benchmarks.faults.leftovers import nothing_left, what_is_there
from benchmarks.faults.soak import grown, virtual, watched

pytestmark = pytest.mark.ray

IN_TURN = (f"{REPLICA}raytune-infer-chaos", LOAD, TRIAL)
FAULT = Fault(
    "each process in turn", kill(REPLICA), reason="ReplicaDied: |LoadFailed: |TrialDied: ", trials=len(IN_TURN) + 1
)


@pytest.mark.slow
def test_a_study_survives_the_loss_of_each_of_its_processes_under_load(local_ray, tmp_path):
    from ray import serve

    serve.start(proxy_location="Disabled")
    rng = random.Random(0)
    saboteurs = [
        Saboteur(under_load(kill(title)), frozenset({number}), rng, 0.0)
        for number, title in enumerate(IN_TURN, start=1)
    ]
    account = survived(FAULT, tmp_path / "run", saboteurs, seed=0)
    assert account.breaches == [] and account.recommended
    assert account.hits == account.again == 3 and account.failed == 0
    assert sorted(reason.split(":")[0] for reason in account.reasons) == ["LoadFailed", "ReplicaDied", "TrialDied"]


def test_nothing_grows_from_trial_to_trial(local_ray, tmp_path):
    from ray import serve

    serve.start(proxy_location="Disabled")
    before = what_is_there()
    looks = watched(60, tmp_path / "run", contextmanager(virtual))
    growth = grown(looks)
    assert len(looks) >= 60 and max(growth.values()) <= len(looks) // 10, growth
    assert not nothing_left(before)
