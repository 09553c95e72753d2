"""The type of a service's payloads: what an HTTP request must become, so that the model gets what it got in trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np

from serve_deployments.endpoint import Payload

PayloadKind = Literal["json", "text", "array", "bytes"]

VARIES = -1
"""A size that differs among the samples, as in KServe's metadata of a tensor (Open Inference Protocol, v2)."""


class BadPayload(ValueError):
    """A request whose content cannot be a payload of this service; the message says why."""


@dataclass(frozen=True)
class PayloadType:
    """The type that all payloads of a service have.

    Args:
        kind: `array`: a NumPy array, or a NumPy scalar if it has no dimension; `text`; `bytes`; or `json`: any other
            value that JSON has, or values of several kinds.
        binary: of `json`: True if some samples are bytes or arrays, so that a body of these is a payload too. None: no.
        dtype: of an array: NumPy's name of the type of its elements. None: any, so a list of JSON cannot become one.
        shape: of an array: its size along each dimension, -1 where that varies. None: any number of dimensions.
    """

    kind: PayloadKind = "json"
    dtype: str | None = None
    shape: Sequence[int] | None = None
    binary: bool | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(PayloadKind):
            raise ValueError(f"a payload's kind is one of {', '.join(get_args(PayloadKind))}, not {self.kind!r}")
        if self.kind != "array" and (self.dtype, self.shape) != (None, None):
            raise ValueError(f"dtype and shape are of arrays; leave them out for {self.kind}")
        if self.kind != "json" and self.binary is not None:
            raise ValueError(f"binary is of json, whose samples may be of several kinds; leave it out for {self.kind}")
        if self.dtype is not None:
            try:
                np.dtype(self.dtype)
            except (TypeError, ValueError):
                raise ValueError(f"NumPy has no dtype {self.dtype!r}; use one such as float32") from None
        if self.shape is not None:
            if not all(isinstance(size, int) and size >= VARIES for size in self.shape):
                raise ValueError(f"a shape is a list of sizes, -1 for one that varies, not {self.shape!r}")
            object.__setattr__(self, "shape", tuple(self.shape))

    @classmethod
    def of(cls, samples: Sequence[Payload]) -> PayloadType:
        """The type of sample payloads, one or more."""
        if all(isinstance(sample, np.ndarray | np.generic) for sample in samples):
            dtypes = {_name(sample.dtype) for sample in samples}
            return cls("array", dtypes.pop() if len(dtypes) == 1 else None, _common([np.shape(s) for s in samples]))
        if all(isinstance(sample, str) for sample in samples):
            return cls("text")
        if all(isinstance(sample, bytes) for sample in samples):
            return cls("bytes")
        return cls("json", binary=any(isinstance(s, bytes | np.ndarray | np.generic) for s in samples) or None)

    def as_dict(self) -> Mapping[str, Any]:
        """The fields that say something, as a config file holds them; `PayloadType(**…)` is the inverse."""
        said = {name: value for name, value in asdict(self).items() if value is not None}
        return said if self.shape is None else said | {"shape": list(self.shape)}

    def array(self, value: object) -> Any:
        """A value as an array of this type; raises BadPayload if it is none.

        Args:
            value: nested lists of JSON, in which null stands for NaN; or an array of another dtype.
        """
        if isinstance(value, np.ndarray) and self.dtype is not None and not _alike(value.dtype, np.dtype(self.dtype)):
            raise BadPayload(f"it is an array of {value.dtype}, and the samples had {self.dtype}")
        try:
            with np.errstate(over="raise", invalid="ignore"):
                made = np.asarray(value, dtype=self.dtype)
            same = made.dtype.kind not in "iub" or np.array_equal(made, np.asarray(value))
        except (ValueError, TypeError, ArithmeticError, MemoryError, RecursionError) as error:
            raise BadPayload(f"it is no array of {self.dtype}: {error}") from None
        if not same:
            raise BadPayload(f"it has values that {self.dtype} cannot hold")
        if self.shape is not None and not _fits(made.shape, self.shape):
            raise BadPayload(
                f"it has shape {list(made.shape)}, and the samples had {list(self.shape)}; where a size varies, "
                f"put {VARIES} into `shape` of the config"
            )
        return made[()]  # an array without dimensions becomes a scalar, as iterating over samples.npy makes them


AS_JSON = PayloadType()
"""Payloads are what JSON has, and are not converted."""


def _name(dtype: np.dtype[Any]) -> str | None:
    """A name from which NumPy makes this type, without the length of texts; None if there is none."""
    if dtype.kind in "US":
        return "str" if dtype.kind == "U" else "bytes"
    for name in (dtype.name, dtype.str):
        try:
            if np.dtype(name) == dtype:
                return name
        except TypeError:  # the name of a record
            continue
    return None


def _alike(given: np.dtype[Any], wanted: np.dtype[Any]) -> bool:
    """Whether values of one dtype may become those of another: numbers other numbers, all else its own kind."""
    return given.kind == wanted.kind or (given.kind in "biuf" and wanted.kind in "biufc")


def _common(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...] | None:
    if len({len(shape) for shape in shapes}) > 1:
        return None
    return tuple(sizes[0] if len(set(sizes)) == 1 else VARIES for sizes in zip(*shapes, strict=True))


def _fits(shape: Sequence[int], wanted: Sequence[int]) -> bool:
    return len(shape) == len(wanted) and all(w in (VARIES, size) for size, w in zip(shape, wanted, strict=True))
