"""Fingerprint of a study: what must not change when a run is resumed, so that its numbers stay comparable."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raytune_infer.spec.document import dotted
from raytune_infer.spec.goals.own_limits import own_limits_ms
from raytune_infer.spec.knobs.knob_space import conditions, whens
from raytune_infer.spec.quality_spec import QualitySpec
from raytune_infer.spec.service import Service
from raytune_infer.study.fingerprint.file_digests import changed_files, model_digests, named_digests
from raytune_infer.study.space import ServiceSpace
from serve_deployments.load.arrivals import Trace

_LATER = ("concurrent", "answers_within_s", "llm", "engine")
"""Keys of `model` that were added later."""

_FILES = {"files": True, "named_files": False}
"""Part with digests of files → whether a file that is new is a change: an argument may name what the model writes."""


Fingerprint = Mapping[str, Any]
"""Part of a study → its value or a digest of it, short enough to store and compare."""


def fingerprint(service: Service, space: ServiceSpace, files: Fingerprint) -> Fingerprint:
    """Return the fingerprint of a study.

    Args:
        service: the service.
        space: its configurations that fit on the cluster.
        files: the parts with digests of files; see `files_of`.
    """
    spec, problem = service.spec, space.problem
    goal = problem.objective
    return {
        # Without what was not said, as studies from before it could be said do not have it.
        "model": spec.model.model_dump(mode="json", exclude={n for n in _LATER if not getattr(spec.model, n)}),
        "samples": _digest(pickle.dumps(service.samples, protocol=4)),
        "knobs": {knob.name: list(knob.values) for knob in problem.space.knobs},
        # None where there are none, as in studies from before there could be some.
        "conditions": {
            dotted(place): c.text for place, c in (*whens(spec.knobs).items(), *conditions(spec.where).items())
        }
        or None,
        # Positions number the configurations that fit, so on another cluster they could mean others.
        "configurations": [len(problem.space), _digest(problem.space.ranks.tobytes())],
        "objective": [goal.goal.text, goal.minimize, dict(goal.at_least)],
        "limits": {**goal.at_most, **own_limits_ms(spec.limits)},
        # The content of a trace file; its name, and every other arrival pattern, is under "load".
        "trace": _digest(pickle.dumps(service.arrivals, protocol=4)) if isinstance(service.arrivals, Trace) else None,
        "load": spec.load.model_dump(mode="json"),
        # None where there are none, as in studies from before facts existed.
        "facts": dict(spec.facts) or None,
        # None for what is compared unless told otherwise, as in studies from before answers were compared.
        "quality": None if spec.quality == QualitySpec() else spec.quality.model_dump(mode="json"),
        "prices": _digest(problem.usd_per_hour.tobytes()),
        **files,
    }


def files_of(service: Service) -> Fingerprint:
    """Return the parts with digests of files, as they are now; they can be compared without a cluster."""
    return {"files": model_digests(service), "named_files": named_digests(service)}


def differences(before: Fingerprint, now: Fingerprint) -> list[str]:
    """Return the names of the parts that differ, and the files that changed; of a study without digests, none did."""
    parts = [name for name in now if name not in _FILES and before.get(name) != now[name]]
    changed = [
        changed_files(_in_the_folder(before[name], now[name]), now[name], added=added)
        for name, added in _FILES.items()
        if name in before and name in now
    ]
    return parts + sum(changed, [])


def _in_the_folder(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """Return digests without those of files outside the service's folder, which earlier versions kept too."""
    return {name: was for name, was in before.items() if name in now or not _leads_out(name)}


def _leads_out(name: str) -> bool:
    return name.startswith(("/", "~")) or ".." in Path(name).parts


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
