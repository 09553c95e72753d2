"""Bad files, made by breaking good ones as people do: each is refused in a few clear words, or is good after all."""

import copy
import io
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cluster.prices import PriceBookError, built_in, load_prices
from raytune_infer.commands.app import main
from raytune_infer.errors import SpecError
from raytune_infer.spec.arrivals import read_arrivals
from raytune_infer.spec.samples.samples import read_samples
from raytune_infer.spec.service import Service
from raytune_infer.spec.service_spec import load_spec
from tests.repository import ROOT

SPECS = {path.name: path.read_text() for path in sorted((ROOT / "examples").glob("*.yaml"))}
BOOKS = {name: (ROOT / f"cluster/books/{name}.yaml").read_text() for name in built_in()}
JARGON = re.compile(
    r"Traceback|<class|ctx|0x[0-9a-f]{6}|pydantic|object at|Error\(|None\b|dict\b|NoneType|isinstance|instance of|"
    r"valid (string|integer|dictionary)|datetime|OrderedDict|Input should|codec|errno|tag:yaml"
)
MOST_LINES, MOST_CHARACTERS = 6, 1200

# 500 in all; the same ones every time. Shrinking would only make a failure slower to see.
BUDGET = settings(
    derandomize=True, deadline=None, database=None, phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)  # fmt: skip


def bomb(levels: int = 12) -> str:
    lines = [f"b{i}: &b{i} [{', '.join(['*b' + str(i - 1)] * 9) if i else 'x'}]" for i in range(levels)]
    return "\n".join(lines) + "\n"


ODD = st.one_of(
    st.sampled_from([
        None, True, False, "", " ", [], {}, [[]], [None], {"a": None}, {1: 2}, {None: 1}, {True: 1}, 0, -1, 1.5, -0.0,
        math.nan, math.inf, -math.inf, 1e308, 5e-324, 10**9 + 1, 10**18, 10**30, 10**400, "1e999", "nan", "yes",
        "none", "T5", "H1000", "NVIDIA", "T4 T4", "a1" + "9" * 5000 + "g", "a" * 5000, "a/../b", "~nobody/x", "..",
        "a:b:c", "package:", "package:numpy/nowhere", "package:__main__/x", "json:loads", "math:hypot", "no:such", "\t",
        "\u202e", "é", "日本", "\x85", "[red]", "{x}", "%s", "rps /", "rps ** 9 ** 9", "(" * 150, "-" * 199 + "rps", 
        "rps + 1e999", "lambda: 0", "rps if 1 else 2", "__import__('os').system('true')", "x.npy", "x.txt", "x.pkl",
        {"kind": "env", "values": ["a"]}, {"kind": "args", "values": []}, {"kind": "x"}, {"values": [1]},
        {"gamma": {"cv": -1}}, {"trace": "no.csv"}, {"gamma": 2}, {"maximize": "rps", "minimize": "rps"},
        ["a", "a"], [1, 1.0], [True, 1], list(range(2000)),
    ]),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.dates(),
    st.datetimes(),
    st.binary(max_size=4),
).map(copy.deepcopy)  # fmt: skip
"""Values in places where they were not looked for."""


def places(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value in a document, its own first."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [here, *(place for key, part in inside for place in places(part, (*here, key)))]


def at(value: Any, place: tuple[Any, ...]) -> Any:
    for key in place:
        value = value[key]
    return value


def replaced(draw: st.DrawFn, values: Any, place: tuple[Any, ...]) -> None:
    at(values, place[:-1])[place[-1]] = draw(ODD)


def removed(draw: st.DrawFn, values: Any, place: tuple[Any, ...]) -> None:
    del at(values, place[:-1])[place[-1]]


def added(draw: st.DrawFn, values: Any, place: tuple[Any, ...]) -> None:
    whole = at(values, place)
    if isinstance(whole, dict):
        whole[draw(st.one_of(ODD.filter(lambda key: key.__hash__ is not None), st.text(max_size=8)))] = draw(ODD)
    elif isinstance(whole, list):
        whole.append(draw(st.one_of(ODD, st.sampled_from([*whole, 1]))))
    else:
        replaced(draw, values, place)


def misspelt(draw: st.DrawFn, values: Any, place: tuple[Any, ...]) -> None:
    whole = at(values, place[:-1])
    if isinstance(whole, dict):
        whole[str(place[-1])[:-1] or "x"] = whole.pop(place[-1])
    else:
        replaced(draw, values, place)


def wrapped(draw: st.DrawFn, values: Any, place: tuple[Any, ...]) -> None:
    value = at(values, place)
    at(values, place[:-1])[place[-1]] = draw(st.sampled_from([[value], {"a": value}, str(value), [value, value]]))


CHANGES: list[Callable[[st.DrawFn, Any, tuple[Any, ...]], None]] = [replaced, removed, added, misspelt, wrapped]


@st.composite
def changed(draw: st.DrawFn, good: dict[str, str]) -> bytes:
    """A good document with one to three of its values changed."""
    values = copy.deepcopy(yaml.safe_load(good[draw(st.sampled_from(sorted(good)))]))
    for _ in range(draw(st.integers(1, 3))):
        if inner := places(values)[1:]:
            draw(st.sampled_from(CHANGES))(draw, values, draw(st.sampled_from(inner)))
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=draw(st.booleans())).encode("utf-8", "surrogatepass")


