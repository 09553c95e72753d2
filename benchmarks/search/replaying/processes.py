"""Runs work on the tasks of a suite in several processes of one thread each."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from typing import TypeVar

from raytune_infer.suites.replays import Plan, Unit, units
from raytune_infer.suites.suites import Suite
from raytune_infer.suites.workers import in_processes

Given = TypeVar("Given")
Extra = TypeVar("Extra")
Part = TypeVar("Part")
Work = Callable[[Suite, Plan, Given, Extra], Iterator[Part]]
"""A module-level function of a suite, its plan, one piece of work and further data → the parts of the result."""


def parts_of_all(
    work: Callable[[Suite, Plan, Unit, Extra], Iterator[Part]], plans: Sequence[Plan], extra: Extra, jobs: int
) -> Iterator[Part]:
    """Does the work for all units of the plans and yields the parts of its results.

    Args:
        work: the function to call for each unit.
        plans: plans of one suite each.
        extra: further data for the function.
        jobs: number of processes.
    """
    for plan in plans:
        suite = plan.load(plan.folder)
        plan = plan.checked(suite)
        with closing(parts_of(work, plan, extra, units(plan, suite), jobs)) as ready:
            yield from ready


def parts_of(
    work: Work[Given, Extra, Part], plan: Plan, extra: Extra, given: Sequence[Given], jobs: int
) -> Generator[Part, None, None]:
    """Does the work of one plan and yields the parts of its results in the order in which they are ready.

    Args:
        work: the function to call for each piece of work.
        plan: the plan, already checked.
        extra: further data for the function.
        given: the pieces of work, one or more.
        jobs: number of processes.

    Raises:
        WorkerDied: a process was killed, or its work raised.
    """
    yield from in_processes(_in_one_thread, (work, plan, extra), given, jobs)


def _in_one_thread(common: tuple[Work[Given, Extra, Part], Plan, Extra], given: Iterator[Given]) -> Iterator[Part]:
    """Does the pieces of work that one process is given, in one thread."""
    import torch

    torch.set_num_threads(1)
    work, plan, extra = common
    suite = plan.load(plan.folder)
    for each in given:
        yield from work(suite, plan, each, extra)
