"""A run ranked again: against its own values, against fresh measurements under the new limit, and by hand."""

import math
import sys
from dataclasses import replace

import pytest
import yaml

from raytune_infer import recommend
from raytune_infer.commands.app import main
from raytune_infer.errors import AllFailed, RunError, UserError
from raytune_infer.ranking.recommendation import RunConditions, rank
from raytune_infer.report.recommendation_report import ranking_table
from raytune_infer.report.view import Quantity
from raytune_infer.report.words.ranked import notes, trials_needed
from raytune_infer.store.records import Outcome
from raytune_infer.store.run_folder import open_run
from searchers.objective import Expression, Objective
from serve_deployments.backend import OutOfMemory
from serve_deployments.resources.usage import Usage
from tests.raytune_infer.ranking.measured_runs import CONFIGS, SPEC, measured, write_run
from tests.raytune_infer.ranking.ranked_trials import level, ranked, trial
from tests.raytune_infer.report.shown_views import column

PEAK_SPEC = SPEC.replace("limits: {p99_ms: 100}", "load: {find: peak}")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "limited")


@pytest.fixture(scope="module")
def peak_run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "peak", PEAK_SPEC)


def trials_of(path):
    database, study = open_run(path).load()
    trials = database.trials(study)
    database.close()
    return trials


@pytest.mark.parametrize("which", ["run", "peak_run"])
def test_unchanged_it_says_what_the_run_said(which, request):
    path = request.getfixturevalue(which)
    found = recommend(path)
    own = sorted(trials_of(path), key=lambda t: -t.value)
    assert [r.config for r in found.ranked] == [t.config for t in own]
    assert [r.value for r in found.ranked] == pytest.approx([t.value for t in own])
    assert all(r.known.resolved for r in found.ranked) and not found.needed and not found.others
    assert found.untried == 0 and found.best.emulated


@pytest.mark.parametrize("limit", [50, 200])
def test_a_rate_that_levels_leave_open_is_predicted_from_what_batches_took(run, limit):
    found = recommend(run, limits={"p99_ms": limit})
    estimates = [r for r in (*found.ranked, *found.others) if r.known.estimate_rps and not r.known.resolved]
    assert len(estimates) >= 4
    for r in estimates:
        fresh = measured(r.config, {"p99_ms": limit}).metrics["rps"]
        assert r.known.estimate_rps == pytest.approx(fresh, rel=0.2), r.config
    elsewhere = recommend(run, limits={"p97_ms": limit})  # of percentiles that are not measured nothing is predicted
    assert not any(r.known.estimate_rps for r in elsewhere.others)


@pytest.mark.parametrize("limit", [35, 60, 250])
def test_a_fresh_measurement_under_the_new_limit_lies_where_the_curve_says(run, limit):
    found = recommend(run, limits={"p99_ms": limit})
    assert len(found.ranked) + len(found.others) == len(CONFIGS)
    tried = [r for r in (*found.ranked, *found.others) if r.config in CONFIGS[2:5]]
    # Of a looser limit both sides say something of the two that reached the run's own; of a stricter one, whose load no
    # level was light enough for, the upper side does of all; and never may no side.
    bounded = [r.config["cpu_cores"] for r in tried if r.known.at_least_rps > 0 and math.isfinite(r.known.at_most_rps)]
    assert bounded == ([2, 2] if limit == 250 else []) and len(tried) == 3
    assert all(r.known.at_least_rps > 0 or math.isfinite(r.known.at_most_rps) for r in tried)
    for r in tried:
        fresh = measured(r.config, {"p99_ms": limit}).metrics["rps"]
        # Two searches under different limits try different rates: each is good to the precision of 10 %, and so
        # is what is achieved of what is asked.
        assert 0.85 * r.known.at_least_rps <= fresh <= 1.15 * r.known.at_most_rps, r.config


@pytest.mark.parametrize("limit", [15, 25, 50, 100])
def test_so_do_clients_that_wait_for_their_answers(peak_run, limit):
    found = recommend(peak_run, limits={"p99_ms": limit})
    assert not found.arrivals and any("upper estimate" in note for note in notes(found))
    for r in (*found.ranked, *found.others):
        kept = [at.rate_rps for at in r.levels if at.value("p99_ms") <= limit]
        broken = [at.rate_rps for at in r.levels if at.value("p99_ms") > limit]
        # The rate that the most clients gave within the limit, but for what is a tie. No more is possible than levels
        # gave that broke it, or where none did than what more clients no longer raised.
        assert 0.98 * max(kept, default=0) <= r.known.at_least_rps <= max(kept, default=0) <= r.known.at_most_rps
        assert r.known.at_most_rps <= max(broken or kept) * (1 + 1e-9)


