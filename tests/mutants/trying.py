"""Runs tests with a fault in place: in a copy of the repository, in a process forked from one that has imported torch.

Starting Python anew for each fault would cost longer than most tests.
"""

import contextlib
import ctypes
import importlib
import json
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.mutants.fault import Fault

HEAVY = ("numpy", "scipy.stats", "scipy.optimize", "scipy.signal", "pandas", "torch", "sqlalchemy.orm", "pydantic",
         "rich", "typer", "pytest", "hdrh.histogram", "ray.tune", "ray.serve", "hyperopt", "botorch")  # fmt: skip
LINES = "lines.json"
MEMORY_BYTES = 12 * 1024**3  # a fault may ask for all there is


@dataclass(frozen=True)
class Outcome:
    """What the tests said of a fault.

    Attributes:
        noticed: whether they ended otherwise than they do without it.
        by: the first test that failed, or what else happened.
        seconds: how long that took.
        lines: which lines ran of each file, where that was asked for.
    """

    noticed: bool
    by: str
    seconds: float
    lines: Mapping[str, Sequence[int]] = field(default_factory=dict)


def import_heavy_modules() -> None:
    """What the forked processes then need not import; none of the repository's own modules."""
    for name in HEAVY:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def files_of(root: Path) -> list[str]:
    """The repository's files, new ones that are not ignored among them."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    here = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}  # a hook names its own
    listed = subprocess.run(listing, cwd=root, env=here, capture_output=True, text=True)
    found = sorted(name for name in listed.stdout.split("\0") if name and (root / name).is_file())
    if not found:
        said = listed.stderr.strip() or "faults are tried in a clone of the repository"
        raise FileNotFoundError(f"git knows no file in {root}: {said}")
    return found


def copy_of(root: Path, folder: Path) -> Path:
    """The repository's files, compiled, in a folder of their own; what lies beside it (measured tables) is linked."""
    copy = folder.resolve() / "repository"  # whatever the clone is called, and wherever temporary files really are
    for name in files_of(root):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / name, copy / name)
    if (root.parent / "shared").is_dir() and not (copy.parent / "shared").exists():
        (copy.parent / "shared").symlink_to(root.parent / "shared")
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(copy)], check=False, stdout=subprocess.DEVNULL)
    return copy


@contextlib.contextmanager
def in_place(fault: Fault, copy: Path) -> Iterator[None]:
    """The copy has the fault; afterwards it is as before."""
    file = copy / fault.path
    before, times = file.read_bytes(), file.stat()
    file.write_text(fault.source, encoding="utf-8")
    # Another time than that of the compiled file, else a change within a second and of no other length is not seen.
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns - 10**9 * 3600))
    try:
        yield
    finally:
        file.write_bytes(before)
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


def run_tests(
    copy: Path, tests: Sequence[str], limit_s: float, marked: str = "not ray and not slow", lines_of: Sequence[str] = ()
) -> Outcome:
    """Runs test files until one test fails.

    Args:
        copy: the repository.
        tests: files relative to it, in the order in which they run.
        limit_s: after so many seconds all of it is ended, which counts as noticed: the fault made something hang.
        marked: pytest's expression for which tests run.
        lines_of: files of which to say which lines ran, for a run without a fault.

    Raises:
        ValueError: pytest does not take the tests although there is no fault.
    """
    if not tests:
        return Outcome(False, "no test", 0.0)
    start = time.monotonic()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        in_child(lambda: traced(copy, lines_of, lambda: pytest_in(copy, tests, marked, writer)), copy)
    os.close(writer)
    ended = ends_within(child, limit_s)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    with os.fdopen(reader) as pipe:
        failed = pipe.read().strip()
    seconds = round(time.monotonic() - start, 2)
    if not ended:
        return Outcome(True, f"not over after {limit_s:.0f} s", seconds)
    code = os.waitstatus_to_exitcode(status)
    if code == 4 and lines_of:
        raise ValueError(f"pytest does not take {list(tests)}")
    if code == 4:  # it took them without the fault: what all tests of a folder share cannot be imported with it
        return Outcome(True, failed or "what the tests share could not be imported", seconds)
    if code == 5:
        return Outcome(False, "no test", seconds)
    lines = json.loads((copy.parent / LINES).read_text(encoding="utf-8")) if lines_of and code == 0 else {}
    return Outcome(code != 0, failed or ("" if code == 0 else f"exit code {code}"), seconds, lines)


def ends_within(child: int, limit_s: float) -> bool:
    """Waits for a process, without reaping it."""
    descriptor = os.pidfd_open(child)
    try:
        return bool(select.select([descriptor], [], [], limit_s)[0])
    finally:
        os.close(descriptor)


def ends_with_its_parent() -> None:
    """Linux ends this process when the one that made it has ended, however."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def in_child(work: Callable[[], int], copy: Path) -> None:
    """Runs `work` as the only thing of this process, in a group of its own that can be ended whole."""
    code = 70
    try:
        os.setsid()
        ends_with_its_parent()
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
        with open(copy.parent / "said.log", "w+") as said:
            for stream in (0, 1, 2):
                os.dup2(said.fileno(), stream)
        os.chdir(copy)
        os.environ["PYTHONPATH"] = str(copy)
        for name in ("PYTEST_ADDOPTS", "PYTEST_PLUGINS"):  # which tests run, and in which process, is said here
            os.environ.pop(name, None)
        sys.path[:] = [str(copy), *(path for path in sys.path if path not in ("", str(Path.cwd())))]
        sys.dont_write_bytecode = True
        code = work()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def traced(copy: Path, files: Sequence[str], work: Callable[[], int]) -> int:
    """What `work` gives; which lines of the files ran meanwhile is written beside the copy."""
    if not files:
        return work()
    import coverage

    # Folders, not files: names of those would be patterns, which some names of folders cannot be part of.
    folders = sorted({str(copy / file.split("/")[0]) for file in files})
    tracer = coverage.Coverage(data_file=None, source=folders, messages=False)
    tracer.start()
    code = work()
    tracer.stop()
    data = tracer.get_data()
    ran = {Path(file).relative_to(copy).as_posix(): sorted(data.lines(file) or ()) for file in data.measured_files()}
    (copy.parent / LINES).write_text(json.dumps({file: lines for file, lines in ran.items() if file in files}))
    return code


def pytest_in(copy: Path, tests: Sequence[str], marked: str, writer: int) -> int:
    """pytest's exit code; the first failure's name goes into the pipe."""
    import pytest

    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)

    class FirstFailure:
        def pytest_configure(self) -> None:
            import hypothesis  # not sooner: pytest rewrites its assertions

            # What one fault broke must not find the next, and a busy machine finds none.
            hypothesis.settings.register_profile("mutants", database=None, deadline=None)
            hypothesis.settings.load_profile("mutants")

        def pytest_runtest_logreport(self, report: Any) -> None:
            if report.failed:
                os.write(writer, f"{report.nodeid}\n".encode())

        def pytest_collectreport(self, report: Any) -> None:
            if report.failed:
                os.write(writer, f"{report.nodeid} (import)\n".encode())

    words = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", marked, "--hypothesis-seed=0"]
    # PytestAssertRewriteWarning: of modules that were imported before the fork.
    words += ["--rootdir", str(copy), "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    return int(pytest.main([*words, *tests], plugins=[FirstFailure()]))
