"""The application builder that exported Serve configs name: it serves the same replica in production as in a trial."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ray.serve import Application

from serve_deployments.batches.passing_on import AnswerWait
from serve_deployments.endpoint import Payload
from serve_deployments.models.model import Builder, ModelFiles, ModelSource
from serve_deployments.replicas.http.payload_type import PayloadType
from serve_deployments.replicas.http.warm_up import from_config
from serve_deployments.replicas.replica import Replica
from serve_deployments.settings import Settings


def application(args: Mapping[str, Any]) -> Application:
    """Builds the application of an exported config.

    Args:
        args: `model`: the fields of a Builder or ModelFiles; `settings`: the fields of Settings; `payload`: the fields
            of PayloadType, for JSON if it is left out; `answers_within_s`: seconds after which a request to a model
            that batches for itself is answered with an error, never if it is left out; `warm_up`: samples, see
            `warm_up`, none if it is left out.

    Raises:
        BadPayload: one of the samples is no payload of this service.
    """
    source, settings, payload_type, samples = parts_of(args)
    return Replica.bind(source, settings.as_dict(), payload_type=payload_type, samples=samples)


def parts_of(args: Mapping[str, Any]) -> tuple[ModelSource, Settings, PayloadType, list[Payload]]:
    """What the arguments of `application` say: the model, its settings, its payloads, and samples of them."""
    model = args["model"]
    source: ModelSource = Builder(**model) if "reference" in model else ModelFiles(**model)
    if isinstance(source, Builder) and "answers_within_s" in args:
        source = replace(source, wait=AnswerWait.always(args["answers_within_s"]))
    payload_type = PayloadType(**args.get("payload", {}))
    return source, Settings.of(args["settings"]), payload_type, from_config(args.get("warm_up", []), payload_type)
