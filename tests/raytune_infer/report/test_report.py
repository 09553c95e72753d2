"""What people and programs read of a study: each number under its name, each remark with the trials it is true of."""

import datetime as dt
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from raytune_infer.comparing.configuration_result import ConfigurationResult, result_of_search
from raytune_infer.report.export.report_files import frame, write_files
from raytune_infer.report.figures import AT_MOST_NOTE, cost_of, cost_per_million, figures, rate
from raytune_infer.report.study_report import recommendation, result_view, trials_table, trials_view
from raytune_infer.report.view import Quantity
from raytune_infer.report.words.metric_columns import metric_column, shown_metrics
from raytune_infer.report.words.progress import Telling
from raytune_infer.report.words.samples import sample_notes
from raytune_infer.report.words.trials import footnotes
from raytune_infer.report.words.values import marks, spelled
from raytune_infer.report.words.verdict import answer
from raytune_infer.store.records import Outcome, StudyRecord, TrialRecord
from raytune_infer.store.run_folder import RunFolder
from raytune_infer.study.result import StudyResult, conclude
from searchers.base import Problem
from searchers.objective import Expression, Objective
from searchers.space import Knob, Space
from serve_deployments.metrics.metric_table import METRICS as METRIC_TABLE
from serve_deployments.resources.usage import Usage
from tests.levels import a_level
from tests.raytune_infer.report.shown_views import column, headings, texts

METRICS = {"rps": 123.456, "p50_ms": 12.345, "p95_ms": 23.456, "p99_ms": 34.567, "error_rate": 0.0123}
STEADY, UNSTEADY = (a_level(5.0),), (a_level(5.0), a_level(5.0, steady=False))
OBJECTIVE = Objective(Expression("rps"), at_most={"p99_ms": 50})


def trial(number: int = 1, position: int = 0, purpose: Any = "search", usd_per_hour: float = 0.36, **more: Any):
    outcome = Outcome(**{"metrics": METRICS, "levels": STEADY, "reported": 0, "hostname": "box", **more})
    value = OBJECTIVE.value(outcome.metrics, usd_per_hour)
    return TrialRecord(number, purpose, position, {"batch": 2**position}, usd_per_hour, value, outcome, 7.5, False)


FAILED: dict[str, Any] = {"metrics": None, "reason": "OutOfMemory: no", "levels": (), "reported": None}


def rows_of(table: Any) -> dict[str, list[str]]:
    """What stands beside each heading, a text for each row: knobs, then the columns in which anything stands."""
    configs = table.column("config")
    knobs = {knob: [str(config[knob]) for config in configs] for knob in table.knobs("config")}
    told = {each.words or each.name: column(table, each.name) for each in table.columns if each.kind != "config"}
    return knobs | {heading: said for heading, said in told.items() if any(said)}


def test_a_trial_on_one_line():
    # 0.36 dollars an hour are 1e-4 a second: 81 cents for a million at 123.456 a second.
    assert (cost := cost_of(trial())) is not None and vars(cost) == vars(Quantity(cost.value))
    assert cost.value == pytest.approx(1e6 * 1e-4 / 123.456)
    assert figures(trial()) == "123.5 requests/s, p50 12.3 ms, p99 34.6 ms, $0.81 per million"
    assert figures(replace(trial(), emulated=True)).endswith("per million [emulated]")
    assert figures(trial(usd_per_hour=math.nan)) == "123.5 requests/s, p50 12.3 ms, p99 34.6 ms"
    assert figures(trial(metrics={"rps": 2.0}, usd_per_hour=math.nan)) == "2 requests/s"
    assert cost_of(trial(**FAILED)) is None and cost_of(trial(metrics={"rps": 0.0})) is None
    assert spelled({"a": 1, "b": "x"}) == "a=1  b=x"


