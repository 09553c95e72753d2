"""The Serve deployment that takes requests for many models and has replicas serve them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle
from starlette.requests import Request
from starlette.responses import Response

from serve_deployments.endpoint import DescribedError, first_line
from serve_deployments.replicas.http.answering import answer
from serve_deployments.replicas.http.bodies import JSON
from serve_deployments.replicas.http.results import to_json
from serve_deployments.replicas.loopback import stay_on_loopback
from serve_deployments.replicas.many.choosing.cheapest_conversion import CheapestConversion
from serve_deployments.replicas.many.dispatcher import Dispatcher
from serve_deployments.replicas.many.entry import ModelEntry, process_settings
from serve_deployments.replicas.many.errors import NoReplica, UnknownModel
from serve_deployments.replicas.many.handle_replica import HandleReplica
from serve_deployments.replicas.many.shown import Shown

HEADER = "serve_multiplexed_model_id"
"""HTTP header that names the model: Serve's own for multiplexed models, so clients need nothing new. With a handle:
`handle.options(multiplexed_model_id=NAME).infer.remote(payload)`."""


class FrontServer:
    """Gives requests to replicas (`Dispatcher`). One process does, as one must know what all replicas do.

    Args:
        entries: the models.
        idle_s: see `CheapestConversion`.
        handles: a handle for each replica.
    """

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, entries: Sequence[ModelEntry], idle_s: float, *handles: DeploymentHandle[Any]
    ) -> None:
        stay_on_loopback()
        replicas = {f"replica {number}": HandleReplica(handle) for number, handle in enumerate(handles, start=1)}
        self._dispatcher = Dispatcher(CheapestConversion(idle_s), replicas, entries, time.monotonic)
        self._shown = Shown(serve.get_replica_context().app_name)

    async def infer(self, payload: Any) -> Any:
        """Answers one request that came through a handle whose option `multiplexed_model_id` names the model."""
        try:
            return await self._infer(serve.get_multiplexed_model_id(), payload)
        except (UnknownModel, NoReplica, DescribedError) as error:
            raise DescribedError(first_line(error)) from None

    async def __call__(self, request: Request) -> Response:
        """Answers one HTTP request, whose header `serve_multiplexed_model_id` names the model.

        GET answers with `stats`. A model that is not served is answered with 404, no header with 400, and where no
        replica is there with 503; all else is as in `http.answering`.
        """
        if request.method == "GET":
            return Response(to_json(await self.stats()), media_type=JSON)
        name = serve.get_multiplexed_model_id()
        if not name:
            names = ", ".join(sorted(self._dispatcher.entries)) or "none"
            return _refused(400, f"name the model in the header {HEADER}; there are {names}")
        try:
            entry = self._dispatcher.entry(name)
        except UnknownModel as error:
            return _refused(404, str(error))
        return await answer(request, entry.payload_type, partial(self._infer, name), NoReplica)

    async def stats(self) -> dict[str, Any]:
        """What was done for requests so far, and which replica holds what."""
        return {**self._dispatcher.tally.as_dict(), "held": dict(self._dispatcher.held)}

    async def models(self) -> list[str]:
        """Names of the models that are served."""
        return sorted(self._dispatcher.entries)

    async def register(self, name: str, args: Mapping[str, Any]) -> None:
        """Serve one more model, or another one under this name; the arguments are those of an exported config.

        Raises:
            DescribedError: it cannot be served by these replicas; the message says why.
        """
        try:
            entry = ModelEntry.of(name, args)
            process_settings([*self._dispatcher.entries.values(), entry])
        except (ValueError, KeyError, TypeError) as error:
            raise DescribedError(first_line(error)) from None
        self._dispatcher.register(entry)

    async def unregister(self, name: str) -> None:
        """Serve a model no more; see `Dispatcher.unregister`. Raises DescribedError if there is none of this name."""
        try:
            self._dispatcher.unregister(name)
        except UnknownModel as error:
            raise DescribedError(str(error)) from None

    async def _infer(self, name: str, payload: Any) -> Any:
        try:
            return await self._dispatcher.infer(name, payload)
        finally:
            self._shown.show(self._dispatcher.tally)


def _refused(status: int, why: str) -> Response:
    return Response(to_json({"error": why}), status, media_type=JSON)


Front: serve.Deployment = serve.deployment(
    name="Front", max_ongoing_requests=1024, logging_config={"log_level": "WARNING"}
)(FrontServer)
"""The deployment that is asked."""
