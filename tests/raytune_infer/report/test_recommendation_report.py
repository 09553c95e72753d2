"""A ranking as people read it: every cell and sentence, from rankings written by hand."""

import math
from dataclasses import replace
from typing import Any

import pytest

from raytune_infer.comparing.comparison_schedule import Left
from raytune_infer.ranking.ranked import Ranked
from raytune_infer.ranking.rate_bounds import RateBounds
from raytune_infer.ranking.recommendation import Recommendation
from raytune_infer.report import level_figures
from raytune_infer.report.figures import EMULATED, EMULATED_NOTE, ESTIMATE_NOTE
from raytune_infer.report.recommendation_report import possible, ranking_table, recommendation_view, remarks
from raytune_infer.report.renderers.cell_text import cell_text
from raytune_infer.report.view import Column, Note, Quantity
from raytune_infer.report.words.ranked import asked, notes, trials_needed, where, why_not
from searchers.objective import Expression, Objective
from serve_deployments.resources.usage import Usage
from tests.levels import a_level
from tests.raytune_infer.report.shown_views import headings, texts

GOAL = Objective(Expression("rps / usd_per_hour"), at_most={"p99_ms": 50.0})
KEPT = a_level(100.0, values={"p99_ms": 40.0, "p50_ms": 10.0})


def ranked(known: RateBounds, *, batch: int = 1, trials=(1,), value: float | None = 50.0, usd=2.0, **more) -> Ranked:
    figure = math.nan if value is None else value
    values: dict[str, Any] = {"figure": figure, "could_be": value, "failures": {}, "emulated": False, **more}
    return Ranked({"batch": batch}, trials, (), known, usd, value=value, **values)


def found(
    *first: Ranked, others=(), objective=GOAL, arrivals=True, failed=None, untried: int | None = 0
) -> Recommendation:
    return Recommendation(objective, "mine", arrivals, first, tuple(others), failed or {}, untried)


SURE = ranked(RateBounds(KEPT, 110.0, True))
OPEN = ranked(RateBounds(KEPT, 200.0, False, 150.0), batch=2, trials=(2, 5), value=40.0, could_be=60.0)
NEVER = ranked(RateBounds(None, 0.0, True), batch=4, trials=(3,), value=None, usd=math.nan)
HOPED = ranked(RateBounds(None, 80.0, False), batch=8, trials=(4,), value=None, could_be=40.0)


def lines(of: Recommendation) -> list[list[str]]:
    return texts(ranking_table(of))


def rate(r: Ranked) -> str:
    return cell_text(Column("rate_rps", kind="quantity"), level_figures.rate(r))


def test_what_the_ranking_is_by_is_on_one_line():
    assert asked(found()) == "most rps / usd_per_hour, p99_ms ≤ 50"
    cheapest = Objective(Expression("usd_per_hour"), minimize=True, at_least={"rps": 240.0})
    assert asked(found(objective=cheapest)) == "least usd_per_hour, rps ≥ 240"


def test_the_table_has_those_that_count_then_the_others_and_why_not():
    everything = found(SURE, OPEN, others=(HOPED, NEVER))
    table = ranking_table(everything)
    assert headings(table) == [
        "", "configuration", "requests/s", "could be <, requests/s", "could be ≈, requests/s", "remarks", "p99, ms",
        "USD/hour", "USD per million", "rps / usd_per_hour",
    ]  # fmt: skip
    # 2 USD an hour for 100 requests/s: 2 / 360,000 of a request, 5.556 of a million.
    assert lines(everything) == [
        ["1", "batch=1", "100", "–", "–", "", "40", "2", "5.556", "50"],
        ["2", "batch=2", "≥ 100", "200", "150", "", "40", "2", "≤ 5.556", "40"],
        ["–", "batch=8", "–", "80", "–", "no rate surely kept the limits", "–", "2", "–", "–"],
        ["–", "batch=4", "–", "–", "–", "breaks a limit at any load", "–", "–", "–", "–"],
    ]
    assert [row.emphasis for row in table.rows] == ["best", "", "doubtful", "doubtful"]
    assert table.title == ""


def test_the_view_has_what_the_ranking_is_by_what_to_know_and_which_trials_could_change_it():
    view = recommendation_view(found(SURE, OPEN, others=(HOPED,)))
    assert (view.title, view.subtitle) == ("most rps / usd_per_hour, p99_ms ≤ 50", "(prices: mine)")
    assert [table.name for table in view.tables] == ["ranking"]
    assert [note.kind for note in view.notes] == ["remark", "remark", "remark", "conclusion", "remark"]
    assert view.notes[3:] == (
        Note("A new trial could put another one first:", "conclusion"),
        Note("batch=2: about 150 requests/s, between 100 and 200"),
    )


def test_without_a_limit_on_a_latency_the_p99_is_shown_and_with_several_each():
    objective = Objective(Expression("rps"), at_most={"error_rate": 0.1})
    assert headings(ranking_table(found(SURE, objective=objective)))[6:7] == ["p99, ms"]
    objective = Objective(Expression("rps"), at_most={"p50_ms": 20.0, "p99_ms": 50.0})
    assert lines(found(SURE, objective=objective))[0][6:8] == ["10", "40"]


