"""All sections of the results of searchers, from one revision; what was interrupted goes on where it was.

    python -m benchmarks search_all [--jobs 2] [--list]

A section that the file of results already has from this revision is skipped, so the same command continues after an
interruption; searches of the section that was interrupted are kept, a searcher at a time. In the end, sections of other
revisions are removed and the seconds of each are written down. The code must be committed, as figures of code with
changes would be of no revision; only then is anything skipped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from time import perf_counter

from benchmarks.recording.arguments import recording_parser_of
from benchmarks.recording.origin import ROOT, Origin, command_of
from benchmarks.recording.sections import drop, made, markdown, put

CHOSEN_ON = ("llm-serving", "planes-cpu")
"""The suites on which searchers may be tuned."""
LOOKED_AT = ("argonne", "falcon", "emulated-flags", "emulated-tight")
"""The suites that are looked at once a release, and on which nothing is chosen."""
BUDGETS: Mapping[str, str] = {"planes-cpu": "20", "falcon": "20"}
"""Trials of a search where they are not 30: of 32 configurations, and where nearly everybody is done with the first."""
GOALS: Mapping[str, tuple[str, ...]] = {"falcon": ("--goal", "0.9")}
"""Other goals than 95 % that trials are counted to first: the one for which the tables of the suite are known."""
HEADING = "Seconds of all sections"
RUNS = ROOT / "runs" / "search_all"

Command = tuple[str, ...]
"""A benchmark's name and its arguments."""


def commands() -> Iterator[Command]:
    """The commands of all sections, in their order in the file."""
    for suite in (*CHOSEN_ON, *LOOKED_AT):
        # Nobody measures all of a space of odd knobs first, so only the measured suites have whole tables as sources.
        sources = ("--sources", "histories") if suite.startswith("emulated") else ()
        curves = () if sources else ("--curves", f"docs/images/{suite}.svg")
        yield "search", suite, "--budget", BUDGETS.get(suite, "30"), *GOALS.get(suite, ()), *sources, *curves
    yield "search", "llm-serving", "--budget", "30", "--sources", "histories"
    curves = ("--curves", "docs/images/no-sources.svg")
    yield "search", "llm-serving", "argonne", "falcon", "--budget", "30", "--sources", "none", *curves
    yield "search", "emulated-large", "--budget", "30", "--sources", "none"
    for suite in ("llm-serving", "argonne"):
        yield "search", suite, "--searchers", "meta", "portfolio", "--budget", "30", "--parallel", "4"
    yield "tolerance", *CHOSEN_ON, "--seeds", "1", "--budget", "30"
    yield "expected", "planes-cpu"
    yield "expected", "emulated-falcon", "--budget", "12", "--goal", "0.9"
    for suite in (*CHOSEN_ON, *LOOKED_AT):
        drawn = ("--curves", "docs/images/calibration.svg") if suite == "argonne" else ()
        yield "calibration", suite, "--seeds", "1", "--budget", "20", *drawn
        yield "belief_coverage", suite, "--seeds", "1", "--budget", "10"
        yield "noise", suite, "--searchers", "meta", "--seeds", "1", "--budget", "20"
    for suite in ("llm-serving", "argonne"):
        yield "shuffled", suite, "--searchers", "meta", "--seeds", "1", "--budget", "30"
    yield "switching", "planes-cpu", "--seeds", "1", "--budget", "12", "--near", "0", "0.1", "0.2", "0.4"
    yield ("suggest_time",)
    yield ("adaptation",)
    yield "meta_training_speed", "--episodes", "10", "--repeats", "3"


SERIAL = ("suggest_time", "adaptation", "meta_training_speed")
"""Benchmarks that take no `--jobs`."""


def of_command(command: Command) -> str:
    """The command as a section names it, without the number of processes."""
    return command_of(f"{__package__}.{command[0]}", command[1:])


def waiting(out: Path, revision: str) -> list[Command]:
    """The commands whose section is not in the file, or is of another revision."""
    there = {section.command for section in made(out) if section.revision == revision}
    return [command for command in commands() if of_command(command) not in there]


def run_all(
    out: Path, revision: str, jobs: int, run: Callable[[str, Sequence[str]], None], times: Path
) -> dict[str, str]:
    """Run what waits, saying how far it is.

    Args:
        out: the file of results.
        revision: the code's.
        jobs: number of processes of each benchmark.
        run: runs a benchmark of this name with these arguments.
        times: file of the seconds of each section that was done so far, of this revision.

    Returns:
        Command → why it failed. The others are done all the same.
    """
    seconds: dict[str, float] = json.loads(times.read_text(encoding="utf-8")) if times.exists() else {}
    failed: dict[str, str] = {}
    left, total = waiting(out, revision), len(list(commands()))
    for number, (name, *arguments) in enumerate(left, start=total - len(left) + 1):
        said = of_command((name, *arguments))
        print(f"{number} of {total}: {said}", flush=True)
        start = perf_counter()
        parallel = [] if name in SERIAL else ["--jobs", str(jobs)]
        try:
            run(name, [*arguments, *parallel])
        except (Exception, SystemExit) as error:  # hours of other sections must not be lost
            failed[said] = f"{type(error).__name__}: {error}"
            print(failed[said], flush=True)
            continue
        seconds[said] = perf_counter() - start
        print(f"{seconds[said]:.0f} s", flush=True)
        times.parent.mkdir(parents=True, exist_ok=True)
        times.write_text(json.dumps(seconds, indent=1) + "\n", encoding="utf-8")
    return failed


def close(out: Path, origin: Origin, times: Path) -> None:
    """Remove the sections of other revisions, and write down how long each of this one took."""
    drop(out, [section.heading for section in made(out) if section.revision != origin.revision])
    seconds: dict[str, float] = json.loads(times.read_text(encoding="utf-8")) if times.exists() else {}
    rows = [[f"`{command}`", f"{spent:.0f}"] for command, spent in seconds.items()]
    total = f"All sections above are of revision {origin.revision}; they took {sum(seconds.values()) / 60:.0f} minutes."
    put(out, HEADING, origin, f"{total}\n\n{markdown(('section', 's'), rows)}")


def main(arguments: Sequence[str]) -> None:
    parser = recording_parser_of(__name__, __doc__)
    parser.add_argument("--jobs", type=int, default=1, help="processes of each benchmark that can have several")
    parser.add_argument("--list", action="store_true", dest="listed", help="only list what is not done yet")
    asked = parser.parse_args(arguments)
    origin = Origin.here(__name__, arguments)
    if asked.listed:
        print("\n".join(map(of_command, waiting(asked.out, origin.revision))) or "nothing is left to do")
        return
    if origin.revision.endswith("with changes") or origin.revision == "unknown":
        raise SystemExit(f"commit the code first, so that all sections are of one revision; it is {origin.revision}")
    times = RUNS / f"{origin.revision}.json"
    # The default file is not named, so that the commands in it are those that anybody would give.
    to = [] if asked.out == parser.get_default("out") else ["--out", str(asked.out)]
    failed = run_all(asked.out, origin.revision, asked.jobs, lambda name, given: _run(name, [*given, *to]), times)
    if failed:
        raise SystemExit("\n".join(["not done:", *(f"{command}: {why}" for command, why in failed.items())]))
    close(asked.out, origin, times)


def _run(name: str, arguments: Sequence[str]) -> None:
    import_module(f"{__package__}.{name}").main(arguments)
