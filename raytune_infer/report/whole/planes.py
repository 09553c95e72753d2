"""The plane of any two knobs through the best configuration: what was measured there, and what is expected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from raytune_infer.counted import by_number, counted
from raytune_infer.ranking.ranked import Ranked
from raytune_infer.report.chart import Plane, PlaneCell, Planes
from raytune_infer.report.level_figures import rate
from raytune_infer.report.view import Note, View
from raytune_infer.report.whole.goal import goal_axis, goal_figure
from raytune_infer.report.whole.prediction import MOST, Expected, expectations, why_none
from raytune_infer.report.whole.run_facts import RunFacts
from raytune_infer.report.words.ranked import why_not
from raytune_infer.report.words.values import in_effect, spelled, value_text
from raytune_infer.spec.knobs.knob_space import configs_among
from raytune_infer.spec.service_spec import ServiceSpec
from searchers.space import Config, Value, typed

_TITLE = "Any two knobs"
_MOST_VALUES = 40
"""Most values of a knob in a plane of two. Our choice: more can neither be read nor be predicted at once (`MOST`)."""

Key = tuple[tuple[str, type, Value], ...]
Slice = Sequence[tuple[int, int, Key, Config]]
"""Configurations of a plane with the indices of the two knobs' values, and their keys."""


def planes_view(facts: RunFacts) -> View:
    """Return the planes of all pairs of knobs, with what is measured and what is predicted in each."""
    base = facts.spec.default_config if facts.best is None else dict(facts.best.config)
    pairs = _pairs(facts)
    if not pairs:
        return View(_TITLE, notes=(Note("No knob has more than one value."),))
    values = {name: _shown(facts, base, name, alone=not pair[1]) for pair in pairs for name in pair if name}
    slices = {pair: _slice(facts.spec, values, base, *pair) for pair in pairs}
    predicted, said = _predicted(facts, slices)
    measured = {_key(r.config): _measured(facts, r) for r in _all(facts)}
    failed = {_key(t.config): t.outcome.reason for t in facts.trials if t.outcome.reason and not t.outcome.levels}
    planes = tuple(_plane(values, pair, slices[pair], measured, failed, predicted) for pair in pairs)
    # First the plane in which most was measured.
    planes = tuple(sorted(planes, key=lambda plane: -sum(cell.measured is not None for cell in plane.cells)))
    in_planes = {key for of_pair in slices.values() for _, _, key, _ in of_pair}
    seen = len(in_planes & (measured.keys() | failed.keys()))
    cut = [f" Of {name} {len(some)} of {count} values are shown, evenly spread beside those that were tried."
           for name, some in values.items() if len(some) < (count := len(facts.spec.values(name)))]  # fmt: skip
    ruled_out = sum(len(values[x]) * (len(values[y]) if y else 1) - len(slices[x, y]) for x, y in pairs)
    if ruled_out:
        cut.append(f" {counted(ruled_out, 'cell is', 'cells are')} blank: `where` or `when` rules them out.")
    caption = (
        f"All other knobs as in {'the default' if facts.best is None else 'the best configuration'} "
        f"({spelled(base)}). A ring is a measured configuration, a cross one that does not count; {seen} of those in "
        f"the planes were measured. Other cells are predicted, with intervals of 95 % in the table.{''.join(cut)}"
    )
    axis, less = goal_axis(facts.objective), facts.objective.minimize
    return View(
        _TITLE, charts=(Planes("planes", "Measured and predicted", caption, axis, planes, less),), notes=(said,)
    )


def _key(config: Config) -> Key:
    """Return what two configurations share that do the same."""
    return typed(in_effect(config))


def _shown(facts: RunFacts, base: Config, name: str, *, alone: bool) -> Sequence[Value]:
    """Return the values of a knob that a plane shows: all, or so many of them, first those that were tried."""
    values = facts.spec.values(name)
    most = _MOST_VALUES**2 if alone else _MOST_VALUES
    if len(values) <= most:
        return values
    tried = {typed({name: config[name]}) for config in (t.config for t in facts.trials) if name in config}
    keys = [typed({name: value}) for value in values]
    own = [at for at, key in enumerate(keys) if name in base and key == typed({name: base[name]})]
    kept = own + _spread([at for at, key in enumerate(keys) if key in tried and at not in own], most - len(own))
    others = sorted(set(range(len(values))) - set(kept))
    return [values[at] for at in sorted(kept + _spread(others, most - len(kept)))]


