"""What others had of a process's cores: by the books of a fake machine, and beside a process that really burns one."""

import json
import math
import os
import subprocess
import sys
from collections import namedtuple
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, NamedTuple

import psutil
import pytest

from cluster.fakes import FakeTime
from serve_deployments.device import load_processes, other_work
from serve_deployments.device.limits import can_pin, machine_cores
from serve_deployments.device.load_processes import LoadProcesses, marked
from serve_deployments.device.other_work import OtherWork, busy_s, stolen_s
from serve_deployments.device.run_queue import RunQueue
from serve_deployments.environment.serve_path import LOAD_MARK


class Machine:
    """Its cores' busy seconds, those of the process, how long its threads waited, and what a hypervisor took."""

    def __init__(self, cores, *, counts_waits=False):
        self.busy_s, self.own_s, self.time = [100.0] * cores, 7.0, FakeTime()
        self.waited_s, self.stolen_s = 3.0 if counts_waits else math.inf, [50.0] * cores
        self.load_s = 20.0
        self.others = OtherWork(
            lambda: self.own_s, lambda: list(self.busy_s), self.time.clock,
            waited_s=lambda: self.waited_s, stolen_s=lambda: list(self.stolen_s), load_s=lambda cores: self.load_s,
        )  # fmt: skip

    def goes_on(self, seconds, own_s, *busy_s, waited_s=0.0, stolen_s=0.0, load_s=0.0):
        self.time.now_s += seconds
        self.own_s += own_s
        self.waited_s += waited_s
        self.load_s += load_s
        self.stolen_s = [before + stolen_s for before in self.stolen_s]
        self.busy_s = [before + more for before, more in zip(self.busy_s, busy_s, strict=True)]


def test_what_is_busy_and_not_its_own_is_others():
    machine = Machine(3)
    machine.others.watch([0, 2])
    machine.goes_on(10, 12, 9, 10, 8)
    assert machine.others.read()[:2] == (5, 20)
    machine.goes_on(10, 4, 2, 10, 2)
    assert machine.others.read()[:2] == (5, 40)


def test_only_while_it_is_pinned_and_only_there():
    machine = Machine(2)
    machine.goes_on(10, 0, 10, 10)
    machine.others.watch([1])
    machine.goes_on(4, 1, 4, 2)
    machine.others.watch([])
    machine.goes_on(10, 0, 10, 10)
    machine.others.watch([0])
    machine.goes_on(4, 0, 4, 4)
    assert machine.others.read()[:2] == (5, 8)


def test_ticks_that_come_late_are_not_counted_twice():
    """The process's own second is told before the core's: then the core catches up, and nobody else was there."""
    machine = Machine(1)
    machine.others.watch([0])
    machine.goes_on(1, 1, 0.9)
    assert machine.others.read()[:2] == (0, 1)
    machine.goes_on(1, 1, 1.1)
    assert machine.others.read()[:2] == (0, 2)


def test_cores_that_the_system_does_not_know_are_not_watched():
    machine = Machine(2)
    machine.others.watch([1, 2])
    machine.goes_on(5, 0, 5, 5)
    assert machine.others.read()[:2] == (0, 0)


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
    assert machine.others.read()[:2] == (pytest.approx(others_s), 10 * len(busy_s))
    machine.goes_on(10, 0, *busy_s)  # now it does nothing, and loses nothing
    assert machine.others.read()[:2] == (pytest.approx(others_s), 20 * len(busy_s))


def test_waits_of_before_it_was_pinned_do_not_count():
    machine = Machine(1, counts_waits=True)
    machine.goes_on(10, 0, 10, waited_s=9, stolen_s=1)
    machine.others.watch([0])
    machine.goes_on(10, 1, 10, waited_s=0.5)
    assert machine.others.read()[:2] == (pytest.approx(0.5), 10)


