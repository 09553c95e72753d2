"""The type of samples, and what becomes of a request's body: the sample that was sent, or a sentence."""

import base64
import io
import json

import numpy as np
import pytest

from serve_deployments.replicas.http.bodies import NPY, payload_of
from serve_deployments.replicas.http.payload_type import AS_JSON, BadPayload, PayloadType

JSON = "application/json; charset=utf-8"
SETS: dict[str, list] = {
    "rows": list(np.arange(6, dtype=np.float32).reshape(2, 3)),
    "images": list(np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)),
    "halves": list(np.ones((2, 3), np.float16)),
    "other byte order": list(np.ones((2, 3), ">f4")),
    "numbers": list(np.array([1, 2])),
    "truths": list(np.array([True, False])),
    "days": list(np.array(["2024-06-01", "2025-01-01"], "datetime64[D]")),
    "short texts": list(np.array(["a", "bc"])),
    "lengths": [np.zeros((2, 3), np.float32), np.zeros((4, 3), np.float32)],
    "ranks": [np.zeros(3), np.zeros((3, 3))],
}


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def plain(sample):
    return sample.astype(str).tolist() if sample.dtype.kind == "M" else sample.tolist()


@pytest.mark.parametrize("samples", SETS.values(), ids=SETS)
def test_an_array_sent_as_json_or_as_npy_is_the_array_of_the_trials(samples):
    expected = PayloadType.of(samples)
    assert PayloadType(**json.loads(json.dumps(expected.as_dict()))) == expected
    for sample in samples:
        as_json = payload_of(json.dumps(plain(sample)).encode(), JSON, expected)
        for made in (as_json, *(payload_of(npy(sample), media, expected) for media in (NPY, "", "x/octets"))):
            assert type(made) is type(sample) and made.dtype == sample.dtype and np.shape(made) == np.shape(sample)
            np.testing.assert_array_equal(made, sample)


def test_shapes_say_what_varies():
    assert PayloadType.of(SETS["images"]) == PayloadType("array", "uint8", (2, 2, 3))
    assert PayloadType.of(SETS["numbers"]) == PayloadType("array", "int64", ())
    assert PayloadType.of(SETS["lengths"]).shape == (-1, 3)
    assert PayloadType.of(SETS["ranks"]).shape is None
    assert PayloadType.of([np.zeros(3), np.zeros(3, np.float32)]) == PayloadType("array", None, (3,))


def test_null_is_not_a_number_and_other_numbers_are_converted():
    floats, bytes_ = PayloadType("array", "float32"), PayloadType("array", "uint8")
    np.testing.assert_array_equal(payload_of(b"[1, null]", JSON, floats), np.array([1, np.nan], np.float32))
    assert payload_of(npy(np.ones(2)), NPY, floats).dtype == np.float32
    assert payload_of(npy(np.array([1, 255])), NPY, bytes_).dtype == np.uint8


PICKLED = npy(np.zeros(2))[:-4]
ROWS = PayloadType("array", "float32", (2, -1))
TEXTS = PayloadType("text")
AS_TEXT = "send it as it is with -H 'Content-Type: text/plain', or as a string of JSON"


@pytest.mark.parametrize(
    ("body", "media", "expected", "said"),
    [
        (b"[[1, 2], [3]]", JSON, ROWS, "it is no array of float32: setting an array element"),
        (b'{"a": 1}', JSON, ROWS, "it is no array of float32: "),
        (b"null", JSON, PayloadType("array", "int64"), "it is no array of int64: "),
        (b"[1, 2]", JSON, ROWS, r"it has shape \[2\], and the samples had \[2, -1\]; where a size varies, put -1"),
        (b"[[1, 2]]", JSON, ROWS, r"it has shape \[1, 2\]"),
        (b"[1e60]", JSON, PayloadType("array", "float32"), "it is no array of float32: overflow"),
        (b"[1.5]", JSON, PayloadType("array", "int64"), "it has values that int64 cannot hold"),
        (b"[300]", JSON, PayloadType("array", "uint8"), "uint8"),
        (npy(np.array([300])), NPY, PayloadType("array", "uint8"), "it has values that uint8 cannot hold"),
        (b"[1]", JSON, PayloadType("array"), "its type cannot be told from JSON; send the array as application/x-npy"),
        (PICKLED, NPY, ROWS, "it is no .npy file"),
        (b"[1]", NPY, ROWS, "it is no .npy file"),
        (b"{", JSON, AS_JSON, "it is not JSON: "),
        (b"--x", "multipart/form-data; boundary=x", AS_JSON, "it is a form; send the payload itself"),
        (b"\xff", "text/plain", PayloadType("text"), "it is not UTF-8 text"),
        (b"5", JSON, TEXTS, f"a text is needed, and as application/json it is none; {AS_TEXT}"),
        (b'{"text": "a"}', "", TEXTS, f"a text is needed, and as JSON it is none; {AS_TEXT}"),
        (b"null", "application/x-www-form-urlencoded", TEXTS, "a text is needed, and as .* it is none"),
        (b"hello", "application/x-www-form-urlencoded", TEXTS, f"a text is needed, and it is not JSON: .*; {AS_TEXT}"),
        (b"[1]", JSON, PayloadType("bytes"), 'it is no bytes; send them as they are, or as {"b64": "…"} in JSON'),
        (b'{"b64": "??"}', JSON, PayloadType("bytes"), "it is no base64"),
    ],
)
def test_what_is_no_such_payload_is_refused_in_a_sentence(body, media, expected, said):
    with pytest.raises(BadPayload, match=said):
        payload_of(body, media, expected)


