"""The searchers by name, for specs, command lines and tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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


def _later(module: str, name: str) -> Factory:
    """A searcher whose module is imported when it is made: torch and other libraries take seconds to import."""
    return lambda problem: getattr(import_module(module), name)(problem)


NAMED: Mapping[str, Factory] = MappingProxyType(
    {
        "random": _later("searchers.baselines.random_search", "RandomSearch"),
        "ernest": _later("searchers.baselines.ernest", "Ernest"),
        "hyperopt": _later("searchers.baselines.tpe", "Hyperopt"),
        "optuna-tpe": _later("searchers.baselines.optuna_samplers", "optuna_tpe"),
        "optuna-gp": _later("searchers.baselines.optuna_samplers", "optuna_gp"),
        "bo": _later("searchers.baselines.bayesian", "BayesianOptimisation"),
        "portfolio": _later("searchers.baselines.portfolio", "Portfolio"),
        "finetune": _later("searchers.baselines.finetune", "FineTuning"),
        "quantile-transfer": _later("searchers.baselines.quantile_transfer", "QuantileTransfer"),
        "residual-gp": _later("searchers.baselines.bayesian", "ResidualProcess"),
        "vizier": _later("searchers.baselines.vizier", "Vizier"),
        "rgpe": _later("searchers.baselines.rgpe", "RankingWeighted"),
        "morphling": _later("searchers.morphling.morphling", "Morphling"),
        "meta": _later("searchers.meta.meta", "meta"),
    }
)
# Libraries of the extra `bench`; all others come with the package.
_NEEDS = {
    "optuna-tpe": "optuna", "optuna-gp": "optuna",
    "bo": "botorch", "residual-gp": "botorch", "vizier": "botorch", "rgpe": "botorch",
}  # fmt: skip


LEARNS: frozenset[str] = frozenset(
    {"portfolio", "finetune", "quantile-transfer", "residual-gp", "vizier", "rgpe", "meta"}
)
"""Which of them make use of a problem's sources; the others ignore what was studied before."""

PREDICT_GAINS: frozenset[str] = frozenset({"meta"})
"""Which of them are `PredictsGain`: they can say when to stop."""

TAKES_SURFACES: frozenset[str] = frozenset({"meta"})
"""Which of them start from what services could be, so that others than those that ship can be given."""


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
