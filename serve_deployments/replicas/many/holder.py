"""The Serve deployment of a replica that serves many models, one at a time."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import serve

from serve_deployments.endpoint import first_line
from serve_deployments.replicas.loopback import stay_on_loopback
from serve_deployments.replicas.many.conversions import TransformConversions
from serve_deployments.replicas.many.entry import ModelEntry
from serve_deployments.replicas.many.errors import ReplicaLost
from serve_deployments.replicas.many.held_models import HeldModels
from serve_deployments.replicas.many.line import Loaded


@dataclass(frozen=True)
class Reply:
    """What a replica answers. Errors are words: whoever asks may lack an exception's class.

    Args:
        value: the answer; None if there is an error.
        failure: what the model raised, or why it was not loaded; None if nothing.
        held: whether the replica held the model that it was asked for.
    """

    value: Any = None
    failure: str | None = None
    held: bool = True


@dataclass(frozen=True)
class HolderFacts:
    """Where a replica runs, and what it holds.

    Args:
        node: id of its node.
        pid: id of its process.
        model: name of the model; None if it holds none.
    """

    node: str
    pid: int
    model: str | None


class HolderServer:
    """A process that holds one model at a time; `Dispatcher` says which.

    Args:
        store: name of the folder, in that of Ray's session on the node, in which models are kept that can be converted.
    """

    def __init__(self, store: str) -> None:
        stay_on_loopback()
        node: Any = ray._private.worker._global_node
        folder = Path(node.get_session_dir_path()) / "raytune_infer_models" / store
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._models = HeldModels(lambda: TransformConversions(folder))

    async def hold(self, entry: ModelEntry) -> Reply:
        """Holds this model in place of another; the reply's value is how (`Loaded`)."""
        try:
            loaded: Loaded = await self._models.hold(entry)
        except Exception as error:
            return Reply(failure=first_line(error), held=False)
        return Reply(loaded)

    async def infer(self, name: str, payload: Any) -> Reply:
        """Answers one request by the model of this name, if it is held."""
        try:
            return Reply(await self._models.infer(name, payload))
        except ReplicaLost as error:
            return Reply(failure=str(error), held=False)
        except Exception as error:
            return Reply(failure=first_line(error))

    async def drop(self) -> Reply:
        """Gives up what is held."""
        await self._models.drop()
        return Reply()

    async def facts(self) -> HolderFacts:
        """Where it runs, and what it holds."""
        return HolderFacts(ray.get_runtime_context().get_node_id(), os.getpid(), self._models.name)


Holder: serve.Deployment = serve.deployment(name="Holder", logging_config={"log_level": "WARNING"})(HolderServer)
"""The deployment of one replica; an application has one of its own for each, so that a request can be sent to it."""
