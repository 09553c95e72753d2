"""Sentences on the final comparison: what to run, what that gains and costs, and how sure it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from raytune_infer.comparing.blocks import CONFIDENCE, Estimate
from raytune_infer.comparing.comparison import Comparison, Contestant
from raytune_infer.comparing.comparison_schedule import Left
from raytune_infer.comparing.configuration_result import ConfigurationResult, result_of
from raytune_infer.comparing.other_processes import disturbed, largest_spread
from raytune_infer.counted import counted
from raytune_infer.report.figures import circumstances, cost_of, mean_rate
from raytune_infer.report.view import Quantity
from raytune_infer.report.words.answers import marked
from raytune_infer.report.words.values import estimate, in_effect, interval, quantity_in_words, significant, spelled
from searchers.objective import Objective
from searchers.space import Config
from serve_deployments.metrics.level_result import TOLERATED_SHARE


def answer(comparison: Comparison, objective: Objective) -> str:
    """Return what to run, in one sentence; empty if no configuration counts."""
    recommended, default = comparison.recommended, comparison.of(comparison.default)
    if recommended is None:
        return ""
    if comparison.preliminary:
        named = marked(spelled(config_of(recommended)), recommended.answers)
        return f"preliminary, by one measurement: {named}: {_rate(comparison, recommended)}"
    if recommended is default:
        parts = [f"Keep the default, {_what(default, None)}: {_rate(comparison, default)}"]
        parts += [_cost(comparison, default, None), _why_kept(comparison, objective)]
    else:
        parts = [f"Run {_what(recommended, default)}: {_rate(comparison, recommended)}"]
        parts += [_gain(comparison, objective, default), _cost(comparison, recommended, default)]
    if objective.limited:
        parts.append(f"limits kept in {_rounds(recommended)}")
    return "; ".join(filter(None, parts))


def answer_so_far(
    best: ConfigurationResult | None, comparison: Comparison, objective: Objective, left: Left | None = None
) -> str:
    """Return the answer of a study that may not have been compared yet, then the best of its search.

    Args:
        best: the configuration to run; None if there is none.
        comparison: the final comparison, as far as it has come.
        objective: the goal and its limits.
        left: how far the comparison has come if it is not over; None if it is, or has not begun.
    """
    if comparison.rounds or best is None:
        return so_far(answer(comparison, objective), comparison, left)
    named = marked(spelled(best.config), best.answers)
    return f"Best so far, not yet compared with the default: {named}: {_measured(best)}"


def rate_in_words(rate: Quantity | None, marks: Sequence[str] = ()) -> str:
    """Return a rate with its interval, as in `at least about 950 (850 to 2040) requests/s`; empty for None.

    Args:
        rate: the rate.
        marks: on what, and beside what it was measured (`circumstances`).
    """
    if rate is None:
        return ""
    return ", ".join([quantity_in_words(rate, "requests/s"), *marks])


def so_far(said: str, comparison: Comparison, left: Left | None) -> str:
    """Return an answer of a comparison with how far that has come, if it is not over."""
    if left is None:
        return said
    begun = (
        f"So far, in round {comparison.rounds} of a comparison that is not over ({left.done} of at least {left.least} "
        "measurements; `tune --resume` goes on)"
    )
    return f"{begun}: {said or 'no configuration counts yet'}"


def remarks(comparison: Comparison, objective: Objective) -> list[str]:
    """Return what else the comparison shows, a sentence each: what is alike, and what is cheaper."""
    if comparison.recommended is None or comparison.preliminary:
        return []
    said = [_cheaper_than_default(comparison, objective), _first_against_second(comparison, objective)]
    return [sentence for sentence in said if sentence is not None]


def on_other_work(comparison: Comparison) -> str | None:
    """Return what it means that other processes used the cores; None if not noticeably, or before ratios are told."""
    trials = [t for c in comparison.contestants for t in c.trials]
    if comparison.preliminary or not (shares := disturbed(trials)):
        return None
    low, high = min(shares.values()), max(shares.values())
    had = f"{low:.0%}" if f"{low:.0%}" == f"{high:.0%}" else f"{low:.0%} to {high:.0%}"
    said = (
        f"The machine was not its own: other processes used {had} of the cores in {len(shares)} of {len(trials)} "
        "measurements of the comparison, so alone on it each rate would be higher than stated"
    )
    if largest_spread(comparison) < TOLERATED_SHARE:
        return f"{said}; within each round their share was about the same, so the ratios hold"
    return (
        f"{said}; within a round their share differed by up to {largest_spread(comparison):.0%} of the cores, so the "
        "ratios are less sure than their intervals: repeat the study when the machine is quiet before you rely on them"
    )


def config_of(contestant: Contestant) -> Config:
    """Return a contestant's configuration."""
    return contestant.trials[0].config


def _what(contestant: Contestant, default: Contestant | None) -> str:
    """Return the knobs that differ from the default, or all of them without one, and whether its answers differ."""
    config = in_effect(config_of(contestant))
    before = {} if default is None else in_effect(config_of(default))
    changed = {name: value for name, value in config.items() if name not in before or before[name] != value}
    rest = "" if len(changed) == len(config) else ", the rest as in the default"
    return marked(spelled(changed) + rest, contestant.answers)


def _rate(comparison: Comparison, contestant: Contestant) -> str:
    return _measured(result_of(comparison, contestant))


def _measured(of: ConfigurationResult) -> str:
    told = circumstances(emulated=of.emulated, alone=of.alone, neighbours=of.neighbours)
    return rate_in_words(mean_rate(of), told)


