"""Where the knobs of a space are among a Tuner's parameters, which may be nested, also in lists."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from searchers.ray_tune.reference import Reference
from searchers.space import Config, Knob, Space

Path = tuple[Any, ...]
"""The keys that lead to a parameter, outermost first: those of dicts as they are, and positions in lists and tuples."""


def name_of(path: Path) -> str:
    """The knob's name: its keys with `/` between them, as Tune itself flattens results."""
    return "/".join(map(str, path))


@dataclass(frozen=True)
class KnobPaths:
    """Where each knob of a space is among a Tuner's parameters.

    Args:
        paths: the knob's name → its path.
        param_space: the parameters that the paths lead through; constants in them are kept where Tune would lose them.
    """

    paths: Mapping[str, Path]
    param_space: Mapping[Any, Any]

    @classmethod
    def of_names(cls, names: Iterable[str]) -> Self:
        """The paths of knobs that were not read from a `param_space`: a name with `/` is a nested key.

        Raises:
            ValueError: a knob would be inside of another one.
        """
        paths: dict[str, Path] = {name: tuple(name.split("/")) for name in names}
        template: dict[str, Any] = {}
        for name, (*parents, leaf) in paths.items():
            place = template
            for number, parent in enumerate(parents, 1):
                if (outer := "/".join(parents[:number])) in paths:
                    raise ValueError(f"knob {name!r} would be inside of {outer!r}, as `/` nests; rename one of them")
                place = place.setdefault(parent, {})
            place[leaf] = None
        return cls(paths, template)

    def nested(self, config: Config) -> dict[Any, Any]:
        """A configuration in Tune's form, to be merged with `param_space`.

        Constants are left out of dicts, which Tune merges key by key. It replaces a list as a whole, so a list has its
        constants too.
        """
        values = {
            self.paths[name]: value.stands_for if isinstance(value, Reference) else value
            for name, value in config.items()
        }
        leading = {path[:length] for path in values for length in range(1, len(path) + 1)}
        found: dict[Any, Any] = _with_values(self.param_space, (), values, leading)
        return found

    def config_of(self, parameters: Mapping[Any, Any], space: Space) -> Config:
        """The values of the knobs among a trial's parameters, nested or by name; constants are left out."""
        found = {knob: _at(parameters, self.paths[knob.name]) for knob in space.knobs}
        found = {knob: parameters.get(knob.name, _NOTHING) if v is _NOTHING else v for knob, v in found.items()}
        return {knob.name: _offered(knob, value) for knob, value in found.items() if value is not _NOTHING}


_NOTHING = object()


def _with_values(given: Any, at: Path, values: Mapping[Path, Any], leading: set[Path] | None) -> Any:
    """What is given with the values at their paths; of dicts only the keys in `leading`, or all if that is None."""
    if at in values:
        return values[at]
    if isinstance(given, Mapping):
        kept = [key for key in given if leading is None or (*at, key) in leading]
        return {key: _with_values(given[key], (*at, key), values, leading) for key in kept}
    if isinstance(given, list | tuple):
        made = [_with_values(one, (*at, number), values, None) for number, one in enumerate(given)]
        return made if isinstance(given, list) else tuple(made)
    return given


def _at(parameters: Any, path: Path) -> Any:
    """What is at a path; `_NOTHING` if it leads nowhere."""
    for key in path:
        if isinstance(parameters, Mapping):
            parameters = parameters.get(key, _NOTHING)
        elif isinstance(parameters, list | tuple) and isinstance(key, int) and key < len(parameters):
            parameters = parameters[key]
        else:
            return _NOTHING
    return parameters


def _offered(knob: Knob, value: Any) -> Any:
    """The knob's own value for what a trial's configuration has; the same object if the knob does not offer it."""
    plain = value.item() if isinstance(value, np.generic) else value
    return next((v for v in knob.values if isinstance(v, Reference) and v.stands_for == plain), plain)
