"""The plane of any two knobs through the best configuration: what was measured there, and what is expected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from raytune_infer.ranking.ranked import Ranked
from raytune_infer.report.chart import Plane, PlaneCell, Planes, Quantity
from raytune_infer.report.level_figures import rate
from raytune_infer.report.view import Note, View
from raytune_infer.report.whole.convergence import goal_axis
from raytune_infer.report.whole.prediction import MOST, Expected, expectations, why_none
from raytune_infer.report.whole.run_facts import RunFacts
from raytune_infer.report.words.ranked import why_not
from raytune_infer.report.words.values import spelled, value_text
from searchers.objective import Objective
from searchers.space import Config

_TITLE = "Any two knobs"
Slice = Sequence[tuple[int, int, Config]]
"""Configurations of a plane with the indices of the two knobs' values."""


def planes_view(facts: RunFacts) -> View:
    """Return the planes of all pairs of knobs, with what is measured and what is predicted in each."""
    base = facts.spec.default_config if facts.best is None else dict(facts.best.config)
    pairs = _pairs(facts)
    if not pairs:
        return View(_TITLE, notes=(Note("No knob has more than one value."),))
    slices = {pair: list(_slice(facts, base, *pair)) for pair in pairs}
    predicted, said = _predicted(facts, slices)
    measured = {spelled(r.config): _measured(facts, r) for r in _all(facts)}
    failed = {spelled(t.config): t.outcome.reason for t in facts.trials if t.outcome.reason and not t.outcome.levels}
    planes = tuple(_plane(facts, pair, slices[pair], measured, failed, predicted) for pair in pairs)
    # First the plane in which most was measured.
    planes = tuple(sorted(planes, key=lambda plane: -sum(cell.measured is not None for cell in plane.cells)))
    in_planes = {spelled(config) for of_pair in slices.values() for _, _, config in of_pair}
    seen = len(in_planes & (measured.keys() | failed.keys()))
    caption = (
        f"All other knobs as in {'the default' if facts.best is None else 'the best configuration'} "
        f"({spelled(base)}). A ring is a measured configuration, a cross one that does not count; {seen} of those in "
        "the planes were measured. Other cells are predicted, with intervals of 95 % in the table."
    )
    axis = goal_axis(facts.objective)
    return View(_TITLE, charts=(Planes("planes", "Measured and predicted", caption, axis, planes),), notes=(said,))


def _pairs(facts: RunFacts) -> list[tuple[str, str]]:
    """Return the pairs of knobs that have more than one value; with a single one, that and an empty name."""
    knobs = [name for name in facts.spec.knobs if len(facts.spec.values(name)) > 1]
    return [(knobs[0], "")] if len(knobs) == 1 else list(combinations(knobs, 2))


def _slice(facts: RunFacts, base: Config, x: str, y: str) -> Iterator[tuple[int, int, Config]]:
    for at, first in enumerate(facts.spec.values(x)):
        for up, second in enumerate(facts.spec.values(y) if y else (None,)):
            yield at, up, {**base, x: first, **({} if second is None else {y: second})}


def _all(facts: RunFacts) -> Sequence[Ranked]:
    return () if facts.ranking is None else (*facts.ranking.ranked, *facts.ranking.others)


def _measured(facts: RunFacts, r: Ranked) -> PlaneCell:
    """Return what the ranking says of a configuration, as a cell whose place is not known yet."""
    assert facts.ranking is not None, "it is ranked"
    if r.value is None:
        return PlaneCell(0, 0, failed=why_not(facts.ranking, r))
    return PlaneCell(0, 0, measured=_figure(r, facts.objective))


def _figure(r: Ranked, objective: Objective) -> Quantity:
    found = rate(r)
    if found is None or found.low is None or found.high is None or objective.goal.names - {"rps", "usd_per_hour"}:
        return Quantity(r.figure)
    ends = [objective.figure({"rps": rps}, r.usd_per_hour) for rps in (found.low, found.high)]
    return Quantity(r.figure, min(*ends, r.figure), max(*ends, r.figure))


def _predicted(facts: RunFacts, slices: Mapping[tuple[str, str], Slice]) -> tuple[dict[str, Expected], Note]:
    """Return configuration in words → what is expected, and what to say of it."""
    if (why := why_none(facts)) is not None:
        return {}, Note(f"Nothing is predicted: {why}.", "warning")
    wanted: dict[str, Config] = {}
    room, left_out = MOST - len({spelled(t.config) for t in facts.searched}), 0
    for of_pair in slices.values():
        new = {spelled(config): config for _, _, config in of_pair if spelled(config) not in wanted}
        if len(wanted) + len(new) > room:
            left_out += 1
            continue
        wanted |= new
    expected = dict(zip(wanted, expectations(facts, list(wanted.values())), strict=True))
    more = f"; {left_out} planes have no prediction, as they are too many" if left_out else ""
    return expected, Note(
        f"Predicted by the model of the searcher {facts.study.searcher} from this study's trials alone; whether a "
        f"predicted configuration fits on the cluster is not asked here{more}."
    )


def _plane(
    facts: RunFacts,
    pair: tuple[str, str],
    of_pair: Slice,
    measured: Mapping[str, PlaneCell],
    failed: Mapping[str, str],
    predicted: Mapping[str, Expected],
) -> Plane:
    cells = [
        _cell(x, y, measured.get(spelled(config)), failed.get(spelled(config), ""), predicted.get(spelled(config)))
        for x, y, config in of_pair
    ]
    values = [tuple(map(value_text, facts.spec.values(name))) if name else ("",) for name in pair]
    return Plane(pair[0], values[0], pair[1], values[1], tuple(cell for cell in cells if cell.is_known))


def _cell(x: int, y: int, seen: PlaneCell | None, reason: str, expected: Expected | None) -> PlaneCell:
    figure = None if expected is None else expected.figure
    if seen is not None:
        return PlaneCell(x, y, figure, seen.measured, seen.failed)
    if not reason and expected is not None and figure is None:
        return PlaneCell(x, y, failed=f"probably not: it counts with a probability of {expected.counts:.0%}")
    return PlaneCell(x, y, figure, failed=reason)
