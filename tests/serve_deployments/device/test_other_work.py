"""What others had of a process's cores: by the books of a fake machine, and beside a process that really burns one."""

import json
import math
import os
import subprocess
import sys
from collections import namedtuple
from types import SimpleNamespace

import pytest

from cluster.fakes import FakeTime
from serve_deployments.device import other_work
from serve_deployments.device.limits import can_pin, machine_cores
from serve_deployments.device.other_work import OtherWork, busy_s, stolen_s
from serve_deployments.device.run_queue import RunQueue


class Machine:
    """Its cores' busy seconds, those of the process, how long its threads waited, and what a hypervisor took."""

    def __init__(self, cores, *, counts_waits=False):
        self.busy_s, self.own_s, self.time = [100.0] * cores, 7.0, FakeTime()
        self.waited_s, self.stolen_s = 3.0 if counts_waits else math.inf, [50.0] * cores
        self.others = OtherWork(
            lambda: self.own_s, lambda: list(self.busy_s), self.time.clock,
            waited_s=lambda: self.waited_s, stolen_s=lambda: list(self.stolen_s),
        )  # fmt: skip

    def goes_on(self, seconds, own_s, *busy_s, waited_s=0.0, stolen_s=0.0):
        self.time.now_s += seconds
        self.own_s += own_s
        self.waited_s += waited_s
        self.stolen_s = [before + stolen_s for before in self.stolen_s]
        self.busy_s = [before + more for before, more in zip(self.busy_s, busy_s, strict=True)]


def test_what_is_busy_and_not_its_own_is_others():
    machine = Machine(3)
    machine.others.watch([0, 2])
    machine.goes_on(10, 12, 9, 10, 8)
    assert machine.others.read() == (5, 20)
    machine.goes_on(10, 4, 2, 10, 2)
    assert machine.others.read() == (5, 40)


def test_only_while_it_is_pinned_and_only_there():
    machine = Machine(2)
    machine.goes_on(10, 0, 10, 10)
    machine.others.watch([1])
    machine.goes_on(4, 1, 4, 2)
    machine.others.watch([])
    machine.goes_on(10, 0, 10, 10)
    machine.others.watch([0])
    machine.goes_on(4, 0, 4, 4)
    assert machine.others.read() == (5, 8)


def test_ticks_that_come_late_are_not_counted_twice():
    """The process's own second is told before the core's: then the core catches up, and nobody else was there."""
    machine = Machine(1)
    machine.others.watch([0])
    machine.goes_on(1, 1, 0.9)
    assert machine.others.read() == (0, 1)
    machine.goes_on(1, 1, 1.1)
    assert machine.others.read() == (0, 2)


def test_cores_that_the_system_does_not_know_are_not_watched():
    machine = Machine(2)
    machine.others.watch([1, 2])
    machine.goes_on(5, 0, 5, 5)
    assert machine.others.read() == (0, 0)


@pytest.mark.parametrize(
    ("own_s", "busy_s", "waited_s", "stolen_s", "others_s"),
    [
        (0.5, [10.0], 0.2, 0.0, 0.2),  # an idle replica beside one that burns the core: 95 % of it, and 2 % are missed
        (5.0, [10.0], 5.0, 0.0, 5.0),  # one that computes loses half
        (9.0, [9.5], 4.0, 0.0, 0.5),  # its own threads waited for one another
        (5.0, [20.0, 20.0], 2.0, 0.0, 4.0),  # one of its threads could not go on for 2 s, and there are two cores
        (5.0, [10.0], 0.0, 3.0, 3.0),  # a hypervisor took some, for which nothing waits in a run queue
        (5.0, [5.0], 1.0, 0.0, 0.0),
    ],
)
def test_what_others_use_counts_as_far_as_the_replica_waited_for_it(own_s, busy_s, waited_s, stolen_s, others_s):
    machine = Machine(len(busy_s), counts_waits=True)
    machine.others.watch(range(len(busy_s)))
    machine.goes_on(10, own_s, *busy_s, waited_s=waited_s, stolen_s=stolen_s)
    assert machine.others.read() == (pytest.approx(others_s), 10 * len(busy_s))
    machine.goes_on(10, 0, *busy_s)  # now it does nothing, and loses nothing
    assert machine.others.read() == (pytest.approx(others_s), 20 * len(busy_s))


def test_waits_of_before_it_was_pinned_do_not_count():
    machine = Machine(1, counts_waits=True)
    machine.goes_on(10, 0, 10, waited_s=9, stolen_s=1)
    machine.others.watch([0])
    machine.goes_on(10, 1, 10, waited_s=0.5)
    assert machine.others.read() == (pytest.approx(0.5), 10)


