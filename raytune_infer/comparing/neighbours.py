"""Neighbours of a replica that pays for a part of a GPU: copies of it on the other parts, under the same load.

A replica alone on a GPU has all of its caches and memory bandwidth, and without MPS all of its time, whatever share of
it its threads are held to. What it can do on the part that it pays for shows only while the other parts work too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from raytune_infer.counted import counted
from raytune_infer.store.records import NEIGHBOURS
from serve_deployments.backend import Beside, CouldNotRun, NoRoom, ReplicaFacts, Running, Startup
from serve_deployments.endpoint import Endpoint
from serve_deployments.load.among_copies import AmongCopies
from serve_deployments.resources.enforcement import Enforcement
from serve_deployments.settings import Settings


def neighbours_that_fit(settings: Settings) -> int:
    """Return how many copies of a replica fit on its GPU beside it, by the part of it that each pays for."""
    # 1 / 0.1 is 10 and 1 / 0.05 is 20, but of 1 / 0.7 and the like only rounding may lack.
    return 0 if settings.gpu_type is None else math.floor(1 / settings.num_gpus + 1e-9) - 1


@dataclass(frozen=True)
class Among:
    """A replica among its neighbours, to be measured.

    Args:
        replica: the replica.
        neighbours: its neighbours.
        told: how many neighbours there are of those that fit; None where it has the whole GPU, or none.
    """

    replica: Running
    neighbours: tuple[Running, ...] = ()
    told: Enforcement | None = None

    @property
    def startup(self) -> Startup:
        """How the replica was brought to its settings."""
        return self.replica.startup

    @property
    def start_s(self) -> float:
        """Seconds that it took to start the neighbours, which start together."""
        return max((sum(each.startup.seconds.values()) for each in self.neighbours), default=0.0)

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint of the replica, from which its neighbours get the same load."""
        if not self.neighbours:
            return self.replica.endpoint
        return AmongCopies(self.replica.endpoint, [each.endpoint for each in self.neighbours])

    def facts(self) -> ReplicaFacts:
        """The state of the replica itself."""
        return self.replica.facts()


@contextmanager
def among_neighbours(replica: Running, settings: Settings, name: str, beside: Beside | None) -> Iterator[Among]:
    """Start as many neighbours of a replica as fit on its GPU, and as its node has cores for; all end with the context.

    Args:
        replica: the running replica.
        settings: its settings, which its neighbours have too.
        name: name of the trial.
        beside: starts a neighbour; None: the replica is measured alone.

    Raises:
        CouldNotRun: a neighbour does not run beside the others, or ran out of memory: the part of the GPU that is paid
            for is not enough.
    """
    fit = neighbours_that_fit(settings)
    with ExitStack() as stack:
        there, failed = _started(stack, replica, settings, name, beside, fit)
        with _in_words(len(there), fit):
            if (error := next((each for each in failed if not isinstance(each, NoRoom)), None)) is not None:
                raise error
        why = f"; more found no room: {failed[0]}" if failed else ""
        yield Among(replica, tuple(there), _told(len(there), fit, why))
        with _in_words(len(there), fit):
            stack.close()


def _started(
    stack: ExitStack, replica: Running, settings: Settings, name: str, beside: Beside | None, fit: int
) -> tuple[list[Running], list[CouldNotRun]]:
    """Start all neighbours at once; returns those that run, which end with the stack, and why the others do not."""
    there: list[Running] = []
    failed: list[CouldNotRun] = []
    if beside is None or not fit:
        return there, failed
    # One after another, each would wait for the imports and the model of the one before it. The pool's end waits for
    # all of them, also where this is interrupted, so that none begins to run after the stack has been closed.
    with ThreadPoolExecutor(fit) as starting:
        tasks = [
            starting.submit(stack.enter_context, beside(replica, settings, f"{name}-beside-{number}"))
            for number in range(1, fit + 1)
        ]
    for task in tasks:
        try:
            there.append(task.result())
        except CouldNotRun as error:
            failed.append(error)
    return there, failed


@contextmanager
def _in_words(there: int, fit: int) -> Iterator[None]:
    """Say of what goes wrong with a neighbour that it is one."""
    try:
        yield
    except NoRoom:
        raise
    except CouldNotRun as error:
        raise type(error)(
            f"{there} of {fit} copies of it beside it on its GPU, where as many fit by the part that each pays for: "
            f"{error}; raise gpu_share or gpu_memory"
        ) from error


def _told(there: int, fit: int, why: str) -> Enforcement | None:
    """Return what is said of the neighbours; None where none fit."""
    if not fit:
        return None
    copies = f"{counted(there, 'copy', 'copies')} of itself on the same GPU under the same load"
    if there:
        how = f"beside {copies}" + ("" if there == fit else f", though {fit} fit{why}")
    else:
        more = counted(fit, "more such replica fits", "more such replicas fit")
        how = f"measured alone, though {more} on its GPU{why}"
    return Enforcement(NEIGHBOURS, str(fit), there == fit, how, given=str(there))
