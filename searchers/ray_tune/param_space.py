"""Conversion of a Tuner's `param_space` to a Space; the only module that reads Tune's domain classes."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from ray.tune.search.sample import Categorical, Domain, Float, Integer, Quantized
from ray.tune.search.variant_generator import parse_spec_vars

from searchers.ray_tune.knob_paths import KnobPaths, Path, name_of
from searchers.ray_tune.reference import REFERENCES, Reference
from searchers.space import Knob, Space, Value

_log = logging.getLogger(__name__)

MOST_CONFIGURATIONS = 1_000_000
"""Largest number of configurations: searchers score all of them at every call, and with more a suggestion takes longer
than seconds."""


def space_of(param_space: Mapping[str, Any]) -> Space:
    """The finite space that a `param_space` spans, without its constants.

    A nested key becomes one knob with `/` between its parts (`KnobPaths`), and so does a choice in a list.

    Raises:
        ValueError: a domain that is not finite, a choice between objects, nothing or numbers that are not finite, two
            keys of one name, too many configurations, or no domain at all; the message names the key and the remedy.
    """
    knobs = [_knob(name, domain) for name, (_, domain) in _domains(param_space).items()]
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


def paths_of(param_space: Mapping[str, Any]) -> KnobPaths:
    """Where the knobs of `space_of` are in the `param_space`; ValueError as there."""
    return KnobPaths({name: path for name, (path, _) in _domains(param_space).items()}, param_space)


def _domains(param_space: Mapping[str, Any]) -> dict[str, tuple[Path, Domain]]:
    """Each domain with its path, by the name of its knob. Raises ValueError if two have the same name."""
    found: dict[str, tuple[Path, Domain]] = {}
    _, domains, grids = parse_spec_vars(dict(param_space))
    for path, domain in (*domains, *grids):
        first, _ = found.setdefault(name_of(path), (path, domain))
        if first != path:
            raise ValueError(
                f"`param_space` has two keys that read {name_of(path)!r}, {list(first)} and {list(path)}; rename one"
            )
    return found


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
    """The knob of a choice, with its values in order if all are numbers. Raises ValueError."""
    values: dict[tuple[type, Value], Value] = {}
    for number, given in enumerate(categories):
        value = given.item() if isinstance(given, np.generic) else given
        if value is None:
            value = Reference("None")
        elif isinstance(value, tuple) and value[:1] and value[0] in REFERENCES:
            value = Reference(f"object {number}", value)
        if not isinstance(value, str | int | float | bool):
            raise ValueError(
                f"`param_space` key {name!r} chooses between objects such as {value!r}; choose between names "
                "(strings or numbers) and look the object up in the trainable"
            )
        if isinstance(value, int | float) and not abs(value) <= sys.float_info.max:
            raise ValueError(
                f"`param_space` key {name!r} chooses {value!r}, which is not a finite number; choose None or a name "
                "such as 'unlimited' in its place, and translate that in the trainable"
            )
        values.setdefault((type(value), value), value)
    distinct = tuple(values.values())
    if not distinct:
        raise ValueError(f"`param_space` key {name!r} has nothing to choose from; give it one value or more")
    if any(isinstance(v, Reference) and v.stands_for is not None for v in distinct):
        _log.warning(
            "`param_space` key %r chooses between objects, which Tune passes on as references, also numpy's numbers: "
            "their order is not known. For numbers write Python's own, as `.tolist()` makes them", name
        )  # fmt: skip
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
