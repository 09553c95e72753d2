"""The body of an HTTP request, read as a payload of the service's type."""

from __future__ import annotations

import base64
import binascii
import io
import json
from typing import Any

import numpy as np

from serve_deployments.endpoint import Payload
from serve_deployments.replicas.http.payload_type import BadPayload, PayloadType

JSON, TEXT, BYTES = "application/json", "text/plain", "application/octet-stream"

NPY = "application/x-npy"
"""Media type of NumPy's file format; none is registered, and this is the one of Amazon SageMaker's containers."""

_MAGIC = b"\x93NUMPY"  # the first bytes of a .npy file

_BINARY = ("image/", "audio/", "video/")  # bodies of these types are bytes, also where samples are of several kinds

IN_BASE64 = "b64"
"""Key of a mapping that holds bytes in JSON, `{"b64": "…"}`, as in TensorFlow Serving's REST API."""


_TEXT_FORM = f"send it as it is with -H 'Content-Type: {TEXT}', or as a string of JSON"


def payload_of(body: bytes, content_type: str, expected: PayloadType) -> Payload:
    """Read a request's body as a payload.

    A body of JSON is converted to the expected type. Bytes may also be sent as they are, an array as the content of a
    .npy file, and a text as text/plain.

    Args:
        body: the body.
        content_type: its media type as the client names it, with or without parameters; empty if it names none.
        expected: the type of the service's payloads.

    Raises:
        BadPayload: it is no such payload; the message says why.
    """
    media = content_type.partition(";")[0].strip().lower()
    if media.startswith("multipart/"):
        raise BadPayload("it is a form; send the payload itself as the body, as `curl --data-binary` does")
    if media == NPY or (expected.kind == "array" and body.startswith(_MAGIC)):
        return expected.array(_npy(body))
    # Clients that name no type of their own send application/x-www-form-urlencoded (curl, urllib).
    if (expected.kind == "bytes" and media != JSON) or media.startswith(_BINARY):
        return body
    if expected.kind == "text" and media == TEXT:
        return _decoded(body)
    if expected.kind == "text":
        return _text_in_json(body, media)
    value = _json(body)
    if expected.kind == "bytes":
        return _from_base64(value)
    if expected.kind != "array":
        return value
    if expected.dtype is None:
        raise BadPayload(f"its type cannot be told from JSON; send the array as {NPY}")
    return expected.array(value)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except RecursionError:
        raise BadPayload("it is nested too deeply") from None
    except ValueError as error:  # also of bytes that are no Unicode text
        raise BadPayload(f"it is not JSON: {error}") from None


def _text_in_json(body: bytes, media: str) -> str:
    try:
        text = _json(body)
    except BadPayload as error:
        # A text that is sent as it is, and not named as one: the usual case where the body is not even JSON.
        raise BadPayload(f"a text is needed, and {error}; {_TEXT_FORM}") from None
    if not isinstance(text, str):
        raise BadPayload(f"a text is needed, and as {media or 'JSON'} it is none; {_TEXT_FORM}")
    return text


def _decoded(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise BadPayload(f"it is not UTF-8 text: {error}") from None


def _npy(body: bytes) -> np.ndarray:
    try:
        return np.lib.format.read_array(io.BytesIO(body), allow_pickle=False)
    except (ValueError, MemoryError) as error:  # a header may name any size
        raise BadPayload(f"it is no .npy file: {error}") from None


def _from_base64(value: Any) -> bytes:
    form = f'send them as they are, or as {{"{IN_BASE64}": "…"}} in JSON'
    if not isinstance(value, dict) or list(value) != [IN_BASE64] or not isinstance(value[IN_BASE64], str):
        raise BadPayload(f"it is no bytes; {form}")
    try:
        return base64.b64decode(value[IN_BASE64], validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadPayload(f"it is no base64: {error}; {form}") from None
