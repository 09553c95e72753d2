"""Results of models as bodies of HTTP answers: JSON that any client reads, bytes as they are, or a .npy file."""

from __future__ import annotations

import base64
import dataclasses
import datetime
import enum
import io
import json
import math
import uuid
from collections import UserString
from collections.abc import Mapping, Sequence, Set
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePath
from typing import Any

import numpy as np

from serve_deployments.models.context import ModelError
from serve_deployments.replicas.http.bodies import BYTES, IN_BASE64, JSON, NPY

PNG = "image/png"

_NESTED = "the result is nested too deeply, or contains itself, so it cannot be sent as JSON"
_PLAIN = frozenset({type(None), bool, int, float, str, bytes})


class NoForm(TypeError):
    """A result that cannot be sent over HTTP in the form that is wanted; the message says which, and the remedy."""


def body_of(result: object, accepted: str) -> tuple[bytes, str]:
    """Return a result as a body with its media type.

    Args:
        result: what the model returned for one payload.
        accepted: the request's header `Accept`: with application/x-npy an array is sent as a .npy file, with
            application/json everything is JSON. Otherwise bytes and images are sent as they are, the rest as JSON.

    Raises:
        NoForm: it has no such form.
    """
    if NPY in accepted:
        return _npy(result), NPY
    if JSON not in accepted:
        if isinstance(result, bytes | bytearray | memoryview):
            return bytes(result), BYTES
        if _is_image(result):
            return _png(result), PNG
    return to_json(result), JSON


def to_json(result: object) -> bytes:
    """Return a result as JSON in UTF-8: NaN and infinities, which JSON does not have, become null. Raises NoForm."""
    try:
        text = _dumped(result)
    except (ValueError, TypeError, RecursionError):  # NaN, or keys that JSON does not have: rare, and costs more
        try:
            text = _dumped(_cleaned(result))
        except RecursionError:
            raise NoForm(_NESTED) from None
    # A text may hold half of a surrogate pair, which UTF-8 does not have.
    return text.encode("utf-8", errors="replace")


def check_forms(results: Sequence[Any]) -> None:
    """Check that each result of a batch can be sent as JSON, without converting the numbers of arrays.

    Raises:
        ModelError: one cannot; the message is that of `NoForm`.
    """
    try:
        _check_forms(results)
    except NoForm as error:
        raise ModelError(str(error)) from None
    except RecursionError:
        raise ModelError(_NESTED) from None


def _check_forms(values: Any) -> None:
    if _PLAIN.issuperset(map(type, values)):
        return
    for value in values:
        match value:
            case None | bool() | int() | float() | str() | bytes() | bytearray() | memoryview():
                continue
            case np.ndarray() | np.generic() if value.dtype.kind not in "OV":
                continue
            case Mapping():
                _check_forms(value.values())
            case list() | tuple():
                _check_forms(value)
            case _ if not _is_image(value) and not hasattr(value, "detach"):  # tensors are numbers
                _check_forms([_plainer(value)])


def _dumped(value: object) -> str:
    return json.dumps(value, default=_plainer, allow_nan=False, ensure_ascii=False, separators=(",", ":"))


def _cleaned(value: object) -> object:
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {_key(key): _cleaned(part) for key, part in value.items()}
        case list() | tuple():
            return [_cleaned(part) for part in value]
    return _cleaned(_plainer(value))


def _key(key: object) -> object:
    match key:
        case None | str() | int():
            return key
        case enum.Enum():
            return _key(key.value)
        case bytes():
            return key.decode(errors="replace")
    return str(key)


def _plainer(value: Any) -> object:
    """One step towards what JSON has, for a value that it does not have; its parts may need more."""
    match value:
        case enum.Enum():
            return value.value
        case bytes() | bytearray() | memoryview():
            return {IN_BASE64: base64.b64encode(value).decode()}
        case Mapping():
            return dict(value)
        case uuid.UUID() | PurePath() | UserString():
            return str(value)
        case Set() | Sequence():  # such as a range or a deque
            return list(value)
        case datetime.date() | datetime.time():
            return value.isoformat() if value == value else None  # noqa: PLR0124, pandas' NaT is a date
        case datetime.timedelta():
            return value.total_seconds()
        case Decimal() | Fraction():
            return float(value)
        case complex() | np.complexfloating():
            return [value.real, value.imag]
        case np.floating():  # not `tolist()`, which of a longdouble is itself
            return float(value)
        case np.ndarray() | np.generic() if value.dtype.kind in "mM":  # which tolist() makes plain numbers
            return _times(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if _is_image(value):
        return {IN_BASE64: base64.b64encode(_png(value)).decode()}
    if hasattr(value, "iterrows"):  # a table of pandas, as a list of its rows
        return value.to_dict(orient="records")
    for method in ("tolist", "model_dump"):  # of arrays and tensors of any library; of pydantic's models
        if callable(convert := getattr(value, method, None)) and not isinstance(value, type):
            return convert()
    raise NoForm(
        f"the result has a value of type {type(value).__name__}, which JSON does not have; return numbers, texts, "
        "arrays, lists or mappings"
    )


def _times(value: Any) -> object:
    """Times of NumPy as texts, and durations in seconds; those of months and years, which vary, are texts too."""
    if value.dtype.kind == "m" and np.datetime_data(value.dtype)[0] not in ("Y", "M"):
        return (value / np.timedelta64(1, "s")).tolist()
    texts: Any = value.astype(str)
    known: Any = np.where(np.isnat(value), None, texts)
    return known.tolist()


def _npy(result: Any) -> bytes:
    file = io.BytesIO()
    try:
        if hasattr(result, "detach"):  # a tensor of torch, which may be on a GPU, or of a type that NumPy does not have
            result = result.detach().cpu()
            result = result.float() if "bfloat16" in str(result.dtype) else result
        np.lib.format.write_array(file, np.asarray(result), allow_pickle=False)
    except (ValueError, TypeError) as error:
        raise NoForm(f"the result is a {type(result).__name__}, which is no array: {error}") from None
    return file.getvalue()


def _is_image(value: object) -> bool:
    """Whether this is an image of Pillow, which need not be installed."""
    return any(kind.__module__ == "PIL.Image" for kind in type(value).__mro__)


def _png(image: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format="PNG")
    return file.getvalue()
