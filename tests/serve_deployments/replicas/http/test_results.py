"""Whatever a model may return comes back as JSON that any client reads, or in the form that the client asks for."""

import array
import collections
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import io
import json
import pathlib
import uuid
from types import MappingProxyType, SimpleNamespace

import numpy as np
import pandas as pd
import pydantic
import pytest
import torch

from serve_deployments.models.context import ModelError
from serve_deployments.replicas.http.results import NoForm, body_of, check_forms, to_json


@dataclasses.dataclass
class Found:
    label: str
    score: np.float32


class Answer(pydantic.BaseModel):
    at: dt.date
    scores: list[float]


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Word(enum.StrEnum):
    A = "a"


Pair = collections.namedtuple("Pair", "left right")
NAN = float("nan")


@pytest.mark.parametrize(
    ("result", "read"),
    [
        (None, None),
        ("a\nb \u2028 é 😀", "a\nb \u2028 é 😀"),
        (np.str_("a"), "a"),
        (3, 3),
        (2**70, 2**70),
        (np.int64(3), 3),
        (np.float32(0.5), 0.5),
        (np.bool_(True), True),
        (np.arange(4).reshape(2, 2), [[0, 1], [2, 3]]),
        (np.array(2.5), 2.5),
        (np.array(["2024-06-01T12"], "datetime64[ns]"), ["2024-06-01T12:00:00.000000000"]),
        (np.array([{"a": NAN}], object), [{"a": None}]),
        (torch.tensor([1.0, 2.0], requires_grad=True), [1.0, 2.0]),
        (torch.ones(2, dtype=torch.bfloat16), [1.0, 1.0]),
        (NAN, None),
        ([1.0, float("inf"), {"a": -float("inf")}], [1.0, None, {"a": None}]),
        (np.array([1, np.nan], np.float32), [1.0, None]),
        (Found("cat", np.float32(0.25)), {"label": "cat", "score": 0.25}),
        (Found("cat", np.float32("nan")), {"label": "cat", "score": None}),
        (Answer(at=dt.date(2024, 6, 1), scores=[0.5, NAN]), {"at": "2024-06-01", "scores": [0.5, None]}),
        (dt.datetime(2024, 6, 1, 12, tzinfo=dt.UTC), "2024-06-01T12:00:00+00:00"),
        (dt.timedelta(minutes=1), 60.0),
        (decimal.Decimal("0.5"), 0.5),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (pathlib.Path("a/b"), "a/b"),
        (Colour.RED, "red"),
        (Pair(1, {"x": (2, 3)}), [1, {"x": [2, 3]}]),
        ({1}, [1]),
        (MappingProxyType({"a": 1}), {"a": 1}),
        ({np.int64(3): 1, 4: 2, (5, 6): 3, None: 4, True: 5}, {"3": 1, "4": 2, "(5, 6)": 3, "null": 4, "true": 5}),
        ({NAN: 1}, {"nan": 1}),
        ({"raw": b"\x00\xff"}, {"raw": {"b64": "AP8="}}),
        (pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}), [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]),
        (pd.Series([1.0, NAN]), [1.0, None]),
        ("cut \ud83d", "cut ?"),
        (1.5 - 2j, [1.5, -2.0]),
        (np.complex64(1 + 2j), [1.0, 2.0]),
        (np.array([1j, complex(NAN, 1)]), [[0.0, 1.0], [None, 1.0]]),
        (np.clongdouble(1 + 2j), [1.0, 2.0]),
        (np.longdouble("0.5"), 0.5),
        (np.array([0.5, NAN], np.longdouble), [0.5, None]),
        (collections.deque([1, {"a": range(2)}]), [1, {"a": [0, 1]}]),
        (range(1, 4), [1, 2, 3]),
        ({1: 2}.keys(), [1]),
        (collections.UserList([1]), [1]),
        (collections.UserString("ab"), "ab"),
        (collections.UserDict({"a": 1}), {"a": 1}),
        (collections.ChainMap({"a": 1}), {"a": 1}),
        (array.array("d", [0.5]), [0.5]),
        (fractions.Fraction(1, 4), 0.25),
        (np.timedelta64(1500, "ms"), 1.5),
        (np.array([1, "NaT"], "timedelta64[m]"), [60.0, None]),
        (np.timedelta64("NaT"), None),
        (np.timedelta64(3, "M"), "3 months"),
        (np.datetime64("NaT"), None),
        (np.array(["2024-06-01", "NaT"], "datetime64[D]"), ["2024-06-01", None]),
        (pd.NaT, None),
        ([pd.Timestamp("2024-06-01"), pd.Timedelta("1min")], ["2024-06-01T00:00:00", 60.0]),
        (pd.DataFrame({"at": [pd.Timestamp("2024-06-01"), pd.NaT]}), [{"at": "2024-06-01T00:00:00"}, {"at": None}]),
        ({Colour.RED: 1, Level.LOW: 2, Word.A: 3, b"raw": 4}, {"red": 1, "1": 2, "a": 3, "raw": 4}),
        ({Colour.RED: {Colour.RED: Level.LOW}}, {"red": {"red": 1}}),
        (np.array([(1, 0.5)], [("a", "i4"), ("b", "f4")]), [[1, 0.5]]),
    ],
)
def test_a_result_is_json_that_any_client_reads(result, read):
    def refuse(word):
        raise AssertionError(f"JSON has no {word}")

    body, media = body_of(result, "*/*")
    assert media == "application/json"
    assert json.loads(body.decode("utf-8"), parse_constant=refuse) == read
    check_forms([result])