def test_a_rate_that_is_a_bound_or_an_estimate_is_marked():
    def marked(**more: Any) -> str:
        return marks(rate(trial(**more)) or Quantity(0.0))

    assert marked() == ""
    assert marked(client_limited=True) == "≥ "
    assert marked(levels=UNSTEADY, reported=1) == "~"
    assert marked(levels=UNSTEADY, reported=0) == "" and marked(levels=UNSTEADY, reported=None) == ""
    assert marked(client_limited=True, levels=UNSTEADY, reported=1) == "≥ ~"
    assert figures(trial(client_limited=True)).startswith("≥ 123.5 requests/s")
    assert rate(trial()) == Quantity(123.456) and rate(trial(**FAILED)) is None
    assert rate(trial(client_limited=True)) == Quantity(123.456, at_least=True)
    assert rate(trial(levels=UNSTEADY, reported=1)) == Quantity(123.456, estimated=True)


def test_a_cost_has_the_interval_that_follows_from_that_of_its_rate():
    """At 3.6 dollars an hour, a thousandth of a dollar a second, 100 requests a second make 10 dollars a million."""
    assert cost_per_million(Quantity(100.0, 80.0, 125.0), 3.6) == Quantity(10.0, 8.0, 12.5)
    assert cost_per_million(Quantity(100.0, 80.0, 125.0, at_least=True, estimated=True), 3.6) == Quantity(
        10.0, 8.0, 12.5, estimated=True, at_most=True
    )
    assert cost_per_million(Quantity(100.0, at_least=True), 3.6) == Quantity(10.0, at_most=True)
    assert cost_per_million(Quantity(100.0, 0.0, 125.0), 3.6) == Quantity(10.0, estimated=True)
    assert cost_per_million(Quantity(100.0, 80.0, 125.0), 0.0) == Quantity(0.0, 0.0, 0.0)
    unknown = [(None, 3.6), (Quantity(0.0), 3.6), (Quantity(100.0), math.nan)]
    assert [cost_per_million(rate, usd) for rate, usd in unknown] == [None] * 3


def test_a_cost_has_the_digits_of_its_interval_wherever_it_stands():
    shown = trial(usd_per_hour=3.6, interval_rps=(80.0, 125.0), metrics={**METRICS, "rps": 100.0}, client_limited=True)
    assert figures(shown) == "≥ 100 (80 to 125) requests/s, p50 12.3 ms, p99 34.6 ms, ≤ $10.0 (8.0 to 12.5) per million"
    assert column(trials_table([shown]), "usd_per_million_requests") == ["≤ 10.0 (8.0 to 12.5)"]
    assert f"all: {AT_MOST_NOTE}" in footnotes([shown])
    assert not any(AT_MOST_NOTE in note for note in footnotes([trial(usd_per_hour=math.nan, client_limited=True)]))


def test_every_trial_is_a_line_of_the_table():
    trials = [
        trial(), trial(2, 1, **FAILED), trial(3, 2, metrics={**METRICS, "p99_ms": 60.0}), trial(4, 3, ended_early=True),
        trial(5, 0, "final", client_limited=True), trial(6, 1, usd_per_hour=math.nan),
    ]  # fmt: skip
    table = trials_table(trials, best=[5])
    assert headings(table) == ["", "", "requests/s", "p99, ms", "USD per million", "value", ""]
    assert texts(table) == [
        ["1", "batch=1", "123.5", "34.57", "0.81", "123.5", ""],
        ["2", "batch=2", "–", "–", "–", "–", "could not run"],
        ["3", "batch=4", "123.5", "60", "0.81", "–", "breaks a limit"],
        ["4", "batch=8", "123.5", "34.57", "0.81", "123.5", "ended early"],
        ["5", "batch=1", "≥ 123.5", "34.57", "≤ 0.81", "123.5", "measured again"],
        ["6", "batch=2", "123.5", "34.57", "–", "123.5", ""],
    ]
    assert [row.emphasis for row in table.rows] == ["", "", "", "", "best", ""]
    assert trials_table([]).rows == ()


