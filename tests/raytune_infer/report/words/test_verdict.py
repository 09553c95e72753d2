"""What is said of a comparison: every word and number of it, from figures of which the answer is known by hand."""

import math
import re
from dataclasses import replace
from typing import Any

import pytest

from raytune_infer.comparing.comparison import compared
from raytune_infer.comparing.configuration_result import result_of_search
from raytune_infer.report.comparison_report import comparison_view, standings
from raytune_infer.report.view import View
from raytune_infer.report.words.values import interval, number
from raytune_infer.report.words.verdict import answer, answer_so_far, on_other_work, remarks
from searchers.objective import Expression, Objective
from searchers.space import Config
from serve_deployments.metrics.level_result import TOLERATED_SHARE
from serve_deployments.resources.usage import Usage
from tests.levels import a_level
from tests.raytune_infer.comparing.final_rounds import BROKEN, GOAL, answering_otherwise, finals, halves
from tests.raytune_infer.report.shown_views import headings, texts

FREE = Objective(Expression("rps"))


def mean(value: float, k: int, rounds: int) -> str:
    """A mean with its interval, as it is written."""
    half = math.exp(halves(k, rounds)[1])
    return number(value, value / half, value * half)


def cost(usd_per_hour: float, rps: float) -> str:
    """What a million requests cost at the mean of two configurations over two rounds, as it is written."""
    value, half = usd_per_hour / (3600 * rps) * 1e6, math.exp(halves(2, 2)[1])
    return number(value, value / half, value * half)


def over(value: float, k: int, rounds: int) -> str:
    """The interval of a ratio, as it is written."""
    half = math.exp(halves(k, rounds)[0])
    return f"(95 %: {interval(value, value / half, value * half)})"


def lines(comparison, objective=GOAL):
    """The table's cells in words, a list for each row."""
    return texts(standings(comparison, objective))


def test_a_clear_winner_over_the_default():
    comparison = compared(finals([(1, 100.0), (0, 50.0)], [(0, 50.0), (1, 100.0)], prices={0: 0.5}), GOAL, 0)
    said = (
        f"Run n=1: {mean(100, 2, 2)} requests/s; its rps is 2.00× the default's {over(2, 2, 2)}; "
        # A dollar an hour for 360 000 requests; half a dollar for 180 000.
        f"{cost(1, 100)} USD per million requests, the default {cost(0.5, 50)}"
    )
    assert answer(comparison, GOAL) == f"{said}; limits kept in 2 of 2 rounds"
    assert answer(comparison, FREE) == said and remarks(comparison, GOAL) == []
    ratio = math.exp(halves(2, 2)[0])
    assert lines(comparison) == [
        [mean(100, 2, 2), "–", "2", "2", "1.0000", "n=1", "recommended"],
        [mean(50, 2, 2), number(0.5, 0.5 / ratio, 0.5 * ratio), "2", "2", "0.5000", "n=0", "default"],
    ]
    table = standings(comparison, GOAL)
    assert table.title == "Measured side by side in 2 rounds (with intervals of 95 %)"
    assert headings(table) == [
        "rps", "× the recommended", "limits kept", "of rounds", "USD per hour", "configuration", ""
    ]  # fmt: skip
    assert [row.emphasis for row in table.rows] == ["best", ""]


@pytest.mark.parametrize(
    ("limited", "held_back", "most"),
    [
        ({0}, "the default", ("", "at most ")), ({1}, "it", ("at most ", "")),
        ({0, 1}, "it and the default", ("at most ", "at most ")),
    ],
)  # fmt: skip
def test_a_ratio_of_what_the_load_generator_held_back_says_so(limited, held_back, most):
    """A lower bound of a rate makes no gain over it a fact, and its price is the most that it may be."""
    trials = [
        replace(t, outcome=replace(t.outcome, client_limited=t.position in limited))
        for t in finals([(1, 100.0), (0, 50.0)], [(0, 50.0), (1, 100.0)], prices={0: 0.5})
    ]
    said = answer(compared(trials, GOAL, 0), GOAL)
    assert f" the default's {over(2, 2, 2)}, where the load generator held {held_back} back; " in said
    assert f"; {most[0]}{cost(1, 100)} USD per million requests, the default {most[1]}{cost(0.5, 50)}; " in said