_BURNS = "import os; os.sched_setaffinity(0, [{core}]); print(flush=True)\nwhile True: pass"

WAITS_ARE_COUNTED = not math.isinf(RunQueue(pressure_s=lambda: math.inf).waited_s([os.getpid()]))

_MEASURED = """
import dataclasses, json, subprocess, sys, time
from serve_deployments.device.limits import pin
from serve_deployments.device.meter import Meter
core, burns = int(sys.argv[1]), sys.argv[2]
pin([core])
meter = Meter()
meter.pinned([core])
child = subprocess.Popen([sys.executable, "-c", burns], stdout=subprocess.PIPE) if burns else None
until = time.monotonic() + 1.5
while time.monotonic() < until:
    pass
alive = meter.read()
if child is not None:
    child.kill()
    child.wait()
print(json.dumps([dataclasses.asdict(alive), dataclasses.asdict(meter.read())]))
"""


def measured(core, burns="", *, waits=False):
    """Readings of a process that burns a core for 1.5 s, with a child that does so too where there is one.

    Or of one that mostly waits for a clock.
    """
    script = _MEASURED.replace("    pass\n", "    time.sleep(0.2)\n") if waits else _MEASURED
    command = [sys.executable, "-c", script, str(core), burns]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(not can_pin(), reason="this system has no CPU affinity")
def test_beside_a_process_that_burns_the_same_core():
    core = min(machine_cores())
    with subprocess.Popen([sys.executable, "-c", _BURNS.format(core=core)], stdout=subprocess.PIPE) as burner:
        assert burner.stdout is not None
        burner.stdout.readline()  # its start is no burning
        told = measured(core)[-1]
        burner.kill()
    assert told["cores_s"] >= 1.5
    # Half of it, by the scheduler's fairness; more where the machine is busy.
    assert 0.25 < told["others_s"] / told["cores_s"] <= 1.1


@pytest.mark.skipif(not (can_pin() and WAITS_ARE_COUNTED), reason="this system has no affinity, or counts no waits")
def test_who_mostly_waits_loses_little_beside_a_process_that_burns_the_same_core():
    """Whatever else runs there: no more than its threads were ready to run, which is a small part of its time."""
    core = min(machine_cores())
    with subprocess.Popen([sys.executable, "-c", _BURNS.format(core=core)], stdout=subprocess.PIPE) as burner:
        assert burner.stdout is not None
        burner.stdout.readline()
        told = measured(core, waits=True)[-1]
        burner.kill()
    assert told["cores_s"] >= 1.5 and told["others_s"] < 0.5 * told["cores_s"]


@pytest.mark.skipif(not can_pin(), reason="this system has no CPU affinity")
def test_what_a_model_has_started_is_its_own_while_it_runs_and_after_it_has_ended():
    core = min(machine_cores())
    alive, ended = measured(core, _BURNS.format(core=core))
    # All of the core's time, however it is shared, is that of these two or of others: by the system's own books.
    for told in (alive, ended):
        assert told["cpu_s"] + told["others_s"] == pytest.approx(told["cores_s"], abs=0.2)
    assert ended["cpu_s"] >= alive["cpu_s"]


LINUX = namedtuple("LINUX", "user nice system idle iowait irq softirq steal guest guest_nice")
MACOS = namedtuple("MACOS", "user nice system idle")


@pytest.mark.parametrize(
    ("cores", "busy"),
    [
        # Of 100 s of users 30 were a guest's, and of 10 of nice ones 4; for 40 s it waited for a disk.
        ([LINUX(100, 10, 20, 500, 40, 1, 2, 3, 30, 4)], [136]),
        ([LINUX(0, 0, 0, 9, 0, 0, 0, 0, 0, 0), LINUX(0, 0, 0, 0, 9, 0, 0, 0, 0, 0)], [0, 0]),
        ([MACOS(5, 1, 2, 90), MACOS(7, 0, 1, 50)], [8, 8]),
    ],
)
def test_a_core_is_busy_with_all_but_idling_and_waiting_for_a_disk(monkeypatch, cores, busy):
    monkeypatch.setattr(other_work, "psutil", SimpleNamespace(cpu_times=lambda percpu: cores if percpu else None))
    assert busy_s() == busy
    assert stolen_s() == [getattr(core, "steal", 0.0) for core in cores]


def test_this_machine_tells_each_of_its_cores():
    first, second = busy_s(), busy_s()
    assert len(first) > max(machine_cores()) and max(first) > 0
    assert all(before <= after for before, after in zip(first, second, strict=True))
