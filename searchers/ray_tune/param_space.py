"""Conversion of a Tuner's `param_space` to a Space; the only module that reads Tune's domain classes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from ray.tune.search.sample import Categorical, Domain, Float, Integer, Quantized
from ray.tune.search.variant_generator import parse_spec_vars

from searchers.space import Config, Knob, Space, Value

MOST_CONFIGURATIONS = 1_000_000
"""Largest number of configurations: searchers score all of them at every call, and with more a suggestion takes longer
than seconds."""


def space_of(param_space: Mapping[str, Any]) -> Space:
    """The finite space that a `param_space` spans, without its constants.

    A nested key becomes one knob with `/` between its parts, as Tune itself flattens results.

    Raises:
        ValueError: a domain that is not finite, a choice between objects, too many configurations, or
            no domain at all; the message names the key and the remedy.
    """
    _, domains, grids = parse_spec_vars(dict(param_space))
    knobs = [_knob("/".join(map(str, path)), domain) for path, domain in (*domains, *grids)]
    if not knobs:
        raise ValueError(
            "`param_space` holds constants only, so there is nothing to search; use choice, grid_search, "
            "randint, qrandint or quniform for at least one key, or give TuneSearcher a `space`"
        )
    size = math.prod(len(knob.values) for knob in knobs)
    if size > MOST_CONFIGURATIONS:
        largest = max(knobs, key=lambda knob: len(knob.values))
        raise ValueError(
            f"`param_space` has {size:,} configurations, at most {MOST_CONFIGURATIONS:,} can be searched; "
            f"give {largest.name!r} fewer than its {len(largest.values):,} values"
        )
    return Space(knobs)


def nested(config: Config) -> dict[str, Any]:
    """A configuration in Tune's form: keys with `/` are turned back into nested dicts."""
    out: dict[str, Any] = {}
    for name, value in config.items():
        *parents, leaf = name.split("/")
        place = out
        for parent in parents:
            place = place.setdefault(parent, {})
        place[leaf] = value
    return out


def _knob(name: str, domain: Domain) -> Knob:
    match domain:
        case Categorical():
            return _choice(name, list(domain.categories))
        case Integer():
            return _choice(name, _integers(name, domain))
        case Float() if isinstance(domain.sampler, Quantized) and math.isfinite(domain.upper - domain.lower):
            return _choice(name, _multiples(name, domain, domain.sampler.q))
    raise ValueError(
        f"`param_space` key {name!r} is {domain.domain_str}, which has no finite number of values; use choice, "
        f"grid_search, randint, qrandint or quniform, e.g. tune.quniform(lower, upper, step)"
    )


def _choice(name: str, categories: Iterable[Any]) -> Knob:
    values: dict[tuple[type, Value], Value] = {}
    for value in categories:
        if not isinstance(value, str | int | float | bool):
            raise ValueError(
                f"`param_space` key {name!r} chooses between objects such as {value!r}; choose between names "
                "(strings or numbers) and look the object up in the trainable"
            )
        values.setdefault((type(value), value), value)
    distinct = tuple(values.values())
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in distinct):
        return Knob(name, tuple(sorted(distinct, key=float)))
    return Knob(name, distinct, kind="categorical")


def _integers(name: str, domain: Integer) -> Iterable[int]:
    if isinstance(domain.sampler, Quantized) and domain.sampler.q != 1:
        return [int(value) for value in _multiples(name, domain, domain.sampler.q)]
    return range(_at_most(name, domain.lower, domain.upper), domain.upper)  # Tune excludes the upper end.


def _multiples(name: str, domain: Integer | Float, q: float) -> list[float]:
    """The multiples of q within the bounds, both included, as Tune's Quantized samples them."""
    # A small tolerance, so that rounding loses no bound: 0.3 / 0.1 is 2.9999999999999996.
    first, last = math.ceil(domain.lower / q - 1e-9), math.floor(domain.upper / q + 1e-9)
    _at_most(name, first, last)
    return [round(i * q, 12) for i in range(first, last + 1)]


def _at_most(name: str, first: int, last: int) -> int:
    if last - first > MOST_CONFIGURATIONS:
        raise ValueError(
            f"`param_space` key {name!r} alone has {last - first:,} values, at most {MOST_CONFIGURATIONS:,} "
            "configurations can be searched; use a choice of fewer, or a larger step"
        )
    return first