@pytest.mark.parametrize(
    ("emulated", "given", "marks"),
    [
        (True, None, ", emulated"), (False, ("3", "3"), ", beside 3 copies of itself"), (False, None, ""),
        (True, ("0", "0"), ", emulated, measured alone"), (False, ("1", "3"), ", beside 1 copy of itself"),
    ],
)  # fmt: skip
def test_the_first_sentence_says_on_what_and_beside_what_its_rate_was_measured(emulated, given, marks):
    trials = finals([(1, 100.0), (0, 50.0)], [(0, 50.0), (1, 100.0)])
    if given is not None:
        counts = iter(given)
        told = [next(counts) if t.position == 1 else "3" for t in trials]
        trials = [
            replace(t, outcome=replace(t.outcome, enforcements=({"limit": "neighbours", "given": number},)))
            for t, number in zip(trials, told, strict=True)
        ]
    trials = [replace(t, emulated=emulated) for t in trials]
    assert answer(compared(trials, GOAL, 0), GOAL).startswith(f"Run n=1: {mean(100, 2, 2)} requests/s{marks}; its rps")
    searched = result_of_search(trials[0])
    assert answer_so_far(searched, compared((), GOAL, 0), GOAL).startswith("Best so far")
    assert ("emulated" in answer_so_far(searched, compared((), GOAL, 0), GOAL)) == emulated


def test_without_a_gpu_no_part_of_one_is_named_and_one_that_is_new_is():
    trials = finals([(1, 100.0), (0, 50.0)], [(0, 50.0), (1, 100.0)])
    none: Config = {"gpu_type": "none", "gpu_share": 0.5}
    shared: Config = {**none, "gpu_type": "T4"}
    for first, said in ((none, "Run gpu_type=none: "), (shared, "Run gpu_type=T4  gpu_share=0.5: ")):
        other = none if first is shared else shared
        mixed = [replace(t, config=first if t.position == 1 else other) for t in trials]
        assert answer(compared(mixed, GOAL, 0), GOAL).startswith(said)
        assert [row[-2] for row in lines(compared(mixed, GOAL, 0))].count("gpu_type=none") == 1


def test_only_the_knobs_that_differ_from_the_default_are_named():
    trials = finals([(1, 100.0), (0, 50.0)], [(0, 50.0), (1, 100.0)])
    two = [replace(t, config={**t.config, "cores": 2}) for t in trials]
    assert answer(compared(two, GOAL, 0), GOAL).startswith("Run n=1, the rest as in the default: ")
    assert answer(compared(two, GOAL, None), GOAL).startswith("Run n=1  cores=2: ")


def test_the_default_is_kept_where_it_is_the_best():
    comparison = compared(finals([(1, 50.0), (0, 100.0)], [(0, 100.0), (1, 50.0)]), GOAL, 0)
    assert answer(comparison, GOAL) == (
        f"Keep the default, n=0: {mean(100, 2, 2)} requests/s; {cost(1, 100)} USD per million requests; rps of the "
        f"best of the others, n=1, is 0.500× as much {over(0.5, 2, 2)}; limits kept in 2 of 2 rounds"
    )
    assert remarks(comparison, GOAL) == []
    assert [row[-1] for row in lines(comparison)] == ["default, recommended", ""]


def test_the_default_is_kept_where_the_best_cannot_be_told_from_it_and_what_is_cheaper_is_named():
    comparison = compared(finals([(1, 101.0), (0, 100.0)], [(0, 100.0), (1, 101.0)], prices={0: 2.0}), GOAL, 0)
    said = answer(comparison, GOAL)
    assert said.startswith(f"Keep the default, n=0: {mean(100, 2, 2)} requests/s; ")
    assert f"n=1, is 1.01× as much {over(1.01, 2, 2)}, so the two cannot be told apart; limits kept" in said
    assert remarks(comparison, GOAL) == [
        "n=1 cannot be told apart from the default and is cheaper (1 against 2 USD per hour)"
    ]
    assert [row[-1] for row in lines(comparison)] == ["best mean", "default, recommended"]


def test_of_what_is_exact_no_interval_is_said_and_what_is_equal_is_the_same():
    goal = Objective(Expression("usd_per_hour"), minimize=True)
    for usd, said in (
        (1.0, "Keep the default, n=0: .*; usd_per_hour of the best of the others, n=1, is the same$"),
        (2.0, "Keep the default, n=0: .*; usd_per_hour of the best of the others, n=1, is 2× as much$"),
        (0.9, "Run n=1: .*; its usd_per_hour is 0.9× the default's; "),
    ):
        trials = finals([(1, 50.0), (0, 100.0)], [(0, 99.0), (1, 51.0)], prices={1: usd}, objective=goal)
        assert re.match(said, answer(compared(trials, goal, 0), goal))
    trials = finals([(1, 50.0), (2, 60.0)], [(2, 70.0), (1, 51.0)], objective=goal)
    assert remarks(compared(trials, goal, None), goal) == [
        "usd_per_hour of the first and the second is the same; none of these is cheaper than the first, which is "
        "recommended"
    ]
    goal = Objective(Expression("answers_same"))
    trials = finals(*[[(1, 50.0), (0, 60.0)]] * 2, prices={1: 0.5}, objective=goal, same={1: [0.9] * 2, 0: [0.9] * 2})
    assert remarks(compared(trials, goal, 0), goal) == [
        "n=1 has the same answers_same as the default and is cheaper (0.5 against 1 USD per hour)"
    ]


