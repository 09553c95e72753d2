"""Faults to inject into a study: processes that are killed or stopped during a trial, and models that misbehave."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil

from benchmarks.faults.leftovers import workers

REPLICA, LOAD, POOL, TRIAL, CONTROLLER = "ServeReplica:", "LoadActor", "Pool", "ImplicitFunc", "ServeController"
"""Beginnings of the titles that Ray gives its processes."""

Strike = Callable[[random.Random], bool]
"""Injects a fault; returns False if there is nothing yet to harm."""

_STOPPED_S = (1.0, 4.0)
"""Range of seconds for which the controller is stopped: longer than any call to it takes, shorter than what counts as
dead."""


@dataclass(frozen=True)
class Fault:
    """One way in which a study can be disturbed.

    Args:
        name: the name in tables.
        strike: injects the fault from outside; None where the model itself is the fault.
        behaviour: the model's behaviour, a method of `Misbehaving`.
        reason: regular expression for the reason of a trial that failed, or was tried again, because of the fault.
        hits: most strikes in one study.
        trials: trials of a study; at most the number of configurations of the service, which is eight, or sixteen
            where half of them misbehave.
        always: whether every trial that is struck fails.
        prepare: called before each study.
    """

    name: str
    strike: Strike | None = None
    behaviour: str = "works"
    reason: str = "$^"
    hits: int = 5
    trials: int = 8
    always: bool = False
    prepare: Callable[[], None] = lambda: None


def kill(title: str) -> Strike:
    """A strike that kills a random one of the processes with this title."""

    def strike(rng: random.Random) -> bool:
        found = workers(title)
        if found:
            rng.choice(found).send_signal(signal.SIGKILL)
        return bool(found)

    return strike


def under_load(strike: Strike) -> Strike:
    """The same strike, but only while a load actor is at work."""
    return lambda rng: bool(workers(f"{LOAD}.run")) and strike(rng)


def stop_for_a_while(title: str) -> Strike:
    """A strike that stops a process with this title and lets it continue after some seconds."""

    def strike(rng: random.Random) -> bool:
        found = workers(title)
        if found:
            found[0].send_signal(signal.SIGSTOP)
            time.sleep(rng.uniform(*_STOPPED_S))
            found[0].send_signal(signal.SIGCONT)
        return bool(found)

    return strike


_DIED = "ReplicaDied|DeployFailed: ActorDied"

FAULTS = (
    Fault("replica killed", kill(REPLICA), reason=_DIED),
    Fault("load generator killed", kill(LOAD), reason="LoadFailed: .*"),
    Fault("pool killed", kill(POOL), hits=1, trials=3),
    Fault("trial's process killed", kill(TRIAL), reason="TrialDied"),
    Fault("Serve's controller stopped for seconds", stop_for_a_while(CONTROLLER), reason=_DIED),
    Fault("Serve's controller killed", kill(CONTROLLER), reason=_DIED),
    Fault("every 10th request raises", behaviour="raises"),
    Fault("every request raises", behaviour="always_raises", reason="NoRate: .*every request is bad", always=True),
    Fault("a batch hangs", behaviour="hangs", reason="ModelStuck: ", always=True),
    Fault("memory leaks", behaviour="leaks"),
    Fault("MemoryError", behaviour="needs_too_much", reason="OutOfMemory: 2 GiB", always=True),
    Fault("out of memory", behaviour="runs_out_of_memory", reason="OutOfMemory", always=True),
    Fault(
        "too few rows",
        behaviour="answers_too_little",
        reason=r"NoRate: .* returned \d+ results for \d+ payloads",
        always=True,
    ),
    Fault("the model's process exits", behaviour="exits", reason="ReplicaDied", always=True),
)


class Saboteur:
    """Strikes once in each of some trials, at a random moment.

    Args:
        strike: the strike.
        trials: numbers of the trials.
        rng: generator of moments and victims.
        within_s: the latest moment, in seconds after the trial's start; later if there is nothing to harm by then.
    """

    def __init__(self, strike: Strike, trials: frozenset[int], rng: random.Random, within_s: float) -> None:
        self._strike, self._trials, self._rng, self._within_s = strike, trials, rng, within_s
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self.hits = 0
        self.failures: list[str] = []

    def started(self, number: int) -> None:
        """Called when a trial has begun; schedules its strike."""
        if number in self._trials:
            delay_s = self._rng.uniform(0.0, self._within_s)
            self._threads.append(threading.Thread(target=self._wait_and_strike, args=(delay_s,), daemon=True))
            self._threads[-1].start()

    def leave(self) -> None:
        """Called when the study is over; ends pending strikes."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _wait_and_strike(self, delay_s: float) -> None:
        if self._over.wait(delay_s):
            return
        while not self._over.wait(0.01):
            try:
                if self._strike(self._rng):
                    self.hits += 1
                    return
            except psutil.NoSuchProcess:
                continue  # the process ended before the strike
            except Exception as error:
                self.failures.append(f"the strike itself failed: {error!r}")
                return
