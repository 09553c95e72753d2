from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from searchers.base import History, Problem, Task
from searchers.baselines.from_sources.portfolio import Portfolio, greedy_order, greedy_portfolio, mean_fraction
from searchers.baselines.from_sources.quantile_transfer import normal_scores
from searchers.baselines.from_sources.source_values import fractions_of, learnt_once, log_values, sources_of, unit_cube
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


def test_greedy_coverage_takes_second_what_the_first_does_not_serve():
    rows = ([10.0, 9, 1, 0, 2], [10.0, 9.5, 2, 1, 3], [1.0, 2, 3, 10, 4])
    sources = tuple(task(str(i), BATCH, list(enumerate(map(good, row)))) for i, row in enumerate(rows))
    problem = Problem(BATCH, GOAL, USD, sources=sources)
    history = History()
    tried: list[int] = []
    for _ in range(5):
        position = greedy_portfolio(problem).suggest(history, np.random.default_rng(len(tried)))
        assert position is not None
        tried.append(position)
        history = history.observe(position, None)
    # 0 serves two of three, 3 the third; then all have their best and the means 0.68, 0.3 and 0.2 decide.
    assert tried == [0, 3, 1, 4, 2] and np.argsort(-mean_fraction(problem)).tolist() == [0, 1, 3, 4, 2]
    unknown = replace(problem, sources=(task("one", BATCH, [(4, good(1)), (2, good(2))]),))
    assert np.argsort(-greedy_order(unknown))[:2].tolist() == [2, 4] and greedy_order(unknown)[0] == -1


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
    with pytest.raises(ValueError, match="none of the 2 values is feasible"):
        log_values(np.zeros(2))


LEARNT_FROM = Problem(BATCH, GOAL, USD, sources=(task("t", BATCH, [(0, good(1))]),))


def others_than(problem: Problem) -> Iterator[tuple[str, Problem]]:
    """The problem with one thing changed that what is learnt from its sources depends on."""
    knob, objective = problem.space.knobs[0], problem.objective
    yield "sources", replace(problem, sources=(task("t", BATCH, [(0, good(1))]),))
    yield "no sources", replace(problem, sources=())
    yield "values", replace(problem, space=Space([Knob(knob.name, (1, 2, 4, 8, 32))]))
    yield "name", replace(problem, space=Space([Knob("batch", knob.values)]))
    four = Space([knob], [{knob.name: value} for value in knob.values[:4]])
    yield "what is allowed", replace(problem, space=four, usd_per_hour=USD[:4])
    yield "prices", replace(problem, usd_per_hour=2 * USD)
    yield "goal", replace(problem, objective=replace(objective, goal=Expression("rps")))
    yield "direction", replace(problem, objective=replace(objective, minimize=True))
    yield "limit", replace(problem, objective=replace(objective, at_most={"p99_ms": 5}))
    yield "limited metric", replace(problem, objective=replace(objective, at_most={"p50_ms": 100}))
    yield "least", replace(problem, objective=replace(objective, at_most={}, at_least={"p99_ms": 100}))
    yield "one more limit", replace(problem, objective=replace(objective, at_least={"rps": 1}))


@pytest.mark.parametrize(("changed", "other"), [pytest.param(*each, id=each[0]) for each in others_than(LEARNT_FROM)])
def test_is_learnt_once_for_the_same_sources_and_anew_where_anything_else_is_asked(changed, other):
    asked = []

    @learnt_once
    def learn(problem: Problem) -> int:
        asked.append(problem)
        return len(asked)

    same = replace(
        LEARNT_FROM, space=Space([Knob("max_batch_size", (1, 2, 4, 8, 16))]), usd_per_hour=USD.copy(), noise=0.5,
        objective=Objective(Expression("rps / usd_per_hour"), at_most={"p99_ms": 100.0}), facts={"size": 1.0},
    )  # fmt: skip
    assert [learn(each) for each in (LEARNT_FROM, same, other, LEARNT_FROM, other)] == [1, 1, 2, 1, 2], changed


def test_normal_scores_keep_the_order_share_ties_and_stay_finite():
    scores = normal_scores(np.array([5.0, 0.0, 0.0, 1e9]))
    assert np.isfinite(scores).all() and scores[1] == scores[2] < scores[0] < scores[3]
    np.testing.assert_allclose(scores[0], 0.6744897501960817)  # Φ⁻¹(3/4): third of four
    assert np.isfinite(normal_scores(np.ones(1))).all()
