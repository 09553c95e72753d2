"""The space that the knobs of a service.yaml span, with the conditions on them: `where` of all, `when` of a knob."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from raytune_infer.spec.knobs.knob_spec import Knobs, KnobSpec, values_of
from raytune_infer.spec.spec_errors import At
from raytune_infer.spec.standard_knobs import encode
from searchers.space import Condition, Config, Knob, Space, Value
from searchers.space.rows import configurations, existing

MOST_CONFIGURATIONS = 1_000_000
"""Largest number of configurations. Our choice: searchers keep a table of them and evaluate each before each trial."""

Where = str | Sequence[str]
"""What is written under `where`: one condition, or several that must all hold."""

Place = tuple[str | int, ...]
"""The keys that lead to a part of the file."""


def space_of(knobs: Knobs, where: Where) -> Space:
    """Return the configurations of a service.yaml that has been checked, whether they fit on a cluster or not."""
    return Space(encoded(knobs), where=list(conditions(where).values()))


def first_of(knobs: Knobs) -> Config:
    """Return the configuration of the first value of each knob that exists in it."""
    first: Config = {name: values_of(knob)[0] for name, knob in knobs.items()}
    return existing(encoded(knobs), first) if whens(knobs) else first


def configs_among(knobs: Knobs, where: Where, values: Mapping[str, Sequence[Value]]) -> list[Config]:
    """Return the allowed configurations of some values of each knob, in no particular order.

    Args:
        knobs: the knobs, whose conditions have been checked.
        where: conditions that have been checked.
        values: name of a knob → some of its values; its first one where left out.
    """
    some = {name: values.get(name, values_of(knob)[:1]) for name, knob in knobs.items()}
    return configurations(encoded(knobs), list(conditions(where).values()), some)


def encoded(knobs: Knobs) -> list[Knob]:
    """Return the knobs as searchers take them, each with the condition under which it exists."""
    own = {str(place[1]): condition for place, condition in whens(knobs).items()}
    return [replace(encode(name, values_of(knob)), when=own.get(name)) for name, knob in knobs.items()]


def conditions(where: Where) -> dict[Place, Condition]:
    """Return the conditions under `where` by their places in the file; raises At for what is none."""
    listed = {("where",): where} if isinstance(where, str) else {("where", i): text for i, text in enumerate(where)}
    return {place: _condition(place, text) for place, text in listed.items()}


def whens(knobs: Knobs) -> dict[Place, Condition]:
    """Return the conditions of single knobs by their places in the file; raises At for what is none."""
    return {
        (place := ("knobs", name, "when")): _condition(place, knob.when)
        for name, knob in knobs.items()
        if isinstance(knob, KnobSpec) and knob.when is not None
    }


def _condition(place: Place, text: str) -> Condition:
    try:
        return Condition(text)
    except ValueError as error:
        raise At(place, str(error)) from None
