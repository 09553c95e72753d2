"""Which trials need a new replica, and who avoids it."""

from dataclasses import replace
from functools import partial

import numpy as np
import torch

from searchers.base import History
from searchers.meta.meta import NEAR, Meta
from searchers.meta.switching import replicas, sparing, warm
from searchers.space import Knob, Space
from tests.searched import best_after, roofline_problem, search, shifted_sources

torch.set_num_threads(1)

SPACE = Space(
    [Knob("batch", (1, 2, 4), changes="in place"), Knob("gpu", ("a", "b"), "categorical"),
     Knob("threads", (1, 2), changes="in place"), Knob("cores", (1, 2))]
)  # fmt: skip


def test_configurations_share_a_replica_if_no_knob_that_needs_a_new_one_differs():
    part = SPACE.subset(np.arange(0, len(SPACE), 5))
    for space in (SPACE, part):
        needed = replicas(space)
        for one in range(len(space)):
            for other in range(len(space)):
                alike = all(space[one][name] == space[other][name] for name in ("gpu", "cores"))
                assert (needed[one] == needed[other]) == alike
    assert len(set(replicas(SPACE))) == 4
    assert not replicas(Space([Knob("batch", (1, 2), changes="in place")])).any()
    far = Space([Knob("batch", (1, 2, 600), changes="in place", apart=(0, 0, 2)), Knob("cores", (1, 2))])
    assert replicas(far).tolist() == [0, 1, 0, 1, 4, 5]


def test_the_replica_of_the_last_trial_is_warm_unless_it_failed():
    needed = np.array([0, 0, 1, 1])
    history = History().observe(0, {"rps": 1.0})
    assert not warm(needed, History(pending=frozenset({2}))).any()
    assert warm(needed, history.await_(2)).tolist() == [True, True, False, False]
    assert not warm(needed, history.observe(3, None)).any()
    # Of several trials the last one's is the one that is there, whatever became of those before.
    assert warm(needed, history.observe(3, {"rps": 2.0})).tolist() == [False, False, True, True]
    assert warm(needed, History().observe(3, None).observe(1, {"rps": 2.0})).tolist() == [True, True, False, False]


def test_what_spares_a_replica_is_preferred_among_near_equals_only():
    spared = np.array([False, True, True, False])
    assert np.argmax(sparing(np.array([1.0, 0.95, 0.92, 0.99]), spared, 0.1)) == 1
    assert np.argmax(sparing(np.array([1.0, 0.85, 0.0, 0.99]), spared, 0.1)) == 0
    assert np.argmax(sparing(np.array([1.0, 0.95, 0.0, 0.99]), spared, 0.0)) == 0
    assert np.argmax(sparing(np.array([1.0, 1.0, 0.0, 0.99]), spared, 0.0)) == 1


PROBLEM, TABLE = roofline_problem()
KNOBS = [replace(k, changes="in place") if k.name == "max_batch_size" else k for k in PROBLEM.space.knobs]
IN_PLACE = replace(PROBLEM, space=Space(KNOBS))


def test_who_takes_everything_for_hardly_less_stays_on_its_replica():
    needed, start = replicas(IN_PLACE.space), 2
    history, rng = History().observe(start, TABLE[start]), np.random.default_rng
    chosen = Meta(IN_PLACE, near=0.99).suggest(history, rng(0))
    assert chosen != start and needed[chosen] == needed[start]
    assert needed[Meta(IN_PLACE, near=0.0).suggest(history, rng(0))] != needed[start]
    failed = History().observe(start, None)
    assert Meta(IN_PLACE, near=0.99).suggest(failed, rng(0)) == Meta(IN_PLACE, near=0.0).suggest(failed, rng(0))


def test_by_default_no_less_is_found():
    asked = replace(IN_PLACE, sources=shifted_sources())
    careless, default = (search(asked, TABLE, partial(Meta, near=near), 8, seed=0) for near in (0, NEAR))
    assert best_after(asked, TABLE, default) >= 0.99 * best_after(asked, TABLE, careless)