@pytest.mark.parametrize(
    ("busy_s", "waited_s", "load_s", "others_s", "of_load_s"),
    [
        (9.0, math.inf, 3.0, 1.0, 3.0),  # 9 s less its own 5, of which 3 were the load's
        (9.0, 2.0, 3.0, 0.5, 1.5),  # it waited for half of these 4 s: for each of the two by what it used
        (7.0, 2.0, 2.0, 0.0, 2.0),
        (7.0, 2.0, 2.1, 0.0, 2.0),  # ticks of one come later than those of the other
        (5.0, 2.0, 1.0, 0.0, 0.0),
    ],
)
def test_what_the_load_uses_is_no_work_of_others(busy_s, waited_s, load_s, others_s, of_load_s):
    machine = Machine(1, counts_waits=not math.isinf(waited_s))
    machine.goes_on(10, 0, 10, load_s=9)  # not watched yet
    machine.others.watch([0])
    machine.goes_on(10, 5.0, busy_s, waited_s=waited_s, load_s=load_s)
    assert machine.others.read() == (pytest.approx(others_s), 10, pytest.approx(of_load_s))
    machine.goes_on(10, 5.0, 5.0)
    assert machine.others.read() == (pytest.approx(others_s), 20, pytest.approx(of_load_s))


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


@contextmanager
def sends_load(core):
    """A process that is marked as one that sends load, and burns a core."""
    marked = {**os.environ, **dict([LOAD_MARK])}
    command = [sys.executable, "-c", _BURNS.format(core=core)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=marked) as sender:
        assert sender.stdout is not None
        sender.stdout.readline()
        yield sender
        sender.kill()


@pytest.mark.skipif(not can_pin(), reason="this system has no CPU affinity")
def test_beside_a_process_that_sends_load_from_the_same_core():
    core = min(machine_cores())
    with sends_load(core):
        told = measured(core)[-1]
    # What these two have not used is others', whatever else runs on the core now.
    shares = [told[name] / told["cores_s"] for name in ("load_s", "others_s")]
    assert shares[0] > 0.1 and told["cpu_s"] + sum(shares) * told["cores_s"] == pytest.approx(told["cores_s"], abs=0.3)


@pytest.mark.skipif(not can_pin() or len(machine_cores()) < 2, reason="there is no other core to be pinned to")
def test_what_is_sent_from_another_core_takes_nothing():
    here, there = sorted(machine_cores())[:2]
    with sends_load(there) as sender:
        process = psutil.Process(sender.pid)
        assert process in set(marked()) and psutil.Process() not in set(marked())
        cores: list[set[int]] = [{here}, {there}, {here, there}]
        counted = [LoadProcesses(lambda: [process]) for _ in cores]
        before_s = [each.used_s(its) for each, its in zip(counted, cores, strict=True)]
        until_s = sum(process.cpu_times()[:2]) + 0.1
        while sum(process.cpu_times()[:2]) < until_s:
            os.sched_yield()
        used_s = [each.used_s(its) for each, its in zip(counted, cores, strict=True)]
    assert used_s[0] == before_s[0] == 0
    assert all(after - before >= 0.1 for after, before in zip(used_s[1:], before_s[1:], strict=True))


def test_of_one_that_may_run_anywhere_its_part_counts_and_what_has_ended_stays_counted(monkeypatch):
    monkeypatch.setattr(load_processes, "can_pin", lambda: True)
    times = {"a": 5.0, "b": 1.0}
    there = ["a"]

    class Process(NamedTuple):
        name: str
        cores: tuple[int, ...]

        def cpu_times(self):
            return SimpleNamespace(user=times[self.name], system=0.0)

        def cpu_affinity(self):
            return self.cores

    kept: dict[str, Any] = {"a": Process("a", (0, 1, 2, 3)), "b": Process("b", (0,))}
    load = LoadProcesses(lambda: [kept[name] for name in there])
    began_s = load.used_s([0, 7])
    times["a"] += 4.0
    there.append("b")  # started since, so that all of its second was now
    assert load.used_s([0, 7]) - began_s == pytest.approx(1.0 + 1.0)
    there.remove("a")
    times["b"] += 0.5
    assert load.used_s([0, 7]) - began_s == pytest.approx(2.5)
    assert load.used_s([1]) - began_s == pytest.approx(2.5)


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
