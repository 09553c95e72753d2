"""The configurations that conditions leave, as rows of ranks; combinations that they rule out are never listed.

Rows grow knob by knob. A knob that does not exist in a row adds one rank to it, any other as many rows as it has
values; a condition removes rows as soon as all of its knobs are there.

Notation:
    m   rows so far
    n   rows of all knobs
    v   number of a knob's values; as a rank it says that the knob does not exist
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from searchers.space.columns import Codes, Column, column_of, evaluate
from searchers.space.condition import Condition
from searchers.space.condition_check import check_condition
from searchers.space.knob import Knob
from searchers.space.value import Value

_ON_THE_WAY = 4
"""How many times as many rows as wanted there may be before the last condition. Our choice: some hundred MB, of a
million."""


class NothingAllowed(ValueError):
    """No configuration is left."""


class TooMany(ValueError):
    """There are more configurations than wanted."""


class NoValue(ValueError):
    """A condition is neither true nor false of some configurations."""

    def __init__(self, condition: Condition, where: str) -> None:
        super().__init__(
            f"{condition.text!r} has no value where {where} (a division by 0, or a text that it calculates with); say "
            "what is to hold there, as in `b == 0 or a / b > 1`"
        )
        self.condition = condition


def allowed_rows(knobs: Sequence[Knob], where: Sequence[Condition] = (), most: int | None = None) -> np.ndarray:
    """Return the configurations in which all conditions hold.

    A condition says nothing of configurations in which a knob that it depends on does not exist, and a knob whose own
    condition depends on such a knob does not exist either.

    Args:
        knobs: the knobs, with the conditions under which they exist.
        where: the conditions.
        most: largest number of configurations; None: no limit.

    Returns:
        `[n, knobs]` rank of each knob's value, or v; in no particular order.

    Raises:
        ValueError: a condition does not fit the knobs, or knobs exist only where one another do.
        NothingAllowed: there are none.
        TooMany: there are more than `most`.
        NoValue: a condition is neither true nor false of some.
    """
    values = {knob.name: knob.values for knob in knobs}
    for condition in (*where, *(knob.when for knob in knobs if knob.when is not None)):
        check_condition(condition, values)
    return _grown(knobs, where, most)


def configurations(
    knobs: Sequence[Knob], where: Sequence[Condition], values: Mapping[str, Sequence[Value]]
) -> list[dict[str, Value]]:
    """Return all configurations of some values of each knob in which all conditions hold; raises NoValue.

    Args:
        knobs: knobs that the conditions fit.
        where: the conditions.
        values: name of each knob → some of its values.
    """
    fewer = [Knob(knob.name, tuple(values[knob.name]), "categorical", when=knob.when) for knob in knobs]
    try:
        rows = _grown(fewer, where, None)
    except NothingAllowed:
        return []
    return [
        {k.name: k.values[rank] for k, rank in zip(fewer, row, strict=True) if rank < len(k.values)}
        for row in rows.tolist()
    ]


def _grown(knobs: Sequence[Knob], where: Sequence[Condition], most: int | None) -> np.ndarray:
    rows, waiting = _Rows(), list(where)
    # Those of the smallest conditions first, so that rows are ruled out before they multiply.
    named = [name for condition in sorted(where, key=lambda c: len(c.names)) for name in sorted(condition.names)]
    for knob in deciding(knobs, [*named, *(knob.name for knob in knobs)]):
        rows = rows.with_knob(knob, most)
        rows = rows.only([c for c in waiting if c.names <= rows.ranks.keys()])
        waiting = [c for c in waiting if not c.names <= rows.ranks.keys()]
    if most is not None and rows.count > most:
        raise _too_many([knob.name for knob in knobs], most)
    return np.stack([rows.ranks[knob.name] for knob in knobs], axis=1)


def existing(knobs: Sequence[Knob], config: Mapping[str, Value]) -> dict[str, Value]:
    """Return the part of a configuration that exists; raises NoValue.

    Args:
        knobs: knobs that their conditions fit.
        config: a value for each knob.
    """
    return configurations(knobs, (), {name: (value,) for name, value in config.items()})[0]


def keeps(knobs: Sequence[Knob], config: Mapping[str, Value], condition: Condition) -> bool:
    """Whether a configuration, with a value for each knob, keeps a condition; raises NoValue."""
    return bool(configurations(knobs, (condition,), {name: (value,) for name, value in config.items()}))


def deciding(knobs: Sequence[Knob], names: Iterable[str]) -> list[Knob]:
    """Return the knobs of these names and those that decide on whether they exist; each follows those that do.

    Raises:
        ValueError: knobs exist only where one another do.
    """
    by_name = {knob.name: knob for knob in knobs}
    out: dict[str, Knob] = {}

    def put(name: str, on_the_way: tuple[str, ...]) -> None:
        if name in on_the_way:
            circle = " → ".join((*on_the_way[on_the_way.index(name) :], name))
            raise ValueError(f"whether a knob exists depends on the next one here: {circle}; break the circle")
        if name not in out:
            when = by_name[name].when
            for parent in () if when is None else sorted(when.names):
                put(parent, (*on_the_way, name))
            out[name] = by_name[name]

    for name in names:
        put(name, ())
    return list(out.values())


def _too_many(names: Sequence[str], most: int) -> TooMany:
    return TooMany(f"the values of {', '.join(names)} make more than {most} configurations")


@dataclass(frozen=True)
class _Rows:
    """Configurations of some of the knobs.

    Args:
        count: their number m.
        knobs: the knobs so far, by name.
        ranks: name → `[m]` ranks of its values.
        codes: codes of texts, for the evaluation of conditions.
    """

    count: int = 1
    knobs: Mapping[str, Knob] = field(default_factory=dict)
    ranks: Mapping[str, np.ndarray] = field(default_factory=dict)
    codes: Codes = field(default_factory=dict)

    def with_knob(self, knob: Knob, most: int | None) -> _Rows:
        """Return the rows with each value of one more knob; raises TooMany, or NoValue of its own condition."""
        v = len(knob.values)
        exists = np.ones(self.count, dtype=bool) if knob.when is None else self._holds(knob.when).true
        copies = np.where(exists, v, 1)
        count = int(copies.sum())
        if most is not None and count > most * _ON_THE_WAY:
            raise _too_many([*self.ranks, knob.name], most)
        of = np.repeat(np.arange(self.count), copies)
        own = np.arange(count) - np.repeat(np.cumsum(copies) - copies, copies)
        ranks = {name: column[of] for name, column in self.ranks.items()}
        ranks[knob.name] = np.where(exists[of], own, v).astype(np.int32)
        return _Rows(count, {**self.knobs, knob.name: knob}, ranks, self.codes)

    def only(self, conditions: Sequence[Condition]) -> _Rows:
        """Return the rows in which conditions hold, or say nothing; raises NothingAllowed or NoValue."""
        if not conditions:
            return self
        verdicts = [(condition, self._verdict(condition)) for condition in conditions]
        kept = np.logical_and.reduce([~verdict.false for _, verdict in verdicts])
        for condition, verdict in verdicts:
            self._refuse_no_value(condition, kept & ~verdict.known)
        if not kept.any():
            raise NothingAllowed("no configuration keeps the conditions")
        ranks = {name: column[kept] for name, column in self.ranks.items()}
        return _Rows(int(kept.sum()), self.knobs, ranks, self.codes)

    def _holds(self, condition: Condition) -> Column:
        verdict = self._verdict(condition)
        self._refuse_no_value(condition, ~verdict.known)
        return verdict

    def _verdict(self, condition: Condition) -> Column:
        columns = {n: column_of(self.knobs[n].values, self.ranks[n], self.codes) for n in condition.names}
        found = evaluate(condition, columns, self.codes)
        return Column(found.numbers, np.broadcast_to(found.codes, (self.count,)))

    def _refuse_no_value(self, condition: Condition, without: np.ndarray) -> None:
        """Refuse rows in which a condition has no value, though all of its knobs exist."""
        for name in condition.names:
            without = without & (self.ranks[name] < len(self.knobs[name].values))
        if without.any():
            at = int(np.argmax(without))
            values = (f"{n} = {self.knobs[n].values[self.ranks[n][at]]!r}" for n in sorted(condition.names))
            raise NoValue(condition, ", ".join(values))