def test_each_remark_stands_once_with_its_trials():
    kept = {"limit": "cpu_cores", "enforced": True, "how": "pinned"}
    missed = {"limit": "gpu_share", "enforced": False, "how": "no MPS"}
    shared = {"limit": "cores to itself", "enforced": False, "how": "other processes used about 30% of them"}
    new = {"limit": "change in place", "enforced": False, "how": "a new one was started"}
    trials = [
        trial(1, **FAILED), trial(2, **FAILED, lost="ReplicaDied: 9"), trial(3, levels=UNSTEADY, reported=1),
        trial(4, ended_early=True), trial(5, client_limited=True), trial(6, enforcements=(kept, missed)),
        trial(7, enforcements=(missed,)), trial(8, enforcements=(shared, new)),
    ]  # fmt: skip
    assert footnotes(trials) == [
        "1, 2: could not run: OutOfMemory: no",
        "2: tried again: ReplicaDied: 9",
        "3: ~: the precision was not reached in its time; the rate is an estimate",
        "4: ended early: could not beat the best at that time; the rate is an estimate",
        "5: ≥: the load generator was a bottleneck, the replica may do more",
        f"5: {AT_MOST_NOTE}",
        "6, 7: gpu_share not enforced: no MPS",
        "8: exclusive use of its cores not enforced: other processes used about 30% of them",
        "8: a new one was started",
    ]
    # Where devices are emulated, nothing is enforced, and that is all there is to say.
    note = "emulated: the numbers are of a model of the devices, not of devices"
    emulated = [replace(t, emulated=True) for t in trials[5:]]
    assert footnotes(emulated) == [f"all: {note}"]
    assert footnotes([emulated[0], trials[3]])[0] == f"6: {note}" and footnotes([]) == []


def test_a_trial_on_cores_that_others_used_shows_their_share():
    used = [(a_level(5.0, usage=Usage(cores_s=10.0, others_s=10 * share)),) for share in (0.04, 0.31)]
    quiet, busy = (trial(n, levels=levels) for n, levels in enumerate(used, start=1))
    assert "cores used by other processes" not in headings(trials_table([quiet]))
    assert column(trials_table([quiet, busy]), "others_share") == ["4%", "31%"]
    assert frame([busy]).others_share.tolist() == [0.31]
    telling = Telling((), 2, OBJECTIVE)
    assert not [n for n in telling.finished(quiet).notes if n.kind == "warning"]
    assert [n.text for n in telling.finished(busy).notes if n.kind == "warning"] == [
        "other processes used 31% of its cores"
    ]  # fmt: skip


def test_what_is_limited_or_optimised_is_shown_beside_what_always_is():
    asked = Objective(Expression("rps / mean_ms"), at_most={"p97_ms": 40, "usd_per_hour": 1}, at_least={"p50_ms": 1})
    measured = [trial(metrics={"rps": 123.4, "p99_ms": 34.5, "p50_ms": 10.0, "mean_ms": 11.0, "p97_ms": 30.0})]
    assert shown_metrics(asked, ("p99_ms",)) == ("p50_ms", "p99_ms", "mean_ms", "p97_ms")
    assert headings(trials_table(measured, objective=asked))[-7:-3] == ["p50, ms", "p99, ms", "mean, ms", "p97, ms"]
    assert metric_column("p97_ms", asked).words == "p97, ms (limit 40)"
    assert metric_column("p50_ms", asked).words == "p50, ms (at least 1)"
    assert figures(measured[0], ("p97_ms", "max_ms")).startswith("123.4 requests/s, p97 30 ms, $")


def of_samples(number: int, requests: int, samples: int | None, **more: Any) -> TrialRecord:
    level = a_level(10.0, completed=requests - 1, errors=1, samples=samples)
    return trial(number, levels=(level,), reported=0, **more)


