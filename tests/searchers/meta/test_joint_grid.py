"""One grid for spaces of other knobs and values: each row against the configurations themselves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchers.base import Observation, Task
from searchers.meta.joint_grid import ABSENT, grid_over
from searchers.space import Knob, Space

BATCH = Knob("batch", (1, 4))
ENGINE = Knob("engine", ("a", "b"), "categorical")
HERE = Space([BATCH, ENGINE])


def task(space: Space, *positions: int) -> Task:
    return Task("t", space, tuple(Observation(p, {"rps": 1.0}) for p in positions))


def test_rows_are_the_problems_configurations_by_position_then_those_that_only_others_have():
    other = Space([Knob("batch", (4, 16)), Knob("beams", (1, 2))])
    grid = grid_over(HERE, [task(HERE, 2, 0, 2), task(other, 3, 0)])
    assert [axis.name for axis in grid.axes] == ["batch", "engine", "beams"]
    assert grid.n == 4
    # batch: 1, 4, 16; engine: a, b; beams: 1, 2
    assert grid.ranks.tolist() == [[0, 0, -1], [0, 1, -1], [1, 0, -1], [1, 1, -1], [2, -1, 1], [1, -1, 0]]
    assert [rows.tolist() for rows in grid.rows] == [[2, 0, 2], [4, 5]]


def test_a_column_is_standardised_over_all_values_and_names_alone_have_none():
    grid = grid_over(HERE, [task(Space([Knob("batch", (16,))]), 0)])
    batch, engine = grid.axes
    assert batch.features[:, 0] == pytest.approx(np.array([-1, 0, 1]) * np.sqrt(1.5))  # log2: 0, 2, 4
    assert not batch.categorical and engine.categorical and engine.features.shape == (2, 0)


def test_features_of_a_categorical_knob_are_found_by_column_and_a_constant_column_is_0():
    one = Knob("gpu", ("T4", "V100"), "categorical", ("flops", "gib"), ((1.0, 7.0), (3.0, 7.0)))
    two = Knob("gpu", ("A100", "T4"), "categorical", ("gib", "flops"), ((7.0, 5.0), (7.0, 1.0)))
    (gpu,) = grid_over(Space([one]), [task(Space([two]), 0)]).axes
    assert gpu.categorical
    assert gpu.features == pytest.approx(np.array([[-np.sqrt(1.5), 0], [0, 0], [np.sqrt(1.5), 0]]))  # T4, V100, A100


def test_a_column_that_one_knob_lacks_counts_as_0_there():
    one = Knob("gpu", ("x",), "categorical", ("flops",), ((2.0,),))
    two = Knob("gpu", ("y",), "categorical", ("gib",), ((4.0,),))
    (gpu,) = grid_over(Space([one]), [task(Space([two]), 0)]).axes
    assert gpu.features == pytest.approx(np.array([[1, -1], [-1, 1]]))


def test_a_knob_that_is_categorical_in_one_space_is_so_in_all_and_mixed_kinds_keep_their_columns():
    named = Space([Knob("batch", (1, 4), "categorical")])
    (axis,) = grid_over(Space([BATCH]), [task(named, 0)]).axes
    assert axis.categorical and axis.features.shape == (2, 3)


def test_one_and_true_are_different_values():
    grid = grid_over(Space([Knob("k", (1, 2))]), [task(Space([Knob("k", (True, 2))]), 0, 1)])
    assert grid.ranks.ravel().tolist() == [0, 1, 2] and grid.rows[0].tolist() == [2, 1]


def test_nobody_else_is_the_space_itself():
    grid = grid_over(HERE, ())
    assert np.array_equal(grid.ranks, HERE.ranks) and grid.rows == () and grid.n == len(HERE)


knobs = st.lists(
    st.sampled_from([BATCH, ENGINE, Knob("batch", (2, 1)), Knob("beams", (1, 2, 3)), Knob("wait", (0, 5))]),
    min_size=1, max_size=3, unique_by=lambda knob: knob.name,
)  # fmt: skip


@given(knobs, st.lists(st.tuples(knobs, st.lists(st.integers(0, 30), max_size=4)), max_size=3))
def test_a_row_says_what_the_configuration_is(here, others):
    space = Space(here)
    tasks = [task(s, *(p % len(s) for p in positions)) for s, positions in ((Space(k), ps) for k, ps in others)]
    grid = grid_over(space, tasks)
    spaces = [space, *(t.space for t in tasks)]
    union = {a.name: list(dict.fromkeys(v for s in spaces for k in s.knobs if k.name == a.name for v in k.values))
             for a in grid.axes}  # fmt: skip

    def config(row: int) -> dict:
        pairs = zip(grid.axes, grid.ranks[row], strict=True)
        return {axis.name: union[axis.name][rank] for axis, rank in pairs if rank != ABSENT}

    assert [config(i) for i in range(grid.n)] == [space[i] for i in range(len(space))]
    for each, rows in zip(tasks, grid.rows, strict=True):
        assert [config(int(row)) for row in rows] == [each.space[o.position] for o in each.observed]
    assert len({tuple(row) for row in grid.ranks.tolist()}) == len(grid.ranks)
