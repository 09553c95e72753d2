"""Whole studies on a fake machine that drifts, in virtual time and without Ray: what they compare and recommend."""

import json
import math
from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from cluster.inventory import Inventory, Node
from raytune_infer import Study, StudyResult
from raytune_infer.commands.app import main
from raytune_infer.comparing.rounds import in_rounds
from raytune_infer.report.export.report_files import write_files
from raytune_infer.report.study_report import recommendation
from raytune_infer.report.words.values import interval
from raytune_infer.report.words.verdict import answer
from raytune_infer.spec.document import Document
from raytune_infer.spec.service_spec import parse_spec
from raytune_infer.study.trials.trial import TrialRuntime, run_trial
from serve_deployments.fakes.fake_backend import FakeBackend, VirtualMeasure
from serve_deployments.measuring.load_test import LoadTest
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.settings import Settings
from tests.raytune_infer.study.stop_after import StopAfter

SPEC = """\
name: drifting
model: {build: "cluster.emulated:model", args: {profile: bert-base}}
samples: [x]
knobs: {cpu_cores: [1, 2], max_batch_size: [1, 4]}
objective: {maximize: rps}
budget: {trials: 4, compare_s: 1000}
"""


PLAN = LoadPlan(level_min_s=0.3, max_concurrency=8)


class Machine:
    """Slower by 3 % with every measurement, and thrice as fast in the first; two cores are 1 % faster than one.

    Args:
        dies_in: the measurement (1, 2, …) in which the run is killed; 0 for never.
        again: how many times as long a measurement of the comparison is expected to take as one of the search.
    """

    def __init__(self, *, dies_in: int = 0, again: float = 1.0) -> None:
        self.measured, self.dies_in, self.again = 0, dies_in, again
        self.seeds: list[tuple[int, int]] = []

    def service_s(self, settings: Settings, batch: int) -> float:
        speed = 3.0 if self.measured == 1 else math.exp(-0.03 * self.measured)
        return (0.010 + 0.001 * batch) / speed / (1.01 if settings.cpu_cores == 2 else 1.0)

    def measure(self, running, settings, *, to_beat_rps=None):
        self.measured += 1
        if self.measured == self.dies_in:
            raise KeyboardInterrupt
        return VirtualMeasure(LoadTest(PLAN))(running, settings, to_beat_rps=to_beat_rps)

    def measure_in(self, number: int) -> Callable:
        self.seeds.append((self.measured + 1, number))
        return self.measure

    @contextmanager
    def serving(self, study):
        yield TrialRuntime(FakeBackend(self.service_s), self.measure, self.measure_in, again=self.again)


@pytest.fixture
def in_turn(monkeypatch):
    """One small node, and every configuration in turn for a search."""

    def search(log, budget, searcher, **options):
        known = len(log.searched())
        for position in range(known, known + budget.trials):
            key = log.ledger.start(position, "search")
            settings = log.space.resolver.settings(log.space.problem.space[position])
            outcome = run_trial(settings, str(position), backend=log.runtime.backend, measure=log.runtime.measure)
            log.ledger.finish(key, position, outcome)

    node = Node(node_id="a", hostname="a", cpu_cores=4, memory_gib=8.0)
    monkeypatch.setattr("raytune_infer.study.study.ray_session", lambda **options: nullcontext())
    monkeypatch.setattr("raytune_infer.study.study.ray_inventory.from_ray", lambda: Inventory((node,)))
    monkeypatch.setattr("raytune_infer.study.search.search", search)


def study(out: Path, machine: Machine, text: str = SPEC) -> Study:
    spec = parse_spec(Document(text, "fake.yaml"), folder=Path("."))
    return Study(spec, out=out, searcher="random", serving=machine.serving, history=False)


def rounds(result: StudyResult) -> list[list[int]]:
    return [list(r) for r in in_rounds(result.trials)]


@pytest.mark.parametrize(("again", "first"), [(1.0, 4), (1e6, 2)])
def test_a_comparison_plans_with_what_its_own_measurements_take(in_turn, tmp_path, again, first):
    """Two rounds of four that are so much longer than in the search do not fit into the stated time."""
    result = study(tmp_path / "run", Machine(again=again)).run()
    assert len(rounds(result)[0]) == first and len(rounds(result)) >= 2