LINES = [
    "\tname: x", "name: [", "name: {a: b", "name: 'x", 'name: "\\q"', "  : :", "- a", "? [a]\n: b", "? {a: b}\n: c",
    "<<: 3", "<<: [1]", "a: *nobody", "a: &a [*a]", "a: &a {b: *a}", "name: !!python/object:os.system x", "a: !mine x",
    "a: !!int x", "a: !!float x", "a: !!bool x", "a: !!timestamp x", "a: !!binary x", "a: !!set [x]", "a: !!omap 3",
    "date: 2026-02-31", "a: 0b_", "a: 0x_", "a: " + "9" * 5000, "a: 0x" + "f" * 5000, "a: 190:20:30", "a: =", "@a: 1",
    "---\nb: 1", "...\nb", "%YAML 9.9\n---\na: 1", "%TAG ! x", "a: |\n b\n  c\n d", "a: >x", "`a`: 1", "a: b: c",
    "a: \x00", "a: \x07", 'a: "\\0"', 'name: "\\ud800"', 'samples: ["\\ud800"]', "a: " + "[" * 400, "a: " + "- " * 500,
    "a: " + "{a: " * 400, bomb(), "date: yesterday", "gpu_usd_per_hour: {T4: -1}", "gpu_usd_per_hour: {T4: 1, T4: 2}",
    "cpu_core_usd_per_hour: no", "currency: EUR", "base_usd_per_hour: .nan", "knobs: {cpu_cores: [1, 1]}", "name: name",
    "1: 2", "yes: no", "~: 1", "1.5: x", "2026-01-01: x", "folder: /", "text: x", "self: x", "__class__: x",
]  # fmt: skip
"""Lines that do not belong where they are put."""


def encoded(text: str, kind: str) -> bytes:
    return {
        "utf-16": text.encode("utf-16"), "utf-32": text.encode("utf-32"), "bom": text.encode("utf-8-sig"),
        "latin-1": ("# é\n" + text).encode("latin-1"), "carriage returns": text.replace("\n", "\r").encode(),
        "base64": __import__("base64").b64encode(text.encode()), "twice": (text + text).encode(),
        "gzip": __import__("gzip").compress(text.encode()), "backwards": text[::-1].encode(),
    }[kind]  # fmt: skip


KINDS = ["utf-16", "utf-32", "bom", "latin-1", "carriage returns", "base64", "twice", "gzip", "backwards"]


@st.composite
def garbled(draw: st.DrawFn, good: dict[str, str]) -> bytes:
    """A good document whose text was damaged: lines put in, shifted, cut off, or the file saved as something else."""
    text = good[draw(st.sampled_from(sorted(good)))]
    lines = text.splitlines()
    match draw(
        st.sampled_from(["put in", "put in", "put in", "shift", "cut", "twice", "swap", "noise", "binary", "save"])
    ):
        case "put in":
            lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from(LINES)))
        case "shift":
            number = draw(st.integers(0, len(lines) - 1))
            lines[number] = draw(st.sampled_from([" ", "  ", "\t", "- ", "      "])) + lines[number]
        case "cut":
            return text[: draw(st.integers(0, len(text)))].encode()
        case "twice":
            number = draw(st.integers(0, len(lines) - 1))
            lines.insert(number, lines[number])
        case "swap":
            i, j = draw(st.integers(0, len(lines) - 1)), draw(st.integers(0, len(lines) - 1))
            lines[i], lines[j] = lines[j], lines[i]
        case "noise":
            start = draw(st.integers(0, len(text)))
            return (text[:start] + draw(st.text(max_size=6)) + text[start:]).encode("utf-8", "surrogatepass")
        case "binary":
            return draw(st.binary(max_size=200))
        case "save":
            return encoded(text, draw(st.sampled_from(KINDS)))
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def bad(good: dict[str, str]) -> st.SearchStrategy[bytes]:
    return st.one_of(changed(good), garbled(good))


