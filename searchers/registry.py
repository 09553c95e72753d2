"""Registry of the searchers by name, for specs, command lines and tables."""

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

SearcherFactory = Callable[[Problem], Searcher]
"""What makes a searcher for a problem: a registered one, or a function of the user's."""

DEFAULT = "meta"
"""Name of the searcher that is used when none is given."""


@dataclass(frozen=True)
class Listed:
    """Registry entry of a searcher; called with a problem, it makes the searcher.

    The module is imported only then, as torch and other libraries take seconds to import.

    Args:
        module: name of the module that defines the searcher.
        maker: class or function in that module that makes the searcher from a problem.
        needs: the library of the extra `bench` that the searcher requires; None if the package itself is enough.
        learns: whether it uses a problem's sources; the others ignore earlier services.
        predicts_gain: whether it is a `PredictsGain`, which can say when to stop.
        takes_surfaces: whether it starts from a `SurfaceModel`, so that another than the shipped one can be given.
    """

    module: str
    maker: str
    needs: str | None = None
    learns: bool = False
    predicts_gain: bool = False
    takes_surfaces: bool = False

    def __call__(self, problem: Problem) -> Searcher:
        """Make the searcher for a problem."""
        return getattr(import_module(self.module), self.maker)(problem)


NAMED: Mapping[str, Listed] = MappingProxyType(
    {
        "random": Listed("searchers.baselines.random_search", "RandomSearch"),
        "ernest": Listed("searchers.baselines.ernest", "Ernest"),
        "hyperopt": Listed("searchers.baselines.tpe", "Hyperopt"),
        "optuna-tpe": Listed("searchers.baselines.optuna_samplers", "optuna_tpe", needs="optuna"),
        "optuna-gp": Listed("searchers.baselines.optuna_samplers", "optuna_gp", needs="optuna"),
        "bo": Listed("searchers.baselines.bayesian", "BayesianOptimisation", needs="botorch"),
        "constrained-gp": Listed("searchers.baselines.constrained_gp", "ConstrainedProcess", needs="botorch"),
        "portfolio": Listed("searchers.baselines.from_sources.portfolio", "Portfolio", learns=True),
        "portfolio-greedy": Listed("searchers.baselines.from_sources.portfolio", "greedy_portfolio", learns=True),
        "finetune": Listed("searchers.baselines.from_sources.finetune", "FineTuning", learns=True),
        "quantile-transfer": Listed(
            "searchers.baselines.from_sources.quantile_transfer", "QuantileTransfer", learns=True
        ),
        "quantile-transfer-gp": Listed(
            "searchers.baselines.from_sources.quantile_process", "QuantileProcess", needs="botorch", learns=True
        ),
        "residual-gp": Listed("searchers.baselines.bayesian", "ResidualProcess", needs="botorch", learns=True),
        "constrained-residual-gp": Listed(
            "searchers.baselines.constrained_gp", "constrained_residual", needs="botorch", learns=True
        ),
        "vizier": Listed("searchers.baselines.from_sources.vizier", "Vizier", needs="botorch", learns=True),
        "rgpe": Listed("searchers.baselines.from_sources.rgpe", "RankingWeighted", needs="botorch", learns=True),
        "falcon": Listed("searchers.falcon.falcon", "Falcon", learns=True),
        "morphling": Listed("searchers.baselines.from_sources.meta_trained", "morphling", learns=True),
        "meta": Listed("searchers.meta.meta", "meta", learns=True, predicts_gain=True, takes_surfaces=True),
    }
)
"""All searchers by name; the constants below are derived from this table."""

LEARNS: frozenset[str] = frozenset(name for name, listed in NAMED.items() if listed.learns)
"""Names of the searchers that learn from a problem's sources."""

PREDICT_GAINS: frozenset[str] = frozenset(name for name, listed in NAMED.items() if listed.predicts_gain)
"""Names of the searchers that can say when to stop."""

TAKES_SURFACES: frozenset[str] = frozenset(name for name, listed in NAMED.items() if listed.takes_surfaces)
"""Names of the searchers that can be given a `SurfaceModel`."""

_NEEDS: Mapping[str, str] = {name: listed.needs for name, listed in NAMED.items() if listed.needs is not None}


def named(name: str, surfaces: SurfaceModel | None = None) -> SearcherFactory:
    """The factory of the searcher with this name; called with a problem, it makes the searcher.

    Args:
        name: one of `NAMED`.
        surfaces: the model that the searcher starts from; the shipped one when left out.

    Raises:
        ValueError: no searcher has this name, a library that it needs is not installed, or it takes no surfaces.
    """
    if name not in NAMED:
        raise ValueError(f"unknown searcher {name!r}; available: {', '.join(sorted(NAMED))}")
    library = _NEEDS.get(name)
    if library is not None and find_spec(library) is None:
        raise ValueError(
            f"searcher {name!r} needs {library}, which is not installed; pip install 'raytune-infer[bench]'"
        )
    if surfaces is None:
        return NAMED[name]
    if name not in TAKES_SURFACES:
        able = ", ".join(sorted(TAKES_SURFACES))
        raise ValueError(f"searcher {name!r} cannot start from a surface model; these can: {able}")
    from searchers.meta.meta import meta

    return partial(meta, surfaces=surfaces)
