"""Conversion of a Tuner's `param_space` to a Space; the only module that reads Tune's domain classes."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from typing import Any, Self

import numpy as np
from ray.tune.search.sample import Categorical, Domain, Float, Integer, Quantized
from ray.tune.search.variant_generator import parse_spec_vars

from searchers.space import Config, Knob, Space, Value

_log = logging.getLogger(__name__)

_REFERENCES = ("__ref_ph", "__fn_ph")
"""First part of what Tune 2.60 hands to searchers in place of an object (`ray.tune.impl.placeholder`)."""

MOST_CONFIGURATIONS = 1_000_000
"""Largest number of configurations: searchers score all of them at every call, and with more a suggestion takes longer
than seconds."""


class Reference(str):
    """Name of a choice that is neither a text nor a number.

    Args:
        name: the name.
        stands_for: what Tune gets for it: None, or Tune's reference to an object, which it resolves for the trial.
    """

    stands_for: Any

    def __new__(cls, name: str, stands_for: Any = None) -> Self:
        """Return the text with what it stands for."""
        self = super().__new__(cls, name)
        self.stands_for = stands_for
        return self


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
        place[leaf] = value.stands_for if isinstance(value, Reference) else value
    return out


def config_of(parameters: Mapping[str, Any], space: Space) -> Config:
    """The values of the knobs among a trial's parameters, nested or not; constants are left out."""
    flat: dict[str, Any] = {}
    stack = [("", parameters)]
    while stack:
        prefix, level = stack.pop()
        for key, value in level.items():
            if isinstance(value, Mapping):
                stack.append((f"{prefix}{key}/", value))
            else:
                flat[f"{prefix}{key}"] = value
    return {knob.name: _offered(knob, flat[knob.name]) for knob in space.knobs if knob.name in flat}


def _offered(knob: Knob, value: Any) -> Any:
    """The knob's own value for what a trial's configuration has; the same object if the knob does not offer it."""
    plain = value.item() if isinstance(value, np.generic) else value
    return next((v for v in knob.values if isinstance(v, Reference) and v.stands_for == plain), plain)


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
    for number, given in enumerate(categories):
        value = given.item() if isinstance(given, np.generic) else given
        if value is None:
            value = Reference("None")
        elif isinstance(value, tuple) and value[:1] and value[0] in _REFERENCES:
            value = Reference(f"object {number}", value)
        if not isinstance(value, str | int | float | bool):
            raise ValueError(
                f"`param_space` key {name!r} chooses between objects such as {value!r}; choose between names "
                "(strings or numbers) and look the object up in the trainable"
            )
        values.setdefault((type(value), value), value)
    distinct = tuple(values.values())
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
