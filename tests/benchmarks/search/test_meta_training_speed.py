"""The loop that our meta-training is compared with."""

import pytest

from benchmarks.search.meta_training_speed import Work, batched, by_autograd, looped


@pytest.mark.parametrize("steps", [1, 3])
def test_the_loop_that_ours_is_compared_with_does_the_same_work(steps):
    work = Work(steps, episodes=4, shots=5, asked=8, tasks=3, columns=4, rows=20)
    ours = batched(work)
    assert looped(work, by_autograd) == pytest.approx(ours, rel=1e-4)
    assert len(set(ours)) == 4 and work.task_steps == 12 * steps