def test_of_three_alike_the_cheapest_and_how_much_it_saves():
    trials = finals(*[[(1, 102.0), (2, 101.0), (3, 100.0), (0, 50.0)]] * 2, prices={1: 1.5, 2: 1.25, 3: 0.125})
    comparison = compared(trials, GOAL, 0)
    assert f"; its rps is 2.00× the default's {over(2, 4, 2)}; " in answer(comparison, GOAL)
    assert remarks(comparison, GOAL) == [
        f"rps of the first is 1.010× that of the second {over(102 / 101, 4, 2)}, so they cannot be told apart; the "
        "cheaper is recommended (0.125 against 1.5 USD per hour)"
    ]
    assert [(row[-2], row[-1]) for row in lines(comparison)] == [
        ("n=1", "best mean"), ("n=2", "tied with the first"), ("n=3", "recommended"), ("n=0", "default")
    ]  # fmt: skip
    # Ratios are to the recommended, not to the first.
    assert [row[1].split(" ")[0] for row in lines(comparison)] == ["1.020", "1.010", "–", "0.500"]


DIFFER = "answers differ from the default's: 25% the same"


def test_who_answers_otherwise_is_marked_wherever_it_is_named():
    """As the best of the others, as a cheaper one, as what to run, and in the table, which says who is the first."""
    trials = finals([(1, 101.0), (0, 100.0)], [(0, 100.0), (1, 101.0)], prices={0: 2.0})
    kept = compared(answering_otherwise(trials, 1), GOAL, 0)
    assert f"rps of the best of the others, n=1 ({DIFFER}), is 1.01× as much" in answer(kept, GOAL)
    assert remarks(kept, GOAL)[0].startswith(f"n=1 ({DIFFER}) cannot be told apart from the default and is cheaper")
    assert [row[-1] for row in lines(kept)] == [f"best mean, {DIFFER}", "default, recommended"]
    three = finals(*[[(1, 102.0), (2, 101.0), (3, 100.0), (0, 50.0)]] * 2, prices={1: 1.5, 2: 1.25, 3: 0.125})
    second = remarks(compared(answering_otherwise(three, 2), GOAL, 0), GOAL)[0]
    assert second.startswith("rps of the first is 1.010× that of the second (95 %")
    first = compared(answering_otherwise(three, 1, 3), GOAL, 0)
    assert answer(first, GOAL).startswith(f"Run n=3 ({DIFFER}): ")
    assert [row[-1] for row in lines(first)] == [
        f"best mean, {DIFFER}", "tied with the first", f"recommended, {DIFFER}", "default"
    ]  # fmt: skip


def test_one_round_in_which_answers_differ_is_enough_for_the_mark():
    first, *later = finals(*[[(1, 100.0), (0, 50.0)]] * 2)
    assert answer(compared([*answering_otherwise([first], 1), *later], GOAL, 0), GOAL).startswith(f"Run n=1 ({DIFFER})")


def test_the_second_differs_from_the_first_and_a_third_of_fewer_rounds_does_not():
    trials = finals(*[[(1, 100.0), (2, 93.0)]] * 4, [(3, 92.5), (1, 100.0)], prices={3: 0.5})
    comparison = compared(trials, GOAL, None)
    assert [c.position for c in comparison.counting] == [1, 2, 3]
    assert [c.position for c in comparison.alike] == [1, 3]
    [said] = remarks(comparison, GOAL)
    assert said.startswith("rps of the first is 1.075× that of the second (95 %: 1.") and said.endswith(
        "), but not all can be told apart from it; the cheaper is recommended (0.5 against 1 USD per hour)"
    )


def test_rounds_that_never_met_do_not_replace_the_default():
    """The run was killed between two rounds of one configuration each."""
    trials = [*finals([(1, 100.0)]), *finals([(0, 50.0)], first=3)]
    comparison = compared(trials, GOAL, 0)
    assert comparison.rounds == 2 and not comparison.ratio(*comparison.counting).bounded
    said = answer(comparison, GOAL)
    assert said.startswith("Keep the default, n=0: ") and said.endswith("; limits kept in 1 of 1 round")
    assert "× as much (no interval: too few rounds), so the two cannot be told apart" in said
    assert not any("(" in cell or "to" in cell for row in lines(comparison) for cell in row[:2])