def test_texts_stay_readable_where_they_are_looked_at():
    assert to_json({"said": "é 😀"}).decode() == '{"said":"é 😀"}'


def test_bytes_are_sent_as_they_are_unless_json_is_asked_for():
    for result in (b"\x00\xff", bytearray(b"\x00\xff"), memoryview(b"\x00\xff")):
        assert body_of(result, "*/*") == (b"\x00\xff", "application/octet-stream")
        assert body_of(result, "application/json, */*") == (b'{"b64":"AP8="}', "application/json")


@pytest.mark.parametrize(
    ("result", "dtype"),
    [
        (np.array([[1, np.nan]], np.float16), np.float16),
        (torch.ones(2, 3, requires_grad=True), np.float32),
        (torch.ones(2, dtype=torch.bfloat16), np.float32),
        ([[1, 2], [3, 4]], np.int64),
        (np.float64(2.5), np.float64),
        (0.5, np.float64),
    ],
)
def test_an_array_is_sent_as_a_npy_file_if_the_client_asks_for_one(result, dtype):
    body, media = body_of(result, "application/x-npy")
    read = np.load(io.BytesIO(body), allow_pickle=False)
    wanted = result.detach().float().numpy() if isinstance(result, torch.Tensor) else np.asarray(result)
    assert media == "application/x-npy" and read.dtype == dtype
    np.testing.assert_array_equal(read, wanted)


def test_an_image_is_sent_as_png():
    image = pytest.importorskip("PIL.Image").new("RGB", (2, 1), (255, 0, 0))
    body, media = body_of(image, "*/*")
    assert media == "image/png" and body.startswith(b"\x89PNG")
    coded = json.loads(body_of({"image": image}, "*/*")[0])["image"]["b64"]
    assert coded.startswith("iVBOR")


@pytest.mark.parametrize(
    ("result", "accepted", "said"),
    [
        (object(), "*/*", "a value of type object, which JSON does not have; return numbers, texts, arrays"),
        ([{"a": len}], "*/*", "a value of type builtin_function_or_method"),
        (iter([]), "*/*", "a value of type list_iterator"),
        (SimpleNamespace, "*/*", "a value of type type"),
        ({"a": 1}, "application/x-npy", "the result is a dict, which is no array"),
        ([[1], [1, 2]], "application/x-npy", "the result is a list, which is no array"),
    ],
)
def test_what_has_no_form_is_said_with_its_type(result, accepted, said):
    with pytest.raises(NoForm, match=said):
        body_of(result, accepted)


@pytest.mark.parametrize("kind", [list, collections.deque, dict])
def test_a_result_that_contains_itself_is_no_json(kind):
    result = kind()
    result.update(a=result) if kind is dict else result.append(result)
    with pytest.raises(NoForm, match="contains itself"):
        to_json(result)
    with pytest.raises(ModelError, match="contains itself"):
        check_forms([1, result])


def test_a_first_batch_is_refused_with_the_words_of_an_http_answer():
    for result in (object(), [{"a": len}], (1, {2: SimpleNamespace}), np.array([object()])):
        with pytest.raises(NoForm) as of_http:
            to_json(result)
        with pytest.raises(ModelError) as of_trial:
            check_forms(["a", result])
        assert str(of_trial.value) == str(of_http.value)


def test_what_is_answered_passes_and_large_arrays_are_not_converted_for_it(monkeypatch):
    class Large(np.ndarray):
        def tolist(self):
            raise AssertionError("converted")

    check_forms([np.zeros(3).view(Large), {"a": [torch.ones(2), np.float32(1), "x"]}, None, [1.0] * 1000])
    check_forms(list(np.zeros((2, 3))))
