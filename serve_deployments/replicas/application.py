"""The application builder that exported Serve configs name: it serves the same replica in production as in a trial."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray.serve import Application

from serve_deployments.models.model import Builder, ModelSource, Weights
from serve_deployments.replicas.http.payload_type import PayloadType
from serve_deployments.replicas.replica import Replica


def application(args: Mapping[str, Any]) -> Application:
    """Builds the application of an exported config.

    Args:
        args: `model`: the fields of a Builder or of Weights; `settings`: the fields of Settings; `payload`: the fields
            of PayloadType, for JSON if it is left out.
    """
    model = args["model"]
    source: ModelSource = Builder(**model) if "reference" in model else Weights(**model)
    return Replica.bind(source, args["settings"], payload_type=PayloadType(**args.get("payload", {})))
