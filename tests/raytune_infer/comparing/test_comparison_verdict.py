"""What is said of a comparison: every word and number of it, from figures of which the answer is known by hand."""

import json
import math
from typing import Any

import pytest
from scipy import stats

from raytune_infer.comparing.blocks import Estimate
from raytune_infer.comparing.comparison import compared
from raytune_infer.comparing.comparison_verdict import as_dict, bounds, verdict
from raytune_infer.report.comparison_report import comparison_view, standings
from raytune_infer.report.view import View
from searchers.objective import Expression, Objective
from tests.raytune_infer.comparing.final_rounds import BROKEN, GOAL, finals
from tests.raytune_infer.report.shown_views import headings, texts

FREE = Objective(Expression("rps"))


def halves(k: int, rounds: int) -> tuple[float, float]:
    """Half of the interval of a ratio and of a mean, in logarithms, of figures that repeat exactly.

    0.05 for their noise, worth four degrees of freedom, is what is known beforehand.
    """
    freedom = (k - 1) * (rounds - 1) + 4
    sigma = 0.05 * math.sqrt(4 / freedom)
    ratio = stats.t.ppf(1 - 0.05 / (2 * (k - 1)), freedom) * sigma * math.sqrt(2 / rounds)
    return ratio, stats.t.ppf(0.975, freedom) * sigma / math.sqrt(rounds)


def lines(comparison, objective=GOAL):
    """The table's cells in words, a list for each row."""
    return texts(standings(comparison, objective))


def test_a_clear_winner_over_the_default():
    comparison = compared(finals([(1, 100.0), (0, 50.0)], [(0, 50.0), (1, 100.0)], prices={0: 0.5}), GOAL, 0)
    ratio, mean = (math.exp(half) for half in halves(2, 2))
    said = f"95 %: {2 / ratio:.2f} to {2 * ratio:.2f}"
    assert verdict(comparison, GOAL) == [
        f"rps is 2.00× the default's ({said})", "its limits were kept in 2 of 2 rounds"
    ]  # fmt: skip
    assert verdict(comparison, FREE) == [f"rps is 2.00× the default's ({said})"]
    assert lines(comparison) == [
        [f"100 ({100 / mean:.4g} to {100 * mean:.4g})", "–", "2", "2", "1.0000", "n=1", "recommended"],
        [f"50 ({50 / mean:.4g} to {50 * mean:.4g})", f"0.50 ({0.5 / ratio:.2f} to {0.5 * ratio:.2f})", "2", "2",
         "0.5000", "n=0", "default"],
    ]  # fmt: skip
    table = standings(comparison, GOAL)
    assert table.title == "Measured side by side in 2 rounds (with intervals of 95 %)"
    assert headings(table) == [
        "rps", "× the recommended", "limits kept", "of rounds", "USD per hour", "configuration", ""
    ]  # fmt: skip
    assert [row.emphasis for row in table.rows] == ["best", ""]


def test_the_default_itself_is_recommended():
    comparison = compared(finals([(1, 50.0), (0, 100.0)], [(0, 100.0), (1, 50.0)]), GOAL, 0)
    ratio = math.exp(halves(2, 2)[0])
    assert verdict(comparison, GOAL) == [
        "the default is recommended", f"the first is 2.00× the second (95 %: {2 / ratio:.2f} to {2 * ratio:.2f})",
        "its limits were kept in 2 of 2 rounds",
    ]  # fmt: skip
    assert [row[-1] for row in lines(comparison)] == ["default, recommended", ""]


def test_one_that_is_like_the_default_is_said_to_be():
    comparison = compared(finals([(1, 101.0), (0, 100.0)], [(0, 100.0), (1, 101.0)], prices={0: 2.0}), GOAL, 0)
    ratio = math.exp(halves(2, 2)[0])
    interval = f"95 %: {1.01 / ratio:.2f} to {1.01 * ratio:.2f}"
    assert verdict(comparison, GOAL) == [
        f"rps is 1.01× the default's ({interval}), so they cannot be told apart",
        f"the first is 1.01× the second, the default ({interval}), so they cannot be told apart; none of these is "
        "cheaper than the first, which is recommended",
        "its limits were kept in 2 of 2 rounds",
    ]  # fmt: skip
    assert [row[-1] for row in lines(comparison)] == ["recommended", "default, tied with the first"]


def test_of_three_alike_the_cheapest_and_how_much_it_saves():
    trials = finals(*[[(1, 102.0), (2, 101.0), (3, 100.0), (0, 50.0)]] * 2, prices={1: 1.5, 2: 1.25, 3: 0.125})
    comparison = compared(trials, GOAL, 0)
    ratio = math.exp(halves(4, 2)[0])
    over, first = 2.0, 102 / 101
    assert verdict(comparison, GOAL)[:2] == [
        f"rps is 2.00× the default's (95 %: {over / ratio:.2f} to {over * ratio:.2f})",
        f"the first is 1.01× the second (95 %: {first / ratio:.2f} to {first * ratio:.2f}), so they cannot be told "
        "apart; the cheaper is recommended (0.125 against 1.5 USD per hour)",
    ]
    assert [(row[-2], row[-1]) for row in lines(comparison)] == [
        ("n=1", "tied with the first"), ("n=2", "tied with the first"), ("n=3", "recommended"), ("n=0", "default")
    ]  # fmt: skip
    # Ratios are to the recommended, not to the first.
    assert [row[1].split(" ")[0] for row in lines(comparison)] == ["1.02", "1.01", "–", "0.50"]


