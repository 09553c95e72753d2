"""The profile of a model: where the time and the memory of a batch go, by kind of operator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cluster.operators.kinds import DISPATCH, OUTSIDE, UNMAPPED
from cluster.operators.operator_call import OperatorCall
from cluster.operators.trace import Trace

KEY_PART = 0.9
"""Part of the operators' time in a batch, and of its memory, that key operators account for. Falcon (SoCC 2022) calls
those key that take most of a model's GPU time and memory and names no figure; this one is our choice."""


@dataclass(frozen=True)
class Line:
    """The calls of one kind of operator in a batch; or time in which no operator is known.

    Args:
        kind: the kind; `UNMAPPED`, `DISPATCH` or `OUTSIDE` for what is none.
        calls: number of calls.
        time_s: seconds of all of them.
        flops: floating-point operations of those with a formula.
        moved_bytes: bytes of their inputs and outputs, each once.
        weight_bytes: bytes of weights that are used by them first.
        held_bytes: bytes that they had allocated when the batch's memory was largest.
        shapes: number of different shapes of their tensors.
        without_formula: how many of the calls no formula is known for.
        names: the names of the operators, most time first.
        precision: type of the numbers of most of the time.
    """

    kind: str
    calls: int
    time_s: float
    flops: float = 0.0
    moved_bytes: float = 0.0
    weight_bytes: float = 0.0
    held_bytes: float = 0.0
    shapes: int = 0
    without_formula: int = 0
    names: tuple[str, ...] = ()
    precision: str = "float32"

    @property
    def memory_bytes(self) -> float:
        """Bytes of weights, and of what was held at the peak."""
        return self.weight_bytes + self.held_bytes

    @property
    def is_operator(self) -> bool:
        """Whether it is a kind of operator that the table knows."""
        return self.kind not in (UNMAPPED, DISPATCH, OUTSIDE)

    @property
    def intensity(self) -> float | None:
        """FLOPs for each byte moved; None where nothing is moved or nothing is known."""
        return None if not self.moved_bytes or self.without_formula == self.calls else self.flops / self.moved_bytes


@dataclass(frozen=True)
class Profile:
    """Where the time and the memory of a batch go.

    Args:
        trace: the batch under the profiler.
        batch_s: median seconds of the batch without the profiler.
        lines: the lines, most time first.
    """

    trace: Trace
    batch_s: float
    lines: tuple[Line, ...]

    @property
    def total_s(self) -> float:
        """Seconds of all lines."""
        return sum(line.time_s for line in self.lines)

    @property
    def key_in_time(self) -> tuple[str, ...]:
        """The fewest kinds that account for `KEY_PART` of the time within operators, largest first.

        What is outside of them (Python, NumPy, a wait for cores) is no part of it: else no operators would reach it.
        """
        return fewest({line.kind: line.time_s for line in self.lines if line.kind not in (DISPATCH, OUTSIDE)})

    @property
    def key_in_memory(self) -> tuple[str, ...]:
        """The fewest kinds that account for `KEY_PART` of weights and of what is held at the peak, largest first."""
        return fewest({line.kind: line.memory_bytes for line in self.lines})

    @property
    def key(self) -> tuple[str, ...]:
        """The key operators: of both, without what is no operator."""
        operators = {line.kind for line in self.lines if line.is_operator}
        return tuple(kind for kind in dict.fromkeys((*self.key_in_time, *self.key_in_memory)) if kind in operators)

    def share(self, line: Line) -> float:
        """The part of the time that a line has."""
        return line.time_s / self.total_s if self.total_s else 0.0

    @property
    def unmapped_share(self) -> float:
        """The part of the time in operators that the table does not have."""
        return sum(self.share(line) for line in self.lines if line.kind == UNMAPPED)


def fewest(amounts: Mapping[str, float], part: float = KEY_PART) -> tuple[str, ...]:
    """Returns the fewest names whose amounts make up a part of all, largest first; none if there is nothing.

    Args:
        amounts: name → amount, 0 or more.
        part: the part, above 0 and at most 1.
    """
    total, taken = sum(amounts.values()), 0.0
    found: list[str] = []
    for name in sorted(amounts, key=lambda name: (-amounts[name], name)):
        if taken >= part * total or amounts[name] <= 0:
            break
        found.append(name)
        taken += amounts[name]
    return tuple(found)


def profile_of(trace: Trace, batch_s: float, *, inputs: frozenset[int] = frozenset()) -> Profile:
    """Returns the profile of a traced batch.

    Args:
        trace: the batch under the profiler.
        batch_s: median seconds of the batch without it.
        inputs: what identifies memory that holds no weights, such as that of the payloads.
    """
    weights = _weights(trace.calls, inputs)
    by_kind: dict[str, list[int]] = {}
    for number, call in enumerate(trace.calls):
        by_kind.setdefault(call.kind, []).append(number)
    lines = [
        _line(kind, [trace.calls[n] for n in numbers], sum(weights[n] for n in numbers))
        for kind, numbers in by_kind.items()
    ]
    lines += [Line(DISPATCH, 0, trace.dispatch_s)] if trace.dispatch_s else []
    lines += [Line(OUTSIDE, 0, trace.outside_s)] if trace.outside_s else []
    return Profile(trace, batch_s, tuple(sorted(lines, key=lambda line: (-line.time_s, line.kind))))


def _line(kind: str, calls: Sequence[OperatorCall], weight_bytes: float) -> Line:
    names: dict[str, float] = {}
    precisions: dict[str, float] = {}
    for call in calls:
        names[call.name] = names.get(call.name, 0.0) + call.time_s
        precisions[call.precision] = precisions.get(call.precision, 0.0) + call.time_s
    return Line(
        kind,
        len(calls),
        sum(call.time_s for call in calls),
        sum(call.work.flops for call in calls),
        sum(call.work.moved_bytes for call in calls),
        weight_bytes,
        sum(call.held_bytes for call in calls),
        len({(call.name, call.shapes) for call in calls}),
        sum(not call.work.known for call in calls),
        tuple(sorted(names, key=lambda name: (-names[name], name))),
        max(precisions, key=lambda name: precisions[name]),
    )


def _weights(calls: Sequence[OperatorCall], inputs: frozenset[int]) -> list[float]:
    """`[calls]` bytes of the weights that each call is the first to use: of memory that layers share, once.

    Of several views of one memory the largest counts, as it is found at the call that uses it.
    """
    first: dict[int, int] = {}
    sizes: dict[int, int] = {}
    for number, call in enumerate(calls):
        for tensor in call.tensors:
            if tensor.resident is not None and tensor.resident not in inputs:
                first.setdefault(tensor.resident, number)
                sizes[tensor.resident] = max(sizes.get(tensor.resident, 0), tensor.size_bytes)
    found = [call.weight_bytes for call in calls]
    for memory, number in first.items():
        found[number] += sizes[memory]
    return found
