"""What the console says while a study runs: each line whole, so that nothing is said of the wrong trial."""

import io
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

from raytune_infer.report.console import ConsoleProgress
from raytune_infer.report.figures import AT_LEAST_NOTE, AT_MOST_NOTE, ESTIMATE_NOTE
from raytune_infer.report.view import Note, Quantity
from raytune_infer.report.words.progress import Telling
from raytune_infer.store.records import Outcome, Purpose, TrialRecord
from searchers.objective import Expression, Objective
from searchers.space import Config
from tests.levels import a_level

OBJECTIVE = Objective(Expression("rps / usd_per_hour"), at_most={"p99_ms": 100.0, "usd_per_hour": 0.5, "p95_ms": 90.0})
LIST = "100 requests/s, p50 20 ms, p95 60 ms, p99 80 ms, $0.278 per million"
LIMITED = f"≥ {LIST.replace('$', '≤ $')}"
"""Of a trial of 100 requests/s at 0.1 USD an hour: 0.1 / 360,000 requests."""


def trial(
    value: float | None, *, rps: float = 100.0, p99_ms: float = 80.0, p95_ms: float | None = 60.0, usd: float = 0.1,
    purpose: Purpose = "search", emulated: bool = False, number: int = 1, **ended: Any,
) -> TrialRecord:  # fmt: skip
    metrics = {"rps": rps, "p50_ms": 20.0, "p99_ms": p99_ms} | ({} if p95_ms is None else {"p95_ms": p95_ms})
    outcome = Outcome(**{"metrics": metrics, "ended": "the rate is known", **ended})
    config: Config = {"cpu_cores": number, "mode": "[a]"}
    return TrialRecord(number, purpose, 7, config, usd, value, outcome, 12.4, emulated)


def failed(reason: str, **more: Any) -> TrialRecord:
    return trial(None, metrics=None, reason=reason, **more)


class Watched:
    """A study on a console that is a file."""

    def __init__(self, known: tuple[TrialRecord, ...] = (), budget: int = 9) -> None:
        self.file = io.StringIO()
        self.progress = ConsoleProgress(Console(file=self.file, width=132, soft_wrap=True))
        self.progress.begins(known, budget, OBJECTIVE)

    def lines(self, *trials: TrialRecord) -> list[str]:
        """What is printed of these, without the configuration's own lines."""
        before = len(self.file.getvalue())
        for each in trials:
            self.progress.started(each.number, each.purpose, each.config)
            self.progress.finished(each)
        return self.file.getvalue()[before:].splitlines()


def said(watched: Watched, of: TrialRecord) -> str:
    _, second = watched.lines(of)
    assert second.startswith("         ") and second.endswith("  (12 s)")
    return second.removeprefix("         ").removesuffix("  (12 s)")


def test_a_trial_is_its_configuration_and_below_it_what_it_gave():
    assert Watched().lines(trial(1000.0), trial(999.0, number=12, rps=99.94), failed("OutOfMemory: no [room]")) == [
        "    1/9  cpu_cores=1  mode=[a]",
        f"         {LIST}  best so far  (12 s)",
        "    2/9  cpu_cores=12  mode=[a]",
        "         99.94 requests/s, p50 20 ms, p95 60 ms, p99 80 ms, $0.278 per million  (12 s)",
        "    3/9  cpu_cores=1  mode=[a]",
        "         could not run  OutOfMemory: no [room]  (12 s)",
    ]


def test_the_best_so_far_is_what_no_trial_before_it_reached():
    watched = Watched()
    values = [3.0, 2.0, None, 3.0, 3.5, 3.4, 9.0, 8.9]
    best = [said(watched, trial(value)) == f"{LIST}  best so far" for value in values]
    assert best == [True, False, False, False, True, False, True, False]


def test_what_is_said_of_a_trial_has_its_numbers_as_numbers():
    telling = Telling((), 9, OBJECTIVE)
    view = telling.finished(trial(3.0, client_limited=True))
    assert (view.title, view.subtitle) == ("1/9", "cpu_cores=1  mode=[a]")
    [table] = view.tables
    cost = Quantity(1e6 * 0.1 / 3600 / 100, at_most=True)
    assert table.rows[0].cells == (1, Quantity(100.0, at_least=True), 20.0, 60.0, 80.0, cost, 12.4)
    legend = Note(AT_LEAST_NOTE), Note(AT_MOST_NOTE)
    assert view.notes == (Note(LIMITED, "conclusion"), *legend, Note("best so far", "success"))
    # What a mark means is told once.
    assert telling.finished(trial(2.0, client_limited=True)).notes == (Note(LIMITED, "conclusion"),)
    assert telling.finished(failed("no [room]")).notes == (Note("could not run", "failure"), Note("no [room]"))


def test_after_a_resume_the_count_and_the_best_go_on():
    compared = trial(9000.0, purpose="final")  # counts neither as one of the search nor as the best
    watched = Watched((trial(500.0), failed("no"), trial(1000.0), trial(None), compared), budget=7)
    assert watched.lines(trial(999.0))[0] == "    5/7  cpu_cores=1  mode=[a]"
    assert said(watched, trial(1000.0)) == LIST
    assert said(watched, trial(1001.0)) == f"{LIST}  best so far"
    # Where nothing counted before, the first that counts is the best.
    assert said(Watched((failed("no"), trial(None))), trial(1e-9)) == f"{LIST}  best so far"


