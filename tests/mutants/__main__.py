"""Draws faults, tries them beside one another, and says what was noticed.

    python -m tests.mutants                       300 drawn with seed 0
    python -m tests.mutants --named               only those that have a name
    python -m tests.mutants --named --only cluster/prices.py --fault currency
    python -m tests.mutants --only searchers/surfaces --count 40 --seed 1 --processes 1

What was tried stands in runs/mutants/, and is not tried again while code and tests are the same.
"""

import argparse
import ast
import contextlib
import hashlib
import importlib.metadata
import importlib.util
import itertools
import json
import multiprocessing
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

if importlib.util.find_spec("mutmut") is None:
    sys.exit(f"{sys.executable} has no mutmut: run `make install`, then .venv/bin/python -m tests.mutants")

from tests.mutants.areas import ROOT, judged
from tests.mutants.fault import Fault
from tests.mutants.mirrors import Mirrors
from tests.mutants.named import named
from tests.mutants.report import Tried, report
from tests.mutants.sampling import sample
from tests.mutants.trying import (
    Outcome,
    copy_of,
    ends_with_its_parent,
    files_of,
    import_heavy_modules,
    in_place,
    run_tests,
)

FORK = multiprocessing.get_context("fork")
SLOWER = 4  # times longer than without a fault may tests take, and ...
LEAST_S = 60.0  # ... never less than that, before they are taken to hang
RAY_S = 900.0
WITH_RAY = "with Ray"


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=300, help="how many faults are drawn")
    parser.add_argument("--seed", type=int, default=0, help="which ones")
    parser.add_argument("--only", default="", metavar="PATH", help="files whose path begins so")
    parser.add_argument("--named", action="store_true", help="those that have a name, and none drawn")
    parser.add_argument("--fault", default="", metavar="TEXT", help="of those that have a name, those with this in it")
    parser.add_argument("--ray", action="store_true", help="also named ones that only tests with Ray can notice")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--anew", action="store_true", help="forget what was tried")
    return parser.parse_args(words)


def main() -> None:
    """Tries what is asked for and prints the account."""
    asked = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the workers and the copies go too
    faults, skipped = chosen(asked)
    folder = ROOT / "runs" / "mutants" / ("named" if asked.named else f"seed-{asked.seed}")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        kept = Kept(folder / f"{state_of(ROOT)}.jsonl", anew=asked.anew)
    except FileNotFoundError as error:
        sys.exit(str(error))
    import_heavy_modules()
    with tempfile.TemporaryDirectory(prefix="mutants-") as temporary:
        try:
            tried = [*kept.of(faults), *try_all(faults, kept, Path(temporary), asked.processes)]
        except RuntimeError as error:
            sys.exit(str(error))
    text = report(tried, skipped)
    print(text)
    if not (asked.only or asked.fault):  # the account of a part does not take the place of the whole
        (folder / "report.md").write_text(text, encoding="utf-8")
        print(f"also in {(folder / 'report.md').relative_to(ROOT)}")
    if asked.named and not all(each.outcome.noticed for each in tried):
        sys.exit(1)  # each of these must be noticed


def chosen(asked: argparse.Namespace) -> tuple[list[Fault], int]:
    """The faults to try, and how many are left out as they need a running Ray; ends where there are none."""
    try:
        if asked.named:
            fitting = [f for f in named() if f.path.startswith(asked.only) and asked.fault in f.kind]
            faults = [f for f in fitting if asked.ray or not f.needs_ray]
            skipped = len(fitting) - len(faults)
        else:
            faults = list(itertools.islice(sample(judged(asked.only), asked.seed), asked.count))
            skipped = 0
    except ValueError as error:
        sys.exit(str(error))
    if not faults:
        sys.exit(
            f"no fault fits --only {asked.only!r} --fault {asked.fault!r}: paths are relative to the repository, "
            f"{skipped} need --ray; drawn ones are in {', '.join(sorted({*judged().values()}))}"
        )
    return faults, skipped


class Kept:
    """Outcomes of an unchanged repository, a line each."""

    def __init__(self, file: Path, anew: bool) -> None:
        self._file = file
        if anew:
            file.unlink(missing_ok=True)
        whole, ended, torn = (file.read_text(encoding="utf-8") if file.exists() else "").rpartition("\n")
        if torn:  # this process was killed, or the disk full, in the middle of a line
            file.write_text(whole + ended, encoding="utf-8")
        entries = map(json.loads, whole.splitlines())
        self._outcomes = {entry.pop("key"): Outcome(**entry) for entry in entries}

    def of(self, faults: Sequence[Fault]) -> Iterator[Tried]:
        """Those that were tried."""
        return (Tried(f, self._outcomes[f.key]) for f in faults if f.key in self._outcomes)

    def __contains__(self, key: str) -> bool:
        return key in self._outcomes

    def __getitem__(self, key: str) -> Outcome:
        return self._outcomes[key]

    def add(self, key: str, outcome: Outcome) -> None:
        """Writes one down at once."""
        self._outcomes[key] = outcome
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"key": key} | asdict(outcome)) + "\n")


def state_of(root: Path) -> str:
    """Of all that tests can see (code, data, weights, this tool, libraries, Python): outcomes count for it alone."""
    digest = hashlib.sha256(sys.version.encode())
    digest.update(repr(sorted({f"{d.name} {d.version}" for d in importlib.metadata.distributions()})).encode())
    for name in files_of(root):
        if not name.startswith(("tests/mutants/faults/", "tests/mutants/report.py", "docs/")):
            digest.update(name.encode() + (root / name).read_bytes())
    return digest.hexdigest()[:12]