def test_who_does_not_count_has_no_figure_and_a_reason():
    trials = finals([(1, None), (2, 90.0, BROKEN), (0, 50.0)], [(0, 50.0), (2, 90.0, BROKEN)], prices={2: math.nan})
    comparison = compared(trials, GOAL, 0)
    assert [row[:5] + row[6:] for row in lines(comparison)] == [
        [lines(comparison)[0][0], "–", "2", "2", "1.0000", "default, recommended"],
        ["–", "–", "0", "1", "1.0000", "could not run"],
        ["–", "–", "0", "2", "–", "does not count"],
    ]
    assert "; none of the others that were compared counts; " in answer(comparison, GOAL)
    nobody = compared(finals([(0, 50.0, BROKEN)]), GOAL, 0)
    assert answer(nobody, GOAL) == "" and [row[-1] for row in lines(nobody)] == ["default, does not count"]
    assert standings(nobody, GOAL).title.startswith("Measured side by side in 1 round (")


def test_without_a_default_that_counts_there_is_no_ratio():
    comparison = compared(finals([(1, 100.0), (0, 50.0, BROKEN)], prices={0: math.nan, 1: math.nan}), GOAL, 0)
    assert answer(comparison, GOAL).endswith(
        " requests/s; the default kept its limits in 0 of 1 round, so there is no ratio to it; limits kept in 1 of 1 "
        "round"
    )
    alone = answer(compared(finals([(1, 100.0)]), GOAL, None), GOAL)
    assert "; the default was not measured, so there is nothing to compare it with; " in alone


def shared(*shares: float | None) -> list[Any]:
    """Two rounds of two, of whose cores other processes used these shares."""
    trials = finals([(1, 100.0), (0, 50.0)], [(0, 50.0), (1, 100.0)])
    usages = [None if share is None else Usage(cores_s=10.0, others_s=10 * share) for share in shares]
    levels = [(a_level(50.0, usage=usage),) for usage in usages]
    return [replace(t, outcome=replace(t.outcome, levels=at)) for t, at in zip(trials, levels, strict=True)]


def test_a_machine_that_was_not_its_own_is_named_with_the_share_and_what_it_means():
    quiet = compared(shared(0.01, 0.02, None, 0.049), GOAL, 0)
    assert TOLERATED_SHARE == 0.05 and on_other_work(quiet) is None
    assert "cores used by other processes" not in headings(standings(quiet, GOAL))
    steady = compared(shared(0.6, 0.62, 0.6, 0.58), GOAL, 0)
    assert on_other_work(steady) == (
        "The machine was not its own: other processes used 58% to 62% of the cores in 4 of 4 measurements of the "
        "comparison, so alone on it each rate would be higher than stated; within each round their share was about "
        "the same, so the ratios hold"
    )
    once = compared(shared(0.02, 0.3, 0.0, 0.01), GOAL, 0)
    assert on_other_work(once) == (
        "The machine was not its own: other processes used 30% of the cores in 1 of 4 measurements of the "
        "comparison, so alone on it each rate would be higher than stated; within a round their share differed by up "
        "to 28% of the cores, so the ratios are less sure than their intervals: repeat the study when the machine is "
        "quiet before you rely on them"
    )
    table = standings(once, GOAL)
    assert [cell for cell in table.column("others_share") if isinstance(cell, float)] == pytest.approx([0.015, 0.15])
    assert [note.kind for note in comparison_view(once, GOAL).notes] == ["warning"]


def test_before_the_comparison_the_best_of_the_search_is_named_as_what_it_is():
    from raytune_infer.study.result import best_of

    [trial] = [replace(t, purpose="search") for t in finals([(1, 100.0)])]
    nothing = compared([trial], GOAL, 0)
    assert answer_so_far(best_of([trial], nothing), nothing, GOAL) == (
        "Best so far, not yet compared with the default: n=1: 100 requests/s"
    )
    assert answer_so_far(None, nothing, GOAL) == ""
    outcome = replace(
        trial.outcome,
        client_limited=True,
        interval_rps=(95.0, 204.0),
        levels=(a_level(100.0, steady=False),),
        reported=0,
    )
    lower = answer_so_far(best_of([replace(trial, outcome=outcome)], nothing), nothing, GOAL)
    assert lower.endswith(": n=1: at least about 100.0 (95.0 to 204.0) requests/s")
    otherwise = answer_so_far(best_of(answering_otherwise([trial], 1), nothing), nothing, GOAL)
    assert f": n=1 ({DIFFER}): 100 requests/s" in otherwise


def test_where_there_was_no_round_there_is_nothing_to_see():
    assert comparison_view(compared([], GOAL, None), GOAL) == View()
    view = comparison_view(compared(finals([(1, 100.0)]), GOAL, None), GOAL)
    assert [table.name for table in view.tables] == ["comparison"] and view.notes == ()
