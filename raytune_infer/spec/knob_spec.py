"""The knobs of a service.yaml: which names and values there may be, before any cluster is asked."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Mapping, Sequence
from typing import Literal

from cluster import gpu_names
from raytune_infer.spec.document import shown
from raytune_infer.spec.spec_errors import At, Part
from raytune_infer.spec.standard_knobs import STANDARD_KNOBS
from searchers.space import Value

_SET_BY_US = {
    "OMP_NUM_THREADS": "threads", "MKL_NUM_THREADS": "threads", "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "gpu_share",
}  # fmt: skip
"""Variables of the environment that a knob of our own decides → that knob."""

_MOST_CONFIGURATIONS = 1_000_000
"""Our choice: searchers keep a table of them, and think about each before each trial."""

_NAME = re.compile(r"\w+", re.ASCII)


class KnobSpec(Part):
    """A knob of one's own: a variable of the replica's environment or an argument of the model's builder."""

    kind: Literal["env", "args"]
    values: list[Value]


def check_knobs(knobs: Mapping[str, list[Value] | KnobSpec]) -> None:
    """Refuses knobs that nothing could set, values that no knob takes, and more of them than can be searched.

    Raises:
        At: naming the place.
    """
    for name, knob in knobs.items():
        values = knob.values if isinstance(knob, KnobSpec) else knob
        _check_distinct(name, values)
        if isinstance(knob, KnobSpec):
            _check_own(name, knob)
        elif name not in STANDARD_KNOBS:
            raise At((name,), f"not a standard knob ({', '.join(STANDARD_KNOBS)}); "
                              "one of your own says `kind: env` or `kind: args`, and `values:`")  # fmt: skip
        else:
            for i, value in enumerate(values):
                if (why := STANDARD_KNOBS[name].wrong(value)) is not None:
                    raise At((name, i), f"{name} {why}")
    if "gpu_type" not in knobs and (needy := [n for n in ("gpu_share", "gpu_memory") if n in knobs]):
        raise At((needy[0],), "needs the knob `gpu_type` beside it")
    count = math.prod(len(k.values if isinstance(k, KnobSpec) else k) for k in knobs.values())
    if count > _MOST_CONFIGURATIONS:
        raise At((), f"these values make more than {_MOST_CONFIGURATIONS} configurations; leave some out, a searcher "
                     "needs no fine steps")  # fmt: skip


def _check_distinct(name: str, values: list[Value]) -> None:
    if not values:
        raise At((name,), "needs at least one value")
    seen = set()
    for value in values:
        if (identity := _identity(name, value)) in seen:
            raise At((name,), f"{shown(value)} stands twice; keep one of them")
        seen.add(identity)


def _check_own(name: str, knob: KnobSpec) -> None:
    """Refuses a knob of one's own that nothing could set."""
    if name in STANDARD_KNOBS:
        raise At((name,), f"{name} is a knob of our own, so give its values as a plain list")
    if not _NAME.fullmatch(name):
        raise At((name,), "a variable or an argument has a name of letters, digits and `_`")
    if knob.kind == "env" and name in _SET_BY_US:
        raise At((name,), f"{name} is set from `{_SET_BY_US[name]}`; make that a knob")
    if knob.kind == "env":
        _check_texts(name, knob.values)


def _check_texts(name: str, values: Sequence[Value]) -> None:
    """Refuses values that are one and the same in the environment, where all are text: 1 and "1"."""
    first: dict[str, Value] = {}
    for value in values:
        if (same := first.setdefault(str(value), value)) is not value:
            raise At((name,), f"{shown(same)} and {shown(value)} are one text in the environment; keep one of them")


def _identity(knob: str, value: Value) -> Hashable:
    """Equal for two spellings of one value: 5 and 5.0, T4 and "Tesla T4"; 1 and True stay two."""
    if knob == "gpu_type" and isinstance(value, str):
        return gpu_names.canonical(value)
    return (isinstance(value, bool), value)