def assert_clear(error: Exception, path: Path) -> None:
    """The contract: which file, which line where it has lines, a few lines, no jargon, and fit for any screen."""
    message = str(error)
    assert path.name in message
    assert not JARGON.search(re.sub(r"'[^']*'", "", message)), message
    assert len(message.splitlines()) <= MOST_LINES and len(message) <= MOST_CHARACTERS, message
    assert message.encode("utf-8") and "\x1b" not in message
    whole = r"cannot read|no price book|a mapping of keys is needed|nested too deep|stream end"
    assert re.search(rf"{re.escape(path.name)}:\d+: ", message) or re.search(whole, message), message
    assert error.__cause__ is None


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a service.yaml finds its samples; modules that are found beside it are forgotten again."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "sentences.txt").write_text("one\ntwo\n")
    return tmp_path


@given(data=bad(SPECS))
@settings(BUDGET, max_examples=300)
def test_a_service_is_read_or_refused_in_clear_words(folder: Path, data: bytes) -> None:
    path = folder / "service.yaml"
    path.write_bytes(data)
    try:
        Service(load_spec(path))
    except SpecError as error:
        assert_clear(error, path)


@given(data=bad(BOOKS))
@settings(BUDGET, max_examples=200)
def test_a_price_book_is_read_or_refused_in_clear_words(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "book.yaml"
    path.write_bytes(data)
    try:
        book = load_prices(path)
    except PriceBookError as error:
        assert_clear(error, path)
    else:
        assert 0 <= book.usd_per_hour(cpu_cores=1) < math.inf


SAMPLES = "name: a\nmodel: {path: x}\nknobs: {cpu_cores: [1]}\nobjective: {maximize: rps}\nsamples: {%s: 1}\n"
TRACED = SAMPLES.replace("{%s: 1}", "[x]") + "load:\n  arrivals: {trace: %s}\n"
ARRAY = io.BytesIO()
np.save(ARRAY, np.zeros((2, 3)))


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A file of samples or of arrivals with something wrong in it, or nothing."""
    good = draw(
        st.sampled_from([b'["a", "b"]', b'"a"\n"b"\n', b"0\n1.5\n2\n", b"time\n2026-01-01\n", ARRAY.getvalue()])
    )
    start, end = sorted((draw(st.integers(0, len(good))), draw(st.integers(0, len(good)))))
    odd = [b"", b"\xff", b"nan\n", b"1e999\n", b"[" * 20_000, b"9" * 5000, b"0001-01-01T00:00+23:00\n", b"\n\n", b"-"]
    return good[:start] + draw(st.one_of(st.sampled_from(odd), st.binary(max_size=9))) + good[end:]


@given(data=damaged(), name=st.sampled_from(["x.txt", "x.json", "x.jsonl", "x.npy", "x.csv"]))
@settings(BUDGET, max_examples=150)
def test_files_beside_a_service_are_read_or_refused_in_clear_words(tmp_path: Path, data: bytes, name: str) -> None:
    path = tmp_path / "service.yaml"
    path.write_text((TRACED if name == "x.csv" else SAMPLES) % name)
    (tmp_path / name).write_bytes(data)
    try:
        read = read_arrivals if name == "x.csv" else read_samples
        assert read(load_spec(path))
    except SpecError as error:
        assert_clear(error, path)
        assert name in str(error)


@pytest.mark.parametrize(
    ("spec", "book"),
    [
        (b"name: [", b""), (bomb().encode(), b""), (b"\xff\xfe", b""), (b"", b""), (b"- a", b"- b"),
        (SPECS["paper720.yaml"].replace("V100", "V1000").encode(), b"gpu_usd_per_hour: {T4: -1}"),
        (SPECS["paper720.yaml"].replace("morphling-2021", "book.yaml").encode(), b"date: 2026-02-31"),
        (SPECS["paper720.yaml"].replace("bert-large", "no\u202esuch[/red]").encode(), b"name: [/red]"),
    ],
)  # fmt: skip
def test_the_command_line_says_so_and_ends_with_1(
    folder: Path, spec: bytes, book: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "service.yaml").write_bytes(spec)
    (folder / "book.yaml").write_bytes(book)
    monkeypatch.chdir(folder)
    for words in (["tune", "service.yaml"], ["cluster", "--prices", "book.yaml"]):
        monkeypatch.setattr(sys, "argv", ["raytune-infer", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        assert ended.value.code == 1
        assert words[-1] in said.err and "Traceback" not in said.err and not said.out
