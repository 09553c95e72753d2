"""What a trace says, and how its functions stand for models."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np


class BadTrace(ValueError):
    """A trace that cannot be read or used as asked; the message names file and line, and the remedy."""


@dataclass(frozen=True, order=True, slots=True)
class Invocation:
    """One call of a function.

    Args:
        start_s: when it began, in seconds from the trace's own origin.
        function: the function, with whatever makes its name unique in the trace.
        duration_s: seconds that it took; NaN where the trace does not say.

    Raises:
        ValueError: the start is not finite, or the duration is negative or infinite.
    """

    start_s: float
    function: str
    duration_s: float = math.nan

    def __post_init__(self) -> None:
        if not math.isfinite(self.start_s) or self.duration_s < 0 or math.isinf(self.duration_s):
            raise ValueError(f"a call starts at a finite time and lasts 0 s or more, got {self}")


@dataclass(frozen=True, order=True, slots=True)
class Arrival:
    """One request for a model.

    Args:
        at_s: when it arrives, in seconds from the start of the replay.
        model: name of the model.
        serve_s: seconds that the model takes for it; NaN: what the model usually takes.
    """

    at_s: float
    model: str
    serve_s: float = math.nan


def calls_by_function(invocations: Sequence[Invocation]) -> Counter[str]:
    """How often each function is called."""
    return Counter(each.function for each in invocations)


def window(invocations: Sequence[Invocation], from_s: float, span_s: float) -> tuple[Invocation, ...]:
    """The calls that start in a part of the trace, `from_s` <= start < `from_s` + `span_s`, in order of their start."""
    return tuple(sorted(each for each in invocations if from_s <= each.start_s < from_s + span_s))


def on_models(
    invocations: Sequence[Invocation], models: Sequence[str], *, seed: int, with_durations: bool = False
) -> tuple[Arrival, ...]:
    """The calls of some functions as requests for models, a function for each model; all other calls are left out.

    The functions are drawn without replacement and with equal chances, so that their rates are a sample of those of
    the trace: most are rare, few are busy. The first arrival is at 0 s.

    Args:
        invocations: the calls.
        models: names of the models, all different.
        seed: of the draw.
        with_durations: whether a request takes the model as long as the call took, and not what the model usually does.

    Raises:
        BadTrace: the trace has fewer functions than there are models.
    """
    functions = sorted(calls_by_function(invocations))
    if len(functions) < len(models):
        raise BadTrace(
            f"{len(models)} models need as many functions, and there are {len(functions)} in this part of the trace; "
            "ask for fewer models or a longer part"
        )
    drawn = np.random.default_rng(seed).permutation(len(functions))[: len(models)]
    model_of = {functions[number]: model for number, model in zip(drawn, models, strict=True)}
    kept = sorted(each for each in invocations if each.function in model_of)
    return tuple(_arrivals(kept, model_of, with_durations))


def _arrivals(kept: Sequence[Invocation], model_of: dict[str, str], with_durations: bool) -> Iterator[Arrival]:
    for each in kept:
        serve_s = each.duration_s if with_durations else math.nan
        yield Arrival(each.start_s - kept[0].start_s, model_of[each.function], serve_s)
