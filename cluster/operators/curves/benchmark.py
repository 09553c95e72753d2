"""Calls of one operator by itself, at the shapes that a model calls it with: micro-benchmarks.

In a model an operator finds its weights in memory, as those of other layers have been through the caches since, and its
input in the caches, as the operator before has just written it. So copies of the weights are taken in turn, as many as
the caches cannot hold; the inputs stay the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from cluster.operators.curves.point import CallTime, Job, NotMeasured
from cluster.operators.curves.timing import Patience, timed
from cluster.operators.operator_call import Argument, Tensor
from cluster.operators.scaling import OperatorClass

_ROTATED_BYTES = 2**26
"""Bytes of all copies of an operator's weights together: twice the last cache of common servers' share of a few cores.
Our choice."""
_MOST_COPIES = 64
_ITEMS_PER_SECOND = 0.7
"""A larger batch is expected to take this part of what it would in proportion to the largest smaller one; our choice,
only to see beforehand what would take too long."""

Limit = Callable[[int, int], None]
"""Number of cores and of threads → holds this process to them; raises if it cannot."""


class NotRunnable(ValueError):
    """An operator cannot be called by itself from what is known of its arguments."""


def call_of(operator: OperatorClass, batch: int, precision: str, device: str = "cpu") -> Callable[[], Any]:
    """Returns a function that calls an operator once, on random numbers.

    Args:
        operator: the operator.
        batch: payloads in the batch.
        precision: type of the model's numbers.
        device: "cpu" or "cuda"; there, the function returns when the kernels have ended.

    Raises:
        NotRunnable: torch has no such operator here, or does not take these arguments.
    """
    import torch

    arguments = operator.arguments(batch, precision)
    chosen = _overload(operator.name, arguments, device)
    weights = [at for at, part in enumerate(operator.parts) if getattr(part, "weight", False)]
    size = sum(each.size_bytes for at, each in enumerate(arguments) if at in weights and isinstance(each, Tensor))
    copies = 1 if not size else int(min(_MOST_COPIES, max(1, -(-_ROTATED_BYTES // size))))
    made = _made(arguments, device)
    sets = [made]
    for _ in range(copies - 1):
        fresh = _made(tuple(arguments[at] for at in weights), device)
        sets.append([fresh[weights.index(at)] if at in weights else value for at, value in enumerate(made)])
    turn = itertools.cycle([chosen(values) for values in sets])
    wait = torch.cuda.synchronize if device.startswith("cuda") else None

    def run() -> Any:
        with torch.inference_mode():
            result = next(turn)()
        if wait is not None:
            wait()
        return result

    return run


def measure(
    jobs: Sequence[Job],
    limit: Limit,
    *,
    seconds: float,
    clock: Callable[[], float],
    device: str = "cpu",
    patience: Patience | None = None,
) -> Iterator[tuple[Job, CallTime] | NotMeasured]:
    """Measures points in this process, in their order, within a bound on the seconds; yields each as it is done.

    Each point has its part of the seconds that are left. A point that is expected to take longer than all that is left,
    going by a smaller batch, is not begun.

    Args:
        jobs: the points, those of one number of cores together.
        limit: holds this process to cores and threads.
        seconds: the bound; one call that is under way ends first.
        clock: clock in seconds.
        device: "cpu" or "cuda".
        patience: when a point has been measured long enough; the default by default.
    """
    rule, until_s = patience or Patience(), clock() + seconds
    held: tuple[int, int] | None = None
    seen: dict[tuple[Any, ...], tuple[int, float]] = {}
    for number, job in enumerate(jobs):
        left_s = until_s - clock()
        if left_s <= 0:
            yield NotMeasured(job, f"the {seconds:.3g} s were over")
            continue
        resources = job.resources
        curve = (job.operator, resources.precision, resources.cpu_cores, resources.threads, resources.placement)
        if (before := seen.get(curve)) is not None and resources.batch > before[0]:
            expected_s = before[1] * resources.batch / before[0] * _ITEMS_PER_SECOND
            if expected_s * (rule.fewest + 2) > left_s:
                yield NotMeasured(job, f"it would take longer than what was left of the {seconds:.3g} s")
                continue
        try:
            if held != (resources.cpu_cores, resources.threads):
                limit(resources.cpu_cores, resources.threads)
                held = (resources.cpu_cores, resources.threads)
            run = call_of(job.operator, resources.batch, resources.precision, device)
            slice_s = min(rule.most_s, max(left_s / (len(jobs) - number), rule.block_s))
            found = timed(run, _until(rule, slice_s), clock)
        except Exception as error:  # torch's errors have many types, and memory may run out
            yield NotMeasured(job, f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}")
            continue
        seen[curve] = (resources.batch, found.mean_s)
        yield job, found


def _until(rule: Patience, most_s: float) -> Patience:
    return Patience(rule.within, most_s, rule.fewest, rule.block_s, rule.slow)


def _made(arguments: Sequence[Argument], device: str) -> list[Any]:
    """The arguments with tensors of random numbers."""
    return [
        tuple(_tensor(each, device) if isinstance(each, Tensor) else each for each in argument)
        if isinstance(argument, tuple)
        else _tensor(argument, device)
        if isinstance(argument, Tensor)
        else argument
        for argument in arguments
    ]


def _tensor(wanted: Tensor, device: str) -> Any:
    import torch

    dtype = getattr(torch, wanted.dtype, None)
    if dtype is None or dtype in (torch.quint8, torch.qint8):
        raise NotRunnable(f"tensors of {wanted.dtype} are not made here")
    if dtype.is_floating_point or dtype.is_complex:
        return torch.randn(wanted.sizes, device=device).to(dtype)
    if dtype == torch.bool:
        return torch.ones(wanted.sizes, dtype=dtype, device=device)
    # Places in a table, for all that is known: 0 or 1 is in every table that has two rows.
    return torch.randint(0, 2, wanted.sizes, device=device).to(dtype)


def _overload(name: str, arguments: Sequence[Argument], device: str) -> Callable[[list[Any]], Callable[[], object]]:
    """How to call an operator: arguments → a function without any. It is tried once.

    Of the overloads of a name the one counts that has as many arguments and takes these.
    """
    import torch

    space, _, short = name.partition("::")
    try:
        packet = getattr(getattr(torch.ops, space), short)
    except AttributeError:
        raise NotRunnable(f"torch has no operator {name} here") from None
    values = _made(arguments, device)
    said = "no overload has as many arguments"
    for overload in map(packet.__getattr__, packet.overloads()):
        schema = overload._schema.arguments
        if len(schema) != len(values):
            continue
        named = [at for at, argument in enumerate(schema) if argument.kwarg_only]
        names = {at: schema[at].name for at in named}

        def bound(given: list[Any], of: Any = overload, names: dict[int, str] = names) -> Callable[[], object]:
            told = [_or_default(value, of._schema.arguments[at], device) for at, value in enumerate(given)]
            plain = [value for at, value in enumerate(told) if at not in names]
            keyed = {name: told[at] for at, name in names.items()}
            return lambda: of(*plain, **keyed)

        try:
            with torch.inference_mode():
                bound(values)()
        except Exception as error:  # it takes other arguments
            said = (str(error).splitlines() or [type(error).__name__])[0]
            continue
        return bound
    raise NotRunnable(f"{name} cannot be called by itself: {said}")


def _or_default(value: Any, argument: Any, device: str) -> Any:
    """The value; for one that the profiler does not tell, such as a text or a device, the default or this device."""
    if value is None and str(argument.type) == "Device":
        return device
    return argument.default_value if value is None and argument.has_default_value() else value
