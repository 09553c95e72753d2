"""Traces of torch: a batch under torch.profiler, as calls of operators.

The profiler's tree of events has what its public list lacks: the tensors of lists, and the memory behind each tensor,
by which a weight that two layers share is counted once. It is the tree of torch's own memory timeline
(`torch.profiler._memory_profiler`); lists of numbers, such as the stride of a convolution, come from the public list.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cluster.operators.kinds import UNMAPPED, is_compiled_graph, only_calls_others
from cluster.operators.operator_call import Argument, OperatorCall, Tensor, Work, kind_of_call
from cluster.operators.trace import Trace
from cluster.operators.work import work_of

_NS = 1e-9
_MAY_COPY = frozenset(
    "aten::reshape aten::contiguous aten::to aten::_to_copy aten::flatten aten::clone aten::type_as aten::repeat "
    "aten::empty_like aten::empty_strided aten::empty aten::dropout".split()
)
"""Operators that move what the copies within them move, which may be nothing."""


@dataclass
class Event:
    """One event of the profiler, in plain values.

    Args:
        name: name of the operator.
        is_operator: whether it is one; otherwise a mark of the user's or of a compiler.
        start_ns: when it began.
        took_ns: how long it took, with all that it calls.
        thread: number of its thread.
        arguments: its arguments in order.
        kernels_ns: nanoseconds of the kernels that it has started itself.
        inner: events within it.
        allocated: allocations directly within it: time, address, and bytes, negative where they were freed.
    """

    name: str
    is_operator: bool = True
    start_ns: int = 0
    took_ns: int = 0
    thread: int = 0
    arguments: tuple[Argument, ...] = ()
    kernels_ns: int = 0
    inner: list[Event] = field(default_factory=list)
    allocated: list[tuple[int, int, int]] = field(default_factory=list)

    @property
    def own_ns(self) -> int:
        """How long it took without what it calls."""
        return max(0, self.took_ns - sum(each.took_ns for each in self.inner))

    def whole(self) -> Iterator[Event]:
        """Yields it and all events within it."""
        yield self
        for each in self.inner:
            yield from each.whole()


def traced(run: Callable[[], object], batch: int, *, device: str = "cpu") -> Trace:
    """Runs a batch under torch.profiler; `run` must have been called before.

    The operators of this thread are seen, with their memory. If there are none, the batch is run once more, and those
    of all threads are seen, such as an engine's own; the profiler does not tell their memory.

    Args:
        run: runs the batch and returns when its results are there.
        batch: its number of payloads.
        device: "cpu" or "cuda".
    """
    found = _traced(run, batch, device, None)
    everywhere = _of_all_threads()
    if found.calls or everywhere is None:
        return found
    other = _traced(run, batch, device, everywhere)
    return other if other.calls else found


def _traced(run: Callable[[], object], batch: int, device: str, how: Any) -> Trace:
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device.startswith("cuda") else [])
    with profile(
        activities=activities, record_shapes=True, profile_memory=how is None, acc_events=True, experimental_config=how
    ) as profiler:
        began_s = time.perf_counter()
        run()
        took_s = time.perf_counter() - began_s
    return trace_of(events_of(profiler.profiler.kineto_results), batch, took_s, device=device)


def _of_all_threads() -> Any:
    """The profiler's option by which it sees all threads; None where torch is older than that."""
    from torch._C._profiler import _ExperimentalConfig

    try:
        return _ExperimentalConfig(profile_all_threads=True)
    except TypeError:
        return None


