"""Work on the tasks of a suite, shared out to processes of one thread each."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from typing import TypeVar

from raytune_infer.suites.replays import Plan, Unit, units
from raytune_infer.suites.suites import Suite, load_suite
from raytune_infer.suites.workers import in_processes

Given = TypeVar("Given")
Extra = TypeVar("Extra")
Part = TypeVar("Part")
Work = Callable[[Suite, Plan, Given, Extra], Iterator[Part]]
"""A function of a module: a suite, the plan, what is given to one process at a time, what else it needs → its parts."""


def parts_of_all(
    work: Callable[[Suite, Plan, Unit, Extra], Iterator[Part]], plans: Sequence[Plan], extra: Extra, jobs: int
) -> Iterator[Part]:
    """What the work makes of all units of the plans.

    Args:
        work: done for each unit.
        plans: a suite each.
        extra: what else it needs.
        jobs: processes at a time.
    """
    for plan in plans:
        suite = load_suite(plan.folder)
        plan = plan.checked(suite)
        with closing(parts_of(work, plan, extra, units(plan, suite), jobs)) as ready:
            yield from ready


def parts_of(
    work: Work[Given, Extra, Part], plan: Plan, extra: Extra, given: Sequence[Given], jobs: int
) -> Generator[Part, None, None]:
    """What the work makes of one plan, as it comes.

    Args:
        work: done for each of those given.
        plan: checked.
        extra: what else it needs.
        given: at least one.
        jobs: processes at a time.

    Raises:
        WorkerDied: a process was killed, or its work raised.
    """
    yield from in_processes(_in_one_thread, (work, plan, extra), given, jobs)


def _in_one_thread(common: tuple[Work[Given, Extra, Part], Plan, Extra], given: Iterator[Given]) -> Iterator[Part]:
    """What a process does."""
    import torch

    torch.set_num_threads(1)
    work, plan, extra = common
    suite = load_suite(plan.folder)
    for each in given:
        yield from work(suite, plan, each, extra)