def test_what_the_replica_did_stands_beside_where_it_is_known():
    usage = Usage(seconds=10, busy_s=7.3, batches={4: 10}, cpu_s=9.1, gpu_busy_s=1, gpu_seen_s=2)
    used = replace(KEPT, usage=usage)
    everything = found(SURE, ranked(RateBounds(used, 110.0, True)), others=(NEVER,))
    assert headings(ranking_table(everything))[7:11] == ["model busy", "batch", "cores", "GPU"]
    assert [row[7:11] for row in lines(everything)] == [["–"] * 4, ["73%", "4.0", "0.91", "50%"], ["–"] * 4]
    without_gpu = replace(KEPT, usage=Usage(seconds=10, busy_s=7.3, batches={4: 10}, cpu_s=9.1))
    assert lines(found(ranked(RateBounds(without_gpu, 110.0, True))))[0][10] == "–"


def test_of_emulated_devices_the_table_says_so():
    emulated = ranked(RateBounds(None, 0.0, True), value=None, emulated=True)
    assert ranking_table(found(SURE, others=(emulated,))).title == EMULATED
    assert EMULATED_NOTE in notes(found(SURE, others=(emulated,))) and EMULATED_NOTE not in notes(found(SURE))


def test_a_rate_says_whether_more_is_possible_and_whether_it_is_an_estimate():
    shaky = replace(KEPT, steady=False, rate_low_rps=90.0, rate_high_rps=111.16)
    assert rate(ranked(RateBounds(KEPT, 110.0, True))) == "100"
    assert rate(ranked(RateBounds(KEPT, math.inf, False))) == "≥ 100"
    assert rate(ranked(RateBounds(shaky, math.inf, False))) == "≥ ~100"  # its interval is that of the arrivals
    assert rate(ranked(RateBounds(shaky, 110.0, True, interval_rps=(97.0, 103.0)))) == "~100.0 (97.0 to 103.0)"
    closed = replace(shaky, mode="closed", concurrency=8)
    assert rate(ranked(RateBounds(closed, 110.0, True, interval_rps=closed.interval_rps))) == "~100 (90 to 111)"
    assert rate(NEVER) == "–"


def test_what_else_a_rate_could_be():
    assert possible(SURE) == (None, None) and possible(OPEN) == (200.0, Quantity(150.0))
    unbounded = ranked(RateBounds(KEPT, math.inf, False, 123.45678))
    assert possible(unbounded) == (None, Quantity(123.45678)) and remarks(found(), unbounded) == "no bound"
    assert remarks(found(), SURE) is remarks(found(), OPEN) is None
    known = RateBounds(KEPT, 200.0, False, 150.0, estimate_interval_rps=(140.0, 160.0))
    assert possible(ranked(known)) == (200.0, Quantity(150.0, 140.0, 160.0))
    hopeful = ranked(RateBounds(None, math.inf, False), value=None)
    assert remarks(found(), hopeful) == "no bound, no rate surely kept the limits"


def test_why_a_configuration_does_not_count():
    objective = Objective(Expression("rps"), at_most={"p99_ms": 50.0, "usd_per_hour": 1.0}, at_least={"rps": 240.0})
    everything = found(objective=objective)
    assert why_not(everything, SURE) == "usd_per_hour > 1, rps < 240"
    assert why_not(everything, ranked(RateBounds(KEPT, 110.0, True), usd=0.5)) == "rps < 240"
    assert why_not(found(objective=Objective(Expression("rps / joules"))), SURE) == "rps / joules has no value"
    slow = a_level(100.0, values={"p99_ms": 60.0, "p50_ms": 10.0})
    assert why_not(found(), ranked(RateBounds(slow, 110.0, True))) == "p99_ms > 50"
    assert (
        why_not(found(), NEVER) == "breaks a limit at any load"
        and why_not(found(), HOPED) == "no rate surely kept the limits"
    )


@pytest.mark.parametrize(
    ("known", "why"),
    [
        (RateBounds(None, 80.0, False), "no rate surely kept the limits"),
        (RateBounds(None, 80.0, False, alone=KEPT), "no rate surely kept the limits"),
        (
            RateBounds(None, 80.0, False, contradicted=1, alone=KEPT),
            "one level kept the limits, but at least as many at lower rates broke them",
        ),
        (
            RateBounds(None, 80.0, False, contradicted=5),
            "5 levels kept the limits, but at least as many at lower rates broke them",
        ),
    ],
)
def test_levels_that_kept_the_limits_are_not_denied_where_none_is_believed(known, why):
    unsure = ranked(known, value=None)
    assert why_not(found(), unsure) == why and notes(found(others=(unsure,))) == []


def starts(*words: str, of: Recommendation) -> bool:
    said = notes(of)
    return len(said) == len(words) and all(note.startswith(word) for note, word in zip(said, words, strict=True))