def trace_of(roots: Sequence[Event], batch: int, took_s: float, *, device: str = "cpu") -> Trace:
    """Returns the trace that the profiler's events make.

    An operator owns all that it calls: the outermost one with a kind counts, and one without a kind, or that only
    calls others, leaves them to themselves.

    Args:
        roots: the outermost events; allocations outside of any operator are in one without a name.
        batch: number of payloads.
        took_s: seconds of the batch.
        device: "cpu" or "cuda"; there, time is that of the kernels.
    """
    on_gpu = device.startswith("cuda")
    owners, dispatch_ns = _owners(roots, on_gpu)
    held, peak = _held(roots, owners)
    made = {address for root in roots for event in root.whole() for _, address, size in event.allocated if size > 0}
    calls = []
    for number, owner in enumerate(owners):
        event = owner.event
        arguments = tuple(_known_memory(argument, made) for argument in event.arguments)
        took_ns = event.own_ns if owner.alone else event.took_ns
        if on_gpu:
            took_ns = event.kernels_ns if owner.alone else sum(each.kernels_ns for each in event.whole())
        work = _work(event, owner.kind, arguments)
        calls.append(OperatorCall(owner.name, owner.kind, arguments, took_ns * _NS, work, held.get(number, 0.0)))
    inside_s = sum(call.time_s for call in calls) if on_gpu else _NS * _covered_ns(roots)
    return Trace(batch, tuple(calls), took_s, max(0.0, took_s - inside_s), dispatch_ns * _NS, peak, device[:4])


def _covered_ns(roots: Sequence[Event]) -> int:
    """Nanoseconds in which an event ran in any thread."""
    covered = until = 0
    for root in sorted(roots, key=lambda root: root.start_ns):
        end = root.start_ns + root.took_ns
        covered += max(0, end - max(until, root.start_ns))
        until = max(until, end)
    return covered


@dataclass(frozen=True)
class _Owner:
    """An event that counts.

    Args:
        event: the event.
        kind: its kind.
        alone: whether what it calls counts by itself.
    """

    event: Event
    kind: str
    alone: bool = False

    @property
    def name(self) -> str:
        """Its name; a compiled graph's has a digest in it that is another in each process."""
        return "compiled graph" if is_compiled_graph(self.event.name) else self.event.name


def _owners(roots: Sequence[Event], on_gpu: bool) -> tuple[list[_Owner], int]:
    """The events that count, and the nanoseconds of those that only call others."""
    owners: list[_Owner] = []
    dispatch_ns = 0

    def visit(event: Event) -> None:
        nonlocal dispatch_ns
        if is_compiled_graph(event.name):
            owners.append(_Owner(event, "fused", alone=True))
        elif not event.is_operator or only_calls_others(event.name):
            dispatch_ns += event.own_ns if event.name and not on_gpu else 0
        elif (kind := kind_of_call(event.name, event.arguments)) != UNMAPPED:
            owners.append(_Owner(event, kind))
            return
        else:
            owners.append(_Owner(event, UNMAPPED, alone=True))
        for each in event.inner:
            visit(each)

    for root in roots:
        visit(root)
    return owners, dispatch_ns


def _work(event: Event, kind: str, arguments: tuple[Argument, ...]) -> Work:
    """The work of an event: by its own formula, else that of what it calls."""
    if event.name in _MAY_COPY:
        return Work(0.0, sum(_work(e, "data_movement", e.arguments).moved_bytes for e in event.inner))
    own = work_of(event.name, kind, arguments)
    if own.known or kind == UNMAPPED:
        return own
    parts = [_work(each, kind_of_call(each.name, each.arguments), each.arguments) for each in event.inner]
    known = [part for part in parts if part.known and part.flops]
    if not known:
        return own
    return Work(sum(part.flops for part in known), sum(part.moved_bytes for part in known))


