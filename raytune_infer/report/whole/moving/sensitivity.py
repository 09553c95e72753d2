"""How far limits, prices and the load can move before the answer changes, in numbers and in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Literal

from cluster.gpu_names import gpu_names
from cluster.prices import PriceBook, PriceBookError
from raytune_infer.comparing.blocks import CONFIDENCE
from raytune_infer.errors import UserError
from raytune_infer.ranking.goal_value import usd_per_hour_of
from raytune_infer.ranking.other_objective import changed
from raytune_infer.ranking.ranked import ONE_TEST, Ranked
from raytune_infer.ranking.recommendation import Recommendation
from raytune_infer.report.chart import Quantity
from raytune_infer.report.view import Cell, Column, Note, Row, Table, View
from raytune_infer.report.whole.moving.certainty import tied
from raytune_infer.report.whole.moving.price_places import places
from raytune_infer.report.whole.moving.turning_points import FARTHEST, UNSEEN, Ask, Turn, turn
from raytune_infer.report.whole.prediction import book_of
from raytune_infer.report.whole.run_facts import RunFacts
from raytune_infer.report.words.metric_columns import metric_column
from raytune_infer.report.words.values import significant, spelled
from raytune_infer.spec.demand import price
from raytune_infer.spec.goals.goal_check import is_of_answers
from raytune_infer.spec.standard_knobs import gpu_name
from searchers.quantities import PRICE
from searchers.space import Config

_TITLE = "How far the question can move"
_SAME_PRICE = 1e-6
"""Relative difference of two prices that only rounding tells apart."""


@dataclass(frozen=True)
class Moved:
    """One number of the question, and where the answer turns as it moves.

    Args:
        what: the number in words.
        unit: its unit.
        kind: a bound, or a price.
        now: its value now.
        down: where the answer turns if it falls; None if nowhere within a factor of `FARTHEST`.
        up: the same if it rises.
    """

    what: str
    unit: str
    kind: Literal["limit", "price"]
    now: float
    down: Turn | None
    up: Turn | None


def sensitivity_view(facts: RunFacts) -> View:
    """Return how far each number can move, a row and a sentence each; a sentence if there is no answer yet."""
    best, found = facts.best, facts.ranking
    if best is None or found is None or all(r.config != best.config for r in found.ranked):
        return View(_TITLE, notes=(Note("No configuration counts, so no answer can change.", "warning"),))
    why_no_prices = _why_no_prices(facts)
    rows = [*_bounds(facts), *(() if why_no_prices else _prices(facts))]
    notes = [Note(_TIED[found.best_is_default])] if rows and tied(found, best.config) else []
    notes += [Note(words(moved)) for moved in rows]
    notes += [Note(f"Prices: {why_no_prices}.")] if why_no_prices else []
    notes += [Note(_SINGLE)] if found.comparison is not None and _limits_a_load(facts) else []
    notes.append(Note(_HOW))
    return View(_TITLE, tables=(_table(rows),) if rows else (), notes=tuple(notes))


_TIED = {
    True: "The default is kept, as nothing is surely better than it: that the answer is the same for sure means here "
    "that this stays so.",
    False: "Something that counts is not surely worse than the answer: that this is the same for sure means here that "
    "`recommend` names it, and that all that is surely worse now stays so.",
}
"""Whether the answer is the default → what is said where something that counts is not surely worse than it."""
_SINGLE = (
    "At another limit on the load the rounds of the comparison do not hold, as they were measured under the run's own. "
    f"Rates are then of single levels, and known within a factor of {significant(ONE_TEST.high, 2)} either way, the "
    f"usual noise of one load test at {CONFIDENCE:.0%}: what the rounds tell apart need not be told apart there."
)
_HOW = (
    f"Found by ranking the measured levels again at other numbers, as `recommend` does, up to {FARTHEST:g} times more "
    "or less; where nothing is said to be sure, these measurements do not tell. Prices at which two configurations are "
    f"worth the same are computed; of a bound, an answer that changes and changes back within {UNSEEN - 1:.0%} is not "
    "seen. No trial was made for this, and configurations that were not measured are not in it."
)


def words(moved: Moved) -> str:
    """Return what is said of one number: where the answer is the same for sure, and where another one surely is."""
    what = moved.what if moved.kind == "price" else f"the bound of {moved.what}"
    now = f"{what} (now {f'{significant(moved.now)} {moved.unit}'.strip()})"
    if moved.down is None and moved.up is None:
        return f"The answer is the same for sure wherever {now} is within {FARTHEST:g} times that."
    falls, rises = _where(moved, moved.down, upwards=False), _where(moved, moved.up, upwards=True)
    return f"If {now} falls, the answer is the same for sure {falls}. If it rises, it is so {rises}."


def _where(moved: Moved, found: Turn | None, *, upwards: bool) -> str:
    """Return how far the answer is the same for sure in one direction, and what is known beyond."""

    def at(number: float) -> str:
        return f"{significant(number, 3)} {moved.unit}"

    to, beyond, factor = ("up to", "above", FARTHEST) if upwards else ("down to", "below", 1 / FARTHEST)
    farthest = f"{at(moved.now * factor)}, the farthest that was looked at"
    if found is None:
        return f"{to} {farthest}"
    until = "at no other number" if found.sure_until == moved.now else f"{to} {at(found.sure_until)}"
    if found.at is None:
        return f"{until}; {beyond} that these measurements do not tell, but `recommend` names the same {to} {farthest}"
    other = found.other
    named = f"at {at(found.at)} `recommend` names {_then(found.then)}"
    if other is None:
        return f"{until}; {named}, and what is best {beyond} that these measurements do not tell"
    # What is named first need not be what surely is better farther on.
    first = "" if other.start == found.at else f"{named}; "
    end = farthest if other.end is None else at(other.end)
    what = "surely nothing counts" if other.config is None else f"{spelled(other.config)} surely is better"
    return f"{until}; {first}from {at(other.start)} {to} {end} {what}"


def _then(config: Config | None) -> str:
    return "nothing, as no rate surely keeps the limits" if config is None else spelled(config)


def _bounds(facts: RunFacts) -> Iterator[Moved]:
    """Yield the limits, and the lower bounds, of which that on the rate is the load."""
    objective = facts.objective
    for option, bounds in (("limits", objective.at_most), ("at_least", objective.at_least)):
        for name, bound in bounds.items():
            if 0 < bound < math.inf:
                yield _moved(facts, name, metric_column(name).unit.split(" ")[0], "limit", bound,
                             _asked_bound(facts, option, name))  # fmt: skip


def _asked_bound(facts: RunFacts, option: str, name: str) -> Ask:
    def ask(bound: float) -> Recommendation:
        bounds: Mapping[str, float | None] = {name: bound}
        try:
            objective = changed(facts.objective, **{option: bounds})  # type: ignore[arg-type]
        except UserError:  # a share above 1, say: the bound can go no farther
            objective = facts.objective
        return facts.asked(objective)

    return ask


def _prices(facts: RunFacts) -> Iterator[Moved]:
    """Yield the price of a core and of each type of GPU that was measured."""
    book = book_of(facts)
    assert book is not None, "it was asked for"
    if (now := book.cpu_core_usd_per_hour) > 0:
        yield _moved_price(facts, "the price of a core", now, lambda usd: replace(book, cpu_core_usd_per_hour=usd))
    used = {gpu_name(t.config.get("gpu_type", "none")) for t in facts.trials}
    for name in sorted(gpu_names.canonical(gpu) for gpu in used if gpu is not None):
        if (now := book.gpu_usd_per_hour.get(name, 0.0)) > 0:
            yield _moved_price(facts, f"the price of a {name}", now, partial(_of_gpu, book, name))


def _of_gpu(book: PriceBook, name: str, usd: float) -> PriceBook:
    return replace(book, gpu_usd_per_hour={**book.gpu_usd_per_hour, name: usd})


def _moved_price(facts: RunFacts, what: str, now: float, book: Callable[[float], PriceBook]) -> Moved:
    """Return how far a price can move.

    Args:
        facts: the run.
        what: the price in words.
        now: the price now.
        book: the price book with another such price.
    """
    found = facts.asked(facts.objective, book(now))
    pivots = [facts.spec.default_config, *(r.config for r in (found.best, _of_most_value(found)) if r is not None)]
    at = places(found, lambda config, usd: price(config, book(usd)), now, pivots)
    return _moved(facts, what, "USD per hour", "price", now, lambda usd: facts.asked(facts.objective, book(usd)), at)


def _of_most_value(found: Recommendation) -> Ranked | None:
    return max(found.ranked, key=lambda r: r.value or 0.0, default=None)


def _moved(
    facts: RunFacts, what: str, unit: str, kind: Literal["limit", "price"], now: float, ask: Ask,
    at: Sequence[float] | None = None,
) -> Moved:  # fmt: skip
    assert facts.best is not None, "there is an answer"
    ask = cache(ask)
    down, up = (turn(ask, now, facts.best.config, upwards=upwards, places=at) for upwards in (False, True))
    return Moved(what, unit, kind, now, down, up)


def _why_no_prices(facts: RunFacts) -> str | None:
    """Return why no price is moved; None if prices are."""
    objective = facts.objective
    if PRICE not in (*objective.goal.names, *objective.limited):
        return "the goal and its limits do not name them, so none changes the answer"
    try:
        if (book := book_of(facts)) is None:
            return "the run's price book is not one of those that ship, so it is not known what they consist of"
        pairs = [(usd_per_hour_of(t, book, objective), t.usd_per_hour) for t in facts.trials]
    except (UserError, PriceBookError) as error:
        return f"the price book does not have them any more ({error})"
    if any(abs(now - then) > _SAME_PRICE * then for now, then in pairs):
        return "the price book is not the one any more that the run had"
    return None


def _table(rows: list[Moved]) -> Table:
    columns = (
        Column("what", "number", kind="text", key=True), Column("unit", kind="text"), Column("now", "now"),
        Column("falls_to", "answer changes below", kind="quantity"),
        Column("then_below", "answer below", kind="text"),
        Column("sure_down_to", "sure down to"),
        Column("rises_to", "answer changes above", kind="quantity"),
        Column("then_above", "answer above", kind="text"),
        Column("sure_up_to", "sure up to"),
    )  # fmt: skip
    shown = tuple(
        Row(
            (
                m.what,
                m.unit or None,
                m.now,
                *(
                    cell
                    for found, end in ((m.down, m.now / FARTHEST), (m.up, m.now * FARTHEST))
                    for cell in _cells(found, end)
                ),
            )
        )
        for m in rows
    )
    title = "Where the answer changes, with the range in which the measurements do not tell"
    return Table("sensitivity", columns, shown, title)


def _cells(found: Turn | None, end: float) -> tuple[Cell, ...]:
    """Return where the answer turns, what it then is, and how far it is sure.

    Args:
        found: the turn; None if the answer surely is the same.
        end: the farthest number that was looked at.
    """
    if found is None:
        return None, "the same", end
    if found.at is None:
        return None, "the same, but not surely", found.sure_until
    named = "nothing surely counts" if found.then is None else spelled(found.then)
    if found.other is None:
        return Quantity(found.at), f"{named}; what is best is not known", found.sure_until
    ends = sorted((found.sure_until, found.other.start))
    return Quantity(found.at, ends[0], ends[1]), named, found.sure_until


def _limits_a_load(facts: RunFacts) -> bool:
    return any(name != PRICE and not is_of_answers(name) for name in facts.objective.at_most)
