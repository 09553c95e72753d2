"""The contract of a searcher, as checks for the tests of any searcher, also one of another project.

    from searchers.contract import CHECKS, example

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_keeps_the_contract(check):
        check(MySearcher, example())

Each check takes what makes the searcher from a problem, and a table to search; it raises an `AssertionError` that says
what was asked and what came. They need no test framework. What a searcher may be expected to find is another matter:
`median_best` says what it finds, to be compared with that of `random`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from searchers.base import History, Problem, Searcher, Task
from searchers.objective import Expression, Metrics, Objective
from searchers.registry import SearcherFactory
from searchers.replay import MeasuredTable, replay
from searchers.space import Config, Knob, Space

Check = Callable[[SearcherFactory, MeasuredTable], None]
"""A part of the contract: what makes the searcher, and a table whose problem has no sources."""

TRIALS = 15
"""Trials of a search in a check. Our choice: beyond the ten at random that many a searcher starts with."""


def tries_everything_once_and_ends(make: SearcherFactory, table: MeasuredTable) -> None:
    """Every allowed configuration of a tiny space is tried once, whatever fails or breaks a limit; then it ends."""
    small = tiny()
    outcomes: list[list[Metrics | None]] = [
        [{"rps": 1.0 + i, "p99_ms": 20.0 * i} for i in range(5)],
        [None] * 5,
        [{"rps": 3.0, "p99_ms": 99.0}] * 5,
        [{"rps": float("nan"), "p99_ms": 1.0}] * 5,
    ]
    for metrics in outcomes:
        tried = searched(make, MeasuredTable(small, tuple(metrics)), trials=9)
        _require(sorted(tried) == [0, 1, 2, 3, 4], f"of 5 configurations with {metrics} it tried {tried}")


def ends_where_all_is_pending(make: SearcherFactory, table: MeasuredTable) -> None:
    """Where every configuration is being measured there is nothing to suggest."""
    suggested = make(tiny()).suggest(History(pending=frozenset(range(5))), np.random.default_rng(0))
    _require(suggested is None, f"with all 5 configurations pending it suggested {suggested}, not None")


def never_repeats_and_skips_pending(make: SearcherFactory, table: MeasuredTable) -> None:
    """What was observed or is pending is not suggested; a suggestion is a position of the space, as an `int`."""
    searcher, history = make(table.problem), History()
    for step in range(min(TRIALS, len(table.metrics))):
        position = _suggested(searcher, history, [1, step])
        history = history.await_(position) if step % 3 else history.observe(position, table.metrics[position])


def survives_failures_among_successes(make: SearcherFactory, table: MeasuredTable) -> None:
    """A history of failures and successes, with a configuration observed twice, once each."""
    works, other, *_ = np.flatnonzero(table.values()).tolist()
    fails = [position for position in range(4) if position not in (works, other)][:2]
    history = History().observe(works, None).observe(other, table.metrics[other])
    history = history.observe(works, table.metrics[works])
    for position in fails:
        history = history.observe(position, None)
    _suggested(make(table.problem), history, [0])


def is_a_function_of_its_history(make: SearcherFactory, table: MeasuredTable) -> None:
    """One that was asked other things before suggests the same as a new one, and leaves the history as it was."""
    history = History()
    for position in np.random.default_rng(5).choice(len(table.metrics), 4, replace=False).tolist():
        history = history.observe(position, table.metrics[position])
    used = make(table.problem)
    _suggested(used, History().observe(1, table.metrics[1]), [9])
    before = (history.observed, history.pending)
    with _other_random_state():
        one = _suggested(used, history, [3, 4])
    two = _suggested(make(table.problem), history, [3, 4])
    _require(one == two, f"for one history and the same random numbers it suggested {one}, then {two}")
    _require(before == (history.observed, history.pending), "it changed the history that it was given")


def does_not_care_for_units(make: SearcherFactory, table: MeasuredTable) -> None:
    """A thousand times the requests per second, the same search: no searcher knows absolute values."""
    thousand = tuple(None if m is None else {**m, "rps": 1000 * m["rps"]} for m in table.metrics)
    once, again = (searched(make, replace(table, metrics=each), trials=6) for each in (table.metrics, thousand))
    _require(once == again, f"it tried {once}, and with rps in another unit {again}")


def survives_any_sources(make: SearcherFactory, table: MeasuredTable) -> None:
    """Sources of another space, of failures only, of one configuration, of none, and all of these together."""
    space = table.problem.space
    working = int(np.flatnonzero(table.values())[0])
    odd = (
        _other_space(),
        _task("failures", space, [None if position % 2 else {"rps": 0.0} for position in range(len(space))][:20]),
        Task("one configuration", space, History().observe(working, table.metrics[working]).observed),
        Task("nothing observed", space, ()),
    )
    for sources in (*((each,) for each in odd), odd):
        asked = replace(table, problem=replace(table.problem, sources=sources))
        tried = searched(make, asked, trials=3)
        _require(len(set(tried)) == 3, f"with sources {[s.name for s in sources]} it tried {tried} in 3 trials")


CHECKS: tuple[Check, ...] = (
    tries_everything_once_and_ends, ends_where_all_is_pending, never_repeats_and_skips_pending,
    survives_failures_among_successes, is_a_function_of_its_history, does_not_care_for_units, survives_any_sources,
)  # fmt: skip
"""All parts of the contract."""


def median_best(make: SearcherFactory, table: MeasuredTable, *, trials: int, seeds: int) -> float:
    """Median over the seeds of the best value of so many trials, as a fraction of the table's best."""
    values = table.values()
    best = [values[searched(make, table, trials=trials, seed=seed)].max() for seed in range(seeds)]
    return float(np.median(best) / values.max())