def try_all(faults: Sequence[Fault], kept: Kept, temporary: Path, processes: int) -> Iterator[Tried]:
    """What has not been tried yet, in the order in which it is done."""
    mirrors = Mirrors(ROOT)
    tests = {f.key: mirrors.of(f.path) for f in faults}
    left = {f.key: f for f in faults if f.key not in kept}
    files = sorted({*judged(), *(f.path for f in named())})
    needed = {control(test, f) for f in left.values() for test in tests[f.key]}
    controls = [Job(key, [key.split(" ")[0]], RAY_S, lines_of=files) for key in sorted(needed) if key not in kept]
    for done, (key, outcome) in enumerate(beside_one_another(controls, temporary, processes), start=1):
        kept.add(key, outcome)
        print(f"{done}/{len(controls)} without a fault: {key}, {outcome.seconds:.0f} s", file=sys.stderr)
        if outcome.noticed:
            print(f"{key} is left out, as it is red without any fault: {outcome.by}", file=sys.stderr)
    if needed and not any(tells(key, kept[key]) for key in needed):
        first = min(needed)
        raise RuntimeError(f"without a fault no test is green and runs a line; {first}: {kept[first].by or 'no line'}")
    jobs = []
    for key, fault in left.items():
        without = {test: kept[control(test, fault)] for test in tests[key]}
        order = sorted(tests[key], key=lambda test: (test != tests[key][0], without[test].seconds))
        order = [test for test in order if not without[test].noticed]
        if not fault.needs_ray:  # whose lines run in other processes
            place = lines_around(fault.line, (ROOT / fault.path).read_text(encoding="utf-8"))
            order = [test for test in order if place & set(without[test].lines.get(fault.path, ()))]
        limit_s = RAY_S if fault.needs_ray else LEAST_S + SLOWER * sum(without[test].seconds for test in order)
        jobs.append(Job(key, order, limit_s, fault))
    for done, (key, outcome) in enumerate(beside_one_another(jobs, temporary, processes), start=1):
        kept.add(key, outcome)
        fault = left[key]
        said = "noticed" if outcome.noticed else "NOT NOTICED"
        print(f"{done}/{len(jobs)} {said} {fault.path}:{fault.line} {fault.kind}: {fault.now[:80]}", file=sys.stderr)
        yield Tried(fault, outcome)


def control(test: str, fault: Fault) -> str:
    """What a test file's run without a fault is kept as: of one that only Ray can notice, with Ray."""
    return f"{test} {WITH_RAY}" if fault.needs_ray else test


def tells(key: str, outcome: Outcome) -> bool:
    """Whether, by a run without a fault, the tests could notice one: they are green, and run some line of ours."""
    return not outcome.noticed and (bool(outcome.lines) or (key.endswith(WITH_RAY) and outcome.by != "no test"))


@dataclass(frozen=True)
class Job:
    """Test files to run, for so many seconds at most, with a fault or without any."""

    key: str
    tests: Sequence[str]
    limit_s: float
    fault: Fault | None = None
    lines_of: Sequence[str] = ()


def lines_around(line: int, source: str) -> set[int]:
    """Those of the statement that a line is in; of one with a body, those before the body."""
    found = {line}
    for node in ast.walk(ast.parse(source)):  # from the outermost inwards
        if isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or line):
            body = getattr(node, "body", None)
            last = body[0].lineno - 1 if body else node.end_lineno or line
            if line <= max(last, node.lineno):
                found = set(range(node.lineno, max(last, node.lineno) + 1))
    return found


def beside_one_another(jobs: Sequence[Job], temporary: Path, processes: int) -> Iterator[tuple[str, Outcome]]:
    """Outcomes as they come."""
    waiting: Any = FORK.SimpleQueue()
    done: Any = FORK.SimpleQueue()
    workers = [
        FORK.Process(target=work, args=(jobs, waiting, done, temporary / str(i)))
        for i in range(min(processes, len(jobs)))
    ]
    for worker in workers:
        worker.start()
    try:
        # Numbers alone: a pipe that is full of whole files would keep us from reading what is done.
        for number in [*range(len(jobs)), *[None] * len(workers)]:
            waiting.put(number)
        for _ in jobs:
            key, outcome = done.get()
            if isinstance(outcome, Exception):
                raise outcome
            yield key, outcome
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()


def work(jobs: Sequence[Job], waiting: Any, done: Any, folder: Path) -> None:
    """One process: a copy of the repository, and one fault after another in it."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    ends_with_its_parent()
    folder.mkdir(parents=True, exist_ok=True)
    copy = copy_of(ROOT, folder)
    while (number := waiting.get()) is not None:
        job = jobs[number]
        with_ray = job.fault.needs_ray if job.fault else job.key.endswith(WITH_RAY)
        marked = "not slow" if with_ray else "not ray and not slow"
        try:
            with in_place(job.fault, copy) if job.fault else contextlib.nullcontext():
                done.put((job.key, run_tests(copy, job.tests, job.limit_s, marked, job.lines_of)))
        except Exception as error:
            done.put((job.key, error))


if __name__ == "__main__":
    main()
