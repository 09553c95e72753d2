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
from collections.abc import Mapping
from decimal import Decimal
from pathlib import PurePath
from typing import Any

import numpy as np

from serve_deployments.replicas.http.bodies import BYTES, IN_BASE64, JSON, NPY

PNG = "image/png"


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
            raise NoForm("the result is nested too deeply, or contains itself, so it cannot be sent as JSON") from None
    # A text may hold half of a surrogate pair, which UTF-8 does not have.
    return text.encode("utf-8", errors="replace")


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
    return key if isinstance(key, str | int | None) else str(key)


def _plainer(value: Any) -> object:
    """One step towards what JSON has, for a value that it does not have; its parts may need more."""
    match value:
        case enum.Enum():
            return value.value
        case bytes() | bytearray() | memoryview():
            return {IN_BASE64: base64.b64encode(value).decode()}
        case Mapping():
            return dict(value)
        case set() | frozenset():
            return list(value)
        case datetime.date() | datetime.time():
            return value.isoformat()
        case datetime.timedelta():
            return value.total_seconds()
        case Decimal():
            return float(value)
        case uuid.UUID() | PurePath():
            return str(value)
        case np.ndarray() | np.generic() if value.dtype.kind in "mM":  # times, which tolist() makes plain numbers
            return value.astype(str).tolist()
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
