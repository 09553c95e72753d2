"""Gives each request to a replica, has replicas become other models, and goes on when one is lost. Without Ray."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any

from serve_deployments.replicas.many.choosing.demand import Demands
from serve_deployments.replicas.many.choosing.observed_prices import ObservedPrices
from serve_deployments.replicas.many.choosing.state import Choice, Policy, Situation
from serve_deployments.replicas.many.entry import ModelEntry
from serve_deployments.replicas.many.errors import NoReplica, ReplicaLost, UnknownModel
from serve_deployments.replicas.many.line import Group, Line, ManyReplica
from serve_deployments.replicas.many.tally import Done, Tally

TRIES = 3
"""Number of replicas that a request is given to before it is answered with an error. Our choice: a request that ends
two processes most likely ends each that it meets."""

WAIT_S = 60.0
"""Seconds that a request waits for a replica when none is there. Our choice: a new process takes some ten."""


class Dispatcher:
    """Serves requests for registered models by replicas that hold one model each at a time.

    Requests that a replica serves together are for one model; those for another wait until these are answered, and
    then the replica becomes that one. A request whose replica is lost is given to another one.

    Args:
        policy: which replica serves a request.
        replicas: name → replica. Each takes part from when its process answers.
        entries: the models that are registered at first.
        clock: time in seconds.
    """

    def __init__(
        self,
        policy: Policy,
        replicas: Mapping[str, ManyReplica],
        entries: Iterable[ModelEntry],
        clock: Callable[[], float],
    ) -> None:
        self._policy, self._clock = policy, clock
        self._entries = {entry.name: entry for entry in entries}
        self._lines = {name: Line(name, replica) for name, replica in replicas.items()}
        self._prices, self._demands, self.tally = ObservedPrices(), Demands(clock()), Tally()
        self._serve_s: dict[str, float] = {}  # model → mean of its answers' times
        self._tasks: set[asyncio.Task[None]] = set()
        self._came_up = asyncio.Condition()
        for line in self._lines.values():
            self._begin(self._await_start(line))

    @property
    def entries(self) -> Mapping[str, ModelEntry]:
        """The registered models by name."""
        return dict(self._entries)

    @property
    def held(self) -> Mapping[str, str | None]:
        """Replica → the model that it holds, or will once it has done what it was given; None for a lost one too."""
        return {name: None if line.last is None else line.last.entry.name for name, line in self._lines.items()}

    def register(self, entry: ModelEntry) -> None:
        """Register a model; one of the same name is withdrawn first."""
        if entry.name in self._entries:
            self.unregister(entry.name)
        self._entries[entry.name] = entry

    def unregister(self, name: str) -> None:
        """Withdraw a model: requests that are being answered end well, those that still wait for it are refused.

        Raises:
            UnknownModel: there is none of this name.
        """
        entry = self.entry(name)
        del self._entries[name]
        self._prices.forget(name)
        self._demands.forget(name)
        self._serve_s.pop(name, None)
        for line in self._lines.values():
            for group in [group for group in line.groups if group.entry is entry]:
                group.fail(UnknownModel(f"model {name!r} was withdrawn while the request waited for it"))
                if not group.loading:
                    line.groups.remove(group)
            if len(line.groups) == 1 and line.groups[0].entry is entry and not line.busy:
                line.groups.clear()
                self._begin(self._drop(line))

    def entry(self, name: str) -> ModelEntry:
        """The model of this name; raises UnknownModel if there is none."""
        if name not in self._entries:
            raise UnknownModel(f"no model {name!r} is served; there are {', '.join(sorted(self._entries)) or 'none'}")
        return self._entries[name]

    async def infer(self, name: str, payload: Any) -> Any:
        """Answers one request.

        Raises:
            UnknownModel: no such model is registered, or it was withdrawn while the request waited.
            NoReplica: no replica came up in time, or as many as `TRIES` were lost while they had the request.
            Exception: what the model raised, or why it cannot be loaded.
        """
        asked_s = self._clock()
        for _ in range(TRIES):
            entry = self.entry(name)
            try:
                return await self._once(entry, payload, asked_s)
            except ReplicaLost as error:
                self.tally.lost += 1
                lost = error
        raise NoReplica(f"{TRIES} replicas were lost while they had this request ({lost}); send it again") from lost

    async def _once(self, entry: ModelEntry, payload: Any, asked_s: float) -> Any:
        choice = await self._chosen(entry)
        line = self._lines[choice.replica]
        incarnation, group = line.incarnation, line.join(entry)
        done: Done = "hit" if choice.kind == "hit" else "conversion" if line.known else "cold start"
        self._demands.asked(entry.name, self._clock())
        group.members += 1
        try:
            self._go_on(line)
            await asyncio.shield(group.ready)  # the load goes on for the others if this request is given up
            began_s = self._clock()
            answer = await line.replica.infer(entry, payload)
            now_s = self._clock()
            self._serve_s[entry.name] = 0.7 * self._serve_s.get(entry.name, now_s - began_s) + 0.3 * (now_s - began_s)
            self.tally.answered(entry.name, done, now_s - asked_s)
            return answer
        except ReplicaLost as error:
            self._lose(line, incarnation, error)
            raise
        finally:
            group.members -= 1
            if line.incarnation == incarnation:
                line.free_at_s = self._clock()
                self._go_on(line)

    async def _chosen(self, entry: ModelEntry) -> Choice:
        """What is done for a request; waits for a replica if there is none. The request must join it at once."""
        try:
            async with asyncio.timeout(WAIT_S), self._came_up:
                while (choice := self._policy.choose(entry.name, self._situation(), self._prices)) is None:
                    await self._came_up.wait()
        except TimeoutError:
            raise NoReplica(
                f"no replica came up within {WAIT_S:g} s; look at `serve status`, and send it again"
            ) from None
        return choice

    def _situation(self) -> Situation:
        now_s = self._clock()
        states = tuple(line.state(now_s + self._left_s(line)) for line in self._lines.values() if not line.lost)
        return Situation(now_s, states, {}, lambda model, within_s: self._demands.chance(model, now_s, within_s))

    def _left_s(self, line: Line) -> float:
        """Seconds that a replica needs for what it has been given, as far as is known."""
        left_s, held = 0.0, None
        for group in line.groups:
            name = group.entry.name
            if not group.ready.done():
                left_s += self._prices.convert(line.state(0.0), name, held).seconds
            left_s += group.members * self._serve_s.get(name, 0.0)
            held = name
        return left_s

    def _go_on(self, line: Line) -> None:
        """Begins the next load, if the replica has nothing else to do before."""
        held = line.groups[0].entry.name if line.groups else None
        if (group := line.next_to_load()) is not None and not line.lost:
            group.loading = True
            self._begin(self._load(line, group, None if held == group.entry.name else held, line.incarnation))

    async def _load(self, line: Line, group: Group, victim: str | None, incarnation: int) -> None:
        try:
            loaded = await line.replica.hold(group.entry)
        except ReplicaLost as error:
            self._lose(line, incarnation, error)
        except Exception as error:
            self.tally.failed_loads += 1
            group.fail(error)
            if group in line.groups:
                line.groups.remove(group)
            self._go_on(line)
        else:
            line.known.add(group.entry.name)
            self._prices.took(victim, group.entry.name, loaded.seconds, loaded.bytes_moved)
            self.tally.bytes_moved += loaded.bytes_moved
            self.tally.ways[loaded.way] += 1
            if not group.ready.done():
                group.ready.set_result(loaded)
            elif group in line.groups:  # withdrawn meanwhile
                line.groups.remove(group)
                await self._drop(line)
            self._go_on(line)

    async def _drop(self, line: Line) -> None:
        incarnation = line.incarnation
        try:
            if not line.groups:
                await line.replica.drop()
        except ReplicaLost as error:
            self._lose(line, incarnation, error)

    def _lose(self, line: Line, incarnation: int, error: ReplicaLost) -> None:
        """Takes a replica out until its new process answers; those that waited for it are told."""
        if line.incarnation != incarnation or line.lost:
            return  # another request has said it
        line.lost, line.incarnation = True, line.incarnation + 1
        line.known.clear()
        for group in line.groups:
            group.fail(error)
        line.groups.clear()
        self._begin(self._await_start(line))

    async def _await_start(self, line: Line) -> None:
        line.node = await line.replica.started()
        line.lost, line.free_at_s = False, self._clock()
        async with self._came_up:
            self._came_up.notify_all()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
