"""Parts of a GPU, measured among as many neighbours as fit: how many these are, what is said, and what is left."""

import threading
from contextlib import contextmanager
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raytune_infer.comparing.neighbours import neighbours_that_fit
from raytune_infer.study.trials.trial import run_trial
from serve_deployments.backend import DeployFailed, NoRoom, OutOfMemory, ReplicaDied
from serve_deployments.fakes.fake_backend import FakeBackend, VirtualMeasure
from serve_deployments.measuring.load_test import LoadTest
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.settings import Settings

QUARTER = Settings(gpu_type="T4", gpu_share=0.25, max_batch_size=4, emulated=True)
MEASURE = VirtualMeasure(LoadTest(LoadPlan(level_min_s=0.3, max_concurrency=16)))


def crowded(**more):
    """A GPU on which each busy neighbour makes a batch take half as long again."""
    return FakeBackend(lambda settings, batch: 0.01, new_s=5.0, crowding=lambda busy: 1 + 0.5 * busy, **more)


def told(outcome):
    return [each for each in outcome.enforcements if each["limit"] == "neighbours"]


@given(st.integers(1, 100), st.integers(0, 100))
def test_as_many_fit_as_their_parts_make_one_gpu(share, memory):
    """In hundredths, so that the count is exact."""
    fit = neighbours_that_fit(Settings(gpu_type="T4", gpu_share=share / 100, gpu_memory=memory / 100))
    part = max(share, memory)
    assert (fit + 1) * part <= 100 < (fit + 2) * part


def test_equal_parts_of_a_gpu_are_as_many_as_they_are_parts():
    """1 / (1 / 93) is less than 93 in floating point."""
    fit = [neighbours_that_fit(Settings(gpu_type="T4", gpu_share=1 / parts)) for parts in range(1, 201)]
    assert fit == list(range(200))


@pytest.mark.parametrize(
    "settings", [Settings(), Settings(gpu_type="T4"), Settings(gpu_type="T4", gpu_memory=0.25),
                 Settings(gpu_type="T4", gpu_share=0.6)],
)  # fmt: skip
def test_who_pays_for_so_much_that_no_other_fits_has_no_neighbours_and_is_not_said_to_be_alone(settings):
    backend = crowded()
    outcome = run_trial(settings, "t", backend=backend, measure=MEASURE, beside=backend.beside)
    assert backend.most_alive == 1 and told(outcome) == [] and not outcome.alone


def test_a_quarter_is_measured_beside_three_others_that_have_its_load():
    backend = crowded()
    alone = run_trial(QUARTER, "search", backend=backend, measure=MEASURE)
    assert backend.most_alive == 1 and alone.alone
    assert told(alone) == [
        {"limit": "neighbours", "asked": "3", "enforced": False, "given": "0",
         "how": "measured alone, though 3 more such replicas fit on its GPU"}
    ]  # fmt: skip
    among = run_trial(QUARTER, "final", backend=backend, measure=MEASURE, beside=backend.beside)
    assert backend.most_alive == 4 and backend.alive == 0 and not among.alone
    [one] = told(among)
    assert (one["enforced"], one["given"]) == (True, "3")
    assert one["how"] == "beside 3 copies of itself on the same GPU under the same load"
    # All three are busy nearly always: a batch takes 2.5 times as long.
    assert alone.metrics["rps"] / among.metrics["rps"] == pytest.approx(2.5, rel=0.1)
    assert among.overhead["neighbours"] == 5.0 and "neighbours" not in alone.overhead


@pytest.mark.parametrize("room", [0, 1, 2])
def test_where_the_node_has_room_for_fewer_it_is_said_how_many_there_were(room):
    backend = crowded(refuses_beside=lambda settings, there: NoRoom("no cores") if there > room else None)
    outcome = run_trial(QUARTER, "t", backend=backend, measure=MEASURE, beside=backend.beside)
    [one] = told(outcome)
    assert (one["asked"], one["enforced"], one["given"]) == ("3", False, str(room))
    assert backend.most_alive == 1 + room and outcome.alone is (room == 0) and "no cores" in one["how"]


@pytest.mark.parametrize("error", [OutOfMemory, DeployFailed])
def test_a_part_that_is_not_enough_for_each_of_those_that_fit_cannot_run(error):
    backend = crowded(refuses_beside=lambda settings, there: error("CUDA out of memory") if there > 2 else None)
    outcome = run_trial(QUARTER, "t", backend=backend, measure=MEASURE, beside=backend.beside)
    assert outcome.metrics is None and backend.alive == 0
    assert outcome.reason == (
        f"{error.__name__}: 2 of 3 copies of it beside it on its GPU, where as many fit by the part that each pays "
        "for: CUDA out of memory; raise gpu_share or gpu_memory"
    )


def test_a_neighbour_that_is_lost_is_worth_another_attempt():
    lost = iter([ReplicaDied("gone")])
    backend = crowded(refuses_beside=lambda settings, there: next(lost, None))
    outcome = run_trial(QUARTER, "t", backend=backend, measure=MEASURE, beside=backend.beside)
    assert "gone" in outcome.lost and told(outcome)[0]["given"] == "3" and backend.alive == 0


def test_neighbours_start_together():
    """Each waits until the two others have been asked for: one after another they would wait for ever."""
    backend, all_asked = crowded(), threading.Barrier(3)

    @contextmanager
    def beside(replica, settings, name):
        all_asked.wait(timeout=60)
        with backend.beside(replica, settings, name) as neighbour:
            yield neighbour

    outcome = run_trial(QUARTER, "t", backend=backend, measure=MEASURE, beside=beside)
    assert told(outcome)[0]["given"] == "3" and backend.most_alive == 4 and backend.alive == 0


def test_neighbours_end_with_the_trial_however_it_ends():
    def interrupted(running, settings, *, to_beat_rps=None):
        raise KeyboardInterrupt

    backend = crowded()
    with pytest.raises(KeyboardInterrupt):
        run_trial(QUARTER, "t", backend=backend, measure=interrupted, beside=backend.beside)
    assert backend.most_alive == 4 and backend.alive == 0


def test_a_run_from_before_neighbours_were_told_of_was_alone_where_others_fit():
    outcome = run_trial(QUARTER, "t", backend=crowded(), measure=MEASURE)
    for share, alone in ((0.25, True), (0.5, True), (0.51, False), (0.0, False)):
        settings = {**outcome.settings, "gpu_share": share}
        assert replace(outcome, enforcements=(), settings=settings).alone is alone
    assert not replace(outcome, enforcements=(), settings={}).alone
