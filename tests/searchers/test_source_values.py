import numpy as np
import pytest

from searchers.base import History, Problem, Task
from searchers.baselines.portfolio import Portfolio, mean_fraction
from searchers.baselines.quantile_transfer import normal_scores
from searchers.baselines.source_values import fractions_of, learnt_once, log_values, sources_of, unit_cube
from searchers.objective import Expression, Objective
from searchers.space import Knob, Space

BATCH = Space([Knob("max_batch_size", (1, 2, 4, 8, 16))])
GOAL = Objective(Expression("rps / usd_per_hour"), at_most={"p99_ms": 100})
USD = np.full(5, 2.0)


def task(name: str, space: Space, rows: list[tuple[int, dict[str, float] | None]]) -> Task:
    history = History()
    for position, metrics in rows:
        history = history.observe(position, metrics)
    return Task(name, space, history.observed)


def good(rps: float, **more: float) -> dict[str, float]:
    return {"rps": rps, "p99_ms": 10.0, **more}


def test_mean_fraction_by_hand():
    # Priced by the target at 2: 5, 10, -, none, too slow. Priced by themselves: 8/1 and 8/4; 16 is not measured.
    one = task("one", BATCH, [(0, good(10)), (1, good(20)), (3, None), (4, {"rps": 99, "p99_ms": 101})])
    two = task("two", BATCH, [(0, good(8, usd_per_hour=1.0)), (1, good(8, usd_per_hour=4.0))])
    problem = Problem(BATCH, GOAL, USD, sources=(one, two))
    nan = float("nan")
    np.testing.assert_allclose(fractions_of(problem), [[0.5, 1, nan, 0, 0], [1, 0.25, nan, nan, nan]])
    np.testing.assert_allclose(mean_fraction(problem), [0.75, 0.625, -1, 0, 0])
    searcher, history = Portfolio(problem), History()
    for _ in range(5):
        position = searcher.suggest(history, np.random.default_rng(len(history.observed)))
        assert position is not None
        history = history.observe(position, None)
    tried = [o.position for o in history.observed]
    assert tried[:2] == [0, 1] and set(tried[2:4]) == {3, 4} and tried[4] == 2


def test_a_configuration_measured_twice_counts_with_its_mean():
    twice = task("twice", BATCH, [(0, good(10)), (0, good(30)), (1, good(40))])
    np.testing.assert_allclose(mean_fraction(Problem(BATCH, GOAL, USD, sources=(twice,)))[:2], [0.5, 1])


def test_another_space_is_known_by_its_columns_and_unpriced_rows_say_nothing():
    other = Space([Knob("max_batch_size", (4, 16, 64)), Knob("beams", (1, 2))])
    rows = [(i, good(i + 1.0, usd_per_hour=1.0)) for i in range(5)] + [(5, good(9.0))]
    (source,) = sources_of(Problem(BATCH, GOAL, USD, sources=(task("other", other, rows),)))
    assert (source.positions == -1).all()
    # log2 of 4, 16, 64 where 1 … 16 fill 0 to 1; the last configuration has no price anywhere.
    np.testing.assert_allclose(source.x[:, 0], [0.5, 0.5, 1, 1, 1.5])
    np.testing.assert_allclose(source.values, [1, 2, 3, 4, 5])


def test_a_column_that_the_source_lacks_is_at_this_spaces_mean_and_a_constant_one_at_0():
    here = Space([Knob("max_batch_size", (1, 2, 4, 8, 16)), Knob("cores", (1, 4)), Knob("fixed", (3,))])
    problem = Problem(here, Objective(Expression("rps")), sources=(task("t", BATCH, [(2, good(1))]),))
    np.testing.assert_allclose(sources_of(problem)[0].x, [[0.5, 0.5, 0]])
    cube = unit_cube(problem, here.features)
    np.testing.assert_allclose([cube.min(0), cube.max(0)], [[0, 0, 0], [1, 1, 0]])


def test_what_does_not_count_is_as_bad_as_the_worst_that_does():
    np.testing.assert_allclose(log_values(np.array([0, np.e, 1.0, 0])), [0, 1, 0, 0])
    with pytest.raises(ValueError, match="none of 2 values counts"):
        log_values(np.zeros(2))


def test_is_learnt_once_for_the_same_sources_and_anew_for_another_objective():
    asked = []

    @learnt_once
    def learn(problem: Problem) -> int:
        asked.append(problem)
        return len(asked)

    sources = (task("t", BATCH, [(0, good(1))]),)
    same_space = Space([Knob("max_batch_size", (1, 2, 4, 8, 16))])
    assert learn(Problem(BATCH, GOAL, USD, sources=sources)) == 1
    assert learn(Problem(same_space, GOAL, USD.copy(), sources=sources)) == 1
    assert learn(Problem(BATCH, Objective(GOAL.goal, at_most={"p99_ms": 5}), USD, sources=sources)) == 2
    assert learn(Problem(BATCH, GOAL, 2 * USD, sources=sources)) == 3
    assert learn(Problem(BATCH, GOAL, USD)) == 4


def test_normal_scores_keep_the_order_share_ties_and_stay_finite():
    scores = normal_scores(np.array([5.0, 0.0, 0.0, 1e9]))
    assert np.isfinite(scores).all() and scores[1] == scores[2] < scores[0] < scores[3]
    np.testing.assert_allclose(scores[0], 0.6744897501960817)  # Φ⁻¹(3/4): third of four
    assert np.isfinite(normal_scores(np.ones(1))).all()
