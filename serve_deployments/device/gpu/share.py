"""Limits threads to a share of a GPU's multiprocessors without a daemon, by a green context of CUDA, through torch.

A green context is a subset of the multiprocessors; work in its streams runs only there. It limits this process, not
others: without MPS two processes on one GPU take turns, each on its own subset while the other waits. So a replica that
is measured alone is held to its share, and two at once need MPS.

A stream of another context has all multiprocessors, and a thread computes in torch's default stream, which is one of
those, until it is told otherwise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from serve_deployments.device.gpu.driver import CannotAsk, multiprocessors_of

_SIZES = {6: (1, 1), 7: (2, 2), 8: (4, 2)}
_NEWER = (8, 8)
"""First digit of the compute capability → smallest size and step of a green context, in multiprocessors (CUDA Driver
API 13.0, "Green Contexts"); `_NEWER` from 9.0 on."""


class CannotConfine(RuntimeError):
    """No green context can be created here; the message says why."""


@dataclass(frozen=True)
class _Part:
    """A green context and the stream of the model's thread in it.

    Args:
        context: torch's green context, which destroys the context with itself.
        stream: its stream for the thread that asked for it.
        torch: the torch module.
        how: description of the means and the number of multiprocessors.
    """

    context: Any
    stream: Any
    torch: Any
    how: str


_held: dict[float, _Part] = {}
"""Share → its part. A replica has its share as long as its process lives, and a context must live as long."""

_now: list[_Part] = []
"""The part in which this process computes; empty if none."""


def multiprocessors(share: float, total: int, capability: int) -> int:
    """The possible number of multiprocessors that is nearest to a share; of two equally near, the smaller.

    Args:
        share: fraction of the GPU, above 0 and below 1.
        total: number of multiprocessors of the GPU.
        capability: first digit of its compute capability.
    """
    least, step = _SIZES.get(capability, _NEWER)
    return min(total, max(least, step * math.ceil(share * total / step - 0.5)))


def confine(share: float, torch: Any) -> str:
    """Limits the calling thread's further GPU work to a share of the multiprocessors.

    Args:
        share: fraction of the GPU, above 0 and below 1.
        torch: the torch module (an argument, so that tests need no GPU).

    Returns:
        A description of the means and the number of multiprocessors that were given, which come in steps.

    Raises:
        CannotConfine: this version of torch, driver or GPU does not support it, or does not show that it holds.
    """
    if share not in _held:
        _held[share] = _made(share, torch)
    part = _held[share]
    torch.cuda.set_stream(part.stream)  # each time: a model may have set another one
    _now[:] = [part]
    return part.how


def release() -> None:
    """Lets this process compute on all multiprocessors again; the calling thread returns to the default stream."""
    if _now:
        [part] = _now
        part.torch.cuda.set_stream(part.torch.cuda.default_stream())
        _now.clear()


def new_stream() -> Any | None:
    """Another stream in the share of this process; None if it has none by a green context."""
    return _now[0].context.Stream() if _now else None


def join() -> None:
    """Limits the calling thread to the share of this process, if it has one: each thread has a stream of its own."""
    if (stream := new_stream()) is not None:
        _now[0].torch.cuda.set_stream(stream)


def held_stream() -> int | None:
    """Handle of the stream in which the model's thread computes under a share; None without one, or under MPS.

    It is for libraries that would compute in a stream of their own.
    """
    return int(_now[0].stream.cuda_stream) if _now else None


def why_not_held(torch: Any) -> str | None:
    """Why it is not shown that this process computes in its share alone; None if it is. For the model's thread.

    Memory of torch's allocator belongs to the stream that asked for it. So a model that computes in another stream than
    its thread's, in a thread of its own or in graphs that torch records shows it by what it holds.
    """
    if not _is_green(int(torch.cuda.current_stream().cuda_stream)):
        return "the model has set a stream outside it for its thread"
    try:
        segments = torch.cuda.memory_snapshot()
    except RuntimeError as error:  # an allocator of the user's own
        return f"whether all of the model computes in it cannot be seen: {error}"
    outside = [segment for segment in segments if not _is_green(int(segment["stream"]))]
    if not outside:
        return None
    held, streams = sum(int(segment["total_size"]) for segment in outside), {segment["stream"] for segment in outside}
    return (
        f"{held / 2**20:.0f} MiB are held by {len(streams)} of the model's streams outside it: its own streams and "
        "threads, and graphs that torch records, compute on all multiprocessors"
    )


def _is_green(stream: int) -> bool:
    if stream == 0:  # the default stream, of which the driver would tell the current context's
        return False
    try:
        multiprocessors_of(stream)
    except CannotAsk:
        return False
    return True


def _made(share: float, torch: Any) -> _Part:
    green = getattr(torch.cuda, "green_contexts", None)
    if green is None or not getattr(green, "SUPPORTED", True) or not hasattr(green.GreenContext, "Stream"):
        raise CannotConfine(f"torch {torch.__version__} has no green contexts with streams; 2.11 for CUDA 13 has them")
    device = torch.cuda.get_device_properties(torch.cuda.current_device())
    total = device.multi_processor_count
    try:
        torch.cuda.synchronize()  # creates the context that the green one is a part of
        count = multiprocessors(share, total, device.major)
        context = green.GreenContext.create(num_sms=count, device_id=torch.cuda.current_device())
        # Its stream, not `set_context`: that will be deprecated, and makes the null stream current, which cannot
        # overlap with copies.
        stream = context.Stream()
    except (RuntimeError, AttributeError, TypeError) as error:  # an old driver, or a build for an old CUDA
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise CannotConfine(f"no green context can be made: {first}") from error
    try:
        given = multiprocessors_of(stream.cuda_stream)
    except CannotAsk as error:
        raise CannotConfine(f"whether a green context holds cannot be seen: {error}") from error
    if given >= total:
        raise CannotConfine(f"a green context of {count} multiprocessors was made, but has all {given}")
    how = f"green context, {given} of {total} multiprocessors ({100 * given / total:.0f} %) for the model's threads"
    return _Part(context, stream, torch, how)
