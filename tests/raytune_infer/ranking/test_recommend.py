"""What `recommend` takes from a run beside its trials: limits, precision, arrivals and prices of its service.yaml."""

from pathlib import Path
from typing import Any

import pytest

from raytune_infer import recommend
from raytune_infer.ranking import known_rates
from raytune_infer.report.recommendation_report import ranking_table, recommendation_view
from raytune_infer.store.records import Outcome
from serve_deployments.load.arrivals import CONSTANT, POISSON, Renewal, Trace
from tests.raytune_infer.ranking.measured_runs import CONFIGS, SPEC, write_run
from tests.raytune_infer.ranking.ranked_trials import level
from tests.raytune_infer.report.shown_views import column


@pytest.fixture
def run(tmp_path):
    """A service.yaml of which one configuration was measured, in levels of (requests/s, p99) → its run."""

    def written(old: str = "", new: str = "", levels=((100.0, 49.0),)):
        assert old in SPEC

        def measure(config, at_most) -> Outcome:
            loads = tuple(level(*at, started_at=0.0, ended_at=3.0) for at in levels)
            return Outcome({"rps": 100.0, "p99_ms": 49.0}, levels=loads, reported=0, interval_rps=(80.0, 130.0))

        folder = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        return write_run(folder, SPEC.replace(old, new, 1), CONFIGS[:1], measure=measure)

    return written


@pytest.mark.parametrize(("load", "resolved"), [("precision: 0.2", False), ("rate_precision: 0.2", True)])
def test_a_rate_is_known_once_two_levels_are_as_near_as_the_rate_was_to_be(run, load, resolved):
    """Kept at 100, broken at 118: a new trial of the same precision would find nothing between them."""
    path = run("limits:", f"load: {{{load}}}\nlimits:", levels=((100.0, 49.0), (118.0, 130.0)))
    [found] = recommend(path, limits={"p99_ms": 60}).ranked
    assert found.known.resolved is resolved and (found.known.at_least_rps, found.known.at_most_rps) == (100, 118)


@pytest.mark.parametrize(
    ("limits", "asked", "said"),
    [
        ("p99_ms: 100", {}, "100 (80 to 130)"),
        ("p99_ms: 100, usd_per_hour: 5", {}, "100 (80 to 130)"),  # what no load can keep changes nothing of it
        ("p99_ms: 100, error_rate: 0.1, usd_per_hour: 5", {}, "100 (80 to 130)"),
        ("p99_ms: 100, usd_per_hour: 5", {"usd_per_hour": 4}, "100 (80 to 130)"),
        ("p99_ms: 100, usd_per_hour: 5", {"usd_per_hour": None}, "100 (80 to 130)"),
        ("p99_ms: 100, usd_per_hour: 5", {"p99_ms": 60}, "≥ 100"),
        ("p99_ms: 100, error_rate: 0.1", {"error_rate": 0.2}, "100 (80 to 130)"),  # nothing failed
    ],
)
def test_under_the_limits_that_a_load_was_held_under_the_trials_own_answers_stand(run, limits, asked, said):
    path = run("p99_ms: 100", limits, levels=((100.0, 49.0), (118.0, 130.0)))
    assert column(ranking_table(recommend(path, limits=asked)), "rate_rps") == [said]


@pytest.mark.parametrize(
    ("prices", "name"),
    [("", "cloud-2026"), ("prices: morphling-2021\n", "morphling-2021"), ("prices: mine.yaml\n", "mine.yaml")],
)
def test_prices_are_called_what_the_run_called_them(run, prices, name):
    """The file need not be there any more."""
    path = run("limits:", f"{prices}limits:")
    assert recommend(path).prices == f"as of the run ({name})"
    assert recommend(path, prices="morphling-2021").prices.startswith("morphling-2021, 20")


@pytest.mark.parametrize(
    ("arrivals", "pattern"),
    [
        ("poisson", POISSON), ("constant", CONSTANT), ("{gamma: {cv: 2}}", Renewal(2.0)),
        ("{trace: kept.csv}", Trace((0.0, 1.0, 3.5))), ("{trace: gone.csv}", None),
    ],
)  # fmt: skip
def test_rates_are_predicted_for_the_runs_own_arrivals_and_for_no_others(run, tmp_path, monkeypatch, arrivals, pattern):
    """Of a trace that is gone nothing is known: neither is it Poisson's."""
    (tmp_path / "kept.csv").write_text("0\n1\n3.5\n")
    asked: list[Any] = []

    def predicted_rps(trials, at_most, arrivals):
        asked.append((at_most, arrivals))
        return 110.0

    monkeypatch.setattr(known_rates, "predicted_rps", predicted_rps)
    monkeypatch.chdir(tmp_path)  # the run's folder is "."
    path = run("limits:", f"load: {{arrivals: {arrivals}}}\nlimits:")
    [found] = recommend(path, limits={"p99_ms": 60}).ranked
    assert found.known.estimate_rps == (None if pattern is None else 110.0)
    assert asked == ([] if pattern is None else [({"p99_ms": 60}, pattern)])


def test_what_was_not_tried_is_counted_where_the_run_says_how_many_there_are(run):
    assert recommend(run()).untried == 5


@pytest.fixture(scope="module")
def without_errors(tmp_path_factory) -> Path:
    """A run whose limit on errors bound nothing, with a final comparison."""
    text = SPEC.replace("p99_ms: 100", "p99_ms: 100, error_rate: 0.01")
    folder = tmp_path_factory.mktemp("runs") / "run"
    return write_run(folder, text, CONFIGS[:3], again=[CONFIGS[0], CONFIGS[2], CONFIGS[2], CONFIGS[0]])


@pytest.mark.parametrize("more", [{}, {"maximize": "rps"}, {"prices": "morphling-2021"}])
@pytest.mark.parametrize("lifted", [{"error_rate": None}, {"error_rate": 0.5}, {"max_ms": 1e6}])
def test_a_limit_that_bound_nothing_is_lifted_and_the_answer_is_the_same(without_errors, more, lifted):
    """Nothing failed: the rounds of the comparison, or the levels of those that took no part, decide as before."""
    one, other = recommend(without_errors, **more), recommend(without_errors, limits=lifted, **more)
    assert other.objective != one.objective
    assert (other.ranked, other.others, other.best_is_default) == (one.ranked, one.others, one.best_is_default)
    assert (other.comparison is None) == (one.comparison is None)
    assert recommendation_view(other).answer == recommendation_view(one).answer


@pytest.mark.parametrize("lifted", [{"error_rate": None}, {"error_rate": 0.5}, {"max_ms": 1e6}])
def test_so_it_is_beside_a_limit_that_does_bind(without_errors, lifted: dict[str, Any]):
    limits = {"p99_ms": 60}
    one, other = recommend(without_errors, limits=limits), recommend(without_errors, limits={**limits, **lifted})
    assert (other.ranked, other.others) == (one.ranked, one.others)