def test_the_second_differs_from_the_first_and_a_third_of_fewer_rounds_does_not():
    trials = finals(*[[(1, 100.0), (2, 88.0)]] * 4, [(3, 87.5), (1, 100.0)], prices={3: 0.5})
    comparison = compared(trials, GOAL, None)
    assert [c.position for c in comparison.counting] == [1, 2, 3]
    assert [c.position for c in comparison.alike] == [1, 3]
    [said, _] = verdict(comparison, GOAL)
    assert said.startswith("the first is 1.14× the second (95 %: 1.") and said.endswith(
        "), but not all can be told apart from it; the cheaper is recommended (0.5 against 1 USD per hour)"
    )


def test_rounds_that_never_met_say_nothing_of_a_ratio():
    """The run was killed between two rounds of one configuration each."""
    trials = [*finals([(1, 100.0)]), *finals([(0, 50.0)], first=3)]
    comparison = compared(trials, GOAL, 0)
    assert comparison.rounds == 2 and not comparison.over_default.bounded
    assert [c.position for c in comparison.alike] == [1]
    said, kept = verdict(comparison, GOAL)
    assert said.endswith("× the default's (no interval: too few rounds)") and kept.endswith("in 1 of 1 round")
    assert not any("(" in cell or "to" in cell for row in lines(comparison) for cell in row[:2])
    told: Any = as_dict(comparison)
    assert (told["over_default"]["low"], told["over_default"]["high"]) == (None, None)
    json.dumps(told, allow_nan=False)


def test_who_does_not_count_has_no_figure_and_a_reason():
    trials = finals([(1, None), (2, 90.0, BROKEN), (0, 50.0)], [(0, 50.0), (2, 90.0, BROKEN)], prices={2: math.nan})
    comparison = compared(trials, GOAL, 0)
    assert [row[:5] + row[6:] for row in lines(comparison)] == [
        [lines(comparison)[0][0], "–", "2", "2", "1.0000", "default, recommended"],
        ["–", "–", "0", "1", "1.0000", "could not run"],
        ["–", "–", "0", "2", "–", "does not count"],
    ]
    nobody = compared(finals([(0, 50.0, BROKEN)]), GOAL, 0)
    assert verdict(nobody, GOAL) == [] and [row[-1] for row in lines(nobody)] == ["default, does not count"]
    assert standings(nobody, GOAL).title.startswith("Measured side by side in 1 round (")


def test_a_default_of_one_round_that_broke_its_limit_gives_no_ratio():
    comparison = compared(finals([(1, 100.0), (0, 50.0, BROKEN)]), GOAL, 0)
    assert verdict(comparison, GOAL)[0] == "no ratio to the default, which kept its limits in 0 of 1 round"
    assert verdict(compared(finals([(1, 100.0)]), GOAL, None), GOAL) == ["its limits were kept in 1 of 1 round"]


def test_programs_are_told_the_same():
    trials = finals([(1, 100.0), (2, None), (0, 99.0)], [(0, 99.0), (1, 100.0)], prices={0: math.nan})
    ratio, mean = (math.exp(half) for half in halves(2, 2))
    told: Any = as_dict(compared(trials, GOAL, 0))
    configurations = told.pop("configurations")
    over = {"value": 100 / 99, "low": 100 / 99 / ratio, "high": 100 / 99 * ratio}
    assert told == {"rounds": 2, "confidence": 0.95, "over_default": pytest.approx(over), "distinguishable": False}
    assert configurations == [
        {"config": {"n": 1}, "usd_per_hour": 1.0, "rounds": 2, "rounds_kept": 2, "recommended": True,
         "default": False, "like_first": True, "over_first": {"value": 1.0, "low": 1.0, "high": 1.0},
         "figure": pytest.approx({"value": 100.0, "low": 100 / mean, "high": 100 * mean})},
        {"config": {"n": 0}, "usd_per_hour": None, "rounds": 2, "rounds_kept": 2, "recommended": False,
         "default": True, "like_first": True,
         "over_first": pytest.approx({"value": 0.99, "low": 0.99 / ratio, "high": 0.99 * ratio}),
         "figure": pytest.approx({"value": 99.0, "low": 99 / mean, "high": 99 * mean})},
        {"config": {"n": 2}, "usd_per_hour": 1.0, "rounds": 1, "rounds_kept": 0, "recommended": False,
         "default": False, "like_first": False, "over_first": None, "figure": None},
    ]  # fmt: skip
    nobody: Any = as_dict(compared(finals([(0, 50.0, BROKEN)]), GOAL, 0))
    assert nobody["over_default"] is None and nobody["configurations"][0]["over_first"] is None
    clear: Any = as_dict(compared(finals([(1, 100.0), (0, 50.0)], [(0, 50.0), (1, 100.0)]), GOAL, 0))
    assert clear["distinguishable"] and [c["like_first"] for c in clear["configurations"]] == [True, False]


def test_where_there_was_no_round_there_is_nothing_to_see():
    assert comparison_view(compared([], GOAL, None), GOAL) == View()
    view = comparison_view(compared(finals([(1, 100.0)]), GOAL, None), GOAL)
    assert [table.name for table in view.tables] == ["comparison"]
    assert [(note.text, note.kind) for note in view.notes] == [
        ("its limits were kept in 1 of 1 round", "conclusion")
    ]  # fmt: skip


def test_bounds_are_written_or_dashed():
    assert bounds(Estimate(1.0, 0.96, 1.0449)) == "0.96 to 1.045"
    assert bounds(Estimate(1.0, 0.96, 1.0449), ".2f") == "0.96 to 1.04"
    assert bounds(None) == bounds(Estimate(1.0, 0.0, math.inf)) == "–"
