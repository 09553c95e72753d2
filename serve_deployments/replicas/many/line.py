"""What one replica has been given: groups of requests, each for one model, one group after the other."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Protocol

from serve_deployments.replicas.many.choosing.state import ReplicaState
from serve_deployments.replicas.many.entry import ModelEntry


@dataclass(frozen=True)
class Loaded:
    """How a replica came to hold a model.

    Args:
        seconds: time that it took.
        bytes_moved: bytes of weights that were read or copied; 0 where that is not known.
        way: how, in a few words.
    """

    seconds: float
    bytes_moved: int = 0
    way: str = ""


class ManyReplica(Protocol):
    """A replica as the dispatcher sees it. It holds one model at a time."""

    async def started(self) -> str:
        """Waits until its process answers, also one that has replaced another; returns the node that it is on."""
        ...

    async def hold(self, entry: ModelEntry) -> Loaded:
        """Gives up what it holds, and holds this model.

        Raises:
            ReplicaLost: its process has ended.
            Exception: the model cannot be loaded; it then holds none.
        """
        ...

    async def infer(self, entry: ModelEntry, payload: Any) -> Any:
        """Answers one request by the model that it holds.

        Raises:
            ReplicaLost: its process has ended, or holds another model.
            Exception: what the model raised.
        """
        ...

    async def drop(self) -> None:
        """Gives up what it holds."""
        ...


@dataclass(eq=False)
class Group:
    """Requests for one model that a replica serves at the same time.

    Args:
        entry: the model.
        ready: done once the replica holds it.
        members: number of requests that wait or are being answered.
        loading: whether the load has begun.
    """

    entry: ModelEntry
    ready: asyncio.Future[Loaded] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    members: int = 0
    loading: bool = False

    def fail(self, error: Exception) -> None:
        """Tell those that wait that the model will not be there."""
        if not self.ready.done():
            self.ready.set_exception(error)
            self.ready.exception()  # seen, also where nobody waits


@dataclass(eq=False)
class Line:
    """The groups of one replica, the first of which it serves.

    The first group stays when it has no members, as its model is still held; it ends when another one follows.

    Args:
        name: the replica's name.
        replica: the replica.
        node: its node.
        groups: what it has been given.
        free_at_s: when its last request ended.
        incarnation: number of its process; it takes part only while it is not lost.
        lost: whether its process is not there, or not yet.
        known: models that its process has held.
    """

    name: str
    replica: ManyReplica
    node: str = ""
    groups: deque[Group] = field(default_factory=deque)
    free_at_s: float = 0.0
    incarnation: int = 0
    lost: bool = True
    known: set[str] = field(default_factory=set)

    @property
    def last(self) -> Group | None:
        """The group whose model it will hold in the end."""
        return self.groups[-1] if self.groups else None

    @property
    def busy(self) -> bool:
        """Whether it has anything to do."""
        return any(group.members or (group.loading and not group.ready.done()) for group in self.groups)

    def state(self, busy_until_s: float) -> ReplicaState:
        """What a policy sees of it.

        Args:
            busy_until_s: when it will have done what it was given, if it is busy.
        """
        busy = self.busy
        held = (self.last.entry.name,) if self.last else ()
        free_at_s = busy_until_s if busy else self.free_at_s
        return ReplicaState(self.name, self.node, held, free_at_s, busy, known=frozenset(self.known))

    def join(self, entry: ModelEntry) -> Group:
        """The group that a request for this model belongs to, a new one if the last is for another."""
        if (
            self.last is None
            or self.last.entry is not entry
            or (self.last.ready.done() and self.last.ready.exception())
        ):
            self.groups.append(Group(entry))
        assert self.last is not None, "it was just added"
        return self.last

    def next_to_load(self) -> Group | None:
        """Ends groups that have nothing more to do and others after them; the first one, if it is yet to be loaded."""
        while len(self.groups) > 1 and not self.groups[0].members and not self._loading(self.groups[0]):
            self.groups.popleft()
        first = self.groups[0] if self.groups else None
        return first if first is not None and not first.loading else None

    def _loading(self, group: Group) -> bool:
        return group.loading and not group.ready.done()
