"""The knobs of a service.yaml one by one: which names and values are allowed, checked without a cluster."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, Literal

from pydantic import field_validator

from cluster.gpu_names import gpu_names
from raytune_infer.spec.document import Document, shown
from raytune_infer.spec.parts import Part, Text
from raytune_infer.spec.spec_errors import At
from raytune_infer.spec.standard_knobs import STANDARD_KNOBS, gpu_name
from searchers.space import Value

_SET_BY_US = {
    "OMP_NUM_THREADS": "threads", "MKL_NUM_THREADS": "threads", "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "gpu_share",
    "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT": "gpu_memory",
}  # fmt: skip
"""Environment variable that a standard knob sets → that knob."""

_NAME = re.compile(r"\w+", re.ASCII)


class KnobSpec(Part):
    """A custom knob, or a standard one that exists only where others have certain values.

    A custom knob is an environment variable of the replica or an argument of the model's builder; a standard one has no
    `kind`.
    """

    kind: Literal["env", "args"] | None = None
    values: list[Value]
    when: Text | None = None

    @field_validator("values", mode="before")
    @classmethod
    def _no_nothing(cls, values: Any) -> Any:
        if isinstance(values, list) and None in values:
            raise At((values.index(None),), "a knob's value cannot be null; use a word such as none, and let the "
                                            "builder take it for None")  # fmt: skip
        return values


Knobs = Mapping[str, list[Value] | KnobSpec]
"""Name → the values of a standard knob, or all that is said of a knob."""


def values_of(knob: list[Value] | KnobSpec) -> list[Value]:
    """Return the values of a knob, in the order of the file."""
    return knob.values if isinstance(knob, KnobSpec) else knob


def check_knobs(knobs: Knobs) -> None:
    """Check that each knob can be set and takes its values.

    Raises:
        At: a check failed; it names the place.
    """
    for name, knob in knobs.items():
        _check_distinct(name, values_of(knob))
        if name in STANDARD_KNOBS:
            _check_standard(name, knob)
        elif isinstance(knob, KnobSpec) and knob.kind is not None:
            _check_own(name, knob)
        else:
            raise At((name,), f"not a standard knob ({', '.join(STANDARD_KNOBS)}); "
                              "a custom knob needs `kind: env` or `kind: args`, and `values:`")  # fmt: skip
    if "gpu_type" not in knobs and (needy := [n for n in ("gpu_share", "gpu_memory") if n in knobs]):
        raise At((needy[0],), "also needs the knob `gpu_type`")


def check_gpu_names(knobs: Knobs) -> None:
    """Refuse names of GPU types that several cards have; raises At."""
    knob = knobs.get("gpu_type", [])
    within = ("values",) if isinstance(knob, KnobSpec) else ()
    for i, value in enumerate(values_of(knob)):
        try:
            if isinstance(value, str) and gpu_name(value) is not None:
                gpu_names.exact(value)
        except gpu_names.AmbiguousGpu as error:
            raise At(("knobs", "gpu_type", *within, i), str(error)) from None


def check_variables(knobs: Knobs, document: Document) -> None:
    """Refuse values of environment variables that YAML reads as something else than the text that is written."""
    for name, knob in knobs.items():
        for i, value in enumerate(knob.values if isinstance(knob, KnobSpec) and knob.kind == "env" else ()):
            written = document.written(("knobs", name, "values", i))
            if written is not None and written != str(value):
                raise At(
                    ("knobs", name, "values", i),
                    f"an environment variable is text, and YAML reads {written} as {value}; put it in quotes",
                )


def check_concurrent(concurrent: bool | None, knobs: Iterable[str]) -> None:
    """Check that no knob is about batches where the model gets each request by itself; raises At."""
    for name in knobs:
        if concurrent and name in ("max_batch_size", "batch_wait_ms"):
            raise At(
                ("knobs", name),
                "would change nothing: with `concurrent: true` under `model` each request reaches the model by itself; "
                "leave this knob out, and give a batch size of the model's own as `{kind: args, values: […]}`",
            )


def _check_distinct(name: str, values: list[Value]) -> None:
    if not values:
        raise At((name,), "needs at least one value")
    seen = set()
    for value in values:
        if (identity := _identity(name, value)) in seen:
            raise At((name,), f"{shown(value)} occurs twice; keep one of them")
        seen.add(identity)


def _check_standard(name: str, knob: list[Value] | KnobSpec) -> None:
    """Refuse a standard knob that is written as a custom one, or has values that it does not take."""
    if isinstance(knob, KnobSpec) and knob.kind is not None:
        raise At((name,), f"{name} is a standard knob; give its values as a plain list")
    within = (name, "values") if isinstance(knob, KnobSpec) else (name,)
    for i, value in enumerate(values_of(knob)):
        if (why := STANDARD_KNOBS[name].wrong(value)) is not None:
            raise At((*within, i), f"{name} {why}")


def _check_own(name: str, knob: KnobSpec) -> None:
    """Refuse a custom knob that cannot be set."""
    if not _NAME.fullmatch(name):
        raise At((name,), "the name of a variable or an argument may contain only letters, digits and `_`")
    if knob.kind == "env" and name in _SET_BY_US:
        raise At((name,), f"{name} is set by the knob `{_SET_BY_US[name]}`; use that knob instead")
    if knob.kind == "env":
        _check_texts(name, knob.values)


def _check_texts(name: str, values: Sequence[Value]) -> None:
    """Refuse values with the same text, such as 1 and "1": environment variables are text, so they would be equal."""
    first: dict[str, Value] = {}
    for value in values:
        if (same := first.setdefault(str(value), value)) is not value:
            said = f"{shown(same)} and {shown(value)}"
            raise At((name,), f"{said} are the same text in an environment variable; keep one of them")


def _identity(knob: str, value: Value) -> Hashable:
    """Return a key that is equal for two spellings of one value: 5 and 5.0, T4 and "Tesla T4"; not for 1 and True."""
    if knob == "gpu_type" and isinstance(value, str):
        return gpu_names.canonical(value)
    return (isinstance(value, bool), value)
