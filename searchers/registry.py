"""The searchers by name, for specs, command lines and tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from types import MappingProxyType
from typing import TYPE_CHECKING

from searchers.base import Problem, Searcher

if TYPE_CHECKING:
    from searchers.surfaces.belief import SurfaceModel

Factory = Callable[[Problem], Searcher]

DEFAULT = "meta"
"""Who searches where nobody is asked for."""


@dataclass(frozen=True)
class Listed:
    """A searcher of the table: called with a problem, it is made.

    Its module is imported only then: torch and other libraries take seconds to import.

    Args:
        module: where it is.
        maker: class or function there that makes it of a problem.
        needs: a library of the extra `bench` that it is written with; None: it comes with the package.
        learns: it makes use of a problem's sources; the others ignore what was studied before.
        predicts_gain: it is a `PredictsGain`: it can say when to stop.
        takes_surfaces: it starts from what services could be, so that others than those that ship can be given.
    """

    module: str
    maker: str
    needs: str | None = None
    learns: bool = False
    predicts_gain: bool = False
    takes_surfaces: bool = False

    def __call__(self, problem: Problem) -> Searcher:
        """The searcher of this problem."""
        return getattr(import_module(self.module), self.maker)(problem)


NAMED: Mapping[str, Listed] = MappingProxyType(
    {
        "random": Listed("searchers.baselines.random_search", "RandomSearch"),
        "ernest": Listed("searchers.baselines.ernest", "Ernest"),
        "hyperopt": Listed("searchers.baselines.tpe", "Hyperopt"),
        "optuna-tpe": Listed("searchers.baselines.optuna_samplers", "optuna_tpe", needs="optuna"),
        "optuna-gp": Listed("searchers.baselines.optuna_samplers", "optuna_gp", needs="optuna"),
        "bo": Listed("searchers.baselines.bayesian", "BayesianOptimisation", needs="botorch"),
        "portfolio": Listed("searchers.baselines.portfolio", "Portfolio", learns=True),
        "finetune": Listed("searchers.baselines.finetune", "FineTuning", learns=True),
        "quantile-transfer": Listed("searchers.baselines.quantile_transfer", "QuantileTransfer", learns=True),
        "residual-gp": Listed("searchers.baselines.bayesian", "ResidualProcess", needs="botorch", learns=True),
        "vizier": Listed("searchers.baselines.vizier", "Vizier", needs="botorch", learns=True),
        "rgpe": Listed("searchers.baselines.rgpe", "RankingWeighted", needs="botorch", learns=True),
        "morphling": Listed("searchers.morphling.morphling", "Morphling"),
        "meta": Listed("searchers.meta.meta", "meta", learns=True, predicts_gain=True, takes_surfaces=True),
    }
)
"""The one table; what follows is read from it."""

LEARNS: frozenset[str] = frozenset(name for name, listed in NAMED.items() if listed.learns)
"""Which of them learn from a problem's sources."""

PREDICT_GAINS: frozenset[str] = frozenset(name for name, listed in NAMED.items() if listed.predicts_gain)
"""Which of them can say when to stop."""

TAKES_SURFACES: frozenset[str] = frozenset(name for name, listed in NAMED.items() if listed.takes_surfaces)
"""Which of them can be given surfaces."""

_NEEDS: Mapping[str, str] = {name: listed.needs for name, listed in NAMED.items() if listed.needs is not None}


def named(name: str, surfaces: SurfaceModel | None = None) -> Factory:
    """The searcher of that name, still to be given its problem.

    Args:
        name: one of `NAMED`.
        surfaces: what it is to start from; what ships when left out.

    Raises:
        ValueError: no such name, a library that the searcher needs is not installed, or it takes no surfaces.
    """
    if name not in NAMED:
        raise ValueError(f"no searcher is called {name!r}; there are {', '.join(sorted(NAMED))}")
    library = _NEEDS.get(name)
    if library is not None and find_spec(library) is None:
        raise ValueError(
            f"searcher {name!r} needs {library}, which is not installed; pip install 'raytune-infer[bench]'"
        )
    if surfaces is None:
        return NAMED[name]
    if name not in TAKES_SURFACES:
        raise ValueError(f"searcher {name!r} takes no surfaces; {', '.join(sorted(TAKES_SURFACES))} does")
    from searchers.meta.meta import meta

    return partial(meta, surfaces=surfaces)
