"""Finds the best serving configuration of a model on Ray in a handful of real trials.

>>> from raytune_infer import Study, load_spec
>>> result = Study(load_spec("service.yaml")).run(trials=12)
>>> result.best.config, result.best.metrics
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raytune_infer.errors import UserError
    from raytune_infer.ranking.recommendation import Recommendation, recommend
    from raytune_infer.spec.service_spec import ServiceSpec, load_spec
    from raytune_infer.study.result import StudyResult
    from raytune_infer.study.study import Study
    from searchers.ray_tune.tune_searcher import TuneSearcher
    from serve_deployments.batches.batch_parts import Parts
    from serve_deployments.batches.fast_batches import fast_batches

__all__ = [
    "Parts", "Recommendation", "ServiceSpec", "Study", "StudyResult", "TuneSearcher", "UserError", "fast_batches",
    "load_spec", "recommend",
]  # fmt: skip

_HOMES = {
    "Parts": "serve_deployments.batches.batch_parts",
    "Recommendation": "raytune_infer.ranking.recommendation",
    "ServiceSpec": "raytune_infer.spec.service_spec",
    "Study": "raytune_infer.study.study",
    "StudyResult": "raytune_infer.study.result",
    "TuneSearcher": "searchers.ray_tune.tune_searcher",
    "UserError": "raytune_infer.errors",
    "fast_batches": "serve_deployments.batches.fast_batches",
    "load_spec": "raytune_infer.spec.service_spec",
    "recommend": "raytune_infer.ranking.recommendation",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use: replicas and the command line's help need neither torch nor Ray Tune."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
