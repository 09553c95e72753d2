"""The body of an HTTP request, read as a payload of the service's type."""

from __future__ import annotations

import base64
import binascii
import io
import json
from typing import Any

import numpy as np

from serve_deployments.endpoint import Payload, first_line
from serve_deployments.replicas.http.payload_type import BadPayload, PayloadType

JSON, TEXT, BYTES = "application/json", "text/plain", "application/octet-stream"

NPY = "application/x-npy"
"""Media type of NumPy's file format; none is registered, and this is the one of Amazon SageMaker's containers."""

_MAGIC = b"\x93NUMPY"  # the first bytes of a .npy file

_BINARY = ("image/", "audio/", "video/")  # bodies of these types are bytes, also where samples are of several kinds

IN_BASE64 = "b64"
"""Key of a mapping that holds bytes in JSON, `{"b64": "…"}`, as in TensorFlow Serving's REST API."""


_TEXT_FORM = f"send it as it is with -H 'Content-Type: {TEXT}', or as a string of JSON"
_ARRAY_FORM = f"send the content of a .npy file as {NPY}, or nested lists as {JSON}"


def payload_of(body: bytes, content_type: str, expected: PayloadType) -> Payload:
    """Read a request's body as a payload.

    A body of JSON is converted to the expected type. Bytes may also be sent as they are, an array as the content of a
    .npy file, and a text as text/plain.

    Args:
        body: the body.
        content_type: its media type as the client names it, with or without parameters; empty if it names none.
        expected: the type of the service's payloads.

    Raises:
        BadPayload: it is no such payload, whatever was sent; the message says why.
    """
    # Clients that name no type of their own send application/x-www-form-urlencoded (curl, urllib).
    media = content_type.partition(";")[0].strip().lower()
    if media.startswith("multipart/"):
        raise BadPayload("it is a form; send the payload itself as the body, as `curl --data-binary` does")
    match expected.kind:
        case "bytes":
            return _from_base64(_json(body)) if media == JSON else body
        case "text":
            return _text(body, media, content_type)
        case "array":
            return _array(body, media, expected)
    if not expected.binary:
        return _json_alone(body, media)
    if media == NPY:
        return expected.array(_npy(body))
    return body if media.startswith(_BINARY) else _json(body)


def _json_alone(body: bytes, media: str) -> Any:
    """A body for a service all of whose samples are JSON's: its model cannot take bytes or an array."""
    if media == NPY or media.startswith(_BINARY):
        raise BadPayload(f"{JSON} is needed, as the samples were, and it is {media}")
    return _json(body)


def _array(body: bytes, media: str, expected: PayloadType) -> Payload:
    if media == NPY or body.startswith(_MAGIC):
        return expected.array(_npy(body))
    if media.startswith(_BINARY):
        raise BadPayload(f"an array is needed, and it is {media}; {_ARRAY_FORM}")
    try:
        value = _json(body)
    except BadPayload as error:
        raise BadPayload(f"an array is needed, and {error}; {_ARRAY_FORM}") from None
    if expected.dtype is None:
        raise BadPayload(f"its type cannot be told from JSON; send the array as {NPY}")
    return expected.array(value)


def _json(body: bytes) -> Any:
    if not body:
        raise BadPayload("it is empty")
    try:
        return json.loads(body)
    except RecursionError:
        raise BadPayload("it is nested too deeply") from None
    except UnicodeDecodeError:
        raise BadPayload("it is not JSON: it is no Unicode text") from None
    except ValueError as error:
        raise BadPayload(f"it is not JSON: {error}") from None


def _text(body: bytes, media: str, content_type: str) -> str:
    text = _decoded(body, content_type) if media == TEXT else _text_in_json(body, media)
    try:
        text.encode()
    except UnicodeEncodeError:  # JSON can name half of a surrogate pair
        raise BadPayload("it is no text: half of a character (a surrogate) stands alone in it") from None
    return text


def _text_in_json(body: bytes, media: str) -> str:
    try:
        text = _json(body)
    except BadPayload as error:
        # A text that is sent as it is, and not named as one: the usual case where the body is not even JSON.
        raise BadPayload(f"a text is needed, and {error}; {_TEXT_FORM}") from None
    if not isinstance(text, str):
        raise BadPayload(f"a text is needed, and as {media or 'JSON'} it is none; {_TEXT_FORM}")
    return text


def _decoded(body: bytes, content_type: str) -> str:
    if (charset := _charset(content_type)) not in ("utf-8", "utf8", "us-ascii", "ascii"):
        raise BadPayload(f"its charset is {charset}; send it as UTF-8")
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise BadPayload(f"it is not UTF-8 text: {error}") from None


def _charset(content_type: str) -> str:
    """Return the charset that a media type names; UTF-8 if it names none."""
    for parameter in content_type.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip('"').lower()
    return "utf-8"


def _npy(body: bytes) -> np.ndarray:
    try:
        array = np.lib.format.read_array(io.BytesIO(body), allow_pickle=False)
    except Exception as error:  # whatever a header raises that names any size, and any dtype
        raise BadPayload(f"it is no .npy file: {first_line(error)}") from None
    if array.nbytes < array.size:  # of no size, so that a short file would stand for any number of them
        raise BadPayload("it is no .npy file of numbers or texts: its elements have no size")
    return array


def _from_base64(value: Any) -> bytes:
    form = f'send them as they are, or as {{"{IN_BASE64}": "…"}} in JSON'
    if not isinstance(value, dict) or list(value) != [IN_BASE64] or not isinstance(value[IN_BASE64], str):
        raise BadPayload(f"it is no bytes; {form}")
    try:
        return base64.b64decode(value[IN_BASE64], validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadPayload(f"it is no base64: {error}; {form}") from None