def test_a_measurement_that_saw_a_part_of_the_samples_or_each_of_them_often_says_so():
    assert sample_notes([of_samples(1, 100, 100), of_samples(2, 999, 100), trial(3, **FAILED)]) == []
    parts = [of_samples(1, 400, 4000), of_samples(2, 5000, 4000), of_samples(3, 1000, 4000)]
    assert sample_notes(parts) == [
        "of 4000 samples: 2 of 3 measurements saw only a part of them, at least 10%; raise load.level_min_s if samples "
        "differ much"
    ]
    assert sample_notes([of_samples(1, 500, 50), of_samples(2, 20_000, 50)]) == [
        "of 50 samples: a measurement sent each of them up to 400 times; give more samples if the model caches "
        "answers, as it seems faster than it will be"
    ]
    assert sample_notes([of_samples(1, 100, 400), of_samples(2, 4800, 400)]) == [
        "of 400 samples: 1 of 2 measurements saw only a part of them, at least 25%, and another measurement sent each "
        "of them up to 12 times; raise load.level_min_s if samples differ much; give more samples if the model caches "
        "answers, as it seems faster than it will be"
    ]
    assert sample_notes([of_samples(1, 400, None)]) == sample_notes([]) == []  # as earlier versions stored them


def test_a_measurement_of_few_requests_says_how_few():
    assert sample_notes([of_samples(1, 100, 20), of_samples(2, 99, 20), of_samples(3, 5, 2)]) == [
        "the latencies of 2 of 3 measurements are of fewer than 100 requests, at least 5: a p99 of so few is only the "
        "slowest; raise load.level_min_s or load.total_max_s"
    ]
    [alone] = sample_notes([of_samples(1, 99, 20)])
    assert alone.startswith("the latencies of 1 of 1 measurement are of fewer than 100 requests, at least 99: ")


def test_a_sample_that_failed_in_every_measurement_is_named_by_its_place_in_the_file():
    def with_failed(number, *failed):
        pairs = tuple((place, "ValueError: no such language") for place in failed)
        level = a_level(10.0, completed=110, errors=5, samples=20, failed_samples=pairs)
        return trial(number, levels=(level,), reported=0)

    assert sample_notes([with_failed(1, 5, 7), with_failed(2, 5), with_failed(3, 5, 9)]) == [
        "1 of 20 samples always fails: number 6 (ValueError: no such language); correct or remove what should not be "
        "sent"
    ]
    assert "2 of 20 samples always fail: number 6, 8 " in sample_notes([with_failed(1, 5, 7), with_failed(2, 5, 7)])[0]
    # It may have failed by chance.
    assert sample_notes([with_failed(1, 5)]) == sample_notes([with_failed(1, 5), with_failed(2)]) == []


def result(folder: Path, default: int | None = 1, usd: float = 0.36, **more: Any) -> StudyResult:
    """Twice as fast as the default, in two rounds."""
    problem = Problem(Space([Knob("batch", (1, 2, 4))]), OBJECTIVE, np.full(3, usd))
    slow = {**METRICS, "rps": 61.728, "p99_ms": 44.0}
    trials = [trial(1, 0, usd_per_hour=usd, **more), trial(2, 1, metrics=slow, usd_per_hour=usd)]
    trials += [trial(3, 0, "final", usd, **more), trial(4, 1, "final", usd, metrics=slow)]
    trials += [trial(5, 1, "final", usd, metrics=slow), trial(6, 0, "final", usd, **more)]
    return conclude(RunFolder(folder, None, 1), problem, trials, default, "ours, 2026-01-15")


# Of figures that repeat exactly in two rounds: 0.05 √(1/2) is sigma, worth 1 + 1 degrees of freedom, for which
# Student's factor is 4.3027. So each mean has 4.3027 · 0.05 · √(1/2) / √2 of its logarithm on both sides: ×/÷ 1.1136.
INTERVALS = ["111 to 137", "55.4 to 68.7"]


