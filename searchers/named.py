"""The searchers by name, for specs, command lines and tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from searchers.base import Problem, Searcher
from searchers.baselines import Ernest, RandomSearch
from searchers.morphling import Morphling

Factory = Callable[[Problem], Searcher]

DEFAULT = "morphling"
"""Who searches where nobody is asked for."""


def _hyperopt(problem: Problem) -> Searcher:
    # Imported when asked for: hyperopt takes longer to import than all of ours.
    from searchers.tpe import Hyperopt

    return Hyperopt(problem)


NAMED: Mapping[str, Factory] = MappingProxyType(
    {"random": RandomSearch, "ernest": Ernest, "hyperopt": _hyperopt, "morphling": Morphling}
)


LEARNS: frozenset[str] = frozenset()
"""Which of them make use of a problem's sources; the others ignore what was studied before."""


def named(name: str) -> Factory:
    """The searcher of that name, still to be given its problem.

    Raises:
        ValueError: no such name.
    """
    if name not in NAMED:
        raise ValueError(f"no searcher is called {name!r}; there are {', '.join(sorted(NAMED))}")
    return NAMED[name]
