"""How long threads waited for a core: by files as the kernel writes them, and by two that really share one."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from serve_deployments.device.limits import can_pin, machine_cores
from serve_deployments.device.process_tree import ProcessTree
from serve_deployments.device.run_queue import RunQueue


def counts(proc: Path, **waited_ms: int) -> None:
    """Threads `pPID_TID` that have waited so long; all others have ended."""
    for old in proc.glob("*/task/*/schedstat"):
        old.unlink()
    for name, waited in waited_ms.items():
        pid, thread = name.removeprefix("p").split("_")
        folder = proc / pid / "task" / thread
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "schedstat").write_text(f"5000000 {waited * 1_000_000} 7\n")


def test_all_threads_of_the_processes_count_and_no_others(tmp_path):
    queue = RunQueue(tmp_path)
    counts(tmp_path, p1_1=100, p1_2=20, p2_2=3, p9_9=10_000)
    before_s = queue.waited_s([1, 2, 77])
    counts(tmp_path, p1_1=150, p1_2=20, p2_2=8, p9_9=90_000)
    assert queue.waited_s([1, 2, 77]) - before_s == pytest.approx(0.055)


def test_threads_that_come_and_go_never_make_it_less(tmp_path):
    """The second ends, a third comes with 40 ms; then one has the number of the second, and has waited 5 ms."""
    queue, told = RunQueue(tmp_path), []
    for step in ({"p1_1": 10, "p1_2": 500}, {"p1_1": 15, "p1_3": 40}, {"p1_1": 15, "p1_3": 40, "p1_2": 5}, {"p1_1": 2}):
        counts(tmp_path, **step)
        told.append(queue.waited_s([1]))
    waited_s = [after - before for before, after in zip(told, told[1:], strict=False)]
    assert waited_s == pytest.approx([0.045, 0.005, 0.002])


def test_a_kernel_that_counts_for_no_thread_may_do_so_for_the_group(tmp_path):
    assert math.isinf(RunQueue(tmp_path, lambda: math.inf).waited_s([1]))
    assert RunQueue(tmp_path, lambda: 2.5).waited_s([1]) == 2.5
    (tmp_path / "1/task/1").mkdir(parents=True)
    (tmp_path / "1/task/1/schedstat").write_text("0 0 0\n")  # as of a kernel whose counting is switched off
    assert RunQueue(tmp_path, lambda: 2.5).waited_s([1]) == 2.5


COUNTED = not math.isinf(RunQueue(pressure_s=lambda: math.inf).waited_s([os.getpid()]))

_TWO_ON_ONE_CORE = """
import json, os, subprocess, sys, time
from serve_deployments.device.process_tree import ProcessTree
os.sched_setaffinity(0, [int(sys.argv[1])])
burns = "import time\\nend = time.process_time() + 0.5\\nwhile time.process_time() < end: pass"
tree = ProcessTree()
told = [tree.waited_s()]
time.sleep(0.2)
told.append(tree.waited_s())
child = subprocess.Popen([sys.executable, "-c", burns])
end = time.process_time() + 0.5
while time.process_time() < end:
    pass
told.append(tree.waited_s())
child.wait()
print(json.dumps(told))
"""


@pytest.mark.skipif(not (COUNTED and can_pin()), reason="this kernel does not count how long threads wait for a core")
def test_two_that_burn_the_same_core_wait_for_each_other():
    """Each has half a second to compute, so that of the first second each waits half, and this one to the end of it."""
    command = [sys.executable, "-c", _TWO_ON_ONE_CORE, str(min(machine_cores()))]
    none, slept, burnt = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert 0 <= none <= slept <= burnt and burnt - slept > 0.3


def test_a_process_tree_has_waited_for_some_time_or_it_is_not_known():
    assert ProcessTree().waited_s() >= 0