def test_bytes_are_sent_as_they_are_or_in_base64():
    samples = [b"\x89PNG\r\n", b"[1, 2]", b""]
    expected = PayloadType.of(samples)
    assert expected == PayloadType("bytes")
    for sample in samples:
        for media in ("application/octet-stream", "image/png", "application/x-www-form-urlencoded", ""):
            assert payload_of(sample, media, expected) == sample
        coded = json.dumps({"b64": base64.b64encode(sample).decode()}).encode()
        assert payload_of(coded, JSON, expected) == sample


def test_a_text_is_sent_as_json_or_as_it_is():
    expected = PayloadType.of(["a", "b"])
    assert expected == PayloadType("text")
    for sample in ("héllo", "5", '"quoted"', "line\nline", ""):
        assert payload_of(sample.encode(), "text/plain", expected) == sample
        assert payload_of(json.dumps(sample).encode(), JSON, expected) == sample
        # curl and urllib name this type where they are told none.
        assert payload_of(json.dumps(sample).encode(), "application/x-www-form-urlencoded", expected) == sample


@pytest.mark.parametrize("samples", [[{"a": 1}], [1, 2.5], [None], [[1], "a"], [np.zeros(2), "a"], [True]])
def test_other_values_are_taken_as_json_has_them(samples):
    expected = PayloadType.of(samples)
    assert (expected == AS_JSON) == (expected.binary is None)
    for value in ({"a": [1, None, "x"]}, 1, None, "x", True):
        assert payload_of(json.dumps(value).encode(), JSON, expected) == value


@pytest.mark.parametrize("samples", [[{"a": 1}], [1, "a"], [[1]], [True, None]])
@pytest.mark.parametrize("media", ["image/png", "audio/wav", "application/x-npy"])
def test_bytes_and_arrays_are_refused_where_every_sample_was_json(samples, media):
    with pytest.raises(BadPayload, match=f"application/json is needed, as the samples were, and it is {media}"):
        payload_of(npy(np.zeros(2)), media, PayloadType.of(samples))


@pytest.mark.parametrize("samples", [[b"1", "a"], [{"a": 1}, b"1"], [np.zeros(2), "a"], [np.float32(1), None]])
def test_bytes_and_arrays_are_payloads_where_a_sample_was_one(samples):
    expected = PayloadType.of(samples)
    assert PayloadType(**json.loads(json.dumps(expected.as_dict()))) == expected
    assert payload_of(b"\x89PNG", "image/png", expected) == b"\x89PNG"
    array = payload_of(npy(np.ones(2, np.float16)), NPY, expected)
    assert array.dtype == np.float16 and array.shape == (2,)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"kind": "image"}, "a payload's kind is one of json, text, array, bytes, not 'image'"),
        ({"kind": "bytes", "binary": True}, "binary is of json"),
        ({"kind": "text", "dtype": "float32"}, "dtype and shape are of arrays"),
        ({"kind": "array", "dtype": "float33"}, "NumPy has no dtype 'float33'"),
        ({"kind": "array", "shape": [-2]}, r"-1 for one that varies, not \[-2\]"),
    ],
)
def test_a_type_that_there_is_not_is_refused(fields, said):
    with pytest.raises(ValueError, match=said):
        PayloadType(**fields)