def searched(make: SearcherFactory, table: MeasuredTable, *, trials: int, seed: int = 0) -> list[int]:
    """The positions that a searcher measures, in order; fewer than `trials` where it ends before."""
    return [step.position for step in replay(table, make(table.problem), budget=trials, seed=seed)]


def tiny() -> Problem:
    """Five of the six combinations of three knobs, one of which has one value, with a limit."""
    knobs = [Knob("cpu_cores", (1, 2, 4)), Knob("engine", ("x", "y"), "categorical"), Knob("fixed", (7,))]
    everything = Space(knobs)
    allowed = [everything[i] for i in (0, 1, 2, 4, 5)]
    return Problem(Space(knobs, allowed), Objective(Expression("rps"), at_most={"p99_ms": 50}))


def example() -> MeasuredTable:
    """A table of 96 configurations with structure: larger batches pay until they are too slow or do not fit."""
    knobs = [Knob("cpu_cores", (1, 2, 4, 8)), Knob("engine", ("x", "y", "z"), "categorical"),
             Knob("max_batch_size", tuple(2**i for i in range(8)))]  # fmt: skip
    space = Space(knobs)
    return MeasuredTable(
        Problem(space, Objective(Expression("rps"), at_most={"p99_ms": 150})),
        tuple(_measured(space[position]) for position in range(len(space))),
    )


def _measured(config: Config) -> Metrics | None:
    """What a trial measures: 4 ms a batch and 2 ms an item on one core; `z` is faster, and fits half as much."""
    cores, batch, engine = int(config["cpu_cores"]), int(config["max_batch_size"]), config["engine"]
    if batch > (64 if engine == "z" else 128) / (2 if cores == 8 else 1):
        return None
    batch_s = (0.004 + 0.002 * batch / cores**0.7) * {"x": 1.0, "y": 1.3, "z": 0.8}[str(engine)]
    return {"rps": batch / batch_s, "p99_ms": 2000 * batch_s}


def _other_space() -> Task:
    space = Space([Knob("max_batch_size", (2, 8, 512)), Knob("beam_width", (1, 2, 4, 8))])
    return _task("another space", space, [{"rps": 1.0 + position, "usd_per_hour": 0.5} for position in range(12)])


def _task(name: str, space: Space, metrics: Sequence[Metrics | None]) -> Task:
    history = History()
    for position, measured in enumerate(metrics):
        history = history.observe(position, measured)
    return Task(name, space, history.observed)


def _suggested(searcher: Searcher, history: History, seed: Sequence[int]) -> int:
    """A suggestion, checked as every suggestion must be while something is free."""
    position = searcher.suggest(history, np.random.default_rng(list(seed)))
    after = f"after {len(history.observed)} observed and {len(history.pending)} pending"
    if not isinstance(position, int):
        raise AssertionError(f"{after} it suggested {position!r}, which is not an int")
    _require(position >= 0, f"{after} it suggested {position}, which is no position")
    _require(position not in history.taken, f"{after} it suggested {position}, which is taken")
    return position


@contextmanager
def _other_random_state() -> Iterator[None]:
    """Elsewhere than usual in the random numbers that all of a process shares, which a searcher must not use."""
    numpy, standard = np.random.get_state(), random.getstate()
    np.random.seed(12345)
    random.seed(12345)
    try:
        yield
    finally:
        np.random.set_state(numpy)
        random.setstate(standard)


def _require(kept: bool, broken: str) -> None:
    if not kept:
        raise AssertionError(broken)
