"""View of the final comparison: all configurations that took part, and the verdict."""

from __future__ import annotations

import math

from raytune_infer.comparing.blocks import CONFIDENCE, Estimate
from raytune_infer.comparing.comparison import Comparison, Contestant
from raytune_infer.comparing.configuration_result import result_of
from raytune_infer.counted import counted
from raytune_infer.report.figures import ALONE, OTHERS_SHARE
from raytune_infer.report.view import Column, Note, Quantity, Row, Table, View
from raytune_infer.report.words.answers import differ_briefly
from raytune_infer.report.words.verdict import on_other_work, remarks
from searchers.objective import Objective
from serve_deployments.metrics.level_result import TOLERATED_SHARE


def comparison_view(comparison: Comparison, objective: Objective) -> View:
    """Return the standings, if there was a round, and what they show beside the answer; nothing until it is over.

    Until then the table of trials says all that was measured, and means and ratios of so few would only seem more.
    """
    if comparison.preliminary:
        return View()
    said = [Note(sentence) for sentence in remarks(comparison, objective)]
    if (told := on_other_work(comparison)) is not None:
        said.append(Note(told, "warning"))
    return View(tables=(standings(comparison, objective),) if comparison.rounds else (), notes=tuple(said))


def standings(comparison: Comparison, objective: Objective) -> Table:
    """Return the table of all configurations that took part, one per row, the best mean first."""
    rounds = counted(comparison.rounds, "round")
    shares = [result_of(comparison, c).others_share for c in comparison.contestants]
    told = any(share is not None and share >= TOLERATED_SHARE for share in shares)
    columns = (
        Column("figure", objective.goal.text, kind="quantity"),
        Column("over_recommended", "× the recommended", kind="quantity", digits=".2f"),
        Column("rounds_kept", "limits kept", digits="d"),
        Column("rounds", "of rounds", digits="d"),
        Column("usd_per_hour", unit="USD per hour", digits=".4f"),
        *((OTHERS_SHARE,) if told else ()),
        Column("config", "configuration", kind="config", key=True),
        Column("remarks", kind="text"),
    )
    rows = [
        Row(
            (
                quantity(_mean(c, comparison)), quantity(_ratio(c, comparison)), c.kept, len(c.trials),
                None if math.isnan(c.usd_per_hour) else c.usd_per_hour, *((share,) if told else ()), c.trials[0].config,
                ", ".join(_marks(c, comparison)) or None,
            ),
            "best" if c is comparison.recommended else "",
        )
        for c, share in zip(comparison.contestants, shares, strict=True)
    ]  # fmt: skip
    title = f"Measured side by side in {rounds} (with intervals of {100 * CONFIDENCE:g} %)"
    return Table("comparison", columns, tuple(rows), title)


def quantity(estimate: Estimate | None) -> Quantity | None:
    """Convert an estimate to a quantity, with its interval if it has one and is not exact."""
    if estimate is None:
        return None
    low, high = (estimate.low, estimate.high) if estimate.bounded and not estimate.exact else (None, None)
    return Quantity(estimate.value, low, high)


def _mean(contestant: Contestant, comparison: Comparison) -> Estimate | None:
    return comparison.mean(contestant) if contestant.counts else None


def _ratio(contestant: Contestant, comparison: Comparison) -> Estimate | None:
    recommended = comparison.recommended
    same = contestant is recommended
    if recommended is None or not contestant.counts:
        return None
    return None if same else comparison.ratio(contestant, recommended)


def _marks(contestant: Contestant, comparison: Comparison) -> list[str]:
    """Return the remarks on a contestant: its place in the comparison, if its answers differ, and if it was alone."""
    differ = differ_briefly(contestant.answers)
    alone = [ALONE] if result_of(comparison, contestant).alone else []
    return [*_places(contestant, comparison), *([] if differ is None else [differ]), *alone]


def _places(contestant: Contestant, comparison: Comparison) -> list[str]:
    marks = ["default"] if contestant.position == comparison.default else []
    if contestant is comparison.recommended:
        return [*marks, "recommended"]
    if not contestant.counts:
        return [*marks, "does not count" if contestant.trials[-1].outcome.reason is None else "could not run"]
    if contestant is comparison.first:
        return [*marks, "best mean"]
    return [*marks, "tied with the first"] if contestant in comparison.alike else marks