def test_drift_decides_nothing_and_the_cheaper_of_two_alike_wins(in_turn, tmp_path):
    machine = Machine()
    result = study(tmp_path / "run", machine).run()
    # In the search the first, which is the default, had the best number, by far.
    assert max((t for t in result.trials), key=lambda t: t.value or 0).position == result.default.position
    first, *others = rounds(result)
    assert len(first) == 4 and others[0] == first[::-1]
    assert machine.seeds == [(5 + i, 1 + i // 4) for i in range(4 * len(rounds(result)))]
    # Batches of 4 in 14 ms on one core against batches of 1 in 11 ms; two cores are no more than 1 % faster.
    assert result.best.config == {"cpu_cores": 1, "max_batch_size": 4}
    assert {c.trials[0].config["cpu_cores"] for c in result.comparison.alike} == {1, 2}
    assert result.ratio == pytest.approx(4 * 11 / 14, rel=0.05)
    assert result.ratio_interval.low < 4 * 11 / 14 < result.ratio_interval.high
    assert result.best.metrics["rps"] > 0


@pytest.mark.parametrize(("trials", "kept"), [(6, 4), (8, 8), (11, 8)])
def test_a_comparison_that_was_stopped_goes_on_with_the_round_that_was_not_whole(in_turn, tmp_path, trials, kept):
    with pytest.raises(KeyboardInterrupt):
        study(tmp_path / "run", machine := Machine()).run(progress=StopAfter(trials))
    result = study(tmp_path / "run", machine).run(resume=True)
    assert [t.number for t in result.trials] == [*range(1, kept + 1), *range(trials + 1, machine.measured + 1)]
    forth, back, *_ = rounds(result)
    assert len(forth) == 4 and back == forth[::-1]
    again = study(tmp_path / "run", Machine(dies_in=1)).run(resume=True)
    assert [t.number for t in again.trials] == [t.number for t in result.trials]


def test_a_comparison_that_was_killed_begins_a_round_anew(in_turn, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        study(tmp_path / "run", machine := Machine(dies_in=7)).run()
    result = study(tmp_path / "run", machine).run(resume=True)
    numbers = [t.number for t in result.trials]
    # The seventh was killed, and the two before it were of its round.
    assert numbers == [n for n in range(1, len(numbers) + 4) if n not in (5, 6, 7)]
    assert all(sorted(each) == [0, 1, 2, 3] for each in rounds(result))
    assert result.best.config == {"cpu_cores": 1, "max_batch_size": 4}


@pytest.mark.parametrize("command", ["show", "recommend", "export"])
@pytest.mark.parametrize("trials", [5, 6, 8])
def test_a_comparison_that_ended_between_two_trials_is_not_over(in_turn, tmp_path, monkeypatch, capfd, command, trials):
    """As after a kill: no trial is under way, and nobody said that the study had come to its end."""
    monkeypatch.setattr("sys.argv", ["raytune-infer", command, str(tmp_path / "run")])
    with pytest.raises(KeyboardInterrupt):
        study(tmp_path / "run", machine := Machine()).run(progress=StopAfter(trials))
    with pytest.raises(SystemExit):
        main()
    said = " ".join(capfd.readouterr().out.replace("# ", "").split())
    assert f"comparison that is not over ({trials - 4} of at least 8 measurements; `tune --resume` goes on): " in said
    study(tmp_path / "run", machine).run(resume=True)
    with pytest.raises(SystemExit):
        main()
    assert "not over" not in capfd.readouterr().out


@pytest.mark.parametrize("command", ["show", "export"])
def test_what_is_told_before_a_comparison_is_over_says_so(in_turn, tmp_path, monkeypatch, capfd, command):
    monkeypatch.setattr("sys.argv", ["raytune-infer", command, str(tmp_path / "run")])

    def told() -> str:
        with pytest.raises(SystemExit):
            main()
        return " ".join(capfd.readouterr().out.split())

    with pytest.raises(KeyboardInterrupt):
        study(tmp_path / "run", machine := Machine(dies_in=7)).run()
    # In the file the text goes on in comments.
    cut = told().replace("# ", "")
    assert "So far, in round 1 of a comparison that is not over (2 of at least 8 measurements; `tune --resume`" in cut
    result = study(tmp_path / "run", machine).run(resume=True)
    whole = told()
    assert "So far" not in whole and " ".join(answer(result.comparison, result.objective).split()) in whole


def test_intervals_are_in_the_file_and_in_what_show_prints(in_turn, tmp_path, monkeypatch, capsys):
    result = study(tmp_path / "run", Machine()).run()
    told = json.loads(write_files(result, "")["recommendation"].read_text())
    over = told["comparison"]["over_default"]
    assert over == {"value": result.ratio, "low": result.ratio_interval.low, "high": result.ratio_interval.high}
    assert [c["recommended"] for c in told["comparison"]["configurations"]].count(True) == 1
    assert "with intervals of 95 %" in recommendation(result).title

    monkeypatch.setattr("sys.argv", ["raytune-infer", "show", str(tmp_path / "run")])
    with pytest.raises(SystemExit):
        main()
    shown = " ".join(capsys.readouterr().out.split())
    assert "Measured side by side in" in shown
    # What was said when it ended is said again, word for word, and is in the file and in what is deployed.
    said = answer(result.comparison, result.objective)
    assert " ".join(said.split()) in shown and told["answer"] == said
    low, high = result.ratio_interval.low, result.ratio_interval.high
    assert f"× the default's (95 %: {interval(result.ratio, low, high)})" in said
    assert "so they cannot be told apart; the cheaper is recommended (0." in shown


def test_little_time_leaves_the_best_beside_the_default_until_there_is_more(in_turn, tmp_path):
    text = SPEC.replace("compare_s: 1000", "compare_s: 1.0e-6")
    brief = study(tmp_path / "run", machine := Machine(), text).run()
    assert [len(r) for r in rounds(brief)] == [2, 2]
    more = study(tmp_path / "run", machine).run(resume=True)
    # The last round is measured anew, now that there is time for all four in it.
    first, last = rounds(brief)
    assert rounds(more)[0] == first and all(len(each) == 4 for each in rounds(more)[1:])
    assert more.trials[: -sum(map(len, rounds(more)[1:]))] == brief.trials[: -len(last)]
    assert len(more.comparison.contestants) == 4 and all(len(c.trials) >= 2 for c in more.comparison.contestants)