def test_the_recommendation_stands_beside_the_default():
    table = recommendation(result(Path("run")))
    assert (table.title, table.layout) == (
        "Recommendation (means of 2 rounds, with intervals of 95 %)", "columns"
    )  # fmt: skip
    assert [row.emphasis for row in table.rows] == ["best", ""]
    assert rows_of(table) == {
        "role": ["recommended", "default"],
        "batch": ["1", "2"],
        "requests/s": [f"123 ({INTERVALS[0]})", f"61.7 ({INTERVALS[1]})"],
        "p50, ms": ["12.34", "12.34"],
        "p95, ms": ["23.46", "23.46"],
        "p99, ms (limit 50)": ["34.57", "44"],
        "failed requests": ["1.23%", "1.23%"],
        "USD per hour": ["0.3600", "0.3600"],
        "USD per million requests": ["0.810 (0.727 to 0.902)", "1.62 (1.45 to 1.80)"],
    }


def test_of_a_goal_to_minimise_the_least_is_recommended_and_said_to_be():
    latency = Objective(Expression("p99_ms"), minimize=True)
    slow = {**METRICS, "p99_ms": 69.134}  # twice as long
    trials = [trial(1, 1, "final", metrics=slow), trial(2, 0, "final"), trial(3, 0, "final")]
    trials += [trial(4, 1, "final", metrics=slow)]
    judged = [replace(t, value=latency.value(t.outcome.metrics, 0.36)) for t in trials]
    problem = Problem(Space([Knob("batch", (1, 2))]), latency, np.full(2, 0.36))
    found = conclude(RunFolder(Path("run"), None, 1), problem, judged, 1, "ours")
    rows = rows_of(recommendation(found))
    assert rows["batch"] == ["1", "2"] and rows["p99, ms"] == ["34.57", "69.13"]
    assert rows["least p99_ms"] == ["34.6 (31.0 to 38.5)", "69.1 (62.1 to 77.0)"]


def test_a_mean_is_that_of_the_rounds_that_count_and_who_does_not_count_has_none():
    """The default broke its limit in both of its rounds."""
    broken = {**METRICS, "p99_ms": 60.0}
    trials = [trial(1, 0, "final"), trial(2, 1, "final", metrics=broken), trial(3, 1, "final", metrics=broken)]
    trials += [trial(4, 0, "final", metrics={**METRICS, "rps": 100.0})]
    problem = Problem(Space([Knob("batch", (1, 2))]), OBJECTIVE, np.full(2, 0.36))
    table = recommendation(conclude(RunFolder(Path("run"), None, 1), problem, trials, 1, "ours"))
    mean, other = table.column("rate_rps")
    assert isinstance(other, Quantity) and other.low is None and other.value == pytest.approx(123.456)
    assert table.column("remarks") == [None, "does not count"]
    assert "figure" not in [each.name for each in table.columns]  # it would be the same number once more
    # √(100 · 123.456), and the drift of a configuration that is alone counts as its noise.
    assert isinstance(mean, Quantity) and mean.value**2 == pytest.approx(12345.6)
    assert mean.low * mean.high == pytest.approx(12345.6) and mean.low < 100 < 123.456 < mean.high


def test_the_default_itself_and_unknown_prices_and_emulated_devices():
    alone = recommendation(result(Path("run"), default=0))
    assert column(alone, "role") == ["the default", "best of the others"]
    assert column(recommendation(result(Path("run"), default=None)), "role") == ["recommended"]
    rows = rows_of(recommendation(result(Path("run"), usd=math.nan)))
    assert rows["USD per hour"] == rows["USD per million requests"] == ["–", "–"]
    found = result(Path("run"))
    devices = tuple(replace(t, emulated=True) for t in found.best.trials)
    emulated = replace(found, best=ConfigurationResult(found.best.metrics, devices))
    assert recommendation(emulated).title.startswith("Recommendation (emulated; means of 2 rounds")


def test_what_tune_ends_with_says_where_all_is_kept():
    view = result_view(result(Path("run")), {"trials": Path("run/trials.csv"), "Serve config": Path("run/s.yaml")})
    first, compared, last = view.sections
    assert [table.name for section in view.sections for table in section.tables] == [
        "recommendation", "comparison", "files",
    ]  # fmt: skip
    assert view.answer.startswith(f"Run batch=1: 123 ({INTERVALS[0]}) requests/s; its rps is 2.00× the default's")
    assert compared.notes == first.notes == ()
    [files] = last.tables
    assert (files.layout, texts(files)) == ("list", [["ours, 2026-01-15", "run/trials.csv", "run/s.yaml"]])
    assert headings(files) == ["prices", "trials", "Serve config"]


