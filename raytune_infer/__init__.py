"""Finds the best serving configuration of a model on Ray in a handful of real trials.

>>> from raytune_infer import Study, load_spec
>>> result = Study(load_spec("service.yaml")).run(trials=12)
>>> result.best.config, result.best.metrics
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raytune_infer.errors import UserError
    from raytune_infer.recommending.recommendation import Recommendation, recommend
    from raytune_infer.result import StudyResult
    from raytune_infer.spec import ServiceSpec, load_spec
    from raytune_infer.study import Study
    from searchers.tune import TuneSearcher
    from serve_deployments.models.batch_parts import Parts, fast_batches

__all__ = [
    "Parts", "Recommendation", "ServiceSpec", "Study", "StudyResult", "TuneSearcher", "UserError", "fast_batches",
    "load_spec", "recommend",
]  # fmt: skip

_HOMES = {
    "Parts": "serve_deployments.models.batch_parts",
    "Recommendation": "raytune_infer.recommending.recommendation",
    "ServiceSpec": "raytune_infer.spec",
    "Study": "raytune_infer.study",
    "StudyResult": "raytune_infer.result",
    "TuneSearcher": "searchers.tune",
    "UserError": "raytune_infer.errors",
    "fast_batches": "serve_deployments.models.batch_parts",
    "load_spec": "raytune_infer.spec",
    "recommend": "raytune_infer.recommending.recommendation",
}


def __getattr__(name: str) -> Any:
    """Imported when asked for: replicas and the command line's help need neither torch nor Ray Tune."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
