"""Whatever is sent, it becomes a payload of the service's type or is refused in words: never anything in between."""

import io
import json
import struct
import warnings

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from serve_deployments.replicas.http.bodies import NPY, payload_of
from serve_deployments.replicas.http.payload_type import AS_JSON, BadPayload, PayloadType

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
ROWS = PayloadType("array", "float32", (2, 3))
TYPES = [
    ROWS, PayloadType("array", "int64", ()), PayloadType("array", "uint8", (-1,)), PayloadType("array", "bool"),
    PayloadType("array", "complex64"), PayloadType("array", "str"), PayloadType("array", "datetime64[D]"),
    PayloadType("array"), PayloadType("text"), PayloadType("bytes"), AS_JSON,
    PayloadType("json", binary=True),
]  # fmt: skip
MEDIA = [
    "", "application/json", "application/json; charset=utf-8", "text/plain", "text/plain; charset=latin-1", NPY,
    "application/octet-stream", "image/png", "audio/wav", "application/x-www-form-urlencoded", "multipart/form-data",
    "TEXT/PLAIN;charset=\"UTF-8\"", ";;;", "text/plain; charset=idna",
]  # fmt: skip


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def with_header(header: str, version: int = 1, rest: bytes = b"") -> bytes:
    """A .npy file with a header of one's own."""
    text = header.encode()
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(text)) + text + rest


def header(shape: str, descr: str = "'<f4'") -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}"


def is_of(payload: object, expected: PayloadType) -> bool:
    """Whether a payload is of a type, said by itself."""
    if expected.kind == "text":
        return isinstance(payload, str) and payload.encode().decode() == payload
    if expected.kind == "bytes":
        return isinstance(payload, bytes)
    if expected.kind == "json":
        return True
    array = np.asarray(payload)
    fits = expected.shape is None or (
        array.ndim == len(expected.shape)
        and all(w in (-1, s) for s, w in zip(array.shape, expected.shape, strict=True))
    )
    same = (
        expected.dtype is None or array.dtype == expected.dtype or (expected.dtype == "str" and array.dtype.kind == "U")
    )
    return isinstance(payload, np.ndarray | np.generic) and fits and same


def decoded(body: bytes, media: str, expected: PayloadType) -> object:
    """The payload, which must be of its type; the words of the refusal, which must be some; a warning is an error."""
    with warnings.catch_warnings(action="error"):
        try:
            payload = payload_of(body, media, expected)
        except BadPayload as error:
            assert len(str(error)) > 10 and "\n" not in str(error)[:200]
            return str(error)
    assert is_of(payload, expected), (body, media, expected, payload)
    return payload


jsons = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda v: st.lists(v) | st.dictionaries(st.text(), v),
)
arrays = st.sampled_from([
    np.ones((2, 3), dtype)
    for dtype in ("f2", "f4", "f8", "i1", "u8", "?", "c8", "c16", ">f4", "M8[s]", "m8[D]", "U3", "S2")
])  # fmt: skip
bodies = (
    st.binary(max_size=64)
    | jsons.map(json.dumps).map(str.encode)
    | arrays.map(npy)
    | st.builds(lambda body, at: body[:at], arrays.map(npy), st.integers(0, 150))
    | st.builds(
        lambda body, at, byte: body[:at] + bytes([byte]) + body[at + 1 :],
        arrays.map(npy),
        st.integers(6, 130),
        st.integers(0, 255),
    )
    | st.builds(with_header, st.text(max_size=40), st.sampled_from([1, 2, 3]), st.binary(max_size=16))
    | st.sampled_from(
        [b"", PNG, b"[" * 100_000, b"9" * 10_000, b"[1e999]", b"NaN", b'"\\ud800"', b"\xff\xfe[\x001\x00]\x00"]
    )
)


@settings(max_examples=600, deadline=None)
@given(bodies, st.sampled_from(MEDIA), st.sampled_from(TYPES))
@example(PNG, "image/png", ROWS)
@example(npy(np.ones((2, 3), "c8")), NPY, ROWS)
@example(npy(np.full((2, 3), np.nan)), NPY, PayloadType("array", "int64"))
def test_any_body_is_a_payload_or_refused(body, media, expected):
    decoded(body, media, expected)


HEADERS = {
    "an array of a petabyte": with_header(header("(10**5, 10**5)").replace("10**5", "100000000")),
    "more than 64 bits": with_header(header(f"({10**30},)")),
    "a negative size": with_header(header("(-1,)")),
    "numbers beyond all": with_header(header(f"({2**32}, {2**32})")),
    "elements of no size": with_header(header(f"({10**15},)", "'V0'")),
    "texts of no length": with_header(header(f"({10**15},)", "'<U0'")),
    "objects": with_header(header("(1,)", "'|O'"), rest=b"cos\nsystem\n(S'true'\ntR."),
    "a record": with_header(header("(2, 3)", "[('a', '<f4')]"), rest=bytes(24)),
    "a dtype that there is not": with_header(header("(1,)", "'<q9'")),
    "no dictionary": with_header("[1, 2]"),
    "half a token": with_header("{'descr': '''"),
    "an indentation": with_header("  {\n 1"),
    "brackets": with_header("(" * 5000),
    "a header that is too long": with_header(header("(2, 3)") + " " * 60_000, 2),
    "a version to come": with_header(header("(2, 3)"), 9),
    "nothing after the magic": b"\x93NUMPY",
}


@pytest.mark.parametrize("body", HEADERS.values(), ids=HEADERS)
@pytest.mark.parametrize("media", [NPY, ""])
def test_a_header_that_was_made_up_is_refused_and_takes_no_memory(body, media):
    assert isinstance(decoded(body, media, ROWS), str)
    if media == NPY and body not in (HEADERS["a record"],):  # the type of any array
        assert isinstance(decoded(body, media, PayloadType("array")), str)


@pytest.mark.parametrize(
    ("body", "media", "expected", "said"),
    [
        (PNG, "image/png", ROWS, "an array is needed, and it is image/png; send the content of a .npy file as"),
        (PNG, "", ROWS, "an array is needed, and it is not JSON: it is no Unicode text; send the content of a .npy"),
        (b"", "", ROWS, "an array is needed, and it is empty; send the content of a .npy file as application/x-npy"),
        (b"", "", AS_JSON, "it is empty"),
        (b"", "", PayloadType("text"), "a text is needed, and it is empty"),
        (PNG, "image/png", PayloadType("text"), "a text is needed, and it is not JSON"),
        (npy(np.ones(2)), NPY, PayloadType("text"), "a text is needed, and it is not JSON"),
        (b"caf\xe9", "text/plain; charset=ISO-8859-1", PayloadType("text"), "its charset is iso-8859-1; send it as"),
        (b'"\\ud83d"', "application/json", PayloadType("text"), "it is no text: half of a character"),
        (npy(np.ones((2, 3), "c8")), NPY, ROWS, "it is an array of complex64, and the samples had float32"),
        (npy(np.ones((2, 3), "M8[s]")), NPY, PayloadType("array", "int64"), "it is an array of datetime64[s], and the"),
        (npy(np.full((2, 3), "1.5")), NPY, ROWS, "it is an array of <U3, and the samples had float32"),
    ],
)  # fmt: skip
def test_the_words_say_what_is_needed(body, media, expected, said):
    assert said in str(decoded(body, media, expected))


def test_a_file_of_numpys_is_bytes_where_bytes_are_served():
    body = npy(np.ones(2))
    assert decoded(body, NPY, PayloadType("bytes")) == body