def test_prices_are_computed_again_from_the_knobs(run, tmp_path):
    (tmp_path / "book.yaml").write_text(
        yaml.safe_dump(
            {"name": "mine", "date": "2026-02-01", "source": "us", "cpu_core_usd_per_hour": 0.0,
             "base_usd_per_hour": 2.0, "gpu_usd_per_hour": {}}
        )
    )  # fmt: skip
    found = recommend(run, prices=tmp_path / "book.yaml")
    assert found.prices == "mine, 2026-02-01" and {r.usd_per_hour for r in found.ranked} == {2.0}
    # Cores for nothing: two of them win.
    assert found.best.config == {"cpu_cores": 2, "max_batch_size": 16}
    assert recommend(run).best.config == {"cpu_cores": 1, "max_batch_size": 16}


def test_another_goal_and_what_it_asks_at_least(run):
    found = recommend(run, minimize="usd_per_hour", at_least={"rps": 240})
    assert {(r.config["cpu_cores"], r.config["max_batch_size"]) for r in found.ranked} == {(1, 16), (2, 4), (2, 16)}
    assert found.best.config["cpu_cores"] == 1 and found.best.figure == pytest.approx(0.0425)
    assert all(r.known.at_least_rps < 240 for r in found.others)


def test_it_says_where_a_new_trial_could_change_the_answer_and_only_there():
    found = ranked(
        trial(1, 0, level(100, 10), level(200, 60)),  # the limit is crossed between; 200 would not win
        trial(2, 1, level(300, 20), level(310, 60)),  # the first, and known
        trial(3, 2, level(250, 15), level(500, 90)),  # could win
        trial(4, 3, level(400, 60)),  # no level kept the limit, but up to 400 one may
        trial(5, 4, level(150, 30)),  # nothing says that it cannot do more
        p99_ms=50,
    )
    assert [r.trials for r in found.ranked] == [(2,), (3,), (5,), (1,)]
    assert [r.trials for r in found.needed] == [(5,), (3,), (4,)] and found.untried == 3
    said = trials_needed(found)
    assert said[1].endswith("max_batch_size=16: above 150 requests/s")
    assert "max_batch_size=4: about 398.3 requests/s, between 250 and 500" in said[2]
    assert said[3].endswith("max_batch_size=8: below 400 requests/s")


def test_the_first_is_never_one_that_is_only_estimated():
    found = ranked(trial(1, 0, level(100, 10), level(1000, 60)), trial(2, 1, level(120, 49), level(125, 51)), p99_ms=50)
    assert found.best.trials == (2,) and found.needed[0].known.estimate_rps > 120


def test_a_trial_that_ended_early_is_not_taken_at_its_word():
    early = {"reported": 0, "ended_early": True, "interval_rps": (120.0, 260.0)}
    found = ranked(
        trial(1, 0, level(300, 49), level(320, 51), reported=0, interval_rps=(295.0, 310.0)),
        trial(2, 1, level(100, 10), level(500, 90), **early, rps=180.0),
        held_under=50, p99_ms=50,
    )  # fmt: skip
    table = ranking_table(found)
    assert found.ranked[0].known.resolved and not found.needed
    assert column(table, "rate_rps") == ["300.0 (295.0 to 310.0)", "≥ 100"]
    assert table.column("below_rps") == [None, 260] and table.column("estimate_rps") == [None, Quantity(180)]


def test_a_configuration_measured_again_is_one_configuration_with_both_curves():
    found = ranked(
        trial(1, 0, level(100, 10), level(150, 60)), trial(2, 0, level(120, 30), level(130, 70), purpose="final"),
        p99_ms=50,
    )  # fmt: skip
    [only] = found.ranked
    assert only.trials == (1, 2) and (only.known.at_least_rps, only.known.at_most_rps) == (120, 130)


def test_the_interval_of_a_rate_is_shown_where_it_is_the_replicas_and_not_that_of_the_arrivals():
    known = {"rate_low_rps": 97.0, "rate_high_rps": 103.0}
    peak = rank([trial(1, 0, level(100, 10, clients=4, **known))], Objective(Expression("rps")),
                RunConditions({}, 0.1, size=1))  # fmt: skip
    assert "(97.0 to 103.0)" in column(ranking_table(peak), "rate_rps")[0]
    found = ranked(trial(1, 0, level(100, 10, **known), level(105, 60)), p99_ms=50)
    assert column(ranking_table(found), "rate_rps") == ["100"]


def test_a_limit_on_the_price_needs_no_level():
    found = ranked(trial(1, 0, level(100, 10), usd=3.0), trial(2, 1, level(50, 10), usd=1.0), usd_per_hour=2)
    assert [r.trials for r in found.ranked] == [(2,)] and not found.needed


def test_what_failed_is_told_and_never_ranked(tmp_path):
    def refuses(settings):
        return OutOfMemory("16 do not fit") if settings.max_batch_size == 16 else None

    path = write_run(
        tmp_path / "run", configs=CONFIGS[1:3], measure=lambda config, at_most: measured(config, at_most, refuses)
    )
    found = recommend(path, limits={"p99_ms": 60})
    assert found.failed == {2: "OutOfMemory: 16 do not fit"} and found.untried == 4
    assert all(int(r.config["max_batch_size"]) < 16 for r in (*found.ranked, *found.others))
    nothing = write_run(tmp_path / "nothing", configs=CONFIGS[2:3], measure=lambda c, a: measured(c, a, refuses))
    with pytest.raises(AllFailed, match="no trial of .* was measured"):
        recommend(nothing)


