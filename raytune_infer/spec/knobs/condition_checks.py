"""Checks of the conditions of a service.yaml, of what they leave, and of the default configuration under them."""

from __future__ import annotations

import math
from collections.abc import Mapping

from raytune_infer.spec.document import shown
from raytune_infer.spec.knobs.knob_space import (
    MOST_CONFIGURATIONS,
    Place,
    Where,
    conditions,
    encoded,
    space_of,
    whens,
)
from raytune_infer.spec.knobs.knob_spec import Knobs, values_of
from raytune_infer.spec.spec_errors import At
from searchers.space import Condition, Knob, Value
from searchers.space.condition_check import check_condition
from searchers.space.rows import NothingAllowed, NoValue, TooMany, allowed_rows, existing, keeps

_FEWER = "leave some out, a searcher needs no fine steps"


def check_conditions(knobs: Knobs, where: Where) -> None:
    """Check each condition, and that together they leave configurations to search, and not too many.

    Raises:
        At: a check failed; it names the place.
    """
    values = {name: values_of(knob) for name, knob in knobs.items()}
    found = {**whens(knobs), **conditions(where)}
    for place, condition in found.items():
        try:
            check_condition(condition, values)
        except ValueError as error:
            raise At(place, str(error)) from None
    if found:
        _check_left(encoded(knobs), conditions(where), found)
    elif math.prod(map(len, values.values())) > MOST_CONFIGURATIONS:
        raise At(("knobs",), f"these values make more than {MOST_CONFIGURATIONS} configurations; {_FEWER}")


def check_default(knobs: Knobs, where: Where, default: Mapping[str, Value]) -> None:
    """Check that the configuration to beat has a value for every knob that exists in it, and keeps all conditions.

    Args:
        knobs: the knobs, whose conditions have been checked.
        where: conditions that have been checked.
        default: some values of knobs; empty: the first value of each knob is meant.

    Raises:
        At: a check failed; it names the place.
    """
    full = {name: values_of(knob)[0] for name, knob in knobs.items()} | dict(default)
    there = existing(encoded(knobs), full)
    if default and (missing := [name for name in there if name not in default]):
        raise At(("default",), f"leaves out {', '.join(missing)}; name a value for every knob or for none")
    for place, condition in whens(knobs).items():
        if (name := str(place[1])) in default and name not in there:
            raise At(
                ("default", name), f"{name} does not exist here, as {condition.text!r} does not hold; leave it out"
            )
    for place, condition in conditions(where).items():
        if keeps(encoded(knobs), full, condition):
            continue
        if default:
            raise At(("default",), f"breaks {condition.text!r} of `where`; choose values that keep it")
        raise At(place, f"the first value of each knob, the configuration to beat, breaks {condition.text!r}; give a "
                        f"`default` that keeps it, such as {shown(space_of(knobs, where)[0])}")  # fmt: skip


def _check_left(knobs: list[Knob], where: Mapping[Place, Condition], found: Mapping[Place, Condition]) -> None:
    """Check that conditions leave configurations, not too many, and every knob in some of them.

    Args:
        knobs: the knobs.
        where: the conditions of all.
        found: these and those of single knobs.
    """
    try:
        rows = allowed_rows(knobs, list(where.values()), MOST_CONFIGURATIONS)
    except NoValue as error:
        raise At(next(place for place, c in found.items() if c == error.condition), str(error)) from None
    except TooMany as error:
        raise At(("knobs",), f"{error}; {_FEWER}") from None
    except NothingAllowed:
        raise _nothing_left(knobs, where) from None
    except ValueError as error:
        raise At(("knobs",), str(error)) from None
    for knob, ranks in zip(knobs, rows.T, strict=True):
        if (ranks == len(knob.values)).all():
            raise At(
                ("knobs", knob.name, "when"),
                f"{str(knob.when)!r} holds for no configuration that is allowed, so {knob.name} would exist nowhere: "
                f"{_offered(knobs, knob.when)}; correct it, or leave the knob out",
            )


def _nothing_left(knobs: list[Knob], where: Mapping[Place, Condition]) -> At:
    """Return the error of the first condition that leaves nothing of what those before it leave."""
    for count, (place, condition) in enumerate(where.items(), 1):
        try:
            allowed_rows(knobs, list(where.values())[:count], MOST_CONFIGURATIONS)
        except (TooMany, NoValue):
            continue  # what lies before it may have too many, or none that its successors leave
        except NothingAllowed:
            before = "" if count == 1 else " of those that the conditions before it allow"
            said = f"{condition.text!r} leaves no configuration{before}: {_offered(knobs, condition)}; relax it"
            return At(place, said)
    return At(("where",), "together these conditions leave no configuration; leave one of them out")


def _offered(knobs: list[Knob], condition: Condition | None) -> str:
    """Return the values of the knobs in a condition, for a message."""
    concerned = [knob for knob in knobs if condition is not None and knob.name in condition.names]
    return ", ".join(f"{knob.name} is one of {shown(list(knob.values))}" for knob in concerned)