def test_what_is_shown_of_a_run_says_how_far_it_is():
    found = result(Path("run"))
    begun = dt.datetime(2026, 1, 2, 3, 4, tzinfo=dt.UTC)
    study = StudyRecord(1, "[b]mine[/b]", "", ".", "meta", 7, 5, {}, None, begun)
    view = trials_view(study, found.trials, found.best, found.comparison, OBJECTIVE)
    assert view.answer == result_view(found, {}).answer
    assert view.title == "[b]mine[/b]"
    assert view.subtitle == "2 of 5 trials, searcher meta, seed 7, begun 2026-01-02 03:04 UTC"
    [trials] = view.tables
    assert [row.emphasis for row in trials.rows] == ["", "", "best", "", "", "best"]
    assert len(trials.rows) == 6 and view.sections[0].tables[0].name == "comparison"


def test_the_table_for_programs_has_a_row_a_trial():
    table = frame([trial(interval_rps=(100.0, 140.0), lost="died", ended_early=True), trial(2, 1, **FAILED)])
    first, second = table.to_dict("records")
    assert pd.isna(first.pop("could_not_run"))
    assert first == {
        "trial": 1, "purpose": "search", "batch": 1, **METRICS, "rate_low_rps": 100.0, "rate_high_rps": 140.0,
        "usd_per_hour": 0.36, "value": 123.456, "seconds": 7.5, "client_limited": False, "emulated": False,
        "lost": "died", "ended_early": True, "others_share": None, "measured_alone": False,
    }  # fmt: skip
    assert (second["trial"], second["batch"], second["could_not_run"]) == (2, 2, "OutOfMemory: no")
    assert all(math.isnan(second[name]) for name in ("rps", "rate_low_rps", "rate_high_rps"))


def test_the_columns_of_the_table_have_a_fixed_order_and_each_a_name_of_its_own():
    """Knobs as in service.yaml, metrics as in the table of all metrics; whatever the first trial has, or lacks."""
    config = {"zeta": 1, "seconds": 2, "alpha": 3, "rps": 4}
    metrics = {"own": 1.0, "error_rate": 0.0, "another": 2.0, "p99_ms": 9.0, "rps": 5.0, "p50_ms": 8.0}
    failed = replace(trial(1, **FAILED), config=config)
    measured = replace(trial(2, metrics=metrics), config=config)
    turned = replace(trial(3, metrics=dict(reversed(metrics.items()))), config=config)
    named = [name for name in METRIC_TABLE if name in metrics]
    assert set(named) == {"rps", "p50_ms", "p99_ms", "error_rate"}
    for trials in ([failed, measured], [measured, failed], [turned], [turned, measured]):
        table = frame(trials)
        assert list(table.columns) == [
            "trial", "purpose", "zeta", "config.seconds", "alpha", "config.rps", *named, "another", "own",
            "rate_low_rps", "rate_high_rps", "usd_per_hour", "value", "seconds", "client_limited", "emulated",
            "could_not_run", "lost", "ended_early", "others_share", "measured_alone",
        ]  # fmt: skip
        row = table[table.trial != 1].iloc[0]
        assert (row["config.seconds"], row["seconds"], row["config.rps"], row["rps"]) == (2, 7.5, 4, 5.0)