def _held(roots: Sequence[Event], owners: Sequence[_Owner]) -> tuple[dict[int, float], float]:
    """Number of an owner → bytes that it had allocated when the batch's memory was largest; and that largest memory."""
    changes: list[tuple[int, int, int, int | None]] = []
    seen: set[int] = set()
    for number, owner in enumerate(owners):
        for each in [owner.event] if owner.alone else owner.event.whole():
            seen.add(id(each))
            changes += [(*change, number) for change in each.allocated]
    for root in roots:
        for each in root.whole():
            if id(each) not in seen:
                changes += [(*change, None) for change in each.allocated]
    changes.sort(key=lambda change: change[0])
    live: dict[int, tuple[int, int | None]] = {}
    total = peak = 0
    at_peak: list[tuple[int, int | None]] = []
    for _, address, size, of in changes:
        if size > 0:
            live[address] = (size, of)
            total += size
            if total > peak:
                peak, at_peak = total, list(live.values())
        elif address in live:  # what was there before the batch is not counted, nor is its end
            total -= live.pop(address)[0]
    held: dict[int, float] = {}
    for size, of in at_peak:
        if of is not None:
            held[of] = held.get(of, 0.0) + size
    return held, float(peak)


def _known_memory(argument: Argument, made: set[int]) -> Argument:
    """The argument, without the memory of tensors that the batch has made."""
    if isinstance(argument, Tensor):
        return Tensor(argument.sizes, argument.dtype) if argument.resident in made else argument
    if isinstance(argument, tuple) and argument and isinstance(argument[0], Tensor):
        return tuple(_known_memory(each, made) for each in argument)  # type: ignore[return-value]
    return argument


def events_of(results: Any) -> list[Event]:
    """Converts the profiler's results; times of kernels are found by the numbers of what has started them.

    Args:
        results: `profiler.kineto_results` of torch's profiler.
    """
    lists: dict[int, Sequence[Any]] = {}
    kernels: dict[int, int] = {}
    for event in results.events():
        if str(event.device_type()).endswith("CPU"):
            if event.concrete_inputs():
                lists[event.correlation_id()] = event.concrete_inputs()
        else:
            cause = event.linked_correlation_id()
            kernels[cause] = kernels.get(cause, 0) + event.duration_ns()
    outside = Event("", is_operator=False)
    roots = [made for node in results.experimental_event_tree() for made in _converted(node, lists, kernels, outside)]
    return [*roots, outside] if outside.allocated else roots


def _converted(node: Any, lists: Mapping[int, Sequence[Any]], kernels: Mapping[int, int], within: Event) -> list[Event]:
    """The events of a node; what is neither an operator nor an allocation is left out, and what it holds is not."""
    tag, fields = str(node.tag).rpartition(".")[2], node.extra_fields
    if tag == "Allocation":
        within.allocated.append((node.start_time_ns, fields.ptr, fields.alloc_size))
        return []
    if tag != "TorchOp":
        return [made for child in node.children for made in _converted(child, lists, kernels, within)]
    event = Event(
        node.name,
        str(fields.scope).endswith(".FUNCTION"),
        node.start_time_ns,
        node.duration_time_ns,
        node.start_tid,
        _arguments(fields.inputs, lists.get(node.correlation_id, ())),
        kernels.get(node.correlation_id, 0),
    )
    event.inner = [made for child in node.children for made in _converted(child, lists, kernels, event)]
    return [event]


def _arguments(inputs: Sequence[Any], concrete: Sequence[Any]) -> tuple[Argument, ...]:
    """Arguments from the tree, with lists of numbers from the public list, which the tree leaves out."""
    found: list[Argument] = []
    for at, value in enumerate(inputs):
        if hasattr(value, "sizes"):
            found.append(_tensor(value))
        elif isinstance(value, list | tuple) and value and hasattr(value[0], "sizes"):
            found.append(tuple(_tensor(each) for each in value if hasattr(each, "sizes")))
        elif value is None and at < len(concrete):
            told = concrete[at]
            found.append(tuple(told) if isinstance(told, list | tuple) else told)
        else:
            found.append(value if isinstance(value, bool | int | float | str) else None)
    return tuple(found)


def _tensor(value: Any) -> Tensor:
    return Tensor(tuple(value.sizes), str(value.dtype).removeprefix("torch."), value.storage_data_ptr)