def _gain(comparison: Comparison, objective: Objective, default: Contestant | None) -> str:
    if default is None:
        return "the default was not measured, so there is nothing to compare it with"
    if (over := comparison.over_default) is None:
        return f"the default kept its limits in {_rounds(default)}, so there is no ratio to it"
    recommended = comparison.recommended
    assert recommended is not None, "there is a ratio of it to the default"
    held_back = _held_back(comparison, {"it": recommended, "the default": default})
    return f"its {objective.goal.text} is {_ratio(over)} the default's{_interval(over)}{held_back}"


def _held_back(comparison: Comparison, named: Mapping[str, Contestant]) -> str:
    """Return which of these the load generator held back, as a clause: their ratio is then not theirs alone."""
    names = [name for name, one in named.items() if result_of(comparison, one).client_limited]
    return f", where the load generator held {' and '.join(names)} back" if names else ""


def _why_kept(comparison: Comparison, objective: Objective) -> str:
    """Return why the default is kept: the best of the others, and that it is the same or not certainly better."""
    default = comparison.recommended
    others = [c for c in comparison.counting if c is not default]
    if default is None or not others:
        return "none of the others that were compared counts"
    over = comparison.ratio(others[0], default)
    named = f"{objective.goal.text} of the best of the others, {_what(others[0], default)}, is"
    held_back = _held_back(comparison, {"the default": default, "that": others[0]})
    if _same(over):
        return f"{named} the same{held_back}"
    tied = ", so the two cannot be told apart" if over.contains(1) else ""
    return f"{named} {_ratio(over)} as much{_interval(over)}{held_back}{tied}"


def not_taken(comparison: Comparison, other: Contestant) -> str:
    """Return in a few words why one that counts was not taken where the default is kept."""
    default = comparison.recommended
    assert default is not None, "the default is kept"
    over = comparison.ratio(other, default)
    if _same(over):
        return "the same as the default"
    judged = "worse" if not over.contains(1) else "not to be told apart from it"
    return f"{_ratio(over)} the default's{_interval(over)}: {judged}"


def _cost(comparison: Comparison, contestant: Contestant, default: Contestant | None) -> str:
    """Return the price of a million requests, beside the default's; empty where no price is known."""
    if (cost := cost_of(result_of(comparison, contestant))) is None:
        return ""
    other = cost_of(result_of(comparison, default)) if default is not None and default.counts else None
    beside = "" if other is None else f", the default {quantity_in_words(other, '')}"
    return f"{quantity_in_words(cost, 'USD per million requests')}{beside}"


def _cheaper_than_default(comparison: Comparison, objective: Objective) -> str | None:
    """Return that another one costs less than the default and is as good as far as is known; None if none does."""
    default = comparison.recommended
    if default is None or default is not comparison.default_that_counts:
        return None
    cheaper = [
        c for c in comparison.counting
        if c.usd_per_hour < default.usd_per_hour and comparison.ratio(c, default).contains(1)
    ]  # fmt: skip
    if not cheaper:
        return None
    other = min(cheaper, key=lambda c: c.usd_per_hour)
    same = _same(comparison.ratio(other, default))
    alike = f"has the same {objective.goal.text} as" if same else "cannot be told apart from"
    return f"{_what(other, default)} {alike} the default and is cheaper ({_prices(other, default)})"


def _first_against_second(comparison: Comparison, objective: Objective) -> str | None:
    """Return how the recommended one compares with the others that beat the default; None if that says nothing new."""
    recommended, first = comparison.recommended, comparison.first
    if recommended is None or first is None or recommended is comparison.default_that_counts:
        return None
    second = next((c for c in comparison.counting[1:] if c.position != comparison.default), None)
    if second is None:
        return None
    ratio = comparison.ratio(first, second)
    said = f"{objective.goal.text} of the first is {_ratio(ratio)} that of the second{_interval(ratio)}"
    if len(comparison.alike) < 2:
        return said
    # A third one with fewer rounds may be indistinguishable from the first although the second is not.
    if _same(ratio):
        said = f"{objective.goal.text} of the first and the second is the same"
    else:
        tied = second in comparison.alike
        said += ", so they cannot be told apart" if tied else ", but not all can be told apart from it"
    if recommended is first:
        return f"{said}; none of these is cheaper than the first, which is recommended"
    return f"{said}; the cheaper is recommended ({_prices(recommended, first)})"


def _prices(one: Contestant, other: Contestant) -> str:
    return f"{significant(one.usd_per_hour)} against {significant(other.usd_per_hour)} USD per hour"


def _same(ratio: Estimate) -> bool:
    """Whether two figures are known to be equal: not only that nothing tells them apart."""
    return ratio.exact and ratio.contains(1)


def _ratio(ratio: Estimate) -> str:
    if ratio.exact or not ratio.bounded:
        return f"{significant(ratio.value)}×"
    return f"{estimate(ratio.value, ratio.low, ratio.high)}×"


def _interval(ratio: Estimate) -> str:
    """Return the interval in brackets, after a space; empty for what is exact."""
    if ratio.exact:
        return ""
    if not ratio.bounded:
        return " (no interval: too few rounds)"
    return f" ({100 * CONFIDENCE:g} %: {interval(ratio.value, ratio.low, ratio.high)})"


def _rounds(contestant: Contestant) -> str:
    return f"{contestant.kept} of {counted(len(contestant.trials), 'round')}"