def command(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["raytune-infer", "recommend", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def test_the_command_ranks_says_what_is_not_known_and_draws(run, tmp_path, monkeypatch, capsys):
    picture = tmp_path / "new" / "curves.svg"
    assert not command(monkeypatch, run, "--limit", "p99_ms=50", "--limit", "p90_ms=45", "--curve", picture)
    said = capsys.readouterr().out
    assert "p99_ms ≤ 50, p90_ms ≤ 45" in said and "as of the run (cloud-2026)" in said and "emulated" in said
    assert "Nothing measured surely keeps the limits" in said and ": about " in said and "could be ≈" in said
    drawn = picture.read_text()
    assert "limit of p99" in drawn and "(emulated)" in drawn and "max_batch_size=16" in drawn
    assert not command(monkeypatch, run, "--limit", "p99_ms=150")
    said = capsys.readouterr().out
    assert "≥ " in said and "A new trial could put another one first:" in said
    assert not command(monkeypatch, run, "--limit", "p99_ms=none")
    assert "rps / usd_per_hour  (prices" in capsys.readouterr().out


def test_a_picture_of_a_run_in_which_nothing_counts(run, tmp_path, monkeypatch):
    assert not command(monkeypatch, run, "--limit", "p99_ms=1", "--curve", tmp_path / "curves.svg")
    assert "limit of p99" in (tmp_path / "curves.svg").read_text()


def test_what_the_replica_did_is_shown_where_levels_know_it(tmp_path, monkeypatch, capsys):
    def with_usage(config, at_most):
        outcome = measured(config, at_most)
        usage = Usage(seconds=10, busy_s=7.3, batches={4: 10}, cpu_s=9.1, gpu_busy_s=1, gpu_seen_s=2)
        return Outcome(**{**vars(outcome), "levels": [replace(level, usage=usage) for level in outcome.levels]})

    path = write_run(tmp_path / "run", configs=CONFIGS[:1], measure=with_usage)
    assert not command(monkeypatch, path, "--curve", tmp_path / "curves.png")
    said = capsys.readouterr().out
    for figure in ("73%", "4.0", "0.91", "50%"):
        assert figure in said
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--limit", "p99=50"], "'p99' is not measured; there are rps, p50_ms"),
        (["--limit", "p99_ms"], "as in `--limit p99_ms=50`"),
        (["--limit", "p99_ms=fast"], "as in `--limit p99_ms=50`"),
        (["--limit", "=5"], "a metric and a number are needed"),
        (["--limit", "p99_ms=nan"], "a metric and a number are needed"),
        (["--limit", "p99_ms=-5"], "must be a number, 0 or more"),
        (["--limit", "p99_ms=5", "--limit", "p99_ms=6"], "names p99_ms twice"),
        (["--limit", "rps=100"], "`--at-least rps=…`"),
        (["--at-least", "speed=1"], "'speed' is not measured"),
        (["--maximize", "rps +"], "not an arithmetic expression"),
        (["--maximize", "rps / joules"], "'joules' is not measured"),
        (["--maximize", "rps", "--minimize", "p99_ms"], "give one goal"),
        (["--prices", "nowhere"], "no price book 'nowhere'"),
        (["--curve", "curves.pdf"], "ends with .svg or .png"),
    ],
)
def test_each_refusal_names_what_is_wrong(run, words, said, monkeypatch, capsys):
    assert command(monkeypatch, run, *words) == 1
    assert said in capsys.readouterr().err.replace("\n", " ")


def test_no_such_run(tmp_path):
    with pytest.raises(RunError, match="no run in"):
        recommend(tmp_path / "nowhere")


def test_a_price_that_is_not_known_matters_only_to_an_objective_with_prices(tmp_path):
    on_gpu = trial(1, 0, level(100, 10), usd=math.nan, config={"cpu_cores": 1, "gpu_type": "H100-SXM"})
    with pytest.raises(UserError, match="the run has none for trial 1 .*--prices"):
        ranked(on_gpu, goal="rps / usd_per_hour")
    from cluster.prices import load_prices

    with pytest.raises(UserError, match="no price for a H100-SXM"):
        ranked(on_gpu, goal="rps / usd_per_hour", book=load_prices("morphling-2021"))
    assert math.isnan(ranked(on_gpu, book=load_prices("morphling-2021")).best.usd_per_hour)
    [priced] = ranked(on_gpu, goal="rps / usd_per_hour", book=load_prices()).ranked
    assert priced.usd_per_hour == pytest.approx(6.20 + 0.0425)


def test_without_matplotlib_it_says_how_to_get_it(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert command(monkeypatch, run, "--curve", tmp_path / "curves.svg") == 1
    assert "pip install 'raytune-infer[draw]'" in capsys.readouterr().err