def _spread(indices: Sequence[int], most: int) -> list[int]:
    """Return at most so many of the indices, evenly spread."""
    places = range(len(indices)) if len(indices) <= most else np.linspace(0, len(indices) - 1, most).round().astype(int)
    return [indices[at] for at in places]


def _pairs(facts: RunFacts) -> list[tuple[str, str]]:
    """Return the pairs of knobs that have more than one value; with a single one, that and an empty name."""
    knobs = [name for name in facts.spec.knobs if len(facts.spec.values(name)) > 1]
    return [(knobs[0], "")] if len(knobs) == 1 else list(combinations(knobs, 2))


def _slice(
    spec: ServiceSpec, values: Mapping[str, Sequence[Value]], base: Config, x: str, y: str
) -> list[tuple[int, int, Key, Config]]:
    """Return the configurations of a plane that are allowed, and in which both knobs exist."""
    index = {name: {typed({name: value}): at for at, value in enumerate(values[name])} for name in (x, y) if name}
    fixed = {name: (value,) for name, value in (spec.default_config | base).items()}
    found = configs_among(spec.knobs, spec.where, {**fixed, **{name: values[name] for name in index}})
    places = (
        ([places[typed({name: config[name]})] for name, places in index.items()], config)
        for config in found
        if index.keys() <= config.keys()
    )
    return sorted(((at[0], at[1] if y else 0, _key(config), config) for at, config in places), key=lambda s: s[:2])


def _all(facts: RunFacts) -> Sequence[Ranked]:
    return () if facts.ranking is None else (*facts.ranking.ranked, *facts.ranking.others)


def _measured(facts: RunFacts, r: Ranked) -> PlaneCell:
    """Return what the ranking says of a configuration, as a cell whose place is not known yet."""
    assert facts.ranking is not None, "it is ranked"
    if r.value is None:
        return PlaneCell(0, 0, failed=why_not(facts.ranking, r))
    answers = {} if r.answers is None else r.answers.figures
    return PlaneCell(0, 0, measured=goal_figure(facts.objective, r.figure, rate(r), answers, r.usd_per_hour))


def _predicted(facts: RunFacts, slices: Mapping[tuple[str, str], Slice]) -> tuple[dict[Key, Expected], Note]:
    """Return a configuration's key → what is expected, and what to say of it."""
    if (why := why_none(facts)) is not None:
        return {}, Note(f"Nothing is predicted: {why}.", "warning")
    wanted: dict[Key, Config] = {}
    room, left_out = MOST - len({_key(t.config) for t in facts.trials}), 0
    for of_pair in slices.values():
        new = {key: config for _, _, key, config in of_pair if key not in wanted}
        if len(wanted) + len(new) > room:
            left_out += 1
            continue
        wanted |= new
    expected = dict(zip(wanted, expectations(facts, list(wanted.values())), strict=True))
    more = ""
    if left_out:
        more = (
            f"; {counted(left_out, 'plane')} {by_number(left_out, 'has', 'have')} no prediction, as with all of them "
            f"there are more than {MOST} configurations"
        )
    return expected, Note(
        f"Predicted by the model of the searcher {facts.study.searcher} from this study's trials alone; whether a "
        f"predicted configuration fits on the cluster is not asked here{more}."
    )


def _plane(
    values: Mapping[str, Sequence[Value]],
    pair: tuple[str, str],
    of_pair: Slice,
    measured: Mapping[Key, PlaneCell],
    failed: Mapping[Key, str],
    predicted: Mapping[Key, Expected],
) -> Plane:
    cells = [_cell(x, y, measured.get(key), failed.get(key, ""), predicted.get(key)) for x, y, key, _ in of_pair]
    words = [tuple(map(value_text, values[name])) if name else ("",) for name in pair]
    return Plane(pair[0], words[0], pair[1], words[1], tuple(cell for cell in cells if cell.is_known))


def _cell(x: int, y: int, seen: PlaneCell | None, reason: str, expected: Expected | None) -> PlaneCell:
    figure = None if expected is None else expected.figure
    if seen is not None:
        return PlaneCell(x, y, figure, seen.measured, seen.failed)
    if not reason and expected is not None and figure is None:
        return PlaneCell(x, y, failed=f"probably not: it counts with a probability of {expected.counts:.0%}")
    return PlaneCell(x, y, figure, failed=reason)