def test_each_thing_to_know_is_said_once_and_only_where_it_is_so():
    assert notes(found(SURE)) == [] and notes(found(SURE, untried=None)) == []
    assert starts("the run looked for the peak: rates are closed-loop", of=found(SURE, arrivals=False))
    at_least = ranked(RateBounds(KEPT, 200.0, False))
    assert starts("≥: that rate kept the limits", "≤: the cost at", of=found(SURE, at_least))
    assert starts("≥: that rate kept the limits", of=found(SURE, replace(at_least, usd_per_hour=math.nan)))
    assert starts("≥: that", "≤: the cost at", "≈: an estimate, not used for ranking", of=found(OPEN, OPEN))
    assert notes(found(SURE, others=(NEVER, HOPED))) == []
    shaky = replace(KEPT, steady=False)
    assert notes(found(ranked(RateBounds(shaky, 110.0, True)), others=(NEVER,))) == [ESTIMATE_NOTE]
    assert notes(found(SURE, untried=7)) == [
        "7 configurations of the space were never tried: they are at most predicted"
    ]
    assert notes(found(SURE, untried=1)) == ["1 configuration of the space was never tried: it is at most predicted"]


def test_what_happened_to_a_trial_is_said_with_its_number():
    limited = ranked(RateBounds(KEPT, math.inf, True, client_limited=True), trials=(2, 5))
    assert notes(found(limited)) == ["trials 2, 5: the load generator was the bottleneck, the replica may do more"]
    for count, words in ((1, "one level contradicts"), (3, "3 levels contradict")):
        odd = ranked(RateBounds(KEPT, 110.0, True, contradicted=count), trials=(6,))
        assert notes(found(odd)) == [f"trial 6: {words} the others, by chance or because batches fill better"]
    again = ranked(RateBounds(KEPT, 110.0, True), failures={9: "Died: later", 3: "Died: it did"})
    assert notes(found(again, failed={4: "OutOfMemory: 16"})) == [
        "trial 3 of the configuration of trial 1 could not run: Died: it did",
        "trial 9 of the configuration of trial 1 could not run: Died: later",
        "trial 4 could not run: OutOfMemory: 16",
    ]


def test_which_trials_could_change_the_answer():
    assert trials_needed(found(SURE)) == [
        "No new trial of a configuration that was measured could put another one first."
    ]
    assert trials_needed(replace(found(SURE), left=Left(2, 4))) == [
        "The rest of the comparison could put another one first: `tune --resume` goes on with it."
    ]
    assert trials_needed(found(others=(NEVER,))) == ["None of the configurations that were measured keeps the limits."]
    assert trials_needed(found(SURE, OPEN, others=(HOPED,))) == [
        "A new trial could put another one first:", "batch=2: about 150 requests/s, between 100 and 200"
    ]  # fmt: skip
    assert trials_needed(found(others=(HOPED, NEVER))) == [
        "Nothing measured surely keeps the limits; new trials would show whether these do:",
        "batch=8: below 80 requests/s",
    ]


ALONE = a_level(clients=1, achieved_rps=42.0, values={})


@pytest.mark.parametrize(
    ("known", "says"),
    [
        (RateBounds(KEPT, math.inf, False), "above 100 requests/s"),
        (RateBounds(KEPT, math.inf, False, 150.0), "above 100 requests/s, about 150"),
        (
            RateBounds(KEPT, math.inf, False, client_limited=True),
            "above 100 requests/s, with more cores for the load generator",
        ),
        (RateBounds(None, math.inf, False), "at any rate, as no level gives a bound"),
        (RateBounds(None, math.inf, False, 150.0), "at any rate, as no level gives a bound"),
        (RateBounds(KEPT, 400.0, False), "about 200 requests/s, between 100 and 400"),  # the geometric mean
        (RateBounds(KEPT, 400.0, False, 150.0), "about 150 requests/s, between 100 and 400"),
        (RateBounds(None, 80.0, False), "below 80 requests/s"),
        (RateBounds(None, 80.0, False, 60.0), "about 60 requests/s, below 80"),
        (RateBounds(None, 80.0, False, alone=ALONE), "below 80 requests/s; one client alone kept the limits at 42"),
        (RateBounds(None, 80.0, False, alone=a_level(clients=4, achieved_rps=42.0, values={})),
         "below 80 requests/s; 4 clients, each waiting for its answer, kept the limits at 42"),
    ],
)  # fmt: skip
def test_at_which_load_a_new_trial_should_look(known, says):
    assert where(ranked(known), arrivals=True) == says


@pytest.mark.parametrize(
    ("clients", "says"),
    [
        ((16, 32), "between 16 and 32 clients (below 80 requests/s)"),
        ((16, None), "more than 16 clients (below 80 requests/s)"),
        ((None, 8), "fewer than 8 clients (below 80 requests/s)"),
        (None, "below 80 requests/s"),
    ],
)
def test_a_load_of_clients_is_named_by_their_number(clients, says):
    assert where(ranked(RateBounds(None, 80.0, False, clients=clients)), arrivals=False) == says
    assert where(ranked(RateBounds(None, 80.0, False, clients=clients)), arrivals=True) == "below 80 requests/s"