def test_the_files_of_a_run(tmp_path):
    found = result(tmp_path, hostname="box", enforcements=({"limit": "cores", "enforced": True, "how": "pinned"},))
    files = write_files(found, "the config: é\n")
    assert {what: path.name for what, path in files.items()} == {
        "trials": "trials.csv", "recommendation": "recommendation.json", "Serve config": "serve_config.yaml",
    }  # fmt: skip
    assert all(path.parent == tmp_path for path in files.values())
    assert files["Serve config"].read_text(encoding="utf-8") == "the config: é\n"
    table = pd.read_csv(files["trials"])
    assert table.trial.tolist() == [1, 2, 3, 4, 5, 6] and table.purpose.tolist().count("final") == 4
    told = json.loads(files["recommendation"].read_text())
    assert (told["objective"], told["limits"], told["prices"]) == ("rps", {"p99_ms": 50}, "ours, 2026-01-15")
    assert told["answer"] == answer(found.comparison, OBJECTIVE) and told["other_processes"] is None
    assert told["best"] == {
        "config": {"batch": 1}, "metrics": pytest.approx(METRICS), "interval_rps": pytest.approx([110.8656, 137.4762]),
        "trials": [3, 6], "others_share": None, "usd_per_hour": 0.36,
        "usd_per_million_requests": pytest.approx(0.81, rel=1e-4), "client_limited": False,
        "interval_usd_per_million_requests": pytest.approx([100 / 137.4762, 100 / 110.8656], rel=1e-4),
        "estimated": False, "emulated": False, "hostname": "box",
        "enforcements": [{"limit": "cores", "enforced": True, "how": "pinned"}],
        "could_not_run": None, "answers": None, "measured_alone": False,
    }  # fmt: skip
    assert told["default"]["config"] == {"batch": 2} and told["default"]["metrics"]["rps"] == pytest.approx(61.728)
    assert (told["direction"], told["at_least"]) == ("maximize", {})
    unknown = json.loads(write_files(result(tmp_path, None, math.nan), "")["recommendation"].read_text())
    assert unknown["default"] is None
    assert unknown["best"]["usd_per_hour"] is unknown["best"]["interval_usd_per_million_requests"] is None
    assert unknown["best"]["usd_per_million_requests"] is None


def test_a_program_can_tell_what_was_asked_for(tmp_path):
    """Of the file alone it can rebuild the objective, and so judge each trial as the study did."""
    asked = Objective(Expression("usd_per_hour"), minimize=True, at_most={"p99_ms": 50.0}, at_least={"rps": 20.0})
    told = json.loads(write_files(replace(result(tmp_path), objective=asked), "")["recommendation"].read_text())
    again = Objective(Expression(told["objective"]), told["direction"] == "minimize", told["limits"], told["at_least"])
    assert again == asked and told["direction"] == "minimize"


def test_what_is_said_of_a_configuration_in_the_file_is_all_that_its_trial_has(tmp_path):
    """No mark of a trial is left out because it has its usual value elsewhere."""
    kept = {"limit": "cores", "enforced": False, "how": "no"}
    found = result(tmp_path)
    used = (a_level(5.0, usage=Usage(cores_s=10.0, others_s=4.0)),)
    own: dict[str, Any] = {"client_limited": True, "enforcements": (kept,), "hostname": "other", "levels": used}
    marked = result_of_search(replace(trial(9, 2, usd_per_hour=0.5, interval_rps=(1.0, 200.0), **own), emulated=True))
    failed = result_of_search(trial(10, 1, **FAILED))
    told = json.loads(
        write_files(replace(found, best=marked, default=failed), "")["recommendation"].read_text(encoding="utf-8")
    )
    assert told["best"] == {
        "config": {"batch": 4}, "metrics": METRICS, "interval_rps": [1.0, 200.0], "usd_per_hour": 0.5,
        "trials": [9], "others_share": 0.4,
        "usd_per_million_requests": pytest.approx(1e6 * 0.5 / 3600 / 123.456), "client_limited": True,
        "interval_usd_per_million_requests": pytest.approx([1e6 * 0.5 / 3600 / 200, 1e6 * 0.5 / 3600]),
        "estimated": False, "emulated": True, "enforcements": [kept], "hostname": "other", "could_not_run": None,
        "answers": None, "measured_alone": False,
    }  # fmt: skip
    assert told["default"]["could_not_run"] == "OutOfMemory: no" and told["default"]["metrics"] == {}
