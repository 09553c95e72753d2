"""What a model has started: found, counted, moved and ended, also what its own parent has left."""

import json
import os
import signal
import subprocess
import sys
import textwrap

import psutil
import pytest

from serve_deployments.device.limits import can_pin, is_pinned, machine_cores, pin
from serve_deployments.device.process_tree import ProcessTree

DEADLINE_S = 60
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives orphans to a process, and /proc")
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"


def lives(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def waited_for(pids):
    """Those that still live after they had time to end."""
    found = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    return [process.pid for process in psutil.wait_procs(found, timeout=DEADLINE_S)[1] if lives(process.pid)]


def run(script, *, ended_by=0):
    """What the script prints as JSON, in a process of its own."""
    command = [sys.executable, "-c", textwrap.dedent(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        process.stdout.close()
        assert process.wait(DEADLINE_S) == ended_by
    return told


def test_a_process_without_children_has_none_and_those_of_before_are_not_its_own():
    with subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE) as before:
        tree = ProcessTree()
        assert tree.descendants() == []
        with subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE) as own:
            assert own.stdout is not None
            own.stdout.readline()
            assert [process.pid for process in tree.descendants()] == [own.pid]
            alone = psutil.Process().memory_info().rss
            assert tree.memory_bytes() > 0.5 * alone
            tree.end(grace_s=0.0)
            own.wait(DEADLINE_S)
        assert tree.descendants() == [] and lives(before.pid)
        before.kill()


@pytest.mark.skipif(not can_pin(), reason="this system has no CPU affinity")
def test_cores_of_another_process_are_set_and_read_back():
    cores = machine_cores()
    with subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None
            child.stdout.readline()
            pin([min(cores)], [child.pid])
            assert os.sched_getaffinity(child.pid) == {min(cores)} and is_pinned([min(cores)], [child.pid])
            os.sched_setaffinity(child.pid, cores)
            assert is_pinned([min(cores)], [child.pid]) == (len(cores) == 1)
            pin([min(cores)], [child.pid, 2**22 + 1])  # one that has ended
        finally:
            pin(cores)
            child.kill()


STARTS = """
    import json, os, signal, subprocess, sys
    from serve_deployments.device.left_behind import LeftBehind
    from serve_deployments.device.process_tree import ProcessTree, adopt_orphans
    tree, left_behind = ProcessTree(), LeftBehind(os.getpid())
    adopt_orphans()
    stubborn = {stubborn!r}
    # A server, and a daemon whose parent has ended: its id is printed, as nobody else knows it.
    server = subprocess.Popen([sys.executable, "-c", stubborn], stdout=subprocess.PIPE, text=True)
    server.stdout.readline()
    shell = 'exec 3>&1; "$0" -c "$1" & echo $!'
    daemon = subprocess.Popen(["sh", "-c", shell, sys.executable, stubborn], stdout=subprocess.PIPE, text=True)
    daemon_pid = int(daemon.stdout.readline())
    daemon.stdout.readline()
    daemon.wait()
    found = [process.pid for process in tree.descendants()]
    assert set(found) == {{server.pid, daemon_pid}}, found
"""


@LINUX
def test_a_daemon_stays_in_the_tree_and_ends_with_it():
    script = STARTS.format(stubborn=STUBBORN) + "\n    tree.end(grace_s=0.1)\n    print(json.dumps(found))\n"
    assert waited_for(run(script)) == []


@LINUX
def test_however_a_process_ends_what_it_was_told_of_ends_too():
    killed = """
    left_behind.tell(found)
    print(json.dumps(found), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    told = run(STARTS.format(stubborn=STUBBORN) + killed, ended_by=-signal.SIGKILL)
    assert len(told) == 2 and waited_for(told) == []


@LINUX
def test_the_watching_program_is_no_child_and_is_replaced_if_it_was_ended():
    script = f"""
        import json, os, signal, subprocess, sys, time, psutil
        from serve_deployments.device.left_behind import LeftBehind
        from serve_deployments.device.process_tree import ProcessTree, adopt_orphans
        def watching():
            wanted = [str(os.getpid())]
            return [p for p in psutil.process_iter(["cmdline"]) if (p.info["cmdline"] or [])[-1:] == wanted]
        tree, left_behind = ProcessTree(), LeftBehind(os.getpid())
        adopt_orphans()
        left_behind.tell([])
        assert not watching()
        one, two = (subprocess.Popen([sys.executable, "-c", {STUBBORN!r}], stdout=-3) for _ in range(2))
        left_behind.tell([one.pid])
        [program] = watching()
        assert program.pid not in [p.pid for p in tree.descendants()]
        program.kill()
        while program.is_running() and program.status() != psutil.STATUS_ZOMBIE:  # nobody here waits for it
            time.sleep(0.01)
        left_behind.tell([one.pid, two.pid])
        print(json.dumps([one.pid, two.pid]), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    assert waited_for(run(script, ended_by=-signal.SIGKILL)) == []


@LINUX
def test_what_was_started_after_the_last_list_ends_too_also_where_its_own_parent_has_ended():
    """By the mark in its environment; another's child with the mark of another process goes on."""
    script = f"""
        import json, os, signal, subprocess, sys
        from serve_deployments.device.left_behind import LeftBehind
        from serve_deployments.device.process_tree import adopt_orphans
        from serve_deployments.device.watch_program import MARK, mark_of
        left_behind = LeftBehind(os.getpid())
        adopt_orphans()
        stubborn = {STUBBORN!r}
        def start(mark):
            shell = 'exec 3>&1; "$0" -c "$1" & echo $!'
            started = subprocess.Popen(
                ["sh", "-c", shell, sys.executable, stubborn], stdout=-1, text=True, env={{**os.environ, MARK: mark}}
            )
            pid = int(started.stdout.readline())
            started.stdout.readline()
            started.wait()
            return pid
        left_behind.tell([subprocess.Popen([sys.executable, "-c", stubborn], stdout=-3).pid])
        print(json.dumps([start(mark_of(os.getpid())), start(mark_of(os.getppid()))]), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    late, another = run(script, ended_by=-signal.SIGKILL)
    assert waited_for([late]) == [] and lives(another)
    psutil.Process(another).kill()


@LINUX
@pytest.mark.parametrize(("own", "code"), [("None", -signal.SIGTERM), ("lambda number, frame: os._exit(7)", 7)])
def test_what_is_forked_ends_when_it_is_asked_to_unless_it_handles_that_itself(own, code):
    """The process handles the signal, as Ray's workers do; what it forks, by multiprocessing, would inherit that."""
    script = f"""
        import json, multiprocessing, os, signal
        from serve_deployments.device.process_tree import end_when_asked
        signal.signal(signal.SIGTERM, lambda number, frame: None)
        end_when_asked()
        end_when_asked()
        own = {own}
        if own is not None:
            signal.signal(signal.SIGTERM, own)
        fork = multiprocessing.get_context("fork")
        begun = fork.Event()
        def wait():
            begun.set()
            while True:
                signal.pause()
        child = fork.Process(target=wait)
        child.start()
        begun.wait()
        child.terminate()
        child.join({DEADLINE_S})
        code = child.exitcode
        child.kill()
        print(json.dumps(code))
    """
    assert run(script) == code


BURNS_1_S = "import time\nwhile time.process_time() < 1: pass\nprint(flush=True)\nimport sys; sys.stdin.read()"


@LINUX
def test_what_a_child_uses_is_counted_while_it_lives_when_it_has_ended_and_once_it_was_waited_for():
    """This process only waits meanwhile, so the second is the child's; then it burns one itself, which comes on top."""
    script = f"""
        import json, os, subprocess, sys, time
        from serve_deployments.device.process_tree import ProcessTree
        tree = ProcessTree()
        told = [tree.cpu_s()]
        child = subprocess.Popen([sys.executable, "-c", {BURNS_1_S!r}], stdin=-1, stdout=-1)
        child.stdout.readline()
        told.append(tree.cpu_s())
        child.stdin.close()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        told.append(tree.cpu_s())
        until = time.process_time() + 0.5
        while time.process_time() < until:
            pass
        told.append(tree.cpu_s())
        assert child.wait() == 0
        told.append(tree.cpu_s())
        print(json.dumps(told))
    """
    none, alive, ended, more, waited_for = run(script)
    assert 0.95 <= alive - none < 1.9  # once, and not twice
    assert 0.0 <= ended - alive < 0.9 and 0.45 <= more - ended < 1.4 and 0.0 <= waited_for - more < 0.9


@LINUX
def test_what_a_process_uses_counts_after_the_times_of_an_ended_one_were_dropped():
    """The system drops them where the parent ignores the signal of a child's end."""
    script = f"""
        import json, signal, subprocess, sys, time
        from serve_deployments.device.process_tree import ProcessTree
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        tree = ProcessTree()
        child = subprocess.Popen([sys.executable, "-c", {BURNS_1_S!r}], stdin=-1, stdout=-1)
        child.stdout.readline()
        told = [tree.cpu_s()]
        child.stdin.close()
        child.wait()
        told.append(tree.cpu_s())
        until = time.process_time() + 0.5
        while time.process_time() < until:
            pass
        told.append(tree.cpu_s())
        print(json.dumps(told))
    """
    alive, dropped, more = run(script)
    assert alive <= dropped and 0.45 <= more - dropped < 1.4


@LINUX
def test_adopted_processes_that_have_ended_are_waited_for_and_the_models_own_keep_their_exit_code():
    """One was seen as its parent's, one is a daemon, in a session of its parent's own."""
    script = """
        import json, os, subprocess, sys, psutil
        from serve_deployments.device.process_tree import ProcessTree, adopt_orphans
        adopt_orphans()
        tree = ProcessTree()
        own = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
        # It has a child, and both end when their input does.
        seen = subprocess.Popen(["sh", "-c", "exec 3<&0; cat <&3 >/dev/null & echo $!; exec cat"], stdin=-1, stdout=-1)
        pids = [int(seen.stdout.readline())]
        assert set(pids) <= {process.pid for process in tree.descendants()}
        seen.kill()
        seen.wait()
        seen.stdin.close()
        shell = "exec 3<&0; cat <&3 >/dev/null & echo $!"
        daemon = subprocess.Popen(["sh", "-c", shell], stdin=-1, stdout=-1, start_new_session=True)
        pids.append(int(daemon.stdout.readline()))
        daemon.wait()
        daemon.stdin.close()
        for pid in (own.pid, *pids):
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        tree.descendants()
        left = [process.pid for process in psutil.Process().children()]
        print(json.dumps([left == [own.pid], own.wait()]))
    """
    assert run(script) == [True, 3]


@LINUX
@pytest.mark.parametrize("by", ["thread", "main", "gone"])
def test_a_process_that_was_never_seen_under_its_parent_is_waited_for_once_it_has_ended(by):
    """Of a double fork within the session; the model's own is started in a thread, the main one, or one that ended."""
    script = f"""
        import json, os, subprocess, sys, threading, psutil
        from serve_deployments.device.process_tree import ProcessTree, adopt_orphans
        adopt_orphans()
        tree, own, orphans, end = ProcessTree(), [], [], threading.Event()
        def start():
            own.append(subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"]))
            shell = subprocess.Popen(["sh", "-c", "exec 3<&0; cat <&3 >/dev/null & echo $!"], stdin=-1, stdout=-1)
            orphans.append(int(shell.stdout.readline()))
            shell.wait()
            shell.stdin.close()
        def start_and_stay():
            start()
            started.set()
            end.wait()
        started = threading.Event()
        if {by!r} == "main":
            start()
        else:
            thread = threading.Thread(target=start if {by!r} == "gone" else start_and_stay)
            thread.start()
            thread.join() if {by!r} == "gone" else started.wait()
        for pid in (own[0].pid, *orphans):
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        for _ in range(2):
            tree.descendants()
        left = [process.pid for process in psutil.Process().children()]
        print(json.dumps([left == [own[0].pid], own[0].wait()]))
        end.set()
    """
    assert run(script) == [True, 3]