UNSTEADY = (a_level(5.0), a_level(5.0, steady=False))
LATE = "100 requests/s, p50 20 ms, p95 60 ms, p99 150 ms, $0.278 per million"
CANNOT = "ended early: cannot beat the best so far"


@pytest.mark.parametrize(
    ("ended", "line"),
    [
        (trial(None), LIST),  # no limit is broken, and yet it has no value that counts
        (trial(None, p99_ms=150.04), f"{LATE}  breaks p99_ms (150, limit 100)"),
        (trial(1.0, p99_ms=100.0), "100 requests/s, p50 20 ms, p95 60 ms, p99 100 ms, $0.278 per million  best so far"),
        (trial(1.0, usd=0.5), "100 requests/s, p50 20 ms, p95 60 ms, p99 80 ms, $1.39 per million  best so far"),
        (trial(None, usd=0.75), f"{LIST.replace('0.278', '2.08')}  breaks usd_per_hour (0.75, limit 0.5)"),
        (
            trial(None, p99_ms=150.0, p95_ms=123.45),
            f"{LATE.replace('p95 60', 'p95 123')}  breaks p99_ms (150, limit 100), p95_ms (123.5, limit 90)",
        ),
        # What was not measured keeps no limit.
        (trial(None, p95_ms=None), f"{LIST.replace('p95 60 ms, ', '')}  breaks p95_ms (nan, limit 90)"),
        (trial(None, ended_early=True), f"{LIST}  {CANNOT}"),
        (trial(None, ended_early=False), LIST),
        (trial(None, p99_ms=150.0, ended_early=True), f"{LATE}  breaks p99_ms (150, limit 100)  {CANNOT}"),
        (trial(1.0, lost="TrialDied: [x]"), f"{LIST}  at the second attempt: TrialDied: [x]  best so far"),
        (trial(None, p99_ms=150.0, lost="no"), f"{LATE}  at the second attempt: no  breaks p99_ms (150, limit 100)"),
        (failed("TrialDied: gone", lost="TrialDied: gone"), "could not run  TrialDied: gone"),
        (trial(1.0, emulated=True), f"{LIST} [emulated]  best so far"),
        (trial(1.0, client_limited=True), f"{LIMITED}  {AT_LEAST_NOTE}  {AT_MOST_NOTE}  best so far"),
        (trial(1.0, levels=UNSTEADY, reported=1), f"~{LIST.replace('$', '~$')}  {ESTIMATE_NOTE}  best so far"),
    ],
)  # fmt: skip
def test_beside_the_figures_stands_what_became_of_the_trial(ended, line):
    assert said(Watched(), ended) == line


@pytest.mark.parametrize(("least", "most", "said"), [(200.0, 500.0, "at least 200"), (50.0, 75.0, "limit 75")])
def test_of_two_limits_on_a_metric_the_broken_one_is_told(least, most, said):
    between = Objective(Expression("rps"), at_most={"rps": most}, at_least={"rps": least})
    [_, note] = Telling((), 9, between).finished(trial(None)).notes
    assert note == Note(f"breaks rps (100, {said})", "warning")


def test_what_is_measured_again_is_neither_counted_nor_the_best_so_far():
    watched = Watched((trial(5.0),), budget=1)
    assert watched.lines(trial(50.0, purpose="final")) == ["compare  cpu_cores=1  mode=[a]", f"         {LIST}  (12 s)"]
    assert watched.lines(trial(6.0))[0] == "    2/1  cpu_cores=1  mode=[a]"


def test_a_note_is_as_it_was_written():
    watched = Watched()
    watched.progress.note("4 configurations left out: needs [8] cores")
    assert watched.file.getvalue() == "note 4 configurations left out: needs [8] cores\n"


def test_a_terminal_shows_what_is_running_and_a_file_does_not(monkeypatch):
    shown: list[str] = []

    class Status:
        def __init__(self, text: str) -> None:
            assert text == ""

        def start(self) -> None:
            shown.append("start")

        def update(self, text: Text) -> None:
            shown.append(text.plain)

        def stop(self) -> None:
            shown.append("stop")

    console = Console(file=io.StringIO(), width=132, force_terminal=True)
    monkeypatch.setattr(console, "status", Status)
    progress = ConsoleProgress(console)
    progress.begins((), 9, OBJECTIVE)
    progress.started(1, "search", {"size": "[a]"})
    progress.started(2, "search", {"size": "b", "cores": 2})
    progress.finished(trial(1.0, number=1))
    progress.finished(trial(1.0, number=2))
    progress.started(3, "final", {"size": "b"})
    progress.close()
    assert shown == [
        "start", "size=[a]", "size=[a] | size=b  cores=2", "size=b  cores=2", "thinking …",
        "measured again: size=b", "stop",
    ]  # fmt: skip
    file = Console(file=io.StringIO(), width=132)
    monkeypatch.setattr(file, "status", None)  # would be called
    quiet = ConsoleProgress(file)
    quiet.started(1, "search", {"size": "a"})
    quiet.close()
